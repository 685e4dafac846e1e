/* apply-coverage.c - choose which layers to quantize: coverage, bit budget or names to a scheme */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cli.h"
#include "common/base/fp8.h"
#include "common/base/mem.h"
#include "common/quant/scheme.h"

static const char *by, *scope = "all", *from, *fused, *rounding, *output;
static double bits;
static bool unscored, unservable, summary;
static struct cli_list list;
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
static const struct cli tool = {"apply-coverage",
                                "PCT [LAYERS] | --bits B | --select PATTERN | --from FILE [LAYERS]",
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

/* The way of selecting, and what is left of the operands. */
static int parse_mode(struct scheme_opts *o, char ***operand, size_t *n, struct err *e)
{
    int modes = (bits > 0) + (o->n_select > 0) + (from != NULL);

    if (modes > 1)
        return err_set(e, RC_USAGE, "--bits, --select and --from exclude each other");
    if (modes && by)
        return err_set(e, RC_USAGE,
                       "--by says what PCT counts; it does not go with --bits, --select or --from");
    if (from && (o->rank.n_exclude || o->rank.scope != SCOPE_ALL || unscored))
        return err_set(e, RC_USAGE,
                       "--from takes a selection as it is: no --exclude, --scope or --include-unscored");
    o->bits = bits;
    o->by = bits > 0 ? BY_BITS : o->n_select ? BY_SELECT : from ? BY_COVERAGE : BY_GROUPS;
    if (!modes) {
        if (!*n)
            return err_set(e, RC_USAGE, "a coverage from 1 to 100 is missing (or --bits, --select, --from)");
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

static void say_summary(const struct scheme *s)
{
    char kl[64] = "";

    if (!isnan(s->predicted_kl))
        snprintf(kl, sizeof kl, ", predicted KL %.3g nats per token", s->predicted_kl);
    cli_note("%s: %zu of %zu groups, %.1f %% of the weight bytes; %.3f bits per weight, %.4g MiB instead of "
             "%.4g%s",
             s->name, s->n_selected, s->n_selected + s->n_dropped, 100 * s->bytes_fraction, s->effective_bits,
             s->weight_bytes / 0x1p20, (double)s->weights * 2 / 0x1p20, kl);
}

static int run(char **operand, size_t n, struct err *e)
{
    const char **pattern[2] = {mem_zalloc(list.n, sizeof(char *), e), mem_zalloc(list.n, sizeof(char *), e)};
    size_t n_pattern[2] = {0};
    struct scheme_opts o = {.fused_ranges = fused, .rounding = rounding};
    struct scheme other = {0}, s = {0};
    struct layers l = {0};
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
    if (parse_mode(&o, &operand, &n, e) || (from && scheme_read(&other, from, true, e)) ||
        layers_read(&l, n ? *operand : NULL, e))
        goto out;
    o.from = &other;
    if (scheme_make(&s, &l, &o, e))
        goto out;
    ret = scheme_write(&s, (struct layers_from[]){{"layers", l.hex}, {"coverage", other.hex}}, from ? 2 : 1,
                       output, e);
    if (!ret && s.gap > 1e-9)
        cli_warn("many selections are equally good: this one is within %.1g of the best score", s.gap);
    if (!ret && summary)
        say_summary(&s);
out:
    scheme_release(&s);
    layers_release(&l);
    scheme_release(&other);
    free(pattern[EXCLUDE]);
    free(pattern[SELECT]);
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
