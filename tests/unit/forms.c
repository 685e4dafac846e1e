/* forms.c - documents with FP8 and INT8: scores of both, channel ranges, SmoothQuant, the KV cache, presets
 */
#include <unistd.h>

#include "common/base/cli.h"
#include "common/quant/preset.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

/* The model of tests/golden/quant; groups by number. */
enum { EMBED, QKV, MERGER, Q, O, GATE, DOWN, HEAD, GROUPS };
enum { Q_PROJ = 3, K_PROJ, V_PROJ, O_PROJ };

static const double int8[GROUPS] = {18, 1, 0, 8, 2, 1, 0.5, 1}; /* FP8: 9 3 0 4 1 2 1 0.5 */

static const char *path;

static int build(struct layers *l, bool both, struct err *e)
{
    if (layers_read(l, "tests/golden/quant/layers.json", e))
        return -1;
    for (size_t g = 0; both && g < GROUPS; g++)
        if (layers_set_score(l, g, "INT8", "gradient", int8[g], NAN, 10 * int8[g], e))
            return -1;
    return both ? layers_set_int8(l, "static", NAN, false, e) : 0;
}

/* Channel c of an input has the range (c + 1) / 4, of a weight 1 / (c + 1). */
static int add_channels(struct layers *l, float times, struct err *e)
{
    for (size_t i = 0; i < l->n_modules; i++) {
        struct layer_module *m = &l->module[i];
        float x[64], w[64];

        for (size_t c = 0; c < m->cols; c++) {
            x[c] = times * (float)(c + 1) / 4;
            w[c] = 1 / (float)(c + 1);
        }
        if (layers_set_channels(l, i, m->tokens ? x : NULL, w, e))
            return -1;
    }
    return 0;
}

static bool same_document(const struct layers *a, const struct layers *b)
{
    struct err e = {0};
    json_t *x = layers_to_json(a, NULL, 0, &e), *y = layers_to_json(b, NULL, 0, &e);
    bool same = x && y && json_equal(x, y);

    json_decref(x);
    json_decref(y);
    return same;
}

static void scores(void)
{
    struct layers l, back = {0}, again = {0};
    struct err e = {0};
    const struct layer_group *g;
    json_t *doc, *sums;

    CHECK(!build(&l, true, &e) && l.group[Q].n_choices == 3, "FP8, INT8 and none: %s", e.msg);
    g = &l.group[QKV];
    CHECK(layers_choice_is(&g->choice[0], "FP8") && layers_choice_is(&g->choice[1], "INT8") &&
              layers_choice_is(&g->choice[2], "NONE") && g->choice[0].cost == g->choice[1].cost,
          "in this order, at one cost");
    CHECK(layers_best(g) == &g->choice[1] && g->importance == 1 && layers_best(&l.group[Q])->score == 4,
          "the better format is what a group is ranked by");
    doc = layers_to_json(&l, NULL, 0, &e);
    sums = json_object_get(json_object_get(json_object_get(doc, "layer_sensitivity"), l.group[Q].key),
                           "predicted_kl");
    CHECK(json_array_size(sums) == 2 && json_number_value(json_array_get(sums, 1)) == 80,
          "sums stand beside the formats");
    json_decref(doc);
    CHECK(!layers_write(&l, NULL, 0, path, &e) && !layers_read(&back, path, &e) && same_document(&l, &back),
          "written and read: %s", e.msg);
    CHECK(!strcmp(back.activations, "static") && isnan(back.alpha) &&
              back.group[Q].choice[1].predicted_kl == 80 && isnan(back.group[Q].choice[1].kl),
          "with what INT8 was scored");
    CHECK(!layers_merge(&back, &l, &e) && back.group[Q].choice[0].score == 8 &&
              back.group[Q].choice[1].score == 16 && back.group[QKV].importance == 2 &&
              back.group[Q].choice[1].predicted_kl == 160,
          "shards add up format by format");
    layers_set_int8(&back, "dynamic", NAN, false, &e);
    CHECK(layers_merge(&back, &l, &e) == -1 && strstr(e.msg, "activations"), "%s", e.msg);
    e = (struct err){0};
    layers_set_int8(&back, "static", 0.5, false, &e);
    CHECK(layers_merge(&back, &l, &e) == -1 && strstr(e.msg, "alpha"), "%s", e.msg);
    e = (struct err){0};
    CHECK(layers_set_int8(&back, "static", 1.5, false, &e) == -1, "%s", e.msg);
    e = (struct err){0};
    CHECK(!build(&again, false, &e) && layers_use_format(&again, "INT8", &e) == -1 &&
              strstr(e.msg, "layer-score"),
          "%s", e.msg);
    e = (struct err){0};
    CHECK(!layers_use_format(&l, "FP8", &e) && l.group[QKV].n_choices == 2 && l.group[QKV].importance == 3,
          "one format can be taken alone");
    CHECK(!layers_set_score(&l, Q, "FP8", "kl_div", NAN, 5, NAN, &e) && l.group[Q].n_choices == 2 &&
              !layers_set_score(&l, Q, "INT8", "gradient", 5, NAN, NAN, &e) && l.group[Q].n_choices == 2,
          "scores of two methods do not stand side by side");
    layers_release(&l);
    layers_release(&back);
    layers_release(&again);
}

