/*
 * bpe.h - byte-pair encoding of one word: of all pairs of neighbours the one whose merge ranks lowest is
 * merged first, the leftmost of equals, until no pair has a merge
 */
#ifndef COMMON_TEXT_BPE_H
#define COMMON_TEXT_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "common/text/text.h"
#include "common/text/vocab.h"

/* Merges over a vocabulary.  Read-only once loaded: any number of threads may use it, each with its own
 * bpe_run. */
struct bpe {
    struct bpe_merge {
        uint64_t pair; /* left id << 32 | right id; UINT64_MAX: free */
        uint32_t rank;
        int32_t id;
    } * merge; /* [mask + 1] */
    size_t mask, merges;
    int32_t byte_id[256];
};

/* Ids of the 256 bytes; an error names a byte without a token. */
int bpe_init(struct bpe *b, const struct vocab *v, struct err *e);

/*
 * Add a merge; its rank is how many were added before, and a pair named twice keeps the later rank, as in the
 * reference. The sides as files spell them.  scratch is overwritten.
 */
int bpe_add(struct bpe *b, const struct vocab *v, const char *left, size_t nl, const char *right, size_t nr,
            struct text *scratch, struct err *e);
void bpe_release(struct bpe *b);

/* One thread's working space, and its cache of short words.  Zero it before use. */
struct bpe_run {
    struct bpe_node *node;
    struct bpe_heap *heap;
    struct bpe_word *cache;
    size_t nodes_cap, heap_n, heap_cap;
};

/* Append the ids of a word of n bytes: O(n log n). */
int bpe_encode(const struct bpe *b, struct bpe_run *r, const char *word, size_t n, struct ids *out,
               struct err *e);
void bpe_run_release(struct bpe_run *r);

#endif
