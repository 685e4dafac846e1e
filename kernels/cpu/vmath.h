/*
 * vmath.h - the exponential, the logarithm and the maximum, written so that compilers vectorise loops over
 * them
 *
 * libm's exponential is called element by element, and glibc offers its vector form (4 ulp) under -ffast-math
 * only.  Here: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial in r, and 2^n put together from bits.  NaN
 * gives NaN.
 */
#ifndef KERNELS_CPU_VMATH_H
#define KERNELS_CPU_VMATH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/base/numeric.h"

/*
 * e^x within 1 ulp over all of fp32, subnormal results and overflow to infinity included; exp_f32(0) is 1.
 * Polynomial: Cephes, expf.c.  2^n goes on in two steps since n reaches from -150 to 128.
 */
static inline float exp_f32(float x)
{
    const float shift = 0x1.8p23f; /* adding it rounds to an integer, which its low bits then hold */
    float t, n, r, p;
    uint32_t k, half;

    x = x > 89 ? 89 : x;
    x = x < -104 ? -104 : x;
    t = x * 0x1.715476p0f + shift;
    n = t - shift;
    k = f32_bits(t) - f32_bits(shift);
    r = x - n * 0.693359375f + n * 2.12194440e-4f; /* ln 2 in two parts; n times the first is exact */
    p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1;
    half = (uint32_t)((int32_t)k >> 1);
    return p * f32_from_bits((half + 127) << 23) * f32_from_bits((k - half + 127) << 23);
}

/* e^x for x <= 700, within 2 ulp; below -700 that of -700, which is 1e-304.  Polynomial: Taylor. */
static inline double exp_f64(double x)
{
    const double shift = 0x1.8p52;
    double t, n, r, p, scale;
    uint64_t k, base;

    x = x < -700 ? -700 : x;
    t = x * 0x1.71547652b82fep0 + shift;
    n = t - shift;
    r = x - n * 0x1.62e42fefap-1 - n * 0x1.cf79abc9e3b39p-40;
    p = 1 / 6227020800.0;
    p = p * r + 1 / 479001600.0;
    p = p * r + 1 / 39916800.0;
    p = p * r + 1 / 3628800.0;
    p = p * r + 1 / 362880.0;
    p = p * r + 1 / 40320.0;
    p = p * r + 1 / 5040.0;
    p = p * r + 1 / 720.0;
    p = p * r + 1 / 120.0;
    p = p * r + 1 / 24.0;
    p = p * r + 1 / 6.0;
    p = p * r + 0.5;
    p = p * (r * r) + r + 1;
    memcpy(&k, &t, sizeof k);
    memcpy(&base, &shift, sizeof base);
    k = (k - base + 1023) << 52;
    memcpy(&scale, &k, sizeof scale);
    return p * scale;
}

/*
 * ln x for normal x > 0, within 1e-15 of 1 + |ln x|; of 0 and of subnormals some number below -700.  x = 2^n
 * m with m from sqrt(1/2) to sqrt(2); ln m = 2 atanh((m - 1) / (m + 1)), a series.
 */
static inline double log_f64(double x)
{
    const uint64_t half = 0x3fe6a09e667f3bcd, one = 0x3ff0000000000000; /* bits of sqrt(1/2), of 1 */
    const double shift = 0x1.8p52;
    uint64_t u, base, n;
    double m, s, z, p, e;

    memcpy(&u, &x, sizeof u);
    memcpy(&base, &shift, sizeof base);
    n = (u + (one - half)) >> 52; /* biased by 1023 */
    u -= (n - 1023) << 52;
    memcpy(&m, &u, sizeof m);
    n += base - 1023;
    memcpy(&e, &n, sizeof e);
    e -= shift;
    s = (m - 1) / (m + 1);
    z = s * s;
    p = 1 / 23.0;
    p = p * z + 1 / 21.0;
    p = p * z + 1 / 19.0;
    p = p * z + 1 / 17.0;
    p = p * z + 1 / 15.0;
    p = p * z + 1 / 13.0;
    p = p * z + 1 / 11.0;
    p = p * z + 1 / 9.0;
    p = p * z + 1 / 7.0;
    p = p * z + 1 / 5.0;
    p = p * z + 1 / 3.0;
    return e * 0x1.62e42fefa39efp-1 + (2 * s + 2 * s * (z * p));
}

/*
 * An integer that is ordered as x is: a maximum of floats that keeps NaN is not vectorised, one of integers
 * is.  NaN of either sign is the largest, -0 equals 0.
 */
static inline int32_t order_of(float x)
{
    uint32_t u = f32_bits(x + 0.0f), magnitude = u & 0x7fffffff;

    return magnitude > 0x7f800000 ? INT32_MAX : (int32_t)(u ^ (0u - (u >> 31)) >> 1);
}

/* Back again. */
static inline float from_order(int32_t k)
{
    uint32_t u = (uint32_t)k;

    return f32_from_bits(u ^ (0u - (u >> 31)) >> 1);
}

/* The largest of x [n]: NaN when there is one, -infinity for n of 0. */
static inline float max_f32(const float *x, size_t n)
{
    int32_t max = order_of(-INFINITY);

#pragma omp simd reduction(max : max)
    for (size_t i = 0; i < n; i++) {
        int32_t k = order_of(x[i]);

        max = k > max ? k : max;
    }
    return from_order(max);
}

/* y[i] = e^(x[i] - shift); returns their sum in fp64.  y may be x.  One loop would not be vectorised well. */
static inline double exp_sum_f32(float *y, const float *x, size_t n, float shift)
{
    double sum = 0;

#pragma omp simd
    for (size_t i = 0; i < n; i++)
        y[i] = exp_f32(x[i] - shift);
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++)
        sum += y[i];
    return sum;
}

#endif
