/*
 * samples.c - octet-samples/1: golden streams, writing and reading back, and every way a stream can be wrong
 *
 * With file names it tests nothing and prints one line per sample instead, for tests/cli to compare: id,
 * tokens, and the SHA-256 of ids (little-endian), loss and of each picture's pixels with its grid and patch
 * size.
 */
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/io/doc.h"
#include "common/io/samples.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

#define GOLDEN "tests/golden/tiny-describe.samples.msgpack"

/* True when these bytes fail to load as bad data with a message that has the file's name and `want` in it. */
static bool refused(const void *data, size_t n, const char *want)
{
    const char *path[] = {scratch_put("samples", data, n)};
    struct samples all;
    struct err e = {0};
    bool right = samples_load(&all, path, 1, 0, 1, &e) == -1 && e.rc == RC_DATA && strstr(e.msg, *path) &&
                 strstr(e.msg, want);

    if (!right)
        printf("# rc %d: %s\n", e.rc, e.msg);
    samples_release(&all);
    return right;
}

static void golden(void)
{
    static const char *const model[] = {"flat-mha",        "nested4-gqa8", "nested5-sharded",
                                        "full-only-patch8", "windows-only", "qwen2-text"};
    const char *path[] = {GOLDEN, GOLDEN};
    struct samples all = {0}, part = {0};
    struct err e = {0};
    size_t pictures = 0;

    CHECK(samples_load(&all, path, 1, 0, 1, &e) == 0, "the golden stream reads (%s)", e.msg);
    for (size_t i = 0; i < all.n; i++)
        pictures += all.sample[i].images;
    CHECK(all.n == 80 && pictures == 40, "80 samples, 40 pictures");
    CHECK(!strcmp(all.sample[0].id, "text/100001") && all.sample[0].loss[0] == 0 &&
          all.sample[0].loss[1] == 1,
          "the first is a text");
    CHECK(!strcmp(all.sample[40].id, "val2017/000000100001.jpg") && all.sample[40].images == 1 &&
              all.sample[40].image[0].patch == 14 && all.sample[40].index == 40,
          "the 41st is a picture of 14-pixel patches");
    CHECK(!strcmp(all.digest, "8942aba25348838e652e0d31f66ee1ac28a617156ecf8ea60e23c871a8a1a8d3"),
          "its digest");
    CHECK(samples_load(&part, path, 2, 2, 3, &e) == 0 && part.n == 53 && part.sample[52].index == 158 &&
              !strcmp(part.sample[26].id, all.sample[0].id),
          "two files are one stream of 160; shard 2 of 3 holds 53");
    samples_release(&part);
    samples_release(&all);
    for (size_t i = 0; i < sizeof model / sizeof *model; i++) {
        char name[96];
        const char *one[] = {name};

        snprintf(name, sizeof name, "tests/golden/models/%s.samples.msgpack", model[i]);
        CHECK(samples_load(&all, one, 1, 0, 1, &e) == 0 && all.n > 0, "%s (%s)", name, e.msg);
        samples_release(&all);
    }
}

/* One text and one picture of 1 x 2 patches of 2 x 2 pixels, as bytes in memory; the caller frees. */
static char *stream(size_t *n, const char *tokenizer, long count, size_t samples)
{
    static int32_t ids[] = {5, 0x01020304, 7};
    static uint8_t loss[] = {0, 1, 0}, rgb[24] = {1, 2, 3, [23] = 9};
    static char text[] = "text/1", pic[] = "val/p\xc3\xa9.jpg";
    struct sample_image im = {1, 2, 2, rgb};
    struct sample s[2] = {{.id = text, .ids = ids, .loss = loss, .tokens = 3},
                          {.id = pic, .ids = ids, .loss = loss, .tokens = 2, .image = &im, .images = 1}};
    struct samples_writer w;
    struct err e = {0};
    char *data = NULL;
    FILE *f = open_memstream(&data, n);
    json_t *head = doc_new(SAMPLES_SCHEMA, &e);

    json_put(head, "tokenizer", json_string(tokenizer), &e);
    if (count >= 0)
        json_put(head, "count", json_integer(count), &e);
    if (samples_begin(&w, f, "memory", head, &e))
        exit(1);
    for (size_t i = 0; i < samples; i++)
        if (samples_put(&w, &s[i], &e))
            exit(1);
    CHECK((samples_end(&w, &e) == 0) == (count < 0 || (size_t)count == samples),
          "a writer keeps its promise of %ld", count);
    fclose(f);
    json_decref(head);
    return data;
}

