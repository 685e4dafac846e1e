/*
 * backend.h - the operations that the model is written against
 *
 * A backend is a table of operations on device memory.  There are three: the CPU's in fp32, the GPU's, and
 * the plain one, in fp64 on the CPU, which is the reference of their operations.  Model code calls
 * be->op(be, ...) and never looks at an element itself.
 *
 *   - Device pointers come from be->alloc(); sizes are in elements unless the name says _bytes.
 *   - "act" is the backend's activation type: bf16, fp32 or fp64 (be->act_bytes is 2, 4 or 8).  Under fp64,
 *     what is said to be computed in fp32 is computed in fp64; what is said to be stored in fp32 is.
 *   - Matrices are row-major and dense, [rows, dim], unless a stride (in elements between rows) is given.
 *   - rows or n of 0 is valid and does nothing.
 *   - Operations return nothing: the first failure stays in the backend and be_check() hands it out.  A walk asks
 *     once per block, not once per call; until then operations do nothing, whatever their operands.
 *   - Fixed reduction order: the same input gives the same bits, whatever the number of threads.
 *   - NaN goes in, NaN comes out: no operation hides one.
 *   - Outputs may not overlap inputs, except where "in place" is allowed.
 */
#ifndef KERNELS_BACKEND_H
#define KERNELS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/fp8.h"
#include "common/base/int8.h"
#include "common/base/numeric.h"

struct backend;

/*
 * W [out, in] and bias of one linear module as a backend holds them; data's representation is the backend's
 * own.
 */
struct weight {
    enum { WEIGHT_NONE, WEIGHT_DENSE, WEIGHT_FP8, WEIGHT_INT8 } format;
    size_t out, in;
    void *data;
    const void *bias;         /* [out] act, borrowed, or NULL */
    /*
     * FP8: W ~ code * scale, X ~ code * input_scale.  INT8: input_scale 0: every row of X has a scale of its
     * own, int8_scale() of its range when it runs
     */
    float scale, input_scale;
    float *row_scale;         /* INT8: device fp32 [out], owned: W[o] ~ code * row_scale[o] */
    /* INT8: device fp32 [in], owned, or NULL: X is multiplied by it before it is rounded */
    float *pre_scale;
};

/* Rows of segments, one after another, each attending only within itself. */
struct attention {
    size_t segments;
    /* device, [segments + 1]: segment s has query rows cu_q[s] .. cu_q[s+1]; cu_k may be cu_q */
    const int32_t *cu_q, *cu_k;
    size_t max_q, max_k;        /* longest segment */
    size_t heads, kv_heads, head_dim; /* query head i reads kv head i / (heads / kv_heads) */
    /* elements from row to row; heads lie side by side in a row */
    size_t q_stride, k_stride, v_stride, o_stride;
    double scale;               /* of q . k, before the softmax */
    bool causal;                /* query i of nq sees keys 0 .. nk - nq + i */
};

/*
 * A patch of a picture [.., 3] of bytes: where its first pixel is, and how far from line to line, in bytes.
 */
struct patch {
    int64_t first, stride;
};

/*
 * Comparison of two rows of logits, reference p and candidate q: P = softmax(p), Q = softmax(q); natural
 * logarithms, fp64 sums over the vocabulary, fp64 exponentials.  compare() reads `label` and writes all else.
 * A NaN or an infinity in a row makes its kl and sq NaN (or infinite); its other figures then mean nothing.
 *
 * The order of a row is by logit, largest first, and of equal logits the first index first.
 */
enum { ROW_TOP = 10 }; /* how far orders are compared */
struct row_stats {
    /* in: the token that follows, less than vocab; negative: none, and its figures are 0 */
    int32_t label;
    /*
     * tokens that the orders of p and q have in common at their start, up to ROW_TOP (and vocab); top-k
     * agreement is agree >= k, the same argmax agree >= 1
     */
    int32_t agree;
    int32_t rank_p, rank_q; /* of the label in either order, from 0: it is in the top k when rank < k */
    double nll_p, nll_q;    /* -log P(label), -log Q(label) */
    double top_p;           /* the largest probability of P */
    double kl, kl_back;     /* KL(P || Q), KL(Q || P); not below 0 */
    /* Jensen-Shannon: KL(P || M) / 2 + KL(Q || M) / 2, M = (P + Q) / 2; at most log 2 */
    double js;
    double sq, sq_centred;  /* sum of (q - p)^2; the same after subtracting its mean from either row */
    double max_abs;         /* max |q - p| */
    /*
     * cosine of p and q; after subtracting its mean from either.  1 for equal rows, otherwise 0 when one has
     * no length
     */
    double cos, cos_centred;
};

