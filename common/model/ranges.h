/* ranges.h - calibration: the largest |x| that enters each linear module, over all samples */
#ifndef COMMON_MODEL_RANGES_H
#define COMMON_MODEL_RANGES_H

#include "common/base/progress.h"
#include "common/model/walk.h"

struct ranges {
    float *input;   /* [model.linears]: amax of the input; 0 where no data arrived */
    float *weight;  /* [model.linears]: amax of the weight; the unquantized model's */
    size_t *tokens; /* [model.linears]: rows that arrived */
};

/*
 * One unquantized forward pass over n samples.  rows: how many rows make one batch.  -1 with the module named when a range
 * is not finite.  Release r afterwards, also after a failure.
 */
int ranges_measure(struct ranges *r, struct model *m, const struct sample *sample, size_t n, size_t rows,
                   struct progress *p, struct err *e);

/* The rows that n samples send through each linear, tokens [model.linears], without running them. */
void ranges_count(size_t *tokens, const struct model *m, const struct sample *sample, size_t n);

void ranges_release(struct ranges *r);

#endif
