/* layers.c - LAYERS documents and schemes: building, round trip, ranking rule, shards, fused ranges */
#include "common/base/cli.h"
#include "common/quant/scheme.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

/* A model in miniature; the scores have a tie (o_proj, down_proj) and differ per weight. */
static const struct {
    const char *name;
    size_t rows, cols, tokens;
    float weight, input;
} module[] = {
    {"visual.patch_embed.proj", 8, 12, 40, 0.5f, 1},
    {"model.visual.blocks.0.attn.qkv", 24, 8, 40, 0.25f, 2},
    {"visual.merger.mlp.0", 8, 32, 0, 0.5f, 0},
    {"model.layers.0.self_attn.q_proj", 16, 16, 100, 0.5f, 4},
    {"model.layers.0.self_attn.k_proj", 4, 16, 100, 2, 4},
    {"model.layers.0.self_attn.v_proj", 4, 16, 100, 1, 4},
    {"model.layers.0.self_attn.o_proj", 16, 16, 100, 0.75f, 3},
    {"model.layers.0.mlp.gate_proj", 32, 16, 100, 0.5f, 5},
    {"model.layers.0.mlp.up_proj", 32, 16, 100, 0.625f, 5},
    {"model.layers.0.mlp.down_proj", 16, 32, 100, 0.125f, 6},
    {"lm_head", 64, 16, 90, 0.5f, 7},
};
enum { MODULES = sizeof module / sizeof *module, GROUPS = 8 };

/* by group: patch_embed, qkv, merger, q_proj, o_proj, gate_proj, down_proj, lm_head */
static const double score[GROUPS] = {9, 3, 0, 4, 1, 2, 1, 0.5};
static const char *const name[GROUPS] = {
    "visual.patch_embed.proj",
    "visual.blocks.0.attn.qkv",
    "visual.merger.mlp.0",
    "language_model.layers.0.self_attn.q_proj",
    "language_model.layers.0.self_attn.o_proj",
    "language_model.layers.0.mlp.gate_proj",
    "language_model.layers.0.mlp.down_proj",
    "lm_head",
};

static int build(struct layers *l, bool scored, struct err *e)
{
    if (layers_init(l, e) ||
        layers_set_model(l, "tiny", "abc", "Qwen2_5_VLForConditionalGeneration", true, e) ||
        layers_set_samples(l, "def", 4, 140, 50, e) || layers_set_quantization(l, "exact", "shared", e))
        return -1;
    for (size_t i = 0; i < MODULES; i++) {
        size_t at;

        if (layers_add(l, module[i].name, module[i].rows, module[i].cols, &at, e) ||
            layers_set_ranges(l, at, module[i].weight, module[i].input, module[i].tokens, e))
            return -1;
    }
    for (size_t i = 0; scored && i < GROUPS; i++)
        if (layers_set_score(l, i, "FP8", "gradient", score[i], NAN, score[i] * 5, e))
            return -1;
    return 0;
}

/* The order as group numbers in one string, "1460"; then "|" and what is not ranked. */
static const char *order(const struct layers *l, const struct rank_opts *o, struct err *e)
{
    static char text[2 * GROUPS + 2];
    struct rank r;
    char *p = text;

    if (rank_make(&r, l, o, e))
        return "error";
    for (size_t i = 0; i < r.n; i++)
        *p++ = (char)('0' + r.order[i]);
    *p++ = '|';
    for (size_t i = 0; i < r.n_out; i++)
        *p++ = (char)('0' + r.out[i].group);
    *p = '\0';
    rank_release(&r);
    return text;
}

