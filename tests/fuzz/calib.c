/* calib.c - fuzz target: a caption list of any kind: database, evaluation list, captions, annotations */
#include "common/io/calib.h"
#include "tests/fuzz/fuzz.h"

/* What coco-subset does with annotations. */
static void write_again(const struct calib *c)
{
    const struct calib_meta meta = {.root = "data"};
    struct err e = {0};
    FILE *f = fopen("/dev/null", "w");

    FUZZ_CHECK(f);
    fuzz_good(calib_write_db(f, "database", c, &meta, &e), &e);
    e = (struct err){0};
    fuzz_good(calib_write_captions(f, "captions", c, &e), &e);
    e = (struct err){0};
    fuzz_good(calib_write_eval(f, "list", c, &e), &e);
    fclose(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct calib c;
    struct err e = {0};
    const char *path;

    mkdir(scratch("annotations"), 0700);
    path = scratch_put("annotations/captions_x2017.json", data, n);
    if (!fuzz_good(calib_read(&c, path, &e), &e))
        return 0;
    for (size_t i = 0; i < c.n; i++)
        FUZZ_CHECK(c.item[i].caption);
    if (c.kind == CALIB_COCO) {
        calib_one_per_image(&c, true);
        write_again(&c);
    }
    calib_release(&c);
    return 0;
}
