/* chunks.c - a file of checksummed records that only ever grows */
#include "common/io/chunks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/base/mem.h"

enum { MAGIC = 8, START = 16, FRONT = 16, MAX_PARTS = 8, HEAD = 1 }; /* FRONT: bytes before a payload */

static void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static void put_u64(uint8_t *p, uint64_t v)
{
    put_u32(p, (uint32_t)v);
    put_u32(p + 4, (uint32_t)(v >> 32));
}

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get_u64(const uint8_t *p)
{
    return get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

/* The first bytes of a chunk, which follows one whose sum is `before`. */
static void make_front(uint8_t front[FRONT], const uint8_t before[SHA256_BYTES], uint32_t kind,
                       uint64_t bytes)
{
    uint8_t digest[SHA256_BYTES];
    struct sha256 s;

    put_u32(front, kind);
    put_u64(front + 8, bytes);
    sha256_init(&s);
    sha256_add(&s, before, SHA256_BYTES);
    sha256_add(&s, front, 4);
    sha256_add(&s, front + 8, 8);
    sha256_end(&s, digest);
    memcpy(front + 4, digest, 4);
}

/* What the header's chunk follows. */
static void sum_start(uint8_t sum[SHA256_BYTES], const uint8_t start[START])
{
    struct sha256 s;

    sha256_init(&s);
    sha256_add(&s, start, START);
    sha256_end(&s, sum);
}

/* ---- reading ---- */

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

static int torn(const struct chunks *c, const struct chunks_type *t, bool whole, struct err *e)
{
    if (!whole)
        return 0;
    return err_set(e, RC_DATA, "'%s' is truncated after %zu chunks; %s", c->map.path, c->n, t->remedy);
}

/*
 * 1: the chunk at *at, which follows one whose sum is `before`, is whole; *at moves past it and sum is its
 * own.  0: there is none, or a torn one that may be.
 */
static int next_chunk(const struct chunks *c, const struct chunks_type *t, bool whole,
                      const uint8_t before[SHA256_BYTES], size_t *at, struct chunk *chunk,
                      uint8_t sum[SHA256_BYTES], struct err *e)
{
    const uint8_t *p = c->map.data + *at;
    size_t left = c->map.bytes - *at;
    uint8_t front[FRONT];
    uint64_t bytes;
    struct sha256 s;

    if (left < FRONT)
        return torn(c, t, whole, e);
    bytes = get_u64(p + 8);
    make_front(front, before, get_u32(p), bytes);
    if (memcmp(front, p, FRONT)) {
        if (all_zero(p, left))
            return torn(c, t, whole, e);
        goto damaged;
    }
    if (bytes > left - FRONT || left - FRONT - (size_t)bytes < SHA256_BYTES)
        return torn(c, t, whole, e);
    *chunk = (struct chunk){get_u32(p), (size_t)bytes, p + FRONT};
    sha256_init(&s);
    sha256_add(&s, before, SHA256_BYTES);
    sha256_add(&s, p, FRONT + chunk->bytes);
    sha256_end(&s, sum);
    *at += FRONT + chunk->bytes + SHA256_BYTES;
    if (!memcmp(sum, chunk->data + chunk->bytes, SHA256_BYTES))
        return 1;
    if (*at == c->map.bytes && !whole)
        return 0;
damaged:
    if (!c->head)
        return err_set(e, RC_DATA, "'%s' is damaged: its header does not have its checksum; %s", c->map.path,
                       t->remedy);
    return err_set(e, RC_DATA, "'%s' is damaged: chunk %zu does not have its checksum; %s", c->map.path,
                   c->n + 1, t->remedy);
}

/* Up to the header, which is the first chunk; *at: what follows it.  1: it is there; 0: it is torn. */
static int read_head(struct chunks *c, const struct chunks_type *t, bool whole, size_t *at, struct err *e)
{
    const struct file_map *m = &c->map;
    size_t n = m->bytes < MAGIC ? m->bytes : MAGIC;
    uint8_t start[SHA256_BYTES];
    struct chunk chunk = {0};
    int ret;

    if ((whole && n < MAGIC) || (n && memcmp(m->data, t->magic, n)))
        return err_set(e, RC_DATA, "'%s' is not a file of %s; %s", m->path, t->what, t->remedy);
    if (m->bytes < START)
        return torn(c, t, whole, e);
    if (get_u32(m->data + 8) != t->version)
        return err_set(e, RC_DATA, "'%s' holds %s of format version %u, and this program reads %u; %s",
                       m->path, t->what, get_u32(m->data + 8), t->version, t->remedy);
    sum_start(start, m->data);
    *at = START;
    c->sum = mem_zalloc(1, sizeof *c->sum, e);
    ret = c->sum ? next_chunk(c, t, whole, start, at, &chunk, c->sum[0], e) : -1;
    if (ret <= 0)
        return ret;
    c->head = chunk.kind == HEAD ? json_parse((const char *)chunk.data, chunk.bytes, m->path, e) : NULL;
    if (json_is_object(c->head))
        return 1;
    return err_set(e, RC_DATA, "'%s': its header is not a JSON object; %s", m->path, t->remedy);
}

static int keep_chunk(struct chunks *c, size_t *cap, const struct chunk *chunk, const uint8_t *sum,
                      struct err *e)
{
    size_t room = *cap;

    if (mem_grow((void **)&c->chunk, c->n, cap, sizeof *c->chunk, e))
        return -1;
    if (room != *cap) {
        void *p = mem_realloc(c->sum, *cap + 1, sizeof *c->sum, e);

        if (!p)
            return -1;
        c->sum = p;
    }
    c->chunk[c->n++] = *chunk;
    memcpy(c->sum[c->n], sum, SHA256_BYTES);
    return 0;
}

static int read_chunks(struct chunks *c, const struct chunks_type *t, bool whole, size_t at, struct err *e)
{
    uint8_t sum[SHA256_BYTES];
    struct chunk chunk = {0};
    size_t cap = 0;
    int more = 1;

    while (more == 1 && at < c->map.bytes && !c->ended) {
        more = next_chunk(c, t, whole, c->sum[c->n], &at, &chunk, sum, e);
        if (more == 1 && chunk.kind == CHUNKS_END)
            c->ended = true;
        else if (more == 1 && keep_chunk(c, &cap, &chunk, sum, e))
            return -1;
    }
    if (more < 0 || c->ended) {
        if (more < 0 || at == c->map.bytes)
            return more < 0 ? -1 : 0;
        return err_set(e, RC_DATA, "'%s' is damaged: bytes follow its end; %s", c->map.path, t->remedy);
    }
    return torn(c, t, whole, e);
}

int chunks_read(struct chunks *c, const struct chunks_type *t, const char *path, bool whole, struct err *e)
{
    size_t at = 0;
    int ret;

    *c = (struct chunks){0};
    ret = file_map(&c->map, path, e) ? -1 : read_head(c, t, whole, &at, e);
    if (ret == 1)
        ret = read_chunks(c, t, whole, at, e);
    if (ret)
        chunks_release(c);
    return ret;
}

void chunks_release(struct chunks *c)
{
    free(c->sum);
    free(c->chunk);
    json_decref(c->head);
    file_unmap(&c->map);
    *c = (struct chunks){0};
}

void chunks_digest(const struct chunks *c, char hex[SHA256_HEX])
{
    for (int i = 0; i < SHA256_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", c->sum[c->n][i]);
}

/* ---- writing ---- */

static int open_locked(struct chunks_out *o, const char *path, struct err *e)
{
    *o = (struct chunks_out){.path = mem_strdup(path, e)};
    if (!o->path)
        return -1;
    o->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (o->fd < 0)
        err_sys(e, "cannot create '%s'", path);
    else if (flock(o->fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    else if (errno == EWOULDBLOCK)
        err_set(e, RC_SYS, "'%s' is being written by another process: wait for it, or write to another file",
                path);
    else
        err_sys(e, "cannot lock '%s'", path);
    if (o->fd >= 0)
        close(o->fd);
    free(o->path);
    *o = (struct chunks_out){0};
    return -1;
}

static int write_all(const struct chunks_out *o, struct iovec *v, int n, struct err *e)
{
    while (n) {
        ssize_t k = writev(o->fd, v, n);

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return err_sys(e, "cannot write '%s'", o->path);
        for (; n && (size_t)k >= v->iov_len; v++, n--)
            k -= (ssize_t)v->iov_len;
        if (n) {
            v->iov_base = (char *)v->iov_base + k;
            v->iov_len -= (size_t)k;
        }
    }
    return 0;
}

/* Where chunk `keep` begins, or would. */
static size_t place(const struct chunks *c, size_t keep)
{
    const struct chunk *last;

    if (keep == 0)
        return START + FRONT + (size_t)get_u64(c->map.data + START + 8) + SHA256_BYTES;
    last = &c->chunk[keep - 1];
    return (size_t)(last->data - c->map.data) + last->bytes + SHA256_BYTES;
}

int chunks_resume(struct chunks_out *o, const struct chunks *c, size_t keep, struct err *e)
{
    size_t at = place(c, keep);
    struct stat st;

    if (open_locked(o, c->map.path, e))
        return -1;
    o->n = keep;
    memcpy(o->sum, c->sum[keep], SHA256_BYTES);
    if (fstat(o->fd, &st) || (size_t)st.st_size != c->map.bytes)
        err_set(e, RC_SYS, "'%s' was changed by another process: run this again", c->map.path);
    else if (ftruncate(o->fd, (off_t)at) || lseek(o->fd, (off_t)at, SEEK_SET) != (off_t)at)
        err_sys(e, "cannot cut '%s'", c->map.path);
    else
        return 0;
    chunks_close(o);
    return -1;
}

int chunks_put(struct chunks_out *o, uint32_t kind, const struct chunks_part *part, size_t parts,
               struct err *e)
{
    uint8_t front[FRONT], sum[SHA256_BYTES];
    struct iovec v[MAX_PARTS + 2] = {{front, FRONT}};
    struct sha256 s;
    uint64_t bytes = 0;

    if (parts > MAX_PARTS)
        return err_set(e, RC_SYS, "a chunk of %zu parts is not written", parts);
    for (size_t i = 0; i < parts; i++) {
        v[i + 1] = (struct iovec){(void *)part[i].data, part[i].bytes};
        bytes += part[i].bytes;
    }
    make_front(front, o->sum, kind, bytes);
    sha256_init(&s);
    sha256_add(&s, o->sum, SHA256_BYTES);
    for (size_t i = 0; i <= parts; i++)
        sha256_add(&s, v[i].iov_base, v[i].iov_len);
    sha256_end(&s, sum);
    v[parts + 1] = (struct iovec){sum, SHA256_BYTES};
    if (write_all(o, v, (int)parts + 2, e))
        return -1;
    memcpy(o->sum, sum, SHA256_BYTES);
    o->n++;
    return 0;
}

int chunks_create(struct chunks_out *o, const struct chunks_type *t, const char *path, const json_t *head,
                  struct err *e)
{
    char *text = json_dumps(head, JSON_COMPACT);
    const struct chunks_part part = {text, text ? strlen(text) : 0};
    uint8_t start[START] = {0};
    struct iovec v = {start, START};
    int ret = -1;

    *o = (struct chunks_out){0};
    if (!text)
        return err_set(e, RC_SYS, "out of memory: cannot make the header of '%s'", path);
    memcpy(start, t->magic, MAGIC);
    put_u32(start + 8, t->version);
    if (open_locked(o, path, e))
        goto out;
    sum_start(o->sum, start);
    if (ftruncate(o->fd, 0))
        err_sys(e, "cannot cut '%s'", path);
    else
        ret = write_all(o, &v, 1, e) || chunks_put(o, HEAD, &part, 1, e) ? -1 : 0;
    o->n = 0;
    if (ret) {
        unlink(path);
        chunks_close(o);
    }
out:
    free(text);
    return ret;
}

int chunks_end(struct chunks_out *o, struct err *e)
{
    if (chunks_put(o, CHUNKS_END, NULL, 0, e))
        return -1;
    return fsync(o->fd) ? err_sys(e, "cannot write '%s'", o->path) : 0;
}

void chunks_close(struct chunks_out *o)
{
    if (o->path)
        close(o->fd);
    free(o->path);
    *o = (struct chunks_out){0};
}
