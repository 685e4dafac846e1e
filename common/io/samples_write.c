/* samples_write.c - octet-samples/1 streams, written with msgpack-c */
#include <msgpack.h>
#include <string.h>

#include "common/io/samples.h"

static int to_file(void *f, const char *data, size_t n)
{
    return fwrite(data, 1, n, f) == n ? 0 : -1;
}

static int pack_str(msgpack_packer *pk, const char *s)
{
    return msgpack_pack_str_with_body(pk, s, strlen(s));
}

static int pack_key_bin(msgpack_packer *pk, const char *key, const void *data, size_t n)
{
    if (pack_str(pk, key) || msgpack_pack_bin(pk, n))
        return -1;
    return n ? msgpack_pack_bin_body(pk, data, n) : 0;
}

static int pack_json(msgpack_packer *pk, const json_t *v)
{
    const char *key;
    json_t *item;
    size_t i;

    switch (json_typeof(v)) {
    case JSON_NULL: return msgpack_pack_nil(pk);
    case JSON_TRUE: return msgpack_pack_true(pk);
    case JSON_FALSE: return msgpack_pack_false(pk);
    case JSON_INTEGER: return msgpack_pack_int64(pk, json_integer_value(v));
    case JSON_REAL: return msgpack_pack_double(pk, json_real_value(v));
    case JSON_STRING: return msgpack_pack_str_with_body(pk, json_string_value(v), json_string_length(v));
    case JSON_ARRAY:
        if (msgpack_pack_array(pk, json_array_size(v)))
            return -1;
        json_array_foreach(v, i, item)
            if (pack_json(pk, item))
                return -1;
        return 0;
    case JSON_OBJECT:
        if (msgpack_pack_map(pk, json_object_size(v)))
            return -1;
        json_object_foreach((json_t *)v, key, item)
            if (pack_str(pk, key) || pack_json(pk, item))
                return -1;
        return 0;
    }
    return -1;
}

int samples_begin(struct samples_writer *w, FILE *f, const char *name, const json_t *head, struct err *e)
{
    const json_t *count = json_object_get(head, "count");
    msgpack_packer pk;

    *w = (struct samples_writer){.f = f, .name = name, .expected = SIZE_MAX};
    if (json_is_integer(count))
        w->expected = (size_t)json_integer_value(count);
    msgpack_packer_init(&pk, f, to_file);
    return pack_json(&pk, head) ? err_sys(e, "cannot write %s", name) : 0;
}

static int pack_ids(msgpack_packer *pk, const struct sample *s)
{
    if (pack_str(pk, "ids") || msgpack_pack_bin(pk, 4 * s->tokens))
        return -1;
    for (size_t i = 0; i < s->tokens; i++) {
        uint32_t v = (uint32_t)s->ids[i];
        const char le[4] = {(char)v, (char)(v >> 8), (char)(v >> 16), (char)(v >> 24)};

        if (msgpack_pack_bin_body(pk, le, 4))
            return -1;
    }
    return 0;
}

static int pack_image(msgpack_packer *pk, const struct sample_image *im)
{
    return msgpack_pack_map(pk, 2) || pack_str(pk, "grid") || msgpack_pack_array(pk, 3) ||
                   msgpack_pack_uint64(pk, 1) || msgpack_pack_uint64(pk, im->h) ||
                   msgpack_pack_uint64(pk, im->w) ||
                   pack_key_bin(pk, "rgb", im->rgb, 3 * im->h * im->w * im->patch * im->patch)
               ? -1
               : 0;
}

/* The writer refuses what the reader would. */
int samples_put(struct samples_writer *w, const struct sample *s, struct err *e)
{
    msgpack_packer pk;

    if (!sample_id_is_good(s->id, strlen(s->id)))
        return err_set(e, RC_DATA, "sample %zu has an id that cannot be printed", w->n + 1);
    if (sample_check(s, e))
        return err_prefix(e, "sample '%s'", s->id);
    if (s->tokens == 0 || s->tokens > UINT32_MAX / 4)
        return err_set(e, RC_DATA, "sample '%s' has %zu tokens", s->id, s->tokens);
    for (size_t i = 0; i < s->images; i++)
        if (s->image[i].h * s->image[i].w * s->image[i].patch * s->image[i].patch > UINT32_MAX / 3)
            return err_set(e, RC_DATA, "sample '%s': picture %zu is too large for a stream", s->id, i + 1);
    msgpack_packer_init(&pk, w->f, to_file);
    if (msgpack_pack_map(&pk, 4) || pack_str(&pk, "id") || pack_str(&pk, s->id) || pack_ids(&pk, s) ||
        pack_key_bin(&pk, "loss", s->loss, s->tokens) || pack_str(&pk, "images") ||
        msgpack_pack_array(&pk, s->images))
        goto failed;
    for (size_t i = 0; i < s->images; i++)
        if (pack_image(&pk, &s->image[i]))
            goto failed;
    w->n++;
    return 0;
failed:
    return err_sys(e, "cannot write %s", w->name);
}

int samples_end(struct samples_writer *w, struct err *e)
{
    msgpack_packer pk;

    if (w->expected != SIZE_MAX && w->n != w->expected)
        return err_set(e, RC_DATA, "%zu samples came, %zu were promised", w->n, w->expected);
    msgpack_packer_init(&pk, w->f, to_file);
    if (msgpack_pack_map(&pk, 1) || pack_str(&pk, "end") || msgpack_pack_uint64(&pk, w->n))
        return err_sys(e, "cannot write %s", w->name);
    return 0;
}
