/* kernels.c - memory, weights and linear modules of the CPU backend; bits under 1, 2 and 3 threads */
#include <omp.h>

#include "tests/unit/kernels.h"

static void memory(void)
{
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096};
    float x[33], y[33] = {0};
    struct err e = {0};
    int aligned = 1;
    char *p;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        aligned &= (uintptr_t)room(sizes[i]) % 64 == 0;
    CHECK(aligned, "memory is aligned to 64 bytes");
    for (int i = 0; i < 33; i++)
        x[i] = (float)i;
    p = room(sizeof x);
    be->upload_act(be, p, x, 33);
    be->download_act(be, y, p, 33);
    CHECK(same_bits(x, y, sizeof x), "activations go up and come down");
    be->zero(be, p, sizeof x);
    be->download(be, y, p, sizeof y);
    CHECK(y[0] == 0 && y[32] == 0, "zero");
    be->free(be, NULL);
    CHECK(!be->alloc(be, SIZE_MAX / 2), "an impossible allocation fails");
    be->zero(be, NULL, 1);
    be->gelu(be, NULL, NULL, 1);
    CHECK(be_check(be, &e) == -1 && e.rc == RC_SYS &&
              !strcmp(e.msg, "out of memory: cannot allocate 9223372036854775807 bytes"),
          "it is reported once, with its size; operations after it do nothing");
    e = (struct err){0};
    CHECK(be_check(be, &e) == 0, "and then is gone");
    done();
}

static void loading(void)
{
    enum { OUT = 33, IN = 257, N = OUT * IN };
    unsigned char *host = room(4 * N + 1);
    struct weight w = {0};
    struct err e = {0};
    size_t bad = 0;
    void *data;

    for (size_t i = 0; i < N; i++)
        memcpy(host + 1 + 2 * i, &(uint16_t){(uint16_t)(i * 7919)}, 2);
    be->weight_load(be, &w, OUT, IN, host + 1, DT_BF16);
    for (size_t i = 0; i < N; i++)
        bad += f32_bits(((float *)w.data)[i]) != (uint32_t)(uint16_t)(i * 7919) << 16;
    CHECK(bad == 0 && w.format == WEIGHT_DENSE && w.out == OUT && w.in == IN, "unaligned bf16 loads exactly");
    data = w.data;
    be->weight_load(be, &w, OUT, IN, host + 1, DT_F16);
    for (size_t i = bad = 0; i < N; i++)
        bad += f32_bits(((float *)w.data)[i]) != f32_bits(f16_to_f32((uint16_t)(i * 7919)));
    CHECK(bad == 0 && w.data == data, "unaligned fp16 loads exactly, into the same memory");
    memcpy(host + 1, integers(N, 100), 4 * N);
    be->weight_load(be, &w, IN, OUT, host + 1, DT_F32);
    CHECK(same_bits(w.data, host + 1, 4 * N) && w.out == IN, "unaligned fp32 loads exactly");
    be->weight_load_fp8(be, &w, 16, 16, host, 0.5f, 0.25f);
    for (size_t i = bad = 0; i < 256; i++) {
        float want = e4m3_to_f32(host[i]) * 0.5f;

        bad +=
            !(((float *)w.data)[i] == want || (want != want && ((float *)w.data)[i] != ((float *)w.data)[i]));
    }
    CHECK(bad == 0 && w.format == WEIGHT_FP8 && w.scale == 0.5f && w.input_scale == 0.25f, "FP8 codes load");
    be->weight_load(be, &w, 16, 16, host, DT_I64);
    CHECK(be_check(be, &e) == -1 && e.rc == RC_DATA && strstr(e.msg, "F32, BF16 or F16"),
          "other types are refused");
    be->weight_load(be, &w, SIZE_MAX / 2, 16, host, DT_F32);
    e = (struct err){0};
    CHECK(be_check(be, &e) == -1, "a weight whose size overflows is refused");
    be->weight_free(be, &w);
    CHECK(!w.data && w.format == WEIGHT_NONE, "weight_free leaves nothing");
    be->weight_free(be, &w);
    done();
}

