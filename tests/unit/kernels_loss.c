/* kernels_loss.c - likelihoods, comparisons, ranges and scores of the CPU backend */
#include "tests/unit/kernels.h"

static double log_sum(const double *z, size_t n)
{
    double max = -INFINITY, sum = 0;

    for (size_t i = 0; i < n; i++)
        max = z[i] > max ? z[i] : max;
    for (size_t i = 0; i < n; i++)
        sum += exp(z[i] - max);
    return max + log(sum);
}

static size_t first_top(const float *z, size_t n)
{
    size_t at = 0;

    for (size_t i = 1; i < n; i++)
        if (z[i] > z[at])
            at = i;
    return at;
}

struct target {
    size_t vocab, index;
};

static double nll_loss(const double *z, const void *context)
{
    const struct target *t = context;

    return log_sum(z, t->vocab) - z[t->index];
}

static void likelihood(size_t rows, size_t vocab)
{
    size_t n = rows * vocab, bad = 0, wrong = 0;
    float *z = randoms(n, 9), *nll = room(rows * 4), *lse = room(rows * 4), *w = randoms(rows, 1),
          *d = room(n * 4);
    int32_t *target = room(rows * 4), *top = room(rows * 4), *again = room(rows * 4);
    double *zd = doubles(z, n), *want = zeros(n), *tol = zeros(n);

    for (size_t r = 0; r < rows; r++)
        target[r] = r % 5 == 4 ? -1 : (int32_t)(r * 31 % vocab);
    be->nll(be, nll, lse, top, z, target, rows, vocab);
    be->nll_dx(be, d, z, lse, target, w, rows, vocab);
    be->nll(be, NULL, NULL, again, z, NULL, rows, vocab);
    for (size_t r = 0; r < rows; r++) {
        double l = log_sum(zd + r * vocab, vocab),
               loss = target[r] < 0 ? 0 : l - z[r * vocab + (size_t)target[r]];

        /* exp 2 U and its argument's rounding, of each term */
        bad += !(fabs(lse[r] - l) <= U * fabs(l) + 3 * U);
        bad += !(fabs(nll[r] - loss) <= U * fabs(loss) + 20 * U); /* the argument's: z - max up to 18 */
        wrong += (size_t)top[r] != first_top(z + r * vocab, vocab) || again[r] != top[r];
        for (size_t i = 0; i < vocab; i++) {
            double p = exp(zd[r * vocab + i] - l);

            /* lse is rounded, |lse| < 32, and so is its difference from z: 16 U each */
            want[r * vocab + i] = target[r] < 0 ? 0 : w[r] * (p - (i == (size_t)target[r]));
            tol[r * vocab + i] = fabs(w[r]) * (40 * U * p + 2 * U * (i == (size_t)(target[r])));
        }
    }
    CHECK(bad == 0, "nll and lse [%zu, %zu]", rows, vocab);
    CHECK(wrong == 0, "argmax, alone too");
    CHECK(misses(d, want, tol, n) == 0, "nll_dx");
    if (rows == 1 && vocab > 1 && vocab < 100) {
        struct target t = {vocab, (size_t)target[0]};

        for (size_t i = 0; i < vocab; i++)
            want[i] /= w[0];
        CHECK(gradient_error(nll_loss, zd, vocab, want, &t) < 1e-8,
              "its fp64 gradient equals central differences");
    }
    done();
}

static void likelihood_edges(struct backend *b)
{
    float z[3][4] = {{1, 5, 5, 2}, {1, NAN, 9, NAN}, {-1000, -1000, -1000, -1000}}, lse[3], nll[3];
    int32_t target[3] = {0, 0, 0}, top[3];

    b->nll(b, nll, lse, top, z[0], target, 3, 4);
    CHECK(top[0] == 1, "of equal logits the first is the argmax");
    CHECK(isnan(lse[1]) && isnan(nll[1]) && top[1] == 1, "a NaN reaches lse and nll and is the argmax");
    CHECK(lse[2] == (float)(-1000 + log(4)) && unit_near(nll[2], log(4), 2 * U, 0),
          "very low logits do not underflow");
    b->nll(b, NULL, NULL, top, z[0], NULL, 3, 4);
    CHECK(top[0] == 1 && top[1] == 1 && top[2] == 0, "the same argmax alone");
}

