/* results-db.c - METRICS documents in an sqlite database */
#include "common/io/results-db.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/io/doc.h"

#define QUOTE(x) QUOTE_(x)
#define QUOTE_(x) #x

#define APPLICATION 0x6f637472 /* "octr" */
#define VERSION_NUMBER 1
enum { WAIT_MS = 60000, NAP_MS = 20 }; /* how long to wait for other writers, and at a time */
_Static_assert(VERSION_NUMBER == RESULTS_VERSION, "the version that the tables are created with");

static const char ddl[] =
    "CREATE TABLE document ("
    "digest TEXT PRIMARY KEY, source TEXT, tool TEXT NOT NULL, version TEXT NOT NULL, samples_digest TEXT NOT NULL, "
    "reference_digest TEXT, samples INTEGER NOT NULL, tokens INTEGER NOT NULL, loss_tokens INTEGER NOT NULL, "
    "json TEXT NOT NULL);"
    "CREATE TABLE candidate ("
    "digest TEXT NOT NULL REFERENCES document, position INTEGER NOT NULL, name TEXT NOT NULL, model_digest TEXT NOT NULL, "
    "scheme TEXT, scheme_digest TEXT, fp8_modules INTEGER NOT NULL, ppl REAL NOT NULL, ppl_ref REAL, ppl_ratio REAL, "
    "kl REAL, kl_answer REAL, kl_answer_low REAL, kl_answer_high REAL, kl_last REAL, mse REAL, mse_last REAL, top1 REAL, "
    "bits_per_byte REAL, PRIMARY KEY (digest, position));"
    "CREATE TABLE pair ("
    "digest TEXT NOT NULL REFERENCES document, a TEXT NOT NULL, b TEXT NOT NULL, verdict TEXT NOT NULL, "
    "difference REAL NOT NULL, low REAL NOT NULL, high REAL NOT NULL, samples_needed INTEGER, "
    "PRIMARY KEY (digest, a, b));"
    "PRAGMA application_id = " QUOTE(APPLICATION) ";"
    "PRAGMA user_version = " QUOTE(VERSION_NUMBER) ";";

static int db_error(struct results_db *r, struct err *e)
{
    int code = r->db ? sqlite3_errcode(r->db) & 0xff : SQLITE_NOMEM;
    enum rc rc = code == SQLITE_ERROR ? RC_DATA : RC_SYS;

    if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT)
        return err_set(e, RC_DATA, "'%s': %s: give another file, and store into it again", r->path, sqlite3_errmsg(r->db));
    if (code == SQLITE_CANTOPEN && sqlite3_system_errno(r->db)) {
        errno = sqlite3_system_errno(r->db);
        return err_sys(e, "cannot open '%s'", r->path);
    }
    return err_set(e, rc, "'%s': %s", r->path, r->db ? sqlite3_errmsg(r->db) : "out of memory");
}

