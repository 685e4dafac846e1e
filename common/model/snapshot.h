/*
 * snapshot.h - the sums of a pass over samples, kept now and then, so that a killed pass goes on
 *
 * A pass that adds up over all samples has nothing to append: what is kept is all of its sums, every two
 * seconds, later every fiftieth of the time it took so far, and at its end; the last one counts.
 */
#ifndef COMMON_MODEL_SNAPSHOT_H
#define COMMON_MODEL_SNAPSHOT_H

#include "common/model/partial.h"

enum { SNAPSHOT_SECONDS = 2 };
struct snapshot {
    struct partial *part;
    uint32_t kind;  /* of this pass among those of its run */
    double every_s; /* SNAPSHOT_SECONDS; 0: after every batch */
    /* private */
    double began, last;
};

/* One array of the sums, on the host. */
struct snapshot_part {
    void *data;
    size_t bytes;
};

/*
 * Begin a pass, after those before it: fill in the sums that an earlier run left, and *done, the samples that
 * they are of, of n.  Without any, or with s NULL, *done is 0 and nothing else changes.
 */
int snapshot_begin(struct snapshot *s, size_t n, const struct snapshot_part *part, size_t parts, size_t *done,
                   struct err *e);

/* Whether it is time to keep the sums of `done` of n samples; s NULL: never. */
bool snapshot_due(const struct snapshot *s, size_t done, size_t n);
int snapshot_put(struct snapshot *s, size_t done, const struct snapshot_part *part, size_t parts,
                 struct err *e);

#endif
