/*
 * export_int8.c - SmoothQuant checkpoints against what ModelOpt wrote, and folded ones against their
 * definition
 *
 * ModelOpt made them without a GPU; its channel ranges are in tests/golden/modelopt-tiny/channels.json.
 */
#include <math.h>

#include "common/quant/names.h"
#include "common/quant/smooth.h"
#include "tests/unit/exported.h"

#define TINY     "data/tiny-qwen2_5-vl"
#define CHANNELS "tests/golden/modelopt-tiny/channels.json"
#define MODELOPT "tests/golden/modelopt-tiny/exports/"

static struct ckpt tiny;
static struct layers ranges;

static void fail(const struct err *e)
{
    printf("Bail out! %s\n", e->msg);
    exit(1);
}

static json_t *numbers(const float *x, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_real((double)x[i]));
    return list;
}

static bool is_among(const json_t *names, const char *name)
{
    const json_t *v;
    size_t i;

    json_array_foreach((json_t *)names, i, v) if (!strcmp(json_string_value(v), name)) return true;
    return false;
}

/*
 * The scheme of the groups of these modules, smoothed; fold: at the norm where one can carry it, and no
 * others.
 */
static const char *put_scheme(const json_t *modules, double alpha, bool fold, bool dynamic)
{
    const char *path = scratch("scheme.json");
    json_t *selected = json_array(), *all = json_object(), *doc;
    struct err e = {0};

    for (size_t g = 0; g < ranges.n_groups; g++) {
        const struct layer_group *group = &ranges.group[g];
        const bool smooth = !fold || smooth_folds(&ranges, g);
        struct smooth_group s;

        if (!is_among(modules, group->name))
            continue;
        if (smooth_make(&s, &ranges, g, alpha, ROUND_MODELOPT, &e))
            fail(&e);
        json_array_append_new(selected, json_string(group->name));
        for (size_t k = 0; k < group->n_members; k++) {
            json_t *m = json_pack("{s:s,s:b,s:o}", "format", "int8", "dynamic", dynamic, "input_amax",
                                  dynamic ? json_null() : json_real((double)s.input_amax));

            if (smooth) {
                json_object_set_new(m, "folded", json_boolean(fold));
                json_object_set_new(m, "pre_quant_scale", numbers(s.pre, s.channels));
                json_object_set_new(m, "own_scale", numbers(s.own[k], s.channels));
            }
            json_object_set_new(all, ranges.module[group->member[k]].name, m);
        }
        smooth_release(&s);
    }
    doc = json_pack("{s:s,s:s,s:o,s:[],s:s,s:s,s:{},s:o}", "schema", "octet-scheme/1", "scheme_name", "t",
                    "selected_layers", selected, "dropped_layers", "rounding", "modelopt", "fused_ranges",
                    "own",
                    "model", "modules", all);
    if (json_dump_file(doc, path, JSON_REAL_PRECISION(9)))
        exit(1);
    json_decref(doc);
    return path;
}

/* The modules that an export of ModelOpt has in INT8. */
static json_t *selection(const char *name)
{
    json_t *doc, *quantizers, *v, *out = json_array();
    char path[300];
    struct err e = {0};
    size_t i;

    snprintf(path, sizeof path, MODELOPT "%s/evidence.json", name);
    doc = json_read(path, NULL, &e);
    quantizers = json_object_get(doc, "enabled_quantizers");
    json_array_foreach(quantizers, i, v)
    {
        char module[NAME_BYTES], *end;

        if (name_canonical(json_string_value(v), module, &e))
            fail(&e);
        end = strstr(module, ".weight_quantizer");
        if (end) {
            *end = '\0';
            json_array_append_new(out, json_string(module));
        }
    }
    json_decref(doc);
    return out;
}

/* The scheme gives the tensors of ModelOpt's export. */
static void same_export(const char *name, const char *scheme)
{
    char tsv[300];
    struct err e = {0};
    struct ckpt c = {0};

    CHECK(export_as("modelopt", TINY, scheme, ROUND_MODELOPT_CPU, EXPORT_SHARD_BYTES, scratch("out"),
                    &e) == 0,
          "%s: export %s", name, e.msg);
    if (ckpt_open(&c, scratch("out"), &e))
        fail(&e);
    snprintf(tsv, sizeof tsv, MODELOPT "%s/tensors.tsv", name);
    same_tensors(&c, tsv);
    ckpt_close(&c);
    scratch_wipe(scratch("out"));
}

static void like_modelopt(const char *name, double alpha)
{
    json_t *modules = selection(name);

    same_export(name, put_scheme(modules, alpha, false, false));
    json_decref(modules);
}

/* FP8 exports that were made without a GPU. */
static void like_modelopt_fp8(const char *name)
{
    char command[300];

    snprintf(command, sizeof command, "jq -f tests/golden/export/scheme.jq " MODELOPT "%s/evidence.json >%s",
             name, scratch("scheme.json"));
    if (system(command))
        exit(1);
    same_export(name, scratch("scheme.json"));
}

