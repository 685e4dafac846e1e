/* tokenizer.c - the tokenizer against the reference's answers */
#include "common/text/tokenizer.h"
#include "common/text/unicode.h"
#include "common/text/utf8.h"
#include "tests/unit/text.h"

static bool same_ids(const struct ids *got, const json_t *want)
{
    if (got->n != json_array_size(want))
        return false;
    for (size_t i = 0; i < got->n; i++)
        if (got->v[i] != json_integer_value(json_array_get(want, i)))
            return false;
    return true;
}

/* ---- golden rows */

static void encode(const struct tokenizer *t, const char *path, const char *label)
{
    size_t n, rows = 0, bad = 0;
    char *data = slurp(path, &n);
    const char *at = data;
    json_t *j;

    for (; (j = row(&at)); json_decref(j), rows++) {
        struct text text = string_of(json_object_get(j, "text"));
        struct ids ids = {0};
        struct err e = {0};

        if (tokenizer_encode(t, text.v, text.n, &ids, &e) || !same_ids(&ids, json_object_get(j, "ids"))) {
            bad++;
            printf("# %s row %zu: %s '%.60s'\n", path, rows + 1, e.msg, text.v);
        }
        ids_release(&ids);
    }
    CHECK(rows == 1123 && bad == 0, "%s: ids of %zu texts (%zu differ)", label, rows, bad);
    free(data);
}

static void encode_at_once(const struct tokenizer *t, const char *path)
{
    size_t n, rows = 0, bad = 0;
    char *data = slurp(path, &n);
    const char *at = data;
    json_t *j[1200];

    while (rows < 1200 && (j[rows] = row(&at)))
        rows++;
#pragma omp parallel for num_threads(4) schedule(dynamic, 1) reduction(+ : bad)
    for (size_t i = 0; i < 4 * rows; i++) {
        const json_t *r = j[i % rows];
        struct text text = string_of(json_object_get(r, "text"));
        struct ids ids = {0};
        struct err e = {0};

        bad += tokenizer_encode(t, text.v, text.n, &ids, &e) || !same_ids(&ids, json_object_get(r, "ids"));
        ids_release(&ids);
    }
    CHECK(rows == 1123 && bad == 0, "four threads, one tokenizer (%zu differ)", bad);
    for (size_t i = 0; i < rows; i++)
        json_decref(j[i]);
    free(data);
}

static void decode(const struct tokenizer *t, const char *path, size_t want_rows)
{
    static const char digit[] = "0123456789abcdef";
    size_t n, rows = 0, bad = 0, i;
    char *data = slurp(path, &n);
    const char *at = data;
    json_t *j, *id;

    for (; (j = row(&at)); json_decref(j), rows++) {
        struct text want = string_of(json_object_get(j, "text")),
                    hex = string_of(json_object_get(j, "bytes"));
        bool skip = json_is_true(json_object_get(j, "skip_special")), same;
        struct text got = {0}, bytes = {0};
        struct ids ids = {0};
        struct err e = {0};

        json_array_foreach(json_object_get(j, "ids"), i, id)
        {
            int32_t x = (int32_t)json_integer_value(id);

            if (ids_add(&ids, &x, 1, &e))
                must(NULL, e.msg);
        }
        same = !tokenizer_bytes(t, ids.v, ids.n, skip, &bytes, &e) &&
               !utf8_repair(bytes.v, bytes.n, &got, &e) && same_text(&got, &want) &&
               2 * bytes.n == hex.n;
        for (size_t k = 0; same && k < bytes.n; k++)
            same = hex.v[2 * k] == digit[(unsigned char)bytes.v[k] >> 4] &&
                   hex.v[2 * k + 1] == digit[bytes.v[k] & 15];
        bad += !same;
        text_release(&got);
        text_release(&bytes);
        ids_release(&ids);
    }
    CHECK(rows == want_rows && bad == 0, "%s: bytes and text of %zu rows (%zu differ)", path, rows, bad);
    free(data);
}

static void bad_text(const struct tokenizer *t)
{
    static const struct {
        const char *text;
        size_t n, offset;
    } of[] = {{"abc\xff", 4, 3},          {"\xc3", 1, 0},
              {"x\xed\xa0\x80", 4, 1},    {"\xc0\xaf", 2, 0},
              {"\xf4\x90\x80\x80", 4, 0}, {"12345678\xe4\xb8", 10, 8},
              {"\xe0\x80\x80", 3, 0}};
    size_t bad = 0;
    char want[32];

    for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
        struct ids ids = {0};
        struct err e = {0};

        snprintf(want, sizeof(want), "at offset %zu", of[i].offset);
        bad += tokenizer_encode(t, of[i].text, of[i].n, &ids, &e) != -1 || e.rc != RC_DATA || ids.n ||
               !strstr(e.msg, want);
        ids_release(&ids);
    }
    CHECK(bad == 0, "text that is not UTF-8 is refused, and the offset named");
}

/* ---- size */

