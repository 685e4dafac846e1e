/*
 * tensor.h - whole weight tensors as they lie in a file: their ranges, and their FP8 and INT8 codes
 *
 * The arithmetic of a scale and a code is that of common/base/fp8.h and int8.h, which scoring and evaluation
 * use, too: what was measured is what is written.
 */
#ifndef COMMON_QUANT_TENSOR_H
#define COMMON_QUANT_TENSOR_H

#include "common/base/err.h"
#include "common/base/fp8.h"
#include "common/base/int8.h"
#include "common/base/numeric.h"

/*
 * Largest magnitude of n elements of dtype F32, BF16 or F16; 0 when n is 0.  w may be unaligned.  NaN and
 * infinities are errors that name the tensor.
 */
int tensor_amax(const void *w, enum dtype dtype, size_t n, const char *tensor, float *amax, struct err *e);

/*
 * n elements of dtype F32, BF16 or F16 (F16 with ROUND_EXACT alone) to codes, saturating at 448 * scale.
 * scale is finite and positive.  w may be unaligned.  NaN and infinities are errors that name the tensor.
 */
int tensor_encode(const void *w, enum dtype dtype, size_t n, float scale, enum rounding r, uint8_t *code,
                  const char *tensor, struct err *e);

/*
 * A weight [rows, cols] of dtype F32, BF16 or F16 whose rows have INT8 scales of their own; w may be
 * unaligned.
 */
struct tensor_rows {
    const void *w;
    enum dtype dtype;
    size_t rows, cols;
    const struct smooth *smooth; /* what its columns are divided by first; NULL: nothing */
    enum rounding rounding;
    const char *name; /* for messages; NaN and infinities are errors that name the tensor */
};

/* scale [rows]: of each row's range after smoothing. */
int tensor_row_scales(const struct tensor_rows *t, float *scale, struct err *e);

/* The codes of n rows from the first-th on; scale [rows] as above. */
int tensor_encode_rows(const struct tensor_rows *t, const float *scale, size_t first, size_t n, int8_t *code,
                       struct err *e);

#endif
