/*
 * scheme_make.h - a scheme in the making: what scheme.c, scheme_pick.c and scheme_forms.c share
 */
#ifndef COMMON_QUANT_SCHEME_MAKE_H
#define COMMON_QUANT_SCHEME_MAKE_H

#include "common/quant/scheme.h"

/* About one group. */
struct decision {
    enum { UNRANKED, DROPPED, SELECTED } state;
    enum scheme_format format;         /* FORMAT_NONE: a manifest's, which is not known */
    const struct layer_choice *choice; /* its score and cost, borrowed; NULL: not scored in this format */
};

struct pick {
    const struct layers *l;
    const struct scheme_opts *o;
    struct rank rank;        /* its order, and what is not ranked with the reasons */
    struct decision *group;  /* [l->n_groups] */
    double gap;              /* as in struct scheme */
    const char *activations; /* of INT8 modules */
    double alpha;            /* these two as in struct layers */
    bool smooth_input;
};

/* Elements of all groups that count: the scored ones, or all when none is. */
uint64_t scheme_weights(const struct layers *l);

/* Fill rank, group and gap from l and o. */
int scheme_pick(struct pick *p, struct err *e);

/* Whether the score of a selected group was measured in the form that the scheme gives it. */
bool scheme_as_scored(const struct pick *p, size_t group);

/* Fill s->module and s->kv. */
int scheme_put_forms(struct scheme *s, const struct pick *p, struct err *e);

#endif
