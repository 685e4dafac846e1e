/* states.c - fuzz target: a file of reference states */
#include "common/model/eval.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct states s;
    struct err e = {0};
    char path[256];

    fuzz_write(fuzz_path(path, "x.safetensors"), data, n);
    if (!fuzz_good(states_load(&s, path, &e), &e))
        return 0;
    FUZZ_CHECK(strlen(s.model) == SHA256_HEX - 1 && strlen(s.samples) == SHA256_HEX - 1);
    states_release(&s);
    return 0;
}
