/* weights.c - the tensors of a model under canonical names, checked against config.json */
#include "common/model/weights.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/fp8.h"
#include "common/base/int8.h"
#include "common/base/mem.h"
#include "common/quant/tensor.h"
#include "common/model/weights_scales.h"

enum { CHUNK = 1 << 16 };

static bool begins(const char *s, const char *prefix)
{
    return !strncmp(s, prefix, strlen(prefix));
}

static bool ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), k = strlen(suffix);

    return n >= k && !strcmp(s + n - k, suffix);
}

/* model.visual.x and visual.x: visual.x; model.language_model.x, language_model.x and model.x:
 * language_model.x. */
static char *canonical_name(const char *name, struct err *e)
{
    const char *rest = begins(name, "model.") ? name + strlen("model.") : name;

    if (rest == name || begins(rest, "visual.") || begins(rest, "language_model."))
        return mem_strdup(rest, e);
    return mem_printf(e, "language_model.%s", rest);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct weights_name *)a)->name, ((const struct weights_name *)b)->name);
}

static int list_names(struct weights *w, struct err *e)
{
    const struct ckpt *c = &w->ckpt;

    w->name = mem_zalloc(c->tensors, sizeof *w->name, e);
    if (!w->name)
        return -1;
    for (size_t i = 0; i < c->tensors; i++) {
        struct weights_name *n = &w->name[w->names];

        n->tensor = c->by_name[i];
        n->name = canonical_name(n->tensor->name, e);
        if (!n->name)
            return -1;
        w->names++;
    }
    qsort(w->name, w->names, sizeof *w->name, compare_names);
    for (size_t i = 1; i < w->names; i++) {
        const struct weights_name *a = &w->name[i - 1], *b = &w->name[i];

        if (!strcmp(a->name, b->name))
            return err_set(e, RC_DATA,
                           "'%s': tensors '%s' and '%s' are the same one in two naming styles: remove one",
                           c->dir, a->tensor->name, b->tensor->name);
    }
    return 0;
}

struct weights_name *weights_lookup(const struct weights *w, const char *module, const char *suffix)
{
    char name[NAME_BYTES];
    struct weights_name key = {.name = name};

    if ((size_t)snprintf(name, sizeof name, "%s%s%s", module, *suffix ? "." : "", suffix) >= sizeof name)
        return NULL;
    return w->names ? bsearch(&key, w->name, w->names, sizeof *w->name, compare_names) : NULL;
}

const struct st_tensor *weights_find(const struct weights *w, const char *canonical)
{
    const struct weights_name *n = weights_lookup(w, canonical, "");

    return n ? n->tensor : NULL;
}

struct linear_info *weights_linear(const struct weights *w, const char *module)
{
    for (size_t i = 0; i < w->linears; i++)
        if (!strcmp(w->linear[i].name, module))
            return &w->linear[i];
    return NULL;
}

static const char *shape_text(char *s, size_t size, const size_t *shape, size_t ndim)
{
    size_t n = 1;

    snprintf(s, size, "[");
    for (size_t i = 0; i < ndim && n < size; i++)
        n += (size_t)snprintf(s + n, size - n, "%s%zu", i ? ", " : "", shape[i]);
    if (n < size)
        snprintf(s + n, size - n, "]");
    return s;
}

static int check_shape(const struct weights *w, const struct st_tensor *t, const size_t *shape, size_t ndim,
                       struct err *e)
{
    char have[128], want[128];

    if (t->ndim == ndim && !memcmp(t->shape, shape, ndim * sizeof *shape))
        return 0;
    return err_set(e, RC_DATA,
                   "'%s': tensor '%s' is %s, its config.json asks for %s: they are not of one model",
                   ckpt_file_of(&w->ckpt, t), t->name, shape_text(have, sizeof have, t->shape, t->ndim),
                   shape_text(want, sizeof want, shape, ndim));
}

bool weights_is_float(enum dtype t)
{
    return t == DT_BF16 || t == DT_F16 || t == DT_F32;
}

