/* layers.c - the LAYERS document in memory: building and looking up */
#include "common/quant/layers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

int layers_init(struct layers *l, struct err *e)
{
    *l = (struct layers){.alpha = NAN};
    l->modules_by_name = json_object();
    l->groups_by_name = json_object();
    l->label = mem_strdup("the LAYERS document", e);
    if (!l->modules_by_name || !l->groups_by_name)
        err_set(e, RC_SYS, "out of memory: cannot start a LAYERS document");
    if (!l->modules_by_name || !l->groups_by_name || !l->label) {
        layers_release(l);
        return -1;
    }
    return 0;
}

static int set_text(char **to, const char *text, struct err *e)
{
    char *copy = text ? mem_strdup(text, e) : NULL;

    if (text && !copy)
        return -1;
    free(*to);
    *to = copy;
    return 0;
}

int layers_set_model(struct layers *l, const char *id, const char *digest, const char *architecture,
                     bool tied, struct err *e)
{
    l->tied_lm_head = tied;
    return set_text(&l->model_id, id, e) || set_text(&l->model_digest, digest, e) ||
                   set_text(&l->architecture, architecture, e)
               ? -1
               : 0;
}

int layers_set_samples(struct layers *l, const char *digest, size_t count, size_t tokens, size_t loss_tokens,
                       struct err *e)
{
    l->samples = count;
    l->tokens = tokens;
    l->loss_tokens = loss_tokens;
    return set_text(&l->samples_digest, digest, e);
}

int layers_set_quantization(struct layers *l, const char *rounding, const char *fused_ranges, struct err *e)
{
    return set_text(&l->rounding, rounding, e) || set_text(&l->fused_ranges, fused_ranges, e) ? -1 : 0;
}

static long find(const json_t *by_name, const char *name)
{
    const json_t *at = json_object_get(by_name, name);

    return at ? (long)json_integer_value(at) : -1;
}

long layers_find_module(const struct layers *l, const char *canonical)
{
    return find(l->modules_by_name, canonical);
}

long layers_find_group(const struct layers *l, const char *canonical)
{
    return find(l->groups_by_name, canonical);
}

static int new_group(struct layers *l, const char *name, struct err *e)
{
    struct layer_group *g;

    if (mem_grow((void **)&l->group, l->n_groups, &l->cap_groups, sizeof *l->group, e))
        return -1;
    g = &l->group[l->n_groups];
    *g = (struct layer_group){.alpha = NAN, .scope = name_scope(name)};
    g->name = mem_strdup(name, e);
    g->key = mem_strdup(name, e);
    g->member = mem_zalloc(NAME_MEMBERS_MAX, sizeof *g->member, e);
    l->n_groups++; /* from here on layers_release() frees what there is of it */
    if (!g->name || !g->key || !g->member)
        return -1;
    return json_put(l->groups_by_name, name, json_integer((json_int_t)l->n_groups - 1), e);
}

/* Put the module in the group that its name says; the group may be new. */
static int join_group(struct layers *l, size_t module, struct err *e)
{
    struct layer_module *m = &l->module[module];
    struct layer_group *g;
    char name[NAME_BYTES];
    long at;

    if (name_group(m->name, name, e))
        return -1;
    if (layers_find_group(l, name) < 0 && new_group(l, name, e))
        return -1;
    at = layers_find_group(l, name);
    g = &l->group[at];
    if (m->rows && m->cols > (SIZE_MAX - g->weights) / m->rows)
        return err_set(e, RC_DATA, "%s: '%s' is too large: %zu x %zu", l->label, m->name, m->rows, m->cols);
    g->weights += m->rows * m->cols;
    g->member[g->n_members++] = module;
    m->group = (size_t)at;
    return 0;
}

int layers_add(struct layers *l, const char *name, size_t rows, size_t cols, size_t *index, struct err *e)
{
    struct layer_module *m;
    char canonical[NAME_BYTES];

    if (name_canonical(name, canonical, e))
        return err_prefix(e, "%s", l->label);
    if (layers_find_module(l, canonical) >= 0)
        return err_set(e, RC_DATA, "%s: the module '%s' stands there twice", l->label, canonical);
    if (mem_grow((void **)&l->module, l->n_modules, &l->cap_modules, sizeof *l->module, e))
        return -1;
    m = &l->module[l->n_modules];
    *m =
        (struct layer_module){.rows = rows, .cols = cols, .weight_amax = -1, .input_amax = -1, .kv_amax = -1};
    m->name = mem_strdup(canonical, e);
    l->n_modules++;
    if (!m->name || json_put(l->modules_by_name, canonical, json_integer((json_int_t)l->n_modules - 1), e))
        return -1;
    if (index)
        *index = l->n_modules - 1;
    return join_group(l, l->n_modules - 1, e);
}

int layers_set_ranges(struct layers *l, size_t module, float weight_amax, float input_amax, size_t tokens,
                      struct err *e)
{
    struct layer_module *m = &l->module[module];
    struct layer_group *g = &l->group[m->group];

