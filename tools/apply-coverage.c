/* apply-coverage.c - choose which layers to quantize: coverage, bit budget, names or a preset to a scheme */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cli.h"
#include "common/base/file.h"
#include "common/base/fp8.h"
#include "common/base/mem.h"
#include "common/quant/preset.h"

static const char *by, *scope = "all", *from, *preset_name, *format, *activations, *smooth, *smooth_at, *kv,
                       *fused, *rounding, *output;
static double bits;
static bool unscored, unservable, summary, needs;
static struct cli_list list;
static const char *const format_choices[] = {"fp8", "int8", "best", NULL};
static const char *const activation_choices[] = {"static", "dynamic", NULL};
static const char *const smooth_at_choices[] = {"norm", "input", NULL};
static const char *const kv_choices[] = {"fp8", "none", NULL};
static const char *const by_choices[] = {"groups", "bytes", NULL};
static const char *const fused_choices[] = {"shared", "own", NULL};

enum { SELECT, EXCLUDE, FIRST_OTHER };
static const struct cli_opt opts[] = {
    [SELECT] = {OPT_LIST, 0, "select", &list, "PATTERN",
                "take the layers that match, instead of PCT; may be given again", 0, 0, NULL},
    [EXCLUDE] = {OPT_LIST, 0, "exclude", &list, "PATTERN",
                 "leave the layers that match out; may be given again", 0, 0, NULL},
    [FIRST_OTHER] = {OPT_CHOICE, 0, "by", &by, NULL, "PCT of what: groups (default) or weight bytes", 0, 0,
                     by_choices},
    {OPT_DOUBLE, 0, "bits", &bits, "B", "least damage within B bits per weight, instead of PCT", 0.001, 16,
     NULL},
    {OPT_STR, 0, "from", &from, "FILE", "the layers of a coverage file or scheme, instead of PCT", 0, 0,
     NULL},
    {OPT_STR, 0, "preset", &preset_name, "NAME",
     "a recipe, instead of PCT: a name, FILE.json, or 'list' to print the names", 0, 0, NULL},
    {OPT_CHOICE, 0, "format", &format, NULL, "in which format (default best: of those that were scored)", 0,
     0, format_choices},
    {OPT_CHOICE, 0, "activations", &activations, NULL,
     "INT8 inputs have one range, or one for every token (default: as scored, else static)", 0, 0,
     activation_choices},
    {OPT_STR, 0, "smooth-quant", &smooth, "ALPHA",
     "smooth INT8 layers: 0 to 1, 'auto' for what calib-amax found, 'none'\n(default: as scored, else none)",
     0, 0, NULL},
    {OPT_CHOICE, 0, "smooth-at", &smooth_at, NULL,
     "smooth only layers whose norm can carry the scale, or all,\nwhere the input enters (default: as "
     "scored, else norm)",
     0, 0, smooth_at_choices},
    {OPT_CHOICE, 0, "kv", &kv, NULL,
     "the KV cache of the language model (default: as the preset or FILE says, else none)", 0, 0, kv_choices},
    {OPT_FLAG, 0, "needs", &needs, NULL, "print the options of calib-amax that the preset needs, and stop", 0,
     0, NULL},
    {OPT_CHOICE, 0, "scope", &scope, NULL, "which part of the model to take layers of (default: all)", 0, 0,
     name_scope_choices},
    {OPT_CHOICE, 0, "fused-ranges", &fused, NULL,
     "weight ranges of q/k/v and of gate/up (default: as scored)", 0, 0, fused_choices},
    {OPT_CHOICE, 0, "rounding", &rounding, NULL, "how weights are rounded (default: as scored)", 0, 0,
     rounding_choices},
    {OPT_FLAG, 0, "include-unscored", &unscored, NULL, "rank layers that no data reached, as if harmless", 0,
     0, NULL},
    {OPT_FLAG, 0, "include-unservable", &unservable, NULL,
     "rank patch_embed, which no engine loads quantized", 0, 0, NULL},
    {OPT_FLAG, 0, "summary", &summary, NULL, "say on standard error what the scheme saves and costs", 0, 0,
     NULL},
    CLI_OUTPUT(output, "write to FILE instead of standard output"),
    CLI_QUIET,
    {.kind = OPT_END},
};
static const struct cli tool = {
    "apply-coverage",
    "PCT [LAYERS] | --bits B | --select PATTERN | --from FILE | --preset NAME [LAYERS]",
    "choose which layers to quantize",
    opts,
    0,
    2};

