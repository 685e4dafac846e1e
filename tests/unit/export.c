/* export.c - checkpoints against what ModelOpt wrote, against the definition of the codes, and what is
 * refused */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/quant/export.h"
#include "common/quant/modelopt.h"
#include "tests/unit/exported.h"

#define TINY     "data/tiny-qwen2_5-vl"
#define GOLDEN   "tests/golden/export/"
#define MODELOPT "tests/golden/modelopt-tiny/exports-cuda/"

static int export(const char *model, const char *scheme, enum rounding r, size_t shard_bytes, const char *out,
                  struct err *e)
{
    return export_as("modelopt", model, scheme, r, shard_bytes, out, e);
}

/* Both lists of unquantized layers mean the same for every layer, in the widest and in the narrowest reading
 * of ours. */
static void same_layers(const struct ckpt *c, const char *name)
{
    struct err e = {0};
    char path[300];
    json_t *doc, *theirs,
        *ours = json_object_get(json_object_get(c->config, "quantization_config"), "ignore");
    size_t bad = 0, layers = 0;

    snprintf(path, sizeof path, MODELOPT "%s/hf_quant_config.json", name);
    doc = json_read(path, NULL, &e);
    theirs = json_object_get(json_object_get(doc, "quantization"), "exclude_modules");
    for (size_t i = 0; i < c->tensors; i++) {
        const struct st_tensor *t = c->by_name[i];
        const size_t n = strlen(t->name);
        char *layer = strndup(t->name, n > 7 ? n - 7 : 0);

        if (t->ndim >= 2 && !strcmp(t->name + n - 7, ".weight")) {
            const bool out = t->dtype != DT_F8_E4M3 && t->dtype != DT_I8;

            bad += modelopt_must_exclude(theirs, layer) != out || modelopt_must_exclude(ours, layer) != out ||
                   modelopt_may_exclude(ours, layer) != out;
            layers++;
        }
        free(layer);
    }
    bad += !modelopt_must_exclude(theirs, "lm_head") || !modelopt_must_exclude(ours, "lm_head");
    CHECK(bad == 0 && layers == 66, "%s: the lists mean the same for %zu layers", name, layers);
    json_decref(doc);
}

static void like_modelopt(const char *name)
{
    char scheme[300], tsv[300];
    struct err e = {0};
    struct ckpt c = {0};

    snprintf(scheme, sizeof scheme, GOLDEN "%s.scheme.json", name);
    snprintf(tsv, sizeof tsv, MODELOPT "%s/tensors.tsv", name);
    CHECK(export(TINY, scheme, ROUND_MODELOPT, EXPORT_SHARD_BYTES, scratch("out"), &e) == 0, "%s: export %s",
          name, e.msg);
    if (ckpt_open(&c, scratch("out"), &e))
        exit(1);
    same_tensors(&c, tsv);
    same_layers(&c, name);
    ckpt_close(&c);
    scratch_wipe(scratch("out"));
}

/* Codes, scales and copies of an export against the model, from the definitions alone. */
static void check_values(const char *model, const char *out, const char *scheme_path, size_t quantized)
{
    struct err e = {0};
    struct scheme s = {0};
    struct ckpt a = {0}, b = {0};
    size_t bad = 0, codes = 0, found = 0, copies = 0;

    if (ckpt_open(&a, model, &e) || ckpt_open(&b, out, &e) || scheme_read(&s, scheme_path, false, &e))
        exit(1);
    for (size_t i = 0; i < a.tensors; i++) {
        char canonical[NAME_BYTES], hub[NAME_BYTES], module[NAME_BYTES], scale[NAME_BYTES + 20];
        const struct st_tensor *w = a.by_name[i], *q;
        const struct scheme_module *m;
        float s_w, s_x, *x;

        if (name_canonical(w->name, canonical, &e) || name_hub(canonical, hub, &e))
            exit(1);
        q = ckpt_find(&b, hub);
        snprintf(module, sizeof module, "%.*s", (int)(strrchr(canonical, '.') - canonical), canonical);
        m = strcmp(strrchr(canonical, '.'), ".weight") ? NULL : scheme_find(&s, module);
        if (!m) {
            bad += !q || q->dtype != w->dtype || q->bytes != w->bytes || memcmp(q->data, w->data, w->bytes);
            copies++;
            continue;
        }
        *strrchr(hub, '.') = '\0';
        snprintf(scale, sizeof scale, "%s.weight_scale", hub);
        bad += !ckpt_find(&b, scale) || ckpt_read_f32(&b, ckpt_find(&b, scale), 0, 1, &s_w, true, &e);
        snprintf(scale, sizeof scale, "%s.input_scale", hub);
        bad += !ckpt_find(&b, scale) || ckpt_read_f32(&b, ckpt_find(&b, scale), 0, 1, &s_x, true, &e);
        x = malloc(w->count * sizeof *x);
        if (bad || !q || ckpt_read_f32(&a, w, 0, w->count, x, true, &e))
            exit(1);
        bad += s_w != (m->weight_amax == 0 ? 1 : m->weight_amax / 448.0f);
        bad += s_x != (m->input_amax == 0 ? 1 : m->input_amax / 448.0f);
        bad += q->dtype != DT_F8_E4M3 || q->ndim != 2 || q->shape[0] != w->shape[0] ||
               q->shape[1] != w->shape[1];
        for (size_t k = 0; k < w->count; k++)
            bad += q->data[k] != e4m3_from_f32(x[k] / s_w);
        codes += w->count;
        found++;
        free(x);
    }
    CHECK(bad == 0 && found == quantized && b.tensors == copies + 3 * found,
          "%s: %zu codes of %zu modules by definition, %zu copies", model, codes, found, copies);
    CHECK(b.indexed == a.indexed, "%s: single stays single, several stay several", model);
    scheme_release(&s);
    ckpt_close(&b);
    ckpt_close(&a);
}

