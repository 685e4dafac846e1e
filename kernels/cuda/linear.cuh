/* linear.cuh - how weights lie on the device */
#ifndef KERNELS_CUDA_LINEAR_CUH
#define KERNELS_CUDA_LINEAR_CUH

#include "kernels/cuda/fp8.cuh"

/*
 * Dense weights are [dense_padded(out), dense_padded(in)], the padding 0: tensor cores are fed in units of 16
 * bytes, and without them a bf16 product of 3420 columns runs at a third of its speed.  fp32 is not padded.
 */
static inline size_t dense_padded(const struct cuda *c, size_t n)
{
    return c->bf16_act ? (n + 7) / 8 * 8 : n;
}

/*
 * INT8 weights, and FP8 weights with FP8 tensor cores: codes [code_padded(out), code_padded(in)], the padding
 * 0.  FP8 in bf16 without those: the codes' values, unscaled, which bf16 holds exactly, as dense weights lie.
 * In fp32: values times scale, as on the CPU.
 */
static inline size_t code_padded(size_t n)
{
    return (n + 15) / 16 * 16;
}

/*
 * linear.cu: for an operation that is about to write y [rows, dim]: where the codes of its elements / d go,
 * dense, when `next` will want them.  code NULL: it will not, or is NULL; codes that y had before are
 * forgotten.
 */
struct ahead {
    uint8_t *code;
    struct divisor d;
};
struct ahead cuda_codes_ahead(struct cuda *c, const void *y, size_t rows, size_t dim,
                              const struct weight *next);

/* x [rows, code_padded(in)] in codes, on the device; scale: those of INT8's rows. */
struct codes {
    const void *code; /* NULL: none, a failure is recorded */
    const float *scale;
    size_t rows;
};

/*
 * linear_int8.cu: x's for an INT8 weight, until the next operation; rows and in are not 0.  again: those of
 * the last time will do if they are x's.
 */
struct codes cuda_codes_int8(struct cuda *c, const void *x, size_t rows, const struct weight *w, bool again);

/* linear_int8.cu: y [rows, out] fp32 or act. */
void cuda_linear_int8(struct cuda *c, void *y, bool f32, const struct codes *x, const struct weight *w);

/*
 * linear_int8_wgmma.cu: the same.  False, and nothing is done: this GPU, driver or type of activations is for
 * other kernels.
 */
bool cuda_linear_int8_wgmma(struct cuda *c, void *y, bool f32, const struct codes *x, const struct weight *w);

/*
 * score_wgmma.cu: score() of the product of codes, INT8 or E4M3, where cuda_score_wgmma_here().  False, and
 * nothing is done: the driver refuses.
 */
bool cuda_score_wgmma_here(const struct cuda *c, const void *g, const void *y, size_t rows,
                           const struct weight *w);
bool cuda_score_wgmma(struct cuda *c, double *out, const void *g, const void *y, const float *row_weight,
                      const struct codes *x, const struct weight *w);

/*
 * linear_int8.cu: q's codes and row scales from a dense weight; pre and own are device memory [in], NULL
 * without smoothing.
 */
struct int8_rounding {
    const float *pre, *own;
    bool modelopt, twice; /* twice: int8_smooth() with ROUND_MODELOPT of a bf16 weight */
};
void cuda_round_rows(struct cuda *c, const struct weight *q, const struct weight *w, struct int8_rounding r);

#endif