static int run(struct results_db *r, const char *sql, struct err *e)
{
    return sqlite3_exec(r->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_error(r, e);
}

/* ---- documents ---- */

/* figure: an object that may have an interval, or NULL. */
static int check_interval(const json_t *figure, const char *where, struct err *e)
{
    const json_t *both = json_object_get(figure, "interval");

    if (!both || (json_array_size(both) == 2 && json_is_number(json_array_get(both, 0)) &&
                  json_is_number(json_array_get(both, 1))))
        return 0;
    return err_set(e, RC_DATA, "%s: an 'interval' is not an array of two numbers", where);
}

/* Columns take any type, so types are checked here. */
static int check_candidate(const json_t *o, const char *where, struct err *e)
{
    static const char *const figure[] = {"ppl_ref",  "ppl_ratio", "kl",   "kl_answer",    "kl_last", "mse",
                                         "mse_last", "top1",      "bits_per_byte"};
    const char *text;
    size_t count;
    double real;

    for (size_t i = 0; i < sizeof figure / sizeof *figure; i++)
        if (json_or_f64(o, figure[i], &real, where, e))
            return -1;
    return json_get_str(o, "name", &text, where, e) || json_get_str(o, "model_digest", &text, where, e) ||
                   json_or_str(o, "scheme", &text, where, e) || json_or_str(o, "scheme_digest", &text, where, e) ||
                   json_get_size(o, "fp8_modules", &count, where, e) || json_get_f64(o, "ppl", &real, where, e) ||
                   check_interval(json_object_get(json_object_get(o, "uncertainty"), "kl_answer"), where, e)
               ? -1
               : 0;
}

static int check_pair(const json_t *o, const char *where, struct err *e)
{
    const char *text;
    json_t *kl, *interval;
    size_t count;
    double real;

    if (json_get_str(o, "a", &text, where, e) || json_get_str(o, "b", &text, where, e) ||
        json_get_str(o, "verdict", &text, where, e) || json_get_obj(o, "kl_answer", &kl, where, e) ||
        json_get_f64(kl, "difference", &real, where, e) || json_get_arr(kl, "interval", &interval, where, e) ||
        json_or_size(o, "samples_needed", &count, where, e))
        return -1;
    return check_interval(kl, where, e);
}

static int check(const json_t *doc, const char *name, struct err *e)
{
    json_t *from, *samples, *list, *pairs = json_object_get(doc, "pairs");
    const char *text;
    size_t count;

    if (doc_check(doc, "octet-metrics", 1, false, name, e) || json_get_str(doc, "tool", &text, name, e) ||
        json_get_str(doc, "version", &text, name, e) || json_get_obj(doc, "from", &from, name, e) ||
        json_get_str(from, "samples", &text, name, e) || json_or_str(from, "reference", &text, name, e) ||
        json_get_obj(doc, "samples", &samples, name, e) || json_get_size(samples, "count", &count, name, e) ||
        json_get_size(samples, "tokens", &count, name, e) || json_get_size(samples, "loss_tokens", &count, name, e) ||
        json_get_arr(doc, "candidates", &list, name, e))
        return -1;
    if (pairs && !json_is_array(pairs))
        return err_set(e, RC_DATA, "%s: the key 'pairs' is not an array", name);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (check_candidate(json_array_get(list, i), name, e))
            return -1;
    for (size_t i = 0; i < json_array_size(pairs); i++)
        if (check_pair(json_array_get(pairs, i), name, e))
            return -1;
    return 0;
}

int results_read(struct results_doc *d, const char *path, struct err *e)
{
    *d = (struct results_doc){.source = path && strcmp(path, "-") ? path : NULL};
    d->json = json_read(path, d->digest, e);
    return d->json ? check(d->json, file_label(path), e) : -1;
}

void results_doc_release(struct results_doc *d)
{
    json_decref(d->json);
    *d = (struct results_doc){0};
}

/* ---- opening ---- */

static int pragma(struct results_db *r, const char *sql, sqlite3_int64 *value, struct err *e)
{
    sqlite3_stmt *q = NULL;
    bool good = sqlite3_prepare_v2(r->db, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW;
    int ret = good ? 0 : db_error(r, e);

    if (ret == 0)
        *value = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return ret;
}

/* To enter WAL needs the database alone, and sqlite does not wait for that. */
static int enter_wal(struct results_db *r, struct err *e)
{
    const struct timespec nap = {.tv_nsec = NAP_MS * 1000000L};
    int waited = 0, code;

    while ((code = sqlite3_exec(r->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL)) == SQLITE_BUSY &&
           waited < WAIT_MS) {
        nanosleep(&nap, NULL);
        waited += NAP_MS;
    }
    return code == SQLITE_OK ? 0 : db_error(r, e);
}

/* Inside a transaction, so that of several processes one creates the tables. */
static int prepare(struct results_db *r, struct err *e)
{
    sqlite3_int64 application, version, objects;

    if (pragma(r, "PRAGMA application_id", &application, e) ||
        pragma(r, "PRAGMA user_version", &version, e) ||
        pragma(r, "SELECT count(*) FROM sqlite_master", &objects, e))
        return -1;
    if (application == 0 && version == 0 && objects == 0)
        return run(r, ddl, e);
    if (application != APPLICATION)
        return err_set(e, RC_DATA, "'%s' is a database of another program", r->path);
    if (version > RESULTS_VERSION)
        return err_set(e, RC_DATA,
                       "'%s' has version %lld; this version writes up to %d: use the octet that made it, or "
                       "another file", r->path, (long long)version, RESULTS_VERSION);
    return 0;
}

int results_open(struct results_db *r, const char *path, struct err *e)
{
    *r = (struct results_db){.path = path};
    if (sqlite3_open_v2(path, &r->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK)
        return db_error(r, e);
    sqlite3_busy_timeout(r->db, WAIT_MS);
    if (run(r, "BEGIN IMMEDIATE", e))
        return -1;
    if (prepare(r, e)) {
        sqlite3_exec(r->db, "ROLLBACK", NULL, NULL, NULL);
        return -1;
    }
    return run(r, "COMMIT", e) || enter_wal(r, e) ? -1 : 0;
}

void results_close(struct results_db *r)
{
    sqlite3_close(r->db);
    *r = (struct results_db){0};
}

/* ---- inserting ---- */

/* A value, by its kind; NULL and what is absent become NULL. */
static int bind(sqlite3_stmt *q, int at, const json_t *v)
{
    if (json_is_string(v))
        return sqlite3_bind_text(q, at, json_string_value(v), -1, SQLITE_STATIC);
    if (json_is_integer(v))
        return sqlite3_bind_int64(q, at, json_integer_value(v));
    if (json_is_real(v))
        return sqlite3_bind_double(q, at, json_real_value(v));
    return sqlite3_bind_null(q, at);
}

/* One row: value [n], some of them NULL.  *changed, when not NULL: whether it is new. */
static int insert(struct results_db *r, const char *sql, const json_t *const *value, int n, int *changed,
                  struct err *e)
{
    sqlite3_stmt *q = NULL;
    int ok = sqlite3_prepare_v2(r->db, sql, -1, &q, NULL) == SQLITE_OK;

    for (int i = 0; ok && i < n; i++)
        ok = bind(q, i + 1, value[i]) == SQLITE_OK;
    ok = ok && sqlite3_step(q) == SQLITE_DONE;
    if (!ok)
        db_error(r, e);
    else if (changed)
        *changed = sqlite3_changes(r->db);
    sqlite3_finalize(q);
    return ok ? 0 : -1;
}

static const json_t *at(const json_t *o, const char *key)
{
    return json_object_get(o, key);
}

static int insert_document(struct results_db *r, const struct results_doc *d, int *changed, struct err *e)
{
    const json_t *from = at(d->json, "from"), *samples = at(d->json, "samples");
    char *text = json_dumps(d->json, JSON_COMPACT | JSON_REAL_PRECISION(17));
    /* A path is bytes, in whatever encoding. */
    json_t *digest = json_string(d->digest), *source = d->source ? json_string_nocheck(d->source) : json_null();
    json_t *json = text ? json_string(text) : NULL;
    const json_t *value[] = {digest, source, at(d->json, "tool"), at(d->json, "version"), at(from, "samples"),
                             at(from, "reference"), at(samples, "count"), at(samples, "tokens"),
                             at(samples, "loss_tokens"), json};
    int ret = digest && source && json ? 0 : err_set(e, RC_SYS, "out of memory: cannot keep '%s'", r->path);

    if (ret == 0)
        ret = insert(r, "INSERT OR IGNORE INTO document VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", value,
                     sizeof value / sizeof *value, changed, e);
    json_decref(json);
    json_decref(source);
    json_decref(digest);
    free(text);
    return ret;
}

static int insert_candidate(struct results_db *r, const json_t *digest, size_t position, const json_t *o,
                            struct err *e)
{
    const json_t *interval = at(at(at(o, "uncertainty"), "kl_answer"), "interval");
    json_t *number = json_integer((json_int_t)position);
    const json_t *value[] = {digest, number, at(o, "name"), at(o, "model_digest"), at(o, "scheme"),
                             at(o, "scheme_digest"), at(o, "fp8_modules"), at(o, "ppl"), at(o, "ppl_ref"),
                             at(o, "ppl_ratio"), at(o, "kl"), at(o, "kl_answer"), json_array_get(interval, 0),
                             json_array_get(interval, 1), at(o, "kl_last"), at(o, "mse"), at(o, "mse_last"),
                             at(o, "top1"), at(o, "bits_per_byte")};
    int ret = insert(r,
                     "INSERT INTO candidate VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                     value, sizeof value / sizeof *value, NULL, e);

    json_decref(number);
    return ret;
}

static int insert_pair(struct results_db *r, const json_t *digest, const json_t *o, struct err *e)
{
    const json_t *kl = at(o, "kl_answer"), *interval = at(kl, "interval");
    const json_t *value[] = {digest, at(o, "a"), at(o, "b"), at(o, "verdict"), at(kl, "difference"),
                             json_array_get(interval, 0), json_array_get(interval, 1),
                             at(o, "samples_needed")};

    /* Two candidates of one name: the first pair of that name stands here, all of them in the document. */
    return insert(r, "INSERT OR IGNORE INTO pair VALUES (?, ?, ?, ?, ?, ?, ?, ?)", value,
                  sizeof value / sizeof *value, NULL, e);
}

static int insert_one(struct results_db *r, const struct results_doc *d, size_t *added, struct err *e)
{
    const json_t *candidates = at(d->json, "candidates"), *pairs = at(d->json, "pairs");
    json_t *digest;
    int changed = 0, ret = insert_document(r, d, &changed, e);

    if (ret || !changed)
        return ret;
    digest = json_string(d->digest);
    if (!digest)
        return err_set(e, RC_SYS, "out of memory: cannot keep '%s'", r->path);
    for (size_t i = 0; i < json_array_size(candidates) && ret == 0; i++)
        ret = insert_candidate(r, digest, i, json_array_get(candidates, i), e);
    for (size_t i = 0; i < json_array_size(pairs) && ret == 0; i++)
        ret = insert_pair(r, digest, json_array_get(pairs, i), e);
    json_decref(digest);
    ++*added;
    return ret;
}

int results_insert(struct results_db *r, const struct results_doc *doc, size_t n, size_t *added,
                   struct err *e)
{
    int ret = run(r, "BEGIN IMMEDIATE", e);

    *added = 0;
    if (ret)
        return ret;
    for (size_t i = 0; i < n && ret == 0; i++)
        ret = insert_one(r, &doc[i], added, e);
    if (ret == 0)
        ret = run(r, "COMMIT", e);
    if (ret)
        sqlite3_exec(r->db, "ROLLBACK", NULL, NULL, NULL);
    return ret;
}
