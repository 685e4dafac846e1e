/* model.c - a model on a backend: its stages, their weights, and which linear modules run quantized */
#include "common/model/model.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/model/widths.h"

/* NULL: no such module. */
static struct linear *find_linear(const struct model *m, const char *canonical)
{
    const struct linear_info *info = weights_linear(&m->weights, canonical);

    return info ? &m->linear[info - m->weights.linear] : NULL;
}

/* The linears of a stage in the order of the arithmetic; returns how many. */
static size_t members(const struct stage *s, struct linear *out[12])
{
    struct linear *all[] = {s->patch, s->qkv, s->q, s->k, s->v, s->o, s->gate, s->up, s->down, s->merger0,
                            s->merger2, s->head};
    size_t n = 0;

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i])
            out[n++] = all[i];
    return n;
}

struct stage *model_stage_of(const struct model *m, const struct linear *l)
{
    struct linear *has[12];

    for (size_t i = 0; i < m->stages; i++)
        for (size_t k = members(&m->stage[i], has); k-- > 0;)
            if (has[k] == l)
                return &m->stage[i];
    return NULL;
}

static struct linear *named(const struct model *m, const char *fmt,
                            ...) __attribute__((format(printf, 2, 3)));
static struct linear *named(const struct model *m, const char *fmt, ...)
{
    char name[128];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    return find_linear(m, name);
}

static const struct st_tensor *norm(const struct model *m, const char *fmt,
                                    ...) __attribute__((format(printf, 2, 3)));
static const struct st_tensor *norm(const struct model *m, const char *fmt, ...)
{
    char name[128];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    return weights_find(&m->weights, name);
}

/* The columns between gate and up, and down, are seen by nobody else: as many as the device likes. */
static void choose_width(const struct model *m, struct stage *s)
{
    s->gate->out = s->up->out = s->down->in = be_width(m->be, s->down->info->in);
}

static void lay_vision(struct model *m, struct stage *s, size_t i)
{
    *s = (struct stage){.kind = STAGE_VISION, .block = i};
    s->qkv = named(m, "visual.blocks.%zu.attn.qkv", i);
    s->o = named(m, "visual.blocks.%zu.attn.proj", i);
    s->gate = named(m, "visual.blocks.%zu.mlp.gate_proj", i);
    s->up = named(m, "visual.blocks.%zu.mlp.up_proj", i);
    s->down = named(m, "visual.blocks.%zu.mlp.down_proj", i);
    choose_width(m, s);
    s->norm1_tensor = norm(m, "visual.blocks.%zu.norm1.weight", i);
    s->norm2_tensor = norm(m, "visual.blocks.%zu.norm2.weight", i);
}

static void lay_text(struct model *m, struct stage *s, size_t i)
{
    *s = (struct stage){.kind = STAGE_TEXT, .block = i};
    s->q = named(m, "language_model.layers.%zu.self_attn.q_proj", i);
    s->k = named(m, "language_model.layers.%zu.self_attn.k_proj", i);
    s->v = named(m, "language_model.layers.%zu.self_attn.v_proj", i);
    s->o = named(m, "language_model.layers.%zu.self_attn.o_proj", i);
    s->gate = named(m, "language_model.layers.%zu.mlp.gate_proj", i);
    s->up = named(m, "language_model.layers.%zu.mlp.up_proj", i);
    s->down = named(m, "language_model.layers.%zu.mlp.down_proj", i);
    choose_width(m, s);
    s->norm1_tensor = norm(m, "language_model.layers.%zu.input_layernorm.weight", i);
    s->norm2_tensor = norm(m, "language_model.layers.%zu.post_attention_layernorm.weight", i);
}

static int lay_stages(struct model *m, struct err *e)
{
    const struct config *c = m->config;
    size_t n = c->layers + 1 + (c->has_vision ? c->vision.depth + 2 : 0), k = 0;

    m->stage = mem_zalloc(n, sizeof *m->stage, e);
    if (!m->stage)
        return -1;
    if (c->has_vision) {
        m->stage[k++] = (struct stage){.kind = STAGE_PATCH, .patch = named(m, "visual.patch_embed.proj")};
        for (size_t i = 0; i < c->vision.depth; i++)
            lay_vision(m, &m->stage[k++], i);
        m->stage[k++] = (struct stage){.kind = STAGE_MERGER,
                                       .merger0 = named(m, "visual.merger.mlp.0"),
                                       .merger2 = named(m, "visual.merger.mlp.2"),
                                       .norm1_tensor = norm(m, "visual.merger.ln_q.weight")};
    }
    for (size_t i = 0; i < c->layers; i++)
        lay_text(m, &m->stage[k++], i);
    m->stage[k++] = (struct stage){.kind = STAGE_HEAD,
                                   .head = named(m, "lm_head"),
                                   .norm1_tensor = norm(m, "language_model.norm.weight")};
    m->stages = k;
    m->head = k - 1;
    return 0;
}

