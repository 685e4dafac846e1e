/*
 * engine.h - what a serving engine does with a checkpoint: one table of rules per engine
 *
 * engine_vllm.c, engine_sglang.c, engine_trtllm.c and engine_transformers.c each hold a version, how names
 * are matched, and the rules; engine_files.c holds what no engine looks at but a sound checkpoint fulfils.
 * The conditions of the rules are the predicates of when.h.
 */
#ifndef COMMON_QUANT_ENGINE_H
#define COMMON_QUANT_ENGINE_H

#include "common/quant/facts.h"

/* What follows when a rule holds, from harmless to fatal; also the verdict on a whole checkpoint. */
enum effect {
    EFFECT_NONE,    /* loads and computes what was written */
    EFFECT_NOTE,    /* the same; worth knowing */
    EFFECT_ROUNDS,  /* loads, and rounds some numbers once more */
    EFFECT_WRONG,   /* loads, and computes something else, without an error */
    EFFECT_REFUSES, /* ends with an error when it loads or runs */
};

extern const char *effect_word(enum effect x);    /* "note", "rounds", "wrong", "refuses"; "fine" */
extern const char *effect_verdict(enum effect x); /* the sentence */

/* How a rule is known: the engine's loading code was run on such a checkpoint, was read, or it follows. */
enum evidence { RAN, READ, INFERRED };

extern const char *evidence_text(enum evidence v);

/*
 * Some engines take FP8 weights of one scale through fp16 when they load (requantize_with_max_scale).  Over
 * all codes that is exact for scales from here to 140, and is not below.
 */
#define ENGINE_FP16_SCALE_LEAST 3.1e-5f

/* How an engine holds a unit, and why. */
struct choice {
    enum facts_held held;            /* HELD_MIXED: the list has some members of the unit and not all */
    const char *entry;               /* of the list, that it matched; NULL: none */
    const struct facts_group *group; /* when quantized */
};

struct engine;

enum { DETAIL_BYTES = 320 };

/* What a rule is asked about: of the pointers those that its scope says, the others NULL. */
struct subject {
    const struct facts *f;
    const struct engine *engine;
    const struct facts_source *source; /* that the engine believes; always */
    const struct facts_unit *unit;     /* RULE_UNIT, RULE_MODULE */
    const struct facts_module *module; /* RULE_MODULE; of a unit the first */
    const struct facts_tensor *tensor; /* RULE_TENSOR, with unit and module where it is of a linear layer */
    const struct choice *choice;       /* with unit; HELD_NOT without */
    char detail[DETAIL_BYTES];         /* a predicate may say more; "" otherwise */
};

enum rule_scope {
    RULE_CONFIG, /* of the configuration: when it is WRONG or REFUSES, nothing is asked about layers */
    RULE_FILES,
    RULE_UNIT,
    RULE_MODULE, /* linear ones */
    RULE_PART,   /* every module, norms and embeddings among them */
    RULE_TENSOR,
};

struct rule {
    const char *id;
    unsigned layouts; /* enum facts_layout, added up */
    enum rule_scope scope;
    bool (*when)(struct subject *s);
    enum effect effect;
    enum evidence evidence;
    const char *says; /* a sentence without its end */
};

enum {
    ENGINE_CODES = FACTS_MODELOPT | FACTS_COMPRESSED,
    ENGINE_ANY = FACTS_PLAIN | ENGINE_CODES,
};

struct engine {
    const char *name, *version;
    unsigned serves;    /* layouts that are made for it */
    bool serves_vision; /* quantized vision layers, too */
    int first;          /* FACTS_CONFIG, FACTS_HF: the source that it believes when both are there */
    /* How it holds s->module, a member of s->unit: engines that fuse choose the same for all members.  NULL:
     * it builds no layers. */
    void (*choose)(const struct subject *s, struct choice *c);
    const struct rule *rule;
    size_t rules;
};

extern const struct engine engine_files, engine_vllm, engine_sglang, engine_trtllm, engine_transformers;

/* Whether a checkpoint like this is meant for the engine. */
bool engine_serves(const struct engine *g, const struct facts *f);

/* ---- for the tables ---- */

/* What stands in for a list that is not there. */
const struct facts_source *engine_source(const struct engine *g, const struct facts *f);

enum { ENGINE_NAME_BYTES = 1100 }; /* of names and mapped entries: FACTS entries are shorter than 1024 */

/* PREFIX of language modules ("model." of "model.layers.0...") + name, its last part replaced by last, if
 * any. */
void engine_join(const char *language_prefix, const char *canonical, const char *last,
                 char out[ENGINE_NAME_BYTES]);

/* text with its first `from` replaced, if it begins with / holds it.  In place; true when it did. */
bool engine_map_prefix(char text[ENGINE_NAME_BYTES], const char *from, const char *to);
bool engine_map_part(char text[ENGINE_NAME_BYTES], const char *from, const char *to);

/* The group of compressed-tensors' config_groups that targets a module, by class "Linear" or by name. */
const struct facts_group *engine_target(const struct facts_source *src, const char *name);

/* The entry of compressed-tensors' list that matches a name as it stands, or NULL. */
const char *engine_ignores(const struct facts_source *src, const char *name);

/* Sets c to the group that the source has for it; HELD_16_BITS without one. */
void engine_take_group(const struct facts_source *src, const char *name, struct choice *c);

#endif
