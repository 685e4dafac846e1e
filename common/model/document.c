/* document.c - a LAYERS document from a model and what was measured of it */
#include "common/model/document.h"

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
            layers_set_ranges(l, at, r->weight[i], r->input[i], r->tokens[i], e))
            return -1;
    }
    return 0;
}
