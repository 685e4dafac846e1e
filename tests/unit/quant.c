/* quant.c - layer names and groups, the budget solver, the ranking rule */
#include "common/quant/knapsack.h"
#include "common/quant/names.h"
#include "common/quant/rank.h"
#include "tests/unit/unit.h"

static void names(void)
{
    static const struct {
        const char *in, *canonical, *hub, *memory, *group;
    } row[] = {
        {"model.layers.3.self_attn.v_proj", "language_model.layers.3.self_attn.v_proj",
         "model.layers.3.self_attn.v_proj", "model.language_model.layers.3.self_attn.v_proj",
         "language_model.layers.3.self_attn.q_proj"},
        {"layers.0.mlp.up_proj.quant_recipe", "language_model.layers.0.mlp.up_proj",
         "model.layers.0.mlp.up_proj", "model.language_model.layers.0.mlp.up_proj",
         "language_model.layers.0.mlp.gate_proj"},
        {"model.language_model.layers.1.mlp.down_proj", "language_model.layers.1.mlp.down_proj",
         "model.layers.1.mlp.down_proj", "model.language_model.layers.1.mlp.down_proj",
         "language_model.layers.1.mlp.down_proj"},
        {"model.visual.blocks.7.attn.qkv", "visual.blocks.7.attn.qkv", "visual.blocks.7.attn.qkv",
         "model.visual.blocks.7.attn.qkv", "visual.blocks.7.attn.qkv"},
        {"visual.blocks.7.mlp.up_proj", "visual.blocks.7.mlp.up_proj", "visual.blocks.7.mlp.up_proj",
         "model.visual.blocks.7.mlp.up_proj", "visual.blocks.7.mlp.gate_proj"},
        {"model.visual.patch_embed.proj.quant_recipe", "visual.patch_embed.proj", "visual.patch_embed.proj",
         "model.visual.patch_embed.proj", "visual.patch_embed.proj"},
        {"lm_head.quant_recipe", "lm_head", "lm_head", "lm_head", "lm_head"},
        {"language_model.model.layers.2.self_attn.k_proj", "language_model.layers.2.self_attn.k_proj",
         "model.layers.2.self_attn.k_proj", "model.language_model.layers.2.self_attn.k_proj",
         "language_model.layers.2.self_attn.q_proj"},
        {"model.norm.weight", "language_model.norm.weight", "model.norm.weight",
         "model.language_model.norm.weight", "language_model.norm.weight"},
    };
    char c[NAME_BYTES], h[NAME_BYTES], m[NAME_BYTES], g[NAME_BYTES], again[NAME_BYTES];
    const char *member[NAME_MEMBERS_MAX];
    struct err e = {0};

    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        int ret = name_canonical(row[i].in, c, &e) || name_hub(c, h, &e) || name_in_memory(c, m, &e) ||
                  name_group(c, g, &e);

        CHECK(!ret && !strcmp(c, row[i].canonical) && !strcmp(h, row[i].hub) && !strcmp(m, row[i].memory) &&
                  !strcmp(g, row[i].group),
              "names of %s", row[i].in);
        CHECK(!name_canonical(h, again, &e) && !strcmp(again, c), "%s comes back from hub style", row[i].in);
        CHECK(!name_canonical(m, again, &e) && !strcmp(again, c), "%s comes back from memory style",
              row[i].in);
    }
    CHECK(name_members("a.v_proj", member) == 3 && !strcmp(member[0], "q_proj") &&
              !strcmp(member[2], "v_proj"),
          "q, k and v are one group");
    CHECK(name_members("a.up_proj", member) == 2 && !strcmp(member[0], "gate_proj"),
          "gate and up are one group");
    CHECK(name_members("visual.blocks.0.attn.qkv", member) == 0, "a fused qkv is alone");
    CHECK(name_scope("visual.blocks.0.attn.qkv") == SCOPE_VISION && name_scope("lm_head") == SCOPE_LANGUAGE &&
              name_scope("language_model.layers.0.mlp.down_proj") == SCOPE_LANGUAGE,
          "scopes");
    CHECK(!name_servable("visual.patch_embed.proj") && name_servable("visual.merger.mlp.0"),
          "what engines load");
    CHECK(name_canonical("", c, &e) == -1 && strstr(e.msg, "empty"), "an empty name is refused");
    e = (struct err){0};
    CHECK(name_canonical("layers.0.\033[2Jmlp", c, &e) == -1 && strstr(e.msg, "control characters"), "%s",
          e.msg);
}