static void ranges(void)
{
    struct layers a, b, back = {0};
    struct err e = {0};
    float bad[64] = {NAN};

    build(&a, false, &e);
    build(&b, false, &e);
    CHECK(!add_channels(&a, 1, &e) && !layers_set_kv(&a, K_PROJ, 3, &e) &&
              !layers_set_kv(&a, V_PROJ, 2, &e) && !layers_set_alpha(&a, Q, 0.5, &e),
          "channels, KV cache, alpha: %s", e.msg);
    CHECK(!layers_write(&a, NULL, 0, path, &e) && !layers_read(&back, path, &e) && same_document(&a, &back) &&
              back.module[O_PROJ].input_channels[7] == 2 &&
              back.module[O_PROJ].weight_channels[7] == 0.125f && back.module[K_PROJ].kv_amax == 3 &&
              back.group[Q].alpha == 0.5 && isnan(back.group[O].alpha) && !back.module[2].input_channels &&
              back.module[2].weight_channels,
          "come back: %s", e.msg);
    add_channels(&b, 2, &e);
    layers_set_kv(&b, K_PROJ, 5, &e);
    CHECK(!layers_merge(&back, &b, &e) && back.module[O_PROJ].input_channels[7] == 4 &&
              back.module[O_PROJ].weight_channels[7] == 0.125f,
          "channels merge by max");
    CHECK(back.module[K_PROJ].kv_amax == 5 && back.module[V_PROJ].kv_amax < 0,
          "so does the KV cache; what one shard did not measure is not known");
    CHECK(isnan(back.group[Q].alpha), "nor an alpha that they do not agree on");
    layers_release(&b);
    build(&b, false, &e);
    CHECK(!layers_merge(&back, &b, &e) && !back.module[O_PROJ].input_channels &&
              back.module[O_PROJ].weight_channels,
          "a shard without channels leaves those of the weight");
    CHECK(layers_set_channels(&a, O_PROJ, bad, bad, &e) == -1 && strstr(e.msg, "channel 0"), "%s", e.msg);
    e = (struct err){0};
    CHECK(layers_set_kv(&a, O_PROJ, 1, &e) == -1 && strstr(e.msg, "k_proj and v_proj"), "%s", e.msg);
    e = (struct err){0};
    CHECK(layers_set_kv(&a, K_PROJ, INFINITY, &e) == -1 && layers_set_alpha(&a, Q, 1.5, &e) == -1,
          "ranges are finite, alphas within 0 and 1");
    layers_release(&a);
    layers_release(&b);
    layers_release(&back);
}

static size_t count(const struct scheme *s, enum scheme_format f)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n_modules; i++)
        n += s->module[i].format == f;
    return n;
}

/* The least score of five groups within a budget, by trying 3^5 ways. */
static double best_of_all(const struct layers *l, uint64_t budget)
{
    static const size_t ranked[] = {QKV, Q, O, GATE, DOWN};
    double best = INFINITY;

    for (int way = 0; way < 243; way++) {
        uint64_t cost = 0;
        double score = 0;

        for (size_t i = 0, w = (size_t)way; i < 5; i++, w /= 3) {
            cost += l->group[ranked[i]].choice[w % 3].cost;
            score += l->group[ranked[i]].choice[w % 3].score;
        }
        if (cost <= budget)
            best = fmin(best, score);
    }
    return best;
}

