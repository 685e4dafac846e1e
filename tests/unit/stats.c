/* stats.c - every figure against numbers worked out by hand */
#include "common/model/stats.h"

#include "tests/unit/unit.h"

enum { ROWS = 12, VOCAB = 4 };

static int close_to(struct stats_value got, double value, double error)
{
    return unit_near(got.value, value, 1e-14, 1e-15) && unit_near(got.error, error, 1e-14, 1e-15);
}

static void percentiles(void)
{
    double one[] = {7}, five[] = {1, 2, 4, 8, 16};

    CHECK(stats_percentile(one, 1, 0) == 7 && stats_percentile(one, 1, 0.3) == 7 &&
          stats_percentile(one, 1, 1) == 7,
          "percentiles of one number");
    CHECK(stats_percentile(five, 5, 0) == 1 && stats_percentile(five, 5, 1) == 16 &&
          stats_percentile(five, 5, 0.5) == 4,
          "minimum, maximum, median");
    /* 0.9 * 4 = 3.6: 8 + 0.6 * 8; 0.1 * 4 = 0.4: 1 + 0.4 */
    CHECK(unit_near(stats_percentile(five, 5, 0.9), 12.8, 1e-15, 0) &&
          unit_near(stats_percentile(five, 5, 0.1), 1.4, 1e-15, 0),
          "between two numbers by linear interpolation");
    CHECK(unit_near(stats_percentile(five, 5, 0.999), 16 - 0.004 * 8, 1e-15, 0), "99.9 %%");
}

static void means(void)
{
    double x[] = {1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3};

    CHECK(close_to(stats_mean(x, 12), 2, sqrt(1.0 / 11)), "error of a mean: sqrt((S2/n - mean^2)/(n - 1))");
    CHECK(close_to(stats_mean(x, 10), 2, 0), "of 10 numbers there is none");
    CHECK(close_to(stats_mean(x, 11), 21.0 / 11, sqrt((51.0 / 11 - 441.0 / 121) / 10)), "of 11 there is");
}

/* nll of the candidate 1, 3, 1, 3, ...; of the reference 1, 2, 1, 2, ... or 1, 1, 2, 2, ... */
static void perplexities(void)
{
    struct row_stats row[ROWS];
    size_t tokens[] = {4, 0, 8}, ten = 10;
    struct stats s;
    struct err e = {0};
    double e2 = exp(2), e15 = exp(1.5);

    memset(row, 0, sizeof row);
    for (size_t i = 0; i < ROWS; i++) {
        row[i].nll_q = i % 2 ? 3 : 1;
        row[i].nll_p = i % 2 ? 2 : 1;
    }
    CHECK(stats_make(&s, row, tokens, 3, VOCAB, &e) == 0 && s.samples == 2 &&
          s.tokens == ROWS, "samples with tokens");
    /* variances of the means: 1/11 and 0.25/11; covariance 0.5/11 */
    CHECK(close_to(s.ppl, e2, e2 * sqrt(1.0 / 11)) && close_to(s.ppl_ref, e15, e15 * sqrt(0.25 / 11)), "PPL");
    CHECK(unit_near(s.correlation, 1, 1e-14, 0), "correlation 1");
    CHECK(close_to(s.ln_ratio, 0.5, sqrt((1 + 0.25 - 2 * 0.5) / 11)),
          "ln ratio, and its error less the covariance");
    CHECK(close_to(s.ratio, exp(0.5), exp(0.5) * sqrt(0.25 / 11)), "ratio");
    CHECK(close_to(s.difference, e2 - e15, sqrt((e2 * e2 + 0.25 * e15 * e15 - 2 * e2 * e15 * 0.5) / 11)),
          "difference");
    for (size_t i = 0; i < ROWS; i++)
        row[i].nll_p = i / 2 % 2 ? 2 : 1;
    CHECK(stats_make(&s, row, tokens, 3, VOCAB, &e) == 0 && unit_near(s.correlation, 0, 0, 1e-15),
          "correlation 0");
    CHECK(close_to(s.ln_ratio, 0.5, sqrt(1.25 / 11)), "errors add up without it");
    for (size_t i = 0; i < ROWS; i++)
        row[i].nll_q = i < 4 ? 1 : 4;
    CHECK(stats_make(&s, row, tokens, 3, VOCAB, &e) == 0 && unit_near(s.ppl.value, exp(3), 1e-14, 0) &&
              unit_near(s.ppl_macro, exp(2.5), 1e-14, 0), "tokens count alike, or samples do");
    CHECK(stats_make(&s, row, &ten, 1, VOCAB, &e) == 0 && s.ppl.error == 0 && s.ratio.error == 0 &&
          s.correlation == 0,
          "ten tokens have no error");
    for (size_t i = 0; i < ROWS; i++)
        row[i].nll_q = row[i].nll_p = 2;
    CHECK(stats_make(&s, row, tokens, 3, VOCAB, &e) == 0 && close_to(s.ppl, e2, 0) &&
          close_to(s.ratio, 1, 0) &&
              s.correlation == 0 && close_to(s.difference, 0, 0), "models that do not vary");
    tokens[0] = tokens[2] = 0;
    CHECK(stats_make(&s, row, tokens, 3, VOCAB, &e) == -1 && strstr(e.msg, "no token with loss"),
          "no token, no figure");
}

