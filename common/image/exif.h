/* exif.h - the EXIF orientation tag: find it, apply it */
#ifndef COMMON_IMAGE_EXIF_H
#define COMMON_IMAGE_EXIF_H

#include "common/image/image.h"

/*
 * The orientation in n bytes of EXIF data (a TIFF header and its first directory): 1..8, where 1 is upright.
 * Data that is broken, has no orientation or another value gives 1.
 */
int exif_orientation(const uint8_t *tiff, size_t n);

/* Turn and mirror im so that a picture stored with this orientation is upright. */
int exif_apply(struct image *im, int orientation, struct err *e);

#endif
