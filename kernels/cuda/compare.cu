/* compare.cu - rows of logits of two models side by side, a block a row; see kernels/cpu/compare.c for the formulas */
#include "kernels/cuda/order.cuh"

enum { THREADS = 1024 };

static __device__ double sum_of_block(double x)
{
    return block_reduce(x, add_values(), 0.0);
}

/* Tokens that both orders have in common at their start; kp, kq: the first of each. */
static __device__ int32_t common_start(const float *p, const float *q, size_t n, int64_t kp, int64_t kq)
{
    int32_t limit = n < ROW_TOP ? (int32_t)n : ROW_TOP, same = 0;

    while (same < limit && order_index(kp) == order_index(kq)) {
        if (++same == limit)
            break;
        kp = order_next(p, n, kp);
        kq = order_next(q, n, kq);
    }
    return same;
}

static __device__ int32_t rank_of(const float *z, size_t n, size_t label)
{
    int64_t key = order_key(z[label], label);
    long long before = 0;

    for (size_t i = threadIdx.x; i < n; i += THREADS)
        before += order_key(z[i], i) > key;
    return (int32_t)block_reduce(before, add_values(), 0LL);
}

/* (1 + x) ln(1 + x) + (1 - x) ln(1 - x), whose terms cancel where x is small: there the series. */
static __device__ double mix(double x)
{
    double z = x * x, p = 0;

    if (z >= 0.0625)
        return (1 + x) * log1p(x) + (x < 1 ? (1 - x) * log1p(-x) : 0);
    for (int k = 12; k >= 1; k--) /* sum of x^2k / (k (2k - 1)) */
        p = p * z + 1.0 / (k * (2 * k - 1));
    return z * p;
}

static __device__ double cosine(double pq, double pp, double qq, double dd)
{
    if (dd == 0)
        return 1;
    return pp == 0 || qq == 0 ? 0 : pq / (sqrt(pp) * sqrt(qq));
}

/* Sums that need the softmax: *kl and *back, and Jensen-Shannon. */
static __device__ void divergences(struct row_stats *s, const float *p, const float *q, size_t n, double max_p,
                                   double max_q, double *exp_p, double *exp_q)
{
    double ep = 0, eq = 0, cross_p = 0, cross_q = 0, js = 0, shift;

    for (size_t i = threadIdx.x; i < n; i += THREADS) {
        double d = (double)p[i] - q[i], a = exp(p[i] - max_p), b = exp(q[i] - max_q);

        ep += a;
        eq += b;
        cross_p += a * d;
        cross_q += b * d;
    }
    ep = sum_of_block(ep);
    eq = sum_of_block(eq);
    cross_p = sum_of_block(cross_p);
    cross_q = sum_of_block(cross_q);
    for (size_t i = threadIdx.x; i < n; i += THREADS) {
        double a = exp(p[i] - max_p) / ep, b = exp(q[i] - max_q) / eq;

        if (a + b > 0)
            js += (a + b) * mix((a - b) / (a + b));
    }
    s->js = sum_of_block(js) / 4;
    shift = max_p - max_q + (log(ep) - log(eq));
    s->kl = cross_p / ep - shift;
    s->kl_back = shift - cross_q / eq;
    s->kl = s->kl < 0 ? 0 : s->kl;
    s->kl_back = s->kl_back < 0 ? 0 : s->kl_back;
    *exp_p = ep;
    *exp_q = eq;
}

/* Second moments of p - at_p, q - at_q and their difference. */
static __device__ double moments(const float *p, const float *q, size_t n, double at_p, double at_q, double *dd)
{
    double pp = 0, qq = 0, pq = 0, d2 = 0;

    for (size_t i = threadIdx.x; i < n; i += THREADS) {
        double x = p[i] - at_p, y = q[i] - at_q, d = (double)q[i] - p[i] - (at_q - at_p);

        pp += x * x;
        qq += y * y;
        pq += x * y;
        d2 += d * d;
    }
    pp = sum_of_block(pp);
    qq = sum_of_block(qq);
    pq = sum_of_block(pq);
    *dd = sum_of_block(d2);
    return cosine(pq, pp, qq, *dd);
}

static __device__ void distances(struct row_stats *s, const float *p, const float *q, size_t n)
{
    double sum_p = 0, sum_q = 0, largest = 0;

    for (size_t i = threadIdx.x; i < n; i += THREADS) {
        sum_p += p[i];
        sum_q += q[i];
        largest = fmax(largest, fabs((double)q[i] - p[i]));
    }
    sum_p = sum_of_block(sum_p);
    sum_q = sum_of_block(sum_q);
    s->max_abs = block_reduce(largest, larger_value(), 0.0);
    s->cos = moments(p, q, n, 0, 0, &s->sq);
    s->cos_centred = moments(p, q, n, sum_p / (double)n, sum_q / (double)n, &s->sq_centred);
}

static __global__ void __launch_bounds__(THREADS)
    comparison(struct row_stats *out, const float *p_rows, const float *q_rows, size_t vocab)
{
    const float *p = p_rows + blockIdx.x * vocab, *q = q_rows + blockIdx.x * vocab;
    int64_t kp = order_next(p, vocab, INT64_MAX), kq = order_next(q, vocab, INT64_MAX);
    double max_p = order_value(kp), max_q = order_value(kq), exp_p, exp_q;
    struct row_stats s = {};

    s.label = out[blockIdx.x].label;
    s.agree = common_start(p, q, vocab, kp, kq);
    divergences(&s, p, q, vocab, max_p, max_q, &exp_p, &exp_q);
    distances(&s, p, q, vocab);
    s.top_p = 1 / exp_p;
    if (s.label >= 0) {
        s.rank_p = rank_of(p, vocab, (size_t)s.label);
        s.rank_q = rank_of(q, vocab, (size_t)s.label);
        s.nll_p = max_p - p[s.label] + log(exp_p);
        s.nll_q = max_q - q[s.label] + log(exp_q);
    }
    __syncthreads(); /* every thread has read the label */
    if (threadIdx.x == 0)
        out[blockIdx.x] = s;
}

void cuda_compare(struct backend *be, struct row_stats *out, const float *p, const float *q, size_t rows, size_t vocab)
{
    struct cuda *c = cuda_of(be);

    if (cuda_idle(be, rows * vocab))
        return;
    comparison<<<(unsigned)rows, THREADS, 0, c->stream>>>(out, p, q, vocab);
    cuda_launched(be, "compare");
}
