/* amax.c - largest magnitude, of all elements or of every column */
#include "kernels/cpu/cpu.h"

/* Magnitudes compare as their bits do, and a NaN's are above those of infinity: the largest bits keep it. */
static uint32_t magnitude(float x)
{
    return f32_bits(x) & 0x7fffffff;
}

void cpu_amax(struct backend *be, float *out, const void *x, size_t n)
{
    const float *from = x;
    uint32_t max;

    if (cpu_idle(be, n))
        return;
    max = magnitude(*out);
#pragma omp parallel for simd reduction(max : max) if (n > CPU_SERIAL)
    for (size_t i = 0; i < n; i++) {
        uint32_t m = magnitude(from[i]);

        max = m > max ? m : max;
    }
    *out = f32_from_bits(max);
}

void cpu_weight_amax(struct backend *be, float *out, const struct weight *w)
{
    cpu_amax(be, out, w->data, w->out * w->in);
}

/* Columns that a thread takes: their maxima stay in the L1 cache while the rows pass. */
enum { COLUMNS = 1024 };

void cpu_amax_columns(struct backend *be, float *out, const void *x, size_t rows, size_t dim)
{
    const float *from = x;

    if (cpu_idle(be, rows * dim))
        return;
#pragma omp parallel for if (rows * dim > CPU_SERIAL)
    for (size_t first = 0; first < dim; first += COLUMNS) {
        size_t end = dim - first < COLUMNS ? dim : first + COLUMNS;

        for (size_t r = 0; r < rows; r++) {
#pragma omp simd
            for (size_t c = first; c < end; c++) {
                uint32_t m = magnitude(from[r * dim + c]), max = magnitude(out[c]);

                out[c] = f32_from_bits(m > max ? m : max);
            }
        }
    }
}