/* A scheme of these modules (JSON members of "modules") and groups, as a file. */
static const char *put_scheme(const char *groups, const char *modules, const char *digest)
{
    const char *path = scratch("scheme.json");
    FILE *f = fopen(path, "w");

    fprintf(
        f,
        "{\"schema\":\"octet-scheme/1\",\"scheme_name\":\"t\",\"selected_layers\":[%s],\"dropped_layers\":[],"
        "\"rounding\":\"exact\",\"fused_ranges\":\"own\",\"model\":{%s%s%s},\"modules\":{%s}}",
        groups, digest ? "\"digest\":\"" : "", digest ? digest : "", digest ? "\"" : "", modules);
    if (fclose(f))
        exit(1);
    return path;
}

#define M(name, w, x) "\"" name "\":{\"format\":\"fp8\",\"weight_amax\":" w ",\"input_amax\":" x "}"
#define O0            "language_model.layers.0.self_attn.o_proj"

static void other_models(void)
{
    const char *s = put_scheme("\"" O0 "\",\"visual.blocks.0.attn.qkv\"",
                               M(O0, "1", "3") "," M("visual.blocks.0.attn.qkv", "1", "0"), NULL);
    struct err e = {0};
    struct ckpt c = {0};

    CHECK(export(TINY, GOLDEN "fp8-all-top50.scheme.json", ROUND_EXACT, EXPORT_SHARD_BYTES, scratch("out"),
                 &e) == 0,
          "rounded once %s", e.msg);
    check_values(TINY, scratch("out"), GOLDEN "fp8-all-top50.scheme.json", 26);
    scratch_wipe(scratch("out"));
    CHECK(export("tests/golden/models/nested5-sharded", s, ROUND_EXACT, 200000, scratch("out"), &e) == 0,
          "in-memory names, shards of 200 kB %s", e.msg);
    CHECK(ckpt_open(&c, scratch("out"), &e) == 0 && c.shards > 4, "%zu shards", c.shards);
    for (size_t i = 0; i < c.shards; i++)
        CHECK(c.shard[i].map.bytes - c.shard[i].header_bytes <= 200000 || c.shard[i].tensors == 1,
              "shard %zu is within bounds", i);
    ckpt_close(&c);
    check_values("tests/golden/models/nested5-sharded", scratch("out"), s, 2);
    scratch_wipe(scratch("out"));
    CHECK(export("tests/golden/models/nested5-sharded", s, ROUND_EXACT, EXPORT_SHARD_BYTES, scratch("out"),
                 &e) == 0,
          "one large shard %s", e.msg);
    CHECK(ckpt_open(&c, scratch("out"), &e) == 0 && c.shards == 1 && c.indexed &&
              !strcmp(c.file[0], "model-00001-of-00001.safetensors"),
          "is still indexed");
    ckpt_close(&c);
    scratch_wipe(scratch("out"));
    CHECK(export("tests/golden/models/nested4-gqa8", s, ROUND_EXACT, EXPORT_SHARD_BYTES, scratch("out"), &e) ==
              0,
          "in-memory names, fp32 %s", e.msg);
    check_values("tests/golden/models/nested4-gqa8", scratch("out"), s, 2);
    scratch_wipe(scratch("out"));
    s = put_scheme("\"lm_head\"", M("lm_head", "1", "3"), NULL);
    CHECK(export("tests/golden/models/flat-mha", s, ROUND_EXACT, EXPORT_SHARD_BYTES, scratch("out"), &e) == 0,
          "an lm_head that is not tied %s", e.msg);
    check_values("tests/golden/models/flat-mha", scratch("out"), s, 1);
    scratch_wipe(scratch("out"));
    s = put_scheme("\"" O0 "\"", M(O0, "1", "3"), NULL);
    CHECK(export("tests/golden/models/qwen2-text", s, ROUND_EXACT, EXPORT_SHARD_BYTES, scratch("out"), &e) ==
              0,
          "text only %s", e.msg);
    CHECK(
        ckpt_open(&c, scratch("out"), &e) == 0 &&
            !modelopt_may_exclude(json_object_get(json_object_get(c.config, "quantization_config"), "ignore"),
                                  "visual.blocks.0.attn.qkv"),
        "no word of a vision tower");
    ckpt_close(&c);
    scratch_wipe(scratch("out"));
}

