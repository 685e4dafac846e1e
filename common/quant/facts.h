/*
 * facts.h - what a checkpoint's files say, before any engine reads them
 *
 * Its tensors sorted to the modules of the model, and the one or two configurations that say how they are
 * quantized.  Nothing is judged here: scales may be missing, lists may contradict the tensors.
 */
#ifndef COMMON_QUANT_FACTS_H
#define COMMON_QUANT_FACTS_H

#include "common/io/ckpt.h"
#include "common/quant/names.h"
#include "common/quant/parts.h"
#include "common/quant/pattern.h"

enum facts_layout { FACTS_PLAIN = 1, FACTS_MODELOPT = 2, FACTS_COMPRESSED = 4 };

extern const char *facts_layout_text(enum facts_layout l);

/* How numbers are held: by a tensor in a file, or by an engine in memory. */
enum facts_held { HELD_NOT, HELD_16_BITS, HELD_FP8, HELD_INT8, HELD_OTHER, HELD_MIXED };

extern const char *facts_held_text(enum facts_held h);
bool facts_is_codes(enum facts_held h); /* FP8 or INT8 */

/* Modules that share one way to be quantized: one of config_groups, or ModelOpt's "quant_algo". */
struct facts_group {
    enum facts_held held; /* HELD_FP8, HELD_INT8; HELD_OTHER: ModelOpt's quant_algo says neither */
    bool channel;         /* a scale per output channel; else one per tensor */
    bool dynamic;         /* inputs are scaled at run time, or not quantized: no input_scale */
    bool odd_inputs;      /* neither one static scale nor one per token at run time */
    struct pattern *target;
    size_t targets;
};

enum { FACTS_CONFIG, FACTS_HF, FACTS_SOURCES };

/* One configuration: quantization_config of config.json, or hf_quant_config.json. */
struct facts_source {
    bool there;
    const char *file, *key; /* "config.json", "ignore"; "hf_quant_config.json", "exclude_modules" */
    enum facts_layout layout;
    const char *method, *algo; /* quant_method, quant_algo; NULL: not said */
    const char *format;        /* of compressed-tensors' groups as a whole; NULL: not said */
    bool kv;                   /* says that the KV cache is quantized */
    struct pattern *entry;     /* the list of modules that are not quantized */
    size_t entries;
    struct facts_group *group;
    size_t groups;
};

enum facts_part {
    PART_WEIGHT,
    PART_BIAS,
    PART_WEIGHT_SCALE,
    PART_INPUT_SCALE,
    PART_PRE_SCALE, /* pre_quant_scale */
    /* k_scale and v_scale: of k_proj and v_proj, or of the attention; in the vision tower of anything */
    PART_KV_SCALE,
    PART_UNKNOWN
};

struct facts_module; /* below */

struct facts_tensor {
    const struct st_tensor *t;
    char *name; /* canonical */
    enum facts_part part;
    const struct facts_module *module; /* NULL: of no module of the model */
    bool in_memory;                    /* spelled "model.language_model..." or "model.visual..." */
};

struct facts_module {
    const struct parts_module *is;
    /* NULL: not in the files */
    const struct st_tensor *weight, *bias, *weight_scale, *input_scale, *pre_scale;
    enum facts_held held;
    size_t unit; /* of linear ones */
};

/* What an engine builds as one linear layer: q, k and v; gate and up; or a single module. */
struct facts_unit {
    char name[NAME_BYTES]; /* canonical, of the first member */
    size_t first, n;       /* its modules */
    const char *fused;     /* "qkv_proj", "gate_up_proj"; NULL: a single module */
    enum name_scope scope;
    enum facts_held
        held; /* HELD_MIXED: not the same for all members; HELD_NOT: a tied head, not in the files */
};

struct facts {
    const struct ckpt *ckpt; /* borrowed */
    struct parts parts;
    struct facts_source source[FACTS_SOURCES];
    enum facts_layout layout; /* of the first source that is there */
    struct facts_module *module;
    size_t modules;
    struct facts_unit *unit;
    size_t units;
    struct facts_tensor *tensor; /* by name */
    size_t tensors;
    size_t caches, kv_scales;       /* layers with a KV cache; scales of theirs, two a layer */
    size_t codes[SCOPE_VISION + 1]; /* linear modules in 8 bits: by enum name_scope, SCOPE_ALL of both */
    bool sized;                     /* the index has a total_size */
    uint64_t total_size, bytes;     /* what it says; what the tensors take */
    json_t *hf;                     /* hf_quant_config.json */
};

/*
 * c stays open and in place until facts_release().  -1 for files that cannot be read as what they should be,
 * and for layouts and number formats that no rule is known of.
 */
int facts_read(struct facts *f, const struct ckpt *c, struct err *e);
void facts_release(struct facts *f); /* safe on a zeroed struct */

/* The one number of a scale that has one, of a floating type; NAN otherwise. */
float facts_scale(const struct st_tensor *t);

#endif
