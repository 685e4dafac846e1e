/* score.c - how much each linear module's quantization matters: the gradient and the KL method */
#include "common/model/score.h"

#include <stdlib.h>

#include "common/base/mem.h"

/* ---- gradient ---- */

struct score_tap {
    struct tap tap;
    struct model *m;
    const struct score_range *range;
    struct weight *probe;      /* [linears]: FP8 forms, made on first use; freed at once under a memory budget */
    double *sums;              /* device, [linears, 2] */
    const struct linear *last; /* the module before this one, */
    const void *last_x;        /* and its input, if it was probed and was of this batch */
    void *yq;                  /* grows to the largest product */
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

/* Modules that share an input follow each other; a module that follows itself has other rows in the same place. */
static int probe(struct tap *tap, struct linear *l, const void *x, const void *y, const void *dy, const float *row_weight,
                 size_t rows, struct err *e)
{
    struct score_tap *t = (struct score_tap *)tap;
    const struct score_range *r = &t->range[l->index];
    struct weight *q = &t->probe[l->index];
    struct backend *be = t->m->be;
    bool again = x == t->last_x && l != t->last;
    void *yq;

    t->last = l;
    t->last_x = r->skip ? NULL : x;
    if (r->skip)
        return 0;
    yq = probe_output(t, rows * l->info->out * be->act_bytes);
    if (!yq)
        return be_check(be, e);
    if (!q->data)
        be->weight_quantize(be, q, &l->weight, l->info->weight->dtype, fp8_scale(r->weight_amax, t->m->rounding),
                            fp8_scale(r->input_amax, t->m->rounding), t->m->rounding);
    (again ? be->linear_again : be->linear)(be, yq, x, rows, q);
    be->score(be, t->sums + 2 * l->index, dy, y, yq, row_weight, rows, l->info->out);
    if (t->m->max_bytes)
        be->weight_free(be, q);
    return be_check(be, e);
}

static int score_batch(struct score_tap *t, const struct sample *sample, size_t n, double *nll, struct err *e)
{
    struct model *m = t->m;
    struct batch b = {0};
    struct walk w = {0};
    double sum = 0;
    int ret = -1;

    t->last_x = NULL;
    if (batch_build(&b, m->be, m->config, &m->processor, sample, n, e) == 0 && walk_init(&w, m, &b, true, e) == 0 &&
        walk_forward(&w, 0, e) == 0) {
        w.tap = &t->tap;
        ret = walk_backward(&w, &sum, e);
        *nll += sum;
    }
    walk_release(&w);
    batch_release(&b);
    return ret;
}

int score_gradient(struct model *m, const struct score_range *range, const struct sample *sample, size_t n, size_t rows,
                   struct score_result *out, double *nll, struct progress *p, struct err *e)
{
    struct score_tap t = {.tap.backward = probe, .m = m, .range = range};
    struct backend *be = m->be;
    double *sums = mem_zalloc(m->linears, 2 * sizeof *sums, e);
    int ret = -1;

    *nll = 0;
    t.probe = mem_zalloc(m->linears, sizeof *t.probe, e);
    t.sums = be->alloc(be, m->linears * 2 * sizeof *sums);
    if (!sums || !t.probe || !t.sums)
        goto out;
    be->zero(be, t.sums, m->linears * 2 * sizeof *sums);
    for (size_t i = 0, k; i < n; i += k) {
        k = batch_take(m->config, sample + i, n - i, rows);
        if (score_batch(&t, sample + i, k, nll, e))
            goto out;
        progress_add(p, k);
    }
    be->download(be, sums, t.sums, m->linears * 2 * sizeof *sums);
    for (size_t i = 0; i < m->linears; i++)
        out[i] = (struct score_result){sums[2 * i], sums[2 * i + 1]};
    ret = 0;
out:
    if (be_check(be, e))
        ret = -1;
    for (size_t i = 0; t.probe && i < m->linears; i++)
        be->weight_free(be, &t.probe[i]);
    be->free(be, t.yq);
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

/* One group quantized: run the stages from its own to the head again.  Leaves the inputs of later stages changed. */
static int probe_group(struct walk *w, const struct score_range *range, const struct score_group *g, const void *p_norm,
                       double *kl, struct err *e)
{
    struct model *m = w->m;
    struct linear *head = m->stage[m->head].head;
    size_t stage = (size_t)(model_stage_of(m, g->member[0]) - m->stage);
    int ret = 0;

    if (stage < w->from) /* this batch does not pass it */
        return 0;
    for (size_t i = 0; i < g->members && ret == 0; i++) {
        const struct score_range *r = &range[g->member[i]->index];

        ret = model_quantize(m, g->member[i], r->weight_amax, r->input_amax, e);
    }
    if (ret == 0)
        ret = walk_forward(w, stage, e);
    if (ret == 0)
        ret = kl_rows(m, p_norm, &head->weight, w->norm, linear_weight(head), w->b->tokens, kl, e);
    for (size_t i = 0; i < g->members; i++)
        model_unquantize(m, g->member[i]);
    return ret;
}

static int kl_batch(struct model *m, const struct score_range *range, const struct score_group *group, size_t groups,
                    const struct sample *sample, size_t n, double *kl, struct progress *p, struct err *e)
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
    for (size_t i = groups; i-- > 0;) {
        bool skip = false;

        for (size_t k = 0; k < group[i].members; k++)
            skip |= range[group[i].member[k]->index].skip;
        if (!skip && probe_group(&w, range, &group[i], p_norm, &kl[i], e))
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

int score_kl(struct model *m, const struct score_range *range, const struct score_group *group, size_t groups,
             const struct sample *sample, size_t n, size_t rows, double *kl, struct progress *p, struct err *e)
{
    for (size_t i = 0; i < groups; i++)
        kl[i] = 0;
    for (size_t i = 0, k; i < n; i += k) {
        k = batch_take(m->config, sample + i, n - i, rows);
        if (kl_batch(m, range, group, groups, sample + i, k, kl, p, e))
            return -1;
    }
    return 0;
}
