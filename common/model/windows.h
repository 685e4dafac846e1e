/*
 * windows.h - the vision tower's order of work: window permutation, segments, 2-D rotation angles
 *
 * Units are merge x merge blocks of patches (4 patches); a picture's units are in raster order, its patches
 * unit by unit (top left, top right, bottom left, bottom right).  The permutation moves whole units so that
 * windows lie together.
 */
#ifndef COMMON_MODEL_WINDOWS_H
#define COMMON_MODEL_WINDOWS_H

#include "common/model/positions.h"

struct windows {
    size_t patches, units; /* of all pictures; patches = merge^2 * units */
    int32_t *unit;         /* [units]: permuted[m] = original[unit[m]] */
    int32_t *row;          /* [patches]: the same for patch rows */
    int32_t *cu_window;    /* [window_segments + 1]: prefix sums in patches, repeated values removed */
    int32_t *cu_full;      /* [full_segments + 1]: the same, one segment a frame */
    size_t window_segments, full_segments;
    size_t max_window, max_full; /* longest segment */
    float *cosine, *sine;        /* [patches, head_dim / 2], in permuted order */
};

/* Grids of all pictures of a batch, in order.  The caller releases w, also after a failure. */
int windows_build(struct windows *w, const struct vision_config *v, const struct grid *grid, size_t grids,
                  struct err *e);
void windows_release(struct windows *w);

#endif
