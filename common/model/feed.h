/*
 * feed.h - samples as batches, each packed while the one before is on its way
 *
 * Packing (positions, windows, rotations, patches' places) is the host's work, and on a GPU it would stand
 * between one batch and the next: a thread does it ahead, one batch at a time.  Batches and their order are
 * those of batch_take().
 */
#ifndef COMMON_MODEL_FEED_H
#define COMMON_MODEL_FEED_H

#include "common/model/batch.h"
#include "common/model/model.h"

struct feed;

/* Batches of about `rows` rows of n samples for m; all of them outlive the feed.  NULL: e is set. */
struct feed *feed_open(const struct model *m, const struct sample *sample, size_t n, size_t rows,
                       struct err *e);

/*
 * 1: b is the next batch, on the device, of b->samples samples from *first on; 0: there was no more; -1: e is
 * set.  Release b whatever the result.
 */
int feed_next(struct feed *f, struct batch *b, size_t *first, struct err *e);

void feed_close(struct feed *f); /* NULL is allowed */

#endif
