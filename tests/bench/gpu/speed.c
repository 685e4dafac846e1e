/*
 * speed.c - speed of a backend's operations and of whole passes: CSV on stdout
 *
 *   speed DEVICE [MODEL [text | pictures | evaluation]]
 *
 * Each figure is the median of at least five measurements after some that are not counted; a measurement ends
 * when the device has finished.  Numbers are random.  With text or pictures nothing but scoring passes run,
 * for a profiler, and with evaluation nothing but that.  Without MODEL only the operations are measured, at
 * the 3B model's shapes.
 *
 * It is over 600 lines because operations, passes and evaluation share their timing and their random samples.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/mem.h"
#include "common/model/eval.h"
#include "common/model/ranges.h"
#include "common/model/score.h"
#include "common/model/states.h"
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
    struct weight w, fp8, int8;
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

static void linear_int8(const struct job *j)
{
    be->linear(be, j->y, j->x, j->rows, &j->int8);
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
        j.run = linear_int8;
        be->weight_quantize_int8(be, &j.int8, &j.w, DT_BF16, NULL, 1 / 127.0f, ROUND_EXACT);
        printf("linear, INT8 with its quantizing %zux%zu->%zu,%.0f,TFLOP/s\n", rows, in, out, flop / seconds(&j));
        be->weight_quantize_int8(be, &j.int8, &j.w, DT_BF16, NULL, 0, ROUND_EXACT);
        printf("linear, INT8 of dynamic inputs %zux%zu->%zu,%.0f,TFLOP/s\n", rows, in, out, flop / seconds(&j));
    } else {
        j.f = device_room(rows * out * sizeof *j.f);
        j.run = linear_f32;
        printf("linear, fp32 out %zux%zu->%zu%s,%.0f,TFLOP/s\n", rows, in, out, by, flop / seconds(&j));
        be->free(be, j.f);
    }
    be->weight_free(be, &j.int8);
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

static void amax_columns(const struct job *j)
{
    be->amax_columns(be, j->f, j->x, j->n / 2048, 2048);
}

static void distance(const struct job *j)
{
    be->distance(be, j->sum, j->x, j->y, j->n);
}

static void round_fp8(const struct job *j)
{
    be->round_fp8(be, j->x, j->y, j->n, 0.01f);
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
                {"amax_columns", amax_columns, (double)(n * act)},
                {"distance", distance, 2.0 * (double)(n * act)},
                {"round_fp8", round_fp8, 2.0 * (double)(n * act)},
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
    struct score_form *form = calloc(m->linears, sizeof *form);
    struct score_result *result = calloc(m->linears, sizeof *result);
    struct eval_sample *out = calloc(n, sizeof *out);
    struct progress p = {0};
    struct err e = {0};
    enum { FIRST = 5, COUNTED = 5 };
    double t[FIRST + COUNTED], nll;

    for (size_t i = 0; i < m->linears; i++)
        form[i].form = (struct linear_form){.format = FORMAT_FP8, .amax = 0.1f, .input_amax = 6};
    for (int i = 0; i < FIRST + COUNTED; i++) {
        t[i] = now();
        if (scores ? score_gradient(m, form, 1, s, n, rows, result, &nll, NULL, &p, &e)
                   : eval_nll(m, s, n, rows, out, NULL, &p, &e))
            fail(e.msg);
        wait();
        t[i] = now() - t[i];
    }
    free(form);
    free(result);
    free(out);
    qsort(t + FIRST, COUNTED, sizeof *t, ascending);
    return t[FIRST + COUNTED / 2];
}

/* Every linear of the language model's layers in a form from here on. */
static void quantize_language(struct model *m, struct linear_form form)
{
    struct err e = {0};

    for (size_t i = 0; i < m->linears; i++)
        if (model_stage_of(m, &m->linear[i])->kind == STAGE_TEXT && model_quantize(m, &m->linear[i], &form, &e))
            fail(e.msg);
}

static void unquantize(struct model *m)
{
    for (size_t i = 0; i < m->linears; i++)
        model_unquantize(m, &m->linear[i]);
}

/* Forward passes of 8 samples of 512 tokens over a language model in 16 bits, FP8 and INT8, and over an FP8 KV cache. */
static void quantized_passes(struct model *m, const struct sample *s)
{
    static const struct {
        const char *name;
        struct linear_form form;
    } runs[] = {{"in 16 bits", {.format = FORMAT_NONE}},
                {"in FP8", {.format = FORMAT_FP8, .amax = 0.1f, .input_amax = 6}},
                {"in INT8", {.format = FORMAT_INT8, .input_amax = 6}},
                {"in INT8 with dynamic inputs", {.format = FORMAT_INT8, .dynamic = true}}};
    struct kv_scale *kv = calloc(m->config->layers, sizeof *kv);

    for (size_t i = 0; i < m->config->layers; i++)
        kv[i] = (struct kv_scale){0.02f, 0.02f};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        if (runs[i].form.format != FORMAT_NONE)
            quantize_language(m, runs[i].form);
        printf("forward and loss 8x512 %s,%.0f,tokens/s\n", runs[i].name, 4096 / passes(m, s, 8, 4096, false));
        m->kv = kv;
        printf("forward and loss 8x512 %s over an FP8 KV cache,%.0f,tokens/s\n", runs[i].name,
               4096 / passes(m, s, 8, 4096, false));
        m->kv = NULL;
        unquantize(m);
    }
    free(kv);
}

/* The vision tower alone: from a batch on the device to the end of the merger's last product. */
struct tower_tap {
    struct tap tap;
    double end;
};

static int at_merger(struct tap *tap, struct linear *l, const void *x, const void *y, size_t rows, struct err *e)
{
    (void)x, (void)y, (void)rows, (void)e;
    if (!strcmp(l->info->name, "visual.merger.mlp.2")) {
        wait();
        ((struct tower_tap *)tap)->end = now();
    }
    return 0;
}

