/* kernels.c - speed of the CPU backend: CSV on stdout, the best of several runs of each */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kernels/backend.h"

static struct backend *be;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *numbers(size_t n)
{
    float *x = be->alloc(be, n * sizeof *x);

    if (!x) {
        fprintf(stderr, "kernels: %s\n", be->err.msg);
        exit(4);
    }
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((double)(i * 2654435761u % 1000003) / 500001.5 - 1);
    return x;
}

/* What is measured, and its operands. */
struct job {
    void (*run)(const struct job *);
    size_t rows, in, out;
    struct weight w, fp8;
    struct attention a;
    float *x, *y, *z, *u, *v, *lse;
    int32_t *target;
};

/* Seconds of one run: the least of 3 measurements of 20 ms or more. */
static double seconds(const struct job *j)
{
    double best = 1e9, t = now();
    size_t repeat;

    j->run(j);
    t = now() - t;
    repeat = (size_t)(0.02 / (t > 1e-7 ? t : 1e-7)) + 1;
    for (int i = 0; i < 3; i++) {
        t = now();
        for (size_t r = 0; r < repeat; r++)
            j->run(j);
        t = (now() - t) / (double)repeat;
        best = t < best ? t : best;
    }
    return best;
}

static void linear(const struct job *j)
{
    be->linear(be, j->y, j->x, j->rows, &j->w);
}

static void linear_fp8(const struct job *j)
{
    be->linear(be, j->y, j->x, j->rows, &j->fp8);
}

static void linear_dx(const struct job *j)
{
    be->linear_dx(be, j->x, j->y, j->rows, &j->w, false);
}

static void linears(size_t rows, size_t in, size_t out)
{
    struct job j = {.rows = rows, .in = in, .out = out, .x = numbers(rows * in), .y = numbers(rows * out)};
    float *w = numbers(in * out), *bias = numbers(out);
    static const struct {
        const char *name;
        void (*run)(const struct job *);
    } runs[] = {{"linear", linear}, {"linear_fp8", linear_fp8}, {"linear_dx", linear_dx}};

    be->weight_load(be, &j.w, out, in, w, DT_F32);
    j.w.bias = bias;
    be->weight_quantize(be, &j.fp8, &j.w, DT_F32, 1 / 448.0f, 1 / 448.0f, ROUND_EXACT);
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        j.run = runs[i].run;
        printf("%s %zux%zu->%zu,%.1f,GFLOP/s\n", runs[i].name, rows, in, out,
               2e-9 * (double)rows * (double)in * (double)out / seconds(&j));
    }
    be->weight_free(be, &j.fp8);
    be->weight_free(be, &j.w);
    be->free(be, bias);
    be->free(be, w);
    be->free(be, j.y);
    be->free(be, j.x);
}

static void attention(const struct job *j)
{
    be->attention(be, &j->a, j->y, j->lse, j->x, j->x, j->x);
}

static void attention_dx(const struct job *j)
{
    size_t n = j->rows * j->out;

    be->attention_dx(be, &j->a, j->z, j->z + n, j->z + 2 * n, j->v, j->x, j->x, j->x, j->y, j->lse);
}

static void attentions(const char *name, size_t segments, size_t length, size_t heads, size_t kv_heads,
                       size_t dim, bool causal)
{
    size_t rows = segments * length, width = heads * dim;
    int32_t *cu = be->alloc(be, (segments + 1) * sizeof *cu);
    struct job j = {.rows = rows,
                    .out = width,
                    .x = numbers(rows * width),
                    .y = numbers(rows * width),
                    .z = numbers(3 * rows * width),
                    .v = numbers(rows * width),
                    .lse = numbers(rows * heads)};

    for (size_t i = 0; cu && i <= segments; i++)
        cu[i] = (int32_t)(i * length);
    j.a = (struct attention){.segments = segments,
                             .cu_q = cu,
                             .cu_k = cu,
                             .max_q = length,
                             .max_k = length,
                             .heads = heads,
                             .kv_heads = kv_heads,
                             .head_dim = dim,
                             .q_stride = width,
                             .k_stride = width,
                             .v_stride = width,
                             .o_stride = width,
                             .scale = 0.2f,
                             .causal = causal};
    j.run = attention;
    printf("attention %s,%.1f,us\n", name, 1e6 * seconds(&j));
    j.run = attention_dx;
    printf("attention_dx %s,%.1f,us\n", name, 1e6 * seconds(&j));
    be->free(be, j.lse);
    be->free(be, j.v);
    be->free(be, j.z);
    be->free(be, j.y);
    be->free(be, j.x);
    be->free(be, cu);
}

static void round_all(const struct job *j)
{
    fp8_round(j->y, j->x, j->rows * j->in, 1 / 448.0f);
}

static void quantize_exact(const struct job *j)
{
    be->weight_quantize(be, (struct weight *)&j->fp8, &j->w, DT_BF16, 1 / 448.0f, 1, ROUND_EXACT);
}

