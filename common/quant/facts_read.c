/* facts_read.c - the configurations of a checkpoint: which layout, which modules, which list */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/mem.h"
#include "common/quant/facts_read.h"

enum { ENTRY_BYTES = 1024 }; /* engines' matchers here have room for that */

/* An array of strings to patterns; absent or null: none.  Regular expressions only where the layout has them.
 */
static int read_patterns(const json_t *o, const char *key, bool regex, const char *path, struct pattern **out,
                         size_t *n, struct err *e)
{
    const json_t *list = json_object_get(o, key);
    json_t *v;
    size_t i;

    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list))
        return err_set(e, RC_DATA, "'%s': the key '%s' is not an array of module names", path, key);
    *out = mem_zalloc(json_array_size(list), sizeof **out, e);
    if (!*out)
        return -1;
    json_array_foreach((json_t *)list, i, v)
    {
        const char *s = json_string_value(v);

        if (!s || strlen(s) >= ENTRY_BYTES)
            return err_set(e, RC_DATA, "'%s': %s[%zu] is %s", path, key, i,
                           s ? "longer than any module name" : "not a string");
        if (!regex)
            (*out)[i].text = s;
        else if (pattern_init(&(*out)[i], s, e))
            return err_prefix(e, "'%s': %s[%zu]", path, key, i);
        ++*n;
    }
    return 0;
}

/* "weights" or "input_activations" of a group. */
static int read_numbers(const json_t *o, struct facts_group *g, bool weights, const char *path, struct err *e)
{
    const char *type = NULL, *strategy = NULL;
    bool dynamic = false;
    size_t bits = 0;

    if (json_or_size(o, "num_bits", &bits, path, e) || json_or_str(o, "type", &type, path, e) ||
        json_or_str(o, "strategy", &strategy, path, e) || json_or_bool(o, "dynamic", &dynamic, path, e))
        return -1;
    if (!weights) {
        g->dynamic = dynamic;
        g->odd_inputs = bits != 8 || !type || strcmp(type, g->held == HELD_INT8 ? "int" : "float") ||
                        (strategy && strcmp(strategy, dynamic ? "token" : "tensor"));
        return 0;
    }
    if (bits != 8 || !type || (strcmp(type, "float") && strcmp(type, "int")) ||
        (strategy && strcmp(strategy, "channel") && strcmp(strategy, "tensor")))
        return err_set(
            e, RC_DATA,
            "'%s': weights of %zu bits, type '%s', strategy '%s': checked are 8 bits, float or int, "
            "one scale per tensor or channel",
            path, bits, type ? type : "", strategy ? strategy : "tensor");
    g->held = !strcmp(type, "float") ? HELD_FP8 : HELD_INT8;
    g->channel = strategy && !strcmp(strategy, "channel");
    return 0;
}

static int read_groups(struct facts_source *s, const json_t *o, const char *path, struct err *e)
{
    json_t *groups, *v;
    const char *name;

    if (json_get_obj(o, "config_groups", &groups, path, e))
        return -1;
    s->group = mem_zalloc(json_object_size(groups), sizeof *s->group, e);
    if (!s->group)
        return -1;
    json_object_foreach(groups, name, v)
    {
        struct facts_group *g = &s->group[s->groups++];
        json_t *weights, *inputs = json_object_get(v, "input_activations");

        g->dynamic = true; /* no input_activations: inputs are not quantized, and have no scale */
        g->odd_inputs = !json_is_object(inputs);
        if (json_get_obj(v, "weights", &weights, path, e) || read_numbers(weights, g, true, path, e) ||
            (json_is_object(inputs) && read_numbers(inputs, g, false, path, e)) ||
            read_patterns(v, "targets", true, path, &g->target, &g->targets, e))
            return err_prefix(e, "config_groups.%s", name);
    }
    return 0;
}

