/*
 * diff.h - which layers of two model directories differ, in what, and by how much
 *
 * Tensors are paired by canonical name, so that the two directories may differ in naming style and in how
 * their tensors are spread over files.  Nothing is asked of a model: checkpoints that are broken, or of
 * another architecture, compare too.  A layer is what shares a name up to the last dot: "lm_head" of
 * "lm_head.weight".
 */
#ifndef COMMON_QUANT_DIFF_H
#define COMMON_QUANT_DIFF_H

#include "common/base/progress.h"
#include "common/io/ckpt.h"
#include "common/quant/scheme.h"

enum diff_what {
    DIFF_ONLY_A = 1, /* the other directory has no such tensor */
    DIFF_ONLY_B = 2,
    DIFF_DTYPE = 4,
    DIFF_SHAPE = 8,
    DIFF_BYTES = 16, /* same dtype and shape */
    DIFF_SCALE = 32, /* codes: the weight_scale or pre_quant_scale that they are multiplied by */
};

/*
 * Two tensors as numbers: codes (F8_E4M3, I8) times their weight_scale, one per tensor or one per row, and
 * times their pre_quant_scale, one per column: so they compare with the weight that they were made of.
 * Smoothing that a norm carries is not undone.  Not known for other shapes, whole numbers, and codes without
 * such a scale: without it they mean nothing.
 */
struct diff_values {
    bool known;
    float max_abs;     /* largest |a - b| */
    float amax;        /* largest magnitude of both */
    size_t not_finite; /* elements that are NaN or infinite in either, or too far apart for fp32: left out */
};

struct diff_tensor {
    char *layer;      /* "language_model.layers.0.self_attn.q_proj"; "" when the name has no dot */
    const char *part; /* "weight"; lies behind layer */
    const struct st_tensor *t[2]; /* of A and of B; borrowed, one may be NULL */
    size_t in;                    /* index into diff.layer */
    unsigned what;                /* enum diff_what; 0: equal */
    struct diff_values values;    /* of tensors that differ; not known when one is missing */
};

struct diff_layer {
    const char *name;
    size_t first, n;  /* its tensors */
    size_t differing; /* of those */
    struct diff_values
        values; /* of the differing tensor with the largest max_abs / amax; scales of codes aside */
};

enum { DIFF_FILES = 2 };

struct diff {
    const struct ckpt *ckpt[2];
    struct diff_tensor *tensor; /* by layer, then part; numbers in names in the order of their value */
    size_t tensors, tensors_differ, tensors_only[2];
    struct diff_layer *layer;
    size_t layers, layers_differ;
    unsigned file[DIFF_FILES]; /* config.json and hf_quant_config.json: 0, DIFF_BYTES or DIFF_ONLY_* */
    bool there[DIFF_FILES];    /* in one directory at least */
};

extern const char *const diff_file_name[DIFF_FILES];

/*
 * Compare.  a and b stay open and in place until diff_release().  Memory: one entry per tensor, no copies of
 * data.  p, which has begun, gets its total and a step per pair.  -1 when a directory has a tensor twice
 * (under two names), or a configuration cannot be read.
 */
int diff_make(struct diff *d, const struct ckpt *a, const struct ckpt *b, struct progress *p, struct err *e);
void diff_release(struct diff *d); /* safe on a zeroed struct */

/* Tensors or configurations differ. */
bool diff_any(const struct diff *d);

/* max_abs / amax; 0 when both are 0. */
double diff_relative(const struct diff_values *v);

/* One side of a pair.  scale, pre: the weight_scale and pre_quant_scale of codes, or NULL. */
struct diff_side {
    const struct ckpt *ckpt;
    const struct st_tensor *t, *scale, *pre;
};

/* The numbers of two tensors, chunk by chunk. */
void diff_compare_values(const struct diff_side side[2], struct diff_values *v);

/*
 * What two schemes let one expect of the checkpoints made from them.  A layer has to differ (weight or
 * scales) when the schemes give it different formats, or when ranges or smoothing lead to other scales; a
 * norm when it carries other smoothing; a KV cache when its ranges do.  It has to be equal in everything when
 * both say the same.  Where schemes differ in rounding alone, either will do.  Beside that, each directory
 * has to quantize what its scheme quantizes, in its format: swapped directories differ in the right layers.
 */
enum diff_miss_kind {
    MISS_FILES_EQUAL,   /* the schemes differ, the files do not */
    MISS_SCHEMES_EQUAL, /* the files differ, the schemes do not */
    MISS_A,             /* quantized and A's scheme does not say so, or the other way round, or not there */
    MISS_B,
    MISS_KINDS
};

extern const char *const diff_miss_text[MISS_KINDS];

struct diff_miss {
    enum diff_miss_kind kind;
    const char *layer; /* borrowed from the diff or a scheme */
};

struct diff_expect {
    const struct scheme *scheme[2]; /* borrowed */
    struct diff_miss *miss;         /* by kind */
    size_t misses, cap;
    size_t n[MISS_KINDS]; /* of each kind */
};

/* No misses: the expectation holds. */
int diff_expect(struct diff_expect *x, const struct diff *d, const struct scheme *a, const struct scheme *b,
                struct err *e);
void diff_expect_release(struct diff_expect *x); /* safe on a zeroed struct */

/* A line per differing layer, per configuration and per miss; the last line counts.  x may be NULL. */
int diff_table(const struct diff *d, const struct diff_expect *x, FILE *f, struct err *e);

/* An octet-diff/1 document.  NULL: e is set. */
json_t *diff_to_json(const struct diff *d, const struct diff_expect *x, struct err *e);

#endif
