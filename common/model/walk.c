/*
 * walk.c - the forward and the backward pass, stage by stage, with taps on every linear module
 *
 * It is over 600 lines because both passes share the private buffers of a block.
 */
#include "common/model/walk.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

/*
 * Intermediates of a block, shared by all blocks of a tower: a pass fills them, backward fills them again and
 * consumes them.  In both towers a block is
 *   n1 = norm1(x)    q, k, v = n1 W + b    o = attention(rope q, rope k, v)    a = o Wo    x1 = x + a
 *   n2 = norm2(x1)   g, u = n2 W           s = silu(g) u                       d = s Wd    out = x1 + d
 * where the vision tower has q, k and v side by side in one product.
 */
struct acts {
    size_t rows, hidden, inter, q_dim, kv_dim;
    struct attention attention;
    const float *cosine, *sine, *row_weight;
    float eps;
    void *n1, *q, *k, *v, *qr, *kr, *o, *a, *x1, *n2, *g, *u, *s, *d; /* qr, kr: after the rotation */
    float *lse;
    void *dx, *dn, *ds, *dg, *du, *d_o, *dqr, *dkr, *dq, *dk, *dv; /* dx flows from block to block */
};

/* What one block made, which a backward pass would have to make again. */
struct kept {
    void *q, *k, *v, *o, *a, *g, *u, *d; /* by products and attention; NULL: not kept */
    float *lse;
    void *n1, *qr, *kr, *x1, *n2, *s; /* between them, which takes less time; NULL: not kept */
};

/* What a block's output is the sum of. */
struct residual {
    const void *x, *d;
};

struct scratch {
    struct acts text, vision;
    struct residual open; /* the next stage's input, which its first norm makes; x NULL: it is made already */
    struct kept text_own, vision_own; /* the buffers that blocks without kept ones share */
    struct kept *kept;                /* [stages], or NULL */
    void *merger_n, *merger_h, *merger_a, *merger_y, *d_merger_y, *d_merger_h, *d_merger_n;
    size_t chunk; /* rows of logits at a time */
    float *logits, *lse;
    void *chunk_x, *chunk_y, *dlogits, *dchunk_x, *d_norm;
};

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

/* The segments that a vision block attends over. */
static void choose_segments(struct walk *w, size_t block)
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
 * and making it again 4 % of a scoring pass.
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

/* What is kept of stage i's block, or NULL; a has it where the block leaves or has left its outputs. */
static const struct kept *choose_outputs(struct walk *w, size_t i, struct acts *a)
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

static int show_forward(struct walk *w, struct linear *l, void *y, const void *x, size_t rows, struct err *e)
{
    return w->tap && w->tap->forward ? w->tap->forward(w->tap, l, x, y, rows, e) : 0;
}

/* y = x W^T + b in the form that l runs in, shown to the tap. */
static int apply(struct walk *w, struct linear *l, void *y, const void *x, size_t rows, struct err *e)
{
    w->m->be->linear(w->m->be, y, x, rows, linear_weight(l));
    return show_forward(w, l, y, x, rows, e);
}

/* The same, of the x that the last module had, or that was made for this one. */
static int apply_again(struct walk *w, struct linear *l, void *y, const void *x, size_t rows, struct err *e)
{
    w->m->be->linear_again(w->m->be, y, x, rows, linear_weight(l));
    return show_forward(w, l, y, x, rows, e);
}

/* ---- forward ---- */

static int project_qkv(struct walk *w, const struct stage *s, struct acts *a, struct err *e)
{
    if (s->qkv)
        return apply_again(w, s->qkv, a->q, a->n1, a->rows, e);
    return apply_again(w, s->q, a->q, a->n1, a->rows, e) || apply_again(w, s->k, a->k, a->n1, a->rows, e) ||
                   apply_again(w, s->v, a->v, a->n1, a->rows, e)
               ? -1
               : 0;
}

/*
 * Keys and values that a language layer's queries see: as an FP8 KV cache gives them back (all of them, since
 * engines read what they stored), behind those of the walks before.
 */