static void patterns(void)
{
    static const struct {
        const char *pattern, *name;
        bool want;
    } row[] = {
        {"*.mlp.*", "language_model.layers.3.mlp.gate_proj", true},
        {"*.mlp.*", "visual.merger.mlp", false},
        {"lm_head", "lm_head", true},
        {"lm_head", "lm_heads", false},
        {"*", "", true},
        {"", "", true},
        {"", "a", false},
        {"?", "", false},
        {"*.layers.[0-3].*_proj", "language_model.layers.2.self_attn.o_proj", true},
        {"*.layers.[0-3].*_proj", "language_model.layers.23.self_attn.o_proj", false},
        {"*.layers.[!0-3].*_proj", "language_model.layers.4.self_attn.o_proj", true},
        {"*.layers.[!0-3].*_proj", "language_model.layers.2.self_attn.o_proj", false},
        {"*[qk]_proj", "a.k_proj", true},
        {"*[qk]_proj", "a.v_proj", false},
        {"a[", "a[", true},
        {"a[", "ab", false},
        {"[]]", "]", true},
        {"[!]]", "]", false},
        {"[a-]", "-", true},
        {"a*b*c", "axxbyybzc", true},
        {"a*b*c", "axxbyybz", false},
        {"*.1.*", "layers.11.mlp", false},
        {"*proj", "o_proj_x", false},
    };

    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        CHECK(name_match(row[i].pattern, row[i].name) == row[i].want, "'%s' %s '%s'", row[i].pattern,
              row[i].want ? "matches" : "does not match", row[i].name);
}

/* A generator of our own: the same cases on every C library. */
static uint32_t seed;
static uint32_t draw(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * n) >> 32);
}

enum { GROUPS = 9, ITEMS = 3 };

/* The least total score by trying everything; INFINITY when nothing fits. */
static double brute(const struct knapsack_group *g, size_t n, uint64_t budget)
{
    double best = INFINITY;

    if (!n)
        return 0;
    for (size_t j = 0; j < g->n; j++)
        if (g->item[j].cost <= budget)
            best = fmin(best, g->item[j].score + brute(g + 1, n - 1, budget - g->item[j].cost));
    return best;
}

static bool same_as_brute(const struct knapsack_group *g, size_t n, uint64_t budget)
{
    struct knapsack_solution s;
    struct err e = {0};
    double want = brute(g, n, budget), score = 0;
    size_t pick[GROUPS];
    uint64_t cost = 0;

    if (knapsack_solve(g, n, budget, pick, &s, &e))
        return isinf(want) && budget < knapsack_least(g, n);
    for (size_t i = 0; i < n; i++) {
        cost += g[i].item[pick[i]].cost;
        score += g[i].item[pick[i]].score;
    }
    return cost <= budget && cost == s.cost && score == s.score && unit_near(score, want, 1e-12, 0);
}

/* kind 0: free scores and costs; 1: small integers, many ties; 2: many zeros; 3: score falls as cost rises,
 * like formats */
static void draw_case(int kind, struct knapsack_item (*item)[ITEMS], struct knapsack_group *g, size_t n,
                      size_t items)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t size = 1 + draw(40);

        for (size_t j = 0; j < items; j++) {
            uint32_t whole = draw(1000);

            item[i][j].cost = kind == 3 ? size * (j + 1) : draw(kind == 1 ? 4 : 50);
            item[i][j].score = kind == 1   ? whole % 4
                               : kind == 2 ? (whole % 3 ? 0 : whole)
                                           : whole / 997.0 * (kind == 3 ? size / (j + 1.0) : 1);
        }
        if (kind == 3)
            item[i][items - 1].score = 0;
        g[i] = (struct knapsack_group){item[i], items};
    }
}

