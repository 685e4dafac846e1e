/* eval-logits.c - how far candidates' logits are from a reference's: KL, MSE, top-1 agreement, perplexity */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/cli.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/io/doc.h"
#include "common/model/blocks.h"
#include "common/model/metrics.h"
#include "common/model/run.h"
#include "common/model/persample.h"
#include "common/model/resume.h"
#include "common/model/table.h"

static const char *ref_path, *save_path, *save_dtype, *base_dir, *output, *semantics = "octet";
static const char *const dtype_choices[] = {"bf16", "fp32", NULL};
static const char *const semantics_choices[] = {"octet", "origin", NULL};
static struct cli_list candidates;
static double max_kl = INFINITY, max_ppl_ratio = INFINITY, min_top1;
static long batch = 8;
static bool table, with_blocks;
static struct run_options ro = RUN_DEFAULTS;

static const struct cli_opt opts[] = {
    {.kind = OPT_STR, .name = "ref", .to = &ref_path, .arg = "MODEL|STATES",
     .help = "the reference: a model directory, or what --save-ref wrote"},
    {.kind = OPT_STR, .name = "save-ref", .to = &save_path, .arg = "STATES",
     .help = "keep the reference's final hidden states in this file"},
    {.kind = OPT_CHOICE, .name = "ref-dtype", .to = &save_dtype, .choices = dtype_choices,
     .help = "what --save-ref keeps them in (default bf16, which is exact\non a GPU; fp32 is exact on the CPU)"},
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
    {.kind = OPT_FLAG, .name = "blocks", .to = &with_blocks,
     .help = "also compare hidden states, block by block; needs --ref\nMODEL, and room for a second one"},
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
    struct run r; /* its model: the reference, or --base; may have none */
    struct states ref;
    struct eval_sample *out;
    struct row_stats *row;   /* of the tokens with loss */
    struct candidate *done;
    struct blocks *blocks;   /* of every one that is done */
    struct model plain;      /* the reference, without a scheme; opened for --blocks */
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
    return run_open(&ev->r, &ro, dir, false, NULL, e);
}

static int open_states(struct eval *ev, const char *path, struct err *e)
{
    char hex[SHA256_HEX];

    if (states_open(&ev->ref, path, e))
        return -1;
    states_samples_digest(&ev->r.s, hex);
    if (strcmp(ev->ref.samples, hex))
        return err_set(e, RC_DATA,
                       "'%s' was made of other samples, or of another shard of them: make it again with "
                       "--save-ref", path);
    return 0;
}

static int save_reference(struct eval *ev, struct err *e)
{
    enum dtype dtype = save_dtype && !strcmp(save_dtype, "fp32") ? DT_F32 : DT_BF16;
    char remark[STATES_REMARK];
    struct progress p = {0};
    int ret;

    progress_begin(&p, "reference", "samples", ev->r.s.n);
    ret = states_save(save_path, dtype, &ev->r.m, &ev->r.s, run_rows(&ev->r), &p, remark, e);
    progress_end(&p);
    if (*remark)
        cli_note("%s", remark);
    return ret;
}

/*
 * A reference that is kept is the file, also for those that were just computed: its figures are the same
 * whoever asks.
 */
static int make_reference(struct eval *ev, struct err *e)
{
    struct progress p = {0};
    int ret;

    if (!is_dir(ref_path))
        return open_states(ev, ref_path, e);
    if (save_path)
        return save_reference(ev, e) || (candidates.n && open_states(ev, save_path, e)) ? -1 : 0;
    progress_begin(&p, "reference", "samples", ev->r.s.n);
    ret = states_make(&ev->ref, &ev->r.m, &ev->r.s, run_rows(&ev->r), &p, e);
    progress_end(&p);
    return ret;
}

static int open_partial(struct eval *ev, struct err *e)
{
    const char *text[] = {ev->ref.model, ev->ref.digest};

    return run_partial(&ev->r, candidates.n ? output : NULL, text, sizeof text / sizeof *text, e);
}

/* A candidate is a form of the reference: the same ids mean the same tokens. */
static int check_candidate(const struct eval *ev, const struct model *m, struct err *e)
{
    struct origin o;

    if (ro.foreign)
        return 0;
    if (origin_of_model(&o, m, e))
        return -1;
    return origin_check(&ev->ref.origin, "the reference", &o, m->weights.ckpt.dir,
                        "compare it with a reference that has its tokenizer and settings", e);
}