static int keep_kv(struct walk *w, const struct stage *s, const struct acts *a, struct kv_rows *kv,
                   struct err *e)
{
    const struct kv_scale *scale = w->m->kv ? &w->m->kv[s->block] : NULL;
    struct backend *be = w->m->be;

    if (w->tap && w->tap->kv && w->tap->kv(w->tap, s, a->kr, a->v, a->rows, e))
        return -1;
    if (scale) {
        be->round_fp8(be, a->kr, a->kr, a->rows * a->kv_dim, scale->k);
        be->round_fp8(be, a->v, a->v, a->rows * a->kv_dim, scale->v);
    }
    if (w->cache)
        *kv = kv_cache_append(w->cache, s->block, a->kr, a->v, a->rows);
    return 0;
}

/* y = norm1(x) of a stage whose input is x, made for `next`. */
static void norm_input(struct walk *w, const struct stage *s, void *y, void *x, size_t rows, size_t dim,
                       float eps, const struct weight *next)
{
    struct residual *r = &w->scratch->open;
    struct backend *be = w->m->be;

    if (r->x)
        be->add_rmsnorm(be, x, y, r->x, r->d, s->norm1, rows, dim, eps, next);
    else
        be->rmsnorm(be, y, x, s->norm1, rows, dim, eps, next);
    *r = (struct residual){0};
}

/* A block of either tower up to its last product; its output is x1 + d. */
static int block(struct walk *w, const struct stage *s, struct acts *a, void *x, struct err *e)
{
    struct backend *be = w->m->be;
    size_t hd = a->attention.head_dim, row = s->qkv ? 3 * a->hidden : 0;
    const struct attention *t = &a->attention;
    struct kv_rows kv = {a->kr, a->v};

    norm_input(w, s, a->n1, x, a->rows, a->hidden, a->eps, linear_weight(s->qkv ? s->qkv : s->q));
    if (project_qkv(w, s, a, e))
        return -1;
    be->rope(be, a->qr, a->q_dim, a->q, row ? row : a->q_dim, a->cosine, a->sine, a->rows, t->heads, hd,
             false);
    be->rope(be, a->kr, a->kv_dim, a->k, row ? row : a->kv_dim, a->cosine, a->sine, a->rows, t->kv_heads, hd,
             false);
    if (s->kind == STAGE_TEXT && keep_kv(w, s, a, &kv, e))
        return -1;
    be->attention(be, t, a->o, a->lse, a->qr, kv.k, kv.v);
    if (apply(w, s->o, a->a, a->o, a->rows, e))
        return -1;
    be->add_rmsnorm(be, a->x1, a->n2, x, a->a, s->norm2, a->rows, a->hidden, a->eps, linear_weight(s->gate));
    if (apply_again(w, s->gate, a->g, a->n2, a->rows, e) || apply_again(w, s->up, a->u, a->n2, a->rows, e))
        return -1;
    be->swiglu(be, a->s, a->g, a->u, a->rows, a->inter, linear_weight(s->down));
    return apply_again(w, s->down, a->d, a->s, a->rows, e);
}

/*
 * The rest of a block whose products are kept: the same bits as in block().  What is made last is for the
 * module that block_dx() shows first.
 */
static void block_between(struct walk *w, const struct stage *s, struct acts *a, const void *x)
{
    struct backend *be = w->m->be;
    size_t hd = a->attention.head_dim, row = s->qkv ? 3 * a->hidden : 0;
    const struct weight *next = w->tap && w->tap->weight ? w->tap->weight(w->tap, s->down) : NULL;
    const struct attention *t = &a->attention;

    be->rmsnorm(be, a->n1, x, s->norm1, a->rows, a->hidden, a->eps, NULL);
    be->rope(be, a->qr, a->q_dim, a->q, row ? row : a->q_dim, a->cosine, a->sine, a->rows, t->heads, hd,
             false);
    be->rope(be, a->kr, a->kv_dim, a->k, row ? row : a->kv_dim, a->cosine, a->sine, a->rows, t->kv_heads, hd,
             false);
    be->add_rmsnorm(be, a->x1, a->n2, x, a->a, s->norm2, a->rows, a->hidden, a->eps, NULL);
    be->swiglu(be, a->s, a->g, a->u, a->rows, a->inter, next);
}

