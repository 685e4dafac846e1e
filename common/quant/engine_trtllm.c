/*
 * engine_trtllm.c - what TensorRT-LLM's PyTorch backend does with a checkpoint
 *
 * Its main branch was read, not run: tensorrt_llm/_torch/model_config.py, modules/linear.py,
 * models/modeling_utils.py and modeling_qwen2vl.py, quantization/modelopt_config.py.
 */
#include "common/quant/when.h"

static const struct rule rules[] = {
    /* What the configuration says. */
    {"algorithm", FACTS_MODELOPT, RULE_CONFIG, when_no_algorithm, EFFECT_REFUSES, INFERRED,
     "quant_algo is missing"},
    {"algorithm", FACTS_MODELOPT, RULE_CONFIG, when_not_fp8, EFFECT_REFUSES, READ,
     "of ModelOpt's 8-bit layouts it loads FP8 alone"},
    {"int8", FACTS_COMPRESSED, RULE_CONFIG, when_int8, EFFECT_WRONG, READ,
     "the type is not looked at: INT8 is read as FP8"},
    {"per-tensor", FACTS_COMPRESSED, RULE_CONFIG, when_per_tensor, EFFECT_REFUSES, READ,
     "of this layout it loads FP8 per channel or per block, not per tensor"},

    /* The vision tower has no quantization whatever the files say. */
    {"vision", ENGINE_CODES, RULE_UNIT, when_vision_codes, EFFECT_REFUSES, READ,
     "the vision tower always runs in 16 bits: codes there end in an error or in garbage"},

    /* The list against the tensors.  A fused layer is excluded when the list has any of its names. */
    {"half-codes", ENGINE_CODES, RULE_UNIT, when_half_codes, EFFECT_WRONG, READ,
     "part of a fused layer is quantized: merged wrongly"},
    {"codes-excluded", ENGINE_ANY, RULE_MODULE, when_language_codes_excluded, EFFECT_WRONG, READ,
     "codes in a layer that is not quantized: an error, or cast without a scale"},
    {"bytes-included", ENGINE_CODES, RULE_MODULE, when_bytes_included, EFFECT_WRONG, INFERRED,
     "a 16-bit weight of a layer that is not excluded is cast to codes"},
    {"other-codes", ENGINE_CODES, RULE_MODULE, when_other_codes, EFFECT_WRONG, INFERRED,
     "the weight is cast from one number format to another without a scale"},

    /* Scales. */
    {"no-scale", ENGINE_CODES, RULE_MODULE, when_no_weight_scale, EFFECT_REFUSES, INFERRED,
     "weight_scale is missing"},
    {"no-scale", ENGINE_CODES, RULE_MODULE, when_no_input_scale, EFFECT_ROUNDS, READ,
     "input_scale is missing: inputs are scaled at run time"},
    {"scales-differ", ENGINE_CODES, RULE_UNIT, when_weight_scales_differ, EFFECT_ROUNDS, READ,
     "members of the group have different weight_scale: weights are rounded again to the largest"},
    {"input-scales-differ", ENGINE_CODES, RULE_UNIT, when_input_scales_differ, EFFECT_ROUNDS, READ,
     "members of the group have different input_scale: the largest serves all"},

    /* Tensors and products. */
    {"unexpected", ENGINE_ANY, RULE_TENSOR, when_unknown, EFFECT_NOTE, INFERRED, "unknown, and skipped"},
    {"kv-language", ENGINE_CODES, RULE_TENSOR, when_kv_language, EFFECT_NOTE, READ,
     "a KV cache scale: read when TRTLLM_LOAD_KV_SCALES is set"},
    {"kv-vision", ENGINE_ANY, RULE_TENSOR, when_kv_vision, EFFECT_NOTE, INFERRED, "unknown, and skipped"},
    {"tied-head", ENGINE_CODES, RULE_UNIT, when_tied_head_codes, EFFECT_WRONG, INFERRED,
     "the head is tied to the embedding: its codes are left out, the head runs in 16 bits"},
    {"hf-missing", FACTS_MODELOPT, RULE_FILES, when_no_hf, EFFECT_NOTE, READ,
     "hf_quant_config.json, which it reads first, is not there"},
    {"alignment", ENGINE_CODES, RULE_UNIT, when_misaligned, EFFECT_REFUSES, INFERRED,
     "a side is not a multiple of 16: its products fail"},
};

/* is_module_excluded_from_quantization(): shell patterns against the fused name and the members' own. */
static const char *excluded(const struct subject *s, const char *last)
{
    char name[ENGINE_NAME_BYTES];

    engine_join("model.", s->unit->name, last, name);
    if (s->source->layout == FACTS_COMPRESSED)
        return engine_ignores(s->source, name);
    for (size_t i = 0; i < s->source->entries; i++)
        if (name_match(s->source->entry[i].text, name))
            return s->source->entry[i].text;
    return NULL;
}

static void choose(const struct subject *s, struct choice *c)
{
    const char *member[NAME_MEMBERS_MAX];
    const size_t n = name_members(s->unit->name, member);

    *c = (struct choice){.held = HELD_16_BITS};
    if (s->unit->scope == SCOPE_VISION)
        return;
    c->entry = excluded(s, s->unit->fused);
    for (size_t i = 0; i < n && !c->entry; i++)
        c->entry = excluded(s, member[i]);
    if (!c->entry)
        engine_take_group(s->source, s->unit->name, c);
}

const struct engine engine_trtllm = {
    .name = "tensorrt-llm",
    .version = "main",
    .serves = FACTS_PLAIN | FACTS_MODELOPT,
    .serves_vision = false,
    .first = FACTS_HF, /* warns when config.json differs, and goes by its own */
    .choose = choose,
    .rule = rules,
    .rules = sizeof rules / sizeof *rules,
};
