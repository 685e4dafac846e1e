/*
 * attention.c - attention and its backward, CUDA against the CPU
 *
 * In bf16 the probabilities and dS are rounded to bf16 before they are multiplied, and so are the results:
 * 2^-9 / sqrt(3) each, less where many of them add up.
 */
#include "tests/gpu/twin.h"

struct shape {
    const char *name;
    size_t segments, nq[6], nk[6], heads, kv_heads, dim;
    bool causal;
    size_t pad;
};

static size_t total(const size_t *n, size_t segments)
{
    size_t sum = 0;

    for (size_t s = 0; s < segments; s++)
        sum += n[s];
    return sum;
}

static size_t longest(const size_t *n, size_t segments)
{
    size_t max = 0;

    for (size_t s = 0; s < segments; s++)
        max = n[s] > max ? n[s] : max;
    return max;
}

static struct twin offsets(const size_t *n, size_t segments)
{
    int32_t cu[8] = {0};

    for (size_t s = 0; s < segments; s++)
        cu[s + 1] = cu[s] + (int32_t)n[s];
    return plain(cu, (segments + 1) * sizeof *cu);
}

static void compare(const struct shape *c)
{
    size_t rq = total(c->nq, c->segments), rk = total(c->nk, c->segments), lq = longest(c->nq, c->segments);
    size_t qs = c->heads * c->dim + c->pad, ks = c->kv_heads * c->dim + c->pad,
           vs = c->kv_heads * c->dim + 3 * c->pad, os = c->heads * c->dim + 2 * c->pad;
    struct twin cu_q = offsets(c->nq, c->segments), cu_k = offsets(c->nk, c->segments),
                q = randoms(rq * qs, 2), k = randoms(rk * ks, 2), v = randoms(rk * vs, 1),
                g = randoms(rq * os, 1);
    /* What lies between the rows is equal on both sides and must stay. */
    struct twin o = randoms(rq * os, 1), dq = randoms(rq * qs, 1), dk = randoms(rk * ks, 1),
                dv = randoms(rk * vs, 1);
    struct twin lse = random_f32(c->heads * rq, 1);
    struct attention a = {.segments = c->segments,
                          .cu_q = cu_q.cpu,
                          .cu_k = cu_k.cpu,
                          .max_q = lq,
                          .max_k = longest(c->nk, c->segments),
                          .heads = c->heads,
                          .kv_heads = c->kv_heads,
                          .head_dim = c->dim,
                          .q_stride = qs,
                          .k_stride = ks,
                          .v_stride = vs,
                          .o_stride = os,
                          .scale = (float)(1 / sqrt((double)c->dim)),
                          .causal = c->causal};
    struct attention b = a;
    double tol = either(1e-5, 5e-3), d[5];
    uint64_t first[4], second[4];

    b.cu_q = cu_q.gpu;
    b.cu_k = cu_k.gpu;
    cpu->attention(cpu, &a, o.cpu, NULL, q.cpu, k.cpu, v.cpu);
    gpu->attention(gpu, &b, o.gpu, NULL, q.gpu, k.gpu, v.gpu);
    d[0] = apart(o);
    cpu->attention(cpu, &a, o.cpu, lse.cpu, q.cpu, k.cpu, v.cpu);
    gpu->attention(gpu, &b, o.gpu, lse.gpu, q.gpu, k.gpu, v.gpu);
    d[1] = apart_f32(lse, c->heads * rq);
    CHECK(d[0] <= tol && apart(o) <= tol && d[1] <= 1e-5, "attention, %s: %.2g, lse %.2g", c->name, d[0],
          d[1]);
    cpu->attention_dx(cpu, &a, dq.cpu, dk.cpu, dv.cpu, g.cpu, q.cpu, k.cpu, v.cpu, o.cpu, lse.cpu);
    gpu->attention_dx(gpu, &b, dq.gpu, dk.gpu, dv.gpu, g.gpu, q.gpu, k.gpu, v.gpu, o.gpu, lse.gpu);
    d[2] = apart(dq);
    d[3] = apart(dk);
    d[4] = apart(dv);
    CHECK(d[2] <= 2 * tol && d[3] <= 2 * tol && d[4] <= 2 * tol, "attention_dx, %s: %.2g %.2g %.2g", c->name,
          d[2], d[3], d[4]);
    for (int twice = 0; twice < 2; twice++) {
        uint64_t *h = twice ? second : first;

        h[0] = bits_of(o.gpu, rq * os * gpu->act_bytes);
        h[1] = bits_of(dq.gpu, rq * qs * gpu->act_bytes);
        h[2] = bits_of(dk.gpu, rk * ks * gpu->act_bytes);
        h[3] = bits_of(dv.gpu, rk * vs * gpu->act_bytes);
        gpu->attention(gpu, &b, o.gpu, lse.gpu, q.gpu, k.gpu, v.gpu);
        gpu->attention_dx(gpu, &b, dq.gpu, dk.gpu, dv.gpu, g.gpu, q.gpu, k.gpu, v.gpu, o.gpu, lse.gpu);
    }
    CHECK(!memcmp(first, second, sizeof first), "twice the same bits");
    done();
}

