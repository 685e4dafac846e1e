/* stats.c - every figure against numbers worked out by hand, and intervals against a simulation */
#include "common/model/stats.h"

#include "common/base/mt.h"
#include "common/model/bootstrap.h"
#include "tests/unit/unit.h"

enum { ROWS = 12, VOCAB = 4 };

static int close_to(struct stats_value got, double value, double error)
{
    return unit_near(got.value, value, 1e-14, 1e-15) && unit_near(got.error, error, 1e-14, 1e-15);
}

static void percentiles(void)
{
    double one[] = {7}, five[] = {1, 2, 4, 8, 16};

    CHECK(stats_percentile(one, 1, 0) == 7 && stats_percentile(one, 1, 0.3) == 7 && stats_percentile(one, 1, 1) == 7,
          "percentiles of one number");
    CHECK(stats_percentile(five, 5, 0) == 1 && stats_percentile(five, 5, 1) == 16 && stats_percentile(five, 5, 0.5) == 4,
          "minimum, maximum, median");
    /* 0.9 * 4 = 3.6: 8 + 0.6 * 8; 0.1 * 4 = 0.4: 1 + 0.4 */
    CHECK(unit_near(stats_percentile(five, 5, 0.9), 12.8, 1e-15, 0) && unit_near(stats_percentile(five, 5, 0.1), 1.4, 1e-15, 0),
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
    CHECK(stats_make(&s, row, tokens, 3, VOCAB, &e) == 0 && s.samples == 2 && s.tokens == ROWS, "samples with tokens");
    /* variances of the means: 1/11 and 0.25/11; covariance 0.5/11 */
    CHECK(close_to(s.ppl, e2, e2 * sqrt(1.0 / 11)) && close_to(s.ppl_ref, e15, e15 * sqrt(0.25 / 11)), "PPL");
    CHECK(unit_near(s.correlation, 1, 1e-14, 0), "correlation 1");
    CHECK(close_to(s.ln_ratio, 0.5, sqrt((1 + 0.25 - 2 * 0.5) / 11)), "ln ratio, and its error less the covariance");
    CHECK(close_to(s.ratio, exp(0.5), exp(0.5) * sqrt(0.25 / 11)), "ratio");
    CHECK(close_to(s.difference, e2 - e15, sqrt((e2 * e2 + 0.25 * e15 * e15 - 2 * e2 * e15 * 0.5) / 11)), "difference");
    for (size_t i = 0; i < ROWS; i++)
        row[i].nll_p = i / 2 % 2 ? 2 : 1;
    CHECK(stats_make(&s, row, tokens, 3, VOCAB, &e) == 0 && unit_near(s.correlation, 0, 0, 1e-15), "correlation 0");
    CHECK(close_to(s.ln_ratio, 0.5, sqrt(1.25 / 11)), "errors add up without it");
    for (size_t i = 0; i < ROWS; i++)
        row[i].nll_q = i < 4 ? 1 : 4;
    CHECK(stats_make(&s, row, tokens, 3, VOCAB, &e) == 0 && unit_near(s.ppl.value, exp(3), 1e-14, 0) &&
              unit_near(s.ppl_macro, exp(2.5), 1e-14, 0), "tokens count alike, or samples do");
    CHECK(stats_make(&s, row, &ten, 1, VOCAB, &e) == 0 && s.ppl.error == 0 && s.ratio.error == 0 && s.correlation == 0,
          "ten tokens have no error");
    for (size_t i = 0; i < ROWS; i++)
        row[i].nll_q = row[i].nll_p = 2;
    CHECK(stats_make(&s, row, tokens, 3, VOCAB, &e) == 0 && close_to(s.ppl, e2, 0) && close_to(s.ratio, 1, 0) &&
              s.correlation == 0 && close_to(s.difference, 0, 0), "models that do not vary");
    tokens[0] = tokens[2] = 0;
    CHECK(stats_make(&s, row, tokens, 3, VOCAB, &e) == -1 && strstr(e.msg, "no token with loss"), "no token, no figure");
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
    CHECK(s.kl_point[0] == 0 && unit_near(s.kl_point[1], 0.01, 1e-14, 0) && unit_near(s.kl_point[5], 2.5, 1e-14, 0) &&
              s.kl_point[STATS_MEDIAN] == 5 && unit_near(s.kl_point[11], 9.99, 1e-14, 0) && s.kl_point[12] == 10,
          "percentiles");
    CHECK(s.bucket[0].tokens == 2 && s.bucket[1].tokens == 2 && s.bucket[2].tokens == 2 && s.bucket[3].tokens == 3 &&
              s.bucket[4].tokens == 2, "buckets are closed below, and the last above");
    CHECK(s.bucket[0].mean == 0.5 && s.bucket[3].mean == 7 && s.bucket[3].median == 7 && s.bucket[4].median == 9.5,
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
              unit_near(s.agree[2], 0.5, 1e-14, 0) && unit_near(s.agree[3], 0.25, 1e-14, 0), "top-k agreement");
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

    CHECK(stats_make(&s, row, &tokens, 1, VOCAB, &e) == 0 && s.mse == 2 && s.mse_centred == 0.75 && s.max_abs == 3 &&
              s.cos == 0.75 && s.cos_centred == 0.25, "logits");
}

/* ---- intervals ---- */

static double uniform(struct mt *m)
{
    return (mt_u32(m) + 0.5) / 4294967296.0;
}

/* Gamma(4) with mean 1: skewed, as a sample's KL is. */
static double effect(struct mt *m)
{
    return -log(uniform(m) * uniform(m) * uniform(m) * uniform(m)) / 4;
}

/*
 * 100 samples of 5 to 40 tokens; the KL of candidate b is 1.2 times that of a on average, sample by sample.  An interval
 * of the ratio of sums, and one of the paired difference, must hold the true value 93 to 97 times out of 100.
 */
static void coverage(void)
{
    enum { TRIALS = 1500, SAMPLES = 100, DRAWS = 400 };
    static double tokens[SAMPLES], a[SAMPLES], b[SAMPLES], sums[DRAWS][3], mean[DRAWS], difference[DRAWS];
    const double *column[] = {tokens, a, b};
    size_t mean_hits = 0, difference_hits = 0;
    double paired = 0, single = 0;
    struct mt m;

    mt_init(&m, 1);
    for (size_t t = 0; t < TRIALS; t++) {
        struct boot_interval i;

        for (size_t k = 0; k < SAMPLES; k++) {
            double size = effect(&m);

            tokens[k] = 5 + mt_below(&m, 36);
            a[k] = tokens[k] * size;
            b[k] = tokens[k] * size * (0.9 + 0.6 * uniform(&m));
        }
        boot_sums(sums[0], column, 3, SAMPLES, DRAWS, t);
        for (size_t d = 0; d < DRAWS; d++) {
            mean[d] = sums[d][1] / sums[d][0];
            difference[d] = (sums[d][2] - sums[d][1]) / sums[d][0];
        }
        i = boot_interval(mean, DRAWS, SAMPLES);
        mean_hits += i.low <= 1 && 1 <= i.high;
        single += i.error;
        i = boot_interval(difference, DRAWS, SAMPLES);
        difference_hits += i.low <= 0.2 && 0.2 <= i.high;
        paired += i.error;
    }
    CHECK(mean_hits >= 0.93 * TRIALS && mean_hits <= 0.97 * TRIALS, "95 %% intervals of a mean hold it %.1f %% of the time",
          100.0 * (double)mean_hits / TRIALS);
    CHECK(difference_hits >= 0.93 * TRIALS && difference_hits <= 0.97 * TRIALS,
          "95 %% intervals of a paired difference hold it %.1f %% of the time", 100.0 * (double)difference_hits / TRIALS);
    CHECK(paired < 0.5 * single, "pairing removes what both candidates share");
}

static void draws(void)
{
    double one[] = {2}, some[] = {0, 3, 0}, x[] = {1, 10, 100}, out[200][2], again[200][2], rank[200];
    const double *column[] = {some, x}, *single[] = {one, one};
    size_t zero = 0, odd = 0;
    struct boot_interval i;

    boot_sums(out[0], column, 2, 3, 200, 7);
    boot_sums(again[0], column, 2, 3, 200, 7);
    CHECK(!memcmp(out, again, sizeof out), "one seed, one set of draws");
    boot_sums(again[0], column, 2, 3, 200, 8);
    CHECK(memcmp(out, again, sizeof out), "another seed, another");
    for (size_t d = 0; d < 200; d++) {
        int hundreds = (int)out[d][1] / 100, tens = (int)out[d][1] / 10 % 10, ones = (int)out[d][1] % 10;

        zero += out[d][0] == 0;
        odd += hundreds + tens + ones != 3 || out[d][0] != 3 * tens;
    }
    CHECK(zero == 0 && odd == 0, "three of three samples a draw, each whole; none without weight");
    boot_sums(out[0], single, 2, 1, 200, 1);
    CHECK(out[0][0] == 2 && out[199][1] == 2, "one sample is itself");
    for (size_t d = 0; d < 200; d++)
        rank[d] = (double)(199 - d);
    i = boot_interval(rank, 200, 1000000);
    CHECK(unit_near(i.low, 0.025 * 199, 1e-4, 0) && unit_near(i.high, 0.975 * 199, 1e-4, 0) &&
              unit_near(i.error, sqrt((200.0 * 200 - 1) / 12 * 200 / 199), 1e-14, 0), "interval and error");
    /* t of 20 degrees of freedom is 2.086; times sqrt(21 / 20) it is 2.1375, which leaves 0.01628 below */
    i = boot_interval(rank, 200, 21);
    CHECK(unit_near(i.low, 0.01628 * 199, 1e-3, 0) && unit_near(i.high, 199 - 0.01628 * 199, 1e-3, 0),
          "wider with few samples");
    /* (1.95996 + 0.84162)^2 = 7.8489 */
    CHECK(boot_samples(1, 1, 40) == 314 && boot_samples(-2, 1, 40) == 79 && boot_samples(0, 1, 40) == 0 &&
              boot_samples(0, 0, 40) == 0, "how many samples would do");
}

int main(void)
{
    percentiles();
    means();
    perplexities();
    divergences();
    probabilities();
    logits();
    draws();
    coverage();
    return unit_end();
}
