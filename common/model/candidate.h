/* candidate.h - one candidate's figures with their uncertainty (bootstrap.h) */
#ifndef COMMON_MODEL_CANDIDATE_H
#define COMMON_MODEL_CANDIDATE_H

#include "common/model/bootstrap.h"
#include "common/model/eval.h"
#include "common/model/stats.h"

/*
 * All samples; those without a picture; those with one (their text tokens: no picture position predicts a
 * token).
 */
enum split { SPLIT_ALL, SPLIT_TEXT, SPLIT_PICTURE, SPLITS };
extern const char *const split_name[SPLITS]; /* "all", "text", "picture" */

/*
 * Figures that have intervals.  PPL_RATIO: of the candidate to the reference; DP and SAME_TOP over tokens
 * with loss.
 */
enum figure {
    FIG_PPL, FIG_PPL_RATIO, FIG_KL, FIG_KL_ANSWER, FIG_KL_LAST, FIG_MSE, FIG_MSE_LAST, FIG_TOP1, FIG_DP,
    FIG_DP_RMS, FIG_SAME_TOP, FIGURES
};
extern const char *const figure_name[FIGURES]; /* "ppl", ..., "delta_p", "rms_delta_p", "same_top" */

/* What a sample adds to the sums of a figure, and the form of their ratio. */
struct figure_part {
    double top, bottom;
};
struct figure_part figure_part(enum figure f, const struct eval_sample *s);
enum boot_form figure_form(enum figure f);

struct candidate {
    char *name;
    struct eval_total total;
    struct candidate_split {
        struct stats stats; /* tokens of 0: there is no such sample */
        bool sampled;       /* there are two samples or more, so that there are intervals */
        struct boot_interval interval[FIGURES];
    } split[SPLITS];
    struct eval_sample *sample; /* [total.samples]: a copy, for pairs.h */
};

/* From what eval_compare() filled in; row [loss tokens].  Release c afterwards, also after a failure. */
int candidate_make(struct candidate *c, const char *name, const struct eval_sample *sample, size_t n,
                   const struct row_stats *row, size_t vocab, struct err *e);

/* The same from samples alone: total and sample are filled in, split is not. */
int candidate_recall(struct candidate *c, const char *name, const struct eval_sample *sample, size_t n,
                     struct err *e);
void candidate_release(struct candidate *c);

/* Intervals [figures] of these figures over samples that are in the split, of which there must be two. */
int candidate_intervals(struct boot_interval *out, const enum figure *figure, size_t figures,
                        enum split split, const struct eval_sample *sample, size_t n, struct err *e);

#endif
