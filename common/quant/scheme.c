/* scheme.c - from scores to a scheme: selecting groups, and the ranges of their modules */
#include "common/quant/scheme.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/quant/knapsack.h"

enum { DROPPED = -1, UNRANKED = -2 };

/* A selection in the making. */
struct pick {
    const struct layers *l;
    const struct scheme_opts *o;
    struct rank rank;
    long *choice; /* per group: index of its choice, DROPPED or UNRANKED */
};

static const char *const format_text[] = {"none", "fp8", "int8"};

const char *scheme_format_text(enum scheme_format f)
{
    return format_text[f];
}

int scheme_format_parse(const char *text, enum scheme_format *f)
{
    for (size_t i = 0; i < sizeof format_text / sizeof *format_text; i++) {
        if (!strcmp(text, format_text[i])) {
            *f = (enum scheme_format)i;
            return 0;
        }
    }
    return -1;
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
                p->choice[g] = 0;
                any = true;
            }
        }
        if (!any)
            return nothing_selected(p, p->o->select[k], e);
    }
    return 0;
}

static bool counts(const struct layers *l, const struct layer_group *g)
{
    return g->scored || !layers_scored(l);
}

static uint64_t all_weights(const struct layers *l)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < l->n_groups; i++)
        sum += counts(l, &l->group[i]) ? l->group[i].weights : 0;
    return sum;
}

/* The ranked groups as a knapsack; what is not ranked stays in 16 bits and takes its part of the budget
 * first. */
static int pick_by_bits(struct pick *p, double *gap, struct err *e)
{
    const struct layers *l = p->l;
    struct knapsack_group *group = mem_zalloc(p->rank.n, sizeof *group, e);
    size_t *item = mem_zalloc(p->rank.n, sizeof *item, e), n_items = 0;
    struct knapsack_item *items = NULL;
    struct knapsack_solution solution;
    uint64_t all = all_weights(l), rest = all, least, budget = (uint64_t)((double)all * p->o->bits / 16);
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
        p->choice[p->rank.order[i]] = item[i] + 1 < group[i].n ? (long)item[i] : DROPPED;
    *gap = solution.gap;
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
        p->choice[p->rank.order[i]] = 0;
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
    if (p->choice[g] != UNRANKED)
        return err_set(e, RC_DATA, "%s names '%s' twice", p->o->from->label, name);
    *at = (size_t)g;
    return 0;
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
        p->choice[at] = selected ? 0 : DROPPED;
        p->rank.order[p->rank.n++] = at;
    }
    for (size_t i = 0; i < l->n_groups; i++) {
        if (p->choice[i] != UNRANKED)
            continue;
        p->rank.out[p->rank.n_out].group = i;
        p->rank.out[p->rank.n_out].reason = mem_strdup("not in the coverage file", e);
        if (!p->rank.out[p->rank.n_out++].reason)
            return -1;
    }
    return 0;
}

static int select_groups(struct pick *p, double *gap, struct err *e)
{
    struct rank_opts rank = p->o->rank;

    p->choice = mem_zalloc(p->l->n_groups, sizeof *p->choice, e);
    if (!p->choice)
        return -1;
    for (size_t i = 0; i < p->l->n_groups; i++)
        p->choice[i] = UNRANKED;
    if (p->o->by == BY_COVERAGE)
        return pick_same(p, e);
    rank.by_name = p->o->by == BY_SELECT;
    if (rank_make(&p->rank, p->l, &rank, e))
        return -1;
    for (size_t i = 0; i < p->rank.n; i++)
        p->choice[p->rank.order[i]] = DROPPED;
    switch (p->o->by) {
    case BY_SELECT: return pick_by_name(p, e);
    case BY_BITS: return pick_by_bits(p, gap, e);
    default: return pick_prefix(p, e);
    }
}

static int copy(char **to, const char *text, struct err *e)
{
    *to = text ? mem_strdup(text, e) : NULL;
    return text && !*to ? -1 : 0;
}

