/* linear.cu - linear modules: y = x W^T + bias, and dx = dy W */
#include "kernels/cuda/linear.cuh"
#include "kernels/cuda/lt.cuh"

/* x [rows, in] -> E4M3 codes [rows, in_padded] of x / scale, the padding 0. */
template <int N>
static __global__ void encode(uint8_t *code, const bf16 *x, size_t rows, size_t in, size_t in_padded,
                              float scale)
{
    size_t units = in_padded / N;

    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < rows * units;
         i += (size_t)gridDim.x * blockDim.x) {
        size_t row = i / units, at = i % units * N;
        pack<uint8_t, N> y = {};

        if (at < in) {
            pack<bf16, N> p = *(const pack<bf16, N> *)(x + row * in + at);

#pragma unroll
            for (int j = 0; j < N; j++)
                y.v[j] = e4m3_from_f32(to_f32(p.v[j]) / scale);
        }
        *(pack<uint8_t, N> *)(code + row * in_padded + at) = y;
    }
}

/* The same, the codes as numbers of type T, which holds them exactly, times `factor`. */
template <typename T>
static __global__ void round_to_codes(T *y, const T *x, size_t n, float scale, float factor)
{
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
        y[i] = from_f32<T>(e4m3_to_f32(e4m3_from_f32(to_f32(x[i]) / scale)) * factor);
}

/* y [rows, out] = sum [rows, padded] + bias. */
template <typename To, typename B>
static __global__ void finish(To *y, const float *sum, const B *bias, size_t rows, size_t out, size_t padded)
{
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < rows * out;
         i += (size_t)gridDim.x * blockDim.x) {
        size_t row = i / out, j = i % out;
        float b = bias ? to_f32(bias[j]) : 0;

        y[i] = from_f32<To>(sum[row * padded + j] + b);
    }
}

/* d [rows, out] of any width: to y, or when it is padded or needs a bias that no epilogue adds, by way of
 * fp32. */
struct target {
    void *y;
    cudaDataType_t type;
    size_t rows, out, padded;
    const void *bias;
};

template <typename To, typename B>
static void finish_rows(struct cuda *c, const struct target *t, const float *sum)
{
    finish<<<cuda_blocks(c, t->rows * t->out, 256), 256, 0, c->stream>>>((To *)t->y, sum, (const B *)t->bias,
                                                                         t->rows, t->out, t->padded);
    cuda_launched(&c->be, "linear");
}

static void finish_to(struct cuda *c, const struct target *t, const float *sum)
{
    if (!c->bf16_act)
        finish_rows<float, float>(c, t, sum);
    else if (t->type == CUDA_R_32F)
        finish_rows<float, bf16>(c, t, sum);
    else
        finish_rows<bf16, bf16>(c, t, sum);
}

static cudaDataType_t act_type(const struct cuda *c)
{
    return c->bf16_act ? CUDA_R_16BF : CUDA_R_32F;
}

static void multiply_to(struct cuda *c, struct product *p, const struct target *t)
{
    bool direct = t->out == t->padded && (!t->bias || t->type == act_type(c));
    float *sum;

    p->m = t->padded;
    p->n = t->rows;
    if (direct) {
        p->d = t->y;
        p->out = t->type;
        p->bias = t->bias;
        lt_multiply(c, p);
        return;
    }
    sum = (float *)cuda_scratch(c, SCRATCH_WIDE, t->rows * t->padded * sizeof *sum);
    if (!sum)
        return;
    p->d = sum;
    p->out = CUDA_R_32F;
    lt_multiply(c, p);
    if (!cuda_idle(&c->be, 1))
        finish_to(c, t, sum);
}