/* The export fails, says this, and leaves nothing. */
static void refused(const char *model, const char *scheme, enum rounding r, const char *words,
                    const char *what)
{
    struct err e = {0};
    int ret = export(model, scheme, r, EXPORT_SHARD_BYTES, scratch("out"), &e);
    const bool said = strstr(e.msg, words) != NULL;

    CHECK(ret == -1 && e.rc == RC_DATA && said, "refused: %s", what);
    if (!said)
        printf("# %s\n", e.msg);
    CHECK(access(scratch("out"), F_OK) != 0, "and nothing written");
}

static void bad_schemes(void)
{
    static const char other[] = "0000000000000000000000000000000000000000000000000000000000000000";

    refused(TINY, put_scheme("\"visual.patch_embed.proj\"", M("visual.patch_embed.proj", "1", "1"), NULL),
            ROUND_EXACT, "Conv3d", "patch_embed");
    refused(TINY, put_scheme("\"lm_head\"", M("lm_head", "1", "1"), NULL), ROUND_EXACT, "ties it",
            "a tied lm_head");
    refused(TINY,
            put_scheme("\"language_model.layers.9.mlp.down_proj\"",
                       M("language_model.layers.9.mlp.down_proj", "1", "1"), NULL),
            ROUND_EXACT, "'language_model.layers.9.mlp.down_proj', which 'data/tiny", "a layer too many");
    refused(TINY,
            put_scheme("\"language_model.layers.0.input_layernorm\"",
                       M("language_model.layers.0.input_layernorm", "1", "1"), NULL),
            ROUND_EXACT, "not a linear layer", "a norm");
    refused(TINY,
            put_scheme("\"language_model.embed_tokens\"", M("language_model.embed_tokens", "1", "1"), NULL),
            ROUND_EXACT, "not a linear layer", "the embedding");
    refused(TINY,
            put_scheme("\"language_model.layers.0.self_attn.q_proj\"",
                       M("language_model.layers.0.self_attn.q_proj", "1",
                         "1") "," M("language_model.layers.0.self_attn.k_proj", "1", "1"),
                       NULL),
            ROUND_EXACT, "self_attn.v_proj'", "part of a fused group");
    refused(TINY, put_scheme("\"" O0 "\"", M(O0, "0.001", "1"), NULL), ROUND_EXACT, "made for another model",
            "a range smaller than the weights");
    refused(TINY, put_scheme("\"" O0 "\"", M(O0, "-1", "1"), NULL), ROUND_EXACT, "negative",
            "a negative range");
    refused(TINY, put_scheme("\"" O0 "\"", M(O0, "1e39", "1"), NULL), ROUND_EXACT, "finite",
            "an infinite range");
    refused(TINY, put_scheme("\"" O0 "\"", M(O0, "NaN", "1"), NULL), ROUND_EXACT, "JSON", "NaN as a range");
    refused(TINY, put_scheme("\"" O0 "\"", M(O0, "1", "1"), other), ROUND_EXACT, other,
            "a digest that is another's");
}

/* A model of one layer whose tensors are this header's, all zero. */
static const char *put_model(const char *config, const char *header, size_t bytes)
{
    const char *path = scratch("model");
    uint8_t length[8] = {0}, zero[256] = {0};
    FILE *f;

    mkdir(path, 0777);
    scratch_text("model/config.json", config);
    f = fopen(scratch("model/model.safetensors"), "wb");
    length[0] = (uint8_t)strlen(header);
    length[1] = (uint8_t)(strlen(header) >> 8);
    fwrite(length, 1, 8, f);
    fputs(header, f);
    fwrite(zero, 1, bytes, f);
    if (fclose(f))
        exit(1);
    return path;
}

