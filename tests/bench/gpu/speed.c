/*
 * speed.c - speed of a backend's operations and of whole passes: CSV on stdout
 *
 *   speed DEVICE [MODEL [text | pictures]]
 *
 * Each figure is the median of at least five measurements after some that are not counted; a measurement ends
 * when the device has finished.  Numbers are random.  With text or pictures nothing but scoring passes run,
 * for a profiler.  Without MODEL only the operations are measured, at the 3B model's shapes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/mem.h"
#include "common/model/eval.h"
#include "common/model/ranges.h"
#include "common/model/score.h"
#include "common/model/walk.h"
#include "kernels/cuda.h"

static struct backend *be;
static const char *by = ""; /* which algorithms of products */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "speed: %s\n", what);
    exit(4);
}

static void *device_room(size_t bytes)
{
    void *p = be->alloc(be, bytes);

    if (!p)
        fail(be->err.msg);
    return p;
}

static void *numbers(size_t n)
{
    float *host = malloc(n * sizeof *host);
    void *p = device_room(n * sizeof *host);
    uint64_t seed = 1;

    if (!host)
        fail("out of memory");
    for (size_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        host[i] = (float)((double)(int64_t)seed * 0x1p-63);
    }
    be->upload_act(be, p, host, n);
    free(host);
    return p;
}

static void wait(void)
{
    static void *word;
    int host;

    if (!word)
        word = device_room(sizeof host);
    be->download(be, &host, word, sizeof host);
    if (be->err.rc != RC_OK)
        fail(be->err.msg);
}

