/*
 * encode.h - the weights of a tensor, as they lie in a file, to their range and to FP8 codes
 *
 * The arithmetic is that of common/base/fp8.h; here are element types, unaligned data, threads, and the
 * refusal of what is not a number.
 */
#ifndef COMMON_QUANT_ENCODE_H
#define COMMON_QUANT_ENCODE_H

#include "common/base/err.h"
#include "common/base/fp8.h"
#include "common/base/numeric.h"

/*
 * Largest magnitude of n elements of dtype F32, BF16 or F16; 0 when n is 0.  w may be unaligned.  NaN and
 * infinities are errors that name the tensor.
 */
int encode_amax(const void *w, enum dtype dtype, size_t n, const char *tensor, float *amax, struct err *e);

/*
 * code[i] = e4m3(w[i] / scale), saturating; ROUND_MODELOPT rounds BF16 weights twice, F32 ones once, and
 * refuses F16, for which nothing is known of it.  scale is finite and positive.  w may be unaligned.  NaN and
 * infinities are errors that name the tensor.
 */
int encode_fp8(const void *w, enum dtype dtype, size_t n, float scale, enum rounding r, uint8_t *code,
               const char *tensor, struct err *e);

#endif
