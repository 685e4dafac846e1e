/* export_select.c - what a scheme asks of a model's modules, and every reason why it cannot be done */
#include <string.h>

#include "common/quant/export_plan.h"

/* The weight of a selected module, with every reason why it cannot be quantized. */
static struct export_item *find_weight(const struct export_plan *p, const struct scheme_module *m,
                                       struct err *e)
{
    char hub[NAME_BYTES], tensor[NAME_BYTES + 8];
    const char *dir = p->model->dir;
    struct export_item *it;

    if (!name_servable(m->name)) {
        err_set(e, RC_DATA, "the scheme selects '%s', a Conv3d that no engine loads quantized: leave it out",
                m->name);
        return NULL;
    }
    if (!strcmp(m->name, "lm_head") && export_is_tied(p->model->config)) {
        err_set(e, RC_DATA, "the scheme selects 'lm_head', but '%s' ties it to the embedding: leave it out",
                dir);
        return NULL;
    }
    if (name_hub(m->name, hub, e))
        return NULL;
    snprintf(tensor, sizeof tensor, "%s.weight", hub);
    it = export_find_item(p, tensor);
    if (!it) {
        snprintf(tensor, sizeof tensor, "%s.bias", hub);
        if (export_find_item(p, tensor))
            err_set(e, RC_DATA, "'%s': module '%s' has a bias, but its weight is missing", dir, m->name);
        else
            err_set(e, RC_DATA,
                    "the scheme selects '%s', which '%s' does not have: it was made for another model",
                    m->name, dir);
        return NULL;
    }
    if (it->src->ndim != 2 || export_is_embedding(m->name)) {
        err_set(e, RC_DATA,
                "the scheme selects '%s', which is not a linear layer: its weight is not [out, in]", m->name);
        return NULL;
    }
    if (it->src->shape[1] > EXPORT_CHUNK) {
        err_set(e, RC_DATA, "'%s': the weight of '%s' has rows of %zu; more than %d are not quantized", dir,
                m->name, it->src->shape[1], EXPORT_CHUNK);
        return NULL;
    }
    if (it->src->dtype == DT_BF16 || it->src->dtype == DT_F32 ||
        (it->src->dtype == DT_F16 && p->opts.rounding == ROUND_EXACT))
        return it;
    err_set(e, RC_DATA, "'%s': the weight of '%s' is %s, rounding %s takes %s", dir, m->name,
            st_dtype_name(it->src->dtype), rounding_text(p->opts.rounding),
            p->opts.rounding == ROUND_EXACT ? "BF16, F16 or F32" : "BF16 or F32");
    return NULL;
}

static bool same_smoothing(const struct scheme_module *a, const struct scheme_module *b)
{
    if (!a->pre_scale || !b->pre_scale)
        return !a->pre_scale && !b->pre_scale;
    return a->folded == b->folded && a->channels == b->channels &&
           !memcmp(a->pre_scale, b->pre_scale, a->channels * sizeof *a->pre_scale);
}

/*
 * Engines merge the members of a group into one matrix: all of them have one format, or none has any.  What
 * they read has one smoothing, too.
 */
static int check_group(const struct export_plan *p, const struct scheme_module *m, struct err *e)
{
    const char *member[NAME_MEMBERS_MAX];
    const size_t n = name_members(m->name, member);
    char sibling[2 * NAME_BYTES];

    for (size_t i = 0; i < n; i++) {
        const struct scheme_module *s;

        snprintf(sibling, sizeof sibling, "%.*s%s", (int)(export_last(m->name) - m->name), m->name,
                 member[i]);
        s = scheme_find(p->scheme, sibling);
        if (!s || s->format == FORMAT_NONE)
            return err_set(e, RC_DATA,
                           "the scheme selects '%s' but not '%s': engines merge the two and need both",
                           m->name, sibling);
        if (s->format != m->format || s->dynamic != m->dynamic)
            return err_set(e, RC_DATA,
                           "the scheme wants '%s' in %s%s and '%s' in %s%s: engines merge the two and need one "
                           "format",
                           m->name, scheme_format_text(m->format), m->dynamic ? ", dynamic" : "", sibling,
                           scheme_format_text(s->format), s->dynamic ? ", dynamic" : "");
        if (!same_smoothing(s, m))
            return err_set(e, RC_DATA,
                           "the scheme smooths '%s' and '%s' differently, but they read the same input: make it again "
                           "with apply-coverage",
                           m->name, sibling);
    }
    return 0;
}

