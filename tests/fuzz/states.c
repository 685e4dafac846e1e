/*
 * states.c - fuzz target: a file of reference states
 *
 * An input that begins with a JSON object is a header and, after lines "%%", the payloads of chunks: nothing
 * that is made up would have the checksums of a file.
 */
#include "common/model/eval.h"
#include "tests/fuzz/fuzz.h"

/* True when the input was a header and payloads, and path has the file that they make. */
static bool write_chunks(const char *path, const uint8_t *data, size_t n)
{
    static const char line[] = "\n%%\n";
    const struct chunks_type type = {"OCTSTATE", 2, "", ""};
    const uint8_t *end = memmem(data, n, line, sizeof line - 1);
    json_t *head = json_loadb((const char *)data, end ? (size_t)(end - data) : n, 0, NULL);
    struct chunks_out o;
    struct err e = {0};
    bool ret = json_is_object(head);

    if (ret) {
        FUZZ_CHECK(chunks_create(&o, &type, path, head, &e) == 0);
        while (end) {
            const uint8_t *start = end + sizeof line - 1;
            struct chunks_part part = {start, n - (size_t)(start - data)};

            end = memmem(start, part.bytes, line, sizeof line - 1);
            if (end)
                part.bytes = (size_t)(end - start);
            FUZZ_CHECK(chunks_put(&o, 2, &part, 1, &e) == 0);
        }
        FUZZ_CHECK(chunks_end(&o, &e) == 0);
        chunks_close(&o);
    }
    json_decref(head);
    return ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    enum { STEP = 3 }; /* rows that are taken at a time */
    struct states s;
    struct err e = {0};
    const char *path = scratch("x.states");
    float *x, *lse;
    int32_t *argmax;

    if (!write_chunks(path, data, n))
        scratch_put("x.states", data, n);
    if (!fuzz_good(states_open(&s, path, &e), &e))
        return 0;
    FUZZ_CHECK(strlen(s.model) == SHA256_HEX - 1 && strlen(s.samples) == SHA256_HEX - 1);
    FUZZ_CHECK(s.tokens * s.hidden <= n);
    x = calloc(STEP * s.hidden, sizeof *x);
    lse = calloc(STEP, sizeof *lse);
    argmax = calloc(STEP, sizeof *argmax);
    FUZZ_CHECK(x && lse && argmax);
    for (size_t i = 0; i < s.tokens; i += STEP)
        states_rows(&s, i, s.tokens - i < STEP ? s.tokens - i : STEP, x, lse, argmax);
    free(argmax);
    free(lse);
    free(x);
    states_release(&s);
    return 0;
}
