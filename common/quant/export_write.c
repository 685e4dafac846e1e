/* export_write.c - the planned checkpoint: written, looked at again, and moved into place */
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/io/outdir.h"
#include "common/quant/export.h"
#include "common/quant/modelopt.h"

/* Weights may exceed their range by what a range taken in bf16 lost, and by no more. */
#define RANGE_SLACK (1.0f + 0x1p-8f)

/* "model.safetensors", or "model-00002-of-00005.safetensors": to be freed. */
static char *file_name(const struct export_plan *p, size_t file, struct err *e)
{
    if (!p->model->indexed)
        return mem_strdup("model.safetensors", e);
    return mem_printf(e, "model-%05zu-of-%05zu.safetensors", file + 1, p->files);
}

/* A file of tensors in the making, and room for the codes of the largest one. */
struct sink {
    FILE *f;
    const char *path;
    uint8_t *code;
};

static int write_bytes(const struct sink *to, const void *data, size_t n, struct err *e)
{
    return n && fwrite(data, 1, n, to->f) != n ? err_sys(e, "cannot write '%s'", to->path) : 0;
}

static int write_codes(const struct export_plan *p, const struct export_item *it, const struct sink *to,
                       struct err *e)
{
    const struct st_tensor *t = it->src;
    float amax;

    if (tensor_amax(t->data, t->dtype, t->count, t->name, &amax, e))
        return err_prefix(e, "'%s'", ckpt_file_of(p->model, t));
    if (!(amax <= it->module->weight_amax * RANGE_SLACK))
        return err_set(e, RC_DATA,
                       "tensor '%s' of '%s' reaches %g, but the scheme's range of it is %g: the scheme was "
                       "made for another model",
                       t->name, ckpt_file_of(p->model, t), (double)amax, (double)it->module->weight_amax);
    if (tensor_encode(t->data, t->dtype, t->count, it->scale, p->rounding, to->code, t->name, e))
        return err_prefix(e, "'%s'", ckpt_file_of(p->model, t));
    return write_bytes(to, to->code, t->count, e);
}

static int write_item(const struct export_plan *p, const struct export_item *it, const struct sink *to,
                      struct err *e)
{
    uint32_t bits;
    uint8_t le[4];

    if (it->module)
        return write_codes(p, it, to, e);
    if (it->src)
        return write_bytes(to, it->src->data, it->src->bytes, e);
    bits = f32_bits(it->scale);
    for (int i = 0; i < 4; i++)
        le[i] = (uint8_t)(bits >> 8 * i);
    return write_bytes(to, le, sizeof le, e);
}

/* The items first..first+n, which share a file. */
static int write_file(const struct export_plan *p, size_t first, size_t n, const char *path, uint8_t *code,
                      struct progress *progress, struct err *e)
{
    struct st_tensor *tensor = mem_zalloc(n, sizeof *tensor, e);
    struct file_out o = {0};
    struct sink to = {.path = path, .code = code};
    size_t header;
    int ret = -1;

    if (!tensor)
        return -1;
    for (size_t i = 0; i < n; i++)
        tensor[i] = p->item[first + i].out;
    if (file_create(&o, path, false, true, e))
        goto out;
    to.f = o.f;
    ret = st_write_header(o.f, tensor, n, &header, e);
    for (size_t i = 0; i < n && ret == 0; i++) {
        ret = write_item(p, &p->item[first + i], &to, e);
        progress_add(progress, 1);
    }
    if (ret == 0)
        ret = file_commit(&o, e);
out:
    file_discard(&o);
    free(tensor);
    return ret;
}

static int write_index(const struct export_plan *p, const char *dir, struct err *e)
{
    json_t *doc = json_object(), *meta = json_object(), *map = json_object();
    char *path = file_join(dir, "model.safetensors.index.json", e);
    json_int_t total = 0;
    int bad = !path;

    for (size_t i = 0; i < p->items && !bad; i++) {
        char *name = file_name(p, p->item[i].file, e);

        bad = !name || json_put(map, p->item[i].out.name, json_string(name), e);
        total += (json_int_t)p->item[i].out.bytes;
        free(name);
    }
    bad |= json_put(meta, "total_size", json_integer(total), e);
    bad |= json_put(doc, "metadata", meta, e);
    bad |= json_put(doc, "weight_map", map, e);
    if (!bad)
        bad = json_save(path, doc, e);
    json_decref(doc);
    free(path);
    return bad ? -1 : 0;
}

/* Takes v over; NULL: e is set already. */
static int save(const char *dir, const char *name, json_t *v, struct err *e)
{
    char *path = v ? file_join(dir, name, e) : NULL;
    int ret = path ? json_save(path, v, e) : -1;

    free(path);
    json_decref(v);
    return ret;
}

