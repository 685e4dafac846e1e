/* metrics.h - METRICS documents (octet-metrics/1): what was loaded, and what was measured of it */
#ifndef COMMON_MODEL_METRICS_H
#define COMMON_MODEL_METRICS_H

#include "common/io/samples.h"
#include "common/model/eval.h"

/* A document with its head, "samples" and an empty "candidates" array.  NULL: e is set. */
json_t *metrics_new(const struct samples *s, const struct eval_total *t, struct err *e);

/*
 * Append a candidate: name; what its files hold (tensors by dtype); how many linear modules ran in FP8 and how many
 * scales, one of the weight and one of the input each, were applied; and its figures.  with_ref: those against a
 * reference, too.  scheme: what was applied to m, or NULL.
 */
int metrics_add(json_t *doc, const char *name, const struct model *m, const struct scheme *scheme,
                const struct eval_total *t, bool with_ref, struct err *e);

#endif
