/* preset_file.c - presets from JSON files */
#include "common/quant/preset_file.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/io/doc.h"

static int check_keys(const json_t *o, const char *const *known, const char *where, struct err *e)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)o, key, v)
    {
        const char *const *k = known;

        while (*k && strcmp(*k, key))
            k++;
        if (!*k)
            return err_set(e, RC_DATA, "%s: the key '%s' is not known to a preset", where, key);
    }
    return 0;
}

static int read_rule(struct preset *p, const json_t *o, const char *where, struct err *e)
{
    static const char *const known[] = {"pattern", "format", NULL};
    struct preset_rule *r = &p->rule[p->n_rules];
    const char *pattern, *format;

    if (check_keys(o, known, where, e) || json_get_str(o, "pattern", &pattern, where, e) ||
        json_get_str(o, "format", &format, where, e))
        return -1;
    if (scheme_format_parse(format, &r->format))
        return err_set(e, RC_DATA, "%s: the format '%s' is not known; known are 'fp8', 'int8' and 'none'",
                       where, format);
    r->pattern = mem_strdup(pattern, e);
    p->n_rules++;
    return r->pattern ? 0 : -1;
}

static int read_rules(struct preset *p, const json_t *doc, const char *where, struct err *e)
{
    json_t *list;

    if (json_get_arr(doc, "rules", &list, where, e))
        return -1;
    p->rule = mem_zalloc(json_array_size(list), sizeof *p->rule, e);
    for (size_t i = 0; p->rule && i < json_array_size(list); i++) {
        char *at = mem_printf(e, "%s: rules[%zu]", where, i);
        int ret = at ? read_rule(p, json_array_get(list, i), at, e) : -1;

        free(at);
        if (ret)
            return -1;
    }
    if (!p->rule)
        return -1;
    if (!preset_has(p, FORMAT_FP8) && !preset_has(p, FORMAT_INT8))
        return err_set(e, RC_DATA, "%s selects nothing: no rule has the format 'fp8' or 'int8'", where);
    return 0;
}

static int read_disabled(struct preset *p, const json_t *doc, const char *where, struct err *e)
{
    const json_t *list = json_object_get(doc, "disabled");

    if (list && !json_is_array(list))
        return err_set(e, RC_DATA, "%s: the key 'disabled' is not an array", where);
    p->disabled = mem_zalloc(json_array_size(list), sizeof *p->disabled, e);
    for (size_t i = 0; p->disabled && i < json_array_size(list); i++) {
        const char *pattern = json_string_value(json_array_get(list, i));

        if (!pattern)
            return err_set(e, RC_DATA, "%s: disabled[%zu] is not a string", where, i);
        p->disabled[p->n_disabled] = mem_strdup(pattern, e);
        if (!p->disabled[p->n_disabled++])
            return -1;
    }
    return p->disabled ? 0 : -1;
}

/* text is one of two; *first tells which. */
static int read_switch(const json_t *doc, const char *key, const char *yes, const char *no, bool *first,
                       const char *where, struct err *e)
{
    const char *text = *first ? yes : no;

    if (json_or_str(doc, key, &text, where, e))
        return -1;
    *first = !strcmp(text, yes);
    if (!*first && strcmp(text, no))
        return err_set(e, RC_DATA, "%s: '%s' is '%s'; known are '%s' and '%s'", where, key, text, no, yes);
    return 0;
}

static int read_alpha(struct preset *p, const json_t *doc, const char *where, struct err *e)
{
    const json_t *v = json_object_get(doc, "smooth_alpha");

    if (!v || json_is_null(v))
        return 0;
    if (json_is_string(v) && !strcmp(json_string_value(v), "auto"))
        p->alpha = -1;
    else if (json_is_number(v) && json_number_value(v) >= 0 && json_number_value(v) <= 1)
        p->alpha = json_number_value(v);
    else
        return err_set(e, RC_DATA, "%s: 'smooth_alpha' is neither within 0 and 1, nor \"auto\", nor null",
                       where);
    if (!preset_has(p, FORMAT_INT8))
        return err_set(e, RC_DATA, "%s: 'smooth_alpha' is for INT8, and no rule has the format 'int8'",
                       where);
    return 0;
}

static int read_doc(struct preset *p, const json_t *doc, const char *where, struct err *e)
{
    static const char *const known[] = {"schema",      "name",         "summary",   "rules",    "disabled",
                                        "activations", "smooth_alpha", "smooth_at", "kv_cache", NULL};
    const char *name = NULL, *summary = "";
    bool dynamic = false;

    if (check_keys(doc, known, where, e) || json_get_str(doc, "name", &name, where, e) ||
        json_or_str(doc, "summary", &summary, where, e) || read_rules(p, doc, where, e) ||
        read_disabled(p, doc, where, e) ||
        read_switch(doc, "activations", "dynamic", "static", &dynamic, where, e) ||
        read_alpha(p, doc, where, e) ||
        read_switch(doc, "smooth_at", "input", "norm", &p->smooth_input, where, e) ||
        read_switch(doc, "kv_cache", "fp8", "none", &p->kv, where, e))
        return -1;
    if (!*name)
        return err_set(e, RC_DATA, "%s: 'name' is empty; schemes and folders are called by it", where);
    p->name = mem_strdup(name, e);
    p->summary = mem_strdup(summary, e);
    p->activations = mem_strdup(dynamic ? "dynamic" : "static", e);
    return p->name && p->summary && p->activations ? 0 : -1;
}

int preset_file(struct preset *p, const char *path, struct err *e)
{
    char *where = mem_printf(e, "'%s'", file_label(path));
    json_t *doc = where ? json_read(path, p->hex, e) : NULL;
    int ret = -1;

    if (doc && doc_check(doc, PRESET_SCHEMA, PRESET_MAJOR, false, file_label(path), e) == 0)
        ret = read_doc(p, doc, where, e);
    json_decref(doc);
    free(where);
    return ret;
}
