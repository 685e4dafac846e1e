/* calib-amax.c - measure the range of every linear module's input and weight */
#include <string.h>

#include "common/base/cli.h"
#include "common/model/alpha.h"
#include "common/model/document.h"
#include "common/model/options.h"

static const char *const searches[] = {"auto", NULL};
static const char *const activation_kinds[] = {"static", "dynamic", NULL};
static const char *model_dir, *output, *alpha, *activations = "static";
static bool per_channel, kv;
static struct run_options ro = RUN_DEFAULTS;

static const struct cli_opt opts[] = {
    {.kind = OPT_STR, .letter = 'm', .name = "model", .to = &model_dir, .arg = "DIR", .help = "the model (required)"},
    {.kind = OPT_FLAG, .name = "per-channel", .to = &per_channel,
     .help = "also the range of every input channel and weight column,\nwhich SmoothQuant needs"},
    {.kind = OPT_FLAG, .name = "kv", .to = &kv, .help = "also the ranges of keys and values, for an FP8 KV cache"},
    {.kind = OPT_CHOICE, .name = "alpha", .to = &alpha, .choices = searches,
     .help = "find the alpha of SmoothQuant that serves each group best,\nin a second pass (with --per-channel)"},
    {.kind = OPT_CHOICE, .name = "activations", .to = &activations, .choices = activation_kinds,
     .help = "scales of INT8 inputs in that pass: one for all samples\n(default), or one for each token"},
    RUN_OPTIONS(ro),
    CLI_OUTPUT(output, "write the LAYERS document here (default: standard output)"),
    CLI_QUIET,
    {.kind = OPT_END},
};

static const struct cli tool = {
    .name = "calib-amax",
    .operands = "-m MODEL [SAMPLES...]",
    .summary = "Measure the largest absolute input and weight of every linear module in one forward pass.",
    .opts = opts,
    .max_operands = -1,
};

enum { PASS_RANGES = 2, PASS_ALPHAS }; /* kinds of snapshots */

static int measure(struct ranges *r, struct model *m, const struct samples *s, struct partial *part, struct err *e)
{
    struct snapshot keep = {part, PASS_RANGES, SNAPSHOT_SECONDS, 0, 0};
    unsigned what = (per_channel ? RANGES_CHANNELS : 0) | (kv ? RANGES_KV : 0);
    struct progress p = {0};
    int ret;

    progress_begin(&p, "calibrating", "samples", s->n);
    ret = ranges_measure(r, m, what, s->sample, s->n, run_rows(&ro, m->be), &keep, &p, e);
    progress_end(&p);
    return ret;
}

static int search(struct layers *l, struct model *m, const struct samples *s, struct partial *part, struct err *e)
{
    struct snapshot keep = {part, PASS_ALPHAS, SNAPSHOT_SECONDS, 0, 0};
    struct progress p = {0};
    int ret;

    progress_begin(&p, "comparing", "samples", s->n);
    ret = alpha_search(l, m, !strcmp(activations, "dynamic"), s->sample, s->n, run_rows(&ro, m->be), &keep, &p, e);
    progress_end(&p);
    return ret;
}

static int open_partial(struct partial *part, const struct backend *be, const struct model *m, const struct samples *s,
                        struct err *e)
{
    const char *text[] = {m->digest, per_channel ? "channels" : "", kv ? "kv" : "", alpha ? alpha : "", activations};

    return run_partial(part, output, be, s, text, sizeof text / sizeof *text, e);
}

static int run(char *const *operand, size_t n, struct err *e)
{
    struct partial part = {0};
    struct backend *be = NULL;
    struct samples s = {0};
    struct model m = {0};
    struct ranges r = {0};
    struct layers l = {0};
    int ret = -1;

    if (alpha && !per_channel) {
        err_set(e, RC_USAGE, "--alpha needs the ranges of channels: give --per-channel, too");
        goto out;
    }
    if (run_output(output, e) || run_model(&m, &be, &ro, model_dir, e) || run_samples(&s, &ro, &m, operand, n, e) ||
        open_partial(&part, be, &m, &s, e) || measure(&r, &m, &s, &part, e) || document_make(&l, &m, run_id(model_dir), &s, &r, e) ||
        (alpha && search(&l, &m, &s, &part, e)))
        goto out;
    ret = layers_write(&l, (const struct layers_from[]){{"model", m.digest}, {"samples", s.digest}}, 2, output, e);
out:
    partial_close(&part, ret == 0);
    layers_release(&l);
    ranges_release(&r);
    samples_release(&s);
    model_close(&m);
    if (be)
        be->close(be);
    return ret;
}

int main(int argc, char **argv)
{
    struct err e = {0};
    size_t n;
    char **operand = cli_parse(&tool, argc, argv, &n);

    run(operand, n, &e);
    return cli_finish(&e);
}
