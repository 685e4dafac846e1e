/*
 * preset.h - recipes by name: which layers are quantized, in which format, with what around it
 * (octet-preset/1)
 *
 * A preset is a list of rules, the last that matches a group decides, and names that stay in 16 bits after
 * all.  Those that are built in follow ModelOpt's recipes, its list of layers that are never quantized
 * included; others are JSON files.
 */
#ifndef COMMON_QUANT_PRESET_H
#define COMMON_QUANT_PRESET_H

#include "common/quant/scheme.h"

#define PRESET_SCHEMA "octet-preset"
enum { PRESET_MAJOR = 1 };

struct preset_rule {
    char *pattern; /* as name_match() has it */
    enum scheme_format format;
};

struct preset {
    char *name, *summary;
    struct preset_rule *rule;
    size_t n_rules;
    char **disabled; /* patterns of what stays in 16 bits; unlike a rule's they may match nothing */
    size_t n_disabled;
    char *activations;    /* of INT8: "static", "dynamic" */
    double alpha;         /* SmoothQuant's, as layers.alpha */
    bool smooth_input;    /* all INT8 groups; false: those whose norm can carry the scale */
    bool kv;              /* an FP8 KV cache */
    char hex[SHA256_HEX]; /* of the file's bytes; "" when built in */
};

/*
 * A preset by its name, or from a file: what has a "/" or ends in ".json".  The message about an unknown name
 * lists those that are known.  Release p afterwards, also after a failure.
 */
int preset_read(struct preset *p, const char *name, struct err *e);
void preset_release(struct preset *p); /* a zeroed struct is fine */

/*
 * What the preset makes of every group of l: format [l->n_groups], FORMAT_NONE for 16 bits.  A pattern of
 * disabled is matched against a name and, as in ModelOpt, against NAME.weight_quantizer.  -1 when a rule
 * matches nothing.
 */
int preset_apply(const struct preset *p, const struct layers *l, enum scheme_format *format, struct err *e);

bool preset_has(const struct preset *p, enum scheme_format f); /* a rule says f */

/* The built-in presets as a table for people: name, what it is, what it needs of calib-amax. */
int preset_list(FILE *f, struct err *e);

/*
 * Options of calib-amax that give the ranges for this KV cache, alpha and activations of INT8: "", "--kv",
 * "--per-channel --alpha=auto".
 */
const char *preset_needs(bool kv, double alpha, const char *activations);

#endif
