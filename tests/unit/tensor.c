/* tensor.c - FP8 scales and codes against the scalar definitions of numeric.h */
#include "common/quant/tensor.h"
#include "common/base/mem.h"
#include "tests/unit/unit.h"

enum { MANY = 1 << 18 };

/* The definitions, one element at a time. */
static uint8_t reference(float w, enum dtype dtype, float s, enum rounding r)
{
    if (r == ROUND_MODELOPT && dtype == DT_BF16)
        return e4m3_from_f32(bf16_to_f32(bf16_from_f32(w / bf16_to_f32(bf16_from_f32(s)))));
    return e4m3_from_f32(w / s);
}

static float value(const uint8_t *w, enum dtype dtype, size_t i)
{
    uint16_t half;
    float x;

    if (dtype == DT_F32) {
        memcpy(&x, w + 4 * i, 4);
        return x;
    }
    memcpy(&half, w + 2 * i, 2);
    return dtype == DT_BF16 ? bf16_to_f32(half) : f16_to_f32(half);
}

/* All finite values of a 16-bit type, at an odd address, under this scale. */
static void all_halves(enum dtype dtype, enum rounding r, float s)
{
    uint8_t *w = malloc(2 * 65536 + 1), *code = malloc(65536), *p = w + 1;
    struct err e = {0};
    size_t n = 0, bad = 0;

    for (uint32_t u = 0; u < 65536; u++) {
        uint16_t h = (uint16_t)u;

        memcpy(p + 2 * n, &h, 2);
        n += isfinite(value(p, dtype, n)) != 0;
    }
    CHECK(tensor_encode(p, dtype, n, s, r, code, "t", &e) == 0 &&
          n > 60000, "%zu values, type %d, %s, scale %g", n, (int)dtype, rounding_text(r), (double)s);
    for (size_t i = 0; i < n; i++)
        bad += code[i] != reference(value(p, dtype, i), dtype, s, r);
    CHECK(bad == 0, "every code is that of the definition");
    free(code);
    free(w);
}

/* The whole range of fp32, every 97th value (a prime: all low bits occur), both signs. */
static void all_floats(void)
{
    float *w = malloc(MANY * sizeof *w);
    uint8_t *code = malloc(MANY);
    struct err e = {0};
    size_t n = 0, bad = 0, total = 0;

    for (uint64_t u = 0;; u += 97) {
        const float x = f32_from_bits((uint32_t)u);

        if (u < 1ull << 32 && isfinite(x))
            w[n++] = x;
        if (n == MANY || u >= 1ull << 32) {
            bad += tensor_encode(w, DT_F32, n, 1.0f, ROUND_EXACT, code, "t", &e) != 0;
            for (size_t i = 0; i < n; i++)
                bad += code[i] != e4m3_from_f32(w[i]);
            total += n;
            n = 0;
        }
        if (u >= 1ull << 32)
            break;
    }
    CHECK(bad == 0 && total > 44000000, "%zu fp32 values from zero to the largest", total);
    /* Around every rounding boundary: all fp32 within 8 steps of the midpoints between neighbouring codes. */
    for (int c = 0; c < 0x7e; c++) {
        const uint32_t mid = f32_bits(0.5f * (e4m3_to_f32((uint8_t)c) + e4m3_to_f32((uint8_t)(c + 1))));

        for (int d = -8; d <= 8; d++) {
            w[n] = f32_from_bits(mid + (uint32_t)d);
            w[n + 1] = -w[n];
            n += 2;
        }
    }
    CHECK(tensor_encode(w, DT_F32, n, 1.0f, ROUND_EXACT, code, "t", &e) == 0, "midpoints");
    for (size_t i = 0; i < n; i++)
        bad += code[i] != e4m3_from_f32(w[i]);
    CHECK(bad == 0 && n == 126 * 34, "%zu values beside the midpoints", n);
    free(code);
    free(w);
}

/* Lengths around the block and chunk sizes; nothing is written behind the end. */
static void lengths(void)
{
    static const size_t length[] = {0, 1, 31, 32, 33, 1023, 1024, 1025, 65535, 65536, 65537, 131073, 200001};
    float *w = malloc(200001 * sizeof *w), *back = malloc(200002 * sizeof *back);
    uint8_t *code = malloc(200002);
    struct err e = {0};
    size_t bad = 0;

    for (size_t i = 0; i < 200001; i++)
        w[i] = (float)((i * 2654435761u) % 1000003) / 500.0f - 1000.0f;
    for (size_t k = 0; k < sizeof length / sizeof *length; k++) {
        const size_t n = length[k];
        float amax, want = 0;

        code[n] = 0x55;
        back[n] = 7;
        for (size_t i = 0; i < n; i++)
            want = fmaxf(want, fabsf(w[i]));
        bad += tensor_amax(w, DT_F32, n, "t", &amax, &e) || amax != want;
        bad += tensor_encode(w, DT_F32, n, 2.1f, ROUND_EXACT, code, "t", &e) || code[n] != 0x55;
        fp8_decode(back, code, n, 2.1f);
        for (size_t i = 0; i < n; i++)
            bad += code[i] != e4m3_from_f32(w[i] / 2.1f) || back[i] != e4m3_to_f32(code[i]) * 2.1f;
        bad += back[n] != 7;
    }
    CHECK(bad == 0, "amax, codes and values at lengths 0..200001");
    free(code);
    free(back);
    free(w);
}

