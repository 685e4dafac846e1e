/*
 * attention.c - softmax attention over rows of segments, and its backward
 *
 * The work is cut into pairs (segment, kv head) and, inside a pair, into blocks of query rows.  A kv head's
 * query heads count as rows of one block, so that its keys and values are packed once for all of them and
 * products are not skinny.  A block's scores against all keys that it sees are the largest thing held.
 *
 * A masked score becomes probability 0 after the product: a NaN in v reaches the block's earlier rows too.
 */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/vmath.h"

enum { BLOCK = 96 }; /* query rows of a block, all query heads of the kv head together */

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* One segment under one kv head. */
struct pair {
    size_t q0, nq, k0, nk; /* rows */
    size_t head, kv_head;  /* the first query head, and the kv head */
};

static struct pair pair_at(const struct attention *a, size_t i)
{
    size_t s = i / a->kv_heads, kv = i % a->kv_heads;

    return (struct pair){.q0 = (size_t)a->cu_q[s],
                         .nq = (size_t)(a->cu_q[s + 1] - a->cu_q[s]),
                         .k0 = (size_t)a->cu_k[s],
                         .nk = (size_t)(a->cu_k[s + 1] - a->cu_k[s]),
                         .head = kv * (a->heads / a->kv_heads),
                         .kv_head = kv};
}

/* Query heads of a kv head, and tokens of a block. */
static size_t group_of(const struct attention *a)
{
    return a->heads / a->kv_heads;
}

static size_t block_tokens(const struct attention *a)
{
    return group_of(a) < BLOCK ? BLOCK / group_of(a) : 1;
}

/* Keys that query token t of the pair sees. */
static size_t visible(const struct attention *a, const struct pair *p, size_t t)
{
    if (!a->causal)
        return p->nk;
    return p->nk + t + 1 > p->nq ? min(p->nk, p->nk + t + 1 - p->nq) : 0;
}

/* A thread's room: packed operands (K^T, V^T [head_dim, nk]; V, K, rows [, head_dim]), and blocks of rows. */
enum part {
    KEYS_T,
    VALUES,
    Q,
    SCORES,
    O,
    FORWARD_PARTS,
    KEYS = FORWARD_PARTS,
    VALUES_T,
    D_O,
    D_SCORES,
    ROWS,
    DELTA,
    PARTS
};

/* Where the first n parts begin, aligned to cache lines; returns the floats they take together. */
static size_t room_layout(size_t offset[PARTS], const struct attention *a, size_t n)
{
    size_t rows = block_tokens(a) * group_of(a), dim = a->head_dim, total = 0;
    size_t floats[PARTS] = {
        [KEYS_T] = dim * gemm_padded(a->max_k),
        [VALUES] = a->max_k * gemm_padded(dim),
        [Q] = rows * dim,
        [SCORES] = rows * a->max_k,
        [O] = rows * dim,
        [KEYS] = a->max_k * gemm_padded(dim),
        [VALUES_T] = dim * gemm_padded(a->max_k),
        [D_O] = rows * dim,
        [D_SCORES] = rows * a->max_k,
        [ROWS] = rows * gemm_padded(dim),
        [DELTA] = rows,
    };

    for (size_t i = 0; i < n; i++) {
        offset[i] = total;
        total += (floats[i] + 15) / 16 * 16;
    }
    return total;
}

/* One call, as a thread sees it. */
struct call {
    const struct attention *a;
    const float *q, *k, *v, *d_o, *out;
    float *o, *dq, *dk, *dv, *lse;
    size_t queries; /* rows of q */
    float *part[PARTS];
};

/* Multiply-adds of the scores, if all segments were as long as the longest. */
static size_t work(const struct call *c)
{
    return c->queries * c->a->max_k * c->a->heads * c->a->head_dim;
}

/* This thread's copy of a call. */
static struct call enter(const struct call *shared, float *room, const size_t offset[PARTS], size_t floats,
                         size_t n)
{
    struct call c = *shared;

    for (size_t i = 0; i < n; i++)
        c.part[i] = room + (size_t)omp_get_thread_num() * floats + offset[i];
    return c;
}

/* A block's rows lie token by token, in each the group's heads: contiguous in a token's row. */
static void gather_block(const struct call *c, float *to, const float *from, size_t stride,
                         const struct pair *p, size_t t0, size_t tokens)
{
    size_t width = group_of(c->a) * c->a->head_dim;

    for (size_t t = 0; t < tokens; t++)
        memcpy(to + t * width, from + (p->q0 + t0 + t) * stride + p->head * c->a->head_dim,
               width * sizeof *to);
}

static void scatter_block(const struct call *c, float *to, size_t stride, const float *from,
                          const struct pair *p, size_t t0, size_t tokens)
{
    size_t width = group_of(c->a) * c->a->head_dim;

    for (size_t t = 0; t < tokens; t++)
        memcpy(to + (p->q0 + t0 + t) * stride + p->head * c->a->head_dim, from + t * width,
               width * sizeof *to);
}

