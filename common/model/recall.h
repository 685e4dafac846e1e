/* recall.h - candidates that were measured apart, brought together from their METRICS documents */
#ifndef COMMON_MODEL_RECALL_H
#define COMMON_MODEL_RECALL_H

#include "common/io/json.h"
#include "common/model/candidate.h"

struct recall {
    json_t *samples;             /* of the first document, as all others must have it */
    char *stream, *reference;    /* digests */
    char *first;                 /* path of the first document, for messages */
    struct candidate *candidate; /* see candidate_recall() */
    struct recalled {
        json_t *object; /* the candidate of the document */
        char *folder;   /* last part of the folder that the document is in; NULL: none is named */
    } *from;
    size_t n, cap, from_cap;
};

/*
 * Add the candidates of a METRICS document of eval-logits ("-" or NULL: standard input).  It must have the
 * samples and the reference of those before, and figures that its samples add up to.  Release r afterwards,
 * also after a failure.
 */
int recall_add(struct recall *r, const char *path, struct err *e);

/*
 * Where candidates have one name, put their documents' folders before the names; -1 when that is not enough.
 */
int recall_name(struct recall *r, struct err *e);
void recall_release(struct recall *r); /* safe on a zeroed struct */

#endif
