/* chunks.c - fuzz target: a file of checksummed records, read whole and torn; a torn one goes on */
#include "common/io/chunks.h"
#include "tests/fuzz/fuzz.h"

static const struct chunks_type type = {"OCTTEST\n", 1, "test records", "make it again"};

/* Payloads lie in the file. */
static size_t add_up(const struct chunks *c)
{
    size_t sum = 0;

    for (size_t i = 0; i < c->n; i++)
        for (size_t k = 0; k < c->chunk[i].bytes; k++)
            sum += c->chunk[i].data[k];
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct chunks_part part = {"more", 4};
    struct chunks c, again;
    struct chunks_out o;
    struct err e = {0};
    const char *path = scratch_put("x.part", data, n);
    size_t sum, chunks;

    if (fuzz_good(chunks_read(&c, &type, path, true, &e), &e)) {
        FUZZ_CHECK(c.ended && c.head);
        chunks_release(&c);
    }
    e = (struct err){0};
    if (!fuzz_good(chunks_read(&c, &type, path, false, &e), &e) || !c.head) {
        chunks_release(&c);
        return 0;
    }
    sum = add_up(&c);
    chunks = c.n;
    FUZZ_CHECK(fuzz_good(chunks_resume(&o, &c, c.n, &e), &e));
    chunks_release(&c);
    FUZZ_CHECK(fuzz_good(chunks_put(&o, 1, &part, 1, &e), &e) && fuzz_good(chunks_end(&o, &e), &e));
    chunks_close(&o);
    FUZZ_CHECK(fuzz_good(chunks_read(&again, &type, path, true, &e), &e));
    FUZZ_CHECK(again.n == chunks + 1 && add_up(&again) == sum + 'm' + 'o' + 'r' + 'e');
    chunks_release(&again);
    return 0;
}
