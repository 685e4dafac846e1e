/*
 * engine_transformers.c - what transformers 5.23.0 with compressed-tensors 0.20.0 does with a checkpoint
 *
 * RAN: from_pretrained() was run on checkpoints made for the purpose, and logits were compared.
 */
#include <stdio.h>

#include "common/quant/when.h"

static const struct rule rules[] = {
    /* It has no quantizer for ModelOpt: one warning, "Unknown quantization type", and codes become weights.
     */
    {"modelopt", FACTS_MODELOPT, RULE_CONFIG, when_any_codes, EFFECT_WRONG, RAN,
     "ModelOpt's layout is not known: codes are used as 16-bit weights without their scales"},
    {"unclaimed", FACTS_PLAIN, RULE_CONFIG, when_any_codes, EFFECT_WRONG, INFERRED,
     "codes are used as 16-bit weights without their scales"},

    /* The list against the tensors: in-memory names, every module by itself. */
    {"codes-excluded", FACTS_COMPRESSED, RULE_MODULE, when_codes_excluded, EFFECT_WRONG, INFERRED,
     "codes in a layer that is not quantized are cast to 16 bits without a scale"},
    {"bytes-included", FACTS_COMPRESSED, RULE_MODULE, when_bytes_included, EFFECT_WRONG, RAN,
     "a 16-bit weight of a layer that is not ignored becomes codes with scales that nobody set"},
    {"other-codes", FACTS_COMPRESSED, RULE_MODULE, when_other_codes, EFFECT_WRONG, INFERRED,
     "the weight is cast from one number format to another without a scale"},
    {"tied-head", FACTS_COMPRESSED, RULE_FILES, when_head_not_ignored, EFFECT_WRONG, INFERRED,
     "lm_head, which is the embedding, is not ignored: it is given scales that nobody set"},
    {"tied-head", FACTS_COMPRESSED, RULE_UNIT, when_tied_head_codes, EFFECT_WRONG, INFERRED,
     "the head is tied to the embedding: its codes are left out"},

    /* Scales: parameters of shape [1] in the model's 16 bits. */
    {"scale-0d", FACTS_COMPRESSED, RULE_MODULE, when_scale_0d, EFFECT_REFUSES, RAN,
     "size mismatch: scales need the shape [1]"},
    {"scale-1d", FACTS_COMPRESSED, RULE_MODULE, when_row_scale_1d, EFFECT_REFUSES, RAN,
     "size mismatch: scales per row need the shape [out, 1]"},
    {"no-scale", FACTS_COMPRESSED, RULE_MODULE, when_no_weight_scale, EFFECT_WRONG, INFERRED,
     "weight_scale is missing: a report of missing keys, and a scale that nobody set"},
    {"no-scale", FACTS_COMPRESSED, RULE_MODULE, when_no_input_scale, EFFECT_WRONG, INFERRED,
     "input_scale is missing: a report of missing keys, and a scale that nobody set"},
    {"scale-bf16", FACTS_COMPRESSED, RULE_MODULE, when_scale_not_bf16, EFFECT_ROUNDS, RAN,
     "scales are rounded to 16 bits, which moves weights by up to 0.4 %"},

    {"pre-scale", FACTS_COMPRESSED, RULE_TENSOR, when_pre_scale, EFFECT_WRONG, RAN,
     "reported as unexpected, and skipped: inputs are not multiplied by it"},
    {"kv-language", FACTS_COMPRESSED, RULE_TENSOR, when_kv_projection, EFFECT_WRONG, RAN,
     "reported as unexpected, and skipped: the KV cache has scales that nobody set"},
    {"kv-incomplete", FACTS_COMPRESSED, RULE_FILES, when_kv_incomplete, EFFECT_WRONG, RAN,
     "scales of the KV cache are missing: a report of missing keys, and scales that nobody set"},
    {"kv-missing", FACTS_COMPRESSED, RULE_FILES, when_kv_missing, EFFECT_WRONG, RAN,
     "the scales of the KV cache are missing: a report of missing keys, and scales that nobody set"},
    {"unexpected", FACTS_PLAIN | FACTS_COMPRESSED, RULE_TENSOR, when_unknown, EFFECT_NOTE, RAN,
     "reported as unexpected, and skipped"},
    {"kv-vision", FACTS_PLAIN | FACTS_COMPRESSED, RULE_TENSOR, when_kv_vision, EFFECT_NOTE, RAN,
     "reported as unexpected, and skipped"},
};

static void choose(const struct subject *s, struct choice *c)
{
    char name[ENGINE_NAME_BYTES];

    *c = (struct choice){.held = HELD_16_BITS};
    engine_join(s->f->parts.vision ? "model.language_model." : "model.", s->module->is->name, NULL, name);
    if (s->unit->scope == SCOPE_VISION)
        snprintf(name, sizeof name, "model.%s", s->module->is->name);
    c->entry = engine_ignores(s->source, name);
    if (!c->entry)
        engine_take_group(s->source, name, c);
}

const struct engine engine_transformers = {
    .name = "transformers",
    .version = "5.23.0",
    .serves = FACTS_PLAIN | FACTS_COMPRESSED,
    .serves_vision = true,
    .first = FACTS_CONFIG,
    .choose = choose,
    .rule = rules,
    .rules = sizeof rules / sizeof *rules,
};
