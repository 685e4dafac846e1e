/* diff_report.c - what diff_make() found, as a table and as a document */
#include <string.h>

#include "common/io/doc.h"
#include "common/quant/diff.h"

static const char *const file_words[] = {
    [0] = "equal", [DIFF_ONLY_A] = "only in A", [DIFF_ONLY_B] = "only in B", [DIFF_BYTES] = "differ"};

static void print_shape(FILE *f, const struct st_tensor *t)
{
    fputc('[', f);
    for (size_t i = 0; i < t->ndim; i++)
        fprintf(f, "%s%zu", i ? ", " : "", t->shape[i]);
    fputc(']', f);
}

static void print_tensor(FILE *f, const struct diff_tensor *t)
{
    fputs(t->part, f);
    if (t->what & DIFF_ONLY_A)
        fputs(" only in A", f);
    if (t->what & DIFF_ONLY_B)
        fputs(" only in B", f);
    if (t->what & DIFF_DTYPE)
        fprintf(f, " %s -> %s", st_dtype_name(t->t[0]->dtype), st_dtype_name(t->t[1]->dtype));
    if (t->what & DIFF_SHAPE) {
        fputc(' ', f);
        print_shape(f, t->t[0]);
        fputs(" -> ", f);
        print_shape(f, t->t[1]);
    }
    if (t->what & DIFF_BYTES)
        fputs(" bytes", f);
    if (t->what & DIFF_SCALE)
        fputs(t->what & DIFF_BYTES ? " and scale" : " scale", f);
}

static void print_layer(FILE *f, const struct diff *d, const struct diff_layer *l, int width)
{
    const char *separator = "";

    fprintf(f, "%-*s ", width, *l->name ? l->name : ".");
    if (l->values.known)
        fprintf(f, " %10.4g %10.4g  ", l->values.max_abs, diff_relative(&l->values));
    else
        fprintf(f, " %10s %10s  ", "-", "-");
    for (size_t i = l->first; i < l->first + l->n; i++) {
        if (!d->tensor[i].what)
            continue;
        fputs(separator, f);
        print_tensor(f, &d->tensor[i]);
        separator = ", ";
    }
    if (l->values.not_finite)
        fprintf(f, " (%zu not finite)", l->values.not_finite);
    fputc('\n', f);
}

static void print_layers(FILE *f, const struct diff *d)
{
    int width = 5; /* "layer" */

    for (size_t i = 0; i < d->layers; i++)
        if (d->layer[i].differing && (int)strlen(d->layer[i].name) > width)
            width = (int)strlen(d->layer[i].name);
    fprintf(f, "%-*s  %10s %10s  %s\n", width, "layer", "max |d|", "/ amax", "differs");
    for (size_t i = 0; i < d->layers; i++)
        if (d->layer[i].differing)
            print_layer(f, d, &d->layer[i], width);
}

int diff_table(const struct diff *d, const struct diff_expect *x, FILE *f, struct err *e)
{
    if (d->layers_differ)
        print_layers(f, d);
    for (size_t i = 0; i < DIFF_FILES; i++)
        if (d->there[i])
            fprintf(f, "%s: %s\n", diff_file_name[i], file_words[d->file[i]]);
    for (enum diff_miss_kind k = 0; x && k < MISS_KINDS; k++)
        for (size_t i = 0; i < x->misses; i++)
            if (x->miss[i].kind == k)
                fprintf(f, "%s: %s\n", diff_miss_text[k], x->miss[i].layer);
    fprintf(f, "%zu of %zu layers differ, %zu of %zu tensors: %zu only in A, %zu only in B\n",
            d->layers_differ, d->layers, d->tensors_differ, d->tensors, d->tensors_only[0],
            d->tensors_only[1]);
    return ferror(f) ? err_sys(e, "cannot write the table") : 0;
}

static int put_size(json_t *o, const char *key, size_t n, struct err *e)
{
    return json_put(o, key, json_integer((json_int_t)n), e);
}

static int put_values(json_t *o, const struct diff_values *v, struct err *e)
{
    if (json_put(o, "max_abs", v->known ? json_real(v->max_abs) : json_null(), e) ||
        json_put(o, "amax", v->known ? json_real(v->amax) : json_null(), e) ||
        json_put(o, "relative", v->known ? json_real(diff_relative(v)) : json_null(), e))
        return -1;
    return put_size(o, "not_finite", v->not_finite, e);
}

static json_t *shape_of(const struct st_tensor *t, struct err *e)
{
    json_t *shape = json_array();

    for (size_t i = 0; i < t->ndim; i++) {
        if (json_push(shape, json_integer((json_int_t)t->shape[i]), e)) {
            json_decref(shape);
            return NULL;
        }
    }
    return shape;
}

