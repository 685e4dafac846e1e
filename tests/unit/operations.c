/*
 * operations.c - the other operations in fp32 and in fp64, at random shapes: products in every format, rows,
 * likelihoods, measures; what fp64 alone promises
 *
 * Norms, rotation and activations are in kernels_rows.c, attention in kernels_attention.c.  Where inputs make
 * every step exact (integers, scales that are powers of two) both backends must agree to the last bit.
 */
#include <omp.h>

#include "tests/unit/kernels.h"

/* The same fp32 numbers for either backend. */
struct both {
    float *f;
    double *d;
    size_t n;
};

static struct both both_of(float *f, size_t n)
{
    return (struct both){f, doubles(f, n), n};
}

/* For results: what nothing writes to is different. */
static struct both results(size_t n)
{
    struct both y = {room(n * sizeof *y.f), room(n * sizeof *y.d), n};

    for (size_t i = 0; i < n; i++)
        y.f[i] = 5, y.d[i] = 7;
    return y;
}

/* Elements that are not within `relative` of the fp64 result plus `absolute`; a NaN is near a NaN. */
static size_t apart(struct both y, double relative, double absolute)
{
    size_t bad = 0;

    for (size_t i = 0; i < y.n; i++)
        bad += !(fabs(y.f[i] - y.d[i]) <= relative * fabs(y.d[i]) + absolute) && !(isnan(y.f[i]) && isnan(y.d[i]));
    return bad;
}

static size_t count(size_t least, size_t most)
{
    return least + (size_t)((uniform() + 1) / 2 * (double)(most + 1 - least));
}

/* A weight in either backend, of fp32 numbers, with a bias. */
struct module {
    struct weight f, d;
};

static struct module module_of(const float *w, size_t out, size_t in, struct both bias)
{
    struct module m = {0};

    be->weight_load(be, &m.f, out, in, w, DT_F32);
    exact->weight_load(exact, &m.d, out, in, w, DT_F32);
    m.f.bias = bias.f;
    m.d.bias = bias.d;
    return m;
}

static void module_free(struct module *m)
{
    be->weight_free(be, &m->f);
    exact->weight_free(exact, &m->d);
}

/* y and its fp32 form of a product; the largest difference allowed is in `absolute`. */
static size_t products_apart(const struct module *m, struct both x, size_t rows, double relative, double absolute)
{
    struct both y = results(rows * m->f.out), z = results(y.n);
    float *narrow = room(y.n * sizeof *narrow);
    size_t bad;

    be->linear(be, y.f, x.f, rows, &m->f);
    exact->linear(exact, y.d, x.d, rows, &m->d);
    bad = apart(y, relative, absolute);
    exact->linear_f32(exact, narrow, x.d, rows, &m->d);
    for (size_t i = 0; i < y.n; i++)
        bad += !(narrow[i] == (float)y.d[i] || isnan(y.d[i]));
    exact->linear_again(exact, z.d, x.d, rows, &m->d);
    return bad + !same_bits(y.d, z.d, y.n * sizeof *y.d);
}

static size_t products_dx_apart(const struct module *m, struct both dy, size_t rows, double absolute)
{
    struct both dx = results(rows * m->f.in), sum = both_of(randoms(dx.n, 1), dx.n);
    size_t bad;

    be->linear_dx(be, dx.f, dy.f, rows, &m->f, false);
    exact->linear_dx(exact, dx.d, dy.d, rows, &m->d, false);
    bad = apart(dx, 0, absolute);
    for (size_t i = 0; i < sum.n; i++)
        sum.f[i] = (float)(sum.d[i] = rint(8 * sum.d[i]));
    be->linear_dx(be, sum.f, dy.f, rows, &m->f, true);
    exact->linear_dx(exact, sum.d, dy.d, rows, &m->d, true);
    return bad + apart(sum, 0, absolute + (absolute != 0) * 16 * U);
}

