/* samples_read.c - octet-samples/1 streams, read with msgpack-c */
#include "common/io/samples.h"

#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/io/doc.h"

enum { MAX_PATCH = 4096 };

static const char *label(const struct samples_reader *r)
{
    return file_label(r->paths ? r->path[r->at] : NULL);
}

/* ---- msgpack values ---- */

static const msgpack_object *get(const msgpack_object *map, const char *key)
{
    size_t n = strlen(key);

    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object *k = &map->via.map.ptr[i].key;

        if (k->type == MSGPACK_OBJECT_STR && k->via.str.size == n && !memcmp(k->via.str.ptr, key, n))
            return &map->via.map.ptr[i].val;
    }
    return NULL;
}

/*
 * A copy of the map as JSON; NULL: something in it has no JSON form (bytes, text that is not UTF-8, a key
 * twice).
 */
static json_t *to_json(const msgpack_object *o)
{
    json_t *v, *item;

    switch (o->type) {
    case MSGPACK_OBJECT_NIL: return json_null();
    case MSGPACK_OBJECT_BOOLEAN: return json_boolean(o->via.boolean);
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        return o->via.u64 <= INT64_MAX ? json_integer((json_int_t)o->via.u64) : NULL;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER: return json_integer(o->via.i64);
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64: return json_real(o->via.f64);
    case MSGPACK_OBJECT_STR: return json_stringn(o->via.str.ptr, o->via.str.size);
    case MSGPACK_OBJECT_ARRAY:
        v = json_array();
        for (uint32_t i = 0; v && i < o->via.array.size; i++) {
            item = to_json(&o->via.array.ptr[i]);
            if (!item || json_array_append_new(v, item))
                goto bad;
        }
        return v;
    case MSGPACK_OBJECT_MAP:
        v = json_object();
        for (uint32_t i = 0; v && i < o->via.map.size; i++) {
            const msgpack_object *k = &o->via.map.ptr[i].key;

            if (k->type != MSGPACK_OBJECT_STR || json_object_getn(v, k->via.str.ptr, k->via.str.size))
                goto bad;
            item = to_json(&o->via.map.ptr[i].val);
            if (!item || json_object_setn_new(v, k->via.str.ptr, k->via.str.size, item))
                goto bad;
        }
        return v;
    default: return NULL;
    }
bad:
    json_decref(v);
    return NULL;
}

/* ---- samples ---- */

static int get_id(struct sample *s, const msgpack_object *map, struct err *e)
{
    const msgpack_object *o = get(map, "id");

    if (!o || o->type != MSGPACK_OBJECT_STR || !sample_id_is_good(o->via.str.ptr, o->via.str.size))
        return err_set(e, RC_DATA, "it has no 'id' of printable text");
    s->id = mem_printf(e, "%.*s", (int)o->via.str.size, o->via.str.ptr);
    return s->id ? 0 : -1;
}

static const msgpack_object_bin *get_bin(const msgpack_object *map, const char *key)
{
    const msgpack_object *o = get(map, key);

    return o && o->type == MSGPACK_OBJECT_BIN ? &o->via.bin : NULL;
}

static int32_t i32_le(const char *p)
{
    const uint8_t *b = (const uint8_t *)p;

    return (int32_t)(b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24);
}

static int get_tokens(struct sample *s, const msgpack_object *map, struct err *e)
{
    const msgpack_object_bin *ids = get_bin(map, "ids"), *loss = get_bin(map, "loss");

    if (!ids || !loss)
        return err_set(e, RC_DATA, "'%s' is missing or not binary", ids ? "loss" : "ids");
    if (ids->size % 4 || ids->size == 0)
        return err_set(e, RC_DATA, "ids has %u bytes, which is not a whole number of tokens", ids->size);
    s->tokens = ids->size / 4;
    if (loss->size != s->tokens)
        return err_set(e, RC_DATA, "loss has %u bytes for %zu tokens", loss->size, s->tokens);
    s->ids = mem_zalloc(s->tokens, sizeof *s->ids, e);
    s->loss = mem_zalloc(s->tokens, 1, e);
    if (!s->ids || !s->loss)
        return -1;
    memcpy(s->loss, loss->ptr, s->tokens);
    for (size_t i = 0; i < s->tokens; i++)
        s->ids[i] = i32_le(ids->ptr + 4 * i);
    return sample_check(s, e);
}

