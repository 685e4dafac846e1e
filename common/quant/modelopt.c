/* modelopt.c - what a checkpoint in NVIDIA ModelOpt's layout says about itself */
#include "common/quant/modelopt.h"

#include <string.h>

#include "common/base/cli.h"
#include "common/io/json.h"
#include "common/quant/names.h"

/* The name, and that of the module into which engines merge it. */
static int add_layer(json_t *list, const char *name, struct err *e)
{
    const char *member[NAME_MEMBERS_MAX];
    char hub[NAME_BYTES];
    size_t members = name_members(name, member);

    if (name_hub(name, hub, e) || json_push(list, json_string(hub), e))
        return -1;
    if (!members)
        return 0;
    *(strrchr(hub, '.') + 1) = '\0';
    return json_push(list, json_sprintf("%s%s", hub, members == 3 ? "qkv_proj" : "gate_up_proj"), e);
}

bool modelopt_must_exclude(const json_t *list, const char *name)
{
    const json_t *v;
    size_t i;

    json_array_foreach((json_t *)list, i, v) if (name_match(json_string_value(v), name)) return true;
    return false;
}

bool modelopt_may_exclude(const json_t *list, const char *name)
{
    const json_t *v;
    size_t i;

    json_array_foreach((json_t *)list, i, v) if (strstr(name, json_string_value(v)) ||
                                                 name_match(json_string_value(v), name)) return true;
    return false;
}

static int check(const json_t *list, const struct layout_layer *layer, size_t n, struct err *e)
{
    char hub[NAME_BYTES];

    for (size_t i = 0; i < n; i++) {
        if (name_hub(layer[i].name, hub, e))
            return -1;
        if (layer[i].format ? modelopt_may_exclude(list, hub) : !modelopt_must_exclude(list, hub))
            return err_set(e, RC_DATA,
                           "the list of layers that stay unquantized cannot say that '%s' is%s one of "
                           "them: the layer names of this model are too alike",
                           hub, layer[i].format ? " not" : "");
    }
    return 0;
}

json_t *modelopt_exclude(const struct layout_layer *layer, size_t n, struct err *e)
{
    static const char *const tower[] = {"visual", "visual*", "model.visual", "model.visual*"};
    json_t *list = json_array();
    bool vision, part, head = false;
    int bad = 0;

    layout_vision(layer, n, &vision, &part);
    for (size_t i = 0; i < n && !bad; i++) {
        head |= layer[i].format && !strcmp(layer[i].name, "lm_head");
        if (!layer[i].format && (part || name_scope(layer[i].name) != SCOPE_VISION))
            bad = add_layer(list, layer[i].name, e);
    }
    if (!head)
        bad = bad || json_push(list, json_string("lm_head"), e);
    for (size_t i = 0; i < sizeof tower / sizeof *tower && vision && !part; i++)
        bad = bad || json_push(list, json_string(tower[i]), e);
    if (bad) {
        json_decref(list);
        return NULL;
    }
    list = layout_sorted(list, e);
    if (list && check(list, layer, n, e)) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static const char *algorithm(const struct layout_claim *c)
{
    return layout_has(c->layer, c->n, FORMAT_INT8) ? "W8A8_SQ_PER_CHANNEL" : "FP8";
}

/* FP8 of one static scale, as ModelOpt writes it in config.json. */
static json_t *numbers(void)
{
    return json_pack("{s:b,s:i,s:s}", "dynamic", 0, "num_bits", 8, "type", "float");
}

/* ModelOpt has no groups for INT8. */
json_t *modelopt_inline_config(const struct layout_claim *c, struct err *e)
{
    json_t *o = json_object();
    int bad = 0;

    if (!layout_has(c->layer, c->n, FORMAT_INT8))
        bad = json_put(o, "config_groups",
                       json_pack("{s:{s:o,s:o,s:[s]}}", "group_0", "input_activations", numbers(), "weights",
                                 numbers(), "targets", "Linear"),
                       e);
    bad = bad || json_put(o, "ignore", json_incref((json_t *)c->ignore), e) ||
          json_put(o, "quant_algo", json_string(algorithm(c)), e) ||
          (c->kv && json_put(o, "kv_cache_scheme", numbers(), e)) ||
          json_put(o, "producer", json_pack("{s:s,s:s}", "name", "octet", "version", cli_version()), e) ||
          json_put(o, "quant_method", json_string("modelopt"), e);
    if (!bad)
        return o;
    json_decref(o);
    return NULL;
}

json_t *modelopt_file_config(const struct layout_claim *c, struct err *e)
{
    return layout_packed(json_pack("{s:{s:s,s:s},s:{s:s,s:s?,s:O}}", "producer", "name", "octet", "version",
                                   cli_version(), "quantization", "quant_algo", algorithm(c),
                                   "kv_cache_quant_algo", c->kv ? "FP8" : NULL, "exclude_modules", c->ignore),
                         e);
}