bool weights_is_codes(enum dtype t)
{
    return t == DT_F8_E4M3 || t == DT_I8;
}

/* The tensor MODULE.SUFFIX, which has to be there in that shape.  codes: FP8 and INT8 will do, too. */
static const struct st_tensor *take(struct weights *w, const char *module, const char *suffix,
                                    const size_t *shape, size_t ndim, bool codes, struct err *e)
{
    struct weights_name *n = weights_lookup(w, module, suffix);
    const struct st_tensor *t;

    if (!n) {
        err_set(
            e, RC_DATA,
            "'%s' has no tensor '%s.%s' in any naming style, its config.json asks for it: copy all its files",
            w->ckpt.dir, module, suffix);
        return NULL;
    }
    n->known = true;
    t = n->tensor;
    if (check_shape(w, t, shape, ndim, e))
        return NULL;
    if (weights_is_float(t->dtype) || (codes && weights_is_codes(t->dtype)))
        return t;
    err_set(e, RC_DATA, "'%s': tensor '%s' is %s; BF16, F16%s F32%s is read here", ckpt_file_of(&w->ckpt, t),
            t->name, st_dtype_name(t->dtype), codes ? "," : " or", codes ? " or F8_E4M3 or I8 with scales"
                : "");
    return NULL;
}

static int take_vector(struct weights *w, const char *module, const char *suffix, size_t n, struct err *e)
{
    return take(w, module, suffix, &n, 1, false, e) ? 0 : -1;
}

struct walk {
    struct weights *w;
    struct quantspec spec;
};

/* Append the linear module PREFIX.LEAF. */
static int add_linear(struct walk *k, const char *prefix, const char *leaf, size_t out, size_t in, bool bias,
                      struct err *e)
{
    struct weights *w = k->w;
    const struct vision_config *v = &w->config.vision;
    const size_t matrix[] = {out, in}, conv[] = {out, v->channels, v->temporal_patch, v->patch, v->patch};
    struct linear_info *l = &w->linear[w->linears];
    const bool is_conv = !strcmp(leaf, "patch_embed.proj");
    const bool tied_head = w->config.tied && !*prefix;
    bool dynamic;

    l->name = mem_printf(e, "%s%s%s", prefix, *prefix ? "." : "", leaf);
    if (!l->name)
        return -1;
    w->linears++;
    l->out = out;
    l->in = in;
    if (tied_head)
        l->weight = take(w, "language_model.embed_tokens", "weight", matrix, 2, false, e);
    else
        l->weight = take(w, l->name, "weight", is_conv ? conv : matrix, is_conv ? 5 : 2, true, e);
    if (!l->weight)
        return -1;
    if (bias) {
        l->bias = take(w, l->name, "bias", &out, 1, false, e);
        if (!l->bias)
            return -1;
    }
    return weights_check_form(w, &k->spec, l, tied_head, &dynamic, e) ||
           weights_read_scales(w, l, dynamic, e) ||
                   weights_read_kv(w, &k->spec, l, e)
               ? -1
               : 0;
}

/*
 * A tied model's own lm_head.weight: harmless when it equals the embedding.  As FP8 codes it is an export
 * gone wrong: loaders tie the head again and drop it.
 */
static int look_at_stray_head(struct weights *w, struct err *e)
{
    struct weights_name *n = weights_lookup(w, "lm_head", "weight");
    const struct st_tensor *t = n ? n->tensor : NULL,
                           *embed = weights_find(w, "language_model.embed_tokens.weight");

    if (!t || !w->config.tied)
        return 0;
    n->known = true;
    if (!weights_is_float(t->dtype))
        return err_set(e, RC_DATA,
                       "'%s': '%s' is %s, but config.json ties the head to the embedding, so that loaders "
                       "drop it: export "
                       "the checkpoint again without lm_head",
                       ckpt_file_of(&w->ckpt, t), t->name, st_dtype_name(t->dtype));
    w->stray_head =
        t->dtype != embed->dtype || t->bytes != embed->bytes || memcmp(t->data, embed->data, t->bytes) != 0;
    return 0;
}

