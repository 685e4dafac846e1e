/* kernels_attention.c - attention and its backward against fp64, which central differences check in turn */
#include "tests/unit/kernels.h"

/* A case: segment lengths, and the buffers that the reference works on, all dense. */
struct shape {
    const char *name;
    size_t segments, nq[6], nk[6], heads, kv_heads, dim;
    bool causal;
    size_t pad; /* elements between rows, beyond the heads */
};

static size_t total(const size_t *n, size_t segments)
{
    size_t sum = 0;

    for (size_t s = 0; s < segments; s++)
        sum += n[s];
    return sum;
}

/* Dense buffers of a case: rows of q, rows of k and v. */
static size_t q_size(const struct shape *c)
{
    return total(c->nq, c->segments) * c->heads * c->dim;
}

static size_t k_size(const struct shape *c)
{
    return total(c->nk, c->segments) * c->kv_heads * c->dim;
}

/* Rows of `width` spread to rows of `stride`; what lies between is 5. */
static float *spread(const double *x, size_t rows, size_t width, size_t stride)
{
    float *y = room(rows * stride * sizeof *y + 4);

    for (size_t i = 0; i < rows * stride; i++)
        y[i] = i % stride < width ? (float)x[i / stride * width + i % stride] : 5;
    return y;
}

/* Rows that differ by more than tol, or whose gap was written to. */
static size_t differs(const float *got, const double *want, size_t rows, size_t width, size_t stride,
                      double tol)
{
    size_t bad = 0;

    for (size_t i = 0; i < rows * stride; i++)
        if (i % stride < width)
            bad += !(fabs(got[i] - want[i / stride * width + i % stride]) <= tol);
        else
            bad += got[i] != 5;
    return bad;
}

static int32_t *offsets(const size_t *n, size_t segments)
{
    int32_t *cu = room((segments + 1) * sizeof *cu);

    cu[0] = 0;
    for (size_t s = 0; s < segments; s++)
        cu[s + 1] = cu[s] + (int32_t)n[s];
    return cu;
}

static size_t longest(const size_t *n, size_t segments)
{
    size_t max = 0;

    for (size_t s = 0; s < segments; s++)
        max = n[s] > max ? n[s] : max;
    return max;
}

static struct attention description(const struct shape *c)
{
    return (struct attention){.segments = c->segments,
                              .cu_q = offsets(c->nq, c->segments),
                              .cu_k = offsets(c->nk, c->segments),
                              .max_q = longest(c->nq, c->segments),
                              .max_k = longest(c->nk, c->segments),
                              .heads = c->heads,
                              .kv_heads = c->kv_heads,
                              .head_dim = c->dim,
                              .q_stride = c->heads * c->dim + c->pad,
                              .k_stride = c->kv_heads * c->dim + c->pad,
                              .v_stride = c->kv_heads * c->dim + 2 * c->pad,
                              .o_stride = c->heads * c->dim + 3 * c->pad,
                              .scale = 1 / sqrt((double)c->dim),
                              .causal = c->causal};
}

/* A case without gaps: inputs, outputs and gradients in fp64; lse is fp32 in either backend. */
struct dense {
    struct attention a;
    double *q, *k, *v, *d_o, *o, *dq, *dk, *dv;
    float *lse;
};

static struct dense dense_new(const struct shape *c)
{
    size_t nq = q_size(c), nk = k_size(c);
    struct shape tight = *c;

    tight.pad = 0;
    return (struct dense){.a = description(&tight),
                          .q = doubles(randoms(nq, 2), nq),
                          .k = doubles(randoms(nk, 2), nk),
                          .v = doubles(randoms(nk, 1), nk),
                          .d_o = doubles(randoms(nq, 1), nq),
                          .o = zeros(nq),
                          .dq = zeros(nq),
                          .dk = zeros(nk),
                          .dv = zeros(nk),
                          .lse = room((c->heads * total(c->nq, c->segments) + 1) * sizeof(float))};
}

static void run_exact(struct dense *e)
{
    exact->attention(exact, &e->a, e->o, e->lse, e->q, e->k, e->v);
    exact->attention_dx(exact, &e->a, e->dq, e->dk, e->dv, e->d_o, e->q, e->k, e->v, e->o, e->lse);
}

