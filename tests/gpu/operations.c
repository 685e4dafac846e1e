/* operations.c - every operation but products and attention, CUDA against the CPU */
#include "tests/gpu/twin.h"

static const size_t counts[] = {0, 1, 31, 32, 33, 257, 100003};
enum { COUNTS = sizeof counts / sizeof *counts };

static void memory(void)
{
    struct err e = {0};
    float x[33], y[33] = {0};
    void *p = gpu->alloc(gpu, sizeof x);

    for (int i = 0; i < 33; i++)
        x[i] = (float)i;
    gpu->upload_act(gpu, p, x, 33);
    gpu->download_act(gpu, y, p, 33);
    CHECK(!memcmp(x, y, sizeof x), "activations go up and come down");
    gpu->zero(gpu, p, 33 * gpu->act_bytes);
    gpu->download_act(gpu, y, p, 33);
    CHECK(y[0] == 0 && y[32] == 0, "zero");
    gpu->free(gpu, p);
    gpu->free(gpu, NULL);
    CHECK(!gpu->alloc(gpu, SIZE_MAX / 4), "an impossible allocation fails");
    gpu->gelu(gpu, NULL, NULL, 1);
    CHECK(be_check(gpu, &e) == -1 && e.rc == RC_SYS && strstr(e.msg, "4611686018427387903 bytes") &&
              strstr(e.msg, "--max-memory") && strstr(e.msg, "--batch-tokens"),
          "it is reported with its size and the way out; operations after it do nothing: %s", e.msg);
}

/* More than the pinned buffers hold, large and small, with nothing that waits between them. */
static void uploads(void)
{
    enum { BIG = 100 << 20, SMALL = 70001, MANY = 1200 };
    uint8_t *host = malloc(BIG), *got = malloc(BIG);
    char *d = gpu->alloc(gpu, BIG), *each = gpu->alloc(gpu, (size_t)SMALL * MANY);
    uint32_t random = 1;
    size_t wrong = 0;

    for (size_t i = 0; i < BIG; i++)
        host[i] = (uint8_t)((random = random * 1664525 + 1013904223) >> 24);
    gpu->upload(gpu, d, host, BIG);
    for (size_t i = 0; i < MANY; i++) {
        memcpy(got, host + i, SMALL);
        gpu->upload(gpu, each + i * SMALL, got, SMALL);
        memset(got, 0, SMALL); /* the host's memory is the caller's again */
    }
    gpu->download(gpu, got, d, BIG);
    CHECK(!memcmp(got, host, BIG), "100 MiB go up and come down");
    gpu->download(gpu, got, each, (size_t)SMALL * MANY);
    for (size_t i = 0; i < MANY; i++)
        wrong += memcmp(got + i * SMALL, host + i, SMALL) != 0;
    CHECK(wrong == 0, "%d uploads in a row", (int)MANY);
    gpu->free(gpu, d);
    gpu->free(gpu, each);
    free(host);
    free(got);
}

/* Free memory is what is left: an allocation takes it and its end gives it back. */
static void spare(void)
{
    size_t before = gpu->spare(gpu), bytes = (size_t)1 << 30, during;
    void *p = gpu->alloc(gpu, bytes);

    during = gpu->spare(gpu);
    gpu->free(gpu, p);
    CHECK(before > bytes && during <= before - bytes / 2 && gpu->spare(gpu) > during + bytes / 2,
          "spare memory: %zu, with 1 GiB taken %zu, then %zu", before, during, gpu->spare(gpu));
}

/* Every byte of a picture, looked up: the same values to the bit, rounded to the activation type. */
static void patches(size_t grid_h, size_t grid_w, size_t side, size_t frames)
{
    size_t n = grid_h * grid_w, columns = 3 * frames * side * side, bytes = 3 * n * side * side;
    uint8_t *rgb = malloc(bytes + 1);
    struct patch *patch = calloc(n + 1, sizeof *patch);
    float table[768];
    struct twin pixels, places, lookup, y = blank(n * columns);

    for (size_t i = 0; i < bytes; i++)
        rgb[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t i = 0; i < 768; i++)
        table[i] = held((float)i / 300 - 1);
    for (size_t i = 0; i < n; i++)
        patch[n - 1 - i] = (struct patch){(int64_t)(3 * side * (i / grid_w * side * grid_w + i % grid_w)),
                                          (int64_t)(3 * grid_w * side)};
    pixels = plain(rgb, bytes);
    places = plain(patch, n * sizeof *patch);
    lookup = plain(table, sizeof table);
    cpu->patches(cpu, y.cpu, pixels.cpu, places.cpu, lookup.cpu, n, side, frames);
    gpu->patches(gpu, y.gpu, pixels.gpu, places.gpu, lookup.gpu, n, side, frames);
    CHECK(n == 0 || apart(y) == 0, "patches of %zu x %zu, %zu frames", side, side, frames);
    free(rgb);
    free(patch);
    done();
}

