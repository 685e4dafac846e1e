/* layer-score.c - score how much the 8-bit forms of every layer group matter */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cli.h"
#include "common/base/mem.h"
#include "common/model/document.h"
#include "common/model/run.h"
#include "common/model/score.h"
#include "common/quant/smooth.h"

static const char *const methods[] = {"gradient", "kl", NULL};
static const char *const format_sets[] = {"fp8", "int8", "fp8,int8", NULL};
static const char *const places[] = {"norm", "input", NULL};
static const char *const activation_kinds[] = {"static", "dynamic", NULL};
static const char *const fusings[] = {"shared", "own", NULL};
static const char *model_dir, *output, *ranges_path;
static const char *method = "gradient", *formats = "fp8", *fused = "shared", *rounding = "exact";
static const char *activations, *smooth_text, *smooth_at;
static double smooth_alpha = NAN; /* -1: each group's own */
static struct run_options ro = RUN_DEFAULTS;

static const struct cli_opt opts[] = {
    RUN_MODEL(model_dir, "the model (required)"),
    {.kind = OPT_CHOICE, .name = "method", .to = &method, .choices = methods,
     .help = "gradient: one forward and backward pass (default);\nkl: one suffix of the model per group"},
    {.kind = OPT_CHOICE, .name = "formats", .to = &formats, .choices = format_sets,
     .help = "the candidates beside 16 bits (default fp8)"},
    {.kind = OPT_CHOICE, .name = "activations", .to = &activations, .choices = activation_kinds,
     .help = "scales of INT8 inputs: one for all samples (static, default),\nor one for each token"},
    {.kind = OPT_STR, .name = "smooth-quant", .to = &smooth_text, .arg = "ALPHA",
     .help = "smooth the inputs of INT8: 0..1, or auto for each group's best"},
    {.kind = OPT_CHOICE, .name = "smooth-at", .to = &smooth_at, .choices = places,
     .help = "smooth only groups whose norm can carry the scale (default),\nor all, where the input enters"},
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
    .summary = "Score every layer group: how much the model's output suffers when it alone runs in 8 bits.",
    .opts = opts,
    .max_operands = -1,
};

static bool has_fp8(void)
{
    return strcmp(formats, "int8") != 0;
}

static bool has_int8(void)
{
    return strcmp(formats, "fp8") != 0;
}

static int parse_smooth(struct err *e)
{
    char *end;

    if (!has_int8() && (smooth_text || activations))
        return err_set(e, RC_USAGE, "%s is of INT8: give --formats int8 or fp8,int8",
                       smooth_text ? "--smooth-quant" : "--activations");
    if (smooth_at && !smooth_text)
        return err_set(e, RC_USAGE, "--smooth-at needs --smooth-quant");
    if (!activations)
        activations = "static";
    if (!smooth_text)
        return 0;
    smooth_alpha = !strcmp(smooth_text, "auto") ? -1 : strtod(smooth_text, &end);
    if (smooth_alpha != -1 && (end == smooth_text || *end || !(smooth_alpha >= 0 && smooth_alpha <= 1)))
        return err_set(e, RC_USAGE, "--smooth-quant: '%s' is neither auto nor a number within 0 and 1",
                       smooth_text);
    return 0;
}

/* The document with ranges, alphas, and how its scores will be made. */
static int make_document(struct layers *l, struct ranges *ranges, struct run *r, const struct layers *from,
                         struct err *e)
{
    unsigned what = isnan(smooth_alpha) ? 0 : RANGES_CHANNELS;

    if ((ranges_path ? document_ranges(ranges, &r->m, &r->s, from, ranges_path, e)
         : run_ranges(r, ranges, what, e)) ||
        document_make(l, &r->m, run_id(model_dir), &r->s, ranges, e) ||
        layers_set_quantization(l, rounding, fused, e) ||
        (has_int8() && layers_set_int8(l, activations, smooth_alpha, smooth_at && !strcmp(smooth_at, "input"),
                                       e)))
        return -1;
    if (ranges_path)
        return document_alphas(l, from, e);
    return smooth_alpha == -1 ? run_alphas(r, l, !strcmp(activations, "dynamic"), e) : 0;
}

