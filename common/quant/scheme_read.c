/* scheme_read.c - SCHEME documents and the Python system's coverage files from JSON */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/io/doc.h"
#include "common/quant/scheme.h"

static int copy(char **to, const char *text, struct err *e)
{
    *to = text ? mem_strdup(text, e) : NULL;
    return text && !*to ? -1 : 0;
}

static int read_names(const struct scheme *s, const json_t *doc, const char *key, char ***list, size_t *n,
                      struct err *e)
{
    json_t *names;

    if (json_get_arr(doc, key, &names, s->label, e))
        return -1;
    *list = mem_zalloc(json_array_size(names), sizeof **list, e);
    if (!*list)
        return -1;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));

        if (!name)
            return err_set(e, RC_DATA, "%s: %s[%zu] is not a string", s->label, key, i);
        if (copy(&(*list)[i], name, e))
            return -1;
        ++*n;
    }
    return 0;
}

/* What the document counts must be what it lists. */
static int check_count(const struct scheme *s, const json_t *doc, const char *key, size_t n, struct err *e)
{
    size_t said = n;

    if (json_or_size(doc, key, &said, s->label, e))
        return -1;
    if (said != n)
        return err_set(e, RC_DATA, "%s: '%s' is %zu, but %zu are listed", s->label, key, said, n);
    return 0;
}

static int read_coverage(struct scheme *s, const json_t *doc, struct err *e)
{
    const char *dir = "", *manifest = "", *name = "";

    s->top_percent = s->coverage_fraction = NAN;
    if (json_or_str(doc, "baseline_dir", &dir, s->label, e) ||
        json_or_str(doc, "baseline_manifest", &manifest, s->label, e) ||
        json_get_str(doc, "scheme_name", &name, s->label, e) ||
        json_or_f64(doc, "top_percent", &s->top_percent, s->label, e) ||
        json_or_f64(doc, "coverage_fraction", &s->coverage_fraction, s->label, e) ||
        read_names(s, doc, "selected_layers", &s->selected, &s->n_selected, e) ||
        read_names(s, doc, "dropped_layers", &s->dropped, &s->n_dropped, e) ||
        check_count(s, doc, "num_layers_total", s->n_selected + s->n_dropped, e) ||
        check_count(s, doc, "num_layers_selected", s->n_selected, e) ||
        check_count(s, doc, "num_layers_dropped", s->n_dropped, e))
        return -1;
    if (!s->n_selected)
        return err_set(e, RC_DATA, "%s selects nothing", s->label);
    return copy(&s->baseline_dir, dir, e) || copy(&s->baseline_manifest, manifest, e) ||
                   copy(&s->name, name, e)
               ? -1
               : 0;
}

static int read_unranked(struct scheme *s, const json_t *doc, struct err *e)
{
    const json_t *list = json_object_get(doc, "unranked");

    s->unranked = mem_zalloc(json_array_size(list), sizeof *s->unranked, e);
    if (!s->unranked)
        return -1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct scheme_unranked *u = &s->unranked[s->n_unranked++];
        const json_t *o = json_array_get(list, i);
        const char *name = NULL, *reason = NULL;

        if (json_get_str(o, "name", &name, s->label, e) || json_get_str(o, "reason", &reason, s->label, e) ||
            copy(&u->name, name, e) || copy(&u->reason, reason, e))
            return -1;
    }
    return 0;
}

static int read_meta(struct scheme *s, const json_t *doc, struct err *e)
{
    const char *by = NULL, *scope = "all", *rounding = "exact", *fused = "shared", *id = NULL, *digest = NULL,
               *arch = NULL;
    const json_t *model = json_object_get(doc, "model");

    s->effective_bits = s->weight_bytes = s->bytes_fraction = s->score = s->predicted_kl = NAN;
    if (json_or_str(doc, "by", &by, s->label, e) || json_or_str(doc, "scope", &scope, s->label, e) ||
        json_or_str(doc, "rounding", &rounding, s->label, e) ||
        json_or_str(doc, "fused_ranges", &fused, s->label, e) ||
        json_or_f64(doc, "effective_bits", &s->effective_bits, s->label, e) ||
        json_or_size(doc, "weights", &s->weights, s->label, e) ||
        json_or_f64(doc, "weight_bytes", &s->weight_bytes, s->label, e) ||
        json_or_f64(doc, "bytes_fraction", &s->bytes_fraction, s->label, e) ||
        json_or_f64(doc, "score", &s->score, s->label, e) ||
        json_or_f64(doc, "predicted_kl", &s->predicted_kl, s->label, e) || read_unranked(s, doc, e))
        return -1;
    if (json_is_object(model) &&
        (json_or_str(model, "id", &id, s->label, e) || json_or_str(model, "digest", &digest, s->label, e) ||
         json_or_str(model, "architecture", &arch, s->label, e) ||
         json_or_bool(model, "tied_lm_head", &s->tied_lm_head, s->label, e)))
        return -1;
    if (strcmp(rounding, "exact") && strcmp(rounding, "modelopt"))
        return err_set(e, RC_DATA, "%s: 'rounding' is '%s'; known are 'exact' and 'modelopt'", s->label,
                       rounding);
    if (strcmp(fused, "shared") && strcmp(fused, "own"))
        return err_set(e, RC_DATA, "%s: 'fused_ranges' is '%s'; known are 'shared' and 'own'", s->label,
                       fused);
    return copy(&s->by, by, e) || copy(&s->scope, scope, e) || copy(&s->rounding, rounding, e) ||
                   copy(&s->fused_ranges, fused, e) || copy(&s->model_id, id, e) ||
                   copy(&s->model_digest, digest, e) || copy(&s->architecture, arch, e)
               ? -1
               : 0;
}

