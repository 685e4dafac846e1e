/*
 * knapsack.c - choose one format per group: least total score within a budget
 *
 * Dynamic programming over lists of partial solutions, with two ways to keep them short:
 *   dominance  of two partial solutions over the same groups, one that costs no less and scores no better
 * goes; bounds     the linear relaxation of the remaining groups tells the best that a partial solution can
 * become; when that is no better than a whole solution already known, it goes. The relaxation rounded down is
 * itself a whole solution, so every bound that is computed may also improve the best one. Groups are decided
 * in order of how clear their case is: deviating from the relaxation in a clear case costs much, so nearly
 * all partial solutions die at once and only the few groups near the break are really enumerated.
 *
 * The relaxation per group is the lower convex hull of (cost, score): from the cheapest item on, "steps" that
 * pay cost to lower the score, each less efficient than the one before it.  Taking steps of all groups by
 * falling efficiency until the budget is used up, the last one in part, is the optimum of the linear
 * relaxation (Sinha and Zoltners 1979; the list form of the search: Dyer, Kayal and Walsh 1984, Pisinger
 * 1995).
 */
#include "common/quant/knapsack.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

enum { MAX_LIST = 1 << 12 }; /* partial solutions that one stage may keep */
#define SLACK 1e-12          /* relative: what a sum of a few hundred doubles may be off by */

/* One edge of a group's hull: what `cost` more buys. */
struct step {
    size_t group, item; /* the item that the step leads to */
    uint64_t cost;      /* > 0 */
    double gain;        /* > 0: how far the score falls */
};

/* A partial solution over the groups decided so far: item of the last of them, parent for the others. */
struct state {
    uint64_t cost;
    double score, bound;
    uint32_t parent, item; /* parent: position in node[] + 1, 0 for none */
};

struct node {
    uint32_t parent, item;
};

struct list {
    struct state *s;
    size_t n, cap;
};

struct search {
    const struct knapsack_group *group;
    size_t n;
    uint64_t budget;
    size_t *base;      /* cheapest item of each group, of those the best */
    size_t *order;     /* groups in the order in which they are decided */
    struct step *step; /* by falling efficiency */
    size_t n_steps;
    size_t depth; /* groups of order[] decided so far */
    bool *decided;
    struct step *left;   /* steps of the groups not decided yet, by falling efficiency */
    uint64_t *left_cost; /* sums over the first k of left, k = 0..n_left */
    double *left_gain;
    size_t n_left;
    uint64_t rest_cost; /* of the base items of the groups not decided yet */
    double rest_score;
    struct list now, next;
    size_t *head; /* prune(): how far each item's copy of `now` has been merged */
    struct node *node;
    size_t n_nodes, cap_nodes;
    double best; /* score of the best whole solution so far */
    double cut;  /* the least bound that was cut from a list that was too long */
    size_t *best_pick;
};

uint64_t knapsack_least(const struct knapsack_group *group, size_t n)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t least = group[i].item[0].cost;

        for (size_t j = 1; j < group[i].n; j++)
            least = group[i].item[j].cost < least ? group[i].item[j].cost : least;
        sum = least > UINT64_MAX - sum ? UINT64_MAX : sum + least;
    }
    return sum;
}

static int check(const struct knapsack_group *group, size_t n, uint64_t budget, struct err *e)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t most = 0;

        if (!group[i].n)
            return err_set(e, RC_DATA, "group %zu has nothing to choose from", i);
        for (size_t j = 0; j < group[i].n; j++) {
            if (!(group[i].item[j].score >= 0) || !isfinite(group[i].item[j].score))
                return err_set(e, RC_DATA, "a score of group %zu is negative or not finite", i);
            most = group[i].item[j].cost > most ? group[i].item[j].cost : most;
        }
        if (most > UINT64_MAX / 4 - sum)
            return err_set(e, RC_DATA, "the costs of %zu groups are too large", n);
        sum += most;
    }
    if (knapsack_least(group, n) > budget)
        return err_set(e, RC_DATA, "a budget of %llu cannot be met: the least possible is %llu",
                       (unsigned long long)budget, (unsigned long long)knapsack_least(group, n));
    return 0;
}