static void budgets(void)
{
    struct layers l;
    struct err e = {0};

    build(&l, true, &e);
    for (double bits = 11; bits < 16; bits += 0.5) {
        struct scheme_opts o = {.by = BY_BITS, .bits = bits};
        /* of 3744 weights 1376 are not ranked: embed 96, merger 256, head 1024 */
        double want = best_of_all(&l, (uint64_t)(3744 * bits / 16) - 1376);
        struct scheme s;

        CHECK(!scheme_make(&s, &l, &o, &e) && s.score == want && s.effective_bits <= bits,
              "%g bits: score %g with %zu FP8 and %zu INT8 layers", bits, want, count(&s, FORMAT_FP8),
              count(&s, FORMAT_INT8));
        scheme_release(&s);
    }
    layers_release(&l);
}

static void coverage(void)
{
    struct scheme_opts o = {.by = BY_GROUPS, .percent = 100}, shown = o;
    const double half = 0.5, none = NAN;
    struct layers l;
    struct scheme s, back = {0};
    struct err e = {0};

    build(&l, true, &e);
    /* down INT8 0.5, qkv INT8 1, o FP8 1, gate INT8 1, q FP8 4 */
    CHECK(!scheme_make(&s, &l, &o, &e) && s.score == 7.5 && s.n_selected == 5 &&
              count(&s, FORMAT_INT8) == 4 && !strcmp(s.selected[0], l.group[DOWN].key),
          "each group in its better format, ranked by that: %s", e.msg);
    CHECK(scheme_find(&s, "language_model.layers.0.mlp.up_proj")->input_amax == 5 &&
              !scheme_find(&s, "language_model.layers.0.mlp.up_proj")->pre_scale,
          "INT8 with the input's range");
    CHECK(!scheme_write(&s, NULL, 0, path, &e) && !scheme_read(&back, path, false, &e) &&
              count(&back, FORMAT_INT8) == 4 &&
              scheme_find(&back, "language_model.layers.0.mlp.down_proj")->input_amax == 6,
          "written and read: %s", e.msg);
    scheme_release(&s);
    shown.by = BY_COVERAGE;
    shown.from = &back;
    CHECK(!scheme_make(&s, &l, &shown, &e) && count(&s, FORMAT_INT8) == 4 && s.score == 7.5,
          "a selection taken over keeps its formats");
    scheme_release(&s);
    scheme_release(&back);
    o.activations = "dynamic";
    CHECK(!scheme_make(&s, &l, &o, &e) && scheme_find(&s, "visual.blocks.0.attn.qkv")->dynamic &&
              scheme_find(&s, "visual.blocks.0.attn.qkv")->input_amax == 0 && isnan(s.score) &&
              isnan(s.predicted_kl),
          "a form that was not scored has no score");
    scheme_release(&s);
    o.activations = NULL;
    o.alpha = &half;
    CHECK(scheme_make(&s, &l, &o, &e) == -1 && strstr(e.msg, "calib-amax --per-channel"), "%s", e.msg);
    e = (struct err){0};
    o.alpha = &none;
    CHECK(!scheme_make(&s, &l, &o, &e) && s.score == 7.5, "without smoothing it has");
    scheme_release(&s);
    layers_release(&l);
}

