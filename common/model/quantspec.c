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

/* "kv_cache_scheme" (an object, or ModelOpt's word for one) or "kv_cache_quant_algo". */
static int take_kv(struct quantspec_source *s, const json_t *o, const char *key, struct err *e)
{
    const json_t *v = json_object_get(o, key), *type = json_object_get(v, "type");
    size_t bits = 0;

    if (!v || json_is_null(v))
        return 0;
    if (json_is_string(v) ? strcasecmp(json_string_value(v), "FP8") != 0
                          : json_or_size(v, "num_bits", &bits, s->file, e) || bits != 8 ||
                                (type && (!json_is_string(type) || strcmp(json_string_value(type), "float"))))
        return err_set(e, RC_DATA, "'%s': '%s' is not FP8: no other KV cache is read", s->file, key);
    s->kv = true;
    return 0;
}

/* ModelOpt has one group for all.  -1: no memory */
static int take_algorithm(struct quantspec_source *s, enum scheme_format format, struct err *e)
{
    s->group = mem_zalloc(1, sizeof *s->group, e);
    if (!s->group)
        return -1;
    s->groups = 1;
    s->group->format = format;
    return 0;
}

/* One object with quant_algo and a list: a source, unless quant_algo is null.  file is taken over. */
static int add_source(struct quantspec *q, char *file, const json_t *o, const char *key, const char *kv_key,
                      struct err *e)
{
    struct quantspec_source *s = &q->source[q->sources++];
    const json_t *list = json_object_get(o, key);
    const char *algo = NULL;
    bool int8;

    *s = (struct quantspec_source){.file = file, .key = key};
    if (!json_object_get(o, "quant_algo"))
        return err_set(e, RC_DATA, "'%s': the key 'quant_algo' is missing: what the codes mean is not known",
                       file);
    if (json_or_str(o, "quant_algo", &algo, file, e))
        return -1;
    if (!algo) {
        free(q->source[--q->sources].file);
        return 0;
    }
    int8 = !strcasecmp(algo, "W8A8_SQ_PER_CHANNEL");
    if (!int8 && strcasecmp(algo, "FP8"))
        return err_set(e, RC_DATA,
                       "'%s': 'quant_algo' is '%s'; of ModelOpt's layouts FP8 and W8A8_SQ_PER_CHANNEL are read", file,
                       algo);
    return take_algorithm(s, int8 ? FORMAT_INT8 : FORMAT_FP8, e) || take_kv(s, o, kv_key, e) ||
           take_list(s, list, e)
               ? -1
               : 0;
}

static bool is_among(const char *text, const char *const *list)
{
    while (*list && strcmp(text, *list))
        list++;
    return *list != NULL;
}

/* A member that has to be one of these texts, or absent when it is optional. */
static int expect_text(const json_t *o, const char *key, const char *const *want, bool optional,
                       const char *where, struct err *e)
{
    const char *is = NULL;

    if (optional ? json_or_str(o, key, &is, where, e) : json_get_str(o, key, &is, where, e))
        return -1;
    if (is && !is_among(is, want))
        return err_set(e, RC_DATA, "'%s': '%s' is '%s'; of compressed-tensors '%s'%s%s is read", where, key,
                       is, want[0], want[1] ? " or " : "", want[1] ? want[1] : "");
    return 0;
}

/* Weights or inputs of a group: 8 bits, symmetric. */
static int check_numbers(const json_t *o, const char *here, struct err *e)
{
    static const char *const types[] = {"float", "int", NULL};
    bool symmetric = true;
    size_t bits = 0;

    if (!json_is_object(o))
        return err_set(e, RC_DATA, "'%s' is not there: only 8-bit weights with 8-bit inputs are read", here);
    if (json_get_size(o, "num_bits", &bits, here, e) || expect_text(o, "type", types, false, here, e) ||
        json_or_bool(o, "symmetric", &symmetric, here, e))
        return -1;
    if (bits != 8 || !symmetric)
        return err_set(e, RC_DATA, "'%s': %zu bits%s; of compressed-tensors only symmetric 8 bits are read",
                       here, bits, symmetric ? "" : ", not symmetric");
    return 0;
}

static bool is_type(const json_t *numbers, const char *type)
{
    return !strcmp(json_string_value(json_object_get(numbers, "type")), type);
}

/* FP8: a static scale per tensor.  INT8: a scale per row. */
static int check_weights(struct quantspec_group *g, const json_t *o, const char *here, struct err *e)
{
    static const char *const tensor[] = {"tensor", NULL}, *const channel[] = {"channel", NULL};

    if (check_numbers(o, here, e))
        return -1;
    g->format = is_type(o, "int") ? FORMAT_INT8 : FORMAT_FP8;
    if (json_is_true(json_object_get(o, "dynamic")))
        return err_set(e, RC_DATA, "'%s': 'dynamic' is true: only scales that are in the checkpoint are read",
                       here);
    return expect_text(o, "strategy", g->format == FORMAT_INT8 ? channel : tensor, false, here, e);
}

