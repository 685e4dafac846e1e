/* score.c - how much a rounding difference matters under a gradient */
#include "kernels/cpu/cpu.h"

static const float limit = 1e10f; /* of a product: ModelOpt's */

enum { BLOCK = 512 }; /* fp32 and fp64 in one loop would not be vectorised well */

/* Add to sum[0] the clamped products' squares, to sum[1] the products.  n <= BLOCK. */
static void score_block(double sum[2], const float *g, const float *y, const float *yq, size_t n)
{
    float product[BLOCK], clamped[BLOCK];
    double squares = 0, plain = 0;

#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        float p = g[i] * (yq[i] - y[i]);

        product[i] = p;
        clamped[i] = p > limit ? limit : p < -limit ? -limit : p; /* a NaN is neither: it stays */
    }
#pragma omp simd reduction(+ : squares)
    for (size_t i = 0; i < n; i++)
        squares += (double)clamped[i] * clamped[i];
#pragma omp simd reduction(+ : plain)
    for (size_t i = 0; i < n; i++)
        plain += product[i];
    sum[0] += squares;
    sum[1] += plain;
}

static void score_row(double sum[2], const float *g, const float *y, const float *yq, size_t dim)
{
    sum[0] = sum[1] = 0;
    for (size_t i = 0; i < dim; i += BLOCK)
        score_block(sum, g + i, y + i, yq + i, dim - i < BLOCK ? dim - i : BLOCK);
}

void cpu_score(struct backend *be, double *out, const void *g, const void *y, const void *yq,
               const float *row_weight, size_t rows, size_t dim)
{
    double(*sum)[2];

    if (cpu_idle(be, rows) || !(sum = (void *)cpu_scratch(be, rows * sizeof *sum / sizeof(float))))
        return;
#pragma omp parallel for if (rows * dim > CPU_SERIAL)
    for (size_t r = 0; r < rows; r++)
        score_row(sum[r], (const float *)g + r * dim, (const float *)y + r * dim, (const float *)yq + r * dim,
                  dim);
    for (size_t r = 0; r < rows; r++) {
        double first = row_weight[r] * sum[r][1];

        out[0] += sum[r][0];
        out[1] += 0.5 * first * first;
    }
}