struct job {
    void (*run)(const struct job *);
    struct weight w, fp8;
    struct attention a;
    size_t rows, n;
    void *x, *y, *z, *g, *dq, *dk, *dv, *q, *k, *v, *o;
    float *lse, *f;
    double *sum;
    int32_t *target;
};

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double seconds(const struct job *j)
{
    double t[7], once;
    size_t repeat;

    j->run(j);
    wait();
    once = now();
    j->run(j);
    wait();
    once = now() - once;
    repeat = (size_t)(0.01 / once) + 1;
    for (int i = 0; i < 7; i++) {
        t[i] = now();
        for (size_t r = 0; r < repeat; r++)
            j->run(j);
        wait();
        t[i] = (now() - t[i]) / (double)repeat;
    }
    qsort(t, 7, sizeof *t, ascending);
    return t[3];
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

static void linear_f32(const struct job *j)
{
    be->linear_f32(be, j->f, j->x, j->rows, &j->w);
}

static void products(size_t rows, size_t in, size_t out)
{
    float *host = malloc(in * out * sizeof *host);
    struct job j = {.rows = rows, .x = numbers(rows * in), .y = numbers(rows * out)};
    double flop = 2e-12 * (double)rows * (double)in * (double)out;
    uint64_t seed = 1;

    for (size_t i = 0; i < in * out; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        host[i] = (float)((double)(int64_t)seed * 0x1p-63);
    }
    be->weight_load(be, &j.w, out, in, host, DT_F32);
    free(host);
    j.run = linear;
    printf("linear %zux%zu->%zu%s,%.0f,TFLOP/s\n", rows, in, out, by, flop / seconds(&j));
    j.run = linear_dx;
    printf("linear_dx %zux%zu->%zu%s,%.0f,TFLOP/s\n", rows, in, out, by, flop / seconds(&j));
    if (out < 100000) {
        be->weight_quantize(be, &j.fp8, &j.w, DT_BF16, 1 / 448.0f, 1 / 448.0f, ROUND_EXACT);
        j.run = linear_fp8;
        printf("linear, FP8 with its quantizing %zux%zu->%zu%s,%.0f,TFLOP/s\n", rows, in, out, by,
               flop / seconds(&j));
    } else {
        j.f = device_room(rows * out * sizeof *j.f);
        j.run = linear_f32;
        printf("linear, fp32 out %zux%zu->%zu%s,%.0f,TFLOP/s\n", rows, in, out, by, flop / seconds(&j));
        be->free(be, j.f);
    }
    be->weight_free(be, &j.fp8);
    be->weight_free(be, &j.w);
    be->free(be, j.x);
    be->free(be, j.y);
}

static void forward(const struct job *j)
{
    be->attention(be, &j->a, j->o, j->lse, j->q, j->k, j->v);
}

static void backward(const struct job *j)
{
    be->attention_dx(be, &j->a, j->dq, j->dk, j->dv, j->g, j->q, j->k, j->v, j->o, j->lse);
}

static void attention(const char *name, size_t segments, size_t rows, size_t heads, size_t kv, size_t dim,
                      bool causal)
{
    size_t nq = segments * rows * heads * dim, nk = segments * rows * kv * dim;
    int32_t *cu = malloc((segments + 1) * sizeof *cu), *d = device_room((segments + 1) * sizeof *cu);
    struct job j = {.q = numbers(nq),
                    .o = numbers(nq),
                    .g = numbers(nq),
                    .dq = numbers(nq),
                    .k = numbers(nk),
                    .v = numbers(nk),
                    .dk = numbers(nk),
                    .dv = numbers(nk),
                    .lse = device_room(segments * rows * heads * sizeof(float))};

    for (size_t i = 0; i <= segments; i++)
        cu[i] = (int32_t)(i * rows);
    be->upload(be, d, cu, (segments + 1) * sizeof *cu);
    j.a = (struct attention){.segments = segments,
                             .cu_q = d,
                             .cu_k = d,
                             .max_q = rows,
                             .max_k = rows,
                             .heads = heads,
                             .kv_heads = kv,
                             .head_dim = dim,
                             .q_stride = heads * dim,
                             .k_stride = kv * dim,
                             .v_stride = kv * dim,
                             .o_stride = heads * dim,
                             .scale = 0.1f,
                             .causal = causal};
    j.run = forward;
    printf("attention %s,%.0f,us\n", name, 1e6 * seconds(&j));
    j.run = backward;
    printf("attention_dx %s,%.0f,us\n", name, 1e6 * seconds(&j));
    void *all[] = {d, j.q, j.o, j.g, j.dq, j.k, j.v, j.dk, j.dv, j.lse};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        be->free(be, all[i]);
    free(cu);
}

static void add(const struct job *j)
{
    be->add(be, j->x, j->y, j->z, j->n);
}

static void swiglu(const struct job *j)
{
    be->swiglu(be, j->x, j->y, j->z, j->n);
}

static void norm(const struct job *j)
{
    be->rmsnorm(be, j->x, j->y, j->z, j->n / 2048, 2048, 1e-6f);
}

static void norm_dx(const struct job *j)
{
    be->rmsnorm_dx(be, j->x, j->y, j->z, j->z, j->n / 2048, 2048, 1e-6f);
}

static void score(const struct job *j)
{
    be->score(be, j->sum, j->x, j->y, j->z, j->lse, j->n / 2048, 2048);
}

static void nll(const struct job *j)
{
    be->nll(be, j->lse, j->lse, NULL, j->f, j->target, 220, 151936);
}

static void nll_dx(const struct job *j)
{
    be->nll_dx(be, j->x, j->f, j->lse, j->target, j->lse, 220, 151936);
}

static void compare(const struct job *j)
{
    be->compare(be, j->o, j->f, j->f, 220, 151936);
}

/* Logits, and rows for compare() that have labels. */
static void fill_logits(const struct job *j)
{
    size_t n = (size_t)220 * 151936;
    float *host = malloc(n * sizeof *host);
    struct row_stats rows[220] = {0};
    uint64_t seed = 1;

    if (!host)
        fail("out of memory");
    for (size_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        host[i] = (float)((double)(int64_t)seed * 0x1p-60);
    }
    for (int i = 0; i < 220; i++)
        rows[i].label = 31 * i;
    be->upload(be, j->f, host, n * sizeof *host);
    be->upload(be, j->o, rows, sizeof rows);
    free(host);
}

static void loops(void)
{
    size_t n = (size_t)4096 * 11008, act = be->act_bytes;
    struct job j = {.n = n,
                    .x = numbers(n),
                    .y = numbers(n),
                    .z = numbers(n),
                    .f = device_room(4 * 220 * 151936),
                    .lse = device_room(4 * 65536),
                    .sum = device_room(16),
                    .target = device_room(4 * 65536),
                    .o = device_room(220 * sizeof(struct row_stats))};
    const struct {
        const char *name;
        void (*run)(const struct job *);
        double bytes;
    } runs[] = {{"add", add, 3.0 * (double)(n * act)},
                {"swiglu", swiglu, 3.0 * (double)(n * act)},
                {"rmsnorm", norm, 2.0 * (double)(n * act)},
                {"rmsnorm_dx", norm_dx, 4.0 * (double)(n * act)},
                {"score", score, 3.0 * (double)(n * act)},
                {"nll", nll, 4.0 * 220 * 151936},
                {"nll_dx", nll_dx, (4.0 + (double)act) * 220 * 151936},
                {"compare", compare, 8.0 * 220 * 151936}};

    be->zero(be, j.lse, 4 * 65536);
    be->zero(be, j.target, 4 * 65536);
    fill_logits(&j);
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        j.run = runs[i].run;
        printf("%s,%.0f,GB/s\n", runs[i].name, 1e-9 * runs[i].bytes / seconds(&j));
    }
    void *all[] = {j.x, j.y, j.z, j.f, j.lse, j.sum, j.target, j.o};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        be->free(be, all[i]);
}

