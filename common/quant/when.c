/* when.c - the conditions of the engines' rules about layers and tensors */
#include "common/quant/when.h"

#include <stdio.h>
#include <string.h>

enum { ALIGNMENT = 16 };

/* ---- units ---- */

static const struct facts_module *member(const struct subject *s, size_t i)
{
    return &s->f->module[s->unit->first + i];
}

static const char *last_part(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot ? dot + 1 : name;
}

bool when_half_listed(struct subject *s)
{
    if (s->choice->held != HELD_MIXED)
        return false;
    WHEN_SAY(s, "the list has '%.200s'", s->choice->entry ? s->choice->entry : "");
    return true;
}

bool when_half_codes(struct subject *s)
{
    size_t used = 0;

    if (s->unit->held != HELD_MIXED)
        return false;
    for (size_t i = 0; i < s->unit->n && used < DETAIL_BYTES; i++)
        used += (size_t)snprintf(s->detail + used, DETAIL_BYTES - used, "%s%s %s", i ? ", " : "",
                                 last_part(member(s, i)->is->name), facts_held_text(member(s, i)->held));
    return true;
}

/* The scales of a unit that is codes and taken as codes, one number each, differ. */
static bool differ(struct subject *s, bool weight)
{
    const enum facts_held held = s->choice->held;
    float least = INFINITY, most = 0;

    for (size_t i = 0; i < s->unit->n; i++) {
        const struct st_tensor *t = weight ? member(s, i)->weight_scale : member(s, i)->input_scale;
        const float v = t ? facts_scale(t) : NAN;

        if (!facts_is_codes(held) || member(s, i)->held != held || !(v > 0))
            return false;
        least = fminf(least, v);
        most = fmaxf(most, v);
    }
    WHEN_SAY(s, "%g to %g", (double)least, (double)most);
    return least != most;
}

bool when_weight_scales_differ(struct subject *s)
{
    return differ(s, true);
}

bool when_input_scales_differ(struct subject *s)
{
    return differ(s, false);
}

/* One input, one multiplier for each of its channels. */
bool when_pre_scales_differ(struct subject *s)
{
    const struct st_tensor *first = member(s, 0)->pre_scale;

    for (size_t i = 1; i < s->unit->n; i++) {
        const struct st_tensor *t = member(s, i)->pre_scale;

        WHEN_SAY(s, "%s and %s", last_part(s->unit->name), last_part(member(s, i)->is->name));
        if (!t != !first || (t && (t->dtype != first->dtype || t->bytes != first->bytes ||
                                   memcmp(t->data, first->data, t->bytes))))
            return true;
    }
    return false;
}

bool when_misaligned(struct subject *s)
{
    size_t rows = 0, cols = 0;

    if (!facts_is_codes(s->choice->held))
        return false;
    for (size_t i = 0; i < s->unit->n; i++) {
        const struct st_tensor *w = member(s, i)->weight;

        if (!w || w->ndim != 2 || !facts_is_codes(member(s, i)->held))
            return false;
        rows += w->shape[0];
        cols = w->shape[1];
    }
    WHEN_SAY(s, "[%zu, %zu]", rows, cols);
    return rows % ALIGNMENT || cols % ALIGNMENT;
}

bool when_misaligned_fp8(struct subject *s)
{
    return s->choice->held == HELD_FP8 && when_misaligned(s);
}

bool when_misaligned_int8(struct subject *s)
{
    return s->choice->held == HELD_INT8 && when_misaligned(s);
}

bool when_misaligned_language(struct subject *s)
{
    return s->unit->scope != SCOPE_VISION && when_misaligned(s);
}

bool when_misaligned_vision(struct subject *s)
{
    return s->unit->scope == SCOPE_VISION && when_misaligned(s);
}

bool when_tied_head_codes(struct subject *s)
{
    return s->f->parts.tied && !strcmp(s->unit->name, "lm_head") && facts_is_codes(s->unit->held);
}

bool when_vision_codes(struct subject *s)
{
    return s->unit->scope == SCOPE_VISION && (facts_is_codes(s->unit->held) || s->unit->held == HELD_MIXED);
}

/* ---- modules ---- */

static void say_entry(struct subject *s)
{
    if (s->choice->entry)
        WHEN_SAY(s, "excluded by '%.200s'", s->choice->entry);
}

bool when_part_missing(struct subject *s)
{
    const struct facts_module *m = s->module;

    WHEN_SAY(s, "%s", m->weight ? "bias" : "weight");
    return !m->weight || (m->is->bias && !m->bias);
}