static int merger(struct walk *w, const struct stage *s, void *x, struct err *e)
{
    struct backend *be = w->m->be;
    struct scratch *t = w->scratch;
    const struct vision_config *v = &w->m->config->vision;

    norm_input(w, s, t->merger_n, x, w->b->patches, v->hidden, v->eps, NULL);
    if (apply(w, s->merger0, t->merger_h, t->merger_n, w->b->units, e))
        return -1;
    be->gelu(be, t->merger_a, t->merger_h, w->b->patches * v->hidden);
    return apply(w, s->merger2, t->merger_y, t->merger_a, w->b->units, e);
}

/* Token embeddings, with the pictures' rows in place: the input of the first language layer. */
static int embed(struct walk *w, struct err *e)
{
    struct backend *be = w->m->be;
    void *x = w->embeds;

    if (model_enter_embed(w->m, e))
        return -1;
    be->embed(be, x, &w->m->embed, w->b->d_ids, w->b->tokens);
    if (w->b->units)
        be->scatter(be, x, w->scratch->merger_y, w->b->d_image_row, w->b->units, w->m->config->hidden);
    return 0;
}

static int head(struct walk *w, const struct stage *s, struct err *e)
{
    const struct config *c = w->m->config;

    norm_input(w, s, w->norm, w->last, w->b->tokens, c->hidden, c->eps, NULL);
    return w->tap && w->tap->forward ? w->tap->forward(w->tap, s->head, w->norm, NULL, w->b->tokens, e) : 0;
}

static int stage(struct walk *w, size_t i, struct err *e)
{
    struct stage *s = &w->m->stage[i];
    struct acts *a = s->kind == STAGE_VISION ? &w->scratch->vision : &w->scratch->text;

    switch (s->kind) {
    case STAGE_PATCH: return apply(w, s->patch, w->input[i + 1], w->input[i], w->b->patches, e);
    case STAGE_MERGER: return merger(w, s, w->input[i], e) || embed(w, e) ? -1 : 0;
    case STAGE_HEAD: return head(w, s, e);
    case STAGE_VISION: choose_segments(w, s->block); /* fall through */
    case STAGE_TEXT:
        choose_outputs(w, i, a);
        if (block(w, s, a, w->input[i], e))
            return -1;
        w->scratch->open = (struct residual){a->x1, a->d};
        return 0;
    }
    return 0;
}

/* The language layers' queries see the cached rows and their own. */
static int begin_cached(struct walk *w, struct err *e)
{
    struct attention *a = &w->scratch->text.attention;

    a->cu_k = w->cache->d_cu_k;
    a->max_k = w->cache->tokens + w->b->tokens;
    return kv_cache_begin(w->cache, w->b->tokens, e);
}

int walk_forward(struct walk *w, size_t first, struct err *e)
{
    if (first < w->from)
        first = w->from;
    w->scratch->open = (struct residual){0};
    if (w->cache && begin_cached(w, e))
        return -1;
    if (first == w->from && w->b->patches == 0 && embed(w, e))
        return -1;
    for (size_t i = first; i < w->m->stages; i++)
        if (model_enter(w->m, &w->m->stage[i], e) || stage(w, i, e) || be_check(w->m->be, e))
            return -1;
    if (w->cache)
        kv_cache_end(w->cache, w->b->tokens);
    return 0;
}

/* ---- backward ---- */

static int show(struct walk *w, struct linear *l, const void *x, const void *y, const void *dy,
                const float *row_weight, size_t rows, struct err *e)
{
    return w->tap && w->tap->backward ? w->tap->backward(w->tap, l, x, y, dy, row_weight, rows, e) : 0;
}

/*
 * From the loss to the head's norm, in chunks of the rows that have a target; the gradient arrives in
 * text.dx.
 */