/* ModelOpt has one group for all. */
static int one_group(struct facts_source *s, const char *path, struct err *e)
{
    static const char *const unknown[] = {
        "FP8_PER_CHANNEL_PER_TOKEN", "FP8_PB_WO", "NVFP4", "W4A16_NVFP4", "MXFP8", "MIXED_PRECISION"};

    for (size_t i = 0; s->algo && i < sizeof unknown / sizeof *unknown; i++)
        if (!strcasecmp(s->algo, unknown[i]))
            return err_set(e, RC_DATA,
                           "'%s': 'quant_algo' is '%s', which some engines load; only FP8 is checked", path,
                           s->algo);
    s->group = mem_zalloc(1, sizeof *s->group, e);
    if (!s->group)
        return -1;
    s->groups = 1;
    s->group->held = s->algo && !strcasecmp(s->algo, "FP8")                   ? HELD_FP8
                     : s->algo && !strcasecmp(s->algo, "W8A8_SQ_PER_CHANNEL") ? HELD_INT8
                                                                              : HELD_OTHER;
    s->group->channel = s->group->held == HELD_INT8;
    return 0;
}

static bool is_set(const json_t *v)
{
    return v && !json_is_null(v);
}

int facts_read_config(struct facts_source *s, const json_t *config, const char *path, struct err *e)
{
    const json_t *o = json_object_get(config, "quantization_config");

    s->file = "config.json";
    s->key = "ignore";
    s->layout = FACTS_PLAIN;
    if (!is_set(o))
        return 0;
    if (!json_is_object(o))
        return err_set(e, RC_DATA, "'%s': the key 'quantization_config' is not an object", path);
    s->there = true;
    s->kv = is_set(json_object_get(o, "kv_cache_scheme"));
    if (json_get_str(o, "quant_method", &s->method, path, e) ||
        json_or_str(o, "quant_algo", &s->algo, path, e))
        return -1;
    s->layout = !strncmp(s->method, "modelopt", 8) ? FACTS_MODELOPT : FACTS_COMPRESSED;
    if (s->layout == FACTS_COMPRESSED && strcmp(s->method, "compressed-tensors"))
        return err_set(e, RC_DATA,
                       "'%s': 'quant_method' is '%s'; modelopt and compressed-tensors are checked", path,
                       s->method);
    if (s->layout == FACTS_MODELOPT ? one_group(s, path, e)
                                    : read_groups(s, o, path, e) ||
                                        json_or_str(o, "format", &s->format, path, e))
        return -1;
    return read_patterns(o, s->key, s->layout == FACTS_COMPRESSED, path, &s->entry, &s->entries, e);
}

int facts_read_hf(struct facts_source *s, const json_t *hf, const char *path, struct err *e)
{
    json_t *o;

    s->file = "hf_quant_config.json";
    s->key = "exclude_modules";
    s->layout = FACTS_PLAIN;
    if (!hf)
        return 0;
    if (!json_is_object(hf))
        return err_set(e, RC_DATA, "'%s' is not a JSON object", path);
    if (json_get_obj(hf, "quantization", &o, path, e) || json_or_str(o, "quant_algo", &s->algo, path, e))
        return -1;
    if (json_is_null(json_object_get(o, "quant_algo"))) /* ModelOpt's words for: nothing is quantized */
        return 0;
    s->there = true;
    s->layout = FACTS_MODELOPT;
    s->method = "modelopt";
    s->kv = is_set(json_object_get(o, "kv_cache_quant_algo"));
    return one_group(s, path, e) || read_patterns(o, s->key, false, path, &s->entry, &s->entries, e) ? -1 : 0;
}

static void release_patterns(struct pattern *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        pattern_release(&p[i]);
    free(p);
}

void facts_release_source(struct facts_source *s)
{
    for (size_t i = 0; i < s->groups; i++)
        release_patterns(s->group[i].target, s->group[i].targets);
    free(s->group);
    release_patterns(s->entry, s->entries);
    *s = (struct facts_source){0};
}
