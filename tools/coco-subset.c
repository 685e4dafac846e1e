/*
 * coco-subset.c - choose captions of COCO and write them as calibration database, caption list or evaluation
 * list
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cli.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/mt.h"
#include "common/io/calib.h"

static struct cli_list annotations, disjoint;
static const char *images, *db_path, *captions_path, *eval_path;
static bool one_per_picture;
static long count = -1, seed = 42; /* count -1: DEFAULT_COUNT, or as many as there are */

enum { DEFAULT_COUNT = 4096 };

static const struct cli_opt opts[] = {
    {OPT_LIST, 'a', "annotations", &annotations, "FILE",
     "captions_SPLIT.json; again for more, joined in this order", 0, 0, NULL},
    {OPT_STR, 0, "images", &images, "DIR", "folder of the split folders (default: beside annotations/);\n"
                                           "when given, every chosen picture must be there", 0, 0, NULL},
    {OPT_LONG, 'n', "count", &count, "N", "captions to choose, 0 for all (default 4096)", 0, INT_MAX, NULL},
    {OPT_LONG, 's', "seed", &seed, "S", "which ones: Python's random.Random(S).sample() (default 42)", 0,
     0x1p53, NULL},
    {OPT_FLAG, 0, "one-per-picture", &one_per_picture, NULL,
     "choose among the first captions of the pictures, so that\nno picture is chosen twice", 0, 0, NULL},
    {OPT_LIST, 0, "disjoint", &disjoint, "FILE",
     "database, evaluation list or annotations whose pictures\nare kept out; may be given again", 0, 0, NULL},
    {OPT_STR, 0, "calib-db", &db_path, "FILE", "write a calibration database", 0, 0, NULL},
    {OPT_STR, 0, "captions", &captions_path, "FILE", "write the captions as text, one a line", 0, 0, NULL},
    {OPT_STR, 0, "eval", &eval_path, "FILE", "write an evaluation list, one JSON object a line", 0, 0, NULL},
    {OPT_FLAG, 'f', "force", &cli_force, NULL, "replace what exists", 0, 0, NULL},
    CLI_QUIET,
    {.kind = OPT_END},
};
static const struct cli tool = {
    "coco-subset", "--annotations FILE {--calib-db|--captions|--eval} FILE",
    "choose captions of COCO for calibration or evaluation", opts, 0, 0,
};

static int read_all(struct calib *all, struct err *e)
{
    for (size_t i = 0; i < annotations.n; i++) {
        struct calib one;

        if (calib_read(&one, annotations.item[i].value, e))
            return -1;
        if (one.kind != CALIB_COCO) {
            err_set(e, RC_DATA, "'%s' is not an annotation file (captions_SPLIT.json)",
                    annotations.item[i].value);
            calib_release(&one);
            return -1;
        }
        if (one_per_picture)
            calib_one_per_image(&one, false);
        for (size_t k = 0; k < one.n; k++)
            if (calib_add(all, &one.item[k], e)) {
                calib_release(&one);
                return -1;
            }
        if (i == 0) {
            all->root = one.root;
            one.root = NULL;
        }
        calib_release(&one);
    }
    return 0;
}

/* ---- pictures to keep away from ---- */

struct id_set {
    int64_t *id; /* ascending */
    size_t n, cap;
};

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static bool has(const struct id_set *s, int64_t id)
{
    return s->n && bsearch(&id, s->id, s->n, sizeof id, by_value);
}

static int add_ids(struct id_set *s, const char *path, struct err *e)
{
    struct calib c;
    int ret = -1;

    if (calib_read(&c, path, e))
        return -1;
    for (size_t i = 0; i < c.n; i++) {
        if (c.item[i].image_id < 0) {
            err_set(e, RC_DATA,
                    "'%s' does not say which pictures its captions are of: give --disjoint the database "
                                "or evaluation list", path);
            goto out;
        }
        if (mem_grow((void **)&s->id, s->n, &s->cap, sizeof *s->id, e))
            goto out;
        s->id[s->n++] = c.item[i].image_id;
    }
    ret = 0;
out:
    calib_release(&c);
    return ret;
}

static int read_disjoint(struct id_set *s, struct err *e)
{
    for (size_t i = 0; i < disjoint.n; i++)
        if (add_ids(s, disjoint.item[i].value, e))
            return -1;
    if (s->n)
        qsort(s->id, s->n, sizeof *s->id, by_value);
    return 0;
}

/* ---- choosing ---- */

/*
 * The Python system's rule: all in their order when count is 0 or not below their number, else sample().
 * chosen borrows the strings of all; only its array is freed.
 */
static int choose(struct calib *chosen, const struct calib *all, const struct id_set *avoid, struct err *e)
{
    size_t n = 0, k;
    struct calib_item *pool = mem_zalloc(all->n, sizeof *pool, e);
    uint32_t *pick = NULL;
    struct mt m;
    int ret = -1;

    if (!pool)
        return -1;
    for (size_t i = 0; i < all->n; i++)
        if (!has(avoid, all->item[i].image_id))
            pool[n++] = all->item[i];
    if (n == 0 || n > UINT32_MAX) {
        err_set(e, RC_DATA, n ? "%zu captions are too many to choose from"
                              : "all pictures are in the --disjoint files: %zu captions are left", n);
        goto out;
    }
    k = count < 0 ? DEFAULT_COUNT : count ? (size_t)count : n;
    k = k < n ? k : n;
    if (count > 0 && (size_t)count > n)
        cli_warn("only %zu captions are there, %ld were asked for", n, count);
    chosen->item = mem_zalloc(k, sizeof *chosen->item, e);
    pick = mem_zalloc(k, sizeof *pick, e);
    if (!chosen->item || !pick)
        goto out;
    chosen->n = k;
    mt_init(&m, (uint64_t)seed);
    if (k < n && mt_sample(&m, (uint32_t)n, (uint32_t)k, pick, e))
        goto out;
    for (size_t i = 0; i < k; i++)
        chosen->item[i] = pool[k < n ? pick[i] : i];
    ret = 0;
out:
    free(pick);
    free(pool);
    return ret;
}

