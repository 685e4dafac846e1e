/* preset.c - fuzz target: a preset, and what it makes of a model */
#include "common/quant/preset.h"
#include "tests/fuzz/fuzz.h"

static const char *const module[] = {"visual.blocks.0.attn.qkv", "layers.0.self_attn.q_proj",
                                     "layers.0.self_attn.k_proj", "layers.0.mlp.down_proj", "lm_head"};
enum { MODULES = sizeof module / sizeof *module };

static void apply(const struct preset *p)
{
    enum scheme_format format[MODULES];
    struct layers l;
    struct err e = {0};
    int ret;

    FUZZ_CHECK(!layers_init(&l, &e));
    for (size_t i = 0; i < MODULES; i++)
        FUZZ_CHECK(!layers_add(&l, module[i], 4, 4, NULL, &e));
    ret = preset_apply(p, &l, format, &e);
    if (ret && e.rc == RC_USAGE) /* a pattern that matches nothing */
        e.rc = RC_DATA;
    if (fuzz_good(ret, &e))
        for (size_t g = 0; g < l.n_groups; g++)
            FUZZ_CHECK(format[g] == FORMAT_NONE || preset_has(p, format[g]));
    layers_release(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct preset p;
    struct err e = {0};
    const char *path = scratch_put("x.json", data, n);

    if (fuzz_good(preset_read(&p, path, &e), &e)) {
        FUZZ_CHECK(p.n_rules && p.name);
        apply(&p);
    } else {
        FUZZ_CHECK(strstr(e.msg, "/x.json'"));
    }
    preset_release(&p);
    return 0;
}
