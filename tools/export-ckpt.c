/* export-ckpt.c - write the quantized checkpoint that a scheme describes */

#include "common/base/cli.h"
#include "common/quant/engine.h"
#include "common/quant/export.h"
#include "common/quant/names.h"

static const char *model_dir, *out_dir, *rounding, *format = "modelopt", *pool_dir;
static bool dry_run;

static const struct cli_opt opts[] = {
    {OPT_STR, 'm', "model", &model_dir, "DIR", "the model that the scheme was made for", 0, 0, NULL},
    {OPT_STR, 'o', "output", &out_dir, "DIR", "the checkpoint; must not exist", 0, 0, NULL},
    {.kind = OPT_CHOICE,
     .name = "format",
     .to = &format,
     .choices = layout_choices,
     .help = "layout of the checkpoint (default: modelopt)"},
    {.kind = OPT_CHOICE,
     .name = "rounding",
     .to = &rounding,
     .choices = rounding_export_choices,
     .help = "of weights to codes: once, or as ModelOpt does on a GPU or\nwithout one (default: as in the scheme)"},
    {OPT_STR, 0, "pool", &pool_dir, "DIR",
     "share files of tensors with the other checkpoints that\nwere made with this directory", 0, 0, NULL},
    {.kind = OPT_FLAG,
     .letter = 'f',
     .name = "force",
     .to = &cli_force,
     .help = "replace an earlier checkpoint"},
    {.kind = OPT_FLAG,
     .letter = 'n',
     .name = "dry-run",
     .to = &dry_run,
     .help = "print the plan, write nothing"},
    CLI_QUIET,
    {.kind = OPT_END},
};
static const struct cli tool = {
    "export-ckpt", "[SCHEME]", "write the quantized checkpoint that a scheme describes", opts, 0, 1};

struct sum {
    size_t tensors, bytes;
};

static void add(struct sum *s, const struct st_tensor *t)
{
    s->tensors++;
    s->bytes += t->bytes;
}

static void print_row(const char *name, const struct sum *before, const struct sum *after)
{
    printf("%-8s %10zu %16zu %10zu %16zu\n", name, before->tensors, before->bytes, after->tensors,
           after->bytes);
}

/* What is not plain FP8 says so. */
static void print_module(const struct scheme_module *m)
{
    printf("%s", m->name);
    if (m->format == FORMAT_INT8)
        printf("  int8%s%s", m->dynamic ? " dynamic" : "",
               !m->pre_scale ? "" : m->folded ? " smoothed, folded" : " smoothed");
    putchar('\n');
}

/* Tensors and bytes per dtype, before and after, and the quantized modules. */
static void print_plan(const struct export_plan *p)
{
    struct sum before[DT_BOOL + 1] = {0}, after[DT_BOOL + 1] = {0}, all[2] = {0};

    for (size_t i = 0; i < p->items; i++) {
        const struct export_item *it = &p->item[i];

        if (export_was_there(it)) {
            add(&before[it->src->dtype], it->src);
            add(&all[0], it->src);
        }
        add(&after[it->out.dtype], &it->out);
        add(&all[1], &it->out);
    }
    printf("%zu of %zu linear layers quantized, rounding %s, %zu %s\n\n", p->quantized, p->linears,
           rounding_text(p->opts.rounding), p->files, p->files == 1 ? "file" : "files");
    printf("%-8s %10s %16s %10s %16s\n", "dtype", "tensors", "bytes", "after", "bytes after");
    for (enum dtype t = DT_NONE + 1; t <= DT_BOOL; t++)
        if (before[t].tensors || after[t].tensors)
            print_row(st_dtype_name(t), &before[t], &after[t]);
    print_row("total", &all[0], &all[1]);
    putchar('\n');
    for (size_t i = 0; i < p->scheme->n_modules; i++)
        if (p->scheme->module[i].format != FORMAT_NONE)
            print_module(&p->scheme->module[i]);
    if (p->scheme->n_kv)
        printf("KV cache: fp8, %zu layers\n", p->scheme->n_kv);
}

