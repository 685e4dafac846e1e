/* weights_fp8.c - quantized checkpoints: scales, exclude lists, methods, and ModelOpt's own exports */
#include "common/base/fp8.h"
#include "tests/unit/checkpoint.h"

#define FLAT    "tests/golden/models/flat-mha"
#define TINY    "data/tiny-qwen2_5-vl"
#define EXPORTS "tests/golden/modelopt-tiny/exports/"

static void add_scale(struct model *m, const char *module, const char *suffix, float value)
{
    char name[200];
    struct st_tensor *t;

    snprintf(name, sizeof name, "%s.%s", module, suffix);
    t = add(m, name, DT_F32, 0, 1);
    memcpy((void *)t->data, &value, sizeof value);
}

/* Replace MODULE.weight by its codes. */
static void encode(struct model *m, const char *module, float scale)
{
    struct err e = {0};
    char name[200];
    struct st_tensor *t;
    uint8_t *code;
    float *x;

    snprintf(name, sizeof name, "%s.weight", module);
    t = tensor(m, name);
    x = own(m, t->count * sizeof *x);
    code = own(m, t->count);
    if (ckpt_read_f32(&m->src, t, 0, t->count, x, true, &e))
        die(&e);
    fp8_encode(code, x, t->count, scale);
    t->data = code;
    t->dtype = DT_F8_E4M3;
    t->bytes = t->count;
}

/* Replace a weight by INT8 codes. */
static void zero_codes(struct model *m, const char *name)
{
    struct st_tensor *t = tensor(m, name);

    t->data = own(m, t->count);
    t->dtype = DT_I8;
    t->bytes = t->count;
}

/* Scales of a vector, BF16 or F32: their upper halves are the same. */
static void add_ones(struct model *m, const char *name, const char *dtype, size_t n)
{
    const struct st_tensor *t = add(m, name, strcmp(dtype, "bfloat16") ? DT_F32 : DT_BF16, 1, n);

    for (size_t i = 0; i < n; i++) {
        uint8_t *end = (uint8_t *)t->data + (i + 1) * dtype_bytes(t->dtype);

        end[-1] = 0x3f;
        end[-2] = 0x80;
    }
}

static void quantize(struct model *m, const char *module)
{
    encode(m, module, 0.01f);
    add_scale(m, module, "weight_scale", 0.01f);
    add_scale(m, module, "input_scale", 0.02f);
}

static json_t *text(const char *s)
{
    json_t *v = json_loads(s, JSON_DECODE_ANY, NULL);

    if (!v) {
        fprintf(stderr, "not JSON: %s\n", s);
        exit(1);
    }
    return v;
}

#define Q0 "model.layers.0.self_attn.q_proj"
#define V2 "visual.blocks.2.mlp.down_proj"
/* All but Q0 and V2, in the four ways that lists are written. */
#define BUT_Q0_V2                                                                                            \
    "\"lm_head\", \"model.layers.0.self_attn.[kvo]*\", \"model.layers.0.mlp\", \"model.layers.1*\", "        \
    "\"model.language_model.layers.2.*\", \"visual.blocks.0*\", \"visual.blocks.1.*\", "                     \
    "\"model.visual.blocks.3*\", "                                                                           \
    "\"visual.blocks.2.attn*\", \"visual.blocks.2.mlp.gate_proj\", \"visual.blocks.2.mlp.up_proj\", "        \
    "\"visual.merger\""                                                                                      \
    ", \"language_model.layers.0.self_attn.qkv_proj\""

static void load_fp8(struct model *m)
{
    model_load(m, FLAT);
    quantize(m, Q0);
    quantize(m, V2);
    json_object_set_new(
        m->config, "quantization_config",
        text("{\"quant_method\": \"modelopt\", \"quant_algo\": \"FP8\", \"ignore\": [" BUT_Q0_V2 "]}"));
    m->hf = text("{\"quantization\": {\"quant_algo\": \"FP8\", \"kv_cache_quant_algo\": null, "
                 "\"exclude_modules\": [" BUT_Q0_V2 "]}}");
}

