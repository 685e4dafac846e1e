/* alpha.c - SmoothQuant's alpha of every layer group: the one with the least output error on samples */
#include "common/model/alpha.h"

#include <stdlib.h>

#include "common/base/mem.h"
#include "common/model/visit.h"
#include "common/quant/smooth.h"

struct alpha_tap {
    struct tap tap;
    struct model *m;
    const struct layers *l;
    bool dynamic;
    struct smooth_group *smooth; /* [groups, ALPHAS] */
    bool *skip;                  /* [groups] */
    double *sums;                /* device, [groups, ALPHAS] */
    struct weight probe;
    void *y, *yq; /* grow to the largest product */
    size_t y_bytes, yq_bytes;
};

static double alpha_of(size_t i)
{
    return (double)i / (ALPHAS - 1);
}

static void *grow(struct backend *be, void **room, size_t *has, size_t bytes)
{
    if (bytes > *has) {
        be->free(be, *room);
        *room = be->alloc(be, bytes);
        *has = *room ? bytes : 0;
    }
    return *room;
}

/* One module's outputs under every alpha against y. */
static int compare(struct alpha_tap *t, struct linear *l, const void *x, const void *y, size_t rows,
                   struct err *e)
{
    const struct layer_module *module = &t->l->module[l->index];
    size_t group = module->group, member = 0, n = rows * l->out;
    struct backend *be = t->m->be;
    void *yq = grow(be, &t->yq, &t->yq_bytes, n * be->act_bytes);

    if (!yq)
        return be_check(be, e);
    while (t->l->group[group].member[member] != l->index)
        member++;
    for (size_t i = 0; i < ALPHAS; i++) {
        const struct smooth_group *s = &t->smooth[group * ALPHAS + i];
        struct linear_form form = {.format = FORMAT_INT8,
                                   .input_amax = t->dynamic ? 0 : s->input_amax,
                                   .dynamic = t->dynamic,
                                   .smooth = {.pre = s->pre, .own = s->own[member]}};

        model_round(t->m, &t->probe, l, &form);
        be->linear(be, yq, x, rows, &t->probe);
        be->distance(be, t->sums + group * ALPHAS + i, yq, y, n);
    }
    return be_check(be, e);
}

/* The head comes without its product: made here, in chunks. */
static int see(struct tap *tap, struct linear *l, const void *x, const void *y, size_t rows, struct err *e)
{
    struct alpha_tap *t = (struct alpha_tap *)tap;
    struct backend *be = t->m->be;
    size_t chunk = walk_chunk_rows(t->m);

    if (t->skip[t->l->module[l->index].group])
        return 0;
    if (y)
        return compare(t, l, x, y, rows, e);
    for (size_t i = 0, n; i < rows; i += n) {
        const void *part = (const char *)x + i * l->in * be->act_bytes;

        n = rows - i < chunk ? rows - i : chunk;
        if (!grow(be, &t->y, &t->y_bytes, n * l->out * be->act_bytes))
            return be_check(be, e);
        be->linear(be, t->y, part, n, &l->weight);
        if (compare(t, l, part, t->y, n, e))
            return -1;
    }
    return 0;
}

/* No data, nothing but zeros, or the embedding of a tied model. */
static bool is_skipped(const struct model *m, const struct layers *l, const struct layer_group *g)
{
    bool skip = false;

    for (size_t i = 0; i < g->n_members; i++) {
        const struct layer_module *module = &l->module[g->member[i]];

        skip |= module->tokens == 0 || module->input_amax <= 0 || module->weight_amax <= 0 ||
                (m->config->tied && &m->linear[g->member[i]] == m->stage[m->head].head);
    }
    return skip;
}

