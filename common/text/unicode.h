/*
 * unicode.h - character classes and NFC, with the data of the reference tokenizer
 *
 * The Hugging Face tokenizers library (0.23) answers \p{L}, \p{N} and \s from Unicode 16.0 and normalises
 * with Unicode 9.0, where later marks are not reordered and later pairs not composed.  No library has both,
 * and ids must not change with a library's version, so the tables are our own: unicode-tables.c, written by
 * make-tables.py from that engine's answers.  utf8proc would add nothing to them.  \s is 09-0D 20 85 A0 1680
 * 2000-200A 2028 2029 202F 205F 3000.
 */
#ifndef COMMON_TEXT_UNICODE_H
#define COMMON_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/text/text.h"

enum unicode_class {
    UNICODE_OTHER,
    UNICODE_LETTER,
    UNICODE_NUMBER,
    UNICODE_SPACE
}; /* rest, \p{L}, \p{N}, \s */

enum unicode_class unicode_class(uint32_t cp);

/* True: s, well-formed UTF-8, is in NFC.  False: it may not be.  A pass over the text, far cheaper than
 * unicode_nfc(). */
bool unicode_is_nfc(const char *s, size_t n);

/* Append the NFC of s, well-formed UTF-8, to out. */
int unicode_nfc(const char *s, size_t n, struct text *out, struct err *e);

#endif