static void dense(size_t rows, size_t in, size_t out)
{
    size_t n = rows * out;
    struct both x = both_of(integers(rows * in, 8), rows * in), bias = both_of(integers(out, 8), out);
    struct both dy = both_of(integers(n, 8), n);
    struct module m = module_of(integers(out * in, 8), out, in, bias);

    CHECK(products_apart(&m, x, rows, 0, 0) + products_dx_apart(&m, dy, rows, 0) == 0,
          "linear and linear_dx [%zu, %zu] -> %zu of integers: equal", rows, in, out);
    module_free(&m);
    m = module_of(randoms(out * in, 1), out, in, both_of(randoms(out, 1), out));
    x = both_of(randoms(rows * in, 1), rows * in);
    dy = both_of(randoms(n, 1), n);
    /* `in` products of at most 1 and a bias, as many roundings of sums of at most `in`, which add up like a root */
    CHECK(products_apart(&m, x, rows, U, U * (double)in * sqrt((double)in + 1)) +
          products_dx_apart(&m, dy, rows, U * (double)out * sqrt((double)out + 1)) == 0, "and of fractions");
    module_free(&m);
    done();
}

/* The fp64 backend keeps codes, the fp32 one what they stand for. */
static size_t codes_differ(const struct module *q)
{
    const float *f = q->f.data, *d = q->d.data;
    size_t bad = q->f.scale != q->d.scale || q->f.input_scale != q->d.input_scale || q->f.bias == NULL;

    for (size_t i = 0; i < q->f.out * q->f.in; i++)
        bad += !(f[i] == d[i] * q->d.scale || (isnan(f[i]) && isnan(d[i])));
    return bad;
}

static void fp8(size_t rows, size_t in, size_t out)
{
    float *w = randoms(out * in, 1);
    struct both x = both_of(randoms(rows * in, 3), rows * in), bias = both_of(randoms(out, 1), out);
    struct module m, q = {0};
    uint8_t *code = room(out * in);
    size_t bad = 0;

    for (size_t i = 0; i < out * in; i++)
        w[i] = bf16_to_f32(bf16_from_f32(w[i]));
    m = module_of(w, out, in, bias);
    for (int r = ROUND_EXACT; r <= ROUND_MODELOPT; r++) {
        be->weight_quantize(be, &q.f, &m.f, DT_BF16, fp8_scale(0.9f, r), 0.1f, r);
        exact->weight_quantize(exact, &q.d, &m.d, DT_BF16, fp8_scale(0.9f, r), 0.1f, r);
        bad += codes_differ(&q);
    }
    CHECK(bad == 0, "FP8 [%zu, %zu]: the same codes, in either rounding", out, in);
    fp8_encode(code, w, out * in, 0x1p-9f);
    be->weight_load_fp8(be, &q.f, out, in, code, 0x1p-9f, 0x1p-8f);
    exact->weight_load_fp8(exact, &q.d, out, in, code, 0x1p-9f, 0x1p-8f);
    bad = codes_differ(&q);
    /* scales that are powers of two: the same codes of x; what they stand for is at most 3 and 1 */
    bad += products_apart(&q, x, rows, U, 3 * U * (double)in * sqrt((double)in + 1));
    CHECK(bad == 0, "linear of %zu rows of FP8", rows);
    module_free(&q);
    module_free(&m);
    done();
}

/*
 * Sums are exact and scales powers of two: what is rounded in fp32 is the sum as such, above 2^24, and the sum
 * with the bias.  Each row has one entry 127 and others that are multiples of 1/2, so ties are met, too.
 */
