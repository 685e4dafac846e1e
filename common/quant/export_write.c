/* export_write.c - the planned checkpoint: written, looked at again, and moved into place */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/mem.h"
#include "common/io/outdir.h"
#include "common/quant/export_plan.h"

/* Weights may exceed their range by what a range taken in bf16 lost, and by no more. */
#define RANGE_SLACK (1.0f + 0x1p-8f)

/* How often a file is put into the pool again when it is gone before the checkpoint has a link to it. */
enum { ATTEMPTS = 5 };

/* "model.safetensors", or "model-00002-of-00005.safetensors": to be freed. */
static char *file_name(const struct export_plan *p, size_t file, struct err *e)
{
    if (!p->indexed)
        return mem_strdup("model.safetensors", e);
    return mem_printf(e, "model-%05zu-of-%05zu.safetensors", file + 1, p->files);
}

/* A file of tensors in the making, and room for EXPORT_CHUNK codes. */
struct sink {
    FILE *f;
    const char *path;
    uint8_t *code;
};

static int write_bytes(const struct sink *to, const void *data, size_t n, struct err *e)
{
    return n && fwrite(data, 1, n, to->f) != n ? err_sys(e, "cannot write '%s'", to->path) : 0;
}

static int write_fp8(const struct export_plan *p, const struct export_item *it, const struct sink *to,
                     struct err *e)
{
    const struct st_tensor *t = it->src;
    float amax;

    if (tensor_amax(t->data, t->dtype, t->count, t->name, &amax, e))
        return -1;
    if (!(amax <= it->module->weight_amax * RANGE_SLACK))
        return err_set(e, RC_DATA,
                       "tensor '%s' reaches %g, but the scheme's range of it is %g: the scheme was made for another "
                       "model",
                       t->name, (double)amax, (double)it->module->weight_amax);
    for (size_t i = 0; i < t->count; i += EXPORT_CHUNK) {
        const size_t n = t->count - i < EXPORT_CHUNK ? t->count - i : EXPORT_CHUNK;

        if (tensor_encode(t->data + i * dtype_bytes(t->dtype), t->dtype, n, it->scale, p->opts.rounding,
                          to->code, t->name, e) ||
            write_bytes(to, to->code, n, e))
            return -1;
    }
    return 0;
}

/* little endian, as files have it */
static int write_words(const struct sink *to, const float *x, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = f32_bits(x[i]);
        const uint8_t le[] = {(uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16),
                              (uint8_t)(bits >> 24)};

        if (write_bytes(to, le, sizeof le, e))
            return -1;
    }
    return 0;
}

/* n numbers as a tensor of that type. */
static int write_floats(const struct sink *to, const float *x, size_t n, enum dtype dtype, struct err *e)
{
    if (dtype == DT_F32)
        return write_words(to, x, n, e);
    for (size_t i = 0; i < n; i++) {
        const uint16_t half = dtype == DT_BF16 ? bf16_from_f32(x[i]) : f16_from_f32(x[i]);
        const uint8_t le[] = {(uint8_t)half, (uint8_t)(half >> 8)};

        if (write_bytes(to, le, sizeof le, e))
            return -1;
    }
    return 0;
}

/* The scales of the rows, or the codes that they give. */
static int write_int8(const struct export_plan *p, const struct export_item *it, const struct sink *to,
                      struct err *e)
{
    const struct st_tensor *w = it->src;
    const struct smooth smooth = {it->module->pre_scale, it->module->own_scale, it->module->folded};
    const struct tensor_rows t = {.w = w->data,
                                  .dtype = w->dtype,
                                  .rows = w->shape[0],
                                  .cols = w->shape[1],
                                  .smooth = smooth.pre ? &smooth : NULL,
                                  .rounding = p->opts.rounding,
                                  .name = w->name};
    const size_t most = t.cols ? EXPORT_CHUNK / t.cols : t.rows; /* find_weight() keeps it above 0 */
    float *scale = mem_zalloc(t.rows, sizeof *scale, e);
    int ret = scale ? tensor_row_scales(&t, scale, e) : -1;

    if (ret == 0 && it->kind == EXPORT_ROW_SCALES)
        ret = write_words(to, scale, t.rows, e);
    for (size_t i = 0; i < t.rows && ret == 0 && it->kind == EXPORT_CODES; i += most) {
        const size_t n = t.rows - i < most ? t.rows - i : most;

        ret = tensor_encode_rows(&t, scale, i, n, (int8_t *)to->code, e) ||
              write_bytes(to, to->code, n * t.cols, e)
                  ? -1
                  : 0;
    }
    free(scale);
    return ret;
}

static int write_norm(const struct export_plan *p, const struct export_item *it, const struct sink *to,
                      struct err *e)
{
    const struct st_tensor *t = it->src;
    float *x = mem_zalloc(t->count, sizeof *x, e);
    int ret = x ? ckpt_read_f32(p->model, t, 0, t->count, x, true, e) : -1;

    if (ret == 0) {
        int8_fold(x, x, it->module->pre_scale, t->count, t->dtype);
        ret = write_floats(to, x, t->count, t->dtype, e);
    }
    free(x);
    return ret;
}