static int head_dx(struct walk *w, const struct stage *s, float *nll, struct err *e)
{
    struct backend *be = w->m->be;
    const struct config *c = w->m->config;
    struct scratch *t = w->scratch;
    struct batch *b = w->b;

    be->zero(be, t->d_norm, b->tokens * c->hidden * be->act_bytes);
    for (size_t i = 0, n; i < b->loss_rows; i += n) {
        n = b->loss_rows - i < t->chunk ? b->loss_rows - i : t->chunk;
        be->gather(be, t->chunk_x, w->norm, b->d_loss_row + i, n, c->hidden);
        be->linear_f32(be, t->logits, t->chunk_x, n, linear_weight(s->head));
        if (t->chunk_y != t->logits)
            be->narrow(be, t->chunk_y, t->logits, n * c->vocab);
        be->nll(be, nll ? nll + i : NULL, t->lse, NULL, t->logits, b->d_loss_target + i, n, c->vocab);
        be->nll_dx(be, t->dlogits, t->logits, t->lse, b->d_loss_target + i, b->d_loss_inverse + i, n,
                   c->vocab);
        if (show(w, s->head, t->chunk_x, t->chunk_y, t->dlogits, b->d_loss_weight + i, n, e))
            return -1;
        be->linear_dx(be, t->dchunk_x, t->dlogits, n, &s->head->weight, false);
        be->scatter(be, t->d_norm, t->dchunk_x, b->d_loss_row + i, n, c->hidden);
    }
    be->zero(be, t->text.dx, b->tokens * c->hidden * be->act_bytes);
    be->rmsnorm_dx(be, t->text.dx, t->d_norm, w->last, s->norm1, b->tokens, c->hidden, c->eps);
    return 0;
}

static int qkv_dx(struct walk *w, const struct stage *s, struct acts *a, struct err *e)
{
    struct backend *be = w->m->be;

    if (s->qkv) {
        if (show(w, s->qkv, a->n1, a->q, a->dq, a->row_weight, a->rows, e))
            return -1;
        be->linear_dx(be, a->dn, a->dq, a->rows, &s->qkv->weight, false);
        return 0;
    }
    if (show(w, s->q, a->n1, a->q, a->dq, a->row_weight, a->rows, e) ||
        show(w, s->k, a->n1, a->k, a->dk, a->row_weight, a->rows, e) ||
        show(w, s->v, a->n1, a->v, a->dv, a->row_weight, a->rows, e))
        return -1;
    be->linear_dx(be, a->dn, a->dq, a->rows, &s->q->weight, false);
    be->linear_dx(be, a->dn, a->dk, a->rows, &s->k->weight, true);
    be->linear_dx(be, a->dn, a->dv, a->rows, &s->v->weight, true);
    return 0;
}

/* a->dx: from dL/d(out) to dL/dx of the block whose intermediates are in a. */
static int block_dx(struct walk *w, const struct stage *s, struct acts *a, const void *x, struct err *e)
{
    struct backend *be = w->m->be;
    size_t hd = a->attention.head_dim, row = s->qkv ? 3 * a->hidden : 0;
    const struct attention *t = &a->attention;

    if (show(w, s->down, a->s, a->d, a->dx, a->row_weight, a->rows, e))
        return -1;
    be->linear_dx(be, a->ds, a->dx, a->rows, &s->down->weight, false);
    be->swiglu_dx(be, a->dg, a->du, a->ds, a->g, a->u, a->rows * a->inter);
    if (show(w, s->up, a->n2, a->u, a->du, a->row_weight, a->rows, e) ||
        show(w, s->gate, a->n2, a->g, a->dg, a->row_weight, a->rows, e))
        return -1;
    be->linear_dx(be, a->dn, a->dg, a->rows, &s->gate->weight, false);
    be->linear_dx(be, a->dn, a->du, a->rows, &s->up->weight, true);
    be->rmsnorm_dx(be, a->dx, a->dn, a->x1, s->norm2, a->rows, a->hidden, a->eps);
    if (show(w, s->o, a->o, a->a, a->dx, a->row_weight, a->rows, e))
        return -1;
    be->linear_dx(be, a->d_o, a->dx, a->rows, &s->o->weight, false);
    be->attention_dx(be, t, a->dqr, a->dkr, a->dv, a->d_o, a->qr, a->kr, a->v, a->o, a->lse);
    be->rope(be, a->dq, row ? row : a->q_dim, a->dqr, a->q_dim, a->cosine, a->sine, a->rows, t->heads, hd,
             true);
    be->rope(be, a->dk, row ? row : a->kv_dim, a->dkr, a->kv_dim, a->cosine, a->sine, a->rows, t->kv_heads,
             hd, true);
    if (qkv_dx(w, s, a, e))
        return -1;
    be->rmsnorm_dx(be, a->dx, a->dn, x, s->norm1, a->rows, a->hidden, a->eps);
    return 0;
}