/* ---- whole passes ---- */

/* n samples of `tokens` random tokens; pictures: the first of each are a picture of h x w patches. */
static struct sample *make_samples(const struct config *c, size_t n, size_t tokens, size_t h, size_t w)
{
    struct sample *s = calloc(n, sizeof *s);
    size_t units = h * w / 4;

    for (size_t i = 0; i < n; i++) {
        s[i] = (struct sample){.index = i,
                               .id = (char *)"random",
                               .tokens = tokens,
                               .ids = calloc(tokens, sizeof(int32_t)),
                               .loss = malloc(tokens)};
        for (size_t t = 0; t < tokens; t++) {
            s[i].ids[t] = (int32_t)((t * 7919 + i * 104729 + 1) % 150000 % c->vocab);
            s[i].loss[t] = t > units + 1;
        }
        if (units) {
            s[i].ids[0] = c->vision_start;
            for (size_t t = 1; t <= units; t++)
                s[i].ids[t] = c->image_token;
            s[i].image = calloc(1, sizeof *s[i].image);
            s[i].images = 1;
            s[i].image[0] = (struct sample_image){h, w, c->vision.patch, malloc(h * w * c->vision.patch_dim)};
            for (size_t b = 0; b < h * w * c->vision.patch * c->vision.patch * 3; b++)
                s[i].image[0].rgb[b] = (uint8_t)(b * 2654435761u >> 13);
        }
    }
    return s;
}

static void free_samples(struct sample *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < s[i].images; k++)
            free(s[i].image[k].rgb);
        free(s[i].image);
        free(s[i].ids);
        free(s[i].loss);
    }
    free(s);
}

/* Median seconds of five passes after those in which algorithms are chosen: gradient scores, or the loss
 * alone. */
static double passes(struct model *m, const struct sample *s, size_t n, size_t rows, bool scores)
{
    struct score_range *range = calloc(m->linears, sizeof *range);
    struct score_result *result = calloc(m->linears, sizeof *result);
    struct eval_sample *out = calloc(n, sizeof *out);
    struct progress p = {0};
    struct err e = {0};
    enum { FIRST = 5, COUNTED = 5 };
    double t[FIRST + COUNTED], nll;

    for (size_t i = 0; i < m->linears; i++)
        range[i] = (struct score_range){.weight_amax = 0.1f, .input_amax = 6};
    for (int i = 0; i < FIRST + COUNTED; i++) {
        t[i] = now();
        if (scores ? score_gradient(m, range, s, n, rows, result, &nll, &p, &e)
                   : eval_nll(m, s, n, rows, out, &p, &e))
            fail(e.msg);
        wait();
        t[i] = now() - t[i];
    }
    free(range);
    free(result);
    free(out);
    qsort(t + FIRST, COUNTED, sizeof *t, ascending);
    return t[FIRST + COUNTED / 2];
}

