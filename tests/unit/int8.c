/* int8.c - INT8 arithmetic, its products on the CPU, column ranges, distances and the rounding of a KV cache */
#include <omp.h>

#include "tests/unit/kernels.h"

static void scales(void)
{
    float x[3] = {-0.9f, 1e-3f, 0.31f};

    CHECK(int8_scale(127, ROUND_EXACT) == 1 && int8_scale(0, ROUND_EXACT) == 1 && int8_scale(0, ROUND_MODELOPT) == 1 &&
              int8_scale(0x1p-149f, ROUND_EXACT) == 1 && int8_scale(0x1p-140f, ROUND_EXACT) > 0,
          "a scale is positive, of a range of nothing too");
    CHECK(int8_scale(1.1f, ROUND_EXACT) == 1.1f / 127 && int8_scale(1.1f, ROUND_MODELOPT) == 1.1f * (1 / 127.0f),
          "scales of both roundings");
    int8_smooth(x, x, 3, &(struct smooth){.pre = (float[]){0.5f, 3, 0.7f}}, DT_BF16, ROUND_EXACT);
    CHECK(x[0] == -0.9f / 0.5f && x[1] == 1e-3f / 3 && x[2] == 0.31f / 0.7f, "smoothing is the fp32 quotient");
}

static void codes(void)
{
    static const struct {
        float x;
        int code;
    } of[] = {{0.5f, 0},  {1.5f, 2},    {2.5f, 2},     {-0.5f, 0},    {-1.5f, -2},     {126.5f, 126},        {127.4f, 127},
              {1e9f, 127}, {-128, -128}, {-128.5f, -128}, {-1e9f, -128}, {INFINITY, 127}, {0.49999997f, 0}, {-126.5f, -126}};
    int bad = 0;
    float back[256];
    int8_t code[256];

    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        int8_encode(code, &of[i].x, 1, 1);
        bad += code[0] != of[i].code;
    }
    CHECK(bad == 0, "codes: halves to even, saturating at -128 and 127");
    for (int i = 0; i < 256; i++)
        code[i] = (int8_t)(i - 128);
    int8_decode(back, code, 256, 0.37f);
    for (int i = bad = 0; i < 256; i++) {
        int8_t again;

        int8_encode(&again, &back[i], 1, 0.37f);
        bad += again != code[i] || back[i] != (float)(i - 128) * 0.37f;
    }
    CHECK(bad == 0, "every code comes back");
    for (uint64_t i = bad = 0; i < 2000000; i++) {
        float q = (float)(130 * uniform()), want = rintf(q);

        bad += int8_nearest(q) != (want > 127 ? 127 : want < -128 ? -128 : want);
    }
    CHECK(bad == 0, "int8_nearest is rint, clamped");
}

static float bf16(float x)
{
    return bf16_to_f32(bf16_from_f32(x));
}

/* ModelOpt's order: W by its own fp32 scale, then from its rounded scale to the group's. */
static void smoothing(void)
{
    enum { N = 999 };
    float own[N], pre[N], w[N], y[N], z[N];
    size_t bad = 0, twice = 0;

    for (size_t i = 0; i < N; i++) {
        w[i] = bf16((float)uniform());
        own[i] = (float)exp(3 * uniform());
        pre[i] = i % 3 ? bf16(own[i]) : bf16(own[i] * 1.3f);
    }
    int8_smooth(y, w, N, &(struct smooth){pre, own, false}, DT_BF16, ROUND_MODELOPT);
    int8_smooth(z, w, N, &(struct smooth){pre, own, false}, DT_F32, ROUND_MODELOPT);
    for (size_t i = 0; i < N; i++) {
        float v = bf16(w[i] * (1 / own[i]));

        bad += y[i] != (i % 3 ? v : bf16(v * bf16(own[i]) / pre[i])) || z[i] != w[i] / pre[i];
        twice += y[i] != bf16(w[i] / pre[i]);
    }
    CHECK(bad == 0 && twice > 0, "ROUND_MODELOPT of bf16: rounded twice, and where the group's scale differs three times");
    for (size_t i = bad = 0; i < N; i++)
        pre[i] = ldexpf(1, (int)(i % 9) - 4);
    int8_fold(y, w, pre, N, DT_BF16);
    int8_smooth(z, w, N, &(struct smooth){.pre = pre}, DT_BF16, ROUND_EXACT);
    for (size_t i = 0; i < N; i++)
        bad += y[i] * z[i] != w[i] * w[i];
    CHECK(bad == 0, "a norm carries powers of two exactly");
    pre[0] = 1.0f / 3;
    w[0] = 1;
    int8_fold(y, w, pre, 1, DT_BF16);
    int8_fold(y + 1, w, pre, 1, DT_F16);
    int8_fold(y + 2, w, pre, 1, DT_F32);
    CHECK(y[0] == bf16(1.0f / 3) && y[1] == 0x1.554p-2f && y[2] == 1.0f / 3, "a norm is rounded to its file's type");
}

