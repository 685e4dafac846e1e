/* bootstrap.c - how far figures would move with other samples of the same kind */
#include "common/model/bootstrap.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/base/mt.h"

#define Z_LEVEL 1.959963984540054 /* normal quantile of 97.5 %: BOOT_LEVEL */
#define Z_POWER 0.841621233572914 /* of 80 %: BOOT_POWER */
#define LEAST_ERROR 0.1           /* of s, that an s* counts as */

/*
 * Student's t of 97.5 %: exact for one and two degrees of freedom, else Abramowitz and Stegun 26.7.5, off by
 * < 1 %.
 */
static double student(size_t freedom)
{
    double v = (double)freedom, z = Z_LEVEL, z2 = z * z;

    if (freedom <= 2)
        return freedom == 1 ? 12.706204736174694 : 4.302652729749462;
    return z + z * (z2 + 1) / (4 * v) + z * ((5 * z2 + 16) * z2 + 3) / (96 * v * v) +
           z * (((3 * z2 + 19) * z2 + 17) * z2 - 15) / (384 * v * v * v);
}

/* ---- draws ---- */

/*
 * What a draw sums for each ratio, w being the bottom and d the top less R w: from centred tops a draw's
 * variance comes without cancellation.  Those of shares, which need none, are left as they are: sums of whole
 * numbers are exact.
 */
enum column { W, D, WW, WD, DD, COLUMNS };

static double ratio_of(const struct boot_ratio *r, size_t n)
{
    double top = 0, bottom = 0;

    for (size_t i = 0; i < n; i++) {
        top += r->top[i];
        bottom += r->bottom[i];
    }
    return top / bottom;
}

/* row [samples, ratios, COLUMNS] */
static void put_rows(double *row, const struct boot_ratio *ratio, const double *value, size_t ratios,
                     size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t r = 0; r < ratios; r++, row += COLUMNS) {
            double w = ratio[r].bottom[i], d = ratio[r].top[i] - value[r] * w;

            row[W] = w;
            row[D] = d;
            row[WW] = w * w;
            row[WD] = w * d;
            row[DD] = d * d;
        }
}

/* Sums of n rows drawn from the n, until no bottom is 0. */
static void draw_rows(double *sum, const double *row, size_t ratios, size_t n, struct mt *mt)
{
    size_t width = ratios * COLUMNS;
    int again;

    do {
        for (size_t c = 0; c < width; c++)
            sum[c] = 0;
        for (size_t i = 0; i < n; i++) {
            const double *from = row + mt_below(mt, (uint32_t)n) * width;

            for (size_t c = 0; c < width; c++)
                sum[c] += from[c];
        }
        again = 0;
        for (size_t r = 0; r < ratios; r++)
            again |= sum[r * COLUMNS + W] == 0;
    } while (again);
}

/*
 * Standard error of a ratio whose centred sums are these; *off: how far it is from the value that centred
 * them.
 */
static double ratio_error(const double *sum, size_t n, double *off)
{
    double square;

    *off = sum[D] / sum[W];
    square = sum[DD] - *off * (2 * sum[WD] - *off * sum[WW]);
    return square > 0 ? sqrt(square * (double)n / (double)(n - 1)) / sum[W] : 0;
}

/* ---- intervals ---- */

static double form_value(enum boot_form form, double ratio)
{
    switch (form) {
    case BOOT_EXP: return exp(ratio);
    case BOOT_ROOT: return ratio > 0 ? sqrt(ratio) : 0;
    case BOOT_SIZE: return ratio > 0 ? ratio : 0;
    case BOOT_REAL:
    case BOOT_SHARE: break;
    }
    return ratio;
}

/* Wirth 1976, "Algorithms + Data Structures = Programs", 2.3.5: x[k] becomes what sorting would put there. */
static void select_kth(double *x, size_t n, size_t k)
{
    ptrdiff_t low = 0, high = (ptrdiff_t)n - 1, at = (ptrdiff_t)k;

    while (low < high) {
        double pivot = x[at], swap;
        ptrdiff_t i = low, j = high;

        do {
            while (x[i] < pivot)
                i++;
            while (pivot < x[j])
                j--;
            if (i <= j) {
                swap = x[i];
                x[i++] = x[j];
                x[j--] = swap;
            }
        } while (i <= j);
        if (j < at)
            low = i;
        if (at < i)
            high = j;
    }
}