struct backend {
    const char *name; /* "cpu" */
    size_t act_bytes;
    struct err err; /* the first failure; see be_check() */
    size_t batch_rows;  /* rows that go through a model together: enough to keep the device busy */
    size_t logit_bytes; /* what a chunk of fp32 logits may take */
    /* Activations that stay inside a block run best in multiples of so many columns: see be_width(). */
    size_t width_unit;

    void (*close)(struct backend *);

    /* Memory.  alloc() returns NULL after a failure, which is recorded; free(NULL) is allowed. */
    void *(*alloc)(struct backend *, size_t bytes);
    void (*free)(struct backend *, void *);
    /*
     * Bytes that a caller may take to save time: what a GPU has free, or on the CPU, whose memory others use
     * too, 1 GiB.
     */
    size_t (*spare)(struct backend *);
    void (*upload)(struct backend *, void *dst, const void *host, size_t bytes);
    void (*download)(struct backend *, void *host, const void *src, size_t bytes);
    void (*upload_act)(struct backend *, void *dst, const float *host, size_t n);
    void (*download_act)(struct backend *, float *host, const void *src, size_t n);
    void (*zero)(struct backend *, void *dst, size_t bytes);
    void (*copy)(struct backend *, void *dst, const void *src, size_t bytes); /* device to device */

    /*
     * Weights.  weight_load(): from host memory of type F32, BF16 or F16 (which may be unaligned), [out, in].
     * weight_load_fp8(): from E4M3 codes.  weight_quantize(): q = W of a dense weight in FP8; `from` is the
     * type W had in its file, which ROUND_MODELOPT depends on; q shares W's bias.  The struct is zeroed, or
     * from an earlier load: data is allocated on first use and used again for a matrix of the same size.
     * Loading leaves w->bias as it is, freeing too.
     */
    void (*weight_load)(struct backend *, struct weight *w, size_t out, size_t in, const void *host,
                        enum dtype from);
    void (*weight_load_fp8)(struct backend *, struct weight *w, size_t out, size_t in, const uint8_t *codes,
                            float scale, float input_scale);
    void (*weight_quantize)(struct backend *, struct weight *q, const struct weight *w, enum dtype from,
                            float scale, float input_scale, enum rounding r);
    void (*weight_free)(struct backend *, struct weight *w);

    /*
     * The same for INT8, whose codes are those of common/base/int8.h; all arrays but w are host memory.
     * row_scale [out], pre_scale [in] or NULL.  weight_quantize_int8(): columns of W are first divided by
     * smooth->pre (int8_smooth(); NULL: none), then every row gets the scale of its own range; the input is
     * multiplied by smooth->pre unless smooth->folded says that it comes so from the norm before.
     */
    void (*weight_load_int8)(struct backend *, struct weight *w, size_t out, size_t in, const int8_t *codes,
                             const float *row_scale, float input_scale, const float *pre_scale);
    void (*weight_quantize_int8)(struct backend *, struct weight *q, const struct weight *w, enum dtype from,
                                 const struct smooth *smooth, float input_scale, enum rounding r);

    /*
     * y [rows, out] = x [rows, in] W^T + bias.  An FP8 weight takes x rounded to FP8 by its input_scale, an
     * INT8 weight x (times pre_scale) rounded to INT8; the products of INT8 codes are summed exactly, in 32
     * bits.
     */
    void (*linear)(struct backend *, void *y, const void *x, size_t rows, const struct weight *w);
    /*
     * linear() of an x that is as a linear() before had it or as an operation with `next` left it: what that
     * made of x may serve again.
     */
    void (*linear_again)(struct backend *, void *y, const void *x, size_t rows, const struct weight *w);
    /* dx [rows, in] = dy [rows, out] W, or += when accumulate.  Dense weights only. */
    void (*linear_dx)(struct backend *, void *dx, const void *dy, size_t rows, const struct weight *w,
                      bool accumulate);
    /* The same as linear(), with fp32 output whatever act is: logits. */
    void (*linear_f32)(struct backend *, float *y, const void *x, size_t rows, const struct weight *w);

