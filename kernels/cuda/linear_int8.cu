/*
 * linear_int8.cu - linear modules in INT8: codes of rows, products on the tensor cores, then the scales
 *
 * Where linear_int8_wgmma.cu does not multiply, the products are cuBLASLt's, of int8 into int32, which is the
 * only exact result that it has; scales and bias are a kernel of ours.  The int32 sums are made in slices
 * that stay in the L2 cache until that kernel has read them: in memory they would take as long as the
 * product.
 */
#include "kernels/cuda/linear.cuh"
#include "kernels/cuda/lt.cuh"

enum { THREADS = 256, SUMS_BYTES = 24 << 20, SLICE_ROWS = 128 };

static __device__ uint32_t magnitude(float x)
{
    return f32_bits(x) & 0x7fffffff;
}

/* As int8_scale(). */
static __device__ float scale_of(float amax, bool modelopt)
{
    float s = modelopt ? amax * (1 / INT8_MAX_CODE) : amax / INT8_MAX_CODE;

    return s > 0 ? s : 1;
}

/* ---- rows of x ---- */

/* What a row is divided by: both sides times `unit`, a power of two that keeps the inverse in range; and
 * where its codes end. */
struct int8_divisor {
    float unit, scale, inverse, least, most;
};

static __device__ struct int8_divisor int8_divisor_of(float scale)
{
    float unit = scale < 0x1p-60f ? 0x1p90f : scale > 0x1p60f ? 0x1p-90f : 1, s = scale * unit;

    return int8_divisor{unit, s, 1 / s, s * (-INT8_MAX_CODE - 1), s * INT8_MAX_CODE};
}

/*
 * The code of x / scale, as int8_nearest() has it.  The product with the inverse is corrected twice by its
 * residual: the first makes it one of the quotient's two neighbours, the second the nearest one, as division
 * rounds.  The low byte of the sum that rounds is the code.
 */
static __device__ int8_t code_of(float x, struct int8_divisor d)
{
    float in = fmaxf(fminf(x * d.unit, d.most), d.least), q = __fmul_rn(in, d.inverse);

    q = __fmaf_rn(__fmaf_rn(-q, d.scale, in), d.inverse, q);
    q = __fmaf_rn(__fmaf_rn(-q, d.scale, in), d.inverse, q);
    return (int8_t)f32_bits(__fadd_rn(q, 0x1.8p23f));
}

/* N elements times pre. */
template <typename T, int N>
static __device__ pack<float, N> values(pack<T, N> p, const float *pre, size_t at)
{
    pack<float, N> v, by = {};

#pragma unroll
    for (int j = 0; j < N; j++)
        v.v[j] = to_f32(p.v[j]);
    if (!pre)
        return v;
    by = *(const pack<float, N> *)(pre + at);
#pragma unroll
    for (int j = 0; j < N; j++)
        v.v[j] *= by.v[j];
    return v;
}

template <int N> static __device__ uint32_t largest(pack<float, N> v, uint32_t max)
{
#pragma unroll
    for (int j = 0; j < N; j++)
        max = larger_value()(max, magnitude(v.v[j]));
    return max;
}

template <int N> static __device__ pack<int8_t, N> int8_codes(pack<float, N> v, struct int8_divisor d)
{
    pack<int8_t, N> q;

#pragma unroll
    for (int j = 0; j < N; j++)
        q.v[j] = code_of(v.v[j], d);
    return q;
}

/* The scale of a row: the given one or, where that is 0, the one of its range.  No code can say NaN: the
 * scale is NaN when the row has one or, without a given scale, an infinity. */
static __device__ float scale_of_row(float given, uint32_t max)
{
    if (max > 0x7f800000 || (given == 0 && max == 0x7f800000))
        return NAN;
    return given == 0 ? scale_of(f32_from_bits(max), false) : given;
}

/* Rows x [rows, in] times pre, to be coded; padding up to `padded` columns is 0. */
template <typename T> struct rows_of {
    const T *x;
    const float *pre; /* or NULL */
    size_t rows, in, padded;
    float scale; /* given, or 0 */
};

