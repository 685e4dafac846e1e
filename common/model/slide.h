/*
 * slide.h - long texts in overlapping windows
 *
 * A text of more tokens than the window becomes several samples: windows start every `stride` tokens, the
 * last one ends with the text, and each token with loss counts in the first window that has it, so that it is
 * counted once and, but for the first window, has at least window - stride tokens before it.
 */
#ifndef COMMON_MODEL_SLIDE_H
#define COMMON_MODEL_SLIDE_H

#include "common/io/samples.h"

struct slide {
    struct sample *view; /* [n]: ids, id and images are borrowed */
    size_t *of;          /* [n]: which sample a view is of; ascending */
    size_t n, cap;
};

/*
 * 1 <= stride <= window.  A sample with a picture that is longer than the window is an error.  Release s
 * afterwards.
 */
int slide_make(struct slide *s, const struct sample *sample, size_t n, size_t window, size_t stride,
               struct err *e);
void slide_release(struct slide *s); /* safe on a zeroed struct */

#endif
