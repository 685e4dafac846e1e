/*
 * layers.h - the LAYERS document: ranges of every linear module, scores of every group (octet-layers/1)
 *
 * One document travels from stage to stage: calib-amax fills the modules, layer-score the groups, rank-layers
 * the ranking.  Keys that this version does not know stay in it.  The reader takes the Python system's quant
 * manifests too (all generations); those have groups and scores, but neither shapes nor ranges.
 */
#ifndef COMMON_QUANT_LAYERS_H
#define COMMON_QUANT_LAYERS_H

#include "common/io/json.h"
#include "common/quant/names.h"

#define LAYERS_SCHEMA "octet-layers"
enum { LAYERS_MAJOR = 1 };

/* One linear module, in the order in which the model holds them: visual, language_model, lm_head. */
struct layer_module {
    char *name;             /* canonical */
    size_t rows, cols;      /* weight [rows, cols] = [out, in]; 0 0: not known (manifests) */
    float weight_amax;      /* largest |w| of the tensor; < 0: not known */
    float input_amax;       /* largest |x| that entered it; < 0: no data reached it, or not known */
    size_t tokens;          /* rows of data that entered it */
    float *input_channels;  /* [cols]: largest |x| of every input channel; NULL: not measured */
    float *weight_channels; /* [cols]: largest |w| of every column of the weight; NULL: not measured */
    float kv_amax; /* in the KV cache: k_proj's largest |k|, rotated, v_proj's |v|; < 0: not measured */
    size_t group;  /* index into layers.group */
    json_t *json;  /* its object as it was read, NULL when built; keys that are not ours stay there */
};

/*
 * One way to store a group.  Cheapest first, FP8 before INT8; the last one is NONE, 16 bits, score 0.
 * Optional numbers are NAN when absent.
 */
struct layer_choice {
    char *label;         /* as in the documents: "FP8(effective-bits: 8.0)", "INT8(effective-bits: 8.0)" */
    double bits;         /* a weight: what stands in the label */
    double score;        /* damage: finite, >= 0 */
    uint64_t cost;       /* weights of the group * bits / 16, rounded up */
    double gradient;     /* score by the gradient method: sum of (g*D)^2 */
    double kl;           /* score by the KL method: sum over all positions, in nats */
    double predicted_kl; /* half the sum over tokens of (sum_j g*D)^2, in nats over all loss tokens */
};

/* Optional numbers are NAN when absent. */
struct layer_group {
    char *name;     /* canonical name of the first member */
    char *key;      /* as it stood in the document ("....quant_recipe" in manifests) */
    size_t *member; /* indices into layers.module; n_members of them, at least 1 */
    size_t n_members;
    enum name_scope scope;
    bool scored; /* it has choices */
    struct layer_choice *choice;
    size_t n_choices;
    size_t weights;    /* elements: the cost of NONE; from the shapes when not scored */
    double importance; /* the score of layers_best(); what groups are ranked by */
    double alpha;      /* SmoothQuant's, with the least output error on the data; NAN: not searched */
    bool has_tokens;   /* false in manifests, which do not say */
    size_t tokens;     /* rows of data that reached it: the smallest of its members */
    size_t rank;       /* 1-based; 0: not ranked */
    json_t *json;      /* as it was read, NULL when built */
};

struct layers {
    char *label;                                  /* file name, for messages */
    char hex[SHA256_HEX];                         /* of the bytes read; "" when built or merged */
    char *model_id, *model_digest, *architecture; /* NULL: not known */
    bool tied_lm_head;
    char *samples_digest;
    size_t samples, tokens, loss_tokens; /* of the data; 0: not known */
    char *rounding;                      /* "exact" or "modelopt"; NULL: not known */
    char *fused_ranges;                  /* "shared" or "own" during scoring; NULL: not known */
    char *method;                        /* "gradient" or "kl_div"; NULL: not known */
    char *activations; /* of INT8 candidates: "static" or "dynamic"; NULL: none were scored */
    double alpha;      /* SmoothQuant's when they were scored; NAN: without; -1: each group's own */
    bool smooth_input; /* all groups were smoothed; false: those whose norm can carry the scale */
    struct layer_module *module;
    size_t n_modules, cap_modules;
    struct layer_group *group; /* in the order of their first members */
    size_t n_groups, cap_groups;
    size_t *ranking; /* groups, least sensitive first; n_ranked; NULL: no ranking */
    size_t n_ranked;
    bool foreign;                             /* shapes and ranges are not known: a manifest */
    json_t *doc;                              /* the document as it was read, NULL when built */
    json_t *modules_by_name, *groups_by_name; /* private: canonical name to position */
};

/*
 * Read a LAYERS document or a manifest; path NULL or "-": standard input.  Everything is checked: names known
 * once, numbers finite and not negative, choices in order, ranking entries in layer_sensitivity.  0, or -1
 * with e set and *l released.
 */
