/* processor.c - fuzz target: the settings of an image processor, and a small picture brought to their size */
#include "common/image/processor.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    uint8_t rgb[3 * 7 * 5] = {0};
    const struct image im = {7, 5, rgb};
    struct processor p;
    struct picture out = {0};
    struct err e = {0};
    char path[256];

    unlink(fuzz_path(path, "preprocessor_config.json"));
    fuzz_write(fuzz_path(path, "processor_config.json"), data, n);
    fuzz_good(processor_read_dir(&p, fuzz_path(path, ""), &e), &e);
    unlink(fuzz_path(path, "processor_config.json"));
    fuzz_write(fuzz_path(path, "preprocessor_config.json"), data, n);
    e = (struct err){0};
    /* What min_pixels asks for is made: a large one is slow, not wrong. */
    if (fuzz_good(processor_read(&p, path, &e), &e) && p.min_pixels <= 1 << 20)
        fuzz_good(processor_run(&p, &im, &out, &e), &e);
    picture_release(&out);
    return 0;
}
