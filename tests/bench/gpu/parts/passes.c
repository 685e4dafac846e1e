/* passes.c - speed of whole passes of a model */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/model/eval.h"
#include "common/model/score.h"
#include "common/model/walk.h"
#include "tests/bench/gpu/parts/speed.h"

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
        t[i] = speed_now();
        if (scores ? score_gradient(m, form, 1, s, n, rows, result, &nll, NULL, &p, &e)
                   : eval_nll(m, s, n, rows, out, NULL, &p, &e))
            speed_fail(e.msg);
        speed_wait();
        t[i] = speed_now() - t[i];
    }
    free(form);
    free(result);
    free(out);
    qsort(t + FIRST, COUNTED, sizeof *t, speed_ascending);
    return t[FIRST + COUNTED / 2];
}

/* Every linear of the language model's layers in a form from here on. */
static void quantize_language(struct model *m, struct linear_form form)
{
    struct err e = {0};

    for (size_t i = 0; i < m->linears; i++)
        if (model_stage_of(m, &m->linear[i])->kind == STAGE_TEXT &&
            model_quantize(m, &m->linear[i], &form, &e))
            speed_fail(e.msg);
}

static void unquantize(struct model *m)
{
    for (size_t i = 0; i < m->linears; i++)
        model_unquantize(m, &m->linear[i]);
}

/* Forward passes of 8 samples of 512 tokens, with and without a quantized KV cache, in turns. */
static void kv_passes(struct model *m, const struct sample *s, struct kv_scale *kv, const char *name)
{
    enum { TURNS = 3 };
    double t[2][TURNS];

    for (size_t i = 0; i < TURNS; i++)
        for (size_t k = 0; k < 2; k++) {
            m->kv = k ? kv : NULL;
            t[k][i] = passes(m, s, 8, 4096, false);
        }
    m->kv = NULL;
    for (size_t k = 0; k < 2; k++) {
        qsort(t[k], TURNS, sizeof *t[k], speed_ascending);
        printf("forward and loss 8x512 %s%s,%.0f,tokens/s\n", name, k ? " over an FP8 KV cache" : "",
               4096 / t[k][TURNS / 2]);
    }
}

/* Those over a language model in 16 bits, FP8 and INT8. */
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
        kv_passes(m, s, kv, runs[i].name);
        unquantize(m);
    }
    free(kv);
}

/* The vision tower alone: from a batch on the device to the end of the merger's last product. */
struct tower_tap {
    struct tap tap;
    double end;
};

static int at_merger(struct tap *tap, struct linear *l, const void *x, const void *y, size_t rows,
                     struct err *e)
{
    (void)x, (void)y, (void)rows, (void)e;
    if (!strcmp(l->info->name, "visual.merger.mlp.2")) {
        speed_wait();
        ((struct tower_tap *)tap)->end = speed_now();
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
            speed_fail(e.msg);
        w.tap = &tap.tap;
        speed_wait();
        t[i] = speed_now();
        if (walk_forward(&w, 0, &e))
            speed_fail(e.msg);
        t[i] = tap.end - t[i];
        walk_release(&w);
        batch_release(&b);
    }
    qsort(t + 1, 5, sizeof *t, speed_ascending);
    return t[3];
}

/* Of 8 samples: 512 tokens, or a picture and 448. */
void speed_scoring(struct model *m, bool pictures)
{
    const size_t samples = 8, tokens = pictures ? 448 : 512;
    struct sample *s = speed_samples(m->config, samples, tokens, pictures ? 34 : 0, pictures ? 46 : 0);
    double t = passes(m, s, samples, samples * tokens * 4, true);

    if (pictures)
        printf("gradient scores of %zu pictures 476x644 + text,%.1f,samples/s\n", samples,
               (double)samples / t);
    else
        printf("gradient scores %zux%zu,%.0f,tokens/s\n", samples, tokens, (double)(samples * tokens) / t);
    speed_samples_free(s, samples);
}

void speed_model(const char *dir)
{
    struct err e = {0};
    struct model m;
    struct sample *s;
    double t = speed_now(), bytes = 0;

    if (model_open(&m, dir, be, 0, &e))
        speed_fail(e.msg);
    printf("open,%.2f,s\n", speed_now() - t);
    t = speed_now();
    for (size_t i = 0; i < m.stages; i++)
        if (model_enter(&m, &m.stage[i], &e))
            speed_fail(e.msg);
    speed_wait();
    t = speed_now() - t;
    for (size_t i = 0; i < m.linears; i++)
        bytes += 2.0 * (double)m.linear[i].info->out * (double)m.linear[i].info->in;
    printf("load,%.2f,GB/s\n", 1e-9 * bytes / t);
    s = speed_samples(m.config, 32, 512, 0, 0);
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
    speed_samples_free(s, 32);
    s = speed_samples(m.config, 1560, 21, 0, 0);
    printf("forward and loss of 21 tokens in batches of 4096,%.0f,captions/s\n",
           1560 / passes(&m, s, 1560, 4096, false));
    printf("gradient scores of 21 tokens in batches of 4096,%.0f,captions/s\n",
           1560 / passes(&m, s, 1560, 4096, true));
    speed_samples_free(s, 1560);
    speed_evaluation(&m);
    if (m.config->has_vision) {
        s = speed_samples(m.config, 32, 448, 34, 46);
        printf("vision tower of 4 pictures 476x644,%.1f,ms\n", 1e3 * tower(&m, s, 4));
        for (size_t n = 8; n <= 32; n += 24) {
            printf("gradient scores of %zu pictures 476x644 + text in the default batches,%.1f,samples/s\n",
                   n, (double)n / passes(&m, s, n, be->batch_rows, true));
            printf("gradient scores of %zu pictures 476x644 + text in batches of 8,%.1f,samples/s\n", n,
                   (double)n / passes(&m, s, n, 12000, true));
        }
        printf("forward and loss picture 476x644 + text 448 tokens,%.1f,samples/s\n",
               8 / passes(&m, s, 8, 12000, false));
        printf("gradient scores picture 476x644 + text 448 tokens,%.1f,samples/s\n",
               8 / passes(&m, s, 8, 12000, true));
        speed_samples_free(s, 32);
    }
    model_close(&m);
}
