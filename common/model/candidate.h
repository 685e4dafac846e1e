/*
 * candidate.h - one candidate's figures with their uncertainty, and how two candidates differ
 *
 * Intervals come from bootstrap.h: the same seed draws the same samples for every candidate of a call, so that what two of
 * them share falls out of their difference.
 */
#ifndef COMMON_MODEL_CANDIDATE_H
#define COMMON_MODEL_CANDIDATE_H

#include "common/model/bootstrap.h"
#include "common/model/eval.h"
#include "common/model/stats.h"

/* All samples; those without a picture; those with one (their text tokens: no picture position predicts a token). */
enum split { SPLIT_ALL, SPLIT_TEXT, SPLIT_PICTURE, SPLITS };
extern const char *const split_name[SPLITS]; /* "all", "text", "picture" */

/* Figures that have intervals.  PPL_RATIO: of the candidate to the reference; DP and SAME_TOP over tokens with loss. */
enum figure {
    FIG_PPL, FIG_PPL_RATIO, FIG_KL, FIG_KL_ANSWER, FIG_KL_LAST, FIG_MSE, FIG_MSE_LAST, FIG_TOP1, FIG_DP, FIG_DP_RMS,
    FIG_SAME_TOP, FIGURES
};
extern const char *const figure_name[FIGURES]; /* "ppl", ..., "delta_p", "rms_delta_p", "same_top" */

struct candidate {
    char *name;
    struct eval_total total;
    struct candidate_split {
        struct stats stats; /* tokens of 0: there is no such sample */
        bool sampled;       /* there are two samples or more, so that there are intervals */
        struct boot_interval interval[FIGURES];
    } split[SPLITS];
    double value[FIGURES]; /* over all samples */
    double *draw;          /* [FIGURES, BOOT_DRAWS] over all samples, for pairs; NULL when not sampled */
};

/* From what eval_compare() filled in; row [loss tokens].  Release c afterwards, also after a failure. */
int candidate_make(struct candidate *c, const char *name, const struct eval_sample *sample, size_t n,
                   const struct row_stats *row, size_t vocab, struct err *e);
void candidate_release(struct candidate *c);

/* What candidate b has more than a, of each figure; paired.  Both must be sampled, over the same samples. */
struct pair {
    double difference[FIGURES];
    struct boot_interval interval[FIGURES];
    enum verdict { VERDICT_WORSE, VERDICT_BETTER, VERDICT_EQUAL, VERDICT_UNCLEAR } verdict; /* of b, by FIG_KL_ANSWER */
    size_t samples_needed; /* that would settle an unclear one, see boot_samples(); else 0, also where there is no telling */
};
extern const char *const verdict_name[]; /* "worse", "better", "equal", "unclear" */

int pair_make(struct pair *p, const struct candidate *a, const struct candidate *b, struct err *e);

/* Of n candidates in order, how many neighbours differ clearly, and how many samples would tell all of them apart. */
struct resolution {
    size_t neighbours, clear, equal, samples_needed; /* samples_needed: 0 when no pair is unclear */
};
int resolution_make(struct resolution *r, const struct candidate *c, size_t n, struct err *e);

#endif
