/* unicode-tables.h - the data behind unicode.c; every table is sorted by its first members */
#ifndef COMMON_TEXT_UNICODE_TABLES_H
#define COMMON_TEXT_UNICODE_TABLES_H

#include <stddef.h>
#include <stdint.h>

#include "common/text/unicode.h"

/* Code points first..last are of class kind; others are UNICODE_OTHER. */
extern const struct unicode_span {
    uint32_t first, last;
    uint8_t kind;
} unicode_spans[];

/* Combining class of first..last (others: 0), and whether NFC may change them or what stands before them. */
extern const struct unicode_mark {
    uint32_t first, last;
    uint8_t ccc, unsettled;
} unicode_marks[];

/* Full canonical decomposition: length code points from unicode_pool[start].  Hangul is left to the
 * algorithm. */
extern const struct unicode_map {
    uint32_t from;
    uint16_t start, length;
} unicode_maps[];
extern const uint32_t unicode_pool[];

/* Primary composition: a then b make ab. */
extern const struct unicode_pair {
    uint32_t a, b, ab;
} unicode_pairs[];

extern const size_t unicode_spans_n, unicode_marks_n, unicode_maps_n, unicode_pairs_n;

#endif
