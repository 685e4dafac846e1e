/* weights.c - fuzz target: a model directory, its parts config.json, quantization, index, shards */
#include "common/model/weights.h"
#include "tests/fuzz/fuzz.h"

static const char *const names[] = {
    "config.json",       "hf_quant_config.json",            "model.safetensors.index.json",
    "model-1.safetensors", "model-2.safetensors", "model.safetensors",
};

static void look(const struct weights *w)
{
    char hex[SHA256_HEX];
    struct err e = {0};
    float *v, amax;

    fuzz_good(ckpt_digest(&w->ckpt, hex, &e), &e);
    for (size_t i = 0; i < w->linears; i++) {
        const struct linear_info *l = &w->linear[i];

        FUZZ_CHECK(l->weight && l->weight->count == l->out * l->in);
        FUZZ_CHECK(weights_linear(w, l->name) == l);
        e = (struct err){0};
        v = weights_f32(w, l->weight, &e);
        fuzz_good(v ? 0 : -1, &e);
        free(v);
        if (l->weight->dtype == DT_F8_E4M3)
            continue;
        e = (struct err){0};
        fuzz_good(weights_amax(w, l->weight, &amax, &e), &e);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct weights w;
    struct err e = {0};

    fuzz_parts(data, n, names, sizeof names / sizeof *names, NULL, NULL);
    if (fuzz_good(weights_open(&w, scratch_dir(), &e), &e))
        look(&w);
    weights_close(&w);
    return 0;
}
