/* processor.c - fuzz target: the settings of an image processor, and a small picture brought to their size */
#include "common/image/processor.h"
#include "tests/fuzz/fuzz.h"

/*
 * A picture of 2^18 to IMAGE_MAX_PIXELS takes too long to be made thousands of times; larger ones are
 * refused.
 */
static bool quick(const struct processor *p)
{
    const size_t side = p->patch_size * p->merge_size, area = side * side;
    const size_t least = area > p->min_pixels ? area : p->min_pixels;

    return least < 1 << 18 || least > IMAGE_MAX_PIXELS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    uint8_t rgb[3 * 7 * 5] = {0};
    const struct image im = {7, 5, rgb};
    struct processor p;
    struct picture out = {0};
    struct err e = {0};

    unlink(scratch("preprocessor_config.json"));
    scratch_put("processor_config.json", data, n);
    fuzz_good(processor_read_dir(&p, scratch_dir(), &e), &e);
    unlink(scratch("processor_config.json"));
    scratch_put("preprocessor_config.json", data, n);
    e = (struct err){0};
    if (fuzz_good(processor_read_dir(&p, scratch_dir(), &e), &e) && quick(&p)) {
        fuzz_good(processor_run(&p, &im, &out, &e), &e);
        FUZZ_CHECK(out.h * p.patch_size * out.w * p.patch_size <= IMAGE_MAX_PIXELS);
    }
    picture_release(&out);
    return 0;
}
