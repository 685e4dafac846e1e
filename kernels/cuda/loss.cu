/* loss.cu - rows of logits: negative log-likelihood, its gradient, and the comparison of two models; a block
 * a row */
#include "kernels/cuda/cuda.cuh"

enum { THREADS = 1024 };

/* A row's largest logit and where it is first; a NaN counts as the largest of all. */
struct top {
    float value;
    int32_t index;
};

/* Order in the high half, position in the low one such that an earlier one is larger. */
static __device__ struct top find_top(const float *z, size_t n)
{
    int64_t best = INT64_MIN;

    for (size_t i = threadIdx.x; i < n; i += THREADS) {
        int64_t key = (int64_t)order_of(z[i]) * ((int64_t)1 << 32) + (0x7fffffff - (int64_t)i);

        best = key > best ? key : best;
    }
    best = block_reduce((long long)best, larger_value(), (long long)INT64_MIN);
    return top{from_order((int32_t)(best >> 32)), (int32_t)(0x7fffffff - (best & 0xffffffff))};
}

static __global__ void __launch_bounds__(THREADS)
    likelihood(float *nll, float *lse, int32_t *argmax, const float *logits, const int32_t *target,
               size_t vocab)
{
    size_t r = blockIdx.x;
    const float *z = logits + r * vocab;
    struct top top = find_top(z, vocab);
    double sum = 0, total;

    if (threadIdx.x == 0 && argmax)
        argmax[r] = top.index;
    if (!nll && !lse)
        return;
    for (size_t i = threadIdx.x; i < vocab; i += THREADS)
        sum += expf(z[i] - top.value);
    sum = block_reduce(sum, add_values(), 0.0);
    if (threadIdx.x != 0)
        return;
    total = top.value + log(sum);
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

/* KL = sum p (log p - log q) = mean of z_p - z_q under p, less the difference of the two log-sums; see the
 * CPU's. */
static __global__ void __launch_bounds__(THREADS)
    comparison(struct row_stats *out, const float *p, const float *q, size_t vocab)
{
    const float *zp = p + blockIdx.x * vocab, *zq = q + blockIdx.x * vocab;
    struct top tp = find_top(zp, vocab), tq = find_top(zq, vocab);
    double sum_p = 0, sum_q = 0, cross = 0, sq = 0, kl;

    for (size_t i = threadIdx.x; i < vocab; i += THREADS) {
        double d = (double)zp[i] - zq[i], ep = exp((double)zp[i] - tp.value);

        sum_p += ep;
        sum_q += exp((double)zq[i] - tq.value);
        cross += ep * d;
        sq += d * d;
    }
    sum_p = block_reduce(sum_p, add_values(), 0.0);
    sum_q = block_reduce(sum_q, add_values(), 0.0);
    cross = block_reduce(cross, add_values(), 0.0);
    sq = block_reduce(sq, add_values(), 0.0);
    if (threadIdx.x != 0)
        return;
    kl = cross / sum_p - ((double)tp.value - tq.value + (log(sum_p) - log(sum_q)));
    out[blockIdx.x] = row_stats{kl < 0 ? 0 : kl, sq, tp.index == tq.index, 0};
}

void cuda_compare(struct backend *be, struct row_stats *out, const float *p, const float *q, size_t rows,
                  size_t vocab)
{
    struct cuda *c = cuda_of(be);

    if (cuda_idle(be, rows * vocab))
        return;
    comparison<<<(unsigned)rows, THREADS, 0, c->stream>>>(out, p, q, vocab);
    cuda_launched(be, "compare");
}
