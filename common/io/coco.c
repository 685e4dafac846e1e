/* coco.c - caption annotations of the COCO layout */
#include "common/io/coco.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/io/json.h"

struct picture {
    int64_t id;
    const char *file; /* borrowed from the document */
};

bool coco_is(const json_t *doc)
{
    return json_is_array(json_object_get(doc, "images")) &&
           json_is_array(json_object_get(doc, "annotations"));
}

static int by_id(const void *a, const void *b)
{
    int64_t x = ((const struct picture *)a)->id, y = ((const struct picture *)b)->id;

    return (x > y) - (x < y);
}

static int get_number(const json_t *o, const char *key, int64_t *out, const char *where, struct err *e)
{
    const json_t *v = json_object_get(o, key);

    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return err_set(e, RC_DATA, "%s: '%s' is missing or not a whole number", where, key);
    *out = json_integer_value(v);
    return 0;
}

/* The pictures by ascending id; NULL: e is set. */
static struct picture *pictures(const json_t *images, const char *path, struct err *e)
{
    size_t n = json_array_size(images), i;
    struct picture *p = mem_zalloc(n, sizeof *p, e);
    char where[1100];
    json_t *o;

    if (!p)
        return NULL;
    json_array_foreach(images, i, o) {
        snprintf(where, sizeof where, "'%s': images[%zu]", path, i);
        if (get_number(o, "id", &p[i].id, where, e) || json_get_str(o, "file_name", &p[i].file, where, e))
            goto bad;
    }
    qsort(p, n, sizeof *p, by_id);
    for (i = 1; i < n; i++)
        if (p[i].id == p[i - 1].id) {
            err_set(e, RC_DATA, "'%s': picture %lld is listed twice", path, (long long)p[i].id);
            goto bad;
        }
    return p;
bad:
    free(p);
    return NULL;
}

/* "x/captions_val2017.json" -> "val2017"; to be freed. */
static char *split_of(const char *path, struct err *e)
{
    static const char head[] = "captions_", tail[] = ".json";
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t n = strlen(name), h = sizeof head - 1, t = sizeof tail - 1;

    if (n <= h + t || strncmp(name, head, h) || strcmp(name + n - t, tail)) {
        err_set(e, RC_DATA,
                "'%s': an annotation file must be named captions_SPLIT.json, which names its split", path);
        return NULL;
    }
    return mem_printf(e, "%.*s", (int)(n - h - t), name + h);
}

static int add_caption(struct calib *c, const json_t *o, const struct picture *p, size_t pictures_n,
                       char *split, const char *where, struct err *e)
{
    struct calib_item item = {.split = split};
    struct picture key = {0}, *found;
    const char *caption;
    int ret;

    if (get_number(o, "image_id", &key.id, where, e) || get_number(o, "id", &item.caption_id, where, e) ||
        json_get_str(o, "caption", &caption, where, e))
        return -1;
    found = bsearch(&key, p, pictures_n, sizeof *p, by_id);
    if (!found)
        return err_set(e, RC_DATA, "%s: picture %lld is not in 'images'", where, (long long)key.id);
    item.image_id = key.id;
    item.caption = (char *)caption; /* copied by calib_add() */
    item.picture = mem_printf(e, "%s/%s", split, found->file);
    ret = item.picture ? calib_add(c, &item, e) : -1;
    free(item.picture);
    return ret;
}

int coco_add(struct calib *c, const json_t *doc, const char *path, struct err *e)
{
    const json_t *images = json_object_get(doc, "images"), *captions = json_object_get(doc, "annotations");
    char *split = split_of(path, e), where[1100];
    struct picture *p = NULL;
    json_t *o;
    size_t i;
    int ret = -1;

    if (!split)
        return -1;
    if (!coco_is(doc)) {
        err_set(e, RC_DATA, "'%s' is not an annotation file: 'images' and 'annotations' are missing", path);
        goto out;
    }
    p = pictures(images, path, e);
    if (!p)
        goto out;
    json_array_foreach(captions, i, o) {
        snprintf(where, sizeof where, "'%s': annotations[%zu]", path, i);
        if (add_caption(c, o, p, json_array_size(images), split, where, e))
            goto out;
    }
    ret = 0;
out:
    free(p);
    free(split);
    return ret;
}

char *coco_root(const char *path, struct err *e)
{
    static const char last[] = "annotations";
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0, l = sizeof last - 1;

    if (!slash)
        return mem_strdup("..", e);
    if (n == l && !strncmp(path, last, l))
        return mem_strdup(".", e);
    if (n > l && path[n - l - 1] == '/' && !strncmp(path + n - l, last, l)) {
        size_t root = n - l - 1;

        return mem_printf(e, "%.*s", root ? (int)root : 1, path); /* "/annotations/x" -> "/" */
    }
    return mem_printf(e, "%.*s/..", n ? (int)n : 1, path);
}
