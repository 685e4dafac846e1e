/* walk_buffers.c - the memory of a walk: what stages read and make, and what is kept for the backward pass */
#include "common/model/walk_parts.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/mem.h"

size_t walk_chunk_rows(const struct model *m)
{
    size_t rows = m->be->logit_bytes / (m->config->vocab * sizeof(float));

    return rows < 16 ? 16 : rows > 512 ? 512 : rows;
}

static void *at(const struct backend *be, const void *p, size_t element)
{
    return (char *)p + element * be->act_bytes;
}

/* Buffers of one tower.  fused: q, k, v are columns of one matrix, and so are their gradients. */
static void take_acts(struct walk *w, struct acts *a, bool fused)
{
    struct arena *r = &w->arena;
    struct backend *be = w->m->be;
    size_t size = be->act_bytes, h = a->rows * a->hidden, q = a->rows * a->q_dim, kv = a->rows * a->kv_dim;
    size_t i = a->rows * a->inter;

    a->n1 = arena_take(r, h, size);
    a->q = arena_take(r, fused ? q + 2 * kv : q, size);
    a->k = fused ? at(be, a->q, a->q_dim) : arena_take(r, kv, size);
    a->v = fused ? at(be, a->q, a->q_dim + a->kv_dim) : arena_take(r, kv, size);
    a->qr = arena_take(r, q, size);
    a->kr = arena_take(r, kv, size);
    a->o = arena_take(r, q, size);
    a->a = arena_take(r, h, size);
    a->x1 = arena_take(r, h, size);
    a->n2 = arena_take(r, h, size);
    a->g = arena_take(r, i, size);
    a->u = arena_take(r, i, size);
    a->s = arena_take(r, i, size);
    a->d = arena_take(r, h, size);
    if (!w->keep)
        return;
    a->lse = arena_take(r, a->attention.heads * a->rows, sizeof(float));
    a->dx = arena_take(r, h, size);
    a->dn = arena_take(r, h, size);
    a->ds = arena_take(r, i, size);
    a->dg = arena_take(r, i, size);
    a->du = arena_take(r, i, size);
    a->d_o = arena_take(r, q, size);
    a->dqr = arena_take(r, q, size);
    a->dkr = arena_take(r, kv, size);
    a->dq = arena_take(r, fused ? q + 2 * kv : q, size);
    a->dk = fused ? at(be, a->dq, a->q_dim) : arena_take(r, kv, size);
    a->dv = fused ? at(be, a->dq, a->q_dim + a->kv_dim) : arena_take(r, kv, size);
}

static void init_text(struct walk *w)
{
    const struct config *c = w->m->config;
    struct batch *b = w->b;
    struct acts *a = &w->scratch->text;

    *a = (struct acts){.rows = b->tokens, .hidden = c->hidden, .inter = be_width(w->m->be, c->intermediate),
                       .q_dim = c->heads * c->head_dim,
                       .kv_dim = c->kv_heads * c->head_dim, .cosine = b->d_cosine, .sine = b->d_sine,
                       .row_weight = b->d_token_weight, .eps = c->eps};
    a->attention = (struct attention){.segments = b->samples, .cu_q = b->d_first, .cu_k = b->d_first,
                                      .max_q = b->longest, .max_k = b->longest, .heads = c->heads,
                                      .kv_heads = c->kv_heads, .head_dim = c->head_dim, .q_stride = a->q_dim,
                                      .k_stride = a->kv_dim, .v_stride = a->kv_dim, .o_stride = a->q_dim,
                                      .scale = 1 / sqrt((double)c->head_dim), .causal = true};
    take_acts(w, a, false);
}

static void init_vision(struct walk *w)
{
    const struct vision_config *v = &w->m->config->vision;
    struct batch *b = w->b;
    struct acts *a = &w->scratch->vision;

    *a = (struct acts){.rows = b->patches, .hidden = v->hidden, .inter = be_width(w->m->be, v->intermediate),
                       .q_dim = v->hidden, .kv_dim = v->hidden, .cosine = b->d_vision_cosine,
                       .sine = b->d_vision_sine,
                       .row_weight = b->d_patch_weight, .eps = v->eps};
    a->attention = (struct attention){.heads = v->heads, .kv_heads = v->heads, .head_dim = v->head_dim,
                                      .q_stride = v->hidden, .k_stride = v->hidden, .v_stride = 3 * v->hidden,
                                      .o_stride = v->hidden, .scale = 1 / sqrt((double)v->head_dim)};
    take_acts(w, a, true);
}

