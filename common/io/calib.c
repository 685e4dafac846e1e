/* calib.c - lists of captions from databases, JSON lines, text and COCO annotations */
#include "common/io/calib.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/io/calib-db.h"
#include "common/io/coco.h"
#include "common/io/json.h"

void calib_release(struct calib *c)
{
    for (size_t i = 0; i < c->n; i++) {
        free(c->item[i].split);
        free(c->item[i].picture);
        free(c->item[i].caption);
    }
    free(c->item);
    free(c->root);
    free(c->remark);
    *c = (struct calib){0};
}

int calib_add(struct calib *c, const struct calib_item *item, struct err *e)
{
    struct calib_item copy = *item;

    copy.split = item->split ? mem_strdup(item->split, e) : NULL;
    copy.picture = item->picture ? mem_strdup(item->picture, e) : NULL;
    copy.caption = mem_strdup(item->caption, e);
    if ((item->split && !copy.split) || (item->picture && !copy.picture) || !copy.caption ||
        mem_grow((void **)&c->item, c->n, &c->cap, sizeof *c->item, e)) {
        free(copy.split);
        free(copy.picture);
        free(copy.caption);
        return -1;
    }
    c->item[c->n++] = copy;
    return 0;
}

static int by_image(const void *a, const void *b)
{
    const struct calib_item *x = a, *y = b;

    if (x->image_id != y->image_id)
        return x->image_id < y->image_id ? -1 : 1;
    return (x->line > y->line) - (x->line < y->line);
}

void calib_one_per_image(struct calib *c, bool last)
{
    size_t kept = 0;

    for (size_t i = 0; i < c->n; i++)
        c->item[i].line = i; /* the order within a picture, for qsort() */
    if (c->n)
        qsort(c->item, c->n, sizeof *c->item, by_image);
    for (size_t i = 0; i < c->n; i++) {
        struct calib_item *it = &c->item[i];
        bool first_of = i == 0 || c->item[i - 1].image_id != it->image_id;
        bool last_of = i + 1 == c->n || c->item[i + 1].image_id != it->image_id;

        it->line = last ? last_of : first_of;
    }
    for (size_t i = 0; i < c->n; i++) {
        struct calib_item *it = &c->item[i];

        if (it->line) {
            it->line = 0;
            c->item[kept++] = *it;
        } else {
            free(it->split);
            free(it->picture);
            free(it->caption);
        }
    }
    c->n = kept;
}

/* ---- text ---- */

/* Length of the white space at s as Python's str.strip() knows it, in UTF-8; 0: none. */
static size_t space_at(const uint8_t *s, size_t n)
{
    if (n == 0)
        return 0;
    if ((s[0] >= 9 && s[0] <= 13) || (s[0] >= 0x1c && s[0] <= 0x20))
        return 1;
    if (n >= 2 && s[0] == 0xc2 && (s[1] == 0x85 || s[1] == 0xa0))
        return 2;
    if (n < 3)
        return 0;
    if ((s[0] == 0xe1 && s[1] == 0x9a && s[2] == 0x80) || /* U+1680 */
        (s[0] == 0xe2 && s[1] == 0x80 && ((s[2] >= 0x80 && s[2] <= 0x8a) || s[2] == 0xa8 || s[2] == 0xa9 ||
                                          s[2] == 0xaf)) || /* U+2000..200A, 2028, 2029, 202F */
        (s[0] == 0xe2 && s[1] == 0x81 && s[2] == 0x9f) ||   /* U+205F */
        (s[0] == 0xe3 && s[1] == 0x80 && s[2] == 0x80))     /* U+3000 */
        return 3;
    return 0;
}

/* s[*n] without white space at both ends. */
static const char *strip(const char *s, size_t *n)
{
    const uint8_t *p = (const uint8_t *)s;
    size_t end = *n, k;

    while ((k = space_at(p, end))) {
        p += k;
        end -= k;
    }
    for (k = 1; k <= 3 && k <= end; k++)
        if (space_at(p + end - k, k) == k) {
            end -= k;
            k = 0;
        }
    *n = end;
    return (const char *)p;
}

