/*
 * calib-db.c - caption lists in sqlite databases
 *
 * The schema is the Python system's: readers there ask for these tables and columns.
 */
#include "common/io/calib-db.h"

#include <libgen.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"

static int db_error(sqlite3 *db, const char *path, struct err *e)
{
    int code = sqlite3_errcode(db);
    enum rc rc = code == SQLITE_NOMEM || code == SQLITE_IOERR || code == SQLITE_CANTOPEN ? RC_SYS : RC_DATA;

    return err_set(e, rc, "'%s': %s", path, sqlite3_errmsg(db));
}

/* A text column, borrowed from the statement; NULL: not a text of its own length. */
static const char *text(sqlite3_stmt *q, int column)
{
    const char *s;

    if (sqlite3_column_type(q, column) != SQLITE_TEXT)
        return NULL;
    s = (const char *)sqlite3_column_text(q, column);
    return s && strlen(s) == (size_t)sqlite3_column_bytes(q, column) ? s : NULL;
}

/* One number or text by a query that may find nothing; *out is to be freed, NULL: nothing found. */
static int lookup(sqlite3 *db, const char *sql, char **out, const char *path, struct err *e)
{
    sqlite3_stmt *q = NULL;
    const char *s;
    int step, ret = -1;

    *out = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) != SQLITE_OK)
        return db_error(db, path, e);
    step = sqlite3_step(q);
    if (step != SQLITE_ROW && step != SQLITE_DONE) {
        db_error(db, path, e);
        goto out;
    }
    s = step == SQLITE_ROW ? (const char *)sqlite3_column_text(q, 0) : NULL;
    if (s)
        *out = mem_strdup(s, e);
    ret = s && !*out ? -1 : 0;
out:
    sqlite3_finalize(q);
    return ret;
}

/*
 * meta: where the pictures are, and how many rows there should be.  Both may be missing, and so may the
 * table.
 */
static int read_meta(struct calib *c, sqlite3 *db, const char *path, char **promised, struct err *e)
{
    char *found = NULL, *root = NULL, *copy = NULL;
    int ret = -1;

    *promised = NULL;
    if (lookup(db, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'", &found, path, e))
        return -1;
    if (!found)
        return 0;
    if (lookup(db, "SELECT value FROM meta WHERE key = 'num_samples'", promised, path, e) ||
        lookup(db, "SELECT value FROM meta WHERE key = 'coco_root_relative'", &root, path, e))
        goto out;
    if (root && root[0] == '/') {
        c->root = root;
        root = NULL;
    } else if (root) {
        copy = mem_strdup(path, e);
        c->root = copy ? file_join(dirname(copy), root, e) : NULL;
        if (!c->root)
            goto out;
    }
    ret = 0;
out:
    free(copy);
    free(root);
    free(found);
    return ret;
}

static int read_rows(struct calib *c, sqlite3 *db, const char *path, struct err *e)
{
    /* SQLite takes the bare columns from the row that has the minimum. */
    static const char sql[] = "SELECT min(id), split, image_relpath, image_id, caption_id, caption "
                              "FROM vlm_calib_samples GROUP BY image_id, caption_id ORDER BY 1";
    sqlite3_stmt *q = NULL;
    int step, ret = -1;

    if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) != SQLITE_OK)
        return db_error(db, path, e);
    while ((step = sqlite3_step(q)) == SQLITE_ROW) {
        struct calib_item item = {
            .split = (char *)text(q, 1), /* all three are copied */
            .picture = (char *)text(q, 2),
            .caption = (char *)text(q, 5),
            .image_id = sqlite3_column_int64(q, 3),
            .caption_id = sqlite3_column_int64(q, 4),
        };

        if (!item.split || !item.picture || !item.caption || sqlite3_column_type(q, 3) != SQLITE_INTEGER ||
            sqlite3_column_type(q, 4) != SQLITE_INTEGER) {
            err_set(e, RC_DATA,
                    "'%s': row %lld of vlm_calib_samples is not (text, text, number, number, text)", path,
                    (long long)sqlite3_column_int64(q, 0));
            goto out;
        }
        if (calib_add(c, &item, e))
            goto out;
    }
    ret = step == SQLITE_DONE ? 0 : db_error(db, path, e);
out:
    sqlite3_finalize(q);
    return ret;
}

/* What is odd about the numbers, for the caller's warning. */
static int remark(struct calib *c, const char *path, const char *promised, const char *rows, struct err *e)
{
    size_t total = (size_t)strtoull(rows, NULL, 10);

    if (promised && strcmp(promised, rows) && total != c->n)
        c->remark = mem_printf(e,
                               "'%s' says %s samples and holds %zu rows, %zu of them repeats: each is used once", path, promised, total, total - c->n);
    else if (promised && strcmp(promised, rows))
        c->remark = mem_printf(e, "'%s' says %s samples and holds %zu: all are used", path, promised, total);
    else if (total != c->n)
        c->remark = mem_printf(e, "'%s' holds %zu rows, %zu of them repeats: each is used once", path, total,
                               total - c->n);
    else
        return 0;
    return c->remark ? 0 : -1;
}

