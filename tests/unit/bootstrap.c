/* bootstrap.c - intervals against hand-computed cases and a simulation */
#include "common/model/bootstrap.h"

#include "common/base/mt.h"
#include "common/model/pairs.h"
#include "tests/unit/unit.h"

static double uniform(struct mt *m)
{
    return (mt_u32(m) + 0.5) / 4294967296.0;
}

/* Gamma(4) with mean 1: skewed, as a sample's KL is. */
static double effect(struct mt *m)
{
    return -log(uniform(m) * uniform(m) * uniform(m) * uniform(m)) / 4;
}

/* How often an interval of 95 % is above and below the true value, of 100. */
struct misses {
    double above, below;
};

static int covers(struct misses m, double least, double most)
{
    double hits = 100 - m.above - m.below;

    return hits >= least && hits <= most;
}

/*
 * Samples of 5 to 40 tokens; the KL of candidate b is 1.2 times that of a on average, sample by sample.
 * Intervals of the mean KL of a, whose true value is 1, and of the paired difference, 0.2.
 */
static void simulate(size_t samples, struct misses *mean, struct misses *difference)
{
    enum { MOST = 50, DRAWS = 400, TRIALS = 2000 };
    static double tokens[MOST], a[MOST], more[MOST];
    const struct boot_ratio ratio[] = {{a, tokens, BOOT_SIZE}, {more, tokens, BOOT_REAL}};
    struct boot_interval i[2];
    struct err e = {0};
    struct mt m;

    *mean = *difference = (struct misses){0};
    mt_init(&m, samples);
    for (size_t t = 0; t < TRIALS; t++) {
        for (size_t k = 0; k < samples; k++) {
            double size = effect(&m);

            tokens[k] = 5 + mt_below(&m, 36);
            a[k] = tokens[k] * size;
            more[k] = tokens[k] * size * (0.6 * uniform(&m) - 0.1);
        }
        if (boot_intervals(i, ratio, 2, samples, DRAWS, t, &e))
            return;
        mean->above += 100.0 * (i[0].low > 1) / TRIALS;
        mean->below += 100.0 * (i[0].high < 1) / TRIALS;
        difference->above += 100.0 * (i[1].low > 0.2) / TRIALS;
        difference->below += 100.0 * (i[1].high < 0.2) / TRIALS;
    }
}

/* The same for a share: tokens agree nine times of ten, in some samples always and in some four times of five. */
static struct misses simulate_share(size_t samples)
{
    enum { MOST = 50, DRAWS = 400, TRIALS = 2000 };
    static double tokens[MOST], agree[MOST];
    const struct boot_ratio ratio = {agree, tokens, BOOT_SHARE};
    struct misses share = {0};
    struct boot_interval i;
    struct err e = {0};
    struct mt m;

    mt_init(&m, samples);
    for (size_t t = 0; t < TRIALS; t++) {
        for (size_t k = 0; k < samples; k++) {
            double often = 0.8 + 0.2 * uniform(&m);

            tokens[k] = 5 + mt_below(&m, 36);
            agree[k] = 0;
            for (size_t n = 0; n < (size_t)tokens[k]; n++)
                agree[k] += uniform(&m) < often;
        }
        if (boot_intervals(&i, &ratio, 1, samples, DRAWS, t, &e))
            return share;
        share.above += 100.0 * (i.low > 0.9) / TRIALS;
        share.below += 100.0 * (i.high < 0.9) / TRIALS;
    }
    return share;
}

/* Chance moves a coverage of 95 % by 0.5 % (one standard deviation of 2000 trials). */
static void coverage(void)
{
    static const size_t samples[] = {5, 10, 20, 50};

    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        struct misses mean, difference, share = simulate_share(samples[i]);

        simulate(samples[i], &mean, &difference);
        CHECK(covers(mean, 93, 97),
              "%zu samples: 95 %% intervals of a mean are above it %.1f %%, below it %.1f %% of the "
              "time", samples[i], mean.above, mean.below);
        CHECK(covers(difference, 93, 97), "%zu samples: those of a paired difference %.1f %% and %.1f %%",
              samples[i], difference.above, difference.below);
        CHECK(covers(share, 93, 97), "%zu samples: those of a share %.1f %% and %.1f %%", samples[i],
              share.above, share.below);
    }
}