static int get_image(struct sample_image *im, const msgpack_object *map, struct err *e)
{
    const msgpack_object *grid = map->type == MSGPACK_OBJECT_MAP ? get(map, "grid") : NULL;
    const msgpack_object_bin *rgb = map->type == MSGPACK_OBJECT_MAP ? get_bin(map, "rgb") : NULL;
    size_t side[3] = {0};

    if (!grid || grid->type != MSGPACK_OBJECT_ARRAY || grid->via.array.size != 3 || !rgb)
        return err_set(e, RC_DATA, "it needs grid [1, h, w] and binary rgb");
    for (int i = 0; i < 3; i++) {
        const msgpack_object *v = &grid->via.array.ptr[i];

        if (v->type != MSGPACK_OBJECT_POSITIVE_INTEGER || v->via.u64 == 0 || v->via.u64 > UINT32_MAX)
            return err_set(e, RC_DATA, "grid[%d] is not a positive number", i);
        side[i] = (size_t)v->via.u64;
    }
    if (side[0] != 1)
        return err_set(e, RC_DATA, "grid[0] is %zu: films are not supported", side[0]);
    im->h = side[1];
    im->w = side[2];
    for (size_t p = 1; p <= MAX_PATCH && !im->patch; p++) {
        size_t bytes;

        if (__builtin_mul_overflow(im->h * p, im->w * p, &bytes) ||
            __builtin_mul_overflow(bytes, 3, &bytes) || bytes > rgb->size)
            break;
        if (bytes == rgb->size)
            im->patch = p;
    }
    if (!im->patch)
        return err_set(e, RC_DATA, "rgb has %u bytes, which is not a grid of %zu x %zu square patches",
                       rgb->size, im->h, im->w);
    im->rgb = mem_zalloc(rgb->size, 1, e);
    if (!im->rgb)
        return -1;
    memcpy(im->rgb, rgb->ptr, rgb->size);
    return 0;
}

static int get_images(struct sample *s, const msgpack_object *map, struct err *e)
{
    const msgpack_object *o = get(map, "images");

    if (!o)
        return 0;
    if (o->type != MSGPACK_OBJECT_ARRAY)
        return err_set(e, RC_DATA, "'images' is not an array");
    s->image = mem_zalloc(o->via.array.size, sizeof *s->image, e);
    if (!s->image)
        return -1;
    s->images = o->via.array.size;
    for (size_t i = 0; i < s->images; i++)
        if (get_image(&s->image[i], &o->via.array.ptr[i], e))
            return err_prefix(e, "picture %zu", i + 1);
    return 0;
}

static int get_sample(const struct samples_reader *r, struct sample *s, const msgpack_object *map,
                      struct err *e)
{
    *s = (struct sample){.index = r->done};
    if (get_id(s, map, e) == 0 && get_tokens(s, map, e) == 0 && get_images(s, map, e) == 0)
        return 0;
    err_prefix(e, "'%s': sample %zu ('%s')", label(r), r->in_file + 1, s->id ? s->id : "?");
    sample_release(s);
    return -1;
}

/* ---- the reader ---- */

/* The next record of the stream: a map. */
static int next_map(struct samples_reader *r, msgpack_unpacked *u, struct err *e)
{
    int ret = msgread_next(&r->in, u, e);

    if (ret == 0 && u->data.type != MSGPACK_OBJECT_MAP)
        ret = err_set(e, RC_DATA, "not an octet-samples stream: a record is not a map");
    return ret ? err_prefix(e, "'%s', after %zu samples", label(r), r->in_file) : 0;
}

/*
 * Samples of one stream must come from one tokenizer, one picture processor and one resampler, as far as the
 * headers say; what the first one leaves open a later one settles.
 */
static int join_origin(struct samples_reader *r, const json_t *head, struct err *e)
{
    static const char *const key[] = {"tokenizer", "processor", "resampler"};

    for (size_t i = 0; i < sizeof key / sizeof *key; i++) {
        const json_t *was = json_object_get(r->head, key[i]);
        json_t *is = json_object_get(head, key[i]);

        if (!json_is_string(is))
            continue;
        if (json_is_string(was) && !json_equal(was, is))
            return err_set(e, RC_DATA,
                           "'%s' was made with another %s than the files before it: make all from one model",
                           label(r), key[i]);
        if (!json_is_string(was) && json_put(r->head, key[i], json_incref(is), e))
            return -1;
    }
    return 0;
}

static int read_header(struct samples_reader *r, struct err *e)
{
    msgpack_unpacked u;
    json_t *head = NULL, *count;
    int c, ret = -1;

    msgpack_unpacked_init(&u);
    r->in_file = 0;
    c = getc(r->in.f);
    if (c == EOF && !ferror(r->in.f)) {
        err_set(e, RC_DATA, "'%s' is empty: an octet-samples stream was expected", label(r));
        goto out;
    }
    if (c != EOF && (c & 0xf0) != 0x80 && c != 0xde && c != 0xdf) {
        err_set(e, RC_DATA, "'%s' is not an octet-samples stream (calib-stream makes them)", label(r));
        goto out;
    }
    ungetc(c, r->in.f);
    if (next_map(r, &u, e))
        goto out;
    head = to_json(&u.data);
    if (!head) {
        err_set(e, RC_DATA, "'%s': the header is not plain text and numbers", label(r));
        goto out;
    }
    if (doc_check(head, "octet-samples", 1, false, label(r), e) ||
        (r->head && join_origin(r, head, e)))
        goto out;
    count = json_object_get(head, "count");
    if (count && !json_is_null(count) && (!json_is_integer(count) || json_integer_value(count) < 0)) {
        err_set(e, RC_DATA, "'%s': the header's 'count' is not a number of samples", label(r));
        goto out;
    }
    r->expected = json_is_integer(count) ? (size_t)json_integer_value(count) : SIZE_MAX;
    if (!r->head) {
        r->head = head;
        head = NULL;
    }
    ret = 0;
out:
    json_decref(head);
    msgpack_unpacked_destroy(&u);
    return ret;
}