static int put_what(json_t *o, unsigned what, struct err *e)
{
    static const struct {
        enum diff_what bit;
        const char *word;
    } words[] = {{DIFF_ONLY_A, "only in A"}, {DIFF_ONLY_B, "only in B"}, {DIFF_DTYPE, "dtype"},
                 {DIFF_SHAPE, "shape"},      {DIFF_BYTES, "bytes"},      {DIFF_SCALE, "scale"}};
    json_t *list = json_array();

    if (json_put(o, "differs", list, e))
        return -1;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if ((what & words[i].bit) && json_push(list, json_string(words[i].word), e))
            return -1;
    return 0;
}

/* A pair [of A, of B], null where there is none. */
static int put_sides(json_t *o, const struct diff_tensor *t, struct err *e)
{
    json_t *dtype = json_array(), *shape = json_array();
    int bad = json_put(o, "dtype", dtype, e);

    bad |= json_put(o, "shape", shape, e);
    for (size_t s = 0; s < 2 && !bad; s++)
        bad = json_push(dtype, t->t[s] ? json_string(st_dtype_name(t->t[s]->dtype)) : json_null(), e) ||
              json_push(shape, t->t[s] ? shape_of(t->t[s], e) : json_null(), e);
    return bad ? -1 : 0;
}

static int push_tensor(json_t *list, const struct diff_tensor *t, struct err *e)
{
    json_t *o = json_object();

    return json_push(list, o, e) || json_put(o, "name", json_string(t->part), e) || put_what(o, t->what, e) ||
                   put_sides(o, t, e) || put_values(o, &t->values, e)
               ? -1
               : 0;
}

static int push_layer(json_t *list, const struct diff *d, const struct diff_layer *l, struct err *e)
{
    json_t *o = json_object(), *tensors = json_array();
    int bad =
        json_push(list, o, e) || json_put(o, "name", json_string(l->name), e) || put_values(o, &l->values, e);

    bad |= json_put(o, "tensors", tensors, e);
    for (size_t i = l->first; i < l->first + l->n && !bad; i++)
        if (d->tensor[i].what)
            bad = push_tensor(tensors, &d->tensor[i], e);
    return bad ? -1 : 0;
}

static int put_counts(json_t *doc, const struct diff *d, struct err *e)
{
    json_t *files = json_object();
    int bad = json_put(doc, "files", files, e);

    for (size_t i = 0; i < DIFF_FILES && !bad; i++)
        bad = json_put(files, diff_file_name[i],
                       d->there[i] ? json_string(file_words[d->file[i]]) : json_null(), e);
    return bad || put_size(doc, "num_layers", d->layers, e) ||
                   put_size(doc, "num_layers_differ", d->layers_differ, e) ||
                   put_size(doc, "num_tensors", d->tensors, e) ||
                   put_size(doc, "num_tensors_differ", d->tensors_differ, e) ||
                   put_size(doc, "num_tensors_only_in_a", d->tensors_only[0], e) ||
                   put_size(doc, "num_tensors_only_in_b", d->tensors_only[1], e)
               ? -1
               : 0;
}

static int put_expect(json_t *doc, const struct diff_expect *x, struct err *e)
{
    static const char *const keys[MISS_KINDS] = {"schemes_only", "files_only", "not_as_scheme_a",
                                                 "not_as_scheme_b"};
    json_t *o = json_object();

    if (json_put(doc, "expect", o, e) || json_put(o, "holds", json_boolean(!x->misses), e))
        return -1;
    for (enum diff_miss_kind k = 0; k < MISS_KINDS; k++) {
        json_t *list = json_array();

        if (json_put(o, keys[k], list, e))
            return -1;
        for (size_t i = 0; i < x->misses; i++)
            if (x->miss[i].kind == k && json_push(list, json_string(x->miss[i].layer), e))
                return -1;
    }
    return 0;
}

static int put_from(json_t *doc, const struct diff *d, const struct diff_expect *x, struct err *e)
{
    static const char *const dir[2] = {"a", "b"}, *const scheme[2] = {"scheme_a", "scheme_b"};
    char hex[SHA256_HEX];

    for (size_t s = 0; s < 2; s++)
        if (ckpt_digest(d->ckpt[s], hex, e) || doc_from(doc, dir[s], hex, e) ||
            (x && doc_from(doc, scheme[s], x->scheme[s]->hex, e)))
            return -1;
    return 0;
}

json_t *diff_to_json(const struct diff *d, const struct diff_expect *x, struct err *e)
{
    json_t *doc = doc_new("octet-diff/1", e), *layers;

    if (!doc)
        return NULL;
    if (put_from(doc, d, x, e) || put_counts(doc, d, e))
        goto fail;
    layers = json_array();
    if (json_put(doc, "layers", layers, e))
        goto fail;
    for (size_t i = 0; i < d->layers; i++)
        if (d->layer[i].differing && push_layer(layers, d, &d->layer[i], e))
            goto fail;
    if (x && put_expect(doc, x, e))
        goto fail;
    return doc;
fail:
    json_decref(doc);
    return NULL;
}
