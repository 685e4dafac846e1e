/* eval.c - perplexity, and how far a candidate's logits are from a reference's */
#include "common/model/eval.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/model/faults.h"
#include "common/model/stats.h"

/* ---- comparison ---- */

/* Device and host buffers for some rows of logits. */
struct buffers {
    struct backend *be;
    size_t rows, nll_rows;
    float *p, *q, *nll, *host_nll;
    void *norm_p, *norm_q;
    struct row_stats *stats, *host;
    int32_t *argmax;
    /* Of a reference: its rows, what they were kept with, and what comes of them now. */
    float *host_norm, *was_lse, *lse;
    int32_t *was_argmax, *host_argmax;
};

/* The losses of a batch come down at once. */
static int reserve_nll(struct buffers *c, size_t rows, struct err *e)
{
    if (rows <= c->nll_rows)
        return 0;
    c->be->free(c->be, c->nll);
    free(c->host_nll);
    c->nll_rows = rows;
    c->nll = c->be->alloc(c->be, rows * sizeof *c->nll);
    c->host_nll = mem_zalloc(rows, sizeof *c->host_nll, e);
    return be_check(c->be, e) || !c->host_nll ? -1 : 0;
}

static int buffers_init(struct buffers *c, const struct model *m, struct err *e)
{
    struct backend *be = m->be;
    size_t vocab = m->config->vocab, hidden = m->config->hidden;

    *c = (struct buffers){.be = be, .rows = walk_chunk_rows(m)};
    c->p = be->alloc(be, c->rows * vocab * sizeof *c->p);
    c->q = be->alloc(be, c->rows * vocab * sizeof *c->q);
    c->norm_p = be->alloc(be, c->rows * hidden * be->act_bytes);
    c->norm_q = be->alloc(be, c->rows * hidden * be->act_bytes);
    c->stats = be->alloc(be, c->rows * sizeof *c->stats);
    c->argmax = be->alloc(be, c->rows * sizeof *c->argmax);
    c->host = mem_zalloc(c->rows, sizeof *c->host, e);
    c->host_norm = mem_zalloc(c->rows, hidden * sizeof *c->host_norm, e);
    c->was_lse = mem_zalloc(c->rows, sizeof *c->was_lse, e);
    c->lse = mem_zalloc(c->rows, sizeof *c->lse, e);
    c->was_argmax = mem_zalloc(c->rows, sizeof *c->was_argmax, e);
    c->host_argmax = mem_zalloc(c->rows, sizeof *c->host_argmax, e);
    if (!c->host || !c->host_norm || !c->was_lse || !c->lse || !c->was_argmax || !c->host_argmax)
        return -1;
    return be_check(be, e) || reserve_nll(c, c->rows, e) ? -1 : 0;
}

static void buffers_release(struct buffers *c)
{
    void *device[] = {c->p, c->q, c->norm_p, c->norm_q, c->nll, c->stats, c->argmax};
    void *host[] = {c->host, c->host_nll, c->host_norm, c->was_lse, c->lse, c->was_argmax, c->host_argmax};

    for (size_t i = 0; c->be && i < sizeof device / sizeof *device; i++)
        c->be->free(c->be, device[i]);
    for (size_t i = 0; i < sizeof host / sizeof *host; i++)
        free(host[i]);
}

/* Samples [0, start) are done: the visit begins behind them. */
static size_t start_of(const struct eval_keep *keep)
{
    return keep ? keep->start : 0;
}

static int keep_batch(struct eval_keep *keep, const struct faults *f, const struct batch *b, size_t first,
                      struct err *e)
{
    return keep && f->count == 0 ? keep->batch(keep, first, b->samples, e) : 0;
}

struct compare {
    struct visit visit;
    struct eval_keep *keep;
    const struct states *ref;
    const struct weight *ref_head;
    struct eval_sample *out;
    struct row_stats *row; /* the next one, or NULL */
    struct buffers buffers;
    size_t token; /* of ref */
    struct faults faults;
};

/* One position of a sample: t of its tokens. */
static void add_row(struct eval_sample *s, const struct row_stats *r, bool last, size_t vocab)
{
    double mse = r->sq / (double)vocab;

    s->kl += r->kl;
    s->mse += mse;
    s->same_top += r->agree >= 1;
    if (r->label >= 0) {
        double dp = stats_dp(r);

        s->kl_answer += r->kl;
        s->nll_ref += r->nll_p;
        s->nll += r->nll_q;
        s->same_top_answer += r->agree >= 1;
        s->dp += dp;
        s->dp_sq += dp * dp;
    }
    if (last) {
        s->kl_last = r->kl;
        s->mse_last = mse;
    }
}

