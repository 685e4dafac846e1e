/* amax.c - largest magnitude */
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