/* Falling efficiency gain/cost; ties: by group, then in hull order, so that runs agree. */
static int by_efficiency(const void *pa, const void *pb)
{
    const struct step *a = pa, *b = pb;
    double x = a->gain / (double)a->cost, y = b->gain / (double)b->cost;

    if (x != y)
        return x > y ? -1 : 1;
    if (a->group != b->group)
        return a->group < b->group ? -1 : 1;
    return a->item < b->item ? -1 : a->item > b->item;
}

/* The hull of one group, from its cheapest item; appends to s->step. */
static void add_steps(struct search *s, size_t group)
{
    const struct knapsack_group *g = &s->group[group];
    size_t at = 0;

    for (size_t j = 1; j < g->n; j++)
        if (g->item[j].cost < g->item[at].cost ||
            (g->item[j].cost == g->item[at].cost && g->item[j].score < g->item[at].score))
            at = j;
    s->base[group] = at;
    for (;;) {
        struct step best = {0};

        for (size_t j = 0; j < g->n; j++) {
            struct step t = {group, j, 0, g->item[at].score - g->item[j].score};

            if (g->item[j].cost <= g->item[at].cost || !(t.gain > 0))
                continue;
            t.cost = g->item[j].cost - g->item[at].cost;
            if (!best.cost || t.gain * (double)best.cost > best.gain * (double)t.cost)
                best = t;
        }
        if (!best.cost)
            return;
        s->step[s->n_steps++] = best;
        at = best.item;
    }
}

struct clear {
    size_t group;
    double margin; /* how much worse the linear relaxation gets, at least, when the group deviates from it */
};

static int by_margin(const void *pa, const void *pb)
{
    const struct clear *a = pa, *b = pb;

    if (a->margin != b->margin)
        return a->margin > b->margin ? -1 : 1;
    return a->group < b->group ? -1 : a->group > b->group;
}

/* Clear cases first: a step far from the break costs |gain - cost * efficiency at the break| to decide
 * otherwise. */
static int make_order(struct search *s, struct err *e)
{
    struct clear *c = mem_zalloc(s->n, sizeof *c, e);
    uint64_t cost = s->rest_cost;
    size_t at = 0;
    double rate;

    if (!c)
        return -1;
    while (at < s->n_steps && s->step[at].cost <= s->budget - cost)
        cost += s->step[at++].cost;
    rate = at < s->n_steps ? s->step[at].gain / (double)s->step[at].cost : 0;
    for (size_t i = 0; i < s->n; i++)
        c[i] = (struct clear){i, INFINITY};
    for (size_t k = 0; k < s->n_steps; k++) {
        double m = fabs(s->step[k].gain - rate * (double)s->step[k].cost);

        c[s->step[k].group].margin = fmin(c[s->step[k].group].margin, m);
    }
    qsort(c, s->n, sizeof *c, by_margin);
    for (size_t i = 0; i < s->n; i++)
        s->order[i] = c[i].group;
    free(c);
    return 0;
}

static int prepare(struct search *s, struct err *e)
{
    size_t steps = 0, most = 0;

    for (size_t i = 0; i < s->n; i++) {
        steps += s->group[i].n - 1;
        most = s->group[i].n > most ? s->group[i].n : most;
    }
    s->head = mem_zalloc(most, sizeof *s->head, e);
    s->base = mem_zalloc(s->n, sizeof *s->base, e);
    s->order = mem_zalloc(s->n, sizeof *s->order, e);
    s->decided = mem_zalloc(s->n, sizeof *s->decided, e);
    s->best_pick = mem_zalloc(s->n, sizeof *s->best_pick, e);
    s->step = mem_zalloc(steps, sizeof *s->step, e);
    s->left = mem_zalloc(steps, sizeof *s->left, e);
    s->left_cost = mem_zalloc(steps + 1, sizeof *s->left_cost, e);
    s->left_gain = mem_zalloc(steps + 1, sizeof *s->left_gain, e);
    if (!s->head || !s->base || !s->order || !s->decided || !s->best_pick || !s->step || !s->left ||
        !s->left_cost || !s->left_gain)
        return -1;
    for (size_t i = 0; i < s->n; i++) {
        add_steps(s, i);
        s->rest_cost += s->group[i].item[s->base[i]].cost;
    }
    qsort(s->step, s->n_steps, sizeof *s->step, by_efficiency);
    s->best = s->cut = INFINITY;
    return make_order(s, e);
}

