/* pairs.c - how candidates differ that were measured on the same samples against the same reference */
#include "common/model/pairs.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/mem.h"

const enum figure pair_figure[PAIR_FIGURES] = {FIG_KL_ANSWER, FIG_KL, FIG_PPL_RATIO, FIG_SAME_TOP};
const char *const verdict_name[] = {"worse", "better", "equal", "unclear"};

enum { TOGETHER = 16 }; /* pairs that share draws: drawing costs as much as summing for a few */

/* A figure of a candidate over all samples, and what it is before its form is taken. */
static double figure_value(const struct candidate *c, enum figure f, double *ratio)
{
    double top = 0, bottom = 0;

    for (size_t i = 0; i < c->total.samples; i++) {
        struct figure_part part = figure_part(f, &c->sample[i]);

        top += part.top;
        bottom += part.bottom;
    }
    *ratio = top / bottom;
    return figure_form(f) == BOOT_EXP ? exp(*ratio) : *ratio;
}

/*
 * What a sample adds to the difference of a figure of form g: g'(R_b) top_b - g'(R_a) top_a; for a plain
 * ratio, that of the tops.  The sums' ratio is off the difference itself by *shift, which is 0 for a plain
 * ratio.
 */
static struct boot_ratio difference(double *top, double *bottom, const struct candidate *a,
                                    const struct candidate *b, enum figure f, double *value, double *shift)
{
    double ratio_a, ratio_b, of_a = figure_value(a, f, &ratio_a), of_b = figure_value(b, f, &ratio_b);
    bool curved = figure_form(f) == BOOT_EXP;
    double slope_a = curved ? of_a : 1, slope_b = curved ? of_b : 1;

    for (size_t i = 0; i < a->total.samples; i++) {
        struct figure_part pa = figure_part(f, &a->sample[i]), pb = figure_part(f, &b->sample[i]);

        top[i] = slope_b * pb.top - slope_a * pa.top;
        bottom[i] = pa.bottom;
    }
    *value = of_b - of_a;
    *shift = curved ? *value - (slope_b * ratio_b - slope_a * ratio_a) : 0;
    return (struct boot_ratio){top, bottom, figure_form(f) == BOOT_SHARE ? BOOT_SHARE : BOOT_REAL};
}

static enum verdict verdict(double value, const struct boot_interval *i)
{
    if (i->low > 0)
        return VERDICT_WORSE;
    if (i->high < 0)
        return VERDICT_BETTER;
    return value == 0 && i->error == 0 ? VERDICT_EQUAL : VERDICT_UNCLEAR;
}

static void judge(struct pair *p, size_t samples)
{
    const struct boot_interval *i = &p->interval[PAIR_KL_ANSWER];

    p->verdict = verdict(p->difference[PAIR_KL_ANSWER], i);
    if (p->verdict != VERDICT_UNCLEAR)
        return;
    p->samples_needed = boot_samples(p->difference[PAIR_KL_ANSWER], i->error, samples);
    if (p->samples_needed && p->samples_needed < 2 * samples)
        p->samples_needed = 2 * samples; /* (z_0.975 + z_0.8)^2 / z_0.975^2, where an interval just holds 0 */
}

/* Up to TOGETHER pairs; column [2 * pairs * PAIR_FIGURES, samples]. */
static int make_some(struct pair *p, size_t pairs, const struct candidate *c, double *column, size_t samples,
                     struct err *e)
{
    struct boot_ratio ratio[TOGETHER * PAIR_FIGURES];
    struct boot_interval interval[TOGETHER * PAIR_FIGURES];
    double shift[TOGETHER * PAIR_FIGURES];
    size_t k = 0;

    for (size_t i = 0; i < pairs; i++)
        for (enum pair_index f = 0; f < PAIR_FIGURES; f++, k++)
            ratio[k] = difference(column + 2 * k * samples, column + (2 * k + 1) * samples, &c[p[i].a],
                                  &c[p[i].b], pair_figure[f], &p[i].difference[f], &shift[k]);
    if (boot_intervals(interval, ratio, k, samples, BOOT_DRAWS, BOOT_SEED, e))
        return -1;
    k = 0;
    for (size_t i = 0; i < pairs; i++) {
        for (enum pair_index f = 0; f < PAIR_FIGURES; f++, k++)
            p[i].interval[f] = (struct boot_interval){interval[k].error, interval[k].low + shift[k],
                                                      interval[k].high + shift[k]};
        judge(&p[i], samples);
    }
    return 0;
}

static void count(struct pairs *p)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct pair *one = &p->pair[i];

        if (one->b != one->a + 1)
            continue;
        p->neighbours++;
        p->clear += one->verdict == VERDICT_WORSE || one->verdict == VERDICT_BETTER;
        p->equal += one->verdict == VERDICT_EQUAL;
        if (one->samples_needed > p->samples_needed)
            p->samples_needed = one->samples_needed;
    }
}

int pairs_make(struct pairs *p, const struct candidate *c, size_t n, bool every, struct err *e)
{
    size_t samples = n ? c[0].total.samples : 0, most = n < 2 ? 0 : every ? n * (n - 1) / 2 : n - 1;
    double *column = NULL;
    int ret = -1;

    *p = (struct pairs){.samples = samples};
    if (most == 0 || samples < 2)
        return 0;
    p->pair = mem_zalloc(most, sizeof *p->pair, e);
    column = mem_zalloc(2 * TOGETHER * PAIR_FIGURES * samples, sizeof *column, e);
    if (!p->pair || !column)
        goto out;
    for (size_t a = 0; a < n; a++)
        for (size_t b = a + 1; b < n && (every || b == a + 1); b++)
            p->pair[p->n++] = (struct pair){.a = a, .b = b};
    for (size_t i = 0; i < p->n; i += TOGETHER)
        if (make_some(p->pair + i, p->n - i < TOGETHER ? p->n - i : TOGETHER, c, column, samples, e))
            goto out;
    count(p);
    ret = 0;
out:
    free(column);
    return ret;
}

void pairs_release(struct pairs *p)
{
    free(p->pair);
    *p = (struct pairs){0};
}
