/*
 * published.c - the selections and the budget optima of the published manifests, through the API
 *
 * data/published/coverage-golden.tsv was computed from the manifests by a program of its own: per manifest
 * and coverage the counts, bits, sum of scores, and a hash of the selected names.  "raw" rows rank every
 * group, "rankable" rows only those that data reached.  The manifests themselves carry the optimum that their
 * budget search reported.
 */
#include "common/base/sha256.h"
#include "common/quant/scheme.h"
#include "tests/unit/unit.h"

#define DIR "data/published/"

struct row {
    char manifest[96], sha[16], mode[16], names[24];
    unsigned percent;
    size_t total, selected, dropped, visual;
    double bits, score;
};

static bool next_row(FILE *f, struct row *r)
{
    return fscanf(f, "%95s %15s %15s %u %zu %zu %zu %zu %lf %lf %23s", r->manifest, r->sha, r->mode,
                  &r->percent, &r->total, &r->selected, &r->dropped, &r->visual, &r->bits, &r->score,
                  r->names) == 11;
}

static void hash_names(const struct scheme *s, char hex[SHA256_HEX])
{
    struct sha256 h;

    sha256_init(&h);
    for (size_t i = 0; i < s->n_selected; i++) {
        sha256_add(&h, s->selected[i], strlen(s->selected[i]));
        sha256_add(&h, "\n", 1);
    }
    sha256_hex(&h, hex);
}

/* NULL, or what is wrong. */
static const char *compare(const struct scheme *s, const struct layers *l, const struct row *r)
{
    char hex[SHA256_HEX], name[NAME_BYTES];
    struct err e = {0};
    size_t visual = 0;

    hash_names(s, hex);
    for (size_t i = 0; i < s->n_selected; i++)
        visual += !name_canonical(s->selected[i], name, &e) && name_scope(name) == SCOPE_VISION;
    if (s->n_selected + s->n_dropped != r->total || s->n_selected != r->selected ||
        s->n_dropped != r->dropped)
        return "counts";
    if (s->n_selected + s->n_dropped + s->n_unranked != l->n_groups)
        return "not a partition";
    if (visual != r->visual)
        return "visual count";
    if (!(fabs(s->effective_bits - r->bits) <= 0.5000001e-6)) /* printed with six digits */
        return "effective bits";
    if (!unit_near(s->score, r->score, 1e-13, 0)) /* sums of at most 276 doubles in another order */
        return "cumulative importance";
    if (strncmp(hex, r->names, 16))
        return "names";
    return NULL;
}

static const char *check_row(const struct layers *l, const struct row *r, bool unservable)
{
    struct scheme_opts o = {.by = BY_GROUPS, .percent = r->percent};
    const char *wrong;
    struct scheme s;
    struct err e = {0};

    o.rank.unservable = unservable;
    o.rank.unscored = !strcmp(r->mode, "raw");
    if (scheme_make(&s, l, &o, &e))
        return "scheme_make failed";
    wrong = s.ranged ? "has ranges" : compare(&s, l, r);
    scheme_release(&s);
    return wrong;
}

static void rows(void)
{
    FILE *f = fopen(DIR "coverage-golden.tsv", "r");
    struct layers l = {0};
    struct err e = {0};
    struct row r = {0};
    char open[96] = "", path[256];
    size_t n = 0, rankable = 0, bad = 0, unread = 0;

    CHECK(f != NULL, "coverage-golden.tsv opens");
    if (!f)
        return;
    while (fgetc(f) != '\n' && !feof(f)) /* the head line */
        ;
    while (next_row(f, &r)) {
        const char *wrong;

        if (strcmp(open, r.manifest)) {
            layers_release(&l);
            snprintf(path, sizeof path, DIR "%s", r.manifest);
            snprintf(open, sizeof open, "%s", r.manifest);
            if (layers_read(&l, path, &e) || strncmp(l.hex, r.sha, 12)) {
                printf("# %s: %s\n", path, e.msg);
                unread++;
                continue;
            }
        }
        n++;
        wrong = check_row(&l, &r, true);
        if (!wrong && !strcmp(r.mode, "rankable")) {
            rankable++;
            wrong = check_row(&l, &r, false); /* the data of these never reached patch_embed */
        }
        if (wrong) {
            printf("# %s %s %u: %s\n", r.manifest, r.mode, r.percent, wrong);
            bad++;
        }
    }
    layers_release(&l);
    fclose(f);
    CHECK(unread == 0, "every manifest reads and has the digest of the table");
    CHECK(n == 440 && rankable == 190, "%zu rows, %zu of them rankable", n, rankable);
    CHECK(bad == 0, "counts, bits, cumulative importance and names of every row");
}