/* Place of `label` in the order of a row. */
static size_t rank(const float *z, size_t n, size_t label)
{
    size_t before = 0;

    for (size_t i = 0; i < n; i++)
        before += z[i] > z[label] || (z[i] == z[label] && i < label);
    return before;
}

static int32_t agreement(const float *p, const float *q, size_t n)
{
    for (int32_t k = 0; k < ROW_TOP && (size_t)k < n; k++)
        for (size_t i = 0; i < n; i++)
            if ((rank(p, n, i) == (size_t)k) != (rank(q, n, i) == (size_t)k))
                return k;
    return n < ROW_TOP ? (int32_t)n : ROW_TOP;
}

static long double mean(const float *z, size_t n)
{
    long double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += z[i];
    return sum / (long double)n;
}

struct sums {
    long double pp, qq, pq, dd;
};

static struct sums sum_products(const float *p, const float *q, size_t n, long double mean_p,
                                long double mean_q)
{
    struct sums s = {0};

    for (size_t i = 0; i < n; i++) {
        long double x = p[i] - mean_p, y = q[i] - mean_q;

        s.pp += x * x, s.qq += y * y, s.pq += x * y, s.dd += (x - y) * (x - y);
    }
    return s;
}

/* |got - want| within tol of want, or of what fp64 leaves of terms of `size`. */
static bool same(double got, long double want, double tol, long double size)
{
    return fabsl(got - want) <= tol * fabsl(want) + 1e-15L * size;
}

/* Figures of a row in long double, by their definitions; true when `s` has them. */
static bool right(const struct row_stats *s, const float *p, const float *q, size_t n, double shift)
{
    long double sum_p = 0, sum_q = 0, kl = 0, back = 0, js = 0, top = 0, max = 0, nll_p, nll_q;
    struct sums raw = sum_products(p, q, n, 0, 0), c = sum_products(p, q, n, mean(p, n), mean(q, n));
    size_t label = (size_t)s->label;
    bool ok;

    for (size_t i = 0; i < n; i++) {
        sum_p += expl((long double)p[i] - 9);
        sum_q += expl((long double)q[i] - 9);
    }
    for (size_t i = 0; i < n; i++) {
        long double lp = (long double)p[i] - 9 - logl(sum_p), lq = (long double)q[i] - 9 - logl(sum_q);
        long double lm = logl((expl(lp) + expl(lq)) / 2), d = fabsl((long double)p[i] - q[i]);

        kl += expl(lp) * (lp - lq);
        back += expl(lq) * (lq - lp);
        js += (expl(lp) * (lp - lm) + expl(lq) * (lq - lm)) / 2;
        top = expl(lp) > top ? expl(lp) : top;
        max = d > max ? d : max;
    }
    nll_p = 9 + logl(sum_p) - p[label];
    nll_q = 9 + logl(sum_q) - q[label];
    /*
     * KL is a difference of terms as large as the shift, Jensen-Shannon a sum of squares of (P - Q) / (P +
     * Q), each of which has a rounding error of P and Q; the sums have n terms of one sign
     */
    ok = same(s->kl, kl, 0, 100 * (1 + fabsl(shift))) &&
         same(s->kl_back, back, 0, 100 * (1 + fabsl(shift))) &&
         same(s->js, js, 1e-12, sqrtl(js) + 1e-3L) && same(s->top_p, top, 1e-13, 0) &&
         same(s->nll_p, nll_p, 1e-14, 10) &&
         same(s->nll_q, nll_q, 1e-14, 10 + fabsl(shift));
    ok &= same(s->sq, raw.dd, 1e-12, 0) && same(s->sq_centred, c.dd, 1e-12, (long double)n * 1e-16L) &&
          s->max_abs == (double)max;
    if (raw.dd != 0 && raw.pp != 0 && raw.qq != 0)
        ok &= same(s->cos, raw.pq / sqrtl(raw.pp * raw.qq), 1e-13, 10);
    if (c.dd > 1e-20L * c.pp && c.pp != 0 && c.qq != 0)
        ok &= same(s->cos_centred, c.pq / sqrtl(c.pp * c.qq), 1e-13, 10);
    return ok && (size_t)s->rank_p == rank(p, n, label) && (size_t)s->rank_q == rank(q, n, label) &&
           (n > 1000 ? (s->agree >= 1) == (first_top(p, n) == first_top(q, n))
            : s->agree == agreement(p, q, n));
}

