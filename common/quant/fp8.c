/* fp8.c - per-tensor FP8 E4M3: ranges, scales, weights to codes and back */
#include "common/quant/fp8.h"

#include <stdbool.h>

/* Elements that one thread takes at a time, and that it converts at a time: the latter stay in the first
 * cache. */
enum { CHUNK = 1 << 16, BLOCK = 1 << 10 };

const char *const rounding_choices[] = {[ROUND_EXACT] = "exact", [ROUND_MODELOPT] = "modelopt", NULL};

const char *rounding_text(enum rounding r)
{
    return rounding_choices[r];
}

int rounding_parse(const char *text, enum rounding *r, struct err *e)
{
    for (int i = 0; rounding_choices[i]; i++) {
        if (!strcmp(text, rounding_choices[i])) {
            *r = (enum rounding)i;
            return 0;
        }
    }
    return err_set(e, RC_DATA, "there is no rounding '%s': it is exact or modelopt", text);
}

float fp8_scale(float amax, enum rounding r)
{
    const float s = r == ROUND_EXACT ? amax / E4M3_MAX : amax * (1.0f / E4M3_MAX);

    /* ROUND_MODELOPT divides by the scale as bf16, which vanishes earlier. */
    if (r == ROUND_EXACT ? s > 0 : bf16_to_f32(bf16_from_f32(s)) > 0)
        return s;
    return 1;
}

static int check_dtype(enum dtype dtype, const char *tensor, struct err *e)
{
    if (dtype == DT_F32 || dtype == DT_BF16 || dtype == DT_F16)
        return 0;
    return err_set(e, RC_DATA, "tensor '%s' is not F32, BF16 or F16: it cannot be quantized", tensor);
}

static int not_finite(const char *tensor, struct err *e)
{
    return err_set(e, RC_DATA, "tensor '%s' holds NaN or infinity: the model is damaged", tensor);
}

/* n <= BLOCK elements from the first-th on, as fp32.  memcpy(): the file aligns nothing. */
static void load(const uint8_t *w, enum dtype dtype, size_t first, size_t n, float *restrict out)
{
    uint16_t half[BLOCK];

    if (dtype == DT_F32) {
        memcpy(out, w + 4 * first, 4 * n);
        return;
    }
    memcpy(half, w + 2 * first, 2 * n);
    if (dtype == DT_BF16)
        for (size_t i = 0; i < n; i++)
            out[i] = bf16_to_f32(half[i]);
    else
        for (size_t i = 0; i < n; i++)
            out[i] = f16_to_f32(half[i]);
}

/* Bits of the largest magnitude: fp32 values order as their bits do, NaN above infinity above all. */
static uint32_t largest(const float *x, size_t n)
{
    uint32_t most = 0;

    for (size_t i = 0; i < n; i++) {
        const uint32_t a = f32_bits(x[i]) & 0x7fffffff;

        most = a > most ? a : most;
    }
    return most;
}

int fp8_amax(const void *w, enum dtype dtype, size_t n, const char *tensor, float *amax, struct err *e)
{
    const size_t chunks = n / CHUNK + (n % CHUNK != 0);
    uint32_t most = 0;

    if (check_dtype(dtype, tensor, e))
        return -1;
#pragma omp parallel for schedule(static) reduction(max : most) if (chunks > 1)
    for (size_t c = 0; c < chunks; c++) {
        const size_t end = c + 1 < chunks ? (c + 1) * CHUNK : n;
        float x[BLOCK];

        for (size_t i = c * CHUNK; i < end; i += BLOCK) {
            const size_t m = end - i < BLOCK ? end - i : BLOCK;
            uint32_t a;

            load(w, dtype, i, m, x);
            a = largest(x, m);
            most = a > most ? a : most;
        }
    }
    if (most >= 0x7f800000)
        return not_finite(tensor, e);
    *amax = f32_from_bits(most);
    return 0;
}

/*
 * e4m3_from_f32() without branches, so that compilers vectorise it: the normal and the subnormal code are
 * both computed and one is kept.  448 is a code of its own, so clamping the bits to it saturates.
 */
static void to_codes(const float *restrict x, size_t n, uint8_t *restrict code)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t u = f32_bits(x[i]), sign = u >> 24 & 0x80, a = u & 0x7fffffff;
        const uint32_t top = a < 0x43e00000 ? a : 0x43e00000;
        const uint32_t normal = ((top + 0x7ffff + (top >> 20 & 1)) >> 20) - (120u << 3);
        const uint32_t subnormal = f32_bits(f32_from_bits(top) + 0x1p14f) - f32_bits(0x1p14f);
        const uint32_t value = top < 0x3c800000 ? subnormal : normal;

        code[i] = (uint8_t)(sign | (a > 0x7f800000 ? 0x7f : value));
    }
}

static void divide(float *x, size_t n, float by)
{
    for (size_t i = 0; i < n; i++)
        x[i] /= by;
}

static void narrow(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t u = f32_bits(x[i]);

        /* bf16_from_f32() of a number, widened again; infinity stays itself. */
        x[i] = f32_from_bits((u + 0x7fff + (u >> 16 & 1)) & 0xffff0000);
    }
}

int fp8_encode(const void *w, enum dtype dtype, size_t n, float scale, enum rounding r, uint8_t *code,
               const char *tensor, struct err *e)
{
    const size_t chunks = n / CHUNK + (n % CHUNK != 0);
    const bool twice = r == ROUND_MODELOPT && dtype == DT_BF16;
    const float by = twice ? bf16_to_f32(bf16_from_f32(scale)) : scale;
    uint32_t most = 0;

    if (check_dtype(dtype, tensor, e))
        return -1;
    if (r == ROUND_MODELOPT && dtype == DT_F16)
        return err_set(e, RC_DATA,
                       "tensor '%s' is F16: rounding modelopt is for BF16 and F32 weights, use exact",
                       tensor);
#pragma omp parallel for schedule(static) reduction(max : most) if (chunks > 1)
    for (size_t c = 0; c < chunks; c++) {
        const size_t end = c + 1 < chunks ? (c + 1) * CHUNK : n;
        float x[BLOCK];

        for (size_t i = c * CHUNK; i < end; i += BLOCK) {
            const size_t m = end - i < BLOCK ? end - i : BLOCK;
            uint32_t a;

            load(w, dtype, i, m, x);
            a = largest(x, m);
            most = a > most ? a : most;
            divide(x, m, by);
            if (twice)
                narrow(x, m);
            to_codes(x, m, code + i);
        }
    }
    return most >= 0x7f800000 ? not_finite(tensor, e) : 0;
}

void fp8_decode(const uint8_t *code, size_t n, float scale, float *out)
{
#pragma omp parallel for simd schedule(static) if (n > CHUNK)
    for (size_t i = 0; i < n; i++) {
        const uint32_t c = code[i], low = c & 0x7f;
        const float normal = f32_from_bits((low << 20) + (120u << 23)), subnormal = (float)(c & 7) * 0x1p-9f;
        const float value = low < 8 ? subnormal : low == 0x7f ? NAN : normal;

        out[i] = f32_from_bits(f32_bits(value) | (c & 0x80) << 24) * scale;
    }
}
