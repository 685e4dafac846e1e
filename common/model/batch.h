/*
 * batch.h - samples packed into rows, without padding
 *
 * Tokens of all samples follow one another; attention is kept apart by prefix sums.  Patches of all pictures
 * follow one another in the vision tower's permuted order from the start: no product cares about the order of
 * its rows.
 */
#ifndef COMMON_MODEL_BATCH_H
#define COMMON_MODEL_BATCH_H

#include "common/image/processor.h"
#include "common/io/samples.h"
#include "common/model/windows.h"
#include "kernels/backend.h"

struct batch {
    size_t samples, tokens, patches, units, images;
    size_t longest; /* tokens of the longest sample */

    /* Host. */
    int32_t *first;      /* [samples + 1]: token row where a sample begins */
    int32_t *target;     /* [tokens]: the token to predict from this row, -1: not counted */
    size_t *loss_tokens; /* [samples] */
    /* [samples]: the token after a sample's last of n has position n + delta on every axis */
    int32_t *delta;
    int32_t *loss_row;   /* [loss_rows]: rows with a target, ascending */
    size_t loss_rows;
    struct windows windows;
    struct grid *grid; /* [images] */

    struct packing *packing; /* private: what batch_upload() sends */

    /* Device. */
    struct backend *be;
    int32_t *d_ids, *d_first, *d_target, *d_loss_row, *d_loss_target;
    float *d_cosine, *d_sine;               /* [tokens, head_dim / 2] */
    void *d_pixels;       /* [patches, patch_dim] act */
    int32_t *d_image_row; /* [units]: the token row that unit m becomes */
    int32_t *d_cu_window, *d_cu_full;
    float *d_vision_cosine, *d_vision_sine; /* [patches, vision head_dim / 2] */
    /*
     * Per row, the loss tokens of its sample: for tokens, patches, units, and the rows of loss_row; and their
     * inverse.
     */
    float *d_token_weight, *d_patch_weight, *d_unit_weight, *d_loss_weight, *d_loss_inverse;
};

/*
 * Pack n samples, on the host alone, and then upload them, which may be in another thread.  Checks each
 * against the model: ids in the vocabulary, image tokens against pictures, picture sizes against patch and
 * merge sizes; messages name the sample.  The samples' pictures are read by the upload.  Release b
 * afterwards, also after a failure.
 */
int batch_pack(struct batch *b, const struct config *c, const struct processor *p,
               const struct sample *sample, size_t n, struct err *e);
int batch_upload(struct batch *b, struct backend *be, const struct config *c, struct err *e);

/* Both. */
int batch_build(struct batch *b, struct backend *be, const struct config *c, const struct processor *p,
                const struct sample *sample, size_t n, struct err *e);
void batch_release(struct batch *b); /* safe on a zeroed struct */

/*
 * A batch of one token that stands after others: batch_step_build() makes its buffers once, batch_step() says
 * which token, in the vocabulary, and its position.  An image token is one as any other here: it has no
 * picture.
 */
int batch_step_build(struct batch *b, struct backend *be, const struct config *c, struct err *e);
int batch_step(struct batch *b, const struct config *c, int32_t id, int32_t position, struct err *e);

/*
 * How many of the samples, from the first on, make one batch: at least one, and as many as stay within
 * `budget` rows (tokens, plus patches weighted by the vision tower's share of the work).
 */
size_t batch_take(const struct config *c, const struct sample *sample, size_t n, size_t budget);

#endif
