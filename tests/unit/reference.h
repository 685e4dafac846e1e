/* reference.h - a golden model opened beside its samples and the reference's numbers */
#ifndef TESTS_UNIT_REFERENCE_H
#define TESTS_UNIT_REFERENCE_H

#include "common/base/mem.h"
#include "common/io/json.h"
#include "common/io/samples.h"
#include "common/model/walk.h"
#include "tests/unit/unit.h"

struct reference {
    const char *name;
    struct backend *be;
    struct model m;
    struct samples s;
    json_t *oracle;         /* NAME.oracle.json */
    struct st_file tensors; /* NAME.oracle.safetensors */
};

static const char *const reference_names[] = {"flat-mha",     "nested4-gqa8", "nested5-sharded", "full-only-patch8",
                                              "windows-only", "qwen2-text",   "tiny-describe",   NULL};

/* The tiny model's scores in the reference's second run, on a CPU: see scores.c. */
#define REFERENCE_CPU "tests/golden/tiny-describe.cpu.oracle.json"

static inline void reference_close(struct reference *r)
{
    st_close(&r->tensors);
    json_decref(r->oracle);
    samples_release(&r->s);
    model_close(&r->m);
    if (r->be)
        r->be->close(r->be);
}

static inline int reference_open(struct reference *r, const char *name)
{
    bool tiny = !strcmp(name, "tiny-describe");
    const char *folder = tiny ? "tests/golden" : "tests/golden/models";
    char model[256], samples[256], oracle[256], tensors[256];
    const char *const path = samples;
    struct err e = {0};

    *r = (struct reference){.name = name};
    snprintf(model, sizeof model, "%s", "data/tiny-qwen2_5-vl");
    if (!tiny)
        snprintf(model, sizeof model, "%s/%s", folder, name);
    snprintf(samples, sizeof samples, "%s/%s.samples.msgpack", folder, name);
    snprintf(oracle, sizeof oracle, "%s/%s.oracle.json", folder, name);
    snprintf(tensors, sizeof tensors, "%s/%s.oracle.safetensors", folder, name);
    r->be = be_open(getenv("TEST_DEVICE") ? getenv("TEST_DEVICE") : "cpu", "fp32", &e);
    if (!r->be || model_open(&r->m, model, r->be, 0, &e) || samples_load(&r->s, &path, 1, 0, 1, &e) ||
        !(r->oracle = json_read(oracle, NULL, &e)) || st_open(&r->tensors, tensors, &e)) {
        CHECK(0, "%s opens: %s", name, e.msg);
        reference_close(r);
        return -1;
    }
    return 0;
}

/* Logits of samples in one batch, [*rows, vocab], to be freed; rows may be NULL.  NULL: e says why. */
static inline float *reference_logits(struct model *m, const struct sample *s, size_t n, size_t *rows,
                                      struct err *e)
{
    struct backend *be = m->be;
    struct batch b = {0};
    struct walk w = {0};
    float *out = NULL, *d;

    if (batch_build(&b, be, m->config, &m->processor, s, n, e) == 0 && walk_init(&w, m, &b, false, e) == 0 &&
        walk_forward(&w, 0, e) == 0 &&
        (out = mem_zalloc(b.tokens * m->config->vocab, sizeof *out, e)) != NULL) {
        d = be->alloc(be, b.tokens * m->config->vocab * sizeof *d);
        be->linear_f32(be, d, w.norm, b.tokens, linear_weight(m->stage[m->head].head));
        be->download(be, out, d, b.tokens * m->config->vocab * sizeof *d);
        be->free(be, d);
        if (rows)
            *rows = b.tokens;
    }
    walk_release(&w);
    batch_release(&b);
    return out;
}

/* The reference's tensor "WHAT.K", fp32; NULL: there is none. */
static inline const struct st_tensor *reference_tensor(const struct reference *r, const char *what, size_t k)
{
    char name[64];

    snprintf(name, sizeof name, "%s.%zu", what, k);
    for (size_t i = 0; i < r->tensors.tensors; i++)
        if (!strcmp(r->tensors.tensor[i].name, name))
            return &r->tensors.tensor[i];
    return NULL;
}

/* Largest |a - b| over n, NAN when any element of either is NaN; *top: the largest |b|. */
static inline double reference_distance(const float *a, const void *b, size_t n, double *top)
{
    double worst = 0;

    *top = 0;
    for (size_t i = 0; i < n; i++) {
        float y;

        memcpy(&y, (const char *)b + 4 * i, 4);
        if (!(fabs((double)a[i] - y) <= 1e300))
            return NAN;
        worst = fmax(worst, fabs((double)a[i] - y));
        *top = fmax(*top, fabs(y));
    }
    return worst;
}

#endif
