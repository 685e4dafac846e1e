/* document.h - LAYERS documents of a model: made from what was measured, and taken for more measurements */
#ifndef COMMON_MODEL_DOCUMENT_H
#define COMMON_MODEL_DOCUMENT_H

#include "common/io/samples.h"
#include "common/model/ranges.h"
#include "common/quant/layers.h"

/*
 * Modules in model order with their shapes and ranges, and what model and samples they come from.  Position i
 * of l->module is m->linear[i].  Initialises l; release it afterwards, also after a failure.
 */
int document_make(struct layers *l, const struct model *m, const char *id, const struct samples *s,
                  const struct ranges *r, struct err *e);

/*
 * The ranges that the document at path has of every module of m: scores of shards add up only over common
 * ranges.  Tokens are those of the samples at hand, so that they add up, too.  Release r afterwards, also
 * after a failure.
 */
int document_ranges(struct ranges *r, const struct model *m, const struct samples *s,
                    const struct layers *from, const char *path, struct err *e);

/* The alphas that the document has, for the groups of l. */
int document_alphas(struct layers *l, const struct layers *from, struct err *e);

#endif