static void large(const struct tokenizer *t)
{
    static const struct {
        const char *unit;
        size_t times;
    } of[] = {{"a", 200000},        {"Zqx", 66667},
              {" ", 1000000},       {"\n", 300000},
              {"<", 500000},        {"e\xcc\x81\xcc\xa3", 100000},
              {"\xcc\x81", 200000}, {"\xe4\xb8\xad", 300000},
              {"x ", 500000},       {" \n", 200000},
              {"'s", 300000}};
    size_t bad = 0;

    for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
        struct text in = {0}, want = {0}, got = {0};
        struct ids ids = {0};
        struct err e = {0};

        for (size_t k = 0; k < of[i].times; k++)
            bad += text_add_str(&in, of[i].unit, &e) != 0;
        bad += unicode_nfc(in.v, in.n, &want, &e) || tokenizer_encode(t, in.v, in.n, &ids, &e) ||
               tokenizer_bytes(t, ids.v, ids.n, false, &got, &e) || !same_text(&got, &want);
        if (e.msg[0])
            printf("# %s x %zu: %s\n", of[i].unit, of[i].times, e.msg);
        text_release(&in);
        text_release(&want);
        text_release(&got);
        ids_release(&ids);
    }
    CHECK(bad == 0, "texts of a megabyte, one word or many, come back as their NFC");
}

/* ---- the same tokenizer in other forms */

/* tokenizer.json with its merges as "left right", as older files have them. */
static void joined_merges(void)
{
    json_t *j = must(json_load_file(TINY "/tokenizer.json", 0, NULL), "tokenizer.json");
    json_t *model = json_object_get(j, "model"), *merges = json_object_get(model, "merges"),
           *list = json_array(), *m;
    size_t i;
    char *text;

    json_array_foreach(merges, i, m)
        json_array_append_new(list, json_sprintf("%s %s", json_string_value(json_array_get(m, 0)),
                                                 json_string_value(json_array_get(m, 1))));
    json_object_set_new(model, "merges", list);
    text = must(json_dumps(j, JSON_ENSURE_ASCII | JSON_COMPACT | JSON_SORT_KEYS),
                "json"); /* merges before vocab */
    scratch_clear();
    scratch_text("tokenizer.json", text);
    free(text);
    json_decref(j);
}

static void digest(const struct tokenizer *t, char hex[SHA256_HEX])
{
    struct err e = {0};

    if (tokenizer_digest(t, hex, &e))
        must(NULL, e.msg);
    CHECK(strspn(hex, "0123456789abcdef") == 64, "digest %s", hex);
}

static void forms(void)
{
    char one[SHA256_HEX], two[SHA256_HEX];
    struct tokenizer *t;

    joined_merges();
    t = opened(scratch_dir());
    encode(t, GOLDEN "encode.tiny.jsonl", "merges as strings, before the vocabulary");
    digest(t, one);
    tokenizer_free(t);
    scratch_clear();
    link_to(TINY, "vocab.json");
    link_to(TINY, "merges.txt");
    link_to(TINY, "tokenizer_config.json");
    t = opened(scratch_dir());
    encode(t, GOLDEN "encode.tiny.jsonl", "vocab.json, merges.txt and tokenizer_config.json");
    decode(t, GOLDEN "decode.tiny.jsonl", 1170);
    digest(t, two);
    CHECK(!strcmp(one, two), "the same digest, whatever the files");
    tokenizer_free(t);
    scratch_text("added_tokens.json", "{\"<extra>\": 600}");
    t = opened(scratch_dir());
    digest(t, two);
    CHECK(strcmp(one, two), "one token more, another digest");
    tokenizer_free(t);
    t = opened("data/qwen2-tokenizer");
    digest(t, two);
    CHECK(strcmp(one, two), "another vocabulary, another digest");
    tokenizer_free(t);
}

int main(void)
{
    struct tokenizer *t;

    t = opened(TINY);
    CHECK(tokenizer_vocab(t) == 521 && tokenizer_id(t, "<|im_end|>") == 509 &&
              tokenizer_id(t, "\xc4\xa0") == 220 && tokenizer_id(t, "<|nothing|>") == -1 &&
              tokenizer_id(t, " ") == -1,
          "ids by name");
    encode(t, GOLDEN "encode.tiny.jsonl", TINY);
    decode(t, GOLDEN "decode.tiny.jsonl", 1170);
    bad_text(t);
    tokenizer_free(t);
    forms();

    scratch_clear();
    link_to("data/qwen2-tokenizer", "vocab.json");
    link_to("data/qwen2-tokenizer", "merges.txt");
    link_to(GOLDEN "qwen2_5_vl", "added_tokens.json");
    link_to(GOLDEN "qwen2_5_vl", "tokenizer_config.json");
    t = opened(scratch_dir());
    CHECK(tokenizer_vocab(t) == 151665 && tokenizer_id(t, "<|file_sep|>") == 151664,
          "the Qwen2.5-VL vocabulary");
    encode(t, GOLDEN "encode.qwen2_5_vl.jsonl", "qwen2_5_vl");
    encode_at_once(t, GOLDEN "encode.qwen2_5_vl.jsonl");
    decode(t, GOLDEN "decode.qwen2_5_vl.jsonl", 1190);
    large(t);
    tokenizer_free(t);

    return unit_end();
}
