/*
 * smooth.c - SmoothQuant's scales: by hand, and those that ModelOpt wrote for the tiny model
 *
 * tests/golden/modelopt-tiny has channel ranges (channels.json) and, of two exports, the SHA-256 of every
 * pre_quant_scale and the value of every input_scale (tensors.tsv).
 */
#include "common/quant/smooth.h"
#include "common/base/sha256.h"
#include "tests/unit/unit.h"

#define DIR "tests/golden/modelopt-tiny/"

enum { COLS = 4 };

/* q, k, v of 4 inputs.  Channel 2 has no input range, channel 3 no weight range in q. */
static void build(struct layers *l, bool channels, struct err *e)
{
    static const char *const name[] = {"layers.0.self_attn.q_proj", "layers.0.self_attn.k_proj",
                                       "layers.0.self_attn.v_proj", "layers.0.self_attn.o_proj"};
    static const float x[COLS] = {4, 0.25f, 0, 1};
    static const float w[][COLS] = {{1, 1, 1, 0}, {4, 1, 1, 1}, {9, 1, 1, 1}, {1, 1, 1, 1}};
    size_t at;

    layers_init(l, e);
    for (size_t i = 0; i < 4; i++)
        if (layers_add(l, name[i], 2, COLS, &at, e) || layers_set_ranges(l, at, 9, 4, 10, e) ||
            (channels && layers_set_channels(l, at, x, w[i], e)))
            return;
}

static void by_hand(void)
{
    struct smooth_group s;
    struct layers l;
    struct err e = {0};
    float zero[COLS] = {0}, low[COLS] = {1e6f, 1e-6f, 1, 1}, one[COLS] = {1, 1, 1, 1};

    build(&l, true, &e);
    CHECK(!smooth_make(&s, &l, 0, 1, ROUND_EXACT, &e) && s.members == 3 && s.channels == COLS, "q, k, v: %s",
          e.msg);
    CHECK(s.pre[0] == 0.25f && s.pre[1] == 4 && s.pre[2] == 1 && s.input_amax == 1,
          "alpha 1 levels the input; a channel without range stays");
    CHECK(s.own[0][3] == 1 && s.own[1][3] == 1 && s.pre[3] == 1, "so does one without weights");
    smooth_release(&s);
    /* sqrt(w / x): q 1/2, k 1, v 3/2 in channel 0 */
    CHECK(!smooth_make(&s, &l, 0, 0.5, ROUND_EXACT, &e) && s.own[0][0] == 0.5f && s.own[1][0] == 1 &&
              s.own[2][0] == 1.5f && s.pre[0] == 1 && s.pre[1] == 2 && s.input_amax == 4,
          "alpha 0.5; the group's scale is the mean");
    smooth_release(&s);
    CHECK(!smooth_make(&s, &l, 0, 0, ROUND_EXACT, &e) && s.own[2][0] == 9 && s.pre[1] == 1,
          "alpha 0 levels the weight");
    smooth_release(&s);
    CHECK(!smooth_make(&s, &l, 0, 0.5, ROUND_MODELOPT, &e) && s.input_amax == 6,
          "ModelOpt's input range is the largest under the members' own scales");
    smooth_release(&s);
    CHECK(smooth_folds(&l, 0) && !smooth_folds(&l, 1),
          "the norm carries q/k/v's scale, o_proj has none before it");

    for (double alpha = -0.5; alpha < 2; alpha += 1.75) {
        CHECK(smooth_make(&s, &l, 0, alpha, ROUND_EXACT, &e) == -1 && e.rc == RC_USAGE, "alpha %g: %s", alpha,
              e.msg);
        smooth_release(&s);
        e = (struct err){0};
    }
    CHECK(smooth_make(&s, &l, 0, NAN, ROUND_EXACT, &e) == -1, "alpha NaN is refused");
    smooth_release(&s);
    e = (struct err){0};
    layers_set_channels(&l, 3, low, one, &e);
    CHECK(!smooth_make(&s, &l, 1, 1, ROUND_EXACT, &e) && s.own[0][0] == 1e-4f && s.own[0][1] == 1e4f,
          "scales stay within 1e-4 and 1e4");
    smooth_release(&s);
    layers_set_channels(&l, 3, zero, one, &e);
    CHECK(smooth_make(&s, &l, 1, 1, ROUND_EXACT, &e) == -1 && strstr(e.msg, "o_proj' has a range of 0"), "%s",
          e.msg);
    smooth_release(&s);
    e = (struct err){0};
    layers_release(&l);
    build(&l, false, &e);
    CHECK(smooth_make(&s, &l, 0, 1, ROUND_EXACT, &e) == -1 && strstr(e.msg, "calib-amax --per-channel"), "%s",
          e.msg);
    smooth_release(&s);
    layers_release(&l);
}

