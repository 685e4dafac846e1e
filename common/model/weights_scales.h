/* weights_scales.h - scales of a quantized checkpoint; private to weights*.c */
#ifndef COMMON_MODEL_WEIGHTS_SCALES_H
#define COMMON_MODEL_WEIGHTS_SCALES_H

#include "common/model/quantspec.h"
#include "common/model/weights.h"

/* "MODULE.SUFFIX", or NULL when there is none. */
struct weights_name *weights_lookup(const struct weights *w, const char *module, const char *suffix);

bool weights_is_float(enum dtype t);
bool weights_is_codes(enum dtype t); /* FP8 or INT8 */

/*
 * What the checkpoint says about a layer against what its tensor is; *dynamic: its inputs are scaled at run
 * time.
 * tied_head: l is the embedding.
 */
int weights_check_form(const struct weights *w, const struct quantspec *q, const struct linear_info *l,
                       bool tied_head, bool *dynamic, struct err *e);

/*
 * Codes need their scales; a weight that is not codes must have none, because a loader would multiply by it.
 */
int weights_read_scales(struct weights *w, struct linear_info *l, bool dynamic, struct err *e);

/*
 * Scales of the KV cache, which belong to k_proj and v_proj of the language model, or in compressed-tensors
 * to the attention that they are in; then, when all layers are read, that all of them or none had some.
 */
int weights_read_kv(struct weights *w, const struct quantspec *q, struct linear_info *l, struct err *e);
int weights_complete_kv(struct weights *w, const struct quantspec *q, struct err *e);

#endif
