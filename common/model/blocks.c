/* blocks.c - how far hidden states are from a reference's, block by block */
#include "common/model/blocks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/model/walk.h"

/* A batch's states behind every stage, on the host. */
struct states_of {
    size_t stages;
    struct stage_rows {
        float *x; /* [rows, dim]; NULL: the batch does not pass this stage, or no row of it counts */
        size_t rows, dim;
    } *stage;
};

static void release_states(struct states_of *s)
{
    for (size_t i = 0; s->stage && i < s->stages; i++)
        free(s->stage[i].x);
    free(s->stage);
    *s = (struct states_of){0};
}

/* Rows of x [.., dim] on the device: those of index [rows], or with index NULL the first. */
static int fetch(struct stage_rows *to, struct backend *be, const void *x, const int32_t *index, size_t rows,
                 size_t dim, struct err *e)
{
    void *some = index && rows ? be->alloc(be, rows * dim * be->act_bytes) : NULL;

    if (rows == 0)
        return 0;
    *to = (struct stage_rows){mem_zalloc(rows * dim, sizeof *to->x, e), rows, dim};
    if (!to->x || be_check(be, e)) {
        be->free(be, some);
        return -1;
    }
    if (index)
        be->gather(be, some, x, index, rows, dim);
    be->download_act(be, to->x, index ? some : x, rows * dim);
    be->free(be, some);
    return be_check(be, e);
}

/* What stage i of a kept walk handed on. */
static int fetch_stage(struct stage_rows *to, const struct walk *w, size_t i, struct err *e)
{
    const struct config *c = w->m->config;
    const struct batch *b = w->b;
    struct backend *be = w->m->be;

    switch (w->m->stage[i].kind) {
    case STAGE_PATCH:
    case STAGE_VISION: return fetch(to, be, w->input[i + 1], NULL, b->patches, c->vision.hidden, e);
    case STAGE_MERGER: return fetch(to, be, w->embeds, b->d_image_row, b->units, c->hidden, e);
    case STAGE_TEXT: return fetch(to, be, w->input[i + 1], b->d_loss_row, b->loss_rows, c->hidden, e);
    case STAGE_HEAD: return fetch(to, be, w->norm, b->d_loss_row, b->loss_rows, c->hidden, e);
    }
    return 0;
}

static int run_batch(struct states_of *s, struct model *m, const struct sample *sample, size_t n,
                     struct err *e)
{
    struct batch b = {0};
    struct walk w = {0};
    int ret = -1;

    *s = (struct states_of){.stages = m->stages, .stage = mem_zalloc(m->stages, sizeof *s->stage, e)};
    if (s->stage && batch_build(&b, m->be, m->config, &m->processor, sample, n, e) == 0 &&
        walk_init(&w, m, &b, true, e) == 0 && walk_forward(&w, 0, e) == 0)
        ret = 0;
    for (size_t i = w.from; i < m->stages && ret == 0; i++)
        ret = fetch_stage(&s->stage[i], &w, i, e);
    walk_release(&w);
    batch_release(&b);
    return ret;
}

static void add_rows(struct block_distance *d, const struct stage_rows *p, const struct stage_rows *q)
{
    for (size_t r = 0; r < p->rows; r++) {
        const float *a = p->x + r * p->dim, *b = q->x + r * p->dim;
        double aa = 0, bb = 0, ab = 0, off = 0;

        for (size_t k = 0; k < p->dim; k++) {
            double x = a[k], y = b[k];

            aa += x * x;
            bb += y * y;
            ab += x * y;
            off += (y - x) * (y - x);
        }
        if (aa == 0)
            continue;
        d->cosine += bb > 0 ? ab / sqrt(aa * bb) : 0;
        d->relative_l2 += sqrt(off / aa);
        d->rows++;
    }
}

