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
 * FP8 weights with FP8 tensor cores: E4M3 codes [fp8_padded(out), fp8_padded(in)], the padding 0.  In bf16
 * without them: the codes' values, unscaled, which bf16 holds exactly, as dense weights lie.  In fp32: values
 * times scale, as on the CPU.
 */
static inline size_t fp8_padded(size_t n)
{
    return (n + 15) / 16 * 16;
}

/*
 * INT8 weights: codes [int8_padded(out), int8_padded(in)], the padding 0, on every device that the backend
 * runs on.
 */
static inline size_t int8_padded(size_t n)
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

/* linear_int8.cu: y [rows, out] fp32 or act; rows and in are not 0.  again: codes of the last time will do if
 * they are x's. */
void cuda_linear_int8(struct cuda *c, void *y, bool f32, const void *x, size_t rows, const struct weight *w,
                      bool again);

/*
 * linear_int8_wgmma.cu: the same from codes of x [rows, int8_padded(in)] and their scales [rows].  False, and
 * nothing is done: this GPU, driver or type of activations is for other kernels.
 */
bool cuda_linear_int8_wgmma(struct cuda *c, void *y, bool f32, const int8_t *code, const float *row_scale,
                            size_t rows, const struct weight *w);

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