static void knapsack_brute(void)
{
    struct knapsack_item item[GROUPS][ITEMS];
    struct knapsack_group g[GROUPS];

    seed = 1;
    for (int kind = 0; kind < 4; kind++) {
        for (size_t items = 1; items <= ITEMS; items++) {
            int bad = 0;

            for (int k = 0; k < 400; k++) {
                size_t n = 1 + draw(items == 3 ? 7 : GROUPS);

                draw_case(kind, item, g, n, items);
                bad += !same_as_brute(g, n, draw(60 * (uint32_t)n));
            }
            CHECK(bad == 0, "kind %d, %zu choices: 400 cases agree with trying everything", kind, items);
        }
    }
}

static void knapsack_errors(void)
{
    struct knapsack_item item[2][2] = {{{3, 10}, {0, 20}}, {{1, 8}, {0, 16}}};
    struct knapsack_group g[2] = {{item[0], 2}, {item[1], 2}};
    struct knapsack_solution s;
    struct err e = {0};
    size_t pick[2];

    CHECK(knapsack_least(g, 2) == 18, "the least cost is the sum of the cheapest");
    CHECK(knapsack_solve(g, 2, 17, pick, &s, &e) == -1 && e.rc == RC_DATA && strstr(e.msg, "18"),
          "a budget below the least names the least");
    e = (struct err){0};
    CHECK(!knapsack_solve(g, 2, 18, pick, &s, &e) && s.score == 4 && s.cost == 18,
          "the least budget takes all");
    CHECK(!knapsack_solve(g, 2, 28, pick, &s, &e) && s.score == 1 && pick[0] == 1 && pick[1] == 0,
          "the larger gain goes first");
    CHECK(!knapsack_solve(g, 2, UINT64_MAX, pick, &s, &e) && s.score == 0,
          "a budget without end costs no score");
    CHECK(!knapsack_solve(g, 0, 0, pick, &s, &e) && s.score == 0 && s.cost == 0, "no groups, no score");
    item[0][0].score = NAN;
    CHECK(knapsack_solve(g, 2, 28, pick, &s, &e) == -1, "NaN is refused");
    e = (struct err){0};
    item[0][0].score = -1;
    CHECK(knapsack_solve(g, 2, 28, pick, &s, &e) == -1, "a negative score is refused");
}

/*
 * The linear relaxation from below: for any price of a unit of cost, what the groups choose by themselves,
 * less the price of the budget, is no more than the best score (Lagrange); the price that makes most of it is
 * searched.
 */
static double relaxed(const struct knapsack_group *g, size_t n, uint64_t budget, double price)
{
    double sum = -price * (double)budget;

    for (size_t i = 0; i < n; i++) {
        double least = INFINITY;

        for (size_t j = 0; j < g[i].n; j++)
            least = fmin(least, g[i].item[j].score + price * (double)g[i].item[j].cost);
        sum += least;
    }
    return sum;
}

static double lower_bound(const struct knapsack_group *g, size_t n, uint64_t budget)
{
    double low = log(1e-26), high = log(1e6);

    for (int i = 0; i < 150; i++) { /* a concave function of the price has one peak */
        double a = low + (high - low) / 3, b = high - (high - low) / 3;

        if (relaxed(g, n, budget, exp(a)) < relaxed(g, n, budget, exp(b)))
            low = a;
        else
            high = b;
    }
    return fmax(0, relaxed(g, n, budget, exp(low)));
}

/* What one group can change: no more lies between the best score and its linear relaxation (Sinha and
 * Zoltners 1979). */
static double largest_score(const struct knapsack_group *g, size_t n)
{
    double most = 0;

    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < g[i].n; j++)
            most = fmax(most, g[i].item[j].score);
    return most;
}

