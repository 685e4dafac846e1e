/* layers_score.c - what each format of a group costs: setting scores, and which of them count */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/quant/layers.h"

void layers_drop_ranking(struct layers *l)
{
    free(l->ranking);
    l->ranking = NULL;
    l->n_ranked = 0;
    for (size_t i = 0; i < l->n_groups; i++)
        l->group[i].rank = 0;
}

static int check_score(const struct layer_group *g, const char *what, double v, bool needed, struct err *e)
{
    if (isnan(v) && !needed)
        return 0;
    if (!(v >= 0) || !isfinite(v))
        return err_set(e, RC_DATA, "'%s': the %s %g is negative or not finite", g->name, what, v);
    return 0;
}

bool layers_choice_is(const struct layer_choice *c, const char *format)
{
    size_t n = strlen(format);

    return !strncmp(c->label, format, n) && c->label[n] == '(';
}

const struct layer_choice *layers_best(const struct layer_group *g)
{
    const struct layer_choice *best = g->choice;

    for (size_t i = 1; i + 1 < g->n_choices && g->choice[i].cost == g->choice[0].cost; i++)
        if (g->choice[i].score < best->score)
            best = &g->choice[i];
    return best;
}

bool layers_scored(const struct layers *l)
{
    for (size_t i = 0; i < l->n_groups; i++)
        if (l->group[i].scored)
            return true;
    return false;
}

static int set_method(struct layers *l, const char *method, struct err *e)
{
    char *copy = mem_strdup(method, e);

    if (!copy)
        return -1;
    free(l->method);
    l->method = copy;
    return 0;
}

static void drop_choice(struct layer_group *g, size_t at)
{
    free(g->choice[at].label);
    g->n_choices--;
    memmove(g->choice + at, g->choice + at + 1, (g->n_choices - at) * sizeof *g->choice);
}

/* A choice before `at`. */
static int add_choice(struct layer_group *g, size_t at, const char *format, double bits, uint64_t cost,
                      struct err *e)
{
    struct layer_choice *more = mem_realloc(g->choice, g->n_choices + 1, sizeof *more, e);
    char *label;

    if (!more)
        return -1;
    g->choice = more;
    label = mem_printf(e, "%s(effective-bits: %.1f)", format, bits);
    if (!label)
        return -1;
    memmove(more + at + 1, more + at, (g->n_choices - at) * sizeof *more);
    more[at] = (struct layer_choice){label, bits, 0, cost, NAN, NAN, NAN};
    g->n_choices++;
    return 0;
}

/* The group's choice of this format, which may be new: FP8 comes before INT8, NONE last. */
static struct layer_choice *choice_of(struct layer_group *g, const char *format, struct err *e)
{
    size_t at = 0;

    if (!g->n_choices && add_choice(g, 0, "NONE", 16, g->weights, e))
        return NULL;
    while (at + 1 < g->n_choices && strcmp(g->choice[at].label, format) < 0)
        at++;
    if (!layers_choice_is(&g->choice[at], format) && add_choice(g, at, format, 8, (g->weights + 1) / 2, e))
        return NULL;
    return &g->choice[at];
}

int layers_set_score(struct layers *l, size_t group, const char *format, const char *method, double gradient,
                     double kl, double predicted_kl, struct err *e)
{
    struct layer_group *g = &l->group[group];
    bool by_kl = !strcmp(method, "kl_div");
    struct layer_choice *c;

    if (check_score(g, "gradient score", gradient, !by_kl, e) || check_score(g, "KL score", kl, by_kl, e) ||
        check_score(g, "predicted KL", predicted_kl, false, e) || set_method(l, method, e))
        return -1;
    layers_drop_ranking(l);
    for (size_t i = 0; i + 1 < g->n_choices; i++) /* scores of two methods cannot stand side by side */
        if (isnan(by_kl ? g->choice[i].kl : g->choice[i].gradient))
            drop_choice(g, i--);
    c = choice_of(g, format, e);
    if (!c)
        return -1;
    c->score = by_kl ? kl : gradient;
    c->gradient = gradient;
    c->kl = kl;
    c->predicted_kl = predicted_kl;
    g->scored = true;
    g->importance = layers_best(g)->score;
    return 0;
}

int layers_use_method(struct layers *l, const char *method, struct err *e)
{
    bool by_kl = !strcmp(method, "kl");
    const char *name = by_kl ? "kl_div" : "gradient";

    if (l->method && !strcmp(l->method, name))
        return 0;
    for (size_t i = 0; i < l->n_groups; i++) {
        struct layer_group *g = &l->group[i];

        for (size_t j = 0; j + 1 < g->n_choices; j++) {
            double v = by_kl ? g->choice[j].kl : g->choice[j].gradient;

            if (isnan(v))
                return err_set(e, RC_DATA, "%s has no %s scores ('%s'): run layer-score --method %s",
                               l->label, method, g->key, method);
            g->choice[j].score = v;
        }
        g->importance = g->scored ? layers_best(g)->score : 0;
    }
    layers_drop_ranking(l);
    return set_method(l, name, e);
}

int layers_use_format(struct layers *l, const char *format, struct err *e)
{
    bool dropped = false;

    for (size_t i = 0; i < l->n_groups; i++) {
        struct layer_group *g = &l->group[i];
        bool found = g->n_choices < 2; /* nothing to choose from: not scored, or 16 bits only */

        for (size_t j = 0; j + 1 < g->n_choices; j++)
            found |= layers_choice_is(&g->choice[j], format);
        if (!found)
            return err_set(e, RC_DATA, "%s has no %s scores ('%s'): run layer-score --formats fp8,int8",
                           l->label, format, g->key);
        for (size_t j = 0; j + 1 < g->n_choices; j++) {
            if (layers_choice_is(&g->choice[j], format))
                continue;
            drop_choice(g, j--);
            dropped = true;
        }
        g->importance = g->scored ? layers_best(g)->score : 0;
    }
    if (dropped)
        layers_drop_ranking(l);
    return 0;
}
