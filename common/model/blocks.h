/*
 * blocks.h - how far hidden states are from a reference's, block by block
 *
 * A block's states are what it hands to the next: rows of the residual stream.  Of the vision tower all rows
 * are looked at, patches behind the patch embedding and every block, merged units behind the merger, because
 * every one of them reaches the language model.  Of the language model those positions are looked at that
 * predict a token with loss: the others, pictures' among them, matter only through these.
 */
#ifndef COMMON_MODEL_BLOCKS_H
#define COMMON_MODEL_BLOCKS_H

#include "common/base/progress.h"
#include "common/model/model.h"
#include "common/io/json.h"
#include "common/io/samples.h"

/* Means over rows, p being the reference's row and q the candidate's. */
struct block_distance {
    /* "visual.patch_embed", "visual.blocks.0", "visual.merger", "language_model.layers.0", ..., ".norm" */
    char name[48];
    size_t rows;   /* rows of zeros in p, which have no direction, are left out */
    double cosine, relative_l2; /* p q / (|p| |q|), |q - p| / |p|; 0 without rows */
};

struct blocks {
    struct block_distance *block; /* [n], in the model's order; those that no sample passes are absent */
    size_t n;
};

/* Run n samples through both, batch by batch.  Release b afterwards, also after a failure. */
int blocks_compare(struct blocks *b, struct model *ref, struct model *m, const struct sample *sample,
                   size_t n, size_t rows, struct progress *p, struct err *e);
void blocks_release(struct blocks *b); /* safe on a zeroed struct */

/* "blocks" of a candidate in a METRICS document. */
int blocks_put(json_t *candidate, const struct blocks *b, struct err *e);

/* For people.  A failed write stays in f. */
void blocks_table(FILE *f, const struct blocks *b);

#endif
