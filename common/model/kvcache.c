/* kvcache.c - keys and values of the tokens that a model has seen, layer by layer */
#include "common/model/kvcache.h"

#include <stdlib.h>

#include "common/base/mem.h"

int kv_cache_init(struct kv_cache *c, struct backend *be, const struct config *config, size_t capacity,
                  struct err *e)
{
    size_t n;

    *c = (struct kv_cache){
        .arena = {.be = be}, .dim = config->kv_heads * config->head_dim, .capacity = capacity};
    if (capacity > INT32_MAX)
        return err_set(e, RC_DATA, "a sequence of %zu tokens is too long", capacity);
    if (mem_mul(capacity, c->dim, &n, "a cache of keys and values", e))
        return -1;
    c->layer = mem_zalloc(config->layers, sizeof *c->layer, e);
    if (!c->layer)
        return -1;
    for (size_t i = 0; i < config->layers; i++) {
        c->layer[i].k = arena_take(&c->arena, n, be->act_bytes);
        c->layer[i].v = arena_take(&c->arena, n, be->act_bytes);
    }
    c->d_cu_k = arena_take(&c->arena, 2, sizeof *c->d_cu_k);
    return be_check(be, e);
}

void kv_cache_release(struct kv_cache *c)
{
    arena_release(&c->arena);
    free(c->layer);
    *c = (struct kv_cache){0};
}

int kv_cache_begin(struct kv_cache *c, size_t n, struct err *e)
{
    const int32_t cu_k[2] = {0, (int32_t)(c->tokens + n)};

    if (n > c->capacity - c->tokens)
        return err_set(e, RC_DATA, "%zu tokens and %zu more exceed the cache's %zu", c->tokens, n,
                       c->capacity);
    c->arena.be->upload(c->arena.be, c->d_cu_k, cu_k, sizeof cu_k);
    return 0;
}

struct kv_rows kv_cache_append(struct kv_cache *c, size_t layer, const void *k, const void *v, size_t n)
{
    struct backend *be = c->arena.be;
    struct kv_rows rows = c->layer[layer];
    size_t offset = c->tokens * c->dim * be->act_bytes, bytes = n * c->dim * be->act_bytes;

    be->copy(be, (char *)rows.k + offset, k, bytes);
    be->copy(be, (char *)rows.v + offset, v, bytes);
    return rows;
}

void kv_cache_end(struct kv_cache *c, size_t n)
{
    c->tokens += n;
}
