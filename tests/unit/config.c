/* config.c - shapes read from config.json in every layout, and what is refused */
#include "common/model/config.h"

#include "tests/unit/unit.h"

#define MODELS "tests/golden/models/"

static json_t *load(const char *dir)
{
    struct err e = {0};
    char path[256];
    json_t *v;

    snprintf(path, sizeof path, "%s/config.json", dir);
    v = json_read(path, NULL, &e);
    if (!v) {
        fprintf(stderr, "%s\n", e.msg);
        exit(1);
    }
    return v;
}

static void text_shape(void)
{
    static const struct {
        const char *dir;
        size_t hidden, intermediate, layers, heads, kv, head_dim, vocab, sections[3];
        double eps, theta;
        bool tied, vision;
    } want[] = {
        {MODELS "flat-mha", 64, 92, 3, 4, 4, 16, 528, {2, 3, 3}, 1e-6, 1e4, false, true},
        {MODELS "full-only-patch8", 128, 136, 2, 4, 2, 32, 600, {4, 6, 6}, 1e-6, 1e6, true, true},
        {MODELS "nested4-gqa8", 128, 75, 2, 8, 1, 16, 521, {2, 3, 3}, 1e-5, 1e6, false, true},
        {MODELS "nested5-sharded", 128, 176, 3, 2, 1, 64, 544, {8, 12, 12}, 1e-6, 5e5, true, true},
        {MODELS "qwen2-text", 96, 130, 4, 6, 2, 16, 530, {8, 0, 0}, 1e-6, 1e6, false, false},
        {MODELS "windows-only", 96, 101, 3, 6, 3, 16, 523, {1, 2, 5}, 1e-6, 250000, false, true},
        {"data/tiny-qwen2_5-vl", 192, 512, 6, 6, 2, 32, 1024, {4, 6, 6}, 1e-6, 1e6, true, true},
        {"tests/golden/modelopt-tiny/exports/fp8-stock",
         192,
         512,
         6,
         6,
         2,
         32,
         1024,
         {4, 6, 6},
         1e-6,
         1e6,
         true,
         true},
    };

    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        json_t *v = load(want[i].dir);
        struct err e = {0};
        struct config c;
        int ret = config_read(&c, v, want[i].dir, &e);

        CHECK(ret == 0, "%s: read (%s)", want[i].dir, e.msg);
        CHECK(c.hidden == want[i].hidden && c.intermediate == want[i].intermediate &&
                  c.layers == want[i].layers && c.heads == want[i].heads && c.kv_heads == want[i].kv &&
                  c.head_dim == want[i].head_dim && c.vocab == want[i].vocab && c.max_position == 4096,
              "%s: sizes of the language model", want[i].dir);
        CHECK(!memcmp(c.mrope, want[i].sections, sizeof c.mrope) && c.eps == (float)want[i].eps &&
                  c.theta == want[i].theta,
              "%s: rotation and eps", want[i].dir);
        CHECK(c.tied == want[i].tied && c.has_vision == want[i].vision &&
                  c.image_token == (want[i].vision ? 519 : -1) &&
                  c.video_token == (want[i].vision ? 520 : -1) &&
                  c.vision_start == (want[i].vision ? 516 : -1),
              "%s: head, tower and tokens", want[i].dir);
        CHECK(!strcmp(c.architecture,
                      want[i].vision ? "Qwen2_5_VLForConditionalGeneration" : "Qwen2ForCausalLM"),
              "%s: architecture", want[i].dir);
        json_decref(v);
    }
}

