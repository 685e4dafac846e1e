/*
 * weights_scales.c - scales of a quantized checkpoint, and what it says of each layer against what its tensor
 * is
 */
#include "common/model/weights_scales.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/quant/names.h"

static bool ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), k = strlen(suffix);

    return n >= k && !strcmp(s + n - k, suffix);
}

static int check_scale(const struct weights *w, const struct st_tensor *t, float v, struct err *e)
{
    if (v > 0 && isfinite(v))
        return 0;
    return err_set(e, RC_DATA,
                   "'%s': the scale '%s' is %g, it must be finite and above 0: export the checkpoint again",
                   ckpt_file_of(&w->ckpt, t), t->name, (double)v);
}

/* A scale: F32, one number, finite and above 0. */
static int read_scale(struct weights *w, struct weights_name *n, float *out, struct err *e)
{
    const struct st_tensor *t = n->tensor;

    n->known = true;
    if (t->dtype != DT_F32 || t->count != 1 || t->ndim > 1)
        return err_set(e, RC_DATA, "'%s': tensor '%s' is not one F32 number: only scales per tensor are read",
                       ckpt_file_of(&w->ckpt, t), t->name);
    memcpy(out, t->data, sizeof *out);
    return check_scale(w, t, *out, e);
}

/* n numbers of shape [n] or [n, 1], each finite and above 0; F32, or any_float. */
static float *read_vector(struct weights *w, struct weights_name *name, size_t n, bool any_float,
                          struct err *e)
{
    const struct st_tensor *t = name->tensor;
    float *out;

    name->known = true;
    if ((any_float ? !weights_is_float(t->dtype) : t->dtype != DT_F32) || t->count != n || !t->ndim ||
        t->shape[0] != n || t->ndim > 2) {
        err_set(e, RC_DATA, "'%s': tensor '%s' is not %zu numbers%s: INT8 has one for each %s of its weight",
                ckpt_file_of(&w->ckpt, t), t->name, n, any_float ? "" : " in F32", any_float ? "column"
                    : "row");
        return NULL;
    }
    out = mem_zalloc(n, sizeof *out, e);
    if (!out || ckpt_read_f32(&w->ckpt, t, 0, n, out, false, e))
        goto bad;
    for (size_t i = 0; i < n; i++)
        if (check_scale(w, t, out[i], e))
            goto bad;
    return out;
bad:
    free(out);
    return NULL;
}

static const char *code_name(enum dtype t)
{
    return t == DT_I8 ? "INT8" : "FP8";
}

/* Codes without this scale mean nothing; numbers that are no codes would be multiplied by it. */
static int check_pair(const struct weights *w, const struct linear_info *l, const struct weights_name *n,
                      const char *suffix, bool needed, struct err *e)
{
    const struct st_tensor *t = l->weight;

    if (!n && needed)
        return err_set(e, RC_DATA,
                       "'%s': tensor '%s' holds %s codes, but there is no '%s' for it: without its scales its numbers "
                       "are meaningless; export the checkpoint again",
                       ckpt_file_of(&w->ckpt, t), t->name, code_name(t->dtype), suffix);
    if (n && !weights_is_codes(t->dtype))
        return err_set(e, RC_DATA,
                       "'%s': the scale '%s' stands beside '%s', which is %s and not FP8 or INT8: one of them is wrong",
                       ckpt_file_of(&w->ckpt, n->tensor), n->tensor->name, t->name, st_dtype_name(t->dtype));
    return 0;
}

static int read_pre_scale(struct weights *w, struct linear_info *l, struct err *e)
{
    struct weights_name *n = weights_lookup(w, l->name, "pre_quant_scale");

    if (!n)
        return 0;
    if (l->weight->dtype != DT_I8)
        return err_set(e, RC_DATA,
                       "'%s': '%s' stands beside '%s', which is %s and not INT8: one of them is wrong",
                       ckpt_file_of(&w->ckpt, n->tensor), n->tensor->name, l->weight->name,
                       st_dtype_name(l->weight->dtype));
    l->pre_scale = read_vector(w, n, l->in, true, e);
    return l->pre_scale ? 0 : -1;
}

int weights_read_scales(struct weights *w, struct linear_info *l, bool dynamic, struct err *e)
{
    struct weights_name *weight = weights_lookup(w, l->name, "weight_scale"),
        *input = weights_lookup(w, l->name, "input_scale");
    const bool codes = weights_is_codes(l->weight->dtype);

    if (check_pair(w, l, weight, "weight_scale", codes, e) ||
        check_pair(w, l, input, "input_scale", codes && !dynamic, e))
        return -1;
    if (input && dynamic)
        return err_set(e, RC_DATA,
                       "'%s': '%s' is a scale for inputs that the configuration scales at run time: one of them is "
                       "wrong",
                       ckpt_file_of(&w->ckpt, input->tensor), input->tensor->name);
    if (weight && l->weight->dtype == DT_I8) {
        l->row_scale = read_vector(w, weight, l->out, false, e);
        if (!l->row_scale)
            return -1;
    } else if (weight && read_scale(w, weight, &l->weight_scale, e)) {
        return -1;
    }
    if (input && read_scale(w, input, &l->input_scale, e))
        return -1;
    w->scales_applied += codes;
    return read_pre_scale(w, l, e);
}

