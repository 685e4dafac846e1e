/* tokenizer-files.c - unsupported, contradictory and damaged tokenizer files: each gets a report that says so
 */
#include "common/text/tokenizer.h"
#include "tests/unit/text.h"

/* Open dir; true when that fails with a report that holds the words. */
static bool refused(const char *words_of)
{
    struct tokenizer *t = NULL;
    struct err e = {0};
    int ret = tokenizer_open(&t, scratch_dir(), &e);

    tokenizer_free(t);
    if (ret == -1 && e.rc == RC_DATA && strstr(e.msg, words_of))
        return true;
    printf("# %d %d: %s\n", ret, (int)e.rc, e.msg);
    return false;
}

/* A copy of s with the first occurrence of one string replaced. */
static char *edited(const char *s, const char *from, const char *to)
{
    const char *at = must(strstr(s, from), from);
    struct err e = {0};

    return must(mem_printf(&e, "%.*s%s%s", (int)(at - s), s, to, at + strlen(from)), e.msg);
}

static void bad_files(void)
{
    static const struct {
        const char *from, *to, *words;
    } json[] = {
        {"\"NFC\"", "\"NFKC\"", "'normalizer'"},
        {"\"Isolated\"", "\"Removed\"", "'pre_tokenizer'"},
        {"\\\\p{N}|", "\\\\d|", "'\\d', which is not supported"},
        {"\"BPE\"", "\"Unigram\"", "'model.type'"},
        {"\"byte_fallback\": false", "\"byte_fallback\": true", "'model.byte_fallback'"},
        {"\"ignore_merges\": false", "\"ignore_merges\": true", "'model.ignore_merges'"},
        {"\"lstrip\": false", "\"lstrip\": true", "'lstrip'"},
        {"\"id\": 508", "\"id\": 507", "id 507 is given to two added tokens"},
        {"\"id\": 508", "\"id\": -1", "'id'"},
        {"\"id\": 508", "\"id\": 20", "id 20 is that of the added token"},
        {"\"content\": \"<|im_start|>\"", "\"content\": \"\"", "empty string"},
        {"\"#\": 2", "\"#\": 1", "id 1 is given to two tokens"},
        {"\"#\": 2", "\"#\": 2.5", "a whole number"},
        {"\"#\": 2", "\"#\": 99999999999", "a whole number"},
        {"\"#\": 2", "\"!\": 2", "ids 0 and 2 are given to the same token"},
        {"\"#\": 2", "\"##\": 2", "no token for byte 0x23"},
        {"\"#\": 2", "\"\\ud800\": 2", "half of a surrogate pair"},
        {"\"merges\"", "\"merged\"", "the model has no merges"},
        {"\"tio\",", "\"tiu\",", "not in the vocabulary"},
        {"\"model\"", "\"modem\"", "no 'model'"},
        {"\"version\"", "\"version\": 1, \"model\"", "expected"},
    };
    size_t n;
    char *good = slurp(TINY "/tokenizer.json", &n), *vocab = slurp(TINY "/vocab.json", &n);

    scratch_clear();
    CHECK(refused("neither a tokenizer.json nor both"), "no files");
    for (size_t i = 0; i < sizeof(json) / sizeof(json[0]); i++) {
        char *bad = edited(good, json[i].from, json[i].to);

        scratch_text("tokenizer.json", bad);
        CHECK(refused(json[i].words) && refused(scratch_dir()), "tokenizer.json with %s", json[i].to);
        free(bad);
    }
    scratch_text("tokenizer.json", "");
    CHECK(refused("the file ends"), "an empty tokenizer.json");
    scratch_clear();
    scratch_text("vocab.json", vocab);
    CHECK(refused("neither"), "vocab.json alone");
    scratch_text("merges.txt", "#version: 0.2\nh e\nhe\n");
    CHECK(refused("merges.txt: line 3: merge 1, 'he', is not two tokens"), "a merge of one token");
    scratch_text("merges.txt", "h e\nq zz\n");
    CHECK(refused("merges.txt: line 2: merge 1 joins 'q' and 'zz'"), "a merge of unknown tokens");
    scratch_text("merges.txt", "h e\n");
    scratch_text("added_tokens.json", "{\"<x>\": 600, \"<y>\": 600}");
    CHECK(refused("id 600 is given to two added tokens"), "one id for two added tokens");
    scratch_text("added_tokens.json", "[1]");
    CHECK(refused("added_tokens.json: it is not a JSON object"), "added_tokens.json is a list");
    scratch_text("added_tokens.json", "{\"<x>\": \"y\"}");
    CHECK(refused("the id of '<x>'"), "an added token without a number");
    scratch_text("added_tokens.json", "{} {}");
    CHECK(refused("something follows"), "two documents in one file");
    scratch_text("added_tokens.json", "{}");
    scratch_text("tokenizer_config.json", "{\"added_tokens_decoder\": {\"x\": {\"content\": \"<x>\"}}}");
    CHECK(refused("'x', which is no id"), "added_tokens_decoder with a key that is no id");
    free(good);
    free(vocab);
}