/* The KV scales of a quantized checkpoint, which all its attention layers have or none. */
static int take_kv_scales(struct model *m, struct err *e)
{
    if (m->weights.kv_scales == 0)
        return 0;
    m->kv = mem_zalloc(m->config->layers, sizeof *m->kv, e);
    for (size_t i = 0; m->kv && i < m->stages; i++) {
        const struct stage *s = &m->stage[i];

        if (s->kind == STAGE_TEXT)
            m->kv[s->block] = (struct kv_scale){s->k->info->k_scale, s->v->info->v_scale};
    }
    return m->kv ? 0 : -1;
}

int model_open(struct model *m, const char *dir, struct backend *be, size_t max_bytes, struct err *e)
{
    const struct config *c;

    *m = (struct model){.be = be, .max_bytes = max_bytes};
    if (weights_open(&m->weights, dir, e) || ckpt_digest(&m->weights.ckpt, m->digest, e))
        goto fail;
    c = m->config = &m->weights.config;
    if (c->has_vision) {
        if (processor_read_dir(&m->processor, dir, e))
            goto fail;
        if (m->processor.patch_size != c->vision.patch || m->processor.merge_size != c->vision.merge ||
            m->processor.temporal_patch_size != c->vision.temporal_patch) {
            err_set(e, RC_DATA,
                    "%s: preprocessor_config.json and config.json disagree on patch_size, merge_size or "
                                "temporal_patch_size", dir);
            goto fail;
        }
    }
    m->linears = m->weights.linears;
    m->linear = mem_zalloc(m->linears, sizeof *m->linear, e);
    if (!m->linear)
        goto fail;
    for (size_t i = 0; i < m->linears; i++) {
        const struct linear_info *info = &m->weights.linear[i];

        m->linear[i] = (struct linear){.info = info, .index = i, .out = info->out, .in = info->in};
    }
    if (lay_stages(m, e) || take_kv_scales(m, e))
        goto fail;
    m->largest = be->alloc(be, sizeof *m->largest);
    be->zero(be, m->largest, sizeof *m->largest);
    if (be_check(be, e) == 0)
        return 0;
fail:
    model_close(m);
    return -1;
}

static void drop_linear(struct model *m, struct linear *l)
{
    struct backend *be = m->be;

    be->free(be, (void *)l->weight.bias);
    if (l->weight.data != m->embed.data)
        be->weight_free(be, &l->weight);
    be->weight_free(be, &l->rounded);
    l->weight = l->rounded = (struct weight){0};
}

static void drop_stage(struct model *m, struct stage *s)
{
    struct linear *has[12];

    for (size_t k = members(s, has); k-- > 0;)
        drop_linear(m, has[k]);
    m->be->free(m->be, s->norm1);
    m->be->free(m->be, s->norm2);
    s->norm1 = s->norm2 = NULL;
    s->resident = false;
    m->bytes -= s->bytes;
}

void model_close(struct model *m)
{
    for (size_t i = 0; i < m->stages; i++)
        if (m->stage[i].resident)
            drop_stage(m, &m->stage[i]);
    if (m->embed.data)
        m->be->weight_free(m->be, &m->embed);
    if (m->be)
        m->be->free(m->be, m->largest);
    free(m->kv);
    free(m->stage);
    free(m->linear);
    weights_close(&m->weights);
    *m = (struct model){0};
}

static bool is_quantized(const struct st_tensor *t)
{
    return t->dtype == DT_F8_E4M3 || t->dtype == DT_I8;
}

/* A bias as activation type on the device. */
static void *load_bias(struct model *m, const struct linear *l, struct err *e)
{
    float *file = weights_f32(&m->weights, l->info->bias, e);
    float *host = file ? widths_vector(file, l->info->out, l->out, 0, e) : NULL;
    void *d = host ? m->be->alloc(m->be, l->out * m->be->act_bytes) : NULL;

    if (d)
        m->be->upload_act(m->be, d, host, l->out);
    free(host);
    free(file);
    return d;
}

