/*
 * products.c - weights and linear modules, CUDA against the CPU, and inputs that are made for a module
 *
 * FP8 codes are seen through products: with the unit matrix for x and an input scale of 1, fp32 output is
 * exactly code * scale, one nonzero term a sum.
 */
#include "common/base/fp8.h"
#include "tests/gpu/twin.h"

static void linear(size_t rows, size_t in, size_t out)
{
    float *host = host_room(out * in);
    struct twin x = randoms(rows * in, 1), dy = randoms(rows * out, 1), bias = randoms(out, 1),
                y = blank(rows * out), dx = blank(rows * in), sum = randoms(rows * in, 1),
                f = random_f32(rows * out, 1);
    struct weight a = {0}, b = {0};
    uint64_t first, second;
    double d[4], limit;

    for (size_t i = 0; i < out * in; i++)
        host[i] = held((float)uniform());
    cpu->weight_load(cpu, &a, out, in, host, DT_F32);
    gpu->weight_load(gpu, &b, out, in, host, DT_F32);
    for (int with_bias = 1; with_bias >= 0; with_bias--) {
        a.bias = with_bias ? bias.cpu : NULL;
        b.bias = with_bias ? bias.gpu : NULL;
        cpu->linear(cpu, y.cpu, x.cpu, rows, &a);
        gpu->linear(gpu, y.gpu, x.gpu, rows, &b);
        cpu->linear_f32(cpu, f.cpu, x.cpu, rows, &a);
        gpu->linear_f32(gpu, f.gpu, x.gpu, rows, &b);
        d[0] = apart(y);
        d[1] = apart_f32(f, rows * out);
        CHECK(d[0] <= either(5e-6, rounded(rows * out)) && d[1] <= 5e-6,
              "linear [%zu, %zu] -> %zu%s: %.2g, fp32 out %.2g", rows, in, out, with_bias ? " + bias" : "",
              d[0], d[1]);
    }
    first = bits_of(y.gpu, rows * out * gpu->act_bytes);
    gpu->linear(gpu, y.gpu, x.gpu, rows, &b);
    second = bits_of(y.gpu, rows * out * gpu->act_bytes);
    cpu->linear_dx(cpu, dx.cpu, dy.cpu, rows, &a, false);
    gpu->linear_dx(gpu, dx.gpu, dy.gpu, rows, &b, false);
    cpu->linear_dx(cpu, sum.cpu, dy.cpu, rows, &a, true);
    gpu->linear_dx(gpu, sum.gpu, dy.gpu, rows, &b, true);
    d[2] = apart(dx);
    d[3] = apart(sum);
    limit = either(5e-6, rounded(rows * in));
    CHECK(d[2] <= limit && d[3] <= limit && first == second,
          "linear_dx written %.2g and accumulated %.2g; twice the same bits", d[2], d[3]);
    cpu->weight_free(cpu, &a);
    gpu->weight_free(gpu, &b);
    free(host);
    done();
}

/* Bits of a weight's codes times its scale, [in, out]. */
static size_t other_codes(const struct weight *a, const struct weight *b)
{
    size_t in = a->in, out = a->out, bad = 0;
    float *unit = host_room(in * in), *got = host_room(in * out);
    const float *want = a->data;
    struct twin x, y;

    memset(unit, 0, in * in * sizeof *unit);
    for (size_t i = 0; i < in; i++)
        unit[i * in + i] = 1;
    x = twin_from(unit, in * in);
    y = random_f32(in * out, 1);
    gpu->linear_f32(gpu, y.gpu, x.gpu, in, b);
    gpu->download(gpu, got, y.gpu, in * out * sizeof *got);
    for (size_t j = 0; j < out; j++)
        for (size_t i = 0; i < in; i++)
            bad += got[i * out + j] != want[j * in + i];
    free(unit);
    free(got);
    return bad;
}

