/*
 * walk_parts.h - what the parts of a walk share: the buffers of its stages, and a block's forward part
 *
 * walk_buffers.c has the memory, walk.c the forward pass, walk_backward.c the backward pass, which makes again
 * what was not kept.
 */
#ifndef COMMON_MODEL_WALK_PARTS_H
#define COMMON_MODEL_WALK_PARTS_H

#include "common/model/walk.h"

/*
 * Intermediates of a block, shared by all blocks of a tower: a pass fills them, backward fills them again and
 * consumes them.  In both towers a block is
 *   n1 = norm1(x)    q, k, v = n1 W + b    o = attention(rope q, rope k, v)    a = o Wo    x1 = x + a
 *   n2 = norm2(x1)   g, u = n2 W           s = silu(g) u                       d = s Wd    out = x1 + d
 * where the vision tower has q, k and v side by side in one product.
 */
struct acts {
    size_t rows, hidden, inter, q_dim, kv_dim;
    struct attention attention;
    const float *cosine, *sine, *row_weight;
    float eps;
    void *n1, *q, *k, *v, *qr, *kr, *o, *a, *x1, *n2, *g, *u, *s, *d; /* qr, kr: after the rotation */
    float *lse;
    void *dx, *dn, *ds, *dg, *du, *d_o, *dqr, *dkr, *dq, *dk, *dv; /* dx flows from block to block */
};

/* What one block made, which a backward pass would have to make again. */
struct kept {
    void *q, *k, *v, *o, *a, *g, *u, *d; /* by products and attention; NULL: not kept */
    float *lse;
    void *n1, *qr, *kr, *x1, *n2, *s; /* between them, which takes less time; NULL: not kept */
};

/* What a block's output is the sum of. */
struct residual {
    const void *x, *d;
};

struct scratch {
    struct acts text, vision;
    struct residual open; /* the next stage's input, which its first norm makes; x NULL: it is made already */
    struct kept text_own, vision_own; /* the buffers that blocks without kept ones share */
    struct kept *kept;                /* [stages], or NULL */
    void *merger_n, *merger_h, *merger_a, *merger_y, *d_merger_y, *d_merger_h, *d_merger_n;
    size_t chunk; /* rows of logits at a time */
    float *logits, *lse;
    void *chunk_x, *chunk_y, *dlogits, *dchunk_x, *d_norm;
};

/* The segments that a vision block attends over. */
void walk_choose_segments(struct walk *w, size_t block);

/* What is kept of stage i's block, or NULL; a has it where the block leaves or has left its outputs. */
const struct kept *walk_choose_outputs(struct walk *w, size_t i, struct acts *a);

/* A block of either tower up to its last product; its output is x1 + d. */
int walk_block(struct walk *w, const struct stage *s, struct acts *a, void *x, struct err *e);

/* Its queries and keys: a->qr and a->kr of a->q and a->k. */
void walk_rotate(struct walk *w, const struct stage *s, struct acts *a);

/* The patches of a picture, four to a unit, to embeddings: scratch->merger_y. */
int walk_merger(struct walk *w, const struct stage *s, void *x, struct err *e);

#endif
