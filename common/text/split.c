/* split.c - the pre-tokenizer */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "common/text/split.h"

#include <ctype.h>
#include <pcre2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/text/unicode.h"
#include "common/text/utf8.h"

/*
 * Bytes that stand for characters outside ASCII, and the classes written over them and ASCII.  U+017F and
 * U+212A, letters that (?i:) takes for s and k, become s and k: letters too, and no pattern may name a letter
 * outside (?i:...).
 */
#define LETTER     "A-Za-z\\x80"
#define NUMBER     "0-9\\x81"
#define SPACE      "\\t-\\r\\x20\\x82"
#define NOT_LETTER "\\x00-\\x40\\x5b-\\x60\\x7b-\\x7f\\x81-\\x83"
#define NOT_NUMBER "\\x00-\\x2f\\x3a-\\x80\\x82\\x83"
#define NOT_SPACE  "\\x00-\\x08\\x0e-\\x1f\\x21-\\x81\\x83"

static char symbol(uint32_t cp)
{
    static const char of[] = {[UNICODE_LETTER] = '\x80',
                              [UNICODE_NUMBER] = '\x81',
                              [UNICODE_SPACE] = '\x82',
                              [UNICODE_OTHER] = '\x83'};

    return cp == 0x17f ? 's' : cp == 0x212a ? 'k' : of[unicode_class(cp)];
}

struct split {
    pcre2_code *code;
};

enum { STACK_FIRST = 32 * 1024, STACK_MOST = 8 * 1024 * 1024 };

/* The pattern being rewritten. */
struct rewrite {
    const char *p, *end;
    struct text out;
    bool in_set;
    size_t depth, caseless; /* open groups; the depth of the outermost open (?i:, 0: none */
};

static int refuse(const char *what, size_t n, struct err *e)
{
    return err_set(e, RC_DATA, "the pre-tokenizer's pattern uses '%.*s', which is not supported", (int)n,
                   what);
}

static int escape(struct rewrite *w, struct err *e)
{
    static const struct {
        const char *from, *to;
    } class[] = {{"\\p{L}", LETTER},     {"\\p{N}", NUMBER},     {"\\s", SPACE},
                 {"\\P{L}", NOT_LETTER}, {"\\P{N}", NOT_NUMBER}, {"\\S", NOT_SPACE},
                 {"\\r", "\\r"},         {"\\n", "\\n"},         {"\\t", "\\t"}};
    size_t left = (size_t)(w->end - w->p), n;

    for (size_t i = 0; i < sizeof(class) / sizeof(class[0]); i++) {
        n = strlen(class[i].from);
        if (left < n || memcmp(w->p, class[i].from, n))
            continue;
        w->p += n;
        return (!w->in_set && text_add_str(&w->out, "[", e)) || text_add_str(&w->out, class[i].to, e) ||
                       (!w->in_set && text_add_str(&w->out, "]", e))
                   ? -1
                   : 0;
    }
    if (left < 2 || !ispunct((unsigned char)w->p[1]))
        return refuse(w->p, left < 2 ? left : 2, e);
    w->p += 2;
    return text_add(&w->out, w->p - 2, 2, e);
}

static int group(struct rewrite *w, struct err *e)
{
    static const char *const kind[] = {"(?i:", "(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"};
    size_t left = (size_t)(w->end - w->p), n = 1;

    w->depth++;
    if (left > 1 && (w->p[1] == '?' || w->p[1] == '*')) {
        for (size_t i = 0; i < sizeof(kind) / sizeof(kind[0]) && n == 1; i++)
            if (left >= strlen(kind[i]) && !memcmp(w->p, kind[i], strlen(kind[i])))
                n = strlen(kind[i]);
        if (n == 1)
            return refuse(w->p, left < 4 ? left : 4, e);
        if (w->p[2] == 'i' && !w->caseless)
            w->caseless = w->depth;
    }
    w->p += n;
    return text_add(&w->out, w->p - n, n, e);
}

/* One element of the pattern. */
static int element(struct rewrite *w, struct err *e)
{
    unsigned char c = (unsigned char)*w->p;

    if (c == '\\')
        return escape(w, e);
    if (c == '(' && !w->in_set)
        return group(w, e);
    if (c >= 0x80 || (isalpha(c) && !w->caseless) || (w->in_set && strchr("[&-", c)) ||
        (!w->in_set && strchr("^$", c)))
        return refuse(w->p, c >= 0x80 ? utf8_length((char)c) : 1, e);
    if (!w->in_set && w->end - w->p > 1 && ((c == '{' && w->p[1] == ',') || (c == '}' && w->p[1] == '+')))
        return refuse(w->p, 2, e);
    if (!w->in_set && c == ')') {
        if (w->caseless == w->depth)
            w->caseless = 0;
        w->depth -= w->depth > 0;
    }
    if (c == '[' || (c == ']' && w->in_set))
        w->in_set = c == '[';
    w->p++;
    if (text_add(&w->out, (const char *)&c, 1, e))
        return -1;
    if (c == '[' && w->p < w->end && *w->p == '^') /* the only place where ^ is understood */
        return text_add(&w->out, w->p++, 1, e);
    return 0;
}

