/* groups.h - groups of linear modules by name, and how alike two rankings of them are */
#ifndef TESTS_UNIT_GROUPS_H
#define TESTS_UNIT_GROUPS_H

#include "common/model/score.h"
#include "common/quant/names.h"

/* Ranks of n values, ties in order. */
static inline void ranks(const double *v, size_t n, size_t *rank)
{
    for (size_t i = 0; i < n; i++) {
        rank[i] = 0;
        for (size_t k = 0; k < n; k++)
            rank[i] += v[k] < v[i] || (v[k] == v[i] && k < i);
    }
}

static inline double spearman(const double *a, const double *b, size_t n)
{
    size_t *ra = calloc(n, sizeof *ra), *rb = calloc(n, sizeof *rb);
    double d2 = 0;

    ranks(a, n, ra);
    ranks(b, n, rb);
    for (size_t i = 0; i < n; i++)
        d2 += ((double)ra[i] - (double)rb[i]) * ((double)ra[i] - (double)rb[i]);
    free(ra);
    free(rb);
    return 1 - 6 * d2 / ((double)n * ((double)n * (double)n - 1));
}

/* The groups of a model in model order, and the reference's numbers under `key` for those that have one. */
struct groups {
    struct score_group *group;
    const char **name;
    size_t n;
};

static inline struct groups make_groups(const struct model *m)
{
    struct groups g = {calloc(m->linears, sizeof *g.group), calloc(m->linears, sizeof *g.name), 0};
    struct err e = {0};

    for (size_t i = 0; i < m->linears; i++) {
        char first[NAME_BYTES];
        const char *name = m->linear[i].info->name;

        name_group(name, first, &e);
        if (!strcmp(first, name)) {
            g.name[g.n] = name;
            g.group[g.n++] = (struct score_group){{&m->linear[i]}, 1};
        } else {
            size_t k = g.n;

            while (k-- > 0 && strcmp(g.name[k], first))
                ;
            g.group[k].member[g.group[k].members++] = &m->linear[i];
        }
    }
    return g;
}

#endif
