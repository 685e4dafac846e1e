/* diff.c - which layers of two model directories differ, in what, and by how much */
#include "common/quant/diff.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

const char *const diff_file_name[DIFF_FILES] = {"config.json", "hf_quant_config.json"};

/* "layers.2" comes before "layers.10". */
static int compare_names(const void *a, const void *b)
{
    const struct diff_tensor *x = a, *y = b;
    const int layer = strverscmp(x->layer, y->layer);

    return layer ? layer : strcmp(x->part, y->part);
}

/* Every tensor of side s, unpaired. */
static int list_tensors(struct diff *d, size_t s, struct err *e)
{
    const struct ckpt *c = d->ckpt[s];

    for (size_t i = 0; i < c->tensors; i++) {
        struct diff_tensor *t = &d->tensor[d->tensors];
        char canonical[NAME_BYTES], *dot;

        if (name_canonical(c->by_name[i]->name, canonical, e))
            return err_prefix(e, "'%s'", ckpt_file_of(c, c->by_name[i]));
        t->layer = mem_printf(e, "%s%s", strchr(canonical, '.') ? "" : ".", canonical);
        if (!t->layer)
            return -1;
        dot = strrchr(t->layer, '.');
        *dot = '\0';
        t->part = dot + 1;
        t->t[s] = c->by_name[i];
        d->tensors++;
    }
    return 0;
}

/* Neighbours of one name and different sides become one entry. */
static int pair_tensors(struct diff *d, struct err *e)
{
    size_t n = 0;

    qsort(d->tensor, d->tensors, sizeof *d->tensor, compare_names);
    for (size_t i = 0; i < d->tensors; i++) {
        struct diff_tensor *t = &d->tensor[i], *last = n ? &d->tensor[n - 1] : NULL;

        if (!last || compare_names(last, t)) {
            const struct diff_tensor moved = *t;

            *t = (struct diff_tensor){0};
            d->tensor[n++] = moved;
            continue;
        }
        for (size_t s = 0; s < 2; s++) {
            if (last->t[s] && t->t[s])
                return err_set(e, RC_DATA, "'%s' holds one tensor twice, as '%s' and as '%s'",
                               d->ckpt[s]->dir, last->t[s]->name, t->t[s]->name);
            if (t->t[s])
                last->t[s] = t->t[s];
        }
        free(t->layer);
        *t = (struct diff_tensor){0};
    }
    d->tensors = n;
    return 0;
}

static int list_layers(struct diff *d, struct err *e)
{
    d->layer = mem_zalloc(d->tensors, sizeof *d->layer, e);
    if (!d->layer)
        return -1;
    for (size_t i = 0; i < d->tensors; i++) {
        struct diff_tensor *t = &d->tensor[i];

        if (!i || strcmp(d->tensor[i - 1].layer, t->layer))
            d->layer[d->layers++] = (struct diff_layer){.name = t->layer, .first = i};
        t->in = d->layers - 1;
        d->layer[t->in].n++;
    }
    return 0;
}

static bool is_code(const struct st_tensor *t)
{
    return t->dtype == DT_F8_E4M3 || t->dtype == DT_I8;
}

static bool is_scale_of_codes(const struct diff_tensor *t)
{
    return !strcmp(t->part, "weight_scale") || !strcmp(t->part, "pre_quant_scale");
}

/* That part of t's layer when t is a weight, else NULL. */
static const struct diff_tensor *find_scale(const struct diff *d, const struct diff_tensor *t,
                                            const char *part)
{
    const struct diff_layer *l = &d->layer[t->in];

    for (size_t i = l->first; i < l->first + l->n; i++)
        if (!strcmp(t->part, "weight") && !strcmp(d->tensor[i].part, part))
            return &d->tensor[i];
    return NULL;
}

static bool same_bytes(const struct st_tensor *a, const struct st_tensor *b)
{
    return a->bytes == b->bytes && (!a->bytes || !memcmp(a->data, b->data, a->bytes));
}

/* Dtype, shape and bytes of a pair; presence. */
static unsigned compare_stored(const struct st_tensor *a, const struct st_tensor *b)
{
    unsigned what = 0;

    if (!a || !b)
        return a ? DIFF_ONLY_A : b ? DIFF_ONLY_B : 0;
    if (a->dtype != b->dtype)
        what |= DIFF_DTYPE;
    if (a->ndim != b->ndim || memcmp(a->shape, b->shape, a->ndim * sizeof *a->shape))
        what |= DIFF_SHAPE;
    return what || same_bytes(a, b) ? what : DIFF_BYTES;
}

