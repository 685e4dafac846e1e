/*
 * mt.h - MT19937 as CPython's random.Random uses it, so that a seed chooses the same samples here and there
 *
 * Sources: Matsumoto and Nishimura, ACM TOMACS 8 (1998) and mt19937ar.c; CPython 3.11 Lib/random.py (sample)
 * and Modules/_randommodule.c (seeding with an int).
 */
#ifndef COMMON_BASE_MT_H
#define COMMON_BASE_MT_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum { MT_WORDS = 624 };

struct mt {
    uint32_t state[MT_WORDS];
    size_t at;
};

/* random.Random(seed); the sign is ignored there, so seed is its absolute value. */
void mt_init(struct mt *m, uint64_t seed);

uint32_t mt_u32(struct mt *m);

/* Random._randbelow(n): uniform in 0..n-1, n >= 1. */
uint32_t mt_below(struct mt *m, uint32_t n);

/*
 * random.sample(range(n), k): out[k] gets k distinct numbers below n; k <= n.  0, or -1 when memory runs out.
 */
int mt_sample(struct mt *m, uint32_t n, uint32_t k, uint32_t *out, struct err *e);

#endif
