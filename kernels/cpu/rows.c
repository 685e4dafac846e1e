/* rows.c - moving rows */
#include <string.h>

#include "kernels/cpu/cpu.h"

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