static int write_configs(const struct export_plan *p, const char *dir, struct err *e)
{
    json_t *config = json_copy(p->model->config), *inline_config = modelopt_inline_config(p->ignore, e);

    if (!inline_config || json_put(config, "quantization_config", inline_config, e)) {
        json_decref(config);
        return -1;
    }
    if (save(dir, "config.json", config, e))
        return -1;
    return save(dir, "hf_quant_config.json", modelopt_file_config(p->ignore, e), e);
}

static int copy_extras(const struct export_plan *p, const char *dir, struct err *e)
{
    int ret = 0;

    for (size_t i = 0; i < p->extras && ret == 0; i++) {
        char *src = file_join(p->model->dir, p->extra[i], e), *dst = file_join(dir, p->extra[i], e);

        ret = src && dst ? file_copy(src, dst, e) : -1;
        free(dst);
        free(src);
    }
    return ret;
}

static int write_tensors(const struct export_plan *p, const char *dir, struct progress *progress,
                         struct err *e)
{
    size_t most = 0, n;
    uint8_t *code;
    int ret = 0;

    for (size_t i = 0; i < p->items; i++)
        if (p->item[i].module && p->item[i].out.bytes > most)
            most = p->item[i].out.bytes;
    code = mem_zalloc(most, 1, e);
    if (!code)
        return -1;
    for (size_t i = 0; i < p->items && ret == 0; i += n) {
        char *name = file_name(p, p->item[i].file, e), *path = name ? file_join(dir, name, e) : NULL;

        for (n = 1; i + n < p->items && p->item[i + n].file == p->item[i].file; n++)
            ;
        ret = path ? write_file(p, i, n, path, code, progress, e) : -1;
        free(path);
        free(name);
    }
    free(code);
    return ret;
}

/* What was written is opened as any reader would, and must be the plan: names, dtypes, shapes and scales. */
static int verify(const struct export_plan *p, const char *dir, struct err *e)
{
    struct ckpt c;
    size_t quantized = 0;
    int ret = -1;

    if (ckpt_open(&c, dir, e))
        return err_prefix(e, "what was written cannot be read back");
    for (size_t i = 0; i < p->items; i++) {
        const struct export_item *it = &p->item[i];
        const struct st_tensor *t = ckpt_find(&c, it->out.name);
        float scale;

        if (!t || t->dtype != it->out.dtype || t->ndim != it->out.ndim ||
            memcmp(t->shape, it->out.shape, t->ndim * sizeof *t->shape)) {
            err_set(e, RC_DATA, "what was written is not what was planned: tensor '%s' differs",
                    it->out.name);
            goto out;
        }
        if (!it->src && (ckpt_read_f32(&c, t, 0, 1, &scale, true, e) || !(scale > 0) || scale != it->scale)) {
            err_set(e, RC_DATA, "what was written is not what was planned: scale '%s' differs", it->out.name);
            goto out;
        }
        quantized += t->dtype == DT_F8_E4M3;
    }
    if (c.tensors != p->items || quantized != p->quantized ||
        !json_equal(json_object_get(json_object_get(c.config, "quantization_config"), "ignore"), p->ignore)) {
        err_set(e, RC_DATA,
                "what was written is not what was planned: %zu tensors of %zu, %zu quantized of %zu",
                c.tensors, p->items, quantized, p->quantized);
        goto out;
    }
    ret = 0;
out:
    ckpt_close(&c);
    return ret;
}

/* The new directory is neither the model's nor in it: one would destroy the model, the other change it. */
static int check_apart(const char *model, const char *dir, struct err *e)
{
    char from[PATH_MAX], to[PATH_MAX], *copy = mem_strdup(dir, e);
    size_t n;
    int ret = -1;

    if (!copy)
        return -1;
    if (!realpath(model, from)) {
        err_sys(e, "cannot resolve '%s'", model);
        goto out;
    }
    if (!realpath(dir, to) && !realpath(dirname(copy), to)) {
        err_sys(e, "cannot create '%s'", dir);
        goto out;
    }
    n = strlen(from);
    if (!strncmp(to, from, n) && (to[n] == '/' || !to[n]))
        err_set(e, RC_USAGE, "'%s' is the model's own directory or in it: choose a place outside '%s'", dir,
                model);
    else
        ret = 0;
out:
    free(copy);
    return ret;
}

int export_write(const struct export_plan *p, const char *dir, bool force, struct progress *progress,
                 struct err *e)
{
    struct outdir o = {0};
    int ret = -1;

    if (check_apart(p->model->dir, dir, e) || outdir_create(&o, dir, force, "hf_quant_config.json", e))
        return -1;
    if (outdir_room(&o, p->bytes, e) || copy_extras(p, o.tmp, e) || write_configs(p, o.tmp, e) ||
        (p->model->indexed && write_index(p, o.tmp, e)) || write_tensors(p, o.tmp, progress, e) ||
        verify(p, o.tmp, e))
        goto out;
    ret = outdir_commit(&o, e);
out:
    outdir_discard(&o);
    return ret;
}