/* The relaxation of the groups that are left once the first `depth` of order[] are decided. */
static void set_left(struct search *s, size_t depth)
{
    s->depth = depth;
    s->rest_cost = 0;
    s->rest_score = 0;
    s->n_left = 0;
    for (size_t i = 0; i < s->n; i++)
        s->decided[s->order[i]] = i < depth;
    for (size_t i = 0; i < s->n; i++) {
        if (s->decided[i])
            continue;
        s->rest_cost += s->group[i].item[s->base[i]].cost;
        s->rest_score += s->group[i].item[s->base[i]].score;
    }
    for (size_t k = 0; k < s->n_steps; k++) {
        const struct step *t = &s->step[k];

        if (s->decided[t->group])
            continue;
        s->left[s->n_left] = *t;
        s->left_cost[s->n_left + 1] = s->left_cost[s->n_left] + t->cost;
        s->left_gain[s->n_left + 1] = s->left_gain[s->n_left] + t->gain;
        s->n_left++;
    }
}

/*
 * The best that x can become.  *at: how many whole steps fit; states come by rising cost, so it only falls.
 * INFINITY: not even the base items fit.  *whole: the score of the relaxation rounded down, which is a
 * solution.
 */
static double bound(const struct search *s, const struct state *x, size_t *at, double *whole)
{
    uint64_t room;

    *whole = INFINITY;
    if (x->cost + s->rest_cost > s->budget)
        return INFINITY;
    room = s->budget - x->cost - s->rest_cost;
    while (s->left_cost[*at] > room)
        (*at)--;
    *whole = x->score + s->rest_score - s->left_gain[*at];
    if (*at == s->n_left)
        return *whole;
    return *whole - s->left[*at].gain * ((double)(room - s->left_cost[*at]) / (double)s->left[*at].cost);
}

/* x and the first `steps` steps that are left are the best solution so far: write its decisions down. */
static void keep_best(struct search *s, const struct state *x, size_t steps)
{
    uint32_t item = x->item, parent = x->parent;

    for (size_t i = s->depth; i-- > 0;) {
        s->best_pick[s->order[i]] = item;
        if (parent) {
            item = s->node[parent - 1].item;
            parent = s->node[parent - 1].parent;
        }
    }
    for (size_t i = s->depth; i < s->n; i++)
        s->best_pick[s->order[i]] = s->base[s->order[i]];
    for (size_t k = 0; k < steps; k++)
        s->best_pick[s->left[k].group] = s->left[k].item;
}

static int list_add(struct list *l, struct state x, struct err *e)
{
    if (mem_grow((void **)&l->s, l->n, &l->cap, sizeof *l->s, e))
        return -1;
    l->s[l->n++] = x;
    return 0;
}

static bool cheaper(const struct state *a, const struct state *b)
{
    return a->cost != b->cost ? a->cost < b->cost : a->score < b->score;
}

/* next = every state of now with every item of g, by rising cost and strictly falling score: nothing
 * dominated. */
static int expand(struct search *s, const struct knapsack_group *g, struct err *e)
{
    double least = INFINITY;

    memset(s->head, 0, g->n * sizeof *s->head);
    s->next.n = 0;
    for (;;) {
        struct state x = {0};
        bool any = false;

        for (size_t j = 0; j < g->n; j++) {
            const struct state *p = &s->now.s[s->head[j]];
            struct state y;

            if (s->head[j] == s->now.n)
                continue;
            y = (struct state){p->cost + g->item[j].cost, p->score + g->item[j].score, 0, p->parent,
                               (uint32_t)j};
            if (!any || cheaper(&y, &x))
                x = y;
            any = true;
        }
        if (!any)
            return 0;
        s->head[x.item]++;
        if (!(x.score < least))
            continue;
        least = x.score;
        if (list_add(&s->next, x, e))
            return -1;
    }
}