int layers_read(struct layers *l, const char *path, struct err *e);

/*
 * Building one, for the tools that run the model: layers_init(), the metadata with layers_set_*(), every
 * module in traversal order with layers_add() (any name style; makes its group), then numbers, then
 * layers_write().
 */
int layers_init(struct layers *l, struct err *e);
int layers_set_model(struct layers *l, const char *id, const char *digest, const char *architecture,
                     bool tied_lm_head, struct err *e);
int layers_set_samples(struct layers *l, const char *digest, size_t count, size_t tokens, size_t loss_tokens,
                       struct err *e);
/* rounding: "exact" or "modelopt"; fused_ranges: "shared" or "own". */
int layers_set_quantization(struct layers *l, const char *rounding, const char *fused_ranges, struct err *e);
int layers_add(struct layers *l, const char *name, size_t rows, size_t cols, size_t *index, struct err *e);

/* amax values finite and >= 0; input_amax is ignored when tokens is 0. */
int layers_set_ranges(struct layers *l, size_t module, float weight_amax, float input_amax, size_t tokens,
                      struct err *e);

/* [cols] each, finite and >= 0, copied.  input NULL: no data reached the module. */
int layers_set_channels(struct layers *l, size_t module, const float *input, const float *weight,
                        struct err *e);

/* Of a k_proj or v_proj of the language model: finite, >= 0. */
int layers_set_kv(struct layers *l, size_t module, float amax, struct err *e);

/* SmoothQuant's alpha that serves the group best: 0..1. */
int layers_set_alpha(struct layers *l, size_t group, double alpha, struct err *e);

/*
 * How INT8 candidates were scored: "static" or "dynamic" activations; SmoothQuant's alpha (0..1; NAN:
 * without; -1: each group's own), of all groups (smooth_input) or of those whose norm can carry the scale,
 * the others without; see smooth_applies().
 */
int layers_set_int8(struct layers *l, const char *activations, double alpha, bool smooth_input,
                    struct err *e);

/*
 * The score of a group in a format ("FP8", "INT8"), beside those of other formats by the same method and the
 * NONE choice; a ranking is dropped.  method "gradient" or "kl_div" says which of the two numbers the choices
 * carry; the other one and predicted_kl may be NAN, and to keep what a document had, pass it again.  Fails
 * when a number is infinite or negative, or when the chosen one is NAN: the message names the group.
 */
int layers_set_score(struct layers *l, size_t group, const char *format, const char *method, double gradient,
                     double kl, double predicted_kl, struct err *e);

/* The least score among a group's cheapest choices; NONE when there is no other.  NULL: not scored. */
const struct layer_choice *layers_best(const struct layer_group *g);

/* Whether the choice is that format: "FP8", "INT8", "NONE". */
bool layers_choice_is(const struct layer_choice *c, const char *format);

/* Positions by canonical name; -1: there is none. */
long layers_find_module(const struct layers *l, const char *canonical);
long layers_find_group(const struct layers *l, const char *canonical);

/* The weight range that module has in a scheme: its own, or the largest of its group when shared.  < 0: not
 * known. */
float layers_weight_amax(const struct layers *l, size_t module, bool shared);

/* A member of the group matches the pattern (name_match()). */
bool layers_group_matches(const struct layers *l, size_t group, const char *pattern);

bool layers_scored(const struct layers *l); /* at least one group has choices */

/*
 * Add a shard: the same model over other samples.  Ranges by max, but those that a shard which reached the
 * module did not measure are not known; tokens, samples and scores by sum; the ranking is dropped.  A group's
 * alpha stays where both agree. Keys that this version does not know stay where both documents agree.  -1
 * when the two differ in model, modules, choices, method, rounding, fused ranges, or in the activations and
 * the smoothing that INT8 was scored with.
 */
int layers_merge(struct layers *l, const struct layers *shard, struct err *e);

/* Rank by this method's numbers from here on ("gradient" or "kl"): -1 when a scored group lacks them. */
int layers_use_method(struct layers *l, const char *method, struct err *e);

/*
 * Choose between this format and NONE from here on ("FP8" or "INT8"); the ranking is dropped where there was
 * another choice. -1 when a scored group was not scored in it.
 */
int layers_use_format(struct layers *l, const char *format, struct err *e);

void layers_drop_ranking(struct layers *l);

/*
 * The document as JSON: a new head, then everything.  from[role]: hex of each input, n pairs {role, hex}. The
 * caller owns the result.  NULL: e is set.
 */
struct layers_from {
    const char *role, *hex;
};
json_t *layers_to_json(const struct layers *l, const struct layers_from *from, size_t n, struct err *e);

/* layers_to_json() to a file, whole or not at all; path NULL or "-": standard output. */
int layers_write(const struct layers *l, const struct layers_from *from, size_t n, const char *path,
                 struct err *e);

void layers_release(struct layers *l); /* a zeroed struct is fine */

#endif