/* GROUP threads, a warp or the block, code one row, of which each holds HELD packs of N in registers. */
template <typename T, int N, int GROUP, int HELD>
static __global__ void __launch_bounds__(THREADS) code_held(int8_t *code, float *row_scale, rows_of<T> r)
{
    size_t row = (size_t)blockIdx.x * (THREADS / GROUP) + threadIdx.x / GROUP;
    unsigned thread = threadIdx.x % GROUP;
    pack<T, N> from[HELD];
    pack<float, N> held[HELD];
    struct int8_divisor d;
    uint32_t max = 0;
    float scale;

    next_may_begin();
    if (row >= r.rows)
        return;
    r.x += row * r.in;
#pragma unroll
    for (int j = 0; j < HELD; j++) {
        size_t i = (thread + j * GROUP) * N;

        from[j] = i < r.in ? *(const pack<T, N> *)(r.x + i) : pack<T, N>{};
    }
#pragma unroll
    for (int j = 0; j < HELD; j++) {
        size_t i = (thread + j * GROUP) * N;

        held[j] = values(from[j], i < r.in ? r.pre : NULL, i);
        max = largest(held[j], max);
    }
    max = GROUP == WARP ? warp_reduce(max, larger_value()) : block_reduce(max, larger_value(), 0u);
    scale = scale_of_row(r.scale, max);
    d = int8_divisor_of(scale);
    code += row * r.padded;
#pragma unroll
    for (int j = 0; j < HELD; j++) {
        size_t i = (thread + j * GROUP) * N;

        if (i < r.padded)
            *(pack<int8_t, N> *)(code + i) = int8_codes(held[j], d);
    }
    if (thread == 0)
        row_scale[row] = scale;
}

/* A block codes one row of any width, which it reads twice. */
template <typename T, int N>
static __global__ void __launch_bounds__(THREADS) code_rows(int8_t *code, float *row_scale, rows_of<T> r)
{
    struct int8_divisor d;
    uint32_t max = 0;
    float scale;

    r.x += blockIdx.x * r.in;
    code += blockIdx.x * r.padded;
    for (size_t i = threadIdx.x * N; i < r.in; i += THREADS * N)
        max = largest(values(*(const pack<T, N> *)(r.x + i), r.pre, i), max);
    max = block_reduce(max, larger_value(), 0u);
    scale = scale_of_row(r.scale, max);
    d = int8_divisor_of(scale);
    for (size_t i = threadIdx.x * N; i < r.padded; i += THREADS * N)
        *(pack<int8_t, N> *)(code + i) =
            i < r.in ? int8_codes(values(*(const pack<T, N> *)(r.x + i), r.pre, i), d) : pack<int8_t, N>{};
    if (threadIdx.x == 0)
        row_scale[blockIdx.x] = scale;
}

/* False: rows of this width and alignment are for code_rows(). */
template <typename T, int N, int GROUP, int HELD>
static bool run_held(struct cuda *c, int8_t *code, float *row_scale, const rows_of<T> &r)
{
    const size_t per = THREADS / GROUP;

    if (r.in % N || r.padded > (size_t)GROUP * HELD * N || !cuda_aligned(r.x, N * sizeof(T)))
        return false;
    code_held<T, N, GROUP, HELD>
        <<<(unsigned)((r.rows + per - 1) / per), THREADS, 0, c->stream>>>(code, row_scale, r);
    return true;
}

template <typename T>
static void run_code(struct cuda *c, int8_t *code, float *row_scale, const void *x, size_t rows,
                     const struct weight *w)
{
    const int N = wide<T>::N, HALF = N / 2;
    rows_of<T> r = {(const T *)x, w->pre_scale, rows, w->in, code_padded(w->in), w->input_scale};

    if (!run_held<T, N, WARP, 8>(c, code, row_scale, r) &&
        !run_held<T, N, THREADS, 2>(c, code, row_scale, r) &&
        !run_held<T, N, THREADS, 6>(c, code, row_scale, r) &&
        !run_held<T, HALF, THREADS, 4>(c, code, row_scale, r)) {
        if (w->in % N == 0 && cuda_aligned(x, 16))
            code_rows<T, N><<<(unsigned)rows, THREADS, 0, c->stream>>>(code, row_scale, r);
        else
            code_rows<T, 1><<<(unsigned)rows, THREADS, 0, c->stream>>>(code, row_scale, r);
    }
    cuda_launched(&c->be, "quantizing an input");
}

