/* layers.c - the LAYERS document in memory: building, looking up, merging */
#include "common/quant/layers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

#define FP8_LABEL  "FP8(effective-bits: 8.0)"
#define NONE_LABEL "NONE(effective-bits: 16.0)"

int layers_init(struct layers *l, struct err *e)
{
    *l = (struct layers){0};
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
    *g = (struct layer_group){.gradient = NAN, .kl = NAN, .predicted_kl = NAN, .scope = name_scope(name)};
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
    *m = (struct layer_module){.rows = rows, .cols = cols, .weight_amax = -1, .input_amax = -1};
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

static int check_score(const struct layer_group *g, const char *what, double v, bool needed, struct err *e)
{
    if (isnan(v) && !needed)
        return 0;
    if (!(v >= 0) || !isfinite(v))
        return err_set(e, RC_DATA, "'%s': the %s %g is negative or not finite", g->name, what, v);
    return 0;
}

static void release_choices(struct layer_group *g)
{
    for (size_t i = 0; i < g->n_choices; i++)
        free(g->choice[i].label);
    free(g->choice);
    g->choice = NULL;
    g->n_choices = 0;
}

static void drop_ranking(struct layers *l)
{
    free(l->ranking);
    l->ranking = NULL;
    l->n_ranked = 0;
    for (size_t i = 0; i < l->n_groups; i++)
        l->group[i].rank = 0;
}

int layers_set_score(struct layers *l, size_t group, const char *method, double gradient, double kl,
                     double predicted_kl, struct err *e)
{
    struct layer_group *g = &l->group[group];
    bool by_kl = !strcmp(method, "kl_div");

    if (check_score(g, "gradient score", gradient, !by_kl, e) || check_score(g, "KL score", kl, by_kl, e) ||
        check_score(g, "predicted KL", predicted_kl, false, e) || set_text(&l->method, method, e))
        return -1;
    drop_ranking(l);
    release_choices(g);
    g->choice = mem_zalloc(2, sizeof *g->choice, e);
    if (!g->choice)
        return -1;
    g->n_choices = 2;
    g->choice[0] =
        (struct layer_choice){mem_strdup(FP8_LABEL, e), 8, by_kl ? kl : gradient, (g->weights + 1) / 2};
    g->choice[1] = (struct layer_choice){mem_strdup(NONE_LABEL, e), 16, 0, g->weights};
    if (!g->choice[0].label || !g->choice[1].label)
        return -1;
    g->scored = true;
    g->importance = g->choice[0].score;
    g->gradient = gradient;
    g->kl = kl;
    g->predicted_kl = predicted_kl;
    return 0;
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

bool layers_scored(const struct layers *l)
{
    for (size_t i = 0; i < l->n_groups; i++)
        if (l->group[i].scored)
            return true;
    return false;
}

int layers_use_method(struct layers *l, const char *method, struct err *e)
{
    bool by_kl = !strcmp(method, "kl");
    const char *name = by_kl ? "kl_div" : "gradient";

    if (l->method && !strcmp(l->method, name))
        return 0;
    for (size_t i = 0; i < l->n_groups; i++) {
        struct layer_group *g = &l->group[i];
        double v = by_kl ? g->kl : g->gradient;

        if (!g->scored || g->n_choices == 1)
            continue;
        if (isnan(v))
            return err_set(e, RC_DATA, "%s has no %s scores ('%s'): run layer-score --method %s", l->label,
                           method, g->key, method);
        if (g->n_choices != 2)
            return err_set(e, RC_DATA, "%s: '%s' has %zu formats, and %s scores for one only", l->label,
                           g->key, g->n_choices - 1, method);
        g->choice[0].score = g->importance = v;
    }
    drop_ranking(l);
    return set_text(&l->method, name, e);
}

/* Both known and different. */
static bool differ(const char *a, const char *b)
{
    return a && b && strcmp(a, b);
}

static int check_same(const struct layers *a, const struct layers *b, struct err *e)
{
    const char *what = NULL;

    if (differ(a->model_digest, b->model_digest) || a->tied_lm_head != b->tied_lm_head ||
        differ(a->architecture, b->architecture))
        what = "the model";
    else if (differ(a->rounding, b->rounding))
        what = "the rounding";
    else if (differ(a->fused_ranges, b->fused_ranges))
        what = "the fused ranges";
    else if (differ(a->method, b->method))
        what = "the scoring method";
    else if (a->n_modules != b->n_modules || a->n_groups != b->n_groups || a->foreign != b->foreign)
        what = "the list of modules";
    for (size_t i = 0; !what && i < a->n_modules; i++) {
        const struct layer_module *m = &a->module[i], *n = &b->module[i];

        if (strcmp(m->name, n->name) || m->rows != n->rows || m->cols != n->cols || m->group != n->group)
            what = m->name;
    }
    for (size_t i = 0; !what && i < a->n_groups; i++) {
        const struct layer_group *g = &a->group[i], *h = &b->group[i];

        if (g->scored != h->scored || g->n_choices != h->n_choices || g->weights != h->weights)
            what = g->name;
        for (size_t j = 0; !what && j < g->n_choices; j++)
            if (strcmp(g->choice[j].label, h->choice[j].label) || g->choice[j].cost != h->choice[j].cost)
                what = g->name;
    }
    if (what)
        return err_set(e, RC_DATA, "%s and %s cannot be merged: they differ in %s", a->label, b->label, what);
    return 0;
}

/* Remove from a what b does not have, too, and with the same value; objects are compared member by member. */
static void keep_common(json_t *a, const json_t *b)
{
    const char *key;
    json_t *v;
    void *next;

    json_object_foreach_safe(a, next, key, v)
    {
        const json_t *w = json_object_get(b, key);

        if (json_is_object(v) && json_is_object(w))
            keep_common(v, w);
        else if (!w || !json_equal(v, w))
            json_object_del(a, key);
    }
}

static void merge_group(struct layer_group *g, const struct layer_group *h)
{
    g->importance = 0;
    for (size_t j = 0; j < g->n_choices; j++) {
        g->choice[j].score += h->choice[j].score;
        g->importance = fmax(g->importance, g->choice[j].score);
    }
    g->gradient += h->gradient; /* NAN: absent in either, so absent in the sum */
    g->kl += h->kl;
    g->predicted_kl += h->predicted_kl;
    g->has_tokens = g->has_tokens && h->has_tokens;
    g->tokens += h->tokens;
}

int layers_merge(struct layers *l, const struct layers *shard, struct err *e)
{
    if (check_same(l, shard, e))
        return -1;
    for (size_t i = 0; i < l->n_modules; i++) {
        struct layer_module *m = &l->module[i];

        m->weight_amax = fmaxf(m->weight_amax, shard->module[i].weight_amax);
        m->input_amax = fmaxf(m->input_amax, shard->module[i].input_amax);
        m->tokens += shard->module[i].tokens;
    }
    for (size_t i = 0; i < l->n_groups; i++)
        merge_group(&l->group[i], &shard->group[i]);
    if (l->samples_digest && (!shard->samples_digest || strcmp(l->samples_digest, shard->samples_digest)))
        set_text(&l->samples_digest, NULL, e);
    l->samples += shard->samples;
    l->tokens += shard->tokens;
    l->loss_tokens += shard->loss_tokens;
    drop_ranking(l);
    l->hex[0] = '\0';
    if (l->doc)
        keep_common(l->doc, shard->doc);
    return 0;
}

void layers_release(struct layers *l)
{
    for (size_t i = 0; i < l->n_modules; i++) {
        free(l->module[i].name);
        json_decref(l->module[i].json);
    }
    for (size_t i = 0; i < l->n_groups; i++) {
        release_choices(&l->group[i]);
        free(l->group[i].member);
        free(l->group[i].key);
        free(l->group[i].name);
        json_decref(l->group[i].json);
    }
    free(l->ranking);
    free(l->group);
    free(l->module);
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
