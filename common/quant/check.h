/*
 * check.h - what engines will do with a checkpoint: their rules asked about every layer and tensor
 */
#ifndef COMMON_QUANT_CHECK_H
#define COMMON_QUANT_CHECK_H

#include <stdio.h>

#include "common/quant/engine.h"

struct check_finding {
    const struct rule *rule;
    char *subject; /* a canonical name; "" for the checkpoint as a whole */
    char *detail;  /* "" when the rule says it all */
    size_t unit;   /* index into facts.unit, or SIZE_MAX */
};

/* One engine's answer. */
struct check_answer {
    const struct engine *engine;
    const struct facts_source *source; /* that it believes */
    bool serves;                       /* a checkpoint like this is made for it */
    bool stopped;                      /* the configuration ended it: choices mean nothing */
    enum effect verdict;               /* the worst of the findings */
    struct choice *choice;             /* of facts.module[]; HELD_NOT for those that are not linear */
    struct check_finding *finding;     /* in the order of the engine's table */
    size_t findings, cap;
};

enum { CHECK_ENGINES = 4 };

struct check {
    const struct facts *f;
    struct check_answer files;                 /* of engine_files */
    struct check_answer answer[CHECK_ENGINES]; /* of those asked, in the order of check_names */
    size_t answers;
    bool named; /* engines were named: each counts, whether it is served or not */
};

extern const char *const check_names[]; /* NULL-terminated */

/* Ask the engines of these names, or all of them when n is 0.  f stays in place until check_release(). */
int check_make(struct check *c, const struct facts *f, const char *const *name, size_t n, struct err *e);
void check_release(struct check *c); /* safe on a zeroed struct */

/* No file contradicts another, and every engine that counts loads and computes what was written, or nearly.
 */
bool check_passes(const struct check *c);

/* Whether the verdict of an answer counts. */
bool check_counts(const struct check *c, const struct check_answer *a);

/* A line per layer, then the findings, then a line per engine. */
int check_table(const struct check *c, FILE *f, struct err *e);

/* An octet-check/1 document.  NULL: e is set. */
json_t *check_to_json(const struct check *c, struct err *e);

#endif
