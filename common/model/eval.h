/*
 * eval.h - perplexity, and how far a candidate's logits are from a reference's
 *
 * All logarithms are natural.  A number that is not finite anywhere ends an evaluation: its report counts the
 * positions and says where the first one is, and in which module it appears.
 */
#ifndef COMMON_MODEL_EVAL_H
#define COMMON_MODEL_EVAL_H

#include "common/model/states.h"
#include "common/model/visit.h"

/* One sample of a comparison; sums over its positions unless said otherwise.  Reference p, candidate q. */
struct eval_sample {
    size_t tokens, loss_tokens;
    bool picture;              /* it has one */
    double nll_ref, nll;       /* over loss tokens */
    double kl, kl_answer;      /* KL(p || q): over all positions; over positions that predict a loss token */
    double kl_last, mse_last;  /* of the last position; mse: mean over the vocabulary of (z_q - z_p)^2 */
    double mse;                /* sum over positions of that mean */
    size_t same_top;           /* positions where both have the same argmax */
    size_t same_top_answer;    /* those that predict a loss token */
    double dp, dp_sq;          /* over loss tokens: q's probability of the token less p's, and its square */
    /* positions whose argmax under a kept reference is not the one that it was kept with */
    size_t ref_moved;
    double ref_lse_sq;         /* square of the difference of its log-sum-exp; both are 0 for one in memory */
};

/*
 * For an evaluation that is to survive a kill; NULL where none is.  start: samples, whole batches of them,
 * whose figures stand in out (and row) already.  batch: called when those of n samples from `first` on do; -1
 * with e set ends the evaluation.  Not called any more once a figure was not finite, so that the report of
 * another run is the same.
 */
struct eval_keep {
    int (*batch)(struct eval_keep *, size_t first, size_t n, struct err *e);
    size_t start;
};

/*
 * Compare m with the reference states; ref_head is the reference's head on m's backend, NULL when m's own
 * head is the same (states.head says so).  out [n]; row [loss tokens of all samples], or NULL: the positions
 * that predict one, in order.
 */
int eval_compare(struct model *m, const struct states *ref, const struct weight *ref_head,
                 const struct sample *sample, size_t n, size_t rows, struct eval_sample *out,
                 struct row_stats *row, struct eval_keep *keep, struct progress *p, struct err *e);

/*
 * Negative log likelihood of each sample's loss tokens: fills tokens, loss_tokens, picture and nll of out
 * [n].
 */
int eval_nll(struct model *m, const struct sample *sample, size_t n, size_t rows, struct eval_sample *out,
             struct eval_keep *keep, struct progress *p, struct err *e);

/*
 * Corpus figures: means over positions, samples or loss tokens; perplexity exp(sum nll / sum loss tokens).
 * -1 when there is no loss token.
 */
struct eval_total {
    size_t samples, tokens, loss_tokens, same_top;
    double ppl_ref, ppl, kl, kl_answer, kl_last, mse, mse_last, top1;
};
int eval_sum(struct eval_total *t, const struct eval_sample *sample, size_t n, struct err *e);

/*
 * kl_last and mse_last as the Python system has them: the mean over batches of `batch` samples, in order, of
 * each batch's mean; a short last batch weighs as much as a full one.
 */
void eval_batch_means(const struct eval_sample *sample, size_t n, size_t batch, double *kl_last,
                      double *mse_last);

#endif