static void round_trip(void)
{
    struct samples_reader r;
    struct sample s;
    struct err e = {0};
    char hex[SHA256_HEX], want[SHA256_HEX];
    struct sha256 sha;
    size_t n;
    char *data = stream(&n, "abc", 2, 2);
    const char *path[] = {scratch_put("samples", data, n)};

    CHECK(samples_open(&r, path, 1, &e) == 0 && r.total == 2, "a written stream opens and says its length");
    CHECK(!strcmp(json_string_value(json_object_get(r.head, "tokenizer")), "abc"), "its header arrives");
    CHECK(samples_next(&r, &s, &e) == 1 && !strcmp(s.id, "text/1") && s.tokens == 3 &&
          s.ids[1] == 0x01020304 &&
              s.loss[1] == 1 && s.loss[2] == 0 && s.images == 0,
          "the text comes back");
    sample_release(&s);
    CHECK(samples_next(&r, &s, &e) == 1 && s.index == 1 && s.images == 1 && s.image[0].h == 1 &&
          s.image[0].w == 2 &&
              s.image[0].patch == 2 && s.image[0].rgb[2] == 3 && s.image[0].rgb[23] == 9,
          "the picture comes back");
    sample_release(&s);
    CHECK(samples_next(&r, &s, &e) == 0 && samples_next(&r, &s, &e) == 0, "the end is the end");
    samples_digest(&r, hex);
    sha256_init(&sha);
    sha256_add(&sha, data, n);
    sha256_hex(&sha, want);
    CHECK(!strcmp(hex, want), "the digest is that of the bytes");
    samples_close(&r);
    free(data);
}

/* Replace the first occurrence of `from` in a copy of the stream; the lengths are equal. */
static bool patched(const char *data, size_t n, const char *from, const char *to, size_t bytes,
                    const char *want)
{
    char *copy = malloc(n), *at;
    bool right;

    memcpy(copy, data, n);
    at = memmem(copy, n, from, bytes);
    if (at)
        memcpy(at, to, bytes);
    right = at && refused(copy, n, want);
    free(copy);
    return right;
}

static void damaged(void)
{
    size_t n, bad = 0;
    char *data = stream(&n, "abc", 2, 2), *more;

    for (size_t i = 1; i < n; i++)
        bad += !refused(data, i, "truncated");
    CHECK(bad == 0, "cut anywhere, the stream is refused as truncated");
    CHECK(refused("", 0, "is empty"), "an empty file");
    CHECK(refused("{\"schema\":\"octet-layers/1\"}", 26, "not an octet-samples stream"), "JSON");
    CHECK(refused("\x81\xa1s\x01", 4, "not an octet-samples document"), "another map");
    more = malloc(n + 1);
    memcpy(more, data, n);
    more[n] = 0;
    CHECK(refused(more, n + 1, "bytes follow the end"), "a trailing byte");
    free(more);
    CHECK(patched(data, n, "samples/1", "samples/2", 9, "reads up to"), "a newer major version");
    CHECK(patched(data, n, "\xa5" "count\x02", "\xa5" "count\x03", 7, "header promises 3"), "a wrong count");
    CHECK(patched(data, n, "\xa5" "count\x02", "\xa5" "count\xff", 7, "'count' is not"), "a negative count");
    CHECK(patched(data, n, "\xa3" "end\x02", "\xa3" "end\x01", 5, "samples were lost"), "a wrong end");
    CHECK(patched(data, n, "\x00\xa4loss", "\x80\xa4loss", 6, "ids[2] is"), "a negative id");
    CHECK(patched(data, n, "\xc4\x03\x00\x01\x00", "\xc4\x03\x00\x02\x00", 5,
                  "sample 1 ('text/1'): loss[1] is 2"),
          "a loss that is neither 0 nor 1");
    CHECK(patched(data, n, "\xc4\x03\x00\x01\x00", "\xc4\x03\x01\x01\x00", 5, "no token predicts"),
          "a loss on the first token");
    CHECK(patched(data, n, "text/1", "text/\n", 6, "printable"), "a control character in an id");
    CHECK(patched(data, n, "p\xc3\xa9", "p\xc3\xc3", 3, "printable"), "an id that is not UTF-8");
    CHECK(patched(data, n, "\xa4loss", "\xa4lost", 5, "'loss' is missing"), "no loss");
    CHECK(patched(data, n, "\x93\x01\x01\x02", "\x93\x01\x01\x03", 4, "sample 2 ('val/p"),
          "a grid that does not fit");
    CHECK(patched(data, n, "\x93\x01\x01\x02", "\x93\x02\x01\x02", 4, "films"), "a film");
    CHECK(patched(data, n, "\x93\x01\x01\x02", "\x93\x01\x00\x02", 4, "not a positive"), "an empty grid");
    CHECK(patched(data, n, "\xa2id\xa6text", "\xa2id\xc1text", 8, "not msgpack"),
          "a byte that msgpack does not have");
    free(data);
}

