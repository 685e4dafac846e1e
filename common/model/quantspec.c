/* quantspec.c - what a checkpoint says about its own quantization */
#include "common/model/quantspec.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/mem.h"
#include "common/quant/names.h"

#define HF_FILE "hf_quant_config.json"

/* The list of a source: absent, null, or an array of strings. */
static int take_list(struct quantspec_source *s, const json_t *list, struct err *e)
{
    json_t *item;
    size_t i;

    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list))
        return err_set(e, RC_DATA, "'%s': the key '%s' is not an array of module names", s->file, s->key);
    json_array_foreach((json_t *)list, i, item) if (!json_is_string(item)) return err_set(
        e, RC_DATA, "'%s': %s[%zu] is not a string", s->file, s->key, i);
    s->exclude = list;
    return 0;
}

/* One object with quant_algo and a list: a source, unless quant_algo is null.  file is taken over. */
static int add_source(struct quantspec *q, char *file, const json_t *o, const char *key, struct err *e)
{
    const json_t *list = json_object_get(o, key);
    const char *algo = NULL;

    q->source[q->sources++] = (struct quantspec_source){.file = file, .key = key};
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
    return take_list(&q->source[q->sources - 1], list, e);
}

/* A member that has to be this text, or absent when it is optional. */
static int expect_text(const json_t *o, const char *key, const char *want, bool optional, const char *where,
                       struct err *e)
{
    const char *is = NULL;

    if (optional ? json_or_str(o, key, &is, where, e) : json_get_str(o, key, &is, where, e))
        return -1;
    if (is && strcmp(is, want))
        return err_set(e, RC_DATA, "'%s': '%s' is '%s'; of compressed-tensors only '%s' is read", where, key,
                       is, want);
    return 0;
}

/* Weights or inputs of a group: FP8, symmetric, one static scale per tensor. */
static int check_numbers(const json_t *group, const char *key, const char *where, struct err *e)
{
    const json_t *o = json_object_get(group, key), *dynamic = json_object_get(o, "dynamic");
    bool symmetric = true;
    char here[300];
    size_t bits = 0;

    snprintf(here, sizeof here, "%s.%s", where, key);
    if (!json_is_object(o))
        return err_set(e, RC_DATA, "'%s': '%s' is not there: only FP8 weights with FP8 inputs are read",
                       where, key);
    if (json_get_size(o, "num_bits", &bits, here, e) || expect_text(o, "type", "float", false, here, e) ||
        expect_text(o, "strategy", "tensor", false, here, e) ||
        json_or_bool(o, "symmetric", &symmetric, here, e))
        return -1;
    if (bits != 8 || !symmetric)
        return err_set(e, RC_DATA, "'%s': %zu bits%s; of compressed-tensors only symmetric FP8 is read", here,
                       bits, symmetric ? "" : ", not symmetric");
    if (dynamic && !json_is_null(dynamic) && !json_is_false(dynamic))
        return err_set(
            e, RC_DATA,
            "'%s': 'dynamic' is not false: only static scales, which are in the checkpoint, are read", here);
    return 0;
}

static int check_group(const json_t *group, const char *where, struct err *e)
{
    const json_t *targets = json_object_get(group, "targets"),
                 *out = json_object_get(group, "output_activations");
    const char *target = json_string_value(json_array_get(targets, 0));

    if (!json_is_object(group))
        return err_set(e, RC_DATA, "'%s' is not an object", where);
    if (json_array_size(targets) != 1 || !target || strcmp(target, "Linear"))
        return err_set(e, RC_DATA,
                       "'%s': 'targets' is not [\"Linear\"]: only a group of all Linear modules is read",
                       where);
    if (out && !json_is_null(out))
        return err_set(e, RC_DATA,
                       "'%s': 'output_activations' are quantized: only weights and inputs are read", where);
    return expect_text(group, "format", "float-quantized", true, where, e) ||
                   check_numbers(group, "weights", where, e) ||
                   check_numbers(group, "input_activations", where, e)
               ? -1
               : 0;
}