static struct kept outputs_of(const struct acts *a)
{
    return (struct kept){a->q,   a->k,  a->v,  a->o,  a->a,  a->g,  a->u, a->d,
                         a->lse, a->n1, a->qr, a->kr, a->x1, a->n2, a->s};
}

void walk_choose_segments(struct walk *w, size_t block)
{
    const struct windows *win = &w->b->windows;
    struct attention *a = &w->scratch->vision.attention;
    bool full = w->m->config->vision.full[block];

    a->segments = full ? win->full_segments : win->window_segments;
    a->cu_q = a->cu_k = full ? w->b->d_cu_full : w->b->d_cu_window;
    a->max_q = a->max_k = full ? win->max_full : win->max_window;
}

/*
 * Input buffers of the stages from w->from on.  Without keep, the blocks of a tower and what follows them
 * (the merger, the head) work in place.
 */
static void take_inputs(struct walk *w)
{
    const struct config *c = w->m->config;
    size_t size = w->m->be->act_bytes;

    for (size_t i = w->from; i < w->m->stages; i++) {
        const struct stage *s = &w->m->stage[i];
        bool vision = s->kind == STAGE_VISION || s->kind == STAGE_MERGER;
        bool follows = s->block > 0 || s->kind == STAGE_MERGER || s->kind == STAGE_HEAD;

        if (s->kind == STAGE_PATCH)
            w->input[i] = w->b->d_pixels;
        else if (follows && !w->keep)
            w->input[i] = w->input[i - 1];
        else
            w->input[i] = arena_take(&w->arena, vision ? w->b->patches * c->vision.hidden
                                     : w->b->tokens * c->hidden, size);
    }
    w->embeds = w->input[w->m->head - c->layers];
    w->last = w->input[w->m->head];
    w->norm = arena_take(&w->arena, w->b->tokens * c->hidden, size);
}

static void take_merger_and_head(struct walk *w)
{
    const struct config *c = w->m->config;
    struct scratch *s = w->scratch;
    struct arena *r = &w->arena;
    size_t size = w->m->be->act_bytes, wide = w->b->patches * c->vision.hidden, units = w->b->units;

    if (w->b->patches) {
        s->merger_n = arena_take(r, wide, size);
        s->merger_h = arena_take(r, wide, size);
        s->merger_a = arena_take(r, wide, size);
        s->merger_y = arena_take(r, units * c->hidden, size);
        if (w->keep) {
            s->d_merger_y = arena_take(r, units * c->hidden, size);
            s->d_merger_h = arena_take(r, wide, size);
            s->d_merger_n = arena_take(r, wide, size);
        }
    }
    if (!w->keep)
        return;
    s->chunk = walk_chunk_rows(w->m) < w->b->loss_rows ? walk_chunk_rows(w->m) : w->b->loss_rows;
    s->logits = arena_take(r, s->chunk * c->vocab, sizeof(float));
    s->lse = arena_take(r, s->chunk, sizeof(float));
    s->dlogits = arena_take(r, s->chunk * c->vocab, size);
    s->chunk_y = size == sizeof(float) ? s->logits : arena_take(r, s->chunk * c->vocab, size);
    s->chunk_x = arena_take(r, s->chunk * c->hidden, size);
    s->dchunk_x = arena_take(r, s->chunk * c->hidden, size);
    s->d_norm = arena_take(r, w->b->tokens * c->hidden, size);
}

int walk_init(struct walk *w, struct model *m, struct batch *b, bool keep, struct err *e)
{
    *w = (struct walk){.m = m, .b = b, .keep = keep, .arena = {.be = m->be}};
    w->input = mem_zalloc(m->stages, sizeof *w->input, e);
    w->scratch = mem_zalloc(1, sizeof *w->scratch, e);
    if (!w->input || !w->scratch)
        return -1;
    while (b->patches == 0 && m->stage[w->from].kind != STAGE_TEXT)
        w->from++;
    take_inputs(w);
    init_text(w);
    if (b->patches)
        init_vision(w);
    w->scratch->text_own = outputs_of(&w->scratch->text);
    w->scratch->vision_own = outputs_of(&w->scratch->vision);
    take_merger_and_head(w);
    return be_check(m->be, e);
}

void walk_release(struct walk *w)
{
    arena_release(&w->arena);
    free(w->input);
    if (w->scratch)
        free(w->scratch->kept);
    free(w->scratch);
    *w = (struct walk){0};
}

