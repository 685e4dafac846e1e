/* score.c - how much a rounding difference matters under a gradient */
#include "kernels/cpu/cpu.h"

static const float limit = 1e10f; /* of a product: ModelOpt's */

/* sum[0] of the clamped products' squares, sum[1] of the products. */
static void score_row(double sum[2], const float *g, const float *y, const float *yq, size_t dim)
{
    double squares = 0, plain = 0;

#pragma omp simd reduction(+ : squares, plain)
    for (size_t i = 0; i < dim; i++) {
        float p = g[i] * (yq[i] - y[i]);
        float c = p > limit ? limit : p < -limit ? -limit : p; /* a NaN is neither: it stays */

        squares += (double)c * c;
        plain += p;
    }
    sum[0] = squares;
    sum[1] = plain;
}

void cpu_score(struct backend *be, double *out, const void *g, const void *y, const void *yq, const float *row_weight,
               size_t rows, size_t dim)
{
    double (*sum)[2];

    if (cpu_idle(be, rows) || !(sum = (void *)cpu_scratch(be, rows * sizeof *sum / sizeof(float))))
        return;
#pragma omp parallel for if (rows * dim > CPU_SERIAL)
    for (size_t r = 0; r < rows; r++)
        score_row(sum[r], (const float *)g + r * dim, (const float *)y + r * dim, (const float *)yq + r * dim, dim);
    for (size_t r = 0; r < rows; r++) {
        double first = row_weight[r] * sum[r][1];

        out[0] += sum[r][0];
        out[1] += 0.5 * first * first;
    }
}
