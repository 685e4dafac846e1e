/* unicode.c - character classes and NFC (Unicode Standard Annex 15), with the data of the reference tokenizer
 */
#include "common/text/unicode.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/text/unicode-tables.h"
#include "common/text/utf8.h"

/* Hangul is arithmetic (Unicode 3.12): LV = S + (l * VS + v) * TS, LVT = LV + t. */
enum { S0 = 0xac00, L0 = 0x1100, V0 = 0x1161, T0 = 0x11a7, LS = 19, VS = 21, TS = 28, SS = LS * VS * TS };

enum { FIRST_MARK = 0x300 }; /* below it every class is 0 and NFC changes nothing */

enum unicode_class unicode_class(uint32_t cp)
{
    size_t low = 0, high = unicode_spans_n;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (cp > unicode_spans[mid].last)
            low = mid + 1;
        else if (cp < unicode_spans[mid].first)
            high = mid;
        else
            return unicode_spans[mid].kind;
    }
    return UNICODE_OTHER;
}

static struct unicode_mark mark(uint32_t cp)
{
    size_t low = 0, high = unicode_marks_n;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (cp > unicode_marks[mid].last)
            low = mid + 1;
        else if (cp < unicode_marks[mid].first)
            high = mid;
        else
            return unicode_marks[mid];
    }
    return (struct unicode_mark){0};
}

bool unicode_is_nfc(const char *s, size_t n)
{
    size_t i = 0;
    uint32_t cp = 0;
    uint8_t last = 0;

    while (i < n) {
        size_t ascii = utf8_ascii(s + i, n - i);
        struct unicode_mark m = {0};

        i += ascii;
        if (ascii)
            last = 0;
        if (i == n)
            break;
        i += (size_t)utf8_next(s + i, n - i, &cp);
        if (cp >= FIRST_MARK)
            m = mark(cp);
        if (m.unsettled || (m.ccc && m.ccc < last))
            return false;
        last = m.ccc;
    }
    return true;
}

/* A character in the making: code point and combining class. */
struct cell {
    uint32_t cp;
    uint8_t ccc;
};

struct cells {
    struct cell *v;
    size_t n, cap;
};

static int push(struct cells *c, uint32_t cp, struct err *e)
{
    if (mem_grow((void **)&c->v, c->n, &c->cap, sizeof(*c->v), e))
        return -1;
    c->v[c->n++] = (struct cell){cp, cp < FIRST_MARK ? 0 : mark(cp).ccc};
    return 0;
}

static int decompose(struct cells *c, uint32_t cp, struct err *e)
{
    size_t low = 0, high = unicode_maps_n;

    if (cp >= S0 && cp < S0 + SS) {
        uint32_t s = cp - S0;

        return push(c, L0 + s / (VS * TS), e) || push(c, V0 + s / TS % VS, e) ||
                       (s % TS && push(c, T0 + s % TS, e))
                   ? -1
                   : 0;
    }
    while (low < high) {
        size_t mid = (low + high) / 2;
        const struct unicode_map *m = &unicode_maps[mid];

        if (cp > m->from) {
            low = mid + 1;
        } else if (cp < m->from) {
            high = mid;
        } else {
            for (uint16_t k = 0; k < m->length; k++)
                if (push(c, unicode_pool[m->start + k], e))
                    return -1;
            return 0;
        }
    }
    return push(c, cp, e);
}

/* Sort n marks by class, stably, in linear time: a hostile text may put a million on one letter. */
static int sort_marks(struct cell *v, size_t n, struct err *e)
{
    size_t at[256] = {0}, sum = 0;
    struct cell *to = mem_realloc(NULL, n, sizeof(*to), e);

    if (!to)
        return -1;
    for (size_t i = 0; i < n; i++)
        at[v[i].ccc]++;
    for (int k = 0; k < 256; k++) {
        size_t here = at[k];

        at[k] = sum;
        sum += here;
    }
    for (size_t i = 0; i < n; i++)
        to[at[v[i].ccc]++] = v[i];
    memcpy(v, to, n * sizeof(*v));
    free(to);
    return 0;
}

/* The canonical ordering algorithm: each run of marks between two starters, in order of class. */
static int reorder(struct cells *c, struct err *e)
{
    size_t i = 0, start;

    while (i < c->n) {
        bool ordered = true;

        for (start = i; i < c->n && c->v[i].ccc; i++)
            ordered &= i == start || c->v[i - 1].ccc <= c->v[i].ccc;
        if (!ordered && sort_marks(c->v + start, i - start, e))
            return -1;
        if (i == start)
            i++;
    }
    return 0;
}

/* What a and b compose to, or 0. */
static uint32_t pair(uint32_t a, uint32_t b)
{
    size_t low = 0, high = unicode_pairs_n;

    if (a - L0 < LS && b - V0 < VS)
        return S0 + ((a - L0) * VS + (b - V0)) * TS;
    if (a - S0 < SS && (a - S0) % TS == 0 && b - T0 - 1 < TS - 1)
        return a + (b - T0);
    while (low < high) {
        size_t mid = (low + high) / 2;
        const struct unicode_pair *p = &unicode_pairs[mid];

        if (a > p->a || (a == p->a && b > p->b))
            low = mid + 1;
        else if (a < p->a || b < p->b)
            high = mid;
        else
            return p->ab;
    }
    return 0;
}

/* The canonical composition algorithm, in place. */
static void compose(struct cells *c)
{
    size_t to = 0, starter = 0;
    bool have = false;
    uint8_t last = 0; /* class of what was kept last after the starter */
    uint32_t ab;

    for (size_t i = 0; i < c->n; i++) {
        struct cell x = c->v[i];
        bool reachable = have && (to == starter + 1 || (last && last < x.ccc));

        ab = reachable ? pair(c->v[starter].cp, x.cp) : 0;
        if (ab) {
            c->v[starter].cp = ab;
            continue;
        }
        if (!x.ccc) {
            starter = to;
            have = true;
        }
        last = x.ccc;
        c->v[to++] = x;
    }
    c->n = to;
}

int unicode_nfc(const char *s, size_t n, struct text *out, struct err *e)
{
    struct cells c = {0};
    uint32_t cp;
    int ret = 0;

    for (size_t i = 0; i < n && !ret; ret = decompose(&c, cp, e))
        i += (size_t)utf8_next(s + i, n - i, &cp);
    if (ret == 0)
        ret = reorder(&c, e);
    if (ret == 0) {
        compose(&c);
        ret = text_reserve(out, 4 * c.n, e);
    }
    for (size_t i = 0; i < c.n && ret == 0; i++)
        out->n += utf8_put(c.v[i].cp, out->v + out->n);
    if (ret == 0)
        out->v[out->n] = 0;
    free(c.v);
    return ret;
}
