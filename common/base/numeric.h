/*
 * numeric.h - element types and the small floats: bf16, fp16 and FP8 E4M3
 *
 * Conversions are exact or rounded to nearest, ties to even.
 */
#ifndef COMMON_BASE_NUMERIC_H
#define COMMON_BASE_NUMERIC_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The CUDA backend computes with the same definitions on the device. */
#ifdef __CUDACC__
#define NUMERIC static inline __host__ __device__
#else
#define NUMERIC static inline
#endif

enum dtype { DT_NONE, DT_F64, DT_F32, DT_F16, DT_BF16, DT_F8_E4M3, DT_I64, DT_I32, DT_I16, DT_I8, DT_U8,
             DT_BOOL };

/* Bytes of one element; 0 for DT_NONE. */
static inline size_t dtype_bytes(enum dtype t)
{
    static const uint8_t bytes[] = {0, 8, 4, 2, 2, 1, 8, 4, 2, 1, 1, 1};

    return bytes[t];
}

NUMERIC uint32_t f32_bits(float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof u);
    return u;
}

NUMERIC float f32_from_bits(uint32_t u)
{
    float x;

    memcpy(&x, &u, sizeof x);
    return x;
}

NUMERIC float bf16_to_f32(uint16_t h)
{
    return f32_from_bits((uint32_t)h << 16);
}

NUMERIC uint16_t bf16_from_f32(float x)
{
    uint32_t u = f32_bits(x);

    if (x != x)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

NUMERIC float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, man = h & 0x3ff;

    if (exp == 31)
        return f32_from_bits(sign | 0x7f800000 | man << 13);
    if (exp)
        return f32_from_bits(sign | (exp + 112) << 23 | man << 13);
    return f32_from_bits(sign | f32_bits((float)man * 0x1p-24f));
}

/*
 * Values beyond 65504 become infinite.  Below 2^-14 the steps are 2^-24: adding 2^-1 rounds the sum to them.
 */
NUMERIC uint16_t f16_from_f32(float x)
{
    uint32_t u = f32_bits(x), a = u & 0x7fffffff;
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);

    if (a > 0x7f800000)
        return sign | 0x7e00;
    if (a >= 0x477ff000) /* half way from 65504 to 65536, which is even */
        return sign | 0x7c00;
    if (a < 0x38800000)
        return sign | (uint16_t)(f32_bits(f32_from_bits(a) + 0.5f) - f32_bits(0.5f));
    a += 0xfff + (a >> 13 & 1); /* keep 10 mantissa bits */
    return sign | (uint16_t)((a >> 13) - (112u << 10));
}

/*
 * FP8 E4M3 (the "fn" variant: no infinities, 0x7f and 0xff are NaN, largest finite 448).  Values beyond 448
 * saturate; NaN stays NaN.  Sources: OCP OFP8 1.0 section 4; NVIDIA __nv_fp8_e4m3.
 */
#define E4M3_MAX 448.0f

NUMERIC uint8_t e4m3_from_f32(float x)
{
    uint32_t u = f32_bits(x), a = u & 0x7fffffff;
    uint8_t sign = (uint8_t)(u >> 24 & 0x80);

    if (a > 0x7f800000)
        return sign | 0x7f;
    if (a >= 0x43e00000) /* 448 and above */
        return sign | 0x7e;
    /* below 2^-6, the smallest normal: steps of 2^-9; adding 2^14 rounds the sum to them */
    if (a < 0x3c800000) {
        float r = f32_from_bits(a) + 0x1p14f;

        return sign | (uint8_t)(f32_bits(r) - f32_bits(0x1p14f));
    }
    a += 0x7ffff + (a >> 20 & 1); /* keep 3 mantissa bits */
    return sign | (uint8_t)((a >> 20) - (120u << 3));
}

NUMERIC float e4m3_to_f32(uint8_t c)
{
    uint32_t exp = c >> 3 & 15, man = c & 7;
    float v;

    if ((c & 0x7f) == 0x7f)
        v = NAN;
    else if (exp)
        v = f32_from_bits((exp + 120) << 23 | man << 20);
    else
        v = (float)man * 0x1p-9f;
    return c & 0x80 ? -v : v;
}

/* The E4M3 value nearest to q, rounded once: of an fp32 number, what e4m3_from_f32() makes of it. */
NUMERIC double e4m3_nearest(double q)
{
    double in = q > E4M3_MAX ? E4M3_MAX : q < -E4M3_MAX ? -E4M3_MAX : q, power, step;
    uint64_t u;

    memcpy(&u, &in, sizeof u);
    u &= 0x7ff0000000000000; /* the power of two at or below |in|: eight steps */
    memcpy(&power, &u, sizeof power);
    step = power > 0x1p-6 ? power / 8 : 0x1p-9;
    return rint(in / step) * step;
}

#endif
