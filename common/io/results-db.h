/*
 * results-db.h - METRICS documents in an sqlite database (octet-results(5))
 *
 * Several processes may insert into one database at a time.  A document is known by the SHA-256 of its bytes:
 * inserting it again does nothing.
 */
#ifndef COMMON_IO_RESULTS_DB_H
#define COMMON_IO_RESULTS_DB_H

#include "common/io/json.h"

enum { RESULTS_VERSION = 1 }; /* PRAGMA user_version */

struct results_db {
    struct sqlite3 *db;
    const char *path; /* borrowed */
};

/* A METRICS document that was read, and found to have what a row needs. */
struct results_doc {
    json_t *json;
    char digest[SHA256_HEX];
    const char *source; /* path it came from, borrowed; NULL: standard input */
};

/* "-" or NULL: standard input.  Release d afterwards, also after a failure. */
int results_read(struct results_doc *d, const char *path, struct err *e);
void results_doc_release(struct results_doc *d); /* safe on a zeroed struct */

/*
 * Open or create; -1 for a file that is another sort of database or of a newer version.  Close it afterwards,
 * also after a failure.
 */
int results_open(struct results_db *r, const char *path, struct err *e);
void results_close(struct results_db *r); /* safe on a zeroed struct */

/* Insert n documents in one transaction: all or none.  *added: how many were not known. */
int results_insert(struct results_db *r, const struct results_doc *doc, size_t n, size_t *added,
                   struct err *e);

#endif