/* Every finite bf16 number as a weight, under several scales and both roundings; codes from files too. */
static void codes(void)
{
    enum { SIDE = 256, N = SIDE * SIDE };
    float *host = host_room(N);
    uint8_t *raw = malloc(N);
    struct weight a = {0}, b = {0}, qa = {0}, qb = {0};

    for (uint32_t i = 0; i < N; i++) {
        host[i] = bf16_to_f32((uint16_t)i);
        if (!(fabsf(host[i]) <= 1e37f))
            host[i] = 0.37f;
    }
    for (int k = 0; k < 6; k++) {
        float scale = (float)ldexp(1 + 0.13 * k, 3 * k - 12);
        enum rounding r = k % 2 ? ROUND_MODELOPT : ROUND_EXACT;
        uint16_t *half = malloc(N * sizeof *half);

        for (uint32_t i = 0; i < N; i++)
            half[i] = bf16_from_f32(host[i]);
        cpu->weight_load(cpu, &a, SIDE, SIDE, half, DT_BF16);
        gpu->weight_load(gpu, &b, SIDE, SIDE, half, DT_BF16);
        cpu->weight_quantize(cpu, &qa, &a, DT_BF16, scale, 1, r);
        gpu->weight_quantize(gpu, &qb, &b, DT_BF16, scale, 1, r);
        CHECK(other_codes(&qa, &qb) == 0, "codes of every bf16 number, scale %g, %s", scale,
              rounding_text(r));
        free(half);
        done();
    }
    for (uint32_t i = 0; i < N; i++) {
        host[i] = (float)uniform();
        raw[i] = (uint8_t)(i % 254 < 127 ? i % 254 : i % 254 + 1); /* no NaN */
    }
    cpu->weight_load(cpu, &a, SIDE, SIDE, host, DT_F32);
    gpu->weight_load(gpu, &b, SIDE, SIDE, host, DT_F32);
    cpu->weight_quantize(cpu, &qa, &a, DT_F32, 1 / 448.0f, 1, ROUND_EXACT);
    gpu->weight_quantize(gpu, &qb, &b, DT_F32, 1 / 448.0f, 1, ROUND_EXACT);
    CHECK(other_codes(&qa, &qb) == 0, "codes of fp32 weights, which bf16 would change");
    done();
    cpu->weight_load_fp8(cpu, &qa, 99, 33, raw, 0.3f, 1);
    gpu->weight_load_fp8(gpu, &qb, 99, 33, raw, 0.3f, 1);
    CHECK(other_codes(&qa, &qb) == 0, "codes from a file, [99, 33]");
    cpu->weight_free(cpu, &a);
    gpu->weight_free(gpu, &b);
    cpu->weight_free(cpu, &qa);
    gpu->weight_free(gpu, &qb);
    free(host);
    free(raw);
    done();
}

/* Every bf16 number but NaN as an input, seen through a unit matrix of codes. */
static void input_codes(void)
{
    enum { SIDE = 256, N = SIDE * SIDE };
    static const float scales[] = {1 / 448.0f, 0.0131f, 1, 3.7f, 0x1.fffffep-70f, 0x1.8p90f};
    float *host = host_room(N), *got = host_room(N), *want = host_room(N);
    uint8_t *raw = calloc(N, 1);
    struct weight a = {0}, b = {0};
    struct twin x, y = random_f32(N, 1);

    for (uint32_t i = 0; i < N; i++) {
        host[i] = bf16_to_f32((uint16_t)i);
        host[i] = isnan(host[i]) ? 0.37f : host[i];
        raw[i] = i % (SIDE + 1) == 0 ? 0x38 : 0; /* 1 */
    }
    x = twin_from(host, N);
    for (size_t k = 0; k < sizeof scales / sizeof *scales; k++) {
        size_t bad = 0;

        cpu->weight_load_fp8(cpu, &a, SIDE, SIDE, raw, 1, scales[k]);
        gpu->weight_load_fp8(gpu, &b, SIDE, SIDE, raw, 1, scales[k]);
        cpu->linear_f32(cpu, y.cpu, x.cpu, SIDE, &a);
        gpu->linear_f32(gpu, y.gpu, x.gpu, SIDE, &b);
        cpu->download(cpu, want, y.cpu, N * sizeof *want);
        gpu->download(gpu, got, y.gpu, N * sizeof *got);
        for (size_t i = 0; i < N; i++)
            bad += !(got[i] == want[i]);
        CHECK(bad == 0, "codes of every bf16 input, scale %g", scales[k]);
    }
    cpu->weight_free(cpu, &a);
    gpu->weight_free(gpu, &b);
    free(host);
    free(got);
    free(want);
    free(raw);
    done();
}

