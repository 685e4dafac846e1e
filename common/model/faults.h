/* faults.h - numbers that are not finite, and where they begin */
#ifndef COMMON_MODEL_FAULTS_H
#define COMMON_MODEL_FAULTS_H

#include "common/io/samples.h"
#include "common/model/model.h"

/* Positions whose figures are not finite, and the first of them. */
struct faults {
    size_t count, sample, position;
};

void faults_add(struct faults *f, size_t sample, size_t position);

/*
 * 0 when there are none.  Else -1, with how many there are, where the first one is and in which module it
 * begins: no figure is better than a wrong one.  against: m was compared with a reference, which may be at
 * fault.
 */
int faults_report(const struct faults *f, struct model *m, const struct sample *sample, bool against,
                  struct err *e);

#endif
