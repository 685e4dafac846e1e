/* compressed.c - what a checkpoint in compressed-tensors' layout says about itself */
#include "common/quant/compressed.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/io/json.h"
#include "common/quant/names.h"
#include "common/quant/pattern.h"

enum { ENTRY_BYTES = 3 * NAME_BYTES };

static const char *last_part(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot ? dot + 1 : name;
}

/* An embedding is not a Linear, and no list needs to name it. */
static bool is_linear(const struct layout_layer *l)
{
    return strcmp(last_part(l->name), "embed_tokens") != 0;
}

/* Append n characters of a name to an expression that is to match them as they are. */
static void append_literal(char out[ENTRY_BYTES], const char *s, size_t n)
{
    size_t k = strlen(out);

    for (size_t i = 0; i < n && k + 3 < ENTRY_BYTES; i++) {
        if (!isalnum((unsigned char)s[i]) && s[i] != '_')
            out[k++] = '\\';
        out[k++] = s[i];
    }
    out[k] = '\0';
}

/* The expression for a layer and those that engines merge it with, in every spelling of the path to it. */
static void entry_of(const char *name, char out[ENTRY_BYTES])
{
    static const char language[] = "language_model.";
    const char *member[NAME_MEMBERS_MAX], *leaf = last_part(name);
    const size_t members = name_members(name, member),
                 skip = strncmp(name, language, strlen(language)) ? 0 : strlen(language);

    strcpy(out, "re:.*");
    append_literal(out, name + skip, (size_t)(leaf - name) - skip);
    if (members)
        strcat(out, members == 3 ? "(q|k|v|qkv)_proj$" : "(gate|up|gate_up)_proj$");
    else {
        append_literal(out, leaf, strlen(leaf));
        strcat(out, strcmp(leaf, "qkv") ? "$" : "(_proj)?$"); /* SGLang's vision attn.qkv_proj */
    }
}

/*
 * The spellings of a layer that some engine compares with the list: hub, in-memory, vLLM's, which keeps the
 * language model in a module of its own, and each with the name of the merged module.  Several may be the
 * same.
 */
enum { STYLES = 3, SPELLINGS = 2 * STYLES, SPELLED_BYTES = NAME_BYTES + 32 };

static int spell(const char *name, size_t i, char out[SPELLED_BYTES], struct err *e)
{
    const bool vllm = i % STYLES == 2 && name_scope(name) == SCOPE_LANGUAGE;
    const char *member[NAME_MEMBERS_MAX], *leaf = last_part(name);
    const size_t members = name_members(name, member);
    char path[NAME_BYTES];

    if (i % STYLES == 1 ? name_in_memory(name, path, e) : name_hub(name, path, e))
        return -1;
    path[strlen(path) - strlen(leaf)] = '\0';
    if (i >= STYLES && members)
        leaf = members == 3 ? "qkv_proj" : "gate_up_proj";
    else if (i >= STYLES && !strcmp(leaf, "qkv"))
        leaf = "qkv_proj";
    if ((size_t)snprintf(out, SPELLED_BYTES, "%s%s%s", vllm ? "language_model." : "", path, leaf) >=
        SPELLED_BYTES)
        return err_set(e, RC_DATA, "the layer name '%.40s...' is too long", name);
    return 0;
}

static int listed(const struct pattern *p, size_t n, const char *name, struct err *e)
{
    int ret = 0;

    for (size_t i = 0; i < n && ret == 0; i++)
        ret = pattern_match(&p[i], name, e);
    return ret;
}

/* What a list names: the layers that stay as they are, or those of one group. */
struct kind {
    enum scheme_format format;
    bool dynamic;
};

static bool is_of(const struct layout_layer *l, const struct kind *k)
{
    return l->format == k->format && l->dynamic == k->dynamic;
}

static int check_layer(const struct pattern *p, size_t n, const struct layout_layer *l, const struct kind *k,
                       struct err *e)
{
    /* The head is listed as itself, and engines know the head. */
    const size_t spellings = strcmp(l->name, "lm_head") ? SPELLINGS : 1;
    char name[SPELLED_BYTES];

    for (size_t i = 0; i < spellings; i++) {
        int yes = -1;

        if (spell(l->name, i, name, e) == 0)
            yes = listed(p, n, name, e);
        if (yes < 0)
            return -1;
        if (yes != is_of(l, k))
            return err_set(e, RC_DATA,
                           "the list of layers that %s cannot say that '%s' is%s one of them: the layer names "
                           "of this model are too alike",
                           k->format ? "share a number format" : "stay unquantized", name,
                           is_of(l, k) ? "" : " not");
    }
    return 0;
}

static int check(const json_t *list, const struct layout_layer *layer, size_t n, const struct kind *k,
                 struct err *e)
{
    const size_t entries = json_array_size(list);
    struct pattern *p = mem_zalloc(entries, sizeof *p, e);
    int ret = p ? 0 : -1;

    for (size_t i = 0; i < entries && ret == 0; i++)
        ret = pattern_init(&p[i], json_string_value(json_array_get(list, i)), e);
    for (size_t i = 0; i < n && ret == 0; i++)
        if (is_linear(&layer[i]))
            ret = check_layer(p, entries, &layer[i], k, e);
    for (size_t i = 0; p && i < entries; i++)
        pattern_release(&p[i]);
    free(p);
    return ret;
}

