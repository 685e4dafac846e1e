/*
 * rank.h - the order in which groups are quantized, least sensitive first, and how many of them a coverage
 * takes
 *
 * A group is rankable when a score says what quantizing it costs.  Not ranked: groups that no data reached
 * (their score of 0 means nothing), a tied lm_head (it is the embedding), groups outside the scope or
 * excluded by name, and patch_embed unless asked for (no engine loads it).
 */
#ifndef COMMON_QUANT_RANK_H
#define COMMON_QUANT_RANK_H

#include "common/quant/layers.h"

struct rank_opts {
    enum name_scope scope;
    bool unscored;              /* rank what no data reached, too: the Python system's order */
    bool unservable;            /* rank visual.patch_embed.* */
    bool by_name;               /* groups without scores are fine: the caller picks by name */
    const char *const *exclude; /* name patterns, matched against members; a group goes when one matches */
    size_t n_exclude;
};

struct rank_out {
    size_t group;
    char *reason;
    bool unreached; /* the reason: no data reached it */
};

struct rank {
    size_t *order; /* group indices, least sensitive first; ties in model order */
    size_t n;
    struct rank_out *out; /* all other groups, in model order, each with its reason */
    size_t n_out;
};

/*
 * Order the groups of l.  A ranking that l carries is kept, less what the options leave out; without one, or
 * with opts->unscored, the order is by importance.  -1 when l has no scores, a pattern matches nothing, or
 * nothing is left.
 */
int rank_make(struct rank *r, const struct layers *l, const struct rank_opts *opts, struct err *e);

/* The same order by importance per weight: what saves most bytes per damage comes first. */
int rank_by_bytes(struct rank *r, const struct layers *l, struct err *e);

/* Groups that `percent` (1..100) of n takes: max(1, (percent * n + 99) / 100).  0 only when n is 0. */
size_t rank_count(size_t n, unsigned percent);

/* Length of the shortest prefix that holds at least percent % of the weights of all ranked groups. */
size_t rank_count_bytes(const struct rank *r, const struct layers *l, unsigned percent);

/* Store the order in l: ranking, and each group's rank. */
int rank_store(const struct rank *r, struct layers *l, struct err *e);

/* doc["unranked"] = [{"name", "reason"}, ...] for a LAYERS document made from l. */
int rank_put_unranked(const struct rank *r, const struct layers *l, json_t *doc, struct err *e);

/* "layer-sensitivity-report.md" of the ranked l, to f. */
int rank_report(const struct rank *r, const struct layers *l, FILE *f, struct err *e);

/* A table for people: rank, group, score, predicted KL in nats per token, weights, tokens. */
int rank_table(const struct rank *r, const struct layers *l, FILE *f, struct err *e);

void rank_release(struct rank *r);

#endif
