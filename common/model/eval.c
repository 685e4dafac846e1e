/* eval.c - perplexity, and how far a candidate's logits are from a reference's */
#include "common/model/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cli.h"
#include "common/base/mem.h"

void eval_head_digest(const struct model *m, char hex[SHA256_HEX])
{
    const struct st_tensor *t = m->stage[m->head].head->info->weight;
    struct sha256 s;

    sha256_init(&s);
    sha256_add(&s, t->data, t->bytes);
    sha256_hex(&s, hex);
}

/* ---- batches ---- */

/* What to do with each batch once its states stand in w->norm; first: index of its first sample. */
struct visit {
    int (*batch)(struct visit *, struct walk *w, size_t first, struct err *e);
};

static int each_batch(struct model *m, const struct sample *sample, size_t n, size_t rows, struct visit *v,
                      struct progress *p, struct err *e)
{
    for (size_t i = 0, k; i < n; i += k) {
        struct batch b = {0};
        struct walk w = {0};
        int ret = -1;

        k = batch_take(m->config, sample + i, n - i, rows);
        if (batch_build(&b, m->be, m->config, &m->processor, sample + i, k, e) == 0 &&
            walk_init(&w, m, &b, false, e) == 0 && walk_forward(&w, 0, e) == 0)
            ret = v->batch(v, &w, i, e);
        walk_release(&w);
        batch_release(&b);
        if (ret)
            return -1;
        progress_add(p, k);
    }
    return 0;
}

/* ---- states ---- */

struct keep {
    struct visit visit;
    struct states *s;
    size_t row;
};

static int keep_batch(struct visit *v, struct walk *w, size_t first, struct err *e)
{
    struct keep *k = (struct keep *)v;

    (void)first;
    w->m->be->download_act(w->m->be, k->s->norm + k->row * k->s->hidden, w->norm, w->b->tokens * k->s->hidden);
    k->row += w->b->tokens;
    return be_check(w->m->be, e);
}

void eval_samples_digest(const struct sample *sample, size_t n, const char *stream_digest, char hex[SHA256_HEX])
{
    struct sha256 s;
    char line[32];

    sha256_init(&s);
    sha256_add(&s, stream_digest, SHA256_HEX - 1);
    for (size_t i = 0; i < n; i++)
        sha256_add(&s, line, (size_t)snprintf(line, sizeof line, "%zu\n", sample[i].index));
    sha256_hex(&s, hex);
}

int states_make(struct states *s, struct model *m, const struct sample *sample, size_t n, const char *stream_digest,
                size_t rows, struct progress *p, struct err *e)
{
    struct keep k = {.visit.batch = keep_batch, .s = s};
    size_t count;

    *s = (struct states){.hidden = m->config->hidden};
    for (size_t i = 0; i < n; i++)
        s->tokens += sample[i].tokens;
    strcpy(s->model, m->digest);
    eval_samples_digest(sample, n, stream_digest, s->samples);
    eval_head_digest(m, s->head);
    if (mem_mul(s->tokens, s->hidden, &count, "the reference's states", e))
        return -1;
    s->norm = mem_zalloc(count, sizeof *s->norm, e);
    return s->norm ? each_batch(m, sample, n, rows, &k.visit, p, e) : -1;
}

enum { PARTS = 5 };

/* The tensors of a file of states, in the order of their data. */
static void parts(struct st_tensor t[PARTS], const struct states *s, char sum[SHA256_HEX])
{
    static const char *const names[PARTS] = {"states", "model", "samples", "head", "sum"};
    const void *data[PARTS] = {s->norm, s->model, s->samples, s->head, sum};
    size_t n = s->tokens * s->hidden;

    t[0] = (struct st_tensor){.dtype = DT_F32, .ndim = 2, .shape = {s->tokens, s->hidden}, .count = n,
                              .bytes = n * sizeof *s->norm};
    for (int i = 1; i < PARTS; i++)
        t[i] = (struct st_tensor){.dtype = DT_U8, .ndim = 1, .shape = {SHA256_HEX - 1}, .count = SHA256_HEX - 1,
                                  .bytes = SHA256_HEX - 1};
    for (int i = 0; i < PARTS; i++) {
        t[i].name = (char *)names[i];
        t[i].data = data[i];
    }
}

static void sum_states(const struct states *s, char hex[SHA256_HEX])
{
    struct sha256 sha;

    sha256_init(&sha);
    sha256_add(&sha, s->norm, s->tokens * s->hidden * sizeof *s->norm);
    sha256_add(&sha, s->model, SHA256_HEX - 1);
    sha256_add(&sha, s->samples, SHA256_HEX - 1);
    sha256_add(&sha, s->head, SHA256_HEX - 1);
    sha256_hex(&sha, hex);
}