static float number(const struct ckpt *c, const char *name, size_t i)
{
    const struct st_tensor *t = ckpt_find(c, name);
    struct err e = {0};
    float v = NAN;

    if (t)
        ckpt_read_f32(c, t, i, 1, &v, true, &e);
    return v;
}

/*
 * Smoothing folded into the norm: norm * pre, rounded to bf16 once, and a weight whose codes times their
 * scales are the weight over pre.  What is folded leaves no trace in the tensors' names.
 */
static void folded(bool dynamic)
{
    static const char norm[] = "model.layers.0.input_layernorm.weight",
    q[] = "model.layers.0.self_attn.q_proj.weight",
                      scale[] = "model.layers.0.self_attn.q_proj.weight_scale";
    json_t *modules = json_pack("[s,s,s,s]", "language_model.layers.0.self_attn.q_proj",
                                "language_model.layers.0.self_attn.k_proj",
                                "language_model.layers.0.self_attn.v_proj",
                                "language_model.layers.0.mlp.down_proj");
    const char *path = put_scheme(modules, 0.5, true, dynamic);
    const struct scheme_module *m;
    struct scheme s = {0};
    struct err e = {0};
    struct ckpt c = {0};
    size_t bad = 0;
    float worst = 0;

    CHECK(export_as("compressed-tensors", TINY, path, ROUND_EXACT, EXPORT_SHARD_BYTES, scratch("out"),
                    &e) == 0,
          "folded %s", e.msg);
    if (ckpt_open(&c, scratch("out"), &e) || scheme_read(&s, path, false, &e))
        fail(&e);
    m = scheme_find(&s, "language_model.layers.0.self_attn.q_proj");
    for (size_t i = 0; i < m->channels; i++)
        bad += number(&c, norm, i) != bf16_to_f32(bf16_from_f32(number(&tiny, norm, i) * m->pre_scale[i]));
    CHECK(!bad && m->channels == 192, "the norm carries the scale: %zu of %zu differ", bad, m->channels);
    for (size_t i = 0; i < 192 * 192; i++) {
        const float s_row = number(&c, scale, i / 192), w = number(&tiny, q, i) / m->pre_scale[i % 192];

        worst = fmaxf(worst, fabsf((float)(int8_t)ckpt_find(&c, q)->data[i] * s_row - w) / s_row);
    }
    /* Half a step, and what the rounded quotients of scale and weight add to it. */
    CHECK(worst <= 0.5001f, "codes are within half a step of the smoothed weight: %g", (double)worst);
    CHECK(ckpt_find(&c, scale)->ndim == 2 && ckpt_find(&c, scale)->shape[0] == 192 &&
              ckpt_find(&c, scale)->shape[1] == 1,
          "weight_scale is [out, 1]");
    CHECK(!ckpt_find(&c, "model.layers.0.self_attn.q_proj.input_scale") == dynamic &&
              !ckpt_find(&c, "model.layers.0.self_attn.q_proj.pre_quant_scale"),
          "input_scale is there unless inputs are scaled at run time");
    scheme_release(&s);
    ckpt_close(&c);
    scratch_wipe(scratch("out"));
    json_decref(modules);
}

static void refused(const char *layout, const char *scheme, const char *says, const char *what)
{
    struct err e = {0};

    CHECK(export_as(layout, TINY, scheme, ROUND_EXACT, EXPORT_SHARD_BYTES, scratch("out"), &e) == -1 &&
              e.rc == RC_DATA && strstr(e.msg, says) && access(scratch("out"), F_OK),
          "%s: %s", what, e.msg);
}

/* A scheme of these modules (JSON members), one a group, and what follows. */
static const char *text_scheme(const char *groups, const char *modules, const char *more)
{
    const char *path = scratch("scheme.json");
    FILE *f = fopen(path, "w");

    fprintf(f,
            "{\"schema\":\"octet-scheme/1\",\"scheme_name\":\"t\",\"selected_layers\":[%s],\"dropped_layers\":[],"
            "\"rounding\":\"exact\",\"model\":{},\"modules\":{%s}%s}",
            groups, modules, more);
    if (fclose(f))
        exit(1);
    return path;
}

#define O0          "\"language_model.layers.0.self_attn.o_proj\""
#define D1          "\"language_model.layers.1.mlp.down_proj\""
#define MERGER      "\"visual.merger.mlp.0\""
#define FP8(name)   name ":{\"format\":\"fp8\",\"weight_amax\":1,\"input_amax\":1}"
#define INT8(name)  name ":{\"format\":\"int8\",\"input_amax\":1}"
#define TOKEN(name) name ":{\"format\":\"int8\",\"dynamic\":true,\"input_amax\":null}"
#define PRE(name)   name ":{\"format\":\"int8\",\"input_amax\":1,\"pre_quant_scale\":[1,2]}"
#define KV(layer)   ",\"kv_cache\":{\"format\":\"fp8\",\"layers\":{\"" layer "\":{\"k_amax\":1,\"v_amax\":1}}}"

