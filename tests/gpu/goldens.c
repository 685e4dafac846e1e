/*
 * goldens.c - the tiny model in bf16 against the reference library in fp32
 *
 * Tolerances: transformers' own bf16 gets 0.9976 for the ranking, 0.003 % of the perplexity and a KL
 * of 2.9e-5 nats a token; 0.99, 0.05 % and 3.5e-5 are asked for.  On the codes' side, the tensor cores' FP8
 * products and the decoded ones are held to the same.
 */
#include "common/model/eval.h"
#include "common/model/ranges.h"
#include "kernels/cuda.h"
#include "tests/unit/groups.h"
#include "tests/unit/reference.h"

static void check_perplexity(struct reference *r, const char *how)
{
    struct err e = {0};
    struct eval_sample *out = mem_zalloc(r->s.n, sizeof *out, &e);
    struct progress p = {0};
    json_t *row;
    double nll = 0, want = 0, tokens = 0, off;
    size_t i;

    if (eval_nll(&r->m, r->s.sample, r->s.n, 2048, out, NULL, &p, &e)) {
        CHECK(0, "%s: %s", how, e.msg);
        free(out);
        return;
    }
    json_array_foreach(json_object_get(r->oracle, "nll"), i, row)
    {
        want += json_number_value(json_object_get(row, "nll"));
        tokens += json_number_value(json_object_get(row, "tokens"));
        nll += out[i].nll;
    }
    off = exp((nll - want) / tokens) - 1;
    CHECK(tokens > 0 && fabs(off) <= 5e-4, "%s: perplexity is off by %.2g %%", how, 100 * off);
    free(out);
}

static void check_kl(struct reference *r, const char *how)
{
    enum { SAMPLES = 40 };
    struct err e = {0};
    struct backend *cpu = be_open_cpu(&e);
    struct model m;
    struct row_stats *stats;
    size_t rows = 0, vocab = r->m.config->vocab;
    float *q = reference_logits(&r->m, r->s.sample, SAMPLES, &rows, &e), *p = NULL;
    double kl = 0;

    if (!cpu || !q || model_open(&m, "data/tiny-qwen2_5-vl", cpu, 0, &e)) {
        CHECK(0, "%s: %s", how, e.msg);
        return;
    }
    p = reference_logits(&m, r->s.sample, SAMPLES, &rows, &e);
    stats = calloc(rows, sizeof *stats);
    for (size_t i = 0; i < rows; i++)
        stats[i].label = -1;
    cpu->compare(cpu, stats, p, q, rows, vocab);
    for (size_t i = 0; i < rows; i++)
        kl += stats[i].kl / (double)rows;
    CHECK(rows > 0 && kl <= 3.5e-5, "%s: KL against fp32 is %.3g nats a token", how, kl);
    free(stats);
    free(p);
    free(q);
    model_close(&m);
    cpu->close(cpu);
}

/* Gradient scores in a format: two runs have the same bits, and groups the order of the reference. */
static void check_ranking(struct reference *r, const struct sample *sample, size_t samples,
                          enum scheme_format format, const json_t *groups, double rho, const char *how)
{
    size_t linears = r->m.linears, n = 0, same = 0;
    struct score_form *form = calloc(linears, sizeof *form);
    struct score_result *score = calloc(linears, sizeof *score), *again = calloc(linears, sizeof *again);
    struct groups g = make_groups(&r->m);
    double *mine = calloc(g.n, sizeof *mine), *want = calloc(g.n, sizeof *want), nll;
    struct ranges ranges = {0};
    struct progress p = {0};
    struct err e = {0};

    if (ranges_measure(&ranges, &r->m, 0, sample, samples, 2048, NULL, &p, &e))
        goto out;
    for (size_t i = 0; i < linears; i++)
        form[i] = (struct score_form){{format, ranges.weight[i], ranges.input[i], false, {0}},
                                      ranges.tokens[i] == 0};
    if (score_gradient(&r->m, form, 1, sample, samples, 2048, score, &nll, NULL, &p, &e) ||
        score_gradient(&r->m, form, 1, sample, samples, 2048, again, &nll, NULL, &p, &e))
        goto out;
    for (size_t i = 0; i < g.n; i++) {
        want[n] = json_number_value(json_object_get(json_object_get(groups, g.name[i]), "score"));
        if (want[n] == 0)
            continue;
        for (size_t k = 0; k < g.group[i].members; k++)
            mine[n] += score[g.group[i].member[k]->index].gradient;
        n++;
    }
    for (size_t i = 0; i < linears; i++)
        same += !memcmp(&score[i], &again[i], sizeof *score);
    CHECK(n > 40 && spearman(mine, want, n) >= rho, "%s: Spearman of the ranking %.5f", how,
          spearman(mine, want, n));
    CHECK(same == linears, "%s: scores have the same bits twice", how);
out:
    CHECK(e.rc == RC_OK, "%s: scored %s", how, e.msg);
    ranges_release(&ranges);
    free(g.group);
    free(g.name);
    free(mine);
    free(want);
    free(form);
    free(score);
    free(again);
}

/*
 * INT8 scores, static, of every fifth sample against tests/golden/tiny-describe.int8.json.  Outputs are
 * rounded to bf16 before they are compared, by a third of what INT8 changes, which raises all scores alike:
 * the order is what must hold.
 */
static void check_int8(struct reference *r, const char *how)
{
    enum { STRIDE = 5 };
    struct sample *sample = calloc(r->s.n, sizeof *sample);
    struct err e = {0};
    json_t *oracle = json_read("tests/golden/tiny-describe.int8.json", NULL, &e);
    char name[64];
    size_t kept = 0;

    for (size_t i = 0; i < r->s.n; i += STRIDE)
        sample[kept++] = r->s.sample[i];
    snprintf(name, sizeof name, "%s, INT8", how);
    check_ranking(r, sample, kept, FORMAT_INT8, json_object_get(json_object_get(oracle, "static"), "groups"),
                  0.97, name);
    json_decref(oracle);
    free(sample);
}

static void check(enum cuda_math math, const char *how)
{
    struct reference r;
    struct err e = {0};
    struct backend *be = be_open_cuda(0, math, &e);

    if (!be || reference_open(&r, "tiny-describe")) {
        CHECK(0, "%s opens: %s", how, e.msg);
        return;
    }
    model_close(&r.m);
    r.be->close(r.be);
    r.be = be;
    if (model_open(&r.m, "data/tiny-qwen2_5-vl", be, 0, &e)) {
        CHECK(0, "%s: %s", how, e.msg);
    } else {
        check_perplexity(&r, how);
        check_kl(&r, how);
        check_ranking(&r, r.s.sample, r.s.n, FORMAT_FP8, json_object_get(r.oracle, "groups"), 0.99, how);
        check_int8(&r, how);
    }
    reference_close(&r);
}

int main(void)
{
    check(CUDA_BF16, "bf16");
    check(CUDA_BF16_DECODE, "bf16, codes decoded");
    return unit_end();
}
