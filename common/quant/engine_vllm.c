/*
 * engine_vllm.c - what vLLM 0.32.0 does with a checkpoint
 *
 * RAN: its loading code was run on checkpoints made for the purpose and on ModelOpt 0.47's own exports (no
 * kernels). Sources: vllm/model_executor/layers/quantization/modelopt.py and compressed_tensors/utils.py,
 * models/qwen2_5_vl.py.
 */
#include <stdio.h>
#include <string.h>

#include "common/quant/when.h"

static const struct rule rules[] = {
    /* What the configuration says. */
    {"algorithm", FACTS_MODELOPT, RULE_CONFIG, when_no_algorithm, EFFECT_REFUSES, READ,
     "ValueError: quant_algo is missing"},
    {"algorithm", FACTS_MODELOPT, RULE_CONFIG, when_not_fp8, EFFECT_REFUSES, RAN,
     "ValueError: of ModelOpt's 8-bit layouts it loads FP8 alone"},
    {"inputs", FACTS_COMPRESSED, RULE_CONFIG, when_odd_int8_inputs, EFFECT_REFUSES, READ,
     "no scheme for INT8 whose inputs have neither one static scale nor one per token"},
    {"mixed", FACTS_COMPRESSED, RULE_CONFIG, when_mixed, EFFECT_NOTE, READ,
     "FP8 and INT8 layers: groups have formats of their own since 0.10.2"},

    /* The list against the tensors. */
    {"half-listed", ENGINE_CODES, RULE_UNIT, when_half_listed, EFFECT_REFUSES, RAN,
     "ValueError: some but not all shards of a fused layer are quantized"},
    {"codes-excluded", ENGINE_ANY, RULE_MODULE, when_scaled_codes_excluded, EFFECT_REFUSES, RAN,
     "ValueError: codes in a layer that is not quantized, whose scales have no place"},
    {"codes-excluded", ENGINE_ANY, RULE_MODULE, when_bare_codes_excluded, EFFECT_WRONG, INFERRED,
     "codes in a layer that is not quantized are cast to 16 bits without a scale"},
    {"bytes-included", ENGINE_CODES, RULE_MODULE, when_bytes_included, EFFECT_WRONG, RAN,
     "a 16-bit weight of a layer that is not excluded is cast to codes, its scales are left at -3.4e38"},
    {"other-codes", ENGINE_CODES, RULE_MODULE, when_other_codes, EFFECT_WRONG, INFERRED,
     "the weight is cast from one number format to another without a scale"},

    /* Scales: parameters of F32 that begin as float32.min, merged by their maximum. */
    {"no-scale", ENGINE_CODES, RULE_MODULE, when_no_weight_scale, EFFECT_WRONG, RAN,
     "weight_scale is missing and stays at -3.4e38"},
    {"no-scale", ENGINE_CODES, RULE_MODULE, when_no_input_scale, EFFECT_WRONG, RAN,
     "input_scale is missing and stays at -3.4e38"},
    {"small-scale", FACTS_COMPRESSED, RULE_MODULE, when_small_scale, EFFECT_ROUNDS, READ,
     "weight_scale is below 3.1e-5: the way through fp16 changes some codes"},
    {"scales-differ", ENGINE_CODES, RULE_UNIT, when_weight_scales_differ, EFFECT_ROUNDS, READ,
     "members of the group have different weight_scale: weights are rounded again to the largest"},
    {"input-scales-differ", ENGINE_CODES, RULE_UNIT, when_input_scales_differ, EFFECT_ROUNDS, READ,
     "members of the group have different input_scale: the largest serves all"},

    {"scale-1d", FACTS_COMPRESSED, RULE_MODULE, when_row_scale_1d, EFFECT_REFUSES, INFERRED,
     "the shape of scales per row is [out, 1]"},

    /* Tensors that no parameter waits for. */
    {"unexpected", ENGINE_ANY, RULE_TENSOR, when_unknown, EFFECT_REFUSES, RAN,
     "ValueError: there is no module or parameter named so"},
    {"stray-scale", ENGINE_ANY, RULE_TENSOR, when_scale_of_excluded, EFFECT_REFUSES, RAN,
     "ValueError: a scale of a layer that is not quantized"},
    {"kv-vision", ENGINE_ANY, RULE_TENSOR, when_kv_vision, EFFECT_REFUSES, RAN,
     "ValueError: there is no module or parameter named so"},
    {"kv-language", ENGINE_CODES, RULE_TENSOR, when_kv_projection, EFFECT_ROUNDS, RAN,
     "the KV cache scale is rounded to the model's 16 bits"},
    {"kv-language", ENGINE_CODES, RULE_TENSOR, when_kv_attention, EFFECT_ROUNDS, READ,
     "the KV cache scale is rounded to the model's 16 bits"},
    {"kv-missing", ENGINE_CODES, RULE_FILES, when_kv_missing, EFFECT_NOTE, RAN,
     "the configuration asks for a quantized KV cache, whose scales are not there: 1.0 is used, with a warning"},
    {"kv-incomplete", ENGINE_CODES, RULE_FILES, when_kv_declared_incomplete, EFFECT_WRONG, INFERRED,
     "scales of the KV cache are missing: 1.0 is used for them"},
    {"pre-scale", FACTS_COMPRESSED, RULE_TENSOR, when_pre_scale, EFFECT_REFUSES, INFERRED,
     "ValueError: there is no module or parameter named so"},
    {"kv-undeclared", ENGINE_CODES, RULE_FILES, when_kv_undeclared, EFFECT_NOTE, RAN,
     "the configuration does not ask for a quantized KV cache: its scales are read, 1.0 is used"},
    {"tied-head", ENGINE_CODES, RULE_UNIT, when_tied_head_codes, EFFECT_WRONG, INFERRED,
     "the head is tied to the embedding: its codes are left out, the head runs in 16 bits"},

    /* Products: cutlass_scaled_mm takes multiples of 16.  Before 0.32 Triton took over, or an assertion
       failed. */
    {"alignment", ENGINE_CODES, RULE_UNIT, when_misaligned_fp8, EFFECT_NOTE, READ,
     "a side is not a multiple of 16: padded when loaded; versions before 0.32 are slower or fail"},
    {"alignment", FACTS_COMPRESSED, RULE_UNIT, when_misaligned_int8, EFFECT_NOTE, INFERRED,
     "a side is not a multiple of 16: Triton multiplies in place of CUTLASS, more slowly"},
    {"vision", FACTS_MODELOPT, RULE_UNIT, when_vision_codes, EFFECT_NOTE, RAN,
     "a quantized vision layer: versions before 0.32 do not load it in this layout"},
};

