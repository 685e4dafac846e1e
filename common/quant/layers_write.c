/* layers_write.c - the LAYERS document as JSON: what was read, with what this stage knows put in its place */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/io/doc.h"
#include "common/quant/layers.h"

static bool is_one_of(const char *key, const char *const *list)
{
    for (; *list; list++)
        if (!strcmp(key, *list))
            return true;
    return false;
}

/* A new head, and all that was read below it.  Nested objects are copies: they are changed next. */
static json_t *start(const struct layers *l, const struct layers_from *from, size_t n, struct err *e)
{
    static const char *const head[] = {"schema", "tool", "version", "argv", "from", NULL};
    json_t *out = doc_new("octet-layers/1", e), *v;
    const char *key;

    for (size_t i = 0; out && i < n; i++) {
        if (doc_from(out, from[i].role, from[i].hex, e))
            goto fail;
    }
    json_object_foreach(l->doc, key,
                        v) if (out && !is_one_of(key, head) && json_put(out, key, json_copy(v), e)) goto fail;
    return out;
fail:
    json_decref(out);
    return NULL;
}

/* out[key], a new object when there is none. */
static json_t *section(json_t *out, const char *key, struct err *e)
{
    json_t *v = json_object_get(out, key);

    if (json_is_object(v))
        return v;
    return json_put(out, key, json_object(), e) ? NULL : json_object_get(out, key);
}

static int put_text(json_t *obj, const char *key, const char *text, struct err *e)
{
    if (text)
        return json_put(obj, key, json_string(text), e);
    json_object_del(obj, key);
    return 0;
}

static int put_size(json_t *obj, const char *key, size_t n, struct err *e)
{
    return json_put(obj, key, json_integer((json_int_t)n), e);
}

/* NAN: no such key. */
static int put_real(json_t *obj, const char *key, double v, struct err *e)
{
    return isnan(v) ? 0 : json_put(obj, key, json_real(v), e);
}

static bool has_format(const struct layers *l, const char *format)
{
    for (size_t i = 0; i < l->n_groups; i++)
        for (size_t j = 0; j < l->group[i].n_choices; j++)
            if (layers_choice_is(&l->group[i].choice[j], format))
                return true;
    return false;
}

/* The formats that were scored; those of a manifest, whose labels are others, stay as they were read. */
static int put_formats(json_t *o, const struct layers *l, struct err *e)
{
    bool fp8 = has_format(l, "FP8"), int8 = has_format(l, "INT8");
    json_t *list;

    if (!fp8 && !int8 && json_object_get(o, "formats"))
        return 0;
    list = json_array();
    if (json_put(o, "formats", list, e))
        return -1;
    return ((fp8 || !int8) && json_push(list, json_string("fp8"), e)) ||
                   (int8 && json_push(list, json_string("int8"), e))
               ? -1
               : 0;
}

static json_t *alpha_json(double alpha)
{
    return isnan(alpha) ? json_null() : alpha < 0 ? json_string("auto") : json_real(alpha);
}

static int put_meta(json_t *out, const struct layers *l, struct err *e)
{
    json_t *o;

    if (l->model_digest || l->architecture) {
        if (!(o = section(out, "model", e)) || put_text(o, "id", l->model_id, e) ||
            put_text(o, "digest", l->model_digest, e) || put_text(o, "architecture", l->architecture, e) ||
            json_put(o, "tied_lm_head", json_boolean(l->tied_lm_head), e))
            return -1;
    }
    if (l->samples_digest || l->samples || l->tokens) {
        if (!(o = section(out, "samples", e)) || put_text(o, "digest", l->samples_digest, e) ||
            put_size(o, "count", l->samples, e) || put_size(o, "tokens", l->tokens, e) ||
            put_size(o, "loss_tokens", l->loss_tokens, e))
            return -1;
    }
    if (l->rounding || l->fused_ranges) {
        if (!(o = section(out, "quantization", e)) || put_formats(o, l, e) ||
            put_text(o, "rounding", l->rounding, e) || put_text(o, "fused_ranges", l->fused_ranges, e))
            return -1;
        if (l->activations && (put_text(o, "activations", l->activations, e) ||
                               json_put(o, "smooth_alpha", alpha_json(l->alpha), e) ||
                               put_text(o, "smooth_at",
                                        isnan(l->alpha)   ? NULL
                                        : l->smooth_input ? "input"
                                                          : "norm",
                                        e)))
            return -1;
    }
    return 0;
}

/* Append the members of `old` that are not ours; what is ours stands in o already, or is to be absent. */
static int put_unknown(json_t *o, json_t *old, const char *const *ours, struct err *e)
{
    const char *key;
    json_t *v;

    json_object_foreach(old, key,
                        v) if (!is_one_of(key, ours) && json_put(o, key, json_incref(v), e)) return -1;
    return 0;
}

static int put_channels(json_t *o, const char *key, const float *amax, size_t n, struct err *e)
{
    json_t *list;

    if (!amax)
        return 0;
    list = json_array();
    if (json_put(o, key, list, e))
        return -1;
    for (size_t c = 0; c < n; c++)
        if (json_push(list, json_f32(amax[c]), e))
            return -1;
    return 0;
}

