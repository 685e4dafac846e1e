/* score.c - how much each linear module's quantization matters: the gradient and the KL method */
#include "common/model/score.h"

#include <stdlib.h>

#include "common/base/mem.h"
#include "common/model/feed.h"

/* ---- gradient ---- */

struct score_tap {
    struct tap tap;
    struct model *m;
    const struct score_form *form; /* [forms, linears] */
    size_t forms;
    struct weight *probe; /* [forms, linears]: made on first use; freed at once under a memory budget */
    double *sums;         /* device, [forms, linears, 2] */
    float *nll;           /* device, [loss tokens of all samples] */
    size_t row, counted;  /* of nll: the next batch's first, and the first that is not in the sum yet */
    const struct linear *last; /* the module before this one, */
    const void *last_x;        /* and its input, if it was probed and was of this batch */
    const struct linear *made_for; /* the module whose input was made for its probe, until it is probed */
    void *yq;             /* grows to the largest product */
    size_t yq_bytes;
};

static void *probe_output(struct score_tap *t, size_t bytes)
{
    struct backend *be = t->m->be;

    if (bytes > t->yq_bytes) {
        be->free(be, t->yq);
        t->yq = be->alloc(be, bytes);
        t->yq_bytes = t->yq ? bytes : 0;
    }
    return t->yq;
}

/* Probe [at] of l, made if there is none. */
static const struct weight *probe_weight(struct score_tap *t, size_t at, const struct linear *l)
{
    if (!t->probe[at].data)
        model_round(t->m, &t->probe[at], l, &t->form[at].form);
    return &t->probe[at];
}

static int probe_form(struct score_tap *t, size_t at, struct linear *l, const void *x, const void *y,
                      const void *dy, const float *row_weight, size_t rows, bool again, struct err *e)
{
    struct backend *be = t->m->be;
    void *yq;

    if (t->form[at].skip)
        return 0;
    yq = probe_output(t, rows * l->out * be->act_bytes);
    if (!yq)
        return be_check(be, e);
    be->score_linear(be, t->sums + 2 * at, dy, y, yq, x, row_weight, rows, probe_weight(t, at, l), again);
    if (t->m->max_bytes)
        be->weight_free(be, &t->probe[at]);
    return be_check(be, e);
}

/*
 * Bytes that this pass will still ask for: weights that are not there yet, and the probes of those that have
 * none.
 */
static size_t bytes_to_come(const struct score_tap *t)
{
    size_t bytes = 0, act = t->m->be->act_bytes;

    for (size_t i = 0; i < t->m->linears; i++) {
        const struct linear *l = &t->m->linear[i];
        size_t missing = l->weight.data == NULL;

        for (size_t f = 0; f < t->forms; f++)
            missing += t->probe[f * t->m->linears + i].data == NULL;
        bytes += l->out * l->in * act * missing;
    }
    return bytes;
}

/*
 * Three quarters of what is left: operations need scratch, and pieces of memory do not always fit together.
 */
static int keep_blocks(const struct score_tap *t, struct walk *w, struct err *e)
{
    size_t spare = t->m->be->spare(t->m->be), taken = bytes_to_come(t);

    return t->m->max_bytes || spare <= taken ? 0 : walk_keep_blocks(w, (spare - taken) / 4 * 3, e);
}

/* The first probe, unless memory is short: it is freed before it would serve. */
static const struct weight *first_probe(struct tap *tap, const struct linear *l)
{
    struct score_tap *t = (struct score_tap *)tap;

    for (size_t f = 0; f < t->forms && !t->m->max_bytes; f++) {
        size_t at = f * t->m->linears + l->index;

        if (!t->form[at].skip) {
            t->made_for = l;
            return probe_weight(t, at, l);
        }
    }
    return NULL;
}

/*
 * Modules that share an input follow each other; a module that follows itself has other rows in the same
 * place.
 */
static int probe(struct tap *tap, struct linear *l, const void *x, const void *y, const void *dy,
                 const float *row_weight, size_t rows, struct err *e)
{
    struct score_tap *t = (struct score_tap *)tap;
    bool again = l == t->made_for || (x == t->last_x && l != t->last);

    for (size_t f = 0; f < t->forms; f++) {
        size_t at = f * t->m->linears + l->index;

        if (probe_form(t, at, l, x, y, dy, row_weight, rows, again, e))
            return -1;
        again = again || !t->form[at].skip;
    }
    t->made_for = NULL;
    t->last = l;
    t->last_x = again ? x : NULL;
    return 0;
}