/* A product that comes often gets the fastest algorithm with the bits of the first. */
static void often(size_t rows, size_t in, size_t out)
{
    float *host = host_room(out * in);
    struct twin x = randoms(rows * in, 1), y = blank(rows * out), dx = blank(rows * in),
                twice = blank(rows * in);
    struct weight w = {0};
    uint64_t first[3] = {0};
    size_t bad = 0;

    for (size_t i = 0; i < out * in; i++)
        host[i] = (float)uniform();
    gpu->weight_load(gpu, &w, out, in, host, DT_F32);
    for (int i = 0; i < 300; i++) {
        gpu->linear(gpu, y.gpu, x.gpu, rows, &w);
        gpu->linear_dx(gpu, dx.gpu, y.gpu, rows, &w, false);
        gpu->copy(gpu, twice.gpu, dx.gpu, rows * in * gpu->act_bytes);
        gpu->linear_dx(gpu, twice.gpu, y.gpu, rows, &w, true);
        if (i % 20 == 0) {
            uint64_t now[3] = {bits_of(y.gpu, rows * out * gpu->act_bytes),
                               bits_of(dx.gpu, rows * in * gpu->act_bytes),
                               bits_of(twice.gpu, rows * in * gpu->act_bytes)};

            if (i == 0)
                memcpy(first, now, sizeof first);
            bad += memcmp(first, now, sizeof first) != 0;
        }
    }
    CHECK(bad == 0, "300 times the same bits, [%zu, %zu] -> %zu", rows, in, out);
    gpu->weight_free(gpu, &w);
    free(host);
    done();
}

/* The largest magnitude of a weight, whose rows may be padded on the GPU; then with a NaN. */
static void weight_range(size_t out, size_t in)
{
    float *host = host_room(out * in), got;
    struct weight a = {0}, b = {0};
    struct twin range = plain(&(float){0.5f}, 4);
    float want;

    for (size_t i = 0; i < out * in; i++)
        host[i] = held((float)(1000 * uniform()));
    for (int nan = 0; nan < 2; nan++) {
        if (nan && out > 0 && in > 0)
            host[out * in - 1] = NAN;
        cpu->weight_load(cpu, &a, out, in, host, DT_F32);
        gpu->weight_load(gpu, &b, out, in, host, DT_F32);
        cpu->weight_amax(cpu, range.cpu, &a);
        gpu->weight_amax(gpu, range.gpu, &b);
        cpu->download(cpu, &want, range.cpu, 4);
        gpu->download(gpu, &got, range.gpu, 4);
        CHECK(got == want || (isnan(got) && isnan(want)), "weight_amax [%zu, %zu]: %g", out, in, got);
    }
    cpu->weight_free(cpu, &a);
    gpu->weight_free(gpu, &b);
    free(host);
    done();
}

