/*
 * weight.c - weights on the CPU: fp32 [out, in], whatever the file held
 *
 * An FP8 weight is kept decoded, code * scale: a product then is an ordinary one.
 */
#include <string.h>

#include "common/base/mem.h"
#include "kernels/cpu/cpu.h"

/* Room for [out, in] in w, that of an earlier load if it fits; *n = out * in.  -1: recorded in be->err. */
static int reserve(struct backend *be, struct weight *w, size_t out, size_t in, size_t *n)
{
    size_t bytes;

    if (be->err.rc != RC_OK || mem_mul(out, in, n, "a weight", &be->err) ||
        mem_mul(*n, sizeof(float), &bytes, "a weight", &be->err))
        return -1;
    if (!w->data || w->out * w->in != *n) {
        cpu_weight_free(be, w);
        w->data = cpu_alloc(be, bytes);
    }
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

    if (reserve(be, w, out, in, &n))
        return;
    w->format = WEIGHT_DENSE;
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

    if (reserve(be, w, out, in, &n))
        return;
    w->format = WEIGHT_FP8;
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

    if (reserve(be, q, w->out, w->in, &n))
        return;
    q->format = WEIGHT_FP8;
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

void cpu_weight_free(struct backend *be, struct weight *w)
{
    const void *bias = w->bias;

    cpu_free(be, w->data);
    *w = (struct weight){.bias = bias};
}
