/*
 * vocab.h - a byte-level vocabulary: ids and the bytes that they stand for
 *
 * Files spell a token in the byte alphabet: bytes 33-126, 161-172 and 174-255 as the characters of those code
 * points, the other 68 in increasing order as U+0100, U+0101, ...  Here tokens are the bytes themselves.
 */
#ifndef COMMON_TEXT_VOCAB_H
#define COMMON_TEXT_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/text/text.h"

enum { VOCAB_MAX_ID = (1 << 22) - 1 }; /* a larger id is taken for damage */

struct vocab {
    struct text bytes; /* of all tokens */
    struct vocab_token {
        uint32_t start, n;
        bool present;
    } * token; /* [size], by id */
    size_t size, cap;
    struct vocab_slot {
        uint32_t hash;
        int32_t id; /* plus 1; 0: free */
    } * slot;       /* [mask + 1] */
    size_t mask, used;
};

/*
 * Add a token as files spell it.  One with a character outside the alphabet stands for its UTF-8 bytes and is
 * only ever decoded, as in the reference.  An id or a token that is there already is an error.
 */
int vocab_add(struct vocab *v, const char *spelled, size_t n, int32_t id, struct err *e);

/* Id of the token that stands for these bytes, or -1. */
int32_t vocab_find(const struct vocab *v, const char *bytes, size_t n);

/* What id stands for; NULL when there is no such token. */
const char *vocab_bytes(const struct vocab *v, int32_t id, size_t *n);

/* Append the bytes that a spelling stands for.  1: done; 0: it holds a character outside the alphabet; -1. */
int vocab_unspell(const char *spelled, size_t n, struct text *out, struct err *e);

void vocab_release(struct vocab *v);

/* FNV-1a, folded: for short keys. */
static inline uint32_t vocab_hash(const char *s, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
    return (uint32_t)(h ^ h >> 32);
}

#endif
