/* diff-ckpt.c - which layers of two checkpoints differ, and whether it is those that should */
#include <stdlib.h>

#include "common/base/cli.h"
#include "common/base/file.h"
#include "common/quant/diff.h"

static const char *output;
static struct cli_list schemes;
static bool json, exit_code;

static const struct cli_opt opts[] = {
    {.kind = OPT_LIST,
     .name = "expect",
     .to = &schemes,
     .arg = "SCHEME",
     .help = "given twice, the scheme of A and that of B: fail unless exactly the\n"
             "layers differ in which the schemes do"},
    {.kind = OPT_FLAG, .name = "exit-code", .to = &exit_code, .help = "status 1 when anything differs"},
    {.kind = OPT_FLAG,
     .name = "json",
     .to = &json,
     .help = "write an octet-diff document instead of a table"},
    CLI_OUTPUT(output, "write to FILE instead of standard output"),
    CLI_QUIET,
    {.kind = OPT_END},
};
static const struct cli tool = {
    .name = "diff-ckpt",
    .operands = "A B",
    .summary = "which layers of two model directories differ, and by how much",
    .opts = opts,
    .min_operands = 2,
    .max_operands = 2,
};

static int write_table(const struct diff *d, const struct diff_expect *x, struct err *e)
{
    struct file_out o;
    int ret = -1;

    if (file_create(&o, output, cli_force, false, e))
        return -1;
    if (diff_table(d, x, o.f, e) == 0)
        ret = file_commit(&o, e);
    else
        err_prefix(e, "%s", file_out_label(&o));
    file_discard(&o);
    return ret;
}

static int write_json(const struct diff *d, const struct diff_expect *x, struct err *e)
{
    json_t *doc = diff_to_json(d, x, e);
    int ret = doc ? json_save(output, doc, e) : -1;

    json_decref(doc);
    return ret;
}

/* The answer, after everything is written: status 1 with a sentence, or without one under --exit-code. */
static int answer(const struct diff *d, const struct diff_expect *x, struct err *e)
{
    if (x && x->misses)
        return err_set(e, RC_NO,
                       "the files do not differ as the schemes do: %zu layers differ in the schemes only, "
                       "%zu in the files only; %zu of A and %zu of B are not as their scheme says",
                       x->n[MISS_FILES_EQUAL], x->n[MISS_SCHEMES_EQUAL], x->n[MISS_A], x->n[MISS_B]);
    if (exit_code && diff_any(d))
        return err_set(e, RC_NO, "%s", "");
    return 0;
}

static int run(char *const *dir, struct err *e)
{
    struct scheme scheme[2] = {{0}, {0}};
    struct diff_expect expect = {0};
    const struct diff_expect *x = schemes.n ? &expect : NULL;
    struct ckpt a = {0}, b = {0};
    struct progress p = {0};
    struct diff d = {0};
    int ret = -1;

    if (schemes.n && schemes.n != 2)
        return err_set(e, RC_USAGE, "--expect is given %zu times: name the scheme of A, then that of B",
                       schemes.n);
    for (size_t i = 0; i < schemes.n; i++)
        if (scheme_read(&scheme[i], schemes.item[i].value, false, e))
            goto out;
    if (ckpt_open(&a, dir[0], e) || ckpt_open(&b, dir[1], e))
        goto out;
    progress_begin(&p, "comparing", "tensors", 0);
    ret = diff_make(&d, &a, &b, &p, e);
    progress_end(&p);
    if (ret == 0 && x)
        ret = diff_expect(&expect, &d, &scheme[0], &scheme[1], e);
    if (ret == 0)
        ret = json ? write_json(&d, x, e) : write_table(&d, x, e);
    if (ret == 0)
        ret = answer(&d, x, e);
out:
    diff_expect_release(&expect);
    diff_release(&d);
    ckpt_close(&b);
    ckpt_close(&a);
    scheme_release(&scheme[1]);
    scheme_release(&scheme[0]);
    return ret;
}

int main(int argc, char **argv)
{
    struct err e = {0};

    run(cli_parse(&tool, argc, argv, NULL), &e);
    free(schemes.item);
    return cli_finish(&e);
}
