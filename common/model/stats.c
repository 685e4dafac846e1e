/* stats.c - figures of a comparison, from the rows of logits that predict a token with loss */
#include "common/model/stats.h"

#include <stdlib.h>

#include "common/base/mem.h"

static const double fractions[STATS_POINTS] = {0,    0.001, 0.01, 0.05, 0.1,   0.25, 0.5,
                                               0.75, 0.9,   0.95, 0.99, 0.999, 1};
const int32_t stats_top[STATS_TOPS] = {1, 2, 3, 4, 5, ROW_TOP};
const double stats_bucket[STATS_BUCKETS + 1] = {0, 0.25, 0.5, 0.75, 0.95, 1};

/* Fewer tokens than this have no error: llama.cpp's rule. */
enum { FEW = 10 };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double stats_percentile(const double *sorted, size_t n, double fraction)
{
    double at = fraction * (double)(n - 1);
    size_t below = (size_t)at;

    if (below >= n - 1)
        return sorted[n - 1];
    return sorted[below] + (at - (double)below) * (sorted[below + 1] - sorted[below]);
}

static double mean_of(const double *x, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

/* Covariance of the means of x and y; of x and x it is the squared error of the mean. */
static double covariance(const double *x, const double *y, size_t n, double mean_x, double mean_y)
{
    double sum = 0;

    if (n <= FEW)
        return 0;
    for (size_t i = 0; i < n; i++)
        sum += (x[i] - mean_x) * (y[i] - mean_y);
    return sum / (double)n / (double)(n - 1);
}

struct stats_value stats_mean(const double *x, size_t n)
{
    double mean = mean_of(x, n);

    return (struct stats_value){mean, sqrt(covariance(x, x, n, mean, mean))};
}

/* Small differences of large probabilities: expm1 keeps their digits. */
double stats_dp(const struct row_stats *row)
{
    return exp(-row->nll_p) * expm1(row->nll_p - row->nll_q);
}

/* ---- columns: one number per row ---- */

static double nll_of(const struct row_stats *row)
{
    return row->nll_q;
}

static double nll_ref_of(const struct row_stats *row)
{
    return row->nll_p;
}

static double kl_of(const struct row_stats *row)
{
    return row->kl;
}

static double same_of(const struct row_stats *row)
{
    return row->agree >= 1;
}

static void fill(double *x, const struct row_stats *row, size_t n, double (*of)(const struct row_stats *))
{
    for (size_t i = 0; i < n; i++)
        x[i] = of(row + i);
}

/* Mean over the samples that have tokens of each one's mean. */
static double macro(const double *x, const size_t *tokens, size_t samples)
{
    double sum = 0;
    size_t used = 0;

    for (size_t i = 0; i < samples; i++) {
        if (tokens[i] == 0)
            continue;
        sum += mean_of(x, tokens[i]);
        x += tokens[i];
        used++;
    }
    return sum / (double)used;
}

static void percentiles(double point[STATS_POINTS], double *x, size_t n)
{
    qsort(x, n, sizeof *x, by_value);
    for (size_t i = 0; i < STATS_POINTS; i++)
        point[i] = stats_percentile(x, n, fractions[i]);
}

/* ---- groups of figures; x and y [tokens] are room ---- */

static double root(double x)
{
    return x > 0 ? sqrt(x) : 0;
}

/*
 * q: candidate, b: reference ("base").  The errors of ratio and difference take the correlation into account.
 */
static void perplexity(struct stats *s, const struct row_stats *row, const size_t *tokens, size_t samples,
                       double *q, double *b)
{
    size_t n = s->tokens;
    struct stats_value mq, mb;
    double cov, var;

    fill(q, row, n, nll_of);
    fill(b, row, n, nll_ref_of);
    mq = stats_mean(q, n);
    mb = stats_mean(b, n);
    cov = covariance(q, b, n, mq.value, mb.value);
    var = mq.error * mq.error + mb.error * mb.error - 2 * cov;
    s->ppl.value = exp(mq.value);
    s->ppl.error = s->ppl.value * mq.error;
    s->ppl_ref.value = exp(mb.value);
    s->ppl_ref.error = s->ppl_ref.value * mb.error;
    s->correlation = mq.error > 0 && mb.error > 0 ? cov / (mq.error * mb.error) : 0;
    s->difference.value = s->ppl.value - s->ppl_ref.value;
    s->difference.error = root(s->ppl.error * s->ppl.error + s->ppl_ref.error * s->ppl_ref.error -
                               2 * s->ppl.value * s->ppl_ref.value * cov);
    s->ppl_macro = exp(macro(q, tokens, samples));
    s->ppl_ref_macro = exp(macro(b, tokens, samples));
    for (size_t i = 0; i < n; i++)
        q[i] -= b[i];
    s->ln_ratio = (struct stats_value){mean_of(q, n), root(var)};
    s->ratio.value = exp(s->ln_ratio.value);
    s->ratio.error = s->ratio.value * s->ln_ratio.error;
}

static void buckets(struct stats *s, const struct row_stats *row, double *x)
{
    for (size_t b = 0; b < STATS_BUCKETS; b++) {
        size_t n = 0;

        for (size_t i = 0; i < s->tokens; i++)
            if (row[i].top_p >= stats_bucket[b] && (row[i].top_p < stats_bucket[b + 1] ||
                                                    b + 1 == STATS_BUCKETS))
                x[n++] = row[i].kl;
        s->bucket[b].tokens = n;
        if (n == 0)
            continue;
        qsort(x, n, sizeof *x, by_value);
        s->bucket[b].mean = mean_of(x, n);
        s->bucket[b].median = stats_percentile(x, n, 0.5);
    }
}

static void divergence(struct stats *s, const struct row_stats *row, const size_t *tokens, size_t samples,
                       double *x)
{
    fill(x, row, s->tokens, kl_of);
    s->kl = stats_mean(x, s->tokens);
    s->kl_macro = macro(x, tokens, samples);
    percentiles(s->kl_point, x, s->tokens);
    for (size_t i = 0; i < s->tokens; i++) {
        s->kl_back += row[i].kl_back / (double)s->tokens;
        s->js += row[i].js / (double)s->tokens;
    }
    buckets(s, row, x);
}

static void probability(struct stats *s, const struct row_stats *row, const size_t *tokens, size_t samples,
                        double *x, double *square)
{
    size_t n = s->tokens;
    struct stats_value mean_square;

    fill(x, row, n, stats_dp);
    for (size_t i = 0; i < n; i++)
        square[i] = x[i] * x[i];
    s->dp = stats_mean(x, n);
    mean_square = stats_mean(square, n);
    s->dp_rms.value = sqrt(mean_square.value);
    s->dp_rms.error = s->dp_rms.value > 0 ? 0.5 / s->dp_rms.value * mean_square.error : 0;
    percentiles(s->dp_point, x, n);
    s->dp_max_abs = fmax(-s->dp_point[0], s->dp_point[STATS_POINTS - 1]);

    fill(x, row, n, same_of);
    s->same_top.value = mean_of(x, n);
    s->same_top.error = n > 1 ? sqrt(s->same_top.value * (1 - s->same_top.value) / (double)(n - 1)) : 0;
    s->same_top_macro = macro(x, tokens, samples);
}

static void tops_and_logits(struct stats *s, const struct row_stats *row, size_t vocab)
{
    double n = (double)s->tokens, cells = n * (double)vocab;

    for (size_t i = 0; i < s->tokens; i++) {
        for (size_t k = 0; k < STATS_TOPS; k++) {
            int32_t top = (size_t)stats_top[k] < vocab ? stats_top[k] : (int32_t)vocab;

            s->agree[k] += row[i].agree >= top;
            s->label_ref[k] += row[i].rank_p < top;
            s->label[k] += row[i].rank_q < top;
        }
        s->mse += row[i].sq / cells;
        s->mse_centred += row[i].sq_centred / cells;
        s->max_abs = fmax(s->max_abs, row[i].max_abs);
        s->cos += row[i].cos / n;
        s->cos_centred += row[i].cos_centred / n;
    }
    for (size_t k = 0; k < STATS_TOPS; k++) {
        s->agree[k] /= n;
        s->label_ref[k] /= n;
        s->label[k] /= n;
    }
}

int stats_make(struct stats *s, const struct row_stats *row, const size_t *tokens, size_t samples,
               size_t vocab, struct err *e)
{
    double *x = NULL, *y = NULL;
    int ret = -1;

    *s = (struct stats){0};
    for (size_t i = 0; i < samples; i++) {
        s->samples += tokens[i] > 0;
        s->tokens += tokens[i];
    }
    if (s->tokens == 0)
        return err_set(e, RC_DATA, "there is no token with loss, and so no figure");
    x = mem_zalloc(s->tokens, sizeof *x, e);
    y = mem_zalloc(s->tokens, sizeof *y, e);
    if (!x || !y)
        goto out;
    perplexity(s, row, tokens, samples, x, y);
    divergence(s, row, tokens, samples, x);
    probability(s, row, tokens, samples, x, y);
    tops_and_logits(s, row, vocab);
    ret = 0;
out:
    free(y);
    free(x);
    return ret;
}
