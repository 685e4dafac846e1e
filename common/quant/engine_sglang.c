/*
 * engine_sglang.c - what SGLang 0.5.23 does with a checkpoint
 *
 * RAN: its loading code was run on checkpoints made for the purpose and on ModelOpt 0.47's own exports (no
 * kernels). Sources: sglang/srt/layers/quantization/modelopt_quant.py and utils.py, models/qwen2_5_vl.py.
 */
#include <stdio.h>
#include <string.h>

#include "common/quant/when.h"

static const struct rule rules[] = {
    /* What the configuration says. */
    {"algorithm", FACTS_MODELOPT, RULE_CONFIG, when_no_algorithm, EFFECT_REFUSES, INFERRED,
     "ValueError: quant_algo is missing"},
    {"algorithm", FACTS_MODELOPT, RULE_CONFIG, when_not_fp8, EFFECT_REFUSES, RAN,
     "ValueError: of ModelOpt's layouts it loads FP8 alone"},

    {"inputs", FACTS_COMPRESSED, RULE_CONFIG, when_odd_int8_inputs, EFFECT_REFUSES, READ,
     "no scheme for INT8 whose inputs have neither one static scale nor one per token"},
    {"mixed", FACTS_COMPRESSED, RULE_CONFIG, when_mixed_precision, EFFECT_NOTE, READ,
     "format mixed-precision: versions before August 2026 load all of it unquantized, without a word"},

    /* The list against the tensors. */
    {"half-listed", ENGINE_CODES, RULE_UNIT, when_half_listed, EFFECT_REFUSES, RAN,
     "ValueError: some but not all shards of a fused layer are quantized"},
    {"codes-excluded", ENGINE_ANY, RULE_MODULE, when_codes_excluded, EFFECT_WRONG, RAN,
     "codes in a layer that is not quantized are cast to 16 bits without a scale"},
    {"bytes-included", ENGINE_CODES, RULE_MODULE, when_bytes_included, EFFECT_WRONG, RAN,
     "a 16-bit weight of a layer that is not excluded is cast to codes without a scale, or a ValueError ends "
     "it"},
    {"other-codes", ENGINE_CODES, RULE_MODULE, when_other_codes, EFFECT_WRONG, INFERRED,
     "the weight is cast from one number format to another without a scale"},

    /* Scales: as in vLLM; every FP8 weight goes through fp16 and back. */
    {"no-scale", ENGINE_CODES, RULE_MODULE, when_no_weight_scale, EFFECT_WRONG, RAN,
     "weight_scale is missing and stays at -3.4e38"},
    {"no-scale", ENGINE_CODES, RULE_MODULE, when_no_input_scale, EFFECT_WRONG, RAN,
     "input_scale is missing and stays at -3.4e38"},
    {"scale-1d", FACTS_COMPRESSED, RULE_MODULE, when_row_scale_1d, EFFECT_REFUSES, INFERRED,
     "the shape of scales per row is [out, 1]"},
    {"small-scale", FACTS_MODELOPT, RULE_MODULE, when_small_scale, EFFECT_ROUNDS, RAN,
     "weight_scale is below 3.1e-5: the way through fp16 changes some codes"},
    {"small-scale", FACTS_COMPRESSED, RULE_MODULE, when_small_scale, EFFECT_ROUNDS, READ,
     "weight_scale is below 3.1e-5: the way through fp16 changes some codes"},
    {"scales-differ", ENGINE_CODES, RULE_UNIT, when_weight_scales_differ, EFFECT_ROUNDS, RAN,
     "members of the group have different weight_scale: weights are rounded again to the largest"},
    {"input-scales-differ", ENGINE_CODES, RULE_UNIT, when_input_scales_differ, EFFECT_ROUNDS, READ,
     "members of the group have different input_scale: the largest serves all"},

    /* Names: unknown ones are skipped, but those of q, k, v, gate and up are looked up without a guard. */
    {"unexpected", ENGINE_ANY, RULE_TENSOR, when_unknown, EFFECT_NOTE, RAN, "unknown, and skipped"},
    {"unexpected", ENGINE_ANY, RULE_TENSOR, when_unknown_shard, EFFECT_REFUSES, INFERRED,
     "KeyError: unknown, and looked up because a shard's name is part of it"},
    {"kv-language", ENGINE_ANY, RULE_TENSOR, when_kv_projection, EFFECT_REFUSES, RAN,
     "KeyError: KV cache scales of the language model"},
    {"kv-language", ENGINE_ANY, RULE_TENSOR, when_kv_attention, EFFECT_NOTE, INFERRED,
     "skipped: the KV cache stays in 16 bits"},
    {"pre-scale", FACTS_COMPRESSED, RULE_TENSOR, when_pre_scale, EFFECT_WRONG, INFERRED,
     "a KeyError, or skipped: inputs are not multiplied by it"},
    {"kv-vision", ENGINE_ANY, RULE_TENSOR, when_kv_vision, EFFECT_NOTE, INFERRED, "unknown, and skipped"},
    {"in-memory", ENGINE_CODES, RULE_TENSOR, when_in_memory, EFFECT_REFUSES, RAN,
     "KeyError: an in-memory name; hub names are needed"},
    {"in-memory", FACTS_PLAIN, RULE_TENSOR, when_in_memory, EFFECT_NOTE, INFERRED,
     "an in-memory name, which ends in a KeyError in quantized checkpoints"},
    {"tied-head", ENGINE_CODES, RULE_UNIT, when_tied_head_codes, EFFECT_WRONG, RAN,
     "the head is tied to the embedding: its codes are left out, the head runs in 16 bits"},

    /* Products. */
    {"alignment-vision", ENGINE_CODES, RULE_UNIT, when_misaligned_vision, EFFECT_NOTE, RAN,
     "a side is not a multiple of 16: the width of the vision MLP is padded"},
    {"alignment", ENGINE_CODES, RULE_UNIT, when_misaligned_language, EFFECT_REFUSES, INFERRED,
     "a side is not a multiple of 16: its products fail"},
    {"vision", ENGINE_CODES, RULE_UNIT, when_vision_codes, EFFECT_NOTE, RAN,
     "a quantized vision layer: loads in 0.5.23; older versions were not tried"},
};

