/* tokenizer.c - fuzz target: the files of a tokenizer, what else names its tokens, and a text for it */
#include "common/model/generate.h"
#include "common/text/chat.h"
#include "common/text/tokenizer.h"
#include "tests/fuzz/fuzz.h"

static const char *const names[] = {
    "tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json",
    "generation_config.json", NULL,
};

static void look_beside(const struct tokenizer *t, const char *dir)
{
    struct chat_form form;
    struct ids stop = {0};
    struct err e = {0};

    fuzz_good(chat_open(&form, dir, &e), &e);
    e = (struct err){0};
    fuzz_good(generate_stops(&stop, dir, t, &e), &e);
    ids_release(&stop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct tokenizer *t;
    struct ids ids = {0};
    struct text text = {0};
    struct err e = {0};
    const uint8_t *rest = NULL;
    size_t rest_n = 0;

    fuzz_parts(data, n, names, sizeof names / sizeof *names, &rest, &rest_n);
    if (!fuzz_good(tokenizer_open(&t, scratch_dir(), &e), &e))
        return 0;
    if (fuzz_good(tokenizer_encode(t, (const char *)rest, rest_n, &ids, &e), &e)) {
        for (size_t i = 0; i < ids.n; i++)
            FUZZ_CHECK(ids.v[i] >= 0 && (size_t)ids.v[i] < tokenizer_vocab(t));
        fuzz_good(tokenizer_bytes(t, ids.v, ids.n, false, &text, &e), &e);
    }
    look_beside(t, scratch_dir());
    text_release(&text);
    ids_release(&ids);
    tokenizer_free(t);
    return 0;
}
