/*
 * scheme.h - the SCHEME document: which modules are quantized, in what format, with what ranges
 * (octet-scheme/1)
 *
 * A scheme is a partition of all groups into selected, dropped and unranked, and for every module of the
 * selected ones its format and ranges.  The model and a scheme are all that an export or an evaluation needs.
 * The reader takes the Python system's coverage files, too; those have names only, and `apply-coverage
 * --from` adds ranges to them.
 */
#ifndef COMMON_QUANT_SCHEME_H
#define COMMON_QUANT_SCHEME_H

#include "common/quant/layers.h"
#include "common/quant/rank.h"

#define SCHEME_SCHEMA "octet-scheme"
enum { SCHEME_MAJOR = 1 };

enum scheme_format { FORMAT_NONE, FORMAT_FP8, FORMAT_INT8 }; /* FORMAT_NONE: stays in 16 bits */

const char *scheme_format_text(enum scheme_format f);             /* "none", "fp8", "int8" */
int scheme_format_parse(const char *text, enum scheme_format *f); /* -1: no such format */

struct scheme_module {
    char *name; /* canonical */
    enum scheme_format format;
    float weight_amax, input_amax; /* finite, >= 0; INT8: rows have their own weight range, and input_amax is
                                      that of the smoothed input */
    bool dynamic;                  /* INT8: the range of every token is taken when it runs; input_amax is 0 */
    /* SmoothQuant; NULL: none.  [channels], the module's input features; see struct smooth in int8.h. */
    size_t channels;
    float *pre_scale, *own_scale;
    bool folded;
};

/* Ranges of an attention layer's KV cache in FP8: K after the rotation. */
struct scheme_kv {
    char *layer; /* canonical: "language_model.layers.0" */
    float k_amax, v_amax;
};

struct scheme_unranked {
    char *name, *reason; /* name: the group's as in the LAYERS document */
};

/* Optional numbers are NAN when absent: null in the document. */
struct scheme {
    char *label;                            /* file name, for messages */
    char hex[SHA256_HEX];                   /* of the bytes read; "" when built */
    char *baseline_dir, *baseline_manifest; /* of the Python system; "" in ours */
    char *name;                             /* "top50", "bytes50", "bits11", "select", a preset's */
    double top_percent, coverage_fraction;
    char **selected, **dropped; /* group names as in the LAYERS document, in ranking order */
    size_t n_selected, n_dropped;
    char *by;              /* "groups", "bytes", "bits", "select", "coverage", "preset"; NULL: not known */
    char *scope;           /* "all", "language", "vision" */
    char *rounding;        /* "exact", "modelopt"; of the weight codes */
    char *fused_ranges;    /* "shared", "own" */
    double effective_bits; /* bits per weight over all scored groups, 16 for those that are not selected */
    size_t weights;        /* elements of all scored groups */
    double weight_bytes;   /* predicted bytes of those: weights * effective_bits / 8 */
    double bytes_fraction; /* share of those weights that is quantized, 0..1 */
    double score; /* sum over the selected groups; NAN: one of them was not scored in the form it has */
    double gap;   /* BY_BITS: no choice has a score lower by more than this share; 0 when read */
    double predicted_kl; /* the same sum of predicted KLs, in nats per token */
    struct scheme_unranked *unranked;
    size_t n_unranked;
    char *model_id, *model_digest, *architecture; /* NULL: not known */
    bool tied_lm_head;
    bool ranged; /* modules below are complete; false: names only (coverage files, manifests) */
    struct scheme_module *module; /* in the order of the LAYERS document */
    size_t n_modules;
    struct scheme_kv *kv;    /* of every attention layer of the language model, in order */
    size_t n_kv;             /* 0: a 16-bit KV cache */
    json_t *modules_by_name; /* private: canonical name to position */
};

/*
 * Read a SCHEME or a coverage file; path NULL or "-": standard input.  Without ranges it is an error unless
 * names_only is set: a run or an export needs them.
 */
int scheme_read(struct scheme *s, const char *path, bool names_only, struct err *e);

/* The module's entry, or NULL when it stays in 16 bits.  The name is canonical. */
const struct scheme_module *scheme_find(const struct scheme *s, const char *canonical);

/* How to select.  One of the six; rank options apply to all but `from`. */
enum scheme_by { BY_GROUPS, BY_BYTES, BY_BITS, BY_SELECT, BY_COVERAGE, BY_PRESET };

struct scheme_opts {
    enum scheme_by by;
    unsigned percent; /* BY_GROUPS, BY_BYTES: 1..100 */
    double bits;      /* BY_BITS: bits per weight over all scored groups, 0 < bits <= 16 */
    const char *const
        *select; /* BY_SELECT: patterns, matched against members; a group is taken when one matches */
    size_t n_select;
    const struct scheme *from; /* BY_COVERAGE: the same names, formats and KV cache, ranges from l */
    const char *preset;        /* BY_PRESET: its name */
    const enum scheme_format *preset_format; /* BY_PRESET: of every group of l, FORMAT_NONE: not selected */
    struct rank_opts rank;
    const char *rounding;     /* NULL: as the scores were measured, else "exact" */
    const char *fused_ranges; /* NULL: as the scores were measured, else "shared" */
    /*
     * BY_SELECT, BY_COVERAGE of names alone: the format; FORMAT_NONE: the best that was scored, else FP8. The
     * other ways choose among all formats that l has scores of: layers_use_format() leaves one.
     */
    enum scheme_format format;
    const char *activations; /* of INT8: "static", "dynamic"; NULL: as the scores were, else "static" */
    const double *alpha;     /* SmoothQuant's, as layers.alpha; NULL: as the scores were, else without */
    /*
     * What is smoothed: "norm", the INT8 groups whose norm can carry the scale, which it then does; "input",
     * all of them, where X enters.  NULL: as the scores were measured, else "norm".
     */
    const char *smooth_at;
    bool kv; /* an FP8 KV cache */
};

/*
 * Build from a LAYERS document.  A document that has no ranges at all (a manifest) gives a scheme of names;
 * one that has ranges must have them for every selected module.  -1 with the reason when nothing can be
 * selected, a name is unknown, a pattern matches nothing that can be quantized, the budget cannot be met
 * (the message says the least bits), or ranges are missing (the message says what measures them).
 */
int scheme_make(struct scheme *s, const struct layers *l, const struct scheme_opts *opts, struct err *e);

/* As JSON; from: as in layers_to_json(). */
json_t *scheme_to_json(const struct scheme *s, const struct layers_from *from, size_t n, struct err *e);
int scheme_write(const struct scheme *s, const struct layers_from *from, size_t n, const char *path,
                 struct err *e);

void scheme_release(struct scheme *s); /* a zeroed struct is fine */

#endif