static void name_block(struct block_distance *d, const struct stage *s)
{
    switch (s->kind) {
    case STAGE_PATCH: snprintf(d->name, sizeof d->name, "visual.patch_embed"); break;
    case STAGE_VISION: snprintf(d->name, sizeof d->name, "visual.blocks.%zu", s->block); break;
    case STAGE_MERGER: snprintf(d->name, sizeof d->name, "visual.merger"); break;
    case STAGE_TEXT: snprintf(d->name, sizeof d->name, "language_model.layers.%zu", s->block); break;
    case STAGE_HEAD: snprintf(d->name, sizeof d->name, "language_model.norm"); break;
    }
}

static int check_shape(const struct model *ref, const struct model *m, struct err *e)
{
    if (ref->stages != m->stages || ref->config->hidden != m->config->hidden ||
        ref->config->layers != m->config->layers || ref->config->vision.hidden != m->config->vision.hidden)
        return err_set(e, RC_DATA,
                       "the blocks of '%s' are not those of '%s': --blocks needs models of one shape",
                       m->weights.ckpt.dir, ref->weights.ckpt.dir);
    return 0;
}

/* Sums become means; blocks that nothing passed go. */
static void finish(struct blocks *b)
{
    size_t kept = 0;

    for (size_t i = 0; i < b->n; i++) {
        struct block_distance d = b->block[i];

        if (d.rows == 0)
            continue;
        d.cosine /= (double)d.rows;
        d.relative_l2 /= (double)d.rows;
        b->block[kept++] = d;
    }
    b->n = kept;
}

int blocks_compare(struct blocks *b, struct model *ref, struct model *m, const struct sample *sample,
                   size_t n, size_t rows, struct progress *p, struct err *e)
{
    *b = (struct blocks){0};
    if (check_shape(ref, m, e))
        return -1;
    b->block = mem_zalloc(m->stages, sizeof *b->block, e);
    if (!b->block)
        return -1;
    b->n = m->stages;
    for (size_t i = 0; i < b->n; i++)
        name_block(&b->block[i], &m->stage[i]);
    for (size_t i = 0, k; i < n; i += k) {
        struct states_of want = {0}, got = {0};
        int ret;

        k = batch_take(m->config, sample + i, n - i, rows);
        ret = run_batch(&want, ref, sample + i, k, e) || run_batch(&got, m, sample + i, k, e) ? -1 : 0;
        for (size_t s = 0; s < m->stages && ret == 0; s++)
            if (want.stage[s].x)
                add_rows(&b->block[s], &want.stage[s], &got.stage[s]);
        release_states(&got);
        release_states(&want);
        if (ret)
            return -1;
        progress_add(p, k);
    }
    finish(b);
    return 0;
}

void blocks_release(struct blocks *b)
{
    free(b->block);
    *b = (struct blocks){0};
}

int blocks_put(json_t *candidate, const struct blocks *b, struct err *e)
{
    json_t *list = json_array();
    int ret = json_put(candidate, "blocks", json_incref(list), e);

    for (size_t i = 0; i < b->n && ret == 0; i++) {
        const struct block_distance *d = &b->block[i];
        json_t *o = json_object();

        ret = json_put(o, "name", json_string(d->name), e) ||
              json_put(o, "rows", json_integer((json_int_t)d->rows), e) ||
                      json_put(o, "cosine", json_real(d->cosine), e) ||
                      json_put(o, "relative_l2", json_real(d->relative_l2), e) ||
                      json_push(list, json_incref(o), e)
                  ? -1
                  : 0;
        json_decref(o);
    }
    json_decref(list);
    return ret;
}

void blocks_table(FILE *f, const struct blocks *b)
{
    fprintf(f, "====== Hidden states, block by block ======\n%-32s %9s %14s %14s\n", "", "rows", "cosine",
            "relative L2");
    for (size_t i = 0; i < b->n; i++)
        fprintf(f, "%-32s %9zu %14.10f %14.6g\n", b->block[i].name, b->block[i].rows, b->block[i].cosine,
                b->block[i].relative_l2);
    fputc('\n', f);
}
