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

static void likelihood_edges(void)
{
    float z[3][4] = {{1, 5, 5, 2}, {1, NAN, 9, NAN}, {-1000, -1000, -1000, -1000}}, lse[3], nll[3];
    int32_t target[3] = {0, 0, 0}, top[3];

    be->nll(be, nll, lse, top, z[0], target, 3, 4);
    CHECK(top[0] == 1, "of equal logits the first is the argmax");
    CHECK(isnan(lse[1]) && isnan(nll[1]) && top[1] == 1, "a NaN reaches lse and nll and is the argmax");
    CHECK(lse[2] == (float)(-1000 + log(4)) && unit_near(nll[2], log(4), 2 * U, 0),
          "very low logits do not underflow");
    be->nll(be, NULL, NULL, top, z[0], NULL, 3, 4);
    CHECK(top[0] == 1 && top[1] == 1 && top[2] == 0, "the same argmax alone");
}

/* The reference in long double: KL itself, not by the formula under test. */
static void comparison(size_t rows, size_t vocab, double noise, double shift)
{
    size_t n = rows * vocab, bad = 0;
    float *p = randoms(n, 9), *q = randoms(n, noise);
    struct row_stats *got = room(rows * sizeof *got);

    for (size_t i = 0; i < n; i++)
        q[i] = (float)(p[i] + q[i] + shift);
    be->compare(be, got, p, q, rows, vocab);
    for (size_t r = 0; r < rows; r++) {
        const float *a = p + r * vocab, *b = q + r * vocab;
        long double sum_a = 0, sum_b = 0, kl = 0, sq = 0;

        for (size_t i = 0; i < vocab; i++) {
            sum_a += expl((long double)a[i] - 9);
            sum_b += expl((long double)b[i] - 9);
        }
        for (size_t i = 0; i < vocab; i++) {
            long double la = (long double)a[i] - 9 - logl(sum_a), lb = (long double)b[i] - 9 - logl(sum_b);

            kl += expl(la) * (la - lb);
            sq += ((long double)a[i] - b[i]) * ((long double)a[i] - b[i]);
        }
        /* sums of vocab terms in fp64 lanes: below 1e-13 of the largest difference and of the sum */
        bad += !(fabsl(got[r].kl - kl) <= 1e-13L * (1 + fabsl(shift))) ||
               !(fabsl(got[r].sq - sq) <= 1e-12L * sq);
        bad += got[r].kl < 0 || got[r].same_top != (first_top(a, vocab) == first_top(b, vocab));
    }
    CHECK(bad == 0, "compare [%zu, %zu], noise %g, shift %g", rows, vocab, noise, shift);
    be->compare(be, got, p, p, rows, vocab);
    for (size_t r = bad = 0; r < rows; r++)
        bad += got[r].kl != 0 || got[r].sq != 0 || got[r].same_top != 1;
    CHECK(bad == 0, "a row equals itself exactly");
    if (rows > 1) {
        q[vocab] = NAN;
        be->compare(be, got, p, q, rows, vocab);
        CHECK(isnan(got[1].kl) && isnan(got[1].sq) && !isnan(got[0].kl), "compare keeps NaN");
    }
    done();
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
    likelihood_edges();
    comparison(2, 151936, 0.1, 0);
    comparison(3, 1, 1, 0);
    comparison(33, 100, 3, 0);
    comparison(33, 100, 1e-6, 0);
    comparison(3, 1000, 0.01, 50);
    return finish();
}
