/*
 * export.h - a model and a scheme to a quantized checkpoint
 *
 * Of every module X that the scheme quantizes, X.weight becomes F8_E4M3 or I8 [out, in] beside
 * X.weight_scale, F32, one number or one per row, and X.input_scale, F32, one number, unless inputs are
 * scaled at run time.  Smoothing is folded into the norm before, whose weight becomes norm * pre in its own
 * type, or kept as X.pre_quant_scale [in].  A scheme with KV ranges adds a k_scale and a v_scale, F32, to
 * every layer of the language model.  Every other tensor keeps its bytes.  Names are those of the hub,
 * whatever the model's files use.  The set of quantized layers equals the set that the scheme selects, or the
 * export fails.  The codes do not depend on the layout.
 */
#ifndef COMMON_QUANT_EXPORT_H
#define COMMON_QUANT_EXPORT_H

#include "common/base/progress.h"
#include "common/io/ckpt.h"
#include "common/io/pool.h"
#include "common/quant/layout.h"
#include "common/quant/names.h"
#include "common/quant/scheme.h"
#include "common/quant/tensor.h"

#define EXPORT_SHARD_BYTES                                                                                   \
    ((size_t)5000000000) /* of a model that is in several files: a new file begins here */

enum export_kind {
    EXPORT_COPY, /* byte for byte */
    EXPORT_CODES,
    EXPORT_NORM,       /* carries the smoothing of the modules that read it */
    EXPORT_NUMBER,     /* a scale */
    EXPORT_ROW_SCALES, /* of INT8 codes */
    EXPORT_PRE_SCALE,
};

struct export_item {
    struct st_tensor out; /* as written: name (owned), dtype, shape, bytes */
    enum export_kind kind;
    /* where the values come from; NULL: EXPORT_NUMBER and EXPORT_PRE_SCALE */
    const struct st_tensor *src;
    const struct scheme_module *module; /* NULL: EXPORT_COPY and EXPORT_NUMBER */
    float scale;                        /* EXPORT_NUMBER: its value; EXPORT_CODES in FP8: theirs */
    size_t file;
};

struct export_opts {
    const struct layout *layout;
    enum rounding rounding;
    size_t shard_bytes; /* 0: EXPORT_SHARD_BYTES */
    /*
     * One file for each group of modules that a scheme takes or leaves as one, with their biases, scales and
     * the norm that may carry their smoothing, and files for the rest: checkpoints of one model then differ
     * in the files of the groups in which their schemes do.
     */
    bool by_group;
};

struct export_plan {
    const struct ckpt *model; /* both borrowed */
    const struct scheme *scheme;
    struct export_opts opts;
    bool indexed;             /* several files, and an index */
    struct export_item *item; /* by file, and in each as st_compare() orders */
    size_t items, cap;
    size_t *first; /* [files + 1]: the first item of each file, and the end */
    size_t files, quantized;
    size_t linears; /* modules that could be: linear layers, tied lm_head not counted */
    struct layout_layer *layer; /* every module that an engine may take for quantized */
    char (*layer_name)[NAME_BYTES];
    size_t layers;
    json_t *ignore; /* layout.ignore() */
    char **extra;   /* other files of the model directory that come along, sorted */
    size_t extras;
    uint64_t bytes,
        tensor_bytes; /* that the checkpoint takes, JSON files estimated; files of tensors alone */
};

/*
 * Decide everything and check everything that can be known before writing: the digest of the model against
 * that in the scheme, every module of the scheme, ranges, whole fused groups, sizes.
 */
int export_plan(struct export_plan *p, const struct ckpt *model, const struct scheme *s,
                const struct export_opts *o, struct err *e);

struct export_target {
    const char *dir; /* the checkpoint */
    bool force;      /* replace an earlier one */
    const char
        *pool; /* where its files of tensors are shared, see pool.h; the plan is by_group.  NULL: nowhere */
};

/*
 * Write the checkpoint, which appears whole or not at all.  Before it gets its name, it is opened again and
 * compared with the plan.  Advances a progress of export_steps() steps.  use, when not NULL, says what the
 * pool did.
 */
int export_write(const struct export_plan *p, const struct export_target *to, struct pool_use *use,
                 struct progress *progress, struct err *e);
size_t export_steps(const struct export_plan *p, const struct export_target *to);

/* Whether the tensor is there in the model, too, in whatever form. */
bool export_was_there(const struct export_item *it);

/* The bytes of one file of tensors, at most. */
uint64_t export_file_bytes(const struct export_plan *p, size_t file);

void export_release(struct export_plan *p); /* safe on a zeroed struct */

#endif