/* As the weights' type; a static scale per tensor, or for INT8 one per token at run time. */
static int check_inputs(struct quantspec_group *g, const json_t *o, const char *here, struct err *e)
{
    static const char *const tensor[] = {"tensor", NULL}, *const token[] = {"token", NULL};
    const json_t *dynamic = json_object_get(o, "dynamic");

    if (check_numbers(o, here, e))
        return -1;
    if (is_type(o, "int") != (g->format == FORMAT_INT8))
        return err_set(e, RC_DATA,
                       "'%s': 'type' is '%s', and that of the weights is not: only products of one type are "
                       "read", here, is_type(o, "int") ? "int" : "float");
    g->dynamic = json_is_true(dynamic);
    if ((dynamic && !json_is_boolean(dynamic) && !json_is_null(dynamic)) ||
        (g->dynamic && g->format == FORMAT_FP8))
        return err_set(
            e, RC_DATA,
            "'%s': 'dynamic' is not false: only static scales, which are in the checkpoint, are read", here);
    return expect_text(o, "strategy", g->dynamic ? token : tensor, false, here, e);
}

static int read_targets(struct quantspec_group *g, const json_t *list, const char *where, struct err *e)
{
    if (!json_array_size(list))
        return err_set(e, RC_DATA, "'%s': 'targets' is not a list of modules", where);
    g->target = mem_zalloc(json_array_size(list), sizeof *g->target, e);
    if (!g->target)
        return -1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));

        if (!text)
            return err_set(e, RC_DATA, "'%s': targets[%zu] is not a string", where, i);
        if (pattern_init(&g->target[i], text, e))
            return err_prefix(e, "'%s': targets[%zu]", where, i);
        g->targets++;
    }
    return 0;
}

static int read_group(struct quantspec_group *g, const json_t *o, const char *where, struct err *e)
{
    static const char *const fp8[] = {"float-quantized", NULL}, *const int8[] = {"int-quantized", NULL};
    const json_t *out = json_object_get(o, "output_activations");
    char here[300];

    if (!json_is_object(o))
        return err_set(e, RC_DATA, "'%s' is not an object", where);
    if (out && !json_is_null(out))
        return err_set(e, RC_DATA,
                       "'%s': 'output_activations' are quantized: only weights and inputs are read", where);
    snprintf(here, sizeof here, "%s.weights", where);
    if (read_targets(g, json_object_get(o, "targets"), where, e) ||
        check_weights(g, json_object_get(o, "weights"), here, e))
        return -1;
    snprintf(here, sizeof here, "%s.input_activations", where);
    return check_inputs(g, json_object_get(o, "input_activations"), here, e) ||
                   expect_text(o, "format", g->format == FORMAT_INT8 ? int8 : fp8, true, where, e)
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

/* What the whole says of its groups' format. */
static int check_format(const struct quantspec_source *s, const json_t *o, struct err *e)
{
    static const char *const known[] = {"float-quantized", "int-quantized", "mixed-precision", NULL};
    const char *format = NULL;

    if (json_get_str(o, "format", &format, s->file, e))
        return -1;
    if (!is_among(format, known))
        return err_set(e, RC_DATA,
                       "'%s': 'format' is '%s'; of compressed-tensors float-quantized, int-quantized and mixed-precision "
                       "are read",
                       s->file, format);
    for (size_t i = 0; i < s->groups; i++)
        if (strcmp(format, "mixed-precision") && s->groups == 1 &&
            strcmp(format, s->group[i].format == FORMAT_INT8 ? "int-quantized" : "float-quantized"))
            return err_set(e, RC_DATA, "'%s': 'format' is '%s', but its group is in %s", s->file, format,
                           scheme_format_text(s->group[i].format));
    return 0;
}

static int read_groups(struct quantspec_source *s, const json_t *o, struct err *e)
{
    json_t *groups = NULL, *group;
    const char *name;
    char where[256];

    if (json_get_obj(o, "config_groups", &groups, s->file, e))
        return -1;
    s->group = mem_zalloc(json_object_size(groups), sizeof *s->group, e);
    if (!s->group)
        return -1;
    json_object_foreach(groups, name, group)
    {
        snprintf(where, sizeof where, "%.200s: %.40s", s->file, name);
        if (read_group(&s->group[s->groups++], group, where, e))
            return -1;
    }
    return s->groups ? 0 : err_set(e, RC_DATA, "'%s': 'config_groups' has no groups", s->file);
}

/* file is taken over. */
static int add_compressed(struct quantspec *q, char *file, const json_t *o, struct err *e)
{
    static const char *const status[] = {"compressed", NULL};
    struct quantspec_source *s = &q->source[q->sources++];

    *s = (struct quantspec_source){.file = file, .key = "ignore"};
    if (expect_text(o, "quantization_status", status, true, file, e) || check_format(s, o, e) ||
        check_plain(o, file, e) || read_groups(s, o, e) || check_format(s, o, e) ||
        take_kv(s, o, "kv_cache_scheme", e) || take_list(s, json_object_get(o, "ignore"), e))
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
            "'%s': 'quant_method' is '%s'; only the layouts of ModelOpt and compressed-tensors are read",
            file, method);
        goto bad;
    }
    return add_source(q, file, o, "ignore", "kv_cache_scheme", e);
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
        return add_source(q, file, o, "exclude_modules", "kv_cache_quant_algo", e);
    free(file);
    return there == 0 ? 0 : -1;
}

