/* loss.cu - rows of logits: negative log-likelihood, a block a row, and its gradient */
#include "kernels/cuda/order.cuh"

enum { THREADS = 1024 };

static __global__ void __launch_bounds__(THREADS)
    likelihood(float *nll, float *lse, int32_t *argmax, const float *logits, const int32_t *target,
               size_t vocab)
{
    size_t r = blockIdx.x;
    const float *z = logits + r * vocab;
    int64_t top = order_next(z, vocab, INT64_MAX);
    float most = order_value(top);
    double sum = 0, total;

    if (threadIdx.x == 0 && argmax)
        argmax[r] = order_index(top);
    if (!nll && !lse)
        return;
    for (size_t i = threadIdx.x; i < vocab; i += THREADS)
        sum += expf(z[i] - most);
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
    likelihood<<<(unsigned)rows, THREADS, 0, c->stream>>>(nll, lse, argmax, logits, target, vocab);
    cuda_launched(be, "nll");
}

template <typename T>
static __global__ void gradient(T *dlogits, const float *logits, const float *lse, const int32_t *target,
                                const float *weight, size_t rows, size_t vocab)
{
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < rows * vocab;
         i += (size_t)gridDim.x * blockDim.x) {
        size_t r = i / vocab;
        int32_t t = target[r];
        float p = expf(logits[i] - lse[r]);

        dlogits[i] = from_f32<T>(t < 0 ? 0 : weight[r] * ((size_t)t == i % vocab ? p - 1 : p));
    }
}

template <typename T>
static void run_dx(struct cuda *c, void *dlogits, const float *logits, const float *lse,
                   const int32_t *target, const float *weight, size_t rows, size_t vocab)
{
    gradient<<<cuda_blocks(c, rows * vocab, 256), 256, 0, c->stream>>>((T *)dlogits, logits, lse, target,
                                                                       weight, rows, vocab);
    cuda_launched(&c->be, "nll_dx");
}

void cuda_nll_dx(struct backend *be, void *dlogits, const float *logits, const float *lse,
                 const int32_t *target, const float *weight, size_t rows, size_t vocab)
{
    struct cuda *c = cuda_of(be);

    if (!cuda_idle(be, rows * vocab))
        CUDA_ACT(c, run_dx, c, dlogits, logits, lse, target, weight, rows, vocab);
}
