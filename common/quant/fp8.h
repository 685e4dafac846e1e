/*
 * fp8.h - per-tensor FP8 E4M3: ranges, scales, weights to codes and back
 *
 * Scoring, evaluation and export take scale and codes from here, so that what was measured is what is
 * written.
 *
 *   ROUND_EXACT     s = amax / 448;             code = e4m3(W / s): one rounding, of the fp32 quotient
 *   ROUND_MODELOPT  s = amax * fp32(1 / 448);   BF16 weights: code = e4m3(bf16(W / bf16(s))), F32: e4m3(W /
 * s)
 *
 * The second is what NVIDIA ModelOpt's export computes on a GPU, to the bit: PyTorch turns the division by a
 * constant into a product, narrows the scale to the weight's type, and rounds the quotient to that type
 * before it becomes FP8.
 */
#ifndef COMMON_QUANT_FP8_H
#define COMMON_QUANT_FP8_H

#include "common/base/err.h"
#include "common/base/numeric.h"

enum rounding { ROUND_EXACT, ROUND_MODELOPT };

const char *rounding_text(enum rounding r); /* "exact", "modelopt" */
int rounding_parse(const char *text, enum rounding *r, struct err *e);
extern const char *const rounding_choices[]; /* NULL-terminated, for OPT_CHOICE */

/*
 * The scale of a tensor of range amax, which is finite and not negative.  amax 0, or so small that the scale
 * would vanish: 1.  The result is finite and positive.
 */
float fp8_scale(float amax, enum rounding r);

/*
 * Largest magnitude of n elements of dtype F32, BF16 or F16; 0 when n is 0.  w may be unaligned.  NaN and
 * infinities are errors that name the tensor.
 */
int fp8_amax(const void *w, enum dtype dtype, size_t n, const char *tensor, float *amax, struct err *e);

/*
 * n elements of dtype F32, BF16 or F16 (F16 not with ROUND_MODELOPT) to codes, saturating at 448 * scale.
 * scale is finite and positive.  w may be unaligned.  NaN and infinities are errors that name the tensor.
 */
int fp8_encode(const void *w, enum dtype dtype, size_t n, float scale, enum rounding r, uint8_t *code,
               const char *tensor, struct err *e);

/* out[i] = value of code[i] * scale, rounded to fp32. */
void fp8_decode(const uint8_t *code, size_t n, float scale, float *out);

#endif
