/* added.h - added tokens: strings that stand for one id wherever they occur, before any other rule is tried
 */
#ifndef COMMON_TEXT_ADDED_H
#define COMMON_TEXT_ADDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/text/text.h"

struct added {
    struct added_token {
        char *content; /* as it occurs in text; n > 0 bytes */
        size_t n;
        int32_t id;
        bool special; /* left out by a decoding that skips special tokens */
        struct text
            decoded; /* what the decoder makes of it: the reference reads the byte alphabet here too */
    } * token;
    size_t n, cap;
    size_t first[257]; /* after added_sort(): tokens that start with byte c are first[c]..first[c + 1] - 1,
                          longest first */
};

/*
 * Add a token.  The same content with the same id again changes nothing; with another id, or the id with
 * another content, it is an error.  Call added_sort() after the last.
 */
int added_put(struct added *a, const char *content, size_t n, int32_t id, bool special, struct err *e);
void added_sort(struct added *a);

/* The first token in s, the longest of those that start there: its offset in *at.  NULL when there is none.
 */
const struct added_token *added_find(const struct added *a, const char *s, size_t n, size_t *at);

const struct added_token *added_by_id(const struct added *a, int32_t id);
const struct added_token *added_by_content(const struct added *a, const char *s, size_t n);
void added_release(struct added *a);

#endif