static int write_item(const struct export_plan *p, const struct export_item *it, const struct sink *to,
                      struct err *e)
{
    int ret = -1;

    switch (it->kind) {
    case EXPORT_COPY: return write_bytes(to, it->src->data, it->src->bytes, e);
    case EXPORT_NUMBER: return write_words(to, &it->scale, 1, e);
    case EXPORT_PRE_SCALE: return write_floats(to, it->module->pre_scale, it->out.count, it->out.dtype, e);
    case EXPORT_NORM: return write_norm(p, it, to, e);
    case EXPORT_ROW_SCALES: ret = write_int8(p, it, to, e); break;
    case EXPORT_CODES: ret = (it->module->format == FORMAT_INT8 ? write_int8 : write_fp8)(p, it, to,
                                                                                          e); break;
    }
    return ret && e->rc == RC_DATA ? err_prefix(e, "'%s'", ckpt_file_of(p->model, it->src)) : ret;
}

/* All bytes of a file.  Several threads may do this at once, each to a sink of its own. */
static int write_file(const struct export_plan *p, size_t file, const struct sink *to,
                      struct progress *progress, struct err *e)
{
    const size_t first = p->first[file], n = p->first[file + 1] - first;
    struct st_tensor *tensor = mem_zalloc(n, sizeof *tensor, e);
    size_t header;
    int ret = tensor ? 0 : -1;

    for (size_t i = 0; i < n && ret == 0; i++)
        tensor[i] = p->item[first + i].out;
    if (ret == 0)
        ret = st_write_header(to->f, tensor, n, &header, e);
    for (size_t i = 0; i < n && ret == 0; i++) {
        ret = write_item(p, &p->item[first + i], to, e);
#pragma omp critical(export_progress)
        progress_add(progress, 1);
    }
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
    const struct layout *l = p->opts.layout;
    const struct layout_claim claim = {p->layer, p->layers, p->ignore, p->scheme->n_kv > 0};
    json_t *config = json_copy(p->model->config), *inline_config = l->config(&claim, e);

    if (!inline_config || json_put(config, "quantization_config", inline_config, e)) {
        json_decref(config);
        return -1;
    }
    if (save(dir, "config.json", config, e))
        return -1;
    return l->hf_config ? save(dir, "hf_quant_config.json", l->hf_config(&claim, e), e) : 0;
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
    uint8_t *code = mem_zalloc(EXPORT_CHUNK, 1, e);
    int ret = code ? 0 : -1;

    for (size_t i = 0; i < p->files && ret == 0; i++) {
        char *name = file_name(p, i, e), *path = name ? file_join(dir, name, e) : NULL;
        struct file_out o = {0};

        ret = path ? file_create(&o, path, false, true, e) : -1;
        if (ret == 0)
            ret = write_file(p, i, &(struct sink){o.f, path, code}, progress, e);
        if (ret == 0)
            ret = file_commit(&o, e);
        file_discard(&o);
        free(path);
        free(name);
    }
    free(code);
    return ret;
}

/* A file of tensors that the pool has, or is to have. */
struct shared {
    char hex[SHA256_HEX];
    int there;
};

static ssize_t add_to_digest(void *sha, const char *data, size_t n)
{
    sha256_add(sha, data, n);
    return (ssize_t)n;
}

/* What the file would be called in the pool, found by writing it to nowhere, and whether it is there. */
static int look_up(const struct export_plan *p, const struct pool *pool, size_t file, struct shared *s,
                   struct progress *progress, struct err *e)
{
    struct sha256 sha;
    FILE *f = fopencookie(&sha, "w", (cookie_io_functions_t){.write = add_to_digest});
    uint8_t *code = mem_zalloc(EXPORT_CHUNK, 1, e);
    int ret = -1;

    sha256_init(&sha);
    if (f && code)
        ret = write_file(p, file, &(struct sink){f, "a digest", code}, progress, e);
    if (!f || fclose(f))
        ret = err_sys(e, "cannot make a digest of the tensors");
    free(code);
    if (ret)
        return -1;
    sha256_hex(&sha, s->hex);
    s->there = pool_has(pool, s->hex, e);
    return s->there < 0 ? -1 : 0;
}

/* Digests take most of the time, and files are independent: each thread has some. */
static int look_up_all(const struct export_plan *p, const struct pool *pool, struct shared *s,
                       struct progress *progress, struct err *e)
{
    size_t bad = p->files; /* the first file that failed: the same message whatever thread comes first */

#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < p->files; i++) {
        struct err mine = {0};

        if (look_up(p, pool, i, &s[i], progress, &mine)) {
#pragma omp critical(export_error)
            if (i < bad) {
                bad = i;
                *e = mine;
            }
        }
    }
    return bad < p->files ? -1 : 0;
}