static int score_batch(struct score_tap *t, struct batch *b, struct err *e)
{
    struct walk w = {0};
    int ret = -1;

    t->last_x = NULL;
    t->made_for = NULL;
    if (walk_init(&w, t->m, b, true, e) == 0 && keep_blocks(t, &w, e) == 0 && walk_forward(&w, 0, e) == 0) {
        w.tap = &t->tap;
        ret = walk_backward(&w, t->nll + t->row, e);
        t->row += b->loss_rows;
    }
    walk_release(&w);
    return ret;
}

static size_t loss_tokens(const struct sample *sample, size_t n)
{
    size_t rows = 0;

    for (size_t i = 0; i < n; i++)
        for (size_t t = 1; t < sample[i].tokens; t++)
            rows += sample[i].loss[t];
    return rows;
}

/* What is on the device so far: sums of all probes, and the losses that *nll does not hold yet. */
static int take_sums(struct score_tap *t, double *sums, double *nll, struct err *e)
{
    struct backend *be = t->m->be;
    float *host = mem_zalloc(t->row - t->counted, sizeof *host, e);

    if (!host)
        return -1;
    be->download(be, sums, t->sums, t->forms * t->m->linears * 2 * sizeof *sums);
    be->download(be, host, t->nll + t->counted, (t->row - t->counted) * sizeof *host);
    for (size_t i = 0; i < t->row - t->counted; i++)
        *nll += host[i];
    t->counted = t->row;
    free(host);
    return be_check(be, e);
}

/*
 * No batch waits for the one before it: what they compute stays on the device until the last is done, or
 * until it is time to keep it.  Samples [0, start) are done; sums and nll are those of part.
 */
static int score_batches(struct score_tap *t, const struct sample *sample, size_t start, size_t n,
                         size_t rows, double *sums, double *nll, struct snapshot *keep,
                         const struct snapshot_part part[2], struct progress *p, struct err *e)
{
    struct feed *f = feed_open(t->m, sample + start, n - start, rows, e);
    int more = f ? 1 : -1;

    while (more == 1) {
        struct batch b;
        size_t first, done;

        more = feed_next(f, &b, &first, e);
        if (more == 1 && score_batch(t, &b, e))
            more = -1;
        if (more == 1) {
            progress_add(p, b.samples);
            done = start + first + b.samples;
            if (snapshot_due(keep, done, n) &&
                (take_sums(t, sums, nll, e) || snapshot_put(keep, done, part, 2, e)))
                more = -1;
        }
        batch_release(&b);
    }
    feed_close(f);
    return more;
}

int score_gradient(struct model *m, const struct score_form *form, size_t forms, const struct sample *sample,
                   size_t n, size_t rows, struct score_result *out, double *nll, struct snapshot *keep,
                   struct progress *p, struct err *e)
{
    struct score_tap t = {
        .tap = {.backward = probe, .weight = first_probe}, .m = m, .form = form, .forms = forms};
    struct backend *be = m->be;
    size_t probes = forms * m->linears;
    double *sums = mem_zalloc(probes, 2 * sizeof *sums, e);
    const struct snapshot_part part[] = {{sums, probes * 2 * sizeof *sums}, {nll, sizeof *nll}};
    size_t start = 0;
    int ret = -1;

    *nll = 0;
    t.probe = mem_zalloc(probes, sizeof *t.probe, e);
    t.sums = be->alloc(be, probes * 2 * sizeof *sums);
    t.nll = be->alloc(be, loss_tokens(sample, n) * sizeof *t.nll);
    if (!sums || !t.probe || !t.sums || !t.nll)
        goto out;
    if (snapshot_begin(keep, n, part, 2, &start, e))
        goto out;
    progress_add(p, start);
    be->upload(be, t.sums, sums, probes * 2 * sizeof *sums);
    if (score_batches(&t, sample, start, n, rows, sums, nll, keep, part, p, e) || take_sums(&t, sums, nll, e))
        goto out;
    for (size_t i = 0; i < probes; i++)
        out[i] = (struct score_result){sums[2 * i], sums[2 * i + 1]};
    ret = 0;
out:
    if (be_check(be, e))
        ret = -1;
    for (size_t i = 0; t.probe && i < probes; i++)
        be->weight_free(be, &t.probe[i]);
    be->free(be, t.yq);
    be->free(be, t.nll);
    be->free(be, t.sums);
    free(t.probe);
    free(sums);
    return ret;
}

/* ---- KL ---- */

