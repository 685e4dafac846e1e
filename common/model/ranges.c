/* ranges.c - calibration: the largest |x| that enters each linear module */
#include "common/model/ranges.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/model/feed.h"

struct range_tap {
    struct tap tap;
    struct backend *be;
    float *amax; /* device, [linears] */
    size_t *tokens;
};

static int see(struct tap *tap, struct linear *l, const void *x, const void *y, size_t rows, struct err *e)
{
    struct range_tap *t = (struct range_tap *)tap;

    (void)y;
    (void)e;
    t->be->amax(t->be, t->amax + l->index, x, rows * l->info->in);
    t->tokens[l->index] += rows;
    return 0;
}

static int measure(struct range_tap *t, struct model *m, const struct sample *sample, size_t n, size_t rows,
                   struct progress *p, struct err *e)
{
    struct feed *f = feed_open(m, sample, n, rows, e);
    int more = f ? 1 : -1;

    while (more == 1) {
        struct batch b;
        struct walk w = {0};
        size_t first;

        more = feed_next(f, &b, &first, e);
        if (more == 1) {
            more = walk_init(&w, m, &b, false, e) ? -1 : 1;
            w.tap = &t->tap;
        }
        if (more == 1 && walk_forward(&w, 0, e))
            more = -1;
        if (more == 1)
            progress_add(p, b.samples);
        walk_release(&w);
        batch_release(&b);
    }
    feed_close(f);
    return more;
}

int ranges_measure(struct ranges *r, struct model *m, const struct sample *sample, size_t n, size_t rows,
                   struct progress *p, struct err *e)
{
    struct range_tap t = {.tap.forward = see, .be = m->be};
    int ret = -1;

    *r = (struct ranges){0};
    r->input = mem_zalloc(m->linears, sizeof *r->input, e);
    r->weight = mem_zalloc(m->linears, sizeof *r->weight, e);
    r->tokens = t.tokens = mem_zalloc(m->linears, sizeof *r->tokens, e);
    if (!r->input || !r->weight || !r->tokens)
        return -1;
    t.amax = m->be->alloc(m->be, m->linears * sizeof *t.amax);
    if (!t.amax)
        return be_check(m->be, e);
    m->be->zero(m->be, t.amax, m->linears * sizeof *t.amax);
    if (measure(&t, m, sample, n, rows, p, e))
        goto out;
    for (size_t i = 0; i < m->linears; i++)
        if (weights_amax(&m->weights, m->linear[i].info->weight, &r->weight[i], e))
            goto out;
    m->be->download(m->be, r->input, t.amax, m->linears * sizeof *r->input);
    if (be_check(m->be, e))
        goto out;
    for (size_t i = 0; i < m->linears; i++)
        if (!isfinite(r->input[i])) {
            err_set(e, RC_DATA, "the input of module '%s' is not finite: the model overflows on these samples",
                    m->linear[i].info->name);
            goto out;
        }
    ret = 0;
out:
    m->be->free(m->be, t.amax);
    return ret;
}

void ranges_count(size_t *tokens, const struct model *m, const struct sample *sample, size_t n)
{
    size_t text = 0, patches = 0;

    for (size_t i = 0; i < n; i++) {
        text += sample[i].tokens;
        for (size_t k = 0; k < sample[i].images && m->config->has_vision; k++)
            patches += sample[i].image[k].h * sample[i].image[k].w;
    }
    for (size_t i = 0; i < m->linears; i++)
        switch (model_stage_of(m, &m->linear[i])->kind) {
        case STAGE_PATCH:
        case STAGE_VISION: tokens[i] = patches; break;
        case STAGE_MERGER: tokens[i] = patches / (m->config->vision.merge * m->config->vision.merge); break;
        case STAGE_TEXT:
        case STAGE_HEAD: tokens[i] = text; break;
        }
}

void ranges_release(struct ranges *r)
{
    free(r->input);
    free(r->weight);
    free(r->tokens);
    *r = (struct ranges){0};
}
