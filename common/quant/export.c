/* export.c - a model and a scheme to a quantized checkpoint: what is written where, decided beforehand */
#include "common/quant/export_plan.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/mem.h"

/* Room for config.json, the index and the like. */
enum { JSON_BYTES = 1 << 20 };

const char *export_last(const char *s)
{
    const char *dot = strrchr(s, '.');

    return dot ? dot + 1 : s;
}

int export_module(const char *tensor, char out[NAME_BYTES], struct err *e)
{
    const char *last = export_last(tensor);

    out[0] = '\0';
    if (last == tensor || strcmp(last, "weight"))
        return 0;
    if (name_canonical(tensor, out, e))
        return -1;
    *strrchr(out, '.') = '\0';
    return 0;
}

bool export_is_embedding(const char *canonical)
{
    return !strcmp(export_last(canonical), "embed_tokens");
}

bool export_is_tied(const json_t *config)
{
    const json_t *v = json_object_get(config, "tie_word_embeddings");

    if (!v)
        v = json_object_get(json_object_get(config, "text_config"), "tie_word_embeddings");
    return json_is_true(v);
}

struct export_item *export_add_item(struct export_plan *p, const char *name, struct err *e)
{
    struct export_item *it;

    if (mem_grow((void **)&p->item, p->items, &p->cap, sizeof *p->item, e))
        return NULL;
    it = &p->item[p->items];
    *it = (struct export_item){.out.name = mem_strdup(name, e)};
    if (!it->out.name)
        return NULL;
    p->items++;
    return it;
}

struct export_item *export_find_item(const struct export_plan *p, const char *name)
{
    for (size_t i = 0; i < p->items; i++)
        if (!strcmp(p->item[i].out.name, name))
            return &p->item[i];
    return NULL;
}

static int compare_places(const void *a, const void *b)
{
    const struct export_item *x = a, *y = b;

    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return st_compare(&x->out, &y->out);
}

static int already_quantized(const struct export_plan *p, const char *how, struct err *e)
{
    return err_set(e, RC_DATA, "'%s' is quantized already (%s): export from the original model",
                   p->model->dir, how);
}

static bool is_scale(const char *last)
{
    static const char *const scales[] = {"weight_scale", "input_scale", "pre_quant_scale", "k_scale",
                                         "v_scale"};

    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++)
        if (!strcmp(last, scales[i]))
            return true;
    return false;
}

/* Every tensor of the model in the order of its files, under its hub name, as a copy. */
static int list_tensors(struct export_plan *p, struct err *e)
{
    if (json_object_get(p->model->config, "quantization_config"))
        return already_quantized(p, "config.json has a quantization_config", e);
    for (size_t s = 0; s < p->model->shards; s++) {
        const struct st_file *st = &p->model->shard[s];

        for (size_t i = 0; i < st->tensors; i++) {
            const struct st_tensor *t = &st->tensor[i];
            const char *last = export_last(t->name);
            char canonical[NAME_BYTES], hub[NAME_BYTES];
            struct export_item *it;

            if (t->dtype == DT_F8_E4M3 || is_scale(last))
                return already_quantized(p, t->name, e);
            if (name_canonical(t->name, canonical, e) || name_hub(canonical, hub, e))
                return err_prefix(e, "'%s'", st->map.path);
            it = export_find_item(p, hub);
            if (it)
                return err_set(e, RC_DATA, "'%s' holds '%s' twice, as '%s' and as '%s'", p->model->dir, hub,
                               it->src->name, t->name);
            it = export_add_item(p, hub, e);
            if (!it)
                return -1;
            it->src = t;
            it->out.dtype = t->dtype;
            it->out.ndim = t->ndim;
            memcpy(it->out.shape, t->shape, sizeof t->shape);
            it->out.count = t->count;
            it->out.bytes = t->bytes;
        }
    }
    return 0;
}

/* The group that reads a norm, and may fold its smoothing into it; "" for a norm that none has to itself. */
static int group_of_norm(const struct export_plan *p, const char *norm, char out[NAME_BYTES], struct err *e)
{
    for (size_t i = 0; i < p->items; i++) {
        char module[NAME_BYTES], read[NAME_BYTES];

        if (p->item[i].src->ndim != 2)
            continue;
        if (export_module(p->item[i].out.name, module, e) || name_norm(module, read, e))
            return -1;
        if (*read && !strcmp(read, norm))
            return name_group(module, out, e);
    }
    return 0;
}