static void load_dense(struct model *m, struct weight *w, size_t out, size_t in, const void *data,
                       enum dtype type)
{
    m->be->weight_load(m->be, w, out, in, data, type);
    m->be->weight_amax(m->be, m->largest, w);
}

/* Which of the tensors is not finite in its file, or else the one whose largest weight bf16 cannot hold. */
static int name_not_finite(const struct model *m, const struct st_tensor *const *tensor, size_t n,
                           struct err *e)
{
    const struct st_tensor *worst = tensor[0];
    float most = 0, amax;

    for (size_t i = 0; i < n; i++) {
        if (is_quantized(tensor[i]))
            continue;
        if (weights_amax(&m->weights, tensor[i], &amax, e))
            return -1;
        if (amax > most) {
            most = amax;
            worst = tensor[i];
        }
    }
    return err_set(e, RC_DATA,
                   "'%s': tensor '%s' holds %g, which is beyond the range of bf16: use --dtype fp32",
                   ckpt_file_of(&m->weights.ckpt, worst), worst->name, most);
}

/*
 * Whether the dense weights that were just loaded are finite, which the device finds out at the speed of its
 * memory; only when they are not, their files are read again, to name the tensor.
 */
static int check_finite(struct model *m, const struct st_tensor *const *tensor, size_t n, struct err *e)
{
    float largest = 0;

    m->be->download(m->be, &largest, m->largest, sizeof largest);
    if (be_check(m->be, e))
        return -1;
    return isfinite(largest) ? 0 : name_not_finite(m, tensor, n, e);
}

/* The scales of rows and of inputs of what is added are 1: its codes are 0, whatever they are. */
static void load_int8(struct model *m, struct linear *l, const void *codes)
{
    const struct linear_info *info = l->info;
    struct backend *be = m->be;
    float *row = widths_vector(info->row_scale, info->out, l->out, 1, &be->err);
    float *pre = info->pre_scale ? widths_vector(info->pre_scale, info->in, l->in, 1, &be->err) : NULL;

    be->weight_load_int8(be, &l->weight, l->out, l->in, codes, row, info->input_scale, pre);
    free(pre);
    free(row);
}

/*
 * Weights straight from the mapped file where the device takes them as they are.  Whoever loads them asks
 * check_finite() in the end.
 */
static int load_matrix(struct model *m, struct linear *l, struct err *e)
{
    const struct linear_info *info = l->info;
    const struct st_tensor *t = info->weight;
    bool wider = l->out != info->out || l->in != info->in;
    const void *data = t->data;
    void *room = NULL;

    if (wider && !(data = room = widths_matrix(t->data, dtype_bytes(t->dtype), info->out, info->in, l->out,
                                               l->in, e)))
        return -1;
    if (t->dtype == DT_F8_E4M3)
        m->be->weight_load_fp8(m->be, &l->weight, l->out, l->in, data, info->weight_scale, info->input_scale);
    else if (t->dtype == DT_I8)
        load_int8(m, l, data);
    else
        load_dense(m, &l->weight, l->out, l->in, data, t->dtype);
    free(room);
    return be_check(m->be, e);
}

static void round_int8(struct model *m, struct weight *q, const struct linear *l, const struct linear_form *f)
{
    struct backend *be = m->be;
    const struct smooth *s = &f->smooth;
    size_t from = l->info->in, to = l->in;
    float *pre = s->pre ? widths_vector(s->pre, from, to, 1, &be->err) : NULL;
    float *own = s->own ? widths_vector(s->own, from, to, 1, &be->err) : NULL;
    struct smooth smooth = {.pre = pre, .own = own, .folded = s->folded};

    be->weight_quantize_int8(be, q, &l->weight, l->info->weight->dtype, pre ? &smooth : NULL,
                             f->dynamic ? 0 : int8_scale(f->input_amax, m->rounding), m->rounding);
    free(own);
    free(pre);
}

void model_round(struct model *m, struct weight *q, const struct linear *l, const struct linear_form *f)
{
    if (f->format == FORMAT_FP8)
        m->be->weight_quantize(m->be, q, &l->weight, l->info->weight->dtype, fp8_scale(f->amax, m->rounding),
                               fp8_scale(f->input_amax, m->rounding), m->rounding);
    else
        round_int8(m, q, l, f);
}