/* Damage a file of dir in many ways: a report or, where the damage is harmless, a tokenizer; never anything
 * else. */
static void damaged(const char *name, const char *data, size_t n, bool cut_is_error)
{
    char *copy = must(malloc(n), "memory");
    size_t silent = 0, cut_taken = 0, cuts = 0, caught = 0, flips = 500;
    uint32_t seed = 12345;

    for (size_t k = 0; k < n; k += n / 150 + 1, cuts++) {
        struct tokenizer *t = NULL;
        struct err e = {0};

        scratch_put(name, data, k);
        if (tokenizer_open(&t, scratch_dir(), &e) == 0)
            cut_taken++;
        else
            silent += !e.msg[0] || e.rc != RC_DATA;
        tokenizer_free(t);
    }
    CHECK(silent == 0 && (!cut_is_error || cut_taken == 0), "%s cut at %zu places", name, cuts);
    for (size_t k = 0; k < flips; k++) {
        struct tokenizer *t = NULL;
        struct err e = {0};
        struct ids ids = {0};

        memcpy(copy, data, n);
        seed = seed * 1664525 + 1013904223;
        copy[(seed >> 8) % n] ^= (char)(1 << (seed >> 5 & 7));
        scratch_put(name, copy, n);
        if (tokenizer_open(&t, scratch_dir(), &e)) {
            caught++;
            silent += !e.msg[0] || e.rc != RC_DATA;
        } else if (tokenizer_encode(t, "A cat's 2 caf\xc3\xa9s <|im_end|>\n", 29, &ids, &e)) {
            silent += !e.msg[0];
        }
        ids_release(&ids);
        tokenizer_free(t);
    }
    CHECK(silent == 0 && caught > flips / 5, "%s with a bit flipped at %zu places: %zu are seen", name, flips,
          caught);
    scratch_put(name, data, n);
    free(copy);
}

static void damage(void)
{
    static const struct {
        const char *name, *with[2]; /* the file to damage, and the sound ones beside it */
        bool cut_is_error;          /* merges.txt may end after any line */
    } of[] = {{"tokenizer.json", {NULL, NULL}, true},
              {"vocab.json", {"merges.txt", NULL}, true},
              {"merges.txt", {"vocab.json", NULL}, false},
              {"tokenizer_config.json", {"vocab.json", "merges.txt"}, true}};
    struct err e = {0};

    for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
        char *path = must(file_join(TINY, of[i].name, &e), e.msg), *data;
        size_t n;

        scratch_clear();
        for (int k = 0; k < 2; k++)
            if (of[i].with[k])
                link_to(TINY, of[i].with[k]);
        data = slurp(path, &n);
        damaged(of[i].name, data, n, of[i].cut_is_error);
        free(data);
        free(path);
    }
    scratch_clear();
}

int main(void)
{
    bad_files();
    damage();
    return unit_end();
}