static bool quantizes_kv(const struct quantspec *q)
{
    return q->sources && q->source[0].kv;
}

int weights_read_kv(struct weights *w, const struct quantspec *q, struct linear_info *l, struct err *e)
{
    const bool k = ends(l->name, ".k_proj");
    const char *suffix = k ? "k_scale" : "v_scale";
    float *const to = k ? &l->k_scale : &l->v_scale;
    struct weights_name *beside, *above;
    char attention[NAME_BYTES];

    if (!name_cached(l->name))
        return 0;
    snprintf(attention, sizeof attention, "%.*s", (int)(strrchr(l->name, '.') - l->name), l->name);
    beside = weights_lookup(w, l->name, suffix);
    above = weights_lookup(w, attention, suffix);
    if (beside && above)
        return err_set(e, RC_DATA, "'%s' holds two scales for one KV cache, '%s' and '%s'", w->ckpt.dir,
                       beside->tensor->name, above->tensor->name);
    if (!beside && !above)
        return 0;
    if (read_scale(w, beside ? beside : above, to, e))
        return -1;
    if (quantizes_kv(q))
        w->kv_scales++;
    else
        *to = 0;
    return 0;
}

int weights_complete_kv(struct weights *w, const struct quantspec *q, struct err *e)
{
    const size_t want = 2 * w->config.layers;

    if (!quantizes_kv(q) || w->kv_scales == want)
        return 0;
    for (size_t i = 0; i < w->linears; i++) {
        struct linear_info *l = &w->linear[i];
        const bool k = ends(l->name, ".self_attn.k_proj"), v = ends(l->name, ".self_attn.v_proj");

        if (w->kv_scales && ((k && l->k_scale == 0) || (v && l->v_scale == 0)))
            return err_set(e, RC_DATA,
                           "'%s' has scales for an FP8 KV cache, but none for '%s': engines quantize the cache of all "
                           "layers; export the checkpoint again",
                           w->ckpt.dir, l->name);
        if (!w->kv_scales && k)
            l->k_scale = 1;
        if (!w->kv_scales && v)
            l->v_scale = 1;
    }
    w->kv_scales = want;
    return 0;
}

static enum scheme_format format_of(enum dtype t)
{
    return t == DT_I8 ? FORMAT_INT8 : t == DT_F8_E4M3 ? FORMAT_FP8 : FORMAT_NONE;
}

/* What one source says about a layer against what its tensor is. */
static int check_form(const struct weights *w, const struct quantspec_source *s,
                      const struct quantspec_form *f, const struct st_tensor *t, bool may_be_unlisted,
                      struct err *e)
{
    const char *file = ckpt_file_of(&w->ckpt, t), *codes = code_name(t->dtype);

    if (f->format == format_of(t->dtype) || (f->format && !weights_is_codes(t->dtype) && may_be_unlisted))
        return 0;
    if (!weights_is_codes(t->dtype))
        return err_set(e, RC_DATA,
                       "'%s': '%s' is %s, but '%s' does not name its layer in '%s': engines would read its bytes as "
                       "%s codes; export the checkpoint again",
                       file, t->name, st_dtype_name(t->dtype), s->file, s->key,
                       f->format == FORMAT_INT8 ? "INT8" : "FP8");
    if (f->by)
        return err_set(e, RC_DATA,
                       "'%s': '%s' holds %s codes, but '%s' says in '%s' ('%s') that it is not quantized",
                       file, t->name, codes, s->file, s->key, f->by);
    return err_set(e, RC_DATA, "'%s': '%s' holds %s codes, but '%s' %s%s: export the checkpoint again", file,
                   t->name, codes, s->file, f->format ? "says that it is in " : "has no group for it",
                   f->format == FORMAT_NONE ? "" : f->format == FORMAT_INT8 ? "INT8" : "FP8");
}

int weights_check_form(const struct weights *w, const struct quantspec *q, const struct linear_info *l,
                          bool tied_head, bool *dynamic, struct err *e)
{
    const struct st_tensor *t = l->weight;
    /* No list need name these two: the format speaks of Linear modules, which a Conv3d and a tied head are
     * not. */
    const bool may_be_unlisted = t->ndim != 2 || tied_head;
    char in_file[NAME_BYTES];

    *dynamic = false;
    if (weights_is_codes(t->dtype) && !q->sources)
        return err_set(
            e, RC_DATA,
            "'%s': tensor '%s' holds %s codes, but neither config.json nor hf_quant_config.json says that "
            "the model is quantized",
            ckpt_file_of(&w->ckpt, t), t->name, code_name(t->dtype));
    snprintf(in_file, sizeof in_file, "%.*s", tied_head ? (int)strlen(l->name) : (int)strlen(t->name) - 7,
             tied_head ? l->name : t->name); /* 7: ".weight" */
    for (size_t i = 0; i < q->sources; i++) {
        struct quantspec_form form;

        if (quantspec_form(q, i, l->name, in_file, &form, e) ||
            check_form(w, &q->source[i], &form, t, may_be_unlisted, e))
            return -1;
        *dynamic |= weights_is_codes(t->dtype) && form.dynamic;
    }
    return 0;
}