int states_save(const struct states *s, const char *path, struct err *e)
{
    struct st_tensor t[PARTS];
    struct file_out o;
    char sum[SHA256_HEX];
    size_t header;
    int ret = -1;

    sum_states(s, sum);
    parts(t, s, sum);
    if (file_create(&o, path, cli_force, true, e))
        return -1;
    if (st_write_header(o.f, t, PARTS, &header, e))
        goto out;
    for (int i = 0; i < PARTS; i++)
        if (fwrite(t[i].data, 1, t[i].bytes, o.f) != t[i].bytes) {
            err_sys(e, "cannot write '%s'", path);
            goto out;
        }
    ret = file_commit(&o, e);
out:
    file_discard(&o);
    return ret;
}

int states_load(struct states *s, const char *path, struct err *e)
{
    struct st_tensor want[PARTS];
    struct st_file st = {0};
    char sum[SHA256_HEX], is[SHA256_HEX] = "";
    char *text[PARTS] = {NULL, s->model, s->samples, s->head, is};
    int ret = -1;

    *s = (struct states){0};
    if (st_open(&st, path, e))
        return err_prefix(e, "reference states");
    if (st.tensors != PARTS || st.tensor[0].ndim != 2 || st.tensor[0].dtype != DT_F32)
        goto other;
    s->tokens = st.tensor[0].shape[0];
    s->hidden = st.tensor[0].shape[1];
    parts(want, s, sum);
    for (int i = 0; i < PARTS; i++)
        if (strcmp(st.tensor[i].name, want[i].name) || st.tensor[i].dtype != want[i].dtype ||
            st.tensor[i].bytes != want[i].bytes)
            goto other;
    s->norm = mem_zalloc(st.tensor[0].count, sizeof *s->norm, e);
    if (!s->norm)
        goto out;
    memcpy(s->norm, st.tensor[0].data, st.tensor[0].bytes);
    for (int i = 1; i < PARTS; i++)
        memcpy(text[i], st.tensor[i].data, SHA256_HEX - 1);
    sum_states(s, sum);
    if (strcmp(sum, is)) {
        err_set(e, RC_DATA, "'%s' is damaged: it does not have its checksum; make it again with --save-ref", path);
        goto out;
    }
    ret = 0;
    goto out;
other:
    err_set(e, RC_DATA, "'%s' is not a file of reference states; --save-ref makes one", path);
out:
    st_close(&st);
    if (ret)
        states_release(s);
    return ret;
}

void states_release(struct states *s)
{
    free(s->norm);
    *s = (struct states){0};
}

/* ---- comparison ---- */

/* Device and host buffers for one chunk of rows. */
struct chunk {
    struct backend *be;
    size_t rows;
    float *p, *q, *nll, *host_nll;
    void *norm_p, *norm_q;
    struct row_stats *stats, *host;
};

static int chunk_init(struct chunk *c, const struct model *m, struct err *e)
{
    struct backend *be = m->be;
    size_t vocab = m->config->vocab, hidden = m->config->hidden;

    *c = (struct chunk){.be = be, .rows = walk_chunk_rows(m)};
    c->p = be->alloc(be, c->rows * vocab * sizeof *c->p);
    c->q = be->alloc(be, c->rows * vocab * sizeof *c->q);
    c->norm_p = be->alloc(be, c->rows * hidden * be->act_bytes);
    c->norm_q = be->alloc(be, c->rows * hidden * be->act_bytes);
    c->nll = be->alloc(be, c->rows * sizeof *c->nll);
    c->stats = be->alloc(be, c->rows * sizeof *c->stats);
    c->host = mem_zalloc(c->rows, sizeof *c->host, e);
    c->host_nll = mem_zalloc(c->rows, sizeof *c->host_nll, e);
    return be_check(be, e) || !c->host || !c->host_nll ? -1 : 0;
}

static void chunk_release(struct chunk *c)
{
    void *device[] = {c->p, c->q, c->norm_p, c->norm_q, c->nll, c->stats};

    for (size_t i = 0; c->be && i < sizeof device / sizeof *device; i++)
        c->be->free(c->be, device[i]);
    free(c->host);
    free(c->host_nll);
}

struct compare {
    struct visit visit;
    const struct states *ref;
    const struct weight *ref_head;
    struct eval_sample *out;
    struct chunk chunk;
    size_t row; /* of ref */
};

