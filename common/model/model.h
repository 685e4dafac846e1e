/*
 * model.h - a model on a backend: its stages, their weights, and which linear modules run quantized
 *
 * A model is a row of stages: the patch embedding, the vision blocks, the merger, the language layers, the
 * head.  A stage's weights come to the device when it is first entered and may leave again (--max-memory):
 * the walk over stages is the only place that waits for them.
 */
#ifndef COMMON_MODEL_MODEL_H
#define COMMON_MODEL_MODEL_H

#include "common/image/processor.h"
#include "common/model/weights.h"
#include "common/quant/scheme.h"
#include "kernels/backend.h"

enum stage_kind { STAGE_PATCH, STAGE_VISION, STAGE_MERGER, STAGE_TEXT, STAGE_HEAD };

/* A format and its ranges for a linear module. */
struct linear_form {
    enum scheme_format format;
    float amax, input_amax; /* amax: FP8 only; input_amax 0 and dynamic: see scheme.h */
    bool dynamic;
    struct smooth smooth; /* INT8; its arrays are borrowed and outlive the use */
};

struct linear {
    const struct linear_info *info;
    size_t index;          /* into model.linear */
    /*
     * Of its weights, inputs and outputs on the device: those of info but for the columns between gate, up
     * and down, whose number is be_width() of the file's.  What is added has weights and biases of 0, so it
     * is 0.
     */
    size_t out, in;
    struct weight weight;  /* as in the file: dense, or FP8 or INT8 in a quantized checkpoint */
    struct weight rounded; /* its 8-bit form, when `quantized` asks for it */
    bool quantized;        /* run with `rounded` */
    struct linear_form form;
};

/* Linears and norms of a stage by their role; those that a stage does not have are NULL. */
struct stage {
    enum stage_kind kind;
    size_t block; /* index among its kind */
    struct linear *qkv, *q, *k, *v, *o, *gate, *up, *down; /* o: attn.proj in the vision tower */
    struct linear *patch, *merger0, *merger2, *head;
    void *norm1, *norm2; /* act; norm1 is ln_q of the merger and the final norm of the head */
    bool stale;          /* norms are on the device in another form than their readers ask for */
    const struct st_tensor *norm1_tensor, *norm2_tensor;
    size_t bytes;  /* of its weights on the device */
    bool resident;
};

/* Scales of an attention layer's FP8 KV cache. */
struct kv_scale {
    float k, v;
};

struct model {
    struct weights weights;
    const struct config *config;
    struct processor processor;
    struct backend *be;
    struct linear *linear; /* in the order of weights.linear */
    size_t linears;
    struct stage *stage;
    size_t stages, head; /* head == stages - 1 */
    struct weight embed;
    float *largest; /* device: the largest |W| of the dense weights loaded so far, see be->weight_amax() */
    enum rounding rounding; /* of quantized linears */
    struct kv_scale *kv;    /* [config->layers]; NULL: keys and values stay as they are */
    size_t max_bytes, bytes; /* budget for weights on the device (0: none) and what they take now */
    char digest[SHA256_HEX];
    char head_digest[SHA256_HEX]; /* see states_head_digest(); "" until someone asks */
};

/*
 * Open a directory and lay out its stages.  Weights are checked now and loaded when a walk enters their
 * stage.
 */
int model_open(struct model *m, const char *dir, struct backend *be, size_t max_bytes, struct err *e);
void model_close(struct model *m); /* safe on a zeroed struct */

/*
 * The stage's weights are on the device after this, in the form that each linear is to run in.  NaN and
 * infinities are an error that names file and tensor, and so is a weight that a device's bf16 cannot hold.
 * After a failure the model is good for closing only.
 */
int model_enter(struct model *m, struct stage *s, struct err *e);

/* The embedding table is on the device after this; the same errors. */
int model_enter_embed(struct model *m, struct err *e);

/*
 * Run a linear in 8 bits from now on, or unquantized again.  -1 for a module whose file weight is quantized
 * already.
 *
 * A form whose smoothing is folded changes the norm before the module: all modules that read that norm must
 * be given forms with the same `pre` before the next walk, which fails otherwise.  The norm's weight then is
 * that of an export, rounded to its file's type.
 */
int model_quantize(struct model *m, struct linear *l, const struct linear_form *form, struct err *e);
void model_unquantize(struct model *m, struct linear *l);

/*
 * The weight of l, which is on the device and unquantized, in a form; q belongs to the caller and shares the
 * bias.
 */
void model_round(struct model *m, struct weight *q, const struct linear *l, const struct linear_form *form);

/* Drop the weights of all stages but the head from the device; a walk brings them back. */
void model_evict(struct model *m);

/*
 * Run what the scheme quantizes in its formats, ranges and rounding, everything else unquantized; keys and
 * values of the language model by the scheme's KV ranges.  The scheme's arrays are borrowed: it outlives the
 * runs.  -1 when the scheme was made for another model (digest), names a module or layer that this one does
 * not have, or quantizes a tied lm_head.
 */
int model_apply(struct model *m, const struct scheme *s, struct err *e);

bool model_is_quantized(const struct model *m); /* a weight in its files is FP8 or INT8 */

struct stage *model_stage_of(const struct model *m, const struct linear *l);

/* The weight that a linear runs with. */
static inline const struct weight *linear_weight(const struct linear *l)
{
    return l->quantized ? &l->rounded : &l->weight;
}

#endif
