/* quantspec.c - what a checkpoint says about its own quantization */
#include "common/model/quantspec.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/mem.h"

#define HF_FILE "hf_quant_config.json"

/* One object with quant_algo and a list: a source, unless quant_algo is null.  file is taken over. */
static int add_source(struct quantspec *q, char *file, const json_t *o, const char *key, struct err *e)
{
    const json_t *list = json_object_get(o, key);
    const char *algo = NULL;
    json_t *item;
    size_t i;

    q->source[q->sources].file = file;
    q->source[q->sources].key = key;
    q->source[q->sources++].exclude = list;
    if (!json_object_get(o, "quant_algo"))
        return err_set(e, RC_DATA, "'%s': the key 'quant_algo' is missing: what the codes mean is not known",
                       file);
    if (json_or_str(o, "quant_algo", &algo, file, e))
        return -1;
    if (!algo) {
        free(q->source[--q->sources].file);
        return 0;
    }
    if (strcasecmp(algo, "FP8"))
        return err_set(e, RC_DATA, "'%s': 'quant_algo' is '%s'; of ModelOpt's layouts only FP8 is read", file,
                       algo);
    if (!list || json_is_null(list)) {
        q->source[q->sources - 1].exclude = NULL;
        return 0;
    }
    if (!json_is_array(list))
        return err_set(e, RC_DATA, "'%s': the key '%s' is not an array of module names", file, key);
    json_array_foreach((json_t *)list, i, item) if (!json_is_string(item)) return err_set(
        e, RC_DATA, "'%s': %s[%zu] is not a string", file, key, i);
    return 0;
}

static int read_config(struct quantspec *q, const struct ckpt *c, struct err *e)
{
    const json_t *o = json_object_get(c->config, "quantization_config");
    const char *method = NULL;
    char *file;

    if (!o || json_is_null(o))
        return 0;
    file = file_join(c->dir, "config.json", e);
    if (!file)
        return -1;
    if (!json_is_object(o)) {
        err_set(e, RC_DATA, "'%s': the key 'quantization_config' is not an object", file);
        goto bad;
    }
    if (json_get_str(o, "quant_method", &method, file, e))
        goto bad;
    if (strcmp(method, "modelopt")) {
        err_set(e, RC_DATA, "'%s': 'quant_method' is '%s'; only ModelOpt's FP8 layout is read", file, method);
        goto bad;
    }
    return add_source(q, file, o, "ignore", e);
bad:
    free(file);
    return -1;
}

static int read_hf(struct quantspec *q, const struct ckpt *c, struct err *e)
{
    char *file = file_join(c->dir, HF_FILE, e);
    const int there = file ? file_exists(file, e) : -1;
    json_t *o = NULL;

    if (there > 0)
        q->hf = json_read(file, NULL, e);
    if (q->hf && !json_is_object(q->hf))
        err_set(e, RC_DATA, "'%s' is not a JSON object", file);
    else if (q->hf && json_get_obj(q->hf, "quantization", &o, file, e) == 0)
        return add_source(q, file, o, "exclude_modules", e);
    free(file);
    return there == 0 ? 0 : -1;
}

int quantspec_read(struct quantspec *q, const struct ckpt *c, struct err *e)
{
    *q = (struct quantspec){0};
    return read_config(q, c, e) || read_hf(q, c, e) ? -1 : 0;
}

void quantspec_release(struct quantspec *q)
{
    for (size_t i = 0; i < q->sources; i++)
        free(q->source[i].file);
    json_decref(q->hf);
    *q = (struct quantspec){0};
}

static bool begins(const char *s, const char *prefix)
{
    return !strncmp(s, prefix, strlen(prefix));
}

/* The name itself, a parent of it, or a pattern. */
static bool covers(const char *entry, const char *name)
{
    size_t n = strlen(entry);

    return fnmatch(entry, name, 0) == 0 || (begins(name, entry) && name[n] == '.');
}

static bool matches(const char *entry, const char *canonical, const char *in_file)
{
    char name[512];

    if (covers(entry, in_file))
        return true;
    if (begins(entry, "visual") || begins(entry, "language_model"))
        return covers(entry, canonical);
    if (begins(entry, "model.visual") || begins(entry, "model.language_model")) {
        snprintf(name, sizeof name, "model.%s", canonical);
        return covers(entry, name);
    }
    if (begins(entry, "model.layers") && begins(canonical, "language_model.")) {
        snprintf(name, sizeof name, "model.%s", strchr(canonical, '.') + 1);
        return covers(entry, name);
    }
    return false;
}

const char *quantspec_excludes(const struct quantspec *q, size_t i, const char *canonical,
                               const char *in_file)
{
    json_t *entry;
    size_t k;

    json_array_foreach(
        (json_t *)q->source[i].exclude, k,
        entry) if (matches(json_string_value(entry), canonical, in_file)) return json_string_value(entry);
    return NULL;
}
