/* elements.c - elementwise operations in fp64 */
#include <math.h>

#include "kernels/plain/plain.h"

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

void plain_swiglu(struct backend *be, void *s, const void *g, const void *u, size_t rows, size_t dim,
                  const struct weight *next)
{
    const double *gate = g, *up = u;
    double *to = s;
    size_t n = rows * dim;

    (void)next;
    if (cpu_idle(be, n))
        return;
#pragma omp parallel for
    for (size_t i = 0; i < n; i++)
        to[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

void plain_swiglu_dx(struct backend *be, void *dg, void *du, void *s, const void *ds, const void *g,
                     const void *u, size_t rows, size_t dim, const struct weight *next)
{
    const double *gate = g, *up = u, *dy = ds;
    double *dgate = dg, *dup = du;
    size_t n = rows * dim;

    if (cpu_idle(be, n))
        return;
    if (s)
        plain_swiglu(be, s, g, u, rows, dim, next);
#pragma omp parallel for
    for (size_t i = 0; i < n; i++) {
        double p = sigmoid(gate[i]), d = dy[i];

        dup[i] = d * gate[i] * p;
        dgate[i] = d * up[i] * p * (1 + gate[i] * (1 - p));
    }
}

/* The normal distribution function, and its density. */
static double phi(double x)
{
    return 0.5 * erfc(-x * M_SQRT1_2);
}

static double density(double x)
{
    return exp(-0.5 * x * x) / sqrt(2 * M_PI);
}

void plain_gelu(struct backend *be, void *y, const void *x, size_t n)
{
    const double *from = x;
    double *to = y;

    if (cpu_idle(be, n))
        return;
#pragma omp parallel for
    for (size_t i = 0; i < n; i++)
        to[i] = from[i] * phi(from[i]);
}

void plain_gelu_dx(struct backend *be, void *dx, const void *dy, const void *x, size_t n)
{
    const double *from = x, *g = dy;
    double *to = dx;

    if (cpu_idle(be, n))
        return;
#pragma omp parallel for
    for (size_t i = 0; i < n; i++)
        to[i] = g[i] * (phi(from[i]) + from[i] * density(from[i]));
}

void plain_round_fp8(struct backend *be, void *y, const void *x, size_t n, float scale)
{
    const double *from = x;
    double *to = y;

    if (cpu_idle(be, n))
        return;
    for (size_t i = 0; i < n; i++)
        to[i] = e4m3_nearest(from[i] / scale) * scale;
}