static void narrowing(size_t n)
{
    struct twin x = random_f32(n, 3), y = blank(n);

    gpu->narrow(gpu, y.gpu, x.gpu, n);
    cpu->narrow(cpu, y.cpu, x.cpu, n);
    CHECK(other_rounded(y) == 0, "narrow %zu", n);
    done();
}

static void both(struct backend *be, int side, const struct twin *t, size_t n)
{
#define AT(i) (side ? t[i].gpu : t[i].cpu)
    be->swiglu(be, AT(3), AT(0), AT(1), 1, n, NULL);
    be->swiglu_dx(be, AT(4), AT(5), NULL, AT(2), AT(0), AT(1), 1, n, NULL);
    be->gelu(be, AT(6), AT(0), n);
    be->gelu_dx(be, AT(7), AT(2), AT(0), n);
#undef AT
}

static void elements(size_t n)
{
    static const char *const names[] = {"swiglu", "dg", "du", "gelu", "gelu_dx"};
    struct twin t[8];

    for (int i = 0; i < 8; i++)
        t[i] = i < 3 ? randoms(n, 6) : blank(n);
    both(cpu, 0, t, n);
    both(gpu, 1, t, n);
    for (int i = 3; i < 8; i++) {
        double d = apart(t[i]);

        CHECK(d <= either(1e-6, rounded(n)), "%s of %zu: %.2g", names[i - 3], n, d);
    }
    if (n > 2) { /* not aligned to 16 bytes, and in place */
        float *host = host_room(n);
        struct twin u = randoms(n, 1), v = blank(n);

        gpu->gelu(gpu, (char *)v.gpu + gpu->act_bytes, (char *)u.gpu + gpu->act_bytes, n - 1);
        gpu->gelu_dx(gpu, (char *)v.gpu + gpu->act_bytes, (char *)v.gpu + gpu->act_bytes, u.gpu, n - 1);
        cpu->gelu(cpu, (float *)v.cpu + 1, (float *)u.cpu + 1, n - 1);
        cpu->gelu_dx(cpu, (float *)v.cpu + 1, (float *)v.cpu + 1, u.cpu, n - 1);
        gpu->download_act(gpu, host, v.gpu, n);
        CHECK(isnan(host[0]) && distance(host + 1, (float *)v.cpu + 1, n - 1) <= either(2e-6, 2 * rounded(n)),
              "gelu of %zu, odd addresses, and its gradient in place", n);
        free(host);
    }
    done();
}

static void norm(size_t rows, size_t dim)
{
    struct twin x = randoms(rows * dim, 2), w = randoms(dim, 1), g = randoms(rows * dim, 1),
                y = blank(rows * dim), sum = blank(rows * dim), dx = randoms(rows * dim, 1);
    double a, b;

    cpu->rmsnorm(cpu, y.cpu, x.cpu, w.cpu, rows, dim, 1e-6f, NULL);
    gpu->rmsnorm(gpu, y.gpu, x.gpu, w.gpu, rows, dim, 1e-6f, NULL);
    cpu->rmsnorm_dx(cpu, dx.cpu, g.cpu, x.cpu, w.cpu, rows, dim, 1e-6f);
    gpu->rmsnorm_dx(gpu, dx.gpu, g.gpu, x.gpu, w.gpu, rows, dim, 1e-6f);
    a = apart(y);
    b = apart(dx);
    cpu->add_rmsnorm(cpu, sum.cpu, y.cpu, x.cpu, g.cpu, w.cpu, rows, dim, 1e-6f, NULL);
    gpu->add_rmsnorm(gpu, sum.gpu, y.gpu, x.gpu, g.gpu, w.gpu, rows, dim, 1e-6f, NULL);
    CHECK(a <= either(1e-6, 3e-3) && b <= either(dim > 1 ? 1e-6 : 1e-5, 3e-3), /* of one column, it cancels */
          "rmsnorm and its gradient [%zu, %zu]: %.2g, %.2g", rows, dim, a, b);
    CHECK(other_rounded(sum) == 0 && apart(y) <= either(1e-6, 6e-3), "add_rmsnorm: the sum, and %.2g", apart(y));
    done();
}