static void vision_shape(void)
{
    static const struct {
        const char *dir;
        size_t depth, hidden, intermediate, heads, head_dim, out, patch, window, patch_dim;
        const char *full; /* one digit per block */
    } want[] = {
        {MODELS "flat-mha", 4, 48, 60, 3, 16, 64, 14, 4, 1176, "0101"},
        {MODELS "full-only-patch8", 2, 64, 85, 2, 32, 128, 8, 3, 384, "11"},
        {MODELS "nested4-gqa8", 3, 32, 44, 2, 16, 128, 14, 2, 1176, "001"},
        {MODELS "nested5-sharded", 3, 40, 54, 2, 20, 128, 14, 4, 1176, "101"},
        {MODELS "windows-only", 3, 40, 37, 2, 20, 96, 14, 2, 1176, "000"},
        {"data/tiny-qwen2_5-vl", 4, 96, 252, 4, 24, 192, 14, 4, 1176, "0101"},
    };

    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        json_t *v = load(want[i].dir);
        struct err e = {0};
        struct config c;
        const struct vision_config *t = &c.vision;
        bool same = config_read(&c, v, want[i].dir, &e) == 0;

        for (size_t b = 0; same && b < t->depth; b++)
            same = t->full[b] == (want[i].full[b] == '1');
        CHECK(same && t->depth == strlen(want[i].full), "%s: blocks of full attention (%s)", want[i].dir,
              e.msg);
        CHECK(t->depth == want[i].depth && t->hidden == want[i].hidden &&
                  t->intermediate == want[i].intermediate && t->heads == want[i].heads &&
                  t->head_dim == want[i].head_dim && t->out_hidden == want[i].out &&
                  t->patch == want[i].patch && t->temporal_patch == 2 && t->merge == 2 && t->channels == 3 &&
                  t->window == want[i].window && t->patch_dim == want[i].patch_dim && t->eps == 1e-6f &&
                  t->theta == 10000,
              "%s: sizes of the vision tower", want[i].dir);
        json_decref(v);
    }
}

/* Keys whose absence leaves a model that is fully described. */
static bool optional(const char *object, const char *key)
{
    static const char *const list[] = {
        "attention_dropout",    "bos_token_id",      "eos_token_id",        "vision_end_token_id",
        "vision_token_id",      "initializer_range", "max_window_layers",   "use_cache",
        "use_sliding_window",   "sliding_window",    "torch_dtype",         "dtype",
        "transformers_version", "layer_types",       "tie_word_embeddings", "tokens_per_second",
        "spatial_patch_size",
    };

    if (*object && !strcmp(key, "model_type"))
        return true;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (!strcmp(key, list[i]))
            return true;
    return false;
}

/* Take key out of the object (of the whole when object is "") and read. */
static void without(const char *dir, const char *object, const char *key)
{
    json_t *v = load(dir), *o = *object ? json_object_get(v, object) : v;
    const char *named = key;
    struct err e = {0};
    struct config c;
    int ret;

    json_object_del(o, key);
    ret = config_read(&c, v, "dir/config.json", &e);
    if (!strcmp(key, "rope_parameters"))
        named = "rope_theta";
    if (!strcmp(key, "rope_scaling"))
        named = "mrope_section";
    if (!strcmp(key, "text_config"))
        named = "hidden_size";
    if (optional(object, key) || (!strcmp(key, "in_chans") && json_object_get(o, "in_channels")) ||
        (!strcmp(key, "in_channels") && json_object_get(o, "in_chans")))
        CHECK(ret == 0, "%s without %s.%s (%s)", dir, object, key, e.msg);
    else
        CHECK(ret == -1 && e.rc == RC_DATA && strstr(e.msg, named) && strstr(e.msg, "'dir/config.json'"),
              "%s without %s.%s: %s", dir, object, key, e.msg);
    json_decref(v);
}

static void each_key(void)
{
    static const char *const dirs[] = {MODELS "flat-mha", MODELS "nested4-gqa8", MODELS "nested5-sharded",
                                       MODELS "qwen2-text"};
    static const char *const objects[] = {"", "text_config", "vision_config"};

    for (size_t d = 0; d < sizeof dirs / sizeof *dirs; d++) {
        json_t *whole = load(dirs[d]), *v;
        const char *key;

        for (size_t o = 0; o < 3; o++) {
            const json_t *object = *objects[o] ? json_object_get(whole, objects[o]) : whole;

            json_object_foreach((json_t *)object, key, v) without(dirs[d], objects[o], key);
        }
        json_decref(whole);
    }
}

/* The value at a path "a.b" of dir's configuration replaced by the JSON text; NULL: accepted, else what the
 * message says. */
struct change {
    const char *dir, *path, *value, *says;
};

static void change(const struct change *ch)
{
    json_t *v = load(ch->dir), *o = v;
    struct err e = {0};
    struct config c;
    char path[128], *key = path, *dot;
    int ret;

    snprintf(path, sizeof path, "%s", ch->path);
    while ((dot = strchr(key, '.'))) {
        *dot = '\0';
        o = json_object_get(o, key);
        key = dot + 1;
    }
    json_object_set_new(o, key, json_loads(ch->value, JSON_DECODE_ANY, NULL));
    ret = config_read(&c, v, "dir/config.json", &e);
    if (!ch->says)
        CHECK(ret == 0, "%s: %s = %s (%s)", ch->dir, ch->path, ch->value, e.msg);
    else
        CHECK(ret == -1 && e.rc == RC_DATA && strstr(e.msg, ch->says) && strstr(e.msg, "'dir/config.json'"),
              "%s: %s = %s: %s", ch->dir, ch->path, ch->value, e.msg);
    json_decref(v);
}

