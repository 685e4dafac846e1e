/*
 * knapsack.h - choose one format per group: least total score within a budget
 *
 * The multiple-choice knapsack problem, solved exactly: of every group one candidate, the sum of costs at
 * most budget, the sum of scores least.  "Exactly" leaves out rounding: the answer is within 1e-12 (relative)
 * of the best sum.
 */
#ifndef COMMON_QUANT_KNAPSACK_H
#define COMMON_QUANT_KNAPSACK_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct knapsack_item {
    double score; /* finite, >= 0 */
    uint64_t cost;
};

struct knapsack_group {
    const struct knapsack_item *item; /* n of them, in any order */
    size_t n;                         /* at least 1 */
};

struct knapsack_solution {
    double score;  /* sum of the chosen scores, added up in the order of the groups */
    uint64_t cost; /* sum of the chosen costs */
    double gap;    /* no choice can be better by more than this share of score; 0: proven best */
    size_t states; /* partial solutions that were stored: how hard it was */
};

/* The least cost that any choice can have: a smaller budget cannot be met. */
uint64_t knapsack_least(const struct knapsack_group *group, size_t n);

/*
 * Solve; pick[i] is the item of group i.  -1 when the budget is below knapsack_least(), a score is negative
 * or not finite, or the costs overflow.  Milliseconds for a language model's scores; contrived ones, where a
 * great many choices are nearly as good as the best, end within a second with a gap above 0.
 */
int knapsack_solve(const struct knapsack_group *group, size_t n, uint64_t budget, size_t *pick,
                   struct knapsack_solution *out, struct err *e);

#endif