    /*
     * Operations with `next`: the weight that linear_again() will multiply their output by first, or NULL
     * where that is not known.  What it will make of its input, codes, may be made here; the output is the
     * same.
     */

    /*
     * y[r] = w * x[r] / sqrt(mean(x[r]^2) + eps), and dx += its transposed Jacobian times dy.  w is act.
     * add_rmsnorm: sum = a + b, in place allowed, then y of x = sum: the bits of rmsnorm().
     */
    void (*rmsnorm)(struct backend *, void *y, const void *x, const void *w, size_t rows, size_t dim,
                    float eps, const struct weight *next);
    void (*add_rmsnorm)(struct backend *, void *sum, void *y, const void *a, const void *b, const void *w,
                        size_t rows, size_t dim, float eps, const struct weight *next);
    void (*rmsnorm_dx)(struct backend *, void *dx, const void *dy, const void *x, const void *w, size_t rows,
                       size_t dim, float eps);

    /*
     * Half-split rotation of `heads` heads side by side: y[j] = x[j] c[j] - x[j+h] s[j], y[j+h] = x[j+h] c[j]
     * + x[j] s[j], h = head_dim / 2, c and s fp32 [rows, h].  inverse: with -s.  In place is allowed.
     */
    void (*rope)(struct backend *, void *y, size_t y_stride, const void *x, size_t x_stride, const float *c,
                 const float *s, size_t rows, size_t heads, size_t head_dim, bool inverse);

    /*
     * o = softmax(scale q k^T + mask) v; lse fp32 [heads, query rows], or NULL when no backward follows.  A
     * row that sees no key has o = 0 and lse = -infinity.
     */
    void (*attention)(struct backend *, const struct attention *a, void *o, float *lse, const void *q,
                      const void *k, const void *v);
    /*
     * dq, dk, dv (strides of q, k, v) from d_o (stride of o); dk and dv of a kv head sum over its query
     * heads.
     */
    void (*attention_dx)(struct backend *, const struct attention *a, void *dq, void *dk, void *dv,
                         const void *d_o, const void *q, const void *k, const void *v, const void *o,
                         const float *lse);

    /*
     * Elementwise.  swiglu: s = silu(g) u, [rows, dim], with `next` as above.
     * swiglu_dx: the gradients and, unless s is NULL, what swiglu() makes of g, u and `next`, the same bits;
     * s may not be ds.  gelu: the erf form.  *_dx overwrite their outputs.
     */
    void (*swiglu)(struct backend *, void *s, const void *g, const void *u, size_t rows, size_t dim,
                   const struct weight *next);
    void (*swiglu_dx)(struct backend *, void *dg, void *du, void *s, const void *ds, const void *g,
                      const void *u, size_t rows, size_t dim, const struct weight *next);
    void (*gelu)(struct backend *, void *y, const void *x, size_t n);
    void (*gelu_dx)(struct backend *, void *dx, const void *dy, const void *x, size_t n); /* dx may be dy */

    /*
     * y[r] = x[index[r]] and y[index[r]] = x[r]; index is device memory, in range (the caller has checked);
     * scatter's differ.
     */
    void (*gather)(struct backend *, void *y, const void *x, const int32_t *index, size_t rows, size_t dim);
    void (*scatter)(struct backend *, void *y, const void *x, const int32_t *index, size_t rows, size_t dim);
    /*
     * y [patches, 3 * frames * side * side] act: patch[r], cut out of rgb and normalised by table fp32
     * [3][256], one row per channel.  Columns: ((channel * frames + frame) * side + line) * side + pixel; all
     * frames are the same.  All are device memory.
     */
    void (*patches)(struct backend *, void *y, const uint8_t *rgb, const struct patch *patch,
                    const float *table, size_t patches, size_t side, size_t frames);
    /* y[r] = row ids[r] of a dense weight [vocab, dim]: the embedding, which may also be the tied head. */
    void (*embed)(struct backend *, void *y, const struct weight *table, const int32_t *ids, size_t rows);

