/* rank-layers.c - order layers by sensitivity, least sensitive first */
#include <stdlib.h>

#include "common/base/cli.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/quant/rank.h"

static const char *by, *scope = "all", *report, *output;
static bool table;
static const char *const methods[] = {"gradient", "kl", NULL};
static const struct cli_opt opts[] = {
    {OPT_CHOICE, 0, "by", &by, NULL, "which scores to rank by (default: those the document was scored with)",
     0, 0, methods},
    {OPT_CHOICE, 0, "scope", &scope, NULL, "which part of the model to rank (default: all)", 0, 0,
     name_scope_choices},
    {OPT_STR, 0, "report", &report, "FILE.md", "write a Markdown report, too", 0, 0, NULL},
    {OPT_FLAG, 0, "table", &table, NULL, "print a table for people instead of the document", 0, 0, NULL},
    CLI_OUTPUT(output, "write to FILE instead of standard output"),
    CLI_QUIET,
    {.kind = OPT_END},
};
static const struct cli tool = {
    "rank-layers", "[LAYERS...]", "order layers by sensitivity, least sensitive first", opts, 0, -1};

/* Read the first document, and merge the others into it.  from[i].hex is kept in hex[i]. */
static int read_all(struct layers *l, char *const *path, size_t n, struct layers_from *from,
                    char (*hex)[SHA256_HEX], struct err *e)
{
    for (size_t i = 0; i < (n ? n : 1); i++) {
        struct layers shard = {0};
        int ret = layers_read(i ? &shard : l, n ? path[i] : NULL, e);

        if (ret)
            return -1;
        snprintf(hex[i], SHA256_HEX, "%s", i ? shard.hex : l->hex);
        from[i].hex = hex[i];
        from[i].role = n > 1 ? mem_printf(e, "layers.%zu", i + 1) : mem_strdup("layers", e);
        ret = from[i].role ? 0 : -1;
        if (!ret && i)
            ret = layers_merge(l, &shard, e);
        layers_release(&shard);
        if (ret)
            return -1;
    }
    return 0;
}

static int write_text(const char *path, const struct rank *r, const struct layers *l,
                      int (*print)(const struct rank *, const struct layers *, FILE *, struct err *),
                      struct err *e)
{
    struct file_out o;
    int ret = -1;

    if (file_create(&o, path, cli_force, false, e))
        return -1;
    if (print(r, l, o.f, e) == 0)
        ret = file_commit(&o, e);
    else
        err_prefix(e, "%s", file_out_label(&o));
    file_discard(&o);
    return ret;
}

static int write_document(const struct rank *r, const struct layers *l, const struct layers_from *from,
                          size_t n, struct err *e)
{
    json_t *doc = layers_to_json(l, from, n, e);
    int ret = doc && rank_put_unranked(r, l, doc, e) == 0 ? json_save(output, doc, e) : -1;

    json_decref(doc);
    return ret;
}

static int run(char *const *path, size_t n, struct err *e)
{
    /* patch_embed is ranked: that no engine loads it quantized is a matter of what is selected */
    struct rank_opts o = {.scope = name_scope_parse(scope), .unservable = true};
    size_t n_from = n ? n : 1;
    struct layers_from *from = mem_zalloc(n_from, sizeof *from, e);
    char(*hex)[SHA256_HEX] = mem_zalloc(n_from, sizeof *hex, e);
    struct layers l = {0};
    struct rank r = {0};
    int ret = -1;

    if (!from || !hex || read_all(&l, path, n, from, hex, e) || (by && layers_use_method(&l, by, e)))
        goto out;
    layers_drop_ranking(&l); /* ranked anew */
    if (rank_make(&r, &l, &o, e) || rank_store(&r, &l, e) ||
        (report && write_text(report, &r, &l, rank_report, e)))
        goto out;
    ret = table ? write_text(output, &r, &l, rank_table, e) : write_document(&r, &l, from, n_from, e);
out:
    rank_release(&r);
    layers_release(&l);
    for (size_t i = 0; from && i < n_from; i++)
        free((char *)from[i].role);
    free(hex);
    free(from);
    return ret;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, argc, argv, run);
}