/* Scales that do not survive how engines load them: known before anything is written. */
static void warn_of_scales(const struct export_plan *p)
{
    const bool modelopt = !strcmp(p->opts.layout->name, "modelopt");
    const struct export_item *small = NULL;
    size_t n = 0;

    for (size_t i = 0; i < p->items; i++)
        if (p->item[i].kind == EXPORT_CODES && p->item[i].module->format == FORMAT_FP8 &&
            p->item[i].scale < ENGINE_FP16_SCALE_LEAST && !n++)
            small = &p->item[i];
    if (n)
        cli_warn("%zu weight %s below 3.1e-5 (%s: %g): %s will round such weights a second time", n,
                 n == 1 ? "scale is" : "scales are", small->module->name, (double)small->scale,
                 modelopt ? "SGLang" : "vLLM and SGLang");
}

/*
 * Who will not load it.  compressed-tensors is not for TensorRT-LLM in any case, and older engines load its
 * vision layers, too.
 */
static void note_engines(const struct export_plan *p)
{
    const bool modelopt = !strcmp(p->opts.layout->name, "modelopt");
    bool vision = false, int8 = false;

    for (size_t i = 0; i < p->layers; i++) {
        vision |= p->layer[i].format == FORMAT_FP8 && name_scope(p->layer[i].name) == SCOPE_VISION;
        int8 |= p->layer[i].format == FORMAT_INT8;
    }
    if (modelopt && vision)
        cli_note("FP8 vision layers load in vLLM from 0.32 on and in SGLang 0.5.23, never in TensorRT-LLM");
    if (modelopt && int8)
        cli_note("no engine loads INT8 in this layout: vLLM, SGLang and transformers load it with --format "
                 "compressed-tensors");
    else if (modelopt && p->scheme->n_kv)
        cli_note("SGLang 0.5.23 does not load a checkpoint with KV cache scales; vLLM does, and rounds them to 16 "
                 "bits");
}

/* Where hard links are impossible, sharing is not what it seems: say what was done instead. */
static void report(const struct pool_use *use)
{
    if (use->cloned)
        cli_note("%zu files are reflinks, because no hard link can be made from '%s' to '%s'", use->cloned,
                 pool_dir, out_dir);
    if (use->copied)
        cli_note("%zu files are copies and not shared, because no link can be made from '%s' to '%s': put "
                 "both on one "
                 "file system",
                 use->copied, pool_dir, out_dir);
}

static int run(const char *scheme_path, struct err *e)
{
    struct export_plan plan = {0};
    struct progress progress = {0};
    struct scheme scheme = {0};
    struct ckpt model = {0};
    struct export_opts o = {.layout = layout_find(format), .by_group = pool_dir != NULL};
    const struct export_target to = {.dir = out_dir, .force = cli_force, .pool = pool_dir};
    struct pool_use use = {0};
    int ret = -1;

    if (!model_dir)
        return err_set(e, RC_USAGE, "no model: name its directory with -m");
    if (!out_dir && !dry_run)
        return err_set(e, RC_USAGE, "no output: name the new directory with -o");
    if (ckpt_open(&model, model_dir, e) || scheme_read(&scheme, scheme_path, false, e))
        goto out;
    if (!rounding)
        rounding = scheme.rounding;
    if (rounding && rounding_parse(rounding, &o.rounding, e))
        goto out;
    if (export_plan(&plan, &model, &scheme, &o, e))
        goto out;
    warn_of_scales(&plan);
    if (dry_run) {
        print_plan(&plan);
        note_engines(&plan);
        ret = 0;
        goto out;
    }
    progress_begin(&progress, "writing", "tensors", export_steps(&plan, &to));
    ret = export_write(&plan, &to, &use, &progress, e);
    progress_end(&progress);
    if (ret == 0) {
        report(&use);
        note_engines(&plan);
    }
out:
    export_release(&plan);
    scheme_release(&scheme);
    ckpt_close(&model);
    return ret;
}

int main(int argc, char **argv)
{
    struct err e = {0};

    run(cli_parse(&tool, argc, argv, NULL)[0], &e);
    return cli_finish(&e);
}
