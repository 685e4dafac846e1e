/* resize.c - the size a picture is brought to, and the two resamplers that bring it there */
#include "common/image/resize.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

/*
 * Bits after the point of a fixed-point weight.  The sum of 8-bit samples times weights must fit 32 bits;
 * torchvision moreover keeps weights in 16.
 */
enum { MAX_WEIGHT_BITS = 32 - 8 - 2, TORCHVISION_WEIGHT_LIMIT = 1 << 15 };

/*
 * The horizontal pass works on this many rows at once, turned so that they become one contiguous run for
 * every column: then both passes are weighted sums of runs of bytes, which the compiler vectorises.
 */
enum { TILE_ROWS = 64, RUN = 3 * TILE_ROWS };

/* One axis of a resampling: output i = sum over k < count[i] of weight[start[i] + k] * input first[i] + k. */
struct axis {
    size_t in, out;
    size_t *first, *count, *start; /* [out] */
    int32_t *weight;
    int bits; /* weights are scaled by 2^bits */
};

int smart_resize(size_t height, size_t width, size_t factor, size_t min_pixels, size_t max_pixels,
                 size_t *out_height, size_t *out_width, struct err *e)
{
    double h = (double)height, w = (double)width, f = (double)factor, beta, rh, rw;

    if (!height || !width)
        return err_set(e, RC_DATA, "a picture of %zu x %zu pixels is empty", width, height);
    if (fmax(h, w) / fmin(h, w) > SMART_RESIZE_MAX_ASPECT)
        return err_set(e, RC_DATA,
                       "a picture of %zu x %zu pixels is too long: one side is more than %d times the other",
                       width, height, SMART_RESIZE_MAX_ASPECT);
    rh = rint(h / f) * f; /* ties to even, as Python rounds */
    rw = rint(w / f) * f;
    if (rh * rw > (double)max_pixels) {
        beta = sqrt(h * w / (double)max_pixels);
        rh = fmax(f, floor(h / beta / f) * f);
        rw = fmax(f, floor(w / beta / f) * f);
    } else if (rh * rw < (double)min_pixels) {
        beta = sqrt((double)min_pixels / (h * w));
        rh = ceil(h * beta / f) * f;
        rw = ceil(w * beta / f) * f;
    }
    *out_height = (size_t)rh;
    *out_width = (size_t)rw;
    return 0;
}

static double cubic(double x)
{
    x = fabs(x);
    if (x < 1)
        return (1.5 * x - 2.5) * x * x + 1;
    if (x < 2)
        return (((x - 5) * x + 8) * x - 4) * -0.5;
    return 0;
}

static void axis_release(struct axis *a)
{
    free(a->weight);
    free(a->start);
    free(a->count);
    free(a->first);
    *a = (struct axis){0};
}

/* The inputs under each output's kernel and their weights, in w; the largest weight is returned. */
static double axis_weights(struct axis *a, double *w)
{
    double scale = (double)a->in / (double)a->out, stretch = fmax(scale, 1), support = 2 * stretch;
    double centre, lo, hi, sum, largest = 0;
    size_t used = 0;

    for (size_t i = 0; i < a->out; i++) {
        centre = ((double)i + 0.5) * scale;
        lo = fmax(0, trunc(centre - support + 0.5));
        hi = fmin((double)a->in, trunc(centre + support + 0.5));
        a->first[i] = (size_t)lo;
        a->count[i] = (size_t)(hi - lo);
        a->start[i] = used;
        sum = 0;
        for (size_t k = 0; k < a->count[i]; k++) {
            w[used + k] = cubic(((double)k + lo - centre + 0.5) * (1 / stretch));
            sum += w[used + k];
        }
        for (size_t k = 0; k < a->count[i]; k++, used++) {
            w[used] /= sum;
            largest = fmax(largest, w[used]);
        }
    }
    return largest;
}

static int weight_bits(double largest, enum resample how)
{
    int bits = 0;

    if (how == RESAMPLE_PIL)
        return MAX_WEIGHT_BITS;
    while (bits < MAX_WEIGHT_BITS && 0.5 + largest * (1 << (bits + 1)) < TORCHVISION_WEIGHT_LIMIT)
        bits++;
    return bits;
}

static int axis_init(struct axis *a, size_t in, size_t out, enum resample how, struct err *e)
{
    /* A kernel is 4 * max(in / out, 1) inputs wide; its ends may reach into one more each. */
    size_t most = 4 * in + 7 * out, used;
    double *w, one;
    int ret = -1;

    *a = (struct axis){.in = in, .out = out};
    a->first = mem_zalloc(out, sizeof *a->first, e);
    a->count = mem_zalloc(out, sizeof *a->count, e);
    a->start = mem_zalloc(out, sizeof *a->start, e);
    w = mem_zalloc(most, sizeof *w, e);
    if (!a->first || !a->count || !a->start || !w)
        goto out;
    a->bits = weight_bits(axis_weights(a, w), how);
    one = (double)((int64_t)1 << a->bits);
    used = a->start[out - 1] + a->count[out - 1];
    a->weight = mem_zalloc(used, sizeof *a->weight, e);
    if (!a->weight)
        goto out;
    for (size_t k = 0; k < used; k++)
        a->weight[k] = (int32_t)(w[k] * one + (w[k] < 0 ? -0.5 : 0.5));
    ret = 0;
out:
    free(w);
    if (ret)
        axis_release(a);
    return ret;
}