static void quantizing(void)
{
    enum { OUT = 67, IN = 513, N = OUT * IN };
    struct weight w = {0}, q = {0};
    float *x = randoms(N, 3), bias[OUT], want[N];
    static uint8_t code[N];
    float scale = fp8_scale(3, ROUND_MODELOPT);

    for (size_t i = 0; i < N; i++)
        x[i] = bf16_to_f32(bf16_from_f32(x[i]));
    x[5] = NAN;
    be->weight_load(be, &w, OUT, IN, x, DT_F32);
    w.bias = bias;
    fp8_encode(code, x, N, scale);
    fp8_decode(want, code, N, scale);
    be->weight_quantize(be, &q, &w, DT_BF16, scale, 0.5f, ROUND_EXACT);
    CHECK(same_bits(q.data, want, sizeof want) && q.format == WEIGHT_FP8 && q.bias == bias &&
              q.scale == scale,
          "weight_quantize gives the codes of fp8_encode times the scale");
    be->weight_quantize(be, &q, &w, DT_F32, scale, 0.5f, ROUND_MODELOPT);
    CHECK(same_bits(q.data, want, sizeof want), "ROUND_MODELOPT of a weight that was not bf16: the same");
    fp8_encode_twice(code, x, N, scale);
    fp8_decode(want, code, N, scale);
    be->weight_quantize(be, &q, &w, DT_BF16, scale, 0.5f, ROUND_MODELOPT);
    CHECK(same_bits(q.data, want, sizeof want),
          "ROUND_MODELOPT of a bf16 weight: the codes of fp8_encode_twice");
    be->weight_free(be, &q);
    be->weight_free(be, &w);
    done();
}

/* y and its tolerance: in + 2 roundings at most, whatever the order. */
static void linear_reference(double *y, double *tol, const float *x, size_t rows, size_t out, size_t in,
                             const float *w, const float *bias)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < out; j++) {
            double sum = bias ? bias[j] : 0, size = fabs(sum);

            for (size_t i = 0; i < in; i++) {
                double p = (double)x[r * in + i] * w[j * in + i];

                sum += p;
                size += fabs(p);
            }
            y[r * out + j] = sum;
            tol[r * out + j] = (double)(in + 2) * U * size;
        }
}

/* W^T, so that dx = dy W is linear_reference() of it. */
static float *transposed(const float *w, size_t out, size_t in)
{
    float *t = room(out * in * sizeof *t);

    for (size_t j = 0; j < out; j++)
        for (size_t i = 0; i < in; i++)
            t[i * out + j] = w[j * in + i];
    return t;
}

static void linear_case(size_t rows, size_t in, size_t out)
{
    size_t n = rows * out, m = rows * in, bad;
    float *x = integers(m, 8), *wi = integers(out * in, 8), *bias = integers(out, 8), *y = room(4 * n + 4);
    float *dy = integers(n, 8), *dx = integers(m, 8), *before = room(4 * m + 4);
    double *want = zeros(n), *tol = zeros(n), *dwant = zeros(m), *dtol = zeros(m);
    struct weight w = {0};

    be->weight_load(be, &w, out, in, wi, DT_F32);
    w.bias = bias;
    linear_reference(want, tol, x, rows, out, in, wi, bias);
    memset(tol, 0, n * sizeof *tol);
    y[n] = 77;
    be->linear(be, y, x, rows, &w);
    bad = misses(y, want, tol, n) + (y[n] != 77);
    be->linear_f32(be, y, x, rows, &w);
    CHECK(bad + misses(y, want, tol, n) == 0, "linear [%zu, %zu] -> %zu is exact on integers", rows, in, out);

    linear_reference(dwant, dtol, dy, rows, in, out, transposed(wi, out, in), NULL);
    memset(dtol, 0, m * sizeof *dtol);
    memcpy(before, dx, 4 * m);
    be->linear_dx(be, dx, dy, rows, &w, true);
    for (size_t i = 0; i < m; i++)
        dwant[i] += before[i];
    bad = misses(dx, dwant, dtol, m);
    for (size_t i = 0; i < m; i++)
        dwant[i] -= before[i];
    be->linear_dx(be, dx, dy, rows, &w, false);
    CHECK(bad + misses(dx, dwant, dtol, m) == 0, "linear_dx too, written and accumulated");

    x = randoms(m, 1);
    wi = randoms(out * in, 1);
    be->weight_load(be, &w, out, in, wi, DT_F32);
    w.bias = NULL;
    linear_reference(want, tol, x, rows, out, in, wi, NULL);
    be->linear(be, y, x, rows, &w);
    CHECK(misses(y, want, tol, n) == 0, "linear, no bias, on fractions");
    be->weight_free(be, &w);
    done();
}

