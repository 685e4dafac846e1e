/*
 * persample.h - what METRICS documents keep of every sample, so that candidates can be compared later
 *
 * The document's "samples" has "per_sample": arrays of what is the same for all candidates.  Each candidate
 * has one of its own, of sums over the sample's positions.
 */
#ifndef COMMON_MODEL_PERSAMPLE_H
#define COMMON_MODEL_PERSAMPLE_H

#include "common/io/json.h"
#include "common/io/samples.h"
#include "common/model/eval.h"

/* Into "samples" of a document; sample and out [n]. */
int persample_put_samples(json_t *samples, const struct sample *sample, const struct eval_sample *out,
                          size_t n, struct err *e);

/* Into a candidate of a document. */
int persample_put(json_t *candidate, const struct eval_sample *out, size_t n, struct err *e);

/*
 * What both wrote: *out [*n], to be freed.  where names the document for messages.  -1: there is none of it,
 * or it is not of so many numbers as it should be.
 */
int persample_get(const json_t *samples, const json_t *candidate, const char *where, struct eval_sample **out,
                  size_t *n, struct err *e);

#endif