#define FLAT  MODELS "flat-mha"
#define NEST4 MODELS "nested4-gqa8"
#define NEST5 MODELS "nested5-sharded"
#define TEXT  MODELS "qwen2-text"

static const struct change changes[] = {
    {FLAT, "model_type", "\"qwen3_vl\"", "'qwen3_vl'; qwen2_5_vl and qwen2 "},
    {FLAT, "model_type", "\"qwen2_vl\"", "'qwen2_vl'; qwen2_5_vl and qwen2 "},
    {FLAT, "model_type", "5", "model_type"},
    {FLAT, "model_type", "\"qwen2\"", "Qwen2_5_VLForConditionalGeneration"},
    {FLAT, "architectures", "[]", "architectures"},
    {FLAT, "architectures", "[\"Qwen2ForSequenceClassification\"]", "Qwen2ForSequenceClassification"},
    {FLAT, "architectures", "[\"Qwen2_5_VLModel\"]", NULL},
    {FLAT, "hidden_size", "0", "hidden_size"},
    {FLAT, "hidden_size", "-64", "hidden_size"},
    {FLAT, "hidden_size", "64.0", "hidden_size"},
    {FLAT, "hidden_size", "\"64\"", "hidden_size"},
    {FLAT, "hidden_size", "null", "hidden_size"},
    {FLAT, "hidden_size", "16777217", "hidden_size"},
    {FLAT, "hidden_size", "66", "num_attention_heads"},
    {FLAT, "hidden_size", "128", "mrope_section"},
    {FLAT, "num_hidden_layers", "4097", "num_hidden_layers"},
    {FLAT, "num_hidden_layers", "true", "num_hidden_layers"},
    {FLAT, "num_key_value_heads", "3", "num_key_value_heads"},
    {FLAT, "num_attention_heads", "64", "odd"},
    {FLAT, "head_dim", "16", NULL},
    {FLAT, "head_dim", "null", NULL},
    {FLAT, "head_dim", "15", "odd"},
    {FLAT, "head_dim", "32", "mrope_section"},
    {FLAT, "head_dim", "16777216", "wider than"},
    {FLAT, "hidden_act", "\"gelu\"", "'gelu'"},
    {FLAT, "use_sliding_window", "true", "use_sliding_window"},
    {FLAT, "use_sliding_window", "0", "use_sliding_window"},
    {FLAT, "rms_norm_eps", "0", "rms_norm_eps"},
    {FLAT, "rms_norm_eps", "-1e-6", "rms_norm_eps"},
    {FLAT, "rms_norm_eps", "\"1e-6\"", "rms_norm_eps"},
    {FLAT, "rope_theta", "0", "rope_theta"},
    {FLAT, "rope_theta", "1e300", "rope_theta"},
    {FLAT, "rope_theta", "[10000.0]", "rope_theta"},
    {FLAT, "rope_scaling", "{\"type\": \"yarn\", \"factor\": 4.0, \"mrope_section\": [2, 3, 3]}", "'yarn'"},
    {FLAT, "rope_scaling", "{\"rope_type\": \"dynamic\", \"mrope_section\": [2, 3, 3]}", "'dynamic'"},
    {FLAT, "rope_scaling", "{\"rope_type\": 1, \"mrope_section\": [2, 3, 3]}", "rope_type"},
    {FLAT, "rope_scaling", "\"mrope\"", "rope_scaling"},
    {FLAT, "rope_scaling", "null", "mrope_section"},
    {FLAT, "rope_scaling", "{\"type\": \"mrope\", \"mrope_section\": [2, 3, 4]}", "mrope_section"},
    {FLAT, "rope_scaling", "{\"type\": \"mrope\", \"mrope_section\": [2, 6]}", "mrope_section"},
    {FLAT, "rope_scaling", "{\"type\": \"mrope\", \"mrope_section\": [-2, 6, 4]}", "mrope_section"},
    {FLAT, "rope_scaling",
     "{\"type\": \"mrope\", \"mrope_section\": [2, 3, 3], \"partial_rotary_factor\": 0.5}",
     "partial_rotary_factor"},
    {FLAT, "tie_word_embeddings", "1", "tie_word_embeddings"},
    {FLAT, "image_token_id", "528", "image_token_id"},
    {FLAT, "image_token_id", "520", "image_token_id"},
    {FLAT, "vision_config", "[]", "vision_config"},
    {FLAT, "vision_config.depth", "257", "depth"},
    {FLAT, "vision_config.num_heads", "5", "num_heads"},
    {FLAT, "vision_config.num_heads", "8", "multiple of 4"},
    {FLAT, "vision_config.hidden_act", "\"quick_gelu\"", "quick_gelu"},
    {FLAT, "vision_config.out_hidden_size", "128", "out_hidden_size"},
    {FLAT, "vision_config.patch_size", "16777216", "vision_config"},
    {FLAT, "vision_config.spatial_merge_size", "16777216", "vision_config"},
    {FLAT, "vision_config.window_size", "27", "window_size"},
    {FLAT, "vision_config.in_channels", "1", "in_channels"},
    {FLAT, "vision_config.fullatt_block_indexes", "[1, 4]", "fullatt_block_indexes"},
    {FLAT, "vision_config.fullatt_block_indexes", "[\"1\"]", "fullatt_block_indexes"},
    {FLAT, "vision_config.fullatt_block_indexes", "7", "fullatt_block_indexes"},
    {FLAT, "vision_config.rope_parameters", "{\"rope_theta\": 0}", "rope_theta"},
    {NEST4, "text_config", "3", "text_config"},
    {NEST4, "hidden_size", "64", NULL}, /* a stale copy: text_config counts */
    {NEST4, "rope_scaling", "{\"type\": \"yarn\"}", NULL},
    {NEST4, "text_config.rope_scaling", "{\"rope_type\": \"yarn\", \"mrope_section\": [2, 3, 3]}", "'yarn'"},
    {NEST4, "text_config.layer_types", "[\"full_attention\", \"sliding_attention\"]", "layer_types"},
    {NEST5, "text_config.rope_parameters", "{\"rope_type\": \"longrope\", \"rope_theta\": 1e6}",
     "'longrope'"},
    {NEST5, "text_config.rope_parameters", "{\"rope_type\": \"default\", \"mrope_section\": [8, 12, 12]}",
     "rope_theta"},
    {NEST5, "dtype", "\"anything\"", NULL},
    {TEXT, "rope_scaling", "{\"type\": \"yarn\", \"factor\": 4.0}", "'yarn'"},
    {TEXT, "rope_scaling", "null", NULL},
    {TEXT, "vision_config", "{}", NULL},
};

