/* compare.c - rows of logits of two models side by side */
#include <math.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vmath.h"

enum { BLOCK = 64 };

/* The first `count` entries of a row's order; keys as order_of(). */
struct order {
    size_t count, index[ROW_TOP];
    int32_t key[ROW_TOP];
};

static void insert(struct order *o, size_t limit, int32_t key, size_t index)
{
    size_t i = o->count < limit ? o->count++ : limit - 1;

    for (; i > 0 && o->key[i - 1] < key; i--) {
        o->key[i] = o->key[i - 1];
        o->index[i] = o->index[i - 1];
    }
    o->key[i] = key;
    o->index[i] = index;
}

/* A block is looked at only when its largest logit gets in; that is rare after the first few. */
static void find_order(struct order *o, const float *z, size_t n)
{
    size_t limit = n < ROW_TOP ? n : ROW_TOP;

    o->count = 0;
    for (size_t i = 0; i < n; i += BLOCK) {
        size_t end = n - i < BLOCK ? n : i + BLOCK;

        if (o->count == limit && order_of(max_f32(z + i, end - i)) <= o->key[limit - 1])
            continue;
        for (size_t k = i; k < end; k++) {
            int32_t key = order_of(z[k]);

            if (o->count < limit || key > o->key[limit - 1])
                insert(o, limit, key, k);
        }
    }
}

static int32_t common_start(const struct order *a, const struct order *b)
{
    int32_t n = 0;

    while ((size_t)n < a->count && a->index[n] == b->index[n])
        n++;
    return n;
}

/* How many tokens come before `label`. */
static int32_t rank_of(const float *z, size_t n, size_t label)
{
    int32_t key = order_of(z[label]), before = 0;

#pragma omp simd reduction(+ : before)
    for (size_t i = 0; i < n; i++)
        before += order_of(z[i]) > key;
    for (size_t i = 0; i < label; i++)
        before += order_of(z[i]) == key;
    return before;
}

/* Sums of a row pair; first those that need nothing but the maxima. */
struct sums {
    double max_p, max_q, exp_p, exp_q; /* exp: of exp(z - max) */
    double cross_p, cross_q;           /* of exp(p - max) (p - q), of exp(q - max) (p - q) */
    double p, q, pp, qq, pq, dd, max_d;
};

static void sum_rows(struct sums *s, const float *p, const float *q, size_t n)
{
    double max_p = s->max_p, max_q = s->max_q, exp_p = 0, exp_q = 0, cross_p = 0, cross_q = 0;
    double sp = 0, sq = 0, pp = 0, qq = 0, pq = 0, dd = 0, max_d;
    int64_t max_bits = 0; /* of a double that is not negative: they are ordered as it is, which vectorises */

#pragma omp simd reduction(+ : exp_p, exp_q, cross_p, cross_q)
    for (size_t i = 0; i < n; i++) {
        double d = (double)p[i] - q[i], ep = exp_f64(p[i] - max_p), eq = exp_f64(q[i] - max_q);

        exp_p += ep;
        exp_q += eq;
        cross_p += ep * d;
        cross_q += eq * d;
    }
#pragma omp simd reduction(+ : sp, sq, pp, qq, pq, dd) reduction(max : max_bits)
    for (size_t i = 0; i < n; i++) {
        double x = p[i], y = q[i], d = x - y, size = fabs(d);
        int64_t bits;

        memcpy(&bits, &size, sizeof bits);
        sp += x;
        sq += y;
        pp += x * x;
        qq += y * y;
        pq += x * y;
        dd += d * d;
        max_bits = bits > max_bits ? bits : max_bits;
    }
    memcpy(&max_d, &max_bits, sizeof max_d);
    *s = (struct sums){max_p, max_q, exp_p, exp_q, cross_p, cross_q, sp, sq, pp, qq, pq, dd, max_d};
}

#define MIX_NEAR 0.25 /* |x| up to which the series of mix_near() has fp64's accuracy */

/* (1 + x) ln(1 + x) + (1 - x) ln(1 - x) where x is small and the two cancel: a series. */
static inline double mix_near(double x)
{
    double z = x * x, p = 1 / 276.0;

    p = p * z + 1 / 231.0;
    p = p * z + 1 / 190.0;
    p = p * z + 1 / 153.0;
    p = p * z + 1 / 120.0;
    p = p * z + 1 / 91.0;
    p = p * z + 1 / 66.0;
    p = p * z + 1 / 45.0;
    p = p * z + 1 / 28.0;
    p = p * z + 1 / 15.0;
    p = p * z + 1 / 6.0;
    p = p * z + 1;
    return z * p;
}