/* Elements that are NaN in the first five rows, or are not in the others. */
static size_t misplaced(struct twin t, size_t row)
{
    float *host = host_room(t.n);
    size_t bad = 0;

    gpu->download_act(gpu, host, t.gpu, t.n);
    for (size_t i = 0; i < t.n; i++)
        bad += isnan(host[i]) != (i / row >= 5);
    free(host);
    return bad;
}

static void not_a_number(size_t dim, size_t rows)
{
    size_t n = (5 + rows) * 2 * dim;
    struct twin q = randoms(n, 1), k = randoms(n / 2, 1), v = randoms(n / 2, 1), g = randoms(n, 1),
                o = blank(n), dq = blank(n), dk = blank(n / 2), dv = blank(n / 2),
                lse = random_f32(2 * (5 + rows), 1), cu;
    int32_t offset[] = {0, 5, 5 + (int32_t)rows};
    float nan = NAN;
    struct attention a = {.segments = 2,
                          .max_q = rows,
                          .max_k = rows,
                          .heads = 2,
                          .kv_heads = 1,
                          .head_dim = dim,
                          .q_stride = 2 * dim,
                          .k_stride = dim,
                          .v_stride = dim,
                          .o_stride = 2 * dim,
                          .scale = 0.3f};

    cu = plain(offset, sizeof offset);
    a.cu_q = a.cu_k = cu.gpu;
    gpu->upload_act(gpu, (char *)k.gpu + 6 * dim * gpu->act_bytes, &nan, 1);
    gpu->attention(gpu, &a, o.gpu, lse.gpu, q.gpu, k.gpu, v.gpu);
    CHECK(misplaced(o, 2 * dim) == 0,
          "a NaN in a key of %zu reaches its segment's %zu outputs, and no other's", dim, rows);
    gpu->attention_dx(gpu, &a, dq.gpu, dk.gpu, dv.gpu, g.gpu, q.gpu, k.gpu, v.gpu, o.gpu, lse.gpu);
    CHECK(misplaced(dq, 2 * dim) == 0 && misplaced(dk, dim) == 0 && misplaced(dv, dim) == 0,
          "a NaN in a key of %zu reaches its segment's %zu gradients, and no other's", dim, rows);
    done();
}

