/* scheme_pick.c - from scores to a selection: which groups, and each in which format */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/quant/knapsack.h"
#include "common/quant/scheme_make.h"

static void take_choice(struct pick *p, size_t group, const struct layer_choice *c)
{
    p->group[group] = (struct decision){
        .state = SELECTED,
        .format = layers_choice_is(c, "FP8")    ? FORMAT_FP8
                  : layers_choice_is(c, "INT8") ? FORMAT_INT8
                                                : FORMAT_NONE,
        .choice = c,
    };
}

/* FORMAT_NONE: the best that was scored, else FP8. */
static void take(struct pick *p, size_t group, enum scheme_format f)
{
    const struct layer_group *g = &p->l->group[group];

    if (f == FORMAT_NONE && g->scored) {
        take_choice(p, group, layers_best(g));
        return;
    }
    if (f == FORMAT_NONE)
        f = FORMAT_FP8;
    for (size_t i = 0; i < g->n_choices; i++) {
        if (layers_choice_is(&g->choice[i], f == FORMAT_FP8 ? "FP8" : "INT8")) {
            take_choice(p, group, &g->choice[i]);
            return;
        }
    }
    p->group[group] = (struct decision){SELECTED, f, NULL};
}

/* The pattern took no ranked group: say whether it matches nothing at all, or what speaks against what it
 * matches. */
static int nothing_selected(const struct pick *p, const char *pattern, struct err *e)
{
    const struct layers *l = p->l;

    for (size_t i = 0; i < p->rank.n_out; i++) {
        const struct layer_group *g = &l->group[p->rank.out[i].group];

        if (layers_group_matches(l, p->rank.out[i].group, pattern))
            return err_set(e, RC_DATA, "the pattern '%s' matches nothing that can be quantized; '%s': %s",
                           pattern, g->name, p->rank.out[i].reason);
    }
    return err_set(e, RC_USAGE, "the pattern '%s' matches no layer of %s; names look like '%s'", pattern,
                   l->label, l->module[l->n_modules - 1].name);
}

static int pick_by_name(struct pick *p, struct err *e)
{
    for (size_t k = 0; k < p->o->n_select; k++) {
        bool any = false;

        for (size_t i = 0; i < p->rank.n; i++) {
            size_t g = p->rank.order[i];

            if (layers_group_matches(p->l, g, p->o->select[k])) {
                take(p, g, p->o->format);
                any = true;
            }
        }
        if (!any)
            return nothing_selected(p, p->o->select[k], e);
    }
    return 0;
}

/* The ranked groups as a knapsack; what is not ranked stays in 16 bits and takes its part of the budget
 * first. */
static int pick_by_bits(struct pick *p, struct err *e)
{
    const struct layers *l = p->l;
    struct knapsack_group *group = mem_zalloc(p->rank.n, sizeof *group, e);
    size_t *item = mem_zalloc(p->rank.n, sizeof *item, e), n_items = 0;
    struct knapsack_item *items = NULL;
    struct knapsack_solution solution;
    uint64_t all = scheme_weights(l), rest = all, least, budget = (uint64_t)((double)all * p->o->bits / 16);
    int ret = -1;

    for (size_t i = 0; i < p->rank.n; i++)
        n_items += l->group[p->rank.order[i]].n_choices;
    items = mem_zalloc(n_items, sizeof *items, e);
    if (!group || !item || !items)
        goto out;
    n_items = 0;
    for (size_t i = 0; i < p->rank.n; i++) {
        const struct layer_group *g = &l->group[p->rank.order[i]];

        group[i] = (struct knapsack_group){items + n_items, g->n_choices};
        for (size_t j = 0; j < g->n_choices; j++)
            items[n_items++] = (struct knapsack_item){g->choice[j].score, g->choice[j].cost};
        rest -= g->weights;
    }
    least = rest + knapsack_least(group, p->rank.n);
    if (budget < least) {
        err_set(
            e, RC_DATA,
            "%s: %.10g bits per weight cannot be met: with all %zu groups quantized that can be it is %.4f",
            l->label, p->o->bits, p->rank.n, ceil((double)least / (double)all * 16 * 1e4) / 1e4);
        goto out;
    }
    if (knapsack_solve(group, p->rank.n, budget - rest, item, &solution, e))
        goto out;
    for (size_t i = 0; i < p->rank.n; i++)
        if (item[i] + 1 < group[i].n)
            take_choice(p, p->rank.order[i], &l->group[p->rank.order[i]].choice[item[i]]);
    p->gap = solution.gap;
    ret = 0;
out:
    free(items);
    free(item);
    free(group);
    return ret;
}

static int pick_prefix(struct pick *p, struct err *e)
{
    size_t k = rank_count(p->rank.n, p->o->percent);

    if (p->o->by == BY_BYTES) {
        if (rank_by_bytes(&p->rank, p->l, e))
            return -1;
        k = rank_count_bytes(&p->rank, p->l, p->o->percent);
    }
    for (size_t i = 0; i < k; i++)
        take(p, p->rank.order[i], FORMAT_NONE);
    return 0;
}

