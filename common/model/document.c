/* document.c - LAYERS documents of a model: made from what was measured, and taken for more measurements */
#include "common/model/document.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Ranges of the channels and of the KV cache, where they were measured. */
static int add_channels(struct layers *l, size_t at, const struct ranges *r, size_t i, struct err *e)
{
    if (r->input_channels && r->weight_channels[i] &&
        layers_set_channels(l, at, r->tokens[i] ? r->input_channels[i] : NULL, r->weight_channels[i], e))
        return -1;
    return r->kv && r->kv[i] >= 0 ? layers_set_kv(l, at, r->kv[i], e) : 0;
}

int document_make(struct layers *l, const struct model *m, const char *id, const struct samples *s,
                  const struct ranges *r, struct err *e)
{
    size_t tokens = 0, loss = 0, at;

    for (size_t i = 0; i < s->n; i++) {
        tokens += s->sample[i].tokens;
        for (size_t t = 1; t < s->sample[i].tokens; t++)
            loss += s->sample[i].loss[t];
    }
    if (layers_init(l, e) ||
        layers_set_model(l, id, m->digest, m->config->architecture, m->config->tied, e) ||
        layers_set_samples(l, s->digest, s->n, tokens, loss, e))
        return -1;
    for (size_t i = 0; i < m->linears; i++) {
        const struct linear_info *info = m->linear[i].info;

        if (layers_add(l, info->name, info->out, info->in, &at, e) ||
            layers_set_ranges(l, at, r->weight[i], r->input[i], r->tokens[i], e) ||
            add_channels(l, at, r, i, e))
            return -1;
    }
    return 0;
}

/* The ranges of channels that a document has of a module; a module without them is left without. */
static void take_channels(struct ranges *r, size_t i, const struct layer_module *from)
{
    size_t bytes = from->cols * sizeof(float);

    if (from->weight_channels && (from->input_channels || r->tokens[i] == 0)) {
        memcpy(r->weight_channels[i], from->weight_channels, bytes);
        if (r->tokens[i])
            memcpy(r->input_channels[i], from->input_channels, bytes);
        return;
    }
    free(r->weight_channels[i]);
    free(r->input_channels[i]);
    r->weight_channels[i] = r->input_channels[i] = NULL;
}

static unsigned what_it_has(const struct layers *from)
{
    unsigned what = 0;

    for (size_t i = 0; i < from->n_modules; i++)
        what |= (from->module[i].weight_channels ? RANGES_CHANNELS : 0) | (from->module[i].kv_amax >= 0
                                                                           ? RANGES_KV : 0);
    return what;
}

int document_ranges(struct ranges *r, const struct model *m, const struct samples *s,
                    const struct layers *from, const char *path, struct err *e)
{
    if (from->model_digest && strcmp(from->model_digest, m->digest))
        return err_set(e, RC_DATA,
                       "the ranges in '%s' were measured on another model (digest %.12s, this one has %.12s)",
                       path, from->model_digest, m->digest);
    if (ranges_init(r, m, what_it_has(from), e))
        return -1;
    ranges_count(r->tokens, m, s->sample, s->n);
    for (size_t i = 0; i < m->linears; i++) {
        const struct linear_info *info = m->linear[i].info;
        long k = layers_find_module(from, info->name);
        const struct layer_module *of = k < 0 ? NULL : &from->module[k];

        if (!of || of->weight_amax < 0)
            return err_set(e, RC_DATA,
                           "'%s' has no ranges of module '%s': make it with calib-amax on this model", path,
                           info->name);
        if (r->tokens[i] && of->input_amax < 0)
            return err_set(e, RC_DATA,
                           "no data reached module '%s' when the ranges in '%s' were measured, and these samples do",
                           info->name, path);
        if (of->rows != info->out || of->cols != info->in)
            return err_set(e, RC_DATA,
                           "'%s' has ranges of a '%s' of other shape: make it with calib-amax on this model",
                           path, info->name);
        r->weight[i] = of->weight_amax;
        r->input[i] = r->tokens[i] ? of->input_amax : 0;
        if (r->input_channels)
            take_channels(r, i, of);
        if (r->kv)
            r->kv[i] = r->tokens[i] ? of->kv_amax : -1;
    }
    return 0;
}

int document_alphas(struct layers *l, const struct layers *from, struct err *e)
{
    for (size_t g = 0; g < l->n_groups; g++) {
        long k = layers_find_group(from, l->group[g].name);

        if (k >= 0 && !isnan(from->group[k].alpha) && layers_set_alpha(l, g, from->group[k].alpha, e))
            return -1;
    }
    return 0;
}
