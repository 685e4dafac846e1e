/*
 * int8.c - INT8 weights and linear modules, CUDA against the CPU
 *
 * Codes are the same, sums are exact and scales are applied in one order, so that fp32 output has the CPU's
 * bits and bf16 output is the CPU's number rounded.
 */
#include "common/base/int8.h"
#include "tests/gpu/twin.h"

static size_t other_bits(const void *from_cpu, const void *from_gpu, size_t n)
{
    float *a = host_room(n), *b = host_room(n);
    size_t bad = 0;

    cpu->download(cpu, a, from_cpu, n * sizeof *a);
    gpu->download(gpu, b, from_gpu, n * sizeof *b);
    for (size_t i = 0; i < n; i++)
        bad += memcmp(a + i, b + i, sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i]));
    free(a);
    free(b);
    return bad;
}

/* A dense weight on both sides; as bf16 when its numbers are, which takes another path into bf16 activations.
 */
static void load(struct weight *a, struct weight *b, const float *host, size_t out, size_t in,
                 enum dtype type)
{
    uint16_t *half = malloc((out * in + 1) * sizeof *half);
    const void *from = type == DT_BF16 ? (const void *)half : host;

    for (size_t i = 0; half && i < out * in; i++)
        half[i] = bf16_from_f32(host[i]);
    cpu->weight_load(cpu, a, out, in, from, type);
    gpu->weight_load(gpu, b, out, in, from, type);
    free(half);
}

static float *smoothing_scales(size_t n, bool as_bf16)
{
    float *s = host_room(n);

    for (size_t i = 0; i < n; i++) {
        s[i] = (float)exp(2 * uniform());
        s[i] = as_bf16 ? bf16_to_f32(bf16_from_f32(s[i])) : s[i];
    }
    return s;
}

static void linear(size_t rows, size_t in, size_t out)
{
    float *host = host_room(out * in), *pre = smoothing_scales(in, true);
    struct twin x = randoms(rows * in, 2), bias = randoms(out, 1), y = blank(rows * out),
                f = random_f32(rows * out, 1);
    struct weight a = {0}, b = {0}, qa = {0}, qb = {0};
    size_t bad = 0, scales = 0;
    double scored = 0;

    for (size_t i = 0; i < out * in; i++)
        host[i] = (float)uniform();
    load(&a, &b, host, out, in, DT_F32);
    for (int k = 0; k < 8; k++) {
        struct smooth s = {.pre = pre, .folded = k & 4};
        float input_scale = k & 1 ? 1.9f / 127 : 0;

        a.bias = k & 2 ? bias.cpu : NULL;
        b.bias = k & 2 ? bias.gpu : NULL;
        cpu->weight_quantize_int8(cpu, &qa, &a, DT_F32, k >= 2 ? &s : NULL, input_scale, ROUND_EXACT);
        gpu->weight_quantize_int8(gpu, &qb, &b, DT_F32, k >= 2 ? &s : NULL, input_scale, ROUND_EXACT);
        cpu->linear(cpu, y.cpu, x.cpu, rows, &qa);
        gpu->linear(gpu, y.gpu, x.gpu, rows, &qb);
        cpu->linear_f32(cpu, f.cpu, x.cpu, rows, &qa);
        gpu->linear_f32(gpu, f.gpu, x.gpu, rows, &qb);
        scales += other_bits(qa.row_scale, qb.row_scale, out);
        bad += other_rounded(y) + other_bits(f.cpu, f.gpu, rows * out);
        if (k == 0 || k == 7)
            scored += score_apart(x, rows, &qb);
    }
    CHECK(bad == 0 && scales == 0, "INT8 linear [%zu, %zu] -> %zu: %zu outputs, %zu scales differ", rows, in,
          out, bad, scales);
    CHECK(scored <= 1e-6, "its score: %.2g", scored); /* of a row, up to 16 elements are added in fp32 */
    cpu->weight_free(cpu, &qa);
    gpu->weight_free(gpu, &qb);
    cpu->weight_free(cpu, &a);
    gpu->weight_free(gpu, &b);
    free(pre);
    free(host);
    done();
}

/* Codes of a weight, seen through the unit matrix under an input scale of 1. */
static size_t other_codes(const struct weight *a, const struct weight *b)
{
    size_t in = a->in, out = a->out, bad;
    float *unit = host_room(in * in);
    struct twin x, f = random_f32(in * out, 1);

    memset(unit, 0, in * in * sizeof *unit);
    for (size_t i = 0; i < in; i++)
        unit[i * in + i] = 1;
    x = twin_from(unit, in * in);
    cpu->linear_f32(cpu, f.cpu, x.cpu, in, a);
    gpu->linear_f32(gpu, f.gpu, x.gpu, in, b);
    bad = other_bits(f.cpu, f.gpu, in * out);
    free(unit);
    return bad;
}