static void rotation(size_t rows, size_t heads, size_t dim, size_t pad)
{
    size_t stride = heads * dim + pad, n = rows * stride;
    struct twin x = randoms(n, 1), c = random_f32(rows * dim / 2, 1), s = random_f32(rows * dim / 2, 1),
                y = randoms(n, 1);
    double d;

    for (int inverse = 0; inverse < 2; inverse++) {
        cpu->rope(cpu, y.cpu, stride, x.cpu, stride, c.cpu, s.cpu, rows, heads, dim, inverse);
        gpu->rope(gpu, y.gpu, stride, x.gpu, stride, c.gpu, s.gpu, rows, heads, dim, inverse);
        d = apart(y);
        CHECK(d <= either(1e-6, 3e-3), "rope, %zu rows, %zu heads of %zu: %.2g", rows, heads, dim, d);
        cpu->rope(cpu, x.cpu, stride, x.cpu, stride, c.cpu, s.cpu, rows, heads, dim, inverse);
        gpu->rope(gpu, x.gpu, stride, x.gpu, stride, c.gpu, s.gpu, rows, heads, dim, inverse);
        d = apart(x);
        CHECK(d <= either(1e-6, 6e-3), "in place: %.2g", d);
    }
    done();
}

static void rows_moved(size_t rows, size_t dim)
{
    struct twin x = randoms(rows * dim, 1), y = blank(rows * dim), z = blank(rows * dim), index,
                v = blank(rows * dim);
    int32_t *at = (int32_t *)(void *)host_room(rows);
    struct weight a = {0}, b = {0};
    float *host = host_room(rows * dim);
    double d;

    for (size_t r = 0; r < rows; r++)
        at[r] = (int32_t)((r * 7 + 3) % rows);
    index = plain(at, rows * sizeof *at);
    cpu->download_act(cpu, host, x.cpu, rows * dim);
    cpu->weight_load(cpu, &a, rows, dim, host, DT_F32);
    gpu->weight_load(gpu, &b, rows, dim, host, DT_F32);
    cpu->gather(cpu, y.cpu, x.cpu, index.cpu, rows, dim);
    gpu->gather(gpu, y.gpu, x.gpu, index.gpu, rows, dim);
    cpu->embed(cpu, v.cpu, &a, index.cpu, rows);
    gpu->embed(gpu, v.gpu, &b, index.gpu, rows);
    d = apart(y) + apart(v);
    if (rows % 7) {
        cpu->scatter(cpu, z.cpu, y.cpu, index.cpu, rows, dim);
        gpu->scatter(gpu, z.gpu, y.gpu, index.gpu, rows, dim);
        d += apart(z);
    }
    CHECK(d == 0, "gather, embed and scatter [%zu, %zu] move every bit", rows, dim);
    cpu->weight_free(cpu, &a);
    gpu->weight_free(gpu, &b);
    free(at);
    free(host);
    done();
}

static void likelihood(size_t rows, size_t vocab)
{
    struct twin z = random_f32(rows * vocab, 9), w = random_f32(rows, 1), d = blank(rows * vocab), target,
                nll, lse, top, again;
    int32_t *t = (int32_t *)(void *)host_room(rows), *a = (int32_t *)(void *)host_room(rows),
            *b = (int32_t *)(void *)host_room(rows);
    double x, y, g;

    for (size_t r = 0; r < rows; r++)
        t[r] = r % 5 == 4 ? -1 : (int32_t)(r * 31 % vocab);
    target = plain(t, rows * 4);
    nll = random_f32(rows, 1);
    lse = random_f32(rows, 1);
    top = plain(t, rows * 4);
    again = plain(t, rows * 4);
    cpu->nll(cpu, nll.cpu, lse.cpu, top.cpu, z.cpu, target.cpu, rows, vocab);
    gpu->nll(gpu, nll.gpu, lse.gpu, top.gpu, z.gpu, target.gpu, rows, vocab);
    gpu->nll(gpu, NULL, NULL, again.gpu, z.gpu, NULL, rows, vocab);
    cpu->nll_dx(cpu, d.cpu, z.cpu, lse.cpu, target.cpu, w.cpu, rows, vocab);
    gpu->nll_dx(gpu, d.gpu, z.gpu, lse.gpu, target.gpu, w.gpu, rows, vocab);
    x = apart_f32(nll, rows);
    y = apart_f32(lse, rows);
    g = apart(d);
    cpu->download(cpu, t, top.cpu, rows * 4);
    gpu->download(gpu, a, top.gpu, rows * 4);
    gpu->download(gpu, b, again.gpu, rows * 4);
    CHECK(x <= 1e-6 && y <= 1e-6 && g <= either(1e-5, rounded(rows)), /* a row's target outweighs the rest */
          "nll, lse, nll_dx [%zu, %zu]: %.2g, %.2g, %.2g", rows, vocab, x, y, g);
    CHECK(rows == 0 || (!memcmp(t, a, rows * 4) && !memcmp(t, b, rows * 4)), "and the argmax, alone too");
    free(t);
    free(a);
    free(b);
    done();
}