static int add_caption(struct calib *c, char *text, size_t n, size_t line, const char *path, struct err *e)
{
    struct calib_item item = {.image_id = -1, .caption_id = -1, .line = line};
    const char *s = strip(text, &n);

    if (n == 0)
        return 0;
    if (memchr(s, 0, n))
        return err_set(e, RC_DATA, "'%s': line %zu holds a NUL byte: this is not a list of captions", path,
                       line);
    item.caption = (char *)s;
    item.caption[n] = 0; /* the line's own end, or blanks */
    return calib_add(c, &item, e);
}

/* The number in "train2017/000000448463.jpg"; -1: the name is not a number. */
static int64_t id_of(const char *picture)
{
    const char *slash = strrchr(picture, '/'), *name = slash ? slash + 1 : picture;
    size_t digits = strspn(name, "0123456789");

    if (digits == 0 || digits > 18 || (name[digits] && name[digits] != '.'))
        return -1;
    return strtoll(name, NULL, 10);
}

static int add_eval(struct calib *c, char *text, size_t n, size_t line, const char *path, struct err *e)
{
    struct calib_item item = {.caption_id = -1, .line = line};
    const char *split = NULL, *picture, *caption;
    char *where = mem_printf(e, "'%s': line %zu", path, line);
    json_error_t je;
    json_t *o = NULL;
    int ret = -1;

    if (!where)
        return -1;
    strip(text, &n);
    if (n == 0) {
        ret = 0;
        goto out;
    }
    o = json_loadb(text, n, JSON_REJECT_DUPLICATES, &je);
    if (!o) {
        err_set(e, RC_DATA, "%s is not valid JSON: column %d: %s", where, je.column, je.text);
        goto out;
    }
    if (json_or_str(o, "split", &split, where, e) || json_get_str(o, "image_relpath", &picture, where, e) ||
        json_get_str(o, "caption", &caption, where, e))
        goto out;
    item.split = (char *)split; /* all three are copied */
    item.picture = (char *)picture;
    item.caption = (char *)caption;
    item.image_id = id_of(picture);
    ret = calib_add(c, &item, e);
out:
    json_decref(o);
    free(where);
    return ret;
}

static int read_lines(struct calib *c, char *data, size_t n, const char *path,
                      int (*add)(struct calib *, char *, size_t, size_t, const char *, struct err *),
                      struct err *e)
{
    size_t line = 0;

    for (char *s = data, *end = data + n, *next; s < end; s = next) {
        char *nl = memchr(s, '\n', (size_t)(end - s));
        size_t length = nl ? (size_t)(nl - s) : (size_t)(end - s);

        next = s + length + 1;
        if (add(c, s, length, ++line, path, e))
            return -1;
    }
    return 0;
}

/* ---- COCO ---- */

static int read_annotations(struct calib *c, const char *path, struct sha256 *sha, struct err *e)
{
    uint8_t *data;
    json_t *doc = NULL;
    size_t n;
    int ret = -1;

    if (file_read(path, &data, &n, e))
        return -1;
    sha256_add(sha, data, n);
    doc = json_parse((const char *)data, n, path, e);
    free(data);
    if (doc)
        ret = coco_add(c, doc, path, e);
    json_decref(doc);
    return ret;
}

static int is_annotations(const struct dirent *d)
{
    size_t n = strlen(d->d_name);

    return !strncmp(d->d_name, "captions_", 9) && n > 14 && !strcmp(d->d_name + n - 5, ".json");
}

static int read_directory(struct calib *c, const char *path, struct err *e)
{
    char *dir = file_join(path, "annotations", e), *file = NULL;
    struct dirent **entry = NULL;
    struct sha256 sha;
    int n = dir ? scandir(dir, &entry, is_annotations, alphasort) : 0, ret = -1;

    if (!dir)
        return -1;
    if (n < 0 && errno != ENOENT) {
        err_sys(e, "cannot list '%s'", dir);
        goto out;
    }
    if (n <= 0) {
        err_set(e, RC_DATA, "'%s' is not in the COCO layout: there is no '%s/captions_*.json'", path, dir);
        goto out;
    }
    sha256_init(&sha);
    for (int i = 0; i < n; i++) {
        free(file);
        file = file_join(dir, entry[i]->d_name, e);
        if (!file || read_annotations(c, file, &sha, e))
            goto out;
    }
    sha256_hex(&sha, c->digest);
    c->kind = CALIB_COCO;
    c->root = mem_strdup(path, e);
    ret = c->root ? 0 : -1;
out:
    for (int i = 0; i < n; i++)
        free(entry[i]);
    free(entry);
    free(file);
    free(dir);
    return ret;
}