/* FP8, INT8 and none of 275 groups: two formats of one size are the better of the two. */
static void knapsack_formats(void)
{
    enum { N = 275 };
    static struct knapsack_item item[N][3], better[N][2];
    static struct knapsack_group g[N], h[N];
    static size_t pick[N];
    uint64_t all = 0;
    int bad = 0, bounds = 0;
    size_t states = 0;

    seed = 11;
    for (size_t i = 0; i < N; i++) {
        uint64_t size = (1 + draw(9)) * 2097152;
        double fp8 = pow(10, 4 * draw(100000) / 1e5), int8 = fp8 * (0.1 + 3 * draw(100000) / 1e5);

        item[i][0] = (struct knapsack_item){fp8, size / 2};
        item[i][1] = (struct knapsack_item){int8, size / 2};
        item[i][2] = better[i][1] = (struct knapsack_item){0, size};
        better[i][0] = (struct knapsack_item){fmin(fp8, int8), size / 2};
        g[i] = (struct knapsack_group){item[i], 3};
        h[i] = (struct knapsack_group){better[i], 2};
        all += size;
    }
    for (uint64_t bits = 33; bits < 64; bits++) { /* quarters of a bit per weight */
        uint64_t budget = all / 64 * bits;
        struct knapsack_solution s, t;
        struct err e = {0};
        double low = lower_bound(g, N, budget);

        if (knapsack_solve(h, N, budget, pick, &t, &e) || knapsack_solve(g, N, budget, pick, &s, &e)) {
            bad++;
            continue;
        }
        states = s.states > states ? s.states : states;
        bad += s.gap != 0 || !unit_near(s.score, t.score, 1e-12, 0);
        bounds += s.score < low * (1 - 1e-9) || s.score > low + largest_score(g, N);
    }
    CHECK(bad == 0, "two formats of one size: the better of them, at every budget");
    CHECK(bounds == 0, "the score lies between the linear relaxation and one group above it");
    CHECK(states < 50000, "275 groups of 3 choices take %zu partial solutions at most", states);
}

/* As large as a model: 275 groups; costs of few kinds as in transformers, or all different. */
static void knapsack_large(void)
{
    enum { N = 275 };
    static struct knapsack_item item[N][ITEMS];
    static struct knapsack_group g[N];
    static size_t pick[N];
    static const char *const kind[] = {"free scores, few sizes", "free scores, all sizes", "scores as costs",
                                       "equal scores", "tiny scores"};

    seed = 7;
    for (int k = 0; k < 5; k++) {
        for (size_t items = 2; items <= 3; items++) {
            struct knapsack_solution s;
            struct err e = {0};
            uint64_t all = 0, most = 0;
            double gap = 0;
            size_t states = 0;
            int bad = 0, bounds = 0;

            for (size_t i = 0; i < N; i++) {
                uint64_t size = k == 1 || k == 2 ? 1000000 + draw(40000000) : (1 + draw(9)) * 2097152;

                for (size_t j = 0; j < items; j++) {
                    double share = (double)(items - 1 - j) / 2, r = (1 + draw(100000)) / 1e5;

                    item[i][j].cost = size / 4 * (j + 1);
                    item[i][j].score = k == 2   ? share * (double)size
                                       : k == 3 ? share
                                                : share * pow(10, 4 * r) * (k == 4 ? 1e-15 : 1);
                }
                g[i] = (struct knapsack_group){item[i], items};
                all += item[i][0].cost;
                most += item[i][items - 1].cost;
            }
            for (int b = k == 2 ? 7 : 1; b < 10; b++) {
                uint64_t budget = all + (most - all) / 10 * (uint64_t)b;
                double low = lower_bound(g, N, budget);

                bad += knapsack_solve(g, N, budget, pick, &s, &e) != 0;
                bounds += s.score < low * (1 - 1e-9) || s.score > low + largest_score(g, N);
                gap = fmax(gap, s.gap);
                states = s.states > states ? s.states : states;
            }
            CHECK(bad == 0, "%s, %zu choices: every budget is solved", kind[k], items);
            CHECK(bounds == 0, "%s, %zu choices: within the bounds of the linear relaxation", kind[k], items);
            CHECK(gap <= (k == 2 ? 1e-6 : 0), "%s, %zu choices: proven best", kind[k], items);
            printf("# largest gap %g, most states %zu\n", gap, states);
        }
    }
}

int main(void)
{
    names();
    patterns();
    knapsack_brute();
    knapsack_errors();
    knapsack_large();
    knapsack_formats();
    return unit_end();
}