static int prepare(struct alpha_tap *t, struct err *e)
{
    size_t groups = t->l->n_groups, bytes = groups * ALPHAS * sizeof *t->sums;
    struct backend *be = t->m->be;

    t->skip = mem_zalloc(groups, sizeof *t->skip, e);
    t->smooth = mem_zalloc(groups * ALPHAS, sizeof *t->smooth, e);
    if (!t->skip || !t->smooth)
        return -1;
    for (size_t g = 0; g < groups; g++) {
        t->skip[g] = is_skipped(t->m, t->l, &t->l->group[g]);
        for (size_t i = 0; i < ALPHAS && !t->skip[g]; i++)
            if (smooth_make(&t->smooth[g * ALPHAS + i], t->l, g, alpha_of(i), t->m->rounding, e))
                return -1;
    }
    t->sums = be->alloc(be, bytes);
    if (t->sums)
        be->zero(be, t->sums, bytes);
    return be_check(be, e);
}

struct alpha_visit {
    struct visit visit;
    struct alpha_tap tap;
    struct snapshot *keep;
    size_t start, n;
    double *host; /* the sums */
};

static struct snapshot_part kept_part(const struct alpha_visit *v)
{
    return (struct snapshot_part){v->host, v->tap.l->n_groups * ALPHAS * sizeof *v->host};
}

static int keep_sums(struct visit *visit, struct walk *w, size_t first, struct err *e)
{
    struct alpha_visit *v = (struct alpha_visit *)visit;
    size_t done = v->start + first + w->b->samples;
    const struct snapshot_part part = kept_part(v);
    struct backend *be = w->m->be;

    if (!snapshot_due(v->keep, done, v->n))
        return 0;
    be->download(be, v->host, v->tap.sums, part.bytes);
    return be_check(be, e) || snapshot_put(v->keep, done, &part, 1, e) ? -1 : 0;
}

static int take_kept(struct alpha_visit *v, struct err *e)
{
    struct backend *be = v->tap.m->be;
    struct snapshot_part part;

    v->host = mem_zalloc(v->tap.l->n_groups * ALPHAS, sizeof *v->host, e);
    if (!v->host)
        return -1;
    part = kept_part(v);
    if (snapshot_begin(v->keep, v->n, &part, 1, &v->start, e))
        return -1;
    be->upload(be, v->tap.sums, v->host, part.bytes);
    return be_check(be, e);
}

static int choose(struct layers *l, const struct alpha_tap *t, struct err *e)
{
    struct backend *be = t->m->be;
    double *sums = mem_zalloc(l->n_groups * ALPHAS, sizeof *sums, e);
    int ret = -1;

    if (!sums)
        return -1;
    be->download(be, sums, t->sums, l->n_groups * ALPHAS * sizeof *sums);
    if (be_check(be, e))
        goto out;
    for (size_t g = 0; g < l->n_groups; g++) {
        const double *sum = sums + g * ALPHAS;
        size_t best = 0;

        for (size_t i = 1; i < ALPHAS; i++)
            best = sum[i] < sum[best] ? i : best;
        if (!t->skip[g] && layers_set_alpha(l, g, alpha_of(best), e))
            goto out;
    }
    ret = 0;
out:
    free(sums);
    return ret;
}

int alpha_search(struct layers *l, struct model *m, bool dynamic, const struct sample *sample, size_t n,
                 size_t rows, struct snapshot *keep, struct progress *p, struct err *e)
{
    struct alpha_visit v = {.visit.batch = keep_sums, .keep = keep, .n = n,
                            .tap = {.tap.forward = see, .m = m, .l = l, .dynamic = dynamic}};
    struct alpha_tap *t = &v.tap;
    struct backend *be = m->be;
    int ret = -1;

    v.visit.tap = &t->tap;
    if (prepare(t, e) == 0 && take_kept(&v, e) == 0) {
        progress_add(p, v.start);
        ret = visit_batches(m, sample + v.start, n - v.start, rows, &v.visit, p, e);
    }
    if (ret == 0)
        ret = choose(l, t, e);
    be->weight_free(be, &t->probe);
    be->free(be, t->yq);
    be->free(be, t->y);
    be->free(be, t->sums);
    for (size_t i = 0; t->smooth && i < l->n_groups * ALPHAS; i++)
        smooth_release(&t->smooth[i]);
    free(t->smooth);
    free(t->skip);
    free(v.host);
    return ret;
}