/* Codes of x for the tensor cores. */
static const void *encode_rows(struct cuda *c, const void *x, size_t rows, size_t in, float scale)
{
    size_t padded = fp8_padded(in);
    uint8_t *code = (uint8_t *)cuda_scratch(c, SCRATCH_CODES, rows * padded);

    if (!code)
        return NULL;
    if (in % 8 == 0 && cuda_aligned(x, 16))
        encode<8><<<cuda_blocks(c, rows * padded / 8, 256), 256, 0, c->stream>>>(code, (const bf16 *)x, rows,
                                                                                 in, padded, scale);
    else if (in % 4 == 0 && cuda_aligned(x, 8))
        encode<4><<<cuda_blocks(c, rows * padded / 4, 256), 256, 0, c->stream>>>(code, (const bf16 *)x, rows,
                                                                                 in, padded, scale);
    else
        encode<1><<<cuda_blocks(c, rows * padded, 256), 256, 0, c->stream>>>(code, (const bf16 *)x, rows, in,
                                                                             padded, scale);
    return cuda_launched(&c->be, "quantizing an input") ? code : NULL;
}

/* x rounded, in the activation type: bare codes in bf16, codes * scale in fp32. */
template <typename T> static const void *round_rows(struct cuda *c, const void *x, size_t n, float scale)
{
    T *y = (T *)cuda_scratch(c, SCRATCH_CODES, n * sizeof *y);

    if (!y)
        return NULL;
    round_to_codes<<<cuda_blocks(c, n, 256), 256, 0, c->stream>>>(y, (const T *)x, n, scale,
                                                                  c->bf16_act ? 1 : scale);
    return cuda_launched(&c->be, "quantizing an input") ? y : NULL;
}

/* Nothing to sum. */
static void bias_alone(struct cuda *c, const struct target *t)
{
    size_t bytes = t->rows * t->out * sizeof(float);
    float *sum = (float *)cuda_scratch(c, SCRATCH_WIDE, bytes);

    cuda_zero(&c->be, sum, bytes);
    if (!cuda_idle(&c->be, 1))
        finish_to(c, t, sum);
}

static void linear_to(struct cuda *c, void *y, cudaDataType_t type, const void *x, size_t rows,
                      const struct weight *w)
{
    struct product p = {};
    struct target t = {y, type, rows, w->out, w->out, w->bias};
    bool fp8 = w->format == weight::WEIGHT_FP8;

    if (w->in == 0) {
        bias_alone(c, &t);
        return;
    }
    p.k = w->in;
    p.a = cuda_matrix_of(w)->data;
    p.b = x;
    p.in = act_type(c);
    p.alpha = 1;
    if (fp8 && c->fp8) {
        p.k = fp8_padded(w->in);
        p.b = encode_rows(c, x, rows, w->in, w->input_scale);
        p.in = CUDA_R_8F_E4M3;
        t.padded = fp8_padded(w->out);
    } else if (fp8 && c->bf16_act) {
        p.b = round_rows<bf16>(c, x, rows * w->in, w->input_scale);
    } else if (fp8) {
        p.b = round_rows<float>(c, x, rows * w->in, w->input_scale);
    }
    if (fp8 && c->bf16_act)
        p.alpha = w->scale * w->input_scale;
    if (p.b)
        multiply_to(c, &p, &t);
}

void cuda_linear(struct backend *be, void *y, const void *x, size_t rows, const struct weight *w)
{
    if (!cuda_idle(be, rows * w->out))
        linear_to(cuda_of(be), y, act_type(cuda_of(be)), x, rows, w);
}

void cuda_linear_f32(struct backend *be, float *y, const void *x, size_t rows, const struct weight *w)
{
    if (!cuda_idle(be, rows * w->out))
        linear_to(cuda_of(be), y, CUDA_R_32F, x, rows, w);
}

void cuda_linear_dx(struct backend *be, void *dx, const void *dy, size_t rows, const struct weight *w,
                    bool accumulate)
{
    struct cuda *c = cuda_of(be);
    struct product p = {};

    if (cuda_idle(be, rows * w->in))
        return;
    if (w->out == 0) {
        if (!accumulate)
            cuda_zero(be, dx, rows * w->in * be->act_bytes);
        return;
    }
    p.m = w->in;
    p.n = rows;
    p.k = w->out;
    p.a = cuda_matrix_of(w)->data;
    p.b = dy;
    p.d = dx;
    p.in = p.out = act_type(c);
    p.a_rows_are_k = true;
    p.accumulate = accumulate;
    p.alpha = 1;
    lt_multiply(c, &p);
}
