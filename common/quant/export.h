/*
 * export.h - a model and a scheme to a quantized checkpoint in ModelOpt's FP8 layout
 *
 * Of every module X that the scheme quantizes, X.weight becomes F8_E4M3 [out, in] beside X.weight_scale and
 * X.input_scale, F32 scalars; every other tensor keeps its bytes.  Names are those of the hub, whatever the
 * model's files use. The set of quantized layers equals the set that the scheme selects, or the export fails.
 */
#ifndef COMMON_QUANT_EXPORT_H
#define COMMON_QUANT_EXPORT_H

#include "common/base/progress.h"
#include "common/io/ckpt.h"
#include "common/quant/scheme.h"
#include "common/quant/tensor.h"

#define EXPORT_SHARD_BYTES                                                                                   \
    ((size_t)5000000000) /* of a model that is in several files: a new file begins here */

struct export_item {
    struct st_tensor out;               /* as written: name (owned), dtype, shape, bytes */
    const struct st_tensor *src;        /* where the values come from; NULL for a scale */
    const struct scheme_module *module; /* NULL: copied byte for byte */
    float scale;                        /* of a scale: its value; of a quantized weight: its scale */
    size_t file;
};

struct export_plan {
    const struct ckpt *model; /* both borrowed */
    const struct scheme *scheme;
    enum rounding rounding;
    struct export_item *item; /* by file, and in each as st_compare() orders */
    size_t items, cap;
    size_t files, quantized;
    size_t linears; /* modules that could be: linear layers, tied lm_head not counted */
    json_t *ignore; /* modelopt_exclude() */
    char **extra;   /* other files of the model directory that come along, sorted */
    size_t extras;
    uint64_t bytes; /* that the checkpoint takes, JSON files estimated */
};

/*
 * Decide everything and check everything that can be known before writing: the digest of the model against
 * that in the scheme, every module of the scheme, ranges, whole fused groups, sizes.
 */
int export_plan(struct export_plan *p, const struct ckpt *model, const struct scheme *s, enum rounding r,
                size_t shard_bytes, struct err *e);

/*
 * Write the checkpoint to the directory dir, which appears whole or not at all; force: replace an earlier
 * one.  Before it gets its name, it is opened again and compared with the plan.  Advances a progress of
 * p->items steps.
 */
int export_write(const struct export_plan *p, const char *dir, bool force, struct progress *progress,
                 struct err *e);

void export_release(struct export_plan *p); /* safe on a zeroed struct */

#endif
