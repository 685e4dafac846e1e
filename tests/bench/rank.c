/* rank.c - time of reading, ranking and selecting on a published manifest of 275 groups; CSV on stdout */
#include <stdio.h>

#include "common/base/progress.h"
#include "common/quant/knapsack.h"
#include "common/quant/scheme.h"

#define MANIFEST "data/published/qwen2_5-fp8-all-baseline.json"
enum { REPEAT = 50, CHOICES = 3 };

static void report(const char *name, double start)
{
    printf("%s,%.4f,ms\n", name, (progress_clock() - start) * 1e3 / REPEAT);
}

static int bench_read(struct layers *l, struct err *e)
{
    double start = progress_clock();

    for (int i = 0; i < REPEAT; i++) {
        layers_release(l);
        if (layers_read(l, MANIFEST, e))
            return -1;
    }
    report("layers-read-275", start);
    return 0;
}

static int bench_rank(const struct layers *l, struct err *e)
{
    double start = progress_clock();

    for (int i = 0; i < REPEAT; i++) {
        struct rank r;

        if (rank_make(&r, l, &(struct rank_opts){.unscored = true}, e))
            return -1;
        rank_release(&r);
    }
    report("rank-275", start);
    return 0;
}

static int bench_scheme(const char *name, const struct layers *l, const struct scheme_opts *o, struct err *e)
{
    double start = progress_clock();

    for (int i = 0; i < REPEAT; i++) {
        struct scheme s;

        if (scheme_make(&s, l, o, e))
            return -1;
        scheme_release(&s);
    }
    report(name, start);
    return 0;
}

/* A third choice between the two: 6 bits at a tenth of the score. */
static int bench_three(const struct layers *l, struct err *e)
{
    static struct knapsack_item item[512][CHOICES];
    static struct knapsack_group group[512];
    static size_t pick[512];
    struct knapsack_solution s = {0};
    uint64_t all = 0;
    double start;

    for (size_t i = 0; i < l->n_groups; i++) {
        const struct layer_group *g = &l->group[i];

        item[i][0] = (struct knapsack_item){g->importance, g->weights / 4};
        item[i][1] = (struct knapsack_item){g->importance / 10, g->weights / 2};
        item[i][2] = (struct knapsack_item){0, g->weights};
        group[i] = (struct knapsack_group){item[i], CHOICES};
        all += g->weights;
    }
    start = progress_clock();
    for (int i = 0; i < REPEAT; i++)
        if (knapsack_solve(group, l->n_groups, all / 2 + all / 7, pick, &s, e))
            return -1;
    report("bits-275-three-choices", start);
    printf("bits-275-three-choices-states,%zu,states\n", s.states);
    return 0;
}

int main(void)
{
    struct scheme_opts half = {.by = BY_GROUPS, .percent = 50}, bits = {.by = BY_BITS, .bits = 11};
    struct layers l = {0};
    struct err e = {0};

    printf("benchmark,value,unit\n");
    if (bench_read(&l, &e) || bench_rank(&l, &e) || bench_scheme("coverage-275", &l, &half, &e) ||
        bench_scheme("bits-275", &l, &bits, &e) || bench_three(&l, &e))
        fprintf(stderr, "bench rank: %s\n", e.msg);
    layers_release(&l);
    return e.msg[0] ? 1 : 0;
}