    /* y [n] act = x [n] fp32, rounded. */
    void (*narrow)(struct backend *, void *y, const float *x, size_t n);
    /*
     * Per row of fp32 logits: lse, first argmax, and -log softmax at target (0 when target < 0); outputs may
     * be NULL, target too when nll is.  In argmax a NaN is the largest.
     */
    void (*nll)(struct backend *, float *nll, float *lse, int32_t *argmax, const float *logits,
                const int32_t *target, size_t rows, size_t vocab);
    /* dlogits [rows, vocab] act = weight[r] (softmax - onehot(target)); rows with target < 0 are 0. */
    void (*nll_dx)(struct backend *, void *dlogits, const float *logits, const float *lse,
                   const int32_t *target, const float *weight, size_t rows, size_t vocab);
    /* out [rows] is device memory; the labels in it are input. */
    void (*compare)(struct backend *, struct row_stats *out, const float *p, const float *q, size_t rows,
                    size_t vocab);

    /* *out = max(*out, max |x|); *out is device memory. */
    void (*amax)(struct backend *, float *out, const void *x, size_t n);
    /* The same of the elements of a dense weight, as the backend holds them. */
    void (*weight_amax)(struct backend *, float *out, const struct weight *w);
    /* out[c] = max(out[c], max over rows of |x[r, c]|); out is device memory, fp32 [dim]. */
    void (*amax_columns)(struct backend *, float *out, const void *x, size_t rows, size_t dim);
    /* *out += sum of (a - b)^2; *out is device memory, fp64; products fp32, sums fp64. */
    void (*distance)(struct backend *, double *out, const void *a, const void *b, size_t n);
    /*
     * y = e4m3(x / scale) * scale, as fp8_round(): what a quantized KV cache gives back.  In place is
     * allowed.
     */
    void (*round_fp8)(struct backend *, void *y, const void *x, size_t n, float scale);

    /*
     * How much a rounding difference D = yq - y matters under the gradient g = dL/dy; all [rows, dim] act.
     * out[0] += sum of clamp(g D, +-1e10)^2; out[1] += 1/2 sum over rows of (row_weight[r] sum_j g D)^2.  out
     * is device memory, fp64 [2]; products fp32, sums fp64.  Sources: ModelOpt's gradient score; a
     * Fisher-diagonal KL per token.
     */
    void (*score)(struct backend *, double *out, const void *g, const void *y, const void *yq,
                  const float *row_weight, size_t rows, size_t dim);
    /*
     * score() of what linear(), or linear_again(), makes of x [rows, w->in] by a quantized w; up to 16 elements
     * of a row, and up to 32 squares, may be added in fp32 before they come to their sums.  yq is room for what
     * is made, [rows, w->out] act, which need not be written.
     */
    void (*score_linear)(struct backend *, double *out, const void *g, const void *y, void *yq, const void *x,
                         const float *row_weight, size_t rows, const struct weight *w, bool again);
};

/* score_linear() in two steps, for backends that have no faster way. */
void be_score_linear(struct backend *be, double *out, const void *g, const void *y, void *yq, const void *x,
                     const float *row_weight, size_t rows, const struct weight *w, bool again);

/* n columns, or as many more as the backend likes better. */
static inline size_t be_width(const struct backend *be, size_t n)
{
    return (n + be->width_unit - 1) / be->width_unit * be->width_unit;
}

/* 0, or -1 with the backend's first failure moved into e. */
int be_check(struct backend *be, struct err *e);

const char *be_dtype(const struct backend *be); /* of act: "bf16", "fp32" or "fp64" */

/*
 * Open what --device and --dtype name.  device: "auto" (the best there is for dtype), "cpu", "cuda",
 * "cuda:N"; dtype, of activations and dense weights: "auto" (bf16 on a GPU, fp32 on the CPU), "bf16" (a GPU),
 * "fp32", "fp64" (the CPU).  NULL: e is set.  The backend is freed by be->close(be).
 */
struct backend *be_open(const char *device, const char *dtype, struct err *e);
struct backend *be_open_cpu(struct err *e);
struct backend *be_open_plain(struct err *e);

#endif
