/*
 * unit.h - TAP from C: each CHECK is one test line; main() returns unit_end()
 *
 * Comparisons are written so that a NaN on either side fails.
 */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int unit_tests, unit_failed;

/* One named test. */
#define CHECK(cond, ...)                                                                                     \
    do {                                                                                                     \
        int ok_ = (cond) ? 1 : 0;                                                                            \
        unit_tests++;                                                                                        \
        unit_failed += !ok_;                                                                                 \
        printf("%sok %d - ", ok_ ? "" : "not ", unit_tests);                                                 \
        printf(__VA_ARGS__);                                                                                 \
        printf("\n");                                                                                        \
        if (!ok_)                                                                                            \
            fprintf(stderr, "#   Failed test %d at %s:%d: %s\n", unit_tests, __FILE__, __LINE__, #cond);     \
    } while (0)

/* True when |a - b| <= abs + rel * |b|; false for NaN. */
static inline int unit_near(double a, double b, double rel, double abs)
{
    return fabs(a - b) <= abs + rel * fabs(b);
}

static inline int unit_end(void)
{
    printf("1..%d\n", unit_tests);
    return unit_failed != 0 || unit_tests == 0;
}

#endif