/* hf_to_sglang_mapper of Qwen2.5-VL. */
static void map_name(const struct facts *f, char name[ENGINE_NAME_BYTES])
{
    if (!f->parts.vision)
        return;
    engine_map_part(name, "attn.qkv", "attn.qkv_proj");
    if (!engine_map_prefix(name, "model.language_model.", "language_model.model.") &&
        !engine_map_prefix(name, "model.visual.", "visual."))
        engine_map_prefix(name, "model.", "language_model.model.");
}

/* What a module is called while the model is built; last: of the fused module or of a member. */
static void runtime_name(const char *canonical, const char *last, char out[ENGINE_NAME_BYTES])
{
    const size_t n = strlen(canonical);

    engine_join("model.", canonical, last, out);
    if (!last && n > 8 && !strcmp(canonical + n - 8, "attn.qkv"))
        engine_map_part(out, "attn.qkv", "attn.qkv_proj");
}

/* Mapped; and "language_model.X" is listed as "X", too.  Returns the number of forms. */
static size_t map_entry(const struct facts *f, const char *entry, char out[2][ENGINE_NAME_BYTES])
{
    static const char language[] = "language_model.";

    snprintf(out[0], ENGINE_NAME_BYTES, "%s", entry);
    map_name(f, out[0]);
    if (strncmp(out[0], language, strlen(language)))
        return 1;
    snprintf(out[1], ENGINE_NAME_BYTES, "%s", out[0] + strlen(language));
    return 2;
}

/* _module_path_match(): the whole name, or whole parts of it in a row. */
static bool is_path(const char *entry, const char *name)
{
    const size_t n = strlen(entry);

    for (const char *p = n ? strstr(name, entry) : NULL; p; p = strstr(p + 1, entry))
        if ((p == name || p[-1] == '.') && (p[n] == '.' || !p[n]))
            return true;
    return false;
}