/* The head that turns the reference's states into logits: the candidate's own when it is the same tensor. */
static int reference_head(struct eval *ev, struct model *m, const struct weight **head, struct err *e)
{
    struct stage *s = &ev->r.m.stage[ev->r.m.head];

    *head = NULL;
    if (!strcmp(states_head_digest(m), ev->ref.head) && !m->stage[m->head].head->quantized)
        return 0;
    if (!ev->r.has_model)
        return err_set(e, RC_DATA,
                       "the head of '%s' is not the reference's: give the reference's model as --ref or --base", m->weights.ckpt.dir);
    if (strcmp(states_head_digest(&ev->r.m), ev->ref.head))
        return err_set(e, RC_DATA, "the head of '%s' is not the one that the reference was made with",
                       ev->r.m.weights.ckpt.dir);
    if (model_enter(&ev->r.m, s, e))
        return -1;
    *head = &s->head->weight;
    return 0;
}

static int begin_document(struct eval *ev, const struct candidate *c, struct err *e)
{
    ev->doc = metrics_new(&ev->r.s, &c->total, e);
    return !ev->doc || doc_from(ev->doc, "reference", ev->ref.model, e) ||
                   metrics_kept(ev->doc, &ev->ref, ev->out, ev->r.s.n, e) ||
                   persample_put_samples(json_object_get(ev->doc, "samples"), ev->r.s.sample, c->sample,
                                         ev->r.s.n, e)
               ? -1
               : 0;
}

/* Both models run again, batch by batch: blocks are too much to keep of all samples. */
static int add_blocks(struct eval *ev, struct model *m, json_t *o, struct err *e)
{
    struct blocks *b = &ev->blocks[ev->n_done - 1];
    struct progress p = {0};
    int ret;

    progress_begin(&p, "blocks", "samples", ev->r.s.n);
    ret = blocks_compare(b, &ev->plain, m, ev->r.s.sample, ev->r.s.n, run_rows(&ev->r), &p, e);
    progress_end(&p);
    return ret ? -1 : blocks_put(o, b, e);
}

/* What was measured goes into the document. */
static int record(struct eval *ev, struct model *m, const char *name, const struct scheme *scheme,
                  struct err *e)
{
    struct candidate *c = &ev->done[ev->n_done++];
    double kl, mse;
    json_t *o;

    if (candidate_make(c, name, ev->out, ev->r.s.n, ev->row, m->config->vocab, e))
        return -1;
    if (!ev->doc && begin_document(ev, c, e))
        return -1;
    o = metrics_add(ev->doc, name, m, scheme, &c->total, e);
    if (!o || metrics_against(o, c, e) || persample_put(o, c->sample, c->total.samples, e) ||
        (with_blocks && add_blocks(ev, m, o, e)))
        return -1;
    if (strcmp(semantics, "origin"))
        return 0;
    eval_batch_means(ev->out, ev->r.s.n, (size_t)batch, &kl, &mse);
    return metrics_origin(o, kl, mse, (size_t)batch, e);
}

static int compare(struct eval *ev, struct model *m, const char *name, const struct scheme *scheme,
                   struct err *e)
{
    const char *text[] = {m->digest, scheme ? scheme->hex : ""};
    const struct samples *s = &ev->r.s;
    const struct weight *head;
    char identity[SHA256_HEX];
    struct progress p = {0};
    size_t done;
    int ret;

    partial_identity(identity, ev->r.be, text, sizeof text / sizeof *text);
    if (reference_head(ev, m, &head, e) ||
        resume_candidate(&ev->r.part, identity, s->sample, s->n, ev->out, ev->row, &done, e))
        return -1;
    if (*ev->r.part.remark)
        cli_note("%s", ev->r.part.remark);
    progress_begin(&p, name, "samples", s->n);
    ret = resume_compare(&ev->r.part, done, m, &ev->ref, head, s->sample, s->n, run_rows(&ev->r), ev->out,
                         ev->row, &p, e);
    progress_end(&p);
    return ret ? -1 : record(ev, m, name, scheme, e);
}

static int candidate(struct eval *ev, const struct cli_item *c, struct err *e)
{
    struct scheme scheme = {0};
    struct model m = {0};
    int ret = -1;

    if (is_scheme(c)) {
        if (scheme_read(&scheme, c->value, false, e) == 0)
            ret = model_apply(&ev->r.m, &scheme, e);
        scheme_release(&ev->r.scheme); /* of the candidate before, which nothing borrows from any more */
        ev->r.scheme = scheme;
        return ret ? -1 : compare(ev, &ev->r.m, run_id(c->value), &ev->r.scheme, e);
    }
    if (ev->r.has_model)
        model_evict(&ev->r.m);
    if (model_open(&m, c->value, ev->r.be, ro.max_memory, e) == 0 && check_candidate(ev, &m, e) == 0)
        ret = compare(ev, &m, run_id(c->value), NULL, e);
    model_close(&m);
    return ret;
}

