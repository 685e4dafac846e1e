/*
 * json-scan.h - a reader that walks JSON text in place, for tables of 150,000 entries
 *
 * A vocabulary as a tree of jansson values takes 150 to 300 ms to build and free; walking it takes a tenth of
 * that, and every tool starts with it.  What is small is handed to jansson: json_scan_value().
 */
#ifndef COMMON_TEXT_JSON_SCAN_H
#define COMMON_TEXT_JSON_SCAN_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/text/text.h"

/* A position in a text that stays the caller's; a copy of it is another position.  Set start = p. */
struct json_scan {
    const char *start, *p, *end;
};

/* Reports name the line.  All of these skip white space first. */
int json_scan_open(struct json_scan *s, char bracket, struct err *e);

/*
 * In a list after its bracket: 1 when an element follows, 0 when it was closed, -1.  done: elements read so
 * far; s->p then stands on the element. json_scan_open(s, '['); while ((more = json_scan_more(s, ']', n++,
 * e)) == 1) ...
 */
int json_scan_more(struct json_scan *s, char close, size_t done, struct err *e);

/* A string; *v points into the text or, when it had escapes, into scratch; it is UTF-8 and may hold NUL. */
int json_scan_string(struct json_scan *s, struct text *scratch, const char **v, size_t *n, struct err *e);

/* The same and the colon after it. */
int json_scan_key(struct json_scan *s, struct text *scratch, const char **v, size_t *n, struct err *e);

/* A whole number in 0..max. */
int json_scan_index(struct json_scan *s, int32_t max, int32_t *out, struct err *e);

/* Step over one value, whose inside is looked at no closer than its brackets and quotes. */
int json_scan_skip(struct json_scan *s, struct err *e);

/* One value of any kind, as jansson reads it; the caller's. */
int json_scan_value(struct json_scan *s, json_t **out, struct err *e);

/* Nothing but white space is left. */
int json_scan_end(struct json_scan *s, struct err *e);

#endif
