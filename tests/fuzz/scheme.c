/* scheme.c - fuzz target: a SCHEME document or a coverage file */
#include "common/quant/scheme.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct scheme s;
    struct err e = {0};
    json_t *doc;
    const char *path = scratch_put("x.json", data, n);

    for (int names_only = 0; names_only < 2; names_only++) {
        e = (struct err){0};
        if (fuzz_good(scheme_read(&s, path, names_only, &e), &e)) {
            FUZZ_CHECK(names_only || s.ranged);
            for (size_t i = 0; i < s.n_modules; i++)
                FUZZ_CHECK(scheme_find(&s, s.module[i].name) == &s.module[i]);
            doc = scheme_to_json(&s, NULL, 0, &e);
            fuzz_good(doc ? 0 : -1, &e);
            json_decref(doc);
        } else {
            FUZZ_CHECK(strstr(e.msg, "/x.json'"));
        }
        scheme_release(&s);
    }
    return 0;
}