/* The modules that read a stage's first or second norm, NULL at the end. */
static void readers(const struct stage *s, bool second, struct linear *out[4])
{
    struct linear *first[] = {s->qkv ? s->qkv : s->q, s->qkv ? NULL : s->k, s->v, NULL};
    struct linear *then[] = {s->gate, s->up, NULL, NULL};

    memcpy(out, second ? then : first, sizeof then);
}

static const float *folded_scale(const struct linear *l)
{
    return l->quantized && l->form.smooth.folded ? l->form.smooth.pre : NULL;
}

/* *pre: what a norm carries for those that read it, NULL: nothing.  -1 when they disagree. */
static int carried_scale(const struct stage *s, bool second, const float **pre, struct err *e)
{
    struct linear *reader[4];

    readers(s, second, reader);
    *pre = reader[0] ? folded_scale(reader[0]) : NULL;
    for (size_t i = 1; i < 4 && reader[i]; i++) {
        const float *other = folded_scale(reader[i]);

        if (!*pre != !other || (other && memcmp(*pre, other, reader[0]->info->in * sizeof *other)))
            return err_set(e, RC_DATA,
                           "modules '%s' and '%s' read the same norm, and the scales that it would carry for them differ: "
                           "smooth both alike, or make the scheme with apply-coverage --smooth-at input",
                           reader[0]->info->name, reader[i]->info->name);
    }
    return 0;
}

/* A norm's weight on the device, as it is or carrying the scale of the modules that read it. */
static int load_norm(struct model *m, struct stage *s, bool second, struct err *e)
{
    const struct st_tensor *t = second ? s->norm2_tensor : s->norm1_tensor;
    void **norm = second ? &s->norm2 : &s->norm1;
    const float *pre;
    float *host;

    if (!t)
        return 0;
    if (carried_scale(s, second, &pre, e) || !(host = weights_f32(&m->weights, t, e)))
        return -1;
    if (pre)
        int8_fold(host, host, pre, t->count, t->dtype);
    if (!*norm)
        *norm = m->be->alloc(m->be, t->count * m->be->act_bytes);
    if (*norm)
        m->be->upload_act(m->be, *norm, host, t->count);
    free(host);
    return be_check(m->be, e);
}

static int load_norms(struct model *m, struct stage *s, struct err *e)
{
    s->stale = true;
    if (load_norm(m, s, false, e) || load_norm(m, s, true, e))
        return -1;
    s->stale = false;
    return 0;
}

int model_enter_embed(struct model *m, struct err *e)
{
    const struct st_tensor *t = weights_find(&m->weights, "language_model.embed_tokens.weight");

    if (m->embed.data)
        return 0;
    load_dense(m, &m->embed, t->shape[0], t->shape[1], t->data, t->dtype);
    return check_finite(m, &t, 1, e);
}

static int load_linear(struct model *m, struct linear *l, struct err *e)
{
    if (m->config->tied && !strcmp(l->info->name, "lm_head")) {
        if (model_enter_embed(m, e))
            return -1;
        l->weight = m->embed;
    } else if (load_matrix(m, l, e)) {
        return -1;
    }
    if (l->info->bias)
        l->weight.bias = load_bias(m, l, e);
    if (l->quantized)
        model_round(m, &l->rounded, l, &l->form);
    return be_check(m->be, e) || e->rc != RC_OK ? -1 : 0;
}

/* Room for one more stage within the budget: the resident stages that a walk will need last go first. */
static void make_room(struct model *m, const struct stage *s)
{
    for (size_t away = m->stages; m->max_bytes && m->bytes + s->bytes > m->max_bytes && away-- > 1;) {
        struct stage *far = &m->stage[((size_t)(s - m->stage) + away) % m->stages];

        if (far->resident && far->kind != STAGE_HEAD)
            drop_stage(m, far);
    }
}

int model_enter(struct model *m, struct stage *s, struct err *e)
{
    const struct st_tensor *tensor[12];
    struct linear *has[12];
    size_t n = members(s, has);

    if (s->resident)
        return s->stale ? load_norms(m, s, e) : 0;
    s->bytes = 0;
    for (size_t k = 0; k < n; k++)
        s->bytes += has[k]->out * has[k]->in * m->be->act_bytes * (has[k]->quantized ? 2 : 1);
    make_room(m, s);
    s->resident = true; /* from here on drop_stage() cleans up what was loaded */
    m->bytes += s->bytes;
    for (size_t k = 0; k < n; k++) {
        tensor[k] = has[k]->info->weight;
        if (load_linear(m, has[k], e))
            return -1;
    }
    return check_finite(m, tensor, n, e) || load_norms(m, s, e) ? -1 : 0;
}

