/*
 * kvcache.h - keys and values of the tokens that a model has seen, layer by layer
 *
 * What makes the next token cost one row instead of the whole sequence: a walk with a cache adds its tokens'
 * keys (after the rotation) and values to those of the walks before, and its queries attend over all of them.
 */
#ifndef COMMON_MODEL_KVCACHE_H
#define COMMON_MODEL_KVCACHE_H

#include "common/model/arena.h"
#include "common/model/config.h"

struct kv_rows {
    void *k, *v; /* device, act, [capacity, kv_heads * head_dim] */
};

/* One sequence. */
struct kv_cache {
    struct arena arena;
    struct kv_rows *layer; /* of the language model's layers */
    size_t dim;            /* elements of a row */
    size_t capacity;       /* tokens that there is room for */
    size_t tokens;         /* tokens whose rows every layer has */
    int32_t *d_cu_k;       /* device [2]: 0, and the rows that the present walk attends over */
};

/* An empty cache with room for `capacity` tokens.  Release it afterwards, also after a failure. */
int kv_cache_init(struct kv_cache *c, struct backend *be, const struct config *config, size_t capacity,
                  struct err *e);
void kv_cache_release(struct kv_cache *c); /* safe on a zeroed struct */

/* n more tokens are about to be walked: sets d_cu_k.  -1 when there is no room for them. */
int kv_cache_begin(struct kv_cache *c, size_t n, struct err *e);

/* Put the n new rows of a layer, dense [n, dim], behind those it has; returns all of them. */
struct kv_rows kv_cache_append(struct kv_cache *c, size_t layer, const void *k, const void *v, size_t n);

/* All layers have the n tokens' rows.  A walk that failed midway leaves this out, and the next one overwrites
 * its rows. */
void kv_cache_end(struct kv_cache *c, size_t n);

#endif
