/* exif.c - fuzz target: an EXIF block, which pictures carry */
#include "common/image/exif.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const int orientation = exif_orientation(data, n);

    FUZZ_CHECK(orientation >= 1 && orientation <= 8);
    return 0;
}
