/* compare.cu - rows of logits of two models side by side, a block a row; see kernels/cpu/compare.c for the
 * formulas */
#include "kernels/cuda/order.cuh"

enum { THREADS = 512 };

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

/* The tokens of one row that may be among its first: those from a key on. */
enum { CANDIDATES = 2048 };
struct candidates {
    int64_t from, key[CANDIDATES];
    int32_t first[ROW_TOP];
    int n; /* may pass CANDIDATES: then they are not all here */
};

/*
 * From each thread's largest key: the row's, and where candidates begin.  As many threads as there are places
 * have a key from there on, so all of the first are candidates, and others are only from those threads.
 */
static __device__ int64_t begin_candidates(struct candidates *c, int64_t largest)
{
    int64_t first = 0, limit = INT64_MAX;

    for (int i = 0; i < ROW_TOP; i++) {
        limit = block_reduce((long long)(largest < limit ? largest : INT64_MIN), larger_value(),
                             (long long)INT64_MIN);
        first = i == 0 ? limit : first;
    }
    if (threadIdx.x == 0) {
        c->from = limit;
        c->n = 0;
    }
    return first;
}

static __device__ void offer(struct candidates *c, int64_t key)
{
    int at;

    if (key < c->from)
        return;
    at = atomicAdd(&c->n, 1); /* in any order: they are put in theirs afterwards */
    if (at < CANDIDATES)
        c->key[at] = key;
}

/* Each candidate's place is the number of larger ones. */
static __device__ void order_candidates(struct candidates *c)
{
    int n = c->n < CANDIDATES ? c->n : CANDIDATES;

    for (int i = threadIdx.x; i < n; i += THREADS) {
        int before = 0;

        for (int k = 0; k < n && before < ROW_TOP; k++)
            before += c->key[k] > c->key[i];
        if (before < ROW_TOP)
            c->first[before] = order_index(c->key[i]);
    }
}

/*
 * Sums over a row, of this thread at first: exponentials, and those times p - q; second moments of p, q and
 * q - p; the same after subtracting the means.
 */
enum { EXP_P, EXP_Q, CROSS_P, CROSS_Q, PP, QQ, PQ, DD, CPP, CQQ, CPQ, CDD, SUMS };

static __device__ void add_all(double *sum)
{
#pragma unroll
    for (int i = 0; i < SUMS; i++)
        sum[i] = sum_of_block(sum[i]);
}

/* Largest keys, means and the largest difference. */
static __device__ void first_look(struct row_stats *s, const float *p, const float *q, size_t n, int64_t *kp,
                                  int64_t *kq, double *mean_p, double *mean_q)
{
    double sum_p = 0, sum_q = 0, largest = 0;
    int64_t p_most = INT64_MIN, q_most = INT64_MIN;

    for (size_t i = threadIdx.x; i < n; i += THREADS) {
        int64_t a = order_key(p[i], i), b = order_key(q[i], i);

        p_most = a > p_most ? a : p_most;
        q_most = b > q_most ? b : q_most;
        sum_p += p[i];
        sum_q += q[i];
        largest = fmax(largest, fabs((double)q[i] - p[i]));
    }
    *kp = p_most;
    *kq = q_most;
    *mean_p = sum_of_block(sum_p) / (double)n;
    *mean_q = sum_of_block(sum_q) / (double)n;
    s->max_abs = block_reduce(largest, larger_value(), 0.0);
}

static __device__ double shannon(const float *p, const float *q, size_t n, double max_p, double max_q,
                                 const double *sum)
{
    double js = 0, inverse_p = 1 / sum[EXP_P], inverse_q = 1 / sum[EXP_Q];

    for (size_t i = threadIdx.x; i < n; i += THREADS) {
        double a = exp(p[i] - max_p) * inverse_p, b = exp(q[i] - max_q) * inverse_q;

        if (a + b > 0)
            js += (a + b) * mix((a - b) / (a + b));
    }
    return sum_of_block(js) / 4;
}