static void budget(const char *file)
{
    struct scheme_opts o = {.by = BY_BITS, .rank = {.unscored = true, .unservable = true}};
    const json_t *state, *scheme;
    struct layers l;
    struct scheme s = {0};
    struct err e = {0};
    char path[256], want[64];
    double score, bits;
    int ret;

    snprintf(path, sizeof path, DIR "%s", file);
    if (layers_read(&l, path, &e)) {
        CHECK(false, "%s reads", file);
        return;
    }
    state = json_object_get(l.doc, "autoquant_state");
    scheme = json_object_get(l.doc, "scheme");
    score = json_number_value(json_object_get(state, "score"));
    bits = json_number_value(json_object_get(json_object_get(state, "constraints"), "effective_bits"));
    o.bits = json_number_value(json_object_get(scheme, "auto_quantize_bits"));
    ret = scheme_make(&s, &l, &o, &e);
    if (json_is_true(json_object_get(state, "is_satisfied"))) {
        CHECK(!ret && unit_near(s.score, score, 1e-9, 0) && unit_near(s.effective_bits, bits, 1e-9, 0) &&
                  s.gap == 0,
              "%s: %g bits give score %.12g", file, o.bits, score);
    } else {
        snprintf(want, sizeof want, "%.4f", ceil(bits * 1e4) / 1e4);
        CHECK(ret && strstr(e.msg, want), "%s: %g bits are refused, the least is %s", file, o.bits, want);
    }
    scheme_release(&s);
    layers_release(&l);
}

static void budgets(void)
{
    static const char *const file[] = {
        "qwen2_5-all_layers_int8_large-top10rerun.json",
        "qwen2_5-all_layers_int8_medium-top10rerun.json",
        "qwen2_5-all_layers_int8_small-top10rerun.json",
        "qwen2_5-fp8-all-baseline.json",
        "qwen2_5-int8_lm_large.json",
        "qwen2_5-int8_lm_small.json",
        "qwen3-all_layers_fp8-report.json",
        "qwen3-all_layers_int8_medium-report.json",
        "qwen3-all_layers_int8_medium.json",
        "qwen3-all_layers_int8_small.json",
        "qwen3-int8_lm_medium.json",
        "qwen3-int8_lm_small.json",
        "qwen3-lm-medium-wfp4_afp16.json",
        "qwen3-lm-medium-wfp4_afp8.json",
        "qwen3-lm-medium-wfp4_aint4.json",
        "qwen3-lm-medium-wfp8_afp16.json",
        "qwen3-lm-medium-wfp8_afp8.json",
        "qwen3-lm-medium-wfp8_aint8.json",
        "qwen3-lm-medium-wint4_afp16.json",
        "qwen3-lm-medium-wint4_aint4.json",
        "qwen3-lm-medium-wint4_aint8.json",
        "qwen3-lm-medium-wint8_afp16.json",
        "qwen3-lm-medium-wint8_afp8.json",
        "qwen3-lm-medium-wint8_aint4.json",
        "qwen3-wfp8_afp16_lm_small.json",
    };

    for (size_t i = 0; i < sizeof file / sizeof *file; i++)
        budget(file[i]);
}

static bool same_list(char *const *a, size_t n, char *const *b, size_t m)
{
    for (size_t i = 0; n == m && i < n; i++)
        if (strcmp(a[i], b[i]))
            return false;
    return n == m;
}

/* The one coverage file that was published, read and made. */
static void coverage_file(void)
{
    struct scheme_opts o = {.by = BY_GROUPS, .percent = 10, .rank = {.unservable = true}};
    struct scheme theirs = {0}, ours = {0}, again = {0};
    struct layers l = {0};
    struct err e = {0};
    const char *path = DIR "qwen2_5-fp8-all-baseline.top10.coverage.json";

    CHECK(!layers_read(&l, DIR "qwen2_5-fp8-all-baseline.json", &e) && !scheme_make(&ours, &l, &o, &e),
          "ours is made");
    CHECK(!scheme_read(&theirs, path, true, &e), "theirs is read");
    CHECK(same_list(ours.selected, ours.n_selected, theirs.selected, theirs.n_selected) &&
              same_list(ours.dropped, ours.n_dropped, theirs.dropped, theirs.n_dropped) &&
              theirs.n_selected == 28 && theirs.n_dropped == 247,
          "28 selected and 247 dropped layers agree, in order");
    CHECK(ours.top_percent == theirs.top_percent && ours.coverage_fraction == theirs.coverage_fraction,
          "percent agrees");
    o = (struct scheme_opts){.by = BY_COVERAGE, .from = &theirs};
    CHECK(!scheme_make(&again, &l, &o, &e) &&
              same_list(again.selected, again.n_selected, ours.selected, ours.n_selected) &&
              again.score == ours.score && again.effective_bits == ours.effective_bits,
          "the scheme made from their file is the one made from the ranking");
    scheme_release(&again);
    CHECK(scheme_read(&again, path, false, &e) == -1 && e.rc == RC_DATA && strstr(e.msg, "has no ranges"),
          "a coverage file does not pass where ranges are needed");
    scheme_release(&theirs);
    scheme_release(&ours);
    layers_release(&l);
}

int main(void)
{
    rows();
    budgets();
    coverage_file();
    return unit_end();
}