static int make_room(struct eval *ev, struct err *e)
{
    size_t rows = 0;

    for (size_t i = 0; i < ev->r.s.n; i++)
        for (size_t k = 0; k < ev->r.s.sample[i].tokens; k++)
            rows += ev->r.s.sample[i].loss[k];
    ev->out = mem_zalloc(ev->r.s.n, sizeof *ev->out, e);
    ev->row = mem_zalloc(rows, sizeof *ev->row, e);
    ev->done = mem_zalloc(candidates.n, sizeof *ev->done, e);
    ev->blocks = mem_zalloc(candidates.n, sizeof *ev->blocks, e);
    if (!ev->out || !ev->row || !ev->done || !ev->blocks)
        return -1;
    return with_blocks ? model_open(&ev->plain, ref_path, ev->r.be, ro.max_memory, e) : 0;
}

/* Also a word to people when they would read more into the figures than there is. */
static void speak(const struct eval *ev, const struct pairs *p)
{
    char hint[160];

    if (table) {
        for (size_t i = 0; i < ev->n_done; i++) {
            table_candidate(stdout, &ev->done[i]);
            if (with_blocks)
                blocks_table(stdout, &ev->blocks[i]);
        }
        table_pairs(stdout, ev->done, p);
        return;
    }
    table_hint(hint, sizeof hint, p);
    if (hint[0])
        cli_note("%s", hint);
}

static int print(struct eval *ev, struct err *e)
{
    struct pairs p;
    int ret;

    if (!ev->doc)
        return 0;
    ret = pairs_make(&p, ev->done, ev->n_done, true, e) || metrics_pairs(ev->doc, ev->done, &p, e) ||
                  ((!table || output) && json_save(output, ev->doc, e))
              ? -1
              : 0;
    if (ret == 0)
        speak(ev, &p);
    pairs_release(&p);
    return ret;
}

static int gate(const struct eval *ev, struct err *e)
{
    for (size_t i = 0; i < ev->n_done; i++) {
        const struct eval_total *t = &ev->done[i].total;
        const char *name = ev->done[i].name;

        if (t->kl_answer > max_kl)
            return err_set(e, RC_NO, "'%s': kl_answer is %g, more than --max-kl %g", name, t->kl_answer,
                           max_kl);
        if (t->ppl / t->ppl_ref > max_ppl_ratio)
            return err_set(e, RC_NO, "'%s': ppl_ratio is %g, more than --max-ppl-ratio %g", name,
                           t->ppl / t->ppl_ref, max_ppl_ratio);
        if (t->top1 < min_top1)
            return err_set(e, RC_NO, "'%s': top1 is %g, less than --min-top1 %g", name, t->top1, min_top1);
    }
    return 0;
}

/* What is there already may be what is asked for. */
static int check_save_path(struct err *e)
{
    int there = save_path ? file_exists(save_path, e) : 1;

    if (there == 0)
        return run_output(save_path, e);
    return there < 0 || (save_path && file_replaceable(save_path, e)) ? -1 : 0;
}

static int check_options(struct err *e)
{
    if (!ref_path)
        return err_set(e, RC_USAGE, "--ref MODEL|STATES is missing");
    if (candidates.n == 0 && !save_path)
        return err_set(e, RC_USAGE, "there is no candidate: give -m CHECKPOINT or --scheme SCHEME");
    if (with_blocks && !is_dir(ref_path))
        return err_set(e, RC_USAGE,
                       "--blocks needs the reference's blocks, which a file of states does not hold: give --ref "
                       "MODEL");
    if (table && output && !strcmp(output, "-"))
        return err_set(e, RC_USAGE,
                       "--table goes to standard output: give -o a file for the METRICS document");
    if (save_dtype && !save_path)
        return err_set(e, RC_USAGE, "--ref-dtype goes with --save-ref");
    if (save_path && !strcmp(save_path, "-"))
        return err_set(e, RC_USAGE, "--save-ref needs a file: an interrupted run goes on with it");
    if (save_path && output && !strcmp(save_path, output))
        return err_set(e, RC_USAGE, "--save-ref and -o name the same file, '%s': give them two", output);
    return run_output(output, e) || check_save_path(e) ? -1 : 0;
}

static int run(char *const *operand, size_t n, struct err *e)
{
    struct eval ev = {0};
    int ret = -1;

    if (check_options(e) || open_base(&ev, e) || run_load(&ev.r, operand, n, e) || make_reference(&ev, e) ||
        open_partial(&ev, e) || make_room(&ev, e))
        goto out;
    for (size_t i = 0; i < candidates.n; i++)
        if (candidate(&ev, &candidates.item[i], e))
            goto out;
    if (print(&ev, e))
        goto out;
    partial_close(&ev.r.part, true);
    ret = gate(&ev, e);
out:
    json_decref(ev.doc);
    for (size_t i = 0; i < ev.n_done; i++) {
        candidate_release(&ev.done[i]);
        blocks_release(&ev.blocks[i]);
    }
    free(ev.blocks);
    free(ev.done);
    free(ev.row);
    free(ev.out);
    states_release(&ev.ref);
    model_close(&ev.plain); /* its backend is the run's */
    run_release(&ev.r);
    return ret;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, argc, argv, run);
}