/* What the layout has no words for. */
static int check_layout(const struct export_plan *p, const struct scheme_module *m, struct err *e)
{
    const struct layout *l = p->opts.layout;

    if (m->dynamic && !l->dynamic)
        return err_set(e, RC_DATA,
                       "the scheme wants '%s' with inputs scaled at run time, which the layout %s does not have: use "
                       "--format compressed-tensors, or apply-coverage --activations static",
                       m->name, l->name);
    if (m->pre_scale && !m->folded && !l->pre_scales)
        return err_set(e, RC_DATA,
                       "the scheme smooths the input of '%s' by a pre_quant_scale, for which the layout %s has no "
                       "place: fold it into the norm before with apply-coverage --smooth-at norm",
                       m->name, l->name);
    for (size_t i = 0; i < p->scheme->n_modules && !l->mixed; i++) {
        const struct scheme_module *other = &p->scheme->module[i];

        if (other->format != FORMAT_NONE && other->format != m->format)
            return err_set(e, RC_DATA,
                           "the scheme wants '%s' in %s and '%s' in %s, but the layout %s has one format: use --format "
                           "compressed-tensors",
                           m->name, scheme_format_text(m->format), other->name,
                           scheme_format_text(other->format), l->name);
    }
    return 0;
}

/* The norm that a folded module reads carries the smoothing. */
static int fold(struct export_plan *p, const struct scheme_module *m, const struct st_tensor *weight,
                struct err *e)
{
    char norm[NAME_BYTES], hub[NAME_BYTES], tensor[NAME_BYTES + 8];
    struct export_item *it;

    if (m->channels != weight->shape[1])
        return err_set(e, RC_DATA,
                       "the scheme has %zu smoothing scales for '%s', which has %zu inputs: it was made for another "
                       "model",
                       m->channels, m->name, weight->shape[1]);
    if (!m->folded)
        return 0;
    if (name_norm(m->name, norm, e) || name_hub(*norm ? norm : m->name, hub, e))
        return -1;
    snprintf(tensor, sizeof tensor, "%s.weight", hub);
    it = *norm ? export_find_item(p, tensor) : NULL;
    if (!it || it->src->ndim != 1 || it->src->shape[0] != m->channels)
        return err_set(e, RC_DATA,
                       "the scheme folds the smoothing of '%s' into the norm before it, but '%s' has no norm that this "
                       "module alone reads: make the scheme again with apply-coverage",
                       m->name, p->model->dir);
    it->kind = EXPORT_NORM;
    it->module = m;
    return 0;
}

int export_select(struct export_plan *p, struct err *e)
{
    const struct scheme *s = p->scheme;

    for (size_t i = 0; i < s->n_modules; i++) {
        const struct scheme_module *m = &s->module[i];
        struct export_item *it;

        if (m->format == FORMAT_NONE)
            continue;
        it = find_weight(p, m, e);
        if (!it || check_group(p, m, e) || check_layout(p, m, e) || (m->pre_scale && fold(p, m, it->src, e)))
            return -1;
        it->kind = EXPORT_CODES;
        it->module = m;
        if (m->format == FORMAT_FP8)
            it->scale = fp8_scale(m->weight_amax, p->opts.rounding);
        it->out.dtype = m->format == FORMAT_FP8 ? DT_F8_E4M3 : DT_I8;
        it->out.bytes = it->out.count;
        p->quantized++;
    }
    if (!p->quantized)
        return err_set(e, RC_DATA, "the scheme %s quantizes nothing: there is nothing to export", s->label);
    return 0;
}
