/* config.c - the shape of a model from config.json */
#include "common/model/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

#define WAY_OUT "take the config.json that belongs to these weights"

enum { MAX_DIM = 1 << 24, MAX_LAYERS = 4096 };

/*
 * Where the keys of one half of the model stand: text_config and, for what it lacks, the top level (files of
 * transformers 4.52 to 4.57 keep stale copies of the text keys there); or vision_config alone.
 */
struct part {
    const json_t *obj, *fallback; /* fallback: NULL when there is none */
    char where[768];              /* for messages: the file and the object */
};

static bool has(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);

    return v && !json_is_null(v);
}

/* The object that holds the key, or NULL. */
static const json_t *holder(const struct part *p, const char *key)
{
    return has(p->obj, key) ? p->obj : has(p->fallback, key) ? p->fallback : NULL;
}

static int missing(const struct part *p, const char *key, struct err *e)
{
    return err_set(e, RC_DATA, "%s: the key '%s' is missing, and no default would be right; " WAY_OUT,
                   p->where, key);
}

static int size_key(const struct part *p, const char *key, size_t max, size_t *out, struct err *e)
{
    const json_t *o = holder(p, key);

    if (!o)
        return missing(p, key, e);
    if (json_get_size(o, key, out, p->where, e))
        return -1;
    if (*out == 0 || *out > max)
        return err_set(e, RC_DATA, "%s: the key '%s' is %zu, it must lie in 1..%zu; " WAY_OUT, p->where, key,
                       *out, max);
    return 0;
}

static int token_key(const struct part *p, const char *key, size_t vocab, int32_t *out, struct err *e)
{
    const json_t *o = holder(p, key);
    size_t id = 0;

    if (!o)
        return missing(p, key, e);
    if (json_get_size(o, key, &id, p->where, e))
        return -1;
    if (id >= vocab)
        return err_set(e, RC_DATA, "%s: the key '%s' is %zu, outside the vocabulary of %zu tokens; " WAY_OUT,
                       p->where, key, id, vocab);
    *out = (int32_t)id;
    return 0;
}

/* a must be a multiple of b. */
static int divides(const struct part *p, const char *a_key, size_t a, const char *b_key, size_t b,
                   struct err *e)
{
    if (a % b)
        return err_set(e, RC_DATA, "%s: '%s' (%zu) is not a multiple of '%s' (%zu); " WAY_OUT, p->where,
                       a_key, a, b_key, b);
    return 0;
}

static int activation(const struct part *p, struct err *e)
{
    const json_t *o = holder(p, "hidden_act");
    const char *act = NULL;

    if (!o)
        return missing(p, "hidden_act", e);
    if (json_get_str(o, "hidden_act", &act, p->where, e))
        return -1;
    if (strcmp(act, "silu"))
        return err_set(e, RC_DATA, "%s: the key 'hidden_act' is '%s'; only 'silu' is supported", p->where,
                       act);
    return 0;
}

/* One dictionary of rope settings: rope_scaling (transformers 4) or rope_parameters (5). */
static int rope_type(const struct part *p, const json_t *rope, const char *name, struct err *e)
{
    static const char *const keys[] = {"rope_type", "type"};
    double partial = 1;

    if (!json_is_object(rope))
        return err_set(e, RC_DATA, "%s: the key '%s' is not an object", p->where, name);
    for (size_t i = 0; i < 2; i++) {
        const char *type = "default";

        if (json_or_str(rope, keys[i], &type, p->where, e))
            return -1;
        if (strcmp(type, "default") && strcmp(type, "mrope"))
            return err_set(
                e, RC_DATA,
                "%s: %s.%s is '%s'; only 'default' and 'mrope' are supported: use the model without context "
                "extension",
                p->where, name, keys[i], type);
    }
    if (json_or_f64(rope, "partial_rotary_factor", &partial, p->where, e))
        return -1;
    if (partial != 1)
        return err_set(e, RC_DATA, "%s: %s.partial_rotary_factor is %g; only 1 is supported", p->where, name,
                       partial);
    return 0;
}

