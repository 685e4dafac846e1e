/* linear.c - linear modules in fp64: y = x W^T + bias, dx = dy W, with W dense, of FP8 or of INT8 codes */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "kernels/plain/plain.h"

void plain_weight_load_fp8(struct backend *be, struct weight *w, size_t out, size_t in, const uint8_t *codes,
                           float scale, float input_scale)
{
    cpu_weight_load_fp8(be, w, out, in, codes, 1, input_scale);
    w->scale = scale;
}

void plain_weight_quantize(struct backend *be, struct weight *q, const struct weight *w, enum dtype from,
                           float scale, float input_scale, enum rounding r)
{
    uint8_t *codes = cpu_alloc(be, w->out * w->in);
    bool twice = r == ROUND_MODELOPT && from == DT_BF16;

    if (codes)
        (twice ? fp8_encode_twice : fp8_encode)(codes, w->data, w->out * w->in, scale);
    plain_weight_load_fp8(be, q, w->out, w->in, codes, scale, input_scale);
    q->bias = w->bias;
    cpu_free(be, codes);
}

enum {
    ROWS = 256,  /* of x that pass every panel before the next come */
    COLUMNS = 32 /* of a panel */
};

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* W[o, i], as a code where W has codes. */
static double element(const struct weight *w, size_t o, size_t i)
{
    size_t at = o * w->in + i;

    return w->format == WEIGHT_INT8 ? ((const int8_t *)w->data)[at] : ((const float *)w->data)[at];
}

/* What a code of row o of W stands for. */
static double row_scale(const struct weight *w, size_t o)
{
    return w->format == WEIGHT_INT8 ? w->row_scale[o] : w->format == WEIGHT_FP8 ? w->scale : 1;
}

/* The largest |x|; NaN if there is one. */
static double range(const double *x, size_t n)
{
    double max = 0;

    for (size_t i = 0; i < n && !isnan(max); i++)
        max = fabs(x[i]) <= max ? max : fabs(x[i]);
    return max;
}

/* y [in] = what of a row x enters the product; returns what it is to be multiplied by then. */
static double encode(double *y, const double *x, const struct weight *w)
{
    double scale = w->input_scale, amax;

    for (size_t i = 0; i < w->in; i++)
        y[i] = w->pre_scale ? x[i] * w->pre_scale[i] : x[i];
    if (w->format == WEIGHT_DENSE)
        return 1;
    if (w->format == WEIGHT_FP8) {
        for (size_t i = 0; i < w->in; i++)
            y[i] = e4m3_nearest(y[i] / scale);
        return scale;
    }
    amax = range(y, w->in);
    if (scale == 0)
        scale = isfinite(amax) ? int8_scale((float)amax, ROUND_EXACT) : NAN;
    for (size_t i = 0; i < w->in; i++)
        y[i] = fmin(fmax(rint(y[i] / scale), -128), 127);
    return isnan(amax) ? NAN : scale; /* no code can say it */
}

typedef double vector __attribute__((vector_size(64), may_alias)); /* a compiler splits it where it must */

/* sum [COLUMNS] = x [k] times a panel [k, COLUMNS] */
static void multiply(double *sum, const double *x, const double *panel, size_t k)
{
    const vector *p = (const vector *)panel;
    vector acc[4] = {0};

    for (size_t i = 0; i < k; i++, p += 4) {
        acc[0] += x[i] * p[0];
        acc[1] += x[i] * p[1];
        acc[2] += x[i] * p[2];
        acc[3] += x[i] * p[3];
    }
    memcpy(sum, acc, sizeof acc);
}

/* y [rows, out] = code [rows, in] W^T, times the scales of both; as fp32 in y32 if that is not NULL. */
static void forward(double *y, float *y32, const double *code, const double *scale, size_t rows,
                    const struct weight *w, double *room)
{
    const double *bias = w->bias;

#pragma omp parallel for
    for (size_t j = 0; j < w->out; j += COLUMNS) {
        double *panel = room + (size_t)omp_get_thread_num() * w->in * COLUMNS, sum[COLUMNS];
        size_t width = min(COLUMNS, w->out - j);

        for (size_t i = 0; i < w->in; i++)
            for (size_t c = 0; c < COLUMNS; c++)
                panel[i * COLUMNS + c] = c < width ? element(w, j + c, i) : 0;
        for (size_t r = 0; r < rows; r++) {
            multiply(sum, code + r * w->in, panel, w->in);
            for (size_t c = 0; c < width; c++) {
                double v = sum[c] * (scale[r] * row_scale(w, j + c)) + (bias ? bias[j + c] : 0);

                if (y32)
                    y32[r * w->out + j + c] = (float)v;
                else
                    y[r * w->out + j + c] = v;
            }
        }
    }
}

static void linear(struct backend *be, double *y, float *y32, const double *x, size_t rows,
                   const struct weight *w)
{
    size_t panels = (size_t)omp_get_max_threads() * w->in * COLUMNS;
    double *room, *code, *scale;

    if (cpu_idle(be, rows * w->out) || !(room = plain_scratch(be, panels + ROWS * (w->in + 1))))
        return;
    code = room + panels;
    scale = code + ROWS * w->in;
    for (size_t first = 0; first < rows; first += ROWS) {
        size_t now = min(ROWS, rows - first), at = first * w->out;

#pragma omp parallel for
        for (size_t r = 0; r < now; r++)
            scale[r] = encode(code + r * w->in, x + (first + r) * w->in, w);
        forward(y ? y + at : NULL, y32 ? y32 + at : NULL, code, scale, now, w, room);
    }
}

void plain_linear(struct backend *be, void *y, const void *x, size_t rows, const struct weight *w)
{
    linear(be, y, NULL, x, rows, w);
}

void plain_linear_f32(struct backend *be, float *y, const void *x, size_t rows, const struct weight *w)
{
    linear(be, NULL, y, x, rows, w);
}

void plain_linear_dx(struct backend *be, void *dx, const void *dy, size_t rows, const struct weight *w,
                     bool accumulate)
{
    double *room, *to = dx;
    const double *g = dy;

    if (cpu_idle(be, rows * w->in) ||
        !(room = plain_scratch(be, (size_t)omp_get_max_threads() * w->out * COLUMNS)))
        return;
#pragma omp parallel for
    for (size_t j = 0; j < w->in; j += COLUMNS) {
        double *panel = room + (size_t)omp_get_thread_num() * w->out * COLUMNS, sum[COLUMNS];
        size_t width = min(COLUMNS, w->in - j);

        for (size_t o = 0; o < w->out; o++)
            for (size_t c = 0; c < COLUMNS; c++)
                panel[o * COLUMNS + c] = c < width ? element(w, o, j + c) : 0;
        for (size_t r = 0; r < rows; r++) {
            multiply(sum, g + r * w->out, panel, w->out);
            for (size_t c = 0; c < width; c++)
                to[r * w->in + j + c] = (accumulate ? to[r * w->in + j + c] : 0) + sum[c];
        }
    }
}