static void likelihood_edges(void)
{
    const float z[3][4] = {{1, 5, 5, 2}, {1, NAN, 9, NAN}, {-1000, -1000, -1000, -1000}};
    int32_t zero[3] = {0, 0, 0}, top[3];
    float lse[3], nll[3];
    struct twin zs = plain(z, sizeof z), target = plain(zero, sizeof zero), t = plain(zero, sizeof zero),
                l = plain(zero, sizeof zero), n = plain(zero, sizeof zero);

    gpu->nll(gpu, n.gpu, l.gpu, t.gpu, zs.gpu, target.gpu, 3, 4);
    gpu->download(gpu, top, t.gpu, sizeof top);
    gpu->download(gpu, lse, l.gpu, sizeof lse);
    gpu->download(gpu, nll, n.gpu, sizeof nll);
    CHECK(top[0] == 1 && top[1] == 1 && top[2] == 0,
          "the first of equal logits is the argmax, and so is a NaN");
    CHECK(isnan(lse[1]) && isnan(nll[1]) && unit_near(nll[2], log(4), 1e-7, 0), "a NaN reaches lse and nll");
    done();
}

static bool same_figure(double a, double b)
{
    return unit_near(b, a, 1e-12, 1e-13);
}

/* All that compare() writes of a row; fp64 sums in another order. */
static bool same_row(const struct row_stats *a, const struct row_stats *b)
{
    return a->label == b->label && a->agree == b->agree && a->rank_p == b->rank_p && a->rank_q == b->rank_q &&
           same_figure(a->nll_p, b->nll_p) && same_figure(a->nll_q, b->nll_q) &&
           same_figure(a->top_p, b->top_p) && same_figure(a->kl, b->kl) &&
           same_figure(a->kl_back, b->kl_back) && same_figure(a->js, b->js) && same_figure(a->sq, b->sq) &&
           same_figure(a->sq_centred, b->sq_centred) && same_figure(a->max_abs, b->max_abs) &&
           same_figure(a->cos, b->cos) && same_figure(a->cos_centred, b->cos_centred);
}

static void comparison(size_t rows, size_t vocab, double noise)
{
    size_t n = rows * vocab, bad = 0;
    float *p = host_room(n), *q = host_room(n);
    struct row_stats *a = calloc(rows + 1, sizeof *a), *b = calloc(rows + 1, sizeof *b);
    struct twin tp, tq, out;

    for (size_t i = 0; i < n; i++) {
        p[i] = (float)(9 * uniform());
        q[i] = (float)(p[i] + noise * uniform());
        if (i % 5 == 0 && i > 0) /* ties: the first index comes first */
            p[i] = p[i - 1];
    }
    for (size_t r = 0; r < rows; r++)
        a[r].label = r % 4 == 0 ? -1 : (int32_t)((r * 7919) % vocab);
    tp = plain(p, n * 4);
    tq = plain(q, n * 4);
    out = plain(a, rows * sizeof *a);
    cpu->compare(cpu, out.cpu, tp.cpu, tq.cpu, rows, vocab);
    gpu->compare(gpu, out.gpu, tp.gpu, tq.gpu, rows, vocab);
    cpu->download(cpu, a, out.cpu, rows * sizeof *a);
    gpu->download(gpu, b, out.gpu, rows * sizeof *b);
    for (size_t r = 0; r < rows; r++)
        bad += !same_row(&a[r], &b[r]);
    CHECK(bad == 0, "compare [%zu, %zu]", rows, vocab);
    gpu->compare(gpu, out.gpu, tp.gpu, tp.gpu, rows, vocab);
    gpu->download(gpu, b, out.gpu, rows * sizeof *b);
    for (size_t r = bad = 0; r < rows; r++)
        bad += b[r].kl != 0 || b[r].sq != 0 || b[r].agree != (int32_t)(vocab < ROW_TOP ? vocab : ROW_TOP) ||
               b[r].cos != 1;
    CHECK(bad == 0, "a row equals itself exactly");
    free(p);
    free(q);
    free(a);
    free(b);
    done();
}