static int rope_sections(struct config *c, const struct part *p, const json_t *rope, struct err *e)
{
    const json_t *list = json_object_get(rope, "mrope_section");
    size_t sum = 0;

    if (!list)
        return missing(p, "mrope_section", e);
    if (!json_is_array(list) || json_array_size(list) != 3)
        return err_set(e, RC_DATA, "%s: the key 'mrope_section' is not an array of 3 numbers", p->where);
    for (size_t i = 0; i < 3; i++) {
        const json_t *v = json_array_get(list, i);

        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > MAX_DIM)
            return err_set(e, RC_DATA, "%s: mrope_section[%zu] is not a whole number in 0..%d", p->where, i,
                           MAX_DIM);
        c->mrope[i] = (size_t)json_integer_value(v);
        sum += c->mrope[i];
    }
    if (sum != c->head_dim / 2)
        return err_set(e, RC_DATA,
                       "%s: 'mrope_section' sums to %zu, it must sum to half of the head size, %zu; " WAY_OUT,
                       p->where, sum, c->head_dim / 2);
    return 0;
}

/*
 * Three generations: rope_theta alone or with rope_scaling {type "mrope", mrope_section}; the same with
 * rope_type "default" added; one rope_parameters {rope_theta, rope_type, mrope_section}.  Stale copies at the
 * top level count only when text_config has no rope keys of its own.
 */
static int read_rope(struct config *c, const struct part *p, struct err *e)
{
    static const char *const names[] = {"rope_parameters", "rope_scaling"};
    const json_t *o = p->obj, *rope = NULL;
    const json_t *theta = NULL;

    if (p->fallback && !has(o, names[0]) && !has(o, names[1]) && !has(o, "rope_theta"))
        o = p->fallback;
    for (size_t i = 0; i < 2; i++) {
        const json_t *d = has(o, names[i]) ? json_object_get(o, names[i]) : NULL;

        if (!d)
            continue;
        if (rope_type(p, d, names[i], e))
            return -1;
        if (!rope || !has(rope, "mrope_section"))
            rope = d;
        if (!theta && has(d, "rope_theta"))
            theta = d;
    }
    if (!theta)
        theta = has(o, "rope_theta") ? o : NULL;
    if (!theta)
        return missing(p, "rope_theta", e);
    if (json_get_f64(theta, "rope_theta", &c->theta, p->where, e))
        return -1;
    if (!(c->theta >= 1 && c->theta <= 1e12))
        return err_set(e, RC_DATA, "%s: the key 'rope_theta' is %g, it must lie in 1..1e12; " WAY_OUT,
                       p->where, c->theta);
    if (c->has_vision)
        return rope_sections(c, p, rope, e);
    c->mrope[0] = c->head_dim / 2;
    return 0;
}

static int full_attention_only(const struct part *p, struct err *e)
{
    const json_t *o = holder(p, "use_sliding_window"), *types;
    bool sliding = false;
    json_t *type;
    size_t i;

    if (o && json_get_bool(o, "use_sliding_window", &sliding, p->where, e))
        return -1;
    if (sliding)
        return err_set(e, RC_DATA, "%s: 'use_sliding_window' is true; only full attention is supported",
                       p->where);
    o = holder(p, "layer_types");
    types = o ? json_object_get(o, "layer_types") : NULL;
    if (types && !json_is_array(types))
        return err_set(e, RC_DATA, "%s: the key 'layer_types' is not an array", p->where);
    json_array_foreach(
        (json_t *)types, i,
        type) if (!json_is_string(type) ||
                  strcmp(json_string_value(type),
                         "full_attention")) return err_set(e, RC_DATA,
                                                           "%s: layer_types[%zu] is not 'full_attention'; no "
                                                           "other kind is supported",
                                                           p->where, i);
    return 0;
}

