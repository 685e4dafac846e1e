/* vocab.c - a byte-level vocabulary */
#include "common/text/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/text/utf8.h"

/* The byte that a character of the alphabet stands for, or -1. */
static int byte_of(uint32_t cp)
{
    if ((cp >= 33 && cp <= 126) || (cp >= 161 && cp <= 172) || (cp >= 174 && cp <= 255))
        return (int)cp;
    if (cp < 0x100 || cp > 0x143)
        return -1;
    cp -= 0x100;
    return cp <= 32 ? (int)cp : cp <= 66 ? (int)cp - 33 + 127 : 173;
}

int vocab_unspell(const char *spelled, size_t n, struct text *out, struct err *e)
{
    size_t before = out->n;
    uint32_t cp = 0;
    int k, byte;

    if (text_reserve(out, n, e))
        return -1;
    for (size_t i = 0; i < n; i += (size_t)k) {
        k = utf8_next(spelled + i, n - i, &cp);
        byte = k < 0 ? -1 : byte_of(cp);
        if (byte < 0) {
            out->n = before;
            return 0;
        }
        out->v[out->n++] = (char)byte;
    }
    out->v[out->n] = 0;
    return 1;
}

/* The slot where these bytes are, or would go. */
static struct vocab_slot *locate(const struct vocab *v, const char *bytes, size_t n, uint32_t hash)
{
    size_t i = hash & v->mask;

    for (;; i = (i + 1) & v->mask) {
        struct vocab_slot *s = &v->slot[i];
        const struct vocab_token *t = &v->token[s->id - (s->id > 0)];

        if (!s->id || (s->hash == hash && t->n == n && !memcmp(v->bytes.v + t->start, bytes, n)))
            return s;
    }
}

static int grow_slots(struct vocab *v, struct err *e)
{
    size_t slots = v->slot ? 2 * (v->mask + 1) : 1024;
    struct vocab_slot *to;

    if (v->slot && 2 * v->used <= v->mask)
        return 0;
    to = mem_zalloc(slots, sizeof(*to), e);
    if (!to)
        return -1;
    for (size_t i = 0; v->slot && i <= v->mask; i++) {
        size_t at = v->slot[i].hash & (slots - 1);

        if (!v->slot[i].id)
            continue;
        while (to[at].id)
            at = (at + 1) & (slots - 1);
        to[at] = v->slot[i];
    }
    free(v->slot);
    v->slot = to;
    v->mask = slots - 1;
    return 0;
}

static int grow_tokens(struct vocab *v, int32_t id, struct err *e)
{
    size_t need = (size_t)id + 1, cap;
    struct vocab_token *t;

    if (id < 0 || id > VOCAB_MAX_ID)
        return err_set(e, RC_DATA, "token id %d is not in 0..%d", id, VOCAB_MAX_ID);
    if (need > v->cap) {
        cap = need < 2 * v->cap ? 2 * v->cap : need < 1024 ? 1024 : need;
        t = mem_realloc(v->token, cap, sizeof(*t), e);
        if (!t)
            return -1;
        memset(t + v->cap, 0, (cap - v->cap) * sizeof(*t));
        v->token = t;
        v->cap = cap;
    }
    if (need > v->size)
        v->size = need;
    return 0;
}

int vocab_add(struct vocab *v, const char *spelled, size_t n, int32_t id, struct err *e)
{
    size_t start = v->bytes.n;
    struct vocab_slot *slot;
    struct vocab_token *t;
    uint32_t hash;
    int known;

    if (grow_tokens(v, id, e) || grow_slots(v, e))
        return -1;
    t = &v->token[id];
    if (t->present)
        return err_set(e, RC_DATA, "id %d is given to two tokens, '%.*s' the second", id,
                       (int)(n < 80 ? n : 80), spelled);
    known = vocab_unspell(spelled, n, &v->bytes, e);
    if (known < 0 || (known == 0 && text_add(&v->bytes, spelled, n, e)))
        return -1;
    if (v->bytes.n > UINT32_MAX)
        return err_set(e, RC_DATA, "the vocabulary is larger than 4 GiB");
    n = v->bytes.n - start;
    *t = (struct vocab_token){(uint32_t)start, (uint32_t)n, true};
    if (!known)
        return 0;
    hash = vocab_hash(v->bytes.v + start, n);
    slot = locate(v, v->bytes.v + start, n, hash);
    if (slot->id)
        return err_set(e, RC_DATA, "ids %d and %d are given to the same token", slot->id - 1, id);
    *slot = (struct vocab_slot){hash, id + 1};
    v->used++;
    return 0;
}

int32_t vocab_find(const struct vocab *v, const char *bytes, size_t n)
{
    return v->slot ? locate(v, bytes, n, vocab_hash(bytes, n))->id - 1 : -1;
}

const char *vocab_bytes(const struct vocab *v, int32_t id, size_t *n)
{
    if (id < 0 || (size_t)id >= v->size || !v->token[id].present)
        return NULL;
    *n = v->token[id].n;
    return v->bytes.v + v->token[id].start;
}

void vocab_release(struct vocab *v)
{
    text_release(&v->bytes);
    free(v->token);
    free(v->slot);
    *v = (struct vocab){0};
}