static void range(size_t n)
{
    struct twin x = randoms(n, 1000), out = plain(&(float){0.5f}, 4);
    float got, want, nan = -NAN;

    cpu->amax(cpu, out.cpu, x.cpu, n);
    gpu->amax(gpu, out.gpu, x.gpu, n);
    gpu->download(gpu, &got, out.gpu, 4);
    cpu->download(cpu, &want, out.cpu, 4);
    CHECK(got == want, "amax of %zu", n);
    if (n) {
        gpu->upload_act(gpu, (char *)x.gpu + n / 2 * gpu->act_bytes, &nan, 1);
        gpu->amax(gpu, out.gpu, x.gpu, n);
        gpu->download(gpu, &got, out.gpu, 4);
        CHECK(isnan(got), "NaN stays");
    }
    done();
}

static void scores(size_t rows, size_t dim)
{
    size_t n = rows * dim;
    struct twin g = randoms(n, 1), y = randoms(n, 1), yq = randoms(n, 1), w = random_f32(rows, 3), out;
    double start[2] = {3, 4}, a[2], b[2], c[2];

    out = plain(start, sizeof start);
    cpu->score(cpu, out.cpu, g.cpu, y.cpu, yq.cpu, w.cpu, rows, dim);
    gpu->score(gpu, out.gpu, g.gpu, y.gpu, yq.gpu, w.gpu, rows, dim);
    cpu->download(cpu, a, out.cpu, sizeof a);
    gpu->download(gpu, b, out.gpu, sizeof b);
    gpu->upload(gpu, out.gpu, start, sizeof start);
    gpu->score(gpu, out.gpu, g.gpu, y.gpu, yq.gpu, w.gpu, rows, dim);
    gpu->download(gpu, c, out.gpu, sizeof c);
    CHECK(unit_near(b[0], a[0], 1e-12, 0) && unit_near(b[1], a[1], 1e-10, 0), "score [%zu, %zu]: %.3g, %.3g",
          rows, dim, b[0] / a[0] - 1, b[1] / a[1] - 1);
    CHECK(!memcmp(b, c, sizeof b), "twice the same bits");
    done();
}

static void column_ranges(size_t rows, size_t dim)
{
    float *start = host_room(dim), nan = -NAN, got;
    struct twin x = randoms(rows * dim, 1000), out;

    for (size_t c = 0; c < dim; c++)
        start[c] = c % 3 ? 0 : 700;
    out = plain(start, dim * 4);
    cpu->amax_columns(cpu, out.cpu, x.cpu, rows, dim);
    gpu->amax_columns(gpu, out.gpu, x.gpu, rows, dim);
    CHECK(apart_f32(out, dim) == 0, "amax_columns [%zu, %zu]", rows, dim);
    if (rows) {
        gpu->upload_act(gpu, (char *)x.gpu + ((rows - 1) * dim + dim / 2) * gpu->act_bytes, &nan, 1);
        gpu->amax_columns(gpu, out.gpu, x.gpu, rows, dim);
        gpu->download(gpu, &got, (float *)out.gpu + dim / 2, 4);
        CHECK(isnan(got), "NaN stays in its column");
    }
    free(start);
    done();
}