/* From the gradient of the embeddings, in text.dx, to that of the last vision block, in vision.dx. */
static int merger_dx(struct walk *w, const struct stage *s, const void *x, struct err *e)
{
    struct backend *be = w->m->be;
    struct scratch *t = w->scratch;
    const struct vision_config *v = &w->m->config->vision;
    struct batch *b = w->b;
    size_t n = b->patches * v->hidden;

    be->gather(be, t->d_merger_y, t->text.dx, b->d_image_row, b->units, w->m->config->hidden);
    if (show(w, s->merger2, t->merger_a, t->merger_y, t->d_merger_y, b->d_unit_weight, b->units, e))
        return -1;
    be->linear_dx(be, t->d_merger_h, t->d_merger_y, b->units, &s->merger2->weight, false);
    be->gelu_dx(be, t->d_merger_h, t->d_merger_h, t->merger_h, n);
    if (show(w, s->merger0, t->merger_n, t->merger_h, t->d_merger_h, b->d_unit_weight, b->units, e))
        return -1;
    be->linear_dx(be, t->d_merger_n, t->d_merger_h, b->units, &s->merger0->weight, false);
    be->zero(be, t->vision.dx, n * be->act_bytes);
    be->rmsnorm_dx(be, t->vision.dx, t->d_merger_n, x, s->norm1, b->patches, v->hidden, v->eps);
    return 0;
}

/* One stage backwards: its intermediates are made again from its kept input, unseen by the tap's forward. */
static int stage_dx(struct walk *w, size_t i, float *nll, struct err *e)
{
    struct stage *s = &w->m->stage[i];
    struct acts *a = s->kind == STAGE_VISION ? &w->scratch->vision : &w->scratch->text;
    const struct kept *kept;
    struct tap *tap = w->tap;
    int ret;

    switch (s->kind) {
    case STAGE_HEAD: return head_dx(w, s, nll, e);
    case STAGE_PATCH:
        return show(w, s->patch, w->input[i], w->input[i + 1], w->scratch->vision.dx, w->b->d_patch_weight,
                    w->b->patches, e);
    case STAGE_MERGER:
        w->tap = NULL;
        ret = merger(w, s, w->input[i], e);
        w->tap = tap;
        return ret ? ret : merger_dx(w, s, w->input[i], e);
    case STAGE_VISION: choose_segments(w, s->block); /* fall through */
    case STAGE_TEXT:
        kept = choose_outputs(w, i, a);
        if (kept) {
            if (!kept->s)
                block_between(w, s, a, w->input[i]);
            return block_dx(w, s, a, w->input[i], e);
        }
        w->tap = NULL;
        ret = block(w, s, a, w->input[i], e);
        w->tap = tap;
        return ret ? ret : block_dx(w, s, a, w->input[i], e);
    }
    return 0;
}

int walk_backward(struct walk *w, float *nll, struct err *e)
{
    if (w->b->loss_rows > 0)
        for (size_t i = w->m->stages; i-- > w->from;)
            if (model_enter(w->m, &w->m->stage[i], e) || stage_dx(w, i, nll, e) || be_check(w->m->be, e))
                return -1;
    return 0;
}
