/* added.c - added tokens */
#include "common/text/added.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/text/vocab.h"

/* There are a few dozen: the lists are searched from end to end. */
const struct added_token *added_by_id(const struct added *a, int32_t id)
{
    for (size_t i = 0; i < a->n; i++)
        if (a->token[i].id == id)
            return &a->token[i];
    return NULL;
}

const struct added_token *added_by_content(const struct added *a, const char *s, size_t n)
{
    for (size_t i = 0; i < a->n; i++)
        if (a->token[i].n == n && !memcmp(a->token[i].content, s, n))
            return &a->token[i];
    return NULL;
}

int added_put(struct added *a, const char *content, size_t n, int32_t id, bool special, struct err *e)
{
    const struct added_token *same = added_by_content(a, content, n), *taken = added_by_id(a, id);
    struct added_token t = {.n = n, .id = id, .special = special};
    int known;

    if (n == 0)
        return err_set(e, RC_DATA, "added token %d is the empty string", id);
    if (id < 0 || id > VOCAB_MAX_ID)
        return err_set(e, RC_DATA, "the id of added token '%.*s' is not in 0..%d", (int)n, content,
                       VOCAB_MAX_ID);
    if (same && same == taken)
        return 0;
    if (same)
        return err_set(e, RC_DATA, "added token '%.*s' has two ids, %d and %d", (int)n, content, same->id,
                       id);
    if (taken)
        return err_set(e, RC_DATA, "id %d is given to two added tokens, '%s' and '%.*s'", id, taken->content,
                       (int)n, content);
    if (mem_grow((void **)&a->token, a->n, &a->cap, sizeof(*a->token), e))
        return -1;
    t.content = mem_zalloc(n + 1, 1, e);
    if (!t.content)
        return -1;
    memcpy(t.content, content, n);
    known = vocab_unspell(content, n, &t.decoded, e);
    if (known < 0 || (known == 0 && text_add(&t.decoded, content, n, e))) {
        text_release(&t.decoded);
        free(t.content);
        return -1;
    }
    a->token[a->n++] = t;
    return 0;
}

static int by_first_then_longest(const void *x, const void *y)
{
    const struct added_token *a = x, *b = y;

    if (a->content[0] != b->content[0])
        return (unsigned char)a->content[0] < (unsigned char)b->content[0] ? -1 : 1;
    return a->n != b->n ? (a->n > b->n ? -1 : 1) : a->id < b->id ? -1 : 1;
}

void added_sort(struct added *a)
{
    size_t i = 0;

    if (a->n)
        qsort(a->token, a->n, sizeof(*a->token), by_first_then_longest);
    for (int c = 0; c < 257; c++) {
        while (i < a->n && (unsigned char)a->token[i].content[0] < c)
            i++;
        a->first[c] = i;
    }
}

const struct added_token *added_find(const struct added *a, const char *s, size_t n, size_t *at)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];

        for (size_t k = a->first[c]; k < a->first[c + 1]; k++)
            if (a->token[k].n <= n - i && !memcmp(a->token[k].content, s + i, a->token[k].n)) {
                *at = i;
                return &a->token[k];
            }
    }
    return NULL;
}

void added_release(struct added *a)
{
    for (size_t i = 0; i < a->n; i++) {
        free(a->token[i].content);
        text_release(&a->token[i].decoded);
    }
    free(a->token);
    *a = (struct added){0};
}