static void building(void)
{
    struct layers l;
    struct err e = {0};

    CHECK(!build(&l, true, &e) && l.n_modules == MODULES && l.n_groups == GROUPS, "8 groups of 11 modules %s",
          e.msg);
    for (size_t i = 0; i < GROUPS; i++)
        CHECK(!strcmp(l.group[i].name, name[i]) && layers_find_group(&l, name[i]) == (long)i, "group %s",
              name[i]);
    CHECK(l.group[3].n_members == 3 && l.group[3].weights == 384 && l.group[3].choice[0].cost == 192 &&
              l.group[3].choice[1].cost == 384,
          "q, k and v: 384 weights, cost 192 in FP8");
    CHECK(layers_weight_amax(&l, 3, true) == 2 && layers_weight_amax(&l, 3, false) == 0.5f &&
              layers_weight_amax(&l, 6, true) == 0.75f,
          "q_proj shares the largest range of its group, o_proj has its own");
    CHECK(layers_find_module(&l, "lm_head") == 10 && layers_find_module(&l, "no") == -1, "modules by name");
    CHECK(layers_add(&l, "visual.merger.mlp.0", 1, 1, NULL, &e) == -1 && strstr(e.msg, "twice"),
          "no module twice");
    e = (struct err){0};
    CHECK(layers_set_score(&l, 4, "FP8", "gradient", NAN, NAN, NAN, &e) == -1 && strstr(e.msg, name[4]),
          "NaN score refused");
    e = (struct err){0};
    CHECK(layers_set_score(&l, 4, "FP8", "gradient", -1, NAN, NAN, &e) == -1, "negative score refused");
    CHECK(layers_set_score(&l, 4, "FP8", "kl_div", 1, INFINITY, NAN, &e) == -1, "infinite score refused");
    CHECK(layers_set_ranges(&l, 4, NAN, 1, 1, &e) == -1 &&
              layers_set_ranges(&l, 4, 1, INFINITY, 1, &e) == -1 &&
              layers_set_ranges(&l, 4, 1, NAN, 0, &e) == 0,
          "ranges must be finite where data went");
    layers_release(&l);
}

static void ranking(void)
{
    struct rank_opts all = {0}, language = {.scope = SCOPE_LANGUAGE}, vision = {.scope = SCOPE_VISION},
                     embed = {.unservable = true}, raw = {.unscored = true, .unservable = true};
    const char *no_mlp[] = {"*.mlp.up_proj"}, *nothing[] = {"*.moe.*"};
    struct rank_opts exclude = {.exclude = no_mlp, .n_exclude = 1},
                     unknown = {.exclude = nothing, .n_exclude = 1};
    struct layers l;
    struct rank r;
    struct err e = {0};

    build(&l, true, &e);
    CHECK(!strcmp(order(&l, &all, &e), "46513|027"),
          "score order, ties in model order; three are not ranked");
    CHECK(!strcmp(order(&l, &embed, &e), "465130|27"), "patch_embed on request");
    CHECK(!strcmp(order(&l, &raw, &e), "2465130|7"), "unscored first on request; a tied lm_head never");
    CHECK(!strcmp(order(&l, &language, &e), "4653|0127") && !strcmp(order(&l, &vision, &e), "1|0234567"),
          "scopes");
    CHECK(!strcmp(order(&l, &exclude, &e), "4613|0257"), "one member excludes its group");
    CHECK(!strcmp(order(&l, &unknown, &e), "error") && e.rc == RC_USAGE && strstr(e.msg, "*.moe.*"),
          "unknown pattern");
    e = (struct err){0};
    CHECK(!rank_make(&r, &l, &all, &e) && !strcmp(r.out[0].reason, "no engine loads it quantized") &&
              !strcmp(r.out[1].reason, "no data reached it") &&
              !strcmp(r.out[2].reason, "tied to the embedding"),
          "the reasons");
    /* per weight: o 1/256, down 1/512, gate 2/1024, q 4/384, qkv 3/192: down and gate tie */
    CHECK(!rank_by_bytes(&r, &l, &e) && r.order[0] == 5 && r.order[1] == 6 && r.order[2] == 4 &&
              r.order[3] == 3 && r.order[4] == 1,
          "by score per weight, ties in model order");
    /* 1024 512 256 384 192 of 2368 */
    CHECK(rank_count_bytes(&r, &l, 1) == 1 && rank_count_bytes(&r, &l, 43) == 1 &&
              rank_count_bytes(&r, &l, 44) == 2 && rank_count_bytes(&r, &l, 64) == 2 &&
              rank_count_bytes(&r, &l, 65) == 3 && rank_count_bytes(&r, &l, 100) == 5,
          "shortest prefix with that share of the weights");
    rank_store(&r, &l, &e);
    CHECK(!strcmp(order(&l, &all, &e), "56431|027") && !strcmp(order(&l, &raw, &e), "2465130|7"),
          "a stored ranking is kept, except by the raw order");
    rank_release(&r);
    CHECK(rank_count(275, 10) == 28 && rank_count(275, 28) == 77 && rank_count(275, 56) == 154 &&
              rank_count(275, 100) == 275 && rank_count(3, 1) == 1 && rank_count(1, 50) == 1 &&
              rank_count(0, 50) == 0,
          "counts round up, without the error of 0.28 * 275");
    layers_release(&l);
}