static void values(void)
{
    struct err e = {0};
    struct model m;
    struct weights w, plain;
    struct linear_info *l;
    const struct st_tensor *t;
    float *x, *y;

    load_fp8(&m);
    if (open_changed(&m, &w, &e) || weights_open(&plain, FLAT, &e))
        die(&e);
    l = weights_linear(&w, "language_model.layers.0.self_attn.q_proj");
    t = weights_find(&plain, "language_model.layers.0.self_attn.q_proj.weight");
    CHECK(w.scales_applied == 2 && l->weight_scale == 0.01f && l->input_scale == 0.02f,
          "two layers with scales");
    x = weights_f32(&w, l->weight, &e);
    y = weights_f32(&plain, t, &e);
    if (!x || !y)
        die(&e);
    fp8_round(y, y, t->count, 0.01f);
    CHECK(!memcmp(x, y, t->count * sizeof *x), "codes come with their scale");
    free(x);
    free(y);
    weights_close(&plain);
    weights_close(&w);

    writable(&m, tensor(&m, Q0 ".weight"))[5] = 0xff;
    if (open_changed(&m, &w, &e))
        die(&e);
    x = weights_f32(&w, weights_find(&w, "language_model.layers.0.self_attn.q_proj.weight"), &e);
    CHECK(!x && e.rc == RC_DATA && strstr(e.msg, Q0 ".weight"), "NaN code: %s", e.msg);
    free(x);
    weights_close(&w);
    model_release(&m);
}

static void set_scale(struct model *m, const char *name, float v)
{
    memcpy(writable(m, tensor(m, name)), &v, sizeof v);
}

static void scales(void)
{
    static const float bad[] = {0, -1, INFINITY, NAN};
    struct model m;
    struct st_tensor *t;
    char what[64];

    load_fp8(&m);
    tensor(&m, Q0 ".weight_scale")->ndim = 1;
    tensor(&m, Q0 ".weight_scale")->shape[0] = 1;
    opens(&m, "scale of shape [1]");
    tensor(&m, Q0 ".weight_scale")->ndim = 2;
    tensor(&m, Q0 ".weight_scale")->shape[1] = 1;
    refused(&m, "scale of shape [1, 1]", Q0 ".weight_scale", "not one F32 number");
    drop(&m, Q0 ".weight_scale");
    refused(&m, "no weight_scale", Q0 ".weight'", "meaningless");
    add(&m, Q0 ".weight_scale", DT_F32, 1, 64);
    refused(&m, "scales per channel", Q0 ".weight_scale", "not one F32 number");
    drop(&m, Q0 ".weight_scale");
    add(&m, Q0 ".weight_scale", DT_BF16, 0, 1);
    refused(&m, "BF16 scale", Q0 ".weight_scale", "not one F32 number");
    drop(&m, Q0 ".weight_scale");
    add_scale(&m, Q0, "weight_scale", 1);
    for (size_t i = 0; i < 4; i++) {
        snprintf(what, sizeof what, "scale of %g", (double)bad[i]);
        set_scale(&m, Q0 ".weight_scale", bad[i]);
        refused(&m, what, Q0 ".weight_scale", "finite and above 0");
    }
    set_scale(&m, Q0 ".weight_scale", 1);
    drop(&m, V2 ".input_scale");
    refused(&m, "no input_scale", V2 ".weight'", "'input_scale'");
    add_scale(&m, V2, "input_scale", 1);
    add_scale(&m, "model.layers.1.mlp.up_proj", "weight_scale", 1);
    refused(&m, "scale without codes", "model.layers.1.mlp.up_proj.weight_scale", "stands beside");
    drop(&m, "model.layers.1.mlp.up_proj.weight_scale");
    add_scale(&m, "model.layers.1.mlp.up", "weight_scale", 1);
    refused(&m, "scale without a layer", "model.layers.1.mlp.up.weight_scale", "no place");
    drop(&m, "model.layers.1.mlp.up.weight_scale");
    t = tensor(&m, "model.norm.weight");
    t->dtype = DT_F8_E4M3;
    t->bytes = t->count;
    refused(&m, "codes where no layer is", "model.norm.weight", "F8_E4M3");
    model_release(&m);
}