/*
 * Tolerances.  |q|, |k| <= 2 and |v|, |d_o| <= 1: a score is scale times dim products of at most 4, so at
 * most 4 sqrt(dim) with (dim + 3) roundings of that size: its error is t = 4 sqrt(dim) (dim + 3) U at the
 * very most, a relative error of a probability 2 t + the exponential's, of o (a mean of v) the same plus nk
 * roundings in fp64-like chunks.  The bound is never approached: errors add up like their root, so that a
 * tenth of it is asked for.  A gradient sums n such terms.
 */
static double tolerance(const struct shape *c)
{
    double dim = (double)c->dim, nk = (double)longest(c->nk, c->segments);

    return 0.1 * U * (8 * sqrt(dim) * (dim + 3) + nk + 8);
}

static void compare(const struct shape *c)
{
    struct dense e = dense_new(c);
    struct attention a = description(c);
    size_t rq = total(c->nq, c->segments), rk = total(c->nk, c->segments), wq = c->heads * c->dim,
           wk = c->kv_heads * c->dim, bad = 0;
    float *q = spread(e.q, rq, wq, a.q_stride), *k = spread(e.k, rk, wk, a.k_stride);
    float *v = spread(e.v, rk, wk, a.v_stride), *d_o = spread(e.d_o, rq, wq, a.o_stride);
    float *o = spread(e.o, rq, wq, a.o_stride), *dq = spread(e.o, rq, wq, a.q_stride);
    float *dk = spread(e.dk, rk, wk, a.k_stride), *dv = spread(e.dv, rk, wk, a.v_stride);
    float *lse = room((c->heads * rq + 1) * sizeof *lse);
    double tol = tolerance(c), sums = (double)(c->heads / c->kv_heads * longest(c->nq, c->segments) + 4);

    for (size_t i = 0; i < rk * a.k_stride; i++) /* must be overwritten, not added to */
        dk[i] = i % a.k_stride < wk ? 3 : 5;
    for (size_t i = 0; i < rk * a.v_stride; i++)
        dv[i] = i % a.v_stride < wk ? 3 : 5;
    run_exact(&e);
    be->attention(be, &a, o, NULL, q, k, v);
    bad = differs(o, e.o, rq, wq, a.o_stride, tol);
    be->attention(be, &a, o, lse, q, k, v);
    for (size_t i = 0; i < c->heads * rq; i++)
        bad += !(lse[i] == e.lse[i] || fabs(lse[i] - e.lse[i]) <= tol);
    CHECK(bad + differs(o, e.o, rq, wq, a.o_stride, tol) == 0, "attention, %s", c->name);
    be->attention_dx(be, &a, dq, dk, dv, d_o, q, k, v, o, lse);
    bad = differs(dq, e.dq, rq, wq, a.q_stride, 4 * tol) + differs(dk, e.dk, rk, wk, a.k_stride, sums * tol) +
          differs(dv, e.dv, rk, wk, a.v_stride, sums * tol);
    CHECK(bad == 0, "attention_dx, %s", c->name);
    done();
}

/* The loss sum(o d_o) as a function of q, k and v side by side. */
struct loss {
    const struct shape *c;
    struct dense *e;
};

static double loss_at(const double *x, const void *context)
{
    const struct loss *l = context;
    double sum = 0;

    memcpy(l->e->q, x, q_size(l->c) * sizeof *x);
    memcpy(l->e->k, x + q_size(l->c), k_size(l->c) * sizeof *x);
    memcpy(l->e->v, x + q_size(l->c) + k_size(l->c), k_size(l->c) * sizeof *x);
    run_exact(l->e);
    for (size_t i = 0; i < q_size(l->c); i++)
        sum += l->e->o[i] * l->e->d_o[i];
    return sum;
}