static void decoding(void)
{
    uint8_t code[256];
    float out[256];
    int bad = 0;

    for (int i = 0; i < 256; i++)
        code[i] = (uint8_t)i;
    fp8_decode(out, code, 256, 0.37f);
    for (int i = 0; i < 256; i++) {
        const float want = e4m3_to_f32((uint8_t)i) * 0.37f;

        bad += want != want ? out[i] == out[i] : f32_bits(out[i]) != f32_bits(want);
    }
    CHECK(bad == 0, "all 256 codes decode, signed zeros and NaN too");
}

static void scales(void)
{
    static const float amax[] = {448, 1, 0.1f, 3.4e38f, 1e-30f, 0.0197754f};

    for (size_t i = 0; i < sizeof amax / sizeof *amax; i++) {
        CHECK(fp8_scale(amax[i], ROUND_EXACT) == (float)((double)amax[i] / 448.0), "exact scale of %g",
              (double)amax[i]);
        CHECK(fp8_scale(amax[i], ROUND_MODELOPT) == (float)((double)amax[i] * (double)(1.0f / 448.0f)),
              "modelopt scale of %g", (double)amax[i]);
    }
    for (int r = ROUND_EXACT; r <= ROUND_MODELOPT; r++) {
        uint8_t code[2];
        float w[2] = {1e-45f, -1e-45f};
        struct err e = {0};

        CHECK(fp8_scale(0, (enum rounding)r) == 1, "%s: range 0 has scale 1", rounding_choices[r]);
        CHECK(fp8_scale(1e-45f, (enum rounding)r) == 1, "%s: a scale that would vanish is 1",
              rounding_choices[r]);
        CHECK(tensor_encode(w, DT_F32, 2, 1, (enum rounding)r, code, "t", &e) == 0 && code[0] == 0 &&
                  code[1] == 0x80,
              "%s: such weights become zeros", rounding_choices[r]);
    }
    CHECK(fp8_scale(1e-38f, ROUND_MODELOPT) != 0, "modelopt: small, not vanishing");
}

static void refusals(void)
{
    float w[3] = {1, NAN, 1}, inf[2] = {-INFINITY, 0}, amax = 7;
    uint16_t half = 0x7e00;
    struct err e = {0};
    enum rounding r;
    uint8_t code[3];

    CHECK(tensor_encode(w, DT_F32, 3, 1, ROUND_EXACT, code, "x.weight", &e) == -1 && e.rc == RC_DATA &&
              strstr(e.msg, "'x.weight'") && strstr(e.msg, "NaN"),
          "NaN in a weight: %s", e.msg);
    e = (struct err){0};
    CHECK(tensor_amax(w, DT_F32, 3, "x.weight", &amax, &e) == -1 && strstr(e.msg, "'x.weight'") && amax == 7,
          "NaN in a range");
    e = (struct err){0};
    CHECK(tensor_amax(inf, DT_F32, 2, "y", &amax, &e) == -1 &&
          strstr(e.msg, "infinity"), "infinity in a range");
    e = (struct err){0};
    CHECK(tensor_amax(&half, DT_F16, 1, "h", &amax, &e) == -1, "NaN in F16");
    e = (struct err){0};
    half = 0x3c00;
    CHECK(tensor_encode(&half, DT_F16, 1, 1, ROUND_MODELOPT, code, "h", &e) == -1 &&
          strstr(e.msg, "use exact"),
          "%s", e.msg);
    e = (struct err){0};
    CHECK(tensor_encode(code, DT_I8, 1, 1, ROUND_EXACT, code, "i", &e) == -1 && strstr(e.msg, "'i'"), "%s",
          e.msg);
    e = (struct err){0};
    CHECK(rounding_parse("exact", &r, &e) == 0 && r == ROUND_EXACT, "exact");
    CHECK(rounding_parse("modelopt", &r, &e) == 0 && r == ROUND_MODELOPT, "modelopt");
    CHECK(rounding_parse("nearest", &r, &e) == -1 && strstr(e.msg, "'nearest'"), "%s", e.msg);
}

int main(void)
{
    static const float s[] = {1, 0.0123f, 3.3e-5f, 137, 1e30f, 2e-38f};

    for (size_t i = 0; i < sizeof s / sizeof *s; i++) {
        all_halves(DT_BF16, ROUND_EXACT, s[i]);
        all_halves(DT_BF16, ROUND_MODELOPT, s[i]);
        all_halves(DT_F16, ROUND_EXACT, s[i]);
    }
    all_floats();
    lengths();
    decoding();
    scales();
    refusals();
    return unit_end();
}
