/* options.c - the command-line options that every tool has which runs a model */
#include "common/model/options.h"

#include <stdio.h>
#include <string.h>

#include "common/base/file.h"

const char *const run_dtypes[] = {"auto", "bf16", "fp32", NULL};

size_t run_rows(const struct run_options *o, const struct backend *be)
{
    return o->batch_tokens ? (size_t)o->batch_tokens : be->batch_rows;
}

struct backend *run_backend(const struct run_options *o, struct err *e)
{
    return be_open(o->device, o->dtype, e);
}

int run_samples(struct samples *s, const struct run_options *o, char *const *operand, size_t n, struct err *e)
{
    size_t shard = 0, shards = 1;
    int end = 0;

    if (o->shard && (sscanf(o->shard, "%zu/%zu%n", &shard, &shards, &end) != 2 || o->shard[end] || shard >= shards ||
                     o->shard[strspn(o->shard, "0123456789/")]))
        return err_set(e, RC_USAGE, "--shard: '%s' is not I/N with 0 <= I < N", o->shard);
    return samples_load(s, (const char *const *)operand, n, shard, shards, e);
}

int run_output(const char *path, struct err *e)
{
    struct file_out o;
    int ret = file_create(&o, path, cli_force, false, e);

    file_discard(&o);
    return ret;
}

int run_model(struct model *m, struct backend **be, const struct run_options *o, const char *dir, struct err *e)
{
    if (!dir)
        return err_set(e, RC_USAGE, "-m MODEL is missing");
    if (!*be)
        *be = run_backend(o, e);
    return *be ? model_open(m, dir, *be, o->max_memory, e) : -1;
}

const char *run_id(const char *dir)
{
    const char *slash = strrchr(dir, '/');

    if (!slash)
        return dir[0] == '.' ? "model" : dir;
    return slash[1] ? slash + 1 : "model";
}
