/* safetensors.c - one .safetensors file: read by mapping it, write in one pass */
#include "common/io/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/io/json.h"

enum { LENGTH_BYTES = 8, MAX_HEADER = 100 * 1000 * 1000 };

static const char *const dtype_names[] = {
    [DT_F64] = "F64",         [DT_F32] = "F32", [DT_F16] = "F16",   [DT_BF16] = "BF16",
    [DT_F8_E4M3] = "F8_E4M3", [DT_I64] = "I64", [DT_I32] = "I32",   [DT_I16] = "I16",
    [DT_I8] = "I8",           [DT_U8] = "U8",   [DT_BOOL] = "BOOL",
};
enum { DTYPES = sizeof dtype_names / sizeof *dtype_names };

const char *st_dtype_name(enum dtype t)
{
    return t == DT_NONE ? "none" : dtype_names[t];
}

enum dtype st_dtype(const char *name)
{
    for (int t = DT_NONE + 1; t < DTYPES; t++)
        if (!strcmp(name, dtype_names[t]))
            return (enum dtype)t;
    return DT_NONE;
}

/* A whole number of at least 0 from an array, as 64 bits. */
static bool array_size(const json_t *array, size_t i, size_t *out)
{
    const json_t *v = json_array_get(array, i);

    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *out = (size_t)json_integer_value(v);
    return true;
}

static int read_shape(struct st_tensor *t, const json_t *shape, const char *where, struct err *e)
{
    t->ndim = json_array_size(shape);
    if (t->ndim > ST_MAX_DIMS)
        return err_set(e, RC_DATA, "%s has %zu dimensions, at most %d are read", where, t->ndim, ST_MAX_DIMS);
    t->count = 1;
    for (size_t i = 0; i < t->ndim; i++) {
        if (!array_size(shape, i, &t->shape[i]))
            return err_set(e, RC_DATA, "%s: dimension %zu is not a whole number of at least 0", where, i);
        if (mem_mul(t->count, t->shape[i], &t->count, "the number of elements", e))
            return err_prefix(e, "%s", where);
    }
    if (mem_mul(t->count, dtype_bytes(t->dtype), &t->bytes, "the number of bytes", e))
        return err_prefix(e, "%s", where);
    return 0;
}

/* One entry of the header; data_bytes is what the file has behind it. */
static int read_entry(struct st_tensor *t, const struct st_file *st, const char *name, const json_t *entry,
                      struct err *e)
{
    const size_t data_bytes = st->map.bytes - st->header_bytes;
    const char *dtype;
    json_t *shape, *offsets;
    size_t begin, end;
    char where[600];

    snprintf(where, sizeof where, "'%.300s': tensor '%.250s'", st->map.path, name);
    if (!*name)
        return err_set(e, RC_DATA, "%s has no name", where);
    if (!json_is_object(entry))
        return err_set(e, RC_DATA, "%s is not described by an object", where);
    if (json_get_str(entry, "dtype", &dtype, where, e) || json_get_arr(entry, "shape", &shape, where, e) ||
        json_get_arr(entry, "data_offsets", &offsets, where, e))
        return -1;
    t->dtype = st_dtype(dtype);
    if (t->dtype == DT_NONE)
        return err_set(e, RC_DATA, "%s has the dtype '%.40s', which is not supported", where, dtype);
    if (read_shape(t, shape, where, e))
        return -1;
    if (json_array_size(offsets) != 2 || !array_size(offsets, 0, &begin) || !array_size(offsets, 1, &end) ||
        begin > end)
        return err_set(e, RC_DATA, "%s: data_offsets is not [begin, end]", where);
    if (end > data_bytes)
        return err_set(e, RC_DATA,
                       "%s ends at byte %zu of the data, but the file has only %zu: it is truncated; "
                       "copy it again",
                       where, end, data_bytes);
    if (end - begin != t->bytes)
        return err_set(e, RC_DATA, "%s: its shape and dtype %s need %zu bytes, data_offsets give it %zu",
                       where, dtype, t->bytes, end - begin);
    t->data = st->map.data + st->header_bytes + begin;
    t->name = mem_strdup(name, e);
    return t->name ? 0 : -1;
}

