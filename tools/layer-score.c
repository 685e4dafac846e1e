/* layer-score.c - score how much the FP8 form of every layer group matters */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cli.h"
#include "common/base/mem.h"
#include "common/model/document.h"
#include "common/model/options.h"
#include "common/model/score.h"

static const char *const methods[] = {"gradient", "kl", NULL};
static const char *const formats[] = {"fp8", NULL};
static const char *const fusings[] = {"shared", "own", NULL};
static const char *model_dir, *output, *ranges_path;
static const char *method = "gradient", *format = "fp8", *fused = "shared", *rounding = "exact";
static struct run_options ro = RUN_DEFAULTS;

static const struct cli_opt opts[] = {
    {.kind = OPT_STR, .letter = 'm', .name = "model", .to = &model_dir, .arg = "DIR", .help = "the model (required)"},
    {.kind = OPT_CHOICE, .name = "method", .to = &method, .choices = methods,
     .help = "gradient: one forward and backward pass (default);\nkl: one suffix of the model per group"},
    {.kind = OPT_CHOICE, .name = "formats", .to = &format, .choices = formats, .help = "the candidate (default fp8)"},
    {.kind = OPT_STR, .name = "ranges", .to = &ranges_path, .arg = "LAYERS",
     .help = "take the ranges from this document instead of measuring\nthem on the samples"},
    {.kind = OPT_CHOICE, .name = "fused-ranges", .to = &fused, .choices = fusings,
     .help = "q/k/v and gate/up share one weight range, as engines have\nit (default), or each module its own"},
    {.kind = OPT_CHOICE, .name = "rounding", .to = &rounding, .choices = rounding_choices,
     .help = "of weights: once (default), or twice as ModelOpt does"},
    RUN_OPTIONS(ro),
    CLI_OUTPUT(output, "write the LAYERS document here (default: standard output)"),
    CLI_QUIET,
    {.kind = OPT_END},
};

static const struct cli tool = {
    .name = "layer-score",
    .operands = "-m MODEL [SAMPLES...]",
    .summary = "Score every layer group: how much the model's output suffers when it alone runs in FP8.",
    .opts = opts,
    .max_operands = -1,
};

/*
 * Ranges of an earlier document, for this model: scores of shards add up only over common ranges.  Tokens are those of
 * the samples at hand, so that they add up, too.
 */
static int take_ranges(struct ranges *r, const struct model *m, const struct samples *s, const char *path,
                       char hex[SHA256_HEX], struct err *e)
{
    struct layers from = {0};
    int ret = -1;

    if (layers_read(&from, path, e))
        return -1;
    strcpy(hex, from.hex);
    if (from.model_digest && strcmp(from.model_digest, m->digest)) {
        err_set(e, RC_DATA, "the ranges in '%s' were measured on another model (digest %.12s, this one has %.12s)", path,
                from.model_digest, m->digest);
        goto out;
    }
    r->input = mem_zalloc(m->linears, sizeof *r->input, e);
    r->weight = mem_zalloc(m->linears, sizeof *r->weight, e);
    r->tokens = mem_zalloc(m->linears, sizeof *r->tokens, e);
    if (!r->input || !r->weight || !r->tokens)
        goto out;
    ranges_count(r->tokens, m, s->sample, s->n);
    for (size_t i = 0; i < m->linears; i++) {
        long k = layers_find_module(&from, m->linear[i].info->name);

        if (k < 0 || from.module[k].weight_amax < 0) {
            err_set(e, RC_DATA, "'%s' has no ranges of module '%s': make it with calib-amax on this model", path,
                    m->linear[i].info->name);
            goto out;
        }
        if (r->tokens[i] && from.module[k].input_amax < 0) {
            err_set(e, RC_DATA, "no data reached module '%s' when the ranges in '%s' were measured, and these samples do",
                    m->linear[i].info->name, path);
            goto out;
        }
        r->weight[i] = from.module[k].weight_amax;
        r->input[i] = r->tokens[i] ? from.module[k].input_amax : 0;
    }
    ret = 0;
out:
    layers_release(&from);
    return ret;
}

/* What each module is quantized with. */
static struct score_range *score_ranges(const struct layers *l, const struct ranges *r, struct err *e)
{
    struct score_range *range = mem_zalloc(l->n_modules, sizeof *range, e);