static int put_module(json_t *all, const struct layers *l, const struct layer_module *m, struct err *e)
{
    static const char *const ours[] = {"shape",
                                       "weight_amax",
                                       "input_amax",
                                       "tokens",
                                       "kv_amax",
                                       "smooth_alpha",
                                       "input_amax_per_channel",
                                       "weight_amax_per_channel",
                                       NULL};
    json_t *o = json_object();

    if (json_put(all, m->name, o, e) ||
        json_put(o, "shape", json_pack("[II]", (json_int_t)m->rows, (json_int_t)m->cols), e) ||
        (m->weight_amax >= 0 && json_put(o, "weight_amax", json_f32(m->weight_amax), e)) ||
        (m->input_amax >= 0 && json_put(o, "input_amax", json_f32(m->input_amax), e)) ||
        put_size(o, "tokens", m->tokens, e) ||
        (m->kv_amax >= 0 && json_put(o, "kv_amax", json_f32(m->kv_amax), e)) ||
        put_real(o, "smooth_alpha", l->group[m->group].alpha, e) ||
        put_channels(o, "input_amax_per_channel", m->input_channels, m->cols, e) ||
        put_channels(o, "weight_amax_per_channel", m->weight_channels, m->cols, e))
        return -1;
    return put_unknown(o, m->json, ours, e);
}

static int put_choices(json_t *o, const struct layer_group *g, struct err *e)
{
    json_t *formats = json_array(), *scores = json_array(), *costs = json_array();

    if (json_put(o, "formats", formats, e) || json_put(o, "scores", scores, e) ||
        json_put(o, "costs", costs, e))
        return -1;
    for (size_t i = 0; i < g->n_choices; i++)
        if (json_push(formats, json_string(g->choice[i].label), e) ||
            json_push(scores, json_real(g->choice[i].score), e) ||
            json_push(costs, json_integer((json_int_t)g->choice[i].cost), e))
            return -1;
    return 0;
}

/* Sums of the choices but NONE, as read_sums() in layers_read.c has them. */
static int put_sums(json_t *o, const char *key, const struct layer_group *g, size_t offset, struct err *e)
{
    size_t n = g->n_choices - 1, known = 0;
    json_t *list;
    double x;

    for (size_t i = 0; i < n; i++) {
        memcpy(&x, (const char *)&g->choice[i] + offset, sizeof x);
        known += !isnan(x);
    }
    if (!known)
        return 0;
    if (n == 1)
        return json_put(o, key, json_real(x), e);
    list = json_array();
    if (json_put(o, key, list, e))
        return -1;
    for (size_t i = 0; i < n; i++) {
        memcpy(&x, (const char *)&g->choice[i] + offset, sizeof x);
        if (json_push(list, isnan(x) ? json_null() : json_real(x), e))
            return -1;
    }
    return 0;
}

static int put_group(json_t *all, const struct layers *l, const struct layer_group *g, struct err *e)
{
    static const char *const ours[] = {"formats", "scores",   "costs",        "importance", "rank", "members",
                                       "tokens",  "gradient", "predicted_kl", "kl",         NULL};
    json_t *o = json_object(), *members = json_array();

    if (json_put(all, g->key, o, e)) {
        json_decref(members);
        return -1;
    }
    if (put_choices(o, g, e) || put_real(o, "importance", g->importance, e) ||
        (g->rank && put_size(o, "rank", g->rank, e)) || json_put(o, "members", members, e))
        return -1;
    for (size_t i = 0; i < g->n_members; i++)
        if (json_push(members, json_string(l->module[g->member[i]].name), e))
            return -1;
    if ((g->has_tokens && put_size(o, "tokens", g->tokens, e)) ||
        put_sums(o, "gradient", g, offsetof(struct layer_choice, gradient), e) ||
        put_sums(o, "predicted_kl", g, offsetof(struct layer_choice, predicted_kl), e) ||
        put_sums(o, "kl", g, offsetof(struct layer_choice, kl), e))
        return -1;
    return put_unknown(o, g->json, ours, e);
}

static int put_scores(json_t *out, const struct layers *l, struct err *e)
{
    json_t *all = json_object(), *o;

    if (l->method &&
        (!(o = section(out, "scheme", e)) || put_text(o, "auto_quantize_method", l->method, e))) {
        json_decref(all);
        return -1;
    }
    if (json_put(out, "layer_sensitivity", all, e))
        return -1;
    for (size_t i = 0; i < l->n_groups; i++)
        if (l->group[i].scored && put_group(all, l, &l->group[i], e))
            return -1;
    return 0;
}

static int put_ranking(json_t *out, const struct layers *l, struct err *e)
{
    json_t *list;

    if (!l->ranking) {
        json_object_del(out, "sensitivity_ranking");
        json_object_del(out, "unranked");
        return 0;
    }
    list = json_array();
    if (json_put(out, "sensitivity_ranking", list, e))
        return -1;
    for (size_t i = 0; i < l->n_ranked; i++) {
        const struct layer_group *g = &l->group[l->ranking[i]];

        if (json_push(list, json_pack("{s:s, s:f}", "name", g->key, "importance", g->importance), e))
            return -1;
    }
    return 0;
}

json_t *layers_to_json(const struct layers *l, const struct layers_from *from, size_t n, struct err *e)
{
    json_t *out = start(l, from, n, e), *modules;

    if (!out || put_meta(out, l, e))
        goto fail;
    if (!l->foreign) {
        modules = json_object();
        if (json_put(out, "modules", modules, e))
            goto fail;
        for (size_t i = 0; i < l->n_modules; i++)
            if (put_module(modules, l, &l->module[i], e))
                goto fail;
    }
    if ((layers_scored(l) && put_scores(out, l, e)) || put_ranking(out, l, e))
        goto fail;
    return out;
fail:
    json_decref(out);
    return NULL;
}

int layers_write(const struct layers *l, const struct layers_from *from, size_t n, const char *path,
                 struct err *e)
{
    json_t *doc = layers_to_json(l, from, n, e);
    int ret = doc ? json_save(path, doc, e) : -1;

    json_decref(doc);
    return ret;
}