/* The same for |x| <= 1. */
static inline double mix(double x)
{
    return fabs(x) < MIX_NEAR ? mix_near(x) : (1 + x) * log_f64(1 + x) + (1 - x) * log_f64(1 - x);
}

/*
 * With x = (P - Q) / (P + Q), Jensen-Shannon is the sum of (P + Q) mix(x) / 4: no term is negative, so
 * nothing cancels.  Where P and Q are near each other for some tokens in a row, they go without logarithms.
 */
static double jensen_shannon(const struct sums *s, const float *p, const float *q, size_t n)
{
    enum { STEP = 64 };
    double max_p = s->max_p, max_q = s->max_q, norm_p = 1 / s->exp_p, norm_q = 1 / s->exp_q, js = 0;
    double x[STEP], both[STEP];

    for (size_t i = 0; i < n; i += STEP) {
        size_t now = n - i < STEP ? n - i : STEP;
        double sum = 0;
        int far = 0;

#pragma omp simd reduction(+ : far)
        for (size_t k = 0; k < now; k++) {
            double a = exp_f64(p[i + k] - max_p) * norm_p, b = exp_f64(q[i + k] - max_q) * norm_q;

            both[k] = a + b;
            x[k] = (a - b) / both[k];
            far += !(fabs(x[k]) < MIX_NEAR);
        }
        if (far) {
#pragma omp simd reduction(+ : sum)
            for (size_t k = 0; k < now; k++)
                sum += both[k] * mix(x[k]);
        } else {
#pragma omp simd reduction(+ : sum)
            for (size_t k = 0; k < now; k++)
                sum += both[k] * mix_near(x[k]);
        }
        js += sum;
    }
    return js / 4;
}

static double cosine(double pq, double pp, double qq, double dd)
{
    if (dd == 0)
        return 1;
    return pp == 0 || qq == 0 ? 0 : pq / (sqrt(pp) * sqrt(qq));
}

/* In a pass of its own, since subtracting n mean^2 from the sum of squares would cancel. */
static void centred(struct row_stats *out, const struct sums *s, const float *p, const float *q, size_t n)
{
    double mean_p = s->p / (double)n, mean_q = s->q / (double)n, mean_d = mean_q - mean_p;
    double pp = 0, qq = 0, pq = 0, dd = 0;

#pragma omp simd reduction(+ : pp, qq, pq, dd)
    for (size_t i = 0; i < n; i++) {
        double x = p[i] - mean_p, y = q[i] - mean_q, d = (double)q[i] - p[i] - mean_d;

        pp += x * x;
        qq += y * y;
        pq += x * y;
        dd += d * d;
    }
    out->sq_centred = dd;
    out->cos_centred = cosine(pq, pp, qq, dd);
}

/*
 * KL(P || Q) = mean of p - q under P, less the difference of the two log-sums.  In fp64 the difference of
 * nearly equal terms still has 1e-15 of them, far below any KL of interest; below 0 it is that rounding.
 */
static void compare_row(struct row_stats *out, const float *p, const float *q, size_t n)
{
    struct order op, oq;
    struct sums s;
    double shift, kl, back;

    find_order(&op, p, n);
    find_order(&oq, q, n);
    s = (struct sums){.max_p = p[op.index[0]], .max_q = q[oq.index[0]]};
    sum_rows(&s, p, q, n);
    shift = s.max_p - s.max_q + (log(s.exp_p) - log(s.exp_q));
    kl = s.cross_p / s.exp_p - shift;
    back = shift - s.cross_q / s.exp_q;
    *out = (struct row_stats){
        .label = out->label,
        .agree = common_start(&op, &oq),
        .top_p = 1 / s.exp_p,
        .kl = kl < 0 ? 0 : kl,
        .kl_back = back < 0 ? 0 : back,
        .js = jensen_shannon(&s, p, q, n),
        .sq = s.dd,
        .max_abs = s.max_d,
        .cos = cosine(s.pq, s.pp, s.qq, s.dd),
    };
    centred(out, &s, p, q, n);
    if (out->label >= 0) {
        size_t label = (size_t)out->label;

        out->rank_p = rank_of(p, n, label);
        out->rank_q = rank_of(q, n, label);
        out->nll_p = s.max_p - p[label] + log(s.exp_p);
        out->nll_q = s.max_q - q[label] + log(s.exp_q);
    }
}

void cpu_compare(struct backend *be, struct row_stats *out, const float *p, const float *q, size_t rows,
                 size_t vocab)
{
    if (cpu_idle(be, rows * vocab))
        return;
#pragma omp parallel for if (rows * vocab > CPU_SERIAL)
    for (size_t r = 0; r < rows; r++)
        compare_row(out + r, p + r * vocab, q + r * vocab, vocab);
}
