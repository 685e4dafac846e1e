/* arena.c - device buffers with one owner */
#include "common/model/arena.h"

#include <stdlib.h>

#include "common/base/mem.h"

void *arena_take(struct arena *a, size_t n, size_t size)
{
    size_t bytes;
    void *p;

    if (mem_mul(n, size, &bytes, "a device buffer", &a->be->err) ||
        mem_grow((void **)&a->buf, a->n, &a->cap, sizeof *a->buf, &a->be->err))
        return NULL;
    p = a->be->alloc(a->be, bytes);
    if (p)
        a->buf[a->n++] = p;
    return p;
}

void arena_release(struct arena *a)
{
    while (a->n)
        a->be->free(a->be, a->buf[--a->n]);
    free(a->buf);
    *a = (struct arena){.be = a->be};
}