static void linear_fp8(size_t rows)
{
    enum { IN = 192, OUT = 100 };
    float *x = randoms(rows * IN, 2), *xr = room(rows * IN * 4), *wi = randoms(OUT * IN, 1),
          *bias = randoms(OUT, 1);
    float *y = room(rows * OUT * 4), *z = room(rows * OUT * 4);
    struct weight w = {0}, q = {0}, d = {0};

    be->weight_load(be, &w, OUT, IN, wi, DT_F32);
    w.bias = bias;
    be->weight_quantize(be, &q, &w, DT_F32, 1 / 448.0f, 2 / 448.0f, ROUND_EXACT);
    be->weight_load(be, &d, OUT, IN, q.data, DT_F32);
    d.bias = bias;
    fp8_round(xr, x, rows * IN, 2 / 448.0f);
    be->linear(be, y, x, rows, &q);
    be->linear(be, z, xr, rows, &d);
    CHECK(same_bits(y, z, rows * OUT * 4), "FP8 linear of %zu rows: rounded x times decoded W", rows);
    be->weight_free(be, &d);
    be->weight_free(be, &q);
    be->weight_free(be, &w);
    done();
}

static void linear_more(void)
{
    enum { ROWS = 33, IN = 300, OUT = 70 };
    float *x = randoms(ROWS * IN, 1), *wi = randoms(OUT * IN, 1), *y = room(ROWS * OUT * 4),
          *one = room(8 * OUT * 4);
    struct weight w = {0};
    size_t nans = 0;

    be->weight_load(be, &w, OUT, IN, wi, DT_F32);
    be->linear(be, y, x, ROWS, &w);
    be->linear(be, one, x + 20 * IN, 8, &w);
    CHECK(same_bits(one, y + 20 * OUT, 8 * OUT * 4), "a row's bits do not depend on the rows beside it");
    x[20 * IN + 7] = NAN;
    be->linear(be, y, x, ROWS, &w);
    for (size_t i = 0; i < ROWS * OUT; i++)
        nans += isnan(y[i]) != (i / OUT == 20);
    be->linear(be, one, x + 20 * IN, 1, &w);
    for (size_t i = 0; i < OUT; i++)
        nans += !isnan(one[i]);
    CHECK(nans == 0, "linear keeps NaN, in its row alone");
    be->weight_free(be, &w);
    done();
}

/* Every operation on enough rows to occupy several threads; results one after another in out. */
enum { ROWS = 500, DIM = 96, HEADS = 6, KV = 2, HEAD_DIM = 16, VOCAB = 1024, WIDE = 1100 };

