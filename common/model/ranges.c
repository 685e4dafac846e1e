/*
 * ranges.c - calibration: the largest |x| that enters each linear module, by channel too, and of keys and
 * values
 */
#include "common/model/ranges.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/model/visit.h"

struct range_tap {
    struct tap tap;
    struct backend *be;
    float *amax;     /* device, [linears] */
    float *channels; /* device, the channels of all modules, one after another; NULL: not measured */
    size_t *first;   /* [linears]: a module's first channel */
    float *kv;       /* device, [linears]; NULL: not measured */
    size_t *tokens;
    size_t all; /* channels */
};

/* The visit, and what is kept of it. */
struct range_visit {
    struct visit visit;
    struct range_tap tap;
    struct snapshot *keep;
    size_t start, n, linears;
    float *host; /* amax, channels and kv, one after another */
};

static int see(struct tap *tap, struct linear *l, const void *x, const void *y, size_t rows, struct err *e)
{
    struct range_tap *t = (struct range_tap *)tap;

    (void)y;
    (void)e;
    t->be->amax(t->be, t->amax + l->index, x, rows * l->in);
    if (t->channels)
        t->be->amax_columns(t->be, t->channels + t->first[l->index], x, rows, l->in);
    t->tokens[l->index] += rows;
    return 0;
}

static int see_kv(struct tap *tap, const struct stage *s, const void *k, const void *v, size_t rows,
                  struct err *e)
{
    struct range_tap *t = (struct range_tap *)tap;

    (void)e;
    if (t->kv) {
        t->be->amax(t->be, t->kv + s->k->index, k, rows * s->k->out);
        t->be->amax(t->be, t->kv + s->v->index, v, rows * s->v->out);
    }
    return 0;
}

static float **channel_arrays(const struct model *m, struct err *e)
{
    float **a = mem_zalloc(m->linears, sizeof *a, e);

    for (size_t i = 0; a && i < m->linears; i++)
        if (!(a[i] = mem_zalloc(m->linear[i].info->in, sizeof **a, e)))
            break;
    return a;
}

int ranges_init(struct ranges *r, const struct model *m, unsigned what, struct err *e)
{
    *r = (struct ranges){.linears = m->linears};
    r->input = mem_zalloc(m->linears, sizeof *r->input, e);
    r->weight = mem_zalloc(m->linears, sizeof *r->weight, e);
    r->tokens = mem_zalloc(m->linears, sizeof *r->tokens, e);
    if (what & RANGES_CHANNELS) {
        r->input_channels = channel_arrays(m, e);
        r->weight_channels = channel_arrays(m, e);
    }
    if (what & RANGES_KV)
        r->kv = mem_zalloc(m->linears, sizeof *r->kv, e);
    return e->rc == RC_OK ? 0 : -1;
}

/* Zeroed device memory; n elements of a size. */
static void *blank(struct backend *be, size_t n, size_t size)
{
    void *p = be->alloc(be, n * size);

    if (p)
        be->zero(be, p, n * size);
    return p;
}

static int begin(struct range_tap *t, struct ranges *r, const struct model *m, struct err *e)
{
    size_t channels = 0;

    t->tokens = r->tokens;
    t->amax = blank(t->be, m->linears, sizeof *t->amax);
    t->first = mem_zalloc(m->linears, sizeof *t->first, e);
    if (!t->first)
        return -1;
    for (size_t i = 0; i < m->linears; i++) {
        t->first[i] = channels;
        channels += m->linear[i].in;
    }
    t->all = channels;
    if (r->input_channels)
        t->channels = blank(t->be, channels, sizeof *t->channels);
    if (r->kv)
        t->kv = blank(t->be, m->linears, sizeof *t->kv);
    return be_check(t->be, e);
}

/* Largest |w| of every column. */
static int weigh_columns(float *amax, const struct model *m, const struct linear_info *info, struct err *e)
{
    float *w = weights_f32(&m->weights, info->weight, e);

    for (size_t o = 0; w && o < info->out; o++)
        for (size_t c = 0; c < info->in; c++) {
            float size = fabsf(w[o * info->in + c]);

            amax[c] = size > amax[c] ? size : amax[c]; /* not fmaxf(), which compilers do not vectorise */
        }
    free(w);
    return w ? 0 : -1;
}

static bool holds_kv(const struct model *m, const struct linear *l)
{
    const struct stage *s = model_stage_of(m, l);

    return s->kind == STAGE_TEXT && (l == s->k || l == s->v);
}

