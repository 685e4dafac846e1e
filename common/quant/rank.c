/* rank.c - the order in which groups are quantized, and what a coverage takes of it */
#include "common/quant/rank.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

static int check_patterns(const struct layers *l, const struct rank_opts *o, struct err *e)
{
    for (size_t k = 0; k < o->n_exclude; k++) {
        bool any = false;

        for (size_t i = 0; !any && i < l->n_groups; i++)
            any = layers_group_matches(l, i, o->exclude[k]);
        if (!any)
            return err_set(e, RC_USAGE, "the pattern '%s' matches no layer of %s; names look like '%s'",
                           o->exclude[k], l->label, l->module[l->n_modules - 1].name);
    }
    return 0;
}

static bool reached(const struct layer_group *g)
{
    return g->has_tokens ? g->tokens > 0 : g->importance > 0;
}

/* Why the group is not ranked; out->reason NULL: it is. */
static int why_not(const struct layers *l, size_t group, const struct rank_opts *o, bool keep_order,
                   struct rank_out *out, struct err *e)
{
    const struct layer_group *g = &l->group[group];
    char **reason = &out->reason;
    const char *why = NULL;

    *out = (struct rank_out){.group = group};
    for (size_t k = 0; k < o->n_exclude; k++) {
        if (layers_group_matches(l, group, o->exclude[k])) {
            *reason = mem_printf(e, "excluded by '%s'", o->exclude[k]);
            return *reason ? 0 : -1;
        }
    }
    if (o->scope != SCOPE_ALL && g->scope != o->scope) {
        *reason = mem_printf(e, "outside the scope '%s'", name_scope_text(o->scope));
        return *reason ? 0 : -1;
    }
    if (!g->scored && !o->by_name)
        why = "not scored";
    else if (l->tied_lm_head && !strcmp(g->name, "lm_head"))
        why = "tied to the embedding";
    else if (!o->unscored && g->n_choices == 1)
        why = "nothing to choose but 16 bits";
    else if (!o->unscored && (out->unreached = !reached(g)))
        why = "no data reached it";
    else if (!o->unservable && !name_servable(g->name))
        why = "no engine loads it quantized";
    else if (keep_order && !g->rank)
        why = "not in the ranking";
    if (why)
        *reason = mem_strdup(why, e);
    return why && !*reason ? -1 : 0;
}

struct key {
    double value;
    size_t group;
};

static int by_value(const void *pa, const void *pb)
{
    const struct key *a = pa, *b = pb;

    if (a->value != b->value)
        return a->value < b->value ? -1 : 1;
    return a->group < b->group ? -1 : a->group > b->group;
}

/* Sort groups by value, ascending; ties in model order. */
static int sort(struct rank *r, const struct layers *l, double (*value)(const struct layer_group *),
                struct err *e)
{
    struct key *key = mem_zalloc(r->n, sizeof *key, e);

    if (!key)
        return -1;
    for (size_t i = 0; i < r->n; i++)
        key[i] = (struct key){value(&l->group[r->order[i]]), r->order[i]};
    qsort(key, r->n, sizeof *key, by_value);
    for (size_t i = 0; i < r->n; i++)
        r->order[i] = key[i].group;
    free(key);
    return 0;
}

static double importance(const struct layer_group *g)
{
    return g->importance;
}

static double position(const struct layer_group *g)
{
    return (double)g->rank;
}

static double per_weight(const struct layer_group *g)
{
    return g->weights ? g->importance / (double)g->weights : 0;
}

int rank_make(struct rank *r, const struct layers *l, const struct rank_opts *o, struct err *e)
{
    bool keep_order = l->ranking && !o->unscored;

    *r = (struct rank){0};
    if (!layers_scored(l) && !o->by_name)
        return err_set(e, RC_DATA, "%s has no scores: run layer-score on it first", l->label);
    r->order = mem_zalloc(l->n_groups, sizeof *r->order, e);
    r->out = mem_zalloc(l->n_groups, sizeof *r->out, e);
    if (!r->order || !r->out || check_patterns(l, o, e))
        goto fail;
    for (size_t i = 0; i < l->n_groups; i++) {
        struct rank_out out;

        if (why_not(l, i, o, keep_order, &out, e))
            goto fail;
        if (out.reason)
            r->out[r->n_out++] = out;
        else
            r->order[r->n++] = i;
    }
    if (!r->n) {
        err_set(e, RC_DATA, "%s has no layer that can be ranked; '%s': %s", l->label,
                l->group[r->out[0].group].key, r->out[0].reason);
        goto fail;
    }
    if (sort(r, l, keep_order ? position : importance, e))
        goto fail;
    return 0;
fail:
    rank_release(r);
    return -1;
}

int rank_by_bytes(struct rank *r, const struct layers *l, struct err *e)
{
    return sort(r, l, per_weight, e);
}

size_t rank_count(size_t n, unsigned percent)
{
    size_t k = (percent * n + 99) / 100;

    return n && !k ? 1 : k;
}

size_t rank_count_bytes(const struct rank *r, const struct layers *l, unsigned percent)
{
    uint64_t all = 0, sum = 0;
    size_t k = 0;

    for (size_t i = 0; i < r->n; i++)
        all += l->group[r->order[i]].weights;
    while (k < r->n && (k == 0 || sum * 100 < all * percent))
        sum += l->group[r->order[k++]].weights;
    return k;
}

int rank_store(const struct rank *r, struct layers *l, struct err *e)
{
    size_t *order = mem_zalloc(r->n, sizeof *order, e);

    if (!order)
        return -1;
    free(l->ranking);
    l->ranking = order;
    l->n_ranked = r->n;
    for (size_t i = 0; i < l->n_groups; i++)
        l->group[i].rank = 0;
    for (size_t i = 0; i < r->n; i++) {
        order[i] = r->order[i];
        l->group[order[i]].rank = i + 1;
    }
    return 0;
}

int rank_put_unranked(const struct rank *r, const struct layers *l, json_t *doc, struct err *e)
{
    json_t *list = json_array();

    if (json_put(doc, "unranked", list, e))
        return -1;
    for (size_t i = 0; i < r->n_out; i++)
        if (json_push(
                list,
                json_pack("{s:s, s:s}", "name", l->group[r->out[i].group].key, "reason", r->out[i].reason),
                e))
            return -1;
    return 0;
}

void rank_release(struct rank *r)
{
    for (size_t i = 0; i < r->n_out; i++)
        free(r->out[i].reason);
    free(r->out);
    free(r->order);
    *r = (struct rank){0};
}
