/* base.c - SHA-256, the small floats, whole-file input and output */
#include <errno.h>

#include "common/base/file.h"
#include "common/base/fp8.h"
#include "common/base/mem.h"
#include "common/base/numeric.h"
#include "common/base/sha256.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

static void digest(const char *text, size_t repeat, const char *want)
{
    char hex[SHA256_HEX];
    struct sha256 s;

    sha256_init(&s);
    for (size_t i = 0; i < repeat; i++)
        sha256_add(&s, text, strlen(text));
    sha256_hex(&s, hex);
    CHECK(!strcmp(hex, want), "sha256 of %zu x '%.20s'", repeat, text);
}

static void digests(void)
{
    digest("", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    digest("abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    digest("a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* The nearest E4M3 value by search over all codes, ties to the even code: the definition, slowly. */
static uint8_t e4m3_by_search(float x)
{
    float best = INFINITY;
    uint8_t code = 0;

    for (int c = 0; c < 0x7f; c++) {
        float d = fabsf(fabsf(x) - e4m3_to_f32((uint8_t)c));

        if (d < best || (d == best && !(c & 1))) {
            best = d;
            code = (uint8_t)c;
        }
    }
    return code | (signbit(x) ? 0x80 : 0);
}

static void small_floats(void)
{
    int bad = 0, n = 0;

    for (int c = 0; c < 256; c++)
        if ((c & 0x7f) != 0x7f)
            bad += e4m3_from_f32(e4m3_to_f32((uint8_t)c)) != c;
    CHECK(bad == 0, "every E4M3 code survives decoding and encoding");
    bad = 0;
    for (int c = 0; c < 0x7e; c++) { /* the midpoints, and one step of fp32 to either side */
        float mid = 0.5f * (e4m3_to_f32((uint8_t)c) + e4m3_to_f32((uint8_t)(c + 1)));
        float x[3] = {nextafterf(mid, 0), mid, nextafterf(mid, INFINITY)};

        for (int i = 0; i < 3; i++, n++)
            bad += e4m3_from_f32(x[i]) != e4m3_by_search(x[i]) ||
                e4m3_from_f32(-x[i]) != e4m3_by_search(-x[i]);
    }
    CHECK(bad == 0 && n == 378, "E4M3 rounds to nearest, ties to even, around every midpoint");
    CHECK(e4m3_from_f32(1e30f) == 0x7e && e4m3_from_f32(-INFINITY) == 0xfe, "E4M3 saturates at 448");
    CHECK(e4m3_from_f32(NAN) == 0x7f && isnan(e4m3_to_f32(0xff)), "E4M3 keeps NaN");
    CHECK(bf16_from_f32(1.00390625f) == 0x3f80 && bf16_from_f32(1.01171875f) == 0x3f82,
          "bf16 ties go to even");
    CHECK(isnan(bf16_to_f32(bf16_from_f32(NAN))), "bf16 keeps NaN");
    CHECK(f16_to_f32(0x3c01) == 1.0009765625f && f16_to_f32(1) == 0x1p-24f && f16_to_f32(0xfbff) == -65504,
          "fp16");
}

/*
 * The array forms against the scalar definition, on every 1024th fp32 bit pattern and around every midpoint.
 */
static void fp8_arrays(void)
{
    enum { N = 1 << 12 };
    static float x[N], y[N];
    static uint8_t code[N];
    size_t bad = 0, twice = 0, rounds = 0;

    for (uint32_t hi = 0; hi < 1024; hi++) {
        for (uint32_t i = 0; i < N; i++)
            x[i] = f32_from_bits(hi << 22 | i << 10 | (i * 2654435761u >> 22));
        fp8_encode(code, x, N, 1);
        fp8_round(y, x, N, 1);
        for (int i = 0; i < N; i++) {
            bad += code[i] != e4m3_from_f32(x[i]);
            rounds += f32_bits(y[i]) != f32_bits(e4m3_to_f32(code[i])) && !(isnan(y[i]) && isnan(x[i]));
        }
        fp8_encode_twice(code, x, N, 1.2f);
        for (int i = 0; i < N; i++)
            twice += code[i] !=
                     e4m3_from_f32(bf16_to_f32(bf16_from_f32(x[i] / bf16_to_f32(bf16_from_f32(1.2f)))));
    }
    CHECK(bad == 0, "fp8_encode is e4m3_from_f32 on 4 million patterns");
    CHECK(rounds == 0, "fp8_round is decode of encode");
    CHECK(twice == 0, "fp8_encode_twice rounds through bf16");
    fp8_decode(y, code, N, 3);
    CHECK(y[7] == 3 * e4m3_to_f32(code[7]) || isnan(y[7]), "fp8_decode scales");
    CHECK(fp8_scale(448, ROUND_EXACT) == 1 && fp8_scale(0, ROUND_EXACT) == 1 &&
          fp8_scale(0, ROUND_MODELOPT) == 1,
          "a zero range has scale 1");
    CHECK(fp8_scale(1.1f, ROUND_EXACT) == 1.1f / 448 &&
          fp8_scale(1.1f, ROUND_MODELOPT) == 1.1f * (1 / 448.0f), "scales");
}

static void reports(void)
{
    struct err e = {0};

    err_set(&e, RC_DATA, "tensor '%s' is missing", "a\nb\033[2Jc\x7f");
    CHECK(!strcmp(e.msg, "tensor 'a?b?[2Jc?' is missing"), "a report is one line whatever it quotes");
    err_prefix(&e, "'%s'", "x\ty");
    CHECK(!strcmp(e.msg, "'x?y': tensor 'a?b?[2Jc?' is missing"), "and so is what stands before it");
    e = (struct err){0};
    errno = ENOENT;
    err_sys(&e, "cannot open '%s'", "\r\u00e9");
    CHECK(!strcmp(e.msg, "cannot open '?\u00e9': No such file or directory"), "UTF-8 stays");
}

static void files(void)
{
    const char *path = scratch("x");
    struct file_out o;
    struct file_map m;
    struct err e = {0};
    uint8_t *data;
    size_t n;

    CHECK(file_create(&o, path, false, false, &e) == 0 && fputs("hello", o.f) >= 0, "create");
    CHECK(file_exists(path, &e) == 0, "nothing under the name before the commit");
    CHECK(file_commit(&o, &e) == 0 && file_exists(path, &e) == 1, "commit");
    CHECK(file_read(path, &data, &n, &e) == 0 && n == 5 && !strcmp((char *)data, "hello"), "read back");
    free(data);
    CHECK(file_map(&m, path, &e) == 0 && m.bytes == 5 && !memcmp(m.data, "hello", 5), "map");
    file_unmap(&m);
    CHECK(file_create(&o, path, false, false, &e) == -1 && e.rc == RC_USAGE, "no overwriting unless forced");
    e = (struct err){0};
    CHECK(file_create(&o, path, true, false, &e) == 0, "forced");
    file_discard(&o);
    CHECK(file_read(path, &data, &n, &e) == 0 && n == 5, "a discarded file leaves the old one");
    free(data);
    CHECK(file_create(&o, scratch_dir(), true, false, &e) == -1 && e.rc == RC_USAGE &&
              strstr(e.msg, "not a regular file"),
          "a directory is not replaced, forced or not");
    e = (struct err){0};
    CHECK(file_create(&o, "/dev/null", true, false, &e) == -1 && e.rc == RC_USAGE, "nor is a device");
}

int main(void)
{
    struct err e = {0};
    size_t product;

    digests();
    sha256_portable = true;
    digests();
    sha256_portable = false;
    small_floats();
    fp8_arrays();
    reports();
    files();
    CHECK(mem_mul((size_t)1 << 40, (size_t)1 << 40, &product, "x", &e) == -1 &&
          e.rc == RC_DATA, "overflow is seen");
    return unit_end();
}