static int read_head_dim(struct config *c, const struct part *p, struct err *e)
{
    if (holder(p, "head_dim")) {
        if (size_key(p, "head_dim", MAX_DIM, &c->head_dim, e))
            return -1;
    } else {
        if (divides(p, "hidden_size", c->hidden, "num_attention_heads", c->heads, e))
            return -1;
        c->head_dim = c->hidden / c->heads;
    }
    if (c->head_dim % 2)
        return err_set(e, RC_DATA, "%s: the head size %zu is odd, rotation needs pairs; " WAY_OUT, p->where,
                       c->head_dim);
    if (c->heads * c->head_dim > MAX_DIM)
        return err_set(e, RC_DATA, "%s: %zu heads of %zu are wider than %d; " WAY_OUT, p->where, c->heads,
                       c->head_dim, MAX_DIM);
    return 0;
}

static int read_text(struct config *c, const struct part *p, struct err *e)
{
    const json_t *o;
    double eps = 0;

    if (size_key(p, "hidden_size", MAX_DIM, &c->hidden, e) ||
        size_key(p, "intermediate_size", MAX_DIM, &c->intermediate, e) ||
        size_key(p, "num_hidden_layers", MAX_LAYERS, &c->layers, e) ||
        size_key(p, "num_attention_heads", MAX_DIM, &c->heads, e) ||
        size_key(p, "num_key_value_heads", MAX_DIM, &c->kv_heads, e) ||
        size_key(p, "vocab_size", MAX_DIM, &c->vocab, e) ||
        size_key(p, "max_position_embeddings", MAX_DIM, &c->max_position, e) ||
        divides(p, "num_attention_heads", c->heads, "num_key_value_heads", c->kv_heads, e) ||
        read_head_dim(c, p, e) || activation(p, e) || full_attention_only(p, e) || read_rope(c, p, e))
        return -1;
    o = holder(p, "rms_norm_eps");
    if (!o)
        return missing(p, "rms_norm_eps", e);
    if (json_get_f64(o, "rms_norm_eps", &eps, p->where, e))
        return -1;
    if (!(eps > 0 && eps < 1))
        return err_set(e, RC_DATA, "%s: the key 'rms_norm_eps' is %g, it must lie between 0 and 1; " WAY_OUT,
                       p->where, eps);
    c->eps = (float)eps;
    return 0;
}

/* The hub's files say in_chans, transformers' class reads in_channels; a file may have both. */
static int read_channels(struct vision_config *v, const struct part *p, struct err *e)
{
    size_t other;

    if (!has(p->obj, "in_chans") && !has(p->obj, "in_channels"))
        return missing(p, "in_chans' or 'in_channels", e);
    if (!has(p->obj, "in_chans"))
        return size_key(p, "in_channels", MAX_DIM, &v->channels, e);
    if (size_key(p, "in_chans", MAX_DIM, &v->channels, e))
        return -1;
    other = v->channels;
    if (has(p->obj, "in_channels") && size_key(p, "in_channels", MAX_DIM, &other, e))
        return -1;
    if (other != v->channels)
        return err_set(e, RC_DATA, "%s: 'in_chans' is %zu, but 'in_channels' is %zu; " WAY_OUT, p->where,
                       v->channels, other);
    return 0;
}

static int read_full(struct vision_config *v, const struct part *p, struct err *e)
{
    const json_t *list = json_object_get(p->obj, "fullatt_block_indexes");
    json_t *item;
    size_t i;

    if (!list)
        return missing(p, "fullatt_block_indexes", e);
    if (!json_is_array(list))
        return err_set(e, RC_DATA, "%s: the key 'fullatt_block_indexes' is not an array", p->where);
    json_array_foreach((json_t *)list, i, item)
    {
        json_int_t block = json_integer_value(item);

        if (!json_is_integer(item) || block < 0 || (size_t)block >= v->depth)
            return err_set(e, RC_DATA,
                           "%s: fullatt_block_indexes[%zu] is not one of the %zu blocks; " WAY_OUT, p->where,
                           i, v->depth);
        v->full[block] = true;
    }
    return 0;
}

