/* evaluation.c - speed of the reference's states and of candidates against them */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/model/eval.h"
#include "common/model/states.h"
#include "tests/bench/gpu/parts/speed.h"

/*
 * The reference's states, and a candidate with every linear but the head in FP8 against them: medians of
 * three.
 */
static void compared(struct model *m, const struct sample *s, size_t n, const char *name, const char *unit,
                     double units)
{
    struct eval_sample *out = calloc(n, sizeof *out);
    struct progress p = {0};
    struct err e = {0};
    struct samples all = {.sample = (struct sample *)s, .n = n, .digest = "0"};
    const struct linear_form form = {.format = FORMAT_FP8, .amax = 0.1f, .input_amax = 6};
    double ref[3], candidate[3];

    for (int i = 0; i < 3; i++) {
        struct states states;

        ref[i] = speed_now();
        if (states_make(&states, m, &all, be->batch_rows, &p, &e))
            speed_fail(e.msg);
        ref[i] = speed_now() - ref[i];
        for (size_t k = 0; k < m->linears; k++)
            if (strcmp(m->linear[k].info->name, "lm_head") && model_quantize(m, &m->linear[k], &form, &e))
                speed_fail(e.msg);
        speed_wait();
        candidate[i] = speed_now();
        if (eval_compare(m, &states, NULL, s, n, be->batch_rows, out, NULL, NULL, &p, &e))
            speed_fail(e.msg);
        candidate[i] = speed_now() - candidate[i];
        for (size_t k = 0; k < m->linears; k++)
            model_unquantize(m, &m->linear[k]);
        states_release(&states);
    }
    free(out);
    qsort(ref, 3, sizeof *ref, speed_ascending);
    qsort(candidate, 3, sizeof *candidate, speed_ascending);
    printf("reference states of %s,%.0f,%s\n", name, units / ref[1], unit);
    printf("ppl and KL of a candidate over %s,%.0f,%s\n", name, units / candidate[1], unit);
    printf("both over %s,%.0f,%s\n", name, units / (ref[1] + candidate[1]), unit);
}

/* Captions of 12 to 30 tokens. */
void speed_evaluation(struct model *m)
{
    enum { CAPTIONS = 5000 };
    struct sample *s = speed_samples(m->config, CAPTIONS, 30, 0, 0);

    for (size_t i = 0; i < CAPTIONS; i++)
        s[i].tokens = 12 + i * 7919 % 19;
    compared(m, s, CAPTIONS, "5000 captions of 12 to 30 tokens", "captions/s", CAPTIONS);
    speed_samples_free(s, CAPTIONS);
    s = speed_samples(m->config, 64, 512, 0, 0);
    compared(m, s, 64, "64x512", "tokens/s", 64 * 512);
    speed_samples_free(s, 64);
}
