/* compressed.c - compressed-tensors' layout: the ignore list under every engine's spelling, and the same
 * codes */
#include "common/quant/compressed.h"
#include "common/quant/pattern.h"
#include "tests/unit/exported.h"

#define TINY   "data/tiny-qwen2_5-vl"
#define SCHEME "tests/golden/export/fp8-all-top50.scheme.json"

static bool ignored(const json_t *list, const char *name)
{
    struct pattern p;
    struct err e = {0};
    bool yes = false;
    json_t *v;
    size_t i;

    json_array_foreach((json_t *)list, i, v)
    {
        if (pattern_init(&p, json_string_value(v), &e))
            exit(1);
        yes |= pattern_match(&p, name, &e) == 1;
        pattern_release(&p);
    }
    return yes;
}

/* Python 3.11: re.match(pattern, name) is not None, and equality for names. */
static void patterns(void)
{
    static const struct {
        const char *entry, *name;
        bool yes;
    } list[] = {
        {"lm_head", "lm_head", true},
        {"lm_head", "language_model.lm_head", false},
        {"layers.0", "layersX0", false},
        {"re:lm_head", "lm_head.weight", true},
        {"re:lm_head$", "lm_head.weight", false},
        {"re:head", "lm_head", false},
        {"re:.*head", "lm_head", true},
        {"re:a|.*b", "xb", true},
        {"re:", "anything", true},
        {"re:.*layers\\.1\\.", "model.layers.11.mlp", false},
        {"re:.*layers\\.1\\.", "model.layers.1.mlp", true},
        {"re:(?!.*visual).*q_proj", "model.visual.q_proj", false},
        {"re:(?P<p>model)\\.(?P=p)", "model.model", true},
        {"re:^visual", "model.visual", false},
    };
    struct pattern p = {0};
    struct err e = {0};

    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        int got = -1;

        if (pattern_init(&p, list[i].entry, &e) == 0)
            got = pattern_match(&p, list[i].name, &e);
        pattern_release(&p);
        CHECK(got == list[i].yes, "'%s' %s '%s'", list[i].entry, list[i].yes ? "matches" : "does not match",
              list[i].name);
    }
    CHECK(pattern_init(&p, "re:(", &e) == -1 && e.rc == RC_DATA && strstr(e.msg, "'re:('"),
          "no expression: %s", e.msg);
}

