/* eval-ppl.c - perplexity of a model, a quantized checkpoint, or a model under a scheme */
#include <stdlib.h>

#include "common/base/cli.h"
#include "common/base/mem.h"
#include "common/io/doc.h"
#include "common/model/metrics.h"
#include "common/model/options.h"

static const char *model_dir, *output, *scheme_path;
static struct run_options ro = RUN_DEFAULTS;

static const struct cli_opt opts[] = {
    {.kind = OPT_STR, .letter = 'm', .name = "model", .to = &model_dir, .arg = "DIR",
     .help = "a model or a quantized checkpoint (required)"},
    {.kind = OPT_STR, .name = "scheme", .to = &scheme_path, .arg = "SCHEME",
     .help = "run the model under this scheme, without an export"},
    RUN_OPTIONS(ro),
    CLI_OUTPUT(output, "write the METRICS document here (default: standard output)"),
    CLI_QUIET,
    {.kind = OPT_END},
};

static const struct cli tool = {
    .name = "eval-ppl",
    .operands = "-m MODEL [SAMPLES...]",
    .summary = "Perplexity over the samples' loss tokens: exp(sum of negative log likelihoods / their number).",
    .opts = opts,
    .max_operands = -1,
};

static int run(char *const *operand, size_t n, struct err *e)
{
    struct backend *be = NULL;
    struct samples s = {0};
    struct model m = {0};
    struct scheme scheme = {0};
    struct eval_sample *out = NULL;
    struct eval_total total;
    struct progress p = {0};
    json_t *doc = NULL;
    int ret = -1;

    if (run_output(output, e) || run_model(&m, &be, &ro, model_dir, e) ||
        (scheme_path && (scheme_read(&scheme, scheme_path, false, e) || model_apply(&m, &scheme, e))) ||
        run_samples(&s, &ro, operand, n, e) || !(out = mem_zalloc(s.n, sizeof *out, e)))
        goto out;
    progress_begin(&p, "evaluating", "samples", s.n);
    ret = eval_nll(&m, s.sample, s.n, RUN_ROWS, out, &p, e);
    progress_end(&p);
    if (ret == 0)
        ret = eval_sum(&total, out, s.n, e);
    if (ret == 0) {
        doc = metrics_new(&s, &total, e);
        ret = !doc || doc_from(doc, "model", m.digest, e) ||
                      !metrics_add(doc, run_id(model_dir), &m, scheme_path ? &scheme : NULL, &total, e) ||
                      json_save(output, doc, e)
                  ? -1
                  : 0;
    }
out:
    json_decref(doc);
    free(out);
    scheme_release(&scheme);
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