/* fp16 and unaligned bf16 and fp32 hosts, by way of the embedding. */
static void loading(void)
{
    enum { OUT = 33, IN = 257, N = OUT * IN };
    static const enum dtype types[] = {DT_F32, DT_BF16, DT_F16};
    unsigned char *host = malloc(4 * N + 1);
    int32_t row[OUT];
    struct weight a = {0}, b = {0};

    for (int i = 0; i < OUT; i++)
        row[i] = i;
    for (int k = 0; k < 3; k++) {
        struct twin ids = plain(row, sizeof row), y = blank(N);

        for (size_t i = 0; i < N; i++)
            if (types[k] == DT_F32)
                memcpy(host + 1 + 4 * i, &(float){held((float)uniform())}, 4);
            else /* fp16 numbers of few bits, so that bf16 holds them */
                memcpy(host + 1 + 2 * i, &(uint16_t){(uint16_t)(i % 119 * 256)}, 2);
        cpu->weight_load(cpu, &a, OUT, IN, host + 1, types[k]);
        gpu->weight_load(gpu, &b, OUT, IN, host + 1, types[k]);
        cpu->embed(cpu, y.cpu, &a, ids.cpu, OUT);
        gpu->embed(gpu, y.gpu, &b, ids.gpu, OUT);
        CHECK(apart(y) == 0, "unaligned weights of type %d load exactly", (int)types[k]);
        done();
    }
    cpu->weight_free(cpu, &a);
    gpu->weight_free(gpu, &b);
    free(host);
}

/*
 * Many weights with nothing that waits between them, the last larger than all pinned buffers; each from the
 * same host memory, which is the caller's again when loading returns.
 */
static void loading_in_a_row(void)
{
    enum { MANY = 7, COLS = 2048, ROWS = 3000, LAST = 20000, LOOK = 50 };
    uint16_t *host = malloc((size_t)LAST * COLS * sizeof *host);
    struct weight w[MANY] = {0};
    float *got = host_room(LOOK * COLS);
    size_t bad = 0;

    for (size_t k = 0; k < MANY; k++) {
        size_t rows = k + 1 < MANY ? ROWS : LAST;

        for (size_t i = 0; i < rows * COLS; i++)
            host[i] = bf16_from_f32((float)((i / COLS * 5 + i + k) % 251)); /* exactly */
        gpu->weight_load(gpu, &w[k], rows, COLS, host, DT_BF16);
        memset(host, 0, rows * COLS * sizeof *host);
    }
    for (size_t k = 0; k < MANY; k++) {
        size_t rows = k + 1 < MANY ? ROWS : LAST;
        int32_t row[LOOK];
        struct twin ids, y = blank(LOOK * COLS);

        for (size_t i = 0; i < LOOK; i++)
            row[i] = (int32_t)((rows - 1) * i / (LOOK - 1)); /* first to last */
        ids = plain(row, sizeof row);
        gpu->embed(gpu, y.gpu, &w[k], ids.gpu, LOOK);
        gpu->download_act(gpu, got, y.gpu, LOOK * COLS);
        for (size_t i = 0; i < LOOK * COLS; i++) {
            size_t r = (size_t)row[i / COLS];

            bad += got[i] != (float)((r * 5 + r * COLS + i % COLS + k) % 251);
        }
        done();
        gpu->weight_free(gpu, &w[k]);
    }
    CHECK(bad == 0, "%d weights in a row, one after another", (int)MANY);
    free(got);
    free(host);
}

