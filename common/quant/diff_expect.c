/* diff_expect.c - do two checkpoints differ in exactly the layers in which their schemes do? */
#include <stdlib.h>
#include <string.h>

#include "common/base/int8.h"
#include "common/base/mem.h"
#include "common/quant/diff.h"
#include "common/quant/names.h"

const char *const diff_miss_text[MISS_KINDS] = {
    "schemes differ, files do not",
    "files differ, schemes do not",
    "A is not as its scheme says",
    "B is not as its scheme says",
};

enum expected { EQUAL, DIFFERENT, EITHER };

/*
 * Two ranges as scales: they may differ by less than those tell apart, and export-ckpt may be told another
 * rounding.
 */
static enum expected expect_scales(float a, float b, float (*scale)(float, enum rounding))
{
    const bool exact = scale(a, ROUND_EXACT) != scale(b, ROUND_EXACT),
               modelopt = scale(a, ROUND_MODELOPT) != scale(b, ROUND_MODELOPT);

    return exact && modelopt ? DIFFERENT : exact || modelopt ? EITHER : EQUAL;
}

/* One difference is enough, one doubt too. */
static enum expected worse(enum expected a, enum expected b)
{
    return a == DIFFERENT || b == DIFFERENT ? DIFFERENT : a == EITHER || b == EITHER ? EITHER : EQUAL;
}

static bool same_numbers(const float *a, const float *b, size_t n, size_t m)
{
    return !a || !b ? !a && !b : n == m && !memcmp(a, b, n * sizeof *a);
}

static bool same_smoothing(const struct scheme_module *a, const struct scheme_module *b)
{
    return same_numbers(a->pre_scale, b->pre_scale, a->channels, b->channels) &&
           (!a->pre_scale || a->folded == b->folded);
}

/* The smoothing that a norm carries; NULL: none. */
static const struct scheme_module *find_folded(const struct scheme *s, const char *norm)
{
    struct err ignored = {0};
    char reads[NAME_BYTES];

    for (size_t i = 0; i < s->n_modules; i++)
        if (s->module[i].pre_scale && s->module[i].folded &&
            name_norm(s->module[i].name, reads, &ignored) == 0 && !strcmp(reads, norm))
            return &s->module[i];
    return NULL;
}

static enum expected expect_norm(const struct scheme *const scheme[2], const char *layer)
{
    const struct scheme_module *a = find_folded(scheme[0], layer), *b = find_folded(scheme[1], layer);

    return !a != !b || (a && !same_smoothing(a, b)) ? DIFFERENT : EQUAL;
}

static enum expected expect_of(const struct scheme *const scheme[2], const char *layer)
{
    const struct scheme_module *a = scheme_find(scheme[0], layer), *b = scheme_find(scheme[1], layer);
    enum expected x = EQUAL;

    if (!a && !b)
        return expect_norm(scheme, layer);
    if (!a || !b || a->format != b->format || a->dynamic != b->dynamic || !same_smoothing(a, b))
        return DIFFERENT;
    if (a->format == FORMAT_INT8)
        x = expect_scales(a->input_amax, b->input_amax, int8_scale);
    else
        x = worse(expect_scales(a->weight_amax, b->weight_amax, fp8_scale),
                  expect_scales(a->input_amax, b->input_amax, fp8_scale));
    if (x == EQUAL && (strcmp(scheme[0]->rounding, scheme[1]->rounding) ||
                       !same_numbers(a->own_scale, b->own_scale, a->channels, b->channels)))
        x = EITHER;
    return x;
}

/*
 * The layer of a KV cache scale's name: "language_model.layers.0" of "...0.self_attn" and
 * "...0.self_attn.k_proj".
 */
static const struct scheme_kv *find_kv(const struct scheme *s, const char *layer)
{
    for (size_t i = 0; i < s->n_kv; i++) {
        const size_t n = strlen(s->kv[i].layer);

        if (!strncmp(layer, s->kv[i].layer, n) && !strncmp(layer + n, ".self_attn", 10))
            return &s->kv[i];
    }
    return NULL;
}

static bool is_kv_scale(const struct diff_tensor *t)
{
    return !strcmp(t->part, "k_scale") || !strcmp(t->part, "v_scale");
}

static enum expected expect_kv(const struct scheme *const scheme[2], const struct diff_tensor *t)
{
    const struct scheme_kv *a = find_kv(scheme[0], t->layer), *b = find_kv(scheme[1], t->layer);
    const bool k = *t->part == 'k';
    enum expected x;

    if (!a || !b)
        return a || b ? DIFFERENT : EQUAL;
    x = expect_scales(k ? a->k_amax : a->v_amax, k ? b->k_amax : b->v_amax, fp8_scale);
    return x == EQUAL && strcmp(scheme[0]->rounding, scheme[1]->rounding) ? EITHER : x;
}

static int add(struct diff_expect *x, enum diff_miss_kind kind, const char *layer, struct err *e)
{
    if (mem_grow((void **)&x->miss, x->misses, &x->cap, sizeof *x->miss, e))
        return -1;
    x->miss[x->misses++] = (struct diff_miss){kind, layer};
    x->n[kind]++;
    return 0;
}

