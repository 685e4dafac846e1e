/* bpe.c - byte-pair encoding of one word */
#include "common/text/bpe.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

enum {
    WORD_BYTES = 26,
    WORD_IDS = 9,
    CACHE_SLOTS = 1 << 14
}; /* 64-byte entries, 1 MiB: the words of English text */

struct bpe_word {
    uint8_t n, ids; /* n 0: free */
    char bytes[WORD_BYTES];
    int32_t id[WORD_IDS];
};

/* What is left of the word: a list of tokens in an array, so that a merge moves nothing. */
struct bpe_node {
    int32_t id; /* -1: merged into the one before */
    uint32_t prev, next;
};

#define NONE UINT32_MAX

/* A merge that was possible when it was pushed; still so if both tokens are as they were. */
struct bpe_heap {
    uint64_t key; /* rank << 32 | position of the left token */
    int32_t left, right, id;
};

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static struct bpe_merge *locate(const struct bpe *b, uint64_t pair)
{
    uint64_t h = pair * 0x9e3779b97f4a7c15u;
    size_t i = (h >> 32) & b->mask;

    while (b->merge[i].pair != pair && b->merge[i].pair != UINT64_MAX)
        i = (i + 1) & b->mask;
    return &b->merge[i];
}

static int grow(struct bpe *b, struct err *e)
{
    struct bpe_merge *old = b->merge;
    size_t slots = old ? 2 * (b->mask + 1) : 1024, n = old ? b->mask + 1 : 0;

    if (old && 2 * b->merges <= b->mask)
        return 0;
    b->merge = mem_realloc(NULL, slots, sizeof(*b->merge), e);
    if (!b->merge) {
        b->merge = old;
        return -1;
    }
    memset(b->merge, 0xff, slots * sizeof(*b->merge));
    b->mask = slots - 1;
    for (size_t i = 0; i < n; i++)
        if (old[i].pair != UINT64_MAX)
            *locate(b, old[i].pair) = old[i];
    free(old);
    return 0;
}

int bpe_init(struct bpe *b, const struct vocab *v, struct err *e)
{
    *b = (struct bpe){0};
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;

        b->byte_id[c] = vocab_find(v, &byte, 1);
        if (b->byte_id[c] < 0)
            return err_set(e, RC_DATA,
                           "the vocabulary has no token for byte 0x%02x: it is not a byte-level one", c);
    }
    return grow(b, e);
}

int bpe_add(struct bpe *b, const struct vocab *v, const char *left, size_t nl, const char *right, size_t nr,
            struct text *scratch, struct err *e)
{
    int32_t l = -1, r = -1, both = -1;
    struct bpe_merge *m;
    size_t split;

    if (grow(b, e))
        return -1;
    scratch->n = 0;
    if (vocab_unspell(left, nl, scratch, e) == 1 && (split = scratch->n) > 0 &&
        vocab_unspell(right, nr, scratch, e) == 1 && scratch->n > split) {
        l = vocab_find(v, scratch->v, split);
        r = vocab_find(v, scratch->v + split, scratch->n - split);
        both = vocab_find(v, scratch->v, scratch->n);
    }
    if (l < 0 || r < 0 || both < 0)
        return err_set(
            e, RC_DATA,
            "merge %zu joins '%.*s' and '%.*s', but they or what they make are not in the vocabulary",
            b->merges, (int)(nl < 80 ? nl : 80), left, (int)(nr < 80 ? nr : 80), right);
    if (b->merges >= UINT32_MAX)
        return err_set(e, RC_DATA, "there are too many merges");
    m = locate(b, pair_of(l, r));
    *m = (struct bpe_merge){pair_of(l, r), (uint32_t)b->merges, both};
    b->merges++;
    return 0;
}

void bpe_release(struct bpe *b)
{
    free(b->merge);
    *b = (struct bpe){0};
}

