/* text.c - growing strings of bytes and of token ids */
#include "common/text/text.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

/* Capacity for n + more elements: at least doubled, so that appending stays linear.  0: too many. */
static size_t capacity(size_t n, size_t more, size_t cap)
{
    size_t want;

    if (__builtin_add_overflow(n, more, &want))
        return 0;
    return want < 2 * cap ? 2 * cap : want < 64 ? 64 : want;
}

int text_reserve(struct text *t, size_t n, struct err *e)
{
    size_t cap;
    char *v;

    if (t->v && n < t->cap - t->n)
        return 0;
    cap = n < SIZE_MAX ? capacity(t->n, n + 1, t->cap) : 0;
    if (!cap)
        return err_set(e, RC_DATA, "a text is too large: %zu + %zu bytes", t->n, n);
    v = mem_realloc(t->v, cap, 1, e);
    if (!v)
        return -1;
    t->v = v;
    t->cap = cap;
    return 0;
}

int text_add(struct text *t, const char *s, size_t n, struct err *e)
{
    if (text_reserve(t, n, e))
        return -1;
    if (n)
        memcpy(t->v + t->n, s, n);
    t->n += n;
    t->v[t->n] = 0;
    return 0;
}

int text_add_str(struct text *t, const char *s, struct err *e)
{
    return text_add(t, s, strlen(s), e);
}

void text_release(struct text *t)
{
    free(t->v);
    *t = (struct text){0};
}

int ids_reserve(struct ids *d, size_t n, struct err *e)
{
    size_t cap;
    int32_t *v;

    if (n <= d->cap - d->n && d->v)
        return 0;
    cap = capacity(d->n, n, d->cap);
    if (!cap)
        return err_set(e, RC_DATA, "a token sequence is too large: %zu + %zu ids", d->n, n);
    v = mem_realloc(d->v, cap, sizeof(*v), e);
    if (!v)
        return -1;
    d->v = v;
    d->cap = cap;
    return 0;
}

int ids_add(struct ids *d, const int32_t *v, size_t n, struct err *e)
{
    if (ids_reserve(d, n, e))
        return -1;
    if (n)
        memcpy(d->v + d->n, v, n * sizeof(*v));
    d->n += n;
    return 0;
}

void ids_release(struct ids *d)
{
    free(d->v);
    *d = (struct ids){0};
}