/* What a scheme speaks of beside the KV cache; biases are none of its business. */
static bool is_of_scheme(const struct diff_tensor *t)
{
    static const char *const parts[] = {"weight", "weight_scale", "input_scale", "pre_quant_scale"};

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strcmp(t->part, parts[i]))
            return true;
    return false;
}

static int check_difference(struct diff_expect *x, const struct diff *d, const struct diff_layer *l,
                            struct err *e)
{
    const enum expected expected = expect_of(x->scheme, l->name);
    bool of_scheme = false, more = false, less = false;

    for (size_t i = l->first; i < l->first + l->n; i++) {
        const struct diff_tensor *t = &d->tensor[i];

        if (is_kv_scale(t)) {
            more |= t->what && expect_kv(x->scheme, t) == EQUAL;
            less |= !t->what && expect_kv(x->scheme, t) == DIFFERENT;
        } else if (is_of_scheme(t)) {
            of_scheme |= t->what != 0;
        } else {
            more |= t->what != 0;
        }
    }
    if ((less || (expected == DIFFERENT && !of_scheme)) && add(x, MISS_FILES_EQUAL, l->name, e))
        return -1;
    return more || (expected == EQUAL && of_scheme) ? add(x, MISS_SCHEMES_EQUAL, l->name, e) : 0;
}

/* The tensor of side s that is that part of a layer. */
static const struct st_tensor *part_of(const struct diff *d, const struct diff_layer *l, size_t s,
                                       const char *part)
{
    for (size_t i = l->first; i < l->first + l->n; i++)
        if (!strcmp(d->tensor[i].part, part))
            return d->tensor[i].t[s];
    return NULL;
}

/* Codes of the format that the scheme of side s says, and only there. */
static int check_state(struct diff_expect *x, const struct diff *d, const struct diff_layer *l, size_t s,
                       struct err *e)
{
    const struct scheme_module *m = scheme_find(x->scheme[s], l->name);
    const struct st_tensor *weight = part_of(d, l, s, "weight");
    bool fits;

    if (m && m->format == FORMAT_FP8)
        fits = weight && weight->dtype == DT_F8_E4M3;
    else if (m && m->format == FORMAT_INT8)
        fits = weight && weight->dtype == DT_I8 && !part_of(d, l, s, "input_scale") == m->dynamic &&
               !part_of(d, l, s, "pre_quant_scale") == !(m->pre_scale && !m->folded);
    else
        fits = !weight || (weight->dtype != DT_F8_E4M3 && weight->dtype != DT_I8);
    return fits ? 0 : add(x, s ? MISS_B : MISS_A, l->name, e);
}

/*
 * Two scales of the KV cache for every layer that the scheme of side s has ranges for, and none for others.
 */
static int check_kv(struct diff_expect *x, const struct diff *d, size_t s, struct err *e)
{
    const struct scheme *scheme = x->scheme[s];
    const enum diff_miss_kind kind = s ? MISS_B : MISS_A;

    for (size_t i = 0; i < d->tensors; i++)
        if (is_kv_scale(&d->tensor[i]) && d->tensor[i].t[s] && !find_kv(scheme, d->tensor[i].layer) &&
            add(x, kind, d->tensor[i].layer, e))
            return -1;
    for (size_t k = 0; k < scheme->n_kv; k++) {
        size_t found = 0;

        for (size_t i = 0; i < d->tensors; i++)
            found += is_kv_scale(&d->tensor[i]) && d->tensor[i].t[s] &&
                     find_kv(scheme, d->tensor[i].layer) == &scheme->kv[k];
        if (found != 2 && add(x, kind, scheme->kv[k].layer, e))
            return -1;
    }
    return 0;
}

static int compare_layers(const void *key, const void *layer)
{
    return strverscmp(key, ((const struct diff_layer *)layer)->name);
}

/* Modules of scheme s that neither directory has. */
static int check_absent(struct diff_expect *x, const struct diff *d, size_t s, struct err *e)
{
    for (size_t i = 0; i < x->scheme[s]->n_modules; i++) {
        const char *name = x->scheme[s]->module[i].name;

        if (!bsearch(name, d->layer, d->layers, sizeof *d->layer, compare_layers) &&
            add(x, s ? MISS_B : MISS_A, name, e))
            return -1;
    }
    return 0;
}

int diff_expect(struct diff_expect *x, const struct diff *d, const struct scheme *a, const struct scheme *b,
                struct err *e)
{
    *x = (struct diff_expect){.scheme = {a, b}};
    for (size_t i = 0; i < d->layers; i++)
        if (check_difference(x, d, &d->layer[i], e))
            goto fail;
    for (size_t s = 0; s < 2; s++) {
        for (size_t i = 0; i < d->layers; i++)
            if (check_state(x, d, &d->layer[i], s, e))
                goto fail;
        if (check_kv(x, d, s, e) || check_absent(x, d, s, e))
            goto fail;
    }
    return 0;
fail:
    diff_expect_release(x);
    return -1;
}

void diff_expect_release(struct diff_expect *x)
{
    free(x->miss);
    *x = (struct diff_expect){0};
}
