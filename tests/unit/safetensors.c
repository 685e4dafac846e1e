/* safetensors.c - safetensors files and model directories: the good ones read whole, every bad one refused */
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/io/ckpt.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

/* A file with this header, its true length in front, and `bytes` of data. */
static void put_st(const char *name, const char *header, size_t bytes)
{
    size_t n = strlen(header);
    uint8_t *p = calloc(1, 8 + n + bytes);

    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)((uint64_t)n >> 8 * i);
    memcpy(p + 8, header, n);
    for (size_t i = 0; i < bytes; i++)
        p[8 + n + i] = (uint8_t)i;
    scratch_put(name, p, 8 + n + bytes);
    free(p);
}

/* The header is refused as bad data, and the message holds every word of `words` (separated by '|'). */
static void refused(const struct err *e, int ret, enum rc rc, const char *words, const char *what)
{
    char copy[300], *save, *w;
    int all = 1;

    snprintf(copy, sizeof copy, "%s", words);
    for (w = strtok_r(copy, "|", &save); w; w = strtok_r(NULL, "|", &save))
        all &= strstr(e->msg, w) != NULL;
    CHECK(ret == -1 && e->rc == rc && all, "refused: %s", what);
    if (!all)
        printf("# %s\n", e->msg);
}

static void bad_header(const char *header, size_t bytes, const char *words, const char *what)
{
    struct st_file st;
    struct err e = {0};
    int ret;

    put_st("bad.safetensors", header, bytes);
    ret = st_open(&st, scratch("bad.safetensors"), &e);
    refused(&e, ret, RC_DATA, words, what);
    st_close(&st);
}

#define T(name, dtype, shape, begin, end)                                                                    \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" #begin "," #end "]}"

static void bad_headers(void)
{
    char *deep = calloc(1, 200001);

    bad_header("", 0, "does not begin with", "no header");
    bad_header("[1]", 0, "does not begin with", "an array");
    bad_header("{", 0, "not valid JSON", "cut JSON");
    bad_header("{} x", 0, "not valid JSON", "text after the header");
    bad_header("{" T("a", "F32", "2", 0, 8) "," T("a", "F32", "2", 8, 16) "}", 16, "duplicate",
               "duplicate names");
    bad_header("{" T("a", "F32", "2", 0, 8) "," T("b", "F32", "2", 4, 12) "}", 12, "'a' and 'b' overlap",
               "overlap");
    bad_header("{" T("a", "F32", "2", 0, 8) "," T("b", "F32", "2", 0, 8) "}", 8, "overlap",
               "the same place twice");
    bad_header("{" T("a", "F32", "4", 0, 16) "," T("b", "F32", "0", 4, 4) "}", 16, "overlap",
               "empty inside another");
    bad_header("{" T("a", "F32", "2", 0, 8) "," T("b", "F32", "1", 12, 16) "}", 16,
               "4 bytes before tensor 'b'", "hole");
    bad_header("{" T("a", "F32", "2", 4, 12) "}", 12, "4 bytes before tensor 'a'", "hole at the start");
    bad_header("{" T("a", "F32", "2", 0, 8) "}", 9, "the last 1 bytes", "bytes at the end");
    bad_header("{}", 4, "the last 4 bytes", "data without tensors");
    bad_header("{" T("a", "F32", "2", 0, 8) "}", 7, "'a'|truncated", "one byte short");
    bad_header("{" T("a", "F32", "2", 0, 7) "}", 7, "'a'|need 8 bytes", "length not shape times dtype");
    bad_header("{" T("a", "F32", "2", 8, 0) "}", 8, "'a'|data_offsets", "end before begin");
    bad_header("{" T("a", "F33", "2", 0, 8) "}", 8, "'a'|F33", "unknown dtype");
    bad_header("{" T("a", "U8", "-1", 0, 1) "}", 1, "'a'|dimension 0", "negative dimension");
    bad_header("{" T("a", "U8", "1.0", 0, 1) "}", 1, "'a'|dimension 0", "fraction as dimension");
    bad_header("{" T("a", "U8", "1,1,1,1,1,1,1,1,1", 0, 1) "}", 1, "'a'|9 dimensions", "nine dimensions");
    bad_header("{" T("a", "U8", "4294967296,4294967296", 0, 0) "}", 0, "'a'|too large", "elements overflow");
    bad_header("{" T("a", "F64", "4611686018427387904", 0, 0) "}", 0, "'a'|too large", "bytes overflow");
    bad_header("{" T("a", "U8", "99999999999999999999", 0, 0) "}", 0, "not valid JSON",
               "a dimension beyond 64 bits");
    bad_header("{" T("", "U8", "1", 0, 1) "}", 1, "no name", "empty name");
    bad_header("{\"a\":3}", 0, "'a'|object", "an entry that is a number");
    bad_header("{\"a\":{\"shape\":[],\"data_offsets\":[0,1]}}", 1, "'a'|dtype", "no dtype");
    bad_header("{\"a\":{\"dtype\":\"U8\",\"shape\":3,\"data_offsets\":[0,1]}}", 1, "'a'|shape",
               "shape not a list");
    bad_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0]}}", 1, "'a'|data_offsets",
               "one offset");
    bad_header("{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, "not valid",
               "NUL in a name");
    bad_header("{\"\xff\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, "not valid",
               "name not UTF-8");
    memset(deep, '[', 200000);
    memcpy(deep, "{\"a\":", 5);
    bad_header(deep, 0, "not valid JSON", "nesting without end");
    free(deep);
}

