/*
 * forward.c - the forward pass against the reference library in fp32, on every golden model
 *
 * Tolerances: fp32 sums of up to some thousand terms in another order differ by some 1e-6 of the largest
 * term; through the layers of a model that grows to a few 1e-5 of the largest logit, and 2e-4 is asked for.
 * A sum of negative log likelihoods averages those: 1e-5 relative.
 */
#include "common/model/eval.h"
#include "common/model/ranges.h"
#include "tests/unit/reference.h"

static void check_logits(struct reference *r)
{
    size_t vocab = r->m.config->vocab;
    double worst = 0, worst_last = 0;

    for (size_t k = 0; k < r->s.n; k++) {
        const struct st_tensor *all = reference_tensor(r, "logits", k),
            *last = reference_tensor(r, "last_logits", k);
        struct err e = {0};
        float *z = reference_logits(&r->m, &r->s.sample[k], 1, NULL, &e);
        double top, d;

        if (e.rc) {
            CHECK(0, "%s: sample %zu: %s", r->name, k, e.msg);
            free(z);
            return;
        }
        d = reference_distance(z + (r->s.sample[k].tokens - 1) * vocab, last->data, vocab, &top) / top;
        worst_last = d > worst_last || isnan(d) ? d : worst_last;
        if (all) {
            d = reference_distance(z, all->data, all->count, &top) / top;
            worst = d > worst || isnan(d) ? d : worst;
        }
        free(z);
    }
    CHECK(worst <= 2e-4, "%s: logits within %.2g of the largest", r->name, worst);
    CHECK(worst_last <= 2e-4, "%s: last logits of all %zu samples within %.2g", r->name, r->s.n, worst_last);
}

static void check_nll(struct reference *r)
{
    struct err e = {0};
    struct eval_sample *out = mem_zalloc(r->s.n, sizeof *out, &e);
    json_t *want = json_object_get(r->oracle, "nll"), *row;
    struct progress p = {0};
    double worst = 0;
    size_t i, tokens = 0;

    CHECK(eval_nll(&r->m, r->s.sample, r->s.n, 300, out, NULL, &p, &e) == 0, "%s: packed evaluation %s",
          r->name, e.msg);
    json_array_foreach (want, i, row) {
        double nll = json_number_value(json_object_get(row, "nll")), d = fabs(out[i].nll - nll) / nll;

        worst = d > worst || isnan(d) ? d : worst;
        tokens += out[i].loss_tokens == (size_t)json_integer_value(json_object_get(row, "tokens"));
    }
    CHECK(tokens == r->s.n && json_array_size(want) == r->s.n, "%s: loss tokens of every sample", r->name);
    CHECK(worst <= 1e-5, "%s: NLL of every sample within %.2g", r->name, worst);
    free(out);
}

static void check_ranges(struct reference *r)
{
    json_t *want = json_object_get(r->oracle, "amax"), *row;
    struct ranges ranges = {0};
    struct progress p = {0};
    struct err e = {0};
    const char *name;
    double worst = 0;
    size_t rows = 0, i = 0;

    CHECK(ranges_measure(&ranges, &r->m, 0, r->s.sample, r->s.n, 300, NULL, &p, &e) == 0, "%s: ranges %s",
          r->name, e.msg);
    json_object_foreach (want, name, row) {
        double input = json_number_value(json_object_get(row, "input"));
        double weight = json_number_value(json_object_get(row, "weight"));
        size_t tokens = (size_t)json_integer_value(json_object_get(row, "tokens"));
        bool named = i < r->m.linears && !strcmp(r->m.linear[i].info->name, name);

        if (!named || !unit_near(ranges.weight[i], weight, 1e-7, 0) || ranges.tokens[i] != tokens) {
            CHECK(0, "%s: module %zu is %s", r->name, i, name);
            break;
        }
        if (tokens)
            worst = fmax(worst, fabs(ranges.input[i] - input) / input);
        rows += tokens > 0;
        i++;
    }
    CHECK(i == r->m.linears && rows > 0, "%s: %zu modules, %zu of them reached", r->name, i, rows);
    CHECK(worst <= 1e-5, "%s: input amax of every module within %.2g", r->name, worst);
    ranges_release(&ranges);
}

/* One sample alone and in company gives the same figures: packing keeps samples apart. */
static void check_packing(struct reference *r)
{
    struct err e = {0};
    size_t n = r->s.n < 6 ? r->s.n : 6;
    struct eval_sample one[6], all[6];
    struct progress p = {0};
    double worst = 0;

    if (eval_nll(&r->m, r->s.sample, n, 1, one, NULL, &p, &e) ||
        eval_nll(&r->m, r->s.sample, n, 1 << 20, all, NULL, &p, &e))
        worst = NAN;
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs(one[i].nll - all[i].nll) / one[i].nll);
    CHECK(worst <= 1e-5, "%s: alone and packed within %.2g", r->name, worst);
}

/* Weights that do not all fit are dropped and come back; the numbers stay the same bits. */
static void check_memory_budget(struct reference *r)
{
    struct err e = {0};
    struct eval_sample all[4], tight[4];
    struct progress p = {0};
    size_t n = r->s.n < 4 ? r->s.n : 4, same = 0;

    if (eval_nll(&r->m, r->s.sample, n, 300, all, NULL, &p, &e))
        n = 0;
    model_evict(&r->m);
    r->m.max_bytes = r->m.bytes + 1;
    if (eval_nll(&r->m, r->s.sample, n, 300, tight, NULL, &p, &e))
        n = 0;
    r->m.max_bytes = 0;
    for (size_t i = 0; i < n; i++)
        same += all[i].nll == tight[i].nll;
    CHECK(n > 0 && same == n, "%s: one stage in memory at a time gives the same bits %s", r->name, e.msg);
}

int main(void)
{
    for (size_t i = 0; reference_names[i]; i++) {
        struct reference r;

        if (reference_open(&r, reference_names[i]))
            continue;
        check_logits(&r);
        check_nll(&r);
        check_ranges(&r);
        check_packing(&r);
        check_memory_budget(&r);
        reference_close(&r);
    }
    return unit_end();
}