/* Rows of K or V that belong to the pair, [nk, head_dim] or transposed. */
static struct view side(const float *x, size_t stride, const struct call *c, const struct pair *p,
                        bool transposed)
{
    const float *at = x + p->k0 * stride + p->kv_head * c->a->head_dim;

    return transposed ? (struct view){at, 1, stride} : (struct view){at, stride, 1};
}

static struct view dense(const float *x, size_t cols, bool transposed)
{
    return transposed ? (struct view){x, 1, cols} : (struct view){x, cols, 1};
}

static float *lse_at(const struct call *c, const struct pair *p, size_t t, size_t head)
{
    return c->lse + (p->head + head) * c->queries + p->q0 + t;
}

/* s [n], of which the first `seen` count, becomes exp(s - max); returns 1 / sum, or 0 if none is seen. */
static float softmax_row(float *s, size_t seen, size_t n, float *lse)
{
    float max = max_f32(s, seen);
    double sum = exp_sum_f32(s, s, seen, max);

    for (size_t i = seen; i < n; i++)
        s[i] = 0;
    *lse = seen ? (float)(max + log(sum)) : -INFINITY;
    return seen ? (float)(1 / sum) : 0;
}

static void forward_block(const struct call *c, const struct pair *p, size_t t0, size_t tokens,
                          struct packed keys_t, struct packed values)
{
    const struct attention *a = c->a;
    size_t group = group_of(a), dim = a->head_dim, rows = tokens * group, n = visible(a, p, t0 + tokens - 1);
    float *q = c->part[Q], *s = c->part[SCORES], *o = c->part[O], lse;

    gather_block(c, q, c->q, a->q_stride, p, t0, tokens);
    gemm(s, n, dense(q, dim, false), keys_t, rows, n, dim, (float)a->scale, false, NULL);
    for (size_t r = 0; r < rows; r++) {
        size_t t = t0 + r / group;
        float inv = softmax_row(s + r * n, visible(a, p, t), n, &lse);

#pragma omp simd
        for (size_t i = 0; i < n; i++)
            s[r * n + i] *= inv;
        if (c->lse)
            *lse_at(c, p, t, r % group) = lse;
    }
    gemm(o, dim, dense(s, n, false), values, rows, dim, n, 1, false, NULL);
    scatter_block(c, c->o, a->o_stride, o, p, t0, tokens);
}

void cpu_attention(struct backend *be, const struct attention *a, void *o, float *lse, const void *q,
                   const void *k, const void *v)
{
    size_t offset[PARTS], floats = room_layout(offset, a, FORWARD_PARTS), tokens = block_tokens(a);
    size_t blocks = (a->max_q + tokens - 1) / tokens, pairs = a->segments * a->kv_heads;
    struct call call = {.a = a, .q = q, .k = k, .v = v, .o = o, .lse = lse};
    float *room;

    if (cpu_idle(be, pairs * blocks) || !(room = cpu_scratch(be, floats * (size_t)omp_get_max_threads())))
        return;
    call.queries = (size_t)a->cu_q[a->segments];
#pragma omp parallel if (work(&call) > CPU_SERIAL_PRODUCT)
    {
        struct call c = enter(&call, room, offset, floats, FORWARD_PARTS);
        struct packed keys_t = {0}, values = {0};
        size_t last = pairs; /* whose keys and values are packed */

#pragma omp for schedule(dynamic, 4)
        for (size_t i = 0; i < pairs * blocks; i++) {
            struct pair p = pair_at(a, i / blocks);
            size_t t0 = i % blocks * tokens;

            if (t0 >= p.nq)
                continue;
            if (last != i / blocks) {
                keys_t = gemm_pack(c.part[KEYS_T], side(k, a->k_stride, &c, &p, true), a->head_dim, p.nk);
                values = gemm_pack(c.part[VALUES], side(v, a->v_stride, &c, &p, false), p.nk, a->head_dim);
                last = i / blocks;
            }
            forward_block(&c, &p, t0, min(tokens, p.nq - t0), keys_t, values);
        }
    }
}

/* s becomes the probabilities P from the forward pass's log-sums, ds = dP becomes dS = P (dP - delta). */
static void scores_backward(const struct call *c, const struct pair *p, size_t t0, size_t rows, size_t n)
{
    size_t group = group_of(c->a);

    for (size_t r = 0; r < rows; r++) {
        float *s = c->part[SCORES] + r * n, *ds = c->part[D_SCORES] + r * n, delta = c->part[DELTA][r];
        size_t t = t0 + r / group, seen = visible(c->a, p, t);
        float lse = *lse_at(c, p, t, r % group);

#pragma omp simd
        for (size_t i = 0; i < seen; i++) {
            s[i] = exp_f32(s[i] - lse);
            ds[i] = s[i] * (ds[i] - delta);
        }
        for (size_t i = seen; i < n; i++)
            s[i] = ds[i] = 0;
    }
}

