/*
 * weight.c - weights on the CPU: fp32 [out, in], whatever the file held; of INT8 weights the codes
 *
 * An FP8 weight is kept decoded, code * scale: a product then is an ordinary one.
 */
#include <omp.h>
#include <string.h>

#include "common/base/mem.h"
#include "kernels/cpu/cpu.h"

static size_t element(int format)
{
    return format == WEIGHT_INT8 ? sizeof(int8_t) : sizeof(float);
}

/*
 * Room for [out, in] of a format in w, that of an earlier load if it fits; *n = out * in.  -1: recorded in
 * be->err, and w is empty.
 */
static int reserve(struct backend *be, struct weight *w, int format, size_t out, size_t in, size_t *n)
{
    size_t bytes;

    if (be->err.rc != RC_OK || mem_mul(out, in, n, "a weight", &be->err) ||
        mem_mul(*n, element(format), &bytes, "a weight", &be->err))
        return -1;
    if (!w->data || w->out * w->in * element((int)w->format) != bytes) {
        cpu_weight_free(be, w);
        w->data = cpu_alloc(be, bytes);
    }
    w->format = format;
    w->out = out;
    w->in = in;
    return w->data ? 0 : -1;
}

static uint16_t half_at(const unsigned char *host, size_t i)
{
    uint16_t h;

    memcpy(&h, host + 2 * i, sizeof h);
    return h;
}

void cpu_weight_load(struct backend *be, struct weight *w, size_t out, size_t in, const void *host,
                     enum dtype from)
{
    const unsigned char *h = host;
    float *d;
    size_t n;

    if (reserve(be, w, WEIGHT_DENSE, out, in, &n))
        return;
    d = w->data;
    switch (from) {
    case DT_F32:
        if (n)
            memcpy(d, host, n * sizeof *d);
        break;
    case DT_BF16:
#pragma omp parallel for simd if (n > CPU_SERIAL)
        for (size_t i = 0; i < n; i++)
            d[i] = bf16_to_f32(half_at(h, i));
        break;
    case DT_F16:
#pragma omp parallel for if (n > CPU_SERIAL)
        for (size_t i = 0; i < n; i++)
            d[i] = f16_to_f32(half_at(h, i));
        break;
    default:
        err_set(&be->err, RC_DATA,
                "a dense weight is F32, BF16 or F16 in its file; this one is of another type");
    }
}

/* Pieces that the threads take; large beside the decoding table that each piece builds. */
enum { PIECE = 16384 };

void cpu_weight_load_fp8(struct backend *be, struct weight *w, size_t out, size_t in, const uint8_t *codes,
                         float scale, float input_scale)
{
    float *d;
    size_t n;

    if (reserve(be, w, WEIGHT_FP8, out, in, &n))
        return;
    w->scale = scale;
    w->input_scale = input_scale;
    d = w->data;
#pragma omp parallel for if (n > PIECE)
    for (size_t i = 0; i < n; i += PIECE)
        fp8_decode(d + i, codes + i, n - i < PIECE ? n - i : PIECE, scale);
}

static void round_twice(float *y, const float *x, size_t n, float scale)
{
    uint8_t code[PIECE];

    fp8_encode_twice(code, x, n, scale);
    fp8_decode(y, code, n, scale);
}

void cpu_weight_quantize(struct backend *be, struct weight *q, const struct weight *w, enum dtype from,
                         float scale, float input_scale, enum rounding r)
{
    bool twice = r == ROUND_MODELOPT && from == DT_BF16;
    const float *x = w->data;
    float *y;
    size_t n;

    if (reserve(be, q, WEIGHT_FP8, w->out, w->in, &n))
        return;
    q->scale = scale;
    q->input_scale = input_scale;
    q->bias = w->bias;
    y = q->data;
#pragma omp parallel for if (n > PIECE)
    for (size_t i = 0; i < n; i += PIECE) {
        size_t now = n - i < PIECE ? n - i : PIECE;

        if (twice)
            round_twice(y + i, x + i, now, scale);
        else
            fp8_round(y + i, x + i, now, scale);
    }
}

/* A copy of n numbers in *to, which may hold an earlier one; from NULL: none.  -1: recorded in be->err. */
static int put_vector(struct backend *be, float **to, const float *from, size_t n)
{
    cpu_free(be, *to);
    *to = from ? cpu_alloc(be, n * sizeof **to) : NULL;
    if (*to && n)
        memcpy(*to, from, n * sizeof **to);
    return !from || *to ? 0 : -1;
}

void cpu_weight_load_int8(struct backend *be, struct weight *w, size_t out, size_t in, const int8_t *codes,
                          const float *row_scale, float input_scale, const float *pre_scale)
{
    size_t n;

    if (reserve(be, w, WEIGHT_INT8, out, in, &n) || put_vector(be, &w->row_scale, row_scale, out) ||
        put_vector(be, &w->pre_scale, pre_scale, in))
        return;
    w->input_scale = input_scale;
    if (n)
        memcpy(w->data, codes, n);
}

static float largest(const float *x, size_t n)
{
    uint32_t max = 0;

#pragma omp simd reduction(max : max)
    for (size_t i = 0; i < n; i++) {
        uint32_t m = f32_bits(x[i]) & 0x7fffffff;

        max = m > max ? m : max;
    }
    return f32_from_bits(max);
}

void cpu_weight_quantize_int8(struct backend *be, struct weight *q, const struct weight *w, enum dtype from,
                              const struct smooth *smooth, float input_scale, enum rounding r)
{
    bool smoothed = smooth && smooth->pre;
    size_t in = w->in, n;
    float *room;

    if (reserve(be, q, WEIGHT_INT8, w->out, in, &n) ||
        put_vector(be, &q->pre_scale, smoothed && !smooth->folded ? smooth->pre : NULL, in))
        return;
    cpu_free(be, q->row_scale);
    q->row_scale = cpu_alloc(be, w->out * sizeof *q->row_scale);
    room = smoothed ? cpu_scratch(be, in * (size_t)omp_get_max_threads()) : NULL;
    if (be->err.rc != RC_OK)
        return;
    q->input_scale = input_scale;
    q->bias = w->bias;
#pragma omp parallel for if (n > PIECE)
    for (size_t o = 0; o < w->out; o++) {
        const float *row = (const float *)w->data + o * in;

        if (smoothed) {
            float *y = room + (size_t)omp_get_thread_num() * in;

            int8_smooth(y, row, in, smooth, from, r);
            row = y;
        }
        q->row_scale[o] = int8_scale(largest(row, in), r);
        int8_encode((int8_t *)q->data + o * in, row, in, q->row_scale[o]);
    }
}

void cpu_weight_free(struct backend *be, struct weight *w)
{
    const void *bias = w->bias;

    cpu_free(be, w->row_scale);
    cpu_free(be, w->pre_scale);
    cpu_free(be, w->data);
    *w = (struct weight){.bias = bias};
}
