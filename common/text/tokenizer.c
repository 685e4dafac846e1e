/* tokenizer.c - the byte-level BPE tokenizer of Qwen2 models */
#include "common/text/tokenizer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/text/tokenizer-files.h"
#include "common/text/unicode.h"
#include "common/text/utf8.h"

/* What one running call works with. */
struct context {
    struct split_run split;
    struct bpe_run bpe;
    struct text nfc;
    struct context *next;
};

struct tokenizer {
    struct tokenizer_files files;
    struct pool {
        pthread_mutex_t lock;
        struct context *idle;
    } * pool; /* its own allocation: a tokenizer stays const while it is used */
};

int tokenizer_open(struct tokenizer **out, const char *model_dir, struct err *e)
{
    struct tokenizer *t = mem_zalloc(1, sizeof(*t), e);
    int ret = -1;

    if (t)
        t->pool = mem_zalloc(1, sizeof(*t->pool), e);
    if (t && t->pool) {
        pthread_mutex_init(&t->pool->lock, NULL);
        ret = tokenizer_files_read(&t->files, model_dir, e);
    }
    if (ret) {
        tokenizer_free(t);
        return -1;
    }
    *out = t;
    return 0;
}

static void context_free(struct context *c)
{
    split_run_release(&c->split);
    bpe_run_release(&c->bpe);
    text_release(&c->nfc);
    free(c);
}

void tokenizer_free(struct tokenizer *t)
{
    struct context *c;

    if (!t)
        return;
    if (t->pool) {
        while ((c = t->pool->idle)) {
            t->pool->idle = c->next;
            context_free(c);
        }
        pthread_mutex_destroy(&t->pool->lock);
        free(t->pool);
    }
    tokenizer_files_release(&t->files);
    free(t);
}

static struct context *borrow(struct pool *p, struct err *e)
{
    struct context *c;

    pthread_mutex_lock(&p->lock);
    c = p->idle;
    if (c)
        p->idle = c->next;
    pthread_mutex_unlock(&p->lock);
    return c ? c : mem_zalloc(1, sizeof(*c), e);
}

static void give_back(struct pool *p, struct context *c)
{
    pthread_mutex_lock(&p->lock);
    c->next = p->idle;
    p->idle = c;
    pthread_mutex_unlock(&p->lock);
}

/* Text without added tokens. */
static int encode_plain(const struct tokenizer_files *f, struct context *c, const char *text, size_t n,
                        struct ids *out, struct err *e)
{
    const char *word;
    int more;

    if (f->nfc && !unicode_is_nfc(text, n)) {
        c->nfc.n = 0;
        if (unicode_nfc(text, n, &c->nfc, e))
            return -1;
        text = c->nfc.v;
        n = c->nfc.n;
    }
    more = split_start(f->split, &c->split, text, n, e) ? -1 : 1;
    while (more == 1 && (more = split_next(f->split, &c->split, &word, &n, e)) == 1)
        if (bpe_encode(&f->bpe, &c->bpe, word, n, out, e))
            more = -1;
    return more;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, struct ids *out, struct err *e)
{
    const struct tokenizer_files *f = &t->files;
    const struct added_token *token;
    struct context *c;
    size_t before = out->n, at;
    int ret = 0;

    if (utf8_check(text, n, e))
        return -1;
    c = borrow(t->pool, e);
    if (!c)
        return -1;
    while (n && ret == 0) {
        token = added_find(&f->added, text, n, &at);
        if (!token)
            at = n;
        if (at)
            ret = encode_plain(f, c, text, at, out, e);
        if (ret == 0 && token)
            ret = ids_add(out, &token->id, 1, e);
        at += token ? token->n : 0;
        text += at;
        n -= at;
    }
    give_back(t->pool, c);
    if (ret)
        out->n = before;
    return ret;
}

int tokenizer_bytes(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
                    struct text *out, struct err *e)
{
    const struct added_token *added;
    const char *bytes;
    size_t length, before = out->n;

