/* metrics.c - METRICS documents (octet-metrics/1) */
#include "common/model/metrics.h"

#include "common/io/doc.h"

json_t *metrics_new(const struct samples *s, const struct eval_total *t, struct err *e)
{
    json_t *doc = doc_new("octet-metrics/1", e), *o = json_object();

    if (!doc || doc_from(doc, "samples", s->digest, e) || json_put(o, "count", json_integer((json_int_t)s->n), e) ||
        json_put(o, "tokens", json_integer((json_int_t)t->tokens), e) ||
        json_put(o, "loss_tokens", json_integer((json_int_t)t->loss_tokens), e) ||
        json_put(doc, "samples", json_incref(o), e) || json_put(doc, "candidates", json_array(), e)) {
        json_decref(doc);
        doc = NULL;
    }
    json_decref(o);
    return doc;
}

static json_t *dtype_counts(const struct ckpt *c, struct err *e)
{
    json_t *o = json_object();

    for (size_t i = 0; i < c->tensors; i++) {
        const char *name = st_dtype_name(c->by_name[i]->dtype);
        json_int_t n = json_integer_value(json_object_get(o, name));

        if (json_put(o, name, json_integer(n + 1), e)) {
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

static int put_figures(json_t *o, const struct eval_total *t, bool with_ref, struct err *e)
{
    const struct {
        const char *key;
        double value;
        bool ref;
    } figure[] = {
        {"ppl", t->ppl, false},           {"ppl_ref", t->ppl_ref, true},   {"ppl_ratio", t->ppl / t->ppl_ref, true},
        {"kl", t->kl, true},              {"kl_answer", t->kl_answer, true}, {"kl_last", t->kl_last, true},
        {"mse", t->mse, true},            {"mse_last", t->mse_last, true}, {"top1", t->top1, true},
    };

    for (size_t i = 0; i < sizeof figure / sizeof *figure; i++)
        if ((with_ref || !figure[i].ref) && json_put(o, figure[i].key, json_real(figure[i].value), e))
            return -1;
    return 0;
}

int metrics_add(json_t *doc, const char *name, const struct model *m, const struct scheme *scheme,
                const struct eval_total *t, bool with_ref, struct err *e)
{
    size_t modules = 0;
    json_t *o = json_object();
    int ret = -1;

    for (size_t i = 0; i < m->linears; i++)
        modules += m->linear[i].quantized || m->linear[i].info->weight->dtype == DT_F8_E4M3;
    if (json_put(o, "name", json_string(name), e) || json_put(o, "model_digest", json_string(m->digest), e) ||
        (scheme && (json_put(o, "scheme", json_string(scheme->name), e) ||
                    json_put(o, "scheme_digest", json_string(scheme->hex), e))) ||
        json_put(o, "tensors", dtype_counts(&m->weights.ckpt, e), e) ||
        json_put(o, "fp8_modules", json_integer((json_int_t)modules), e) ||
        json_put(o, "scales_applied", json_integer((json_int_t)(2 * modules)), e) ||
        put_figures(o, t, with_ref, e))
        goto out;
    ret = json_push(json_object_get(doc, "candidates"), json_incref(o), e);
out:
    json_decref(o);
    return ret;
}
