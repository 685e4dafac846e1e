/* eval-logits.c - how far candidates' logits are from a reference's: KL, MSE, top-1 agreement, perplexity */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/cli.h"
#include "common/base/mem.h"
#include "common/io/doc.h"
#include "common/model/metrics.h"
#include "common/model/options.h"

static const char *ref_path, *save_path, *base_dir, *output;
static struct cli_list candidates;
static struct run_options ro = RUN_DEFAULTS;

static const struct cli_opt opts[] = {
    {.kind = OPT_STR, .name = "ref", .to = &ref_path, .arg = "MODEL|STATES",
     .help = "the reference: a model directory, or what --save-ref wrote"},
    {.kind = OPT_STR, .name = "save-ref", .to = &save_path, .arg = "STATES",
     .help = "keep the reference's final hidden states in this file"},
    {.kind = OPT_LIST, .letter = 'm', .name = "model", .to = &candidates, .arg = "DIR",
     .help = "a candidate: a quantized checkpoint (may be given again)"},
    {.kind = OPT_LIST, .name = "scheme", .to = &candidates, .arg = "SCHEME",
     .help = "a candidate: the base model under this scheme (may be\ngiven again)"},
    {.kind = OPT_STR, .name = "base", .to = &base_dir, .arg = "DIR",
     .help = "the unquantized model of --scheme (default: --ref)"},
    RUN_OPTIONS(ro),
    CLI_OUTPUT(output, "write the METRICS document here (default: standard output)"),
    CLI_QUIET,
    {.kind = OPT_END},
};

static const struct cli tool = {
    .name = "eval-logits",
    .operands = "--ref MODEL|STATES {-m CHECKPOINT | --scheme SCHEME}... [SAMPLES...]",
    .summary = "Compare candidates with a reference, token by token.  Candidates are taken one after another.",
    .opts = opts,
    .max_operands = -1,
};

struct eval {
    struct backend *be;
    struct samples s;
    struct model base; /* the reference, or --base */
    bool has_base;
    struct states ref;
    struct eval_sample *out;
    json_t *doc;
};

static bool is_dir(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool is_scheme(const struct cli_item *c)
{
    return c->opt->letter != 'm';
}

static int open_base(struct eval *ev, struct err *e)
{
    const char *dir = is_dir(ref_path) ? ref_path : base_dir;

    for (size_t i = 0; i < candidates.n && !dir; i++)
        if (is_scheme(&candidates.item[i]))
            return err_set(e, RC_USAGE, "--scheme needs a model: give --base MODEL beside --ref STATES");
    if (save_path && !is_dir(ref_path))
        return err_set(e, RC_USAGE, "--save-ref needs --ref MODEL: '%s' is not a model directory", ref_path);
    if (base_dir && is_dir(ref_path))
        return err_set(e, RC_USAGE, "--base goes with --ref STATES; here --ref is the base model itself");
    if (!dir)
        return (ev->be = be_open(ro.device, e)) ? 0 : -1;
    if (run_model(&ev->base, &ev->be, &ro, dir, e))
        return -1;
    ev->has_base = true;
    return 0;
}

static int make_reference(struct eval *ev, struct err *e)
{
    struct progress p = {0};
    char hex[SHA256_HEX];
    int ret;

    if (!is_dir(ref_path)) {
        if (states_load(&ev->ref, ref_path, e))
            return -1;
        states_samples_digest(ev->s.sample, ev->s.n, ev->s.digest, hex);
        if (strcmp(ev->ref.samples, hex))
            return err_set(e, RC_DATA, "'%s' was made of other samples, or of another shard of them: make it again with "
                           "--save-ref", ref_path);
        return 0;
    }
    progress_begin(&p, "reference", "samples", ev->s.n);
    ret = states_make(&ev->ref, &ev->base, ev->s.sample, ev->s.n, ev->s.digest, RUN_ROWS, &p, e);
    progress_end(&p);
    return ret || !save_path ? ret : states_save(&ev->ref, save_path, e);
}

/* The head that turns the reference's states into logits: the candidate's own when it is the same tensor. */
static int reference_head(struct eval *ev, const struct model *m, const struct weight **head, struct err *e)
{
    struct stage *s = &ev->base.stage[ev->base.head];
    char hex[SHA256_HEX];

    *head = NULL;
    states_head_digest(m, hex);
    if (!strcmp(hex, ev->ref.head) && !m->stage[m->head].head->quantized)
        return 0;
    if (!ev->has_base)
        return err_set(e, RC_DATA, "the head of '%s' is not the reference's: give the reference's model as --ref or --base",
                       m->weights.ckpt.dir);
    states_head_digest(&ev->base, hex);
    if (strcmp(hex, ev->ref.head))
        return err_set(e, RC_DATA, "the head of '%s' is not the one that the reference was made with",
                       ev->base.weights.ckpt.dir);
    if (model_enter(&ev->base, s, e))
        return -1;
    *head = &s->head->weight;
    return 0;
}

static int compare(struct eval *ev, struct model *m, const char *name, const struct scheme *scheme, struct err *e)
{
    const struct weight *head;
    struct eval_total total;
    struct progress p = {0};
    int ret;

    if (reference_head(ev, m, &head, e))
        return -1;
    progress_begin(&p, name, "samples", ev->s.n);
    ret = eval_compare(m, &ev->ref, head, ev->s.sample, ev->s.n, RUN_ROWS, ev->out, NULL, &p, e);
    progress_end(&p);
    if (ret || eval_sum(&total, ev->out, ev->s.n, e))
        return -1;
    if (!ev->doc && (!(ev->doc = metrics_new(&ev->s, &total, e)) || doc_from(ev->doc, "reference", ev->ref.model, e)))
        return -1;
    return metrics_add(ev->doc, name, m, scheme, &total, true, e);
}

static int candidate(struct eval *ev, const struct cli_item *c, struct err *e)
{
    struct scheme scheme = {0};
    struct model m = {0};
    int ret = -1;

    if (is_scheme(c)) {
        if (scheme_read(&scheme, c->value, false, e) == 0 && model_apply(&ev->base, &scheme, e) == 0)
            ret = compare(ev, &ev->base, run_id(c->value), &scheme, e);
        scheme_release(&scheme);
        return ret;
    }
    if (ev->has_base)
        model_evict(&ev->base);
    if (model_open(&m, c->value, ev->be, ro.max_memory, e) == 0)
        ret = compare(ev, &m, run_id(c->value), NULL, e);
    model_close(&m);
    return ret;
}

static int run(char *const *operand, size_t n, struct err *e)
{
    struct eval ev = {0};
    int ret = -1;

    if (!ref_path) {
        err_set(e, RC_USAGE, "--ref MODEL|STATES is missing");
        return -1;
    }
    if (candidates.n == 0 && !save_path) {
        err_set(e, RC_USAGE, "there is no candidate: give -m CHECKPOINT or --scheme SCHEME");
        return -1;
    }
    if (run_output(output, e) || (save_path && run_output(save_path, e)) || open_base(&ev, e) ||
        run_samples(&ev.s, &ro, operand, n, e) || make_reference(&ev, e) ||
        !(ev.out = mem_zalloc(ev.s.n, sizeof *ev.out, e)))
        goto out;
    for (size_t i = 0; i < candidates.n; i++)
        if (candidate(&ev, &candidates.item[i], e))
            goto out;
    ret = ev.doc ? json_save(output, ev.doc, e) : 0;
out:
    json_decref(ev.doc);
    free(ev.out);
    states_release(&ev.ref);
    samples_release(&ev.s);
    model_close(&ev.base);
    if (ev.be)
        ev.be->close(ev.be);
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