    if (text_add(out, "", 0, e)) /* an empty result is a string too */
        return -1;
    for (size_t i = 0; i < n; i++) {
        added = added_by_id(&t->files.added, ids[i]);
        bytes = vocab_bytes(&t->files.vocab, ids[i], &length);
        if (added) {
            bytes = skip_special && added->special ? NULL : added->decoded.v;
            length = added->decoded.n;
        }
        if (bytes && text_add(out, bytes, length, e)) {
            out->n = before;
            return -1;
        }
    }
    return 0;
}

int32_t tokenizer_id(const struct tokenizer *t, const char *token)
{
    const struct added_token *added = added_by_content(&t->files.added, token, strlen(token));
    struct text bytes = {0};
    struct err e = {0};
    int32_t id = -1;

    if (added)
        return added->id;
    if (vocab_unspell(token, strlen(token), &bytes, &e) == 1)
        id = vocab_find(&t->files.vocab, bytes.v, bytes.n);
    text_release(&bytes);
    return id;
}

size_t tokenizer_vocab(const struct tokenizer *t)
{
    size_t n = t->files.vocab.size;

    for (size_t i = 0; i < t->files.added.n; i++)
        if ((size_t)t->files.added.token[i].id >= n)
            n = (size_t)t->files.added.token[i].id + 1;
    return n;
}

static void add_number(struct sha256 *s, uint64_t v)
{
    uint8_t le[8];

    for (int i = 0; i < 8; i++)
        le[i] = (uint8_t)(v >> 8 * i);
    sha256_add(s, le, sizeof(le));
}

static void add_string(struct sha256 *s, const char *v, size_t n)
{
    add_number(s, n);
    sha256_add(s, v, n);
}

/* By id.  A file may list an added token in the vocabulary, too, or not: it counts as added. */
static void add_tokens(struct sha256 *s, const struct tokenizer_files *f)
{
    const size_t end = f->vocab.size;

    for (size_t id = 0; id < end; id++) {
        size_t n;
        const char *bytes = vocab_bytes(&f->vocab, (int32_t)id, &n);

        if (!bytes || added_by_id(&f->added, (int32_t)id))
            continue;
        add_number(s, id);
        add_string(s, bytes, n);
    }
    add_number(s, UINT64_MAX);
}

/* By rank.  Ranks that a later merge of the same pair took away leave no trace. */
static int add_merges(struct sha256 *s, const struct bpe *b, struct err *e)
{
    uint64_t *pair = mem_zalloc(b->merges, sizeof(*pair), e);

    if (!pair)
        return -1;
    for (size_t i = 0; i < b->merges; i++)
        pair[i] = UINT64_MAX;
    for (size_t i = 0; b->merge && i <= b->mask; i++)
        if (b->merge[i].pair != UINT64_MAX)
            pair[b->merge[i].rank] = b->merge[i].pair;
    for (size_t i = 0; i < b->merges; i++)
        if (pair[i] != UINT64_MAX)
            add_number(s, pair[i]);
    add_number(s, UINT64_MAX);
    free(pair);
    return 0;
}

/* added_sort() ordered them by content. */
static void add_added(struct sha256 *s, const struct added *a)
{
    for (size_t i = 0; i < a->n; i++) {
        add_number(s, (uint64_t)a->token[i].id);
        add_string(s, a->token[i].content, a->token[i].n);
    }
    add_number(s, UINT64_MAX);
}

int tokenizer_digest(const struct tokenizer *t, char hex[SHA256_HEX], struct err *e)
{
    const struct tokenizer_files *f = &t->files;
    struct sha256 s;

    sha256_init(&s);
    add_tokens(&s, f);
    if (add_merges(&s, &f->bpe, e))
        return -1;
    add_added(&s, &f->added);
    add_number(&s, f->nfc);
    add_string(&s, f->pattern.v, f->pattern.n);
    sha256_hex(&s, hex);
    return 0;
}