static void distances(size_t n)
{
    struct twin a = randoms(n, 3), b = randoms(n, 3), y = blank(n),
                out = plain(&(double){0.5}, sizeof(double));
    double want, got, again, start = 0.5;
    float nan = NAN;

    cpu->distance(cpu, out.cpu, a.cpu, b.cpu, n);
    gpu->distance(gpu, out.gpu, a.gpu, b.gpu, n);
    cpu->download(cpu, &want, out.cpu, sizeof want);
    gpu->download(gpu, &got, out.gpu, sizeof got);
    gpu->upload(gpu, out.gpu, &start, sizeof start);
    gpu->distance(gpu, out.gpu, a.gpu, b.gpu, n);
    gpu->download(gpu, &again, out.gpu, sizeof again);
    CHECK(unit_near(got, want, 1e-12, 0) && got == again, "distance of %zu: %.3g; twice the same bits", n,
          got / want - 1);
    /* E4M3 values times a power of two are bf16 numbers; times another scale, the CPU's rounded. */
    cpu->round_fp8(cpu, y.cpu, a.cpu, n, 0.0078125f);
    gpu->round_fp8(gpu, y.gpu, a.gpu, n, 0.0078125f);
    CHECK(apart(y) == 0, "round_fp8 of %zu", n);
    cpu->round_fp8(cpu, a.cpu, a.cpu, n, 0.0123f);
    gpu->round_fp8(gpu, a.gpu, a.gpu, n, 0.0123f);
    CHECK(apart(a) <= either(0, rounded(n)), "in place, %.2g", apart(a));
    if (n) {
        gpu->upload_act(gpu, b.gpu, &nan, 1);
        gpu->distance(gpu, out.gpu, a.gpu, b.gpu, n);
        gpu->round_fp8(gpu, b.gpu, b.gpu, n, 1);
        gpu->download(gpu, &got, out.gpu, sizeof got);
        gpu->download_act(gpu, &nan, b.gpu, 1);
        CHECK(isnan(got) && isnan(nan), "NaN stays in both");
    }
    done();
}

/* One element beyond 2^31: indices are 64 bits wide. */
static void beyond_32_bits(void)
{
    size_t n = ((size_t)1 << 31) + 17;
    float tail[3] = {1, -2, 3}, got[3] = {0}, want[3], top = 0;
    char *x = gpu->alloc(gpu, n * gpu->act_bytes), *y = gpu->alloc(gpu, n * gpu->act_bytes);
    float *out = gpu->alloc(gpu, sizeof *out);

    if (x && y && out) {
        gpu->zero(gpu, x, n * gpu->act_bytes);
        gpu->zero(gpu, out, sizeof *out);
        gpu->upload_act(gpu, x + (n - 3) * gpu->act_bytes, tail, 3);
        gpu->gelu(gpu, y, x + (n - 3) * gpu->act_bytes, 3);
        gpu->download_act(gpu, want, y, 3);
        gpu->gelu(gpu, y, x, n);
        gpu->amax(gpu, out, y, n);
        gpu->download_act(gpu, got, y + (n - 3) * gpu->act_bytes, 3);
        gpu->download(gpu, &top, out, sizeof top);
    }
    CHECK(got[2] > 2 && !memcmp(got, want, sizeof got) && top == got[2], "gelu and amax of 2^31 + 17");
    gpu->free(gpu, x);
    gpu->free(gpu, y);
    gpu->free(gpu, out);
}

static void everything(void)
{
    memory();
    uploads();
    spare();
    patches(0, 0, 14, 2);
    patches(1, 1, 1, 1);
    patches(4, 6, 14, 2);
    patches(33, 31, 5, 3);
    for (size_t i = 0; i < COUNTS; i++) {
        elements(counts[i]);
        range(counts[i]);
        distances(counts[i]);
    }
    for (size_t i = 0; i < COUNTS - 1; i++) {
        norm(counts[i], 192);
        norm(counts[i], 33);
        rotation(counts[i], 4, 24, 3);
        rotation(counts[i], 3, 128, 0);
        rotation(counts[i], 2, 80, 320);
        rows_moved(counts[i], 192);
        rows_moved(counts[i], 31);
        likelihood(counts[i], 33);
        likelihood(counts[i], 1024);
        comparison(counts[i], 1024, 0.05);
        scores(counts[i], 31);
        column_ranges(counts[i], 31);
        column_ranges(counts[i], 192);
        scores(counts[i], 192);
    }
    norm(1, 1);
    norm(3, 8200);
    norm(3, 8192);
    norm(300, 2048);
    norm(300, 1280);
    likelihood(2, 151936);
    likelihood_edges();
    comparison(2, 151936, 0.1);
    comparison(3, 1, 1);
    comparison(5, 9, 0.01);
    comparison(300, 700, 0.01);
    scores(500, 11008);
    for (size_t i = 0; i < COUNTS; i++)
        narrowing(counts[i]);
    column_ranges(500, 11008);
    scores(2500, 256); /* a warp a row: blocks have several */
    scores(9000, 72);
    scores(9000, 31);
    if (math != CUDA_BF16_DECODE && !getenv("TEST_SMALL"))
        beyond_32_bits();
}

int main(void)
{
    return each_math(everything);
}
