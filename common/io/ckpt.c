/* ckpt.c - a model directory in hub layout: config.json and the tensors of its safetensors files */
#include "common/io/ckpt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/mem.h"

#define SINGLE "model.safetensors"
#define INDEX  SINGLE ".index.json"

enum { BLOCKS = 256, BLOCK_BYTES = 4096 };

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int compare_names(const void *a, const void *b)
{
    const struct st_tensor *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

/* A shard lies in the directory itself: a name that leads out of it is refused, whatever is there. */
static bool is_shard_name(const char *name)
{
    const char *end = strrchr(name, '.');

    return end && end != name && !strcmp(end, ".safetensors") && !strchr(name, '/') && name[0] != '.';
}

/* c->file = the distinct file names of the index, sorted. */
static int list_shards(struct ckpt *c, const json_t *weight_map, const char *path, struct err *e)
{
    const char *name, *file;
    json_t *v;
    char **list = mem_zalloc(json_object_size(weight_map), sizeof *list, e);
    size_t n = 0;

    if (!list)
        return -1;
    c->file = list;
    json_object_foreach((json_t *)weight_map, name, v)
    {
        file = json_string_value(v);
        if (!file || !is_shard_name(file))
            return err_set(e, RC_DATA,
                           "'%s': tensor '%s' is said to be in '%s', which is not the name of a "
                           ".safetensors file in this directory",
                           path, name, file ? file : "(not a string)");
        list[n] = mem_strdup(file, e);
        if (!list[n])
            return -1;
        c->shards = ++n;
    }
    qsort(list, n, sizeof *list, compare_strings);
    c->shards = 0;
    for (size_t i = 0; i < n; i++) {
        if (c->shards && !strcmp(list[c->shards - 1], list[i]))
            free(list[i]);
        else
            list[c->shards++] = list[i];
    }
    if (!c->shards)
        return err_set(e, RC_DATA, "'%s' names no tensor", path);
    return 0;
}

static int open_shards(struct ckpt *c, struct err *e)
{
    c->shard = mem_zalloc(c->shards, sizeof *c->shard, e);
    if (!c->shard)
        return -1;
    for (size_t i = 0; i < c->shards; i++) {
        char *path = file_join(c->dir, c->file[i], e);
        int bad = !path || st_open(&c->shard[i], path, e);

        free(path);
        if (bad)
            return -1;
        c->tensors += c->shard[i].tensors;
    }
    return 0;
}

static int sort_tensors(struct ckpt *c, struct err *e)
{
    size_t n = 0;

    c->by_name = mem_zalloc(c->tensors, sizeof *c->by_name, e);
    if (!c->by_name)
        return -1;
    for (size_t i = 0; i < c->shards; i++)
        for (size_t k = 0; k < c->shard[i].tensors; k++)
            c->by_name[n++] = &c->shard[i].tensor[k];
    qsort(c->by_name, n, sizeof *c->by_name, compare_names);
    for (size_t i = 1; i < n; i++)
        if (!strcmp(c->by_name[i - 1]->name, c->by_name[i]->name))
            return err_set(e, RC_DATA, "tensor '%s' is in two files, '%s' and '%s': remove one",
                           c->by_name[i]->name, ckpt_file_of(c, c->by_name[i - 1]),
                           ckpt_file_of(c, c->by_name[i]));
    return 0;
}

/* Index and files must tell the same story: loaders differ in which of the two they believe. */
static int check_index(const struct ckpt *c, const json_t *weight_map, const char *path, struct err *e)
{
    const char *name;
    json_t *v;

    json_object_foreach((json_t *)weight_map, name, v)
    {
        const struct st_tensor *t = ckpt_find(c, name);
        const char *file = t ? strrchr(ckpt_file_of(c, t), '/') + 1 : NULL;

        if (!t || strcmp(file, json_string_value(v)))
            return err_set(e, RC_DATA, "'%s': tensor '%s' is not in '%s'%s%s%s", path, name,
                           json_string_value(v), t ? " but in '" : "", t ? file : "", t ? "'" : "");
    }
    for (size_t i = 0; i < c->tensors; i++)
        if (!json_object_get(weight_map, c->by_name[i]->name))
            return err_set(e, RC_DATA, "'%s': tensor '%s' of '%s' is missing from the index", path,
                           c->by_name[i]->name, ckpt_file_of(c, c->by_name[i]));
    return 0;
}

static int open_indexed(struct ckpt *c, const char *path, struct err *e)
{
    json_t *index = json_read(path, NULL, e), *weight_map;
    char *single = file_join(c->dir, SINGLE, e);
    int there = -1, ret = -1;

    if (!index || !single || json_get_obj(index, "weight_map", &weight_map, path, e))
        goto out;
    if (list_shards(c, weight_map, path, e))
        goto out;
    there = file_exists(single, e);
    if (there < 0)
        goto out;
    for (size_t i = 0; i < c->shards && there; i++)
        there = strcmp(c->file[i], SINGLE) != 0;
    if (there) {
        err_set(e, RC_DATA,
                "'%s' has both " SINGLE " and an index that does not name it: remove the stale one", c->dir);
        goto out;
    }
    c->indexed = true;
    if (open_shards(c, e) || sort_tensors(c, e))
        goto out;
    ret = check_index(c, weight_map, path, e);
out:
    free(single);
    json_decref(index);
    return ret;
}

static int open_single(struct ckpt *c, struct err *e)
{
    char *path = file_join(c->dir, SINGLE, e);
    int there = path ? file_exists(path, e) : -1;

    free(path);
    if (there < 0)
        return -1;
    if (!there)
        return err_set(e, RC_DATA,
                       "'%s' has neither " SINGLE " nor " INDEX ": -m takes a model directory with its "
                       "weights in safetensors files",
                       c->dir);
    c->file = mem_zalloc(1, sizeof *c->file, e);
    if (!c->file)
        return -1;
    c->file[0] = mem_strdup(SINGLE, e);
    if (!c->file[0])
        return -1;
    c->shards = 1;
    return open_shards(c, e) || sort_tensors(c, e) ? -1 : 0;
}

static int read_config(struct ckpt *c, struct err *e)
{
    char *path = file_join(c->dir, "config.json", e);
    int ret = -1;

    if (!path)
        return -1;
    c->config = json_read(path, NULL, e);
    if (c->config)
        ret = json_is_object(c->config) ? 0 : err_set(e, RC_DATA, "'%s' is not a JSON object", path);
    free(path);
    return ret;
}

int ckpt_open(struct ckpt *c, const char *dir, struct err *e)
{
    char *index = NULL;
    struct stat st;
    int there, ret = -1;

    *c = (struct ckpt){0};
    if (stat(dir, &st))
        return err_sys(e, "cannot open the model directory '%s'", dir);
    if (!S_ISDIR(st.st_mode))
        return err_set(e, RC_DATA,
                       "'%s' is not a directory: a model is a directory with config.json and its weights",
                       dir);
    c->dir = mem_strdup(dir, e);
    index = file_join(dir, INDEX, e);
    if (!c->dir || !index || read_config(c, e))
        goto out;
    there = file_exists(index, e);
    if (there >= 0)
        ret = there ? open_indexed(c, index, e) : open_single(c, e);
out:
    free(index);
    if (ret)
        ckpt_close(c);
    return ret;
}

void ckpt_close(struct ckpt *c)
{
    free(c->by_name);
    for (size_t i = 0; i < c->shards; i++) {
        if (c->shard)
            st_close(&c->shard[i]);
        free(c->file[i]);
    }
    free(c->shard);
    free(c->file);
    json_decref(c->config);
    free(c->dir);
    *c = (struct ckpt){0};
}

const struct st_tensor *ckpt_find(const struct ckpt *c, const char *name)
{
    const struct st_tensor key = {.name = (char *)name}, *p = &key, *const * hit;

    if (!c->tensors)
        return NULL;
    hit = bsearch(&p, c->by_name, c->tensors, sizeof *c->by_name, compare_names);
    return hit ? *hit : NULL;
}

const char *ckpt_file_of(const struct ckpt *c, const struct st_tensor *t)
{
    for (size_t i = 0; i < c->shards; i++)
        if (t >= c->shard[i].tensor && t < c->shard[i].tensor + c->shard[i].tensors)
            return c->shard[i].map.path;
    return "(no file)";
}

static void add_u64(struct sha256 *s, uint64_t v)
{
    uint8_t b[8];

    for (int i = 0; i < 8; i++)
        b[i] = (uint8_t)(v >> 8 * i);
    sha256_add(s, b, sizeof b);
}

static void add_shard(struct sha256 *s, const struct st_file *st)
{
    const uint8_t *data = st->map.data + st->header_bytes;
    const size_t bytes = st->map.bytes - st->header_bytes;

    add_u64(s, st->map.bytes);
    sha256_add(s, st->map.data, st->header_bytes);
    if (bytes <= BLOCKS * BLOCK_BYTES) {
        sha256_add(s, data, bytes);
        return;
    }
    for (size_t i = 0; i < BLOCKS; i++) /* the first block begins the data, the last one ends them */
        sha256_add(s,
                   data + (bytes - BLOCK_BYTES) / (BLOCKS - 1) * i +
                       (bytes - BLOCK_BYTES) % (BLOCKS - 1) * i / (BLOCKS - 1),
                   BLOCK_BYTES);
}

int ckpt_digest(const struct ckpt *c, char hex[SHA256_HEX], struct err *e)
{
    char *path = file_join(c->dir, "config.json", e);
    uint8_t *config = NULL;
    struct sha256 s;
    size_t n;
    int ret = -1;

    if (!path || file_read(path, &config, &n, e))
        goto out;
    sha256_init(&s);
    add_u64(&s, n);
    sha256_add(&s, config, n);
    for (size_t i = 0; i < c->shards; i++)
        add_shard(&s, &c->shard[i]);
    sha256_hex(&s, hex);
    ret = 0;
out:
    free(config);
    free(path);
    return ret;
}

static void widen(const uint8_t *p, enum dtype dtype, size_t n, float *out)
{
    uint16_t h;

    if (dtype == DT_F32)
        memcpy(out, p, n * sizeof *out);
    for (size_t i = 0; i < n && dtype == DT_BF16; i++) {
        memcpy(&h, p + 2 * i, sizeof h);
        out[i] = bf16_to_f32(h);
    }
    for (size_t i = 0; i < n && dtype == DT_F16; i++) {
        memcpy(&h, p + 2 * i, sizeof h);
        out[i] = f16_to_f32(h);
    }
}

int ckpt_read_f32(const struct ckpt *c, const struct st_tensor *t, size_t first, size_t n, float *out,
                  bool finite, struct err *e)
{
    size_t bad = 0;

    if (t->dtype != DT_F32 && t->dtype != DT_BF16 && t->dtype != DT_F16)
        return err_set(e, RC_DATA, "'%s': tensor '%s' is %s; F32, BF16 or F16 is needed", ckpt_file_of(c, t),
                       t->name, st_dtype_name(t->dtype));
    if (first > t->count || n > t->count - first)
        return err_set(e, RC_DATA, "'%s': tensor '%s' has %zu elements, %zu from %zu on were asked for",
                       ckpt_file_of(c, t), t->name, t->count, n, first);
    if (!n)
        return 0;
    widen(t->data + first * dtype_bytes(t->dtype), t->dtype, n, out);
    if (!finite)
        return 0;
    for (size_t i = 0; i < n; i++)
        bad += (f32_bits(out[i]) & 0x7f800000) == 0x7f800000;
    if (bad)
        return err_set(e, RC_DATA,
                       "'%s': tensor '%s' holds NaN or infinity (%zu of %zu elements looked at): the model "
                       "is damaged",
                       ckpt_file_of(c, t), t->name, bad, n);
    return 0;
}