/* One position of a sample: t of its tokens. */
static void add_row(struct eval_sample *s, const struct row_stats *r, bool last, size_t vocab)
{
    double mse = r->sq / (double)vocab;

    s->kl += r->kl;
    s->mse += mse;
    s->same_top += r->agree >= 1;
    if (r->label >= 0) {
        s->kl_answer += r->kl;
        s->nll_ref += r->nll_p;
        s->nll += r->nll_q;
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
    size_t vocab = w->m->config->vocab, hidden = c->ref->hidden, sample = 0;
    const struct weight *q_head = linear_weight(w->m->stage[w->m->head].head);

    for (size_t i = 0, n; i < b->tokens; i += n) {
        n = b->tokens - i < k->rows ? b->tokens - i : k->rows;
        be->upload_act(be, k->norm_p, c->ref->norm + (c->row + i) * hidden, n * hidden);
        be->linear_f32(be, k->p, k->norm_p, n, c->ref_head ? c->ref_head : q_head);
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
            add_row(&c->out[first + sample], &k->host[r], i + r + 1 == (size_t)b->first[sample + 1], vocab);
        }
    }
    c->row += b->tokens;
    return 0;
}

static void count_tokens(struct eval_sample *out, const struct sample *sample, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = (struct eval_sample){.tokens = sample[i].tokens};
        for (size_t t = 1; t < sample[i].tokens; t++)
            out[i].loss_tokens += sample[i].loss[t];
    }
}

/* A sum that is not a number comes from a model that overflows, or is broken: no figure is better than a wrong one. */
static int check_finite(const struct eval_sample *out, const struct sample *sample, size_t n, const struct model *m,
                        struct err *e)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(out[i].nll) || !isfinite(out[i].nll_ref) || !isfinite(out[i].kl) || !isfinite(out[i].mse))
            return err_set(e, RC_DATA, "sample '%s': the logits of '%s' are not finite", sample[i].id,
                           m->weights.ckpt.dir);
    return 0;
}

int eval_compare(struct model *m, const struct states *ref, const struct weight *ref_head, const struct sample *sample,
                 size_t n, size_t rows, struct eval_sample *out, struct progress *p, struct err *e)
{
    struct compare c = {.visit.batch = compare_batch, .ref = ref, .ref_head = ref_head, .out = out};
    size_t tokens = 0;
    int ret = -1;

    for (size_t i = 0; i < n; i++)
        tokens += sample[i].tokens;
    if (tokens != ref->tokens || m->config->hidden != ref->hidden)
        return err_set(e, RC_DATA, "the reference has %zu tokens of width %zu, the samples under '%s' %zu of width %zu",
                       ref->tokens, ref->hidden, m->weights.ckpt.dir, tokens, m->config->hidden);
    count_tokens(out, sample, n);
    if (chunk_init(&c.chunk, m, e) == 0)
        ret = each_batch(m, sample, n, rows, &c.visit, p, e);
    chunk_release(&c.chunk);
    return ret ? ret : check_finite(out, sample, n, m, e);
}

/* ---- perplexity alone ---- */

struct perplexity {
    struct visit visit;
    struct eval_sample *out;
    struct chunk chunk;
};

static int nll_batch(struct visit *v, struct walk *w, size_t first, struct err *e)
{
    struct perplexity *c = (struct perplexity *)v;
    struct chunk *k = &c->chunk;
    struct backend *be = w->m->be;
    const struct batch *b = w->b;
    size_t vocab = w->m->config->vocab, sample = 0;

    for (size_t i = 0, n; i < b->loss_rows; i += n) {
        n = b->loss_rows - i < k->rows ? b->loss_rows - i : k->rows;
        be->gather(be, k->norm_q, w->norm, b->d_loss_row + i, n, w->m->config->hidden);
        be->linear_f32(be, k->q, k->norm_q, n, linear_weight(w->m->stage[w->m->head].head));
        be->nll(be, k->nll, NULL, NULL, k->q, b->d_loss_target + i, n, vocab);
        be->download(be, k->host_nll, k->nll, n * sizeof *k->host_nll);
        if (be_check(be, e))
            return -1;
        for (size_t r = 0; r < n; r++) {
            while (b->loss_row[i + r] >= b->first[sample + 1])
                sample++;
            c->out[first + sample].nll += k->host_nll[r];
        }
    }
    return 0;
}

int eval_nll(struct model *m, const struct sample *sample, size_t n, size_t rows, struct eval_sample *out,
             struct progress *p, struct err *e)
{
    struct perplexity c = {.visit.batch = nll_batch, .out = out};
    int ret = -1;

    count_tokens(out, sample, n);
    if (chunk_init(&c.chunk, m, e) == 0)
        ret = each_batch(m, sample, n, rows, &c.visit, p, e);
    chunk_release(&c.chunk);
    return ret ? ret : check_finite(out, sample, n, m, e);
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