/* ---- forms ---- */

/*
 * Scales of every group that is smoothed and that samples reach; one that no alpha was found for stays
 * without.
 */
static int make_smooth(struct smooth_group *smooth, const struct layers *l, enum rounding r, struct err *e)
{
    size_t found = 0;

    for (size_t g = 0; g < l->n_groups; g++) {
        double alpha = smooth_alpha == -1 ? l->group[g].alpha : smooth_alpha;

        if (isnan(alpha) || l->group[g].tokens == 0 || !smooth_applies(l, g, smooth_alpha, l->smooth_input))
            continue;
        if (smooth_make(&smooth[g], l, g, alpha, r, e))
            return -1;
        found++;
    }
    if (found == 0 && smooth_alpha == -1 && ranges_path)
        return err_set(e, RC_DATA, "'%s' has no alphas: make it with calib-amax --per-channel --alpha auto",
                       ranges_path);
    return 0;
}

static struct linear_form int8_form(const struct layers *l, const struct ranges *r,
                                    const struct smooth_group *smooth, size_t module)
{
    const struct layer_group *g = &l->group[l->module[module].group];
    const struct smooth_group *s = &smooth[l->module[module].group];
    struct linear_form f = {.format = FORMAT_INT8,
                            .input_amax = r->input[module],
                            .dynamic = !strcmp(activations, "dynamic")};

    for (size_t i = 0; s->pre && i < g->n_members; i++)
        if (g->member[i] == module)
            f.smooth = (struct smooth){.pre = s->pre, .own = s->own[i]};
    if (s->pre)
        f.input_amax = s->input_amax;
    if (f.dynamic)
        f.input_amax = 0;
    return f;
}

/* What each module is quantized with: [formats, modules]. */
static struct score_form *make_forms(const struct layers *l, const struct ranges *r,
                                     const struct smooth_group *smooth, struct err *e)
{
    struct score_form *form = mem_zalloc(2 * l->n_modules, sizeof *form, e), *to = form;

    for (size_t i = 0; form && has_fp8() && i < l->n_modules; i++, to++)
        to->form = (struct linear_form){.format = FORMAT_FP8,
                                        .amax = layers_weight_amax(l, i, !strcmp(fused, "shared")),
                                        .input_amax = r->input[i]};
    for (size_t i = 0; form && has_int8() && i < l->n_modules; i++, to++)
        to->form = int8_form(l, r, smooth, i);
    for (size_t i = 0; form && i < 2 * l->n_modules; i++)
        form[i].skip = r->tokens[i % l->n_modules] == 0;
    return form;
}

/* Names of the formats as documents have them, in the order of make_forms(). */
static size_t format_names(const char *name[2])
{
    size_t n = 0;

    if (has_fp8())
        name[n++] = "FP8";
    if (has_int8())
        name[n++] = "INT8";
    return n;
}

/* ---- scores ---- */

static int score_by_gradient(struct layers *l, struct run *r, const struct score_form *form,
                             struct snapshot *keep, struct progress *p, struct err *e)
{
    const char *name[2];
    size_t forms = format_names(name), linears = r->m.linears;
    struct score_result *score = mem_zalloc(forms * linears, sizeof *score, e);
    double nll;
    int ret = -1;

    if (!score || score_gradient(&r->m, form, forms, r->s.sample, r->s.n, run_rows(r), score, &nll, keep, p,
                                 e))
        goto out;
    for (size_t f = 0; f < forms; f++)
        for (size_t g = 0; g < l->n_groups; g++) {
            double gradient = 0, predicted = 0;

            for (size_t k = 0; k < l->group[g].n_members; k++) {
                const struct score_result *of = &score[f * linears + l->group[g].member[k]];

                gradient += of->gradient;
                predicted += of->predicted_kl;
            }
            if (layers_set_score(l, g, name[f], "gradient", gradient, NAN, predicted, e))
                goto out;
        }
    ret = 0;
out:
    free(score);
    return ret;
}