static void int8(size_t rows, size_t in, size_t out, bool is_static, bool smoothed)
{
    struct both x = both_of(integers(rows * in, 240), rows * in), bias = both_of(randoms(out, 1), out);
    float *pre = room(in * sizeof *pre), *scale = room(out * sizeof *scale);
    int8_t *code = room(out * in);
    struct module m = {0};

    for (size_t i = 0; i < in; i++)
        pre[i] = smoothed ? ldexpf(1, (int)(i % 5) - 2) : 1;
    for (size_t i = 0; i < x.n; i++) {
        float v = (i % in == i / in % in ? 254 : x.f[i]) / 16 / pre[i % in];

        x.f[i] = v;
        x.d[i] = v;
    }
    for (size_t i = 0; i < out * in; i++)
        code[i] = (int8_t)(i * 7919 % 255 - 127);
    for (size_t o = 0; o < out; o++)
        scale[o] = ldexpf(1, -(int)(o % 9));
    if (rows > 1)
        x.f[in] = NAN, x.d[in] = NAN;
    be->weight_load_int8(be, &m.f, out, in, code, scale, is_static ? 0.125f : 0, smoothed ? pre : NULL);
    exact->weight_load_int8(exact, &m.d, out, in, code, scale, is_static ? 0.125f : 0, smoothed ? pre : NULL);
    m.f.bias = bias.f;
    m.d.bias = bias.d;
    CHECK(products_apart(&m, x, rows, 3 * U, 2 * U) == 0, "linear [%zu, %zu] -> %zu of INT8, %s%s", rows, in, out,
          is_static ? "static" : "dynamic", smoothed ? ", smoothed" : "");
    module_free(&m);
    done();
}

static void int8_weights(size_t out, size_t in)
{
    struct module m = module_of(randoms(out * in, 1), out, in, both_of(randoms(out, 1), out)), q = {0};
    float *pre = randoms(in, 1);
    struct smooth smooth = {.pre = pre};

    for (size_t i = 0; i < in; i++)
        pre[i] = 1.5f + pre[i];
    be->weight_quantize_int8(be, &q.f, &m.f, DT_F32, &smooth, 0.25f, ROUND_EXACT);
    exact->weight_quantize_int8(exact, &q.d, &m.d, DT_F32, &smooth, 0.25f, ROUND_EXACT);
    CHECK(same_bits(q.f.data, q.d.data, out * in) && same_bits(q.f.row_scale, q.d.row_scale, out * sizeof(float)) &&
          same_bits(q.f.pre_scale, q.d.pre_scale, in * sizeof(float)) && q.d.bias == m.d.bias,
          "INT8 [%zu, %zu]: the same codes and scales", out, in);
    module_free(&q);
    module_free(&m);
    done();
}

static void rows_moved(size_t rows, size_t dim)
{
    size_t n = rows * dim, bad = 0;
    struct both x = both_of(randoms(n, 1), n), y = results(n);
    struct module table = module_of(x.f, rows, dim, (struct both){0});
    int32_t *index = room((rows + 1) * sizeof *index);
    float *host = room(n * sizeof *host);

    for (size_t r = 0; r < rows; r++) /* a permutation: 7 does not divide the counts here */
        index[r] = (int32_t)((r * 7 + 3) % rows);
    be->gather(be, y.f, x.f, index, rows, dim);
    exact->gather(exact, y.d, x.d, index, rows, dim);
    bad += apart(y, 0, 0);
    y = results(n);
    be->scatter(be, y.f, x.f, index, rows, dim);
    exact->scatter(exact, y.d, x.d, index, rows, dim);
    bad += apart(y, 0, 0);
    y = results(n);
    be->embed(be, y.f, &table.f, index, rows);
    exact->embed(exact, y.d, &table.d, index, rows);
    bad += apart(y, 0, 0);
    exact->narrow(exact, y.d, x.f, n);
    exact->download_act(exact, host, y.d, n);
    bad += !same_bits(host, x.f, n * sizeof *host) + !same_bits(y.d, x.d, n * sizeof *y.d);
    CHECK(bad == 0, "gather, scatter, embed, narrow [%zu, %zu]", rows, dim);
    module_free(&table);
    done();
}