static void kv_scales(void)
{
    const struct linear_info *k, *v;
    struct model m;
    struct weights w;
    struct err e;
    size_t layers;

    load_fp8(&m);
    CHECK(open_changed(&m, &w, &e) == 0 && w.kv_scales == 0, "no scales of the KV cache (%s)", e.msg);
    layers = w.config.layers;
    weights_close(&w);
    for (size_t i = 0; i < layers; i++) {
        char module[100];

        snprintf(module, sizeof module, "model.layers.%zu.self_attn.k_proj", i);
        add_scale(&m, module, "k_scale", 0.5f);
        snprintf(module, sizeof module, "model.layers.%zu.self_attn%s", i, i ? ".v_proj" : "");
        add_scale(&m, module, "v_scale", 0.25f);
    }
    CHECK(open_changed(&m, &w, &e) == 0 && w.kv_scales == 0, "scales that no configuration asks for (%s)",
          e.msg);
    CHECK(weights_linear(&w, "language_model.layers.0.self_attn.k_proj")->k_scale == 0, "are not applied");
    weights_close(&w);
    json_object_set_new(json_object_get(m.config, "quantization_config"), "kv_cache_scheme",
                        text("{\"num_bits\": 8, \"type\": \"float\", \"dynamic\": false}"));
    refused(&m, "a KV cache that one configuration knows of", "says that the KV cache is FP8",
            "hf_quant_config.json");
    json_object_set_new(json_object_get(m.hf, "quantization"), "kv_cache_quant_algo", json_string("FP8"));
    CHECK(open_changed(&m, &w, &e) == 0 && w.kv_scales == 2 * layers, "scales of the KV cache (%s)", e.msg);
    k = weights_linear(&w, "language_model.layers.0.self_attn.k_proj");
    v = weights_linear(&w, "language_model.layers.0.self_attn.v_proj");
    CHECK(k->k_scale == 0.5f && v->v_scale == 0.25f && k->v_scale == 0, "by the names of either layout");
    weights_close(&w);
    add_scale(&m, "model.layers.0.self_attn.v_proj", "v_scale", 0.5f);
    refused(&m, "two v_scales", "two scales for one KV cache", "self_attn.v_scale");
    drop(&m, "model.layers.0.self_attn.v_scale");
    drop(&m, "model.layers.1.self_attn.k_proj.k_scale");
    refused(&m, "a layer without", "none for 'language_model.layers.1.self_attn.k_proj'", "of all");
    add_scale(&m, "model.layers.1.self_attn.k_proj", "k_scale", 0.5f);
    set_scale(&m, "model.layers.0.self_attn.v_proj.v_scale", 0);
    refused(&m, "v_scale of 0", "v_proj.v_scale", "above 0");
    set_scale(&m, "model.layers.0.self_attn.v_proj.v_scale", 1);
    add_scale(&m, "model.layers.0.self_attn.q_proj", "k_scale", 0.5f);
    refused(&m, "k_scale of q_proj", "q_proj.k_scale", "no place");
    model_release(&m);
}

static json_t *config_list(struct model *m)
{
    return json_object_get(json_object_get(m->config, "quantization_config"), "ignore");
}

static json_t *hf_list(struct model *m)
{
    return json_object_get(json_object_get(m->hf, "quantization"), "exclude_modules");
}

