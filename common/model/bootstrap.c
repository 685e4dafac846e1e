/* bootstrap.c - how far figures would move with other samples of the same kind */
#include "common/model/bootstrap.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/mt.h"
#include "common/model/stats.h"

void boot_sums(double *out, const double *const *column, size_t columns, size_t n, size_t draws, uint64_t seed)
{
    struct mt mt;

    mt_init(&mt, seed);
    for (size_t d = 0; d < draws; d++, out += columns)
        do {
            for (size_t c = 0; c < columns; c++)
                out[c] = 0;
            for (size_t i = 0; i < n; i++) {
                uint32_t k = mt_below(&mt, (uint32_t)n);

                for (size_t c = 0; c < columns; c++)
                    out[c] += column[c][k];
            }
        } while (out[0] == 0);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

#define Z_LEVEL 1.959963984540054 /* normal quantile of 97.5 %: BOOT_LEVEL */
#define Z_POWER 0.841621233572914 /* of 80 %: BOOT_POWER */

/*
 * The fraction of draws below an interval.  Draws vary by (n - 1) / n too little, and tails are Student's rather than
 * normal; t is expanded in 1 / degrees of freedom (Abramowitz and Stegun 26.7.5).
 */
static double tail(size_t n)
{
    double v = (double)(n - 1), z = Z_LEVEL, z2 = z * z;
    double t = z + z * (z2 + 1) / (4 * v) + z * ((5 * z2 + 16) * z2 + 3) / (96 * v * v);

    return erfc(t * sqrt((double)n / v) / sqrt(2)) / 2;
}

struct boot_interval boot_interval(double *draw, size_t draws, size_t samples)
{
    double mean = 0, square = 0;

    for (size_t i = 0; i < draws; i++)
        mean += draw[i] / (double)draws;
    for (size_t i = 0; i < draws; i++)
        square += (draw[i] - mean) * (draw[i] - mean);
    qsort(draw, draws, sizeof *draw, by_value);
    return (struct boot_interval){
        .error = sqrt(square / (double)(draws - 1)),
        .low = stats_percentile(draw, draws, tail(samples)),
        .high = stats_percentile(draw, draws, 1 - tail(samples)),
    };
}

size_t boot_samples(double difference, double error, size_t n)
{
    double steps = (Z_LEVEL + Z_POWER) * error / difference, need = (double)n * steps * steps;

    return need < 1e15 ? (size_t)ceil(need) : 0;
}