static void bad_schemes(void)
{
    json_t *modules = json_pack("[s]", "language_model.layers.0.mlp.down_proj");
    char folded_o[1000] = O0 ":{\"format\":\"int8\",\"input_amax\":1,\"folded\":true,\"pre_quant_scale\":[1";

    for (size_t i = 1; i < 192; i++)
        strcat(folded_o, ",1");
    strcat(folded_o, "]}");
    refused("modelopt", text_scheme(O0 "," D1, FP8(O0) "," INT8(D1), ""), "use --format compressed-tensors",
            "two formats in ModelOpt's layout");
    refused("modelopt", text_scheme(O0, TOKEN(O0), ""), "apply-coverage --activations static",
            "dynamic inputs in ModelOpt's layout");
    refused("compressed-tensors", put_scheme(modules, 1, false, false), "apply-coverage --smooth-at norm",
            "smoothing that no norm carries in compressed-tensors");
    refused("modelopt", text_scheme(O0, PRE(O0), ""), "2 smoothing scales for", "too few smoothing scales");
    refused("modelopt", text_scheme(D1, FP8(D1), KV("visual.blocks.0")), "no KV cache",
            "KV ranges in the vision tower");
    refused("modelopt", text_scheme(D1, FP8(D1), KV("language_model.layers.0")), "has 6: engines quantize",
            "KV ranges of one layer");
    refused("compressed-tensors", text_scheme(O0, folded_o, ""), "no norm that this module alone reads",
            "folding where no norm is");
    json_decref(modules);
}

/* FP8, INT8 and INT8 with dynamic inputs in one checkpoint: a group each, and nobody in two. */
static void mixed(void)
{
    const char *s = text_scheme(O0 "," D1 "," MERGER, FP8(O0) "," INT8(D1) "," TOKEN(MERGER), "");
    struct err e = {0};
    struct ckpt c = {0};
    json_t *groups, *config;
    char *got;

    CHECK(export_as("compressed-tensors", TINY, s, ROUND_EXACT, EXPORT_SHARD_BYTES, scratch("out"), &e) == 0,
          "mixed %s", e.msg);
    if (ckpt_open(&c, scratch("out"), &e))
        fail(&e);
    config = json_object_get(c.config, "quantization_config");
    groups = json_object_get(config, "config_groups");
    got = json_dumps(groups, JSON_COMPACT);
    CHECK(json_object_size(groups) == 3 &&
          !strcmp(json_string_value(json_object_get(config, "format")), "float-quantized"),
          "three groups");
    CHECK(!strcmp(got,
                  "{\"group_0\":{\"targets\":[\"re:.*layers\\\\.0\\\\.self_attn\\\\.o_proj$\"],\"format\":"
                       "\"float-quantized\",\"weights\":{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"tensor\","
                       "\"symmetric\":true,\"dynamic\":false},\"input_activations\":{\"num_bits\":8,\"type\":\"float\","
                       "\"strategy\":\"tensor\",\"symmetric\":true,\"dynamic\":false}},\"group_1\":{\"targets\":"
                       "[\"re:.*layers\\\\.1\\\\.mlp\\\\.down_proj$\"],\"format\":\"int-quantized\",\"weights\":"
                       "{\"num_bits\":8,\"type\":\"int\",\"strategy\":\"channel\",\"symmetric\":true,\"dynamic\":false},"
                       "\"input_activations\":{\"num_bits\":8,\"type\":\"int\",\"strategy\":\"tensor\",\"symmetric\":true,"
                       "\"dynamic\":false}},\"group_2\":{\"targets\":[\"re:.*visual\\\\.merger\\\\.mlp\\\\.0$\"],"
                       "\"format\":\"int-quantized\",\"weights\":{\"num_bits\":8,\"type\":\"int\",\"strategy\":\"channel\","
                       "\"symmetric\":true,\"dynamic\":false},\"input_activations\":{\"num_bits\":8,\"type\":\"int\","
                       "\"strategy\":\"token\",\"symmetric\":true,\"dynamic\":true}}}"),
          "as planned: %s", got);
    free(got);
    ckpt_close(&c);
    scratch_wipe(scratch("out"));
}

int main(void)
{
    static const char *const fp8[] = {"fp8-lm-top10", "fp8-lm-top50", "fp8-lm-top100", "fp8-all-top50",
                                      "fp8-lm-kv"};
    struct err e = {0};

    if (layers_read(&ranges, CHANNELS, &e) || ckpt_open(&tiny, TINY, &e))
        fail(&e);
    like_modelopt("int8-sq-stock", 1);
    like_modelopt("int8-sq-alpha05-stock", 0.5);
    like_modelopt("int8-sq-lm-top50", 1);
    for (size_t i = 0; i < sizeof fp8 / sizeof *fp8; i++)
        like_modelopt_fp8(fp8[i]);
    folded(false);
    folded(true);
    mixed();
    bad_schemes();
    ckpt_close(&tiny);
    layers_release(&ranges);
    unlink(scratch("scheme.json"));
    CHECK(rmdir(scratch_dir()) == 0, "nothing is left behind");
    return unit_end();
}