/* ---- sums ---- */

/* A block finishes a row: y = sum * (scale of the row * scale of the column) + bias, rounded as written: the
 * CPU's bits. */
template <typename To, typename B, int N>
static __global__ void __launch_bounds__(THREADS)
    scale_sums(To *y, const int32_t *sum, const float *row_scale, const float *column_scale, const B *bias,
               size_t out, size_t padded)
{
    float scale = row_scale[blockIdx.x];

    y += blockIdx.x * out;
    sum += blockIdx.x * padded;
    for (size_t i = threadIdx.x * N; i < out; i += THREADS * N) {
        pack<int32_t, N> p = *(const pack<int32_t, N> *)(sum + i);
        pack<float, N> columns = *(const pack<float, N> *)(column_scale + i);
        pack<B, N> b = {};
        pack<To, N> r;

        if (bias)
            b = *(const pack<B, N> *)(bias + i);
#pragma unroll
        for (int j = 0; j < N; j++) {
            float v = __fmul_rn((float)p.v[j], __fmul_rn(scale, columns.v[j]));

            r.v[j] = from_f32<To>(bias ? __fadd_rn(v, to_f32(b.v[j])) : v);
        }
        *(pack<To, N> *)(y + i) = r;
    }
}

template <typename To, typename B>
static void run_scale(struct cuda *c, void *to, const int32_t *sum, const float *row_scale, size_t rows,
                      const struct weight *w)
{
    size_t padded = code_padded(w->out);
    const B *bias = (const B *)w->bias;
    To *y = (To *)to;

    if (w->out % 4 == 0 && cuda_aligned(y, 4 * sizeof(To)) && cuda_aligned(bias, 4 * sizeof(B)))
        scale_sums<To, B, 4><<<(unsigned)rows, THREADS, 0, c->stream>>>(y, sum, row_scale, w->row_scale, bias,
                                                                        w->out, padded);
    else
        scale_sums<To, B, 1><<<(unsigned)rows, THREADS, 0, c->stream>>>(y, sum, row_scale, w->row_scale, bias,
                                                                        w->out, padded);
    cuda_launched(&c->be, "linear");
}

/* Rows whose sums are made at a time. */
static size_t slice_of(size_t rows, size_t padded)
{
    size_t slices = (rows * padded * sizeof(int32_t) + SUMS_BYTES - 1) / SUMS_BYTES;
    size_t even = (rows + slices - 1) / slices;

    return (even + SLICE_ROWS - 1) / SLICE_ROWS * SLICE_ROWS;
}

/* y by way of int32 sums. */
static void multiply_in_slices(struct cuda *c, void *y, bool f32, const struct codes *x,
                               const struct weight *w)
{
    size_t k = code_padded(w->in), padded = code_padded(w->out), slice = slice_of(x->rows, padded);
    size_t size = f32 ? sizeof(float) : c->be.act_bytes;
    int32_t *sum =
        (int32_t *)cuda_scratch(c, SCRATCH_WIDE, (slice < x->rows ? slice : x->rows) * padded * sizeof *sum);

    for (size_t i = 0, n; i < x->rows && c->be.err.rc == RC_OK; i += n) {
        struct product p = {};
        void *to = (char *)y + i * w->out * size;

        n = x->rows - i < slice ? x->rows - i : slice;
        p.m = p.d_stride = padded;
        p.n = n;
        p.k = p.a_stride = p.b_stride = k;
        p.a = cuda_matrix_of(w)->data;
        p.b = (const int8_t *)x->code + i * k;
        p.d = sum;
        p.in = CUDA_R_8I;
        p.out = CUDA_R_32I;
        lt_multiply(c, &p);
        if (cuda_idle(&c->be, n))
            return;
        if (!c->bf16_act)
            run_scale<float, float>(c, to, sum, x->scale + i, n, w);
        else if (f32)
            run_scale<float, bf16>(c, to, sum, x->scale + i, n, w);
        else
            run_scale<bf16, bf16>(c, to, sum, x->scale + i, n, w);
    }
}

