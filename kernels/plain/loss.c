/* loss.c - likelihoods of fp32 logits, and what is measured of activations, in fp64 */
#include <math.h>

#include "kernels/plain/plain.h"

/* The first of the largest; a NaN is the largest. */
static size_t first_top(const float *z, size_t n)
{
    size_t top = 0;

    for (size_t i = 1; i < n && !isnan(z[top]); i++)
        top = z[i] <= z[top] ? top : i;
    return top;
}

static double log_sum(const float *z, size_t n)
{
    double max = z[first_top(z, n)], sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += exp(z[i] - max);
    return max + log(sum);
}

void plain_nll(struct backend *be, float *nll, float *lse, int32_t *argmax, const float *logits,
               const int32_t *target, size_t rows, size_t vocab)
{
    if (cpu_idle(be, rows * vocab))
        return;
#pragma omp parallel for
    for (size_t r = 0; r < rows; r++) {
        const float *z = logits + r * vocab;
        double sum = nll || lse ? log_sum(z, vocab) : 0;

        if (nll)
            nll[r] = target[r] < 0 ? 0 : (float)(sum - z[target[r]]);
        if (lse)
            lse[r] = (float)sum;
        if (argmax)
            argmax[r] = (int32_t)first_top(z, vocab);
    }
}

void plain_nll_dx(struct backend *be, void *dlogits, const float *logits, const float *lse,
                  const int32_t *target, const float *weight, size_t rows, size_t vocab)
{
    (void)lse;
    if (cpu_idle(be, rows * vocab))
        return;
#pragma omp parallel for
    for (size_t r = 0; r < rows; r++) {
        const float *z = logits + r * vocab;
        double *d = (double *)dlogits + r * vocab, sum = target[r] < 0 ? 0 : log_sum(z, vocab);

        for (size_t i = 0; i < vocab; i++)
            d[i] = target[r] < 0 ? 0 : weight[r] * (exp(z[i] - sum) - ((int32_t)i == target[r]));
    }
}

/* *out = max(*out, |x|), keeping NaN. */
static void widen(float *out, double x)
{
    float size = (float)fabs(x);

    if (!(size <= *out) && !isnan(*out))
        *out = size;
}

void plain_amax(struct backend *be, float *out, const void *x, size_t n)
{
    const double *from = x;

    if (cpu_idle(be, n))
        return;
    for (size_t i = 0; i < n; i++)
        widen(out, from[i]);
}

void plain_amax_columns(struct backend *be, float *out, const void *x, size_t rows, size_t dim)
{
    if (cpu_idle(be, rows * dim))
        return;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < dim; c++)
            widen(out + c, ((const double *)x)[r * dim + c]);
}

void plain_distance(struct backend *be, double *out, const void *a, const void *b, size_t n)
{
    const double *x = a, *y = b;

    if (cpu_idle(be, n))
        return;
    for (size_t i = 0; i < n; i++)
        *out += (x[i] - y[i]) * (x[i] - y[i]);
}

static const double limit = 1e10; /* of a product in a score: ModelOpt's */

void plain_score(struct backend *be, double *out, const void *g, const void *y, const void *yq,
                 const float *row_weight, size_t rows, size_t dim)
{
    const double *gradient = g, *exact = y, *rounded = yq;

    if (cpu_idle(be, rows * dim))
        return;
    for (size_t r = 0; r < rows; r++) {
        double sum = 0;

        for (size_t i = r * dim; i < (r + 1) * dim; i++) {
            double p = gradient[i] * (rounded[i] - exact[i]);
            double clamped = p > limit ? limit : p < -limit ? -limit : p; /* a NaN is neither: it stays */

            sum += p;
            out[0] += clamped * clamped;
        }
        sum *= row_weight[r];
        out[1] += 0.5 * sum * sum;
    }
}