/* Bound every state of next, note better whole solutions, and drop the states that cannot beat the best one.
 */
static void prune(struct search *s)
{
    struct list *l = &s->next;
    size_t at = s->n_left, kept = 0;

    for (size_t i = 0; i < l->n; i++) {
        double whole;

        l->s[i].bound = bound(s, &l->s[i], &at, &whole);
        if (whole < s->best) {
            s->best = whole;
            keep_best(s, &l->s[i], at);
        }
    }
    for (size_t i = 0; i < l->n; i++)
        if (l->s[i].bound < s->best * (1 - SLACK))
            l->s[kept++] = l->s[i];
    l->n = kept;
}

static int by_value(const void *pa, const void *pb)
{
    double a = *(const double *)pa, b = *(const double *)pb;

    return a < b ? -1 : a > b;
}

/* Cut next to MAX_LIST states, those with the least bounds; s->cut remembers what the others promised. */
static int cut(struct search *s, struct err *e)
{
    struct list *l = &s->next;
    double *sorted, limit;
    size_t kept = 0, ties = MAX_LIST;

    if (l->n <= MAX_LIST)
        return 0;
    sorted = mem_zalloc(l->n, sizeof *sorted, e);
    if (!sorted)
        return -1;
    for (size_t i = 0; i < l->n; i++)
        sorted[i] = l->s[i].bound;
    qsort(sorted, l->n, sizeof *sorted, by_value);
    limit = sorted[MAX_LIST - 1];
    s->cut = fmin(s->cut, sorted[MAX_LIST]);
    for (size_t i = 0; i < MAX_LIST && sorted[i] < limit; i++)
        ties--;
    free(sorted);
    for (size_t i = 0; i < l->n; i++)
        if (l->s[i].bound < limit || (l->s[i].bound == limit && ties && ties--))
            l->s[kept++] = l->s[i];
    l->n = kept;
    return 0;
}

/* Give every state of next a node, so that its successors can name it, and make next the present list. */
static int advance(struct search *s, struct err *e)
{
    struct list t = s->now;

    for (size_t i = 0; i < s->next.n; i++) {
        struct state *x = &s->next.s[i];

        if (mem_grow((void **)&s->node, s->n_nodes, &s->cap_nodes, sizeof *s->node, e))
            return -1;
        s->node[s->n_nodes++] = (struct node){x->parent, x->item};
        x->parent = (uint32_t)s->n_nodes;
    }
    s->now = s->next;
    s->next = t;
    return 0;
}

static int search(struct search *s, struct err *e)
{
    if (list_add(&s->next, (struct state){0}, e))
        return -1;
    set_left(s, 0);
    prune(s);
    s->now = s->next; /* the root: no decision, no node */
    s->next = (struct list){0};
    for (size_t i = 0; i < s->n && s->now.n; i++) {
        set_left(s, i + 1);
        if (expand(s, &s->group[s->order[i]], e))
            return -1;
        prune(s);
        if (cut(s, e) || advance(s, e))
            return -1;
    }
    return 0;
}

int knapsack_solve(const struct knapsack_group *group, size_t n, uint64_t budget, size_t *pick,
                   struct knapsack_solution *out, struct err *e)
{
    struct search s = {.group = group, .n = n, .budget = budget};
    int ret = -1;

    if (check(group, n, budget, e) || prepare(&s, e) || search(&s, e))
        goto out;
    *out = (struct knapsack_solution){.states = s.n_nodes};
    for (size_t i = 0; i < n; i++) {
        const struct knapsack_item *item = &group[i].item[s.best_pick[i]];

        pick[i] = s.best_pick[i];
        out->score += item->score;
        out->cost += item->cost;
    }
    if (s.cut < s.best)
        out->gap = (s.best - s.cut) / s.best;
    ret = 0;
out:
    free(s.node);
    free(s.head);
    free(s.now.s);
    free(s.next.s);
    free(s.left_gain);
    free(s.left_cost);
    free(s.left);
    free(s.step);
    free(s.best_pick);
    free(s.decided);
    free(s.order);
    free(s.base);
    return ret;
}
