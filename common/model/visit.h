/* visit.h - samples through a model, batch by batch, with something to do at each */
#ifndef COMMON_MODEL_VISIT_H
#define COMMON_MODEL_VISIT_H

#include "common/base/progress.h"
#include "common/model/walk.h"

/*
 * What to do with a batch once its head's input stands in w->norm; first: index of its first sample.  -1 with e set ends
 * the visits.  NULL: nothing.  With keep, w->input[] holds the input of every stage.  tap: of every walk, or NULL.
 */
struct visit {
    int (*batch)(struct visit *, struct walk *w, size_t first, struct err *e);
    struct tap *tap;
    bool keep;
};

/* Take n samples through m in batches of about `rows` rows; p counts samples. */
int visit_batches(struct model *m, const struct sample *sample, size_t n, size_t rows, struct visit *v, struct progress *p,
                  struct err *e);

/* Where a number that is not finite first appears on the way of a sample. */
struct visit_fault {
    const char *module; /* canonical name; NULL: nowhere */
    const char *side;   /* "input" or "output" */
    size_t row;
};

/* Walk one sample and look at the input and the output of every linear module, the head's last.  -1: the walk failed. */
int visit_fault(struct model *m, const struct sample *s, struct visit_fault *f, struct err *e);

/* Positions whose figures are not finite, and the first of them. */
struct faults {
    size_t count, sample, position;
};

void faults_add(struct faults *f, size_t sample, size_t position);

/*
 * 0 when there are none.  Else -1, with how many there are, where the first one is and in which module it begins: no figure is
 * better than a wrong one.  against: m was compared with a reference, which may be at fault.
 */
int faults_report(const struct faults *f, struct model *m, const struct sample *sample, bool against, struct err *e);

#endif
