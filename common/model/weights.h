/*
 * weights.h - the tensors of a model under canonical names, whatever style its files use, checked against config.json
 *
 * Canonical: visual.*, language_model.layers.N.*, language_model.embed_tokens, language_model.norm, lm_head.
 * Styles in files: hub (model.layers..., visual...), in-memory (model.language_model..., model.visual...), base class
 * (language_model..., visual...).  A tied model's stray lm_head.weight is ignored; `stray_head` says that it was there.
 */
#ifndef COMMON_MODEL_WEIGHTS_H
#define COMMON_MODEL_WEIGHTS_H

#include "common/io/ckpt.h"
#include "common/model/config.h"

/* One linear module (or the patch embedding, a Conv3d in the file): [out, in], with what quantization needs to know. */
struct linear_info {
    char *name;                       /* canonical module name, "language_model.layers.0.self_attn.q_proj" */
    size_t out, in;
    const struct st_tensor *weight;   /* BF16, F16, F32, or F8_E4M3 in a quantized checkpoint */
    const struct st_tensor *bias;     /* NULL when it has none */
    float weight_scale, input_scale;  /* F8_E4M3 only */
};

struct weights {
    struct ckpt ckpt;
    struct config config;
    struct linear_info *linear; /* traversal order: patch_embed, vision blocks, merger, language layers, lm_head */
    size_t linears;             /* a tied lm_head is in the list; its weight is the embedding's */
    size_t scales_applied;      /* FP8 weights with both their scales */
    bool stray_head;
};

/*
 * Open a model or checkpoint directory.  Refused: a tensor that is missing or has another shape or dtype than config.json
 * asks for; FP8 codes without a weight_scale or an input_scale; quantization methods other than modelopt FP8.
 */
int weights_open(struct weights *w, const char *dir, struct err *e);
void weights_close(struct weights *w);

/* Tensor by canonical name, e.g. "language_model.norm.weight"; NULL when absent. */
const struct st_tensor *weights_find(const struct weights *w, const char *canonical);
struct linear_info *weights_linear(const struct weights *w, const char *module); /* NULL: no such module */

/* A whole tensor as fp32, to be freed.  NaN and infinities are an error that names file and tensor. */
float *weights_f32(const struct weights *w, const struct st_tensor *t, struct err *e);

#endif
