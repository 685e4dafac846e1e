/* scheme_json.c - SCHEME documents and the Python system's coverage files, to and from JSON */
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
    if (scheme_format_parse(format, &m->format) || m->format != FORMAT_FP8) {
        err_set(e, RC_DATA, "%s: the format '%s' is not known; this version knows 'fp8'", where, format);
        goto out;
    }
    if (scheme_find(s, name)) {
        err_set(e, RC_DATA, "%s stands there twice", where);
        goto out;
    }
    if (read_range(o, "weight_amax", where, &m->weight_amax, e) ||
        read_range(o, "input_amax", where, &m->input_amax, e) || copy(&m->name, name, e))
        goto out;
    s->n_modules++;
    ret = json_put(s->modules_by_name, name, json_integer((json_int_t)s->n_modules - 1), e);
out:
    free(where);
    return ret;
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
    return check_modules(s, e);
}

int scheme_read(struct scheme *s, const char *path, bool names_only, struct err *e)
{
    json_t *doc = NULL;
    int ret = -1;

    *s = (struct scheme){0};
    s->label = mem_printf(e, "'%s'", file_label(path));
    if (!s->label || !(doc = json_read(path, s->hex, e)) ||
        doc_check(doc, SCHEME_SCHEMA, SCHEME_MAJOR, true, file_label(path), e) || read_coverage(s, doc, e) ||
        read_meta(s, doc, e) || read_modules(s, doc, e))
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

static int put_modules(json_t *o, const struct scheme *s, struct err *e)
{
    json_t *all = json_object();

    if (json_put(o, "modules", all, e))
        return -1;
    for (size_t i = 0; i < s->n_modules; i++) {
        const struct scheme_module *m = &s->module[i];
        json_t *v = json_object();

        if (json_put(all, m->name, v, e) || put_text(v, "format", scheme_format_text(m->format), e) ||
            json_put(v, "weight_amax", json_f32(m->weight_amax), e) ||
            json_put(v, "input_amax", json_f32(m->input_amax), e))
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
        put_unranked(o, s, e) || put_model(o, s, e) || (s->ranged && put_modules(o, s, e)))
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