static void reference_is_right(const struct shape *c)
{
    struct dense e = dense_new(c);
    size_t nq = q_size(c), nk = k_size(c);
    double *x = zeros(nq + 2 * nk), *gradient = zeros(nq + 2 * nk);

    memcpy(x, e.q, nq * sizeof *x);
    memcpy(x + nq, e.k, nk * sizeof *x);
    memcpy(x + nq + nk, e.v, nk * sizeof *x);
    run_exact(&e);
    memcpy(gradient, e.dq, nq * sizeof *x);
    memcpy(gradient + nq, e.dk, nk * sizeof *x);
    memcpy(gradient + nq + nk, e.dv, nk * sizeof *x);
    CHECK(gradient_error(loss_at, x, nq + 2 * nk, gradient, &(struct loss){c, &e}) < 1e-8,
          "fp64 gradients equal central differences, %s", c->name);
    done();
}

static void not_a_number(void)
{
    struct shape c = {"", 2, {5, 40}, {5, 40}, 2, 1, 8, false, 0};
    struct attention a = description(&c);
    float *q = randoms(45 * 16, 1), *k = randoms(45 * 8, 1), *v = randoms(45 * 8, 1), *o = room(45 * 16 * 4);
    float *lse = room(90 * 4);
    size_t bad = 0;

    k[6 * 8] = NAN; /* a key of the second segment: every row of that one, and no other */
    be->attention(be, &a, o, lse, q, k, v);
    for (size_t i = 0; i < 45 * 16; i++)
        bad += isnan(o[i]) != (i / 16 >= 5);
    for (size_t i = 0; i < 90; i++)
        bad += isnan(lse[i]) != (i % 45 >= 5);
    CHECK(bad == 0, "a NaN in a key reaches its segment's outputs and log-sums, and no other's");
    k[6 * 8] = 0;
    q[3 * 16 + 8] = NAN; /* row 3, head 1 */
    be->attention(be, &a, o, lse, q, k, v);
    for (size_t i = bad = 0; i < 45 * 16; i++)
        bad += isnan(o[i]) != (i / 8 == 7);
    CHECK(bad == 0, "a NaN in a query reaches its own row and head");
    done();
}

int main(void)
{
    static const struct shape shapes[] = {
        {"one row", 1, {1}, {1}, 1, 1, 8, true, 0},
        {"no rows", 1, {0}, {0}, 2, 1, 8, true, 0},
        {"empty segments", 4, {0, 3, 0, 2}, {0, 3, 0, 2}, 2, 2, 8, true, 1},
        {"segments without queries or without keys", 4, {0, 3, 2, 4}, {5, 0, 2, 4}, 4, 2, 8, false, 1},
        {"31, 32 and 33 rows", 3, {31, 32, 33}, {31, 32, 33}, 3, 1, 32, true, 3},
        {"31, 32 and 33 rows, not causal", 3, {31, 32, 33}, {31, 32, 33}, 4, 4, 24, false, 0},
        {"odd sizes", 2, {7, 13}, {11, 13}, 5, 5, 7, false, 1},
        {"captions, 6:2 heads of 32", 5, {25, 12, 1, 30, 25}, {25, 12, 1, 30, 25}, 6, 2, 32, true, 0},
        {"windows of 64, 4 heads of 24", 3, {64, 16, 64}, {64, 16, 64}, 4, 4, 24, false, 192},
        {"8:1 heads of 128", 2, {33, 100}, {33, 100}, 8, 1, 128, true, 0},
        {"more heads than a block has rows", 1, {3}, {3}, 100, 1, 8, true, 0},
        {"more keys than queries", 3, {1, 5, 97}, {50, 9, 200}, 4, 2, 16, true, 0},
        {"more queries than keys", 2, {50, 9}, {3, 0}, 4, 2, 16, true, 2},
        {"one long segment", 1, {1000}, {1000}, 2, 1, 80, true, 0},
        {"one long segment, not causal", 1, {1100}, {1100}, 1, 1, 24, false, 0},
    };
    static const struct shape small[] = {
        {"causal, 4:2 heads", 2, {3, 4}, {3, 6}, 4, 2, 3, true, 0},
        {"full, some rows see nothing", 2, {2, 3}, {0, 4}, 2, 2, 4, false, 0},
    };

    if (start())
        return 1;
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        reference_is_right(&small[i]);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        compare(&shapes[i]);
    not_a_number();
    return finish();
}
