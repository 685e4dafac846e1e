/* scheme.c - schemes: from a selection to the document, and looking modules up */
#include "common/quant/scheme_make.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

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

static bool counts(const struct layers *l, const struct layer_group *g)
{
    return g->scored || !layers_scored(l);
}

uint64_t scheme_weights(const struct layers *l)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < l->n_groups; i++)
        sum += counts(l, &l->group[i]) ? l->group[i].weights : 0;
    return sum;
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
        char **to =
            p->group[g].state == SELECTED ? &s->selected[s->n_selected++] : &s->dropped[s->n_dropped++];

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

    s->weights = scheme_weights(p->l);
    s->score = scored ? 0 : NAN;
    s->predicted_kl = p->l->loss_tokens ? 0 : NAN;
    for (size_t i = 0; i < p->l->n_groups; i++) {
        const struct layer_group *g = &p->l->group[i];
        const struct decision *d = &p->group[i];

        if (!counts(p->l, g))
            continue;
        if (d->state != SELECTED) {
            cost += g->weights;
            continue;
        }
        cost += d->choice ? d->choice->cost : (g->weights + 1) / 2;
        quantized += g->weights;
    }
    for (size_t i = 0; i < p->rank.n; i++) { /* sums in ranking order, as a person would add them up */
        const struct decision *d = &p->group[p->rank.order[i]];
        bool known = d->choice && scheme_as_scored(p, p->rank.order[i]);

        if (d->state != SELECTED)
            continue;
        s->score += known ? d->choice->score : NAN;
        s->predicted_kl += known ? d->choice->predicted_kl / (double)p->l->loss_tokens : NAN;
    }
    s->effective_bits = s->weights ? (double)cost / (double)s->weights * 16 : 16;
    s->weight_bytes = (double)cost * 2;
    s->bytes_fraction = s->weights ? (double)quantized / (double)s->weights : 0;
}

static int put_meta(struct scheme *s, const struct layers *l, const struct scheme_opts *o, struct err *e)
{
    static const char *const by[] = {"groups", "bytes", "bits", "select", "coverage", "preset"};
    const char *rounding = o->rounding ? o->rounding : l->rounding ? l->rounding : "exact";
    const char *fused = o->fused_ranges ? o->fused_ranges : l->fused_ranges ? l->fused_ranges : "shared";

    switch (o->by) {
    case BY_GROUPS: s->name = mem_printf(e, "top%u", o->percent); break;
    case BY_BYTES: s->name = mem_printf(e, "bytes%u", o->percent); break;
    case BY_BITS: s->name = mem_printf(e, "bits%.10g", o->bits); break;
    case BY_SELECT: s->name = mem_strdup("select", e); break;
    case BY_COVERAGE: s->name = mem_strdup(o->from->name, e); break;
    case BY_PRESET: s->name = mem_strdup(o->preset, e); break;
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

/* What is asked for, else what the selection that is taken over has, else what was scored. */
static const char *activations(const struct layers *l, const struct scheme_opts *o)
{
    if (o->activations)
        return o->activations;
    for (size_t i = 0; o->by == BY_COVERAGE && i < o->from->n_modules; i++)
        if (o->from->module[i].format == FORMAT_INT8)
            return o->from->module[i].dynamic ? "dynamic" : "static";
    return l->activations ? l->activations : "static";
}

int scheme_make(struct scheme *s, const struct layers *l, const struct scheme_opts *o, struct err *e)
{
    struct pick p = {
        .l = l,
        .o = o,
        .activations = activations(l, o),
        .alpha = o->alpha ? *o->alpha : l->alpha,
        .smooth_input = o->smooth_at ? !strcmp(o->smooth_at, "input") : l->smooth_input,
    };
    int ret = -1;

    *s = (struct scheme){0};
    if (put_meta(s, l, o, e) || scheme_pick(&p, e) || put_lists(s, &p, e) || scheme_put_forms(s, &p, e))
        goto out;
    s->gap = p.gap;
    put_sums(s, &p);
    if (isnan(s->coverage_fraction))
        s->coverage_fraction = (double)s->n_selected / (double)(s->n_selected + s->n_dropped);
    ret = 0;
out:
    rank_release(&p.rank);
    free(p.group);
    if (ret)
        scheme_release(s);
    return ret;
}

const struct scheme_module *scheme_find(const struct scheme *s, const char *canonical)
{
    const json_t *at = json_object_get(s->modules_by_name, canonical);

    return at ? &s->module[json_integer_value(at)] : NULL;
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