/* Gradient-scoring passes alone, for a profiler. */
static void scores_alone(const char *dir, size_t samples, size_t tokens, bool pictures)
{
    struct err e = {0};
    struct model m;
    struct sample *s;

    if (model_open(&m, dir, be, 0, &e))
        fail(e.msg);
    s = make_samples(m.config, samples, tokens, pictures ? 34 : 0, pictures ? 46 : 0);
    passes(&m, s, samples, samples * tokens * 4, true);
    free_samples(s, samples);
    model_close(&m);
}

static void model(const char *dir)
{
    struct err e = {0};
    struct model m;
    struct sample *s;
    double t = now(), bytes = 0;

    if (model_open(&m, dir, be, 0, &e))
        fail(e.msg);
    printf("open,%.2f,s\n", now() - t);
    t = now();
    for (size_t i = 0; i < m.stages; i++)
        if (model_enter(&m, &m.stage[i], &e))
            fail(e.msg);
    wait();
    t = now() - t;
    for (size_t i = 0; i < m.linears; i++)
        bytes += 2.0 * (double)m.linear[i].info->out * (double)m.linear[i].info->in;
    printf("load,%.2f,GB/s\n", 1e-9 * bytes / t);
    s = make_samples(m.config, 32, 512, 0, 0);
    for (size_t n = 8; n <= 32; n += 24) {
        double tokens = 512.0 * (double)n;

        printf("forward and loss 8x512 of %zu samples,%.0f,tokens/s\n", n,
               tokens / passes(&m, s, n, 4096, false));
        printf("gradient scores 8x512 of %zu samples,%.0f,tokens/s\n", n,
               tokens / passes(&m, s, n, 4096, true));
    }
    printf("gradient scores 4x512 of 32 samples,%.0f,tokens/s\n", 16384 / passes(&m, s, 32, 2048, true));
    free_samples(s, 32);
    s = make_samples(m.config, 1560, 21, 0, 0);
    printf("forward and loss of 21 tokens in batches of 4096,%.0f,captions/s\n",
           1560 / passes(&m, s, 1560, 4096, false));
    printf("gradient scores of 21 tokens in batches of 4096,%.0f,captions/s\n",
           1560 / passes(&m, s, 1560, 4096, true));
    free_samples(s, 1560);
    if (m.config->has_vision) {
        s = make_samples(m.config, 8, 448, 34, 46);
        printf("forward and loss picture 476x644 + text 448 tokens,%.1f,samples/s\n",
               8 / passes(&m, s, 8, 12000, false));
        printf("gradient scores picture 476x644 + text 448 tokens,%.1f,samples/s\n",
               8 / passes(&m, s, 8, 12000, true));
        free_samples(s, 8);
    }
    model_close(&m);
}

static void all_products(void)
{
    products(4096, 2048, 2048);
    products(4096, 2048, 256);
    products(4096, 2048, 11008);
    products(4096, 11008, 2048);
    products(220, 2048, 151936);
    products(6256, 1280, 3840);
    products(6256, 1280, 3420);
    products(6256, 3420, 1280);
}

int main(int argc, char **argv)
{
    struct err e = {0};

    if (argc < 2) {
        fprintf(stderr, "usage: speed DEVICE [MODEL [text | pictures]]\n");
        return 2;
    }
    be = be_open(argv[1], &e);
    if (!be)
        fail(e.msg);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 3) {
        scores_alone(argv[2], 8, 512, !strcmp(argv[3], "pictures"));
        return 0;
    }
    printf("benchmark,value,unit\n");
    all_products();
    attention("8x512 16:2x128 causal", 8, 512, 16, 2, 128, true);
    attention("8x2048 16:2x128 causal", 8, 2048, 16, 2, 128, true);
    attention("195x21 16:2x128 causal", 195, 21, 16, 2, 128, true);
    attention("4x1564 16x80 full", 4, 1564, 16, 16, 80, false);
    attention("98x64 16x80 windows", 98, 64, 16, 16, 80, false);
    loops();
    if (argc > 2)
        model(argv[2]);
#ifdef WITH_CUDA
    if (!strcmp(be->name, "cuda")) {
        by = " by the fastest algorithm";
        cuda_search_products(be);
        all_products();
    }
#endif
    return 0;
}