/* The three lists: selected and dropped in ranking order, the others with their reasons. */
static int put_lists(struct scheme *s, const struct pick *p, struct err *e)
{
    s->selected = mem_zalloc(p->rank.n, sizeof *s->selected, e);
    s->dropped = mem_zalloc(p->rank.n, sizeof *s->dropped, e);
    s->unranked = mem_zalloc(p->rank.n_out, sizeof *s->unranked, e);
    if (!s->selected || !s->dropped || !s->unranked)
        return -1;
    for (size_t i = 0; i < p->rank.n; i++) {
        size_t g = p->rank.order[i];
        char **to = p->choice[g] >= 0 ? &s->selected[s->n_selected++] : &s->dropped[s->n_dropped++];

        if (copy(to, p->l->group[g].key, e))
            return -1;
    }
    for (size_t i = 0; i < p->rank.n_out; i++) {
        struct scheme_unranked *u = &s->unranked[s->n_unranked++];

        if (copy(&u->name, p->l->group[p->rank.out[i].group].key, e) ||
            copy(&u->reason, p->rank.out[i].reason, e))
            return -1;
    }
    if (!s->n_selected)
        return err_set(e, RC_DATA, "%s: nothing is selected: %.10g bits per weight need no quantized layer",
                       p->l->label, p->o->bits);
    return 0;
}

static void put_sums(struct scheme *s, const struct pick *p)
{
    uint64_t cost = 0, quantized = 0;
    bool scored = layers_scored(p->l);

    s->weights = all_weights(p->l);
    s->score = scored ? 0 : NAN;
    s->predicted_kl = p->l->loss_tokens ? 0 : NAN;
    for (size_t i = 0; i < p->l->n_groups; i++) {
        const struct layer_group *g = &p->l->group[i];

        if (!counts(p->l, g))
            continue;
        if (p->choice[i] < 0) {
            cost += g->weights;
            continue;
        }
        cost += g->scored ? g->choice[p->choice[i]].cost : (g->weights + 1) / 2;
        quantized += g->weights;
    }
    for (size_t i = 0; i < p->rank.n; i++) { /* sums in ranking order, as a person would add them up */
        const struct layer_group *g = &p->l->group[p->rank.order[i]];
        long c = p->choice[p->rank.order[i]];

        if (c < 0)
            continue;
        s->score += g->scored ? g->choice[c].score : 0;
        s->predicted_kl += g->scored ? g->choice[c].predicted_kl / (double)p->l->loss_tokens : NAN;
    }
    s->effective_bits = s->weights ? (double)cost / (double)s->weights * 16 : 16;
    s->weight_bytes = (double)cost * 2;
    s->bytes_fraction = s->weights ? (double)quantized / (double)s->weights : 0;
}

/* The format that a choice's label names; 8-bit floats without scores are FP8, what calib-amax measures
 * ranges for. */
static int choice_format(const struct layers *l, const struct layer_group *g, long choice,
                         enum scheme_format *f, struct err *e)
{
    const char *label = g->scored ? g->choice[choice].label : "FP8(";

    if (strncmp(label, "FP8(", 4))
        return err_set(e, RC_DATA, "%s: '%s' would be stored as '%s', which this version cannot write",
                       l->label, g->key, label);
    *f = FORMAT_FP8;
    return 0;
}

static int put_module(struct scheme *s, const struct pick *p, size_t module, struct err *e)
{
    const struct layer_module *m = &p->l->module[module];
    bool shared = !strcmp(s->fused_ranges, "shared");
    struct scheme_module *q = &s->module[s->n_modules];
    float weight = layers_weight_amax(p->l, module, shared);

    if (choice_format(p->l, &p->l->group[m->group], p->choice[m->group], &q->format, e))
        return -1;
    if (weight < 0 || m->input_amax < 0)
        return err_set(e, RC_DATA, "%s has no %s range for '%s': %s", p->l->label,
                       weight < 0 ? "weight" : "input", m->name,
                       weight < 0 ? "run calib-amax" : "no data reached it");
    q->weight_amax = weight;
    q->input_amax = m->input_amax;
    if (copy(&q->name, m->name, e))
        return -1;
    s->n_modules++;
    return json_put(s->modules_by_name, m->name, json_integer((json_int_t)s->n_modules - 1), e);
}

static int put_modules(struct scheme *s, const struct pick *p, struct err *e)
{
    s->module = mem_zalloc(p->l->n_modules, sizeof *s->module, e);
    s->modules_by_name = json_object();
    if (!s->module || !s->modules_by_name)
        return err_set(e, RC_SYS, "out of memory: cannot build the scheme");
    s->ranged = !p->l->foreign;
    for (size_t i = 0; s->ranged && i < p->l->n_modules; i++)
        if (p->choice[p->l->module[i].group] >= 0 && put_module(s, p, i, e))
            return -1;
    return 0;
}