/* Every name by which transformers, vLLM and SGLang call layers of layer 1 and 11, half of them quantized. */
static void lists(void)
{
    static const struct layout_layer layer[] = {
        {"visual.patch_embed.proj", FORMAT_NONE, false},
        {"visual.blocks.1.attn.qkv", FORMAT_NONE, false},
        {"visual.blocks.11.attn.qkv", FORMAT_FP8, false},
        {"visual.blocks.1.mlp.gate_proj", FORMAT_FP8, false},
        {"visual.blocks.1.mlp.up_proj", FORMAT_FP8, false},
        {"visual.blocks.1.mlp.down_proj", FORMAT_NONE, false},
        {"visual.merger.mlp.0", FORMAT_NONE, false},
        {"visual.merger.mlp.2", FORMAT_FP8, false},
        {"language_model.embed_tokens", FORMAT_NONE, false},
        {"language_model.layers.1.self_attn.q_proj", FORMAT_NONE, false},
        {"language_model.layers.1.self_attn.k_proj", FORMAT_NONE, false},
        {"language_model.layers.1.self_attn.v_proj", FORMAT_NONE, false},
        {"language_model.layers.1.self_attn.o_proj", FORMAT_FP8, false},
        {"language_model.layers.11.self_attn.q_proj", FORMAT_FP8, false},
        {"language_model.layers.11.self_attn.k_proj", FORMAT_FP8, false},
        {"language_model.layers.11.self_attn.v_proj", FORMAT_FP8, false},
        {"language_model.layers.11.mlp.gate_proj", FORMAT_NONE, false},
        {"language_model.layers.11.mlp.up_proj", FORMAT_NONE, false},
    };
    static const char *const in[] = {"model.visual.blocks.1.attn.qkv",
                                     "visual.blocks.1.attn.qkv_proj",
                                     "visual.blocks.1.mlp.down_proj",
                                     "visual.merger.mlp.0",
                                     "model.visual.patch_embed.proj",
                                     "model.layers.1.self_attn.q_proj",
                                     "model.language_model.layers.1.self_attn.k_proj",
                                     "language_model.model.layers.1.self_attn.qkv_proj",
                                     "model.layers.1.self_attn.qkv_proj",
                                     "language_model.model.layers.11.mlp.gate_up_proj",
                                     "model.layers.11.mlp.up_proj",
                                     "lm_head"};
    static const char *const out[] = {"model.visual.blocks.11.attn.qkv",
                                      "visual.blocks.11.attn.qkv_proj",
                                      "visual.blocks.1.mlp.gate_up_proj",
                                      "visual.merger.mlp.2",
                                      "model.layers.1.self_attn.o_proj",
                                      "model.layers.11.self_attn.q_proj",
                                      "language_model.model.layers.11.self_attn.qkv_proj",
                                      "model.language_model.layers.11.self_attn.v_proj"};
    const struct layout_layer alike[] = {{"language_model.layers.1.mlp.down_proj", FORMAT_FP8, false},
                                         {"language_model.x_layers.1.mlp.down_proj", FORMAT_NONE, false},
                                         {"language_model.layers.2.mlp.down_proj", FORMAT_NONE, false},
                                         {"language_model.x_layers.2.mlp.down_proj", FORMAT_FP8, false}};
    const struct layout_layer text[] = {{"language_model.layers.0.mlp.down_proj", FORMAT_FP8, false},
                                        {"lm_head", FORMAT_FP8, false}};
    struct err e = {0};
    json_t *list = compressed_ignore(layer, sizeof layer / sizeof *layer, &e);

    CHECK(json_array_size(list) == 7, "one entry per group: %zu %s", json_array_size(list), e.msg);
    for (size_t i = 0; i < sizeof in / sizeof *in; i++)
        CHECK(ignored(list, in[i]), "%s is ignored", in[i]);
    for (size_t i = 0; i < sizeof out / sizeof *out; i++)
        CHECK(!ignored(list, out[i]), "%s is not", out[i]);
    json_decref(list);

    list = compressed_ignore(text, 2, &e);
    CHECK(list && json_array_size(list) == 0, "a quantized head, no vision, nothing to ignore %s", e.msg);
    json_decref(list);
    list = compressed_ignore(layer, 2, &e);
    CHECK(json_array_size(list) == 2 && ignored(list, "visual.x") && ignored(list, "model.visual.y"),
          "a vision tower that is left alone is one entry");
    json_decref(list);
    list = compressed_ignore(alike, 2, &e);
    CHECK(list, "names of which one ends like the other, the shorter quantized %s", e.msg);
    json_decref(list);
    list = compressed_ignore(alike + 2, 2, &e);
    CHECK(!list && e.rc == RC_DATA && strstr(e.msg, "too alike"), "the longer quantized: %s", e.msg);
}

static void codes(void)
{
    const char *path[] = {scratch("a"), scratch("b")};
    size_t bad = 0, scales = 0, codes = 0;
    struct ckpt a = {0}, b = {0};
    struct err e = {0};

    CHECK(export_as("modelopt", TINY, SCHEME, ROUND_MODELOPT, EXPORT_SHARD_BYTES, path[0], &e) == 0 &&
              export_as("compressed-tensors", TINY, SCHEME, ROUND_MODELOPT, EXPORT_SHARD_BYTES, path[1],
                        &e) == 0,
          "two layouts %s", e.msg);
    if (ckpt_open(&a, path[0], &e) || ckpt_open(&b, path[1], &e))
        exit(1);
    for (size_t i = 0; i < a.tensors; i++) {
        const struct st_tensor *x = a.by_name[i], *y = ckpt_find(&b, x->name);
        const bool scale = x->ndim == 0;

        bad += !y || y->dtype != x->dtype || y->bytes != x->bytes || memcmp(x->data, y->data, x->bytes) ||
               y->ndim != x->ndim + scale || (scale && y->shape[0] != 1);
        scales += scale;
        codes += x->dtype == DT_F8_E4M3;
    }
    CHECK(bad == 0 && a.tensors == b.tensors && codes == 26 && scales == 52,
          "%zu tensors have the same bytes, %zu scales are [] here and [1] there", a.tensors, scales);
    ckpt_close(&b);
    ckpt_close(&a);
}

int main(void)
{
    patterns();
    lists();
    codes();
    return unit_end();
}