static void halves(void)
{
    size_t bad = 0;

    for (uint32_t h = 0; h < 0x10000; h++) {
        float x = f16_to_f32((uint16_t)h);

        bad += x == x ? f16_from_f32(x) != h : (f16_from_f32(x) & 0x7fff) <= 0x7c00;
    }
    CHECK(bad == 0, "every fp16 number goes to fp32 and back");
    CHECK(f16_from_f32(65519) == 0x7bff && f16_from_f32(65520) == 0x7c00 && f16_from_f32(1 + 0x1p-11f) == 0x3c00 &&
              f16_from_f32(1 + 0x1.8p-10f) == 0x3c02 && f16_from_f32(0x1p-25f) == 0 && f16_from_f32(0x1.8p-24f) == 2,
          "fp16 ties go to even, at 1, below 2^-14 and at the top");
}

/* y as the header says it, sums in 64 bits; x is the fp32 input, codes and scales those of w. */
static void reference(float *y, const float *x, size_t rows, const struct weight *w)
{
    const int8_t *codes_of = w->data;
    const float *bias = w->bias;
    float *v = malloc(w->in * sizeof *v + 1);
    int8_t *code = malloc(w->in + 1);

    for (size_t r = 0; r < rows; r++) {
        float amax = 0, scale = w->input_scale;

        for (size_t i = 0; i < w->in; i++) {
            v[i] = w->pre_scale ? x[r * w->in + i] * w->pre_scale[i] : x[r * w->in + i];
            amax = fmaxf(amax, fabsf(v[i]));
        }
        if (scale == 0)
            scale = int8_scale(amax, ROUND_EXACT);
        int8_encode(code, v, w->in, scale);
        for (size_t j = 0; j < w->out; j++) {
            int64_t sum = 0;

            for (size_t i = 0; i < w->in; i++)
                sum += (int64_t)code[i] * codes_of[j * w->in + i];
            y[r * w->out + j] = (float)sum * (scale * w->row_scale[j]);
            if (bias)
                y[r * w->out + j] += bias[j];
        }
    }
    free(code);
    free(v);
}

static void product_case(size_t rows, size_t in, size_t out)
{
    float *x = randoms(rows * in, 2), *host = randoms(out * in, 1), *bias = randoms(out, 1), *pre = randoms(in, 1);
    float *want = room(4 * rows * out + 4), *y = room(4 * rows * out + 4);
    struct weight w = {0}, q = {0}, f = {0};
    size_t bad = 0;

    for (size_t i = 0; i < in; i++)
        pre[i] = 0.1f + fabsf(pre[i]);
    be->weight_load(be, &w, out, in, host, DT_F32);
    for (int k = 0; k < 8; k++) {
        struct smooth s = {pre, NULL, k & 4};

        w.bias = k & 1 ? bias : NULL;
        be->weight_quantize_int8(be, &q, &w, DT_F32, k & 2 ? &s : NULL, k & 1 ? 1.5f / 127 : 0, ROUND_EXACT);
        bad += (q.pre_scale != NULL) != ((k & 2) && !(k & 4)) || q.format != WEIGHT_INT8 || q.bias != w.bias;
        be->linear(be, y, x, rows, &q);
        reference(want, x, rows, &q);
        bad += !same_bits(y, want, 4 * rows * out);
        be->linear_f32(be, y, x, rows, &q);
        bad += !same_bits(y, want, 4 * rows * out);
        /* The same codes from a file. */
        be->weight_load_int8(be, &f, out, in, q.data, q.row_scale, q.input_scale, q.pre_scale);
        f.bias = q.bias;
        be->linear(be, y, x, rows, &f);
        bad += !same_bits(y, want, 4 * rows * out);
    }
    CHECK(bad == 0, "INT8 linear [%zu, %zu] -> %zu: exact sums, static and dynamic, smoothed and not", rows, in, out);
    be->weight_free(be, &q);
    be->weight_free(be, &f);
    be->weight_free(be, &w);
    done();
}

