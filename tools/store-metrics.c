/* store-metrics.c - keep METRICS documents in an sqlite database */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/cli.h"
#include "common/base/mem.h"
#include "common/io/results-db.h"

static const char *db_path;

static const struct cli_opt opts[] = {
    {.kind = OPT_STR, .letter = 'd', .name = "db", .to = &db_path, .arg = "FILE",
     .help = "the database, which is made when there is none (required)"},
    CLI_QUIET,
    {.kind = OPT_END},
};

static const struct cli tool = {
    .name = "store-metrics",
    .operands = "-d DATABASE [METRICS...]",
    .summary = "Keep METRICS documents in an sqlite database; what is in it already is left alone.",
    .opts = opts,
    .max_operands = -1,
};

static int run(char *const *path, size_t n, struct err *e)
{
    size_t count = n ? n : 1, added;
    struct results_doc *doc = mem_zalloc(count, sizeof *doc, e);
    struct results_db db = {0};
    int ret = -1;

    if (!doc)
        return -1;
    if (!db_path) {
        err_set(e, RC_USAGE, "-d DATABASE is missing");
        goto out;
    }
    for (size_t i = 0; i < count; i++)
        if (results_read(&doc[i], n ? path[i] : NULL, e))
            goto out;
    if (results_open(&db, db_path, e) || results_insert(&db, doc, count, &added, e))
        goto out;
    for (size_t i = 0; i < count; i++)
        printf("%s\n", doc[i].digest);
    cli_note("%zu document%s, %zu new", count, count == 1 ? "" : "s", added);
    ret = 0;
out:
    results_close(&db);
    for (size_t i = 0; i < count; i++)
        results_doc_release(&doc[i]);
    free(doc);
    return ret;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, argc, argv, run);
}