/* Only transformers 5.2x and later write it; elsewhere it is the 10000 that the model's code holds. */
static int read_vision_theta(struct vision_config *v, const struct part *p, struct err *e)
{
    const json_t *rope = json_object_get(p->obj, "rope_parameters");
    double theta = 10000;

    if (rope && !json_is_null(rope) && json_or_f64(rope, "rope_theta", &theta, p->where, e))
        return -1;
    if (!(theta >= 1 && theta <= 1e12))
        return err_set(e, RC_DATA, "%s: rope_parameters.rope_theta is %g, it must lie in 1..1e12; " WAY_OUT,
                       p->where, theta);
    v->theta = (float)theta;
    return 0;
}

/* Sizes made of several keys, each of which may be large. */
static int derive_vision(struct vision_config *v, const struct part *p, size_t window_size, struct err *e)
{
    size_t area, unit;

    if (mem_mul(v->patch, v->patch, &area, "the patch", e) ||
        mem_mul(area, v->temporal_patch, &area, "the patch", e) ||
        mem_mul(area, v->channels, &v->patch_dim, "the patch", e) ||
        mem_mul(v->merge, v->merge, &unit, "the merge", e) || mem_mul(unit, v->hidden, &unit, "the merge", e))
        return err_prefix(e, "%s", p->where);
    if (v->patch_dim > MAX_DIM || unit > MAX_DIM)
        return err_set(e, RC_DATA,
                       "%s: a patch of %zu numbers, or %zu numbers in a block of spatial_merge_size, is more "
                       "than %d; " WAY_OUT,
                       p->where, v->patch_dim, unit, MAX_DIM);
    if (divides(p, "hidden_size", v->hidden, "num_heads", v->heads, e))
        return -1;
    v->head_dim = v->hidden / v->heads;
    if (v->head_dim % 4)
        return err_set(e, RC_DATA,
                       "%s: the head size %zu is not a multiple of 4, as 2-D rotation needs; " WAY_OUT,
                       p->where, v->head_dim);
    v->window = window_size / v->merge / v->patch;
    if (v->window == 0)
        return err_set(e, RC_DATA,
                       "%s: 'window_size' %zu is less than one block of %zu patches of %zu pixels; " WAY_OUT,
                       p->where, window_size, v->merge, v->patch);
    return 0;
}

static int read_vision(struct config *c, const struct part *p, struct err *e)
{
    struct vision_config *v = &c->vision;
    size_t window_size;

    v->eps = 1e-6f; /* in the model's code, in no file */
    if (size_key(p, "depth", CONFIG_MAX_FULL, &v->depth, e) ||
        size_key(p, "hidden_size", MAX_DIM, &v->hidden, e) ||
        size_key(p, "intermediate_size", MAX_DIM, &v->intermediate, e) ||
        size_key(p, "num_heads", MAX_DIM, &v->heads, e) ||
        size_key(p, "out_hidden_size", MAX_DIM, &v->out_hidden, e) ||
        size_key(p, "patch_size", MAX_DIM, &v->patch, e) ||
        size_key(p, "temporal_patch_size", MAX_DIM, &v->temporal_patch, e) ||
        size_key(p, "spatial_merge_size", MAX_DIM, &v->merge, e) ||
        size_key(p, "window_size", MAX_DIM, &window_size, e) || read_channels(v, p, e) || activation(p, e) ||
        read_full(v, p, e) || read_vision_theta(v, p, e) || derive_vision(v, p, window_size, e))
        return -1;
    if (v->out_hidden != c->hidden)
        return err_set(
            e, RC_DATA,
            "%s: 'out_hidden_size' is %zu, but the language model's 'hidden_size' is %zu; " WAY_OUT, p->where,
            v->out_hidden, c->hidden);
    return 0;
}

