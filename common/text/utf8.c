/* utf8.c - UTF-8 as Unicode defines it */
#include "common/text/utf8.h"

#include <string.h>

int utf8_next(const char *s, size_t n, uint32_t *cp)
{
    const unsigned char *p = (const unsigned char *)s;
    unsigned low = 0x80,
             high = 0xbf; /* what the second byte may be: table 3-7 narrows it after four first bytes */
    uint32_t c = p[0];
    int length, i;

    if (c < 0x80) {
        *cp = c;
        return 1;
    }
    if (c < 0xc2 || c > 0xf4)
        return -1;
    length = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (c == 0xe0)
        low = 0xa0;
    if (c == 0xed)
        high = 0x9f;
    if (c == 0xf0)
        low = 0x90;
    if (c == 0xf4)
        high = 0x8f;
    c &= length == 2 ? 0x1f : length == 3 ? 0x0f : 0x07;
    for (i = 1; i < length; i++) {
        if ((size_t)i >= n || p[i] < low || p[i] > high)
            return -i;
        c = c << 6 | (p[i] & 0x3f);
        low = 0x80;
        high = 0xbf;
    }
    *cp = c;
    return length;
}

size_t utf8_put(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

size_t utf8_ascii(const char *s, size_t n)
{
    size_t i = 0;
    uint64_t word;

    for (; i + 8 <= n; i += 8) {
        memcpy(&word, s + i, 8);
        if (word & 0x8080808080808080u)
            break;
    }
    while (i < n && !((unsigned char)s[i] & 0x80))
        i++;
    return i;
}

/* Length of the well-formed characters at the start of s. */
static size_t well_formed(const char *s, size_t n)
{
    size_t i = 0;
    uint32_t cp;
    int k;

    while ((i += utf8_ascii(s + i, n - i)) < n) {
        k = utf8_next(s + i, n - i, &cp);
        if (k < 0)
            break;
        i += (size_t)k;
    }
    return i;
}

int utf8_check(const char *s, size_t n, struct err *e)
{
    size_t good = well_formed(s, n);

    if (good == n)
        return 0;
    return err_set(e, RC_DATA, "the text is not UTF-8: bad byte 0x%02x at offset %zu", (unsigned char)s[good],
                   good);
}

int utf8_repair(const char *s, size_t n, struct text *out, struct err *e)
{
    size_t good;
    uint32_t cp;

    for (;;) {
        good = well_formed(s, n);
        if (text_add(out, s, good, e))
            return -1;
        s += good;
        n -= good;
        if (!n)
            return 0;
        if (text_add_str(out, "\xef\xbf\xbd", e))
            return -1;
        good = (size_t)-utf8_next(s, n, &cp);
        s += good;
        n -= good;
    }
}

int utf8_take(struct text *in, struct text *out, struct err *e)
{
    size_t take = 0, left = in->n, ill;
    uint32_t cp;
    int ret = 0;

    while (left) {
        size_t good = well_formed(in->v + take, left);

        take += good;
        left -= good;
        ill = left ? (size_t)-utf8_next(in->v + take, left, &cp) : 0;
        if (ill == left) /* the end, or what may yet become a character */
            break;
        take += ill;
        left -= ill;
    }
    if (take) {
        ret = utf8_repair(in->v, take, out, e);
        memmove(in->v, in->v + take, left);
        in->n = left;
    }
    return ret;
}
