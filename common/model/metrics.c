/* metrics.c - METRICS documents (octet-metrics/1) */
#include "common/model/metrics.h"

#include <math.h>

#include "common/io/doc.h"

json_t *metrics_new(const struct samples *s, const struct eval_total *t, struct err *e)
{
    json_t *doc = doc_new("octet-metrics/1", e), *o = json_object();

    if (!doc || doc_from(doc, "samples", s->digest, e) ||
        json_put(o, "count", json_integer((json_int_t)s->n), e) ||
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

static int put_real(json_t *o, const char *key, double value, struct err *e)
{
    return json_put(o, key, json_real(value), e);
}

static int put_count(json_t *o, const char *key, size_t n, struct err *e)
{
    return json_put(o, key, json_integer((json_int_t)n), e);
}

/* A new object under key, borrowed from o.  NULL: e is set. */
static json_t *put_object(json_t *o, const char *key, struct err *e)
{
    return json_put(o, key, json_object(), e) ? NULL : json_object_get(o, key);
}

/*
 * Linear modules that ran in 8 bits, and the scales of their weights, of their inputs, and of keys and
 * values.
 */
struct applied {
    size_t fp8, int8, scales;
};

static struct applied count_applied(const struct model *m)
{
    struct applied n = {.scales = m->kv ? 2 * m->config->layers : 0};

    for (size_t i = 0; i < m->linears; i++) {
        const struct linear *l = &m->linear[i];
        enum dtype held = l->info->weight->dtype;
        bool fp8 = l->quantized ? l->form.format == FORMAT_FP8 : held == DT_F8_E4M3;
        bool int8 = l->quantized ? l->form.format == FORMAT_INT8 : held == DT_I8;
        bool dynamic = l->quantized ? l->form.dynamic : l->info->input_scale == 0;

        n.fp8 += fp8;
        n.int8 += int8;
        n.scales += fp8 ? 2 : int8 ? 1 + !dynamic : 0;
    }
    return n;
}

json_t *metrics_add(json_t *doc, const char *name, const struct model *m, const struct scheme *scheme,
                    const struct eval_total *t, struct err *e)
{
    json_t *candidates = json_object_get(doc, "candidates"), *o;
    struct applied n = count_applied(m);

    if (json_push(candidates, json_object(), e))
        return NULL;
    o = json_array_get(candidates, json_array_size(candidates) - 1);
    if (json_put(o, "name", json_string(name), e) || json_put(o, "model_digest", json_string(m->digest), e) ||
        (scheme && (json_put(o, "scheme", json_string(scheme->name), e) ||
                    json_put(o, "scheme_digest", json_string(scheme->hex), e))) ||
        json_put(o, "tensors", dtype_counts(&m->weights.ckpt, e), e) ||
        put_count(o, "fp8_modules", n.fp8, e) ||
        (n.int8 && put_count(o, "int8_modules", n.int8, e)) ||
        (m->kv && json_put(o, "kv_cache", json_string("fp8"), e)) ||
        put_count(o, "scales_applied", n.scales, e) ||
        put_real(o, "ppl", t->ppl, e))
        return NULL;
    return o;
}

/* ---- against a reference ---- */

int metrics_kept(json_t *doc, const struct states *ref, const struct eval_sample *sample, size_t n,
                 struct err *e)
{
    double tokens = 0, moved = 0, lse_sq = 0;
    json_t *o;

    if (!ref->kept)
        return 0;
    for (size_t i = 0; i < n; i++) {
        tokens += (double)sample[i].tokens;
        moved += (double)sample[i].ref_moved;
        lse_sq += sample[i].ref_lse_sq;
    }
    o = put_object(doc, "reference", e);
    return !o || json_put(o, "dtype", json_string(st_dtype_name(ref->dtype)), e) ||
                   put_real(o, "argmax_moved", moved / tokens, e) ||
                   put_real(o, "lse_rms", sqrt(lse_sq / tokens), e)
               ? -1
               : 0;
}

static int put_interval(json_t *o, const struct boot_interval *interval, struct err *e)
{
    json_t *both = json_array();
    int ret = json_push(both, json_real(interval->low), e) || json_push(both, json_real(interval->high), e) ||
                      json_put(o, "interval", json_incref(both), e)
                  ? -1
                  : 0;

    json_decref(both);
    return ret;
}

static int put_value(json_t *o, const char *key, struct stats_value v, const struct candidate_split *s,
                     enum figure f, struct err *e)
{
    json_t *value = put_object(o, key, e);

    return !value || put_real(value, "value", v.value, e) || put_real(value, "error", v.error, e) ||
                   (s && s->sampled && put_interval(value, &s->interval[f], e))
               ? -1
               : 0;
}

static int put_perplexity(json_t *o, const struct candidate_split *split, struct err *e)
{
    const struct stats *s = &split->stats;

    o = put_object(o, "perplexity", e);
    return !o || put_value(o, "ppl", s->ppl, split, FIG_PPL, e) ||
           put_value(o, "ppl_ref", s->ppl_ref, NULL, 0, e) ||
                   put_real(o, "correlation", s->correlation, e) ||
                   put_value(o, "ln_ppl_ratio", s->ln_ratio, NULL, 0, e) ||
                   put_value(o, "ppl_ratio", s->ratio, split, FIG_PPL_RATIO, e) ||
                   put_value(o, "ppl_difference", s->difference, NULL, 0, e) ||
                   put_real(o, "ppl_macro", s->ppl_macro, e) ||
                   put_real(o, "ppl_ref_macro", s->ppl_ref_macro, e)
               ? -1
               : 0;
}

static int put_percentiles(json_t *o, const double point[STATS_POINTS], struct err *e)
{
    static const char *const key[STATS_POINTS] = {"min", "0.1", "1",  "5",  "10",   "25", "50",
                                                  "75",  "90",  "95", "99", "99.9", "max"};

    o = put_object(o, "percentiles", e);
    for (size_t i = 0; o && i < STATS_POINTS; i++)
        if (put_real(o, key[i], point[i], e))
            return -1;
    return o ? 0 : -1;
}

static int put_confidence(json_t *o, const struct stats *s, struct err *e)
{
    json_t *list;

    if (json_put(o, "by_confidence", json_array(), e))
        return -1;
    list = json_object_get(o, "by_confidence");
    for (size_t b = 0; b < STATS_BUCKETS; b++) {
        json_t *item;

        if (json_push(list, json_object(), e))
            return -1;
        item = json_array_get(list, b);
        if (put_real(item, "from", stats_bucket[b], e) || put_real(item, "to", stats_bucket[b + 1], e) ||
            put_count(item, "tokens", s->bucket[b].tokens, e) ||
            (s->bucket[b].tokens && (put_real(item, "mean", s->bucket[b].mean, e) ||
                                     put_real(item, "median", s->bucket[b].median, e))))
            return -1;
    }
    return 0;
}

static int put_divergence(json_t *o, const struct candidate_split *split, struct err *e)
{
    const struct stats *s = &split->stats;

    o = put_object(o, "kl_divergence", e);
    return !o || put_value(o, "mean", s->kl, split, FIG_KL_ANSWER, e) ||
           put_real(o, "macro", s->kl_macro, e) ||
                   put_real(o, "reverse", s->kl_back, e) || put_real(o, "jensen_shannon", s->js, e) ||
                   put_percentiles(o, s->kl_point, e) || put_confidence(o, s, e)
               ? -1
               : 0;
}

static int put_tops(json_t *o, const char *key, const double share[STATS_TOPS], struct err *e)
{
    static const char *const k[STATS_TOPS] = {"1", "2", "3", "4", "5", "10"};

    o = put_object(o, key, e);
    for (size_t i = 0; o && i < STATS_TOPS; i++)
        if (put_real(o, k[i], share[i], e))
            return -1;
    return o ? 0 : -1;
}

static int put_probability(json_t *o, const struct candidate_split *split, struct err *e)
{
    const struct stats *s = &split->stats;
    json_t *p = put_object(o, "probability", e), *t;

    if (!p || put_value(p, "delta_p", s->dp, split, FIG_DP, e) ||
        put_value(p, "rms_delta_p", s->dp_rms, split, FIG_DP_RMS, e) ||
        put_real(p, "max_abs_delta_p", s->dp_max_abs, e) || put_percentiles(p, s->dp_point, e))
        return -1;
    t = put_object(o, "top_k", e);
    return !t || put_value(t, "same_top", s->same_top, split, FIG_SAME_TOP, e) ||
                   put_real(t, "same_top_macro", s->same_top_macro, e) ||
                   put_tops(t, "agreement", s->agree, e) ||
                   put_tops(t, "label_in_ref", s->label_ref, e) || put_tops(t, "label_in", s->label, e)
               ? -1
               : 0;
}

static int put_logits(json_t *o, const struct stats *s, struct err *e)
{
    o = put_object(o, "logits", e);
    return !o || put_real(o, "mse", s->mse, e) || put_real(o, "rmse", sqrt(s->mse), e) ||
                   put_real(o, "max_abs", s->max_abs, e) || put_real(o, "cosine", s->cos, e) ||
                   put_real(o, "mse_centred", s->mse_centred, e) ||
                   put_real(o, "rmse_centred", sqrt(s->mse_centred), e) ||
                   put_real(o, "cosine_centred", s->cos_centred, e)
               ? -1
               : 0;
}

static int put_statistics(json_t *o, const struct candidate *c, struct err *e)
{
    o = put_object(o, "statistics", e);
    for (enum split s = 0; o && s < SPLITS; s++) {
        const struct candidate_split *split = &c->split[s];
        json_t *to;

        if (split->stats.tokens == 0)
            continue;
        to = put_object(o, split_name[s], e);
        if (!to || put_count(to, "samples", split->stats.samples, e) ||
            put_count(to, "tokens", split->stats.tokens, e) || put_perplexity(to, split, e) ||
            put_divergence(to, split, e) || put_probability(to, split, e) || put_logits(to, &split->stats, e))
            return -1;
    }
    return o ? 0 : -1;
}

static int put_uncertainty(json_t *o, const struct candidate_split *s, struct err *e)
{
    if (!s->sampled)
        return 0;
    o = put_object(o, "uncertainty", e);
    for (size_t f = 0; o && f < FIGURES; f++) {
        json_t *figure = put_object(o, figure_name[f], e);

        if (!figure || put_real(figure, "error", s->interval[f].error, e) ||
            put_interval(figure, &s->interval[f], e))
            return -1;
    }
    return o ? 0 : -1;
}

int metrics_perplexity(json_t *o, const struct eval_sample *sample, size_t n, struct err *e)
{
    static const enum figure ppl = FIG_PPL;
    struct boot_interval interval;
    json_t *figure;

    if (n < 2)
        return 0;
    if (candidate_intervals(&interval, &ppl, 1, SPLIT_ALL, sample, n, e) ||
        !(o = put_object(o, "uncertainty", e)))
        return -1;
    figure = put_object(o, figure_name[ppl], e);
    return !figure || put_real(figure, "error", interval.error, e) ||
           put_interval(figure, &interval, e) ? -1 : 0;
}

int metrics_against(json_t *o, const struct candidate *c, struct err *e)
{
    const struct eval_total *t = &c->total;

    return put_real(o, "ppl_ref", t->ppl_ref, e) || put_real(o, "ppl_ratio", t->ppl / t->ppl_ref, e) ||
                   put_real(o, "kl", t->kl, e) || put_real(o, "kl_answer", t->kl_answer, e) ||
                   put_real(o, "kl_last", t->kl_last, e) || put_real(o, "mse", t->mse, e) ||
                   put_real(o, "mse_last", t->mse_last, e) || put_real(o, "top1", t->top1, e) ||
                   put_uncertainty(o, &c->split[SPLIT_ALL], e) || put_statistics(o, c, e)
               ? -1
               : 0;
}

int metrics_origin(json_t *o, double kl_last, double mse_last, size_t batch, struct err *e)
{
    static const char *const keys[] = {"kl_last", "mse_last"};
    json_t *ours;

    if (json_put(o, "semantics", json_string("origin"), e) || put_count(o, "batch", batch, e) ||
        !(ours = put_object(o, "mean_of_samples", e)))
        return -1;
    for (size_t i = 0; i < 2; i++) {
        if (json_put(ours, keys[i], json_incref(json_object_get(o, keys[i])), e))
            return -1;
        json_object_del(json_object_get(o, "uncertainty"), keys[i]); /* of ours */
    }
    return put_real(o, "kl_last", kl_last, e) || put_real(o, "mse_last", mse_last, e) ? -1 : 0;
}

static int put_pair(json_t *pairs, const struct candidate *c, const struct pair *p, struct err *e)
{
    json_t *o;

    if (json_push(pairs, json_object(), e))
        return -1;
    o = json_array_get(pairs, json_array_size(pairs) - 1);
    if (json_put(o, "a", json_string(c[p->a].name), e) || json_put(o, "b", json_string(c[p->b].name), e) ||
        json_put(o, "verdict", json_string(verdict_name[p->verdict]), e) ||
        (p->samples_needed && put_count(o, "samples_needed", p->samples_needed, e)))
        return -1;
    for (enum pair_index i = 0; i < PAIR_FIGURES; i++) {
        json_t *d = put_object(o, figure_name[pair_figure[i]], e);

        if (!d || put_real(d, "difference", p->difference[i], e) ||
            put_real(d, "error", p->interval[i].error, e) || put_interval(d, &p->interval[i], e))
            return -1;
    }
    return 0;
}

int metrics_bootstrap(json_t *doc, struct err *e)
{
    json_t *o = put_object(doc, "bootstrap", e);

    return !o || put_count(o, "draws", BOOT_DRAWS, e) || put_count(o, "seed", BOOT_SEED, e) ||
                   put_real(o, "level", BOOT_LEVEL, e) || json_put(o, "unit", json_string("sample"), e)
               ? -1
               : 0;
}

int metrics_pairs(json_t *doc, const struct candidate *c, const struct pairs *p, struct err *e)
{
    json_t *o;

    if (metrics_bootstrap(doc, e) || json_put(doc, "pairs", json_array(), e))
        return -1;
    for (size_t i = 0; i < p->n; i++)
        if (put_pair(json_object_get(doc, "pairs"), c, &p->pair[i], e))
            return -1;
    if (p->neighbours == 0)
        return 0;
    o = put_object(doc, "resolution", e);
    return !o || put_count(o, "neighbours", p->neighbours, e) || put_count(o, "told_apart", p->clear, e) ||
                   put_count(o, "equal", p->equal, e) ||
                   (p->samples_needed && put_count(o, "samples_needed", p->samples_needed, e))
               ? -1
               : 0;
}
