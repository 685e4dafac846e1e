/* options.c - the command-line options that every tool has which runs a model */
#include "common/model/options.h"

#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "common/model/origin.h"
#include "common/model/states.h"

const char *const run_dtypes[] = {"auto", "bf16", "fp32", NULL};

size_t run_rows(const struct run_options *o, const struct backend *be)
{
    return o->batch_tokens ? (size_t)o->batch_tokens : be->batch_rows;
}

static int check_origin(const struct samples *s, const struct model *m, struct err *e)
{
    struct origin made, has;

    origin_of_samples(&made, s);
    if (!*made.tokenizer && !*made.processor)
        return 0;
    if (origin_of_model(&has, m, e))
        return -1;
    return origin_check(&made, "the samples", &has, m->weights.ckpt.dir,
                        "make them with calib-stream -m of this model, or give --foreign-samples if they do fit it", e);
}

int run_samples(struct samples *s, const struct run_options *o, const struct model *m, char *const *operand, size_t n,
                struct err *e)
{
    size_t shard = 0, shards = 1;
    int end = 0;

    if (o->shard && (sscanf(o->shard, "%zu/%zu%n", &shard, &shards, &end) != 2 || o->shard[end] || shard >= shards ||
                     o->shard[strspn(o->shard, "0123456789/")]))
        return err_set(e, RC_USAGE, "--shard: '%s' is not I/N with 0 <= I < N", o->shard);
    if (samples_load(s, (const char *const *)operand, n, shard, shards, e))
        return -1;
    return m && !o->foreign ? check_origin(s, m, e) : 0;
}

int run_output(const char *path, struct err *e)
{
    struct file_out o;
    int ret = file_create(&o, path, cli_force, false, e);

    file_discard(&o);
    return ret;
}

int run_partial(struct partial *p, const char *output, const struct backend *be, const struct samples *s,
                const char *const *text, size_t n, struct err *e)
{
    char samples[SHA256_HEX], options[SHA256_HEX], identity[SHA256_HEX];
    const char *const both[] = {samples, options};

    states_samples_digest(s, samples);
    partial_identity(options, be, text, n);
    partial_identity(identity, be, both, 2);
    if (partial_open(p, output, identity, e))
        return -1;
    if (*p->remark)
        cli_note("%s", p->remark);
    return 0;
}

int run_model(struct model *m, struct backend **be, const struct run_options *o, const char *dir, struct err *e)
{
    if (!dir)
        return err_set(e, RC_USAGE, "-m MODEL is missing");
    if (!*be)
        *be = be_open(o->device, o->dtype, e);
    return *be ? model_open(m, dir, *be, o->max_memory, e) : -1;
}

int run_open(struct run *r, const struct run_options *o, const char *dir, bool required, const char *scheme, struct err *e)
{
    if (!dir && !required)
        return (r->be = be_open(o->device, o->dtype, e)) ? 0 : -1;
    if (run_model(&r->m, &r->be, o, dir, e))
        return -1;
    r->has_model = true;
    if (!scheme)
        return 0;
    if (scheme_read(&r->scheme, scheme, false, e) || model_apply(&r->m, &r->scheme, e))
        return -1;
    r->applied = &r->scheme;
    return 0;
}

int run_load(struct run *r, const struct run_options *o, char *const *operand, size_t n, struct err *e)
{
    return run_samples(&r->s, o, r->has_model ? &r->m : NULL, operand, n, e);
}

void run_release(struct run *r)
{
    samples_release(&r->s);
    model_close(&r->m);
    scheme_release(&r->scheme);
    if (r->be)
        r->be->close(r->be);
    *r = (struct run){0};
}

const char *run_id(const char *dir)
{
    const char *slash = strrchr(dir, '/');

    if (!slash)
        return dir[0] == '.' ? "model" : dir;
    return slash[1] ? slash + 1 : "model";
}