static void lists(void)
{
    static const char *const patterns[] = {"*",
                                           "model.layers.0*",
                                           "model.layers.0.self_attn",
                                           Q0,
                                           "model.language_model.layers.0.self_attn.q_proj",
                                           "*q_proj",
                                           "language_model.layers.[0]*"};
    struct model m;

    load_fp8(&m);
    opens(&m, "both files");
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        json_array_append_new(hf_list(&m), json_string(patterns[i]));
        refused(&m, patterns[i], "says in 'exclude_modules'", patterns[i]);
        json_array_remove(hf_list(&m), json_array_size(hf_list(&m)) - 1);
        json_array_append_new(config_list(&m), json_string(patterns[i]));
        refused(&m, patterns[i], "says in 'ignore'", patterns[i]);
        json_array_remove(config_list(&m), json_array_size(config_list(&m)) - 1);
    }
    json_array_append_new(hf_list(&m), json_string("visual.blocks.2.mlp.down")); /* no layer: not a pattern */
    json_array_append_new(hf_list(&m), json_string("q_proj"));
    opens(&m, "entries that name no layer");
    json_array_remove(config_list(&m), 0);
    refused(&m, "BF16 lm_head unlisted", "'lm_head.weight' is BF16", "config.json");
    json_object_del(m.config, "quantization_config");
    opens(&m, "hf_quant_config.json alone");
    json_array_remove(hf_list(&m), 2);
    refused(&m, "BF16 MLP unlisted", "model.layers.0.mlp.gate_proj.weight", "hf_quant_config.json");
    json_object_set_new(json_object_get(m.hf, "quantization"), "quant_algo", json_null());
    refused(&m, "codes in a model that is not quantized", V2 ".weight", "neither");
    json_decref(m.hf);
    m.hf = NULL;
    refused(&m, "codes and no word of them", V2 ".weight", "neither");
    model_release(&m);
}

#define NUMBERS                                                                                              \
    "{\"num_bits\": 8, \"type\": \"float\", \"strategy\": \"tensor\", \"symmetric\": true, "                 \
    "\"dynamic\": false}"
/* A configuration of compressed-tensors: its weights, inputs, members of the group, and members of its own.
 */
#define COMPRESSED(weights, inputs, group, ignore)                                                           \
    "{\"quant_method\": \"compressed-tensors\", \"format\": \"float-quantized\", \"config_groups\": "        \
    "{\"group_0\": {" group "\"weights\": " weights ", \"input_activations\": " inputs "}}, "                \
    "\"quantization_status\": \"compressed\"" ignore "}"
#define LINEAR "\"targets\": [\"Linear\"], "
/* All but Q0 and V2. */
#define RE_BUT_Q0_V2                                                                                         \
    "\"lm_head\", \"re:.*layers\\\\.0\\\\.self_attn\\\\.(k|v|o)_proj$\", \"re:model.layers.0.mlp\", "        \
    "\"re:.*layers\\\\.[12]\\\\..*\", \"re:visual.blocks.[013]\", \"re:model.visual.blocks.2.attn\", "       \
    "\"visual.blocks.2.mlp.gate_proj\", \"model.visual.blocks.2.mlp.up_proj\", \"re:.*merger\""

