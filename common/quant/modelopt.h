/*
 * modelopt.h - what a checkpoint in NVIDIA ModelOpt's layout says about itself: FP8, or INT8, which no engine
 * loads
 *
 * One list names the layers that are not quantized; everything else is.  Engines read that list in different
 * ways: vLLM takes an entry as exact name, as substring and as shell pattern, SGLang as whole dotted path or
 * as shell pattern, TensorRT-LLM as shell pattern.  The list made here means the same under all of them: leaf
 * names, the names of the fused modules that engines build (qkv_proj, gate_up_proj), and for a vision tower
 * that stays as it is the four patterns "visual", "visual*", "model.visual", "model.visual*".
 */
#ifndef COMMON_QUANT_MODELOPT_H
#define COMMON_QUANT_MODELOPT_H

#include "common/quant/layout.h"

/*
 * The list, sorted, in hub names.  lm_head is in it unless it is among the layers and quantized.  -1 and NULL
 * when some name would match more or less than it should: every quantized layer must escape the widest
 * reading (substring), every other one must be caught by the narrowest (whole name or shell pattern).
 */
json_t *modelopt_exclude(const struct layout_layer *layer, size_t n, struct err *e);

/* The widest and the narrowest reading of an entry.  name: hub. */
bool modelopt_may_exclude(const json_t *list, const char *name);
bool modelopt_must_exclude(const json_t *list, const char *name);

/* "quantization_config" of config.json, and all of hf_quant_config.json.  NULL: e is set. */
json_t *modelopt_inline_config(const struct layout_claim *c, struct err *e);
json_t *modelopt_file_config(const struct layout_claim *c, struct err *e);

#endif