static int parse_percent(const char *text, unsigned *percent, struct err *e)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || v < 1 || v > 100)
        return err_set(e, RC_USAGE, "'%s' is not a coverage: a whole number from 1 to 100", text);
    *percent = (unsigned)v;
    return 0;
}

/* --smooth-quant to an alpha as struct layers has it. */
static int parse_alpha(const char *text, double *alpha, struct err *e)
{
    char *end;

    if (!strcmp(text, "none") || !strcmp(text, "auto")) {
        *alpha = *text == 'n' ? NAN : -1;
        return 0;
    }
    *alpha = strtod(text, &end);
    if (end == text || *end || !(*alpha >= 0 && *alpha <= 1))
        return err_set(e, RC_USAGE,
                       "--smooth-quant: '%s' is neither an alpha from 0 to 1, nor 'auto' or 'none'", text);
    return 0;
}

/* What the command line does not say is as the preset has it. */
static int parse_forms(struct scheme_opts *o, const struct preset *p, double *alpha, struct err *e)
{
    if (preset_name && format)
        return err_set(e, RC_USAGE, "a preset says its formats: --format does not go with --preset");
    if (format && strcmp(format, "best") && scheme_format_parse(format, &o->format))
        return err_set(e, RC_USAGE, "the format '%s' is not known", format);
    *alpha = p->alpha;
    if (smooth && parse_alpha(smooth, alpha, e))
        return -1;
    o->alpha = smooth || preset_name ? alpha : NULL;
    o->activations = activations ? activations : p->activations;
    o->smooth_at = smooth_at ? smooth_at : !preset_name ? NULL : p->smooth_input ? "input" : "norm";
    o->kv = kv ? !strcmp(kv, "fp8") : p->kv;
    o->preset = p->name;
    return 0;
}

/* The way of selecting, and what is left of the operands. */
static int parse_mode(struct scheme_opts *o, char *const **operand, size_t *n, struct err *e)
{
    int modes = (bits > 0) + (o->n_select > 0) + (from != NULL) + (preset_name != NULL);

    if (modes > 1)
        return err_set(e, RC_USAGE, "--bits, --select, --from and --preset exclude each other");
    if (needs && !preset_name)
        return err_set(e, RC_USAGE, "--needs is about a preset: --preset is missing");
    if (modes && by)
        return err_set(e, RC_USAGE,
                       "--by says what PCT counts; it does not go with --bits, --select, --from or --preset");
    if (from && (o->rank.n_exclude || o->rank.scope != SCOPE_ALL || unscored))
        return err_set(e, RC_USAGE,
                       "--from takes a selection as it is: no --exclude, --scope or --include-unscored");
    o->bits = bits;
    o->by = bits > 0      ? BY_BITS
            : o->n_select ? BY_SELECT
            : from        ? BY_COVERAGE
            : preset_name ? BY_PRESET
                          : BY_GROUPS;
    if (!modes) {
        if (!*n)
            return err_set(e, RC_USAGE,
                           "a coverage from 1 to 100 is missing (or --bits, --select, --from, --preset)");
        if (parse_percent(**operand, &o->percent, e))
            return -1;
        if (by && !strcmp(by, "bytes"))
            o->by = BY_BYTES;
        ++*operand;
        --*n;
    }
    if (*n > 1)
        return err_set(e, RC_USAGE, "too many operands: '%s'", (*operand)[1]);
    return 0;
}

static size_t count_int8(const struct scheme *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n_modules; i++)
        n += s->module[i].format == FORMAT_INT8;
    return n;
}

static void say_summary(const struct scheme *s)
{
    char kl[64] = "", int8[64] = "";

    if (!isnan(s->predicted_kl))
        snprintf(kl, sizeof kl, ", predicted KL %.3g nats per token", s->predicted_kl);
    if (count_int8(s))
        snprintf(int8, sizeof int8, ", %zu of %zu layers in INT8", count_int8(s), s->n_modules);
    cli_note("%s: %zu of %zu groups, %.1f %% of the weight bytes%s; %.3f bits per weight, %.4g MiB instead "
             "of %.4g%s%s",
             s->name, s->n_selected, s->n_selected + s->n_dropped, 100 * s->bytes_fraction, int8,
             s->effective_bits, s->weight_bytes / 0x1p20, (double)s->weights * 2 / 0x1p20,
             s->n_kv ? ", FP8 KV cache" : "", kl);
}

