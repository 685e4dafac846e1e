/* metrics.h - METRICS documents (octet-metrics/1): what was loaded, and what was measured of it */
#ifndef COMMON_MODEL_METRICS_H
#define COMMON_MODEL_METRICS_H

#include "common/io/samples.h"
#include "common/model/pairs.h"

/* A document with its head, "samples" and an empty "candidates" array.  NULL: e is set. */
json_t *metrics_new(const struct samples *s, const struct eval_total *t, struct err *e);

/*
 * Append a candidate: name; what its files hold (tensors by dtype); how many linear modules ran in FP8 and in
 * INT8, whether its KV cache was FP8, and how many scales (of weights, of inputs unless they are taken for
 * each token, of keys and of values) were applied; and its figures.  scheme: what was applied to m, or
 * NULL.  Returns the candidate's object, borrowed, for further keys; NULL: e is set.
 */
json_t *metrics_add(json_t *doc, const char *name, const struct model *m, const struct scheme *scheme,
                    const struct eval_total *t, struct err *e);

/* The uncertainty of its perplexity, from what eval_nll() filled in; nothing of one sample. */
int metrics_perplexity(json_t *candidate, const struct eval_sample *sample, size_t n, struct err *e);

/* The figures against a reference, their uncertainty, and the statistics by split. */
int metrics_against(json_t *candidate, const struct candidate *c, struct err *e);

/*
 * "reference": in what a kept one was kept, and how far it is from what it was before: the share of positions
 * whose argmax moved, and the root of the mean square by which the log-sum-exp did.  Nothing for one in
 * memory.
 */
int metrics_kept(json_t *doc, const struct states *ref, const struct eval_sample *sample, size_t n,
                 struct err *e);

/*
 * kl_last and mse_last of a candidate as the Python system has them, means of batches of so many samples;
 * ours go under "mean_of_samples".  After metrics_against().
 */
int metrics_origin(json_t *candidate, double kl_last, double mse_last, size_t batch, struct err *e);

/* How intervals were made. */
int metrics_bootstrap(json_t *doc, struct err *e);

/* The same, how candidates differ, and whether the samples tell neighbours apart. */
int metrics_pairs(json_t *doc, const struct candidate *c, const struct pairs *p, struct err *e);

#endif
