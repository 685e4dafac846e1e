/* document.c - a LAYERS document from a model and what was measured of it */
#include "common/model/document.h"

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
            layers_set_ranges(l, at, r->weight[i], r->input[i], r->tokens[i], e) || add_channels(l, at, r, i, e))
            return -1;
    }
    return 0;
}