static void codes(enum dtype type, size_t out, size_t in)
{
    float *host = host_room(out * in), *own = smoothing_scales(in, false), *pre = host_room(in);
    struct weight a = {0}, b = {0}, qa = {0}, qb = {0};
    int8_t *raw = malloc(out * in);
    float *scale = smoothing_scales(out, false);

    for (size_t i = 0; i < out * in; i++) {
        host[i] = (float)uniform() * (i / in % 5 ? 1 : 1e-30f);
        host[i] = i / in == 3 ? 0 : type == DT_BF16 ? bf16_to_f32(bf16_from_f32(host[i])) : host[i];
        raw[i] = (int8_t)(i * 7 % 256 - 128);
    }
    for (size_t i = 0; i < in; i++)
        pre[i] = bf16_to_f32(bf16_from_f32(own[i] * (i % 3 ? 1 : 1.2f)));
    load(&a, &b, host, out, in, type);
    for (enum rounding r = ROUND_EXACT; r <= ROUND_MODELOPT; r++)
        for (int smoothed = 0; smoothed < 2; smoothed++) {
            struct smooth s = {.pre = pre, .own = own, .folded = true};

            cpu->weight_quantize_int8(cpu, &qa, &a, type, smoothed ? &s : NULL, 1, r);
            gpu->weight_quantize_int8(gpu, &qb, &b, type, smoothed ? &s : NULL, 1, r);
            CHECK(other_bits(qa.row_scale, qb.row_scale, out) == 0 && other_codes(&qa, &qb) == 0,
                  "codes of a %s weight [%zu, %zu], %s%s", type == DT_BF16 ? "bf16" : "fp32", out, in,
                  rounding_text(r), smoothed ? ", smoothed" : "");
        }
    cpu->weight_load_int8(cpu, &qa, out, in, raw, scale, 1, NULL);
    gpu->weight_load_int8(gpu, &qb, out, in, raw, scale, 1, NULL);
    CHECK(other_codes(&qa, &qb) == 0, "codes from a file, [%zu, %zu]", out, in);
    cpu->weight_load_int8(cpu, &qa, out, in, raw, scale, 1, pre);
    gpu->weight_load_int8(gpu, &qb, out, in, raw, scale, 1, pre);
    CHECK(other_codes(&qa, &qb) == 0, "and with a scale for its input");
    gpu->weight_quantize(gpu, &qb, &b, type, 1, 1, ROUND_EXACT);
    CHECK(qb.format == WEIGHT_FP8 && !qb.row_scale && !qb.pre_scale, "as FP8 after that, in other memory");
    cpu->weight_free(cpu, &qa);
    gpu->weight_free(gpu, &qb);
    cpu->weight_free(cpu, &a);
    gpu->weight_free(gpu, &b);
    free(scale);
    free(raw);
    free(pre);
    free(own);
    free(host);
    done();
}

/* A NaN makes its row NaN, an infinity too unless a static scale saturates it. */
static void not_a_number(void)
{
    enum { ROWS = 3, IN = 264, OUT = 40 };
    float *host = host_room(OUT * IN);
    struct twin x = randoms(ROWS * IN, 1), y = blank(ROWS * OUT);
    struct weight a = {0}, b = {0}, qa = {0}, qb = {0};
    size_t bad = 0;

    for (size_t i = 0; i < OUT * IN; i++)
        host[i] = (float)uniform();
    load(&a, &b, host, OUT, IN, DT_F32);
    for (int k = 0; k < 4; k++) {
        float odd = k & 1 ? INFINITY : -NAN, input_scale = k & 2 ? 0.01f : 0;

        cpu->upload_act(cpu, (float *)x.cpu + IN + 100, &odd, 1);
        gpu->upload_act(gpu, (char *)x.gpu + (IN + 100) * gpu->act_bytes, &odd, 1);
        cpu->weight_quantize_int8(cpu, &qa, &a, DT_F32, NULL, input_scale, ROUND_EXACT);
        gpu->weight_quantize_int8(gpu, &qb, &b, DT_F32, NULL, input_scale, ROUND_EXACT);
        cpu->linear(cpu, y.cpu, x.cpu, ROWS, &qa);
        gpu->linear(gpu, y.gpu, x.gpu, ROWS, &qb);
        bad += other_rounded(y) + (isnan(((float *)y.cpu)[OUT]) != (k != 3)) + isnan(((float *)y.cpu)[0]);
    }
    CHECK(bad == 0, "NaN and infinities in a row");
    cpu->weight_free(cpu, &qa);
    gpu->weight_free(gpu, &qb);
    cpu->weight_free(cpu, &a);
    gpu->weight_free(gpu, &b);
    free(host);
    done();
}