bool model_is_quantized(const struct model *m)
{
    bool any = false;

    for (size_t i = 0; i < m->linears; i++)
        any |= is_quantized(m->linear[i].info->weight);
    return any;
}

int model_quantize(struct model *m, struct linear *l, const struct linear_form *form, struct err *e)
{
    struct stage *s = model_stage_of(m, l);

    if (is_quantized(l->info->weight))
        return err_set(e, RC_DATA, "module '%s' is quantized already in '%s'", l->info->name,
                       m->weights.ckpt.dir);
    s->stale |= form->smooth.folded || folded_scale(l);
    l->quantized = true;
    l->form = *form;
    if (s->resident)
        model_round(m, &l->rounded, l, form);
    return be_check(m->be, e);
}

void model_unquantize(struct model *m, struct linear *l)
{
    if (folded_scale(l))
        model_stage_of(m, l)->stale = true;
    l->quantized = false;
    m->be->weight_free(m->be, &l->rounded);
    l->rounded = (struct weight){0};
}

void model_evict(struct model *m)
{
    for (size_t i = 0; i < m->head; i++)
        if (m->stage[i].resident)
            drop_stage(m, &m->stage[i]);
}

static int apply_module(struct model *m, const struct scheme *s, const struct scheme_module *sm,
                        struct err *e)
{
    struct linear *l = find_linear(m, sm->name);
    struct linear_form form = {
        .format = sm->format, .amax = sm->weight_amax, .input_amax = sm->input_amax, .dynamic = sm->dynamic,
        .smooth = {.pre = sm->pre_scale, .own = sm->own_scale, .folded = sm->pre_scale && sm->folded}};

    if (!l)
        return err_set(e, RC_DATA, "scheme %s quantizes '%s', a module that '%s' does not have", s->label,
                       sm->name, m->weights.ckpt.dir);
    if (m->config->tied && !strcmp(sm->name, "lm_head"))
        return err_set(e, RC_DATA, "scheme %s quantizes lm_head, which is the embedding of this tied model",
                       s->label);
    if (sm->pre_scale && sm->channels != l->info->in)
        return err_set(e, RC_DATA, "scheme %s smooths %zu channels of '%s', which has %zu", s->label,
                       sm->channels, sm->name, l->info->in);
    return sm->format == FORMAT_NONE ? 0 : model_quantize(m, l, &form, e);
}

/* The scheme's ranges of the KV cache, or those of the model's files again. */
static int apply_kv(struct model *m, const struct scheme *s, struct err *e)
{
    struct kv_scale *kv;

    free(m->kv);
    m->kv = NULL;
    if (s->n_kv == 0)
        return take_kv_scales(m, e);
    kv = m->kv = mem_zalloc(m->config->layers, sizeof *kv, e);
    if (!kv)
        return -1;
    for (size_t i = 0; i < s->n_kv; i++) {
        char name[64];

        snprintf(name, sizeof name, "language_model.layers.%zu", i);
        if (s->n_kv != m->config->layers || strcmp(s->kv[i].layer, name))
            return err_set(e, RC_DATA,
                           "scheme %s has KV ranges of '%s', number %zu of %zu; '%s' has %zu attention layers", s->label, s->kv[i].layer, i + 1, s->n_kv, m->weights.ckpt.dir, m->config->layers);
        kv[i] = (struct kv_scale){fp8_scale(s->kv[i].k_amax, m->rounding),
                                  fp8_scale(s->kv[i].v_amax, m->rounding)};
    }
    return 0;
}

int model_apply(struct model *m, const struct scheme *s, struct err *e)
{
    enum rounding rounding = ROUND_EXACT;

    if (s->model_digest && strcmp(s->model_digest, m->digest))
        return err_set(e, RC_DATA, "scheme %s was made for another model (digest %.12s, '%s' has %.12s)",
                       s->label, s->model_digest, m->weights.ckpt.dir, m->digest);
    if (s->rounding && rounding_parse(s->rounding, &rounding, e))
        return err_prefix(e, "scheme %s", s->label);
    for (size_t i = 0; i < m->linears; i++)
        model_unquantize(m, &m->linear[i]);
    m->rounding = rounding;
    for (size_t i = 0; i < s->n_modules; i++)
        if (apply_module(m, s, &s->module[i], e))
            return -1;
    return apply_kv(m, s, e);
}
