/* calib-amax.c - measure the range of every linear module's input and weight */
#include <string.h>

#include "common/base/cli.h"
#include "common/model/document.h"
#include "common/model/run.h"

static const char *const searches[] = {"auto", NULL};
static const char *const activation_kinds[] = {"static", "dynamic", NULL};
static const char *model_dir, *output, *alpha, *activations = "static";
static bool per_channel, kv;
static struct run_options ro = RUN_DEFAULTS;

static const struct cli_opt opts[] = {
    RUN_MODEL(model_dir, "the model (required)"),
    {.kind = OPT_FLAG, .name = "per-channel", .to = &per_channel,
     .help = "also the range of every input channel and weight column,\nwhich SmoothQuant needs"},
    {.kind = OPT_FLAG, .name = "kv", .to = &kv,
     .help = "also the ranges of keys and values, for an FP8 KV cache"},
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

static int open_partial(struct run *r, struct err *e)
{
    const char *text[] = {r->m.digest, per_channel ? "channels" : "", kv ? "kv" : "", alpha ? alpha : "",
                          activations};

    return run_partial(r, output, text, sizeof text / sizeof *text, e);
}

static int run(char *const *operand, size_t n, struct err *e)
{
    unsigned what = (per_channel ? RANGES_CHANNELS : 0) | (kv ? RANGES_KV : 0);
    struct run r = {0};
    struct ranges ranges = {0};
    struct layers l = {0};
    int ret = -1;

    if (alpha && !per_channel) {
        err_set(e, RC_USAGE, "--alpha needs the ranges of channels: give --per-channel, too");
        goto out;
    }
    if (run_output(output, e) || run_open(&r, &ro, model_dir, true, NULL, e) || run_load(&r, operand, n, e) ||
        open_partial(&r, e) || run_ranges(&r, &ranges, what, e) ||
        document_make(&l, &r.m, run_id(model_dir), &r.s, &ranges, e) ||
        (alpha && run_alphas(&r, &l, !strcmp(activations, "dynamic"), e)))
        goto out;
    ret = layers_write(&l, (const struct layers_from[]){{"model", r.m.digest}, {"samples", r.s.digest}}, 2,
                       output, e);
out:
    partial_close(&r.part, ret == 0);
    layers_release(&l);
    ranges_release(&ranges);
    run_release(&r);
    return ret;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, argc, argv, run);
}