/* WeightsMapper of Qwen2.5-VL; the rows are tried in turn, each on what the one before made. */
static void map_name(const struct facts *f, char name[ENGINE_NAME_BYTES])
{
    if (!f->parts.vision)
        return;
    engine_map_prefix(name, "model.language_model.", "language_model.model.");
    engine_map_prefix(name, "model.visual.", "visual.");
    engine_map_prefix(name, "lm_head.", "language_model.lm_head.");
    engine_map_prefix(name, "model.", "language_model.model.");
}

/* What a module is called while the model is built; last: of the fused module or of a member. */
static void runtime_name(const struct facts *f, const char *canonical, const char *last,
                         char out[ENGINE_NAME_BYTES])
{
    engine_join(f->parts.vision ? "language_model.model." : "model.", canonical, last, out);
    if (f->parts.vision && !strcmp(out, "lm_head"))
        snprintf(out, ENGINE_NAME_BYTES, "language_model.lm_head");
}

/* "path*" becomes "path" and "path.*" (apply_vllm_mapper); then names are mapped.  Returns their number. */
static size_t map_entry(const struct facts *f, const char *entry, char out[2][ENGINE_NAME_BYTES])
{
    const size_t n = strlen(entry);
    size_t forms = 1;

    snprintf(out[0], ENGINE_NAME_BYTES, "%s", entry);
    if (n >= 2 && entry[n - 1] == '*' && entry[n - 2] != '.') {
        out[0][n - 1] = '\0';
        snprintf(out[1], ENGINE_NAME_BYTES, "%.*s.*", (int)(n - 1), entry);
        forms = 2;
    }
    for (size_t i = 0; i < forms; i++)
        map_name(f, out[i]);
    return forms;
}

enum how { EXACTLY, AS_PART, AS_PATTERN };

static bool hits(const char *entry, const char *name, enum how how)
{
    static const char language[] = "language_model.";

    if (how == EXACTLY)
        return !strcmp(entry, name);
    if (how == AS_PATTERN)
        return name_match(entry, name);
    if (strstr(name, entry))
        return strcmp(name, entry) != 0;
    return !strncmp(name, language, strlen(language)) && strstr(name + strlen(language), entry);
}

