/*
 * exp.h - the exponential, written so that compilers vectorise it
 *
 * libm's is called element by element, and glibc offers its vector form (4 ulp) under -ffast-math only.  Here:
 * x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial in r, and 2^n put together from bits.  NaN gives NaN.
 */
#ifndef KERNELS_CPU_EXP_H
#define KERNELS_CPU_EXP_H

#include <stdint.h>
#include <string.h>

#include "common/base/numeric.h"

/*
 * e^x within 1 ulp over all of fp32, subnormal results and overflow to infinity included; exp_f32(0) is 1.
 * Polynomial: Cephes, expf.c.  2^n goes on in two steps since n reaches from -150 to 128.
 */
static inline float exp_f32(float x)
{
    const float shift = 0x1.8p23f; /* adding it rounds to an integer, which its low bits then hold */
    float t, n, r, p;
    uint32_t k, half;

    x = x > 89 ? 89 : x;
    x = x < -104 ? -104 : x;
    t = x * 0x1.715476p0f + shift;
    n = t - shift;
    k = f32_bits(t) - f32_bits(shift);
    r = x - n * 0.693359375f + n * 2.12194440e-4f; /* ln 2 in two parts; n times the first is exact */
    p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1;
    half = (uint32_t)((int32_t)k >> 1);
    return p * f32_from_bits((half + 127) << 23) * f32_from_bits((k - half + 127) << 23);
}

/* e^x for x <= 700, within 2 ulp; below -700 that of -700, which is 1e-304.  Polynomial: Taylor, remainder 4e-18. */
static inline double exp_f64(double x)
{
    const double shift = 0x1.8p52;
    double t, n, r, p, scale;
    uint64_t k, base;

    x = x < -700 ? -700 : x;
    t = x * 0x1.71547652b82fep0 + shift;
    n = t - shift;
    r = x - n * 0x1.62e42fefap-1 - n * 0x1.cf79abc9e3b39p-40;
    p = 1 / 6227020800.0;
    p = p * r + 1 / 479001600.0;
    p = p * r + 1 / 39916800.0;
    p = p * r + 1 / 3628800.0;
    p = p * r + 1 / 362880.0;
    p = p * r + 1 / 40320.0;
    p = p * r + 1 / 5040.0;
    p = p * r + 1 / 720.0;
    p = p * r + 1 / 120.0;
    p = p * r + 1 / 24.0;
    p = p * r + 1 / 6.0;
    p = p * r + 0.5;
    p = p * (r * r) + r + 1;
    memcpy(&k, &t, sizeof k);
    memcpy(&base, &shift, sizeof base);
    k = (k - base + 1023) << 52;
    memcpy(&scale, &k, sizeof scale);
    return p * scale;
}

#endif