/* The group of the module that a tensor belongs to; "" when no scheme can change it. */
static int group_of(const struct export_plan *p, const char *tensor, char out[NAME_BYTES], struct err *e)
{
    char module[NAME_BYTES], weight[NAME_BYTES + 8], hub[NAME_BYTES], *dot;
    const struct export_item *it;

    out[0] = '\0';
    if (name_canonical(tensor, module, e))
        return -1;
    dot = strrchr(module, '.');
    if (!dot)
        return 0;
    *dot = '\0';
    if (name_hub(module, hub, e))
        return -1;
    snprintf(weight, sizeof weight, "%s.weight", hub);
    it = export_find_item(p, weight);
    if (it && it->src->ndim == 1)
        return group_of_norm(p, module, out, e);
    if (!it || it->src->ndim != 2 || export_is_embedding(module) || !name_servable(module) ||
        (!strcmp(module, "lm_head") && export_is_tied(p->model->config)))
        return 0;
    return name_group(module, out, e);
}

/* A file in the making. */
struct bin {
    char group[NAME_BYTES];
    size_t bytes;
};

/* The bin that a tensor of that group goes to: the group's own, else the last one if there is room. */
static size_t find_bin(const struct bin *bin, size_t bins, const char *group, size_t add, size_t most)
{
    size_t i = bins;

    while (i && strcmp(bin[i - 1].group, group))
        i--;
    if (!i || (!*group && bin[i - 1].bytes && (bin[i - 1].bytes >= most || add > most - bin[i - 1].bytes)))
        return bins;
    return i - 1;
}

/* The room for its scales counts with a weight. */
static size_t scale_bytes(const struct export_item *it)
{
    const struct scheme_module *m = it->module;

    if (it->kind != EXPORT_CODES)
        return 0;
    return sizeof(float) * ((m->format == FORMAT_INT8 ? it->out.shape[0] : 1) + !m->dynamic +
                            (m->pre_scale && !m->folded ? m->channels : 0));
}

/*
 * One file stays one, but for by_group.  Several are filled up to shard_bytes in the order of the source, so
 * that neighbours stay together.
 */
static int assign_files(struct export_plan *p, struct err *e)
{
    const size_t most = p->opts.shard_bytes ? p->opts.shard_bytes : EXPORT_SHARD_BYTES;
    struct bin *bin = NULL;
    size_t cap = 0;
    int ret = -1;

    p->indexed = p->model->indexed || p->opts.by_group;
    for (size_t i = 0; i < p->items; i++) {
        struct export_item *it = &p->item[i];
        const size_t add = it->out.bytes + scale_bytes(it);
        char group[NAME_BYTES] = "";

        if (p->opts.by_group && group_of(p, it->out.name, group, e))
            goto out;
        it->file = find_bin(bin, p->files, group, add, p->indexed ? most : SIZE_MAX);
        if (it->file == p->files) {
            if (mem_grow((void **)&bin, p->files, &cap, sizeof *bin, e))
                goto out;
            bin[p->files] = (struct bin){0};
            strcpy(bin[p->files++].group, group);
        }
        bin[it->file].bytes += add;
    }
    ret = 0;
out:
    free(bin);
    return ret;
}

static int order_items(struct export_plan *p, struct err *e)
{
    qsort(p->item, p->items, sizeof *p->item, compare_places);
    p->first = mem_zalloc(p->files + 1, sizeof *p->first, e);
    if (!p->first)
        return -1;
    for (size_t i = 0; i < p->items; i++) /* files are numbered without a gap */
        p->first[p->item[i].file + 1] = i + 1;
    return 0;
}

/* Every module that an engine may take for quantized, and the list that says which ones are not. */
static int make_ignore(struct export_plan *p, struct err *e)
{
    p->layer = mem_zalloc(p->items, sizeof *p->layer, e);
    p->layer_name = mem_zalloc(p->items, sizeof *p->layer_name, e);
    if (!p->layer || !p->layer_name)
        return -1;
    for (size_t i = 0; i < p->items; i++) {
        const struct export_item *it = &p->item[i];
        char *name = p->layer_name[p->layers];

        if (!export_was_there(it) || it->src->ndim < 2)
            continue;
        if (export_module(it->out.name, name, e))
            return -1;
        if (!*name || (!strcmp(name, "lm_head") && export_is_tied(p->model->config)))
            continue;
        p->layer[p->layers] = (struct layout_layer){.name = name};
        if (it->kind == EXPORT_CODES) {
            p->layer[p->layers].format = it->module->format;
            p->layer[p->layers].dynamic = it->module->dynamic;
        }
        p->linears += it->src->ndim == 2 && !export_is_embedding(name);
        p->layers++;
    }
    p->ignore = p->opts.layout->ignore(p->layer, p->layers, e);
    return p->ignore ? 0 : -1;
}

