/*
 * twin.h - the CPU and the CUDA backend side by side in one process, on the same numbers
 *
 * A twin is an array that both have.  Inputs are rounded to what the CUDA backend's activation type holds, so
 * that both compute from the same numbers; outputs start as NaN, so that an element that is not written
 * fails.
 *
 * Tolerances, as ||cuda - cpu|| / ||cpu||: fp32 sums in another order differ by some units of 2^-24 times the
 * root of their length, 1e-5 at the most here; a result rounded to bf16 by 2^-9 / sqrt(3) = 1.1e-3.
 */
#ifndef TESTS_GPU_TWIN_H
#define TESTS_GPU_TWIN_H

#include "kernels/cuda.h"
#include "tests/unit/unit.h"

#define UNUSED __attribute__((unused))

static struct backend *cpu, *gpu;
static enum cuda_math math;

struct twin {
    void *cpu, *gpu;
    size_t n;
};

static struct twin kept[256];
static size_t kept_count;

static uint64_t seed = 1;

/* Uniform in [-1, 1). */
static double uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)seed * 0x1p-63;
}

static float held(float x)
{
    return math == CUDA_FP32 ? x : bf16_to_f32(bf16_from_f32(x));
}

static float *host_room(size_t n)
{
    float *x = malloc((n + 1) * sizeof *x);

    if (!x) {
        printf("Bail out! no memory\n");
        exit(1);
    }
    return x;
}

static struct twin twin_bytes(size_t bytes)
{
    struct twin t = {cpu->alloc(cpu, bytes), gpu->alloc(gpu, bytes), 0};

    if (!t.cpu || !t.gpu || kept_count == sizeof kept / sizeof *kept) {
        printf("Bail out! no memory or too many arrays in one test %s\n", gpu->err.msg);
        exit(1);
    }
    return kept[kept_count++] = t;
}

/* Activations from host numbers. */
static struct twin twin_from(const float *x, size_t n)
{
    struct twin t = twin_bytes(n * sizeof *x);

    t.n = n;
    cpu->upload_act(cpu, t.cpu, x, n);
    gpu->upload_act(gpu, t.gpu, x, n);
    return t;
}

UNUSED static struct twin randoms(size_t n, double scale)
{
    float *x = host_room(n);
    struct twin t;

    for (size_t i = 0; i < n; i++)
        x[i] = held((float)(scale * uniform()));
    t = twin_from(x, n);
    free(x);
    return t;
}

UNUSED static struct twin blank(size_t n)
{
    float *x = host_room(n);
    struct twin t;

    for (size_t i = 0; i < n; i++)
        x[i] = NAN;
    t = twin_from(x, n);
    free(x);
    return t;
}

/* What is fp32, fp64 or an integer whatever the activation type is. */
UNUSED static struct twin plain(const void *host, size_t bytes)
{
    struct twin t = twin_bytes(bytes);

    cpu->upload(cpu, t.cpu, host, bytes);
    gpu->upload(gpu, t.gpu, host, bytes);
    return t;
}

UNUSED static struct twin random_f32(size_t n, double scale)
{
    float *x = host_room(n);
    struct twin t;

    for (size_t i = 0; i < n; i++)
        x[i] = (float)(scale * uniform());
    t = plain(x, n * sizeof *x);
    t.n = n;
    free(x);
    return t;
}

static void done(void)
{
    while (kept_count) {
        struct twin *t = &kept[--kept_count];

        cpu->free(cpu, t->cpu);
        gpu->free(gpu, t->gpu);
    }
}

static double distance(const float *got, const float *want, size_t n)
{
    double off = 0, size = 0;

    for (size_t i = 0; i < n; i++) {
        double d = (double)got[i] - want[i];

        if (!(fabs(d) <= 1e300) && got[i] != want[i])
            return NAN;
        off += got[i] == want[i] ? 0 : d * d;
        size += isinf(want[i]) ? 0 : (double)want[i] * want[i];
    }
    return off == 0 ? 0 : sqrt(off / size);
}

/* Relative distance of a twin's two sides; NaN anywhere gives NaN. */
UNUSED static double apart(struct twin t)
{
    float *a = host_room(t.n), *b = host_room(t.n);
    double d;

    gpu->download_act(gpu, a, t.gpu, t.n);
    cpu->download_act(cpu, b, t.cpu, t.n);
    d = distance(a, b, t.n);
    free(a);
    free(b);
    return d;
}

