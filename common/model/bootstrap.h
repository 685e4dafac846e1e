/*
 * bootstrap.h - how far figures would move with other samples of the same kind
 *
 * Samples are drawn with replacement, each with all its tokens, because tokens of one sample hang together (Efron and
 * Tibshirani 1993, chapters 6, 8 and 13).  One seed draws the same samples for every figure, so differences of two
 * candidates are paired.  An interval lies between percentiles of the draws, moved outwards as Student's t asks for so
 * many samples (Hesterberg 2015, "What teachers should know about the bootstrap", section 5.2).  With fewer than some
 * twenty samples it is still too narrow: that few do not show the tails.
 */
#ifndef COMMON_MODEL_BOOTSTRAP_H
#define COMMON_MODEL_BOOTSTRAP_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum { BOOT_DRAWS = 5000 };
#define BOOT_SEED UINT64_C(20240607)
#define BOOT_LEVEL 0.95
#define BOOT_POWER 0.8 /* of boot_samples() */

/*
 * out[draw * columns + c] = the sum of column[c] over n samples drawn from the n with replacement; n >= 1.  column[0] is
 * what figures are divided by, not negative and not all 0: a draw in which it sums to 0 is drawn again.  The generator is
 * MT19937, seeded and reduced as CPython's random.Random(seed).randrange(n).
 */
void boot_sums(double *out, const double *const *column, size_t columns, size_t n, size_t draws, uint64_t seed);

struct boot_interval {
    double error;     /* standard deviation of the draws */
    double low, high; /* where the true figure is with BOOT_LEVEL */
};

/* Of one figure's draws, which are sorted here, from so many samples; both at least 2. */
struct boot_interval boot_interval(double *draw, size_t draws, size_t samples);

/*
 * The samples that would show a difference of this size: n (z_0.975 + z_0.8)^2 (error / difference)^2, at which an
 * interval excludes 0 four times out of five.  0 when there is no difference, or no telling.
 */
size_t boot_samples(double difference, double error, size_t n);

#endif