static void round_trip(void)
{
    const char *path = scratch("layers.json");
    struct layers a, b = {0}, c = {0};
    struct err e = {0};
    json_t *x = NULL, *y = NULL;

    build(&a, true, &e);
    CHECK(!layers_write(&a, NULL, 0, path, &e) && !layers_read(&b, path, &e), "write and read: %s",
          e.msg);
    x = layers_to_json(&a, NULL, 0, &e);
    y = layers_to_json(&b, NULL, 0, &e);
    CHECK(x && y && json_equal(x, y), "nothing is lost on the way");
    CHECK(b.loss_tokens == 50 && b.tied_lm_head && b.group[2].tokens == 0 &&
              b.group[3].choice[0].predicted_kl == 20 && isnan(b.group[3].choice[0].kl) &&
              b.module[2].input_amax < 0 && b.module[4].weight_amax == 2,
          "numbers come back");
    json_object_set_new(x, "note", json_string("mine"));
    json_object_set_new(json_object_get(json_object_get(x, "modules"), "lm_head"), "channels",
                        json_pack("[f]", 1.5));
    json_object_set_new(json_object_get(json_object_get(x, "layer_sensitivity"), "lm_head"), "extra",
                        json_true());
    CHECK(!json_save(path, x, &e) && !layers_read(&c, path, &e), "a document with unknown keys is read");
    json_decref(y);
    y = layers_to_json(&c, NULL, 0, &e);
    CHECK(y && json_equal(x, y), "unknown keys stay");
    CHECK(layers_use_method(&b, "kl", &e) == -1 && strstr(e.msg, "no kl scores"), "no KL was measured");
    json_decref(x);
    json_decref(y);
    layers_release(&a);
    layers_release(&b);
    layers_release(&c);
}

static void shards(void)
{
    struct layers a, b, other;
    struct rank_opts all = {0};
    struct err e = {0};

    build(&a, true, &e);
    build(&b, true, &e);
    build(&other, true, &e);
    layers_set_ranges(&b, 2, 0.5f, 3, 7, &e);
    layers_set_ranges(&b, 6, 0.75f, 1, 10, &e);
    layers_set_score(&b, 2, "FP8", "gradient", 0.25, NAN, 1, &e);
    layers_set_score(&b, 4, "FP8", "gradient", 5, NAN, NAN, &e);
    CHECK(!layers_merge(&a, &b, &e), "shards merge: %s", e.msg);
    CHECK(a.module[2].input_amax == 3 && a.module[2].tokens == 7 && a.module[6].input_amax == 3 &&
              a.module[6].tokens == 110,
          "ranges by max, tokens by sum; what one shard reached is reached");
    CHECK(a.group[4].choice[0].score == 6 && a.group[4].importance == 6 && a.group[1].importance == 6 &&
              isnan(a.group[4].choice[0].predicted_kl) && a.group[1].choice[0].predicted_kl == 30 &&
              a.loss_tokens == 100 && a.samples == 8,
          "scores by sum; a sum that one shard lacks is not known");
    /* 18, 6, 0.25, 8, 6, 4, 2, 1 */
    CHECK(!strcmp(order(&a, &all, &e), "265143|07"), "the merged order");
    other.tied_lm_head = false;
    CHECK(layers_merge(&a, &other, &e) == -1 && strstr(e.msg, "model"), "another model is refused");
    other.tied_lm_head = true;
    e = (struct err){0};
    layers_set_quantization(&other, "modelopt", "shared", &e);
    CHECK(layers_merge(&a, &other, &e) == -1 && strstr(e.msg, "rounding"), "another rounding is refused");
    layers_release(&a);
    layers_release(&b);
    layers_release(&other);
}

