/* utf8.h - UTF-8 as Unicode defines it: no surrogates, nothing overlong, nothing above U+10FFFF */
#ifndef COMMON_TEXT_UTF8_H
#define COMMON_TEXT_UTF8_H

#include <stddef.h>
#include <stdint.h>

#include "common/text/text.h"

/*
 * The character at s, of n > 0 readable bytes.  Returns its length, 1..4, with its code point in *cp; or -k
 * when s starts a maximal ill-formed part of k bytes (Unicode 3.9, table 3-7: what one U+FFFD stands for).
 */
int utf8_next(const char *s, size_t n, uint32_t *cp);

/* Write a code point (no surrogate, at most U+10FFFF) into out; returns its length, 1..4. */
size_t utf8_put(uint32_t cp, char out[4]);

/* Length of the character that starts with this byte, in text known to be well-formed. */
static inline size_t utf8_length(char first)
{
    unsigned char c = (unsigned char)first;

    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* How many of the n bytes are 7-bit before the first that is not. */
size_t utf8_ascii(const char *s, size_t n);

/* 0 when all n bytes are well-formed; -1 with a report that names the offset of the first byte that is not.
 */
int utf8_check(const char *s, size_t n, struct err *e);

/* Append s to out with each maximal ill-formed part replaced by U+FFFD. */
int utf8_repair(const char *s, size_t n, struct text *out, struct err *e);

/*
 * The same for text that arrives in pieces: moves what `in` begins with to out and leaves the at most 3 bytes
 * at its end that the next piece may complete.  Without more to come utf8_repair() takes them.
 */
int utf8_take(struct text *in, struct text *out, struct err *e);

#endif
