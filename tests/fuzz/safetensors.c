/* safetensors.c - fuzz target: one .safetensors file */
#include "common/io/safetensors.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct st_file st;
    struct err e = {0};
    const char *path = scratch_put("x.safetensors", data, n);
    volatile uint8_t byte;

    if (!fuzz_good(st_open(&st, path, &e), &e))
        return 0;
    for (size_t i = 0; i < st.tensors; i++) {
        const struct st_tensor *t = &st.tensor[i];

        FUZZ_CHECK(t->name && t->dtype != DT_NONE && t->bytes == t->count * dtype_bytes(t->dtype));
        if (t->bytes)
            byte = t->data[0] ^ t->data[t->bytes - 1]; /* read both: the map must reach that far */
    }
    (void)byte;
    st_close(&st);
    return 0;
}