/* Weights in any form, indexes, and what is written anew; names with a dot in front are not part of a model.
 */
static bool comes_along(const char *name)
{
    static const char *const ends[] = {".safetensors", ".index.json", ".bin", ".pt",  ".pth",    ".ckpt",
                                       ".gguf",        ".onnx",       ".h5",  ".npz", ".msgpack"};
    const size_t n = strlen(name);

    if (name[0] == '.' || !strcmp(name, "config.json") || !strcmp(name, "hf_quant_config.json") ||
        strstr(name, ".tmp."))
        return false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (n > strlen(ends[i]) && !strcmp(name + n - strlen(ends[i]), ends[i]))
            return false;
    return true;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_extras(struct export_plan *p, struct err *e)
{
    DIR *d = opendir(p->model->dir);
    const struct dirent *f;
    size_t cap = 0;
    int ret = -1;

    if (!d)
        return err_sys(e, "cannot open the directory '%s'", p->model->dir);
    while ((f = readdir(d))) {
        struct stat st;

        if (!comes_along(f->d_name))
            continue;
        if (fstatat(dirfd(d), f->d_name, &st, 0)) {
            err_sys(e, "cannot stat '%s' in '%s'", f->d_name, p->model->dir);
            goto out;
        }
        if (!S_ISREG(st.st_mode))
            continue;
        if (mem_grow((void **)&p->extra, p->extras, &cap, sizeof *p->extra, e))
            goto out;
        p->extra[p->extras] = mem_strdup(f->d_name, e);
        if (!p->extra[p->extras])
            goto out;
        p->extras++;
        p->bytes += (uint64_t)st.st_size;
    }
    if (p->extras)
        qsort(p->extra, p->extras, sizeof *p->extra, compare_strings);
    ret = 0;
out:
    closedir(d);
    return ret;
}

static int check_digest(const struct ckpt *model, const struct scheme *s, struct err *e)
{
    char hex[SHA256_HEX];

    if (!s->model_digest)
        return 0;
    if (ckpt_digest(model, hex, e))
        return -1;
    if (strcmp(hex, s->model_digest))
        return err_set(e, RC_DATA,
                       "the scheme %s was made for another model: its model digest is %s, that of '%s' "
                       "is %s",
                       s->label, s->model_digest, model->dir, hex);
    return 0;
}

bool export_was_there(const struct export_item *it)
{
    return it->kind <= EXPORT_NORM;
}

uint64_t export_file_bytes(const struct export_plan *p, size_t file)
{
    uint64_t bytes = 0;

    for (size_t i = p->first[file]; i < p->first[file + 1];
         i++) /* 256 bytes describe a tensor in the header */
        bytes += p->item[i].out.bytes + strlen(p->item[i].out.name) + 256;
    return bytes;
}

int export_plan(struct export_plan *p, const struct ckpt *model, const struct scheme *s,
                const struct export_opts *o, struct err *e)
{
    *p = (struct export_plan){.model = model, .scheme = s, .opts = *o};
    if (check_digest(model, s, e) || list_tensors(p, e) || export_select(p, e) || assign_files(p, e) ||
        export_add_scales(p, e) || order_items(p, e) || make_ignore(p, e) || list_extras(p, e))
        goto fail;
    for (size_t i = 0; i < p->files; i++)
        p->tensor_bytes += export_file_bytes(p, i);
    p->bytes += p->tensor_bytes + JSON_BYTES;
    return 0;
fail:
    export_release(p);
    return -1;
}

void export_release(struct export_plan *p)
{
    for (size_t i = 0; i < p->extras; i++)
        free(p->extra[i]);
    free(p->extra);
    json_decref(p->ignore);
    free(p->layer_name);
    free(p->layer);
    for (size_t i = 0; i < p->items; i++)
        free(p->item[i].out.name);
    free(p->first);
    free(p->item);
    *p = (struct export_plan){0};
}