static void smoothing(void)
{
    static const char *const everything[] = {"language_model.*"};
    const double one = 1, own = -1;
    struct scheme_opts o = {
        .by = BY_SELECT, .select = everything, .n_select = 1, .format = FORMAT_INT8, .alpha = &one};
    const struct scheme_module *q, *k;
    struct layers l;
    struct scheme s, back = {0};
    struct err e = {0};

    build(&l, false, &e);
    add_channels(&l, 1, &e);
    CHECK(!scheme_make(&s, &l, &o, &e) && count(&s, FORMAT_INT8) == 7, "%s", e.msg);
    q = scheme_find(&s, "language_model.layers.0.self_attn.q_proj");
    CHECK(q->folded && q->channels == 16 && q->pre_scale[7] == 0.5f && q->input_amax > 0.99f &&
              q->input_amax < 1.01f && !q->own_scale,
          "the norm carries q/k/v's scale");
    CHECK(!scheme_find(&s, "language_model.layers.0.self_attn.o_proj")->pre_scale &&
              scheme_find(&s, "language_model.layers.0.self_attn.o_proj")->input_amax == 3,
          "what no norm carries is not smoothed");
    CHECK(isnan(s.score), "a format that was not scored has no score");
    CHECK(!scheme_write(&s, NULL, 0, path, &e) && !scheme_read(&back, path, false, &e), "%s", e.msg);
    k = scheme_find(&back, "language_model.layers.0.self_attn.k_proj");
    CHECK(k->folded && k->channels == 16 && !memcmp(k->pre_scale, q->pre_scale, 16 * sizeof(float)) &&
              k->input_amax == q->input_amax,
          "scales come back, common to the group");
    scheme_release(&s);
    CHECK(scheme_make(&s, &l, &(struct scheme_opts){.by = BY_COVERAGE, .from = &back}, &e) == -1 &&
              e.rc == RC_USAGE,
          "%s", e.msg);
    scheme_release(&back);
    e = (struct err){0};
    o.smooth_at = "input";
    o.rounding = "modelopt";
    CHECK(!scheme_make(&s, &l, &o, &e) &&
              !scheme_find(&s, "language_model.layers.0.self_attn.q_proj")->folded &&
              scheme_find(&s, "language_model.layers.0.self_attn.q_proj")->own_scale &&
              scheme_find(&s, "language_model.layers.0.mlp.down_proj")->pre_scale,
          "at the input everything is");
    scheme_release(&s);
    o.alpha = &own;
    CHECK(scheme_make(&s, &l, &o, &e) == -1 && strstr(e.msg, "calib-amax --per-channel --alpha auto"), "%s",
          e.msg);
    e = (struct err){0};
    for (size_t g = 0; g < GROUPS; g++)
        layers_set_alpha(&l, g, g == Q ? 1 : 0, &e);
    o.rounding = "exact";
    CHECK(!scheme_make(&s, &l, &o, &e) &&
              scheme_find(&s, "language_model.layers.0.self_attn.q_proj")->pre_scale[3] == 1 &&
              scheme_find(&s, "language_model.layers.0.self_attn.o_proj")->pre_scale[3] == 0.25f,
          "each group by its own alpha: %s", e.msg);
    scheme_release(&s);
    layers_release(&l);
}

static void cache(void)
{
    struct scheme_opts o = {.by = BY_GROUPS, .percent = 50, .kv = true};
    struct layers l;
    struct scheme s, back = {0};
    struct err e = {0};

    build(&l, false, &e);
    layers_set_kv(&l, K_PROJ, 3, &e);
    CHECK(scheme_make(&s, &l, &o, &e) == -1 && strstr(e.msg, "v_proj': run calib-amax --kv"), "%s", e.msg);
    e = (struct err){0};
    layers_set_kv(&l, V_PROJ, 2, &e);
    CHECK(!scheme_make(&s, &l, &o, &e) && s.n_kv == 1 && !strcmp(s.kv[0].layer, "language_model.layers.0") &&
              s.kv[0].k_amax == 3 && s.kv[0].v_amax == 2,
          "one layer's ranges");
    CHECK(!scheme_write(&s, NULL, 0, path, &e) && !scheme_read(&back, path, false, &e) && back.n_kv == 1 &&
              back.kv[0].v_amax == 2 && !strcmp(back.kv[0].layer, "language_model.layers.0"),
          "come back: %s", e.msg);
    scheme_release(&s);
    scheme_release(&back);
    layers_release(&l);
    layers_read(&l, "data/published/qwen2_5-int8_lm_small.json", &e);
    CHECK(scheme_make(&s, &l, &o, &e) == -1 && strstr(e.msg, "manifest"), "%s", e.msg);
    layers_release(&l);
}

/* A scheme of q/k/v in INT8 with one thing wrong. */
static void damaged(const char *what, const char *module, const char *more, const char *want)
{
    struct scheme s;
    struct err e = {0};
    FILE *f = fopen(path, "w");

    fprintf(
        f,
        "{\"scheme_name\":\"x\",\"selected_layers\":[\"layers.0.self_attn.q_proj\"],\"dropped_layers\":[],"
        "\"modules\":{\"layers.0.self_attn.q_proj\":{\"format\":\"int8\",\"input_amax\":1,"
        "\"pre_quant_scale\":[1,2],\"folded\":true},\"layers.0.self_attn.k_proj\":{%s}}%s}",
        module, more);
    fclose(f);
    if (want)
        CHECK(scheme_read(&s, path, false, &e) == -1 && strstr(e.msg, want), "%s: %s", what, e.msg);
    else
        CHECK(!scheme_read(&s, path, false, &e), "%s %s", what, e.msg);
    scheme_release(&s);
}