static int put_meta(struct scheme *s, const struct layers *l, const struct scheme_opts *o, struct err *e)
{
    static const char *const by[] = {"groups", "bytes", "bits", "select", "coverage"};
    const char *rounding = o->rounding ? o->rounding : l->rounding ? l->rounding : "exact";
    const char *fused = o->fused_ranges ? o->fused_ranges : l->fused_ranges ? l->fused_ranges : "shared";

    switch (o->by) {
    case BY_GROUPS: s->name = mem_printf(e, "top%u", o->percent); break;
    case BY_BYTES: s->name = mem_printf(e, "bytes%u", o->percent); break;
    case BY_BITS: s->name = mem_printf(e, "bits%.10g", o->bits); break;
    case BY_SELECT: s->name = mem_strdup("select", e); break;
    case BY_COVERAGE: s->name = mem_strdup(o->from->name, e); break;
    }
    s->tied_lm_head = l->tied_lm_head;
    s->top_percent = s->coverage_fraction = NAN;
    if (o->by == BY_COVERAGE) {
        s->top_percent = o->from->top_percent;
        s->coverage_fraction = o->from->coverage_fraction;
    } else if (o->by == BY_GROUPS || o->by == BY_BYTES) {
        s->top_percent = o->percent;
        s->coverage_fraction = o->percent / 100.0;
    }
    return !s->name || copy(&s->label, "the scheme", e) || copy(&s->baseline_dir, "", e) ||
                   copy(&s->baseline_manifest, "", e) || copy(&s->by, by[o->by], e) ||
                   copy(&s->scope, name_scope_text(o->rank.scope), e) || copy(&s->rounding, rounding, e) ||
                   copy(&s->fused_ranges, fused, e) || copy(&s->model_id, l->model_id, e) ||
                   copy(&s->model_digest, l->model_digest, e) || copy(&s->architecture, l->architecture, e)
               ? -1
               : 0;
}

int scheme_make(struct scheme *s, const struct layers *l, const struct scheme_opts *o, struct err *e)
{
    struct pick p = {.l = l, .o = o};
    int ret = -1;

    *s = (struct scheme){0};
    if (put_meta(s, l, o, e) || select_groups(&p, &s->gap, e) || put_lists(s, &p, e) || put_modules(s, &p, e))
        goto out;
    put_sums(s, &p);
    if (isnan(s->coverage_fraction))
        s->coverage_fraction = (double)s->n_selected / (double)(s->n_selected + s->n_dropped);
    ret = 0;
out:
    rank_release(&p.rank);
    free(p.choice);
    if (ret)
        scheme_release(s);
    return ret;
}

const struct scheme_module *scheme_find(const struct scheme *s, const char *canonical)
{
    const json_t *at = json_object_get(s->modules_by_name, canonical);

    return at ? &s->module[json_integer_value(at)] : NULL;
}

int scheme_check_names(const struct scheme *s, const char *const *names, size_t n, struct err *e)
{
    json_t *known = json_object();
    int ret = known ? 0 : err_set(e, RC_SYS, "out of memory: cannot compare layer names");

    for (size_t i = 0; !ret && i < n; i++)
        ret = json_put(known, names[i], json_true(), e);
    for (size_t i = 0; !ret && i < s->n_modules; i++)
        if (!json_object_get(known, s->module[i].name))
            ret = err_set(e, RC_DATA, "%s quantizes '%s', which the model does not have", s->label,
                          s->module[i].name);
    json_decref(known);
    return ret;
}

static void free_list(char **list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(list[i]);
    free(list);
}

void scheme_release(struct scheme *s)
{
    char *text[] = {s->label,    s->baseline_dir, s->baseline_manifest, s->name,
                    s->by,       s->scope,        s->rounding,          s->fused_ranges,
                    s->model_id, s->model_digest, s->architecture};

    for (size_t i = 0; i < s->n_modules; i++) {
        free(s->module[i].name);
        free(s->module[i].pre_scale);
        free(s->module[i].own_scale);
    }
    for (size_t i = 0; i < s->n_kv; i++)
        free(s->kv[i].layer);
    free(s->kv);
    for (size_t i = 0; i < s->n_unranked; i++) {
        free(s->unranked[i].name);
        free(s->unranked[i].reason);
    }
    free(s->module);
    free(s->unranked);
    free_list(s->selected, s->n_selected);
    free_list(s->dropped, s->n_dropped);
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        free(text[i]);
    json_decref(s->modules_by_name);
    *s = (struct scheme){0};
}