static double tower(struct model *m, const struct sample *s, size_t n)
{
    double t[6];
    struct err e = {0};

    for (int i = 0; i < 6; i++) {
        struct tower_tap tap = {.tap.forward = at_merger};
        struct batch b;
        struct walk w;

        if (batch_build(&b, be, m->config, &m->processor, s, n, &e) || walk_init(&w, m, &b, false, &e))
            fail(e.msg);
        w.tap = &tap.tap;
        wait();
        t[i] = now();
        if (walk_forward(&w, 0, &e))
            fail(e.msg);
        t[i] = tap.end - t[i];
        walk_release(&w);
        batch_release(&b);
    }
    qsort(t + 1, 5, sizeof *t, ascending);
    return t[3];
}

/* The reference's states, and a candidate with every linear but the head in FP8 against them: medians of three. */
static void compared(struct model *m, const struct sample *s, size_t n, const char *name, const char *unit, double units)
{
    struct eval_sample *out = calloc(n, sizeof *out);
    struct progress p = {0};
    struct err e = {0};
    struct samples all = {.sample = (struct sample *)s, .n = n, .digest = "0"};
    const struct linear_form form = {.format = FORMAT_FP8, .amax = 0.1f, .input_amax = 6};
    double ref[3], candidate[3];

    for (int i = 0; i < 3; i++) {
        struct states states;

        ref[i] = now();
        if (states_make(&states, m, &all, be->batch_rows, &p, &e))
            fail(e.msg);
        ref[i] = now() - ref[i];
        for (size_t k = 0; k < m->linears; k++)
            if (strcmp(m->linear[k].info->name, "lm_head") && model_quantize(m, &m->linear[k], &form, &e))
                fail(e.msg);
        wait();
        candidate[i] = now();
        if (eval_compare(m, &states, NULL, s, n, be->batch_rows, out, NULL, NULL, &p, &e))
            fail(e.msg);
        candidate[i] = now() - candidate[i];
        for (size_t k = 0; k < m->linears; k++)
            model_unquantize(m, &m->linear[k]);
        states_release(&states);
    }
    free(out);
    qsort(ref, 3, sizeof *ref, ascending);
    qsort(candidate, 3, sizeof *candidate, ascending);
    printf("reference states of %s,%.0f,%s\n", name, units / ref[1], unit);
    printf("ppl and KL of a candidate, %s,%.0f,%s\n", name, units / candidate[1], unit);
    printf("both, %s,%.0f,%s\n", name, units / (ref[1] + candidate[1]), unit);
}

/* Captions of 12 to 30 tokens. */
static void evaluation(struct model *m)
{
    enum { CAPTIONS = 5000 };
    struct sample *s = make_samples(m->config, CAPTIONS, 30, 0, 0);

    for (size_t i = 0; i < CAPTIONS; i++)
        s[i].tokens = 12 + i * 7919 % 19;
    compared(m, s, CAPTIONS, "5000 captions of 12 to 30 tokens", "captions/s", CAPTIONS);
    free_samples(s, CAPTIONS);
    s = make_samples(m->config, 64, 512, 0, 0);
    compared(m, s, 64, "64x512", "tokens/s", 64 * 512);
    free_samples(s, 64);
}

/* One kind of pass alone, for a profiler. */
static void one_alone(const char *dir, const char *what)
{
    const size_t samples = 8, tokens = 512;
    bool pictures = !strcmp(what, "pictures");
    struct err e = {0};
    struct model m;
    struct sample *s;

    if (model_open(&m, dir, be, 0, &e))
        fail(e.msg);
    if (!strcmp(what, "evaluation")) {
        evaluation(&m);
        model_close(&m);
        return;
    }
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
    printf("gradient scores of 32x512 in the default batches,%.0f,tokens/s\n",
           16384 / passes(&m, s, 32, be->batch_rows, true));
    quantized_passes(&m, s);
    free_samples(s, 32);
    s = make_samples(m.config, 1560, 21, 0, 0);
    printf("forward and loss of 21 tokens in batches of 4096,%.0f,captions/s\n",
           1560 / passes(&m, s, 1560, 4096, false));
    printf("gradient scores of 21 tokens in batches of 4096,%.0f,captions/s\n",
           1560 / passes(&m, s, 1560, 4096, true));
    free_samples(s, 1560);
    evaluation(&m);
    if (m.config->has_vision) {
        s = make_samples(m.config, 32, 448, 34, 46);
        printf("vision tower of 4 pictures 476x644,%.1f,ms\n", 1e3 * tower(&m, s, 4));
        for (size_t n = 8; n <= 32; n += 24) {
            printf("gradient scores of %zu pictures 476x644 + text in the default batches,%.1f,samples/s\n", n,
                   (double)n / passes(&m, s, n, be->batch_rows, true));
            printf("gradient scores of %zu pictures 476x644 + text in batches of 8,%.1f,samples/s\n", n,
                   (double)n / passes(&m, s, n, 12000, true));
        }
        printf("forward and loss picture 476x644 + text 448 tokens,%.1f,samples/s\n",
               8 / passes(&m, s, 8, 12000, false));
        printf("gradient scores picture 476x644 + text 448 tokens,%.1f,samples/s\n",
               8 / passes(&m, s, 8, 12000, true));
        free_samples(s, 32);
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
        fprintf(stderr, "usage: speed DEVICE [MODEL [text | pictures | evaluation]]\n");
        return 2;
    }
    be = be_open(argv[1], getenv("DTYPE") ? getenv("DTYPE") : "auto", &e);
    if (!be)
        fail(e.msg);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 3) {
        one_alone(argv[2], argv[3]);
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
