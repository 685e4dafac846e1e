/*
 * make-model.c - a model of random weights from a config.json, to measure speed without the real ones
 *
 *   make-model CONFIG.json DIR
 *
 * DIR must exist; it gets config.json, preprocessor_config.json and model.safetensors, bf16.  Matrices are
 * uniform with the standard deviation 1 / sqrt(columns), so that activations keep their size; norms are 1,
 * biases 0.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/io/safetensors.h"
#include "common/model/config.h"

enum { TENSORS = 8192, NAME = 96, BLOCK = 1 << 22 };

static struct st_tensor tensor[TENSORS];
static size_t tensors;

static void add(const char *prefix, const char *name, size_t rows, size_t cols)
{
    struct st_tensor *t = &tensor[tensors];
    struct err e = {0};

    if (tensors == TENSORS || !(t->name = mem_printf(&e, "%s%s", prefix, name)))
        exit(4);
    t->dtype = DT_BF16;
    t->ndim = cols ? 2 : 1;
    t->shape[0] = rows;
    t->shape[1] = cols;
    t->count = rows * (cols ? cols : 1);
    t->bytes = 2 * t->count;
    tensors++;
}

static void add_vision(const struct vision_config *v)
{
    size_t merged = v->merge * v->merge * v->hidden;
    char p[NAME];
    struct st_tensor *patch = &tensor[tensors];

    add("visual.", "patch_embed.proj.weight", v->hidden, v->patch_dim);
    patch->ndim = 5;
    patch->shape[1] = v->channels;
    patch->shape[2] = v->temporal_patch;
    patch->shape[3] = patch->shape[4] = v->patch;
    for (size_t i = 0; i < v->depth; i++) {
        snprintf(p, sizeof p, "visual.blocks.%zu.", i);
        add(p, "norm1.weight", v->hidden, 0);
        add(p, "norm2.weight", v->hidden, 0);
        add(p, "attn.qkv.weight", 3 * v->hidden, v->hidden);
        add(p, "attn.qkv.bias", 3 * v->hidden, 0);
        add(p, "attn.proj.weight", v->hidden, v->hidden);
        add(p, "attn.proj.bias", v->hidden, 0);
        add(p, "mlp.gate_proj.weight", v->intermediate, v->hidden);
        add(p, "mlp.gate_proj.bias", v->intermediate, 0);
        add(p, "mlp.up_proj.weight", v->intermediate, v->hidden);
        add(p, "mlp.up_proj.bias", v->intermediate, 0);
        add(p, "mlp.down_proj.weight", v->hidden, v->intermediate);
        add(p, "mlp.down_proj.bias", v->hidden, 0);
    }
    add("visual.merger.", "ln_q.weight", v->hidden, 0);
    add("visual.merger.", "mlp.0.weight", merged, merged);
    add("visual.merger.", "mlp.0.bias", merged, 0);
    add("visual.merger.", "mlp.2.weight", v->out_hidden, merged);
    add("visual.merger.", "mlp.2.bias", v->out_hidden, 0);
}

static void add_text(const struct config *c)
{
    size_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    char p[NAME];

    add("model.", "embed_tokens.weight", c->vocab, c->hidden);
    for (size_t i = 0; i < c->layers; i++) {
        snprintf(p, sizeof p, "model.layers.%zu.", i);
        add(p, "input_layernorm.weight", c->hidden, 0);
        add(p, "post_attention_layernorm.weight", c->hidden, 0);
        add(p, "self_attn.q_proj.weight", q, c->hidden);
        add(p, "self_attn.q_proj.bias", q, 0);
        add(p, "self_attn.k_proj.weight", kv, c->hidden);
        add(p, "self_attn.k_proj.bias", kv, 0);
        add(p, "self_attn.v_proj.weight", kv, c->hidden);
        add(p, "self_attn.v_proj.bias", kv, 0);
        add(p, "self_attn.o_proj.weight", c->hidden, q);
        add(p, "mlp.gate_proj.weight", c->intermediate, c->hidden);
        add(p, "mlp.up_proj.weight", c->intermediate, c->hidden);
        add(p, "mlp.down_proj.weight", c->hidden, c->intermediate);
    }
    add("model.", "norm.weight", c->hidden, 0);
    if (!c->tied)
        add("", "lm_head.weight", c->vocab, c->hidden);
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Elements first..first+n of t. */
static void fill(uint16_t *to, const struct st_tensor *t, size_t index, size_t first, size_t n)
{
    const char *end = strrchr(t->name, '.');
    size_t cols = t->count / t->shape[0];
    float width = (float)sqrt(3.0 / (double)cols);

    if (t->ndim == 1) {
        for (size_t i = 0; i < n; i++)
            to[i] = !strcmp(end, ".bias") ? 0 : 0x3f80;
        return;
    }
#pragma omp parallel for
    for (size_t i = 0; i < n; i++) {
        uint64_t r = mix((uint64_t)index << 40 ^ (first + i));

        to[i] = bf16_from_f32(width * (float)((double)(int64_t)r * 0x1p-63));
    }
}

