/*
 * kernels.h - what the tests of the operations share: memory, numbers, gradients
 *
 * `be` is the CPU backend in fp32, `exact` the plain one in fp64: what be is compared with, and itself checked
 * by central differences and by hand.  Both work on host memory.
 *
 * Everything goes through the backend's own memory.  Pointers are kept until done().  U is the unit roundoff
 * of fp32: tolerances are counts of roundings times U times the sum of the magnitudes that took part.
 */
#ifndef TESTS_UNIT_KERNELS_H
#define TESTS_UNIT_KERNELS_H

#include <stdint.h>

#include "kernels/backend.h"
#include "tests/unit/unit.h"

#define U      0x1p-24
#define UNUSED __attribute__((unused))

static struct backend *be, *exact;

static void *kept[512];
static size_t kept_count;

static void *keep(void *p)
{
    if (!p || kept_count == sizeof kept / sizeof *kept) {
        printf("Bail out! no memory or too many pointers in one test\n");
        exit(1);
    }
    return kept[kept_count++] = p;
}

/* The backend's memory; be->alloc() serves host arrays as well, in this backend. */
static void *room(size_t bytes)
{
    return keep(be->alloc(be, bytes));
}

static void done(void)
{
    while (kept_count)
        be->free(be, kept[--kept_count]);
}

static uint64_t seed = 1;

/* Uniform in [-1, 1). */
static double uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)seed * 0x1p-63;
}

UNUSED static float *randoms(size_t n, double scale)
{
    float *x = room(n * sizeof *x);

    for (size_t i = 0; i < n; i++)
        x[i] = (float)(scale * uniform());
    return x;
}

/* Integers of -limit .. limit. */
UNUSED static float *integers(size_t n, int limit)
{
    float *x = room(n * sizeof *x);

    for (size_t i = 0; i < n; i++)
        x[i] = (float)floor((uniform() + 1) / 2 * (2 * limit + 1)) - (float)limit;
    return x;
}

UNUSED static double *zeros(size_t n)
{
    double *x = room(n * sizeof *x);

    memset(x, 0, n * sizeof *x);
    return x;
}

UNUSED static double *doubles(const float *x, size_t n)
{
    double *d = room(n * sizeof *d);

    for (size_t i = 0; i < n; i++)
        d[i] = x[i];
    return d;
}

/* Elements of got that are not within tol[i] of want[i]; NaN is not. */
UNUSED static size_t misses(const float *got, const double *want, const double *tol, size_t n)
{
    size_t bad = 0;

    for (size_t i = 0; i < n; i++)
        bad += !(fabs(got[i] - want[i]) <= tol[i]);
    return bad;
}

UNUSED static int same_bits(const void *a, const void *b, size_t bytes)
{
    return bytes == 0 || !memcmp(a, b, bytes);
}

/*
 * Largest difference between gradient [n] and central differences of f at x, relative to the largest element.
 * With h = 1e-5 the truncation error is some 1e-10 and the cancellation some 1e-11.
 */
UNUSED static double gradient_error(double (*f)(const double *x, const void *context), double *x, size_t n,
                                    const double *gradient, const void *context)
{
    double worst = 0, largest = 0, h = 1e-5;

    for (size_t i = 0; i < n; i++) {
        double at = x[i], up, down, diff;

        x[i] = at + h;
        up = f(x, context);
        x[i] = at - h;
        down = f(x, context);
        x[i] = at;
        diff = fabs((up - down) / (2 * h) - gradient[i]);
        worst = diff > worst || diff != diff ? diff : worst;
        largest = fabs(gradient[i]) > largest ? fabs(gradient[i]) : largest;
    }
    return worst / largest;
}

/* The backends report no failure, and close. */
static int finish(void)
{
    struct err e = {0};

    CHECK(be_check(be, &e) == 0 && be_check(exact, &e) == 0, "no failure is left: %s", e.msg);
    exact->close(exact);
    be->close(be);
    return unit_end();
}

static int start(void)
{
    struct err e = {0};

    be = be_open("cpu", "auto", &e);
    exact = be_open("cpu", "fp64", &e);
    if (!be || !exact)
        printf("Bail out! %s\n", e.msg);
    return be && exact ? 0 : -1;
}

#endif