/* What follows from the sums. */
static __device__ void conclude(struct row_stats *s, const float *p, const float *q, double max_p,
                                double max_q, const double *sum)
{
    double shift = max_p - max_q + (log(sum[EXP_P]) - log(sum[EXP_Q]));

    s->top_p = 1 / sum[EXP_P];
    s->kl = sum[CROSS_P] / sum[EXP_P] - shift;
    s->kl_back = shift - sum[CROSS_Q] / sum[EXP_Q];
    s->kl = s->kl < 0 ? 0 : s->kl;
    s->kl_back = s->kl_back < 0 ? 0 : s->kl_back;
    s->sq = sum[DD];
    s->sq_centred = sum[CDD];
    s->cos = cosine(sum[PQ], sum[PP], sum[QQ], sum[DD]);
    s->cos_centred = cosine(sum[CPQ], sum[CPP], sum[CQQ], sum[CDD]);
    if (s->label < 0)
        return;
    s->nll_p = max_p - p[s->label] + log(sum[EXP_P]);
    s->nll_q = max_q - q[s->label] + log(sum[EXP_Q]);
}

/* Three times over the row: for its largest logits, for the sums below them, and for what needs those. */
static __global__ void __launch_bounds__(THREADS)
    comparison(struct row_stats *out, const float *p_rows, const float *q_rows, size_t vocab)
{
    __shared__ struct candidates of_p, of_q;
    const float *p = p_rows + blockIdx.x * vocab, *q = q_rows + blockIdx.x * vocab;
    struct row_stats s = {};
    double sum[SUMS] = {};
    int32_t before_p = 0, before_q = 0;
    int64_t kp, kq, label_p = INT64_MAX, label_q = INT64_MAX;
    double mean_p, mean_q, max_p, max_q;
    int32_t limit = vocab < ROW_TOP ? (int32_t)vocab : ROW_TOP;

    s.label = out[blockIdx.x].label;
    first_look(&s, p, q, vocab, &kp, &kq, &mean_p, &mean_q);
    kp = begin_candidates(&of_p, kp);
    kq = begin_candidates(&of_q, kq);
    max_p = order_value(kp);
    max_q = order_value(kq);
    if (s.label >= 0) {
        label_p = order_key(p[s.label], s.label);
        label_q = order_key(q[s.label], s.label);
    }
    __syncthreads();
    for (size_t i = threadIdx.x; i < vocab; i += THREADS) {
        double x = p[i], y = q[i], d = x - y, a = exp(x - max_p), b = exp(y - max_q);
        double cx = x - mean_p, cy = y - mean_q, cd = y - x - (mean_q - mean_p);
        int64_t key_p = order_key(p[i], i), key_q = order_key(q[i], i);

        sum[EXP_P] += a;
        sum[EXP_Q] += b;
        sum[CROSS_P] += a * d;
        sum[CROSS_Q] += b * d;
        sum[PP] += x * x;
        sum[QQ] += y * y;
        sum[PQ] += x * y;
        sum[DD] += d * d;
        sum[CPP] += cx * cx;
        sum[CQQ] += cy * cy;
        sum[CPQ] += cx * cy;
        sum[CDD] += cd * cd;
        before_p += key_p > label_p;
        before_q += key_q > label_q;
        offer(&of_p, key_p);
        offer(&of_q, key_q);
    }
    add_all(sum);
    s.rank_p = block_reduce(before_p, add_values(), 0);
    s.rank_q = block_reduce(before_q, add_values(), 0);
    __syncthreads();
    order_candidates(&of_p);
    order_candidates(&of_q);
    __syncthreads();
    if (of_p.n > CANDIDATES || of_q.n > CANDIDATES)
        s.agree = common_start(p, q, vocab, kp, kq);
    else
        while (s.agree < limit && of_p.first[s.agree] == of_q.first[s.agree])
            s.agree++;
    s.js = shannon(p, q, vocab, max_p, max_q, sum);
    conclude(&s, p, q, max_p, max_q, sum);
    if (threadIdx.x == 0)
        out[blockIdx.x] = s;
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
