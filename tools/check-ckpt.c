/* check-ckpt.c - what serving engines will do with a checkpoint, told from its files */
#include <stdlib.h>
#include <string.h>

#include "common/base/cli.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/quant/check.h"

static const char *output;
static struct cli_list engines;
static bool json;

static const struct cli_opt opts[] = {
    {.kind = OPT_LIST,
     .name = "engine",
     .to = &engines,
     .arg = "NAME",
     .help = "ask this one only: vllm, sglang, tensorrt-llm or transformers; may be\n"
             "given again (default: all)"},
    {.kind = OPT_FLAG,
     .name = "json",
     .to = &json,
     .help = "write an octet-check document instead of a table"},
    CLI_OUTPUT(output, "write to FILE instead of standard output"),
    CLI_QUIET,
    {.kind = OPT_END},
};
static const struct cli tool = {
    .name = "check-ckpt",
    .operands = "DIR",
    .summary = "what serving engines will do with a checkpoint, layer by layer",
    .opts = opts,
    .min_operands = 1,
    .max_operands = 1,
};

static int check_engines(struct err *e)
{
    for (size_t i = 0; i < engines.n; i++) {
        size_t k = 0;

        while (check_names[k] && strcmp(check_names[k], engines.item[i].value))
            k++;
        if (!check_names[k])
            return err_set(e, RC_USAGE, "--engine: '%s' is not vllm, sglang, tensorrt-llm or transformers",
                           engines.item[i].value);
    }
    return 0;
}

static int write_table(const struct check *c, struct err *e)
{
    struct file_out o;
    int ret = -1;

    if (file_create(&o, output, cli_force, false, e))
        return -1;
    if (check_table(c, o.f, e) == 0)
        ret = file_commit(&o, e);
    file_discard(&o);
    return ret;
}

static int write_json(const struct check *c, struct err *e)
{
    json_t *doc = check_to_json(c, e);
    int ret = doc ? json_save(output, doc, e) : -1;

    json_decref(doc);
    return ret;
}

static int run(const char *dir, struct err *e)
{
    const char **name = mem_zalloc(engines.n, sizeof *name, e);
    struct check check = {0};
    struct facts facts = {0};
    struct ckpt ckpt = {0};
    int ret = -1;

    if (!name || check_engines(e))
        goto out;
    for (size_t i = 0; i < engines.n; i++)
        name[i] = engines.item[i].value;
    if (ckpt_open(&ckpt, dir, e) || facts_read(&facts, &ckpt, e) ||
        check_make(&check, &facts, name, engines.n, e))
        goto out;
    ret = json ? write_json(&check, e) : write_table(&check, e);
    if (ret == 0 && !check_passes(&check))
        ret = err_set(e, RC_NO, "%s", "");
out:
    check_release(&check);
    facts_release(&facts);
    ckpt_close(&ckpt);
    free(name);
    return ret;
}

int main(int argc, char **argv)
{
    struct err e = {0};

    run(cli_parse(&tool, argc, argv, NULL)[0], &e);
    free(engines.item);
    return cli_finish(&e);
}