/* Both round x to the same codes; what is left is the order of the sums and the output's type. */
static void linear_fp8(size_t rows, size_t in, size_t out)
{
    float *host = host_room(out * in);
    struct twin x = randoms(rows * in, 2), bias = randoms(out, 1), y = blank(rows * out),
                f = random_f32(rows * out, 1), other = blank(rows * in), other_y = blank(rows * out),
                again_y = blank(rows * out);
    struct weight a = {0}, b = {0}, qa = {0}, qb = {0};
    uint64_t first;
    double d, e;

    for (size_t i = 0; i < out * in; i++)
        host[i] = held((float)uniform());
    cpu->weight_load(cpu, &a, out, in, host, DT_F32);
    gpu->weight_load(gpu, &b, out, in, host, DT_F32);
    a.bias = bias.cpu;
    b.bias = bias.gpu;
    cpu->weight_quantize(cpu, &qa, &a, DT_F32, 1 / 448.0f, 1.9f / 448, ROUND_EXACT);
    gpu->weight_quantize(gpu, &qb, &b, DT_F32, 1 / 448.0f, 1.9f / 448, ROUND_EXACT);
    cpu->linear(cpu, y.cpu, x.cpu, rows, &qa);
    gpu->linear(gpu, y.gpu, x.gpu, rows, &qb);
    cpu->linear_f32(cpu, f.cpu, x.cpu, rows, &qa);
    gpu->linear_f32(gpu, f.gpu, x.gpu, rows, &qb);
    gpu->gelu(gpu, other.gpu, x.gpu, rows * in);
    first = bits_of(y.gpu, rows * out * gpu->act_bytes);
    gpu->linear_again(gpu, y.gpu, x.gpu, rows, &qb);
    gpu->linear(gpu, other_y.gpu, other.gpu, rows, &qb);
    gpu->linear_again(gpu, again_y.gpu, x.gpu, rows, &qb);
    CHECK(bits_of(y.gpu, rows * out * gpu->act_bytes) == first &&
              bits_of(again_y.gpu, rows * out * gpu->act_bytes) == first,
          "again, and again after another input: the same bits");
    d = apart(y);
    e = apart_f32(f, rows * out);
    /* FP8 tensor cores align a step's products to the largest and keep 13 bits below it or more. */
    CHECK(d <= either(5e-6, rounded(rows * out)) && e <= (math == CUDA_BF16 ? 5e-4 : 5e-6),
          "FP8 linear [%zu, %zu] -> %zu: %.2g, fp32 out %.2g", rows, in, out, d, e);
    d = score_apart(x, rows, &qb); /* some outputs are rounded to another neighbour */
    CHECK(d <= (math == CUDA_BF16 ? 1e-2 : 0), "its score: %.2g", d);
    cpu->weight_free(cpu, &qa);
    gpu->weight_free(gpu, &qb);
    cpu->weight_free(cpu, &a);
    gpu->weight_free(gpu, &b);
    free(host);
    done();
}

/* Bits of n activations on the GPU are the same; p and q were made by different calls. */
static bool same(const void *p, const void *q, size_t n)
{
    return bits_of(p, n * gpu->act_bytes) == bits_of(q, n * gpu->act_bytes);
}

/* y's product with q, by what was made of y before, is that of a copy of y, of which nothing is known. */
static bool same_product(const struct twin *y, size_t rows, const struct weight *q)
{
    struct twin copy = blank(rows * q->in), a = blank(rows * q->out), b = blank(rows * q->out);

    gpu->linear_again(gpu, a.gpu, y->gpu, rows, q);
    gpu->copy(gpu, copy.gpu, y->gpu, rows * q->in * gpu->act_bytes);
    gpu->linear(gpu, b.gpu, copy.gpu, rows, q);
    return same(a.gpu, b.gpu, rows * q->out);
}

