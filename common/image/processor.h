/*
 * processor.h - a checkpoint's image processor: its settings, and a picture brought to the size the model
 * sees
 *
 * Settings come from preprocessor_config.json, or from the "image_processor" object of the
 * processor_config.json that transformers 5 writes.  A key that is missing or null has the value of the
 * reference's class; a key of the wrong type, an impossible value, or a switch that asks for what is not done
 * here (another filter, no rescaling ...) is refused with the file's and the key's name.
 */
#ifndef COMMON_IMAGE_PROCESSOR_H
#define COMMON_IMAGE_PROCESSOR_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/sha256.h"
#include "common/image/image.h"
#include "common/image/resize.h"

struct processor {
    size_t min_pixels,
        max_pixels; /* limits of a resized picture's area; also size.shortest_edge, .longest_edge */
    size_t patch_size, temporal_patch_size, merge_size;
    float mean[3], std[3];
    enum resample resample; /* from image_processor_type: PIL for ...Pil, else TORCHVISION */
};

/* A picture ready to be cut into patches: rgb[h * patch_size, w * patch_size, 3], owned.  t is 1. */
struct picture {
    size_t t, h, w; /* the grid, in patches */
    uint8_t *rgb;
};

/*
 * The settings of the class itself, which hold when a checkpoint has no file.  Beware: max_pixels is 1003520
 * here and 12845056 in the published checkpoints' files.
 */
void processor_init(struct processor *p);

/*
 * Read a checkpoint directory's settings: processor_config.json if it has an "image_processor", else
 * preprocessor_config.json, else processor_init().  0 or -1.
 */
int processor_read_dir(struct processor *p, const char *dir, struct err *e);

/*
 * SHA-256 over what decides the size of a resized picture: min_pixels, max_pixels, patch_size and merge_size.
 */
void processor_digest(const struct processor *p, char hex[SHA256_HEX]);

/*
 * Resize im for the model.  Release out afterwards.  0, or -1 with a message that does not name the
 * picture; a size of more than IMAGE_MAX_PIXELS is refused.
 */
int processor_run(const struct processor *p, const struct image *im, struct picture *out, struct err *e);

/* Safe on a zeroed struct. */
void picture_release(struct picture *pic);

#endif