static void bad_schemes(void)
{
    static const char good[] =
        "\"format\":\"int8\",\"input_amax\":1,\"pre_quant_scale\":[1,2],\"folded\":true";

    damaged("a whole one is read", good, "", NULL);
    damaged("format", "\"format\":\"int4\"", "", "'int4' is not known");
    damaged("two formats in a group", "\"format\":\"fp8\",\"input_amax\":1,\"weight_amax\":1", "",
            "see one input");
    damaged("no range", "\"format\":\"int8\",\"pre_quant_scale\":[1,2],\"folded\":true", "", "input_amax");
    damaged("another range", "\"format\":\"int8\",\"input_amax\":2,\"pre_quant_scale\":[1,2],\"folded\":true",
            "", "see one input");
    damaged("another scale", "\"format\":\"int8\",\"input_amax\":1,\"pre_quant_scale\":[1,3],\"folded\":true",
            "", "see one input");
    damaged("a scale of 0", "\"format\":\"int8\",\"input_amax\":1,\"pre_quant_scale\":[1,0]", "",
            "pre_quant_scale[1]");
    damaged("own scales", "\"format\":\"int8\",\"input_amax\":1,\"pre_quant_scale\":[1,2],\"own_scale\":[1]",
            "", "own_scale");
    damaged("nothing to fold", "\"format\":\"int8\",\"input_amax\":1,\"folded\":true", "",
            "no 'pre_quant_scale'");
    damaged("the cache's format", good, ",\"kv_cache\":{\"format\":\"int8\",\"layers\":{}}",
            "'int8' is not known");
    damaged("no cache", good, ",\"kv_cache\":{\"format\":\"fp8\",\"layers\":{}}", "no layers");
    damaged("a cache without k", good,
            ",\"kv_cache\":{\"format\":\"fp8\",\"layers\":{\"layers.0\":{\"v_amax\":1}}}", "k_amax");
    damaged("a cache twice", good,
            ",\"kv_cache\":{\"format\":\"fp8\",\"layers\":{\"layers.0\":{\"k_amax\":1,\"v_amax\":1},"
            "\"language_model.layers.0\":{\"k_amax\":1,\"v_amax\":1}}}",
            "twice");
}

static void bad_preset(const char *text, const char *want)
{
    struct preset p;
    struct err e = {0};

    scratch_text("document.json", text);
    CHECK(preset_read(&p, path, &e) == -1 && strstr(e.msg, want), "%s", e.msg);
    preset_release(&p);
}

static void presets(void)
{
    static const enum scheme_format lm[GROUPS] = {0, 0, 0, FORMAT_FP8, FORMAT_FP8, FORMAT_FP8, FORMAT_FP8, 0},
                                    all[GROUPS] = {0,           FORMAT_INT8, FORMAT_INT8, FORMAT_INT8,
                                                   FORMAT_INT8, FORMAT_INT8, FORMAT_INT8, 0},
                                    mixed[GROUPS] = {0, 0, 0, FORMAT_FP8, FORMAT_FP8, FORMAT_INT8, 0, 0};
    enum scheme_format got[GROUPS];
    struct layers l, text = {0};
    struct preset p;
    struct err e = {0};

    build(&l, false, &e);
    CHECK(!preset_read(&p, "fp8-lm-kv", &e) && p.kv && !preset_apply(&p, &l, got, &e) &&
              !memcmp(got, lm, sizeof lm),
          "fp8-lm-kv: the language model without its head");
    preset_release(&p);
    CHECK(!preset_read(&p, "int8-all", &e) && !p.kv && isnan(p.alpha) && !preset_apply(&p, &l, got, &e) &&
              !memcmp(got, all, sizeof all),
          "int8-all: both towers without patch_embed and head");
    preset_release(&p);
    CHECK(!preset_read(&p, "int8-sq-lm", &e) && p.alpha == 1 && !strcmp(p.activations, "static"),
          "int8-sq-lm");
    preset_release(&p);
    CHECK(!preset_read(&p, "int8-dynamic-lm", &e) && !strcmp(p.activations, "dynamic"), "int8-dynamic-lm");
    preset_release(&p);
    /* A router: ModelOpt's pattern has a dot at its end, its names one part more. */
    layers_init(&text, &e);
    layers_add(&text, "layers.0.mlp.gate", 4, 4, NULL, &e);
    layers_add(&text, "layers.0.mlp.gate_proj", 4, 4, NULL, &e);
    CHECK(!preset_read(&p, "fp8-lm", &e) && !preset_apply(&p, &text, got, &e) && got[0] == FORMAT_NONE &&
              got[1] == FORMAT_FP8,
          "a router stays, a gate projection does not");
    preset_release(&p);
    layers_release(&text);

    scratch_text("document.json", "{\"schema\":\"octet-preset/"
                 "1\",\"name\":\"mine\",\"rules\":[{\"pattern\":\"language_model.*\",\"format\":"
                 "\"fp8\"},{\"pattern\":\"*.mlp.*\",\"format\":\"int8\"},{\"pattern\":\"*.down_proj\","
                 "\"format\":\"none\"}],"
                 "\"disabled\":[\"visual.*\",\"*router*\"],\"smooth_alpha\":\"auto\",\"smooth_at\":\"input\","
                 "\"kv_cache\":"
                 "\"fp8\",\"activations\":\"dynamic\"}");
    CHECK(!preset_read(&p, path, &e) && p.alpha == -1 && p.smooth_input && p.kv &&
              !strcmp(p.activations, "dynamic") && !preset_apply(&p, &l, got, &e) &&
              !memcmp(got, mixed, sizeof mixed),
          "rules of a file: the last that matches decides %s", e.msg);
    preset_release(&p);
    layers_release(&l);
}

