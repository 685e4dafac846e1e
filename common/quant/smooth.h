/*
 * smooth.h - SmoothQuant: how much of an input channel's range moves into the weights
 *
 * Of a module: s[c] = wmax[c]^(1-alpha) / amax[c]^alpha, clamped to [1e-4, 1e4]; a channel without range (of
 * either) gets
 * 1.  X is multiplied by s, W divided.  alpha 1 levels the activations, alpha 0 the weights.  Members of a
 * fused group see one input and so take one scale, the mean of theirs.  It is a bf16 number under either
 * rounding, as files store it. Source: SmoothQuant (arXiv 2211.10438), ModelOpt 0.47 smoothquant().
 */
#ifndef COMMON_QUANT_SMOOTH_H
#define COMMON_QUANT_SMOOTH_H

#include "common/base/int8.h"
#include "common/quant/layers.h"

/* A group's scales. */
struct smooth_group {
    size_t channels, members;
    float *pre;       /* [channels]: of the group */
    float **own;      /* [members][channels]: of each member, before it is rounded and the mean is taken */
    float input_amax; /* largest |x| after the multiplication */
};

/*
 * From the channel ranges in l.  ROUND_EXACT computes in fp64; the others as ModelOpt does on a bf16 model:
 * wmax^(1-alpha) rounded to bf16, the quotient in fp32, and input_amax, rounded to bf16, is the largest that
 * a member has under its own scale.  The message of a failure names the module that lacks ranges and says to
 * run calib-amax --per-channel. 0 <= alpha <= 1.  Release s afterwards, also after a failure.
 */
int smooth_make(struct smooth_group *s, const struct layers *l, size_t group, double alpha, enum rounding r,
                struct err *e);
void smooth_release(struct smooth_group *s);

/* Whether the norm before the group can carry its scale: q/k/v and gate/up, vision's qkv and gate/up; not o,
 * down, merger. */
bool smooth_folds(const struct layers *l, size_t group);

/* Whether a group in INT8 is smoothed: alpha as layers.alpha; at the input every group can be, in the norm
 * those that fold. */
bool smooth_applies(const struct layers *l, size_t group, double alpha, bool smooth_input);

#endif