/* The reference's logits of n rows, from its row `first` on. */
static void make_reference(struct buffers *k, const struct states *ref, const struct weight *head,
                           size_t first, size_t n)
{
    struct backend *be = k->be;

    if (!ref->kept) {
        states_upload(ref, be, k->norm_p, first, n);
        be->linear_f32(be, k->p, k->norm_p, n, head);
        return;
    }
    states_rows(ref, first, n, k->host_norm, k->was_lse, k->was_argmax);
    be->upload_act(be, k->norm_p, k->host_norm, n * ref->hidden);
    be->linear_f32(be, k->p, k->norm_p, n, head);
    be->nll(be, NULL, k->nll, k->argmax, k->p, NULL, n, ref->vocab);
    be->download(be, k->lse, k->nll, n * sizeof *k->lse);
    be->download(be, k->host_argmax, k->argmax, n * sizeof *k->host_argmax);
}

/* How far the reference is from what it was before it was kept. */
static void add_kept(struct eval_sample *s, const struct buffers *k, size_t r)
{
    double d = (double)k->lse[r] - k->was_lse[r];

    s->ref_moved += k->host_argmax[r] != k->was_argmax[r];
    s->ref_lse_sq += d * d;
}

static int compare_batch(struct visit *v, struct walk *w, size_t first, struct err *e)
{
    struct compare *c = (struct compare *)v;
    struct buffers *k = &c->buffers;
    struct backend *be = w->m->be;
    const struct batch *b = w->b;
    size_t vocab = w->m->config->vocab, hidden = c->ref->hidden, sample = 0;
    const struct weight *q_head = linear_weight(w->m->stage[w->m->head].head);

    first += start_of(c->keep);
    for (size_t i = 0, n; i < b->tokens; i += n) {
        n = b->tokens - i < k->rows ? b->tokens - i : k->rows;
        make_reference(k, c->ref, c->ref_head ? c->ref_head : q_head, c->token + i, n);
        be->linear_f32(be, k->q, (const char *)w->norm + i * hidden * be->act_bytes, n, q_head);
        for (size_t r = 0; r < n; r++)
            k->host[r] = (struct row_stats){.label = b->target[i + r]};
        be->upload(be, k->stats, k->host, n * sizeof *k->host);
        be->compare(be, k->stats, k->p, k->q, n, vocab);
        be->download(be, k->host, k->stats, n * sizeof *k->host);
        if (be_check(be, e))
            return -1;
        for (size_t r = 0; r < n; r++) {
            while (i + r >= (size_t)b->first[sample + 1])
                sample++;
            if (!isfinite(k->host[r].kl) || !isfinite(k->host[r].sq))
                faults_add(&c->faults, first + sample, i + r - (size_t)b->first[sample]);
            add_row(&c->out[first + sample], &k->host[r], i + r + 1 == (size_t)b->first[sample + 1], vocab);
            if (c->ref->kept)
                add_kept(&c->out[first + sample], k, r);
            if (c->row && k->host[r].label >= 0)
                *c->row++ = k->host[r];
        }
    }
    c->token += b->tokens;
    return keep_batch(c->keep, &c->faults, b, first, e);
}

static void count_tokens(struct eval_sample *out, const struct sample *sample, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = (struct eval_sample){.tokens = sample[i].tokens, .picture = sample[i].images > 0};
        for (size_t t = 1; t < sample[i].tokens; t++)
            out[i].loss_tokens += sample[i].loss[t];
    }
}

int eval_compare(struct model *m, const struct states *ref, const struct weight *ref_head,
                 const struct sample *sample, size_t n, size_t rows, struct eval_sample *out,
                 struct row_stats *row, struct eval_keep *keep, struct progress *p, struct err *e)
{
    struct compare c = {.visit.batch = compare_batch, .keep = keep, .ref = ref, .ref_head = ref_head,
                        .out = out};
    size_t tokens = 0, start = start_of(keep);
    int ret = -1;

    for (size_t i = 0; i < n; i++)
        tokens += sample[i].tokens;
    if (tokens != ref->tokens || m->config->hidden != ref->hidden)
        return err_set(e, RC_DATA,
                       "the reference has %zu tokens of width %zu, the samples under '%s' %zu of width %zu",
                       ref->tokens, ref->hidden, m->weights.ckpt.dir, tokens, m->config->hidden);
    if (m->config->vocab != ref->vocab)
        return err_set(e, RC_DATA,
                       "the vocabulary of '%s' has %zu tokens, the reference's %zu: their distributions cannot be "
                       "compared; a candidate is a form of the reference", m->weights.ckpt.dir,
                           m->config->vocab, ref->vocab);
    for (size_t i = 0; i < start; i++) {
        c.token += sample[i].tokens;
        row += row ? out[i].loss_tokens : 0;
    }
    c.row = row;
    count_tokens(out + start, sample + start, n - start);
    progress_add(p, start);
    if (buffers_init(&c.buffers, m, e) == 0)
        ret = visit_batches(m, sample + start, n - start, rows, &c.visit, p, e);
    buffers_release(&c.buffers);
    return ret ? ret : faults_report(&c.faults, m, sample, true, e);
}

