/* mem.h - checked allocation: products cannot overflow, a failure names its byte count */
#ifndef COMMON_BASE_MEM_H
#define COMMON_BASE_MEM_H

#include <stddef.h>

#include "common/base/err.h"

/* n * size bytes, zeroed, aligned for any type; n or size 0 gives a valid pointer.  NULL: e is set. */
void *mem_zalloc(size_t n, size_t size, struct err *e);

/* Grow (or shrink) to n * size bytes; new bytes are not cleared.  NULL: e is set and p stays valid. */
void *mem_realloc(void *p, size_t n, size_t size, struct err *e);

/* Make room for one more element in an array of *cap: doubles when n == *cap.  *p may move.  0 or -1. */
int mem_grow(void **p, size_t n, size_t *cap, size_t size, struct err *e);

char *mem_strdup(const char *s, struct err *e);
char *mem_printf(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* *out = a * b; -1 with e set ("what is too large") when that does not fit. */
int mem_mul(size_t a, size_t b, size_t *out, const char *what, struct err *e);

#endif