static void compressed(void)
{
    static const struct {
        const char *entry, *module;
    } caught[] = {
        {Q0, Q0},
        {"model.language_model.layers.0.self_attn.q_proj", Q0},
        {"re:.*q_proj", Q0},
        {"re:model\\.layers\\.0", Q0},
        {"re:.*blocks\\.2\\.mlp\\.(gate|up|down)_proj$", V2},
        {"re:.*", V2},
    };
    static const char *const free_of[] = {"model.layers.0.self_attn",
                                          "layers.0.self_attn.q_proj",
                                          "*q_proj",
                                          "re:layers.0.self_attn.q_proj",
                                          "re:.*q$",
                                          "re:.*layers\\.00",
                                          "re:.*(q|k|v)$"};
    struct model m;
    struct weights w;
    struct err e;
    json_t *list;

    model_load(&m, FLAT);
    quantize(&m, Q0);
    quantize(&m, V2);
    json_object_set_new(m.config, "quantization_config",
                        text(COMPRESSED(NUMBERS, NUMBERS, LINEAR, ", \"ignore\": [" RE_BUT_Q0_V2 "]")));
    CHECK(open_changed(&m, &w, &e) == 0 && w.scales_applied == 2, "names and expressions of all spellings %s",
          e.msg);
    weights_close(&w);
    list = config_list(&m);
    for (size_t i = 0; i < sizeof caught / sizeof *caught; i++) {
        json_array_append_new(list, json_string(caught[i].entry));
        refused(&m, caught[i].entry, "says in 'ignore'", caught[i].module);
        json_array_remove(list, json_array_size(list) - 1);
    }
    for (size_t i = 0; i < sizeof free_of / sizeof *free_of; i++) {
        json_array_append_new(list, json_string(free_of[i]));
        opens(&m, free_of[i]);
        json_array_remove(list, json_array_size(list) - 1);
    }
    json_array_set_new(list, 0, json_string("re:.*(q_proj"));
    refused(&m, "an expression without its end", "ignore[0]: 're:.*(q_proj' is not a regular expression",
            "config.json");
    json_array_set_new(list, 0, json_string("re:([a-z._0-9]+)+[A-Z]"));
    refused(&m, "an expression that takes for ever", "takes too long", "ignore[0]");
    json_array_set_new(list, 0, json_string("re:.*head"));
    json_array_remove(list, 3);
    refused(&m, "BF16 layers unlisted", "does not name its layer in 'ignore'", "model.layers.1.");
    model_release(&m);
}