/* Push the merge of the token at position at with its right neighbour, if there is one. */
static int push(const struct bpe *b, struct bpe_run *r, uint32_t at, struct err *e)
{
    struct bpe_node *left = &r->node[at], *right = &r->node[left->next];
    const struct bpe_merge *m = locate(b, pair_of(left->id, right->id));
    struct bpe_heap x;
    size_t i, up;

    if (m->pair == UINT64_MAX)
        return 0;
    if (mem_grow((void **)&r->heap, r->heap_n, &r->heap_cap, sizeof(*r->heap), e))
        return -1;
    x = (struct bpe_heap){(uint64_t)m->rank << 32 | at, left->id, right->id, m->id};
    for (i = r->heap_n++; i > 0 && r->heap[up = (i - 1) / 2].key > x.key; i = up)
        r->heap[i] = r->heap[up];
    r->heap[i] = x;
    return 0;
}

static struct bpe_heap pop(struct bpe_run *r)
{
    struct bpe_heap top = r->heap[0], x = r->heap[--r->heap_n];
    size_t i = 0, down;

    while ((down = 2 * i + 1) < r->heap_n) {
        down += down + 1 < r->heap_n && r->heap[down + 1].key < r->heap[down].key;
        if (x.key <= r->heap[down].key)
            break;
        r->heap[i] = r->heap[down];
        i = down;
    }
    r->heap[i] = x;
    return top;
}

/* Merge the token at position at with the next one, giving id; push the merges that this makes possible. */
static int join(const struct bpe *b, struct bpe_run *r, uint32_t at, int32_t id, struct err *e)
{
    struct bpe_node *node = r->node, *left = &node[at], *right = &node[left->next];

    left->id = id;
    left->next = right->next;
    right->id = -1;
    if (left->next != NONE) {
        node[left->next].prev = at;
        if (push(b, r, at, e))
            return -1;
    }
    return left->prev == NONE ? 0 : push(b, r, left->prev, e);
}

/* The whole of the algorithm, for words that the cache does not hold. */
static int merge_all(const struct bpe *b, struct bpe_run *r, const char *word, size_t n, struct ids *out,
                     struct err *e)
{
    if (n >= NONE)
        return err_set(e, RC_DATA, "a word of %zu bytes is too long", n);
    if (n > r->nodes_cap) {
        struct bpe_node *node = mem_realloc(r->node, n, sizeof(*node), e);

        if (!node)
            return -1;
        r->node = node;
        r->nodes_cap = n;
    }
    for (uint32_t i = 0; i < n; i++)
        r->node[i] =
            (struct bpe_node){b->byte_id[(unsigned char)word[i]], i ? i - 1 : NONE, i + 1 < n ? i + 1 : NONE};
    r->heap_n = 0;
    for (uint32_t i = 0; i + 1 < n; i++)
        if (push(b, r, i, e))
            return -1;
    while (r->heap_n) {
        struct bpe_heap h = pop(r);
        uint32_t at = (uint32_t)h.key;
        const struct bpe_node *left = &r->node[at];

        if (left->id == h.left && left->next != NONE && r->node[left->next].id == h.right &&
            join(b, r, at, h.id, e))
            return -1;
    }
    for (uint32_t i = 0; i != NONE; i = r->node[i].next)
        if (ids_add(out, &r->node[i].id, 1, e))
            return -1;
    return 0;
}

int bpe_encode(const struct bpe *b, struct bpe_run *r, const char *word, size_t n, struct ids *out,
               struct err *e)
{
    size_t before = out->n;
    struct bpe_word *w;

    if (n == 0)
        return 0;
    if (n == 1)
        return ids_add(out, &b->byte_id[(unsigned char)word[0]], 1, e);
    if (n > WORD_BYTES)
        return merge_all(b, r, word, n, out, e);
    if (!r->cache) {
        r->cache = mem_zalloc(CACHE_SLOTS, sizeof(*r->cache), e);
        if (!r->cache)
            return -1;
    }
    w = &r->cache[vocab_hash(word, n) % CACHE_SLOTS];
    if (w->n == n && !memcmp(w->bytes, word, n))
        return ids_add(out, w->id, w->ids, e);
    if (merge_all(b, r, word, n, out, e))
        return -1;
    if (out->n - before <= WORD_IDS) {
        w->n = (uint8_t)n;
        w->ids = (uint8_t)(out->n - before);
        memcpy(w->bytes, word, n);
        memcpy(w->id, out->v + before, w->ids * sizeof(*w->id));
    }
    return 0;
}

void bpe_run_release(struct bpe_run *r)
{
    free(r->node);
    free(r->heap);
    free(r->cache);
    *r = (struct bpe_run){0};
}