/* Room for what the pool lacks, and for the checkpoint: all of it where the two cannot share. */
static int check_room(const struct export_plan *p, const struct pool *pool, const struct shared *s,
                      const struct outdir *o, struct err *e)
{
    uint64_t lacks = 0, own = p->bytes - p->tensor_bytes;
    struct stat a, b;

    for (size_t i = 0; i < p->files; i++)
        lacks += s[i].there ? 0 : export_file_bytes(p, i);
    if (stat(pool->dir, &a) || stat(o->tmp, &b))
        return err_sys(e, "cannot stat '%s' and '%s'", pool->dir, o->tmp);
    if (a.st_dev != b.st_dev)
        own += p->tensor_bytes;
    else
        own += lacks;
    return (lacks && outdir_room_at(pool->dir, pool->dir, lacks, e)) || outdir_room(o, own, e) ? -1 : 0;
}

/*
 * Put a file into the pool unless it is there, and a link to it into the checkpoint.  code: EXPORT_CHUNK
 * bytes of room.
 */
static int share(const struct export_plan *p, struct pool *pool, size_t file, const struct shared *s,
                 uint8_t *code, const char *dst, struct progress *progress, struct err *e)
{
    int ret = s->there ? pool_take(pool, s->hex, dst, e) : 0;

    if (ret == 1) {
        pool->use.found++;
        progress_add(progress, p->first[file + 1] - p->first[file]);
        return 0;
    }
    for (int i = 0; i < ATTEMPTS && ret == 0; i++) {
        struct pool_file f = {0};

        if (pool_create(pool, &f, e))
            return -1;
        ret = write_file(p, file, &(struct sink){f.f, f.path, code}, progress, e);
        if (ret == 0)
            ret = pool_publish(pool, &f, s->hex, e);
        pool_discard(&f);
        if (ret == 0)
            ret = pool_take(pool, s->hex, dst, e);
    }
    if (ret == 0)
        return err_set(e, RC_SYS, "the pool '%s' is being emptied while it is filled: try again later",
                       pool->dir);
    return ret == 1 ? 0 : -1;
}

static int share_tensors(const struct export_plan *p, const struct export_target *to, const struct outdir *o,
                         struct pool_use *use, struct progress *progress, struct err *e)
{
    struct shared *s = mem_zalloc(p->files, sizeof *s, e);
    uint8_t *code = mem_zalloc(EXPORT_CHUNK, 1, e);
    struct pool pool = {0};
    int ret = -1;

    if (!s || !code || pool_open(&pool, to->pool, e) || look_up_all(p, &pool, s, progress, e) ||
        check_room(p, &pool, s, o, e))
        goto out;
    ret = 0;
    for (size_t i = 0; i < p->files && ret == 0; i++) {
        char *name = file_name(p, i, e), *path = name ? file_join(o->tmp, name, e) : NULL;

        ret = path ? share(p, &pool, i, &s[i], code, path, progress, e) : -1;
        free(path);
        free(name);
    }
    if (ret == 0)
        ret = pool_sync(&pool, e);
    if (ret == 0 && use)
        *use = pool.use;
out:
    pool_close(&pool);
    free(code);
    free(s);
    return ret;
}

/* Scales are above 0 and finite; a single one is as planned. */
static int verify_scale(const struct ckpt *c, const struct export_item *it, const struct st_tensor *t,
                        struct err *e)
{
    for (size_t i = 0; i < t->count; i++) {
        float scale;

        if (ckpt_read_f32(c, t, i, 1, &scale, true, e) || !(scale > 0) ||
            (it->kind == EXPORT_NUMBER && scale != it->scale))
            return err_set(e, RC_DATA, "what was written is not what was planned: scale '%s' differs",
                           it->out.name);
    }
    return 0;
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

        if (!t || t->dtype != it->out.dtype || t->ndim != it->out.ndim ||
            memcmp(t->shape, it->out.shape, t->ndim * sizeof *t->shape)) {
            err_set(e, RC_DATA, "what was written is not what was planned: tensor '%s' differs",
                    it->out.name);
            goto out;
        }
        if (!export_was_there(it) && verify_scale(&c, it, t, e))
            goto out;
        quantized += t->dtype == DT_F8_E4M3 || t->dtype == DT_I8;
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

size_t export_steps(const struct export_plan *p, const struct export_target *to)
{
    return to->pool ? 2 * p->items : p->items; /* the pool wants digests first */
}

int export_write(const struct export_plan *p, const struct export_target *to, struct pool_use *use,
                 struct progress *progress, struct err *e)
{
    struct outdir o = {0};
    int ret = -1;

    if (export_check_places(p, to, e) || outdir_create(&o, to->dir, to->force, "config.json", e))
        return -1;
    if (!to->pool && outdir_room(&o, p->bytes, e))
        goto out;
    if (to->pool && share_tensors(p, to, &o, use, progress, e))
        goto out;
    if (copy_extras(p, o.tmp, e) || write_configs(p, o.tmp, e) || (p->indexed && write_index(p, o.tmp, e)) ||
        (!to->pool && write_tensors(p, o.tmp, progress, e)) || verify(p, o.tmp, e))
        goto out;
    ret = outdir_commit(&o, e);
out:
    outdir_discard(&o);
    return ret;
}
