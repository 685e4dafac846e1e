/*
 * weights.h - the tensors of a model under canonical names, whatever style its files use, checked against
 * config.json
 *
 * Canonical: visual.*, language_model.layers.N.*, language_model.embed_tokens, language_model.norm, lm_head.
 * Styles in files: hub (model.layers..., visual...), in-memory (model.language_model..., model.visual...),
 * base class (language_model..., visual...).  A tied model's lm_head.weight is ignored; `stray_head` says
 * that it was there and differs from the embedding, in which case some loaders would use it.
 */
#ifndef COMMON_MODEL_WEIGHTS_H
#define COMMON_MODEL_WEIGHTS_H

#include "common/io/ckpt.h"
#include "common/model/config.h"

/* One linear module, or the patch embedding (a Conv3d in the file): [out, in]. */
struct linear_info {
    char *name; /* canonical module name, "language_model.layers.0.self_attn.q_proj" */
    size_t out, in;
    const struct st_tensor *weight;  /* BF16, F16, F32, or F8_E4M3 or I8 in a quantized checkpoint */
    const struct st_tensor *bias;    /* NULL when it has none */
    float weight_scale, input_scale; /* F8_E4M3; I8: input_scale, 0 when activations are dynamic */
    float *row_scale;                /* I8: [out], owned */
    float *pre_scale;                /* I8 with a pre_quant_scale: [in], owned; else NULL */
    float k_scale, v_scale;          /* of a k_proj, a v_proj whose attention has an FP8 KV cache; else 0 */
};

/* A tensor under its canonical name. */
struct weights_name {
    char *name;
    const struct st_tensor *tensor;
    bool known; /* it belongs to the model; weights_open() refuses any that does not */
};

struct weights {
    struct ckpt ckpt;
    struct config config;
    struct linear_info *linear; /* traversal: patch_embed, vision blocks, merger, language layers, lm_head */
    size_t linears;             /* a tied lm_head is in the list; its weight is the embedding's */
    struct weights_name *name;  /* sorted */
    size_t names;
    size_t scales_applied; /* weights in codes, which have their scales */
    /* of keys and of values: of all layers of the language model, or none, when the cache is 16 bits */
    size_t kv_scales;
    bool stray_head;
};

/*
 * Open a model or checkpoint directory.  Refused: a tensor that is missing, unknown, or has another shape or
 * dtype than config.json asks for; codes without a weight_scale, or without an input_scale where that is
 * static; scales that are not F32 (pre_quant_scale: or 16 bits), finite and above 0, or that have no codes; a
 * layer whose tensors and whose exclude list or group (see quantspec.h) disagree; KV cache scales of some
 * layers and not all; quantization methods other than those of quantspec.h.  An FP8 KV cache that is declared
 * and has no scales has scales of 1, as in the engines; scales that no configuration asks for are not
 * applied, as there.  On failure w is released and zeroed.
 */
int weights_open(struct weights *w, const char *dir, struct err *e);
void weights_close(struct weights *w); /* safe on a zeroed struct */

/* Tensor by canonical name, e.g. "language_model.norm.weight"; NULL when absent. */
const struct st_tensor *weights_find(const struct weights *w, const char *canonical);
struct linear_info *weights_linear(const struct weights *w, const char *module); /* NULL: no such module */

/*
 * A whole tensor as fp32, to be freed.  Codes come out multiplied by their weight_scale, never bare.  NaN
 * and infinities are an error that names file and tensor.
 */
float *weights_f32(const struct weights *w, const struct st_tensor *t, struct err *e);

/*
 * The largest |element| of an unquantized tensor; NaN and infinities are an error that names file and tensor.
 */
int weights_amax(const struct weights *w, const struct st_tensor *t, float *amax, struct err *e);

#endif