static void quantize_twice(const struct job *j)
{
    be->weight_quantize(be, (struct weight *)&j->fp8, &j->w, DT_BF16, 1 / 448.0f, 1, ROUND_MODELOPT);
}

static void norm(const struct job *j)
{
    be->rmsnorm(be, j->y, j->x, j->u, j->rows, j->in, 1e-6f, NULL);
}

static void norm_dx(const struct job *j)
{
    be->rmsnorm_dx(be, j->y, j->z, j->x, j->u, j->rows, j->in, 1e-6f);
}

static void swiglu(const struct job *j)
{
    be->swiglu(be, j->y, j->x, j->z, j->rows, j->in, NULL);
}

static void swiglu_dx(const struct job *j)
{
    be->swiglu_dx(be, j->y, j->v, NULL, j->z, j->x, j->z, j->rows, j->in, NULL);
}

static void swiglu_dx_and_s(const struct job *j)
{
    be->swiglu_dx(be, j->y, j->v, j->u, j->z, j->x, j->z, j->rows, j->in, NULL);
}

static void gelu(const struct job *j)
{
    be->gelu(be, j->y, j->x, j->rows * j->in);
}

static void amax(const struct job *j)
{
    be->amax(be, j->lse, j->x, j->rows * j->in);
}

static void score(const struct job *j)
{
    be->score(be, (double *)(void *)j->lse, j->x, j->y, j->z, j->u, j->rows, j->in);
}

static void compare(const struct job *j)
{
    be->zero(be, j->v, j->rows * sizeof(struct row_stats)); /* label 0 */
    be->compare(be, (struct row_stats *)(void *)j->v, j->x, j->z, j->rows, j->in);
}

static void nll(const struct job *j)
{
    be->nll(be, j->y, j->v, NULL, j->x, j->target, j->rows, j->in);
}

/* Loops over [rows, dim]: bytes read and written, per second. */
static void loops(size_t rows, size_t dim)
{
    static const struct {
        const char *name;
        void (*run)(const struct job *);
        double floats; /* per element */
    } runs[] = {{"fp8_round (one thread)", round_all, 2},
                {"weight_quantize exact", quantize_exact, 2},
                {"weight_quantize modelopt", quantize_twice, 2},
                {"rmsnorm", norm, 2},
                {"rmsnorm_dx", norm_dx, 4},
                {"swiglu", swiglu, 3},
                {"swiglu_dx", swiglu_dx, 5},
                {"swiglu_dx with swiglu", swiglu_dx_and_s, 6},
                {"gelu", gelu, 2},
                {"amax", amax, 1},
                {"score", score, 3},
                {"nll", nll, 1},
                {"compare", compare, 2}};
    size_t n = rows * dim;
    struct job j = {.rows = rows,
                    .in = dim,
                    .x = numbers(n),
                    .y = numbers(n),
                    .z = numbers(n),
                    .v = numbers(n + 8 * rows),
                    .u = numbers(n),
                    .lse = numbers(4),
                    .target = (int32_t *)(void *)numbers(rows)};

    be->zero(be, j.lse, 4 * sizeof(float));
    be->zero(be, j.target, rows * sizeof *j.target);
    be->weight_load(be, &j.w, rows, dim, j.x, DT_F32);
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        j.run = runs[i].run;
        printf("%s %zux%zu,%.1f,GB/s\n", runs[i].name, rows, dim,
               4e-9 * runs[i].floats * (double)n / seconds(&j));
    }
    be->weight_free(be, &j.fp8);
    be->weight_free(be, &j.w);
    be->free(be, j.target);
    be->free(be, j.lse);
    be->free(be, j.u);
    be->free(be, j.v);
    be->free(be, j.z);
    be->free(be, j.y);
    be->free(be, j.x);
}

int main(void)
{
    static const size_t rows[] = {512, 4096};
    static const size_t dims[][2] = {{192, 192}, {192, 64}, {192, 512}, {512, 192}, {192, 1024},
                                     {96, 288},  {96, 252}, {252, 96},  {1176, 96}};
    struct err e = {0};

    be = be_open_cpu(&e);
    if (!be) {
        fprintf(stderr, "kernels: %s\n", e.msg);
        return 4;
    }
    printf("benchmark,value,unit\n");
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
            linears(rows[r], dims[i][0], dims[i][1]);
    linears(1, 192, 512);
    linears(1, 2048, 11008);
    linears(256, 2048, 11008);
    linears(256, 11008, 2048);
    attentions("80 captions of 25 6:2x32", 80, 25, 6, 2, 32, true);
    attentions("32 windows of 64 4x24", 32, 64, 4, 4, 24, false);
    attentions("2 images of 1024 4x24", 2, 1024, 4, 4, 24, false);
    attentions("1 text of 2048 16:2x128", 1, 2048, 16, 2, 128, true);
    loops(2048, 192);
    loops(2048, 1024);
    loops(16, 151936);
    be->close(be);
    return fflush(stdout) || ferror(stdout) ? 4 : 0;
}
