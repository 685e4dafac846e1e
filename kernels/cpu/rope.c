/* rope.c - rotary position embedding, half-split */
#include "kernels/cpu/cpu.h"

void cpu_rope(struct backend *be, void *y, size_t y_stride, const void *x, size_t x_stride, const float *c,
              const float *s, size_t rows, size_t heads, size_t head_dim, bool inverse)
{
    size_t half = head_dim / 2;
    float sign = inverse ? -1 : 1;

    if (cpu_idle(be, rows * heads * half))
        return;
#pragma omp parallel for if (rows * heads * head_dim > CPU_SERIAL)
    for (size_t r = 0; r < rows; r++)
        for (size_t h = 0; h < heads; h++) {
            const float *from = (const float *)x + r * x_stride + h * head_dim;
            const float *cosine = c + r * half, *sine = s + r * half;
            float *to = (float *)y + r * y_stride + h * head_dim;

#pragma omp simd
            for (size_t j = 0; j < half; j++) { /* both are read first: y may be x */
                float a = from[j], b = from[j + half], sn = sign * sine[j];

                to[j] = a * cosine[j] - b * sn;
                to[j + half] = b * cosine[j] + a * sn;
            }
        }
}
