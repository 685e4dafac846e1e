/* export.c - a model and a scheme to a quantized checkpoint: what is written where, decided beforehand */
#include "common/quant/export.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/mem.h"
#include "common/quant/names.h"

/* Room for config.json, the index and the like. */
enum { JSON_BYTES = 1 << 20 };

static const char *after_last_dot(const char *s)
{
    const char *dot = strrchr(s, '.');

    return dot ? dot + 1 : s;
}

/* The canonical name of the module that a tensor "X.weight" belongs to; "" for other tensors. */
static int module_of(const char *tensor, char out[NAME_BYTES], struct err *e)
{
    const char *last = after_last_dot(tensor);

    out[0] = '\0';
    if (last == tensor || strcmp(last, "weight"))
        return 0;
    if (name_canonical(tensor, out, e))
        return -1;
    *strrchr(out, '.') = '\0';
    return 0;
}

static bool is_embedding(const char *canonical)
{
    return !strcmp(after_last_dot(canonical), "embed_tokens");
}

static bool is_tied(const json_t *config)
{
    const json_t *v = json_object_get(config, "tie_word_embeddings");

    if (!v)
        v = json_object_get(json_object_get(config, "text_config"), "tie_word_embeddings");
    return json_is_true(v);
}

static struct export_item *add_item(struct export_plan *p, const char *name, struct err *e)
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

static struct export_item *find_item(const struct export_plan *p, const char *name)
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

