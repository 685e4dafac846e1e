/* calib-amax.c - measure the range of every linear module's input and weight */
#include "common/base/cli.h"
#include "common/model/document.h"
#include "common/model/options.h"

static const char *model_dir, *output;
static struct run_options ro = RUN_DEFAULTS;

static const struct cli_opt opts[] = {
    {.kind = OPT_STR, .letter = 'm', .name = "model", .to = &model_dir, .arg = "DIR", .help = "the model (required)"},
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

static int run(char *const *operand, size_t n, struct err *e)
{
    struct backend *be = NULL;
    struct samples s = {0};
    struct model m = {0};
    struct ranges r = {0};
    struct layers l = {0};
    struct progress p = {0};
    int ret = -1;

    if (run_output(output, e) || run_model(&m, &be, &ro, model_dir, e) || run_samples(&s, &ro, operand, n, e))
        goto out;
    progress_begin(&p, "calibrating", "samples", s.n);
    ret = ranges_measure(&r, &m, s.sample, s.n, run_rows(&ro, be), &p, e);
    progress_end(&p);
    if (ret == 0)
        ret = document_make(&l, &m, run_id(model_dir), &s, &r, e);
    if (ret == 0) {
        const struct layers_from from[] = {{"model", m.digest}, {"samples", s.digest}};

        ret = layers_write(&l, from, 2, output, e);
    }
out:
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