static int write_weights(const char *path, struct err *e)
{
    uint16_t *block = mem_zalloc(BLOCK, sizeof *block, e);
    FILE *f = fopen(path, "wb");
    size_t header;
    int ret = -1;

    if (!block)
        goto out;
    if (!f) {
        err_sys(e, "cannot open '%s'", path);
        goto out;
    }
    if (st_write_header(f, tensor, tensors, &header, e))
        goto out;
    for (size_t i = 0; i < tensors; i++)
        for (size_t at = 0, n; at < tensor[i].count; at += n) {
            n = tensor[i].count - at < BLOCK ? tensor[i].count - at : BLOCK;
            fill(block, &tensor[i], i, at, n);
            if (fwrite(block, sizeof *block, n, f) != n) {
                err_sys(e, "cannot write '%s'", path);
                goto out;
            }
        }
    ret = 0;
out:
    if (f && fclose(f) && ret == 0)
        ret = err_sys(e, "cannot write '%s'", path);
    free(block);
    return ret;
}

static int write_configs(const char *dir, const json_t *config, const struct config *c, struct err *e)
{
    char path[4096];
    json_t *p = json_pack("{s:i, s:i, s:i, s:i, s:i, s:[f,f,f], s:[f,f,f], s:s}", "min_pixels", 3136,
                          "max_pixels", 1003520, "patch_size", (int)c->vision.patch, "temporal_patch_size",
                          (int)c->vision.temporal_patch, "merge_size", (int)c->vision.merge, "image_mean",
                          0.48145467, 0.4578275, 0.40821073, "image_std", 0.26862954, 0.26130258, 0.27577711,
                          "image_processor_type", "Qwen2VLImageProcessor");
    int ret = 0;

    snprintf(path, sizeof path, "%s/config.json", dir);
    ret = json_dump_file(config, path, JSON_INDENT(2));
    snprintf(path, sizeof path, "%s/preprocessor_config.json", dir);
    if (ret == 0 && c->has_vision)
        ret = json_dump_file(p, path, JSON_INDENT(2));
    json_decref(p);
    return ret ? err_set(e, RC_SYS, "cannot write '%s'", path) : 0;
}

static int by_file_order(const void *a, const void *b)
{
    return st_compare(a, b);
}

static int run(const char *config_path, const char *dir, struct err *e)
{
    struct config c;
    char path[4096];
    json_t *config = json_read(config_path, NULL, e);
    int ret = -1;

    if (!config || config_read(&c, config, config_path, e) || write_configs(dir, config, &c, e))
        goto out;
    if (c.has_vision)
        add_vision(&c.vision);
    add_text(&c);
    qsort(tensor, tensors, sizeof *tensor, by_file_order);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    ret = write_weights(path, e);
out:
    json_decref(config);
    return ret;
}

int main(int argc, char **argv)
{
    struct err e = {0};

    if (argc != 3) {
        fprintf(stderr, "usage: make-model CONFIG.json DIR\n");
        return 2;
    }
    if (run(argv[1], argv[2], &e))
        fprintf(stderr, "make-model: %s\n", e.msg);
    for (size_t i = 0; i < tensors; i++)
        free(tensor[i].name);
    return (int)e.rc;
}
