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
    const char *name; /* canonical */
    bool quantized;
};

struct layout {
    const char *name;          /* of --format */
    enum scheme_format format; /* the number format that it carries */
    size_t scale_ndim;         /* scales have the shape [] (0) or [1] (1) */

    /* The sorted names or patterns of the layers that stay as they are; NULL: e is set. */
    json_t *(*ignore)(const struct layout_layer *layer, size_t n, struct err *e);

    json_t *(*config)(const json_t *ignore, struct err *e);    /* "quantization_config" of config.json */
    json_t *(*hf_config)(const json_t *ignore, struct err *e); /* hf_quant_config.json; NULL: has none */
};

extern const char *const layout_choices[];          /* for OPT_CHOICE; the first is the default */
const struct layout *layout_find(const char *name); /* NULL: no such layout */

/* For the rows: a new array with the members sorted, each once; takes list over.  NULL: e is set. */
json_t *layout_sorted(json_t *list, struct err *e);

/* Whether the vision tower is there, and whether any of it is quantized. */
void layout_vision(const struct layout_layer *layer, size_t n, bool *there, bool *quantized);

/* v, or NULL with e set: a pack of formats and strings of our own fails only for want of memory. */
json_t *layout_packed(json_t *v, struct err *e);

#endif
