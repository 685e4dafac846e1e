/*
 * plain.h - the plain backend's operations: fp64 on the CPU, each as the shortest loop that says what it is
 *
 * It is the reference of the other backends' operations, and --dtype fp64: arithmetic whose rounding, 1e-16,
 * is too small to move a value from one FP8 or INT8 code to the next.  Speed comes second: a product is
 * blocked, rows are shared among threads, and that is all.
 *
 * Activations are doubles.  What the contract of kernels/backend.h stores in fp32 stays fp32: logits,
 * log-sums, cosines and sines, ranges, scales.  Weights and memory are the CPU backend's (kernels/cpu/cpu.h):
 * fp32, which holds every type of a file exactly, and the same codes; but an FP8 weight is kept as the values
 * of its codes, without their scale.
 *
 * Rounding to a code: the quotient of x and its fp32 scale is taken in fp64 and rounded once, to nearest,
 * ties to even, at most 448 (E4M3) or in -128 .. 127 (INT8).  Products of codes are summed exactly, in either
 * format; the two scales are multiplied in afterwards.
 *
 * What a backward pass is handed of the forward pass in fp32, the log-sums, it makes again in fp64.
 */
#ifndef KERNELS_PLAIN_PLAIN_H
#define KERNELS_PLAIN_PLAIN_H

#include "kernels/cpu/cpu.h"

/* n doubles that the running operation may use.  NULL: recorded in be->err. */
static inline double *plain_scratch(struct backend *be, size_t n)
{
    return (double *)(void *)cpu_scratch(be, n > SIZE_MAX / 2 ? SIZE_MAX : 2 * n);
}

void plain_upload_act(struct backend *be, void *dst, const float *host, size_t n);

void plain_weight_load_fp8(struct backend *be, struct weight *w, size_t out, size_t in, const uint8_t *codes,
                           float scale, float input_scale);
void plain_weight_quantize(struct backend *be, struct weight *q, const struct weight *w, enum dtype from,
                           float scale, float input_scale, enum rounding r);

void plain_linear(struct backend *be, void *y, const void *x, size_t rows, const struct weight *w);
void plain_linear_f32(struct backend *be, float *y, const void *x, size_t rows, const struct weight *w);
void plain_linear_dx(struct backend *be, void *dx, const void *dy, size_t rows, const struct weight *w,
                     bool accumulate);

void plain_attention(struct backend *be, const struct attention *a, void *o, float *lse, const void *q,
                     const void *k, const void *v);
void plain_attention_dx(struct backend *be, const struct attention *a, void *dq, void *dk, void *dv,
                        const void *d_o, const void *q, const void *k, const void *v, const void *o,
                        const float *lse);

void plain_rmsnorm(struct backend *be, void *y, const void *x, const void *w, size_t rows, size_t dim,
                   float eps, const struct weight *next);
void plain_add_rmsnorm(struct backend *be, void *sum, void *y, const void *a, const void *b, const void *w,
                       size_t rows, size_t dim, float eps, const struct weight *next);
void plain_rmsnorm_dx(struct backend *be, void *dx, const void *dy, const void *x, const void *w, size_t rows,
                      size_t dim, float eps);
void plain_rope(struct backend *be, void *y, size_t y_stride, const void *x, size_t x_stride, const float *c,
                const float *s, size_t rows, size_t heads, size_t head_dim, bool inverse);
void plain_gather(struct backend *be, void *y, const void *x, const int32_t *index, size_t rows, size_t dim);
void plain_scatter(struct backend *be, void *y, const void *x, const int32_t *index, size_t rows, size_t dim);
void plain_embed(struct backend *be, void *y, const struct weight *table, const int32_t *ids, size_t rows);
void plain_patches(struct backend *be, void *y, const uint8_t *rgb, const struct patch *patch,
                   const float *table, size_t patches, size_t side, size_t frames);

void plain_swiglu(struct backend *be, void *s, const void *g, const void *u, size_t rows, size_t dim,
                  const struct weight *next);
void plain_swiglu_dx(struct backend *be, void *dg, void *du, void *s, const void *ds, const void *g,
                     const void *u, size_t rows, size_t dim, const struct weight *next);
void plain_gelu(struct backend *be, void *y, const void *x, size_t n);
void plain_gelu_dx(struct backend *be, void *dx, const void *dy, const void *x, size_t n);
void plain_round_fp8(struct backend *be, void *y, const void *x, size_t n, float scale);

void plain_nll(struct backend *be, float *nll, float *lse, int32_t *argmax, const float *logits,
               const int32_t *target, size_t rows, size_t vocab);
void plain_nll_dx(struct backend *be, void *dlogits, const float *logits, const float *lse,
                  const int32_t *target, const float *weight, size_t rows, size_t vocab);
void plain_amax(struct backend *be, float *out, const void *x, size_t n);
void plain_amax_columns(struct backend *be, float *out, const void *x, size_t rows, size_t dim);
void plain_distance(struct backend *be, double *out, const void *a, const void *b, size_t n);
void plain_score(struct backend *be, double *out, const void *g, const void *y, const void *yq,
                 const float *row_weight, size_t rows, size_t dim);

#endif
