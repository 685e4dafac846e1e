/* scheme_forms.c - formats and ranges of a scheme's modules, and of the KV cache */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/quant/scheme_make.h"
#include "common/quant/smooth.h"

/* Whether an INT8 group is smoothed. */
static bool smoothed(const struct pick *p, size_t group)
{
    return smooth_applies(p->l, group, p->alpha, p->smooth_input);
}

bool scheme_as_scored(const struct pick *p, size_t group)
{
    const struct layers *l = p->l;
    double alpha = smoothed(p, group) ? p->alpha : NAN,
           scored = smooth_applies(l, group, l->alpha, l->smooth_input) ? l->alpha : NAN;

    if (p->group[group].format != FORMAT_INT8 || l->foreign)
        return true;
    return !strcmp(p->activations, l->activations ? l->activations : "static") &&
           (alpha == scored || (isnan(alpha) && isnan(scored)));
}

static float *copy_scales(const float *scale, size_t n, struct err *e)
{
    float *copy = mem_zalloc(n, sizeof *copy, e);

    if (copy)
        memcpy(copy, scale, n * sizeof *copy);
    return copy;
}

static int put_smooth(struct scheme_module *q, const struct scheme *s, const struct pick *p, size_t module,
                      struct err *e)
{
    enum rounding r = ROUND_EXACT;
    size_t group = p->l->module[module].group, at = 0;
    const struct layer_group *g = &p->l->group[group];
    double alpha = p->alpha == -1 ? g->alpha : p->alpha;
    struct smooth_group scales = {0};
    int ret = -1;

    if (isnan(alpha))
        return err_set(
            e, RC_DATA,
            "%s has no alpha that was searched for '%s': run calib-amax --per-channel --alpha auto",
            p->l->label, g->key);
    if (rounding_parse(s->rounding, &r, e) || smooth_make(&scales, p->l, group, alpha, r, e))
        goto out;
    while (g->member[at] != module)
        at++;
    q->channels = scales.channels;
    q->input_amax = scales.input_amax;
    q->folded = !p->smooth_input;
    q->pre_scale = copy_scales(scales.pre, scales.channels, e);
    if (!q->pre_scale)
        goto out;
    if (r != ROUND_EXACT && !(q->own_scale = copy_scales(scales.own[at], scales.channels, e)))
        goto out;
    ret = 0;
out:
    smooth_release(&scales);
    return ret;
}

static int no_range(const struct pick *p, const struct layer_module *m, bool weight, struct err *e)
{
    return err_set(e, RC_DATA, "%s has no %s range for '%s': %s", p->l->label, weight ? "weight" : "input",
                   m->name, weight || m->tokens ? "run calib-amax" : "no data reached it");
}

static int put_fp8(struct scheme_module *q, const struct scheme *s, const struct pick *p, size_t module,
                   struct err *e)
{
    const struct layer_module *m = &p->l->module[module];

    q->weight_amax = layers_weight_amax(p->l, module, !strcmp(s->fused_ranges, "shared"));
    q->input_amax = m->input_amax;
    return q->weight_amax < 0 || q->input_amax < 0 ? no_range(p, m, q->weight_amax < 0, e) : 0;
}

/* Members of a group see one input: they share its range, the largest that was seen. */
static int put_int8(struct scheme_module *q, const struct scheme *s, const struct pick *p, size_t module,
                    struct err *e)
{
    const struct layer_module *m = &p->l->module[module];
    const struct layer_group *g = &p->l->group[m->group];
    int ret = 0;

    q->dynamic = !strcmp(p->activations, "dynamic");
    if (smoothed(p, m->group))
        ret = put_smooth(q, s, p, module, e);
    else if (!q->dynamic)
        for (size_t i = 0; i < g->n_members && !ret; i++) {
            const struct layer_module *n = &p->l->module[g->member[i]];

            ret = n->input_amax < 0 ? no_range(p, n, false, e) : 0;
            q->input_amax = fmaxf(q->input_amax, n->input_amax);
        }
    if (q->dynamic)
        q->input_amax = 0;
    return ret;
}