/* Empty tensors share their place with the next one and come first. */
static int by_place(const void *a, const void *b)
{
    const struct st_tensor *x = a, *y = b;

    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The tensors, in order, must cover the data exactly once. */
static int check_cover(const struct st_file *st, struct err *e)
{
    const uint8_t *at = st->map.data + st->header_bytes, *end = st->map.data + st->map.bytes;

    for (size_t i = 0; i < st->tensors; i++) {
        const struct st_tensor *t = &st->tensor[i];

        if (t->data < at)
            return err_set(e, RC_DATA, "'%s': tensors '%s' and '%s' overlap", st->map.path,
                           st->tensor[i - 1].name, t->name);
        if (t->data > at)
            return err_set(e, RC_DATA, "'%s': %zu bytes before tensor '%s' belong to no tensor", st->map.path,
                           (size_t)(t->data - at), t->name);
        at = t->data + t->bytes;
    }
    if (at != end)
        return err_set(e, RC_DATA, "'%s': the last %zu bytes belong to no tensor", st->map.path,
                       (size_t)(end - at));
    return 0;
}

static int read_header(struct st_file *st, struct err *e)
{
    const char *text = (const char *)st->map.data + LENGTH_BYTES, *name;
    const json_t *entry;
    json_t *header;
    int ret = -1;

    if (st->header_bytes == LENGTH_BYTES || *text != '{')
        return err_set(e, RC_DATA, "'%s' is not a safetensors file: its header does not begin with '{'",
                       st->map.path);
    header = json_parse(text, st->header_bytes - LENGTH_BYTES, st->map.path, e);
    if (!header)
        return err_prefix(e, "the safetensors header");
    st->tensor = mem_zalloc(json_object_size(header), sizeof *st->tensor, e);
    if (!st->tensor)
        goto out;
    json_object_foreach(header, name, entry)
    {
        if (!strcmp(name, "__metadata__"))
            continue;
        if (read_entry(&st->tensor[st->tensors++], st, name, entry, e))
            goto out;
    }
    qsort(st->tensor, st->tensors, sizeof *st->tensor, by_place);
    ret = check_cover(st, e);
out:
    json_decref(header);
    return ret;
}

int st_open(struct st_file *st, const char *path, struct err *e)
{
    uint64_t length = 0;
    int ret = -1;

    *st = (struct st_file){0};
    if (file_map(&st->map, path, e))
        return -1;
    if (st->map.bytes < LENGTH_BYTES) {
        err_set(e, RC_DATA, "'%s' is truncated: %zu bytes are too few for a safetensors file; copy it again",
                path, st->map.bytes);
        goto out;
    }
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        length = length << 8 | st->map.data[i];
    if (length > MAX_HEADER) {
        err_set(e, RC_DATA,
                "'%s' is not a safetensors file: its header would be %" PRIu64 " bytes, at most %d are read",
                path, length, MAX_HEADER);
        goto out;
    }
    if (length > st->map.bytes - LENGTH_BYTES) {
        err_set(e, RC_DATA,
                "'%s' is truncated: its header is %" PRIu64 " bytes, the file has %zu; copy it again", path,
                length, st->map.bytes);
        goto out;
    }
    st->header_bytes = LENGTH_BYTES + (size_t)length;
    ret = read_header(st, e);
out:
    if (ret)
        st_close(st);
    return ret;
}

void st_close(struct st_file *st)
{
    for (size_t i = 0; i < st->tensors; i++)
        free(st->tensor[i].name);
    free(st->tensor);
    file_unmap(&st->map);
    *st = (struct st_file){0};
}

int st_compare(const struct st_tensor *a, const struct st_tensor *b)
{
    const size_t x = dtype_bytes(a->dtype), y = dtype_bytes(b->dtype);

    return x != y ? (x > y ? -1 : 1) : strcmp(a->name, b->name);
}

static int put_entry(json_t *header, const struct st_tensor *t, size_t begin, struct err *e)
{
    json_t *entry = json_object(), *shape = json_array(), *offsets = json_array();
    int bad = json_put(entry, "dtype", json_string(st_dtype_name(t->dtype)), e);

    for (size_t i = 0; i < t->ndim && !bad; i++)
        bad = json_push(shape, json_integer((json_int_t)t->shape[i]), e);
    bad = bad || json_push(offsets, json_integer((json_int_t)begin), e) ||
          json_push(offsets, json_integer((json_int_t)(begin + t->bytes)), e);
    /* Each of these takes its value over, so all three run whatever happened before. */
    bad |= json_put(entry, "shape", shape, e);
    bad |= json_put(entry, "data_offsets", offsets, e);
    bad |= json_put(header, t->name, entry, e);
    return bad ? -1 : 0;
}

/* The header as text, padded; NULL: e is set. */
static char *header_text(const struct st_tensor *tensor, size_t tensors, size_t *bytes, struct err *e)
{
    json_t *header = json_object(), *meta = json_object();
    char *text = NULL, *padded = NULL;
    size_t begin = 0, n;
    int bad = json_put(meta, "format", json_string("pt"), e);

    bad |= json_put(header, "__metadata__", meta, e);
    for (size_t i = 0; i < tensors && !bad; begin += tensor[i++].bytes)
        bad = put_entry(header, &tensor[i], begin, e);
    if (bad)
        goto out;
    text = json_dumps(header, JSON_COMPACT);
    if (!text) {
        err_set(e, RC_SYS, "out of memory: cannot format a safetensors header");
        goto out;
    }
    n = strlen(text);
    *bytes = (n + LENGTH_BYTES - 1) / LENGTH_BYTES * LENGTH_BYTES;
    padded = mem_zalloc(*bytes + 1, 1, e);
    if (padded) {
        memset(padded, ' ', *bytes);
        memcpy(padded, text, n);
    }
out:
    free(text);
    json_decref(header);
    return padded;
}

int st_write_header(FILE *f, const struct st_tensor *tensor, size_t tensors, size_t *header_bytes,
                    struct err *e)
{
    uint8_t length[LENGTH_BYTES];
    size_t n;
    char *text = header_text(tensor, tensors, &n, e);
    int ret = 0;

    if (!text)
        return -1;
    for (int i = 0; i < LENGTH_BYTES; i++)
        length[i] = (uint8_t)((uint64_t)n >> 8 * i);
    if (f && (fwrite(length, 1, sizeof length, f) != sizeof length || fwrite(text, 1, n, f) != n))
        ret = err_sys(e, "cannot write a safetensors header");
    *header_bytes = LENGTH_BYTES + n;
    free(text);
    return ret;
}