static void compare_tensor(const struct diff *d, struct diff_tensor *t)
{
    const struct diff_tensor *scale = find_scale(d, t, "weight_scale"),
        *pre = find_scale(d, t, "pre_quant_scale");
    struct diff_side side[2];

    t->what = compare_stored(t->t[0], t->t[1]);
    if (t->what & (DIFF_ONLY_A | DIFF_ONLY_B))
        return;
    if (is_code(t->t[0]) && is_code(t->t[1]) &&
        ((scale && compare_stored(scale->t[0], scale->t[1])) ||
         (pre && compare_stored(pre->t[0], pre->t[1]))))
        t->what |= DIFF_SCALE;
    if (!t->what)
        return;
    for (size_t s = 0; s < 2; s++)
        side[s] = (struct diff_side){d->ckpt[s], t->t[s], scale ? scale->t[s] : NULL, pre ? pre->t[s] : NULL};
    diff_compare_values(side, &t->values);
}

static void compare_tensors(struct diff *d, struct progress *p)
{
    p->total = d->tensors;
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < d->tensors; i++) {
        compare_tensor(d, &d->tensor[i]);
#pragma omp critical(diff_progress)
        progress_add(p, 1);
    }
}

/* Counts, and of each layer the numbers that stand for it. */
static void sum_up(struct diff *d)
{
    for (size_t i = 0; i < d->tensors; i++) {
        const struct diff_tensor *t = &d->tensor[i];
        struct diff_layer *l = &d->layer[t->in];
        size_t not_finite;

        if (!t->what)
            continue;
        d->tensors_differ++;
        d->tensors_only[0] += t->what == DIFF_ONLY_A;
        d->tensors_only[1] += t->what == DIFF_ONLY_B;
        d->layers_differ += !l->differing++;
        if (!t->values.known || is_scale_of_codes(t))
            continue;
        not_finite = l->values.not_finite + t->values.not_finite;
        if (!l->values.known || diff_relative(&t->values) > diff_relative(&l->values))
            l->values = t->values;
        l->values.not_finite = not_finite;
    }
}

/* One configuration file of a directory: *data NULL when it is not there. */
static int read_file(const struct ckpt *c, const char *name, uint8_t **data, size_t *n, struct err *e)
{
    char *path = file_join(c->dir, name, e);
    const int there = path ? file_exists(path, e) : -1;
    int ret = there < 0 ? -1 : 0;

    if (there > 0)
        ret = file_read(path, data, n, e);
    free(path);
    return ret;
}

static int compare_file(struct diff *d, size_t i, struct err *e)
{
    uint8_t *data[2] = {NULL, NULL};
    size_t n[2] = {0, 0};
    int ret = -1;

    for (size_t s = 0; s < 2; s++)
        if (read_file(d->ckpt[s], diff_file_name[i], &data[s], &n[s], e))
            goto out;
    d->there[i] = data[0] || data[1];
    if (!data[0] != !data[1])
        d->file[i] = data[0] ? DIFF_ONLY_A : DIFF_ONLY_B;
    else if (data[0] && (n[0] != n[1] || memcmp(data[0], data[1], n[0])))
        d->file[i] = DIFF_BYTES;
    ret = 0;
out:
    free(data[1]);
    free(data[0]);
    return ret;
}

int diff_make(struct diff *d, const struct ckpt *a, const struct ckpt *b, struct progress *p, struct err *e)
{
    *d = (struct diff){.ckpt = {a, b}};
    d->tensor = mem_zalloc(a->tensors + b->tensors, sizeof *d->tensor, e);
    if (!d->tensor || list_tensors(d, 0, e) || list_tensors(d, 1, e) || pair_tensors(d, e) ||
        list_layers(d, e))
        goto fail;
    for (size_t i = 0; i < DIFF_FILES; i++)
        if (compare_file(d, i, e))
            goto fail;
    compare_tensors(d, p);
    sum_up(d);
    return 0;
fail:
    diff_release(d);
    return -1;
}

void diff_release(struct diff *d)
{
    free(d->layer);
    /* pair_tensors() may have stopped half-way: entries that it has merged are zeroed */
    for (size_t i = 0; d->tensor && i < d->tensors; i++)
        free(d->tensor[i].layer);
    free(d->tensor);
    *d = (struct diff){0};
}

bool diff_any(const struct diff *d)
{
    bool any = d->tensors_differ > 0;

    for (size_t i = 0; i < DIFF_FILES; i++)
        any |= d->file[i] != 0;
    return any;
}