static int pick_preset(struct pick *p, struct err *e)
{
    size_t taken = 0;

    for (size_t i = 0; i < p->rank.n_out; i++) {
        const struct rank_out *out = &p->rank.out[i];

        if (out->unreached && p->o->preset_format[out->group] != FORMAT_NONE)
            return err_set(e, RC_DATA,
                           "the preset '%s' quantizes '%s', but %s has no range of it: run calib-amax on "
                           "samples that reach "
                           "it, or leave it out (--exclude)",
                           p->o->preset, p->l->group[out->group].name, p->l->label);
    }
    for (size_t i = 0; i < p->rank.n; i++) {
        size_t g = p->rank.order[i];

        if (p->o->preset_format[g] == FORMAT_NONE)
            continue;
        take(p, g, p->o->preset_format[g]);
        taken++;
    }
    if (!taken)
        return err_set(e, RC_DATA, "the preset '%s' selects nothing of %s that can be quantized",
                       p->o->preset, p->l->label);
    return 0;
}

/* The group of a coverage file's name. */
static int named_group(const struct pick *p, const char *name, size_t *at, struct err *e)
{
    char canonical[NAME_BYTES];
    long g;

    if (name_canonical(name, canonical, e))
        return -1;
    g = layers_find_group(p->l, canonical);
    if (g < 0)
        return err_set(e, RC_DATA, "%s names '%s', which %s does not have", p->o->from->label, name,
                       p->l->label);
    if (p->group[g].state != UNRANKED)
        return err_set(e, RC_DATA, "%s names '%s' twice", p->o->from->label, name);
    *at = (size_t)g;
    return 0;
}

/* The format that a scheme with ranges has for a group, else `other`. */
static enum scheme_format format_of(const struct scheme *s, const char *group, enum scheme_format other)
{
    char name[NAME_BYTES];
    struct err e = {0};

    for (size_t i = 0; i < s->n_modules; i++)
        if (!name_group(s->module[i].name, name, &e) && !strcmp(name, group))
            return s->module[i].format;
    return other;
}

/* The same selection as another scheme: its order is the ranking, what it does not name is not ranked. */
static int pick_same(struct pick *p, struct err *e)
{
    const struct scheme *from = p->o->from;
    const struct layers *l = p->l;
    size_t n = from->n_selected + from->n_dropped, at = 0;

    p->rank.order = mem_zalloc(n, sizeof *p->rank.order, e);
    p->rank.out = mem_zalloc(l->n_groups, sizeof *p->rank.out, e);
    if (!p->rank.order || !p->rank.out)
        return -1;
    for (size_t i = 0; i < n; i++) {
        bool selected = i < from->n_selected;
        const char *name = selected ? from->selected[i] : from->dropped[i - from->n_selected];

        if (named_group(p, name, &at, e))
            return -1;
        if (selected && !p->o->rank.unservable && !name_servable(l->group[at].name))
            return err_set(e, RC_DATA,
                           "%s selects '%s', which no engine loads quantized (--include-unservable)",
                           from->label, name);
        if (selected && l->tied_lm_head && !strcmp(l->group[at].name, "lm_head"))
            return err_set(e, RC_DATA, "%s selects '%s', which is tied to the embedding", from->label, name);
        if (selected)
            take(p, at, format_of(from, l->group[at].name, p->o->format));
        else
            p->group[at].state = DROPPED;
        p->rank.order[p->rank.n++] = at;
    }
    for (size_t i = 0; i < l->n_groups; i++) {
        if (p->group[i].state != UNRANKED)
            continue;
        p->rank.out[p->rank.n_out].group = i;
        p->rank.out[p->rank.n_out].reason = mem_strdup("not in the coverage file", e);
        if (!p->rank.out[p->rank.n_out++].reason)
            return -1;
    }
    return 0;
}

int scheme_pick(struct pick *p, struct err *e)
{
    struct rank_opts rank = p->o->rank;

    p->group = mem_zalloc(p->l->n_groups, sizeof *p->group, e);
    if (!p->group)
        return -1;
    if (p->o->by == BY_COVERAGE)
        return pick_same(p, e);
    rank.by_name = p->o->by == BY_SELECT || p->o->by == BY_PRESET;
    if (rank_make(&p->rank, p->l, &rank, e))
        return -1;
    for (size_t i = 0; i < p->rank.n; i++)
        p->group[p->rank.order[i]].state = DROPPED;
    switch (p->o->by) {
    case BY_SELECT: return pick_by_name(p, e);
    case BY_PRESET: return pick_preset(p, e);
    case BY_BITS: return pick_by_bits(p, e);
    default: return pick_prefix(p, e);
    }
}
