/* walk.c - the forward pass, stage by stage, with taps on every linear module */
#include "common/model/walk_parts.h"

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

void walk_rotate(struct walk *w, const struct stage *s, struct acts *a)
{
    struct backend *be = w->m->be;
    size_t hd = a->attention.head_dim, row = s->qkv ? 3 * a->hidden : 0;
    const struct attention *t = &a->attention;

    be->rope(be, a->qr, a->q_dim, a->q, row ? row : a->q_dim, a->cosine, a->sine, a->rows, t->heads, hd,
             false);
    be->rope(be, a->kr, a->kv_dim, a->k, row ? row : a->kv_dim, a->cosine, a->sine, a->rows, t->kv_heads, hd,
             false);
}

int walk_block(struct walk *w, const struct stage *s, struct acts *a, void *x, struct err *e)
{
    struct backend *be = w->m->be;
    struct kv_rows kv = {a->kr, a->v};

    norm_input(w, s, a->n1, x, a->rows, a->hidden, a->eps, linear_weight(s->qkv ? s->qkv : s->q));
    if (project_qkv(w, s, a, e))
        return -1;
    walk_rotate(w, s, a);
    if (s->kind == STAGE_TEXT && keep_kv(w, s, a, &kv, e))
        return -1;
    be->attention(be, &a->attention, a->o, a->lse, a->qr, kv.k, kv.v);
    if (apply(w, s->o, a->a, a->o, a->rows, e))
        return -1;
    be->add_rmsnorm(be, a->x1, a->n2, x, a->a, s->norm2, a->rows, a->hidden, a->eps, linear_weight(s->gate));
    if (apply_again(w, s->gate, a->g, a->n2, a->rows, e) || apply_again(w, s->up, a->u, a->n2, a->rows, e))
        return -1;
    be->swiglu(be, a->s, a->g, a->u, a->rows, a->inter, linear_weight(s->down));
    return apply_again(w, s->down, a->d, a->s, a->rows, e);
}

int walk_merger(struct walk *w, const struct stage *s, void *x, struct err *e)
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
    case STAGE_MERGER: return walk_merger(w, s, w->input[i], e) || embed(w, e) ? -1 : 0;
    case STAGE_HEAD: return head(w, s, e);
    case STAGE_VISION: walk_choose_segments(w, s->block); /* fall through */
    case STAGE_TEXT:
        walk_choose_outputs(w, i, a);
        if (walk_block(w, s, a, w->input[i], e))
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