static int read_range(const json_t *o, const char *key, const char *where, float *out, struct err *e)
{
    double v = -1;

    if (json_get_f64(o, key, &v, where, e))
        return -1;
    if (!(v >= 0 && isfinite((float)v)))
        return err_set(e, RC_DATA, "%s: '%s' is negative or not finite: %g", where, key, v);
    *out = (float)v;
    return 0;
}

/* A multiplier for every input channel; absent: *out is NULL.  n 0: as many as there are. */
static int read_scales(const json_t *o, const char *key, const char *where, size_t *n, float **out,
                       struct err *e)
{
    const json_t *list = json_object_get(o, key);
    size_t count = json_array_size(list);

    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list) || !count || (*n && count != *n))
        return err_set(e, RC_DATA, "%s: '%s' is not an array with a number for each input channel", where,
                       key);
    *n = count;
    *out = mem_zalloc(count, sizeof **out, e);
    for (size_t c = 0; *out && c < count; c++) {
        double v = json_number_value(json_array_get(list, c));

        if (!((float)v > 0 && isfinite((float)v)))
            return err_set(e, RC_DATA, "%s: %s[%zu] is not a finite number above 0", where, key, c);
        (*out)[c] = (float)v;
    }
    return *out ? 0 : -1;
}

static int read_int8(struct scheme_module *m, const json_t *o, const char *where, struct err *e)
{
    if (json_or_bool(o, "dynamic", &m->dynamic, where, e) ||
        json_or_bool(o, "folded", &m->folded, where, e) ||
        (!m->dynamic && read_range(o, "input_amax", where, &m->input_amax, e)) ||
        read_scales(o, "pre_quant_scale", where, &m->channels, &m->pre_scale, e) ||
        read_scales(o, "own_scale", where, &m->channels, &m->own_scale, e))
        return -1;
    if (!m->pre_scale && (m->own_scale || m->folded))
        return err_set(e, RC_DATA, "%s has '%s', but no 'pre_quant_scale'", where,
                       m->folded ? "folded" : "own_scale");
    return 0;
}

static int read_fp8(struct scheme_module *m, const json_t *o, const char *where, struct err *e)
{
    return read_range(o, "weight_amax", where, &m->weight_amax, e) ||
                   read_range(o, "input_amax", where, &m->input_amax, e)
               ? -1
               : 0;
}

static int read_module(struct scheme *s, const char *key, const json_t *o, struct err *e)
{
    struct scheme_module *m = &s->module[s->n_modules];
    char *where = mem_printf(e, "%s: modules.%s", s->label, key), name[NAME_BYTES];
    const char *format = NULL;
    int ret = -1;

    if (!where)
        goto out;
    if (name_canonical(key, name, e)) {
        err_prefix(e, "%s: modules", s->label);
        goto out;
    }
    if (json_get_str(o, "format", &format, where, e))
        goto out;
    if (scheme_format_parse(format, &m->format) || m->format == FORMAT_NONE) {
        err_set(e, RC_DATA, "%s: the format '%s' is not known; this version knows 'fp8' and 'int8'", where,
                format);
        goto out;
    }
    if (scheme_find(s, name)) {
        err_set(e, RC_DATA, "%s stands there twice", where);
        goto out;
    }
    s->n_modules++; /* from here on scheme_release() frees what there is of it */
    if ((m->format == FORMAT_INT8 ? read_int8 : read_fp8)(m, o, where, e) || copy(&m->name, name, e))
        goto out;
    ret = json_put(s->modules_by_name, name, json_integer((json_int_t)s->n_modules - 1), e);
out:
    free(where);
    return ret;
}

/* One scale and one place for it in a fused group: the norm before it, or the input, is common to all
 * members. */
static bool same_input(const struct scheme_module *a, const struct scheme_module *b)
{
    return a->format == b->format && a->dynamic == b->dynamic && a->input_amax == b->input_amax &&
           a->folded == b->folded && !a->pre_scale == !b->pre_scale && a->channels == b->channels &&
           (!a->pre_scale || !memcmp(a->pre_scale, b->pre_scale, a->channels * sizeof *a->pre_scale));
}

static int check_fused(const struct scheme *s, struct err *e)
{
    char group[NAME_BYTES];

    for (size_t i = 0; i < s->n_modules; i++) {
        const struct scheme_module *m = &s->module[i], *first;

        if (name_group(m->name, group, e))
            return -1;
        first = scheme_find(s, group);
        if (first && (m->format == FORMAT_INT8 || first->format == FORMAT_INT8) && !same_input(first, m))
            return err_set(e, RC_DATA,
                           "%s: modules.%s and %s see one input, but differ in its range or scale", s->label,
                           first->name, m->name);
    }
    return 0;
}

