/* rmsnorm.c - root-mean-square normalisation of rows; sums in fp64 */
#include <math.h>

#include "kernels/cpu/cpu.h"

static float inverse_rms(const float *x, size_t dim, float eps)
{
    double sum = 0;

#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < dim; i++)
        sum += (double)x[i] * x[i];
    return (float)(1 / sqrt(sum / (double)dim + eps));
}

void cpu_rmsnorm(struct backend *be, void *y, const void *x, const void *w, size_t rows, size_t dim,
                 float eps, const struct weight *next)
{
    const float *weight = w;

    (void)next; /* here products round their inputs themselves */
    if (cpu_idle(be, rows * dim))
        return;
#pragma omp parallel for if (rows * dim > CPU_SERIAL)
    for (size_t r = 0; r < rows; r++) {
        const float *from = (const float *)x + r * dim;
        float *to = (float *)y + r * dim, inv = inverse_rms(from, dim, eps);

#pragma omp simd
        for (size_t i = 0; i < dim; i++)
            to[i] = weight[i] * (from[i] * inv);
    }
}

void cpu_add_rmsnorm(struct backend *be, void *sum, void *y, const void *a, const void *b, const void *w,
                     size_t rows, size_t dim, float eps, const struct weight *next)
{
    const float *s = a, *t = b;
    float *to = sum;

    if (cpu_idle(be, rows * dim))
        return;
#pragma omp parallel for simd if (rows * dim > CPU_SERIAL)
    for (size_t i = 0; i < rows * dim; i++)
        to[i] = s[i] + t[i];
    cpu_rmsnorm(be, y, sum, w, rows, dim, eps, next);
}

/* With xn = x inv and q = w dy: dx += inv (q - xn mean(q xn)). */
void cpu_rmsnorm_dx(struct backend *be, void *dx, const void *dy, const void *x, const void *w, size_t rows,
                    size_t dim, float eps)
{
    const float *weight = w;

    if (cpu_idle(be, rows * dim))
        return;
#pragma omp parallel for if (rows * dim > CPU_SERIAL)
    for (size_t r = 0; r < rows; r++) {
        const float *g = (const float *)dy + r * dim, *from = (const float *)x + r * dim;
        float *to = (float *)dx + r * dim, inv = inverse_rms(from, dim, eps), mean;
        double sum = 0;

#pragma omp simd reduction(+ : sum)
        for (size_t i = 0; i < dim; i++)
            sum += (double)(weight[i] * g[i]) * (from[i] * inv);
        mean = (float)(sum / (double)dim);
#pragma omp simd
        for (size_t i = 0; i < dim; i++)
            to[i] += inv * (weight[i] * g[i] - from[i] * inv * mean);
    }
}