/* delta[r] = dO[r] . O[r] */
static void row_products(float *delta, const float *d_o, const float *o, size_t rows, size_t dim)
{
    for (size_t r = 0; r < rows; r++) {
        double sum = 0;

#pragma omp simd reduction(+ : sum)
        for (size_t i = 0; i < dim; i++)
            sum += (double)d_o[r * dim + i] * o[r * dim + i];
        delta[r] = (float)sum;
    }
}

/* What one block of queries adds to dK and dV, and its dQ. */
static void backward_block(const struct call *c, const struct pair *p, size_t t0, size_t tokens,
                           struct packed keys_t, struct packed values_t, struct packed keys)
{
    const struct attention *a = c->a;
    size_t dim = a->head_dim, rows = tokens * group_of(a), n = visible(a, p, t0 + tokens - 1);
    float *q = c->part[Q], *s = c->part[SCORES], *o = c->part[O], *d_o = c->part[D_O],
          *ds = c->part[D_SCORES];
    float *dk = c->dk + p->k0 * a->k_stride + p->kv_head * dim,
          *dv = c->dv + p->k0 * a->v_stride + p->kv_head * dim;
    struct packed packed;

    gather_block(c, q, c->q, a->q_stride, p, t0, tokens);
    gather_block(c, o, c->out, a->o_stride, p, t0, tokens);
    gather_block(c, d_o, c->d_o, a->o_stride, p, t0, tokens);
    row_products(c->part[DELTA], d_o, o, rows, dim);
    gemm(s, n, dense(q, dim, false), keys_t, rows, n, dim, (float)a->scale, false, NULL);
    gemm(ds, n, dense(d_o, dim, false), values_t, rows, n, dim, 1, false, NULL);
    scores_backward(c, p, t0, rows, n);
    packed = gemm_pack(c->part[ROWS], dense(d_o, dim, false), rows, dim);
    gemm(dv, a->v_stride, dense(s, n, true), packed, n, dim, rows, 1, true, NULL);
    packed = gemm_pack(c->part[ROWS], dense(q, dim, false), rows, dim);
    gemm(dk, a->k_stride, dense(ds, n, true), packed, n, dim, rows, (float)a->scale, true, NULL);
    gemm(q, dim, dense(ds, n, false), keys, rows, dim, n, (float)a->scale, false, NULL);
    scatter_block(c, c->dq, a->q_stride, q, p, t0, tokens);
}

static void backward_pair(const struct call *c, const struct pair *p)
{
    const struct attention *a = c->a;
    size_t dim = a->head_dim, tokens = block_tokens(a);
    struct packed keys_t = gemm_pack(c->part[KEYS_T], side(c->k, a->k_stride, c, p, true), dim, p->nk);
    struct packed values_t = gemm_pack(c->part[VALUES_T], side(c->v, a->v_stride, c, p, true), dim, p->nk);
    struct packed keys = gemm_pack(c->part[KEYS], side(c->k, a->k_stride, c, p, false), p->nk, dim);

    for (size_t j = p->k0; j < p->k0 + p->nk; j++) {
        memset(c->dk + j * a->k_stride + p->kv_head * dim, 0, dim * sizeof(float));
        memset(c->dv + j * a->v_stride + p->kv_head * dim, 0, dim * sizeof(float));
    }
    for (size_t t0 = 0; t0 < p->nq; t0 += tokens)
        backward_block(c, p, t0, min(tokens, p->nq - t0), keys_t, values_t, keys);
}

void cpu_attention_dx(struct backend *be, const struct attention *a, void *dq, void *dk, void *dv,
                      const void *d_o, const void *q, const void *k, const void *v, const void *o,
                      const float *lse)
{
    size_t offset[PARTS], floats = room_layout(offset, a, PARTS), pairs = a->segments * a->kv_heads;
    struct call call = {.a = a, .q = q, .k = k, .v = v, .out = o, .d_o = d_o, .dq = dq, .dk = dk, .dv = dv};
    float *room;

    if (cpu_idle(be, pairs) || !(room = cpu_scratch(be, floats * (size_t)omp_get_max_threads())))
        return;
    call.lse = (float *)lse; /* read only */
    call.queries = (size_t)a->cu_q[a->segments];
#pragma omp parallel if (work(&call) > CPU_SERIAL_PRODUCT)
    {
        struct call c = enter(&call, room, offset, floats, PARTS);

#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < pairs; i++) {
            struct pair p = pair_at(a, i);

            backward_pair(&c, &p);
        }
    }
}
