/* slide.c - long texts in overlapping windows */
#include "common/model/slide.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

/* Tokens from .. from + n of a sample, those before `counted` without loss. */
static int add(struct slide *s, const struct sample *sample, size_t of, size_t from, size_t n, size_t counted,
               struct err *e)
{
    size_t cap = s->cap;
    struct sample *v;

    if (mem_grow((void **)&s->of, s->n, &cap, sizeof *s->of, e) ||
        mem_grow((void **)&s->view, s->n, &s->cap, sizeof *s->view, e))
        return -1;
    v = &s->view[s->n];
    *v = *sample;
    v->ids = sample->ids + from;
    v->tokens = n;
    v->loss = mem_zalloc(n, 1, e);
    if (!v->loss)
        return -1;
    s->of[s->n++] = of;
    for (size_t i = counted - from; i < n; i++)
        v->loss[i] = sample->loss[from + i];
    v->loss[0] = 0;
    return 0;
}

static int cut(struct slide *s, const struct sample *sample, size_t of, size_t window, size_t stride,
               struct err *e)
{
    size_t from = 0, counted = 0;

    if (sample->tokens > window && sample->images)
        return err_set(e, RC_DATA,
                       "sample '%s' is longer than the window and has a picture, which cannot be cut: it has %zu "
                       "tokens", sample->id, sample->tokens);
    do {
        size_t n = sample->tokens - from < window ? sample->tokens - from : window;

        if (add(s, sample, of, from, n, counted, e))
            return -1;
        counted = from + n;
        from += stride;
        if (counted < sample->tokens && from == counted)
            from--; /* without overlap the token at the front would have nothing before it */
    } while (counted < sample->tokens);
    return 0;
}

int slide_make(struct slide *s, const struct sample *sample, size_t n, size_t window, size_t stride,
               struct err *e)
{
    *s = (struct slide){0};
    for (size_t i = 0; i < n; i++)
        if (cut(s, &sample[i], i, window, stride, e))
            return -1;
    return 0;
}

void slide_release(struct slide *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->view[i].loss);
    free(s->view);
    free(s->of);
    *s = (struct slide){0};
}