static void pictures(size_t patches, size_t side, size_t frames)
{
    struct both y = results(patches * 3 * frames * side * side);
    float *table = randoms(3 * 256, 2);
    struct patch *patch = room((patches + 1) * sizeof *patch);
    uint8_t *rgb = room(patches * side * side * 3 + 1);

    for (size_t i = 0; i < patches * side * side * 3; i++)
        rgb[i] = (uint8_t)(128 * (uniform() + 1));
    for (size_t i = 0; i < patches; i++) /* side by side */
        patch[i] = (struct patch){(int64_t)(3 * side * i), (int64_t)(3 * side * patches)};
    be->patches(be, y.f, rgb, patch, table, patches, side, frames);
    exact->patches(exact, y.d, rgb, patch, table, patches, side, frames);
    CHECK(apart(y, 0, 0) == 0, "%zu patches of %zu, %zu frames", patches, side, frames);
    done();
}

static void likelihoods(size_t rows, size_t vocab)
{
    size_t n = rows * vocab, bad;
    float *z = randoms(n, 9), *w = randoms(rows, 1), *nll = room(2 * rows * 4), *lse = room(2 * rows * 4);
    int32_t *target = room(rows * 4), *top = room(2 * rows * 4);
    struct both d = results(n);

    for (size_t r = 0; r < rows; r++)
        target[r] = r % 5 == 4 ? -1 : (int32_t)(r * 31 % vocab);
    be->nll(be, nll, lse, top, z, target, rows, vocab);
    exact->nll(exact, nll + rows, lse + rows, top + rows, z, target, rows, vocab);
    bad = !same_bits(top, top + rows, rows * 4);
    for (size_t r = 0; r < rows; r++) /* either is rounded; the sum's rounding, and z - max, up to 18, in it */
        bad += !(fabsf(nll[r] - nll[rows + r]) <= 2 * U * fabsf(nll[r]) + 20 * U) ||
               !(fabsf(lse[r] - lse[rows + r]) <= 2 * U * fabsf(lse[r]) + 3 * U);
    be->nll_dx(be, d.f, z, lse, target, w, rows, vocab);
    exact->nll_dx(exact, d.d, z, lse + rows, target, w, rows, vocab);
    CHECK(bad + apart(d, 40 * U, 40 * U) == 0, "nll and nll_dx [%zu, %zu]", rows, vocab);
    done();
}

/* Of integers, so that all sums are exact; then with a NaN. */
static void measures(size_t rows, size_t dim)
{
    size_t n = rows * dim, bad;
    struct both g = both_of(integers(n, 20), n), y = both_of(integers(n, 20), n), z = both_of(integers(n, 20), n);
    float *w = integers(rows, 3), most[2] = {0}, *columns = room(2 * dim * sizeof *columns);
    double distance[2] = {1, 1}, score[2][2] = {{1, 2}, {1, 2}};

    memset(columns, 0, 2 * dim * sizeof *columns);
    be->amax(be, &most[0], y.f, n);
    exact->amax(exact, &most[1], y.d, n);
    be->amax_columns(be, columns, y.f, rows, dim);
    exact->amax_columns(exact, columns + dim, y.d, rows, dim);
    be->distance(be, &distance[0], y.f, z.f, n);
    exact->distance(exact, &distance[1], y.d, z.d, n);
    be->score(be, score[0], g.f, y.f, z.f, w, rows, dim);
    exact->score(exact, score[1], g.d, y.d, z.d, w, rows, dim);
    bad = most[0] != most[1] || !same_bits(columns, columns + dim, dim * sizeof *columns) ||
          distance[0] != distance[1] || !same_bits(score[0], score[1], sizeof score[0]);
    CHECK(bad == 0, "amax, amax_columns, distance, score [%zu, %zu]: equal", rows, dim);
    y.d[n / 2] = NAN;
    exact->amax(exact, &most[1], y.d, n);
    exact->amax(exact, &most[1], z.d, n);
    exact->amax_columns(exact, columns, y.d, rows, dim);
    exact->amax_columns(exact, columns, z.d, rows, dim);
    exact->distance(exact, &distance[1], y.d, z.d, n);
    exact->score(exact, score[1], g.d, y.d, z.d, w, rows, dim);
    CHECK(isnan(most[1]) && isnan(columns[n / 2 % dim]) && isnan(distance[1]) && isnan(score[1][0]) &&
          isnan(score[1][1]), "they keep NaN");
    y.d[n / 2] = -1e9;
    g.d[n / 2] = 1e9;
    z.d[n / 2] = 0;
    score[1][0] = 0;
    exact->score(exact, score[1], g.d + n / 2, y.d + n / 2, z.d + n / 2, w, 1, 1);
    CHECK(score[1][0] == 1e20, "a product is clamped in the first sum");
    done();
}

