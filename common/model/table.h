/*
 * table.h - a comparison for people, in llama-perplexity's words and order
 *
 * Behind the errors, which take tokens as independent, stand 95 % intervals over samples.
 */
#ifndef COMMON_MODEL_TABLE_H
#define COMMON_MODEL_TABLE_H

#include <stdio.h>

#include "common/model/pairs.h"

/* Everything of one candidate.  A failed write stays in f. */
void table_candidate(FILE *f, const struct candidate *c);

/* Each candidate against the one before it, and whether the samples suffice.  A failed write stays in f. */
void table_pairs(FILE *f, const struct candidate *c, const struct pairs *p);

/*
 * A sentence for people when the samples do not tell all neighbours apart: "40 samples tell 4 of 9 neighbours
 * apart; some 310 would tell all".  Empty when there is nothing to say.
 */
void table_hint(char *text, size_t size, const struct pairs *p);

#endif