static int walk_vision(struct walk *k, struct err *e)
{
    const struct vision_config *v = &k->w->config.vision;
    const size_t merged = v->merge * v->merge * v->hidden;
    char block[NAME_BYTES];

    if (add_linear(k, "visual", "patch_embed.proj", v->hidden, v->patch_dim, false, e))
        return -1;
    for (size_t i = 0; i < v->depth; i++) {
        snprintf(block, sizeof block, "visual.blocks.%zu", i);
        if (take_vector(k->w, block, "norm1.weight", v->hidden, e) ||
            take_vector(k->w, block, "norm2.weight", v->hidden, e) ||
            add_linear(k, block, "attn.qkv", 3 * v->hidden, v->hidden, true, e) ||
            add_linear(k, block, "attn.proj", v->hidden, v->hidden, true, e) ||
            add_linear(k, block, "mlp.gate_proj", v->intermediate, v->hidden, true, e) ||
            add_linear(k, block, "mlp.up_proj", v->intermediate, v->hidden, true, e) ||
            add_linear(k, block, "mlp.down_proj", v->hidden, v->intermediate, true, e))
            return -1;
    }
    if (take_vector(k->w, "visual.merger", "ln_q.weight", v->hidden, e) ||
        add_linear(k, "visual.merger", "mlp.0", merged, merged, true, e) ||
        add_linear(k, "visual.merger", "mlp.2", v->out_hidden, merged, true, e))
        return -1;
    return 0;
}

static int walk_language(struct walk *k, struct err *e)
{
    const struct config *c = &k->w->config;
    const size_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim, embed[] = {c->vocab, c->hidden};
    char layer[NAME_BYTES];

    if (!take(k->w, "language_model.embed_tokens", "weight", embed, 2, false, e))
        return -1;
    for (size_t i = 0; i < c->layers; i++) {
        snprintf(layer, sizeof layer, "language_model.layers.%zu", i);
        if (take_vector(k->w, layer, "input_layernorm.weight", c->hidden, e) ||
            take_vector(k->w, layer, "post_attention_layernorm.weight", c->hidden, e) ||
            add_linear(k, layer, "self_attn.q_proj", q, c->hidden, true, e) ||
            add_linear(k, layer, "self_attn.k_proj", kv, c->hidden, true, e) ||
            add_linear(k, layer, "self_attn.v_proj", kv, c->hidden, true, e) ||
            add_linear(k, layer, "self_attn.o_proj", c->hidden, q, false, e) ||
            add_linear(k, layer, "mlp.gate_proj", c->intermediate, c->hidden, false, e) ||
            add_linear(k, layer, "mlp.up_proj", c->intermediate, c->hidden, false, e) ||
            add_linear(k, layer, "mlp.down_proj", c->hidden, c->intermediate, false, e))
            return -1;
    }
    if (take_vector(k->w, "language_model.norm", "weight", c->hidden, e) || look_at_stray_head(k->w, e))
        return -1;
    return add_linear(k, "", "lm_head", c->vocab, c->hidden, false, e);
}

/* Whatever is left over says that config.json and the files are of different models.  Old files hold
 * inv_freq. */
static int refuse_unknown(const struct weights *w, struct err *e)
{
    for (size_t i = 0; i < w->names; i++) {
        const struct weights_name *n = &w->name[i];

        if (!n->known && !ends(n->name, ".inv_freq"))
            return err_set(
                e, RC_DATA,
                "'%s': tensor '%s' has no place in the model that config.json describes: they are not of one "
                "model, or not of a kind that is supported",
                ckpt_file_of(&w->ckpt, n->tensor), n->tensor->name);
    }
    return 0;
}

