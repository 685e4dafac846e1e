/*
 * split.h - the pre-tokenizer: text to words, by the tokenizer's own pattern, with PCRE2
 *
 * The pattern must mean what it means to the reference, whose \p{L}, \p{N} and \s come from another Unicode
 * version than the library's.  To the patterns of this family two characters outside ASCII differ only in
 * those classes, so each character of the text becomes one byte, itself or one of four for the classes, the
 * pattern is rewritten over these bytes, and PCRE2 runs in byte mode: exact whatever its version, and equally
 * fast in every script.
 */
#ifndef COMMON_TEXT_SPLIT_H
#define COMMON_TEXT_SPLIT_H

#include <stddef.h>

#include "common/text/text.h"

/* What Qwen2 models use when no tokenizer.json says otherwise. */
#define SPLIT_QWEN2                                                                                          \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"                                                                          \
    "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"                                                                  \
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"                                                                        \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* A compiled pattern; read-only, any number of threads may use it. */
struct split;

/*
 * Compile.  Understood: ASCII literals, \r \n \t, \p{L} \p{N} \s and their negations, sets (without ranges),
 * groups, lookaround, quantifiers.  What might mean something else here than in the reference is refused:
 * other escapes and properties, anchors, letters outside (?i:...), patterns that match nothing.
 */
int split_open(struct split **out, const char *pattern, size_t n, struct err *e);
void split_free(struct split *s);

/* One thread's cuts through one text.  Zero it before use; it may start again. */
struct split_run {
    void *match, *stack, *context; /* of PCRE2 */
    struct text symbols;
    const char *text, *subject;
    size_t n, at;          /* in symbols */
    size_t byte;           /* at, in the text */
    size_t found, found_n; /* a match ahead, past what it left uncovered; found_n 0: none */
};

/* Begin with n bytes of well-formed UTF-8, which must stay until the last word. */
int split_start(const struct split *s, struct split_run *r, const char *text, size_t n, struct err *e);

/*
 * The next word: 1, with its place in the text; 0 at the end; -1.  Words cover the text: what the pattern
 * does not match is a word too.
 */
int split_next(const struct split *s, struct split_run *r, const char **word, size_t *n, struct err *e);
void split_run_release(struct split_run *r);

#endif
