/* persample.c - what METRICS documents keep of every sample */
#include "common/model/persample.h"

#include <stddef.h>
#include <stdlib.h>

#include "common/base/mem.h"

/* A member of eval_sample and its key. */
struct member {
    const char *key;
    size_t at;
    enum { COUNT, REAL, FLAG } kind;
};

#define MEMBER(kind, key, name)                                                                              \
    {                                                                                                        \
        key, offsetof(struct eval_sample, name), kind                                                        \
    }
static const struct member shared[] = {
    MEMBER(FLAG, "picture", picture),
    MEMBER(COUNT, "tokens", tokens),
    MEMBER(COUNT, "loss_tokens", loss_tokens),
};
static const struct member own[] = {
    MEMBER(REAL, "nll_ref", nll_ref),
    MEMBER(REAL, "nll", nll),
    MEMBER(REAL, "kl", kl),
    MEMBER(REAL, "kl_answer", kl_answer),
    MEMBER(REAL, "kl_last", kl_last),
    MEMBER(REAL, "mse", mse),
    MEMBER(REAL, "mse_last", mse_last),
    MEMBER(COUNT, "same_top", same_top),
    MEMBER(COUNT, "same_top_answer", same_top_answer),
    MEMBER(REAL, "delta_p", dp),
    MEMBER(REAL, "delta_p_sq", dp_sq),
};
enum { SHARED = sizeof shared / sizeof *shared, OWN = sizeof own / sizeof *own };

static json_t *to_json(const struct member *m, const struct eval_sample *s)
{
    const void *p = (const char *)s + m->at;

    switch (m->kind) {
    case COUNT: return json_integer((json_int_t) * (const size_t *)p);
    case REAL: return json_real(*(const double *)p);
    case FLAG: break;
    }
    return json_boolean(*(const bool *)p);
}

/* A column of n samples under the member's key. */
static int put_column(json_t *o, const struct member *m, const struct eval_sample *out, size_t n,
                      struct err *e)
{
    json_t *column = json_array();
    int ret = 0;

    for (size_t i = 0; i < n && ret == 0; i++)
        ret = json_push(column, to_json(m, &out[i]), e);
    if (ret == 0)
        return json_put(o, m->key, column, e);
    json_decref(column);
    return -1;
}

static int put_ids(json_t *o, const struct sample *sample, size_t n, struct err *e)
{
    json_t *column = json_array();
    int ret = 0;

    for (size_t i = 0; i < n && ret == 0; i++)
        ret = json_push(column, json_string(sample[i].id), e);
    if (ret == 0)
        return json_put(o, "id", column, e);
    json_decref(column);
    return -1;
}

int persample_put_samples(json_t *samples, const struct sample *sample, const struct eval_sample *out,
                          size_t n, struct err *e)
{
    json_t *o;

    if (json_put(samples, "per_sample", json_object(), e) ||
        put_ids(o = json_object_get(samples, "per_sample"), sample, n, e))
        return -1;
    for (size_t i = 0; i < SHARED; i++)
        if (put_column(o, &shared[i], out, n, e))
            return -1;
    return 0;
}

int persample_put(json_t *candidate, const struct eval_sample *out, size_t n, struct err *e)
{
    json_t *o;

    if (json_put(candidate, "per_sample", json_object(), e))
        return -1;
    o = json_object_get(candidate, "per_sample");
    for (size_t i = 0; i < OWN; i++)
        if (put_column(o, &own[i], out, n, e))
            return -1;
    return 0;
}

/* ---- reading ---- */

static int from_json(struct eval_sample *s, const struct member *m, const json_t *v)
{
    void *p = (char *)s + m->at;

    switch (m->kind) {
    case COUNT:
        *(size_t *)p = (size_t)json_integer_value(v);
        return json_is_integer(v) && json_integer_value(v) >= 0 ? 0 : -1;
    case REAL:
        *(double *)p = json_number_value(v);
        return json_is_number(v) ? 0 : -1;
    case FLAG: break;
    }
    *(bool *)p = json_is_true(v);
    return json_is_boolean(v) ? 0 : -1;
}

static int get_columns(struct eval_sample *out, size_t n, const struct member *m, size_t members,
                       const json_t *o, const char *where, struct err *e)
{
    for (size_t k = 0; k < members; k++) {
        json_t *column;

        if (json_get_arr(o, m[k].key, &column, where, e))
            return -1;
        if (json_array_size(column) != n)
            return err_set(e, RC_DATA, "%s: per_sample.%s has %zu values for %zu samples", where, m[k].key,
                           json_array_size(column), n);
        for (size_t i = 0; i < n; i++)
            if (from_json(&out[i], &m[k], json_array_get(column, i)))
                return err_set(e, RC_DATA, "%s: value %zu of per_sample.%s is not of its kind", where, i,
                               m[k].key);
    }
    return 0;
}

int persample_get(const json_t *samples, const json_t *candidate, const char *where, struct eval_sample **out,
                  size_t *n, struct err *e)
{
    const json_t *head = json_object_get(samples, "per_sample"),
        *columns = json_object_get(candidate, "per_sample");

    *out = NULL;
    if (!json_is_object(head) || !json_is_object(columns))
        return err_set(e, RC_DATA, "%s has no per_sample: measure again with eval-logits", where);
    *n = json_array_size(json_object_get(head, "id"));
    *out = mem_zalloc(*n, sizeof **out, e);
    if (!*out || get_columns(*out, *n, shared, SHARED, head, where, e) ||
        get_columns(*out, *n, own, OWN, columns, where, e)) {
        free(*out);
        *out = NULL;
        return -1;
    }
    return 0;
}