    if (!(weight_amax >= 0) || !isfinite(weight_amax))
        return err_set(e, RC_DATA, "'%s': the weight range %g is negative or not finite", m->name,
                       weight_amax);
    if (tokens && (!(input_amax >= 0) || !isfinite(input_amax)))
        return err_set(e, RC_DATA, "'%s': the input range %g is negative or not finite", m->name, input_amax);
    m->weight_amax = weight_amax;
    m->input_amax = tokens ? input_amax : -1;
    m->tokens = tokens;
    g->has_tokens = true;
    g->tokens = SIZE_MAX;
    for (size_t i = 0; i < g->n_members; i++)
        if (l->module[g->member[i]].tokens < g->tokens)
            g->tokens = l->module[g->member[i]].tokens;
    return 0;
}

/* A copy of [cols] ranges; NULL, with e set, when one is no range. */
static float *copy_channels(const struct layer_module *m, const float *amax, const char *what, struct err *e)
{
    float *copy = mem_zalloc(m->cols, sizeof *copy, e);

    for (size_t c = 0; copy && c < m->cols; c++) {
        if (!(amax[c] >= 0) || !isfinite(amax[c])) {
            err_set(e, RC_DATA, "'%s': the %s range of channel %zu, %g, is negative or not finite", m->name,
                    what, c, amax[c]);
            free(copy);
            return NULL;
        }
        copy[c] = amax[c];
    }
    return copy;
}

int layers_set_channels(struct layers *l, size_t module, const float *input, const float *weight,
                        struct err *e)
{
    struct layer_module *m = &l->module[module];
    float *x = NULL, *w;

    if (input && !(x = copy_channels(m, input, "input", e)))
        return -1;
    w = copy_channels(m, weight, "weight", e);
    if (!w) {
        free(x);
        return -1;
    }
    free(m->input_channels);
    free(m->weight_channels);
    m->input_channels = x;
    m->weight_channels = w;
    return 0;
}

int layers_set_kv(struct layers *l, size_t module, float amax, struct err *e)
{
    struct layer_module *m = &l->module[module];

    if (!(amax >= 0) || !isfinite(amax))
        return err_set(e, RC_DATA, "'%s': the range %g of the KV cache is negative or not finite", m->name,
                       amax);
    if (!name_cached(m->name))
        return err_set(e, RC_DATA,
                       "'%s': only k_proj and v_proj of the language model have a range in the KV cache",
                       m->name);
    m->kv_amax = amax;
    return 0;
}

int layers_set_alpha(struct layers *l, size_t group, double alpha, struct err *e)
{
    if (!(alpha >= 0 && alpha <= 1))
        return err_set(e, RC_DATA, "'%s': SmoothQuant's alpha is %g; it must lie within 0 and 1",
                       l->group[group].name, alpha);
    l->group[group].alpha = alpha;
    return 0;
}

int layers_set_int8(struct layers *l, const char *activations, double alpha, bool smooth_input, struct err *e)
{
    if (!isnan(alpha) && alpha != -1 && !(alpha >= 0 && alpha <= 1))
        return err_set(e, RC_DATA, "%s: SmoothQuant's alpha is %g; it must lie within 0 and 1", l->label,
                       alpha);
    l->alpha = alpha;
    l->smooth_input = smooth_input;
    return set_text(&l->activations, activations, e);
}

float layers_weight_amax(const struct layers *l, size_t module, bool shared)
{
    const struct layer_group *g = &l->group[l->module[module].group];
    float most = l->module[module].weight_amax;

    if (!shared)
        return most;
    for (size_t i = 0; i < g->n_members; i++) {
        float a = l->module[g->member[i]].weight_amax;

        if (a < 0)
            return a;
        most = fmaxf(most, a);
    }
    return most;
}

bool layers_group_matches(const struct layers *l, size_t group, const char *pattern)
{
    const struct layer_group *g = &l->group[group];

    for (size_t i = 0; i < g->n_members; i++)
        if (name_match(pattern, l->module[g->member[i]].name))
            return true;
    return false;
}

void layers_release(struct layers *l)
{
    for (size_t i = 0; i < l->n_modules; i++) {
        free(l->module[i].name);
        free(l->module[i].input_channels);
        free(l->module[i].weight_channels);
        json_decref(l->module[i].json);
    }
    for (size_t i = 0; i < l->n_groups; i++) {
        for (size_t j = 0; j < l->group[i].n_choices; j++)
            free(l->group[i].choice[j].label);
        free(l->group[i].choice);
        free(l->group[i].member);
        free(l->group[i].key);
        free(l->group[i].name);
        json_decref(l->group[i].json);
    }
    free(l->ranking);
    free(l->group);
    free(l->module);
    free(l->activations);
    free(l->method);
    free(l->fused_ranges);
    free(l->rounding);
    free(l->samples_digest);
    free(l->architecture);
    free(l->model_digest);
    free(l->model_id);
    free(l->label);
    json_decref(l->groups_by_name);
    json_decref(l->modules_by_name);
    json_decref(l->doc);
    *l = (struct layers){0};
}
