/* text.h - growing strings of bytes and of token ids */
#ifndef COMMON_TEXT_TEXT_H
#define COMMON_TEXT_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

/* n bytes, of any value, with a NUL after them once v is not NULL.  Zero it before use. */
struct text {
    char *v;
    size_t n, cap;
};

/* Append; s must not point into t->v.  0 or -1. */
int text_add(struct text *t, const char *s, size_t n, struct err *e);
int text_add_str(struct text *t, const char *s, struct err *e);

/* Room for n more bytes and their NUL, to be written at t->v + t->n. */
int text_reserve(struct text *t, size_t n, struct err *e);
void text_release(struct text *t);

/* n token ids.  Zero it before use. */
struct ids {
    int32_t *v;
    size_t n, cap;
};

int ids_add(struct ids *d, const int32_t *v, size_t n, struct err *e);
int ids_reserve(struct ids *d, size_t n, struct err *e);
void ids_release(struct ids *d);

#endif
