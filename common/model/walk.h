/*
 * walk.h - the forward and the backward pass, stage by stage, with taps on every linear module
 *
 * There is one pass for every purpose: ranges, probes, comparisons and NaN location are taps; a quantized run
 * is the same pass over weights in another format.  Formulas: Qwen2.5-VL as transformers computes it in fp32.
 */
#ifndef COMMON_MODEL_WALK_H
#define COMMON_MODEL_WALK_H

#include "common/model/arena.h"
#include "common/model/batch.h"
#include "common/model/kvcache.h"
#include "common/model/model.h"

/*
 * What a tap sees of a linear module l: x [rows, l->in], y [rows, l->out] (device, act).  forward: after y =
 * x W^T + b; y may be NULL where nobody needs the product (the head, whose logits are made in chunks).
 * backward: with dy = dL/dy, and row_weight [rows], the loss tokens of each row's sample; the head arrives in
 * chunks of rows.  kv: a language layer's keys after the rotation and its values, [rows, kv_heads *
 * head_dim], before an FP8 cache rounds them.  Return -1 with e set to end the walk.
 *
 * weight: asked of a module just before its input is made for backward(), which is then the next to be called,
 * with this module: the weight that it will multiply this input by first, by linear_again(); or NULL.
 */
struct tap {
    int (*forward)(struct tap *, struct linear *l, const void *x, const void *y, size_t rows, struct err *e);
    int (*backward)(struct tap *, struct linear *l, const void *x, const void *y, const void *dy,
                    const float *row_weight, size_t rows, struct err *e);
    int (*kv)(struct tap *, const struct stage *s, const void *k, const void *v, size_t rows, struct err *e);
    const struct weight *(*weight)(struct tap *, const struct linear *l);
};

/*
 * One batch on its way through a model.  Buffers live as long as the walk; they hold one block's
 * intermediates and, when `keep` is set, the input of every stage, which backward and restarts need.
 */
struct walk {
    struct model *m;
    struct batch *b;
    struct tap *tap; /* may be NULL and may change between calls */
    /*
     * NULL, or the tokens that come before this batch, which is then one sample without a backward pass;
     * every walk_forward() from stage 0 on adds the batch's.  Set it between walk_init() and walk_forward().
     */
    struct kv_cache *cache;
    bool keep;
    /* [stages]: input rows of each stage; without keep, one buffer serves all stages of a kind */
    void **input;
    void *embeds;      /* input of the first language layer: token embeddings, pictures' rows in place */
    void *last, *norm; /* [tokens, hidden]: input of the head's norm, and its output */
    size_t from;       /* first stage this batch passes: text batches skip the vision tower */
    struct arena arena;
    struct scratch *scratch; /* private: intermediates of a block */
};

int walk_init(struct walk *w, struct model *m, struct batch *b, bool keep, struct err *e);
void walk_release(struct walk *w); /* safe on a zeroed struct */

/*
 * From token ids and pixels to w->norm, the head's input.  Stages before `stage` are not run again: their
 * outputs are those of the pass before (keep must be set when stage > 0).
 */
int walk_forward(struct walk *w, size_t stage, struct err *e);

/*
 * Before walk_forward(), with keep: let it leave the outputs of products and attention of as many blocks as
 * fit into so many bytes, then what is between them in vision blocks, so that walk_backward() need not compute
 * that again.  The same numbers come out.
 */
int walk_keep_blocks(struct walk *w, size_t bytes, struct err *e);

/*
 * The gradient of each sample's mean cross-entropy, summed over samples, through every linear; w->tap sees
 * dL/dy of each, last stage first.  After walk_forward() with keep.  nll (device, [b->loss_rows]), when not
 * NULL, receives the negative log likelihoods.  No weight gradients are computed.
 */
int walk_backward(struct walk *w, float *nll, struct err *e);

/*
 * Rows of the head's input that make one chunk of logits: up to 512, and what the backend's logit_bytes hold.
 */
size_t walk_chunk_rows(const struct model *m);

#endif
