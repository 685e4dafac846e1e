/*
 * int8.h - INT8 arithmetic on arrays: one definition for scoring, evaluation and export
 *
 * Symmetric: w ~ code * scale with a scale for every output channel (row of W), scale = amax / 127; activations have one
 * scale for a tensor (static) or one for every token (dynamic).  SmoothQuant moves range from activations to weights: X is
 * multiplied, column by column, by a pre_quant_scale and W divided by it.
 */
#ifndef COMMON_BASE_INT8_H
#define COMMON_BASE_INT8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/fp8.h"
#include "common/base/numeric.h"

#define INT8_MAX_CODE 127.0f

/*
 * The scale of a range, which is finite and not negative.  amax / 127; ROUND_MODELOPT: amax * fp32(1/127), as ModelOpt's CUDA
 * arithmetic has it.  amax 0, or so small that the scale would vanish: 1.
 */
float int8_scale(float amax, enum rounding r);

/* The code of a quotient as a number: clamp(rint(q), -128, 127), halves to even.  Adding 1.5 * 2^23 rounds.  NaN gives 127. */
NUMERIC float int8_nearest(float q)
{
    float low = q < 127.0f ? q : 127.0f, in = low > -128.0f ? low : -128.0f;

    return (in + 0x1.8p23f) - 0x1.8p23f;
}

/* code[i] = clamp(rint(x[i] / scale), -128, 127), halves to even.  x has no NaN. */
void int8_encode(int8_t *code, const float *x, size_t n, float scale);

/* x[i] = code[i] * scale. */
void int8_decode(float *x, const int8_t *code, size_t n, float scale);

/*
 * SmoothQuant's scales of one module, borrowed.  pre [in]: what X is multiplied by, one for all members of a fused group
 * (q/k/v, gate/up).  own [in]: the module's own in fp32, before it was rounded and the group took its mean, which
 * ROUND_MODELOPT depends on; NULL: the same as pre.  folded: the norm before the module carries pre, X comes multiplied.
 */
struct smooth {
    const float *pre, *own;
    bool folded;
};

/*
 * One row of a weight smoothed: y[c] = w[c] / pre[c]; y may be w.  ROUND_EXACT: the fp32 quotient.  The others on a bf16
 * weight (`from`): v = bf16(w * (1 / own)), and where bf16(own) is not pre, bf16(v * bf16(own) / pre).  Source: ModelOpt
 * 0.47, apply_pre_quant_scale_and_smooth() and _update_pre_quant_scale().
 */
void int8_smooth(float *y, const float *w, size_t n, const struct smooth *s, enum dtype from, enum rounding r);

/* The weight of a norm that carries pre, as its file's type (F32, BF16, F16) holds it: y[c] = norm[c] * pre[c], rounded. */
void int8_fold(float *y, const float *norm, const float *pre, size_t n, enum dtype to);

#endif