UNUSED static double apart_f32(struct twin t, size_t n)
{
    float *a = host_room(n), *b = host_room(n);
    double d;

    gpu->download(gpu, a, t.gpu, n * sizeof *a);
    cpu->download(cpu, b, t.cpu, n * sizeof *b);
    d = distance(a, b, n);
    free(a);
    free(b);
    return d;
}

/* A checksum of an activation array's bits on the GPU: two runs must agree. */
UNUSED static uint64_t bits_of(const void *p, size_t bytes)
{
    unsigned char *host = malloc(bytes + 1);
    uint64_t h = 1469598103934665603u;

    if (!host)
        return 0;
    gpu->download(gpu, host, p, bytes);
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ host[i]) * 1099511628211u;
    free(host);
    return h;
}

/*
 * How far score_linear() of the GPU is from linear() and score(), relatively; NaN when two runs differ.  y is
 * random, so that D is as large as y.
 */
UNUSED static double score_apart(struct twin x, size_t rows, const struct weight *w)
{
    struct twin g = randoms(rows * w->out, 1), y = randoms(rows * w->out, 1), room = blank(rows * w->out),
                weight = random_f32(rows, 1);
    double want[2] = {0}, got[3][2] = {0}, d = 0;
    struct twin sums = plain(want, sizeof want), sum[3];

    gpu->linear(gpu, room.gpu, x.gpu, rows, w);
    gpu->score(gpu, sums.gpu, g.gpu, y.gpu, room.gpu, weight.gpu, rows, w->out);
    gpu->download(gpu, want, sums.gpu, sizeof want);
    for (int i = 0; i < 3; i++) {
        sum[i] = plain(got[i], sizeof got[i]);
        gpu->score_linear(gpu, sum[i].gpu, g.gpu, y.gpu, room.gpu, x.gpu, weight.gpu, rows, w, i > 0);
        gpu->download(gpu, got[i], sum[i].gpu, sizeof got[i]);
    }
    for (int i = 0; i < 2; i++) /* a row's sum may cancel; what it is made of, squared, is want[0] */
        if (got[0][i] != want[i])
            d = fmax(d, fabs(got[0][i] - want[i]) / (want[0] + i * want[1]));
    return memcmp(got[0], got[1], sizeof *got) || memcmp(got[0], got[2], sizeof *got) ? NAN : d;
}

/* The tolerance of the running precision. */
UNUSED static double either(double fp32, double bf16)
{
    return math == CUDA_FP32 ? fp32 : bf16;
}

/* Elements of an activation array on the GPU that are not the CPU's, rounded to what activations hold. */
UNUSED static size_t other_rounded(struct twin t)
{
    float *a = host_room(t.n), *b = host_room(t.n);
    size_t bad = 0;

    gpu->download_act(gpu, a, t.gpu, t.n);
    cpu->download_act(cpu, b, t.cpu, t.n);
    for (size_t i = 0; i < t.n; i++)
        bad += !(a[i] == held(b[i]) || (isnan(a[i]) && isnan(b[i])));
    free(a);
    free(b);
    return bad;
}

/* How far n numbers may be from the same rounded to bf16: as the worst of few, or as many on average. */
UNUSED static double rounded(size_t n)
{
    return n < 16 ? 4e-3 : 3e-3;
}

/* With TEST_SMALL, a product {rows, in, out} of which an operand has more than 2^20 elements. */
UNUSED static bool left_out(const size_t shape[3])
{
    size_t most = getenv("TEST_SMALL") ? 1 << 20 : SIZE_MAX;

    return shape[0] * shape[1] > most || shape[1] * shape[2] > most || shape[0] * shape[2] > most;
}

static const char *const math_names[] = {
    [CUDA_BF16] = "bf16", [CUDA_BF16_DECODE] = "decode", [CUDA_FP32] = "fp32"};

/* Call f once for each way of computing, or for that alone which TEST_MATH names; returns what main() returns. */
static int each_math(void (*f)(void))
{
    const char *only = getenv("TEST_MATH");

    for (int m = 0; m < 3; m++) {
        struct err e = {0};

        if (only && strcmp(only, math_names[m]) != 0)
            continue;
        math = (enum cuda_math)m;
        cpu = be_open_cpu(&e);
        gpu = be_open_cuda(0, math, &e);
        if (!cpu || !gpu) {
            printf("Bail out! %s\n", e.msg);
            return 1;
        }
        printf("# %s\n", math_names[m]);
        f();
        CHECK(be_check(gpu, &e) == 0, "%s: no failure is left: %s", math_names[m], e.msg);
        gpu->close(gpu);
        cpu->close(cpu);
    }
    return unit_end();
}

#endif
