/* image.c - fuzz target: a picture, PNG or JPEG */
#include "common/image/image.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct image im;
    struct err e = {0};

    if (fuzz_good(image_decode(&im, data, n, "picture", &e), &e)) {
        FUZZ_CHECK(im.width && im.height && im.width <= IMAGE_MAX_PIXELS / im.height);
        im.rgb[3 * im.width * im.height - 1] ^= 1; /* it reaches that far */
    } else {
        FUZZ_CHECK(!im.rgb);
    }
    image_release(&im);
    return 0;
}
