/* options.h - the command-line options that every tool has which runs a model */
#ifndef COMMON_MODEL_OPTIONS_H
#define COMMON_MODEL_OPTIONS_H

#include "common/base/cli.h"
#include "common/io/samples.h"
#include "common/model/model.h"
#include "common/model/partial.h"

struct run_options {
    const char *device, *dtype, *shard;
    size_t max_memory;
    long batch_tokens; /* 0: what suits the device */
    bool foreign; /* samples of another tokenizer or processor are taken all the same */
};

extern const char *const run_dtypes[];

/* Defaults, to initialise the variable that RUN_OPTIONS names. */
#define RUN_DEFAULTS                                                                                         \
    {                                                                                                        \
        .device = "auto", .dtype = "auto"                                                                    \
    }

/* --device, --dtype and --max-memory, of a tool that takes no samples. */
#define RUN_DEVICE(o)                                                                                        \
    {                                                                                                        \
        .kind = OPT_STR, .name = "device", .to = &(o).device, .arg = "NAME",                                 \
        .help = "auto, cpu or cuda[:N] (default auto)"                                                       \
    }
#define RUN_DTYPE(o)                                                                                         \
    {                                                                                                        \
        .kind = OPT_CHOICE, .name = "dtype", .to = &(o).dtype, .choices = run_dtypes,                        \
        .help = "of the arithmetic: auto is bf16 on a GPU, fp32 on the CPU\n(default auto)"                  \
    }
#define RUN_MEMORY(o)                                                                                        \
    {                                                                                                        \
        .kind = OPT_SIZE, .name = "max-memory", .to = &(o).max_memory, .arg = "SIZE",                        \
        .help = "keep at most this much of the model's weights loaded"                                       \
    }

#define RUN_OPTIONS(o)                                                                                       \
    RUN_DEVICE(o), RUN_DTYPE(o),                                                                             \
        {.kind = OPT_STR,                                                                                    \
         .name = "shard",                                                                                    \
         .to = &(o).shard,                                                                                   \
         .arg = "I/N",                                                                                       \
         .help = "take every N-th sample, from the I-th on (0 <= I < N)"},                                   \
        {.kind = OPT_LONG,                                                                                   \
         .name = "batch-tokens",                                                                             \
         .to = &(o).batch_tokens,                                                                            \
         .arg = "N",                                                                                         \
         .min = 1,                                                                                           \
         .max = 1 << 24,                                                                                     \
         .help = "tokens that go through the model together (default:\nwhat suits the device)"},             \
        RUN_MEMORY(o),                                                                                       \
        {.kind = OPT_FLAG,                                                                                   \
         .name = "foreign-samples",                                                                          \
         .to = &(o).foreign,                                                                                 \
         .help = "take samples that were made for another tokenizer or\nother picture settings"}

/* Rows (tokens, and patches by their share of the work) that go through a model on be together. */
size_t run_rows(const struct run_options *o, const struct backend *be);

/*
 * Read the samples of the operands (none: standard input), this shard's only.  -1 when their headers say that they were not
 * made for this model; m NULL: no model looks at them.
 */
int run_samples(struct samples *s, const struct run_options *o, const struct model *m, char *const *operand, size_t n,
                struct err *e);

/* Before hours of work: -1 now when what comes of it could not be written to path (NULL or "-": standard output). */
int run_output(const char *path, struct err *e);

/*
 * Look beside the output for what an earlier run left, which the inputs and options of the n texts decide, and tell a person
 * about it.  The backend and samples count, too.
 */
int run_partial(struct partial *p, const char *output, const struct backend *be, const struct samples *s,
                const char *const *text, size_t n, struct err *e);

/* Open the backend and the model that -m names; -1 with a usage report when it is missing. */
int run_model(struct model *m, struct backend **be, const struct run_options *o, const char *dir, struct err *e);

/*
 * What such a tool holds.  Zero it, open what is needed, and release it at the end, also after a failure.
 *
 * run_open(): backend and model, and scheme (a path, or NULL) applied to it.  dir NULL where -m is not required
 * (`required` false): the backend alone.  run_load(): the samples; they are checked against the model, if there is one.
 */
struct run {
    struct backend *be;
    struct model m;
    bool has_model;
    struct scheme scheme; /* what the model runs under: its forms borrow from it */
    const struct scheme *applied; /* &scheme, or NULL */
    struct samples s;
};
int run_open(struct run *r, const struct run_options *o, const char *dir, bool required, const char *scheme, struct err *e);
int run_load(struct run *r, const struct run_options *o, char *const *operand, size_t n, struct err *e);
void run_release(struct run *r);

/* The last part of a path, for documents that name no directories; "model" when there is none. */
const char *run_id(const char *dir);

#endif
