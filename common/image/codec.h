/*
 * codec.h - the decoders behind image_decode()
 *
 * Messages say what is wrong; the caller puts the file's name in front.
 */
#ifndef COMMON_IMAGE_CODEC_H
#define COMMON_IMAGE_CODEC_H

#include "common/image/image.h"

/*
 * Decode a whole file as stored, before orientation.  *orientation is the file's EXIF orientation, 1 when it
 * has none. On failure im may hold memory that image_release() frees.
 */
int codec_png(struct image *im, int *orientation, const uint8_t *data, size_t n, struct err *e);
int codec_jpeg(struct image *im, int *orientation, const uint8_t *data, size_t n, struct err *e);

/* Set the size and allocate the pixels; no picture may be empty or above IMAGE_MAX_PIXELS. */
int codec_alloc(struct image *im, size_t width, size_t height, struct err *e);

#endif
