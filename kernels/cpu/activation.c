/* activation.c - SwiGLU and GELU */
#include <math.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vmath.h"

void cpu_swiglu(struct backend *be, void *s, const void *g, const void *u, size_t rows, size_t dim,
                const struct weight *next)
{
    const float *gate = g, *up = u;
    float *to = s;
    size_t n = rows * dim;

    (void)next; /* here products round their inputs themselves */
    if (cpu_idle(be, n))
        return;
#pragma omp parallel for simd if (n > CPU_SERIAL)
    for (size_t i = 0; i < n; i++)
        to[i] = gate[i] / (1 + exp_f32(-gate[i])) * up[i];
}

void cpu_swiglu_dx(struct backend *be, void *dg, void *du, void *s, const void *ds, const void *g,
                   const void *u, size_t rows, size_t dim, const struct weight *next)
{
    const float *gate = g, *up = u, *dy = ds;
    float *dgate = dg, *dup = du;
    size_t n = rows * dim;

    if (cpu_idle(be, n))
        return;
    if (s)
        cpu_swiglu(be, s, g, u, rows, dim, next);
#pragma omp parallel for simd if (n > CPU_SERIAL)
    for (size_t i = 0; i < n; i++) {
        float sigmoid = 1 / (1 + exp_f32(-gate[i]));

        dup[i] = dy[i] * (gate[i] * sigmoid);
        dgate[i] = dy[i] * up[i] * (sigmoid * (1 + gate[i] * (1 - sigmoid)));
    }
}

/* The normal distribution function. */
static inline float phi(float x)
{
    return 0.5f * (1 + erff(x * (float)M_SQRT1_2));
}

void cpu_gelu(struct backend *be, void *y, const void *x, size_t n)
{
    const float *from = x;
    float *to = y;

    if (cpu_idle(be, n))
        return;
#pragma omp parallel for if (n > CPU_SERIAL)
    for (size_t i = 0; i < n; i++)
        to[i] = from[i] * phi(from[i]);
}

void cpu_gelu_dx(struct backend *be, void *dx, const void *dy, const void *x, size_t n)
{
    const float *from = x, *g = dy;
    float *to = dx;

    if (cpu_idle(be, n))
        return;
#pragma omp parallel for if (n > CPU_SERIAL)
    for (size_t i = 0; i < n; i++) {
        float a = from[i], density = 0.39894228f * exp_f32(-0.5f * a * a);

        to[i] = g[i] * (phi(a) + a * density);
    }
}
