/* compare.cu - rows of logits of two models side by side, a block a row; see kernels/cpu/compare.c for the formulas */
#include "kernels/cuda/order.cuh"

enum { THREADS = 1024 };

static __device__ double sum_of_block(double x)
{
    return block_reduce(x, add_values(), 0.0);
}

/* Tokens that both orders have in common at their start; kp, kq: the first of each, which are out already. */
static __device__ int32_t common_start(const float *p, const float *q, size_t n, int64_t *own_p, int64_t *own_q, int64_t kp,
                                       int64_t kq)
{
    int32_t limit = n < ROW_TOP ? (int32_t)n : ROW_TOP, same = 0;

    while (same < limit && order_index(kp) == order_index(kq)) {
        if (++same == limit)
            break;
        kp = order_pop(own_p, p, n);
        kq = order_pop(own_q, q, n);
    }
    return same;
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

/* What one look at a pair of rows gives. */
struct first_look {
    int64_t own_p, own_q; /* of order_pop() */
    double sum_p, sum_q, pp, qq, pq, dd, largest;
    long long before_p, before_q; /* tokens that come before the label */
};

static __device__ struct first_look look(const float *p, const float *q, size_t n, int32_t label)
{
    int64_t at_p = label < 0 ? INT64_MAX : order_key(p[label], (size_t)label);
    int64_t at_q = label < 0 ? INT64_MAX : order_key(q[label], (size_t)label);
    struct first_look l = {};

    l.own_p = l.own_q = INT64_MIN;
    for (size_t i = threadIdx.x; i < n; i += THREADS) {
        int64_t kp = order_key(p[i], i), kq = order_key(q[i], i);
        double x = p[i], y = q[i], d = y - x;

        l.own_p = kp > l.own_p ? kp : l.own_p;
        l.own_q = kq > l.own_q ? kq : l.own_q;
        l.before_p += kp > at_p;
        l.before_q += kq > at_q;
        l.sum_p += x;
        l.sum_q += y;
        l.pp += x * x;
        l.qq += y * y;
        l.pq += x * y;
        l.dd += d * d;
        l.largest = fmax(l.largest, fabs(d));
    }
    l.sum_p = sum_of_block(l.sum_p);
    l.sum_q = sum_of_block(l.sum_q);
    l.pp = sum_of_block(l.pp);
    l.qq = sum_of_block(l.qq);
    l.pq = sum_of_block(l.pq);
    l.dd = sum_of_block(l.dd);
    l.largest = block_reduce(l.largest, larger_value(), 0.0);
    l.before_p = block_reduce(l.before_p, add_values(), 0LL);
    l.before_q = block_reduce(l.before_q, add_values(), 0LL);
    return l;
}

/* Sums of exponentials, for the divergences, and moments about the means. */
struct second_look {
    double exp_p, exp_q, cross_p, cross_q, pp, qq, pq, dd;
};

static __device__ struct second_look look_again(const float *p, const float *q, size_t n, double max_p, double max_q,
                                                double mean_p, double mean_q)
{
    struct second_look l = {};

    for (size_t i = threadIdx.x; i < n; i += THREADS) {
        double a = exp(p[i] - max_p), b = exp(q[i] - max_q), d = (double)p[i] - q[i];
        double x = p[i] - mean_p, y = q[i] - mean_q, c = (double)q[i] - p[i] - (mean_q - mean_p);

        l.exp_p += a;
        l.exp_q += b;
        l.cross_p += a * d;
        l.cross_q += b * d;
        l.pp += x * x;
        l.qq += y * y;
        l.pq += x * y;
        l.dd += c * c;
    }
    l.exp_p = sum_of_block(l.exp_p);
    l.exp_q = sum_of_block(l.exp_q);
    l.cross_p = sum_of_block(l.cross_p);
    l.cross_q = sum_of_block(l.cross_q);
    l.pp = sum_of_block(l.pp);
    l.qq = sum_of_block(l.qq);
    l.pq = sum_of_block(l.pq);
    l.dd = sum_of_block(l.dd);
    return l;
}

static __device__ double jensen_shannon(const float *p, const float *q, size_t n, double max_p, double max_q, double exp_p,
                                        double exp_q)
{
    double js = 0;

    for (size_t i = threadIdx.x; i < n; i += THREADS) {
        double a = exp(p[i] - max_p) / exp_p, b = exp(q[i] - max_q) / exp_q;

        if (a + b > 0)
            js += (a + b) * mix((a - b) / (a + b));
    }
    return sum_of_block(js) / 4;
}

/* Three looks at each pair of rows: they come from memory each time. */
static __global__ void __launch_bounds__(THREADS)
    comparison(struct row_stats *out, const float *p_rows, const float *q_rows, size_t vocab)
{
    const float *p = p_rows + blockIdx.x * vocab, *q = q_rows + blockIdx.x * vocab;
    struct row_stats s = {};

    s.label = out[blockIdx.x].label;

    struct first_look one = look(p, q, vocab, s.label);
    int64_t kp = order_pop(&one.own_p, p, vocab), kq = order_pop(&one.own_q, q, vocab);
    double max_p = order_value(kp), max_q = order_value(kq);
    struct second_look two =
        look_again(p, q, vocab, max_p, max_q, one.sum_p / (double)vocab, one.sum_q / (double)vocab);
    double shift = max_p - max_q + (log(two.exp_p) - log(two.exp_q));

    s.agree = common_start(p, q, vocab, &one.own_p, &one.own_q, kp, kq);
    s.js = jensen_shannon(p, q, vocab, max_p, max_q, two.exp_p, two.exp_q);
    s.kl = two.cross_p / two.exp_p - shift;
    s.kl_back = shift - two.cross_q / two.exp_q;
    s.kl = s.kl < 0 ? 0 : s.kl;
    s.kl_back = s.kl_back < 0 ? 0 : s.kl_back;
    s.sq = one.dd;
    s.sq_centred = two.dd;
    s.max_abs = one.largest;
    s.cos = cosine(one.pq, one.pp, one.qq, one.dd);
    s.cos_centred = cosine(two.pq, two.pp, two.qq, two.dd);
    s.top_p = 1 / two.exp_p;
    if (s.label >= 0) {
        s.rank_p = (int32_t)one.before_p;
        s.rank_q = (int32_t)one.before_q;
        s.nll_p = max_p - p[s.label] + log(two.exp_p);
        s.nll_q = max_q - q[s.label] + log(two.exp_q);
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