/* out[j] = the weighted sum of in[k * stride + j] over k, rounded and clamped, for j < n <= RUN. */
static inline void blend(uint8_t *restrict out, const uint8_t *restrict in, size_t stride,
                         const int32_t *restrict w, size_t count, int bits, size_t n)
{
    int32_t sum[RUN];

    for (size_t j = 0; j < n; j++)
        sum[j] = bits ? 1 << (bits - 1) : 0;
    for (size_t k = 0; k < count; k++)
        for (size_t j = 0; j < n; j++)
            sum[j] += w[k] * in[k * stride + j];
    for (size_t j = 0; j < n; j++) {
        int32_t v = sum[j] >> bits;

        out[j] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}

/* out[a->out, n] = a applied to the first axis of in[a->in, n]. */
static void apply(const struct axis *a, uint8_t *out, const uint8_t *in, size_t n)
{
    for (size_t i = 0; i < a->out; i++) {
        const uint8_t *from = in + a->first[i] * n;
        const int32_t *w = a->weight + a->start[i];
        size_t j = 0;

        for (; j + RUN <= n; j += RUN) /* a constant length is vectorised without remainders */
            blend(out + i * n + j, from + j, n, w, a->count[i], a->bits, RUN);
        if (j < n)
            blend(out + i * n + j, from + j, n, w, a->count[i], a->bits, n - j);
    }
}

/* out[width, rows, 3] = in[rows, width, 3] */
static void swap_axes(uint8_t *restrict out, const uint8_t *restrict in, size_t rows, size_t width)
{
    for (size_t y = 0; y < rows; y++)
        for (size_t x = 0; x < width; x++)
            memcpy(out + 3 * (x * rows + y), in + 3 * (y * width + x), 3);
}

/* out[height, out_width, 3] from in[height, width, 3] */
static int resize_horizontally(uint8_t *out, size_t out_width, const uint8_t *in, size_t height, size_t width,
                               enum resample how, struct err *e)
{
    uint8_t *tile = mem_zalloc(width, RUN, e), *resized = mem_zalloc(out_width, RUN, e);
    struct axis a = {0};
    size_t rows;
    int ret = -1;

    if (!tile || !resized || axis_init(&a, width, out_width, how, e))
        goto out;
    for (size_t y = 0; y < height; y += rows) {
        rows = height - y < TILE_ROWS ? height - y : TILE_ROWS;
        swap_axes(tile, in + 3 * y * width, rows, width);
        apply(&a, resized, tile, 3 * rows);
        swap_axes(out + 3 * y * out_width, resized, out_width, rows);
    }
    ret = 0;
out:
    axis_release(&a);
    free(resized);
    free(tile);
    return ret;
}

/* out[out_height, width, 3] from in[height, width, 3] */
static int resize_vertically(uint8_t *out, size_t out_height, const uint8_t *in, size_t height, size_t width,
                             enum resample how, struct err *e)
{
    struct axis a;

    if (axis_init(&a, height, out_height, how, e))
        return -1;
    apply(&a, out, in, 3 * width);
    axis_release(&a);
    return 0;
}

/* Pillow 13 starts with the vertical pass when that leaves fewer pixels to the other by its estimate. */
static bool vertical_first(size_t oh, size_t ow, size_t h, size_t w, enum resample how)
{
    return how == RESAMPLE_PIL && h > oh && (ptrdiff_t)(h - oh) > 2 * ((ptrdiff_t)w - (ptrdiff_t)ow);
}

int resize_rgb(uint8_t *out, size_t out_height, size_t out_width, const uint8_t *rgb, size_t height,
               size_t width, enum resample how, struct err *e)
{
    size_t oh = out_height, ow = out_width, h = height, w = width, between;
    bool down_first = vertical_first(oh, ow, h, w, how);
    uint8_t *half;
    int ret = -1;

    if (oh == h && ow == w) {
        memcpy(out, rgb, 3 * h * w);
        return 0;
    }
    if (oh == h)
        return resize_horizontally(out, ow, rgb, h, w, how, e);
    if (ow == w)
        return resize_vertically(out, oh, rgb, h, w, how, e);
    if (mem_mul(down_first ? oh : h, down_first ? w : ow, &between, "a half-resized picture", e))
        return -1;
    half = mem_zalloc(between, 3, e);
    if (!half)
        return -1;
    if (down_first) {
        if (!resize_vertically(half, oh, rgb, h, w, how, e))
            ret = resize_horizontally(out, ow, half, oh, w, how, e);
    } else {
        if (!resize_horizontally(half, ow, rgb, h, w, how, e))
            ret = resize_vertically(out, oh, half, h, ow, how, e);
    }
    free(half);
    return ret;
}
