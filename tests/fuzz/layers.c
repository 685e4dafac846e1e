/* layers.c - fuzz target: a LAYERS document or a manifest, and what is made of it */
#include "common/quant/scheme.h"
#include "tests/fuzz/fuzz.h"

/* What was read can be written, and that can be read. */
static void write_again(const struct layers *l)
{
    struct layers again;
    struct err e = {0};
    json_t *doc = layers_to_json(l, NULL, 0, &e);
    char *text;

    if (!fuzz_good(doc ? 0 : -1, &e))
        return;
    text = json_dumps(doc, 0);
    FUZZ_CHECK(text);
    FUZZ_CHECK(fuzz_good(layers_read(&again, scratch_text("y.json", text), &e), &e));
    FUZZ_CHECK(again.n_modules == l->n_modules && again.n_groups == l->n_groups);
    FUZZ_CHECK(again.n_ranked == l->n_ranked);
    layers_release(&again);
    free(text);
    json_decref(doc);
}

static void make_scheme(const struct layers *l, enum scheme_by by)
{
    static const char *const all[] = {"*"};
    static const double own = -1;
    struct scheme_opts opts = {.by = by, .percent = 50, .bits = 12};
    struct scheme s;
    struct err e = {0};

    if (by == BY_SELECT) /* what needs most of the ranges */
        opts = (struct scheme_opts){.by = by,
                                    .select = all,
                                    .n_select = 1,
                                    .format = FORMAT_INT8,
                                    .alpha = &own,
                                    .smooth_at = "input",
                                    .kv = true};
    if (fuzz_good(scheme_make(&s, l, &opts, &e), &e)) {
        json_t *doc = scheme_to_json(&s, NULL, 0, &e);

        fuzz_good(doc ? 0 : -1, &e);
        json_decref(doc);
    }
    scheme_release(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct layers l;
    struct err e = {0};
    const char *path = scratch_put("x.json", data, n);

    if (!fuzz_good(layers_read(&l, path, &e), &e)) {
        FUZZ_CHECK(strstr(e.msg, "/x.json'"));
        return 0;
    }
    write_again(&l);
    make_scheme(&l, BY_GROUPS);
    make_scheme(&l, BY_BYTES);
    make_scheme(&l, BY_BITS);
    make_scheme(&l, BY_SELECT);
    layers_release(&l);
    return 0;
}
