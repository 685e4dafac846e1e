/* positions.h - M-RoPE positions of a token row, and the rotation angles made of them */
#ifndef COMMON_MODEL_POSITIONS_H
#define COMMON_MODEL_POSITIONS_H

#include "common/model/config.h"

/* Patches of one picture: t frames of h x w patches (h, w multiples of the merge size). */
struct grid {
    size_t t, h, w;
};

/* Its units of merge x merge patches, t*h*w/merge^2; -1 when a side is 0, no multiple of merge, or patches
 * pass 2^31. */
int grid_units(const struct grid *g, size_t merge, size_t *units, struct err *e);

/*
 * position[axis * n + i] for axis T, H, W of each of n tokens (transformers get_rope_index for pictures).
 * Checks that every run of image tokens belongs to one grid, in order, and has its h*w/merge^2 tokens (a
 * picture has t = 1; more frames are video, which is refused), and that ids lie in the vocabulary; errors say
 * which picture has too many or too few.  *delta = largest position + 1 - n.
 */
int positions_build(const struct config *c, const int32_t *ids, size_t n, const struct grid *grid,
                    size_t grids, int32_t *position, int32_t *delta, struct err *e);

/*
 * cos and sin [n, head_dim / 2] of the language model's rotation: frequency j = theta^(-2j/head_dim) turns
 * with the axis that its M-RoPE section names.  The frequency is fp32 (a power and its reciprocal, each
 * rounded, as in torch), its product with the position is one fp32 rounding, cos and sin of that are rounded
 * once.
 */
void positions_angles(const struct config *c, const int32_t *position, size_t n, float *cosine, float *sine);

/*
 * The same, looked up: samples repeat the positions from 0 on.  angles_build() makes the rows of the
 * positions below n; release a afterwards, also after a failure.
 */
struct angles {
    size_t n, half;
    float *cosine, *sine; /* [n, half] */
};
int angles_build(struct angles *a, const struct config *c, size_t n, struct err *e);
void angles_take(const struct angles *a, const struct config *c, const int32_t *position, size_t n,
                 float *cosine, float *sine);
void angles_release(struct angles *a); /* safe on a zeroed struct */

#endif
