/*
 * gemm.h - products of fp32 matrices with a packed right side, on one thread
 *
 * Each element of C sums over k in one fixed order: alone of k, not of m, n or the tile it falls in.  So a
 * row of a batch has the bits it would have by itself, and callers may split m and n among threads as they
 * like.
 *
 * This is not a BLAS call because a BLAS picks its kernels by CPU model: the OpenBLAS 0.3.21 of Debian 12
 * takes a CPU newer than itself for a Prescott and runs at a fifth of the speed, and its summation order
 * changes with the tile.
 */
#ifndef KERNELS_CPU_GEMM_H
#define KERNELS_CPU_GEMM_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __AVX512F__
enum { GEMM_MR = 8, GEMM_LANES = 16 };
#elif defined __AVX__
enum { GEMM_MR = 6, GEMM_LANES = 8 };
#else
enum { GEMM_MR = 6, GEMM_LANES = 4 };
#endif
enum { GEMM_NR = 2 * GEMM_LANES }; /* columns of a panel */

/* A matrix seen through two strides, in elements: (r, c) is p[r * row + c * col]. */
struct view {
    const float *p;
    size_t row, col;
};

/* A packed matrix of k rows. */
struct packed {
    const float *p;
    size_t k;
};

/* n rounded up to whole panels; a packed B [k, n] takes k * gemm_padded(n) floats. */
static inline size_t gemm_padded(size_t n)
{
    return (n + GEMM_NR - 1) / GEMM_NR * GEMM_NR;
}

/* Pack B [k, n] at p, which is aligned to 64 bytes: panels [n / NR][k][NR], missing columns zero. */
struct packed gemm_pack(float *p, struct view b, size_t k, size_t n);

/*
 * c [m, n] (ldc elements from row to row) = alpha A B, or += when accumulate; then + bias [n] unless that is
 * NULL.  A is [m, k]; of B's rows the first k count.
 */
void gemm(float *c, size_t ldc, struct view a, struct packed b, size_t m, size_t n, size_t k, float alpha,
          bool accumulate, const float *bias);

#endif
