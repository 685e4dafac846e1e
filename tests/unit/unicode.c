/* unicode.c - character classes, NFC and the pre-tokenizer's pattern against the reference's answers */
#include "common/text/unicode.h"
#include "common/text/split.h"
#include "common/text/utf8.h"
#include "tests/unit/text.h"

static void classes(void)
{
    static const struct {
        const char *key;
        enum unicode_class kind;
    } of[] = {{"L", UNICODE_LETTER}, {"N", UNICODE_NUMBER}, {"s", UNICODE_SPACE}};
    uint8_t *want = must(calloc(0x110000, 1), "memory");
    json_t *j = must(json_load_file(GOLDEN "unicode-classes.json", 0, NULL), "unicode-classes.json"), *range;
    size_t k, bad = 0;

    for (size_t i = 0; i < 3; i++)
        json_array_foreach(json_object_get(j, of[i].key), k,
                           range) for (json_int_t c = json_integer_value(json_array_get(range, 0));
                                       c <= json_integer_value(json_array_get(range, 1)); c++) want[c] =
            (uint8_t)of[i].kind;
    for (uint32_t c = 0; c < 0x110000; c++)
        bad += unicode_class(c) != want[c];
    CHECK(bad == 0, "classes of all code points (%zu differ)", bad);
    json_decref(j);
    free(want);
}

static void put_points(const json_t *points, struct text *out)
{
    struct err e = {0};
    char utf8[4];
    size_t i;
    json_t *p;

    json_array_foreach(points, i, p) if (text_add(out, utf8, utf8_put((uint32_t)json_integer_value(p), utf8),
                                                  &e)) must(NULL, e.msg);
}

static void nfc(void)
{
    size_t n, rows = 0, bad = 0, wrongly_fast = 0, unstable = 0;
    char *data = slurp(GOLDEN "unicode-nfc.jsonl", &n);
    const char *at = data;
    json_t *j;

    for (; (j = row(&at)); json_decref(j), rows++) {
        struct text in = {0}, want = {0}, got = {0}, again = {0};
        struct err e = {0};

        put_points(json_array_get(j, 0), &in);
        put_points(json_array_get(j, 1), &want);
        bad += unicode_nfc(in.v, in.n, &got, &e) || !same_text(&got, &want);
        wrongly_fast += unicode_is_nfc(in.v, in.n) && !same_text(&in, &want);
        unstable += unicode_nfc(got.v, got.n, &again, &e) || !same_text(&got, &again);
        text_release(&in);
        text_release(&want);
        text_release(&got);
        text_release(&again);
    }
    CHECK(rows == 2163 && bad == 0, "NFC of %zu texts (%zu differ)", rows, bad);
    CHECK(wrongly_fast == 0 && unstable == 0,
          "the short cut takes none that NFC changes; NFC of NFC is itself");
    free(data);
}

static void hangul(void)
{
    size_t bad = 0;

    for (uint32_t s = 0xac00; s < 0xd7a4; s++) { /* every syllable, apart and together again */
        uint32_t k = s - 0xac00, jamo[3] = {0x1100 + k / 588, 0x1161 + k / 28 % 21, 0x11a7 + k % 28};
        struct text in = {0}, got = {0};
        struct err e = {0};
        char whole[4], part[4];

        for (int i = 0; i < 2 + (k % 28 > 0); i++)
            bad += text_add(&in, part, utf8_put(jamo[i], part), &e) != 0;
        bad += unicode_nfc(in.v, in.n, &got, &e) || unicode_is_nfc(in.v, in.n) ||
               got.n != utf8_put(s, whole) || memcmp(got.v, whole, got.n) || !unicode_is_nfc(whole, 3);
        text_release(&in);
        text_release(&got);
    }
    CHECK(bad == 0, "11172 Hangul syllables");
}

/* ---- the pattern */

static size_t words(const char *pattern, const char *text, char out[256])
{
    struct split *s = NULL;
    struct split_run r = {0};
    struct err e = {0};
    const char *word;
    size_t n, k = 0;

    out[0] = 0;
    if (split_open(&s, pattern, strlen(pattern), &e) || split_start(s, &r, text, strlen(text), &e))
        must(NULL, e.msg);
    for (; split_next(s, &r, &word, &n, &e) == 1; k++) {
        strncat(out, word, n);
        strcat(out, "|");
    }
    split_run_release(&r);
    split_free(s);
    return k;
}

static void patterns(void)
{
    static const char *const refused[] = {
        "\\w+", "\\p{Lu}", "\\p{Han}",    "a",         "[a-z]",    "(?i:a)a",     "^x",   "x$",
        "\\b",  "[\\d]",   "[[:alpha:]]", "(*UTF)",    "(?x:\\s)", "\xc3\xa9",    "\\s*", "(?i:'s",
        "[\\s", "\\",      "\\p{L}{,2}",  "\\s+&[&&]", "(?#x)",    "\\p{L}{1,2}+"};
    size_t taken = 0;
    char got[256];

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct split *s = NULL;
        struct err e = {0};

        if (split_open(&s, refused[i], strlen(refused[i]), &e) == 0 || !e.msg[0] || e.rc != RC_DATA) {
            printf("# taken: %s\n", refused[i]);
            taken++;
        }
        split_free(s);
    }
    CHECK(taken == 0, "patterns that may mean something else here are refused");
    CHECK(words("\\p{L}+", "ab1\xc3\xa9-1 x", got) == 5 && !strcmp(got, "ab|1|\xc3\xa9|-1 |x|"),
          "gaps are words");
    CHECK(words("\\P{L}|[\\P{N}]+|[^\\S]", "a1 ", got) == 3 && !strcmp(got, "a|1| |"), "negations");
    CHECK(words(SPLIT_QWEN2, "I'M here, it's 2024!\n\nNext  line", got) == 15 &&
              !strcmp(got, "I|'M| here|,| it|'s| |2|0|2|4|!\n\n|Next| | line|"),
          "the Qwen2 pattern");
}

/* Patterns that need more time or stack than they get must say so. */
static void limits(void)
{
    static const char *const pattern[] = {"(?:\\p{L}|\\p{L}\\p{L})+\\p{N}", "(?:\\p{L}|\\p{N}-)+\\p{N}"};
    static const size_t letters[] = {100, 4000000};

    for (int i = 0; i < 2; i++) {
        struct split *s = NULL;
        struct split_run r = {0};
        struct err e = {0};
        const char *word = NULL;
        char *text = must(malloc(letters[i]), "memory");
        size_t n = 0;
        int ret;

        memset(text, 'a', letters[i]);
        ret = split_open(&s, pattern[i], strlen(pattern[i]), &e);
        if (ret == 0 && split_start(s, &r, text, letters[i], &e) == 0)
            ret = split_next(s, &r, &word, &n, &e);
        CHECK(ret == -1 && e.rc == RC_DATA && strstr(e.msg, "fails on this text"), "%s: %s", pattern[i],
              e.msg);
        split_run_release(&r);
        split_free(s);
        free(text);
    }
}

int main(void)
{
    classes();
    nfc();
    hangul();
    patterns();
    limits();
    return unit_end();
}