bool when_codes_excluded(struct subject *s)
{
    say_entry(s);
    return facts_is_codes(s->module->held) && s->choice->held == HELD_16_BITS;
}

bool when_scaled_codes_excluded(struct subject *s)
{
    return when_codes_excluded(s) && (s->module->weight_scale || s->module->input_scale);
}

bool when_bare_codes_excluded(struct subject *s)
{
    return when_codes_excluded(s) && !s->module->weight_scale && !s->module->input_scale;
}

bool when_language_codes_excluded(struct subject *s)
{
    return when_codes_excluded(s) && s->unit->scope != SCOPE_VISION;
}

bool when_bytes_included(struct subject *s)
{
    return s->module->held == HELD_16_BITS && facts_is_codes(s->choice->held);
}

bool when_other_codes(struct subject *s)
{
    const enum facts_held held = s->module->held;

    if (!s->module->weight || s->choice->held == HELD_MIXED)
        return false;
    WHEN_SAY(s, "%s, taken as %s", st_dtype_name(s->module->weight->dtype), facts_held_text(s->choice->held));
    return held == HELD_OTHER || (facts_is_codes(held) && facts_is_codes(s->choice->held) &&
                                  held != s->choice->held);
}

static bool taken_as_codes(const struct subject *s)
{
    return facts_is_codes(s->module->held) && s->choice->held == s->module->held;
}

bool when_no_weight_scale(struct subject *s)
{
    return taken_as_codes(s) && !s->module->weight_scale;
}

bool when_no_input_scale(struct subject *s)
{
    return taken_as_codes(s) && !s->choice->group->dynamic && !s->module->input_scale;
}

/* The group that the files' own configuration has for a module, whatever its list says. */
static const struct facts_group *own_group(const struct subject *s, const struct facts_module *m)
{
    if (s->source->layout == FACTS_MODELOPT)
        return s->source->group;
    return s->source->layout == FACTS_COMPRESSED ? engine_target(s->source, m->is->name) : NULL;
}

bool when_codes_bare(struct subject *s)
{
    const struct facts_module *m = s->module;
    const struct facts_group *g = own_group(s, m);
    const bool weight = !m->weight_scale, input = !m->input_scale && g && !g->dynamic;

    if (!facts_is_codes(m->held) || (!weight && !input))
        return false;
    WHEN_SAY(s, "%s", weight && input ? "weight_scale and input_scale" : weight ? "weight_scale"
             : "input_scale");
    return true;
}

bool when_small_scale(struct subject *s)
{
    const float v = s->module->weight_scale ? facts_scale(s->module->weight_scale) : NAN;

    WHEN_SAY(s, "%g", (double)v);
    return taken_as_codes(s) && s->module->held == HELD_FP8 && v > 0 && v < ENGINE_FP16_SCALE_LEAST;
}

/* The i-th number of a scale. */
static float scale_at(const struct st_tensor *t, size_t i)
{
    const size_t n = dtype_bytes(t->dtype);
    struct st_tensor one = *t;

    one.count = 1;
    one.bytes = n;
    one.data = t->data + i * n;
    return facts_scale(&one);
}

static bool rounds_in_bf16(const struct st_tensor *t)
{
    for (size_t i = 0; t && t->dtype != DT_BF16 && i < t->count; i++) {
        const float v = scale_at(t, i);

        if (v == v && bf16_to_f32(bf16_from_f32(v)) != v)
            return true;
    }
    return false;
}

bool when_scale_not_bf16(struct subject *s)
{
    return taken_as_codes(s) &&
           (rounds_in_bf16(s->module->weight_scale) || rounds_in_bf16(s->module->input_scale));
}

bool when_scale_0d(struct subject *s)
{
    const struct st_tensor *w = s->module->weight_scale, *x = s->module->input_scale;

    return taken_as_codes(s) && ((w && w->ndim == 0) || (x && x->ndim == 0));
}

bool when_row_scale_1d(struct subject *s)
{
    const struct st_tensor *t = s->module->weight_scale;

    return taken_as_codes(s) && s->choice->group->channel && t && t->ndim == 1;
}

/* ---- tensors ---- */

static void say_tensor(struct subject *s)
{
    const struct st_tensor *t = s->tensor->t;
    size_t used = (size_t)snprintf(s->detail, DETAIL_BYTES, "%s [", st_dtype_name(t->dtype));

    for (size_t i = 0; i < t->ndim; i++)
        used += (size_t)snprintf(s->detail + used, DETAIL_BYTES - used, "%s%zu", i ? ", " : "", t->shape[i]);
    snprintf(s->detail + used, DETAIL_BYTES - used, "]");
}