/* Sum over all rows of KL(p || q), logits made chunk by chunk from both inputs of the head. */
static int kl_rows(struct model *m, const void *p_norm, const struct weight *p_head, const void *q_norm,
                   const struct weight *q_head, size_t rows, double *sum, struct err *e)
{
    struct backend *be = m->be;
    size_t chunk = walk_chunk_rows(m), vocab = m->config->vocab, hidden = m->config->hidden * be->act_bytes;
    struct row_stats *stats, *host;
    float *p, *q;
    int ret = -1;

    chunk = chunk < rows ? chunk : rows;
    host = mem_zalloc(chunk, sizeof *host, e);
    stats = be->alloc(be, chunk * sizeof *stats);
    p = be->alloc(be, chunk * vocab * sizeof *p);
    q = be->alloc(be, chunk * vocab * sizeof *q);
    if (!host || !stats || !p || !q)
        goto out;
    for (size_t r = 0; r < chunk; r++)
        host[r].label = -1; /* which compare() leaves there */
    be->upload(be, stats, host, chunk * sizeof *host);
    for (size_t i = 0, k; i < rows; i += k) {
        k = rows - i < chunk ? rows - i : chunk;
        be->linear_f32(be, p, (const char *)p_norm + i * hidden, k, p_head);
        be->linear_f32(be, q, (const char *)q_norm + i * hidden, k, q_head);
        be->compare(be, stats, p, q, k, vocab);
        be->download(be, host, stats, k * sizeof *host);
        for (size_t r = 0; r < k; r++)
            *sum += host[r].kl;
    }
    ret = 0;
out:
    if (be_check(be, e))
        ret = -1;
    be->free(be, q);
    be->free(be, p);
    be->free(be, stats);
    free(host);
    return ret;
}

/*
 * One group quantized: run the stages from its own to the head again.  Leaves the inputs of later stages
 * changed.
 */
static int probe_group(struct walk *w, const struct score_form *form, const struct score_group *g,
                       const void *p_norm, double *kl, struct err *e)
{
    struct model *m = w->m;
    struct linear *head = m->stage[m->head].head;
    size_t stage = (size_t)(model_stage_of(m, g->member[0]) - m->stage);
    int ret = 0;

    if (stage < w->from) /* this batch does not pass it */
        return 0;
    for (size_t i = 0; i < g->members && ret == 0; i++)
        ret = model_quantize(m, g->member[i], &form[g->member[i]->index].form, e);
    if (ret == 0)
        ret = walk_forward(w, stage, e);
    if (ret == 0)
        ret = kl_rows(m, p_norm, &head->weight, w->norm, linear_weight(head), w->b->tokens, kl, e);
    for (size_t i = 0; i < g->members; i++)
        model_unquantize(m, g->member[i]);
    return ret;
}

static bool is_skipped(const struct score_form *form, const struct score_group *g)
{
    bool skip = false;

    for (size_t i = 0; i < g->members; i++)
        skip |= form[g->member[i]->index].skip;
    return skip;
}

static int kl_batch(struct model *m, const struct score_form *form, size_t forms,
                    const struct score_group *group, size_t groups, const struct sample *sample, size_t n,
                    double *kl, struct progress *p, struct err *e)
{
    struct batch b = {0};
    struct walk w = {0};
    void *p_norm = NULL;
    size_t bytes;
    int ret = -1;

    if (batch_build(&b, m->be, m->config, &m->processor, sample, n, e) || walk_init(&w, m, &b, true, e) ||
        walk_forward(&w, 0, e))
        goto out;
    bytes = b.tokens * m->config->hidden * m->be->act_bytes;
    p_norm = m->be->alloc(m->be, bytes);
    if (!p_norm)
        goto out;
    m->be->copy(m->be, p_norm, w.norm, bytes);
    /* Last group first: a probe spoils only the inputs of later stages. */
    for (size_t i = groups; i-- > 0;)
        for (size_t f = 0; f < forms; f++) {
            const struct score_form *of = form + f * m->linears;

            if (!is_skipped(of, &group[i]) && probe_group(&w, of, &group[i], p_norm, &kl[f * groups + i], e))
                goto out;
            progress_add(p, n);
        }
    ret = 0;
out:
    if (be_check(m->be, e))
        ret = -1;
    m->be->free(m->be, p_norm);
    walk_release(&w);
    batch_release(&b);
    return ret;
}

int score_kl(struct model *m, const struct score_form *form, size_t forms, const struct score_group *group,
             size_t groups, const struct sample *sample, size_t n, size_t rows, double *kl,
             struct snapshot *keep, struct progress *p, struct err *e)
{
    const struct snapshot_part part = {kl, forms * groups * sizeof *kl};
    size_t start;

    for (size_t i = 0; i < forms * groups; i++)
        kl[i] = 0;
    if (snapshot_begin(keep, n, &part, 1, &start, e))
        return -1;
    progress_add(p, start * forms * groups);
    for (size_t i = start, k; i < n; i += k) {
        k = batch_take(m->config, sample + i, n - i, rows);
        if (kl_batch(m, form, forms, group, groups, sample + i, k, kl, p, e) ||
            (snapshot_due(keep, i + k, n) && snapshot_put(keep, i + k, &part, 1, e)))
            return -1;
    }
    return 0;
}