/* tie_word_embeddings: the top level, else text_config, else false. */
static void tie_flag(void)
{
    static const struct {
        const char *top, *text;
        bool tied;
    } want[] = {{"true", "false", true}, {"false", "true", false}, {NULL, "true", true}, {NULL, NULL, false}};

    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        json_t *v = load(NEST4), *text = json_object_get(v, "text_config");
        struct err e = {0};
        struct config c;

        json_object_del(v, "tie_word_embeddings");
        if (want[i].top)
            json_object_set_new(v, "tie_word_embeddings", json_loads(want[i].top, JSON_DECODE_ANY, NULL));
        if (want[i].text)
            json_object_set_new(text, "tie_word_embeddings", json_loads(want[i].text, JSON_DECODE_ANY, NULL));
        CHECK(config_read(&c, v, "config.json", &e) == 0 && c.tied == want[i].tied,
              "tie flag: top %s, text_config %s", want[i].top ? want[i].top : "absent",
              want[i].text ? want[i].text : "absent");
        json_decref(v);
    }
}

static void not_an_object(void)
{
    static const char nan[] = "{\"model_type\": \"qwen2\", \"rms_norm_eps\": NaN}";
    json_t *v = json_array();
    struct err e = {0}, f = {0};
    struct config c;

    CHECK(config_read(&c, v, "dir/config.json", &e) == -1 && strstr(e.msg, "not a JSON object"),
          "an array: %s", e.msg);
    json_decref(v);
    CHECK(!json_parse(nan, sizeof nan - 1, "dir/config.json", &f) && strstr(f.msg, "dir/config.json"),
          "NaN: %s", f.msg);
}

int main(void)
{
    text_shape();
    vision_shape();
    each_key();
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        change(&changes[i]);
    tie_flag();
    not_an_object();
    return unit_end();
}
