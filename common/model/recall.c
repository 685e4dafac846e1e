/* recall.c - candidates that were measured apart, brought together from their METRICS documents */
#include "common/model/recall.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/io/doc.h"
#include "common/model/persample.h"

/* "top10" of "out/top10/metrics.json"; NULL where the path names no folder. */
static char *folder_of(const char *path, struct err *e)
{
    const char *end = path ? strrchr(path, '/') : NULL, *start = end;

    while (start && start > path && start[-1] != '/')
        start--;
    return end && end > start ? mem_printf(e, "%.*s", (int)(end - start), start) : NULL;
}

/* The first document says what the others must have. */
static int check_head(struct recall *r, json_t *doc, const char *name, struct err *e)
{
    json_t *from, *samples;
    const char *stream, *reference;

    if (doc_check(doc, "octet-metrics", 1, false, name, e) || json_get_obj(doc, "from", &from, name, e) ||
        json_get_obj(doc, "samples", &samples, name, e) || json_get_str(from, "samples", &stream, name, e))
        return -1;
    reference = json_string_value(json_object_get(from, "reference"));
    if (!reference)
        return err_set(e, RC_DATA, "'%s' was not measured against a reference: give METRICS of eval-logits",
                       name);
    if (!r->samples) {
        r->samples = json_incref(samples);
        r->stream = mem_strdup(stream, e);
        r->reference = mem_strdup(reference, e);
        r->first = mem_strdup(name, e);
        return r->stream && r->reference && r->first ? 0 : -1;
    }
    if (strcmp(r->reference, reference))
        return err_set(e, RC_DATA, "'%s' has another reference than '%s': measure both against one", name,
                       r->first);
    if (strcmp(r->stream, stream) || !json_equal(r->samples, samples))
        return err_set(e, RC_DATA,
                       "'%s' was measured on other samples than '%s', or on another shard of them: measure both "
                       "on the same", name, r->first);
    return 0;
}

static int check_sum(const json_t *o, const char *key, double want, const char *where, struct err *e)
{
    double value;

    if (json_get_f64(o, key, &value, where, e))
        return -1;
    if (!(fabs(value - want) <= 1e-9 * fabs(want)))
        return err_set(e, RC_DATA, "%s: %s is %g, where its samples make %g: the document was changed", where,
                       key, value, want);
    return 0;
}

static int add_candidate(struct recall *r, json_t *o, const char *path, const char *file, struct err *e)
{
    struct eval_sample *sample = NULL;
    const struct eval_total *t;
    const char *name;
    char *where = mem_printf(e, "'%s'", file);
    size_t n = 0;
    int ret = -1;

    if (!where || json_get_str(o, "name", &name, where, e) ||
        persample_get(r->samples, o, where, &sample, &n, e) ||
        mem_grow((void **)&r->candidate, r->n, &r->cap, sizeof *r->candidate, e) ||
        mem_grow((void **)&r->from, r->n, &r->from_cap, sizeof *r->from, e))
        goto out;
    r->from[r->n] = (struct recalled){.object = json_incref(o), .folder = folder_of(path, e)};
    t = &r->candidate[r->n++].total;
    if (candidate_recall(&r->candidate[r->n - 1], name, sample, n, e))
        goto out;
    ret = check_sum(o, "kl_answer", t->kl_answer, where, e) || check_sum(o, "kl", t->kl, where, e) ||
                  check_sum(o, "ppl", t->ppl, where, e) || check_sum(o, "ppl_ref", t->ppl_ref, where, e)
              ? -1
              : 0;
out:
    free(sample);
    free(where);
    return ret;
}

int recall_add(struct recall *r, const char *path, struct err *e)
{
    const char *name = file_label(path);
    json_t *doc = json_read(path, NULL, e), *list;
    int ret = doc ? 0 : -1;

    if (ret == 0 && (check_head(r, doc, name, e) || json_get_arr(doc, "candidates", &list, name, e)))
        ret = -1;
    for (size_t i = 0; ret == 0 && i < json_array_size(list); i++)
        ret = add_candidate(r, json_array_get(list, i), path, name, e);
    json_decref(doc);
    return ret;
}

static bool is_clear(const struct recall *r, struct err *e)
{
    for (size_t a = 0; a < r->n; a++)
        for (size_t b = a + 1; b < r->n; b++)
            if (!strcmp(r->candidate[a].name, r->candidate[b].name)) {
                if (e)
                    err_set(e, RC_DATA,
                            "two candidates are called '%s': give documents in folders of different names",
                            r->candidate[a].name);
                return false;
            }
    return true;
}

int recall_name(struct recall *r, struct err *e)
{
    if (is_clear(r, NULL))
        return 0;
    for (size_t i = 0; i < r->n; i++) {
        struct candidate *c = &r->candidate[i];
        char *name = r->from[i].folder ? mem_printf(e, "%s/%s", r->from[i].folder, c->name) : NULL;

        if (!r->from[i].folder)
            continue;
        if (!name)
            return -1;
        free(c->name);
        c->name = name;
        if (json_put(r->from[i].object, "name", json_string(name), e))
            return -1;
    }
    return is_clear(r, e) ? 0 : -1;
}

void recall_release(struct recall *r)
{
    for (size_t i = 0; i < r->n; i++) {
        candidate_release(&r->candidate[i]);
        json_decref(r->from[i].object);
        free(r->from[i].folder);
    }
    free(r->candidate);
    free(r->from);
    json_decref(r->samples);
    free(r->stream);
    free(r->reference);
    free(r->first);
    *r = (struct recall){0};
}
