/* alpha.h - SmoothQuant's alpha of every layer group: the one with the least output error on samples */
#ifndef COMMON_MODEL_ALPHA_H
#define COMMON_MODEL_ALPHA_H

#include "common/base/progress.h"
#include "common/io/samples.h"
#include "common/model/snapshot.h"
#include "common/model/walk.h"
#include "common/quant/layers.h"

enum { ALPHAS = 11 }; /* 0, 0.1, ... 1 */

/*
 * One unquantized forward pass over n samples, on which every module of l, which was made from m and has the
 * ranges of its channels, is also run in INT8 under each alpha.  A group gets the alpha with the least sum,
 * over members, of squared differences of outputs (of equal sums the smaller alpha), by layers_set_alpha().
 * Groups without data, or whose input or weight is 0 throughout, get none; neither does a tied lm_head.
 * Weights are rounded as m->rounding says.  keep: where a killed pass goes on, or NULL.
 */
int alpha_search(struct layers *l, struct model *m, bool dynamic, const struct sample *sample, size_t n,
                 size_t rows, struct snapshot *keep, struct progress *p, struct err *e);

#endif
