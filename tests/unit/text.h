/* text.h - what the tests of common/text share: reference answers line by line, a model directory of links */
#ifndef TESTS_UNIT_TEXT_H
#define TESTS_UNIT_TEXT_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/text/text.h"
#include "common/text/tokenizer.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

#define GOLDEN "tests/golden/tokenizer/"
#define TINY   "data/tiny-qwen2_5-vl"

/* Everything below is set up by this program: a failure here is no test result. */
static inline void *must(void *p, const char *what)
{
    if (!p) {
        printf("Bail out! %s\n", what);
        exit(1);
    }
    return p;
}

static inline char *slurp(const char *path, size_t *n)
{
    struct err e = {0};
    uint8_t *data = NULL;

    if (file_read(path, &data, n, &e))
        must(NULL, e.msg);
    return (char *)data;
}

/* The next line of a JSON Lines text as a value; NULL at its end. */
static inline json_t *row(const char **at)
{
    const char *eol = strchr(*at, '\n');
    json_error_t why;
    json_t *j;

    if (!**at)
        return NULL;
    must((void *)eol, "a row is not closed");
    j = must(json_loadb(*at, (size_t)(eol - *at), JSON_ALLOW_NUL, &why), why.text);
    *at = eol + 1;
    return j;
}

static inline struct text string_of(const json_t *j)
{
    return (struct text){(char *)json_string_value(j), json_string_length(j), 0};
}

static inline bool same_text(const struct text *a, const struct text *b)
{
    return a->n == b->n && (a->n == 0 || !memcmp(a->v, b->v, a->n));
}

/* Link a file of a folder into the scratch directory. */
static inline void link_to(const char *folder, const char *name)
{
    struct err e = {0};
    char *from = must(file_join(folder, name, &e), e.msg), *real = must(realpath(from, NULL), from);

    if (symlink(real, scratch(name)))
        must(NULL, name);
    free(real);
    free(from);
}

static inline struct tokenizer *opened(const char *path)
{
    struct tokenizer *t = NULL;
    struct err e = {0};

    tokenizer_open(&t, path, &e);
    return must(t, e.msg);
}

#endif