int split_open(struct split **out, const char *pattern, size_t n, struct err *e)
{
    struct rewrite w = {.p = pattern, .end = pattern + n};
    struct split *s = mem_zalloc(1, sizeof(*s), e);
    uint32_t empty = 0;
    PCRE2_SIZE where;
    PCRE2_UCHAR why[128];
    int ret = s ? 0 : -1, code;

    while (ret == 0 && w.p < w.end)
        ret = *w.p ? element(&w, e) : refuse("\\x00", 4, e);
    if (ret == 0)
        ret = text_add(&w.out, "", 0, e);
    if (ret == 0) {
        s->code =
            pcre2_compile((PCRE2_SPTR)w.out.v, w.out.n,
                          PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_NO_AUTO_CAPTURE, &code, &where, NULL);
        if (!s->code) {
            pcre2_get_error_message(code, why, sizeof(why));
            ret = err_set(e, RC_DATA, "the pre-tokenizer's pattern does not compile: %s", (char *)why);
        }
    }
    if (ret == 0 && (pcre2_pattern_info(s->code, PCRE2_INFO_MATCHEMPTY, &empty) || empty))
        ret = err_set(e, RC_DATA,
                      "the pre-tokenizer's pattern can match nothing at all, which is not supported");
    if (ret == 0)
        pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE); /* where there is no JIT, the interpreter does it */
    text_release(&w.out);
    if (ret) {
        split_free(s);
        return -1;
    }
    *out = s;
    return 0;
}

void split_free(struct split *s)
{
    if (!s)
        return;
    pcre2_code_free(s->code);
    free(s);
}

static int prepare(const struct split *s, struct split_run *r, struct err *e)
{
    if (r->match)
        return 0;
    r->context = pcre2_match_context_create(NULL);
    r->stack = pcre2_jit_stack_create(STACK_FIRST, STACK_MOST, NULL);
    if (r->context && r->stack)
        r->match = pcre2_match_data_create_from_pattern(s->code, NULL);
    if (!r->match) {
        split_run_release(r);
        return err_set(e, RC_SYS, "out of memory: cannot prepare the pre-tokenizer");
    }
    pcre2_jit_stack_assign(r->context, NULL, r->stack);
    return 0;
}

int split_start(const struct split *s, struct split_run *r, const char *text, size_t n, struct err *e)
{
    size_t i = utf8_ascii(text, n);
    uint32_t cp = 0;

    if (prepare(s, r, e))
        return -1;
    r->text = r->subject = text;
    r->n = n;
    r->at = r->byte = r->found = r->found_n = 0;
    if (i == n)
        return 0;
    r->symbols.n = 0;
    if (text_reserve(&r->symbols, n, e) || text_add(&r->symbols, text, i, e))
        return -1;
    while (i < n) {
        i += (size_t)utf8_next(text + i, n - i, &cp);
        r->symbols.v[r->symbols.n++] = cp < 0x80 ? (char)cp : symbol(cp);
    }
    r->subject = r->symbols.v;
    r->n = r->symbols.n;
    return 0;
}

/* Find the next match at or after r->at; where there is none, the rest of the text is one word. */
static int find(const struct split *s, struct split_run *r, struct err *e)
{
    const PCRE2_SIZE *v;
    PCRE2_UCHAR why[128];
    int code = pcre2_match(s->code, (PCRE2_SPTR)r->subject, r->n, r->at, 0, r->match, r->context);

    if (code == PCRE2_ERROR_NOMATCH) {
        r->found = r->n;
        r->found_n = 0;
        return 0;
    }
    if (code < 0) {
        pcre2_get_error_message(code, why, sizeof(why));
        return err_set(e, RC_DATA, "the pre-tokenizer's pattern fails on this text, at character %zu: %s",
                       r->at, (char *)why);
    }
    v = pcre2_get_ovector_pointer(r->match);
    r->found = v[0];
    r->found_n = v[1] - v[0];
    return 0;
}

int split_next(const struct split *s, struct split_run *r, const char **word, size_t *n, struct err *e)
{
    size_t take, start = r->byte;

    if (r->at == r->n)
        return 0;
    if (r->found_n == 0 && find(s, r, e))
        return -1;
    if (r->found > r->at) { /* not covered by the pattern: a word of its own */
        take = r->found - r->at;
    } else {
        take = r->found_n;
        r->found_n = 0;
    }
    r->at += take;
    if (r->subject == r->text)
        r->byte += take;
    else
        while (take--)
            r->byte += utf8_length(r->text[r->byte]);
    *word = r->text + start;
    *n = r->byte - start;
    return 1;
}

void split_run_release(struct split_run *r)
{
    pcre2_match_data_free(r->match);
    pcre2_jit_stack_free(r->stack);
    pcre2_match_context_free(r->context);
    text_release(&r->symbols);
    *r = (struct split_run){0};
}
