/*
 * when.h - the conditions of the engines' rules
 *
 * Each answers for the subject of its scope (see struct subject) and leaves the numbers or names that make
 * the answer in s->detail.  "Codes" are FP8 or INT8 weights; "taken" is how the engine holds the layer.
 */
#ifndef COMMON_QUANT_WHEN_H
#define COMMON_QUANT_WHEN_H

#include "common/quant/engine.h"

/* What a condition says about its subject. */
#define WHEN_SAY(s, ...) snprintf((s)->detail, DETAIL_BYTES, __VA_ARGS__)

/* RULE_CONFIG and RULE_FILES */
bool when_no_algorithm(struct subject *s);     /* quant_algo is missing */
bool when_not_fp8(struct subject *s);          /* quant_algo is not FP8 */
bool when_int8(struct subject *s);             /* a config_group that is INT8 */
/* one whose inputs have neither one static scale nor one per token */
bool when_odd_int8_inputs(struct subject *s);
bool when_mixed(struct subject *s);            /* config_groups of FP8 and of INT8 */
bool when_mixed_precision(struct subject *s);  /* the same, of the format "mixed-precision" */
bool when_per_tensor(struct subject *s);       /* a config_group that is FP8 with one scale per tensor */
bool when_any_codes(struct subject *s);        /* some layer is in 8 bits */
bool when_codes_unclaimed(struct subject *s);  /* the same, and no configuration says so */
bool when_no_hf(struct subject *s);            /* config.json says it, hf_quant_config.json is not there */
bool when_configs_disagree(struct subject *s); /* config.json and hf_quant_config.json say different things */
bool when_wrong_total_size(struct subject *s); /* of the index */
bool when_kv_undeclared(struct subject *s);    /* KV scales are there, the configuration does not say so */
bool when_kv_missing(struct subject *s);       /* the other way round */
bool when_kv_incomplete(struct subject *s);    /* some are there, some are not */
bool when_kv_declared_incomplete(struct subject *s);
bool when_head_not_ignored(struct subject *s); /* tied, and not in the list */

/* RULE_UNIT */
bool when_half_listed(struct subject *s); /* the list has some members of the fused group and not all */
bool when_half_codes(struct subject *s);  /* some members are codes, some are not */
bool when_weight_scales_differ(struct subject *s); /* between members taken as codes */
bool when_input_scales_differ(struct subject *s);
bool when_pre_scales_differ(struct subject *s); /* pre_quant_scale of members, or some have none */
bool when_misaligned(struct subject *s); /* taken as codes; a side is not a multiple of 16 */
bool when_misaligned_fp8(struct subject *s);
bool when_misaligned_int8(struct subject *s);
bool when_misaligned_language(struct subject *s);
bool when_misaligned_vision(struct subject *s);
bool when_tied_head_codes(struct subject *s);
bool when_vision_codes(struct subject *s);

/* RULE_PART */
bool when_part_missing(struct subject *s); /* its weight or bias */

/* RULE_MODULE */
bool when_codes_excluded(struct subject *s);          /* codes, taken as 16 bits */
bool when_scaled_codes_excluded(struct subject *s);   /* the same, of those with scales beside them */
bool when_bare_codes_excluded(struct subject *s);     /* of those without */
bool when_language_codes_excluded(struct subject *s); /* of those outside the vision tower */
bool when_bytes_included(struct subject *s);          /* 16 bits, taken as codes */
bool when_other_codes(struct subject *s);             /* FP8 taken as INT8, or the reverse; other types */
bool when_no_weight_scale(struct subject *s);         /* codes, taken as codes */
bool when_no_input_scale(struct subject *s);          /* the same, static */
bool when_codes_bare(struct subject *s);  /* codes without weight_scale, or input_scale where it is static */
bool when_small_scale(struct subject *s); /* below what fp16 carries: 3.1e-5 */
bool when_scale_not_bf16(struct subject *s); /* a scale that BF16 rounds */
bool when_scale_0d(struct subject *s);       /* a scale of shape [] where it is taken as codes */
bool when_row_scale_1d(struct subject *s);   /* scales per row of shape [out] where it is taken as codes */

/* RULE_TENSOR */
bool when_unknown(struct subject *s); /* the model has no such tensor */
/* the same, of the language model, with q_proj, k_proj, ... in its name */
bool when_unknown_shard(struct subject *s);
bool when_scale_of_plain(struct subject *s);    /* a scale beside 16-bit weights */
bool when_scale_of_excluded(struct subject *s); /* the same, of a layer that is taken as 16 bits */
bool when_scale_type(struct subject *s);        /* a scale of the wrong element type */
bool when_scale_shape(struct subject *s);       /* a scale of the wrong shape */
bool when_scale_value(struct subject *s);       /* a scale that is not a finite number above 0 */
bool when_codes_elsewhere(struct subject *s);   /* codes in a norm, a bias, an embedding, a convolution */
bool when_pre_scale(struct subject *s);         /* a pre_quant_scale */
bool when_kv_language(struct subject *s);
bool when_kv_projection(struct subject *s); /* of those by the name of k_proj or v_proj */
bool when_kv_attention(struct subject *s);  /* of those by the name of the attention */
bool when_kv_vision(struct subject *s);
bool when_in_memory(struct subject *s); /* the name is spelled as transformers has it in memory */

#endif
