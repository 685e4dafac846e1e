/* linear.cu - linear modules: y = x W^T + bias, and dx = dy W */
#include "kernels/cuda/linear.cuh"
#include "kernels/cuda/lt.cuh"

/* x [rows, in] -> E4M3 codes [rows, in_padded] of x / scale, the padding 0; without padding all is one row.
 */
template <int N>
static __global__ void encode(uint8_t *code, const bf16 *x, size_t rows, size_t in, size_t in_padded,
                              struct divisor d)
{
    size_t units = in_padded / N;

    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < rows * units;
         i += (size_t)gridDim.x * blockDim.x) {
        size_t row = in == in_padded ? 0 : i / units, at = (i - row * units) * N;
        pack<uint16_t, N / 2> y = {};

        if (at < in || in == in_padded)
            y = codes_of<N>(*(const pack<bf16, N> *)(x + row * in + at), d);
        *(pack<uint16_t, N / 2> *)(code + row * in_padded + at) = y;
    }
}

/* The same for rows of any width and alignment. */
static __global__ void encode_one(uint8_t *code, const bf16 *x, size_t rows, size_t in, size_t in_padded,
                                  struct divisor d)
{
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < rows * in_padded;
         i += (size_t)gridDim.x * blockDim.x) {
        size_t row = i / in_padded, at = i % in_padded;

        code[i] = at < in ? e4m3_from_f32(to_f32(x[row * in + at]) / d.scale) : 0;
    }
}

/* Rows of `in` elements to rows of `padded` ones, the padding 0; rounded: as values of their codes, times
 * factor. */
struct arrangement {
    size_t in, padded;
    bool rounded;
    float scale, factor;
};

template <typename T, int N>
static __global__ void arrange(T *y, const T *x, size_t rows, struct arrangement a)
{
    size_t units = a.padded / N;

    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < rows * units;
         i += (size_t)gridDim.x * blockDim.x) {
        size_t row = i / units, at = i % units * N;
        pack<T, N> p = {};

        if (at < a.in)
            p = *(const pack<T, N> *)(x + row * a.in + at);
#pragma unroll
        for (int j = 0; j < N; j++)
            if (a.rounded)
                p.v[j] = from_f32<T>(e4m3_to_f32(e4m3_from_f32(to_f32(p.v[j]) / a.scale)) * a.factor);
        *(pack<T, N> *)(y + row * a.padded + at) = p;
    }
}

/* y [rows, out] = sum [rows, out], rows `padded` apart, + bias; or += . */
template <typename To, typename From, typename B, int N>
static __global__ void finish(To *y, const From *sum, const B *bias, size_t rows, size_t out, size_t padded,
                              bool accumulate)
{
    size_t units = out / N;

    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < rows * units;
         i += (size_t)gridDim.x * blockDim.x) {
        size_t row = i / units, at = i % units * N;
        pack<From, N> p = *(const pack<From, N> *)(sum + row * padded + at);
        pack<To, N> r = {};

        if (accumulate)
            r = *(const pack<To, N> *)(y + row * out + at);
#pragma unroll
        for (int j = 0; j < N; j++) {
            float v = to_f32(p.v[j]) + (bias ? to_f32(bias[at + j]) : 0);

            r.v[j] = from_f32<To>(accumulate ? to_f32(r.v[j]) + v : v);
        }
        *(pack<To, N> *)(y + row * out + at) = r;
    }
}

/*
 * Where a product goes: y [rows, out].  When that cannot be written as it is (rows not in units of 16 bytes,
 * a bias that no epilogue adds), by way of scratch with rows `padded` apart.
 */
struct target {
    void *y;
    cudaDataType_t type;
    size_t rows, out, padded;
    const void *bias;
    bool accumulate;
};

template <typename To, typename From, typename B>
static void finish_rows(struct cuda *c, const struct target *t, const void *sum, const void *bias)
{
    size_t n = t->rows * t->out;
    To *y = (To *)t->y;

    if (t->out % 4 == 0 && t->padded % 4 == 0 && cuda_aligned(y, 16))
        finish<To, From, B, 4><<<cuda_blocks(c, n / 4, 256), 256, 0, c->stream>>>(
            y, (const From *)sum, (const B *)bias, t->rows, t->out, t->padded, t->accumulate);
    else
        finish<To, From, B, 1><<<cuda_blocks(c, n, 256), 256, 0, c->stream>>>(
            y, (const From *)sum, (const B *)bias, t->rows, t->out, t->padded, t->accumulate);
    cuda_launched(&c->be, "linear");
}

static void finish_to(struct cuda *c, const struct target *t, const void *sum, cudaDataType_t type,
                      const void *bias)
{
    if (!c->bf16_act)
        finish_rows<float, float, float>(c, t, sum, bias);
    else if (t->type == CUDA_R_32F)
        finish_rows<float, float, bf16>(c, t, sum, bias);
    else if (type == CUDA_R_32F)
        finish_rows<bf16, float, bf16>(c, t, sum, bias);
    else
        finish_rows<bf16, bf16, bf16>(c, t, sum, bias);
}

