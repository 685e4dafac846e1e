/* rows.c - rows in fp64: normalised, rotated, moved, looked up, cut out of pictures */
#include <math.h>
#include <string.h>

#include "kernels/plain/plain.h"

static double inverse_rms(const double *x, size_t dim, double eps)
{
    double sum = 0;

    for (size_t i = 0; i < dim; i++)
        sum += x[i] * x[i];
    return 1 / sqrt(sum / (double)dim + eps);
}

void plain_rmsnorm(struct backend *be, void *y, const void *x, const void *w, size_t rows, size_t dim,
                   float eps, const struct weight *next)
{
    const double *weight = w;

    (void)next;
    if (cpu_idle(be, rows * dim))
        return;
#pragma omp parallel for
    for (size_t r = 0; r < rows; r++) {
        const double *from = (const double *)x + r * dim;
        double *to = (double *)y + r * dim, inv = inverse_rms(from, dim, eps);

        for (size_t i = 0; i < dim; i++)
            to[i] = weight[i] * from[i] * inv;
    }
}

void plain_add_rmsnorm(struct backend *be, void *sum, void *y, const void *a, const void *b, const void *w,
                       size_t rows, size_t dim, float eps, const struct weight *next)
{
    const double *s = a, *t = b;
    double *to = sum;

    if (cpu_idle(be, rows * dim))
        return;
    for (size_t i = 0; i < rows * dim; i++)
        to[i] = s[i] + t[i];
    plain_rmsnorm(be, y, sum, w, rows, dim, eps, next);
}

/* With xn = x inv and q = w dy: dx += inv (q - xn mean(q xn)). */
void plain_rmsnorm_dx(struct backend *be, void *dx, const void *dy, const void *x, const void *w, size_t rows,
                      size_t dim, float eps)
{
    const double *weight = w;

    if (cpu_idle(be, rows * dim))
        return;
#pragma omp parallel for
    for (size_t r = 0; r < rows; r++) {
        const double *g = (const double *)dy + r * dim, *from = (const double *)x + r * dim;
        double *to = (double *)dx + r * dim, inv = inverse_rms(from, dim, eps), mean = 0;

        for (size_t i = 0; i < dim; i++)
            mean += weight[i] * g[i] * from[i] * inv / (double)dim;
        for (size_t i = 0; i < dim; i++)
            to[i] += inv * (weight[i] * g[i] - from[i] * inv * mean);
    }
}

void plain_rope(struct backend *be, void *y, size_t y_stride, const void *x, size_t x_stride, const float *c,
                const float *s, size_t rows, size_t heads, size_t head_dim, bool inverse)
{
    size_t half = head_dim / 2;

    if (cpu_idle(be, rows * heads * half))
        return;
#pragma omp parallel for
    for (size_t r = 0; r < rows; r++)
        for (size_t h = 0; h < heads; h++) {
            const double *from = (const double *)x + r * x_stride + h * head_dim;
            double *to = (double *)y + r * y_stride + h * head_dim;

            for (size_t j = 0; j < half; j++) { /* both are read first: y may be x */
                double a = from[j], b = from[j + half], cosine = c[r * half + j];
                double sine = inverse ? -s[r * half + j] : s[r * half + j];

                to[j] = a * cosine - b * sine;
                to[j + half] = b * cosine + a * sine;
            }
        }
}

void plain_gather(struct backend *be, void *y, const void *x, const int32_t *index, size_t rows, size_t dim)
{
    if (cpu_idle(be, rows * dim))
        return;
    for (size_t r = 0; r < rows; r++)
        memcpy((double *)y + r * dim, (const double *)x + (size_t)index[r] * dim, dim * sizeof(double));
}

void plain_scatter(struct backend *be, void *y, const void *x, const int32_t *index, size_t rows, size_t dim)
{
    if (cpu_idle(be, rows * dim))
        return;
    for (size_t r = 0; r < rows; r++)
        memcpy((double *)y + (size_t)index[r] * dim, (const double *)x + r * dim, dim * sizeof(double));
}

void plain_embed(struct backend *be, void *y, const struct weight *table, const int32_t *ids, size_t rows)
{
    size_t dim = table->in;

    if (cpu_idle(be, rows * dim))
        return;
    for (size_t r = 0; r < rows; r++)
        plain_upload_act(be, (double *)y + r * dim, (const float *)table->data + (size_t)ids[r] * dim, dim);
}

void plain_patches(struct backend *be, void *y, const uint8_t *rgb, const struct patch *patch,
                   const float *table, size_t patches, size_t side, size_t frames)
{
    double *to = y;

    if (cpu_idle(be, patches * frames * side))
        return;
    for (size_t r = 0; r < patches; r++)
        for (size_t channel = 0; channel < 3; channel++)
            for (size_t frame = 0; frame < frames; frame++)
                for (size_t i = 0; i < side; i++) {
                    const uint8_t *line = rgb + patch[r].first + (int64_t)i * patch[r].stride;

                    for (size_t j = 0; j < side; j++)
                        *to++ = table[channel * 256 + line[3 * j + channel]];
                }
}
