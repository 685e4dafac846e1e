/* text.c - fuzz target: text to ids and back, ids to text, by the bundled model's tokenizer */
#include "common/text/tokenizer.h"
#include "common/text/utf8.h"
#include "tests/fuzz/fuzz.h"

static const struct tokenizer *bundled(void)
{
    static struct tokenizer *t;
    struct err e = {0};

    if (!t)
        FUZZ_CHECK(tokenizer_open(&t, "data/tiny-qwen2_5-vl", &e) == 0);
    return t;
}

/* Text that was encoded is in NFC once decoded, and then has the same ids. */
static void there_and_back(const struct tokenizer *t, const char *data, size_t n)
{
    struct ids ids = {0}, again = {0};
    struct text text = {0};
    struct err e = {0};

    if (fuzz_good(tokenizer_encode(t, data, n, &ids, &e), &e)) {
        FUZZ_CHECK(fuzz_good(tokenizer_bytes(t, ids.v, ids.n, false, &text, &e), &e));
        FUZZ_CHECK(fuzz_good(tokenizer_encode(t, text.v ? text.v : "", text.n, &again, &e), &e));
        FUZZ_CHECK(ids.n == again.n && (ids.n == 0 || !memcmp(ids.v, again.v, ids.n * sizeof *ids.v)));
    } else {
        FUZZ_CHECK(ids.n == 0);
    }
    text_release(&text);
    ids_release(&again);
    ids_release(&ids);
}

/* Any numbers as ids, two bytes each so that many are in the vocabulary: what they stand for is UTF-8. */
static void decode(const struct tokenizer *t, const uint8_t *data, size_t n)
{
    struct ids ids = {0}, again = {0};
    struct text bytes = {0}, text = {0};
    struct err e = {0};

    for (size_t i = 0; i + 1 < n; i += 2)
        FUZZ_CHECK(ids_add(&ids, &(int32_t){(int16_t)(data[i] | data[i + 1] << 8)}, 1, &e) == 0);
    FUZZ_CHECK(fuzz_good(tokenizer_bytes(t, ids.v, ids.n, n % 2, &bytes, &e), &e));
    FUZZ_CHECK(fuzz_good(utf8_repair(bytes.v, bytes.n, &text, &e), &e));
    FUZZ_CHECK(fuzz_good(tokenizer_encode(t, text.v ? text.v : "", text.n, &again, &e), &e));
    text_release(&text);
    text_release(&bytes);
    ids_release(&again);
    ids_release(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    there_and_back(bundled(), n ? (const char *)data : "", n);
    decode(bundled(), data, n);
    return 0;
}