static cudaDataType_t act_type(const struct cuda *c)
{
    return c->bf16_act ? CUDA_R_16BF : CUDA_R_32F;
}

/* A bias as long as the product is wide: cuBLASLt may read all of it. */
static const void *padded_bias(struct cuda *c, const struct target *t)
{
    size_t size = c->be.act_bytes;
    void *room;

    if (t->out == t->padded)
        return t->bias;
    room = cuda_scratch(c, SCRATCH_SUMS, t->padded * size);
    cuda_zero(&c->be, room, t->padded * size);
    cuda_copy(&c->be, room, t->bias, t->out * size);
    return room;
}

/* Columns of the padding are computed too: a width that is no multiple of 8 has no fast kernel. */
static void multiply_to(struct cuda *c, struct product *p, const struct target *t)
{
    bool by_epilogue = t->bias && t->type == act_type(c);
    const void *left = by_epilogue ? NULL : t->bias; /* a bias that is still to be added */
    void *sum;

    p->m = p->d_stride = t->padded;
    p->n = t->rows;
    p->bias = by_epilogue ? padded_bias(c, t) : NULL;
    p->out = t->accumulate && t->out != t->padded ? CUDA_R_32F : t->type; /* rounded once, after the sum */
    if (t->out == t->padded && !left) {
        p->d = t->y;
        p->accumulate = t->accumulate;
        lt_multiply(c, p);
        return;
    }
    p->d = sum = cuda_scratch(c, SCRATCH_WIDE, t->rows * t->padded * sizeof(float));
    if (!cuda_idle(&c->be, 1))
        lt_multiply(c, p);
    if (!cuda_idle(&c->be, 1))
        finish_to(c, t, sum, p->out, left);
}

struct ahead cuda_codes_ahead(struct cuda *c, const void *y, size_t rows, size_t dim,
                              const struct weight *next)
{
    bool codes = next && c->fp8 && next->format == weight::WEIGHT_FP8 && next->in == dim &&
                 code_padded(dim) == dim && cuda_aligned(y, 16);
    uint8_t *room = codes ? (uint8_t *)cuda_scratch(c, SCRATCH_CODES, rows * dim) : NULL;

    if (room)
        c->coded = {y, rows, dim, next->input_scale, false};
    else if (c->coded.x == y)
        c->coded.x = NULL;
    return {room, divisor_of(room ? next->input_scale : 1)};
}

/* x for an FP8 weight on the tensor cores; again: codes of the last time will do if they are x's. */
static struct codes codes_fp8(struct cuda *c, const void *x, size_t rows, size_t in, float scale, bool again)
{
    size_t padded = code_padded(in);
    struct coded now = {x, rows, in, scale, false};
    uint8_t *code = (uint8_t *)cuda_scratch(c, SCRATCH_CODES, rows * padded);
    struct divisor d = divisor_of(scale);

    if (!code || (again && cuda_same_codes(&c->coded, &now)))
        return {code, NULL, rows};
    c->coded = now;
    if (in % 8 == 0 && cuda_aligned(x, 16))
        encode<8><<<cuda_blocks(c, rows * padded / 8, 256), 256, 0, c->stream>>>(code, (const bf16 *)x, rows,
                                                                                 in, padded, d);
    else if (in % 4 == 0 && cuda_aligned(x, 8))
        encode<4><<<cuda_blocks(c, rows * padded / 4, 256), 256, 0, c->stream>>>(code, (const bf16 *)x, rows,
                                                                                 in, padded, d);
    else
        encode_one<<<cuda_blocks(c, rows * padded, 256), 256, 0, c->stream>>>(code, (const bf16 *)x, rows, in,
                                                                              padded, d);
    return {cuda_launched(&c->be, "quantizing an input") ? code : NULL, NULL, rows};
}

template <typename T>
static void run_arrange(struct cuda *c, void *y, const void *x, size_t rows, struct arrangement a)
{
    size_t n = rows * a.padded;

    if (a.in % 4 == 0 && a.padded % 4 == 0 && cuda_aligned(x, 16))
        arrange<T, 4><<<cuda_blocks(c, n / 4, 256), 256, 0, c->stream>>>((T *)y, (const T *)x, rows, a);
    else
        arrange<T, 1><<<cuda_blocks(c, n, 256), 256, 0, c->stream>>>((T *)y, (const T *)x, rows, a);
    cuda_launched(&c->be, "arranging an input");
}