/* Neither sparsity nor a rotation of the weights: the codes are the weights. */
static int check_plain(const json_t *o, const char *file, struct err *e)
{
    static const char *const keys[] = {"sparsity_config", "transform_config"};

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_object_size(json_object_get(o, keys[i])))
            return err_set(e, RC_DATA, "'%s': 'quantization_config' has a '%s', which is not read", file,
                           keys[i]);
    return 0;
}

/* file is taken over. */
static int add_compressed(struct quantspec *q, char *file, const json_t *o, struct err *e)
{
    struct quantspec_source *s = &q->source[q->sources++];
    const json_t *list = json_object_get(o, "ignore");
    json_t *groups = NULL;
    const char *name;
    json_t *group;
    char where[256];

    *s = (struct quantspec_source){.file = file, .key = "ignore"};
    if (expect_text(o, "format", "float-quantized", false, file, e) ||
        expect_text(o, "quantization_status", "compressed", true, file, e) || check_plain(o, file, e) ||
        json_get_obj(o, "config_groups", &groups, file, e))
        return -1;
    if (json_object_size(groups) != 1)
        return err_set(e, RC_DATA,
                       "'%s': 'config_groups' has %zu groups: only one of all Linear modules is read", file,
                       json_object_size(groups));
    json_object_foreach(groups, name, group)
    {
        snprintf(where, sizeof where, "%.200s: %.40s", file, name);
        if (check_group(group, where, e))
            return -1;
    }
    if (take_list(s, list, e))
        return -1;
    s->regex = mem_zalloc(json_array_size(s->exclude), sizeof *s->regex, e);
    if (!s->regex)
        return -1;
    for (size_t i = 0; i < json_array_size(s->exclude); i++)
        if (pattern_init(&s->regex[i], json_string_value(json_array_get(s->exclude, i)), e))
            return err_prefix(e, "'%s': ignore[%zu]", file, i);
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
    if (!strcmp(method, "compressed-tensors"))
        return add_compressed(q, file, o, e);
    if (strcmp(method, "modelopt")) {
        err_set(
            e, RC_DATA,
            "'%s': 'quant_method' is '%s'; only the FP8 layouts of ModelOpt and compressed-tensors are read",
            file, method);
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
    for (size_t i = 0; i < q->sources; i++) {
        struct quantspec_source *s = &q->source[i];

        for (size_t k = 0; s->regex && k < json_array_size(s->exclude); k++)
            pattern_release(&s->regex[k]);
        free(s->regex);
        free(s->file);
    }
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

/* The entry of compressed-tensors that a spelling of the module's name matches. */
static int find_regex(const struct quantspec_source *s, const char *canonical, const char *in_file,
                      const char **by, struct err *e)
{
    char hub[NAME_BYTES], in_memory[NAME_BYTES];
    const char *const name[] = {in_file, hub, in_memory};

    if (name_hub(canonical, hub, e) || name_in_memory(canonical, in_memory, e))
        return -1;
    for (size_t k = 0; k < json_array_size(s->exclude); k++) {
        for (size_t i = 0; i < 3; i++) {
            const int yes = pattern_match(&s->regex[k], name[i], e);

            if (yes < 0)
                return err_prefix(e, "'%s': ignore[%zu]", s->file, k);
            if (yes) {
                *by = s->regex[k].text;
                return 0;
            }
        }
    }
    return 0;
}

int quantspec_excludes(const struct quantspec *q, size_t i, const char *canonical, const char *in_file,
                       const char **by, struct err *e)
{
    json_t *entry;
    size_t k;

    *by = NULL;
    if (q->source[i].regex)
        return find_regex(&q->source[i], canonical, in_file, by, e);
    json_array_foreach((json_t *)q->source[i].exclude, k, entry)
    {
        if (matches(json_string_value(entry), canonical, in_file)) {
            *by = json_string_value(entry);
            return 0;
        }
    }
    return 0;
}