int quantspec_read(struct quantspec *q, const struct ckpt *c, struct err *e)
{
    *q = (struct quantspec){0};
    if (read_config(q, c, e) || read_hf(q, c, e))
        return -1;
    if (q->sources == 2 && q->source[0].kv != q->source[1].kv)
        return err_set(e, RC_DATA, "'%s' says that the KV cache is FP8, '%s' does not: one of them is wrong",
                       q->source[q->source[1].kv].file, q->source[q->source[0].kv].file);
    return 0;
}

void quantspec_release(struct quantspec *q)
{
    for (size_t i = 0; i < q->sources; i++) {
        struct quantspec_source *s = &q->source[i];

        for (size_t g = 0; g < s->groups; g++) {
            for (size_t k = 0; k < s->group[g].targets; k++)
                pattern_release(&s->group[g].target[k]);
            free(s->group[g].target);
        }
        free(s->group);
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

/* The spellings of a module's name that names and expressions are tried on. */
enum { SPELLINGS = 3 };

struct spellings {
    char hub[NAME_BYTES], in_memory[NAME_BYTES];
    const char *name[SPELLINGS];
};

static int spell(struct spellings *s, const char *canonical, const char *in_file, struct err *e)
{
    s->name[0] = in_file;
    s->name[1] = s->hub;
    s->name[2] = s->in_memory;
    return name_hub(canonical, s->hub, e) || name_in_memory(canonical, s->in_memory, e) ? -1 : 0;
}

/* The first of n patterns that a spelling matches: *by is its text, or NULL.  file, key: where they stand. */
static int find_pattern(const struct pattern *p, size_t n, const struct spellings *s, const char *file,
                        const char *key, const char **by, struct err *e)
{
    *by = NULL;
    for (size_t k = 0; k < n && !*by; k++)
        for (size_t i = 0; i < SPELLINGS; i++) {
            const int yes = pattern_match(&p[k], s->name[i], e);

            if (yes < 0)
                return err_prefix(e, "'%s': %s[%zu]", file, key, k);
            if (yes)
                *by = p[k].text;
        }
    return 0;
}

/* Names and expressions come before "Linear", as in the engines. */
static int find_group(const struct quantspec_source *src, const struct spellings *s,
                      const struct quantspec_group **out, struct err *e)
{
    const char *by = NULL;

    *out = NULL;
    for (size_t i = 0; i < src->groups && !*out; i++) {
        if (find_pattern(src->group[i].target, src->group[i].targets, s, src->file, "targets", &by, e))
            return -1;
        if (by)
            *out = &src->group[i];
    }
    for (size_t i = 0; i < src->groups && !*out; i++)
        for (size_t k = 0; k < src->group[i].targets; k++)
            if (!strcmp(src->group[i].target[k].text, "Linear"))
                *out = &src->group[i];
    return 0;
}

static const char *find_entry(const json_t *exclude, const char *canonical, const char *in_file)
{
    json_t *entry;
    size_t k;

    json_array_foreach((json_t *)exclude, k, entry) if (matches(json_string_value(entry), canonical,
                                                                in_file)) return
        json_string_value(entry);
    return NULL;
}

int quantspec_form(const struct quantspec *q, size_t i, const char *canonical, const char *in_file,
                   struct quantspec_form *form, struct err *e)
{
    const struct quantspec_source *src = &q->source[i];
    const struct quantspec_group *g = src->group;
    struct spellings s;

    *form = (struct quantspec_form){FORMAT_NONE, false, NULL};
    if (!src->regex) {
        form->by = find_entry(src->exclude, canonical, in_file);
    } else {
        if (spell(&s, canonical, in_file, e) ||
            find_pattern(src->regex, json_array_size(src->exclude), &s, src->file, src->key, &form->by, e) ||
            (!form->by && find_group(src, &s, &g, e)))
            return -1;
    }
    if (!form->by && g) {
        form->format = g->format;
        form->dynamic = g->dynamic;
    }
    return 0;
}
