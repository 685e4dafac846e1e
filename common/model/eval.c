/* eval.c - perplexity, and how far a candidate's logits are from a reference's */
#include "common/model/eval.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/model/stats.h"

/* ---- comparison ---- */

/* Device buffers for one chunk of rows of logits; figures and the reference's states are those of a batch. */
struct chunk {
    struct backend *be;
    size_t rows;
    float *p, *q;
    void *norm_q;

    size_t tokens; /* that there is room for */
    void *norm_p;
    struct row_stats *stats, *host;
};

static int chunk_init(struct chunk *c, const struct model *m, struct err *e)
{
    struct backend *be = m->be;
    size_t vocab = m->config->vocab, hidden = m->config->hidden;

    *c = (struct chunk){.be = be, .rows = walk_chunk_rows(m)};
    c->p = be->alloc(be, c->rows * vocab * sizeof *c->p);
    c->q = be->alloc(be, c->rows * vocab * sizeof *c->q);
    c->norm_q = be->alloc(be, c->rows * hidden * be->act_bytes);
    return be_check(be, e);
}

/* Room for a batch of so many tokens. */
static int chunk_reserve(struct chunk *c, size_t tokens, size_t hidden, struct err *e)
{
    struct backend *be = c->be;

    if (tokens <= c->tokens)
        return 0;
    be->free(be, c->norm_p);
    be->free(be, c->stats);
    free(c->host);
    c->norm_p = be->alloc(be, tokens * hidden * be->act_bytes);
    c->stats = be->alloc(be, tokens * sizeof *c->stats);
    c->host = mem_zalloc(tokens, sizeof *c->host, e);
    c->tokens = tokens;
    return be_check(be, e) || !c->host ? -1 : 0;
}

static void chunk_release(struct chunk *c)
{
    void *device[] = {c->p, c->q, c->norm_p, c->norm_q, c->stats};

    for (size_t i = 0; c->be && i < sizeof device / sizeof *device; i++)
        c->be->free(c->be, device[i]);
    free(c->host);
}

/* Positions whose figures are not finite, and the first of them. */
struct faults {
    size_t count, sample, position;
};

static void count_fault(struct faults *f, size_t sample, size_t position)
{
    if (f->count++ == 0) {
        f->sample = sample;
        f->position = position;
    }
}

/* No figure is better than a wrong one: say where it comes from.  against: m was compared with a reference. */
static int report_faults(const struct faults *f, struct model *m, const struct sample *sample, bool against, struct err *e)
{
    const struct sample *s = &sample[f->sample];
    struct visit_fault fault;
    char more[64] = "";

    if (f->count == 0)
        return 0;
    if (visit_fault(m, s, &fault, e))
        return -1;
    if (f->count > 1)
        snprintf(more, sizeof more, ", and of %zu more positions", f->count - 1);
    if (fault.module)
        return err_set(e, RC_DATA, "the logits of '%s' are not finite: sample '%s', position %zu%s; it begins in the %s of %s, "
                       "row %zu", m->weights.ckpt.dir, s->id, f->position, more, fault.side, fault.module, fault.row);
    return err_set(e, RC_DATA, "the logits of %s are not finite: sample '%s', position %zu%s",
                   against ? "the reference" : m->weights.ckpt.dir, s->id, f->position, more);
}

struct compare {
    struct visit visit;
    const struct states *ref;
    const struct weight *ref_head;
    struct eval_sample *out;
    struct row_stats *row; /* the next one, or NULL */
    struct chunk chunk;
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

static int compare_batch(struct visit *v, struct walk *w, size_t first, struct err *e)
{
    struct compare *c = (struct compare *)v;
    struct chunk *k = &c->chunk;
    struct backend *be = w->m->be;
    const struct batch *b = w->b;
    size_t vocab = w->m->config->vocab, hidden = c->ref->hidden, row = hidden * be->act_bytes, sample = 0;
    const struct weight *q_head = linear_weight(w->m->stage[w->m->head].head);

    if (chunk_reserve(k, b->tokens, hidden, e))
        return -1;
    for (size_t r = 0; r < b->tokens; r++)
        k->host[r] = (struct row_stats){.label = b->target[r]};
    be->upload(be, k->stats, k->host, b->tokens * sizeof *k->host);
    be->upload_act(be, k->norm_p, c->ref->norm + c->token * hidden, b->tokens * hidden);
    for (size_t i = 0, n; i < b->tokens; i += n) {
        n = b->tokens - i < k->rows ? b->tokens - i : k->rows;
        be->linear_f32(be, k->p, (const char *)k->norm_p + i * row, n, c->ref_head ? c->ref_head : q_head);
        be->linear_f32(be, k->q, (const char *)w->norm + i * row, n, q_head);
        be->compare(be, k->stats + i, k->p, k->q, n, vocab);
    }
    be->download(be, k->host, k->stats, b->tokens * sizeof *k->host);
    if (be_check(be, e))
        return -1;
    for (size_t r = 0; r < b->tokens; r++) {
        while (r >= (size_t)b->first[sample + 1])
            sample++;
        if (!isfinite(k->host[r].kl) || !isfinite(k->host[r].sq))
            count_fault(&c->faults, first + sample, r - (size_t)b->first[sample]);
        add_row(&c->out[first + sample], &k->host[r], r + 1 == (size_t)b->first[sample + 1], vocab);
        if (c->row && k->host[r].label >= 0)
            *c->row++ = k->host[r];
    }
    c->token += b->tokens;
    return 0;
}

static void count_tokens(struct eval_sample *out, const struct sample *sample, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = (struct eval_sample){.tokens = sample[i].tokens, .picture = sample[i].images > 0};
        for (size_t t = 1; t < sample[i].tokens; t++)
            out[i].loss_tokens += sample[i].loss[t];
    }
}

