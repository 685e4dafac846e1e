/* rows.c - moving rows, and adding */
#include <string.h>

#include "kernels/cpu/cpu.h"

void cpu_add(struct backend *be, void *y, const void *a, const void *b, size_t n)
{
    const float *s = a, *t = b;
    float *to = y;

    if (cpu_idle(be, n))
        return;
#pragma omp parallel for simd if (n > CPU_SERIAL)
    for (size_t i = 0; i < n; i++)
        to[i] = s[i] + t[i];
}

void cpu_gather(struct backend *be, void *y, const void *x, const int32_t *index, size_t rows, size_t dim)
{
    if (cpu_idle(be, rows * dim))
        return;
#pragma omp parallel for if (rows * dim > CPU_SERIAL)
    for (size_t r = 0; r < rows; r++)
        memcpy((float *)y + r * dim, (const float *)x + (size_t)index[r] * dim, dim * sizeof(float));
}

void cpu_scatter(struct backend *be, void *y, const void *x, const int32_t *index, size_t rows, size_t dim)
{
    if (cpu_idle(be, rows * dim))
        return;
#pragma omp parallel for if (rows * dim > CPU_SERIAL)
    for (size_t r = 0; r < rows; r++)
        memcpy((float *)y + (size_t)index[r] * dim, (const float *)x + r * dim, dim * sizeof(float));
}

void cpu_embed(struct backend *be, void *y, const struct weight *table, const int32_t *ids, size_t rows)
{
    cpu_gather(be, y, table->data, ids, rows, table->in);
}