/* What the taps have gathered, and the weights' ranges. */
static int gather(struct ranges *r, const struct range_tap *t, const struct model *m, struct err *e)
{
    t->be->download(t->be, r->input, t->amax, m->linears * sizeof *r->input);
    if (r->kv)
        t->be->download(t->be, r->kv, t->kv, m->linears * sizeof *r->kv);
    for (size_t i = 0; r->kv && i < m->linears; i++)
        if (r->tokens[i] == 0 || !holds_kv(m, &m->linear[i]))
            r->kv[i] = -1;
    for (size_t i = 0; i < m->linears; i++) {
        const struct linear_info *info = m->linear[i].info;

        if (weights_amax(&m->weights, info->weight, &r->weight[i], e))
            return -1;
        if (!r->input_channels)
            continue;
        t->be->download(t->be, r->input_channels[i], t->channels + t->first[i], info->in * sizeof(float));
        if (weigh_columns(r->weight_channels[i], m, info, e))
            return -1;
    }
    if (be_check(t->be, e))
        return -1;
    for (size_t i = 0; i < m->linears; i++)
        if (!isfinite(r->input[i]) || (r->kv && !isfinite(r->kv[i])))
            return err_set(e, RC_DATA,
                           "the %s of module '%s' is not finite: the model overflows on these samples",
                           isfinite(r->input[i]) ? "output" : "input", m->linear[i].info->name);
    return 0;
}

/* Device arrays to and from v->host. */
static void copy_ranges(struct range_visit *v, bool up)
{
    struct backend *be = v->tap.be;
    struct { float *device; size_t n; } all[] = {
        {v->tap.amax, v->linears}, {v->tap.channels, v->tap.all}, {v->tap.kv, v->linears}};
    float *host = v->host;

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i].device && up)
            be->upload(be, all[i].device, host, all[i].n * sizeof *host);
        else if (all[i].device)
            be->download(be, host, all[i].device, all[i].n * sizeof *host);
        host += all[i].n;
    }
}

static void kept_parts(const struct range_visit *v, struct snapshot_part part[2])
{
    part[0] = (struct snapshot_part){v->host, (2 * v->linears + v->tap.all) * sizeof *v->host};
    part[1] = (struct snapshot_part){v->tap.tokens, v->linears * sizeof *v->tap.tokens};
}

static int keep_ranges(struct visit *visit, struct walk *w, size_t first, struct err *e)
{
    struct range_visit *v = (struct range_visit *)visit;
    size_t done = v->start + first + w->b->samples;
    struct snapshot_part part[2];

    if (!snapshot_due(v->keep, done, v->n))
        return 0;
    copy_ranges(v, false);
    kept_parts(v, part);
    return be_check(w->m->be, e) || snapshot_put(v->keep, done, part, 2, e) ? -1 : 0;
}

static int take_kept(struct range_visit *v, struct err *e)
{
    struct snapshot_part part[2];

    v->host = mem_zalloc(2 * v->linears + v->tap.all, sizeof *v->host, e);
    if (!v->host)
        return -1;
    kept_parts(v, part);
    if (snapshot_begin(v->keep, v->n, part, 2, &v->start, e))
        return -1;
    if (v->start)
        copy_ranges(v, true);
    return be_check(v->tap.be, e);
}

int ranges_measure(struct ranges *r, struct model *m, unsigned what, const struct sample *sample, size_t n,
                   size_t rows, struct snapshot *keep, struct progress *p, struct err *e)
{
    struct range_visit v = {.visit.batch = keep_ranges, .tap = {.tap = {.forward = see, .kv = see_kv},
                                                                .be = m->be},
                            .keep = keep, .n = n, .linears = m->linears};
    int ret = -1;

    v.visit.tap = &v.tap.tap;
    if (ranges_init(r, m, what, e) == 0 && begin(&v.tap, r, m, e) == 0 && take_kept(&v, e) == 0) {
        progress_add(p, v.start);
        ret = visit_batches(m, sample + v.start, n - v.start, rows, &v.visit, p, e);
    }
    if (ret == 0)
        ret = gather(r, &v.tap, m, e);
    m->be->free(m->be, v.tap.kv);
    m->be->free(m->be, v.tap.channels);
    m->be->free(m->be, v.tap.amax);
    free(v.tap.first);
    free(v.host);
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
    for (size_t i = 0; r->input_channels && i < r->linears; i++)
        free(r->input_channels[i]);
    for (size_t i = 0; r->weight_channels && i < r->linears; i++)
        free(r->weight_channels[i]);
    free(r->input_channels);
    free(r->weight_channels);
    free(r->kv);
    free(r->input);
    free(r->weight);
    free(r->tokens);
    *r = (struct ranges){0};
}
