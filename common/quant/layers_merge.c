/* layers_merge.c - one LAYERS document of several: shards of the samples over one model */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/quant/layers.h"

/* Both known and different. */
static bool differ(const char *a, const char *b)
{
    return a && b && strcmp(a, b);
}

static bool same_alpha(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

static int check_same(const struct layers *a, const struct layers *b, struct err *e)
{
    const char *what = NULL;

    if (differ(a->model_digest, b->model_digest) || a->tied_lm_head != b->tied_lm_head ||
        differ(a->architecture, b->architecture))
        what = "the model";
    else if (differ(a->rounding, b->rounding))
        what = "the rounding";
    else if (differ(a->fused_ranges, b->fused_ranges))
        what = "the fused ranges";
    else if (differ(a->method, b->method))
        what = "the scoring method";
    else if (differ(a->activations, b->activations))
        what = "the activations that INT8 was scored with";
    else if (a->activations && !same_alpha(a->alpha, b->alpha))
        what = "the alpha that INT8 was scored with";
    else if (a->activations && !isnan(a->alpha) && a->smooth_input != b->smooth_input)
        what = "the layers that were smoothed";
    else if (a->n_modules != b->n_modules || a->n_groups != b->n_groups || a->foreign != b->foreign)
        what = "the list of modules";
    for (size_t i = 0; !what && i < a->n_modules; i++) {
        const struct layer_module *m = &a->module[i], *n = &b->module[i];

        if (strcmp(m->name, n->name) || m->rows != n->rows || m->cols != n->cols || m->group != n->group)
            what = m->name;
    }
    for (size_t i = 0; !what && i < a->n_groups; i++) {
        const struct layer_group *g = &a->group[i], *h = &b->group[i];

        if (g->scored != h->scored || g->n_choices != h->n_choices || g->weights != h->weights)
            what = g->name;
        else if (a->activations && a->alpha == -1 && !same_alpha(g->alpha, h->alpha))
            what = "the alpha that INT8 was scored with";
        for (size_t j = 0; !what && j < g->n_choices; j++)
            if (strcmp(g->choice[j].label, h->choice[j].label) || g->choice[j].cost != h->choice[j].cost)
                what = g->name;
    }
    if (what)
        return err_set(e, RC_DATA, "%s and %s cannot be merged: they differ in %s", a->label, b->label, what);
    return 0;
}

/* Remove from a what b does not have, too, and with the same value; objects are compared member by member. */
static void keep_common(json_t *a, const json_t *b)
{
    const char *key;
    json_t *v;
    void *next;

    json_object_foreach_safe(a, next, key, v)
    {
        const json_t *w = json_object_get(b, key);

        if (json_is_object(v) && json_is_object(w))
            keep_common(v, w);
        else if (!w || !json_equal(v, w))
            json_object_del(a, key);
    }
}

static void merge_group(struct layer_group *g, const struct layer_group *h)
{
    for (size_t j = 0; j < g->n_choices; j++) {
        struct layer_choice *c = &g->choice[j];

        c->score += h->choice[j].score;
        c->gradient += h->choice[j].gradient; /* NAN: absent in either, so absent in the sum */
        c->kl += h->choice[j].kl;
        c->predicted_kl += h->choice[j].predicted_kl;
    }
    g->importance = g->scored ? layers_best(g)->score : 0;
    if (!same_alpha(g->alpha, h->alpha))
        g->alpha = NAN;
    g->has_tokens = g->has_tokens && h->has_tokens;
    g->tokens += h->tokens;
}

static int copy_channels(float **to, const float *from, size_t n, struct err *e)
{
    float *copy = from ? mem_zalloc(n, sizeof *copy, e) : NULL;

    if (from && !copy)
        return -1;
    if (from)
        memcpy(copy, from, n * sizeof *copy);
    free(*to);
    *to = copy;
    return 0;
}

/* The larger range of each channel.  What a shard with data did not measure is not known of the whole. */
static int merge_channels(struct layer_module *m, const struct layer_module *n, struct err *e)
{
    if (!m->weight_channels && copy_channels(&m->weight_channels, n->weight_channels, n->cols, e))
        return -1;
    if (!n->tokens)
        return 0;
    if (!m->tokens || !n->input_channels)
        return copy_channels(&m->input_channels, n->input_channels, n->cols, e);
    for (size_t c = 0; m->input_channels && c < m->cols; c++)
        m->input_channels[c] = fmaxf(m->input_channels[c], n->input_channels[c]);
    return 0;
}

static int merge_module(struct layer_module *m, const struct layer_module *n, struct err *e)
{
    if (merge_channels(m, n, e))
        return -1;
    if ((m->tokens && m->kv_amax < 0) || (n->tokens && n->kv_amax < 0))
        m->kv_amax = -1;
    else
        m->kv_amax = fmaxf(m->kv_amax, n->kv_amax);
    m->weight_amax = fmaxf(m->weight_amax, n->weight_amax);
    m->input_amax = fmaxf(m->input_amax, n->input_amax);
    m->tokens += n->tokens;
    return 0;
}

int layers_merge(struct layers *l, const struct layers *shard, struct err *e)
{
    if (check_same(l, shard, e))
        return -1;
    for (size_t i = 0; i < l->n_modules; i++)
        if (merge_module(&l->module[i], &shard->module[i], e))
            return -1;
    for (size_t i = 0; i < l->n_groups; i++)
        merge_group(&l->group[i], &shard->group[i]);
    if (l->samples_digest && (!shard->samples_digest || strcmp(l->samples_digest, shard->samples_digest))) {
        free(l->samples_digest);
        l->samples_digest = NULL;
    }
    l->samples += shard->samples;
    l->tokens += shard->tokens;
    l->loss_tokens += shard->loss_tokens;
    layers_drop_ranking(l);
    l->hex[0] = '\0';
    if (l->doc)
        keep_common(l->doc, shard->doc);
    return 0;
}
