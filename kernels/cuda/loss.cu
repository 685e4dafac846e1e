/* loss.cu - rows of logits: negative log-likelihood, a block a row, and its gradient */
#include <cfloat>

#include "kernels/cuda/order.cuh"

enum { THREADS = 512, AT_ONCE = 4 }; /* AT_ONCE: loads of a thread that are under way */

/* What a thread has seen of a row: its largest logit, where, and the sum of exp(logit - that one). */
struct seen {
    int32_t order; /* order_of(most) */
    float most;
    size_t at;
    double sum;
};

/* Logits [i, i + N).  One larger than before is rare after a few.  Of equals the first stays. */
template <int N, bool SUM> static __device__ void see(struct seen *s, const pack<float, N> &z, size_t i)
{
    int32_t order[N], largest = s->order;

#pragma unroll
    for (int j = 0; j < N; j++)
        largest = larger_value()(largest, order[j] = order_of(z.v[j]));
    if (largest > s->order) {
        float most = from_order(largest);

#pragma unroll
        for (int j = N; j-- > 0;)
            s->at = order[j] == largest ? i + j : s->at;
        if (SUM)
            s->sum *= expf(s->most - most);
        s->order = largest;
        s->most = most;
    }
#pragma unroll
    for (int j = 0; SUM && j < N; j++)
        s->sum += expf(z.v[j] - s->most);
}

/* A row is read once; N logits at a time.  SUM: not for the argmax alone. */
template <int N, bool SUM>
static __global__ void __launch_bounds__(THREADS)
    likelihood(float *nll, float *lse, int32_t *argmax, const float *logits, const int32_t *target,
               size_t vocab)
{
    const size_t r = blockIdx.x, step = THREADS * N;
    const float *z = logits + r * vocab;
    struct seen s = {order_of(-FLT_MAX), -FLT_MAX, 0, 0}; /* finite, as differences have to be */
    int64_t top;
    double total;

    for (size_t i = threadIdx.x * N; i < vocab; i += AT_ONCE * step) {
        pack<float, N> p[AT_ONCE];

#pragma unroll
        for (int k = 0; k < AT_ONCE; k++)
            if (i + k * step < vocab)
                p[k] = *(const pack<float, N> *)(z + i + k * step);
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++)
            if (i + k * step < vocab)
                see<N, SUM>(&s, p[k], i + k * step);
    }
    top = block_reduce((long long)order_key(z[s.at], s.at), larger_value(), (long long)INT64_MIN);
    if (threadIdx.x == 0 && argmax)
        argmax[r] = order_index(top);
    if (!SUM)
        return;
    total = block_reduce(s.sum * exp((double)s.most - order_value(top)), add_values(), 0.0);
    if (threadIdx.x != 0)
        return;
    total = order_value(top) + log(total);
    if (nll)
        nll[r] = target[r] < 0 ? 0 : (float)(total - z[target[r]]);
    if (lse)
        lse[r] = (float)total;
}

template <int N>
static void run(struct cuda *c, float *nll, float *lse, int32_t *argmax, const float *logits,
                const int32_t *target, size_t rows, size_t vocab)
{
    if (nll || lse)
        likelihood<N, true>
            <<<(unsigned)rows, THREADS, 0, c->stream>>>(nll, lse, argmax, logits, target, vocab);
    else
        likelihood<N, false>
            <<<(unsigned)rows, THREADS, 0, c->stream>>>(nll, lse, argmax, logits, target, vocab);
    cuda_launched(&c->be, "nll");
}

void cuda_nll(struct backend *be, float *nll, float *lse, int32_t *argmax, const float *logits,
              const int32_t *target, size_t rows, size_t vocab)
{
    struct cuda *c = cuda_of(be);

    if (cuda_idle(be, rows * vocab))
        return;
    if (vocab % 4 == 0 && cuda_aligned(logits, 16))
        run<4>(c, nll, lse, argmax, logits, target, rows, vocab);
    else
        run<1>(c, nll, lse, argmax, logits, target, rows, vocab);
}

/* Rows by blockIdx.y, N logits of one at once. */
template <typename T, int N>
static __global__ void gradient(T *dlogits, const float *logits, const float *lse, const int32_t *target,
                                const float *weight, size_t rows, size_t vocab)
{
    for (size_t r = blockIdx.y; r < rows; r += gridDim.y) {
        int32_t t = target[r];
        float total = lse[r], w = weight[r];

        for (size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * N; i < vocab;
             i += (size_t)gridDim.x * blockDim.x * N) {
            pack<float, N> z = *(const pack<float, N> *)(logits + r * vocab + i);
            pack<T, N> d;

#pragma unroll
            for (int j = 0; j < N; j++) {
                float p = expf(z.v[j] - total);

                d.v[j] = from_f32<T>(t < 0 ? 0 : w * ((size_t)t == i + j ? p - 1 : p));
            }
            *(pack<T, N> *)(dlogits + r * vocab + i) = d;
        }
    }
}

template <typename T>
static void run_dx(struct cuda *c, void *dlogits, const float *logits, const float *lse,
                   const int32_t *target, const float *weight, size_t rows, size_t vocab)
{
    bool fits = vocab % 4 == 0 && cuda_aligned(logits, 16) && cuda_aligned(dlogits, 16);
    size_t blocks = (vocab / (fits ? 4 : 1) + 255) / 256;
    dim3 grid((unsigned)(blocks < 1024 ? blocks : 1024), (unsigned)(rows < 65535 ? rows : 65535));

    if (fits)
        gradient<T, 4><<<grid, 256, 0, c->stream>>>((T *)dlogits, logits, lse, target, weight, rows, vocab);
    else
        gradient<T, 1><<<grid, 256, 0, c->stream>>>((T *)dlogits, logits, lse, target, weight, rows, vocab);
    cuda_launched(&c->be, "nll_dx");
}

void cuda_nll_dx(struct backend *be, void *dlogits, const float *logits, const float *lse,
                 const int32_t *target, const float *weight, size_t rows, size_t vocab)
{
    struct cuda *c = cuda_of(be);

    if (!cuda_idle(be, rows * vocab))
        CUDA_ACT(c, run_dx, c, dlogits, logits, lse, target, weight, rows, vocab);
}