static int check_pictures(const struct calib *chosen, struct err *e)
{
    for (size_t i = 0; images && i < chosen->n; i++) {
        char *path = file_join(images, chosen->item[i].picture, e);
        int there = path ? file_exists(path, e) : -1;

        if (there == 0)
            err_set(e, RC_DATA, "'%s' is missing: picture %lld was chosen", path,
                    (long long)chosen->item[i].image_id);
        free(path);
        if (there <= 0)
            return -1;
    }
    return 0;
}

/* ---- writing ---- */

/* The way from folder `from` to `to`, both absolute and free of links: "../coco2017". */
static char *way(const char *from, const char *to, struct err *e)
{
    size_t same = 0, i = 0, ups = 0;
    char *up, *ret;

    for (;; i++) { /* same: after the last component that both have */
        bool end_from = from[i] == '/' || !from[i], end_to = to[i] == '/' || !to[i];

        if (end_from && end_to)
            same = i;
        if (!from[i] || from[i] != to[i])
            break;
    }
    for (const char *s = from + same; *s; s++)
        ups += *s == '/' && s[1];
    up = mem_zalloc(3 * ups + 1, 1, e);
    if (!up)
        return NULL;
    for (i = 0; i < ups; i++)
        memcpy(up + 3 * i, "../", 3);
    to += same;
    to += *to == '/';
    ret = *to || ups ? mem_printf(e, "%s%s", up, to) : mem_strdup(".", e);
    free(up);
    if (ret && !*to && ups)
        ret[strlen(ret) - 1] = 0;
    return ret;
}

/*
 * How the database names its pictures' folder: from its own folder, as the Python system does.  NULL: e is
 * set.
 */
static char *relative_root(const char *root, struct err *e)
{
    const char *slash = strrchr(db_path, '/');
    char *dir = slash ? mem_printf(e, "%.*s", slash > db_path ? (int)(slash - db_path) : 1, db_path)
                      : mem_strdup(".", e);
    char *from = dir ? realpath(dir, NULL) : NULL, *to = realpath(root, NULL), *ret = NULL;

    if (!to)
        err_sys(e, "cannot find the pictures' folder '%s'", root);
    else if (!from)
        err_sys(e, "cannot find the folder of '%s'", db_path);
    else
        ret = way(from, to, e);
    free(to);
    free(from);
    free(dir);
    return ret;
}

struct output {
    const char *path;
    struct file_out file;
};

static const char *label(const char *path)
{
    return strcmp(path, "-") ? path : "standard output";
}

/* All files or none: every one is written before the first gets its name. */
static int write_all(const struct calib *chosen, const char *root, struct err *e)
{
    struct output out[3] = {{.path = db_path}, {.path = captions_path}, {.path = eval_path}};
    struct calib_meta meta = {.seed = seed};
    char *relative = NULL;
    int ret = -1;

    for (int i = 0; i < 3; i++)
        if (out[i].path && file_create(&out[i].file, out[i].path, cli_force, i == 0, e))
            goto out;
    if (db_path) {
        relative = relative_root(root, e);
        if (!relative)
            goto out;
        meta.root = relative;
        if (calib_write_db(out[0].file.f, label(db_path), chosen, &meta, e))
            goto out;
    }
    if (captions_path && calib_write_captions(out[1].file.f, label(captions_path), chosen, e))
        goto out;
    if (eval_path && calib_write_eval(out[2].file.f, label(eval_path), chosen, e))
        goto out;
    for (int i = 0; i < 3; i++)
        if (out[i].path && file_commit(&out[i].file, e))
            goto out;
    ret = 0;
out:
    free(relative);
    for (int i = 0; i < 3; i++)
        file_discard(&out[i].file);
    return ret;
}

static int run(struct err *e)
{
    struct calib all = {0}, chosen = {0};
    struct id_set avoid = {0};
    int ret = -1;

    if (!annotations.n)
        return err_set(e, RC_USAGE, "--annotations FILE is missing (see coco-subset --help)");
    if (!db_path && !captions_path && !eval_path)
        return err_set(e, RC_USAGE,
                       "no output: give --calib-db, --captions or --eval FILE (see coco-subset --help)");
    if (eval_path && (db_path || captions_path))
        cli_warn("the evaluation list holds the calibration captions themselves: to measure on other pictures, make it "
                 "in a second run with --disjoint");
    if (read_all(&all, e) || read_disjoint(&avoid, e) || choose(&chosen, &all, &avoid, e) ||
        check_pictures(&chosen, e) || write_all(&chosen, images ? images : all.root, e))
        goto out;
    cli_note("%zu of %zu captions, seed %ld", chosen.n, all.n, seed);
    ret = 0;
out:
    free(chosen.item);
    free(avoid.id);
    calib_release(&all);
    return ret;
}

int main(int argc, char **argv)
{
    struct err e = {0};

    cli_parse(&tool, argc, argv, NULL);
    run(&e);
    free(annotations.item);
    free(disjoint.item);
    return cli_finish(&e);
}
