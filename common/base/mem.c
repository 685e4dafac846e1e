/* mem.c - checked allocation */
#include "common/base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int mem_mul(size_t a, size_t b, size_t *out, const char *what, struct err *e)
{
    if (__builtin_mul_overflow(a, b, out))
        return err_set(e, RC_DATA, "%s is too large: %zu x %zu", what, a, b);
    return 0;
}

void *mem_zalloc(size_t n, size_t size, struct err *e)
{
    size_t bytes;
    void *p;

    if (mem_mul(n, size, &bytes, "an allocation", e))
        return NULL;
    p = calloc(1, bytes ? bytes : 1);
    if (!p)
        err_set(e, RC_SYS, "out of memory: cannot allocate %zu bytes", bytes);
    return p;
}

void *mem_realloc(void *p, size_t n, size_t size, struct err *e)
{
    size_t bytes;
    void *q;

    if (mem_mul(n, size, &bytes, "an allocation", e))
        return NULL;
    q = realloc(p, bytes ? bytes : 1);
    if (!q)
        err_set(e, RC_SYS, "out of memory: cannot allocate %zu bytes", bytes);
    return q;
}

int mem_grow(void **p, size_t n, size_t *cap, size_t size, struct err *e)
{
    size_t want;
    void *q;

    if (n < *cap)
        return 0;
    want = *cap ? 2 * *cap : 16;
    q = mem_realloc(*p, want, size, e);
    if (!q)
        return -1;
    *p = q;
    *cap = want;
    return 0;
}

char *mem_strdup(const char *s, struct err *e)
{
    char *p = mem_zalloc(strlen(s) + 1, 1, e);

    if (p)
        strcpy(p, s);
    return p;
}

char *mem_printf(struct err *e, const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0) {
        err_set(e, RC_SYS, "out of memory: cannot format a string");
        return NULL;
    }
    return s;
}