static int digest(struct calib *c, const char *path, struct err *e)
{
    struct file_map m;
    struct sha256 sha;

    if (file_map(&m, path, e))
        return -1;
    sha256_init(&sha);
    sha256_add(&sha, m.data, m.bytes);
    sha256_hex(&sha, c->digest);
    file_unmap(&m);
    return 0;
}

enum { MAX_TEXT = 1 << 24 }; /* bytes of one value */

/* Tables hold no more than the file does; a view or a computed column can be endless. */
static void limit(sqlite3 *db)
{
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    sqlite3_limit(db, SQLITE_LIMIT_LENGTH, MAX_TEXT);
}

int calib_db_read(struct calib *c, const char *path, struct err *e)
{
    char *promised = NULL, *rows = NULL;
    sqlite3 *db = NULL;
    int ret = -1;

    c->kind = CALIB_DATABASE;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK) {
        db_error(db, path, e);
        goto out;
    }
    limit(db);
    if (digest(c, path, e) || lookup(db, "SELECT count(*) FROM vlm_calib_samples", &rows, path, e) ||
        read_meta(c, db, path, &promised, e) || read_rows(c, db, path, e) ||
        remark(c, path, promised, rows, e))
        goto out;
    ret = 0;
out:
    free(rows);
    free(promised);
    sqlite3_close(db);
    return ret;
}

/* ---- writing ---- */

static const char ddl[] =
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);"
    "CREATE TABLE vlm_calib_samples ("
    "id INTEGER PRIMARY KEY AUTOINCREMENT, split TEXT NOT NULL, image_relpath TEXT NOT NULL, "
    "image_id INTEGER NOT NULL, caption_id INTEGER NOT NULL, caption TEXT NOT NULL);";

static int put_meta(sqlite3 *db, const char *key, const char *value)
{
    sqlite3_stmt *q = NULL;
    int ok = sqlite3_prepare_v2(db, "INSERT INTO meta VALUES (?, ?)", -1, &q, NULL) == SQLITE_OK &&
             sqlite3_bind_text(q, 1, key, -1, SQLITE_STATIC) == SQLITE_OK &&
             sqlite3_bind_text(q, 2, value, -1, SQLITE_STATIC) == SQLITE_OK && sqlite3_step(q) == SQLITE_DONE;

    sqlite3_finalize(q);
    return ok ? 0 : -1;
}

static int put_rows(sqlite3 *db, const struct calib *c)
{
    static const char sql[] =
        "INSERT INTO vlm_calib_samples (split, image_relpath, image_id, caption_id, caption) "
                              "VALUES (?, ?, ?, ?, ?)";
    sqlite3_stmt *q = NULL;
    int ok = sqlite3_prepare_v2(db, sql, -1, &q, NULL) == SQLITE_OK;

    for (size_t i = 0; ok && i < c->n; i++) {
        const struct calib_item *it = &c->item[i];

        ok = sqlite3_bind_text(q, 1, it->split, -1, SQLITE_STATIC) == SQLITE_OK &&
             sqlite3_bind_text(q, 2, it->picture, -1, SQLITE_STATIC) == SQLITE_OK &&
             sqlite3_bind_int64(q, 3, it->image_id) == SQLITE_OK &&
             sqlite3_bind_int64(q, 4, it->caption_id) == SQLITE_OK &&
             sqlite3_bind_text(q, 5, it->caption, -1, SQLITE_STATIC) == SQLITE_OK &&
             sqlite3_step(q) == SQLITE_DONE &&
             sqlite3_reset(q) == SQLITE_OK;
    }
    sqlite3_finalize(q);
    return ok ? 0 : -1;
}

/* Built in memory and written as one block: no journal, and no trace of how the pages came about. */
int calib_write_db(FILE *f, const char *name, const struct calib *c, const struct calib_meta *meta,
                   struct err *e)
{
    char count[32], seed[32];
    unsigned char *image = NULL;
    sqlite3 *db = NULL;
    sqlite3_int64 bytes;
    int ret = -1;

    snprintf(count, sizeof count, "%zu", c->n);
    snprintf(seed, sizeof seed, "%ld", meta->seed);
    if (sqlite3_open(":memory:", &db) != SQLITE_OK || sqlite3_exec(db, ddl, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK ||
        put_meta(db, "source_dataset", "coco2017_captions") ||
        (meta->root && put_meta(db, "coco_root_relative", meta->root)) ||
        put_meta(db, "num_samples", count) ||
        put_meta(db, "random_seed", seed) || put_rows(db, c) ||
        sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK) {
        db_error(db, name, e);
        goto out;
    }
    image = sqlite3_serialize(db, "main", &bytes, 0);
    if (!image) {
        err_set(e, RC_SYS, "out of memory: cannot lay out the database %s", name);
        goto out;
    }
    if (fwrite(image, 1, (size_t)bytes, f) != (size_t)bytes) {
        err_sys(e, "cannot write %s", name);
        goto out;
    }
    ret = 0;
out:
    sqlite3_free(image);
    sqlite3_close(db);
    return ret;
}
