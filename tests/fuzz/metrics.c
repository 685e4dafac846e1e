/* metrics.c - fuzz target: a METRICS document, compared with itself and put into a database */
#include "common/io/results-db.h"
#include "common/model/pairs.h"
#include "common/model/recall.h"
#include "tests/fuzz/fuzz.h"

/* What was read can be compared: every candidate with the next. */
static void compare(const char *path)
{
    struct recall r = {0};
    struct pairs p = {0};
    struct err e = {0};

    if (fuzz_good(recall_add(&r, path, &e), &e) && fuzz_good(recall_name(&r, &e), &e) &&
        fuzz_good(pairs_make(&p, r.candidate, r.n, false, &e), &e)) {
        FUZZ_CHECK(p.neighbours == p.n && p.clear + p.equal <= p.n);
        for (size_t i = 0; i < p.n; i++)
            FUZZ_CHECK(p.pair[i].b < r.n);
    }
    pairs_release(&p);
    recall_release(&r);
}

/* Stored once, however often. */
static void store(const char *path, const char *db_path)
{
    struct results_doc doc;
    struct results_db db = {0};
    struct err e = {0};
    size_t added;

    if (fuzz_good(results_read(&doc, path, &e), &e)) {
        FUZZ_CHECK(results_open(&db, db_path, &e) == 0);
        if (fuzz_good(results_insert(&db, &doc, 1, &added, &e), &e))
            FUZZ_CHECK(results_insert(&db, &doc, 1, &added, &e) == 0 && added == 0);
        results_close(&db);
    }
    results_doc_release(&doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *path = scratch_put("x.json", data, n), *db = scratch("x.db");

    unlink(db);
    compare(path);
    store(path, db);
    return 0;
}