static void schemes(void)
{
    struct scheme_opts top = {.by = BY_GROUPS, .percent = 80}, own = top, bits = {.by = BY_BITS, .bits = 12},
                       low = {.by = BY_BITS, .bits = 7};
    const char *attn[] = {"*.k_proj"}, *head[] = {"lm_head"}, *everything[] = {"*"};
    struct scheme_opts by_name = {.by = BY_SELECT, .select = attn, .n_select = 1},
                       tied = {.by = BY_SELECT, .select = head, .n_select = 1},
                       ptq = {.by = BY_SELECT, .select = everything, .n_select = 1};
    const char *path = scratch("scheme.json");
    struct scheme s, back;
    struct layers l;
    struct err e = {0};

    own.fused_ranges = "own";
    build(&l, true, &e);
    /* 80 % of 5: o, down, gate, qkv.  Weights 256 + 512 + 1024 + 192 = 1984 of all 96 + 192 + 256 + 384 + 256
     * + 1024
     * + 512 + 1024 = 3744; bits 16 - 8 * 1984 / 3744; predicted KL 5 * (1 + 1 + 2 + 3) / 50 */
    CHECK(!scheme_make(&s, &l, &top, &e) && s.n_selected == 4 && s.n_dropped == 1 && s.n_unranked == 3,
          "top 80 %%");
    CHECK(s.score == 7 && unit_near(s.predicted_kl, 0.7, 1e-15, 0) && s.weights == 3744 &&
              s.weight_bytes == 3744 * 2 - 1984 &&
              unit_near(s.effective_bits, 16 - 8 * 1984 / 3744., 1e-15, 0) &&
              unit_near(s.bytes_fraction, 1984 / 3744., 1e-15, 0),
          "its sums");
    CHECK(s.n_modules == 5 && scheme_find(&s, "language_model.layers.0.mlp.up_proj")->weight_amax == 0.625f &&
              scheme_find(&s, "language_model.layers.0.mlp.gate_proj")->weight_amax == 0.625f &&
              scheme_find(&s, "visual.blocks.0.attn.qkv")->input_amax == 2 && !scheme_find(&s, "lm_head"),
          "modules with shared ranges");
    CHECK(!scheme_write(&s, NULL, 0, path, &e) && !scheme_read(&back, path, false, &e) &&
              back.n_modules == 5 && back.ranged && back.score == 7 && !strcmp(back.name, "top80") &&
              scheme_find(&back, "language_model.layers.0.mlp.gate_proj")->weight_amax == 0.625f,
          "write and read: %s", e.msg);
    scheme_release(&s);
    scheme_release(&back);
    CHECK(!scheme_make(&s, &l, &own, &e) &&
              scheme_find(&s, "language_model.layers.0.mlp.gate_proj")->weight_amax == 0.5f,
          "own ranges on request");
    scheme_release(&s);
    /* 12 bits: 1872 of 3744 weights must go.  Least score: gate 1024 (2) + down 512 (1) + q 384 (4) = 1920
     * (7), or gate + down + o 256 (1) = 1792, + qkv 192 (3) = 1984 (7): the tie may go either way */
    CHECK(!scheme_make(&s, &l, &bits, &e) && s.score == 7 && s.effective_bits <= 12, "12 bits per weight");
    scheme_release(&s);
    CHECK(scheme_make(&s, &l, &low, &e) == -1 && strstr(e.msg, "10.9402"), "7 bits are refused: %s", e.msg);
    e = (struct err){0};
    CHECK(!scheme_make(&s, &l, &by_name, &e) && s.n_selected == 1 && s.n_modules == 3 &&
              scheme_find(&s, "language_model.layers.0.self_attn.q_proj")->weight_amax == 2,
          "k_proj takes its group along");
    scheme_release(&s);
    CHECK(scheme_make(&s, &l, &tied, &e) == -1 && strstr(e.msg, "tied to the embedding"),
          "a tied head is refused");
    e = (struct err){0};
    layers_release(&l);
    build(&l, false, &e);
    CHECK(!scheme_make(&s, &l, &ptq, &e) && s.n_selected == 5 && s.n_unranked == 3 && isnan(s.score),
          "ranges without scores do for a selection by name");
    scheme_release(&s);
    CHECK(scheme_make(&s, &l, &top, &e) == -1 && strstr(e.msg, "no scores"), "but not for a coverage");
    layers_release(&l);
}

int main(void)
{
    cli_force = true;
    building();
    ranking();
    round_trip();
    shards();
    schemes();
    return unit_end();
}