static size_t all_operations(float *out)
{
    float *x = randoms(ROWS * WIDE, 1), *g = randoms(ROWS * DIM, 1), *w = randoms(DIM, 1),
          *wi = randoms(VOCAB * DIM, 1);
    float *z = randoms(ROWS * VOCAB, 3), *lse = room(HEADS * ROWS * 4), *tables = randoms(ROWS * DIM, 1);
    float *kv = randoms(ROWS * 2 * KV * HEAD_DIM, 1), *at = out;
    int32_t cu[] = {0, 7, 7, 180, ROWS}, *target = room(ROWS * 4);
    struct attention a = {.segments = 4,
                          .cu_q = cu,
                          .cu_k = cu,
                          .max_q = 320,
                          .max_k = 320,
                          .heads = HEADS,
                          .kv_heads = KV,
                          .head_dim = HEAD_DIM,
                          .q_stride = DIM,
                          .k_stride = 2 * KV * HEAD_DIM,
                          .v_stride = 2 * KV * HEAD_DIM,
                          .o_stride = DIM,
                          .scale = 0.25f,
                          .causal = true};
    struct weight weight = {0}, q = {0}, wide = {0};
    float *v = kv + KV * HEAD_DIM;

    for (int32_t i = 0; i < ROWS; i++)
        target[i] = i * 2 - 10;
    be->weight_load(be, &weight, VOCAB, DIM, wi, DT_F32);
    be->weight_quantize(be, &q, &weight, DT_F32, 1 / 448.0f, 1 / 448.0f, ROUND_EXACT);
    be->linear(be, at, x, ROWS, &weight), at += ROWS * VOCAB;
    be->linear(be, at, x, 1, &weight), at += VOCAB;
    be->weight_load(be, &wide, WIDE, ROWS, x, DT_F32);
    be->linear(be, at, z, 2, &wide), at += 2 * WIDE;
    be->linear_dx(be, at, z, 2, &wide, false), at += 2 * ROWS;
    be->linear(be, at, x, ROWS, &q), at += ROWS * VOCAB;
    be->linear_dx(be, at, z, ROWS, &weight, false), at += ROWS * DIM;
    be->rmsnorm(be, at, x, w, ROWS, DIM, 1e-6f, NULL), at += ROWS * DIM;
    memset(at, 0, ROWS * DIM * 4);
    be->rmsnorm_dx(be, at, g, x, w, ROWS, DIM, 1e-6f), at += ROWS * DIM;
    be->rope(be, at, DIM, x, DIM, tables, tables + ROWS * HEAD_DIM / 2, ROWS, HEADS, HEAD_DIM, false),
        at += ROWS * DIM;
    be->attention(be, &a, at, lse, x, kv, v);
    memset(at + ROWS * DIM, 0, ROWS * 4 * KV * HEAD_DIM * 4);
    be->attention_dx(be, &a, at + ROWS * (DIM + 2 * KV * HEAD_DIM), at + ROWS * DIM,
                     at + ROWS * DIM + KV * HEAD_DIM, g, x, kv, v, at, lse);
    at += ROWS * (2 * DIM + 2 * KV * HEAD_DIM);
    be->swiglu(be, at, x, g, ROWS, DIM, NULL), at += ROWS * DIM;
    be->swiglu_dx(be, at, at + ROWS * DIM, at + 2 * ROWS * DIM, x, g, tables, ROWS, DIM, NULL),
        at += 3 * ROWS * DIM;
    be->gelu(be, at, x, ROWS * DIM), at += ROWS * DIM;
    be->gelu_dx(be, at, g, x, ROWS * DIM), at += ROWS * DIM;
    be->nll(be, at, at + ROWS, NULL, z, target, ROWS, VOCAB);
    be->nll_dx(be, at + 2 * ROWS, z, at + ROWS, target, x, ROWS, VOCAB), at += ROWS * (2 + VOCAB);
    for (size_t r = 0; r < ROWS; r++)
        ((struct row_stats *)(void *)at)[r].label = target[r];
    be->compare(be, (struct row_stats *)(void *)at, z, out, ROWS, VOCAB),
        at += ROWS * sizeof(struct row_stats) / 4;
    memset(at, 0, 24);
    be->amax(be, at, z, ROWS * VOCAB);
    be->score(be, (double *)(void *)(at + 2), g, x, tables, z, ROWS, DIM), at += 6;
    be->weight_free(be, &wide);
    be->weight_free(be, &q);
    be->weight_free(be, &weight);
    return (size_t)(at - out);
}

static void threads(void)
{
    size_t room_bytes = ROWS * (4 * VOCAB + 20 * DIM + 64) * 4, n[3];
    float *out[3];
    int before = omp_get_max_threads();

    for (int t = 0; t < 3; t++) {
        out[t] = room(room_bytes);
        omp_set_num_threads(t + 1);
        seed = 9;
        n[t] = all_operations(out[t]);
    }
    omp_set_num_threads(before);
    CHECK(n[0] * 4 <= room_bytes && same_bits(out[0], out[1], n[0] * 4), "2 threads give the bits of 1");
    CHECK(same_bits(out[0], out[2], n[0] * 4), "3 threads give the bits of 1");
    done();
}

int main(void)
{
    static const size_t shapes[][3] = {
        {0, 5, 5},      {1, 1, 1},       {1, 192, 512},  {3, 33, 31},    {5, 31, 33},    {31, 32, 33},
        {32, 33, 31},   {33, 31, 32},    {257, 192, 64}, {257, 96, 252}, {257, 252, 96}, {40, 1176, 96},
        {64, 192, 512}, {33, 192, 1024}, {5, 0, 3},      {9, 600, 2000}, {97, 8, 1}};

    if (start())
        return 1;
    memory();
    loading();
    quantizing();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        linear_case(shapes[i][0], shapes[i][1], shapes[i][2]);
    linear_fp8(1);
    linear_fp8(257);
    linear_fp8(22000);
    linear_more();
    threads();
    return finish();
}
