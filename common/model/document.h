/* document.h - a LAYERS document from a model and what was measured of it */
#ifndef COMMON_MODEL_DOCUMENT_H
#define COMMON_MODEL_DOCUMENT_H

#include "common/io/samples.h"
#include "common/model/ranges.h"
#include "common/quant/layers.h"

/*
 * Modules in model order with their shapes and ranges, and what model and samples they come from.  Position i of l->module
 * is m->linear[i].  Initialises l; release it afterwards, also after a failure.
 */
int document_make(struct layers *l, const struct model *m, const char *id, const struct samples *s,
                  const struct ranges *r, struct err *e);

#endif