static void close_file(struct samples_reader *r)
{
    if (r->in.f && r->in.f != stdin)
        fclose(r->in.f);
    r->in.f = NULL;
}

static int open_file(struct samples_reader *r, struct err *e)
{
    const char *path = r->paths ? r->path[r->at] : NULL;

    r->in.f = !path || !strcmp(path, "-") ? stdin : fopen(path, "rb");
    if (!r->in.f)
        return err_sys(e, "cannot open '%s'", path);
    return read_header(r, e);
}

int samples_open(struct samples_reader *r, const char *const *path, size_t paths, struct err *e)
{
    *r = (struct samples_reader){.path = path, .paths = paths};
    msgread_init(&r->in);
    if (open_file(r, e)) {
        samples_close(r);
        return -1;
    }
    if (paths <= 1 && r->expected != SIZE_MAX)
        r->total = r->expected;
    return 0;
}

void samples_close(struct samples_reader *r)
{
    close_file(r);
    msgread_release(&r->in);
    json_decref(r->head);
    *r = (struct samples_reader){0};
}

/* The end map, the header's promise, and nothing after it. */
static int check_end(const struct samples_reader *r, const msgpack_object *end, struct err *e)
{
    if (end->type != MSGPACK_OBJECT_POSITIVE_INTEGER || end->via.u64 != r->in_file)
        return err_set(e, RC_DATA,
                       "'%s' has %zu samples, but its end record does not say so: samples were lost",
                       label(r), r->in_file);
    if (r->expected != SIZE_MAX && r->expected != r->in_file)
        return err_set(e, RC_DATA, "'%s' has %zu samples, but its header promises %zu", label(r), r->in_file,
                       r->expected);
    if (getc(r->in.f) != EOF)
        return err_set(e, RC_DATA, "'%s': bytes follow the end record; streams are given as several files, "
                                   "not joined in one", label(r));
    return ferror(r->in.f) ? err_sys(e, "cannot read '%s'", label(r)) : 0;
}

int samples_next(struct samples_reader *r, struct sample *s, struct err *e)
{
    const msgpack_object *end;
    msgpack_unpacked u;
    int ret = -1;

    *s = (struct sample){0};
    if (!r->in.f) /* the end was reported before */
        return 0;
    msgpack_unpacked_init(&u);
    for (;;) {
        if (next_map(r, &u, e))
            goto out;
        end = get(&u.data, "end");
        if (!end) {
            ret = get_sample(r, s, &u.data, e) ? -1 : 1;
            r->in_file++;
            r->done++;
            goto out;
        }
        if (check_end(r, end, e))
            goto out;
        close_file(r);
        if (r->at + 1 >= r->paths) {
            ret = 0;
            goto out;
        }
        r->at++;
        if (open_file(r, e))
            goto out;
    }
out:
    msgpack_unpacked_destroy(&u);
    return ret;
}

void samples_digest(const struct samples_reader *r, char hex[SHA256_HEX])
{
    struct sha256 copy = r->in.sha;

    sha256_hex(&copy, hex);
}

int samples_load(struct samples *all, const char *const *path, size_t paths, size_t shard, size_t shards,
                 struct err *e)
{
    struct samples_reader r;
    struct sample s;
    size_t cap = 0;
    int more, ret = -1;

    *all = (struct samples){0};
    if (samples_open(&r, path, paths, e))
        return -1;
    while ((more = samples_next(&r, &s, e)) == 1) {
        if (s.index % shards != shard) {
            sample_release(&s);
            continue;
        }
        if (mem_grow((void **)&all->sample, all->n, &cap, sizeof *all->sample, e)) {
            sample_release(&s);
            goto out;
        }
        all->sample[all->n++] = s;
    }
    if (more < 0)
        goto out;
    if (r.done == 0) {
        err_set(e, RC_DATA, "'%s' holds no samples", file_label(paths ? path[0] : NULL));
        goto out;
    }
    all->head = json_incref(r.head);
    samples_digest(&r, all->digest);
    ret = 0;
out:
    samples_close(&r);
    if (ret)
        samples_release(all);
    return ret;
}

void samples_release(struct samples *all)
{
    for (size_t i = 0; i < all->n; i++)
        sample_release(&all->sample[i]);
    free(all->sample);
    json_decref(all->head);
    *all = (struct samples){0};
}
