/*
 * peers.c - statistics of transformers' logits against a float64 oracle (tests/peers/eval_stats.py)
 *
 * Given the same logits every statistic is within 1e-6 of the oracle's, relative.  The absolute 1e-14 is for
 * divergences of 1e-9, which both take as differences of numbers of size 10.
 */
#include <jansson.h>

#include "common/io/json.h"
#include "common/io/safetensors.h"
#include "common/model/metrics.h"
#include "tests/unit/unit.h"

#define GOLDEN "tests/golden/"

/* Every member of `want` is in `got`, with the same value. */
static void same(const json_t *want, const json_t *got, const char *where)
{
    char path[256];
    const char *key;
    json_t *v;
    size_t i;

    if (json_is_object(want))
        json_object_foreach((json_t *)want, key, v) {
            snprintf(path, sizeof path, "%s.%s", where, key);
            same(v, json_object_get(got, key), path);
        }
    else if (json_is_array(want))
        json_array_foreach(want, i, v) {
            snprintf(path, sizeof path, "%s[%zu]", where, i);
            same(v, json_array_get(got, i), path);
        }
    else
        CHECK(json_is_number(got) && unit_near(json_number_value(got), json_number_value(want), 1e-6, 1e-14),
              "%s: %.17g, %.17g", where, got ? json_number_value(got) : NAN, json_number_value(want));
}

static const struct st_tensor *find(const struct st_file *f, size_t sample)
{
    char name[32];

    snprintf(name, sizeof name, "logits.%zu", sample);
    for (size_t i = 0; i < f->tensors; i++)
        if (!strcmp(f->tensor[i].name, name))
            return &f->tensor[i];
    return NULL;
}

/*
 * One row per token with loss: the reference's logits, and the same rounded to bf16.  *nll grows as eval-ppl
 * sums it.
 */
static size_t add_rows(struct backend *be, const struct st_tensor *t, const struct sample *s,
                       struct row_stats *row, double *nll)
{
    size_t vocab = t->shape[1], n = 0;
    float *p = malloc(vocab * sizeof *p), *q = malloc(vocab * sizeof *q), one;

    for (size_t i = 0; i + 1 < s->tokens; i++) {
        if (!s->loss[i + 1])
            continue;
        memcpy(p, (const char *)t->data + i * vocab * sizeof *p, vocab * sizeof *p);
        for (size_t v = 0; v < vocab; v++)
            q[v] = bf16_to_f32(bf16_from_f32(p[v]));
        be->nll(be, &one, NULL, NULL, p, &s->ids[i + 1], 1, vocab);
        *nll += one;
        row[n].label = s->ids[i + 1];
        be->compare(be, &row[n++], p, q, 1, vocab);
    }
    free(q);
    free(p);
    return n;
}

/*
 * TorchMetrics' perplexity of the same logits (tests/peers/perplexity.py) is that of eval-ppl and of
 * eval-logits.
 */
static void check_perplexity(double ppl, const json_t *statistics, const char *name)
{
    struct err e = {0};
    json_t *want = json_read(GOLDEN "eval/torchmetrics.json", NULL, &e);
    double theirs = json_number_value(json_object_get(want, name));
    const json_t *ours = json_object_get(json_object_get(json_object_get(statistics, "all"), "perplexity"),
                                         "ppl_ref");

    CHECK(theirs > 1 && unit_near(ppl, theirs, 1e-6, 0), "%s: perplexity %.9g, TorchMetrics' %.9g", name, ppl,
          theirs);
    CHECK(theirs > 1 && unit_near(json_number_value(json_object_get(ours, "value")), theirs, 1e-6, 0),
          "and of a reference");
    json_decref(want);
}

static void model(struct backend *be, const char *prefix, const char *name)
{
    char path[3][160];
    const char *samples_path = path[1];
    struct st_file f = {0};
    struct samples s = {0};
    struct candidate c = {0};
    struct eval_sample sample[3];
    struct row_stats row[2048] = {{0}};
    json_t *want, *got = json_object();
    const struct st_tensor *t;
    size_t n = 0, rows = 0, vocab = 0;
    struct err e = {0};
    double nll = 0;

    snprintf(path[0], sizeof path[0], GOLDEN "%s%s.oracle.safetensors", prefix, name);
    snprintf(path[1], sizeof path[1], GOLDEN "%s%s.samples.msgpack", prefix, name);
    snprintf(path[2], sizeof path[2], GOLDEN "eval/%s.json", name);
    want = json_read(path[2], NULL, &e);
    if (want && st_open(&f, path[0], &e) == 0 && samples_load(&s, &samples_path, 1, 0, 1, &e) == 0)
        for (; n < 3 && n < s.n && (t = find(&f, n)); n++) {
            size_t loss = add_rows(be, t, &s.sample[n], row + rows, &nll);

            sample[n] = (struct eval_sample){.tokens = s.sample[n].tokens, .loss_tokens = loss};
            vocab = t->shape[1];
            rows += loss;
        }
    CHECK(n == 3 && candidate_make(&c, name, sample, n, row, vocab, &e) == 0 &&
          metrics_against(got, &c, &e) == 0, "%s %s", name, e.msg);
    same(want, json_object_get(json_object_get(got, "statistics"), "all"), name);
    check_perplexity(exp(nll / (double)rows), json_object_get(got, "statistics"), name);
    candidate_release(&c);
    json_decref(got);
    json_decref(want);
    samples_release(&s);
    st_close(&f);
}

int main(void)
{
    struct err e = {0};
    struct backend *be = be_open_cpu(&e);

    CHECK(be != NULL, "the CPU");
    model(be, "", "tiny-describe");
    model(be, "models/", "nested4-gqa8");
    model(be, "models/", "nested5-sharded");
    be->close(be);
    return unit_end();
}
