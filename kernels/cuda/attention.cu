/* attention.cu - softmax attention over rows of segments, and its backward: which kernels do it */
#include "kernels/cuda/attention.cuh"

static bool prepare(struct attention_call *call, struct backend *be, const struct attention *a)
{
    size_t group = a->kv_heads ? a->heads / a->kv_heads : 0;

    if (cuda_idle(be, a->segments * a->heads))
        return false;
    if (a->head_dim > ATTENTION_MAX_DIM) {
        err_set(&be->err, RC_DATA,
                "attention heads of %zu elements: the CUDA backend has up to %d; use --device cpu",
                a->head_dim, ATTENTION_MAX_DIM);
        return false;
    }
    if (a->max_q * group * group > INT32_MAX || a->max_k > INT32_MAX) {
        err_set(&be->err, RC_DATA, "a segment of %zu rows is too long for attention", a->max_q);
        return false;
    }
    *call = {cuda_of(be),
             {a->cu_q, a->cu_k, a->q_stride, a->k_stride, a->v_stride, a->o_stride, (int)a->segments,
              (int)a->kv_heads, 0, (int)a->head_dim, 0, (float)a->scale, a->causal},
             a->segments * a->kv_heads,
             a->max_q * group,
             a->max_k};
    set_group(&call->shape, (int)group);
    return true;
}

static bool units(const void *p, size_t stride)
{
    return cuda_aligned(p, 16) && stride % 8 == 0;
}

bool attention_units(const struct attention_call *a, const void *q, const void *k, const void *v,
                     const void *o)
{
    const struct shape *s = &a->shape;

    return units(q, s->q_stride) && units(k, s->k_stride) && units(v, s->v_stride) && units(o, s->o_stride);
}

bool attention_parts(const struct attention_call *a, size_t blocks, size_t enough, struct shape *s,
                     struct parts *parts)
{
    size_t dim = (size_t)s->kv_heads * s->dim,
           most = s->segments * a->max_keys; /* keys of all segments, at most */

    *parts = {1, NULL};
    while (s->group % (2 * parts->n) == 0 && blocks * parts->n < enough)
        parts->n *= 2;
    set_group(s, s->group / parts->n);
    s->kv_heads *= parts->n;
    if (parts->n > 1)
        parts->sums = (float *)cuda_scratch(a->c, SCRATCH_WIDE, parts->n * 2 * most * dim * sizeof(float));
    return a->c->be.err.rc == RC_OK;
}

static __global__ void add_parts(struct shape s, struct parts parts, gradients<bf16> g)
{
    size_t dim = (size_t)s.kv_heads / parts.n * s.dim, n = s.cu_k[s.segments] * dim / 4;

    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < 2 * n;
         i += (size_t)gridDim.x * blockDim.x) {
        int which = i >= n;
        size_t row = i % n * 4 / dim, d = i % n * 4 % dim;
        float scale = which ? 1 : s.scale;
        pack<float, 4> sum = {};
        pack<bf16, 4> y;

        for (int part = 0; part < parts.n; part++) {
            pack<float, 4> x = *(const pack<float, 4> *)(parts.sums + part_at(s, part, which, row, dim) + d);

#pragma unroll
            for (int j = 0; j < 4; j++)
                sum.v[j] += x.v[j];
        }
#pragma unroll
        for (int j = 0; j < 4; j++)
            y.v[j] = from_f32<bf16>(scale * sum.v[j]);
        *(pack<bf16, 4> *)(which ? g.dv + row * s.v_stride + d : g.dk + row * s.k_stride + d) = y;
    }
}

void attention_add_parts(const struct attention_call *a, const struct shape &s, struct parts parts,
                         const gradients<bf16> &g)
{
    struct cuda *c = a->c;
    size_t n = 2 * s.segments * a->max_keys * (s.kv_heads / parts.n) * s.dim / 4; /* at most */

    if (parts.n == 1 || cuda_idle(&c->be, n))
        return;
    add_parts<<<cuda_blocks(c, n, 256), 256, 0, c->stream>>>(s, parts, g);
    cuda_launched(&c->be, "attention_dx");
}