/* Takes list over; sorted and checked, or NULL. */
static json_t *finished(json_t *list, const struct layout_layer *layer, size_t n, const struct kind *k,
                        struct err *e)
{
    list = layout_sorted(list, e);
    if (list && check(list, layer, n, k, e)) {
        json_decref(list);
        return NULL;
    }
    return list;
}

json_t *compressed_ignore(const struct layout_layer *layer, size_t n, struct err *e)
{
    json_t *list = json_array();
    bool vision, part, head = false;
    char entry[ENTRY_BYTES];
    int bad = 0;

    layout_vision(layer, n, &vision, &part);
    for (size_t i = 0; i < n && !bad; i++) {
        const bool is_head = !strcmp(layer[i].name, "lm_head");

        head |= layer[i].format && is_head;
        if (layer[i].format || is_head || !is_linear(&layer[i]) ||
            (!part && name_scope(layer[i].name) == SCOPE_VISION))
            continue;
        entry_of(layer[i].name, entry);
        bad = json_push(list, json_string(entry), e);
    }
    if (!head)
        bad = bad || json_push(list, json_string("lm_head"), e);
    if (vision && !part)
        bad = bad || json_push(list, json_string("re:.*visual.*"), e);
    if (bad) {
        json_decref(list);
        return NULL;
    }
    return finished(list, layer, n, &(struct kind){FORMAT_NONE, false}, e);
}

/* One expression per group of layers. */
static json_t *targets(const struct layout_claim *c, const struct kind *k, struct err *e)
{
    json_t *list = json_array();
    char entry[ENTRY_BYTES];

    for (size_t i = 0; i < c->n; i++) {
        if (!is_of(&c->layer[i], k))
            continue;
        entry_of(c->layer[i].name, entry);
        if (json_push(list, json_string(entry), e)) {
            json_decref(list);
            return NULL;
        }
    }
    return finished(list, c->layer, c->n, k, e);
}

/* One side of a product, symmetric. */
static json_t *numbers(const char *type, const char *strategy, bool dynamic)
{
    return json_pack("{s:i,s:s,s:s,s:b,s:b}", "num_bits", 8, "type", type, "strategy", strategy, "symmetric",
                     1,
                     "dynamic", dynamic);
}

static const char *format_of(const struct kind *k)
{
    return k->format == FORMAT_INT8 ? "int-quantized" : "float-quantized";
}

/* list: its targets, taken over; format NULL: that of all groups. */
static json_t *group(const struct kind *k, json_t *list, const char *format, struct err *e)
{
    const bool int8 = k->format == FORMAT_INT8;
    const char *type = int8 ? "int" : "float";
    json_t *o = json_object();

    if (json_put(o, "targets", list, e) || (format && json_put(o, "format", json_string(format), e)) ||
        json_put(o, "weights", numbers(type, int8 ? "channel" : "tensor", false), e) ||
        json_put(o, "input_activations", numbers(type, k->dynamic ? "token" : "tensor", k->dynamic), e)) {
        json_decref(o);
        return NULL;
    }
    return o;
}

/* One group is all Linear modules that are not ignored; several list their own. */
static json_t *groups(const struct layout_claim *c, const struct kind *k, size_t n, struct err *e)
{
    json_t *all = json_object();

    for (size_t i = 0; i < n; i++) {
        char name[32];
        json_t *list = n == 1 ? json_pack("[s]", "Linear") : targets(c, &k[i], e),
               *one = list ? group(&k[i], list, n == 1 ? NULL : format_of(&k[i]), e) : NULL;

        snprintf(name, sizeof name, "group_%zu", i);
        if (!one || json_put(all, name, one, e)) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

/*
 * Where formats differ, each group says its own, and the whole that of the first: "mixed-precision", which
 * compressed-tensors has for it, makes SGLang before August 2026 load all of it unquantized, without a word.
 */
json_t *compressed_config(const struct layout_claim *c, struct err *e)
{
    static const struct kind known[] = {{FORMAT_FP8, false}, {FORMAT_INT8, false}, {FORMAT_INT8, true}};
    struct kind kind[sizeof known / sizeof *known];
    json_t *o = json_object(), *config_groups;
    size_t n = 0;

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        bool there = false;

        for (size_t l = 0; l < c->n; l++)
            there |= is_of(&c->layer[l], &known[i]);
        if (there)
            kind[n++] = known[i];
    }
    config_groups = groups(c, kind, n, e);
    if (!config_groups || json_put(o, "quant_method", json_string("compressed-tensors"), e) ||
        json_put(o, "format", json_string(format_of(&kind[0])), e) ||
        json_put(o, "quantization_status", json_string("compressed"), e) ||
        json_put(o, "config_groups", json_incref(config_groups), e) ||
        json_put(o, "ignore", json_incref((json_t *)c->ignore), e) ||
        (c->kv && json_put(o, "kv_cache_scheme", numbers("float", "tensor", false), e))) {
        json_decref(o);
        o = NULL;
    }
    json_decref(config_groups);
    return o;
}
