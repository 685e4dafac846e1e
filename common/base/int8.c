/* int8.c - INT8 arithmetic on arrays */
#include "common/base/int8.h"

float int8_scale(float amax, enum rounding r)
{
    float s = r == ROUND_MODELOPT ? amax * (1 / INT8_MAX_CODE) : amax / INT8_MAX_CODE;

    return s > 0 ? s : 1;
}

void int8_encode(int8_t *code, const float *x, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++)
        code[i] = (int8_t)int8_nearest(x[i] / scale);
}

void int8_decode(float *x, const int8_t *code, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)code[i] * scale;
}

static inline float to_bf16(float x)
{
    return bf16_to_f32(bf16_from_f32(x));
}

/* ModelOpt smooths a module by its own scale first; at export the members of a group turn to their mean. */
static void smooth_twice(float *y, const float *w, size_t n, const float *own, const float *pre)
{
    for (size_t i = 0; i < n; i++) {
        float v = to_bf16(w[i] * (1 / own[i])), p = to_bf16(own[i]);

        y[i] = p == pre[i] ? v : to_bf16(v * p / pre[i]);
    }
}

void int8_smooth(float *y, const float *w, size_t n, const struct smooth *s, enum dtype from, enum rounding r)
{
    if (r != ROUND_EXACT && from == DT_BF16)
        smooth_twice(y, w, n, s->own ? s->own : s->pre, s->pre);
    else
        for (size_t i = 0; i < n; i++)
            y[i] = w[i] / s->pre[i];
}

void int8_fold(float *y, const float *norm, const float *pre, size_t n, enum dtype to)
{
    for (size_t i = 0; i < n; i++) {
        float v = norm[i] * pre[i];

        y[i] = to == DT_BF16 ? to_bf16(v) : to == DT_F16 ? f16_to_f32(f16_from_f32(v)) : v;
    }
}