/* The groups of the modules must be the selected ones, all of them and no others. */
static int check_modules(const struct scheme *s, struct err *e)
{
    json_t *groups = json_object();
    char name[NAME_BYTES];
    int ret = -1;

    for (size_t i = 0; i < s->n_selected; i++)
        if (name_canonical(s->selected[i], name, e) || json_put(groups, name, json_integer(0), e)) {
            err_prefix(e, "%s: selected_layers[%zu]", s->label, i);
            goto out;
        }
    for (size_t i = 0; i < s->n_modules; i++) {
        if (name_group(s->module[i].name, name, e))
            goto out;
        if (!json_object_get(groups, name)) {
            err_set(e, RC_DATA, "%s: modules has '%s', but 'selected_layers' does not have '%s'", s->label,
                    s->module[i].name, name);
            goto out;
        }
        if (json_put(groups, name, json_integer(1), e))
            goto out;
    }
    for (size_t i = 0; i < s->n_selected; i++) {
        if (name_canonical(s->selected[i], name, e))
            goto out;
        if (!json_integer_value(json_object_get(groups, name))) {
            err_set(e, RC_DATA, "%s selects '%s', but has no module of it", s->label, s->selected[i]);
            goto out;
        }
    }
    ret = 0;
out:
    json_decref(groups);
    return ret;
}

static int read_modules(struct scheme *s, const json_t *doc, struct err *e)
{
    json_t *modules = json_object_get(doc, "modules"), *v;
    const char *key;

    s->modules_by_name = json_object();
    if (!modules || json_is_null(modules))
        return 0;
    if (!json_is_object(modules))
        return err_set(e, RC_DATA, "%s: the key 'modules' is not an object", s->label);
    s->module = mem_zalloc(json_object_size(modules), sizeof *s->module, e);
    if (!s->module)
        return -1;
    json_object_foreach(modules, key, v) if (read_module(s, key, v, e)) return -1;
    s->ranged = true;
    return check_modules(s, e) || check_fused(s, e) ? -1 : 0;
}

static int read_kv_layer(struct scheme *s, const char *key, const json_t *o, struct err *e)
{
    struct scheme_kv *kv = &s->kv[s->n_kv++];
    char *where = mem_printf(e, "%s: kv_cache.layers.%s", s->label, key), name[NAME_BYTES];
    int ret = -1;

    if (!where)
        return -1;
    if (name_canonical(key, name, e))
        err_prefix(e, "%s", where);
    else if (!read_range(o, "k_amax", where, &kv->k_amax, e) &&
             !read_range(o, "v_amax", where, &kv->v_amax, e))
        ret = copy(&kv->layer, name, e);
    for (size_t i = 0; !ret && i + 1 < s->n_kv; i++)
        if (!strcmp(s->kv[i].layer, name))
            ret = err_set(e, RC_DATA, "%s stands there twice", where);
    free(where);
    return ret;
}

static int read_kv(struct scheme *s, const json_t *doc, struct err *e)
{
    const json_t *kv = json_object_get(doc, "kv_cache");
    const char *format = NULL, *key;
    json_t *layers, *v;

    if (!kv || json_is_null(kv))
        return 0;
    if (!json_is_object(kv))
        return err_set(e, RC_DATA, "%s: the key 'kv_cache' is not an object", s->label);
    if (json_get_str(kv, "format", &format, s->label, e) || json_get_obj(kv, "layers", &layers, s->label, e))
        return err_prefix(e, "kv_cache");
    if (strcmp(format, "fp8"))
        return err_set(e, RC_DATA, "%s: kv_cache: the format '%s' is not known; this version knows 'fp8'",
                       s->label, format);
    if (!json_object_size(layers))
        return err_set(e, RC_DATA, "%s: kv_cache has no layers", s->label);
    s->kv = mem_zalloc(json_object_size(layers), sizeof *s->kv, e);
    if (!s->kv)
        return -1;
    json_object_foreach(layers, key, v) if (read_kv_layer(s, key, v, e)) return -1;
    return 0;
}

int scheme_read(struct scheme *s, const char *path, bool names_only, struct err *e)
{
    json_t *doc = NULL;
    int ret = -1;

    *s = (struct scheme){0};
    s->label = mem_printf(e, "'%s'", file_label(path));
    if (!s->label || !(doc = json_read(path, s->hex, e)) ||
        doc_check(doc, SCHEME_SCHEMA, SCHEME_MAJOR, true, file_label(path), e) || read_coverage(s, doc, e) ||
        read_meta(s, doc, e) || read_modules(s, doc, e) || read_kv(s, doc, e))
        goto out;
    if (!s->ranged && !names_only)
        err_set(e, RC_DATA,
                "%s names layers but has no ranges: apply-coverage --from it with a LAYERS document",
                s->label);
    else
        ret = 0;
out:
    json_decref(doc);
    if (ret)
        scheme_release(s);
    return ret;
}
