/* generate.c - a sequence that grows token by token */
#include "common/model/generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"

static int check_context(const struct config *c, size_t tokens, size_t more, struct err *e)
{
    if (tokens >= c->max_position)
        return err_set(
            e, RC_DATA,
            "the prompt's %zu tokens fill the model's context (max_position_embeddings %zu): shorten it, or "
            "give smaller pictures",
            tokens, c->max_position);
    if (more > c->max_position - tokens)
        return err_set(
            e, RC_USAGE,
            "the prompt's %zu tokens and %zu more exceed the model's context (max_position_embeddings %zu): "
            "ask for %zu at most",
            tokens, more, c->max_position, c->max_position - tokens);
    return 0;
}

/* Logits of a walk's last row. */
static int last_logits(struct generate *g, const struct walk *w, struct err *e)
{
    struct backend *be = g->m->be;
    const struct config *c = g->m->config;
    const char *row = (const char *)w->norm + (w->b->tokens - 1) * c->hidden * be->act_bytes;

    be->linear_f32(be, g->d_logits, row, 1, linear_weight(g->m->stage[g->m->head].head));
    be->download(be, g->logits, g->d_logits, c->vocab * sizeof *g->logits);
    return be_check(be, e);
}

static int walk_prompt(struct generate *g, const struct sample *prompt, struct err *e)
{
    struct model *m = g->m;
    struct batch b = {0};
    struct walk w = {0};
    int ret = -1;

    if (batch_build(&b, m->be, m->config, &m->processor, prompt, 1, e) || walk_init(&w, m, &b, false, e))
        goto out;
    w.cache = &g->cache;
    g->delta = b.delta[0];
    if (walk_forward(&w, 0, e))
        goto out;
    for (size_t i = 0; i < prompt->tokens; i++)
        g->seen[prompt->ids[i]] = true;
    ret = last_logits(g, &w, e);
out:
    walk_release(&w);
    batch_release(&b);
    return ret;
}

int generate_prefill(struct generate *g, struct model *m, const struct sample *prompt, size_t more,
                     struct err *e)
{
    const struct config *c = m->config;

    *g = (struct generate){.m = m};
    if (check_context(c, prompt->tokens, more, e) ||
        kv_cache_init(&g->cache, m->be, c, prompt->tokens + more, e))
        return -1;
    g->d_logits = m->be->alloc(m->be, c->vocab * sizeof *g->d_logits);
    g->logits = mem_zalloc(c->vocab, sizeof *g->logits, e);
    g->seen = mem_zalloc(c->vocab, sizeof *g->seen, e);
    if (!g->logits || !g->seen || be_check(m->be, e) || batch_step_build(&g->batch, m->be, c, e) ||
        walk_init(&g->walk, m, &g->batch, false, e))
        return -1;
    g->walk.cache = &g->cache;
    return walk_prompt(g, prompt, e);
}

int generate_step(struct generate *g, int32_t id, struct err *e)
{
    int32_t position = (int32_t)g->cache.tokens + g->delta;

    if (batch_step(&g->batch, g->m->config, id, position, e) || walk_forward(&g->walk, 0, e))
        return -1;
    g->seen[id] = true;
    return last_logits(g, &g->walk, e);
}

void generate_release(struct generate *g)
{
    walk_release(&g->walk);
    batch_release(&g->batch);
    if (g->d_logits)
        g->m->be->free(g->m->be, g->d_logits);
    kv_cache_release(&g->cache);
    free(g->logits);
    free(g->seen);
    *g = (struct generate){0};
}

int generate_greedy(const struct generate *g, float penalty, int32_t *id, struct err *e)
{
    float top = -INFINITY;

    *id = 0;
    for (size_t i = 0; i < g->m->config->vocab; i++) {
        float z = g->logits[i];

        if (isnan(z))
            return err_set(e, RC_DATA, "the logits of '%s' are not finite", g->m->weights.ckpt.dir);
        if (g->seen[i])
            z = z < 0 ? z * penalty : z / penalty;
        if (z > top) {
            top = z;
            *id = (int32_t)i;
        }
    }
    return 0;
}

static int add_stop(struct ids *stop, const json_t *v, const char *path, struct err *e)
{
    json_int_t id = json_integer_value(v);
    int32_t narrow = (int32_t)id;

    if (!json_is_integer(v) || id < 0 || id > INT32_MAX)
        return err_set(e, RC_DATA, "%s: eos_token_id is neither a token id nor a list of them", path);
    return ids_add(stop, &narrow, 1, e);
}

/* 1: the file has eos_token_id; 0: it does not, or is not there; -1. */
static int configured_stops(struct ids *stop, const char *path, struct err *e)
{
    int ret = file_exists(path, e);
    json_t *doc = NULL, *eos, *v;
    size_t i;

    if (ret <= 0)
        return ret;
    doc = json_read(path, NULL, e);
    if (!doc)
        return -1;
    eos = json_object_get(doc, "eos_token_id");
    if (!eos || json_is_null(eos) || (json_is_array(eos) && json_array_size(eos) == 0))
        ret = 0;
    else if (!json_is_array(eos))
        ret = add_stop(stop, eos, path, e) ? -1 : 1;
    else
        json_array_foreach (eos, i, v)
            ret = ret < 0 || add_stop(stop, v, path, e) ? -1 : 1;
    json_decref(doc);
    return ret;
}

int generate_stops(struct ids *stop, const char *dir, const struct tokenizer *t, struct err *e)
{
    static const char *const usual[] = {"<|im_end|>", "<|endoftext|>"};
    char *path = file_join(dir, "generation_config.json", e);
    int ret = path ? configured_stops(stop, path, e) : -1;

    for (size_t i = 0; ret == 0 && i < sizeof usual / sizeof *usual; i++) {
        int32_t id = tokenizer_id(t, usual[i]);

        if (id >= 0 && ids_add(stop, &id, 1, e))
            ret = -1;
    }
    free(path);
    return ret < 0 ? -1 : 0;
}
