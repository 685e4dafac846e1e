/* diff_expect.c - do two checkpoints differ in exactly the layers in which their schemes do? */
#include <stdlib.h>
#include <string.h>

#include "common/base/fp8.h"
#include "common/base/mem.h"
#include "common/quant/diff.h"

const char *const diff_miss_text[MISS_KINDS] = {
    "schemes differ, files do not",
    "files differ, schemes do not",
    "A is not as its scheme says",
    "B is not as its scheme says",
};

enum expected { EQUAL, DIFFERENT, EITHER };

static bool scales_differ(const struct scheme_module *a, const struct scheme_module *b, enum rounding r)
{
    return fp8_scale(a->weight_amax, r) != fp8_scale(b->weight_amax, r) ||
           fp8_scale(a->input_amax, r) != fp8_scale(b->input_amax, r);
}

/* Ranges may differ by less than their scales tell apart, and export-ckpt may be told another rounding. */
static enum expected expect_of(const struct scheme *const scheme[2], const char *layer)
{
    const struct scheme_module *a = scheme_find(scheme[0], layer), *b = scheme_find(scheme[1], layer);

    if (!a || !b)
        return a || b ? DIFFERENT : EQUAL;
    if (a->format != b->format)
        return DIFFERENT;
    if (scales_differ(a, b, ROUND_EXACT) && scales_differ(a, b, ROUND_MODELOPT))
        return DIFFERENT;
    return scales_differ(a, b, ROUND_EXACT) || scales_differ(a, b, ROUND_MODELOPT) ||
                   strcmp(scheme[0]->rounding, scheme[1]->rounding)
               ? EITHER
               : EQUAL;
}

static int add(struct diff_expect *x, enum diff_miss_kind kind, const char *layer, struct err *e)
{
    if (mem_grow((void **)&x->miss, x->misses, &x->cap, sizeof *x->miss, e))
        return -1;
    x->miss[x->misses++] = (struct diff_miss){kind, layer};
    x->n[kind]++;
    return 0;
}

/* What a scheme speaks of; biases and norms are none of its business. */
static bool is_of_scheme(const struct diff_tensor *t)
{
    return !strcmp(t->part, "weight") || !strcmp(t->part, "weight_scale") || !strcmp(t->part, "input_scale");
}

static int check_difference(struct diff_expect *x, const struct diff *d, const struct diff_layer *l,
                            struct err *e)
{
    const enum expected expected = expect_of(x->scheme, l->name);
    bool of_scheme = false, other = false;

    for (size_t i = l->first; i < l->first + l->n; i++) {
        const struct diff_tensor *t = &d->tensor[i];

        of_scheme |= t->what && is_of_scheme(t);
        other |= t->what && !is_of_scheme(t);
    }
    if (expected == DIFFERENT && !of_scheme && add(x, MISS_FILES_EQUAL, l->name, e))
        return -1;
    return other || (expected == EQUAL && of_scheme) ? add(x, MISS_SCHEMES_EQUAL, l->name, e) : 0;
}

/* Codes where the scheme of side s says so, and only there. */
static int check_state(struct diff_expect *x, const struct diff *d, const struct diff_layer *l, size_t s,
                       struct err *e)
{
    const struct scheme_module *m = scheme_find(x->scheme[s], l->name);
    const struct st_tensor *weight = NULL;
    bool fits;

    for (size_t i = l->first; i < l->first + l->n; i++)
        if (!strcmp(d->tensor[i].part, "weight"))
            weight = d->tensor[i].t[s];
    if (m && m->format == FORMAT_FP8)
        fits = weight && weight->dtype == DT_F8_E4M3;
    else
        fits = !weight || (weight->dtype != DT_F8_E4M3 && weight->dtype != DT_I8);
    return fits ? 0 : add(x, s ? MISS_B : MISS_A, l->name, e);
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
        if (check_absent(x, d, s, e))
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
