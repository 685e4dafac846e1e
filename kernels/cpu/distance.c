/* distance.c - how far two results are apart, and the rounding of a KV cache */
#include "kernels/cpu/cpu.h"

enum { PIECE = 1 << 14 }; /* elements whose sum one thread makes */

void cpu_distance(struct backend *be, double *out, const void *a, const void *b, size_t n)
{
    const float *x = a, *y = b;
    size_t pieces = (n + PIECE - 1) / PIECE;
    double *part;

    if (cpu_idle(be, n) || !(part = (void *)cpu_scratch(be, pieces * sizeof *part / sizeof(float))))
        return;
#pragma omp parallel for if (n > CPU_SERIAL)
    for (size_t p = 0; p < pieces; p++) {
        size_t end = n - p * PIECE < PIECE ? n : (p + 1) * PIECE;
        double sum = 0;

#pragma omp simd reduction(+ : sum)
        for (size_t i = p * PIECE; i < end; i++) {
            float d = x[i] - y[i];

            sum += (double)(d * d);
        }
        part[p] = sum;
    }
    for (size_t p = 0; p < pieces; p++)
        *out += part[p];
}

void cpu_round_fp8(struct backend *be, void *y, const void *x, size_t n, float scale)
{
    if (cpu_idle(be, n))
        return;
#pragma omp parallel for if (n > CPU_SERIAL)
    for (size_t i = 0; i < n; i += PIECE)
        fp8_round((float *)y + i, (const float *)x + i, n - i < PIECE ? n - i : PIECE, scale);
}