static void methods(void)
{
    static const struct {
        const char *config, *hf, *says;
    } list[] = {
        {"{\"quant_method\": \"compressed-tensors\"}", NULL, "'format'"},
        {"{\"quant_method\": \"compressed-tensors\", \"format\": \"pack-quantized\"}", NULL,
         "'pack-quantized'"},
        {"{\"quant_method\": \"compressed-tensors\", \"format\": \"float-quantized\", "
         "\"quantization_status\": \"frozen\"}",
         NULL, "'frozen'"},
        {"{\"quant_method\": \"compressed-tensors\", \"format\": \"float-quantized\"}", NULL,
         "'config_groups'"},
        {"{\"quant_method\": \"compressed-tensors\", \"format\": \"float-quantized\", "
         "\"config_groups\": {\"a\": {}, \"b\": {}}}",
         NULL, "'targets'"},
        {"{\"quant_method\": \"compressed-tensors\", \"format\": \"float-quantized\", "
         "\"config_groups\": {\"a\": 1}}",
         NULL, "not an object"},
        {COMPRESSED(NUMBERS, NUMBERS, LINEAR, ""), NULL, "does not name its layer in 'ignore'"},
        {COMPRESSED(NUMBERS, NUMBERS, LINEAR, ", \"ignore\": \"lm_head\""), NULL, "'ignore' is not an array"},
        {COMPRESSED(NUMBERS, NUMBERS, LINEAR, ", \"ignore\": [null]"), NULL, "ignore[0]"},
        {COMPRESSED(NUMBERS, NUMBERS, LINEAR, ", \"sparsity_config\": {\"format\": \"x\"}"), NULL,
         "'sparsity_config'"},
        {COMPRESSED(NUMBERS, NUMBERS, "", ""), NULL, "'targets'"},
        {COMPRESSED(NUMBERS, NUMBERS, "\"targets\": [\"re:.*mlp.*\"], ", ""), NULL,
         "does not name its layer in 'ignore'"},
        {COMPRESSED(NUMBERS, NUMBERS, "\"targets\": [\"Linear\", 1], ", ""), NULL, "targets[1]"},
        {COMPRESSED(NUMBERS, NUMBERS, "\"targets\": [\"re:(\"], ", ""), NULL, "not a regular expression"},
        {COMPRESSED(NUMBERS, NUMBERS, LINEAR "\"output_activations\": {\"num_bits\": 8}, ", ""), NULL,
         "'output_activations'"},
        {COMPRESSED(NUMBERS, NUMBERS, LINEAR "\"format\": \"pack-quantized\", ", ""), NULL,
         "'pack-quantized'"},
        {COMPRESSED(NUMBERS, "null", LINEAR, ""), NULL, "input_activations' is not there"},
        {COMPRESSED("{\"num_bits\": 8, \"type\": \"int\", \"strategy\": \"channel\"}", NUMBERS, LINEAR, ""),
         NULL, "products of one type"},
        {COMPRESSED("{\"num_bits\": 8, \"type\": \"float\", \"strategy\": \"channel\"}", NUMBERS, LINEAR, ""),
         NULL, "'strategy' is 'channel'"},
        {COMPRESSED("{\"num_bits\": 4, \"type\": \"float\", \"strategy\": \"tensor\"}", NUMBERS, LINEAR, ""),
         NULL, "4 bits"},
        {COMPRESSED("{\"num_bits\": 8, \"type\": \"float\", \"strategy\": \"tensor\", \"symmetric\": false}",
                    NUMBERS, LINEAR, ""),
         NULL, "not symmetric"},
        {COMPRESSED(NUMBERS,
                    "{\"num_bits\": 8, \"type\": \"float\", \"strategy\": \"token\", \"dynamic\": true}",
                    LINEAR, ""),
         NULL, "'dynamic' is not false"},
        {COMPRESSED(NUMBERS,
                    "{\"num_bits\": 8, \"type\": \"float\", \"strategy\": \"tensor\", \"dynamic\": true}",
                    LINEAR, ""),
         NULL, "'dynamic' is not false"},
        {COMPRESSED(NUMBERS,
                    "{\"num_bits\": 8, \"type\": \"float\", \"strategy\": \"tensor\", "
                    "\"dynamic\": \"local\"}",
                    LINEAR, ""),
         NULL, "'dynamic' is not false"},
        {"{\"quant_method\": \"fp8\"}", NULL, "'fp8'"},
        {"{\"quant_algo\": \"FP8\"}", NULL, "quant_method"},
        {"{\"quant_method\": \"modelopt\", \"quant_algo\": \"NVFP4\"}", NULL, "'NVFP4'"},
        {"{\"quant_method\": \"modelopt\", \"quant_algo\": \"MIXED_PRECISION\"}", NULL, "'MIXED_PRECISION'"},
        {"{\"quant_method\": \"modelopt\"}", NULL, "quant_algo"},
        {"{\"quant_method\": \"modelopt\", \"quant_algo\": 8}", NULL, "quant_algo"},
        {"{\"quant_method\": \"modelopt\", \"quant_algo\": \"FP8\", \"ignore\": \"*\"}", NULL, "ignore"},
        {"{\"quant_method\": \"modelopt\", \"quant_algo\": \"FP8\", \"ignore\": [1]}", NULL, "ignore[0]"},
        {"{\"quant_method\": \"modelopt\", \"quant_algo\": \"FP8\"}", NULL, "does not name its layer"},
        {"[]", NULL, "quantization_config"},
        {NULL, "{\"quantization\": {\"quant_algo\": \"W8A8_SQ_PER_CHANNEL\"}}",
         "read its bytes as INT8 codes"},
        {NULL, "{\"quantization\": {\"quant_algo\": \"FP8\", \"kv_cache_quant_algo\": \"NVFP4\"}}",
         "'kv_cache_quant_algo' is not FP8"},
        {"{\"quant_method\": \"modelopt\", \"quant_algo\": \"FP8\", \"kv_cache_scheme\": {\"num_bits\": 4}}",
         NULL,
         "'kv_cache_scheme' is not FP8"},
        {NULL, "{\"quantization\": {}}", "quant_algo"},
        {NULL, "{}", "quantization"},
        {NULL, "[]", "hf_quant_config.json"},
        {NULL, "{\"quantization\": {\"quant_algo\": \"FP8\", \"exclude_modules\": null}}",
         "does not name its layer"},
    };
    struct model m;

    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        model_load(&m, FLAT);
        if (list[i].config)
            json_object_set_new(m.config, "quantization_config", text(list[i].config));
        if (list[i].hf)
            m.hf = text(list[i].hf);
        refused(&m, list[i].config ? list[i].config : list[i].hf, list[i].says, ".json");
        model_release(&m);
    }
}

