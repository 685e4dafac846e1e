/* walk_backward.c - the backward pass, from the loss to the first stage, with taps on every linear module */
#include "common/model/walk_parts.h"

static int show(struct walk *w, struct linear *l, const void *x, const void *y, const void *dy,
                const float *row_weight, size_t rows, struct err *e)
{
    return w->tap && w->tap->backward ? w->tap->backward(w->tap, l, x, y, dy, row_weight, rows, e) : 0;
}

/* What the input of l is made for, when l is shown next. */
static const struct weight *next_of(struct walk *w, const struct linear *l)
{
    return w->tap && w->tap->weight ? w->tap->weight(w->tap, l) : NULL;
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

/*
 * A block backwards, in three parts.  With `again`, a has what products and attention made, but not what is
 * between them: each part makes that again, the same bits as in walk_block(), just before it is read, and the
 * input of a module just before the module is shown.
 */

/* From dL/d(out) to dL/dx1, both in a->dx. */
static int mlp_dx(struct walk *w, const struct stage *s, struct acts *a, const void *x, bool again,
                  struct err *e)
{
    struct backend *be = w->m->be;

    be->linear_dx(be, a->ds, a->dx, a->rows, &s->down->weight, false);
    be->swiglu_dx(be, a->dg, a->du, again ? a->s : NULL, a->ds, a->g, a->u, a->rows, a->inter,
                  again ? next_of(w, s->down) : NULL);
    if (show(w, s->down, a->s, a->d, a->dx, a->row_weight, a->rows, e))
        return -1;
    if (again)
        be->add_rmsnorm(be, a->x1, a->n2, x, a->a, s->norm2, a->rows, a->hidden, a->eps, next_of(w, s->up));
    if (show(w, s->up, a->n2, a->u, a->du, a->row_weight, a->rows, e) ||
        show(w, s->gate, a->n2, a->g, a->dg, a->row_weight, a->rows, e))
        return -1;
    be->linear_dx(be, a->dn, a->dg, a->rows, &s->gate->weight, false);
    be->linear_dx(be, a->dn, a->du, a->rows, &s->up->weight, true);
    be->rmsnorm_dx(be, a->dx, a->dn, a->x1, s->norm2, a->rows, a->hidden, a->eps);
    return 0;
}

/* From dL/dx1 in a->dx to dL/dq, dL/dk and dL/dv. */
static int attention_dx(struct walk *w, const struct stage *s, struct acts *a, bool again, struct err *e)
{
    struct backend *be = w->m->be;
    size_t hd = a->attention.head_dim, row = s->qkv ? 3 * a->hidden : 0;
    const struct attention *t = &a->attention;

    if (show(w, s->o, a->o, a->a, a->dx, a->row_weight, a->rows, e))
        return -1;
    be->linear_dx(be, a->d_o, a->dx, a->rows, &s->o->weight, false);
    if (again)
        walk_rotate(w, s, a);
    be->attention_dx(be, t, a->dqr, a->dkr, a->dv, a->d_o, a->qr, a->kr, a->v, a->o, a->lse);
    be->rope(be, a->dq, row ? row : a->q_dim, a->dqr, a->q_dim, a->cosine, a->sine, a->rows, t->heads, hd,
             true);
    be->rope(be, a->dk, row ? row : a->kv_dim, a->dkr, a->kv_dim, a->cosine, a->sine, a->rows, t->kv_heads,
             hd, true);
    return 0;
}

/* From those to dL/dx, which is added to dL/dx1 in a->dx. */
static int qkv_dx(struct walk *w, const struct stage *s, struct acts *a, const void *x, bool again,
                  struct err *e)
{
    struct backend *be = w->m->be;
    struct linear *first = s->qkv ? s->qkv : s->q;

    if (again)
        be->rmsnorm(be, a->n1, x, s->norm1, a->rows, a->hidden, a->eps, next_of(w, first));
    if (show(w, first, a->n1, a->q, a->dq, a->row_weight, a->rows, e))
        return -1;
    if (!s->qkv && (show(w, s->k, a->n1, a->k, a->dk, a->row_weight, a->rows, e) ||
                    show(w, s->v, a->n1, a->v, a->dv, a->row_weight, a->rows, e)))
        return -1;
    be->linear_dx(be, a->dn, a->dq, a->rows, &first->weight, false);
    if (!s->qkv) {
        be->linear_dx(be, a->dn, a->dk, a->rows, &s->k->weight, true);
        be->linear_dx(be, a->dn, a->dv, a->rows, &s->v->weight, true);
    }
    be->rmsnorm_dx(be, a->dx, a->dn, x, s->norm1, a->rows, a->hidden, a->eps);
    return 0;
}

static int block_dx(struct walk *w, const struct stage *s, struct acts *a, const void *x, bool again,
                    struct err *e)
{
    return mlp_dx(w, s, a, x, again, e) || attention_dx(w, s, a, again, e) || qkv_dx(w, s, a, x, again, e)
               ? -1
               : 0;
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
        ret = walk_merger(w, s, w->input[i], e);
        w->tap = tap;
        return ret ? ret : merger_dx(w, s, w->input[i], e);
    case STAGE_VISION: walk_choose_segments(w, s->block); /* fall through */
    case STAGE_TEXT:
        kept = walk_choose_outputs(w, i, a);
        if (kept)
            return block_dx(w, s, a, w->input[i], !kept->s, e);
        w->tap = NULL;
        ret = walk_block(w, s, a, w->input[i], e);
        w->tap = tap;
        return ret ? ret : block_dx(w, s, a, w->input[i], false, e);
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