/* ---- which kind ---- */

/* A file that begins with an object: annotations if that object says so, else JSON lines. */
static int read_json(struct calib *c, char *data, size_t n, const char *path, struct err *e)
{
    json_error_t je;
    json_t *first = json_loadb(data, n, JSON_DISABLE_EOF_CHECK, &je);
    int ret = -1;

    if (!coco_is(first)) {
        c->kind = CALIB_EVAL;
        /* a first value that is broken is reported by its line */
        ret = read_lines(c, data, n, path, add_eval, e);
        goto out;
    }
    c->kind = CALIB_COCO;
    c->root = coco_root(path, e);
    if (c->root)
        ret = coco_add(c, first, path, e);
out:
    json_decref(first);
    return ret;
}

static int read_text(struct calib *c, const char *path, struct err *e)
{
    struct sha256 sha;
    uint8_t *data;
    size_t n, at = 0;
    int ret;

    if (file_read(path, &data, &n, e))
        return -1;
    sha256_init(&sha);
    sha256_add(&sha, data, n);
    sha256_hex(&sha, c->digest);
    while (at < n && strchr(" \t\r\n", data[at]))
        at++;
    if (at < n && data[at] == '{') {
        ret = read_json(c, (char *)data, n, file_label(path), e);
    } else {
        c->kind = CALIB_CAPTIONS;
        ret = read_lines(c, (char *)data, n, file_label(path), add_caption, e);
    }
    free(data);
    return ret;
}

/* The first bytes of a regular file; false for anything else, which must not be read twice. */
static bool is_database(const char *path, const struct stat *st)
{
    static const char magic[16] = "SQLite format 3";
    char head[16] = "";
    FILE *f;

    if (!S_ISREG(st->st_mode) || !(f = fopen(path, "rb")))
        return false;
    if (fread(head, 1, sizeof head, f) != sizeof head)
        head[0] = 0;
    fclose(f);
    return !memcmp(head, magic, sizeof magic);
}

int calib_read(struct calib *c, const char *path, struct err *e)
{
    struct stat st = {0};
    bool standard = !path || !strcmp(path, "-");
    int ret;

    *c = (struct calib){0};
    if (!standard && stat(path, &st))
        return err_sys(e, "cannot open '%s'", path);
    if (S_ISDIR(st.st_mode))
        ret = read_directory(c, path, e);
    else if (!standard && is_database(path, &st))
        ret = calib_db_read(c, path, e);
    else
        ret = read_text(c, path, e);
    if (ret == 0 && c->n == 0)
        ret = err_set(e, RC_DATA, "'%s' holds no captions", file_label(path));
    if (ret)
        calib_release(c);
    return ret;
}

/* ---- writing text ---- */

static int written(FILE *f, const char *name, struct err *e)
{
    return ferror(f) ? err_sys(e, "cannot write %s", name) : 0;
}

int calib_write_captions(FILE *f, const char *name, const struct calib *c, struct err *e)
{
    for (size_t i = 0; i < c->n; i++) {
        size_t n = strlen(c->item[i].caption);
        const char *s = strip(c->item[i].caption, &n);

        for (size_t k = 0; k < n; k++)
            putc(s[k] == '\n' ? ' ' : s[k], f);
        putc('\n', f);
    }
    return written(f, name, e);
}

/* A JSON string as Python's json.dumps(ensure_ascii=False) writes it. */
static void put_json(FILE *f, const char *s)
{
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    const char *at;

    putc('"', f);
    for (; *s; s++) {
        if ((at = strchr(from, *s)))
            fprintf(f, "\\%c", to[at - from]);
        else if ((uint8_t)*s < 0x20)
            fprintf(f, "\\u%04x", (unsigned)*s);
        else
            putc(*s, f);
    }
    putc('"', f);
}

int calib_write_eval(FILE *f, const char *name, const struct calib *c, struct err *e)
{
    for (size_t i = 0; i < c->n; i++) {
        fputs("{\"split\": ", f);
        put_json(f, c->item[i].split);
        fputs(", \"image_relpath\": ", f);
        put_json(f, c->item[i].picture);
        fputs(", \"caption\": ", f);
        put_json(f, c->item[i].caption);
        fputs("}\n", f);
    }
    return written(f, name, e);
}