/* Rows of all magnitudes, under scales of their own and given ones. */
static void magnitudes(size_t in)
{
    static const float most[] = {1e-44f, 1e-39f, 1e-36f, 1e-30f, 1e-18f, 1e-8f, 1, 1e9f, 1e18f, 1e30f, 3e38f},
                       scale[] = {0, 1e-38f, 1e-25f, 1e-3f, 1e25f, 1e36f};
    enum { ROWS = sizeof most / sizeof *most, OUT = 24 };
    float *host = host_room(OUT * in), *rows = host_room(ROWS * in);
    struct weight a = {0}, b = {0}, qa = {0}, qb = {0};
    struct twin x, y = random_f32(ROWS * OUT, 1);
    size_t bad = 0;

    for (size_t i = 0; i < ROWS * in; i++)
        rows[i] = held(most[i / in] * (float)uniform());
    for (size_t i = 0; i < OUT * in; i++)
        host[i] = (float)uniform();
    x = twin_from(rows, ROWS * in);
    load(&a, &b, host, OUT, in, DT_F32);
    for (size_t i = 0; i < sizeof scale / sizeof *scale; i++) {
        cpu->weight_quantize_int8(cpu, &qa, &a, DT_F32, NULL, scale[i], ROUND_EXACT);
        gpu->weight_quantize_int8(gpu, &qb, &b, DT_F32, NULL, scale[i], ROUND_EXACT);
        cpu->linear_f32(cpu, y.cpu, x.cpu, ROWS, &qa);
        gpu->linear_f32(gpu, y.gpu, x.gpu, ROWS, &qb);
        bad += other_bits(y.cpu, y.gpu, ROWS * OUT);
    }
    CHECK(bad == 0, "rows of %zu of all magnitudes: %zu differ", in, bad);
    cpu->weight_free(cpu, &qa);
    gpu->weight_free(gpu, &qb);
    cpu->weight_free(cpu, &a);
    gpu->weight_free(gpu, &b);
    free(rows);
    free(host);
    done();
}

/* Codes of an input serve again only where they would be the same. */
static void again(size_t rows, size_t in, size_t out)
{
    float *host = host_room(out * in), *pre = smoothing_scales(in, true);
    struct twin x = randoms(rows * in, 1), y = blank(rows * out);
    struct weight a = {0}, b = {0}, q = {0}, dense = {0}, fp8 = {0};
    struct smooth smooth = {.pre = pre};
    static const struct {
        float input_scale;
        bool smoothed;
    } form[] = {{0, false}, {0, false}, {0.01f, false}, {0.01f, false}, {0, true}, {0, true}, {0.02f, false}};
    size_t bad = 0;

    for (size_t i = 0; i < out * in; i++)
        host[i] = (float)uniform();
    load(&dense, &b, host, out, in, DT_F32);
    gpu->weight_quantize(gpu, &fp8, &b, DT_F32, 0.01f, 0.02f, ROUND_EXACT);
    for (size_t i = 0; i < 2 * sizeof form / sizeof *form; i++) {
        size_t k = i % (sizeof form / sizeof *form);
        const struct smooth *s = form[k].smoothed ? &smooth : NULL;

        if (form[k].input_scale == 0.02f) /* codes of the same scale, but E4M3 */
            gpu->linear(gpu, y.gpu, x.gpu, rows, &fp8);
        pre[0] += 1;
        cpu->weight_quantize_int8(cpu, &a, &dense, DT_F32, s, form[k].input_scale, ROUND_EXACT);
        gpu->weight_quantize_int8(gpu, &q, &b, DT_F32, s, form[k].input_scale, ROUND_EXACT);
        cpu->linear(cpu, y.cpu, x.cpu, rows, &a);
        (i ? gpu->linear_again : gpu->linear)(gpu, y.gpu, x.gpu, rows, &q);
        bad += other_rounded(y);
    }
    CHECK(bad == 0, "codes of an input again: %zu differ", bad);
    cpu->weight_free(cpu, &a);
    gpu->weight_free(gpu, &q);
    gpu->weight_free(gpu, &fp8);
    cpu->weight_free(cpu, &dense);
    gpu->weight_free(gpu, &b);
    free(pre);
    free(host);
    done();
}

static void everything(void)
{
    static const size_t shapes[][3] = {
        {0, 5, 5},         {1, 1, 1},         {1, 192, 512},     {3, 33, 31},
        {5, 31, 33},       {31, 32, 33},      {32, 33, 31},      {33, 31, 32},
        {257, 192, 64},    {257, 96, 252},    {257, 252, 96},    {40, 1176, 96},
        {5, 0, 3},         {9, 600, 2000},    {97, 8, 1},        {100, 1280, 3420},
        {100, 3420, 1280}, {64, 2048, 11008}, {64, 11008, 2048}, {1500, 64, 11008} /* in slices */,
        /* around the edges of warpgroup tiles, of all sizes */
        {1, 16, 8},        {1, 112, 256},     {127, 128, 65},    {128, 144, 64},
        {129, 16, 1},      {255, 128, 256},   {256, 112, 257},   {257, 144, 3420},
        {1100, 128, 200},  {2100, 144, 3420}, {2177, 16, 4097},  {4100, 272, 1026},
        /* more stages than fit, more tiles than multiprocessors */
        {4000, 900, 1160}, {2900, 1180, 700}};

    codes(DT_BF16, 67, 257);
    codes(DT_F32, 64, 256);
    codes(DT_BF16, 64, 256);
    not_a_number();
    magnitudes(2048);
    magnitudes(2052);
    magnitudes(4096);
    magnitudes(13);
    again(40, 96, 33);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (!left_out(shapes[i]))
            linear(shapes[i][0], shapes[i][1], shapes[i][2]);
}

int main(void)
{
    return each_math(everything);
}