#define T(name, dtype, shape, begin, end)                                                                    \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" #begin "," #end "]}"
#define O "model.layers.0.self_attn.o_proj."

static void bad_models(void)
{
    const char *s = put_scheme("\"" O0 "\"", M(O0, "0", "0"), NULL);
    struct err e = {0};
    struct ckpt c = {0};
    float scale;

    CHECK(export(put_model("{}", "{" T(O "weight", "BF16", "3,5", 0, 30) "}", 30), s, ROUND_MODELOPT,
                 EXPORT_SHARD_BYTES, scratch("out"), &e) == 0,
          "a layer of zeros %s", e.msg);
    CHECK(ckpt_open(&c, scratch("out"), &e) == 0 &&
              ckpt_read_f32(&c, ckpt_find(&c, O "weight_scale"), 0, 1, &scale, true, &e) == 0 && scale == 1,
          "has scale 1");
    ckpt_close(&c);
    scratch_wipe(scratch("out"));
    refused(put_model("{}", "{" T(O "bias", "BF16", "3", 0, 6) "}", 6), s, ROUND_EXACT, "weight is missing",
            "a bias without its weight");
    refused(put_model("{}", "{" T(O "weight", "BF16", "3,1,1", 0, 6) "}", 6), s, ROUND_EXACT, "not [out, in]",
            "a weight of three dimensions");
    refused(put_model("{}", "{" T(O "weight", "I8", "3,2", 0, 6) "}", 6), s, ROUND_EXACT, "is I8",
            "integer weights");
    refused(put_model("{}", "{" T(O "weight", "F16", "3,1", 0, 6) "}", 6), s, ROUND_MODELOPT,
            "takes BF16 or F32", "F16 with ModelOpt's rounding");
    refused(put_model("{\"quantization_config\":{}}", "{" T(O "weight", "BF16", "3,1", 0, 6) "}", 6), s,
            ROUND_EXACT, "quantized already", "a model with a quantization_config");
    refused(put_model("{}", "{" T(O "weight", "F8_E4M3", "3,2", 0, 6) "}", 6), s, ROUND_EXACT,
            "quantized already", "FP8 weights");
    refused(put_model("{}",
                      "{" T(O "weight", "BF16", "1,1", 0, 2) "," T(O "weight_scale", "F32", "", 2, 6) "}", 6),
            s, ROUND_EXACT, "quantized already", "a weight_scale");
    refused(put_model("{}",
                      "{" T(O "weight", "BF16", "1,1", 0, 2) "," T(
                          "model.language_model.layers.0.self_attn.o_proj.weight", "BF16", "1,1", 2, 4) "}",
                      4),
            s, ROUND_EXACT, "twice", "one tensor under two names");
    refused(put_model("{}",
                      "{" T(O "weight", "BF16", "1,1", 0, 2) "," T("layers.0.self_attn.o_proj.weight_",
                                                                   "BF16", "1,1", 2, 4) "}",
                      3),
            s, ROUND_EXACT, "truncated", "a truncated model");
    refused(put_model("{}",
                      "{" T(O "weight", "BF16", "1,1", 0, 2) "," T("model.layers.0.self_attn.o.weight",
                                                                   "BF16", "1,1", 2, 4) "}",
                      4),
            s, ROUND_EXACT, "too alike", "names that no list can tell apart");
    scratch_wipe(scratch("model"));
}

static void meaning(void)
{
    json_t *list = json_pack("[s,s,s]", "lm_head", "model.layers.1.mlp.up_proj", "visual*");

    CHECK(modelopt_must_exclude(list, "visual.blocks.0.attn.qkv"), "a pattern catches");
    CHECK(!modelopt_must_exclude(list, "model.layers.11.mlp.up_proj"), "layer 1 is not layer 11");
    CHECK(!modelopt_may_exclude(list, "model.layers.11.mlp.up_proj"), "in the widest reading either");
    CHECK(!modelopt_must_exclude(list, "language_model.lm_head") &&
              modelopt_may_exclude(list, "language_model.lm_head"),
          "a substring is only the widest reading");
    json_decref(list);
}

int main(void)
{
    static const char *const name[] = {"fp8-lm-top10", "fp8-lm-top50", "fp8-lm-top100", "fp8-all-top50",
                                       "fp8-all-top100", "int8-lm-top50", "fp8-lm-kv"};

    for (size_t i = 0; i < sizeof name / sizeof *name; i++)
        like_modelopt(name[i]);
    other_models();
    bad_schemes();
    bad_models();
    meaning();
    unlink(scratch("scheme.json"));
    CHECK(rmdir(scratch_dir()) == 0, "nothing is left behind");
    return unit_end();
}
