/*
 * cpu.h - the CPU backend's own state, and its operations
 *
 * fp32, OpenMP.  Work is cut into pieces that do not depend on the number of threads, and each result is
 * computed inside one piece in one order, so neither do its bits.  Nothing here asks for more than a few
 * barriers per operation, but GCC's run time spins at each for up to 16 ms of a recent CPU: beside other
 * programs, set OMP_WAIT_POLICY=passive (a [512, 192] -> 192 product took 10 ms without, 0.2 ms with it on
 * two busy cores).  The operations' contracts are in kernels/backend.h.
 */
#ifndef KERNELS_CPU_CPU_H
#define KERNELS_CPU_CPU_H

#include "kernels/backend.h"

struct cpu {
    struct backend be; /* first: a struct backend * is a struct cpu * */
    void *scratch;     /* of the operation that runs; grows, never shrinks */
    size_t scratch_bytes;
};

/*
 * Work that the calling thread does alone, since waking the others would take as long (some 10 us): elements
 * of a loop, and multiply-adds of a product.
 */
enum { CPU_SERIAL = 1 << 15, CPU_SERIAL_PRODUCT = 1 << 19 };

/* True when there is nothing to do: no elements, or a failure that nobody has asked about yet. */
static inline bool cpu_idle(const struct backend *be, size_t n)
{
    return n == 0 || be->err.rc != RC_OK;
}

/* n floats that the running operation may use, aligned to 64 bytes.  NULL: recorded in be->err. */
float *cpu_scratch(struct backend *be, size_t n);

void *cpu_alloc(struct backend *be, size_t bytes);
void cpu_free(struct backend *be, void *p);
size_t cpu_spare(struct backend *be);
void cpu_copy(struct backend *be, void *dst, const void *src, size_t bytes); /* also upload and download */
void cpu_upload_act(struct backend *be, void *dst, const float *host, size_t n);
void cpu_download_act(struct backend *be, float *host, const void *src, size_t n);
void cpu_zero(struct backend *be, void *dst, size_t bytes);

void cpu_weight_load(struct backend *be, struct weight *w, size_t out, size_t in, const void *host,
                     enum dtype from);
void cpu_weight_load_fp8(struct backend *be, struct weight *w, size_t out, size_t in, const uint8_t *codes,
                         float scale, float input_scale);
void cpu_weight_quantize(struct backend *be, struct weight *q, const struct weight *w, enum dtype from,
                         float scale, float input_scale, enum rounding r);
void cpu_weight_load_int8(struct backend *be, struct weight *w, size_t out, size_t in, const int8_t *codes,
                          const float *row_scale, float input_scale, const float *pre_scale);
void cpu_weight_quantize_int8(struct backend *be, struct weight *q, const struct weight *w, enum dtype from,
                              const struct smooth *smooth, float input_scale, enum rounding r);
void cpu_weight_free(struct backend *be, struct weight *w);

void cpu_linear(struct backend *be, void *y, const void *x, size_t rows, const struct weight *w);
void cpu_linear_f32(struct backend *be, float *y, const void *x, size_t rows, const struct weight *w);
/* linear_int8.c: cpu_linear() of an INT8 weight */
void cpu_linear_int8(struct backend *be, float *y, const float *x, size_t rows, const struct weight *w);
void cpu_linear_dx(struct backend *be, void *dx, const void *dy, size_t rows, const struct weight *w,
                   bool accumulate);

void cpu_rmsnorm(struct backend *be, void *y, const void *x, const void *w, size_t rows, size_t dim,
                 float eps, const struct weight *next);
void cpu_add_rmsnorm(struct backend *be, void *sum, void *y, const void *a, const void *b, const void *w,
                     size_t rows, size_t dim, float eps, const struct weight *next);
void cpu_rmsnorm_dx(struct backend *be, void *dx, const void *dy, const void *x, const void *w, size_t rows,
                    size_t dim, float eps);
void cpu_rope(struct backend *be, void *y, size_t y_stride, const void *x, size_t x_stride, const float *c,
              const float *s, size_t rows, size_t heads, size_t head_dim, bool inverse);

void cpu_attention(struct backend *be, const struct attention *a, void *o, float *lse, const void *q,
                   const void *k, const void *v);
void cpu_attention_dx(struct backend *be, const struct attention *a, void *dq, void *dk, void *dv,
                      const void *d_o, const void *q, const void *k, const void *v, const void *o,
                      const float *lse);

void cpu_swiglu(struct backend *be, void *s, const void *g, const void *u, size_t rows, size_t dim,
                const struct weight *next);
void cpu_swiglu_dx(struct backend *be, void *dg, void *du, void *s, const void *ds, const void *g,
                   const void *u, size_t rows, size_t dim, const struct weight *next);
void cpu_gelu(struct backend *be, void *y, const void *x, size_t n);
void cpu_gelu_dx(struct backend *be, void *dx, const void *dy, const void *x, size_t n);

void cpu_gather(struct backend *be, void *y, const void *x, const int32_t *index, size_t rows, size_t dim);
void cpu_scatter(struct backend *be, void *y, const void *x, const int32_t *index, size_t rows, size_t dim);
void cpu_patches(struct backend *be, void *y, const uint8_t *rgb, const struct patch *patch,
                 const float *table, size_t patches, size_t side, size_t frames);
void cpu_embed(struct backend *be, void *y, const struct weight *table, const int32_t *ids, size_t rows);

void cpu_narrow(struct backend *be, void *y, const float *x, size_t n);
void cpu_nll(struct backend *be, float *nll, float *lse, int32_t *argmax, const float *logits,
             const int32_t *target, size_t rows, size_t vocab);
void cpu_nll_dx(struct backend *be, void *dlogits, const float *logits, const float *lse,
                const int32_t *target, const float *weight, size_t rows, size_t vocab);
void cpu_compare(struct backend *be, struct row_stats *out, const float *p, const float *q, size_t rows,
                 size_t vocab);

void cpu_amax(struct backend *be, float *out, const void *x, size_t n);
void cpu_weight_amax(struct backend *be, float *out, const struct weight *w);
void cpu_amax_columns(struct backend *be, float *out, const void *x, size_t rows, size_t dim);
void cpu_distance(struct backend *be, double *out, const void *a, const void *b, size_t n);
void cpu_round_fp8(struct backend *be, void *y, const void *x, size_t n, float scale);
void cpu_score(struct backend *be, double *out, const void *g, const void *y, const void *yq,
               const float *row_weight, size_t rows, size_t dim);

#endif
