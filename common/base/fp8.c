/* fp8.c - FP8 E4M3 arithmetic on arrays */
#include "common/base/fp8.h"

#include <string.h>

#include "common/base/numeric.h"

const char *const rounding_choices[] = {[ROUND_EXACT] = "exact", [ROUND_MODELOPT] = "modelopt", NULL};
const char *const rounding_export_choices[] = {
    [ROUND_EXACT] = "exact", [ROUND_MODELOPT] = "modelopt", [ROUND_MODELOPT_CPU] = "modelopt-cpu", NULL};

const char *rounding_text(enum rounding r)
{
    return rounding_export_choices[r];
}

int rounding_parse(const char *text, enum rounding *r, struct err *e)
{
    for (int i = 0; rounding_export_choices[i]; i++)
        if (!strcmp(text, rounding_export_choices[i])) {
            *r = (enum rounding)i;
            return 0;
        }
    return err_set(e, RC_DATA, "there is no rounding '%s': it is exact, modelopt or modelopt-cpu", text);
}

float fp8_scale(float amax, enum rounding r)
{
    float s = r == ROUND_MODELOPT ? amax * (1 / E4M3_MAX) : amax / E4M3_MAX;

    /* ROUND_MODELOPT divides by the scale as bf16, which vanishes earlier. */
    return (r == ROUND_MODELOPT ? bf16_to_f32(bf16_from_f32(s)) > 0 : s > 0) ? s : 1;
}

/*
 * The E4M3 value nearest to q as an fp32 number, on bits and without branches so that compilers vectorise it;
 * equals e4m3_to_f32(e4m3_from_f32(q)).  Below 2^-6 the steps are 2^-9: adding 2^14 rounds to them.
 */
static inline float nearest(float q)
{
    uint32_t u = f32_bits(q), sign = u & 0x80000000, a = u & 0x7fffffff, normal, tiny, v;

    a = a > 0x43e00000 && a <= 0x7f800000 ? 0x43e00000 : a; /* saturate; a NaN stays above */
    normal = (a + 0x7ffff + (a >> 20 & 1)) & 0xfff00000;
    tiny = f32_bits((f32_from_bits(a < 0x3c800000 ? a : 0) + 0x1p14f) - 0x1p14f);
    v = a < 0x3c800000 ? tiny : a > 0x7f800000 ? a : normal;
    return f32_from_bits(v | sign);
}

/*
 * e4m3_from_f32() the same way: both codes are computed and one is kept; clamping to the bits of 448
 * saturates.
 */
static inline uint8_t code_of(float q)
{
    uint32_t u = f32_bits(q), a = u & 0x7fffffff, top = a < 0x43e00000 ? a : 0x43e00000, normal, tiny, code;

    normal = ((top + 0x7ffff + (top >> 20 & 1)) >> 20) - (120u << 3);
    tiny = f32_bits(f32_from_bits(top) + 0x1p14f) - f32_bits(0x1p14f);
    code = a > 0x7f800000 ? 0x7f : top < 0x3c800000 ? tiny : normal;
    return (uint8_t)(code | (u >> 24 & 0x80));
}

void fp8_encode(uint8_t *code, const float *x, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++)
        code[i] = code_of(x[i] / scale);
}

static inline float to_bf16(float x)
{
    uint32_t u = f32_bits(x), r = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000;

    return f32_from_bits((u & 0x7fffffff) > 0x7f800000 ? u : r);
}

void fp8_encode_twice(uint8_t *code, const float *x, size_t n, float scale)
{
    float s = to_bf16(scale);

    for (size_t i = 0; i < n; i++)
        code[i] = code_of(to_bf16(x[i] / s));
}

void fp8_encode_twice_cpu(uint8_t *code, const float *x, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++)
        code[i] = code_of(to_bf16(x[i] / scale));
}

void fp8_decode(float *x, const uint8_t *code, size_t n, float scale)
{
    float value[256];

    for (int c = 0; c < 256; c++)
        value[c] = e4m3_to_f32((uint8_t)c) * scale;
    for (size_t i = 0; i < n; i++)
        x[i] = value[code[i]];
}

void fp8_round(float *y, const float *x, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++)
        y[i] = nearest(x[i] / scale) * scale;
}