static void comparison(size_t rows, size_t vocab, double noise, double shift)
{
    size_t n = rows * vocab, bad = 0;
    float *p = randoms(n, 9), *q = randoms(n, noise);
    struct row_stats *got = room(rows * sizeof *got);

    for (size_t i = 0; i < n; i++)
        q[i] = (float)(p[i] + q[i] + shift);
    for (size_t r = 0; r < rows; r++)
        got[r].label = (int32_t)(r * 7 % vocab);
    be->compare(be, got, p, q, rows, vocab);
    for (size_t r = 0; r < rows; r++)
        bad += !right(&got[r], p + r * vocab, q + r * vocab, vocab, shift) || got[r].kl < 0 ||
            got[r].kl_back < 0;
    CHECK(bad == 0, "compare [%zu, %zu], noise %g, shift %g: %zu rows differ", rows, vocab, noise, shift,
          bad);
    be->compare(be, got, p, p, rows, vocab);
    for (size_t r = bad = 0; r < rows; r++)
        bad += got[r].kl != 0 || got[r].kl_back != 0 || got[r].js != 0 || got[r].sq != 0 ||
            got[r].sq_centred != 0 ||
               got[r].max_abs != 0 || got[r].cos != 1 || got[r].cos_centred != 1 ||
               got[r].nll_p != got[r].nll_q ||
               got[r].rank_p != got[r].rank_q || got[r].agree != (vocab < ROW_TOP ? (int32_t)vocab : ROW_TOP);
    CHECK(bad == 0, "a row equals itself exactly");
    if (rows > 1) {
        q[vocab] = NAN;
        be->compare(be, got, p, q, rows, vocab);
        CHECK(isnan(got[1].kl) && isnan(got[1].sq) && !isnan(got[0].kl), "compare keeps NaN");
    }
    done();
}

/* P = (3/4, 1/4), Q = (1/4, 3/4); then without a label, and rows with ties. */
static void comparison_by_hand(void)
{
    float p[2] = {(float)log(3), 0}, q[2] = {0, (float)log(3)};
    float a[12] = {5, 5, 4, 4, 3, 2, 1, 0, -1, -2, -3, -4}, b[12] = {5, 5, 4, 4, 3, 2, 1, 0, -1, -3, -2, -4};
    struct row_stats s = {.label = 1};

    be->compare(be, &s, p, q, 1, 2);
    CHECK(unit_near(s.kl, log(3) / 2, 1e-7, 0) && unit_near(s.kl_back, log(3) / 2, 1e-7, 0), "KL both ways");
    CHECK(unit_near(s.js, 0.75 * log(1.5) + 0.25 * log(0.5), 1e-7, 0), "Jensen-Shannon");
    CHECK(unit_near(s.nll_p, log(4), 1e-7, 0) && unit_near(s.nll_q, log(4.0 / 3), 1e-7, 0),
          "likelihoods of the label");
    CHECK(s.agree == 0 && s.rank_p == 1 && s.rank_q == 0 && unit_near(s.top_p, 0.75, 1e-7, 0), "orders");
    CHECK(s.cos == 0 && unit_near(s.cos_centred, -1, 1e-15, 0) && unit_near(s.max_abs, log(3), 1e-7, 0) &&
              unit_near(s.sq, 2 * log(3) * log(3), 1e-7, 0) && s.sq_centred == s.sq, "distances");
    s.label = -1;
    be->compare(be, &s, a, b, 1, 12);
    CHECK(s.agree == 9 && s.label == -1 && s.rank_p == 0 && s.nll_p == 0 &&
          s.nll_q == 0, "no label; ties by index");
    s.label = 3;
    be->compare(be, &s, b, a, 1, 12);
    CHECK(s.agree == 9 && s.rank_p == 3 && s.rank_q == 3, "of equal logits the first comes first");
    s.label = -1;
    p[0] = 0;
    be->compare(be, &s, p, q, 1, 2);
    CHECK(s.cos == 0 && s.cos_centred == 0, "no length, no direction");
}

