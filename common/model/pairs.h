/*
 * pairs.h - how candidates differ that were measured on the same samples against the same reference
 *
 * The interval of a difference is paired: it comes from the samples' differences, so that what two candidates
 * share falls out of it.
 */
#ifndef COMMON_MODEL_PAIRS_H
#define COMMON_MODEL_PAIRS_H

#include "common/model/candidate.h"

/* Figures of a pair; their names are figure_name[pair_figure[i]]. */
enum pair_index { PAIR_KL_ANSWER, PAIR_KL, PAIR_PPL_RATIO, PAIR_SAME_TOP, PAIR_FIGURES };
extern const enum figure pair_figure[PAIR_FIGURES];

/* What candidate b has more than a.  The interval of PAIR_PPL_RATIO is that of the difference linearized. */
struct pair {
    size_t a, b; /* positions of candidates */
    double difference[PAIR_FIGURES];
    struct boot_interval interval[PAIR_FIGURES];
    /* of b, by PAIR_KL_ANSWER */
    enum verdict { VERDICT_WORSE, VERDICT_BETTER, VERDICT_EQUAL, VERDICT_UNCLEAR } verdict;
    /* that would settle an unclear one, see boot_samples(); else 0, also where there is no telling */
    size_t samples_needed;
};
extern const char *const verdict_name[]; /* "worse", "better", "equal", "unclear" */

/* Pairs of candidates, and of those that are neighbours (b == a + 1) how many differ clearly. */
struct pairs {
    struct pair *pair;
    size_t n;
    size_t samples; /* of every candidate */
    size_t neighbours, clear, equal;
    /* that would tell all neighbours apart; 0: none is unclear, or there is no telling */
    size_t samples_needed;
};

/*
 * Of n candidates in order, neighbours, or with `every` every two, by a and then by b.  All must have the
 * same samples.  No pair when there are less than two samples.  Release p afterwards, also after a failure.
 */
int pairs_make(struct pairs *p, const struct candidate *c, size_t n, bool every, struct err *e);
void pairs_release(struct pairs *p);

#endif