/* kl 0, 1, ..., 10 with 11 rows; the reference's largest probability walks through the buckets. */
static void divergences(void)
{
    const double top[11] = {0.1, 0.2, 0.25, 0.4, 0.5, 0.6, 0.75, 0.8, 0.9, 0.95, 1};
    struct row_stats row[11];
    size_t tokens[] = {1, 10};
    struct stats s;
    struct err e = {0};

    memset(row, 0, sizeof row);
    for (size_t i = 0; i < 11; i++) {
        row[i].kl = (double)((i + 3) % 11);
        row[i].top_p = top[(i + 3) % 11];
        row[i].kl_back = 2;
        row[i].js = 0.25;
    }
    CHECK(stats_make(&s, row, tokens, 2, VOCAB, &e) == 0, "11 rows");
    CHECK(close_to(s.kl, 5, 1), "mean 5; variance 385/11 - 25 = 10, divided by 10");
    CHECK(unit_near(s.kl_macro, (3 + 5.2) / 2, 1e-14, 0), "mean over samples of 3 and 5.2");
    CHECK(unit_near(s.kl_back, 2, 1e-14, 0) && unit_near(s.js, 0.25, 1e-14, 0), "the other divergences");
    CHECK(s.kl_point[0] == 0 && unit_near(s.kl_point[1], 0.01, 1e-14, 0) &&
          unit_near(s.kl_point[5], 2.5, 1e-14, 0) &&
              s.kl_point[STATS_MEDIAN] == 5 && unit_near(s.kl_point[11], 9.99, 1e-14, 0) &&
              s.kl_point[12] == 10,
          "percentiles");
    CHECK(s.bucket[0].tokens == 2 && s.bucket[1].tokens == 2 && s.bucket[2].tokens == 2 &&
          s.bucket[3].tokens == 3 &&
              s.bucket[4].tokens == 2, "buckets are closed below, and the last above");
    CHECK(s.bucket[0].mean == 0.5 && s.bucket[3].mean == 7 && s.bucket[3].median == 7 &&
          s.bucket[4].median == 9.5,
          "their figures");
}

/* P(label) is 1/2 throughout; the candidate's is 3/4 in three rows out of four and 1/4 in the other. */
static void probabilities(void)
{
    struct row_stats row[ROWS];
    size_t tokens = ROWS;
    struct stats s;
    struct err e = {0};

    memset(row, 0, sizeof row);
    for (size_t i = 0; i < ROWS; i++) {
        row[i].nll_p = log(2);
        row[i].nll_q = -log(i % 4 ? 0.75 : 0.25);
        row[i].agree = i % 4 ? 1 + (int32_t)(i % 4) : 0;
        row[i].rank_p = (int32_t)(i % 4);
        row[i].rank_q = 0;
    }
    CHECK(stats_make(&s, row, &tokens, 1, VOCAB, &e) == 0, "12 rows");
    /* +1/4 nine times, -1/4 three times: mean 1/8, variance 1/16 - 1/64; squares are 1/16 throughout */
    CHECK(close_to(s.dp, 0.125, sqrt(3.0 / 64 / 11)), "mean delta p");
    CHECK(unit_near(s.dp_rms.value, 0.25, 1e-14, 0) && unit_near(s.dp_rms.error, 0, 0, 1e-9), "RMS delta p");
    CHECK(unit_near(s.dp_point[0], -0.25, 1e-14, 0) && unit_near(s.dp_point[STATS_MEDIAN], 0.25, 1e-14, 0) &&
              unit_near(s.dp_max_abs, 0.25, 1e-14, 0), "its percentiles");
    CHECK(close_to(s.same_top, 0.75, sqrt(0.75 * 0.25 / 11)), "same top, binomial error");
    CHECK(unit_near(s.agree[0], 0.75, 1e-14, 0) && unit_near(s.agree[1], 0.75, 1e-14, 0) &&
              unit_near(s.agree[2], 0.5, 1e-14, 0) && unit_near(s.agree[3], 0.25, 1e-14, 0),
              "top-k agreement");
    CHECK(unit_near(s.agree[5], 0.25, 1e-14, 0), "the top 10 of 4 words are those 4");
    CHECK(unit_near(s.label_ref[0], 0.25, 1e-14, 0) && unit_near(s.label_ref[2], 0.75, 1e-14, 0) &&
              unit_near(s.label[0], 1, 1e-14, 0), "label in top k");
    /* delta p 1/2 in six rows and 0 in six: mean of squares 1/8, variance of squares 1/64 */
    for (size_t i = 0; i < ROWS; i++)
        row[i].nll_q = i % 2 ? 0 : log(2);
    CHECK(stats_make(&s, row, &tokens, 1, VOCAB, &e) == 0 &&
              close_to(s.dp_rms, sqrt(0.125), 0.5 / sqrt(0.125) * sqrt(1.0 / 64 / 11)), "error of the RMS");
    row[0].nll_p = 20;
    row[0].nll_q = 20 - 1e-9;
    CHECK(unit_near(stats_dp(row), exp(-20) * 1e-9, 1e-6, 0), "small differences keep their digits");
}

static void logits(void)
{
    struct row_stats row[2] = {{.sq = 4, .sq_centred = 2, .max_abs = 1, .cos = 1, .cos_centred = 0.5},
                               {.sq = 12, .sq_centred = 4, .max_abs = 3, .cos = 0.5, .cos_centred = 0}};
    size_t tokens = 2;
    struct stats s;
    struct err e = {0};

    CHECK(stats_make(&s, row, &tokens, 1, VOCAB, &e) == 0 && s.mse == 2 && s.mse_centred == 0.75 &&
          s.max_abs == 3 &&
              s.cos == 0.75 && s.cos_centred == 0.25, "logits");
}

int main(void)
{
    percentiles();
    means();
    perplexities();
    divergences();
    probabilities();
    logits();
    return unit_end();
}
