/* resume.h - evaluations that go on where an earlier run stopped: eval.h over partial.h */
#ifndef COMMON_MODEL_RESUME_H
#define COMMON_MODEL_RESUME_H

#include "common/model/eval.h"
#include "common/model/partial.h"

/* eval_nll(), batch by batch kept in part. */
int resume_nll(struct partial *part, struct model *m, const struct sample *sample, size_t n, size_t rows,
               struct eval_sample *out, struct progress *p, struct err *e);

/*
 * Begin a candidate of this identity: fill in what an earlier run left of it; *done samples of n.  What
 * follows a candidate of another identity is of no use, and forgotten: part->remark says so.
 */
int resume_candidate(struct partial *part, const char identity[SHA256_HEX], const struct sample *sample,
                     size_t n, struct eval_sample *out, struct row_stats *row, size_t *done, struct err *e);

/*
 * eval_compare() of the samples from `done` on, batch by batch kept in part; after resume_candidate(), with
 * row given.
 */
int resume_compare(struct partial *part, size_t done, struct model *m, const struct states *ref,
                   const struct weight *ref_head, const struct sample *sample, size_t n, size_t rows,
                   struct eval_sample *out, struct row_stats *row, struct progress *p, struct err *e);

#endif