int eval_compare(struct model *m, const struct states *ref, const struct weight *ref_head, const struct sample *sample,
                 size_t n, size_t rows, struct eval_sample *out, struct row_stats *row, struct progress *p, struct err *e)
{
    struct compare c = {.visit.batch = compare_batch, .ref = ref, .ref_head = ref_head, .out = out, .row = row};
    size_t tokens = 0;
    int ret = -1;

    for (size_t i = 0; i < n; i++)
        tokens += sample[i].tokens;
    if (tokens != ref->tokens || m->config->hidden != ref->hidden)
        return err_set(e, RC_DATA, "the reference has %zu tokens of width %zu, the samples under '%s' %zu of width %zu",
                       ref->tokens, ref->hidden, m->weights.ckpt.dir, tokens, m->config->hidden);
    count_tokens(out, sample, n);
    if (chunk_init(&c.chunk, m, e) == 0)
        ret = visit_batches(m, sample, n, rows, &c.visit, p, e);
    chunk_release(&c.chunk);
    return ret ? ret : report_faults(&c.faults, m, sample, true, e);
}

/* ---- perplexity alone ---- */

struct perplexity {
    struct visit visit;
    struct chunk chunk;
    float *nll; /* device, [loss tokens of all samples] */
    size_t row; /* of nll, the next batch's first */
};

static int nll_batch(struct visit *v, struct walk *w, size_t first, struct err *e)
{
    struct perplexity *c = (struct perplexity *)v;
    struct chunk *k = &c->chunk;
    struct backend *be = w->m->be;
    const struct batch *b = w->b;

    (void)first;
    for (size_t i = 0, n; i < b->loss_rows; i += n) {
        n = b->loss_rows - i < k->rows ? b->loss_rows - i : k->rows;
        be->gather(be, k->norm_q, w->norm, b->d_loss_row + i, n, w->m->config->hidden);
        be->linear_f32(be, k->q, k->norm_q, n, linear_weight(w->m->stage[w->m->head].head));
        be->nll(be, c->nll + c->row + i, NULL, NULL, k->q, b->d_loss_target + i, n, w->m->config->vocab);
    }
    c->row += b->loss_rows;
    return be_check(be, e);
}

/* nll: of the loss tokens of all samples, in their order. */
static void add_nll(struct eval_sample *out, const float *nll, const struct sample *sample, size_t n, struct faults *f)
{
    for (size_t i = 0; i < n; i++)
        for (size_t t = 1; t < sample[i].tokens; t++) {
            if (!sample[i].loss[t])
                continue;
            if (!isfinite(*nll))
                count_fault(f, i, t - 1);
            out[i].nll += *nll++;
        }
}

int eval_nll(struct model *m, const struct sample *sample, size_t n, size_t rows, struct eval_sample *out,
             struct progress *p, struct err *e)
{
    struct perplexity c = {.visit.batch = nll_batch};
    struct faults faults = {0};
    size_t loss_rows = 0;
    float *host = NULL;
    int ret = -1;

    count_tokens(out, sample, n);
    for (size_t i = 0; i < n; i++)
        loss_rows += out[i].loss_tokens;
    host = mem_zalloc(loss_rows, sizeof *host, e);
    c.nll = m->be->alloc(m->be, loss_rows * sizeof *c.nll);
    if (!host || chunk_init(&c.chunk, m, e) || visit_batches(m, sample, n, rows, &c.visit, p, e))
        goto out;
    m->be->download(m->be, host, c.nll, loss_rows * sizeof *host);
    ret = be_check(m->be, e);
    if (ret == 0)
        add_nll(out, host, sample, n, &faults);
out:
    chunk_release(&c.chunk);
    m->be->free(m->be, c.nll);
    free(host);
    return ret ? ret : report_faults(&faults, m, sample, false, e);
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
        return err_set(e, RC_DATA, "no sample has a token with loss: there is nothing to take a perplexity of");
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
