/* samples.c - fuzz target: a stream of samples, which is written again and must read back the same */
#include "common/io/samples.h"
#include "tests/fuzz/fuzz.h"

static void write_again(const struct samples *s, const char *path)
{
    struct samples_writer w;
    struct err e = {0};
    FILE *f = fopen(path, "wb");
    bool good;

    FUZZ_CHECK(f);
    good = fuzz_good(samples_begin(&w, f, path, s->head, &e), &e);
    for (size_t i = 0; i < s->n && good; i++)
        good = fuzz_good(samples_put(&w, &s->sample[i], &e), &e);
    FUZZ_CHECK(good && samples_end(&w, &e) == 0);
    FUZZ_CHECK(fclose(f) == 0);
}

static bool same(const struct sample *a, const struct sample *b)
{
    if (strcmp(a->id, b->id) || a->tokens != b->tokens || a->images != b->images ||
        memcmp(a->ids, b->ids, a->tokens * sizeof *a->ids) || memcmp(a->loss, b->loss, a->tokens))
        return false;
    for (size_t i = 0; i < a->images; i++) {
        const struct sample_image *x = &a->image[i], *y = &b->image[i];

        if (x->h != y->h || x->w != y->w || x->patch != y->patch ||
            memcmp(x->rgb, y->rgb, 3 * x->h * x->w * x->patch * x->patch))
            return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct samples all, again;
    struct err e = {0};
    const char *in = scratch_put("x.samples", data, n), *out = scratch("y.samples");

    if (!fuzz_good(samples_load(&all, &in, 1, 0, 1, &e), &e))
        return 0;
    write_again(&all, out);
    FUZZ_CHECK(fuzz_good(samples_load(&again, &out, 1, 0, 1, &e), &e));
    FUZZ_CHECK(all.n == again.n && json_equal(all.head, again.head));
    for (size_t i = 0; i < all.n; i++)
        FUZZ_CHECK(same(&all.sample[i], &again.sample[i]));
    samples_release(&again);
    samples_release(&all);
    return 0;
}