/* The tensors that a ModelOpt export holds, rebuilt from its list: codes and scales where it has them. */
static void load_export(struct model *m, const char *name)
{
    char path[256], line[1024], module[160];
    struct err e = {0};
    FILE *f;

    model_load(m, TINY);
    json_decref(m->config);
    snprintf(path, sizeof path, EXPORTS "%s/config.json", name);
    m->config = json_read(path, NULL, &e);
    snprintf(path, sizeof path, EXPORTS "%s/hf_quant_config.json", name);
    m->hf = json_read(path, NULL, &e);
    snprintf(path, sizeof path, EXPORTS "%s/tensors.tsv", name);
    f = fopen(path, "r");
    if (!m->config || !m->hf || !f)
        die(&e);
    while (fgets(line, sizeof line, f)) {
        char *save, *tensor_name = strtok_r(line, "\t\n", &save), *dtype = strtok_r(NULL, "\t\n", &save);
        char *shape = strtok_r(NULL, "\t\n", &save), *sha = strtok_r(NULL, "\t\n", &save);
        char *value = strtok_r(NULL, "\t\n", &save), *dot = strrchr(tensor_name, '.');

        snprintf(module, sizeof module, "%.*s", dot ? (int)(dot - tensor_name) : 0, tensor_name);
        if (!strcmp(tensor_name, "lm_head.weight")) {
            m->tensor[m->tensors] = *tensor(m, "model.embed_tokens.weight");
            rename_to(m, &m->tensor[m->tensors++], tensor_name);
        }
        if (!strncmp(dtype, "float8", 6))
            encode(m, module, 0.01f);
        if (!strcmp(dtype, "int8"))
            zero_codes(m, tensor_name);
        if (dot && strstr(dot, "_scale") && strcmp(shape, "[]"))
            add_ones(m, tensor_name, dtype, strtoul(shape + 1, NULL, 10));
        if (!strcmp(dtype, "float32") && !strcmp(shape, "[]") && sha && value)
            add_scale(m, module, dot + 1, strtof(value, NULL));
    }
    fclose(f);
}

static void exports(void)
{
    static const struct {
        const char *name, *refused;
        size_t scales, kv;
    } list[] = {
        {"fp8-lm-top10", NULL, 3, 0},
        {"fp8-lm-top50", NULL, 18, 0},
        {"fp8-lm-top100", NULL, 42, 0},
        {"fp8-all-top50", NULL, 26, 0},
        {"fp8-all-top100", NULL, 64, 0},
        {"fp8-stock", NULL, 42, 0},
        {"fp8-lm-kv", NULL, 42, 12},
        {"fp8-patch-embed", NULL, 0, 0},
        {"fp8-stock-kv", "no place", 0, 0},
        {"fp8-lm-head", "ties the head", 0, 0},
        {"int8-sq-stock", NULL, 42, 0},
        {"int8-sq-lm-top50", NULL, 18, 0},
        {"int8-lm-top50", NULL, 18, 0},
    };

    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        struct weights w;
        struct model m;
        struct err e;
        int ret;

        load_export(&m, list[i].name);
        ret = open_changed(&m, &w, &e);
        if (list[i].refused)
            CHECK(ret == -1 && strstr(e.msg, list[i].refused), "ModelOpt's %s: %s", list[i].name, e.msg);
        else
            CHECK(ret == 0 && w.scales_applied == list[i].scales && w.kv_scales == list[i].kv,
                  "ModelOpt's %s: %zu layers, %zu KV scales %s", list[i].name, w.scales_applied, w.kv_scales,
                  e.msg);
        weights_close(&w);
        model_release(&m);
    }
}

int main(void)
{
    values();
    scales();
    kv_scales();
    lists();
    compressed();
    methods();
    exports();
    return unit_end();
}