/* ---- outputs that are kept ---- */

/*
 * The next part of the memory at p, NULL when p is, as when bytes are only counted.  Every part is aligned as
 * an allocation is: a product's algorithm, and with it its last bits, may depend on that.
 */
static void *part(char *p, size_t *used, size_t bytes)
{
    void *at_used = p ? p + *used : NULL;

    *used += (bytes + 255) / 256 * 256;
    return at_used;
}

/* Cut up the memory at p into a block's products; returns the bytes.  fused: as in take_acts(). */
static size_t place_products(const struct walk *w, struct kept *k, const struct acts *a, bool fused, char *p)
{
    struct backend *be = w->m->be;
    size_t row = a->rows * be->act_bytes, q = a->q_dim * row, kv = a->kv_dim * row, used = 0;

    k->q = part(p, &used, fused ? q + 2 * kv : q);
    k->k = fused && p ? at(be, k->q, a->q_dim) : part(p, &used, fused ? 0 : kv);
    k->v = fused && p ? at(be, k->k, a->kv_dim) : part(p, &used, fused ? 0 : kv);
    k->o = part(p, &used, q);
    k->a = part(p, &used, a->hidden * row);
    k->g = part(p, &used, a->inter * row);
    k->u = part(p, &used, a->inter * row);
    k->d = part(p, &used, a->hidden * row);
    k->lse = part(p, &used, a->attention.heads * a->rows * sizeof(float));
    return used;
}

/* The same for what is made between the products. */
static size_t place_between(const struct walk *w, struct kept *k, const struct acts *a, char *p)
{
    size_t row = a->rows * w->m->be->act_bytes, used = 0;

    k->n1 = part(p, &used, a->hidden * row);
    k->qr = part(p, &used, a->q_dim * row);
    k->kr = part(p, &used, a->kv_dim * row);
    k->x1 = part(p, &used, a->hidden * row);
    k->n2 = part(p, &used, a->hidden * row);
    k->s = part(p, &used, a->inter * row);
    return used;
}

/*
 * Keep one of both for as many blocks as *bytes hold, the last first, and take that from *bytes.  What is
 * between products is kept of vision blocks alone: in a language block it takes 60 % of what its products take,
 * and is made again where its gradients are made.
 */
static void keep_blocks(struct walk *w, size_t *bytes, bool between)
{
    struct scratch *t = w->scratch;

    for (size_t i = w->m->stages; i-- > w->from;) {
        bool vision = w->m->stage[i].kind == STAGE_VISION;
        const struct acts *a = vision ? &t->vision : &t->text;
        struct kept k;
        size_t need = between ? place_between(w, &k, a, NULL) : place_products(w, &k, a, vision, NULL);
        char *p;

        if ((!vision && w->m->stage[i].kind != STAGE_TEXT) || need > *bytes)
            continue;
        if (between && (!vision || !t->kept[i].q))
            continue;
        p = arena_take(&w->arena, need, 1);
        if (!p)
            return;
        if (between)
            place_between(w, &t->kept[i], a, p);
        else
            place_products(w, &t->kept[i], a, vision, p);
        *bytes -= need;
    }
}

int walk_keep_blocks(struct walk *w, size_t bytes, struct err *e)
{
    w->scratch->kept = mem_zalloc(w->m->stages, sizeof *w->scratch->kept, e);
    if (!w->scratch->kept)
        return -1;
    keep_blocks(w, &bytes, false);
    keep_blocks(w, &bytes, true);
    return be_check(w->m->be, e);
}

const struct kept *walk_choose_outputs(struct walk *w, size_t i, struct acts *a)
{
    struct scratch *t = w->scratch;
    const struct kept *own = a == &t->text ? &t->text_own : &t->vision_own;
    const struct kept *kept = t->kept && t->kept[i].q ? &t->kept[i] : NULL;
    const struct kept *products = kept ? kept : own, *between = kept && kept->s ? kept : own;

    a->q = products->q;
    a->k = products->k;
    a->v = products->v;
    a->o = products->o;
    a->a = products->a;
    a->g = products->g;
    a->u = products->u;
    a->d = products->d;
    a->lse = products->lse;
    a->n1 = between->n1;
    a->qr = between->qr;
    a->kr = between->kr;
    a->x1 = between->x1;
    a->n2 = between->n2;
    a->s = between->s;
    return kept;
}