static int put_module(struct scheme *s, const struct pick *p, size_t module, struct err *e)
{
    const struct layer_module *m = &p->l->module[module];
    const struct decision *d = &p->group[m->group];
    struct scheme_module *q = &s->module[s->n_modules++]; /* from here on scheme_release() frees it */

    q->format = d->format;
    if (d->format == FORMAT_NONE)
        return err_set(e, RC_DATA, "%s: '%s' would be stored as '%s', which this version cannot write",
                       p->l->label, p->l->group[m->group].key, d->choice->label);
    if ((d->format == FORMAT_INT8 ? put_int8 : put_fp8)(q, s, p, module, e) ||
        !(q->name = mem_strdup(m->name, e)))
        return -1;
    return json_put(s->modules_by_name, m->name, json_integer((json_int_t)s->n_modules - 1), e);
}

/* The ranges of one attention layer: of its k_proj and v_proj. */
static int put_kv_layer(struct scheme *s, const struct layers *l, size_t k_proj, struct err *e)
{
    const char *name = l->module[k_proj].name, *part = strstr(name, ".self_attn.");
    struct scheme_kv *kv = &s->kv[s->n_kv++];
    char v_name[NAME_BYTES];
    long v_proj;

    snprintf(v_name, sizeof v_name, "%.*sv_proj", (int)(strlen(name) - strlen("k_proj")), name);
    v_proj = layers_find_module(l, v_name);
    if (v_proj < 0 || !part)
        return err_set(e, RC_DATA, "%s has '%s', but no '%s'", l->label, name, v_name);
    kv->k_amax = l->module[k_proj].kv_amax;
    kv->v_amax = l->module[v_proj].kv_amax;
    if (kv->k_amax < 0 || kv->v_amax < 0)
        return err_set(e, RC_DATA, "%s has no range of the KV cache for '%s': run calib-amax --kv", l->label,
                       kv->k_amax < 0 ? name : v_name);
    kv->layer = mem_printf(e, "%.*s", (int)(part - name), name);
    return kv->layer ? 0 : -1;
}

static int put_kv(struct scheme *s, const struct layers *l, struct err *e)
{
    if (l->foreign)
        return err_set(
            e, RC_DATA,
            "%s is a manifest, which has no range of the KV cache: run calib-amax --kv on the model",
            l->label);
    s->kv = mem_zalloc(l->n_modules, sizeof *s->kv, e);
    if (!s->kv)
        return -1;
    for (size_t i = 0; i < l->n_modules; i++)
        if (name_cached(l->module[i].name) && strstr(l->module[i].name, ".k_proj") &&
            put_kv_layer(s, l, i, e))
            return -1;
    if (!s->n_kv)
        return err_set(e, RC_DATA, "%s has no attention layer that could have a KV cache", l->label);
    return 0;
}

/* A selection taken from a scheme that smooths needs to be told how: the alpha cannot be read off its scales.
 */
static int check_from(const struct pick *p, struct err *e)
{
    for (size_t i = 0; p->o->by == BY_COVERAGE && !p->o->alpha && i < p->o->from->n_modules; i++)
        if (p->o->from->module[i].pre_scale)
            return err_set(e, RC_USAGE, "%s smooths '%s': say with which alpha, or none (--smooth-quant)",
                           p->o->from->label, p->o->from->module[i].name);
    return 0;
}

int scheme_put_forms(struct scheme *s, const struct pick *p, struct err *e)
{
    const struct layers *l = p->l;

    s->module = mem_zalloc(l->n_modules, sizeof *s->module, e);
    s->modules_by_name = json_object();
    if (!s->module || !s->modules_by_name)
        return err_set(e, RC_SYS, "out of memory: cannot build the scheme");
    if (check_from(p, e))
        return -1;
    s->ranged = !l->foreign;
    for (size_t i = 0; s->ranged && i < l->n_modules; i++)
        if (p->group[l->module[i].group].state == SELECTED && put_module(s, p, i, e))
            return -1;
    return p->o->kv ? put_kv(s, l, e) : 0;
}