/* Modules that share an input have no pre_scale: the norm before them carries it. */
struct codes cuda_codes_int8(struct cuda *c, const void *x, size_t rows, const struct weight *w, bool again)
{
    struct coded now = {w->pre_scale ? NULL : x, rows, w->in, w->input_scale, true};
    size_t code_bytes = (rows * code_padded(w->in) + 255) / 256 * 256;
    int8_t *code = (int8_t *)cuda_scratch(c, SCRATCH_CODES, code_bytes + rows * sizeof(float));
    float *row_scale = (float *)(void *)(code + code_bytes);

    if (cuda_idle(&c->be, rows))
        return {};
    if (!again || !cuda_same_codes(&c->coded, &now)) {
        c->coded = now;
        CUDA_ACT(c, run_code, c, code, row_scale, x, rows, w);
    }
    return {c->be.err.rc == RC_OK ? code : NULL, row_scale, rows};
}

void cuda_linear_int8(struct cuda *c, void *y, bool f32, const struct codes *x, const struct weight *w)
{
    if (!cuda_linear_int8_wgmma(c, y, f32, x, w))
        multiply_in_slices(c, y, f32, x, w);
}

/* ---- rows of W ---- */

/* As int8_smooth(). */
static __device__ float smoothed(float w, size_t at, struct int8_rounding r)
{
    float v, p;

    if (!r.pre)
        return w;
    if (!r.twice)
        return w / r.pre[at];
    v = bf16_to_f32(bf16_from_f32(w * (1 / r.own[at])));
    p = bf16_to_f32(bf16_from_f32(r.own[at]));
    return p == r.pre[at] ? v : bf16_to_f32(bf16_from_f32(v * p / r.pre[at]));
}

/* A block rounds one row of `in` elements, `stride` apart in w and `padded` in code, whose padding is 0
 * already. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    round_row(int8_t *code, float *row_scale, const T *w, size_t in, size_t stride, size_t padded,
              struct int8_rounding r)
{
    uint32_t max = 0;
    float scale;

    w += blockIdx.x * stride;
    code += blockIdx.x * padded;
    for (size_t i = threadIdx.x; i < in; i += THREADS)
        max = larger_value()(max, magnitude(smoothed(to_f32(w[i]), i, r)));
    scale = scale_of(f32_from_bits(block_reduce(max, larger_value(), 0u)), r.modelopt);
    for (size_t i = threadIdx.x; i < in; i += THREADS)
        code[i] = (int8_t)int8_nearest(smoothed(to_f32(w[i]), i, r) / scale);
    if (threadIdx.x == 0)
        row_scale[blockIdx.x] = scale;
}

template <typename T>
static void run_round(struct cuda *c, const struct weight *q, const T *from, size_t stride,
                      struct int8_rounding r)
{
    round_row<<<(unsigned)q->out, THREADS, 0, c->stream>>>((int8_t *)cuda_matrix_of(q)->data, q->row_scale,
                                                           from, q->in, stride, code_padded(q->in), r);
    cuda_launched(&c->be, "weight_quantize_int8");
}

void cuda_round_rows(struct cuda *c, const struct weight *q, const struct weight *w, struct int8_rounding r)
{
    const struct cuda_matrix *m = cuda_matrix_of(w);

    if (m->exact)
        run_round(c, q, m->exact, w->in, r);
    else if (c->bf16_act)
        run_round(c, q, (const bf16 *)m->data, dense_padded(c, w->in), r);
    else
        run_round(c, q, (const float *)m->data, w->in, r);
}
