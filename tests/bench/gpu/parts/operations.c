/* operations.c - speed of a backend's operations at the shapes of the 3B model */
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/gpu/parts/speed.h"

/* Random numbers within -most and most, on the host. */
static float *randoms(size_t n, double most)
{
    float *host = malloc(n * sizeof *host);
    uint64_t seed = 1;

    if (!host)
        speed_fail("out of memory");
    for (size_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        host[i] = (float)((double)(int64_t)seed * 0x1p-63 * most);
    }
    return host;
}

/* The same as activations, on the device. */
static void *numbers(size_t n)
{
    float *host = randoms(n, 1);
    void *p = speed_room(n * sizeof *host);

    be->upload_act(be, p, host, n);
    free(host);
    return p;
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

/* One way of doing a job: t is what its measurements took, in seconds each. */
enum { TIMES = 9, WARM_UP = 160 }; /* products come that often before their algorithm stays */
struct way {
    struct backend *be;
    struct job job;
    size_t repeat;
    double t[TIMES];
};

static void measure(struct way *w, double *t)
{
    be = w->be;
    *t = speed_now();
    for (size_t r = 0; r < w->repeat; r++)
        w->job.run(&w->job);
    speed_wait();
    *t = (speed_now() - *t) / (double)w->repeat;
}

/* Ways take turns, and turns of turns, since a chip under load slows down. */
static void measure_ways(struct way *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        w[i].repeat = WARM_UP;
        measure(w + i, w[i].t);
        w[i].repeat = (size_t)(0.01 / w[i].t[0]) + 1;
    }
    for (size_t k = 0; k < TIMES; k++)
        for (size_t i = 0; i < n; i++)
            measure(w + (k % 2 ? n - 1 - i : i), w[k % 2 ? n - 1 - i : i].t + k);
    for (size_t i = 0; i < n; i++)
        qsort(w[i].t, TIMES, sizeof *w[i].t, speed_ascending);
    be = w->be;
}

