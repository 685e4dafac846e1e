/*
 * pattern.h - an entry of compressed-tensors' ignore list: a module's exact name, or a regular expression
 *
 * "re:..." is a regular expression as Python's re.match takes it: anchored at the beginning of the name, not
 * at its end.  It is run by PCRE2, which reads the expressions that such lists are made of as Python does.
 */
#ifndef COMMON_QUANT_PATTERN_H
#define COMMON_QUANT_PATTERN_H

#include "common/base/err.h"

struct pattern {
    const char *text; /* the entry, borrowed */
    void *code;       /* of a regular expression; NULL for a name */
};

/* -1 for an expression that is not one: the message has the entry, the place and the reason. */
int pattern_init(struct pattern *p, const char *entry, struct err *e);
void pattern_release(struct pattern *p); /* safe on a zeroed struct */

/* 1 it matches the name, 0 it does not, -1 it takes too long to tell. */
int pattern_match(const struct pattern *p, const char *name, struct err *e);

#endif