static void rows_of_a_weight(void)
{
    enum { OUT = 37, IN = 513 };
    float *host = randoms(OUT * IN, 3), *pre = randoms(IN, 1), *own = randoms(IN, 1), y[IN];
    struct weight w = {0}, q = {0};
    int8_t code[IN];
    void *data;

    for (size_t i = 0; i < IN; i++) {
        own[i] = 0.3f + fabsf(own[i]);
        pre[i] = bf16(own[i] * (i % 2 ? 1.1f : 1));
    }
    for (size_t i = 0; i < OUT * IN; i++)
        host[i] = i / IN == 7 ? 0 : bf16(host[i]);
    be->weight_load(be, &w, OUT, IN, host, DT_F32);
    for (enum rounding r = ROUND_EXACT; r <= ROUND_MODELOPT; r++) {
        struct smooth s = {pre, own, false};
        size_t bad = 0;

        be->weight_quantize_int8(be, &q, &w, DT_BF16, &s, 0.1f, r);
        for (size_t o = 0; o < OUT; o++) {
            float amax = 0;

            int8_smooth(y, host + o * IN, IN, &s, DT_BF16, r);
            for (size_t i = 0; i < IN; i++)
                amax = fmaxf(amax, fabsf(y[i]));
            int8_encode(code, y, IN, int8_scale(amax, r));
            bad += q.row_scale[o] != int8_scale(amax, r) || memcmp((int8_t *)q.data + o * IN, code, IN) != 0;
        }
        CHECK(bad == 0 && same_bits(q.pre_scale, pre, IN * 4) && q.row_scale[7] == 1,
              "weight_quantize_int8, %s: int8_smooth, a scale for each row, int8_encode", rounding_text(r));
    }
    data = q.data;
    be->weight_quantize_int8(be, &q, &w, DT_BF16, NULL, 0, ROUND_EXACT);
    CHECK(q.data == data && !q.pre_scale && q.input_scale == 0, "again, into the same memory, without smoothing");
    be->weight_quantize(be, &q, &w, DT_BF16, 1, 1, ROUND_EXACT);
    CHECK(q.format == WEIGHT_FP8 && !q.row_scale, "and as FP8, which takes other memory");
    be->weight_free(be, &q);
    be->weight_free(be, &w);
    done();
}

/* Codes cannot hold it: the row's scale does. */
static void not_a_number(void)
{
    enum { ROWS = 3, IN = 70, OUT = 40 };
    float *x = randoms(ROWS * IN, 1), *host = randoms(OUT * IN, 1), *y = room(4 * ROWS * OUT);
    struct weight w = {0}, q = {0};
    size_t bad = 0;

    be->weight_load(be, &w, OUT, IN, host, DT_F32);
    for (int k = 0; k < 4; k++) {
        bool fixed = k & 1;
        size_t rows = k & 2 ? 1 : ROWS, row = rows == 1 ? 0 : 1;

        x[row * IN + 69] = NAN;
        be->weight_quantize_int8(be, &q, &w, DT_F32, NULL, fixed ? 0.01f : 0, ROUND_EXACT);
        be->linear(be, y, x, rows, &q);
        for (size_t i = 0; i < rows * OUT; i++)
            bad += isnan(y[i]) != (i / OUT == row);
        x[row * IN + 69] = INFINITY;
        be->linear(be, y, x, rows, &q);
        for (size_t i = 0; i < rows * OUT; i++)
            bad += isnan(y[i]) != (i / OUT == row && !fixed);
        x[row * IN + 69] = 0;
    }
    CHECK(bad == 0, "a NaN makes its row NaN, an infinity too unless a static scale saturates it");
    be->weight_free(be, &q);
    be->weight_free(be, &w);
    done();
}

/* All codes at the ends: sums of 2^14 * in, which fp32 alone would round. */
static void largest_sums(void)
{
    enum { IN = 11008, OUT = 33, ROWS = 2 };
    int8_t *codes_of = room(OUT * IN);
    float *x = room(4 * ROWS * IN), *scale = room(4 * OUT), y[ROWS * OUT], *want = room(4 * ROWS * OUT);
    struct weight w = {0};

    for (size_t i = 0; i < OUT * IN; i++)
        codes_of[i] = i % 7 ? -128 : 127;
    for (size_t i = 0; i < ROWS * IN; i++)
        x[i] = i % 5 ? -1000 : 126.9f;
    for (size_t i = 0; i < OUT; i++)
        scale[i] = 1;
    be->weight_load_int8(be, &w, OUT, IN, codes_of, scale, 1, NULL);
    reference(want, x, ROWS, &w);
    be->linear(be, y, x, ROWS, &w);
    CHECK(same_bits(y, want, sizeof y) && y[0] > 0x1p26f, "sums of 11008 of the largest products are exact: %.9g", y[0]);
    be->weight_free(be, &w);
    done();
}