#define HEAD_ "{\"schema\":\"octet-preset/1\",\"name\":\"mine\","
#define FP8_  "\"rules\":[{\"pattern\":\"*\",\"format\":\"fp8\"}]"
#define INT8_ "\"rules\":[{\"pattern\":\"*\",\"format\":\"int8\"}]"

static void bad_presets(void)
{
    struct layers l;
    struct preset p;
    struct err e = {0};
    enum scheme_format got[GROUPS];

    bad_preset("{\"name\":\"mine\"," FP8_ "}", "schema");
    bad_preset("{\"schema\":\"octet-preset/2\",\"name\":\"mine\"," FP8_ "}", "octet-preset/2");
    bad_preset(HEAD_ FP8_ ",\"exlude\":[]}", "'exlude' is not known");
    bad_preset(HEAD_ "\"rules\":[{\"pattern\":\"*\",\"format\":\"fp4\"}]}", "rules[0]: the format 'fp4'");
    bad_preset(HEAD_ "\"rules\":[{\"format\":\"fp8\"}]}", "pattern");
    bad_preset(HEAD_ "\"rules\":[{\"pattern\":\"*\",\"format\":\"none\"}]}", "selects nothing");
    bad_preset(HEAD_ "\"disabled\":[]}", "rules");
    bad_preset(HEAD_ FP8_ ",\"disabled\":[1]}", "disabled[0]");
    bad_preset(HEAD_ FP8_ ",\"smooth_alpha\":0.5}", "is for INT8");
    bad_preset(HEAD_ INT8_ ",\"smooth_alpha\":2}", "within 0 and 1");
    bad_preset(HEAD_ INT8_ ",\"smooth_at\":\"output\"}", "'norm' and 'input'");
    bad_preset(HEAD_ INT8_ ",\"activations\":\"some\"}", "'static' and 'dynamic'");
    bad_preset(HEAD_ FP8_ ",\"kv_cache\":\"int8\"}", "'none' and 'fp8'");
    CHECK(preset_read(&p, "fp9-lm", &e) == -1 && e.rc == RC_USAGE && strstr(e.msg, "fp8-lm-kv"), "%s", e.msg);
    preset_release(&p);
    e = (struct err){0};
    CHECK(preset_read(&p, "no/such.json", &e) == -1 && e.rc == RC_SYS, "%s", e.msg);
    preset_release(&p);
    e = (struct err){0};
    build(&l, false, &e);
    scratch_text("document.json", HEAD_ "\"rules\":[{\"pattern\":\"*.moe.*\",\"format\":\"fp8\"}]}");
    CHECK(!preset_read(&p, path, &e) && preset_apply(&p, &l, got, &e) == -1 &&
              strstr(e.msg, "'*.moe.*' matches no layer"),
          "%s", e.msg);
    preset_release(&p);
    layers_release(&l);
}

int main(void)
{
    path = scratch("document.json");
    cli_force = true;
    scores();
    ranges();
    budgets();
    coverage();
    smoothing();
    cache();
    bad_schemes();
    presets();
    bad_presets();
    return unit_end();
}