static int print_list(struct err *e)
{
    struct file_out o;
    int ret = -1;

    if (file_create(&o, output, cli_force, false, e))
        return -1;
    if (preset_list(o.f, e) == 0)
        ret = file_commit(&o, e);
    file_discard(&o);
    return ret;
}

/* Options that would do nothing are a mistake. */
static int check_use(const struct scheme *s, struct err *e)
{
    if (s->ranged && !count_int8(s) && (activations || smooth_at || (smooth && strcmp(smooth, "none"))))
        return err_set(e, RC_USAGE,
                       "--activations, --smooth-quant and --smooth-at are for INT8, and no selected layer is "
                       "stored in it "
                       "(--format int8)");
    return 0;
}

static int make(struct scheme *s, struct layers *l, struct scheme_opts *o, const struct preset *p,
                struct err *e)
{
    enum scheme_format *of_group = mem_zalloc(l->n_groups, sizeof *of_group, e);
    bool by_score = o->by == BY_GROUPS || o->by == BY_BYTES || o->by == BY_BITS;
    int ret = -1;

    o->preset_format = of_group;
    if (of_group && (o->by != BY_PRESET || preset_apply(p, l, of_group, e) == 0) &&
        (!by_score || o->format == FORMAT_NONE ||
         layers_use_format(l, o->format == FORMAT_INT8 ? "INT8" : "FP8", e) == 0) &&
        scheme_make(s, l, o, e) == 0)
        ret = check_use(s, e);
    free(of_group);
    return ret;
}

/* Everything but the patterns is in o. */
static int select_layers(struct scheme_opts *o, char *const *operand, size_t n, struct err *e)
{
    struct scheme other = {0}, s = {0};
    struct preset p = {.alpha = NAN};
    struct layers l = {0};
    double alpha;
    int ret = -1;

    if ((preset_name && preset_read(&p, preset_name, e)) || parse_forms(o, &p, &alpha, e) ||
        parse_mode(o, &operand, &n, e))
        goto out;
    if (needs) {
        printf("%s\n", preset_needs(o->kv, alpha, o->activations));
        ret = 0;
        goto out;
    }
    if ((from && scheme_read(&other, from, true, e)) || layers_read(&l, n ? *operand : NULL, e))
        goto out;
    o->from = &other;
    o->kv = kv ? o->kv : o->kv || other.n_kv;
    if (make(&s, &l, o, &p, e))
        goto out;
    ret = scheme_write(
        &s,
        (struct layers_from[]){{"layers", l.hex}, {from ? "coverage" : "preset", from ? other.hex : p.hex}},
        from || *p.hex ? 2 : 1, output, e);
    if (!ret && s.gap > 1e-9)
        cli_warn("many selections are equally good: this one is within %.1g of the best score", s.gap);
    if (!ret && summary)
        say_summary(&s);
out:
    scheme_release(&s);
    layers_release(&l);
    scheme_release(&other);
    preset_release(&p);
    return ret;
}

static int run(char *const *operand, size_t n, struct err *e)
{
    const char **pattern[2] = {mem_zalloc(list.n, sizeof(char *), e), mem_zalloc(list.n, sizeof(char *), e)};
    size_t n_pattern[2] = {0};
    struct scheme_opts o = {.fused_ranges = fused, .rounding = rounding};
    int ret = -1;

    if (!pattern[SELECT] || !pattern[EXCLUDE])
        goto out;
    for (size_t i = 0; i < list.n; i++) {
        size_t k = (size_t)(list.item[i].opt - opts);

        pattern[k][n_pattern[k]++] = list.item[i].value;
    }
    o.select = pattern[SELECT];
    o.n_select = n_pattern[SELECT];
    o.rank = (struct rank_opts){.scope = name_scope_parse(scope),
                                .unscored = unscored,
                                .unservable = unservable,
                                .exclude = pattern[EXCLUDE],
                                .n_exclude = n_pattern[EXCLUDE]};
    ret = preset_name && !strcmp(preset_name, "list") ? print_list(e) : select_layers(&o, operand, n, e);
out:
    free(pattern[EXCLUDE]);
    free(pattern[SELECT]);
    return ret;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, argc, argv, run);
}
