/*
 * stats.h - figures of a comparison, from the rows of logits that predict a token with loss
 *
 * Names, formulas and errors are those of llama.cpp's llama-perplexity --kl-divergence, so that figures can
 * be laid side by side; top-k agreement, the labels' ranks and KL by confidence are those of exllamav3's
 * model_diff.  An error here is the standard error of a mean of independent tokens.  Tokens of one sample are
 * not independent, so it is too small: bootstrap.h has the honest one.
 */
#ifndef COMMON_MODEL_STATS_H
#define COMMON_MODEL_STATS_H

#include <stddef.h>

#include "kernels/backend.h"

struct stats_value {
    double value, error;
};

/*
 * Fractions at which distributions are shown: minimum, 0.1 %, 1, 5, 10, 25, median, 75, 90, 95, 99, 99.9 %,
 * maximum.
 */
enum { STATS_POINTS = 13, STATS_MEDIAN = 6 };

/* The k of top-k figures. */
enum { STATS_TOPS = 6 };
extern const int32_t stats_top[STATS_TOPS];

/*
 * Tokens by the reference's largest probability: [0, 0.25), [0.25, 0.5), [0.5, 0.75), [0.75, 0.95), [0.95,
 * 1].
 */
enum { STATS_BUCKETS = 5 };
extern const double stats_bucket[STATS_BUCKETS + 1];

struct stats {
    size_t samples, tokens; /* samples that have tokens */

    /*
     * Perplexity of the candidate and the reference; ln_ratio is the mean of nll - nll_ref, ratio its
     * exponential.
     */
    struct stats_value ppl, ppl_ref, ln_ratio, ratio, difference;
    /* of the two models' negative log likelihoods; 0 when one of them does not vary */
    double correlation;
    double ppl_macro, ppl_ref_macro; /* exp of the mean over samples of a sample's mean */

    struct stats_value kl;
    double kl_macro; /* mean over samples of a sample's mean */
    double kl_back, js;
    double kl_point[STATS_POINTS];
    struct {
        size_t tokens;
        double mean, median; /* of kl; 0 without tokens */
    } bucket[STATS_BUCKETS];

    /* Delta p: the candidate's probability of the label less the reference's, as a fraction. */
    struct stats_value dp, dp_rms;
    double dp_max_abs;
    double dp_point[STATS_POINTS];

    struct stats_value same_top;
    double same_top_macro;
    /* share of rows whose first k tokens are the same in the same order */
    double agree[STATS_TOPS];
    double label_ref[STATS_TOPS], label[STATS_TOPS]; /* share of rows whose label is among the first k */

    /*
     * Logits: means over rows of the mean over the vocabulary, the largest difference of all, mean cosines.
     */
    double mse, mse_centred, max_abs, cos, cos_centred;
};

/*
 * row [sum of tokens]: one row per token with loss, sample by sample; tokens [samples]: how many each sample
 * has.  Everything must be finite.  Fails when there is no row, or no memory.
 */
int stats_make(struct stats *s, const struct row_stats *row, const size_t *tokens, size_t samples,
               size_t vocab, struct err *e);

/* Delta p of a row. */
double stats_dp(const struct row_stats *row);

/*
 * Value at `fraction` of n sorted numbers, n >= 1: between two of them, by linear interpolation at fraction *
 * (n - 1).
 */
double stats_percentile(const double *sorted, size_t n, double fraction);

/*
 * Mean of n numbers and its standard error, sqrt(variance / n); the error of 10 and fewer is 0, as llama.cpp
 * has it.
 */
struct stats_value stats_mean(const double *x, size_t n);

#endif
