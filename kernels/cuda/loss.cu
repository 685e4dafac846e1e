/* loss.cu - rows of logits: negative log-likelihood, a block a row, and its gradient */
#include "kernels/cuda/order.cuh"

enum { THREADS = 1024 };

/* The key of the row's largest logit; N are read at once. */
template <int N> static __device__ int64_t largest(const float *z, size_t n)
{
    int32_t most = INT32_MIN;
    size_t at = 0;
    int64_t key;

#pragma unroll 4
    for (size_t i = threadIdx.x * N; i < n; i += THREADS * N) {
        pack<float, N> p = *(const pack<float, N> *)(z + i);

#pragma unroll
        for (int j = 0; j < N; j++) {
            int32_t order = order_of(p.v[j]);

            at = order > most ? i + j : at; /* a thread's indices ascend: the first of equals stays */
            most = order > most ? order : most;
        }
    }
    key = threadIdx.x * N < n ? order_key(z[at], at) : INT64_MIN;
    return block_reduce((long long)key, larger_value(), (long long)INT64_MIN);
}

template <int N>
static __global__ void __launch_bounds__(THREADS)
    likelihood(float *nll, float *lse, int32_t *argmax, const float *logits, const int32_t *target,
               size_t vocab)
{
    size_t r = blockIdx.x;
    const float *z = logits + r * vocab;
    int64_t top = largest<N>(z, vocab);
    float most = order_value(top);
    double sum = 0, total;

    if (threadIdx.x == 0 && argmax)
        argmax[r] = order_index(top);
    if (!nll && !lse)
        return;
#pragma unroll 4
    for (size_t i = threadIdx.x * N; i < vocab; i += THREADS * N) {
        pack<float, N> p = *(const pack<float, N> *)(z + i);

#pragma unroll
        for (int j = 0; j < N; j++)
            sum += expf(p.v[j] - most);
    }
    sum = block_reduce(sum, add_values(), 0.0);
    if (threadIdx.x != 0)
        return;
    total = most + log(sum);
    if (nll)
        nll[r] = target[r] < 0 ? 0 : (float)(total - z[target[r]]);
    if (lse)
        lse[r] = (float)total;
}

void cuda_nll(struct backend *be, float *nll, float *lse, int32_t *argmax, const float *logits,
              const int32_t *target, size_t rows, size_t vocab)
{
    struct cuda *c = cuda_of(be);

    if (cuda_idle(be, rows * vocab))
        return;
    if (vocab % 4 == 0 && cuda_aligned(logits, 16))
        likelihood<4><<<(unsigned)rows, THREADS, 0, c->stream>>>(nll, lse, argmax, logits, target, vocab);
    else
        likelihood<1><<<(unsigned)rows, THREADS, 0, c->stream>>>(nll, lse, argmax, logits, target, vocab);
    cuda_launched(be, "nll");
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