static void ratios(void)
{
    double top[] = {1, 2, 9}, bottom[] = {1, 2, 1}, flat[] = {2, 4, 2}, none[] = {0, 0, 0},
        some[] = {0, 3, 0};
    const struct boot_ratio four[] = {{top, bottom, BOOT_SIZE}, {flat, bottom, BOOT_REAL},
                                      {none, bottom, BOOT_ROOT},
                                      {none, bottom, BOOT_SHARE}};
    const struct boot_ratio forms[] = {{top, bottom, BOOT_REAL}, {top, bottom, BOOT_EXP},
                                       {top, bottom, BOOT_ROOT}};
    const struct boot_ratio weighted = {top, some, BOOT_REAL};
    struct boot_interval i[4], again[4];
    struct err e = {0};

    CHECK(boot_intervals(i, forms, 3, 3, 200, 7, &e) == 0 && i[1].low == exp(i[0].low) &&
              i[1].high == exp(i[0].high) && i[2].low == 0 && i[0].low < 0 && i[2].high == sqrt(i[0].high),
          "the interval of a function is the function of the interval");
    CHECK(boot_intervals(i, four, 4, 3, 200, 7, &e) == 0 &&
          boot_intervals(again, four, 4, 3, 200, 7, &e) == 0 &&
              !memcmp(i, again, sizeof i), "one seed, one set of draws");
    CHECK(boot_intervals(again, four, 4, 3, 200, 8, &e) == 0 && i[0].error != again[0].error,
          "another seed, another");
    CHECK(i[0].low == 0 && i[0].high > 9, "what cannot be negative has no negative end");
    CHECK(i[1].error == 0 && i[1].low == 2 && i[1].high == 2, "where all samples agree, there is no doubt");
    CHECK(i[2].low == 0 && i[2].high == 0 && i[3].low == 0 &&
          i[3].high == 0, "nor where nothing ever differs");
    CHECK(boot_intervals(i, &weighted, 1, 3, 200, 1, &e) == 0 && isfinite(i->low) && isfinite(i->high),
          "draws without weight are drawn again");
}

/* Two samples: half of the draws are one sample twice. */
static void two(void)
{
    double top[] = {1, 3}, bottom[] = {1, 1};
    const struct boot_ratio r = {top, bottom, BOOT_REAL};
    struct boot_interval i;
    struct err e = {0};

    /* R 2, s = sqrt(2 * 2 / 1) / 2 = 1; Student's t of one degree of freedom is 12.706 */
    CHECK(boot_intervals(&i, &r, 1, 2, 1000, 1, &e) == 0 && unit_near(i.low, 2 - 12.7062, 1e-5, 0) &&
              unit_near(i.high, 2 + 12.7062, 1e-5, 0), "never narrower than Student's t");
}

/* A skewed figure leans upwards; a mirrored one downwards by as much. */
static void skew(void)
{
    double top[20], mirror[20], bottom[20];
    struct boot_ratio r[] = {{top, bottom, BOOT_REAL}, {mirror, bottom, BOOT_REAL}};
    struct boot_interval i[2];
    struct err e = {0};
    const double ratio = (17 * 1 + 3 * 8) / 20.0;

    for (size_t k = 0; k < 20; k++) {
        bottom[k] = 1;
        top[k] = k < 17 ? 1 : 8;
        mirror[k] = -top[k];
    }
    CHECK(boot_intervals(i, r, 2, 20, 2000, 3, &e) == 0 && i[0].high - ratio > 1.2 * (ratio - i[0].low),
          "the longer side is the one of the tail");
    CHECK(unit_near(i[0].low, -i[1].high, 1e-12, 0) && unit_near(i[0].high, -i[1].low, 1e-12, 0),
          "on either side");
}

/* A share of 19 in 20 samples: draws are multiples of 1/20. */
static void shares(void)
{
    double top[20], bottom[20];
    const struct boot_ratio r = {top, bottom, BOOT_SHARE};
    struct boot_interval i;
    struct err e = {0};

    for (size_t k = 0; k < 20; k++) {
        bottom[k] = 1;
        top[k] = k > 0;
    }
    CHECK(boot_intervals(&i, &r, 1, 20, 2000, 3, &e) == 0 && i.high == 1 && i.low >= 0.7 && i.low <= 0.85 &&
              unit_near(i.error, sqrt(0.95 * 0.05 / 20), 0.1, 0), "a share stays within 0 and 1");
}