static double seconds(const struct job *j)
{
    struct way w = {.be = be, .job = *j};

    measure_ways(&w, 1);
    return w.t[TIMES / 2];
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

/* Scores of codes of x that are there already, as one operation and as product and comparison. */
static void score_fp8(const struct job *j)
{
    be->score_linear(be, j->sum, j->g, j->y, j->z, j->x, j->lse, j->rows, &j->fp8, true);
}

static void score_int8(const struct job *j)
{
    be->score_linear(be, j->sum, j->g, j->y, j->z, j->x, j->lse, j->rows, &j->int8, true);
}

static void score_fp8_in_steps(const struct job *j)
{
    be_score_linear(be, j->sum, j->g, j->y, j->z, j->x, j->lse, j->rows, &j->fp8, true);
}

/* A product, and on the rival, if there is one: what cuBLASLt's fastest algorithm for it takes. */
struct product {
    size_t rows, in, out;
    struct way way[2];
    size_t ways;
};

static void product(struct product *p, const char *name, void (*run)(const struct job *))
{
    double flop = 2e-12 * (double)p->rows * (double)p->in * (double)p->out;

    for (size_t i = 0; i < p->ways; i++)
        p->way[i].job.run = run;
    measure_ways(p->way, p->ways);
    for (size_t i = 0; i < p->ways; i++)
        printf("%s %zux%zu->%zu%s,%.4g,TFLOP/s\n", name, p->rows, p->in, p->out,
               i ? " by the fastest algorithm" : "", flop / p->way[i].t[TIMES / 2]);
}

static void products(struct backend *rival, size_t rows, size_t in, size_t out)
{
    struct product p = {rows, in, out, .way = {{.be = be}, {.be = rival}}, .ways = rival ? 2 : 1};
    float *host = randoms(in * out, 1);
    bool head = out > 100000;
    struct job *j = &p.way->job;

    *j = (struct job){.rows = rows, .x = numbers(rows * in), .y = numbers(rows * out)};
    be->weight_load(be, &j->w, out, in, host, DT_F32);
    if (head)
        j->f = speed_room(rows * out * sizeof *j->f);
    else
        be->weight_quantize(be, &j->fp8, &j->w, DT_BF16, 1 / 448.0f, 1 / 448.0f, ROUND_EXACT);
    p.way[1].job = *j; /* the same operands: nothing but the algorithm is to differ */
    free(host);
    product(&p, "linear", linear);
    product(&p, "linear_dx", linear_dx);
    if (head)
        product(&p, "linear with fp32 out", linear_f32);
    else
        product(&p, "linear of FP8 with its quantizing", linear_fp8);
    p.ways = 1; /* what follows has one way */
    if (!head) {
        j->g = numbers(rows * out);
        j->z = speed_room(rows * out * be->act_bytes);
        j->sum = speed_room(2 * sizeof *j->sum);
        j->lse = speed_room(rows * sizeof *j->lse);
        product(&p, "score of FP8", score_fp8);
        product(&p, "score of FP8 in two steps", score_fp8_in_steps);
    }
    for (int dynamic = 0; dynamic < 2 && !head; dynamic++) {
        be->weight_quantize_int8(be, &j->int8, &j->w, DT_BF16, NULL, dynamic ? 0 : 1 / 127.0f, ROUND_EXACT);
        product(&p, dynamic ? "linear of INT8 with dynamic inputs" : "linear of INT8 with its quantizing",
                linear_int8);
        if (!dynamic)
            product(&p, "score of INT8", score_int8);
    }
    be->weight_free(be, &j->int8);
    be->weight_free(be, &j->fp8);
    be->weight_free(be, &j->w);
    void *all[] = {j->x, j->y, j->f, j->g, j->z, j->sum, j->lse};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        be->free(be, all[i]);
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
    int32_t *cu = malloc((segments + 1) * sizeof *cu), *d = speed_room((segments + 1) * sizeof *cu);
    struct job j = {.q = numbers(nq),
                    .o = numbers(nq),
                    .g = numbers(nq),
                    .dq = numbers(nq),
                    .k = numbers(nk),
                    .v = numbers(nk),
                    .dk = numbers(nk),
                    .dv = numbers(nk),
                    .lse = speed_room(segments * rows * heads * sizeof(float))};

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

static void swiglu(const struct job *j)
{
    be->swiglu(be, j->x, j->y, j->z, 4096, j->n / 4096, NULL);
}

static void norm(const struct job *j)
{
    be->rmsnorm(be, j->x, j->y, j->z, j->n / 2048, 2048, 1e-6f, NULL);
}

/* What a block does before a module in FP8. */
static void norm_for_fp8(const struct job *j)
{
    be->add_rmsnorm(be, j->q, j->x, j->y, j->z, j->z, j->n / 2048, 2048, 1e-6f, &j->fp8);
}

static void swiglu_for_fp8(const struct job *j)
{
    be->swiglu(be, j->x, j->y, j->z, j->n / 2048, 2048, &j->fp8);
}

static void swiglu_dx(const struct job *j)
{
    be->swiglu_dx(be, j->x, j->q, NULL, j->y, j->z, j->g, 4096, j->n / 4096, NULL);
}

/* What a block does that is to score a module in FP8. */
static void swiglu_dx_for_fp8(const struct job *j)
{
    be->swiglu_dx(be, j->x, j->q, j->k, j->y, j->z, j->g, j->n / 2048, 2048, &j->fp8);
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
    float *host = randoms(n, 8);
    struct row_stats rows[220] = {0};

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
                    .g = numbers(n),
                    .q = speed_room(n * act),
                    .k = speed_room(n * act),
                    .f = speed_room(4 * 220 * 151936),
                    .lse = speed_room(4 * 65536),
                    .sum = speed_room(16),
                    .target = speed_room(4 * 65536),
                    .o = speed_room(220 * sizeof(struct row_stats))};
    const struct {
        const char *name;
        void (*run)(const struct job *);
        double bytes;
    } runs[] = {{"swiglu", swiglu, 3.0 * (double)(n * act)},
                {"rmsnorm", norm, 2.0 * (double)(n * act)},
                {"add_rmsnorm with FP8 codes", norm_for_fp8, (double)(n * (4 * act + 1))},
                {"swiglu with FP8 codes", swiglu_for_fp8, (double)(n * (3 * act + 1))},
                {"swiglu_dx", swiglu_dx, 5.0 * (double)(n * act)},
                {"swiglu_dx with swiglu and FP8 codes", swiglu_dx_for_fp8, (double)(n * (6 * act + 1))},
                {"rmsnorm_dx", norm_dx, 4.0 * (double)(n * act)},
                {"score", score, 3.0 * (double)(n * act)},
                {"amax_columns", amax_columns, (double)(n * act)},
                {"distance", distance, 2.0 * (double)(n * act)},
                {"round_fp8", round_fp8, 2.0 * (double)(n * act)},
                {"nll", nll, 4.0 * 220 * 151936},
                {"nll_dx", nll_dx, (4.0 + (double)act) * 220 * 151936},
                {"compare", compare, 8.0 * 220 * 151936}};

    float *host = randoms((size_t)16 * 2048, 1);

    be->weight_load(be, &j.w, 16, 2048, host, DT_F32);
    be->weight_quantize(be, &j.fp8, &j.w, DT_BF16, 1 / 448.0f, 1 / 448.0f, ROUND_EXACT);
    free(host);
    be->zero(be, j.lse, 4 * 65536);
    be->zero(be, j.target, 4 * 65536);
    fill_logits(&j);
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        j.run = runs[i].run;
        printf("%s,%.0f,GB/s\n", runs[i].name, 1e-9 * runs[i].bytes / seconds(&j));
    }
    be->weight_free(be, &j.fp8);
    be->weight_free(be, &j.w);
    void *all[] = {j.x, j.y, j.z, j.g, j.q, j.k, j.f, j.lse, j.sum, j.target, j.o};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        be->free(be, all[i]);
}

void speed_products(struct backend *rival)
{
    products(rival, 4096, 2048, 2048);
    products(rival, 4096, 2048, 256);
    products(rival, 4096, 2048, 11008);
    products(rival, 4096, 11008, 2048);
    products(rival, 220, 2048, 151936);
    products(rival, 6256, 1280, 3840);
    products(rival, 6256, 1280, 3420);
    products(rival, 6256, 3420, 1280);
}

void speed_operations(void)
{
    attention("8x512 16:2x128 causal", 8, 512, 16, 2, 128, true);
    attention("8x2048 16:2x128 causal", 8, 2048, 16, 2, 128, true);
    attention("195x21 16:2x128 causal", 195, 21, 16, 2, 128, true);
    attention("4x1564 16x80 full", 4, 1564, 16, 16, 80, false);
    attention("98x64 16x80 windows", 98, 64, 16, 16, 80, false);
    loops();
}