static int read_tokens(struct config *c, const struct part *p, struct err *e)
{
    if (token_key(p, "image_token_id", c->vocab, &c->image_token, e) ||
        token_key(p, "video_token_id", c->vocab, &c->video_token, e) ||
        token_key(p, "vision_start_token_id", c->vocab, &c->vision_start, e))
        return -1;
    if (c->image_token == c->video_token || c->image_token == c->vision_start ||
        c->video_token == c->vision_start)
        return err_set(e, RC_DATA,
                       "%s: 'image_token_id', 'video_token_id' and 'vision_start_token_id' are not three "
                       "tokens; " WAY_OUT,
                       p->where);
    return 0;
}

/* model_type and architectures: what this is, or why it is refused. */
static int read_kind(struct config *c, const struct part *top, struct err *e)
{
    static const struct {
        const char *type, *architecture;
        bool vision;
    } known[] = {
        {"qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration", true},
        {"qwen2_5_vl", "Qwen2_5_VLModel", true},
        {"qwen2", "Qwen2ForCausalLM", false},
    };
    const char *type = NULL;
    bool type_known = false;
    json_t *list;

    if (json_get_str(top->obj, "model_type", &type, top->where, e))
        return -1;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        type_known |= !strcmp(type, known[i].type);
    if (!type_known)
        return err_set(e, RC_DATA,
                       "%s: 'model_type' is '%s'; qwen2_5_vl and qwen2 (Qwen2.5 text) are supported",
                       top->where, type);
    if (json_get_arr(top->obj, "architectures", &list, top->where, e))
        return -1;
    c->architecture = json_string_value(json_array_get(list, 0));
    if (!c->architecture)
        return err_set(e, RC_DATA, "%s: the key 'architectures' is not an array with a name; " WAY_OUT,
                       top->where);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(type, known[i].type) || strcmp(c->architecture, known[i].architecture))
            continue;
        c->has_vision = known[i].vision;
        return 0;
    }
    return err_set(e, RC_DATA,
                   "%s: 'architectures' says '%s'; Qwen2_5_VLForConditionalGeneration and Qwen2ForCausalLM "
                   "are supported",
                   top->where, c->architecture);
}

static int read_tied(struct config *c, const struct part *top, const json_t *text, struct err *e)
{
    const char *key = "tie_word_embeddings";

    c->tied = false;
    return json_or_bool(has(top->obj, key) || !text ? top->obj : text, key, &c->tied, top->where, e);
}

int config_read(struct config *c, const json_t *config_json, const char *name, struct err *e)
{
    struct part top = {.obj = config_json}, text, vision = {0};
    json_t *nested = NULL, *v = NULL;

    *c = (struct config){.image_token = -1, .video_token = -1, .vision_start = -1};
    snprintf(top.where, sizeof top.where, "'%s'", name);
    if (!json_is_object(config_json))
        return err_set(e, RC_DATA, "%s is not a JSON object; " WAY_OUT, top.where);
    if (read_kind(c, &top, e))
        return -1;
    text = top;
    if (c->has_vision && has(config_json, "text_config")) {
        if (json_get_obj(config_json, "text_config", &nested, top.where, e))
            return -1;
        text = (struct part){.obj = nested, .fallback = config_json};
        snprintf(text.where, sizeof text.where, "'%s': text_config", name);
    }
    if (read_text(c, &text, e) || read_tied(c, &top, nested, e))
        return -1;
    if (!c->has_vision)
        return 0;
    if (!has(config_json, "vision_config"))
        return missing(&top, "vision_config", e);
    if (json_get_obj(config_json, "vision_config", &v, top.where, e))
        return -1;
    vision.obj = v;
    snprintf(vision.where, sizeof vision.where, "'%s': vision_config", name);
    return read_vision(c, &vision, e) || read_tokens(c, &text, e) ? -1 : 0;
}
