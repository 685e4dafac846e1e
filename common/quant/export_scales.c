/* export_scales.c - the scales that an export adds to the tensors of a model */
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/quant/export_plan.h"

/* X.what of X.weight. */
static struct export_item *add_beside(struct export_plan *p, size_t weight, const char *what, struct err *e)
{
    const char *of = p->item[weight].out.name;
    char *name = mem_printf(e, "%.*s%s", (int)(strlen(of) - strlen("weight")), of, what);
    struct export_item *it = name ? export_add_item(p, name, e) : NULL;

    free(name);
    return it;
}

static void set_number(const struct export_plan *p, struct export_item *it, float value, size_t file)
{
    it->kind = EXPORT_NUMBER;
    it->out.dtype = DT_F32;
    it->out.ndim = p->opts.layout->scale_ndim;
    it->out.shape[0] = it->out.count = 1;
    it->out.bytes = sizeof(float);
    it->scale = value;
    it->file = file;
}

static int add_number(struct export_plan *p, size_t beside, const char *what, float value, struct err *e)
{
    struct export_item *it = add_beside(p, beside, what, e);

    if (it)
        set_number(p, it, value, p->item[beside].file);
    return it ? 0 : -1;
}

/* One number per row or column of the weight. */
static int add_vector(struct export_plan *p, size_t weight, const char *what, enum export_kind kind,
                      enum dtype dtype, size_t count, size_t ndim, struct err *e)
{
    struct export_item *it = add_beside(p, weight, what, e);

    if (!it)
        return -1;
    it->kind = kind;
    it->module = p->item[weight].module;
    it->src = kind == EXPORT_ROW_SCALES ? p->item[weight].src : NULL;
    it->file = p->item[weight].file;
    it->out.dtype = dtype;
    it->out.ndim = ndim;
    it->out.shape[0] = it->out.count = count;
    it->out.shape[1] = 1;
    it->out.bytes = count * dtype_bytes(dtype);
    return 0;
}

/* ModelOpt's are BF16; where that does not hold them they stay what the evaluation measured. */
static enum dtype pre_scale_dtype(const struct scheme_module *m)
{
    for (size_t i = 0; i < m->channels; i++)
        if (bf16_to_f32(bf16_from_f32(m->pre_scale[i])) != m->pre_scale[i])
            return DT_F32;
    return DT_BF16;
}

static int add_int8_scales(struct export_plan *p, size_t weight, struct err *e)
{
    const struct scheme_module *m = p->item[weight].module;
    const size_t rows = p->item[weight].out.shape[0];

    if (add_vector(p, weight, "weight_scale", EXPORT_ROW_SCALES, DT_F32, rows, p->opts.layout->row_scale_ndim,
                   e) ||
        (m->pre_scale && !m->folded &&
         add_vector(p, weight, "pre_quant_scale", EXPORT_PRE_SCALE, pre_scale_dtype(m), m->channels, 1, e)))
        return -1;
    return m->dynamic ? 0 : add_number(p, weight, "input_scale", int8_scale(m->input_amax, p->opts.rounding),
                                       e);
}

static int add_fp8_scales(struct export_plan *p, size_t weight, struct err *e)
{
    const struct scheme_module *m = p->item[weight].module;

    return add_number(p, weight, "weight_scale", p->item[weight].scale, e) ||
                   add_number(p, weight, "input_scale", fp8_scale(m->input_amax, p->opts.rounding), e)
               ? -1
               : 0;
}

static int add_kv_scale(struct export_plan *p, const char *layer, const char *what, float value, size_t file,
                        struct err *e)
{
    char *name = mem_printf(e, "%s.%s", layer, what);
    struct export_item *it = name ? export_add_item(p, name, e) : NULL;

    free(name);
    if (it)
        set_number(p, it, value, file);
    return it ? 0 : -1;
}

/* Scales of the KV cache of one layer, in the file of its k_proj. */
static int add_kv_scales(struct export_plan *p, const struct scheme_kv *kv, struct err *e)
{
    const struct layout *l = p->opts.layout;
    const enum rounding r = p->opts.rounding;
    char layer[NAME_BYTES], weight[NAME_BYTES + 40];
    const struct export_item *k;
    size_t file;

    if (name_hub(kv->layer, layer, e))
        return -1;
    snprintf(weight, sizeof weight, "%s.self_attn.k_proj.weight", layer);
    k = export_find_item(p, weight);
    if (!k)
        return err_set(e, RC_DATA,
                       "the scheme has KV ranges for '%s', which '%s' does not have: it was made for another model",
                       kv->layer, p->model->dir);
    file = k->file;
    return add_kv_scale(p, layer, l->k_scale, fp8_scale(kv->k_amax, r), file, e) ||
                   add_kv_scale(p, layer, l->v_scale, fp8_scale(kv->v_amax, r), file, e)
               ? -1
               : 0;
}

/* Every layer of the language model that has a KV cache, or none. */
static int check_kv(const struct export_plan *p, struct err *e)
{
    const struct scheme *s = p->scheme;
    size_t caches = 0;

    for (size_t i = 0; i < p->items; i++) {
        char module[NAME_BYTES];
        const char *last;

        if (export_module(p->item[i].out.name, module, e))
            return -1;
        last = export_last(module);
        caches += !strcmp(last, "k_proj") && name_cached(module);
    }
    for (size_t i = 0; i < s->n_kv; i++)
        if (name_scope(s->kv[i].layer) == SCOPE_VISION)
            return err_set(e, RC_DATA,
                           "the scheme has KV ranges for '%s', but the vision tower has no KV cache",
                           s->kv[i].layer);
    if (s->n_kv && s->n_kv != caches)
        return err_set(e, RC_DATA,
                       "the scheme has KV ranges for %zu layers, '%s' has %zu: engines quantize the cache of all layers "
                       "or of none",
                       s->n_kv, p->model->dir, caches);
    return 0;
}

int export_add_scales(struct export_plan *p, struct err *e)
{
    const size_t n = p->items;

    if (check_kv(p, e))
        return -1;
    for (size_t i = 0; i < n; i++)
        if (p->item[i].kind == EXPORT_CODES &&
            (p->item[i].module->format == FORMAT_INT8 ? add_int8_scales : add_fp8_scales)(p, i, e))
            return -1;
    for (size_t i = 0; i < p->scheme->n_kv; i++)
        if (add_kv_scales(p, &p->scheme->kv[i], e))
            return -1;
    return 0;
}