    for (size_t i = 0; range && i < l->n_modules; i++)
        range[i] = (struct score_range){.weight_amax = layers_weight_amax(l, i, !strcmp(fused, "shared")),
                                        .input_amax = r->input[i],
                                        .skip = r->tokens[i] == 0};
    return range;
}

static int score_by_gradient(struct layers *l, struct model *m, const struct score_range *range,
                             const struct samples *s, struct progress *p, struct err *e)
{
    struct score_result *score = mem_zalloc(m->linears, sizeof *score, e);
    double nll;
    int ret = -1;

    if (!score || score_gradient(m, range, s->sample, s->n, run_rows(&ro, m->be), score, &nll, p, e))
        goto out;
    for (size_t g = 0; g < l->n_groups; g++) {
        double gradient = 0, predicted = 0;

        for (size_t k = 0; k < l->group[g].n_members; k++) {
            gradient += score[l->group[g].member[k]].gradient;
            predicted += score[l->group[g].member[k]].predicted_kl;
        }
        if (layers_set_score(l, g, "gradient", gradient, NAN, predicted, e))
            goto out;
    }
    ret = 0;
out:
    free(score);
    return ret;
}

static int score_by_kl(struct layers *l, struct model *m, const struct score_range *range, const struct samples *s,
                       struct progress *p, struct err *e)
{
    struct score_group *group = mem_zalloc(l->n_groups, sizeof *group, e);
    double *kl = mem_zalloc(l->n_groups, sizeof *kl, e);
    int ret = -1;

    if (!group || !kl)
        goto out;
    for (size_t g = 0; g < l->n_groups; g++)
        for (size_t k = 0; k < l->group[g].n_members; k++)
            group[g].member[group[g].members++] = &m->linear[l->group[g].member[k]];
    if (score_kl(m, range, group, l->n_groups, s->sample, s->n, run_rows(&ro, m->be), kl, p, e))
        goto out;
    for (size_t g = 0; g < l->n_groups; g++) /* rounding of the logits can leave a sum just below 0 */
        if (layers_set_score(l, g, "kl_div", NAN, kl[g] < 0 ? 0 : kl[g], NAN, e))
            goto out;
    ret = 0;
out:
    free(kl);
    free(group);
    return ret;
}

static int run(char *const *operand, size_t n, struct err *e)
{
    bool gradient = !strcmp(method, "gradient");
    char ranges_hex[SHA256_HEX] = "";
    struct score_range *range = NULL;
    struct backend *be = NULL;
    struct samples s = {0};
    struct model m = {0};
    struct ranges r = {0};
    struct layers l = {0};
    struct progress p = {0};
    int ret = -1;

    if (run_output(output, e) || run_model(&m, &be, &ro, model_dir, e) || rounding_parse(rounding, &m.rounding, e))
        goto out;
    if (m.weights.scales_applied) {
        err_set(e, RC_DATA, "'%s' is quantized already: layers are scored on the unquantized model", model_dir);
        goto out;
    }
    if (run_samples(&s, &ro, operand, n, e))
        goto out;
    if (ranges_path) {
        if (take_ranges(&r, &m, &s, ranges_path, ranges_hex, e))
            goto out;
    } else {
        progress_begin(&p, "calibrating", "samples", s.n);
        ret = ranges_measure(&r, &m, s.sample, s.n, run_rows(&ro, be), &p, e);
        progress_end(&p);
        if (ret)
            goto out;
        ret = -1;
    }
    if (document_make(&l, &m, run_id(model_dir), &s, &r, e) || layers_set_quantization(&l, rounding, fused, e) ||
        !(range = score_ranges(&l, &r, e)))
        goto out;
    progress_begin(&p, "scoring", gradient ? "samples" : "forwards", gradient ? s.n : s.n * l.n_groups);
    ret = gradient ? score_by_gradient(&l, &m, range, &s, &p, e) : score_by_kl(&l, &m, range, &s, &p, e);
    progress_end(&p);
    if (ret == 0) {
        const struct layers_from from[] = {{"model", m.digest}, {"samples", s.digest}, {"ranges", ranges_hex}};

        ret = layers_write(&l, from, ranges_path ? 3 : 2, output, e);
    }
out:
    free(range);
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