/* The scale as its file has it. */
static void hash_bf16(const float *x, size_t n, char hex[SHA256_HEX])
{
    struct sha256 h;

    sha256_init(&h);
    for (size_t i = 0; i < n; i++) {
        uint16_t b = bf16_from_f32(x[i]);
        uint8_t bytes[2] = {(uint8_t)b, (uint8_t)(b >> 8)};

        sha256_add(&h, bytes, 2);
    }
    sha256_hex(&h, hex);
}

/* One row of tensors.tsv against the group of its module: 1 it agrees, 0 it does not, -1 it is another
 * tensor's. */
static int check_row(const struct layers *l, const struct smooth_group *group, const char *name,
                     const char *sha, const char *value)
{
    const char *end = strrchr(name, '.');
    char module[NAME_BYTES], canonical[NAME_BYTES], hex[SHA256_HEX];
    struct err e = {0};
    const struct smooth_group *s;
    long at;

    snprintf(module, sizeof module, "%.*s", (int)(end - name), name);
    if (name_canonical(module, canonical, &e) || (at = layers_find_module(l, canonical)) < 0)
        return -1;
    s = &group[l->module[at].group];
    if (!strcmp(end, ".input_scale"))
        return s->input_amax / 127 == (float)strtod(value, NULL); /* the CPU's arithmetic */
    if (strcmp(end, ".pre_quant_scale"))
        return -1;
    hash_bf16(s->pre, s->channels, hex);
    return !strcmp(hex, sha);
}

static void golden(const char *export, double alpha)
{
    char path[256], line[512], name[NAME_BYTES], dtype[16], shape[32], sha[SHA256_HEX], value[64];
    struct smooth_group group[64] = {0};
    struct layers l = {0};
    struct err e = {0};
    size_t agree = 0, bad = 0;
    FILE *f;

    snprintf(path, sizeof path, DIR "exports/%s/tensors.tsv", export);
    f = fopen(path, "r");
    if (!f || layers_read(&l, DIR "channels.json", &e) || l.n_groups > 64) {
        CHECK(false, "%s: %s", path, e.msg);
        return;
    }
    for (size_t g = 0; g < l.n_groups; g++)
        if (smooth_make(&group[g], &l, g, alpha, ROUND_MODELOPT, &e))
            CHECK(false, "%s", e.msg);
    while (fgets(line, sizeof line, f)) {
        int fields = sscanf(line, "%255s %15s %31s %64s %63s", name, dtype, shape, sha, value);
        int same =
            fields >= 4 && strchr(name, '.') ? check_row(&l, group, name, sha, fields > 4 ? value : "") : -1;

        agree += same == 1;
        bad += same == 0;
        if (same == 0)
            printf("# %s\n", name);
    }
    CHECK(agree == 84 && bad == 0, "%s: %zu pre_quant_scales and input_scales are ModelOpt's", export, agree);
    for (size_t g = 0; g < l.n_groups; g++)
        smooth_release(&group[g]);
    layers_release(&l);
    fclose(f);
}

int main(void)
{
    by_hand();
    golden("int8-sq-stock", 1);
    golden("int8-sq-alpha05-stock", 0.5);
    return unit_end();
}
