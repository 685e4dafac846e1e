/* widths.h - what a file holds, in the wider form that a device asks for */
#ifndef COMMON_MODEL_WIDTHS_H
#define COMMON_MODEL_WIDTHS_H

#include <stddef.h>

#include "common/base/err.h"

/*
 * The matrix [out, in] of elements of `size` bytes as [to_out, to_in], what is added 0; to be freed.  NULL: e
 * is set.
 */
void *widths_matrix(const void *matrix, size_t size, size_t out, size_t in, size_t to_out, size_t to_in,
                    struct err *e);

/* The n numbers of v and behind them `fill`, `to` in all; to be freed.  NULL: e is set. */
float *widths_vector(const float *v, size_t n, size_t to, float fill, struct err *e);

#endif
