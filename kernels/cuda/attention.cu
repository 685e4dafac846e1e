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
    if (a->max_q * group > INT32_MAX || a->max_k > INT32_MAX) {
        err_set(&be->err, RC_DATA, "a segment of %zu rows is too long for attention", a->max_q);
        return false;
    }
    *call = {cuda_of(be),
             {a->cu_q, a->cu_k, a->q_stride, a->k_stride, a->v_stride, a->o_stride, (int)a->segments,
              (int)a->kv_heads, (int)group, (int)a->head_dim, a->scale, a->causal},
             a->segments * a->kv_heads,
             a->max_q * group,
             a->max_k};
    return true;
}

void cuda_attention(struct backend *be, const struct attention *a, void *o, float *lse, const void *q,
                    const void *k, const void *v)
{
    struct attention_call call;

    if (!prepare(&call, be, a) || a->max_q == 0)
        return;
    if (!cuda_of(be)->bf16_act)
        attention_plain(&call, (float *)o, lse, (const float *)q, (const float *)k, (const float *)v);
    else if (!attention_mma(&call, (bf16 *)o, lse, (const bf16 *)q, (const bf16 *)k, (const bf16 *)v))
        attention_plain(&call, (bf16 *)o, lse, (const bf16 *)q, (const bf16 *)k, (const bf16 *)v);
}

/* delta = dO . O of each row and head: a warp each. */
template <typename T>
static __global__ void products_of_rows(float *delta, const T *d_o, const T *o, struct shape s)
{
    size_t queries = s.cu_q[s.segments], heads = (size_t)s.kv_heads * s.group, warps = blockDim.x / WARP;

    for (size_t i = blockIdx.x * warps + threadIdx.x / WARP; i < queries * heads; i += gridDim.x * warps) {
        size_t at = i / heads * s.o_stride + i % heads * s.dim;
        typename sum_of<T>::type sum = 0;

        for (int d = threadIdx.x % WARP; d < s.dim; d += WARP)
            sum += (typename sum_of<T>::type)to_f32(d_o[at + d]) * to_f32(o[at + d]);
        sum = warp_reduce(sum, add_values());
        if (threadIdx.x % WARP == 0)
            delta[i % heads * queries + i / heads] = (float)sum;
    }
}

static void fastest_dx(const struct attention_call *call, const gradients<bf16> &g)
{
    if (!attention_mma_dx(call, g))
        attention_plain_dx(call, g);
}

static void fastest_dx(const struct attention_call *call, const gradients<float> &g)
{
    attention_plain_dx(call, g);
}

template <typename T>
static void run_dx(const struct attention_call *call, float *delta, void *dq, void *dk, void *dv,
                   const void *d_o, const void *q, const void *k, const void *v, const void *o,
                   const float *lse)
{
    struct cuda *c = call->c;
    gradients<T> g = {(T *)dq,      (T *)dk,      (T *)dv, (const T *)d_o, (const T *)q,
                      (const T *)k, (const T *)v, lse,     delta};
    size_t rows = (size_t)call->shape.segments * call->max_rows * call->shape.kv_heads; /* at most */

    if (rows) {
        products_of_rows<<<cuda_blocks(c, rows, 8), 256, 0, c->stream>>>(delta, g.d_o, (const T *)o,
                                                                         call->shape);
        cuda_launched(&c->be, "attention_dx");
    }
    fastest_dx(call, g);
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