/* ---- perplexity alone ---- */

struct perplexity {
    struct visit visit;
    struct eval_keep *keep;
    struct eval_sample *out;
    struct buffers buffers;
    struct faults faults;
};

static int nll_batch(struct visit *v, struct walk *w, size_t first, struct err *e)
{
    struct perplexity *c = (struct perplexity *)v;
    struct buffers *k = &c->buffers;
    struct backend *be = w->m->be;
    const struct batch *b = w->b;
    size_t vocab = w->m->config->vocab, sample = 0;

    first += start_of(c->keep);
    if (reserve_nll(k, b->loss_rows, e))
        return -1;
    for (size_t i = 0, n; i < b->loss_rows; i += n) {
        n = b->loss_rows - i < k->rows ? b->loss_rows - i : k->rows;
        be->gather(be, k->norm_q, w->norm, b->d_loss_row + i, n, w->m->config->hidden);
        be->linear_f32(be, k->q, k->norm_q, n, linear_weight(w->m->stage[w->m->head].head));
        be->nll(be, k->nll + i, NULL, NULL, k->q, b->d_loss_target + i, n, vocab);
    }
    be->download(be, k->host_nll, k->nll, b->loss_rows * sizeof *k->host_nll);
    if (be_check(be, e))
        return -1;
    for (size_t r = 0; r < b->loss_rows; r++) {
        while (b->loss_row[r] >= b->first[sample + 1])
            sample++;
        if (!isfinite(k->host_nll[r]))
            faults_add(&c->faults, first + sample, (size_t)(b->loss_row[r] - b->first[sample]));
        c->out[first + sample].nll += k->host_nll[r];
    }
    return keep_batch(c->keep, &c->faults, b, first, e);
}

int eval_nll(struct model *m, const struct sample *sample, size_t n, size_t rows, struct eval_sample *out,
             struct eval_keep *keep, struct progress *p, struct err *e)
{
    struct perplexity c = {.visit.batch = nll_batch, .keep = keep, .out = out};
    size_t start = start_of(keep);
    int ret = -1;

    count_tokens(out + start, sample + start, n - start);
    progress_add(p, start);
    if (buffers_init(&c.buffers, m, e) == 0)
        ret = visit_batches(m, sample + start, n - start, rows, &c.visit, p, e);
    buffers_release(&c.buffers);
    return ret ? ret : faults_report(&c.faults, m, sample, false, e);
}

int eval_sum(struct eval_total *t, const struct eval_sample *s, size_t n, struct err *e)
{
    double nll_ref = 0, nll = 0;

    *t = (struct eval_total){.samples = n};
    for (size_t i = 0; i < n; i++) {
        t->tokens += s[i].tokens;
        t->loss_tokens += s[i].loss_tokens;
        t->same_top += s[i].same_top;
        nll_ref += s[i].nll_ref;
        nll += s[i].nll;
        t->kl += s[i].kl;
        t->kl_answer += s[i].kl_answer;
        t->mse += s[i].mse;
        t->kl_last += s[i].kl_last;
        t->mse_last += s[i].mse_last;
    }
    if (t->loss_tokens == 0)
        return err_set(e, RC_DATA,
                       "no sample has a token with loss: there is nothing to take a perplexity of");
    t->ppl_ref = exp(nll_ref / (double)t->loss_tokens);
    t->ppl = exp(nll / (double)t->loss_tokens);
    t->kl /= (double)t->tokens;
    t->mse /= (double)t->tokens;
    t->top1 = (double)t->same_top / (double)t->tokens;
    t->kl_answer /= (double)t->loss_tokens;
    t->kl_last /= (double)n;
    t->mse_last /= (double)n;
    return 0;
}

void eval_batch_means(const struct eval_sample *s, size_t n, size_t batch, double *kl_last, double *mse_last)
{
    size_t batches = 0;

    *kl_last = *mse_last = 0;
    for (size_t i = 0, k; i < n; i += k, batches++) {
        double kl = 0, mse = 0;

        k = n - i < batch ? n - i : batch;
        for (size_t j = 0; j < k; j++) {
            kl += s[i + j].kl_last;
            mse += s[i + j].mse_last;
        }
        *kl_last += kl / (double)k;
        *mse_last += mse / (double)k;
    }
    *kl_last /= (double)batches;
    *mse_last /= (double)batches;
}
