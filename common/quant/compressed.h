/*
 * compressed.h - what a checkpoint in compressed-tensors' layout says about itself
 *
 * Every Linear is FP8 with static scales per tensor, or INT8 with scales per row and inputs scaled per tensor
 * or at run time per token, but for those that the ignore list names.  Where layers differ in that, each kind
 * has a group of its own in config_groups, whose targets are lists like that one.  Engines match
 * that list against names of their own: transformers against model.language_model.layers.3..., vLLM against
 * hub names, too, SGLang against names in which q, k and v have become one qkv_proj.  What means the same to
 * all of them is one regular expression per group that begins with ".*" and names the fused module beside the
 * members: "re:.*layers\.3\.self_attn\.(q|k|v|qkv)_proj$".
 */
#ifndef COMMON_QUANT_COMPRESSED_H
#define COMMON_QUANT_COMPRESSED_H

#include "common/quant/layout.h"

/*
 * The list, sorted: "lm_head" unless it is among the layers and quantized, "re:.*visual.*" for a vision tower
 * of which nothing is quantized, else one expression per unquantized group.  NULL when some expression would
 * match more or less than it should in some engine's spelling.
 */
json_t *compressed_ignore(const struct layout_layer *layer, size_t n, struct err *e);

/* "quantization_config" of config.json; the layout has no file of its own.  NULL: e is set. */
json_t *compressed_config(const struct layout_claim *c, struct err *e);

#endif