/* is_layer_excluded(): the pattern fits the whole name, or one of its parts. */
static bool is_pattern(const char *entry, const char *name)
{
    char part[ENGINE_NAME_BYTES];

    if (name_match(entry, name))
        return true;
    for (const char *p = name; p; p = strchr(p, '.') ? strchr(p, '.') + 1 : NULL) {
        snprintf(part, sizeof part, "%.*s", (int)strcspn(p, "."), p);
        if (name_match(entry, part))
            return true;
    }
    return false;
}

static const char *find(const struct subject *s, const char *name, bool (*fits)(const char *, const char *))
{
    char form[2][ENGINE_NAME_BYTES];

    for (size_t i = 0; i < s->source->entries; i++) {
        const size_t forms = map_entry(s->f, s->source->entry[i].text, form);

        for (size_t k = 0; k < forms; k++)
            if (fits(form[k], name))
                return s->source->entry[i].text;
    }
    return NULL;
}

/* is_layer_skipped(), whose own table of fused layers knows qkv_proj of the vision tower, too. */
static void choose_modelopt(const struct subject *s, const char *name, struct choice *c)
{
    static const char *const qkv[] = {"q_proj", "k_proj", "v_proj"}, *const gate_up[] = {"gate_proj",
                                                                                         "up_proj"};
    const bool is_qkv = !strcmp(strrchr(name, '.') ? strrchr(name, '.') + 1 : name, "qkv_proj");
    const char *const *member = is_qkv ? qkv : gate_up;
    const size_t members = is_qkv ? 3 : s->unit->fused ? 2 : 0;
    char shard[ENGINE_NAME_BYTES];
    size_t n = 0;

    for (size_t i = 0; i < members; i++) {
        const char *entry;

        runtime_name(s->unit->name, member[i], shard);
        entry = find(s, shard, is_path);
        n += entry != NULL;
        c->entry = c->entry ? c->entry : entry;
    }
    if (n && n < members) {
        c->held = HELD_MIXED;
        return;
    }
    if (!members)
        c->entry = find(s, name, is_path);
    c->entry = c->entry ? c->entry : find(s, name, is_pattern);
    if (!c->entry)
        engine_take_group(s->source, name, c);
}

/* A name is mapped, to one that no language module has; an expression stays as it is. */
static const char *ignored(const struct subject *s, const char *name)
{
    char form[ENGINE_NAME_BYTES];

    for (size_t i = 0; i < s->source->entries; i++) {
        struct facts_source one = {.entry = &s->source->entry[i], .entries = 1};

        if (s->source->entry[i].code && engine_ignores(&one, name))
            return s->source->entry[i].text;
        snprintf(form, sizeof form, "%s", s->source->entry[i].text);
        map_name(s->f, form);
        if (!s->source->entry[i].code && !strcmp(form, name))
            return s->source->entry[i].text;
    }
    return NULL;
}

/* packed_modules_mapping of Qwen2.5-VL has gate_up_proj alone: q, k and v are not asked one by one. */
static void choose_compressed(const struct subject *s, const char *name, struct choice *c)
{
    char shard[2][ENGINE_NAME_BYTES];
    const char *gate, *up;

    c->entry = ignored(s, name);
    if (!c->entry && s->unit->fused && !strcmp(s->unit->fused, "gate_up_proj")) {
        runtime_name(s->unit->name, "gate_proj", shard[0]);
        runtime_name(s->unit->name, "up_proj", shard[1]);
        gate = ignored(s, shard[0]);
        up = ignored(s, shard[1]);
        c->entry = gate ? gate : up;
        if (!gate != !up)
            c->held = HELD_MIXED;
    }
    if (!c->entry)
        engine_take_group(s->source, name, c);
}

static void choose(const struct subject *s, struct choice *c)
{
    char name[ENGINE_NAME_BYTES];

    *c = (struct choice){.held = HELD_16_BITS};
    runtime_name(s->unit->name, s->unit->fused, name);
    (s->source->layout == FACTS_MODELOPT ? choose_modelopt : choose_compressed)(s, name, c);
}

const struct engine engine_sglang = {
    .name = "sglang",
    .version = "0.5.23",
    .serves = ENGINE_ANY,
    .serves_vision = true,
    .first = FACTS_CONFIG,
    .choose = choose,
    .rule = rules,
    .rules = sizeof rules / sizeof *rules,
};