int weights_open(struct weights *w, const char *dir, struct err *e)
{
    struct walk k = {.w = w};
    const struct config *c = &w->config;
    char *path = NULL;
    int ret = -1;

    *w = (struct weights){0};
    if (ckpt_open(&w->ckpt, dir, e))
        return -1;
    path = file_join(dir, "config.json", e);
    if (!path || config_read(&w->config, w->ckpt.config, path, e) || quantspec_read(&k.spec, &w->ckpt, e) ||
        list_names(w, e))
        goto out;
    w->linear =
        mem_zalloc((c->has_vision ? 3 + 5 * c->vision.depth : 0) + 7 * c->layers + 1, sizeof *w->linear, e);
    if (!w->linear)
        goto out;
    if ((c->has_vision && walk_vision(&k, e)) || walk_language(&k, e) || weights_complete_kv(w, &k.spec, e) ||
        refuse_unknown(w, e))
        goto out;
    ret = 0;
out:
    quantspec_release(&k.spec);
    free(path);
    if (ret)
        weights_close(w);
    return ret;
}

void weights_close(struct weights *w)
{
    for (size_t i = 0; i < w->linears; i++) {
        free(w->linear[i].name);
        free(w->linear[i].row_scale);
        free(w->linear[i].pre_scale);
    }
    free(w->linear);
    for (size_t i = 0; i < w->names; i++)
        free(w->name[i].name);
    free(w->name);
    ckpt_close(&w->ckpt);
    *w = (struct weights){0};
}

static void decode_int8(const struct st_tensor *t, const struct linear_info *l, size_t first, size_t n,
                        float *out)
{
    for (size_t i = 0, m; i < n; i += m) {
        const size_t row = (first + i) / l->in, left = (row + 1) * l->in - (first + i);

        m = n - i < left ? n - i : left;
        int8_decode(out + i, (const int8_t *)t->data + first + i, m, l->row_scale[row]);
    }
}

/* Elements first..first+n; l: whose codes they are, NULL when they are none. */
static int read_chunk(const struct weights *w, const struct st_tensor *t, const struct linear_info *l,
                      size_t first, size_t n, float *out, struct err *e)
{
    if (!l)
        return ckpt_read_f32(&w->ckpt, t, first, n, out, true, e);
    if (t->dtype == DT_I8)
        decode_int8(t, l, first, n, out);
    else
        fp8_decode(out, t->data + first, n, l->weight_scale);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(out[i]))
            return err_set(
                e, RC_DATA,
                "'%s': tensor '%s' holds NaN or overflows with its scale: the checkpoint is damaged",
                ckpt_file_of(&w->ckpt, t), t->name);
    return 0;
}

float *weights_f32(const struct weights *w, const struct st_tensor *t, struct err *e)
{
    const size_t chunks = t->count / CHUNK + (t->count % CHUNK != 0);
    const struct linear_info *l = NULL;
    float *out = mem_zalloc(t->count, sizeof *out, e);
    size_t bad = chunks; /* the first chunk that failed: the same message whatever thread comes first */

    if (!out)
        return NULL;
    for (size_t i = 0; i < w->linears && weights_is_codes(t->dtype); i++)
        if (w->linear[i].weight == t)
            l = &w->linear[i];
#pragma omp parallel for reduction(min : bad) if (chunks > 1)
    for (size_t i = 0; i < chunks; i++) {
        const size_t first = i * CHUNK, n = t->count - first < CHUNK ? t->count - first : CHUNK;
        struct err mine = {0};

        if (read_chunk(w, t, l, first, n, out + first, &mine) && i < bad)
            bad = i;
    }
    if (bad == chunks)
        return out;
    read_chunk(w, t, l, bad * CHUNK, t->count - bad * CHUNK < CHUNK ? t->count - bad * CHUNK : CHUNK,
               out + bad * CHUNK, e);
    free(out);
    return NULL;
}

int weights_amax(const struct weights *w, const struct st_tensor *t, float *amax, struct err *e)
{
    if (tensor_amax(t->data, t->dtype, t->count, t->name, amax, e))
        return err_prefix(e, "'%s'", ckpt_file_of(&w->ckpt, t));
    return 0;
}
