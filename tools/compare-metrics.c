/* compare-metrics.c - which candidates differ, among those that were measured apart */
#include <stdlib.h>

#include "common/base/cli.h"
#include "common/base/file.h"
#include "common/io/doc.h"
#include "common/model/metrics.h"
#include "common/model/recall.h"
#include "common/model/table.h"

static const char *output;
static bool table, neighbours;

static const struct cli_opt opts[] = {
    {.kind = OPT_FLAG, .name = "neighbours", .to = &neighbours,
     .help = "compare each candidate with the next only, not every two"},
    {.kind = OPT_FLAG, .name = "table", .to = &table,
     .help = "print a table for people instead of the document"},
    CLI_OUTPUT(output, "write to FILE instead of standard output"),
    CLI_QUIET,
    {.kind = OPT_END},
};

static const struct cli tool = {
    .name = "compare-metrics",
    .operands = "METRICS...",
    .summary = "Say which candidates differ that eval-logits measured apart, on the same samples.",
    .opts = opts,
    .max_operands = -1,
};

/* What eval-logits would have written of all candidates. */
static int write_document(const struct recall *r, const struct pairs *p, struct err *e)
{
    json_t *doc = doc_new("octet-metrics/1", e), *list = json_array();
    int ret = !doc || doc_from(doc, "samples", r->stream, e) || doc_from(doc, "reference", r->reference, e) ||
                      json_put(doc, "samples", json_incref(r->samples), e) ||
                      json_put(doc, "candidates", json_incref(list), e)
                  ? -1
                  : 0;

    for (size_t i = 0; ret == 0 && i < r->n; i++)
        ret = json_push(list, json_incref(r->from[i].object), e);
    if (ret == 0)
        ret = metrics_pairs(doc, r->candidate, p, e) || json_save(output, doc, e) ? -1 : 0;
    json_decref(list);
    json_decref(doc);
    return ret;
}

static int write_table(const struct recall *r, const struct pairs *p, struct err *e)
{
    static const enum figure kl = FIG_KL_ANSWER;
    struct file_out o;
    int ret = file_create(&o, output, cli_force, false, e);

    if (ret)
        return -1;
    fprintf(o.f, "====== Mean KLD over %zu samples [%g%% interval] ======\n", p->samples, 100 * BOOT_LEVEL);
    for (size_t i = 0; i < r->n && ret == 0; i++) {
        const struct candidate *c = &r->candidate[i];
        struct boot_interval interval;

        fprintf(o.f, "%s: %.6g", c->name, c->total.kl_answer);
        if (p->samples >= 2) {
            ret = candidate_intervals(&interval, &kl, 1, SPLIT_ALL, c->sample, p->samples, e);
            fprintf(o.f, " [%.6g, %.6g]", interval.low, interval.high);
        }
        fputc('\n', o.f);
    }
    if (ret == 0) {
        fputc('\n', o.f);
        table_pairs(o.f, r->candidate, p);
        ret = file_commit(&o, e);
    }
    file_discard(&o);
    return ret;
}

static int run(char *const *path, size_t n, struct err *e)
{
    struct recall r = {0};
    struct pairs p = {0};
    char hint[160];
    int ret = -1;

    for (size_t i = 0; i < (n ? n : 1); i++)
        if (recall_add(&r, n ? path[i] : NULL, e))
            goto out;
    if (r.n < 2) {
        err_set(e, RC_DATA, "there is nothing to compare: %zu candidate%s", r.n, r.n == 1 ? "" : "s");
        goto out;
    }
    if (recall_name(&r, e) || pairs_make(&p, r.candidate, r.n, !neighbours, e))
        goto out;
    ret = table ? write_table(&r, &p, e) : write_document(&r, &p, e);
    if (ret || table)
        goto out;
    table_hint(hint, sizeof hint, &p);
    if (hint[0])
        cli_note("%s", hint);
out:
    pairs_release(&p);
    recall_release(&r);
    return ret;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, argc, argv, run);
}
