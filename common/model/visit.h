/* visit.h - samples through a model, batch by batch, with something to do at each */
#ifndef COMMON_MODEL_VISIT_H
#define COMMON_MODEL_VISIT_H

#include "common/base/progress.h"
#include "common/model/walk.h"

/*
 * What to do with a batch once its head's input stands in w->norm; first: index of its first sample.  -1 with
 * e set ends the visits.  NULL: nothing.  With keep, w->input[] holds the input of every stage.  tap: of
 * every walk, or NULL.
 */
struct visit {
    int (*batch)(struct visit *, struct walk *w, size_t first, struct err *e);
    struct tap *tap;
    bool keep;
};

/* Take n samples through m in batches of about `rows` rows; p counts samples. */
int visit_batches(struct model *m, const struct sample *sample, size_t n, size_t rows, struct visit *v,
                  struct progress *p, struct err *e);

#endif