/* The largest magnitude of a weight, beside what was there before. */
static void weight_range(size_t out, size_t in)
{
    float *w = integers(out * in, 900), most[2] = {2, 2}, want = 2;
    struct module m = module_of(w, out, in, both_of(integers(out, 5), out));

    for (size_t i = 0; i < out * in; i++)
        want = fmaxf(want, fabsf(w[i]));
    be->weight_amax(be, &most[0], &m.f);
    exact->weight_amax(exact, &most[1], &m.d);
    CHECK(most[0] == want && most[1] == want, "weight_amax [%zu, %zu]: %g and %g", out, in, most[0], most[1]);
    if (out * in > 0) {
        w[out * in / 2] = -NAN;
        be->weight_load(be, &m.f, out, in, w, DT_F32);
        exact->weight_load(exact, &m.d, out, in, w, DT_F32);
        be->weight_amax(be, &most[0], &m.f);
        exact->weight_amax(exact, &most[1], &m.d);
        CHECK(isnan(most[0]) && isnan(most[1]), "NaN stays");
    }
    module_free(&m);
    done();
}

static void fp8_rounding(void)
{
    enum { N = 5000 };
    struct both x = both_of(randoms(N, 600), N), y = results(N);
    size_t bad = 0;

    for (uint64_t u = 0; u < (uint64_t)1 << 32; u += 4099) {
        float q = f32_from_bits((uint32_t)u), want = e4m3_to_f32(e4m3_from_f32(q));

        bad += !(e4m3_nearest(q) == want || (isnan(want) && isnan(e4m3_nearest(q))));
    }
    for (int c = 0; c < 126; c++) { /* half way between two codes, and next to it */
        double low = e4m3_to_f32((uint8_t)c), high = e4m3_to_f32((uint8_t)(c + 1)), half = (low + high) / 2;

        bad += e4m3_nearest(nextafter(half, 0)) != low || e4m3_nearest(-nextafter(half, 999)) != -high ||
               e4m3_nearest(half) != (c % 2 ? high : low);
    }
    CHECK(bad == 0, "e4m3_nearest is e4m3_from_f32's of fp32 numbers, and rounds fp64 once");
    x.f[7] = NAN, x.d[7] = NAN;
    x.f[8] = -INFINITY, x.d[8] = -INFINITY;
    be->round_fp8(be, y.f, x.f, N, 0.25f);
    exact->round_fp8(exact, y.d, x.d, N, 0.25f);
    CHECK(apart(y, 0, 0) == 0 && isnan(y.d[7]) && y.d[8] == -112, "round_fp8: saturating, keeping NaN");
    done();
}