/* Operations that make their output for a module: the same output, and the same product as without. */
static void made_for_next(size_t rows, size_t dim, size_t out)
{
    size_t n = rows * dim;
    struct twin a = randoms(n, 2), b = randoms(n, 2), w = randoms(dim, 1), y = blank(n), sum = blank(n),
                next = blank(n), other = randoms(dim * out, 1);
    struct weight dense = {0}, q = {0}, coarse = {0};
    float *host = host_room(dim * out);
    bool fine, made, fresh, scales;

    gpu->download_act(gpu, host, other.gpu, dim * out);
    gpu->weight_load(gpu, &dense, out, dim, host, DT_F32);
    gpu->weight_quantize(gpu, &q, &dense, DT_F32, 1 / 448.0f, 1.3f / 448, ROUND_EXACT);
    gpu->weight_quantize(gpu, &coarse, &dense, DT_F32, 1 / 448.0f, 5.0f / 448, ROUND_EXACT);

    gpu->rmsnorm(gpu, y.gpu, a.gpu, w.gpu, rows, dim, 1e-6f, NULL);
    gpu->rmsnorm(gpu, next.gpu, a.gpu, w.gpu, rows, dim, 1e-6f, &q);
    fine = same(y.gpu, next.gpu, n);
    made = same_product(&next, rows, &q);
    gpu->rmsnorm(gpu, next.gpu, b.gpu, w.gpu, rows, dim, 1e-6f, &q);
    gpu->rmsnorm(gpu, next.gpu, a.gpu, w.gpu, rows, dim, 1e-6f, &dense);
    fresh = same_product(&next, rows, &q);
    gpu->rmsnorm(gpu, next.gpu, a.gpu, w.gpu, rows, dim, 1e-6f, &coarse);
    scales = same_product(&next, rows, &q);
    CHECK(fine && made && fresh && scales, "rmsnorm for a module [%zu, %zu] -> %zu: %d %d %d %d", rows, dim,
          out, fine, made, fresh, scales);

    gpu->add_rmsnorm(gpu, y.gpu, next.gpu, a.gpu, b.gpu, w.gpu, rows, dim, 1e-6f, NULL);
    gpu->add_rmsnorm(gpu, sum.gpu, next.gpu, a.gpu, b.gpu, w.gpu, rows, dim, 1e-6f, &q);
    fine = same(y.gpu, sum.gpu, n);
    made = same_product(&next, rows, &q);
    gpu->rmsnorm(gpu, y.gpu, sum.gpu, w.gpu, rows, dim, 1e-6f, NULL);
    fine = fine && same(y.gpu, next.gpu, n);
    gpu->copy(gpu, sum.gpu, a.gpu, n * gpu->act_bytes);
    gpu->add_rmsnorm(gpu, sum.gpu, next.gpu, sum.gpu, b.gpu, w.gpu, rows, dim, 1e-6f, NULL);
    fresh = same(y.gpu, next.gpu, n) && same_product(&next, rows, &q);
    CHECK(fine && made && fresh, "add_rmsnorm for a module [%zu, %zu] -> %zu, then in place: %d %d %d", rows,
          dim, out, fine, made, fresh);

    gpu->swiglu(gpu, y.gpu, a.gpu, b.gpu, 1, n, NULL);
    gpu->swiglu(gpu, next.gpu, a.gpu, b.gpu, rows, dim, &q);
    fine = same(y.gpu, next.gpu, n);
    made = same_product(&next, rows, &q);
    gpu->swiglu(gpu, next.gpu, b.gpu, a.gpu, rows, dim, NULL);
    fresh = same_product(&next, rows, &q);
    CHECK(fine && made && fresh, "swiglu for a module [%zu, %zu] -> %zu: %d %d %d", rows, dim, out, fine,
          made, fresh);
    gpu->weight_free(gpu, &coarse);
    gpu->weight_free(gpu, &q);
    gpu->weight_free(gpu, &dense);
    free(host);
    done();
}

