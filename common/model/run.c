/* run.c - the frame of every tool that runs a model: its options, and what it holds */
#include "common/model/run.h"

#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "common/model/alpha.h"
#include "common/model/origin.h"
#include "common/model/states.h"

const char *const run_dtypes[] = {"auto", "bf16", "fp32", "fp64", NULL};

int run_output(const char *path, struct err *e)
{
    struct file_out o;
    int ret = file_create(&o, path, cli_force, false, e);

    file_discard(&o);
    return ret;
}

const char *run_id(const char *dir)
{
    const char *slash = strrchr(dir, '/');

    if (!slash)
        return dir[0] == '.' ? "model" : dir;
    return slash[1] ? slash + 1 : "model";
}

/*
 * The buffers of a batch are freed and asked for again by the next: the process keeps their pages, which would
 * otherwise be cleared each time (5 % of an evaluation of a small model).
 */
static void keep_pages(void)
{
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
}

int run_open(struct run *r, const struct run_options *o, const char *dir, bool required, const char *scheme,
             struct err *e)
{
    r->options = o;
    if (!dir && required)
        return err_set(e, RC_USAGE, "-m MODEL is missing");
    keep_pages();
    r->be = be_open(o->device, o->dtype, e);
    if (!r->be)
        return -1;
    if (!dir)
        return 0;
    if (model_open(&r->m, dir, r->be, o->max_memory, e))
        return -1;
    r->has_model = true;
    if (!scheme)
        return 0;
    if (scheme_read(&r->scheme, scheme, false, e) || model_apply(&r->m, &r->scheme, e))
        return -1;
    r->applied = &r->scheme;
    return 0;
}

static int check_origin(const struct run *r, struct err *e)
{
    struct origin made, has;

    origin_of_samples(&made, &r->s);
    if (!*made.tokenizer && !*made.processor)
        return 0;
    if (origin_of_model(&has, &r->m, e))
        return -1;
    return origin_check(&made, "the samples", &has, r->m.weights.ckpt.dir,
                        "make them with calib-stream -m of this model, or give --foreign-samples if they do fit it", e);
}

int run_load(struct run *r, char *const *operand, size_t n, struct err *e)
{
    const char *text = r->options->shard;
    size_t shard = 0, shards = 1;
    int end = 0;

    if (text && (sscanf(text, "%zu/%zu%n", &shard, &shards, &end) != 2 || text[end] || shard >= shards ||
                 text[strspn(text, "0123456789/")]))
        return err_set(e, RC_USAGE, "--shard: '%s' is not I/N with 0 <= I < N", text);
    if (samples_load(&r->s, (const char *const *)operand, n, shard, shards, e))
        return -1;
    return r->has_model && !r->options->foreign ? check_origin(r, e) : 0;
}

int run_partial(struct run *r, const char *output, const char *const *text, size_t n, struct err *e)
{
    char samples[SHA256_HEX], options[SHA256_HEX], identity[SHA256_HEX];
    const char *const both[] = {samples, options};

    states_samples_digest(&r->s, samples);
    partial_identity(options, r->be, text, n);
    partial_identity(identity, r->be, both, 2);
    if (partial_open(&r->part, output, identity, e))
        return -1;
    if (*r->part.remark)
        cli_note("%s", r->part.remark);
    return 0;
}

size_t run_rows(const struct run *r)
{
    return r->options->batch_tokens ? (size_t)r->options->batch_tokens : r->be->batch_rows;
}

void run_release(struct run *r)
{
    partial_close(&r->part, false);
    samples_release(&r->s);
    model_close(&r->m);
    scheme_release(&r->scheme);
    if (r->be)
        r->be->close(r->be);
    *r = (struct run){0};
}

int run_ranges(struct run *r, struct ranges *ranges, unsigned what, struct err *e)
{
    struct snapshot keep = {&r->part, RUN_RANGES, SNAPSHOT_SECONDS, 0, 0};
    struct progress p = {0};
    int ret;

    progress_begin(&p, "calibrating", "samples", r->s.n);
    ret = ranges_measure(ranges, &r->m, what, r->s.sample, r->s.n, run_rows(r), &keep, &p, e);
    progress_end(&p);
    return ret;
}

int run_alphas(struct run *r, struct layers *l, bool dynamic, struct err *e)
{
    struct snapshot keep = {&r->part, RUN_ALPHAS, SNAPSHOT_SECONDS, 0, 0};
    struct progress p = {0};
    int ret;

    progress_begin(&p, "comparing", "samples", r->s.n);
    ret = alpha_search(l, &r->m, dynamic, r->s.sample, r->s.n, run_rows(r), &keep, &p, e);
    progress_end(&p);
    return ret;
}