/* Every tensor of the model in the order of its files, under its hub name, as a copy. */
static int list_tensors(struct export_plan *p, struct err *e)
{
    if (json_object_get(p->model->config, "quantization_config"))
        return already_quantized(p, "config.json has a quantization_config", e);
    for (size_t s = 0; s < p->model->shards; s++) {
        const struct st_file *st = &p->model->shard[s];

        for (size_t i = 0; i < st->tensors; i++) {
            const struct st_tensor *t = &st->tensor[i];
            const char *last = after_last_dot(t->name);
            char canonical[NAME_BYTES], hub[NAME_BYTES];
            struct export_item *it;

            if (t->dtype == DT_F8_E4M3 || !strcmp(last, "weight_scale") || !strcmp(last, "input_scale"))
                return already_quantized(p, t->name, e);
            if (name_canonical(t->name, canonical, e) || name_hub(canonical, hub, e))
                return err_prefix(e, "'%s'", st->map.path);
            it = find_item(p, hub);
            if (it)
                return err_set(e, RC_DATA, "'%s' holds '%s' twice, as '%s' and as '%s'", p->model->dir, hub,
                               it->src->name, t->name);
            it = add_item(p, hub, e);
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

/* The weight of a selected module, with every reason why it cannot be quantized. */
static struct export_item *find_weight(const struct export_plan *p, const struct scheme_module *m,
                                       struct err *e)
{
    char hub[NAME_BYTES], tensor[NAME_BYTES + 8];
    const char *dir = p->model->dir;
    struct export_item *it;

    if (!name_servable(m->name)) {
        err_set(e, RC_DATA, "the scheme selects '%s', a Conv3d that no engine loads quantized: leave it out",
                m->name);
        return NULL;
    }
    if (!strcmp(m->name, "lm_head") && is_tied(p->model->config)) {
        err_set(e, RC_DATA, "the scheme selects 'lm_head', but '%s' ties it to the embedding: leave it out",
                dir);
        return NULL;
    }
    if (name_hub(m->name, hub, e))
        return NULL;
    snprintf(tensor, sizeof tensor, "%s.weight", hub);
    it = find_item(p, tensor);
    if (!it) {
        snprintf(tensor, sizeof tensor, "%s.bias", hub);
        if (find_item(p, tensor))
            err_set(e, RC_DATA, "'%s': module '%s' has a bias, but its weight is missing", dir, m->name);
        else
            err_set(e, RC_DATA,
                    "the scheme selects '%s', which '%s' does not have: it was made for another model",
                    m->name, dir);
        return NULL;
    }
    if (it->src->ndim != 2 || is_embedding(m->name)) {
        err_set(e, RC_DATA,
                "the scheme selects '%s', which is not a linear layer: its weight is not [out, in]", m->name);
        return NULL;
    }
    if (it->src->dtype == DT_BF16 || it->src->dtype == DT_F32 ||
        (it->src->dtype == DT_F16 && p->opts.rounding == ROUND_EXACT))
        return it;
    err_set(e, RC_DATA, "'%s': the weight of '%s' is %s, rounding %s takes %s", dir, m->name,
            st_dtype_name(it->src->dtype), rounding_text(p->opts.rounding),
            p->opts.rounding == ROUND_EXACT ? "BF16, F16 or F32" : "BF16 or F32");
    return NULL;
}

/* Engines merge the members of a group into one matrix: all of them are FP8, or none. */
static int check_group(const struct export_plan *p, const struct scheme_module *m, struct err *e)
{
    const char *member[NAME_MEMBERS_MAX];
    const size_t n = name_members(m->name, member);
    char sibling[2 * NAME_BYTES];

    for (size_t i = 0; i < n; i++) {
        const struct scheme_module *s;

        snprintf(sibling, sizeof sibling, "%.*s%s", (int)(after_last_dot(m->name) - m->name), m->name,
                 member[i]);
        s = scheme_find(p->scheme, sibling);
        if (!s || s->format != m->format)
            return err_set(e, RC_DATA,
                           "the scheme selects '%s' but not '%s': engines merge the two and need both",
                           m->name, sibling);
    }
    return 0;
}

static int select_modules(struct export_plan *p, struct err *e)
{
    const struct scheme *s = p->scheme;

    for (size_t i = 0; i < s->n_modules; i++) {
        const struct scheme_module *m = &s->module[i];
        struct export_item *it;

        if (m->format == FORMAT_NONE)
            continue;
        if (m->format != p->opts.layout->format)
            return err_set(e, RC_DATA,
                           "the scheme wants '%s' in %s, but the layout %s is for %s: choose another one",
                           m->name, scheme_format_text(m->format), p->opts.layout->name,
                           scheme_format_text(p->opts.layout->format));
        it = find_weight(p, m, e);
        if (!it || check_group(p, m, e))
            return -1;
        it->module = m;
        it->scale = fp8_scale(m->weight_amax, p->opts.rounding);
        it->out.dtype = DT_F8_E4M3;
        it->out.bytes = it->out.count;
        p->quantized++;
    }
    if (!p->quantized)
        return err_set(e, RC_DATA, "the scheme %s quantizes nothing: there is nothing to export", s->label);
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
    it = find_item(p, weight);
    if (!it || it->src->ndim != 2 || is_embedding(module) || !name_servable(module) ||
        (!strcmp(module, "lm_head") && is_tied(p->model->config)))
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

/*
 * One file stays one, but for by_group.  Several are filled up to shard_bytes in the order of the source, so
 * that neighbours stay together.  The room for its scales counts with a weight.
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
        const size_t add = it->out.bytes + (it->module ? 2 * sizeof(float) : 0);
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

static int add_scale(struct export_plan *p, size_t weight, const char *what, float value, struct err *e)
{
    char *name = mem_printf(e, "%.*s%s", (int)(strlen(p->item[weight].out.name) - strlen("weight")),
                            p->item[weight].out.name, what);
    struct export_item *it = name ? add_item(p, name, e) : NULL;

    free(name);
    if (!it)
        return -1;
    it->out.dtype = DT_F32;
    it->out.ndim = p->opts.layout->scale_ndim;
    it->out.shape[0] = it->out.ndim;
    it->out.count = 1;
    it->out.bytes = sizeof(float);
    it->scale = value;
    it->file = p->item[weight].file;
    return 0;
}

static int add_scales(struct export_plan *p, struct err *e)
{
    const size_t n = p->items;

    for (size_t i = 0; i < n; i++) {
        const struct scheme_module *m = p->item[i].module;

        if (m && (add_scale(p, i, "weight_scale", p->item[i].scale, e) ||
                  add_scale(p, i, "input_scale", fp8_scale(m->input_amax, p->opts.rounding), e)))
            return -1;
    }
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
    struct layout_layer *layer = mem_zalloc(p->items, sizeof *layer, e);
    char(*name)[NAME_BYTES] = mem_zalloc(p->items, sizeof *name, e);
    size_t n = 0;
    int ret = -1;

    if (!layer || !name)
        goto out;
    for (size_t i = 0; i < p->items; i++) {
        const struct export_item *it = &p->item[i];

        if (!it->src || it->src->ndim < 2)
            continue;
        if (module_of(it->out.name, name[n], e))
            goto out;
        if (!*name[n] || (!strcmp(name[n], "lm_head") && is_tied(p->model->config)))
            continue;
        layer[n] = (struct layout_layer){.name = name[n], .quantized = it->module != NULL};
        p->linears += it->src->ndim == 2 && !is_embedding(name[n]);
        n++;
    }
    p->ignore = p->opts.layout->ignore(layer, n, e);
    ret = p->ignore ? 0 : -1;
out:
    free(name);
    free(layer);
    return ret;
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
    if (check_digest(model, s, e) || list_tensors(p, e) || select_modules(p, e) || assign_files(p, e) ||
        add_scales(p, e) || make_ignore(p, e) || list_extras(p, e))
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
    for (size_t i = 0; i < p->items; i++)
        free(p->item[i].out.name);
    free(p->first);
    free(p->item);
    *p = (struct export_plan){0};
}
