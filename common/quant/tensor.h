/*
 * tensor.h - whole weight tensors as they lie in a file: their range, and their FP8 codes
 *
 * The arithmetic of a scale and a code is common/base/fp8.h's, which scoring and evaluation use, too: what was measured
 * is what is written.
 */
#ifndef COMMON_QUANT_TENSOR_H
#define COMMON_QUANT_TENSOR_H

#include "common/base/err.h"
#include "common/base/fp8.h"
#include "common/base/numeric.h"

/*
 * Largest magnitude of n elements of dtype F32, BF16 or F16; 0 when n is 0.  w may be unaligned.  NaN and infinities are
 * errors that name the tensor.
 */
int tensor_amax(const void *w, enum dtype dtype, size_t n, const char *tensor, float *amax, struct err *e);

/*
 * n elements of dtype F32, BF16 or F16 (F16 not with ROUND_MODELOPT) to codes, saturating at 448 * scale.  scale is finite
 * and positive.  w may be unaligned.  NaN and infinities are errors that name the tensor.
 */
int tensor_encode(const void *w, enum dtype dtype, size_t n, float scale, enum rounding r, uint8_t *code,
                  const char *tensor, struct err *e);

#endif