/* swiglu_dx() makes the bits of swiglu(), and codes of them, beside the gradients that it makes without. */
static void swiglu_made_again(size_t rows, size_t dim, size_t out)
{
    size_t n = rows * dim;
    struct twin g = randoms(n, 6), u = randoms(n, 2), ds = randoms(n, 1), want = blank(n), s = blank(n),
                dg = blank(n), du = blank(n), dg_again = blank(n + 1), du_again = blank(n),
                other = randoms(dim * out, 1);
    char *odd = (char *)dg_again.gpu + gpu->act_bytes;
    struct weight dense = {0}, q = {0};
    float *host = host_room(dim * out);
    bool alone, fine, made, fresh;

    gpu->download_act(gpu, host, other.gpu, dim * out);
    gpu->weight_load(gpu, &dense, out, dim, host, DT_F32);
    gpu->weight_quantize(gpu, &q, &dense, DT_F32, 1 / 448.0f, 1.3f / 448, ROUND_EXACT);
    gpu->swiglu(gpu, want.gpu, g.gpu, u.gpu, rows, dim, NULL);
    gpu->swiglu_dx(gpu, dg.gpu, du.gpu, NULL, ds.gpu, g.gpu, u.gpu, rows, dim, &q);

    gpu->swiglu_dx(gpu, dg_again.gpu, du_again.gpu, s.gpu, ds.gpu, g.gpu, u.gpu, rows, dim, NULL);
    alone = same(s.gpu, want.gpu, n) && same(dg_again.gpu, dg.gpu, n) && same(du_again.gpu, du.gpu, n) &&
            same_product(&s, rows, &q);
    gpu->zero(gpu, s.gpu, n * gpu->act_bytes);
    gpu->zero(gpu, dg_again.gpu, n * gpu->act_bytes);
    gpu->zero(gpu, du_again.gpu, n * gpu->act_bytes);
    gpu->swiglu_dx(gpu, dg_again.gpu, du_again.gpu, s.gpu, ds.gpu, g.gpu, u.gpu, rows, dim, &q);
    fine = same(s.gpu, want.gpu, n) && same(dg_again.gpu, dg.gpu, n) && same(du_again.gpu, du.gpu, n);
    made = same_product(&s, rows, &q);
    /* Codes of other elements of the same place, then an address that none are made at. */
    gpu->swiglu_dx(gpu, dg_again.gpu, du_again.gpu, s.gpu, ds.gpu, u.gpu, u.gpu, rows, dim, &q);
    gpu->swiglu_dx(gpu, odd, du_again.gpu, s.gpu, ds.gpu, g.gpu, u.gpu, rows, dim, &q);
    fresh = same(s.gpu, want.gpu, n) && same(odd, dg.gpu, n) && same_product(&s, rows, &q);
    CHECK(alone && fine && made && fresh, "swiglu_dx makes swiglu again [%zu, %zu] -> %zu: %d %d %d %d", rows,
          dim, out, alone, fine, made, fresh);
    gpu->weight_free(gpu, &q);
    gpu->weight_free(gpu, &dense);
    free(host);
    done();
}

static void inputs_made(void)
{
    static const size_t rows[] = {0, 1, 31, 32, 33, 257};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        made_for_next(rows[i], 192, 48);
        made_for_next(rows[i], 33, 31);
        made_for_next(rows[i], 200, 32);
        swiglu_made_again(rows[i], 192, 48);
        swiglu_made_again(rows[i], 33, 31);
        swiglu_made_again(rows[i], 200, 32);
    }
    made_for_next(70, 2048, 512);
    made_for_next(70, 11008, 128);
    swiglu_made_again(70, 11008, 128);
}

static void everything(void)
{
    static const size_t shapes[][3] = {
        {0, 5, 5},
        {1, 1, 1},
        {1, 192, 512},
        {3, 33, 31},
        {5, 31, 33},
        {31, 32, 33},
        {32, 33, 31},
        {33, 31, 32},
        {257, 192, 64},
        {257, 96, 252},
        {257, 252, 96},
        {40, 1176, 96},
        {33, 192, 1024},
        {5, 0, 3},
        {9, 600, 2000},
        {97, 8, 1},
        {100, 1280, 3420},
        {100, 3420, 1280},
        {64, 2048, 11008},
        {64, 11008, 2048},
        /* around the edges of warpgroup tiles, of all sizes; more tiles than multiprocessors */
        {1, 16, 8},
        {127, 128, 64},
        {128, 144, 72},
        {129, 256, 136},
        {255, 384, 256},
        {257, 144, 3424},
        {1100, 128, 200},
        {2177, 16, 4104},
        {4000, 912, 1160},
        {2900, 1184, 704}};

    loading();
    loading_in_a_row();
    codes();
    weight_range(3, 0);
    weight_range(33, 75);
    weight_range(1280, 3420);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (left_out(shapes[i]))
            continue;
        linear(shapes[i][0], shapes[i][1], shapes[i][2]);
        if (shapes[i][1])
            linear_fp8(shapes[i][0], shapes[i][1], shapes[i][2]);
    }
    input_codes();
    inputs_made();
    if (!getenv("TEST_SMALL")) {
        often(700, 2048, 1024);
        often(701, 1280, 3420);
    }
}

int main(void)
{
    return each_math(everything);
}