static const char *find(const struct subject *s, const char *name, enum how how)
{
    char form[2][ENGINE_NAME_BYTES];

    for (size_t i = 0; i < s->source->entries; i++) {
        const size_t forms = map_entry(s->f, s->source->entry[i].text, form);

        for (size_t k = 0; k < forms; k++)
            if (hits(form[k], name, how))
                return s->source->entry[i].text;
    }
    return NULL;
}

/* How many members' names `found` says something of; c->entry is the first thing said. */
static size_t count_members(const struct subject *s, struct choice *c,
                            const char *(*found)(const struct subject *, const char *))
{
    const char *member[NAME_MEMBERS_MAX];
    const size_t members = name_members(s->unit->name, member);
    char name[ENGINE_NAME_BYTES];
    size_t n = 0;

    for (size_t i = 0; i < members; i++) {
        const char *entry;

        runtime_name(s->f, s->unit->name, member[i], name);
        entry = found(s, name);
        n += entry != NULL;
        c->entry = c->entry ? c->entry : entry;
    }
    return n;
}

static const char *listed(const struct subject *s, const char *name)
{
    return find(s, name, EXACTLY);
}

/* is_layer_skipped(), then part of the name, then fnmatch(). */
static void choose_modelopt(const struct subject *s, const char *name, struct choice *c)
{
    const size_t n = s->unit->fused ? count_members(s, c, listed) : 0;

    if (n && n < s->unit->n) {
        c->held = HELD_MIXED;
        return;
    }
    if (!s->unit->fused)
        c->entry = find(s, name, EXACTLY);
    c->entry = c->entry ? c->entry : find(s, name, AS_PART);
    c->entry = c->entry ? c->entry : find(s, name, AS_PATTERN);
    if (!c->entry)
        engine_take_group(s->source, name, c);
}

/* A name as compressed-tensors' list has it: mapped when it is a name, as it stands when it is an expression.
 */
static const char *ignored(const struct subject *s, const char *name)
{
    char form[ENGINE_NAME_BYTES];
    const char *entry = engine_ignores(s->source, name);

    for (size_t i = 0; i < s->source->entries && !entry; i++) {
        snprintf(form, sizeof form, "%s", s->source->entry[i].text);
        map_name(s->f, form);
        if (!strcmp(form, name) || (!strcmp(name, "language_model.lm_head") && !strcmp(form, "lm_head")))
            entry = s->source->entry[i].text;
    }
    return entry;
}

/*
 * find_matched_target(): the fused name, "Linear", then the members, which must all have a target: the first
 * counts.
 */
static void take_group(const struct subject *s, const char *name, struct choice *c)
{
    const char *member[NAME_MEMBERS_MAX];
    const size_t members = name_members(s->unit->name, member);
    char shard[ENGINE_NAME_BYTES];

    engine_take_group(s->source, name, c);
    if (c->group)
        return;
    for (size_t i = members; i-- > 0;) {
        runtime_name(s->f, s->unit->name, member[i], shard);
        engine_take_group(s->source, shard, c);
        if (!c->group)
            return;
    }
}

/* should_ignore_layer(): of a fused layer every member is asked, unless the list has the fused name itself.
 */
static void choose_compressed(const struct subject *s, const char *name, struct choice *c)
{
    size_t n = 0;

    for (size_t i = 0; i < s->source->entries && s->unit->fused && !c->entry; i++)
        if (!strcmp(s->source->entry[i].text, name))
            c->entry = s->source->entry[i].text;
    if (c->entry)
        return;
    if (s->unit->fused)
        n = count_members(s, c, ignored);
    else
        c->entry = ignored(s, name);
    if (n && n < s->unit->n)
        c->held = HELD_MIXED;
    else if (!c->entry)
        take_group(s, name, c);
}

static void choose(const struct subject *s, struct choice *c)
{
    char name[ENGINE_NAME_BYTES];

    *c = (struct choice){.held = HELD_16_BITS};
    runtime_name(s->f, s->unit->name, s->unit->fused, name);
    (s->source->layout == FACTS_MODELOPT ? choose_modelopt : choose_compressed)(s, name, c);
}

const struct engine engine_vllm = {
    .name = "vllm",
    .version = "0.32.0",
    .serves = ENGINE_ANY,
    .serves_vision = true,
    .first = FACTS_CONFIG, /* "config.json wins when both exist; either file alone is enough": RAN */
    .choose = choose,
    .rule = rules,
    .rules = sizeof rules / sizeof *rules,
};
