/* gemm.c - products of fp32 matrices with a packed right side, on one thread */
#include "kernels/cpu/gemm.h"

#ifdef __AVX__
#include <immintrin.h>
#endif

enum { MR = GEMM_MR, LANES = GEMM_LANES, NR = GEMM_NR };
enum { K_CHUNK = 256 }; /* partial sums of this length keep the rounding error from growing with k */

typedef float vec __attribute__((vector_size(4 * LANES), may_alias));

/* a * b + c, rounded once where the CPU can: the build forbids contraction, so it is asked for by name. */
static inline vec multiply_add(vec a, vec b, vec c)
{
#ifdef __AVX512F__
    return _mm512_fmadd_ps(a, b, c);
#elif defined __FMA__
    return _mm256_fmadd_ps(a, b, c);
#else
    return a * b + c;
#endif
}

/* t [MR, NR] = A [MR, k] times one panel; row i of A begins at a[i]. */
static void kernel(float t[MR][NR], const float *const a[MR], size_t a_col, const float *panel, size_t k)
{
    vec acc[MR][2] = {0};

    for (size_t j = 0; j < k; j++) {
        const vec *b = (const vec *)(const void *)(panel + j * NR);
        vec b0 = b[0], b1 = b[1];

#pragma GCC unroll 8
        for (int i = 0; i < MR; i++) {
            vec x = a[i][j * a_col] - (vec){0}; /* in every lane */

            acc[i][0] = multiply_add(x, b0, acc[i][0]);
            acc[i][1] = multiply_add(x, b1, acc[i][1]);
        }
    }
    for (int i = 0; i < MR; i++) {
        vec *row = (vec *)(void *)t[i];

        row[0] = acc[i][0];
        row[1] = acc[i][1];
    }
}

/* The part of t that lies within c, scaled and added to what is there. */
static void store(float *c, size_t ldc, float t[MR][NR], size_t m, size_t n, float alpha, bool accumulate,
                  const float *bias)
{
    for (size_t i = 0; i < m; i++, c += ldc) {
        if (accumulate)
            for (size_t j = 0; j < n; j++)
                c[j] += alpha * t[i][j];
        else
            for (size_t j = 0; j < n; j++)
                c[j] = alpha * t[i][j];
        if (bias)
            for (size_t j = 0; j < n; j++)
                c[j] += bias[j];
    }
}

/* MR rows (or the last m of them) of one panel's columns. */
static void block(float *c, size_t ldc, struct view a, const float *panel, size_t m, size_t n, size_t k,
                  float alpha, bool accumulate, const float *bias)
{
    _Alignas(64) float t[MR][NR];
    const float *row[MR];
    size_t done = 0;

    do {
        size_t now = k - done < K_CHUNK ? k - done : K_CHUNK;

        for (size_t i = 0; i < MR; i++) /* past the last row, that row again: computed, not stored */
            row[i] = a.p + (i < m ? i : m - 1) * a.row + done * a.col;
        kernel(t, row, a.col, panel + done * NR, now);
        store(c, ldc, t, m, n, alpha, accumulate || done, done + now == k ? bias : NULL);
        done += now;
    } while (done < k);
}

void gemm(float *c, size_t ldc, struct view a, struct packed b, size_t m, size_t n, size_t k, float alpha,
          bool accumulate, const float *bias)
{
    for (size_t j = 0; j < n; j += NR)
        for (size_t i = 0; i < m; i += MR) {
            struct view rows = {a.p + i * a.row, a.row, a.col};

            block(c + i * ldc + j, ldc, rows, b.p + j * b.k, m - i < MR ? m - i : MR, n - j < NR ? n - j : NR,
                  k, alpha, accumulate, bias ? bias + j : NULL);
        }
}

struct packed gemm_pack(float *p, struct view b, size_t k, size_t n)
{
    float *to = p;

    for (size_t j = 0; j < n; j += NR) {
        size_t width = n - j < NR ? n - j : NR;

        for (size_t r = 0; r < k; r++, to += NR) {
            const float *from = b.p + r * b.row + j * b.col;

            for (size_t i = 0; i < width; i++)
                to[i] = from[i * b.col];
            for (size_t i = width; i < NR; i++)
                to[i] = 0;
        }
    }
    return (struct packed){p, k};
}
