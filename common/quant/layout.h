/*
 * layout.h - how checkpoints say which layers are quantized: one row per layout that export-ckpt writes
 *
 * The codes and the values of the scales are the same in every layout.  What differs is the shape of a scale,
 * the words in config.json, and the way in which the layers that stay unquantized are named.
 */
#ifndef COMMON_QUANT_LAYOUT_H
#define COMMON_QUANT_LAYOUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"
#include "common/quant/scheme.h"

/* A module with a weight that an engine may take for quantized: linear, embedding or convolution. */
struct layout_layer {
    const char *name;          /* canonical */
    enum scheme_format format; /* FORMAT_NONE: stays as it is */
    bool dynamic;              /* inputs get their scales at run time */
};

/* What a checkpoint says about itself. */
struct layout_claim {
    const struct layout_layer *layer;
    size_t n;
    const json_t *ignore; /* layout.ignore() of the layers */
    bool kv;              /* the KV cache is FP8, and its scales are there */
};

struct layout {
    const char *name;         /* of --format */
    bool mixed;               /* FP8 and INT8 layers in one checkpoint */
    bool dynamic;             /* layers whose inputs get their scales at run time */
    bool pre_scales;          /* pre_quant_scale: smoothing that no norm carries */
    size_t scale_ndim;        /* scales of one number have the shape [] (0) or [1] (1) */
    size_t row_scale_ndim;    /* scales per row have the shape [out] (1) or [out, 1] (2) */
    const char *k_scale, *v_scale; /* of the KV cache, after the name of the layer */

    /* The sorted names or patterns of the layers that stay as they are; NULL: e is set. */
    json_t *(*ignore)(const struct layout_layer *layer, size_t n, struct err *e);

    /* "quantization_config" of config.json */
    json_t *(*config)(const struct layout_claim *c, struct err *e);
    /* hf_quant_config.json; NULL: has none */
    json_t *(*hf_config)(const struct layout_claim *c, struct err *e);
};

extern const char *const layout_choices[];          /* for OPT_CHOICE; the first is the default */
const struct layout *layout_find(const char *name); /* NULL: no such layout */

/* For the rows: a new array with the members sorted, each once; takes list over.  NULL: e is set. */
json_t *layout_sorted(json_t *list, struct err *e);

/* Whether some layer has that format. */
bool layout_has(const struct layout_layer *layer, size_t n, enum scheme_format format);

/* Whether the vision tower is there, and whether any of it is quantized. */
void layout_vision(const struct layout_layer *layer, size_t n, bool *there, bool *quantized);

/* v, or NULL with e set: a pack of formats and strings of our own fails only for want of memory. */
json_t *layout_packed(json_t *v, struct err *e);

#endif
