/* ranges.h - calibration: the largest |x| that enters each linear module, over all samples */
#ifndef COMMON_MODEL_RANGES_H
#define COMMON_MODEL_RANGES_H

#include "common/base/progress.h"
#include "common/model/snapshot.h"
#include "common/model/walk.h"

/* What to measure beside the ranges of inputs and weights. */
enum { RANGES_CHANNELS = 1, RANGES_KV = 2 };

struct ranges {
    size_t linears;
    float *input;   /* [linears]: amax of the input; 0 where no data arrived */
    float *weight;  /* [linears]: amax of the weight; the unquantized model's */
    size_t *tokens; /* [linears]: rows that arrived */
    /*
     * RANGES_CHANNELS; else NULL.  [linears] of [in] each, or NULL: amax of the input's and of the weight's
     * columns.
     */
    float **input_channels, **weight_channels;
    /*
     * RANGES_KV; else NULL.  [linears]: of a language layer's k_proj the amax of keys after the rotation, of
     * its v_proj that of values; others -1
     */
    float *kv;
};

/*
 * One unquantized forward pass over n samples.  what: RANGES_* together; rows: how many rows make one batch.
 * -1 with the module named when a range is not finite.  keep: where a killed pass goes on, or NULL.  Release
 * r afterwards, also after a failure.
 */
int ranges_measure(struct ranges *r, struct model *m, unsigned what, const struct sample *sample, size_t n,
                   size_t rows, struct snapshot *keep, struct progress *p, struct err *e);

/* Zeroed arrays for a model, to be filled by the caller; released by ranges_release(). */
int ranges_init(struct ranges *r, const struct model *m, unsigned what, struct err *e);

/* The rows that n samples send through each linear, tokens [model.linears], without running them. */
void ranges_count(size_t *tokens, const struct model *m, const struct sample *sample, size_t n);

void ranges_release(struct ranges *r);

#endif