static void range(size_t n)
{
    float *x = integers(n, 1000), *out = room(4), want = 0;

    for (size_t i = 0; i < n; i++)
        want = fabsf(x[i]) > want ? fabsf(x[i]) : want;
    *out = 0;
    be->amax(be, out, x, n);
    CHECK(*out == want, "amax of %zu", n);
    *out = 5000;
    be->amax(be, out, x, n);
    CHECK(*out == 5000, "it keeps what was larger");
    if (n) {
        x[n / 2] = -INFINITY;
        be->amax(be, out, x, n);
        CHECK(*out == INFINITY, "infinity is larger");
        x[n / 3] = -NAN;
        be->amax(be, out, x, n);
        CHECK(isnan(*out), "NaN stays");
        be->amax(be, out, x + n - 1, 1);
        CHECK(isnan(*out), "and is not forgotten");
    }
    done();
}

static void scores(size_t rows, size_t dim)
{
    size_t n = rows * dim, bad = 0;
    float *g = integers(n, 20), *y = integers(n, 20), *yq = integers(n, 20), *w = integers(rows, 3);
    double *out = room(2 * sizeof *out), squares = 3, kl = 4;

    for (size_t r = 0; r < rows; r++) {
        double sum = 0;

        for (size_t i = r * dim; i < (r + 1) * dim; i++) {
            double p = g[i] * (yq[i] - y[i]);

            squares += p * p;
            sum += p;
        }
        kl += 0.5 * w[r] * sum * w[r] * sum;
    }
    out[0] = 3;
    out[1] = 4;
    be->score(be, out, g, y, yq, w, rows, dim);
    CHECK(out[0] == squares && out[1] == kl, "score [%zu, %zu] is exact on integers", rows, dim);
    if (n) {
        out[0] = out[1] = 0;
        memset(g, 0, 4 * n);
        memset(y, 0, 4 * n);
        memset(yq, 0, 4 * n);
        g[0] = 1e8f;
        yq[0] = -1e8f;
        w[0] = 1;
        be->score(be, out, g, y, yq, w, rows, dim);
        CHECK(out[0] == 1e20 && unit_near(out[1], 0.5e32, 1e-6, 0),
              "products are clamped in the first sum alone");
        g[n - 1] = NAN;
        be->score(be, out, g, y, yq, w, rows, dim);
        bad = !isnan(out[0]) || !isnan(out[1]);
        CHECK(bad == 0, "score keeps NaN");
    }
    done();
}

int main(void)
{
    static const size_t counts[] = {0, 1, 31, 32, 33, 257};

    if (start())
        return 1;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        likelihood(counts[i], 33);
        likelihood(counts[i], 1024);
        comparison(counts[i], 1024, 0.05, 0);
        range(counts[i]);
        range(counts[i] * 100);
        scores(counts[i], 31);
        scores(counts[i], 192);
    }
    likelihood(1, 1);
    likelihood(2, 151936);
    likelihood_edges(be);
    likelihood_edges(exact);
    comparison(2, 151936, 0.1, 0);
    comparison(3, 1, 1, 0);
    comparison(33, 100, 3, 0);
    comparison(33, 100, 1e-6, 0);
    comparison(3, 1000, 0.01, 50);
    comparison_by_hand();
    return finish();
}
