/* eval-logits.c - how far candidates' logits are from a reference's: KL, MSE, top-1 agreement, perplexity */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/cli.h"
#include "common/base/mem.h"
#include "common/io/doc.h"
#include "common/model/metrics.h"
#include "common/model/options.h"
#include "common/model/table.h"

static const char *ref_path, *save_path, *base_dir, *output, *semantics = "octet";
static const char *const semantics_choices[] = {"octet", "origin", NULL};
static struct cli_list candidates;
static double max_kl = INFINITY, max_ppl_ratio = INFINITY, min_top1;
static long batch = 8;
static bool table;
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
    {.kind = OPT_DOUBLE, .name = "max-kl", .to = &max_kl, .arg = "X", .min = 0, .max = INFINITY,
     .help = "exit with 1 when the kl_answer of a candidate is larger"},
    {.kind = OPT_DOUBLE, .name = "max-ppl-ratio", .to = &max_ppl_ratio, .arg = "X", .min = 0, .max = INFINITY,
     .help = "the same for its ppl_ratio"},
    {.kind = OPT_DOUBLE, .name = "min-top1", .to = &min_top1, .arg = "X", .min = 0, .max = 1,
     .help = "exit with 1 when its top1 is smaller"},
    {.kind = OPT_CHOICE, .name = "semantics", .to = &semantics, .choices = semantics_choices,
     .help = "whose kl_last and mse_last: means of samples, or of\nbatches as the Python system takes them (default octet)"},
    {.kind = OPT_LONG, .name = "batch", .to = &batch, .arg = "N", .min = 1, .max = 1 << 20,
     .help = "samples in a batch of --semantics origin (default 8)"},
    {.kind = OPT_FLAG, .name = "table", .to = &table,
     .help = "print a table for people; METRICS only with -o FILE"},
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
    struct row_stats *row; /* of the tokens with loss */
    struct candidate *done;
    size_t n_done;
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
        return (ev->be = run_backend(&ro, e)) ? 0 : -1;
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
    ret = states_make(&ev->ref, &ev->base, ev->s.sample, ev->s.n, ev->s.digest,
                      run_rows(&ro, ev->be), &p, e);
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

/* What was measured goes into the document. */
static int record(struct eval *ev, struct model *m, const char *name, const struct scheme *scheme, struct err *e)
{
    struct candidate *c = &ev->done[ev->n_done++];
    double kl, mse;
    json_t *o;

    if (candidate_make(c, name, ev->out, ev->s.n, ev->row, m->config->vocab, e))
        return -1;
    if (!ev->doc && (!(ev->doc = metrics_new(&ev->s, &c->total, e)) || doc_from(ev->doc, "reference", ev->ref.model, e)))
        return -1;
    o = metrics_add(ev->doc, name, m, scheme, &c->total, e);
    if (!o || metrics_against(o, c, e))
        return -1;
    if (strcmp(semantics, "origin"))
        return 0;
    eval_batch_means(ev->out, ev->s.n, (size_t)batch, &kl, &mse);
    return metrics_origin(o, kl, mse, (size_t)batch, e);
}

static int compare(struct eval *ev, struct model *m, const char *name, const struct scheme *scheme, struct err *e)
{
    const struct weight *head;
    struct progress p = {0};
    int ret;

    if (reference_head(ev, m, &head, e))
        return -1;
    progress_begin(&p, name, "samples", ev->s.n);
    ret = eval_compare(m, &ev->ref, head, ev->s.sample, ev->s.n, run_rows(&ro, ev->be), ev->out, ev->row, &p, e);
    progress_end(&p);
    return ret ? -1 : record(ev, m, name, scheme, e);
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

static int make_room(struct eval *ev, struct err *e)
{
    size_t rows = 0;

    for (size_t i = 0; i < ev->s.n; i++)
        for (size_t k = 0; k < ev->s.sample[i].tokens; k++)
            rows += ev->s.sample[i].loss[k];
    ev->out = mem_zalloc(ev->s.n, sizeof *ev->out, e);
    ev->row = mem_zalloc(rows, sizeof *ev->row, e);
    ev->done = mem_zalloc(candidates.n, sizeof *ev->done, e);
    return ev->out && ev->row && ev->done ? 0 : -1;
}

/* Also a word to people when they would read more into the figures than there is. */
static int print(struct eval *ev, struct err *e)
{
    struct resolution r;
    char hint[160];

    if (!ev->doc)
        return 0;
    if (metrics_pairs(ev->doc, ev->done, ev->n_done, e) || ((!table || output) && json_save(output, ev->doc, e)))
        return -1;
    if (table) {
        for (size_t i = 0; i < ev->n_done; i++)
            table_candidate(stdout, &ev->done[i]);
        return table_pairs(stdout, ev->done, ev->n_done, e);
    }
    if (resolution_make(&r, ev->done, ev->n_done, e))
        return -1;
    table_hint(hint, sizeof hint, &r, ev->s.n);
    if (hint[0])
        cli_note("%s", hint);
    return 0;
}

static int gate(const struct eval *ev, struct err *e)
{
    for (size_t i = 0; i < ev->n_done; i++) {
        const struct eval_total *t = &ev->done[i].total;
        const char *name = ev->done[i].name;

        if (t->kl_answer > max_kl)
            return err_set(e, RC_NO, "'%s': kl_answer is %g, more than --max-kl %g", name, t->kl_answer, max_kl);
        if (t->ppl / t->ppl_ref > max_ppl_ratio)
            return err_set(e, RC_NO, "'%s': ppl_ratio is %g, more than --max-ppl-ratio %g", name, t->ppl / t->ppl_ref,
                           max_ppl_ratio);
        if (t->top1 < min_top1)
            return err_set(e, RC_NO, "'%s': top1 is %g, less than --min-top1 %g", name, t->top1, min_top1);
    }
    return 0;
}

static int check_options(struct err *e)
{
    if (!ref_path)
        return err_set(e, RC_USAGE, "--ref MODEL|STATES is missing");
    if (candidates.n == 0 && !save_path)
        return err_set(e, RC_USAGE, "there is no candidate: give -m CHECKPOINT or --scheme SCHEME");
    if (table && output && !strcmp(output, "-"))
        return err_set(e, RC_USAGE, "--table goes to standard output: give -o a file for the METRICS document");
    return run_output(output, e) || (save_path && run_output(save_path, e)) ? -1 : 0;
}

static int run(char *const *operand, size_t n, struct err *e)
{
    struct eval ev = {0};
    int ret = -1;

    if (check_options(e) || open_base(&ev, e) || run_samples(&ev.s, &ro, operand, n, e) || make_reference(&ev, e) ||
        make_room(&ev, e))
        goto out;
    for (size_t i = 0; i < candidates.n; i++)
        if (candidate(&ev, &candidates.item[i], e))
            goto out;
    ret = print(&ev, e) || gate(&ev, e) ? -1 : 0;
out:
    json_decref(ev.doc);
    for (size_t i = 0; i < ev.n_done; i++)
        candidate_release(&ev.done[i]);
    free(ev.done);
    free(ev.row);
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