static void everything(void)
{
    static const struct shape shapes[] = {
        {"one row", 1, {1}, {1}, 1, 1, 8, true, 0},
        {"one row and two, 16", 2, {1, 2}, {1, 2}, 1, 1, 16, true, 0},
        {"no rows", 1, {0}, {0}, 2, 1, 8, true, 0},
        {"empty segments", 4, {0, 3, 0, 2}, {0, 3, 0, 2}, 2, 2, 8, true, 1},
        {"empty segments, 32", 4, {0, 3, 0, 2}, {0, 3, 0, 2}, 2, 2, 32, true, 8},
        {"segments without queries or without keys", 4, {0, 3, 2, 4}, {5, 0, 2, 4}, 4, 2, 8, false, 1},
        {"segments without queries or without keys, 48", 4, {0, 3, 2, 4}, {5, 0, 2, 4}, 4, 2, 48, false, 0},
        {"31, 32 and 33 rows", 3, {31, 32, 33}, {31, 32, 33}, 3, 1, 32, true, 3},
        {"31, 32 and 33 rows, tensor cores", 3, {31, 32, 33}, {31, 32, 33}, 3, 1, 32, true, 0},
        {"31, 32 and 33 rows, not causal", 3, {31, 32, 33}, {31, 32, 33}, 4, 4, 24, false, 0},
        {"63, 64 and 65 rows, not causal", 3, {63, 64, 65}, {63, 64, 65}, 2, 2, 96, false, 0},
        {"odd sizes", 2, {7, 13}, {11, 13}, 5, 5, 7, false, 1},
        {"captions, 6:2 heads of 32", 5, {25, 12, 1, 30, 25}, {25, 12, 1, 30, 25}, 6, 2, 32, true, 0},
        {"captions, 16:2 heads of 128", 5, {25, 12, 1, 30, 25}, {25, 12, 1, 30, 25}, 16, 2, 128, true, 0},
        {"windows of 64, 4 heads of 24", 3, {64, 16, 64}, {64, 16, 64}, 4, 4, 24, false, 192},
        {"windows of 64, 16 heads of 80", 3, {64, 16, 64}, {64, 16, 64}, 16, 16, 80, false, 2560},
        /* Segments that are one tile in the backward, and their neighbours that are not. */
        {"windows of 64 to 1, 16", 6, {64, 1, 33, 31, 0, 32}, {64, 1, 33, 31, 0, 32}, 1, 1, 16, false, 8},
        {"windows of 64 to 1, 32, causal",
         6,
         {64, 1, 33, 31, 0, 32},
         {64, 1, 33, 31, 0, 32},
         2,
         2,
         32,
         true,
         0},
        {"windows of 64 to 1, 64", 6, {64, 1, 33, 31, 0, 32}, {64, 1, 33, 31, 0, 32}, 3, 3, 64, false, 384},
        {"windows of 64 to 1, 64, causal",
         6,
         {64, 1, 33, 31, 0, 32},
         {64, 1, 33, 31, 0, 32},
         1,
         1,
         64,
         true,
         8},
        {"windows of 64 to 1, 80", 6, {64, 1, 33, 31, 0, 32}, {64, 1, 33, 31, 0, 32}, 3, 3, 80, false, 480},
        {"windows of 64 to 1, 80, causal",
         6,
         {64, 1, 33, 31, 0, 32},
         {64, 1, 33, 31, 0, 32},
         2,
         2,
         80,
         true,
         16},
        {"windows of 64 to 1, 112", 6, {64, 1, 33, 31, 0, 32}, {64, 1, 33, 31, 0, 32}, 2, 2, 112, false, 8},
        {"windows of 64 to 1, 128", 6, {64, 1, 33, 31, 0, 32}, {64, 1, 33, 31, 0, 32}, 2, 2, 128, false, 512},
        {"windows of 64 to 1, 128, causal",
         6,
         {64, 1, 33, 31, 0, 32},
         {64, 1, 33, 31, 0, 32},
         1,
         1,
         128,
         true,
         0},
        {"windows of one row and of two, 80", 4, {1, 1, 2, 1}, {1, 1, 2, 1}, 2, 2, 80, false, 0},
        {"windows of 64, 80, rows not aligned", 2, {64, 16}, {64, 16}, 2, 2, 80, false, 3},
        {"windows of 64 and 65, 80", 3, {64, 65, 16}, {64, 65, 16}, 2, 2, 80, false, 8},
        {"more keys than queries in a window, 80", 4, {1, 5, 30, 0}, {50, 9, 64, 7}, 2, 2, 80, true, 8},
        {"more queries than keys in a window, 96", 4, {50, 9, 64, 5}, {3, 0, 33, 5}, 1, 1, 96, true, 8},
        {"few queries of many keys, 48", 2, {4, 3}, {70, 64}, 2, 2, 48, false, 0},
        {"4:2 heads of 80 in windows of 32 rows", 3, {32, 7, 31}, {32, 7, 31}, 4, 2, 80, false, 8},
        {"6:2 heads of 112 in windows of 21 rows", 3, {21, 7, 1}, {21, 7, 1}, 6, 2, 112, true, 8},
        {"16:2 heads of 128 in windows of 8 rows", 3, {8, 3, 1}, {8, 64, 1}, 16, 2, 128, true, 8},
        {"segments without queries or without keys, 48, 70 rows",
         4,
         {0, 3, 2, 70},
         {5, 0, 2, 70},
         4,
         2,
         48,
         false,
         0},
        {"8:1 heads of 128", 2, {33, 100}, {33, 100}, 8, 1, 128, true, 0},
        {"more heads than a block has rows", 1, {3}, {3}, 100, 1, 16, true, 0},
        {"more keys than queries", 3, {1, 5, 97}, {50, 9, 200}, 4, 2, 16, true, 0},
        {"more queries than keys", 2, {50, 9}, {3, 0}, 4, 2, 16, true, 8},
        {"more queries than keys, 7", 2, {50, 9}, {3, 0}, 4, 2, 7, true, 2},
        {"heads of 112", 2, {70, 9}, {70, 9}, 4, 2, 112, true, 0},
        {"heads of 64", 2, {130, 9}, {130, 9}, 4, 2, 64, true, 0},
        /* Whole and part tiles of 128 rows and keys, under every number of heads that divides a tile or does
           not. */
        {"127, 128 and 129 rows, 128", 3, {127, 128, 129}, {127, 128, 129}, 2, 2, 128, true, 8},
        {"255 and 257 rows, not causal, 80", 2, {255, 257}, {255, 257}, 1, 1, 80, false, 16},
        {"three heads of 128 to a kv head", 3, {130, 1, 70}, {130, 1, 70}, 6, 2, 128, true, 0},
        {"more keys than queries, 128", 3, {1, 5, 97}, {150, 9, 300}, 16, 2, 128, true, 0},
        {"more queries than keys, 80", 3, {200, 9, 70}, {3, 0, 129}, 5, 1, 80, true, 8},
        {"segments without queries or without keys, 64",
         4,
         {0, 3, 2, 140},
         {5, 0, 2, 140},
         8,
         1,
         64,
         false,
         8},
    };
    static const struct shape large[] = {
        {"one long segment", 1, {1000}, {1000}, 2, 1, 80, true, 0},
        {"one long segment, not causal", 1, {1100}, {1100}, 1, 1, 24, false, 0},
        {"2 x 512, 16:2 heads of 128", 2, {512, 512}, {512, 512}, 16, 2, 128, true, 0},
        {"a picture, heads of 80", 1, {1564}, {1564}, 4, 4, 80, false, 0},
    };

    /* Where a row sees one key only, dQ and dK are rounding errors: "one row" needs numbers whose sums have
       none in bf16, the same each time. */
    seed = 1;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        compare(&shapes[i]);
    for (size_t i = 0; i < sizeof large / sizeof *large && !getenv("TEST_SMALL"); i++)
        compare(&large[i]);
    not_a_number(8, 40);
    not_a_number(16, 32);
    not_a_number(80, 20);
    not_a_number(64, 40);
    not_a_number(64, 200);
    not_a_number(80, 200);
    gpu->attention(gpu,
                   &(struct attention){
                       .segments = 1, .max_q = 1, .max_k = 1, .heads = 1, .kv_heads = 1, .head_dim = 256},
                   NULL, NULL, NULL, NULL, NULL);
    CHECK(gpu->err.rc == RC_DATA && strstr(gpu->err.msg, "--device cpu"), "a head that is too large: %s",
          gpu->err.msg);
    be_check(gpu, &(struct err){0});
}

int main(void)
{
    return each_math(everything);
}