bool when_unknown(struct subject *s)
{
    say_tensor(s);
    return s->tensor->part == PART_UNKNOWN && !strstr(s->tensor->name, "rotary_emb.inv_freq");
}

bool when_unknown_shard(struct subject *s)
{
    static const char *const shards[] = {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"};

    if (!when_unknown(s) || name_scope(s->tensor->name) == SCOPE_VISION)
        return false;
    for (size_t i = 0; i < sizeof shards / sizeof *shards; i++)
        if (strstr(s->tensor->name, shards[i]))
            return true;
    return false;
}

static bool is_scale(const struct subject *s)
{
    return s->tensor->part == PART_WEIGHT_SCALE || s->tensor->part == PART_INPUT_SCALE ||
           s->tensor->part == PART_PRE_SCALE;
}

bool when_scale_of_plain(struct subject *s)
{
    say_tensor(s);
    return is_scale(s) && s->tensor->module->weight && !facts_is_codes(s->tensor->module->held);
}

bool when_scale_of_excluded(struct subject *s)
{
    return when_scale_of_plain(s) && s->choice->held == HELD_16_BITS;
}

/* ModelOpt's scales are F32, its pre_quant_scale BF16.  Other writers of compressed-tensors use BF16, too. */
bool when_scale_type(struct subject *s)
{
    const enum dtype t = s->tensor->t->dtype;
    const bool loose = s->source->layout == FACTS_COMPRESSED || s->tensor->part == PART_PRE_SCALE;

    say_tensor(s);
    return (is_scale(s) || s->tensor->part == PART_KV_SCALE) && t != DT_F32 && !(loose && t == DT_BF16);
}

bool when_scale_shape(struct subject *s)
{
    const struct st_tensor *t = s->tensor->t;
    const struct facts_module *m = s->tensor->module;
    const struct facts_group *g = is_scale(s) ? own_group(s, m) : NULL;
    size_t want = 1;

    say_tensor(s);
    if (!g || !m->weight || m->weight->ndim != 2 || !facts_is_codes(m->held))
        return false;
    if (s->tensor->part == PART_WEIGHT_SCALE && g->channel)
        want = m->weight->shape[0];
    if (s->tensor->part == PART_PRE_SCALE)
        want = m->weight->shape[1];
    return t->count != want || t->ndim > 2 || (t->ndim == 2 && t->shape[1] != 1);
}

static bool is_good(const struct st_tensor *t)
{
    for (size_t i = 0; i < t->count; i++) {
        const float v = scale_at(t, i);

        if (!(v > 0) || isinf(v))
            return false;
    }
    return true;
}

bool when_scale_value(struct subject *s)
{
    const enum dtype t = s->tensor->t->dtype;

    if (s->tensor->t->count == 1)
        WHEN_SAY(s, "%g", (double)facts_scale(s->tensor->t));
    return (is_scale(s) || s->tensor->part == PART_KV_SCALE) &&
           (t == DT_F32 || t == DT_BF16 || t == DT_F16) && !is_good(s->tensor->t);
}

bool when_codes_elsewhere(struct subject *s)
{
    const enum dtype t = s->tensor->t->dtype;

    say_tensor(s);
    return (t == DT_F8_E4M3 || t == DT_I8) &&
           ((s->tensor->part == PART_WEIGHT && !s->tensor->module->is->linear) ||
            s->tensor->part == PART_BIAS);
}

bool when_kv_language(struct subject *s)
{
    return s->tensor->part == PART_KV_SCALE && name_scope(s->tensor->name) == SCOPE_LANGUAGE;
}

static bool is_of_attention(const char *tensor)
{
    const char *dot = strrchr(tensor, '.');

    while (dot > tensor && dot[-1] != '.')
        dot--;
    return !strncmp(dot, "self_attn.", 10);
}

bool when_kv_projection(struct subject *s)
{
    return when_kv_language(s) && !is_of_attention(s->tensor->name);
}

bool when_kv_attention(struct subject *s)
{
    return when_kv_language(s) && is_of_attention(s->tensor->name);
}

bool when_pre_scale(struct subject *s)
{
    say_tensor(s);
    return s->tensor->part == PART_PRE_SCALE;
}

bool when_kv_vision(struct subject *s)
{
    return s->tensor->part == PART_KV_SCALE && name_scope(s->tensor->name) == SCOPE_VISION;
}

bool when_in_memory(struct subject *s)
{
    WHEN_SAY(s, "%.300s", s->tensor->t->name);
    return s->tensor->in_memory && s->f->parts.vision;
}
