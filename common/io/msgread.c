/* msgread.c - whole values of a msgpack stream */
#include "common/io/msgread.h"

#include <stdlib.h>

#include "common/base/mem.h"

enum {
    /* keys and elements in one value: our numbers travel as bin, so real values have few */
    MAX_ITEMS = 1 << 20,
    MAX_DEPTH = 16,
    READ_STEP = 1 << 20,
};

void msgread_init(struct msgread *m)
{
    *m = (struct msgread){0};
    sha256_init(&m->sha);
}

void msgread_release(struct msgread *m)
{
    free(m->buf);
    *m = (struct msgread){0};
}

static int truncated(const struct msgread *m, struct err *e)
{
    if (ferror(m->f))
        return err_sys(e, "cannot read");
    return err_set(e, RC_DATA, "truncated: the stream ends without its end record");
}

/* n more bytes; memory grows only as bytes arrive, so a wrong length costs no more than the input is long. */
static int take(struct msgread *m, size_t n, struct err *e)
{
    while (n) {
        size_t step = n < READ_STEP ? n : READ_STEP;

        while (m->cap - m->fill < step) {
            uint8_t *p = mem_realloc(m->buf, m->cap ? 2 * m->cap : READ_STEP, 1, e);

            if (!p)
                return -1;
            m->buf = p;
            m->cap = m->cap ? 2 * m->cap : READ_STEP;
        }
        if (fread(m->buf + m->fill, 1, step, m->f) != step)
            return truncated(m, e);
        sha256_add(&m->sha, m->buf + m->fill, step);
        m->fill += step;
        n -= step;
    }
    return 0;
}

/* A big-endian number of n bytes at the end of the buffer. */
static int take_length(struct msgread *m, size_t n, uint64_t *v, struct err *e)
{
    if (take(m, n, e))
        return -1;
    *v = 0;
    for (size_t i = m->fill - n; i < m->fill; i++)
        *v = *v << 8 | m->buf[i];
    return 0;
}

/*
 * Take the head of one value and, for a scalar, all of it; *items is the number of values that a container
 * holds.  The msgpack specification's table of first bytes.
 */
static int take_value(struct msgread *m, uint64_t *items, struct err *e)
{
    uint64_t n = 0;
    uint8_t c;

    *items = 0;
    if (take(m, 1, e))
        return -1;
    c = m->buf[m->fill - 1];
    if (c < 0x80 || c >= 0xe0 || (c >= 0xc0 && c <= 0xc3 && c != 0xc1)) /* small integers, nil, booleans */
        return 0;
    if (c < 0x90) { /* fixmap */
        *items = 2 * (uint64_t)(c & 15);
        return 0;
    }
    if (c < 0xa0) { /* fixarray */
        *items = c & 15;
        return 0;
    }
    if (c < 0xc0) /* fixstr */
        return take(m, c & 31, e);
    switch (c) {
    case 0xc4: case 0xd9: /* bin 8, str 8 */
        return take_length(m, 1, &n, e) || take(m, n, e) ? -1 : 0;
    case 0xc5: case 0xda:
        return take_length(m, 2, &n, e) || take(m, n, e) ? -1 : 0;
    case 0xc6: case 0xdb:
        return take_length(m, 4, &n, e) || take(m, n, e) ? -1 : 0;
    case 0xc7: case 0xc8: case 0xc9: /* ext: its length, a type byte, the data */
        return take_length(m, (size_t)1 << (c - 0xc7), &n, e) || take(m, n + 1, e) ? -1 : 0;
    case 0xcc: case 0xd0: return take(m, 1, e);
    case 0xcd: case 0xd1: return take(m, 2, e);
    case 0xca: case 0xce: case 0xd2: return take(m, 4, e);
    case 0xcb: case 0xcf: case 0xd3: return take(m, 8, e);
    case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: /* fixext */
        return take(m, 1 + ((size_t)1 << (c - 0xd4)), e);
    case 0xdc: case 0xdd: return take_length(m, c == 0xdc ? 2 : 4, items, e);
    case 0xde: case 0xdf:
        if (take_length(m, c == 0xde ? 2 : 4, items, e))
            return -1;
        *items *= 2;
        return 0;
    }
    return err_set(e, RC_DATA, "not msgpack: a value begins with byte 0x%02x", c);
}

/*
 * msgpack-c allocates a container as soon as it has seen the container's length, so the lengths are walked
 * here first, against the bytes that are really there.
 */
int msgread_next(struct msgread *m, msgpack_unpacked *u, struct err *e)
{
    uint64_t left[MAX_DEPTH] = {1}, total = 0, items; /* left: values still to come, per open container */
    size_t depth = 0, off = 0;

    m->fill = 0;
    while (depth || left[0]) {
        if (take_value(m, &items, e))
            return -1;
        left[depth]--;
        total += items;
        if (items && (depth + 1 == MAX_DEPTH || total > MAX_ITEMS))
            return err_set(e, RC_DATA, "a record has too many parts");
        if (items)
            left[++depth] = items;
        while (depth && !left[depth])
            depth--;
    }
    if (msgpack_unpack_next(u, (const char *)m->buf, m->fill, &off) != MSGPACK_UNPACK_SUCCESS ||
        off != m->fill)
        return err_set(e, RC_DATA, "bad msgpack");
    return 0;
}
