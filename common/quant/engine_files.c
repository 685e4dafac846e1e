/*
 * engine_files.c - what a sound checkpoint fulfils, whichever engine reads it
 *
 * No engine looks at these: where one goes wrong because of them, its own table says how.
 */
#include "common/quant/when.h"

static const struct rule rules[] = {
    {"configs-disagree", ENGINE_CODES, RULE_FILES, when_configs_disagree, EFFECT_WRONG, READ,
     "the two configurations say different things: engines differ in which one they believe"},
    {"unclaimed", FACTS_PLAIN, RULE_FILES, when_codes_unclaimed, EFFECT_WRONG, RAN,
     "weights are codes, but no configuration says that the checkpoint is quantized"},
    {"total-size", ENGINE_ANY, RULE_FILES, when_wrong_total_size, EFFECT_WRONG, READ,
     "metadata.total_size of the index is wrong"},
    {"missing", ENGINE_ANY, RULE_PART, when_part_missing, EFFECT_WRONG, INFERRED,
     "a tensor of the model is missing"},
    {"half-group", ENGINE_ANY, RULE_UNIT, when_half_codes, EFFECT_WRONG, RAN,
     "part of a group that engines merge is quantized"},
    {"tied-head", ENGINE_ANY, RULE_UNIT, when_tied_head_codes, EFFECT_WRONG, RAN,
     "lm_head is quantized and tied to the embedding"},
    {"no-scale", ENGINE_CODES, RULE_MODULE, when_codes_bare, EFFECT_WRONG, RAN,
     "codes without a scale mean nothing: missing are"},
    {"unexpected", ENGINE_ANY, RULE_TENSOR, when_unknown, EFFECT_WRONG, RAN,
     "the model has no place for this tensor"},
    {"stray-scale", ENGINE_ANY, RULE_TENSOR, when_scale_of_plain, EFFECT_WRONG, RAN,
     "a scale beside a weight that is no code"},
    {"scale-type", ENGINE_ANY, RULE_TENSOR, when_scale_type, EFFECT_WRONG, READ,
     "a scale of another type than F32"},
    {"scale-shape", ENGINE_CODES, RULE_TENSOR, when_scale_shape, EFFECT_WRONG, READ,
     "a scale whose shape does not fit its weight"},
    {"scale-value", ENGINE_ANY, RULE_TENSOR, when_scale_value, EFFECT_WRONG, READ,
     "a scale that is not finite and above 0"},
    {"codes-elsewhere", ENGINE_ANY, RULE_TENSOR, when_codes_elsewhere, EFFECT_WRONG, READ,
     "codes where no engine holds any"},
    {"pre-scale", FACTS_COMPRESSED, RULE_TENSOR, when_pre_scale, EFFECT_WRONG, READ,
     "a pre_quant_scale, for which compressed-tensors has no place: smoothing has to be folded into the norm before"},
    {"pre-scales-differ", FACTS_MODELOPT, RULE_UNIT, when_pre_scales_differ, EFFECT_WRONG, INFERRED,
     "members of the group read one input and multiply it by different pre_quant_scale"},
    {"kv-incomplete", ENGINE_ANY, RULE_FILES, when_kv_incomplete, EFFECT_WRONG, INFERRED,
     "some layers have scales for an FP8 KV cache and some have not"},
    {"kv-vision", ENGINE_ANY, RULE_TENSOR, when_kv_vision, EFFECT_WRONG, RAN,
     "a KV cache scale in the vision tower, which has no KV cache"},
};

const struct engine engine_files = {
    .name = "files",
    .version = "",
    .serves = ENGINE_ANY,
    .serves_vision = true,
    .first = FACTS_CONFIG,
    .rule = rules,
    .rules = sizeof rules / sizeof *rules,
};