/* x as the right side of a product wants it: padded, and rounded to the codes of w unless w is NULL. */
static const void *arrange_rows(struct cuda *c, const void *x, size_t rows, size_t in, const struct weight *w)
{
    struct arrangement a = {in, dense_padded(c, in), w != NULL, w ? w->input_scale : 0, 1};
    void *y;

    if (in == a.padded && !w)
        return x;
    if (w && !c->bf16_act)
        a.factor = w->input_scale;
    c->coded.x = NULL;
    y = cuda_scratch(c, SCRATCH_CODES, rows * a.padded * c->be.act_bytes);
    if (y)
        CUDA_ACT(c, run_arrange, c, y, x, rows, a);
    return cuda_idle(&c->be, 1) ? NULL : y;
}

/* Nothing to sum. */
static void bias_alone(struct cuda *c, const struct target *t)
{
    size_t bytes = t->rows * t->out * sizeof(float);
    float *sum = (float *)cuda_scratch(c, SCRATCH_WIDE, bytes);

    cuda_zero(&c->be, sum, bytes);
    if (!cuda_idle(&c->be, 1))
        finish_to(c, t, sum, CUDA_R_32F, t->bias);
}

static void linear_to(struct cuda *c, void *y, cudaDataType_t type, const void *x, size_t rows,
                      const struct weight *w, bool again)
{
    bool fp8 = w->format == weight::WEIGHT_FP8, codes = fp8 && c->fp8;
    size_t k = codes ? code_padded(w->in) : dense_padded(c, w->in);
    struct target t = {y, type, rows, w->out, w->out, w->bias, false};
    struct product p = {};

    if (w->in == 0) {
        bias_alone(c, &t);
        return;
    }
    if (w->format == weight::WEIGHT_INT8) {
        struct codes xq = cuda_codes_int8(c, x, rows, w, again);

        if (xq.code)
            cuda_linear_int8(c, y, type == CUDA_R_32F, &xq, w);
        return;
    }
    t.padded = codes ? code_padded(w->out) : dense_padded(c, w->out);
    p.k = p.a_stride = p.b_stride = k;
    p.a = cuda_matrix_of(w)->data;
    p.in = codes ? CUDA_R_8F_E4M3 : act_type(c);
    p.alpha = fp8 && c->bf16_act ? w->scale * w->input_scale : 1;
    p.b = codes ? codes_fp8(c, x, rows, w->in, w->input_scale, again).code
                : arrange_rows(c, x, rows, w->in, fp8 ? w : NULL);
    if (p.b)
        multiply_to(c, &p, &t);
}

void cuda_linear(struct backend *be, void *y, const void *x, size_t rows, const struct weight *w)
{
    if (!cuda_idle(be, rows * w->out))
        linear_to(cuda_of(be), y, act_type(cuda_of(be)), x, rows, w, false);
}

void cuda_linear_again(struct backend *be, void *y, const void *x, size_t rows, const struct weight *w)
{
    if (!cuda_idle(be, rows * w->out))
        linear_to(cuda_of(be), y, act_type(cuda_of(be)), x, rows, w, true);
}

void cuda_linear_f32(struct backend *be, float *y, const void *x, size_t rows, const struct weight *w)
{
    if (!cuda_idle(be, rows * w->out))
        linear_to(cuda_of(be), y, CUDA_R_32F, x, rows, w, false);
}

void cuda_score_linear(struct backend *be, double *out, const void *g, const void *y, void *yq, const void *x,
                       const float *row_weight, size_t rows, const struct weight *w, bool again)
{
    struct cuda *c = cuda_of(be);
    struct codes xq;

    if (cuda_idle(be, rows))
        return;
    if (!cuda_score_wgmma_here(c, g, y, rows, w)) {
        be_score_linear(be, out, g, y, yq, x, row_weight, rows, w, again);
        return;
    }
    xq = w->format == weight::WEIGHT_INT8 ? cuda_codes_int8(c, x, rows, w, again)
                                          : codes_fp8(c, x, rows, w->in, w->input_scale, again);
    if (xq.code && !cuda_score_wgmma(c, out, g, y, row_weight, &xq, w))
        be_score_linear(be, out, g, y, yq, x, row_weight, rows, w, true);
}

void cuda_linear_dx(struct backend *be, void *dx, const void *dy, size_t rows, const struct weight *w,
                    bool accumulate)
{
    struct cuda *c = cuda_of(be);
    struct product p = {};
    struct target t;

    if (cuda_idle(be, rows * w->in))
        return;
    if (w->out == 0) {
        if (!accumulate)
            cuda_zero(be, dx, rows * w->in * be->act_bytes);
        return;
    }
    t = {dx, act_type(c), rows, w->in, dense_padded(c, w->in), NULL, accumulate};
    p.k = p.b_stride = dense_padded(c, w->out);
    p.a_stride = t.padded;
    p.a = cuda_matrix_of(w)->data;
    p.b = arrange_rows(c, dy, rows, w->out, NULL);
    p.in = act_type(c);
    p.a_rows_are_k = true;
    p.alpha = 1;
    if (p.b)
        multiply_to(c, &p, &t);
}