/* As stats_percentile(), of draws in any order, which change places: two percentiles take less than sorting. */
static double percentile(double *x, size_t n, double fraction)
{
    double pair[2];
    size_t below = (size_t)(fraction * (double)(n - 1));

    select_kth(x, n, below);
    if (below + 1 >= n)
        return x[n - 1];
    pair[0] = x[below];
    pair[1] = x[below + 1];
    for (size_t i = below + 2; i < n; i++)
        pair[1] = fmin(pair[1], x[i]);
    return pair[0] + (fraction * (double)(n - 1) - (double)below) * (pair[1] - pair[0]);
}

static double deviation(const double *x, size_t n)
{
    double mean = 0, square = 0;

    for (size_t i = 0; i < n; i++)
        mean += (x[i] - x[0]) / (double)n;
    for (size_t i = 0; i < n; i++)
        square += (x[i] - x[0] - mean) * (x[i] - x[0] - mean);
    return sqrt(square / (double)(n - 1));
}

/*
 * The fraction of draws below an interval of a share: they vary by (n - 1) / n too little, and their tails
 * are normal.
 */
static double tail(size_t n)
{
    return erfc(student(n - 1) * sqrt((double)n / (double)(n - 1)) / sqrt(2)) / 2;
}

/* x [draws]: of the figure for its error, and for a share.  t [draws].  Both are rearranged. */
static struct boot_interval interval(enum boot_form form, double ratio, double error, double *x, double *t,
                                     size_t draws, size_t n)
{
    double z = student(n - 1), below, above;
    struct boot_interval i = {.error = deviation(x, draws)};

    if (form == BOOT_SHARE) {
        i.low = fmax(fmin(percentile(x, draws, tail(n)), ratio - z * error), 0);
        i.high = fmin(fmax(percentile(x, draws, 1 - tail(n)), ratio + z * error), 1);
        return i;
    }
    below = fmax(percentile(t, draws, (1 + BOOT_LEVEL) / 2), z);
    above = fmin(percentile(t, draws, (1 - BOOT_LEVEL) / 2), -z);
    i.low = form_value(form, ratio - below * error);
    i.high = form_value(form, ratio - above * error);
    return i;
}

int boot_intervals(struct boot_interval *out, const struct boot_ratio *ratio, size_t ratios, size_t n,
                   size_t draws, uint64_t seed, struct err *e)
{
    size_t width = ratios * COLUMNS;
    double *row = mem_zalloc((n + 1) * width, sizeof *row, e), *sum, off;
    double *value = mem_zalloc(2 * ratios, sizeof *value, e), *error;
    double *x = mem_zalloc(ratios * draws, sizeof *x, e), *t = mem_zalloc(ratios * draws, sizeof *t, e);
    struct mt mt;
    int ret = -1;

    if (!row || !value || !x || !t)
        goto out;
    error = value + ratios;
    sum = row + n * width;
    for (size_t r = 0; r < ratios; r++)
        value[r] = ratio[r].form == BOOT_SHARE ? 0 : ratio_of(&ratio[r], n);
    put_rows(row, ratio, value, ratios, n);
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < width; c++)
            sum[c] += row[i * width + c];
    for (size_t r = 0; r < ratios; r++)
        error[r] = ratio_error(sum + r * COLUMNS, n, &off);
    mt_init(&mt, seed);
    for (size_t d = 0; d < draws; d++) {
        draw_rows(sum, row, ratios, n, &mt);
        for (size_t r = 0; r < ratios; r++) {
            double s = fmax(ratio_error(sum + r * COLUMNS, n, &off), LEAST_ERROR * error[r]);

            x[r * draws + d] = form_value(ratio[r].form, value[r] + off);
            t[r * draws + d] = s > 0 ? off / s : 0;
        }
    }
    for (size_t r = 0; r < ratios; r++)
        out[r] = interval(ratio[r].form, ratio_of(&ratio[r], n), error[r], x + r * draws, t + r * draws, draws,
                          n);
    ret = 0;
out:
    free(t);
    free(x);
    free(value);
    free(row);
    return ret;
}

size_t boot_samples(double difference, double error, size_t n)
{
    double steps = (Z_LEVEL + Z_POWER) * error / difference, need = (double)n * steps * steps;

    return need < 1e15 ? (size_t)ceil(need) : 0;
}