static void columns(size_t rows, size_t dim)
{
    float *x = randoms(rows * dim + 1, 3), *out = room(4 * dim + 4), *want = room(4 * dim + 4);
    size_t bad = 0;

    for (size_t c = 0; c < dim; c++) {
        want[c] = out[c] = c % 2 ? 2.5f : 0;
        for (size_t r = 0; r < rows; r++)
            want[c] = fmaxf(want[c], fabsf(x[r * dim + c]));
    }
    be->amax_columns(be, out, x, rows, dim);
    CHECK(same_bits(out, want, 4 * dim), "amax_columns [%zu, %zu]", rows, dim);
    if (rows && dim) {
        x[(rows - 1) * dim + dim / 2] = NAN;
        be->amax_columns(be, out, x, rows, dim);
        for (size_t c = 0; c < dim; c++)
            bad += isnan(out[c]) != (c == dim / 2);
        CHECK(bad == 0, "a NaN stays in its column");
    }
    done();
}

static void distances(size_t n)
{
    float *a = randoms(n + 1, 1), *b = randoms(n + 1, 1), *y = room(4 * n + 4), *want = room(4 * n + 4);
    double sum = 0.5, out = 0.5;

    for (size_t i = 0; i < n; i++)
        sum += (double)((a[i] - b[i]) * (a[i] - b[i]));
    be->distance(be, &out, a, b, n);
    fp8_round(want, a, n, 0.03f);
    be->round_fp8(be, y, a, n, 0.03f);
    CHECK(fabs(out - sum) <= 1e-14 * sum * sqrt((double)n + 1) && same_bits(y, want, 4 * n),
          "distance and round_fp8 of %zu", n);
    be->round_fp8(be, a, a, n, 0.03f);
    CHECK(same_bits(a, want, 4 * n), "round_fp8 in place");
    if (n) {
        a[n / 2] = NAN;
        be->distance(be, &out, a, b, n);
        be->round_fp8(be, a, a, n, 0.03f);
        CHECK(isnan(out) && isnan(a[n / 2]), "a NaN stays in both");
    }
    done();
}

/* Bits of everything, under 1, 2 and 3 threads. */
static void threads(void)
{
    enum { ROWS = 300, IN = 1100, OUT = 200 };
    float *x = randoms(ROWS * IN, 1), *host = randoms(OUT * IN, 1), *y = room(4 * ROWS * OUT), *first = room(4 * ROWS * OUT);
    double distance[3] = {0};
    struct weight w = {0}, q = {0};
    int bad = 0;

    be->weight_load(be, &w, OUT, IN, host, DT_F32);
    for (int t = 0; t < 3; t++) {
        omp_set_num_threads(t + 1);
        be->weight_quantize_int8(be, &q, &w, DT_F32, &(struct smooth){.pre = host}, 0, ROUND_EXACT);
        be->linear(be, t ? y : first, x, ROWS, &q);
        be->distance(be, &distance[t], x, host, OUT * IN);
        bad += (t && !same_bits(y, first, 4 * ROWS * OUT)) || distance[t] != distance[0];
    }
    CHECK(bad == 0, "one, two and three threads give the same bits");
    be->weight_free(be, &q);
    be->weight_free(be, &w);
    done();
}

int main(void)
{
    static const size_t shapes[][3] = {{0, 5, 5},   {1, 1, 1},   {1, 2048, 33}, {1, 700, 800}, {2, 0, 3},    {3, 33, 31},
                                       {31, 32, 33}, {49, 1024, 32}, {50, 1025, 65}, {97, 8, 1}, {130, 2049, 96}};

    if (start())
        return 1;
    scales();
    codes();
    smoothing();
    halves();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        product_case(shapes[i][0], shapes[i][1], shapes[i][2]);
    rows_of_a_weight();
    not_a_number();
    largest_sums();
    columns(0, 5);
    columns(1, 1);
    columns(33, 31);
    columns(70, 3000);
    distances(0);
    distances(1);
    distances(33);
    distances(100003);
    threads();
    return finish();
}
