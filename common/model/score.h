/*
 * score.h - how much each linear module's quantization matters: the gradient and the KL method
 *
 * Both compare forms of a module in 8 bits (ranges given, codes as an export writes them) with the
 * unquantized model.
 *
 * gradient  sum over samples, rows, channels of (g D)^2, with g = dL/dY of the sample's mean cross-entropy in
 *           the unquantized model and D = Yq - Y (ModelOpt AutoQuantize), and beside it 1/2 sum over rows of
 *           (sum_j G D)^2, G of the summed cross-entropy: a predicted KL in nats.
 * kl        sum over samples and all their positions of KL(p || q) in nats, q with one group quantized at a
 *           time.
 */
#ifndef COMMON_MODEL_SCORE_H
#define COMMON_MODEL_SCORE_H

#include "common/base/progress.h"
#include "common/model/snapshot.h"
#include "common/model/walk.h"

/* A module's form; skip: leave it alone (no data reached it). */
struct score_form {
    struct linear_form form; /* its smoothing is not folded: the module is probed alone */
    bool skip;
};

struct score_result {
    double gradient, predicted_kl; /* of one module */
};

/*
 * form and out: [forms, model.linears]; all forms of a module are compared on the same pass.  *nll: the
 * unquantized model's summed NLL.  Rounding is the model's.  keep: where a killed pass goes on, or NULL.
 */
int score_gradient(struct model *m, const struct score_form *form, size_t forms, const struct sample *sample,
                   size_t n, size_t rows, struct score_result *out, double *nll, struct snapshot *keep,
                   struct progress *p, struct err *e);

/*
 * Modules that are quantized together, all of one stage; kl [forms, groups] receives the sums.  Groups must
 * be in stage order.
 */
struct score_group {
    struct linear *member[3];
    size_t members;
};
int score_kl(struct model *m, const struct score_form *form, size_t forms, const struct score_group *group,
             size_t groups, const struct sample *sample, size_t n, size_t rows, double *kl,
             struct snapshot *keep, struct progress *p, struct err *e);

#endif
