/* scheme_write.c - SCHEME documents to JSON */
#include <math.h>
#include <stdlib.h>

#include "common/io/doc.h"
#include "common/quant/scheme.h"

static int put_text(json_t *o, const char *key, const char *text, struct err *e)
{
    return json_put(o, key, text ? json_string(text) : json_null(), e);
}

static int put_size(json_t *o, const char *key, size_t n, struct err *e)
{
    return json_put(o, key, json_integer((json_int_t)n), e);
}

/* NAN is null; whole is written as an integer when it is one that every reader of JSON takes as such. */
static int put_real(json_t *o, const char *key, double v, bool whole, struct err *e)
{
    if (isnan(v))
        return json_put(o, key, json_null(), e);
    whole = whole && v == floor(v) && fabs(v) < 0x1p53;
    return json_put(o, key, whole ? json_integer((json_int_t)v) : json_real(v), e);
}

static int put_names(json_t *o, const char *key, char *const *name, size_t n, struct err *e)
{
    json_t *list = json_array();

    if (json_put(o, key, list, e))
        return -1;
    for (size_t i = 0; i < n; i++)
        if (json_push(list, json_string(name[i]), e))
            return -1;
    return 0;
}

static int put_coverage(json_t *o, const struct scheme *s, struct err *e)
{
    return put_text(o, "baseline_dir", s->baseline_dir, e) ||
                   put_text(o, "baseline_manifest", s->baseline_manifest, e) ||
                   put_text(o, "scheme_name", s->name, e) ||
                   put_real(o, "top_percent", s->top_percent, true, e) ||
                   put_real(o, "coverage_fraction", s->coverage_fraction, false, e) ||
                   put_size(o, "num_layers_total", s->n_selected + s->n_dropped, e) ||
                   put_size(o, "num_layers_selected", s->n_selected, e) ||
                   put_size(o, "num_layers_dropped", s->n_dropped, e) ||
                   put_names(o, "selected_layers", s->selected, s->n_selected, e) ||
                   put_names(o, "dropped_layers", s->dropped, s->n_dropped, e)
               ? -1
               : 0;
}

static int put_unranked(json_t *o, const struct scheme *s, struct err *e)
{
    json_t *list = json_array();

    if (json_put(o, "unranked", list, e))
        return -1;
    for (size_t i = 0; i < s->n_unranked; i++)
        if (json_push(list,
                      json_pack("{s:s, s:s}", "name", s->unranked[i].name, "reason", s->unranked[i].reason),
                      e))
            return -1;
    return 0;
}

static int put_model(json_t *o, const struct scheme *s, struct err *e)
{
    json_t *model = json_object();

    if (json_put(o, "model", model, e) || (s->model_id && put_text(model, "id", s->model_id, e)))
        return -1;
    if (!s->model_digest)
        return 0;
    return put_text(model, "digest", s->model_digest, e) ||
                   put_text(model, "architecture", s->architecture, e) ||
                   json_put(model, "tied_lm_head", json_boolean(s->tied_lm_head), e)
               ? -1
               : 0;
}

static int put_scales(json_t *o, const char *key, const float *scale, size_t n, struct err *e)
{
    json_t *list;

    if (!scale)
        return 0;
    list = json_array();
    if (json_put(o, key, list, e))
        return -1;
    for (size_t c = 0; c < n; c++)
        if (json_push(list, json_f32(scale[c]), e))
            return -1;
    return 0;
}

static int put_int8(json_t *o, const struct scheme_module *m, struct err *e)
{
    if (json_put(o, "input_amax", m->dynamic ? json_null() : json_f32(m->input_amax), e) ||
        (m->dynamic && json_put(o, "dynamic", json_true(), e)) ||
        (m->pre_scale && json_put(o, "folded", json_boolean(m->folded), e)) ||
        put_scales(o, "pre_quant_scale", m->pre_scale, m->channels, e) ||
        put_scales(o, "own_scale", m->own_scale, m->channels, e))
        return -1;
    return 0;
}

static int put_fp8(json_t *o, const struct scheme_module *m, struct err *e)
{
    return json_put(o, "weight_amax", json_f32(m->weight_amax), e) ||
                   json_put(o, "input_amax", json_f32(m->input_amax), e)
               ? -1
               : 0;
}

static int put_modules(json_t *o, const struct scheme *s, struct err *e)
{
    json_t *all = json_object();

    if (json_put(o, "modules", all, e))
        return -1;
    for (size_t i = 0; i < s->n_modules; i++) {
        const struct scheme_module *m = &s->module[i];
        json_t *v = json_object();

        if (json_put(all, m->name, v, e) || put_text(v, "format", scheme_format_text(m->format), e) ||
            (m->format == FORMAT_INT8 ? put_int8 : put_fp8)(v, m, e))
            return -1;
    }
    return 0;
}

static int put_kv(json_t *o, const struct scheme *s, struct err *e)
{
    json_t *kv = json_object(), *layers;

    if (json_put(o, "kv_cache", kv, e) || put_text(kv, "format", "fp8", e))
        return -1;
    layers = json_object();
    if (json_put(kv, "layers", layers, e))
        return -1;
    for (size_t i = 0; i < s->n_kv; i++) {
        json_t *v = json_object();

        if (json_put(layers, s->kv[i].layer, v, e) || json_put(v, "k_amax", json_f32(s->kv[i].k_amax), e) ||
            json_put(v, "v_amax", json_f32(s->kv[i].v_amax), e))
            return -1;
    }
    return 0;
}

json_t *scheme_to_json(const struct scheme *s, const struct layers_from *from, size_t n, struct err *e)
{
    json_t *o = doc_new("octet-scheme/1", e);

    for (size_t i = 0; o && i < n; i++)
        if (doc_from(o, from[i].role, from[i].hex, e))
            goto fail;
    if (!o || put_coverage(o, s, e) || put_text(o, "by", s->by, e) || put_text(o, "scope", s->scope, e) ||
        put_text(o, "rounding", s->rounding, e) || put_text(o, "fused_ranges", s->fused_ranges, e) ||
        put_real(o, "effective_bits", s->effective_bits, false, e) || put_size(o, "weights", s->weights, e) ||
        put_real(o, "weight_bytes", s->weight_bytes, true, e) ||
        put_real(o, "bytes_fraction", s->bytes_fraction, false, e) ||
        put_real(o, "score", s->score, false, e) || put_real(o, "predicted_kl", s->predicted_kl, false, e) ||
        put_unranked(o, s, e) || put_model(o, s, e) || (s->ranged && put_modules(o, s, e)) ||
        (s->n_kv && put_kv(o, s, e)))
        goto fail;
    return o;
fail:
    json_decref(o);
    return NULL;
}

int scheme_write(const struct scheme *s, const struct layers_from *from, size_t n, const char *path,
                 struct err *e)
{
    json_t *doc = scheme_to_json(s, from, n, e);
    int ret = doc ? json_save(path, doc, e) : -1;

    json_decref(doc);
    return ret;
}