static int score_by_kl(struct layers *l, struct run *r, const struct score_form *form, struct snapshot *keep,
                       struct progress *p, struct err *e)
{
    const char *name[2];
    size_t forms = format_names(name), n = l->n_groups;
    struct score_group *group = mem_zalloc(n, sizeof *group, e);
    double *kl = mem_zalloc(forms * n, sizeof *kl, e);
    int ret = -1;

    if (!group || !kl)
        goto out;
    for (size_t g = 0; g < n; g++)
        for (size_t k = 0; k < l->group[g].n_members; k++)
            group[g].member[group[g].members++] = &r->m.linear[l->group[g].member[k]];
    if (score_kl(&r->m, form, forms, group, n, r->s.sample, r->s.n, run_rows(r), kl, keep, p, e))
        goto out;
    for (size_t i = 0; i < forms * n; i++) /* rounding of the logits can leave a sum just below 0 */
        if (layers_set_score(l, i % n, name[i / n], "kl_div", NAN, kl[i] < 0 ? 0 : kl[i], NAN, e))
            goto out;
    ret = 0;
out:
    free(kl);
    free(group);
    return ret;
}

static int score(struct layers *l, struct run *r, const struct ranges *ranges, struct err *e)
{
    struct snapshot keep = {&r->part, RUN_SCORES, SNAPSHOT_SECONDS, 0, 0};
    bool gradient = !strcmp(method, "gradient");
    const char *name[2];
    struct smooth_group *smooth = mem_zalloc(l->n_groups, sizeof *smooth, e);
    struct score_form *form = NULL;
    struct progress p = {0};
    int ret = -1;

    if (!smooth || (!isnan(smooth_alpha) && make_smooth(smooth, l, r->m.rounding, e)) ||
        !(form = make_forms(l, ranges, smooth, e)))
        goto out;
    progress_begin(&p, "scoring", gradient ? "samples" : "forwards",
                   gradient ? r->s.n : r->s.n * l->n_groups * format_names(name));
    ret = gradient ? score_by_gradient(l, r, form, &keep, &p, e) : score_by_kl(l, r, form, &keep, &p, e);
    progress_end(&p);
out:
    free(form);
    for (size_t g = 0; smooth && g < l->n_groups; g++)
        smooth_release(&smooth[g]);
    free(smooth);
    return ret;
}

static int open_partial(struct run *r, const struct layers *from, struct err *e)
{
    const char *text[] = {r->m.digest, method, formats, fused, rounding, activations ? activations : "",
                          smooth_text ? smooth_text : "", smooth_at ? smooth_at : "", ranges_path ? from->hex
                              : ""};

    return run_partial(r, output, text, sizeof text / sizeof *text, e);
}

static int run(char *const *operand, size_t n, struct err *e)
{
    struct run r = {0};
    struct ranges ranges = {0};
    struct layers l = {0}, from = {0};
    int ret = -1;

    if (parse_smooth(e) || run_output(output, e) || run_open(&r, &ro, model_dir, true, NULL, e) ||
        rounding_parse(rounding, &r.m.rounding, e))
        goto out;
    if (model_is_quantized(&r.m)) {
        err_set(e, RC_DATA, "'%s' is quantized already: layers are scored on the unquantized model",
                model_dir);
        goto out;
    }
    if (run_load(&r, operand, n, e) || (ranges_path && layers_read(&from, ranges_path, e)) ||
        open_partial(&r, &from, e) || make_document(&l, &ranges, &r, &from, e) || score(&l, &r, &ranges, e))
        goto out;
    ret = layers_write(&l,
                       (const struct layers_from[]){{"model", r.m.digest}, {"samples", r.s.digest},
                                                    {"ranges", from.hex}},
                       ranges_path ? 3 : 2, output, e);
out:
    partial_close(&r.part, ret == 0);
    layers_release(&from);
    layers_release(&l);
    ranges_release(&ranges);
    run_release(&r);
    return ret;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, argc, argv, run);
}