static void bad_lengths(void)
{
    static const uint8_t huge[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}'};
    static const uint8_t beyond[10] = {3, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    const char *path = scratch("bad.safetensors");
    struct st_file st;
    struct err e = {0};

    scratch_put("bad.safetensors", huge, sizeof huge);
    refused(&e, st_open(&st, path, &e), RC_DATA, "not a safetensors file", "a header of 2^64 - 1 bytes");
    scratch_put("bad.safetensors", beyond, sizeof beyond);
    e = (struct err){0};
    refused(&e, st_open(&st, path, &e), RC_DATA, "truncated", "a header one byte beyond the file");
    scratch_text("bad.safetensors", "");
    e = (struct err){0};
    refused(&e, st_open(&st, path, &e), RC_DATA, "truncated", "an empty file");
    e = (struct err){0};
    refused(&e, st_open(&st, scratch("absent"), &e), RC_SYS, "No such file", "no file");
}

/* A real file cut anywhere is refused: at every byte of the header's first part, and then in strides. */
static void truncated(void)
{
    const char *source = "tests/golden/models/nested5-sharded/model-00002-of-00004.safetensors";
    const char *path = scratch("cut.safetensors");
    struct err e = {0};
    struct st_file st;
    uint8_t *data;
    size_t n, cuts = 0, bad = 0;

    if (file_read(source, &data, &n, &e))
        exit(1);
    scratch_put("cut.safetensors", data, n);
    CHECK(st_open(&st, path, &e) == 0 && st.tensors > 0, "the whole file opens");
    st_close(&st);
    for (size_t at = n - 1;; at -= at > 3000 ? 997 : at > 300 ? 53 : 1, cuts++) {
        e = (struct err){0};
        if (truncate(path, (off_t)at))
            exit(1);
        bad += st_open(&st, path, &e) == 0 || e.rc != RC_DATA || !strstr(e.msg, path);
        st_close(&st);
        if (!at)
            break;
    }
    CHECK(bad == 0 && cuts > 300, "cut at %zu places: always refused, with the file's name", cuts);
    free(data);
}

static void good_headers(void)
{
    struct st_file st;
    struct err e = {0};

    put_st("good.safetensors",
           "{\"__metadata__\":{\"format\":\"pt\"}," T("b", "F32", "2", 1, 9) "," T("a", "U8", "", 0, 1) "," T(
               "z", "BF16", "0,4", 9, 9) "," T("c", "F8_E4M3", "3,1", 9, 12) "}   ",
           12);
    CHECK(st_open(&st, scratch("good.safetensors"), &e) == 0 && st.tensors == 4, "odd but valid: %s", e.msg);
    CHECK(!strcmp(st.tensor[0].name, "a") && st.tensor[0].ndim == 0 && st.tensor[0].count == 1 &&
              st.tensor[0].data[0] == 0,
          "a scalar");
    CHECK(!strcmp(st.tensor[1].name, "b") && st.tensor[1].count == 2 && st.tensor[1].data[0] == 1,
          "unaligned floats");
    CHECK(!strcmp(st.tensor[2].name, "z") && st.tensor[2].count == 0 && st.tensor[2].bytes == 0,
          "an empty tensor");
    CHECK(!strcmp(st.tensor[3].name, "c") && st.tensor[3].dtype == DT_F8_E4M3 && st.tensor[3].data[2] == 11,
          "FP8");
    st_close(&st);
    put_st("good.safetensors", "{}", 0);
    CHECK(st_open(&st, scratch("good.safetensors"), &e) == 0 && st.tensors == 0, "no tensors at all");
    st_close(&st);
}

static void written(void)
{
    char name[3][20] = {"w.weight_scale", "odd \"\\\n\xc3\xa9", "w.weight"};
    struct st_tensor t[] = {{.name = name[0], .dtype = DT_F32, .bytes = 4},
                            {.name = name[1], .dtype = DT_BF16, .ndim = 1, .shape = {1}, .bytes = 2},
                            {.name = name[2], .dtype = DT_F8_E4M3, .ndim = 2, .shape = {3, 1}, .bytes = 3}};
    struct st_file st;
    struct err e = {0};
    size_t header, dry;
    FILE *f = fopen(scratch("written.safetensors"), "wb");

    CHECK(st_compare(&t[0], &t[1]) < 0 && st_compare(&t[1], &t[2]) < 0, "wide elements come first");
    CHECK(st_compare(&t[0], &t[0]) == 0 && st_compare(&t[2], &t[1]) > 0, "and then names");
    CHECK(st_write_header(f, t, 3, &header, &e) == 0 && header % 8 == 0, "a header, padded to 8");
    CHECK(st_write_header(NULL, t, 3, &dry, &e) == 0 && dry == header && ftell(f) == (long)header,
          "its size beforehand");
    fwrite("123456789", 1, 9, f);
    fclose(f);
    CHECK(st_open(&st, scratch("written.safetensors"), &e) == 0 && st.tensors == 3, "reads back: %s", e.msg);
    CHECK(!strcmp(st.tensor[1].name, "odd \"\\\n\xc3\xa9"), "a name with quotes, a newline and UTF-8");
    CHECK(st.tensor[0].ndim == 0 && !memcmp(st.tensor[2].data, "789", 3), "shape and data");
    st_close(&st);
    f = fopen("/dev/full", "wb");
    setvbuf(f, NULL, _IONBF, 0);
    CHECK(st_write_header(f, t, 3, &header, &e) == -1 && e.rc == RC_SYS, "a full disk");
    fclose(f);
}

/* Every tensor of a model is found by its name and reads as finite numbers. */
static void model(const char *path, size_t shards, size_t tensors, const char *digest)
{
    struct err e = {0};
    char hex[SHA256_HEX];
    struct ckpt c;
    size_t bad = 0;

    CHECK(ckpt_open(&c, path, &e) == 0, "open %s %s", path, e.msg);
    CHECK(c.shards == shards && c.tensors == tensors && c.indexed == (shards > 1),
          "%s: %zu files, %zu tensors", path, c.shards, c.tensors);
    for (size_t i = 0; i < c.tensors; i++) {
        const struct st_tensor *t = c.by_name[i];
        float *x = mem_zalloc(t->count, sizeof *x, &e);

        bad += ckpt_find(&c, t->name) != t || ckpt_read_f32(&c, t, 0, t->count, x, true, &e) ||
               (t->count > 4 && ckpt_read_f32(&c, t, 3, t->count - 3, x, true, &e));
        free(x);
    }
    CHECK(bad == 0, "%s: all found and finite %s", path, e.msg);
    CHECK(!ckpt_find(&c, "no.such") && !ckpt_find(&c, ""), "%s: an unknown name is not found", path);
    CHECK(ckpt_digest(&c, hex, &e) == 0 && !strncmp(hex, digest, strlen(digest)), "%s: digest %s", path, hex);
    ckpt_close(&c);
}

static void models(void)
{
    struct err e = {0};
    struct ckpt c = {0};

    model("data/tiny-qwen2_5-vl", 1, 128, "e114772a7d06be8b");
    model("tests/golden/models/flat-mha", 1, 93, "f34cf6f7b22e1f15");
    model("tests/golden/models/full-only-patch8", 1, 56, "a4a6db0ceb4529c7");
    model("tests/golden/models/nested4-gqa8", 1, 69, "6f97153133013006");
    model("tests/golden/models/nested5-sharded", 4, 80, "471897105ef6707f");
    model("tests/golden/models/qwen2-text", 1, 51, "eac035c7ae7eb278");
    model("tests/golden/models/windows-only", 1, 81, "c847aa2c9392a77a");
    CHECK(ckpt_open(&c, scratch("absent"), &e) == -1 && e.rc == RC_SYS && strstr(e.msg, "No such"), "%s",
          e.msg);
    e = (struct err){0};
    CHECK(ckpt_open(&c, "data/README.md", &e) == -1 && strstr(e.msg, "not a directory"), "%s", e.msg);
    e = (struct err){0};
    CHECK(ckpt_open(&c, scratch_dir(), &e) == -1 && strstr(e.msg, "config.json"), "%s", e.msg);
    ckpt_close(&c);
}

/* A model directory made by the test: files a and b, each with a tensor of its name, and this index. */
static void bad_index(const char *index, const char *words, const char *what)
{
    struct err e = {0};
    struct ckpt c;
    int ret;

    scratch_text("model.safetensors.index.json", index);
    ret = ckpt_open(&c, scratch_dir(), &e);
    if (words)
        refused(&e, ret, RC_DATA, words, what);
    else
        CHECK(ret == 0 && c.shards == 2 && c.indexed, "%s %s", what, e.msg);
    ckpt_close(&c);
}

static void indexes(void)
{
    const char *missing = "{\"weight_map\":{\"a\":\"a.safetensors\",\"c\":\"c.safetensors\"}}";
    struct err e = {0};
    struct ckpt c;

    scratch_text("config.json", "{}");
    refused(&e, ckpt_open(&c, scratch_dir(), &e), RC_DATA, "neither", "a directory without weights");
    put_st("a.safetensors", "{" T("a", "U8", "1", 0, 1) "}", 1);
    put_st("b.safetensors", "{" T("b", "U8", "1", 0, 1) "}", 1);
    put_st("ab.safetensors", "{" T("a", "U8", "1", 0, 1) "," T("b", "U8", "1", 1, 2) "}", 2);
    bad_index("{\"weight_map\":{\"a\":\"a.safetensors\",\"b\":\"b.safetensors\"}}", NULL, "two shards");
    bad_index("{\"weight_map\":{\"a\":\"b.safetensors\",\"b\":\"a.safetensors\"}}",
              "'a' is not in 'b.safetensors' but in "
              "'a.safetensors'",
              "files exchanged");
    bad_index("{\"weight_map\":{\"a\":\"a.safetensors\",\"x\":\"b.safetensors\"}}",
              "'x' is not in 'b.safetensors'", "a tensor that is not in its shard");
    bad_index("{\"weight_map\":{\"a\":\"ab.safetensors\"}}", "'b'|missing from the index",
              "a tensor not in the index");
    bad_index("{\"weight_map\":{\"a\":\"ab.safetensors\",\"b\":\"b.safetensors\"}}", "'b' is in two files",
              "a tensor in "
              "two shards");
    bad_index("{\"weight_map\":{\"a\":\"../a.safetensors\"}}", "not the name of", "a path that leads out");
    bad_index("{\"weight_map\":{\"a\":\"/etc/a.safetensors\"}}", "not the name of", "an absolute path");
    bad_index("{\"weight_map\":{\"a\":\"..\"}}", "not the name of", "the parent directory");
    bad_index("{\"weight_map\":{\"a\":\"\"}}", "not the name of", "an empty name");
    bad_index("{\"weight_map\":{\"a\":\"config.json\"}}", "not the name of", "another kind of file");
    bad_index("{\"weight_map\":{\"a\":3}}", "not a string", "a number as name");
    bad_index("{\"weight_map\":{}}", "names no tensor", "an empty index");
    bad_index("{\"weight_map\":[]}", "weight_map", "a list as index");
    bad_index("{}", "weight_map", "no weight_map");
    scratch_text("model.safetensors.index.json", missing);
    e = (struct err){0};
    refused(&e, ckpt_open(&c, scratch_dir(), &e), RC_SYS, "c.safetensors|No such file",
            "a shard that is not there");
    put_st("model.safetensors", "{" T("a", "U8", "1", 0, 1) "}", 1);
    bad_index("{\"weight_map\":{\"a\":\"a.safetensors\",\"b\":\"b.safetensors\"}}", "stale",
              "a single file beside shards");
    unlink(scratch("model.safetensors.index.json"));
    e = (struct err){0};
    CHECK(ckpt_open(&c, scratch_dir(), &e) == 0 && c.shards == 1, "the single file alone %s", e.msg);
    ckpt_close(&c);
    scratch_text("config.json", "[]");
    refused(&e, ckpt_open(&c, scratch_dir(), &e), RC_DATA, "not a JSON object", "a list as config.json");
}

/* Conversions, ranges and NaN of ckpt_read_f32(), and what the digest sees. */
static void values(void)
{
    static const uint8_t f16[] = {0x00, 0x3c, 0x00, 0x7c}, bf16[] = {0x80, 0x3f, 0xc0, 0x7f};
    struct err e = {0};
    char before[SHA256_HEX], after[SHA256_HEX];
    struct ckpt c;
    float x[2];
    FILE *f;

    scratch_text("config.json", "{}");
    put_st("model.safetensors",
           "{" T("h", "F16", "2", 0, 4) "," T("b", "BF16", "2", 4, 8) "," T("i", "I8", "1", 8, 9) "}", 9);
    f = fopen(scratch("model.safetensors"), "rb+");
    fseek(f, -9, SEEK_END);
    fwrite(f16, 1, 4, f);
    fwrite(bf16, 1, 4, f);
    fclose(f);
    if (ckpt_open(&c, scratch_dir(), &e))
        exit(1);
    CHECK(ckpt_read_f32(&c, ckpt_find(&c, "h"), 0, 2, x, false, &e) == 0 && x[0] == 1 && isinf(x[1]), "F16");
    CHECK(ckpt_read_f32(&c, ckpt_find(&c, "b"), 0, 2, x, false, &e) == 0 && x[0] == 1 && isnan(x[1]), "BF16");
    CHECK(ckpt_read_f32(&c, ckpt_find(&c, "b"), 0, 1, x, true, &e) == 0, "the finite part");
    CHECK(ckpt_read_f32(&c, ckpt_find(&c, "b"), 2, 0, x, true, &e) == 0, "nothing, at the end");
    refused(&e, ckpt_read_f32(&c, ckpt_find(&c, "b"), 0, 2, x, true, &e), RC_DATA,
            "'b'|NaN|model.safetensors", "NaN");
    e = (struct err){0};
    refused(&e, ckpt_read_f32(&c, ckpt_find(&c, "h"), 1, 1, x, true, &e), RC_DATA, "'h'|infinity",
            "infinity");
    e = (struct err){0};
    refused(&e, ckpt_read_f32(&c, ckpt_find(&c, "h"), 1, 2, x, true, &e), RC_DATA, "'h' has 2",
            "beyond the end");
    e = (struct err){0};
    refused(&e, ckpt_read_f32(&c, ckpt_find(&c, "h"), 3, 0, x, true, &e), RC_DATA, "'h' has 2",
            "starting beyond");
    e = (struct err){0};
    refused(&e, ckpt_read_f32(&c, ckpt_find(&c, "i"), 0, 1, x, true, &e), RC_DATA, "'i' is I8", "integers");
    e = (struct err){0};
    CHECK(ckpt_digest(&c, before, &e) == 0, "digest");
    ckpt_close(&c);
    scratch_text("config.json", "{ }");
    CHECK(ckpt_open(&c, scratch_dir(), &e) == 0 && ckpt_digest(&c, after, &e) == 0 && strcmp(before, after),
          "sees config.json");
    ckpt_close(&c);
    scratch_text("config.json", "{}");
    f = fopen(scratch("model.safetensors"), "rb+");
    fseek(f, -1, SEEK_END);
    fputc(0x55, f);
    fclose(f);
    CHECK(ckpt_open(&c, scratch_dir(), &e) == 0 && ckpt_digest(&c, after, &e) == 0 && strcmp(before, after),
          "sees the last byte");
    ckpt_close(&c);
}

int main(void)
{
    models();
    bad_headers();
    bad_lengths();
    truncated();
    good_headers();
    written();
    indexes();
    values();
    return unit_end();
}