static void needed(void)
{
    /* (1.95996 + 0.84162)^2 = 7.8489 */
    CHECK(boot_samples(1, 1, 40) == 314 && boot_samples(-2, 1, 40) == 79 && boot_samples(0, 1, 40) == 0 &&
              boot_samples(0, 0, 40) == 0, "how many samples would do");
}

/* ---- pairs ---- */

/*
 * Candidate c of n samples: the KL of sample i is c + 1 times some size, or with noise, independent of the
 * others'.
 */
static void fill(struct eval_sample *s, size_t n, size_t c, double noise)
{
    struct mt m;

    mt_init(&m, 11);
    for (size_t i = 0; i < n; i++) {
        double size = effect(&m);

        s[i] = (struct eval_sample){.tokens = 30, .loss_tokens = 10, .kl_answer = 10 * size * (double)(c + 1),
                                    .kl = 12 * size * (double)(c + 1), .nll_ref = 10,
                                    .nll = 10 + size * (double)c,
                                    .same_top_answer = 10 - c % 2};
    }
    mt_init(&m, 100 + c);
    for (size_t i = 0; i < n; i++)
        s[i].kl_answer += noise * effect(&m);
}

static void make_pairs(void)
{
    enum { N = 30, CANDIDATES = 4 };
    struct eval_sample s[CANDIDATES][N];
    struct candidate c[CANDIDATES] = {{0}};
    struct pairs p, every;
    struct err e = {0};
    int bad = 0;

    for (size_t k = 0; k < CANDIDATES; k++) {
        /* the third is the second; the last is mostly noise */
        fill(s[k], N, k == 2 ? 1 : k, k == 3 ? 400 : 0);
        bad |= candidate_recall(&c[k], "x", s[k], N, &e);
    }
    CHECK(!bad && pairs_make(&p, c, CANDIDATES, false, &e) == 0 && p.n == 3 &&
          p.neighbours == 3, "neighbours");
    CHECK(p.pair[0].verdict == VERDICT_WORSE && p.pair[1].verdict == VERDICT_EQUAL && p.clear == 2 &&
          p.equal == 1,
          "worse, equal, worse");
    CHECK(unit_near(p.pair[0].difference[PAIR_KL_ANSWER], c[1].total.kl_answer - c[0].total.kl_answer, 1e-12,
                    0) &&
              unit_near(p.pair[0].difference[PAIR_PPL_RATIO], c[1].total.ppl / c[1].total.ppl_ref - 1, 1e-12,
                        0) &&
              unit_near(p.pair[0].difference[PAIR_SAME_TOP], -0.1, 1e-12, 0),
              "differences are those of the figures");
    CHECK(p.pair[0].interval[PAIR_PPL_RATIO].low < p.pair[0].difference[PAIR_PPL_RATIO] &&
              p.pair[0].difference[PAIR_PPL_RATIO] < p.pair[0].interval[PAIR_PPL_RATIO].high,
              "and lie in their intervals");
    CHECK(pairs_make(&every, c, CANDIDATES, true, &e) == 0 && every.n == 6 && every.neighbours == 3 &&
              !memcmp(&every.pair[0], &p.pair[0], sizeof *p.pair) && every.pair[5].a == 2 &&
              every.pair[5].b == 3,
          "every two, in order, with the same figures");
    pairs_release(&every);
    pairs_release(&p);
    candidate_release(&c[2]);
    for (size_t i = 0; i < N; i++)
        s[2][i].kl_answer = s[1][i].kl_answer + (i % 2 ? 0.5 : -0.49);
    CHECK(candidate_recall(&c[2], "x", s[2], N, &e) == 0 && pairs_make(&p, c, 3, false, &e) == 0 &&
              p.pair[1].verdict == VERDICT_UNCLEAR && p.pair[1].samples_needed >= 2 * N &&
              p.samples_needed == p.pair[1].samples_needed, "unclear, and what would settle it");
    pairs_release(&p);
    CHECK(pairs_make(&p, c, 1, true, &e) == 0 && p.n == 0, "one candidate has no pair");
    for (size_t k = 0; k < CANDIDATES; k++)
        candidate_release(&c[k]);
}

int main(void)
{
    ratios();
    two();
    skew();
    shares();
    needed();
    make_pairs();
    coverage();
    return unit_end();
}
