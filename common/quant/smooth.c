/* smooth.c - SmoothQuant: how much of an input channel's range moves into the weights */
#include "common/quant/smooth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

#define LEAST 1e-4f
#define MOST  1e4f

static float to_bf16(float x)
{
    return bf16_to_f32(bf16_from_f32(x));
}

/* x^p for 0 <= p <= 1, rounded once to fp32. */
static float power(float x, double p)
{
    return p == 0 ? 1 : p == 1 ? x : p == 0.5 ? sqrtf(x) : (float)pow(x, p);
}

static float channel_scale(float amax, float wmax, double alpha, enum rounding r)
{
    double s;

    if (amax == 0 || wmax == 0)
        return 1;
    if (r != ROUND_EXACT)
        s = to_bf16(power(wmax, 1 - alpha)) / power(amax, alpha);
    else
        s = pow(wmax, 1 - alpha) / pow(amax, alpha);
    return (float)s < LEAST ? LEAST : (float)s > MOST ? MOST : (float)s;
}

static int check_ranges(const struct layers *l, const struct layer_module *m, struct err *e)
{
    size_t c = 0;

    if (l->foreign)
        return err_set(e, RC_DATA,
                       "%s is a manifest, which has no ranges: run calib-amax --per-channel on the model",
                       l->label);
    if (!m->input_channels || !m->weight_channels)
        return err_set(e, RC_DATA, "%s has no ranges of the channels of '%s', which SmoothQuant needs: %s",
                       l->label, m->name, m->tokens ? "run calib-amax --per-channel" : "no data reached it");
    while (c < m->cols && (m->input_channels[c] == 0 || m->weight_channels[c] == 0))
        c++;
    if (c == m->cols)
        return err_set(e, RC_DATA,
                       "%s: every channel of '%s' has a range of 0, nothing can be smoothed: run calib-amax "
                       "--per-channel "
                       "on samples that reach it, or leave it out (--exclude '%s')",
                       l->label, m->name, m->name);
    return 0;
}

/* The range that an input of these channel ranges has under a scale. */
static float smoothed_range(const float *amax, const float *scale, size_t n)
{
    float most = 0;

    for (size_t c = 0; c < n; c++)
        most = fmaxf(most, amax[c] * scale[c]);
    return most;
}

static int make_own(struct smooth_group *s, const struct layer_module *m, double alpha, enum rounding r,
                    struct err *e)
{
    float *own = mem_zalloc(m->cols, sizeof *own, e);

    if (!own)
        return -1;
    for (size_t c = 0; c < m->cols; c++)
        own[c] = channel_scale(m->input_channels[c], m->weight_channels[c], alpha, r);
    s->own[s->members++] = own;
    return 0;
}

/* The mean of the members'; of one, its own.  ModelOpt rounds each to bf16 before. */
static int make_mean(struct smooth_group *s, enum rounding r, struct err *e)
{
    s->pre = mem_zalloc(s->channels, sizeof *s->pre, e);
    if (!s->pre)
        return -1;
    for (size_t c = 0; c < s->channels; c++) {
        float sum = 0;

        for (size_t i = 0; i < s->members; i++)
            sum += r != ROUND_EXACT ? to_bf16(s->own[i][c]) : s->own[i][c];
        s->pre[c] = to_bf16(sum / (float)s->members);
    }
    return 0;
}

int smooth_make(struct smooth_group *s, const struct layers *l, size_t group, double alpha, enum rounding r,
                struct err *e)
{
    const struct layer_group *g = &l->group[group];

    *s = (struct smooth_group){0};
    if (!(alpha >= 0 && alpha <= 1))
        return err_set(e, RC_USAGE, "SmoothQuant's alpha is %g; it must lie within 0 and 1", alpha);
    s->own = mem_zalloc(g->n_members, sizeof *s->own, e);
    if (!s->own)
        return -1;
    s->channels = l->module[g->member[0]].cols;
    for (size_t i = 0; i < g->n_members; i++) {
        const struct layer_module *m = &l->module[g->member[i]];

        if (m->cols != s->channels)
            return err_set(e, RC_DATA, "%s: '%s' has %zu inputs, '%s' has %zu", l->label, m->name, m->cols,
                           g->name, s->channels);
        if (check_ranges(l, m, e) || make_own(s, m, alpha, r, e))
            return -1;
    }
    if (make_mean(s, r, e))
        return -1;
    for (size_t i = 0; i < g->n_members; i++) {
        const float *amax = l->module[g->member[i]].input_channels;
        float most = smoothed_range(amax, r != ROUND_EXACT ? s->own[i] : s->pre, s->channels);

        s->input_amax = fmaxf(s->input_amax, r != ROUND_EXACT ? to_bf16(most) : most);
    }
    return 0;
}

void smooth_release(struct smooth_group *s)
{
    for (size_t i = 0; i < s->members; i++)
        free(s->own[i]);
    free(s->own);
    free(s->pre);
    *s = (struct smooth_group){0};
}

bool smooth_folds(const struct layers *l, size_t group)
{
    const char *name = l->group[group].name, *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;

    return !strcmp(last, "q_proj") || !strcmp(last, "gate_proj") || !strcmp(last, "qkv");
}

bool smooth_applies(const struct layers *l, size_t group, double alpha, bool smooth_input)
{
    return !isnan(alpha) && (smooth_input || smooth_folds(l, group));
}
