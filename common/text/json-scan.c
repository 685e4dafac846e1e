/* json-scan.c - a reader that walks JSON text in place */
#include "common/text/json-scan.h"

#include <string.h>

#include "common/text/utf8.h"

static int fail(const struct json_scan *s, const char *what, struct err *e)
{
    size_t line = 1;

    for (const char *p = s->start; p < s->p; p++)
        line += *p == '\n';
    return err_set(e, RC_DATA, "line %zu: %s", line,
                   s->p < s->end ? what : "the file ends in the middle of a value");
}

static void blank(struct json_scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r'))
        s->p++;
}

static int expect(struct json_scan *s, char c, struct err *e)
{
    char what[] = "'?' expected";

    blank(s);
    if (s->p < s->end && *s->p == c) {
        s->p++;
        return 0;
    }
    what[1] = c;
    return fail(s, what, e);
}

int json_scan_open(struct json_scan *s, char bracket, struct err *e)
{
    return expect(s, bracket, e);
}

int json_scan_more(struct json_scan *s, char close, size_t done, struct err *e)
{
    blank(s);
    if (s->p < s->end && *s->p == close) {
        s->p++;
        return 0;
    }
    if (done && expect(s, ',', e))
        return -1;
    blank(s); /* so that a caller may look at what kind of element it is */
    return 1;
}

/* Four hexadecimal digits. */
static int hex4(struct json_scan *s, uint32_t *out, struct err *e)
{
    uint32_t x = 0;

    for (int i = 0; i < 4; i++, s->p++) {
        unsigned c = s->p < s->end ? (unsigned char)*s->p : 0, letter = c | 0x20;

        if (c >= '0' && c <= '9')
            x = 16 * x + (c - '0');
        else if (letter >= 'a' && letter <= 'f')
            x = 16 * x + (letter - 'a' + 10);
        else
            return fail(s, "four hexadecimal digits expected after \\u", e);
    }
    *out = x;
    return 0;
}

/* What follows a backslash; s->p stands after it. */
static int escape(struct json_scan *s, struct text *out, struct err *e)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *at;
    char utf8[4];
    uint32_t cp = 0, low = 0;

    at = s->p < s->end && *s->p ? strchr(from, *s->p) : NULL;
    if (at) {
        s->p++;
        return text_add(out, to + (at - from), 1, e);
    }
    if (s->p == s->end || *s->p != 'u')
        return fail(s, "unknown escape in a string", e);
    s->p++;
    if (hex4(s, &cp, e))
        return -1;
    if (cp >= 0xd800 && cp < 0xdc00 && s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u') {
        s->p += 2;
        if (hex4(s, &low, e))
            return -1;
        if (low < 0xdc00 || low > 0xdfff)
            return fail(s, "half of a surrogate pair in a string", e);
        cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
    }
    if (cp >= 0xd800 && cp < 0xe000)
        return fail(s, "half of a surrogate pair in a string", e);
    return text_add(out, utf8, utf8_put(cp, utf8), e);
}

int json_scan_string(struct json_scan *s, struct text *scratch, const char **v, size_t *n, struct err *e)
{
    const char *run;
    struct err bad = {0};

    if (expect(s, '"', e))
        return -1;
    scratch->n = 0;
    for (;;) {
        run = s->p;
        while (s->p < s->end && *s->p != '"' && *s->p != '\\' && (unsigned char)*s->p >= 0x20)
            s->p++;
        *v = run;
        *n = (size_t)(s->p - run);
        if (s->p < s->end && *s->p == '"' && !scratch->n)
            break; /* the usual case: nothing to copy */
        if (text_add(scratch, run, *n, e))
            return -1;
        *v = scratch->v;
        *n = scratch->n;
        if (s->p < s->end && *s->p == '"')
            break;
        if (s->p == s->end || *s->p != '\\')
            return fail(s, "a string is not closed on its line", e);
        s->p++;
        if (escape(s, scratch, e))
            return -1;
    }
    s->p++;
    return utf8_check(*v, *n, &bad) ? fail(s, "a string is not UTF-8", e) : 0;
}

int json_scan_key(struct json_scan *s, struct text *scratch, const char **v, size_t *n, struct err *e)
{
    return json_scan_string(s, scratch, v, n, e) || expect(s, ':', e) ? -1 : 0;
}

int json_scan_index(struct json_scan *s, int32_t max, int32_t *out, struct err *e)
{
    int64_t x = 0;
    const char *first;

    blank(s);
    for (first = s->p; s->p < s->end && *s->p >= '0' && *s->p <= '9' && x <= max; s->p++)
        x = 10 * x + (*s->p - '0');
    if (s->p == first || x > max || (s->p < s->end && strchr(".eE0123456789", *s->p) && *s->p))
        return fail(s, "a whole number, not negative and not too large, expected", e);
    *out = (int32_t)x;
    return 0;
}

/* The closing quote of the string that p is inside of, or end. */
static const char *string_end(const char *p, const char *end)
{
    while (p < end && *p != '"')
        p += *p == '\\' && end - p > 1 ? 2 : 1;
    return p;
}

int json_scan_skip(struct json_scan *s, struct err *e)
{
    size_t depth = 0;

    blank(s);
    for (; s->p < s->end; s->p++) {
        char c = *s->p;

        if (c == '"') {
            s->p = string_end(s->p + 1, s->end);
            if (s->p == s->end)
                break;
        }
        if (depth == 0 && (c == ',' || c == ']' || c == '}'))
            return 0;
        if (c == '[' || c == '{')
            depth++;
        if ((c == ']' || c == '}') && --depth == 0) {
            s->p++;
            return 0;
        }
    }
    return depth ? fail(s, "", e) : 0;
}

int json_scan_value(struct json_scan *s, json_t **out, struct err *e)
{
    struct json_scan at;
    json_error_t why;

    blank(s);
    at = *s;
    if (json_scan_skip(s, e))
        return -1;
    *out = json_loadb(at.p, (size_t)(s->p - at.p), JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL,
                      &why);
    return *out ? 0 : fail(&at, why.text, e);
}

int json_scan_end(struct json_scan *s, struct err *e)
{
    blank(s);
    return s->p == s->end ? 0 : fail(s, "something follows the end of the document", e);
}