void cuda_attention(struct backend *be, const struct attention *a, void *o, float *lse, const void *q,
                    const void *k, const void *v)
{
    struct attention_call call;

    if (!prepare(&call, be, a) || a->max_q == 0)
        return;
    if (!cuda_of(be)->bf16_act)
        attention_plain(&call, (float *)o, lse, (const float *)q, (const float *)k, (const float *)v);
    else if (!attention_wgmma(&call, (bf16 *)o, lse, (const bf16 *)q, (const bf16 *)k, (const bf16 *)v) &&
             !attention_mma(&call, (bf16 *)o, lse, (const bf16 *)q, (const bf16 *)k, (const bf16 *)v))
        attention_plain(&call, (bf16 *)o, lse, (const bf16 *)q, (const bf16 *)k, (const bf16 *)v);
}

/* delta = dO . O of each row and head: LANES neighbours each, N elements at a time. */
template <typename T, int N, int LANES>
static __global__ void products_of_rows(float *delta, const T *d_o, const T *o, struct shape s)
{
    size_t queries = s.cu_q[s.segments], heads = (size_t)s.kv_heads * s.group, per = blockDim.x / LANES;
    size_t rows = (queries * heads + per - 1) / per * per; /* all lanes of a warp stay */

    for (size_t i = blockIdx.x * per + threadIdx.x / LANES; i < rows; i += gridDim.x * per) {
        size_t at = i / heads * s.o_stride + i % heads * s.dim;
        typename sum_of<T>::type sum = 0;

        if (i < queries * heads)
            for (int d = threadIdx.x % LANES * N; d < s.dim; d += LANES * N) {
                pack<T, N> x = *(const pack<T, N> *)(d_o + at + d), y = *(const pack<T, N> *)(o + at + d);

#pragma unroll
                for (int j = 0; j < N; j++)
                    sum += (typename sum_of<T>::type)to_f32(x.v[j]) * to_f32(y.v[j]);
            }
        for (int step = LANES / 2; step > 0; step /= 2)
            sum += __shfl_xor_sync(~0u, sum, step);
        if (threadIdx.x % LANES == 0 && i < queries * heads)
            delta[i % heads * queries + i / heads] = (float)sum;
    }
}

template <typename T>
static void fill_delta(const struct attention_call *call, float *delta, const gradients<T> &g, const T *o)
{
    struct cuda *c = call->c;
    const struct shape &s = call->shape;
    size_t rows = (size_t)s.segments * call->max_rows * s.kv_heads; /* at most */

    if (rows && s.dim % 8 == 0 && units(g.d_o, s.o_stride) && units(o, s.o_stride))
        products_of_rows<T, 8, 16><<<cuda_blocks(c, rows, 16), 256, 0, c->stream>>>(delta, g.d_o, o, s);
    else if (rows)
        products_of_rows<T, 1, WARP><<<cuda_blocks(c, rows, 8), 256, 0, c->stream>>>(delta, g.d_o, o, s);
    cuda_launched(&c->be, "attention_dx");
}

static void fastest_dx(const struct attention_call *call, float *delta, const gradients<bf16> &g,
                       const bf16 *o)
{
    if (attention_window_dx(call, g, o))
        return;
    fill_delta(call, delta, g, o);
    if (!attention_wgmma_dx(call, g) && !attention_mma_dx(call, g))
        attention_plain_dx(call, g);
}

static void fastest_dx(const struct attention_call *call, float *delta, const gradients<float> &g,
                       const float *o)
{
    fill_delta(call, delta, g, o);
    attention_plain_dx(call, g);
}

template <typename T>
static void run_dx(const struct attention_call *call, float *delta, void *dq, void *dk, void *dv,
                   const void *d_o, const void *q, const void *k, const void *v, const void *o,
                   const float *lse)
{
    gradients<T> g = {(T *)dq,      (T *)dk,      (T *)dv, (const T *)d_o, (const T *)q,
                      (const T *)k, (const T *)v, lse,     delta};

    fastest_dx(call, delta, g, (const T *)o);
}

void cuda_attention_dx(struct backend *be, const struct attention *a, void *dq, void *dk, void *dv,
                       const void *d_o, const void *q, const void *k, const void *v, const void *o,
                       const float *lse)
{
    struct cuda *c = cuda_of(be);
    struct attention_call call;
    float *delta;

    if (!prepare(&call, be, a))
        return;
    /* The number of rows is known on the device only: no segment is longer than the longest. */
    delta = (float *)cuda_scratch(c, SCRATCH_SUMS, a->segments * a->max_q * a->heads * sizeof *delta);
    if (delta)
        CUDA_ACT(c, run_dx, &call, delta, dq, dk, dv, d_o, q, k, v, o, lse);
}