/* Lengths of gigabytes in a few bytes must fail for want of bytes, not allocate. */
static void huge_lengths(void)
{
    static const struct {
        const char *name, *bytes;
        size_t n;
    } c[] = {
        {"bin 32", "\x81\xa1s\xc6\xff\xff\xff\xff", 8},   {"str 32", "\x81\xa1s\xdb\xff\xff\xff\xff", 8},
        {"array 32", "\x81\xa1s\xdd\x7f\xff\xff\xff", 8}, {"map 32", "\xdf\x7f\xff\xff\xff", 5},
        {"ext 32", "\x81\xa1s\xc9\xff\xff\xff\xff", 8},
    };
    char deep[64];

    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        CHECK(refused(c[i].bytes, c[i].n, i == 2 || i == 3 ? "too many parts" : "truncated"),
              "a length of gigabytes: %s", c[i].name);
    deep[0] = (char)0x81;
    deep[1] = (char)0xa0;
    memset(deep + 2, 0x91, sizeof deep - 2);
    CHECK(refused(deep, sizeof deep, "too many parts"), "arrays in arrays without end");
}

/*
 * Any single changed byte is either read as something valid or refused; never a crash (the sanitizer build
 * looks).
 */
static void flipped_bytes(void)
{
    size_t n, good = 0;
    char *data = stream(&n, "abc", 2, 2);

    for (size_t i = 0; i < n; i++)
        for (int bit = 0; bit < 8; bit++) {
            const char *path[1];
            struct samples all;
            struct err e = {0};

            data[i] ^= (char)(1 << bit);
            *path = scratch_put("samples", data, n);
            good += samples_load(&all, path, 1, 0, 1, &e) == 0 || e.rc == RC_DATA;
            samples_release(&all);
            data[i] ^= (char)(1 << bit);
        }
    CHECK(good == 8 * n, "every flipped bit is read or refused as bad data");
    free(data);
}

static void other_files(void)
{
    const char *first = scratch("first"), *second = scratch("second"), *path[] = {first, "no/such.samples"};
    const char *mixed[] = {GOLDEN, first, first}, *strange[] = {GOLDEN, first, second};
    struct samples all;
    struct err e = {0};
    size_t n;
    char *data = stream(&n, "abc", -1, 0);

    CHECK(refused(data, n, "holds no samples"), "a stream without samples");
    free(data);
    data = stream(&n, "abc", -1, 2);
    scratch_put("first", data, n);
    CHECK(samples_load(&all, path, 2, 0, 1, &e) == -1 && e.rc == RC_SYS && strstr(e.msg, path[1]),
          "a second file that is not there");
    e = (struct err){0};
    CHECK(samples_load(&all, mixed, 3, 0, 1, &e) == 0 && all.n == 84 &&
              json_is_string(json_object_get(all.head, "tokenizer")),
          "no digest goes with any, and the digest of a later file counts");
    samples_release(&all);
    free(data);
    data = stream(&n, "abd", -1, 2);
    scratch_put("second", data, n);
    CHECK(samples_load(&all, strange, 3, 0, 1, &e) == -1 && e.rc == RC_DATA &&
          strstr(e.msg, "another tokenizer") &&
              strstr(e.msg, second),
          "files of two tokenizers are no one stream");
    free(data);
    free(stream(&n, "abc", 3, 2));
}

static void hash(const void *data, size_t n)
{
    char hex[SHA256_HEX];
    struct sha256 sha;

    sha256_init(&sha);
    sha256_add(&sha, data, n);
    sha256_hex(&sha, hex);
    printf("\t%s", hex);
}

static int list(const char *const *path, size_t paths)
{
    struct samples all;
    struct err e = {0};

    if (samples_load(&all, path, paths, 0, 1, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    for (size_t i = 0; i < all.n; i++) {
        const struct sample *s = &all.sample[i];

        printf("%s\t%zu", s->id, s->tokens);
        hash(s->ids, 4 * s->tokens);
        hash(s->loss, s->tokens);
        for (size_t k = 0; k < s->images; k++) {
            const struct sample_image *im = &s->image[k];

            printf("\t%zux%zux%zu", im->h, im->w, im->patch);
            hash(im->rgb, 3 * im->h * im->w * im->patch * im->patch);
        }
        putchar('\n');
    }
    samples_release(&all);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return list((const char *const *)argv + 1, (size_t)argc - 1);
    golden();
    round_trip();
    damaged();
    huge_lengths();
    flipped_bytes();
    other_files();
    return unit_end();
}