/* Several products and an attention, one after another in out. */
static size_t some_operations(double *out)
{
    enum { ROWS = 300, IN = 96, OUT = 70 };
    struct both x = both_of(randoms(ROWS * IN, 1), ROWS * IN), bias = both_of(randoms(OUT, 1), OUT);
    struct module m = module_of(randoms(OUT * IN, 1), OUT, IN, bias), q = {0};
    int32_t cu[] = {0, 7, 7, 180, ROWS};
    struct attention a = {.segments = 4, .cu_q = cu, .cu_k = cu, .max_q = 173, .max_k = 173, .heads = 6, .kv_heads = 2,
                          .head_dim = 16, .q_stride = IN, .k_stride = IN, .v_stride = IN, .o_stride = IN,
                          .scale = 0.25, .causal = true};
    float *lse = room(6 * ROWS * sizeof *lse);
    double *at = out;

    exact->linear(exact, at, x.d, ROWS, &m.d), at += ROWS * OUT;
    exact->weight_quantize(exact, &q.d, &m.d, DT_F32, 0.002f, 0.002f, ROUND_EXACT);
    exact->linear(exact, at, x.d, ROWS, &q.d), at += ROWS * OUT;
    exact->weight_quantize_int8(exact, &q.d, &m.d, DT_F32, NULL, 0, ROUND_EXACT);
    exact->linear(exact, at, x.d, ROWS, &q.d), at += ROWS * OUT;
    exact->linear_dx(exact, at, out, ROWS, &m.d, false), at += ROWS * IN;
    exact->rmsnorm(exact, at, x.d, x.d, ROWS, IN, 1e-6f, NULL), at += ROWS * IN;
    exact->attention(exact, &a, at, lse, x.d, x.d + 8, x.d + 40), at += ROWS * IN;
    memset(at, 0, 2 * ROWS * IN * sizeof *at);
    exact->attention_dx(exact, &a, at, at + ROWS * IN, at + ROWS * IN + 40, out, x.d, x.d + 8, x.d + 40, at, lse);
    module_free(&q);
    module_free(&m);
    return (size_t)(at - out) + 2 * ROWS * IN;
}

static void threads(void)
{
    double *out[3];
    size_t n = 0;
    int before = omp_get_max_threads();

    for (int t = 0; t < 3; t++) {
        out[t] = zeros(300 * 800);
        omp_set_num_threads(t + 1);
        seed = 9;
        n = some_operations(out[t]);
    }
    omp_set_num_threads(before);
    CHECK(same_bits(out[0], out[1], n * sizeof(double)) && same_bits(out[0], out[2], n * sizeof(double)),
          "2 and 3 threads give the bits of 1");
    done();
}

static void choosing(void)
{
    struct err e = {0};
    struct backend *b = be_open("auto", "fp64", &e);

    CHECK(b && b->act_bytes == 8 && !strcmp(b->name, "cpu") && !strcmp(be_dtype(b), "fp64"), "auto is the CPU");
    if (b)
        b->close(b);
    CHECK(!strcmp(be_dtype(be), "fp32"), "be_dtype of fp32");
    CHECK(!be_open("cuda", "fp64", &e) && e.rc == RC_USAGE && strstr(e.msg, "use --device cpu"), "no fp64 on a GPU");
}

int main(void)
{
    if (start())
        return 1;
    choosing();
    fp8_rounding();
    for (int i = 0; i < 12; i++) {
        dense(count(0, 70), count(1, 300), count(1, 90));
        fp8(count(1, 70), count(1, 300), count(1, 90));
        int8(count(1, 40), count(1, 300), count(1, 90), i % 2, i / 2 % 2);
        int8_weights(count(1, 60), count(1, 200));
        rows_moved(count(0, 9) * 7 + 1, count(1, 200));
        pictures(count(0, 20), count(1, 14), count(1, 2));
        likelihoods(count(1, 60), count(2, 1100));
        measures(count(1, 60), count(1, 1100));
        weight_range(count(1, 60), count(1, 1100));
    }
    weight_range(3, 0);
    dense(600, 192, 512); /* more rows than pass at once */
    dense(1, 1200, 33);
    int8(600, 192, 65, true, false);
    threads();
    return finish();
}
