/*
 * run.h - the frame of every tool that runs a model: its options, and what it holds
 *
 *   static struct run_options ro = RUN_DEFAULTS;      in the option table RUN_MODEL(dir, ...), RUN_OPTIONS(ro)
 *   struct run r = {0};                               run_open(), run_load(), run_partial(), as far as needed
 *   partial_close(&r.part, done); run_release(&r);    also after a failure
 */
#ifndef COMMON_MODEL_RUN_H
#define COMMON_MODEL_RUN_H

#include "common/base/cli.h"
#include "common/io/samples.h"
#include "common/model/model.h"
#include "common/model/partial.h"
#include "common/model/ranges.h"
#include "common/quant/layers.h"

/* ---- options ---- */

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

/* -m DIR and --scheme SCHEME, of the one model that a tool runs. */
#define RUN_MODEL(var, help_)                                                                                \
    {                                                                                                        \
        .kind = OPT_STR, .letter = 'm', .name = "model", .to = &(var), .arg = "DIR", .help = help_           \
    }
#define RUN_SCHEME(var)                                                                                      \
    {                                                                                                        \
        .kind = OPT_STR, .name = "scheme", .to = &(var), .arg = "SCHEME",                                    \
        .help = "run the model under this scheme, without an export"                                         \
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
        .help = "of the arithmetic: auto is bf16 on a GPU, fp32 on the CPU;\n"                               \
                "fp64 is the CPU's alone, and slow (default auto)"                                           \
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

/*
 * Before hours of work: -1 now when what comes of it could not be written to path (NULL or "-": standard
 * output).
 */
int run_output(const char *path, struct err *e);

/* The last part of a path, for documents that name no directories; "model" when there is none. */
const char *run_id(const char *dir);

/* ---- what is held ---- */

struct run {
    const struct run_options *options;
    struct backend *be;
    struct model m;
    bool has_model;
    struct scheme scheme; /* what the model runs under: its forms borrow from it */
    const struct scheme *applied; /* &scheme, or NULL */
    struct samples s;
    struct partial part; /* the tool closes it when its output is there */
};

/*
 * The backend and the model in dir, and scheme (a path, or NULL) applied to it.  dir NULL where -m is not
 * required (`required` false): the backend alone; else a usage report.
 */
int run_open(struct run *r, const struct run_options *o, const char *dir, bool required, const char *scheme,
             struct err *e);

/*
 * The samples of the operands (none: standard input), this shard's only.  -1 when their headers say that they
 * were not made for this model, if there is one.
 */
int run_load(struct run *r, char *const *operand, size_t n, struct err *e);

/*
 * Look beside the output for what an earlier run left, which the inputs and options of the n texts decide,
 * and tell a person about it.  The backend and samples count, too.
 */
int run_partial(struct run *r, const char *output, const char *const *text, size_t n, struct err *e);

/* Rows (tokens, and patches by their share of the work) that go through the model together. */
size_t run_rows(const struct run *r);

void run_release(struct run *r);

/* ---- passes that more than one tool makes, on the model and samples held, with progress ---- */

/* kinds of snapshots in r->part, in the order of the passes */
enum { RUN_RANGES = 2, RUN_ALPHAS, RUN_SCORES };

int run_ranges(struct run *r, struct ranges *ranges, unsigned what, struct err *e); /* ranges_measure() */
int run_alphas(struct run *r, struct layers *l, bool dynamic, struct err *e);       /* alpha_search() */

#endif
