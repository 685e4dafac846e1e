/*
 * image.h - pictures as rows of RGB bytes, read from PNG and JPEG files
 *
 * A file's pixels become those that the reference reads (Pillow's convert("RGB") after the EXIF orientation):
 * alpha and tRNS are dropped without blending, palettes looked up, 1, 2 and 4 bit gray widened to 0..255, of
 * 16-bit samples the high byte kept (gray too, where Pillow would clip at 255 and give an almost white
 * picture), CMYK and YCCK converted by Pillow's integer formula.  Gamma and colour profiles are ignored.
 *
 * Orientation comes from a JPEG's first EXIF APP1 segment or a PNG's eXIf chunk; a broken or impossible one
 * is ignored. JPEG samples are libjpeg's defaults (islow DCT, fancy upsampling), so they depend on the
 * library's version.
 */
#ifndef COMMON_IMAGE_IMAGE_H
#define COMMON_IMAGE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

/*
 * The largest picture read, in pixels: twice Pillow's MAX_IMAGE_PIXELS, where Pillow too gives up.  A small
 * file can claim any size; this bounds what it can make us allocate: 3 bytes a pixel, and up to 16 more while
 * the libraries work (coefficients of a progressive JPEG, rows of an extremely wide PNG).
 */
#define IMAGE_MAX_PIXELS ((size_t)178956970)

struct image {
    size_t width, height;
    uint8_t *rgb; /* [height, width, 3], owned */
};

/*
 * Read a picture.  Its first bytes tell the type, not its name; "-" and NULL are standard input.  0, or -1
 * with a sentence that names the file; im is then empty.  Release im afterwards.
 */
int image_read(struct image *im, const char *path, struct err *e);

/* The same from n bytes in memory; name is what messages call them. */
int image_decode(struct image *im, const uint8_t *data, size_t n, const char *name, struct err *e);

/* Safe on a zeroed struct. */
void image_release(struct image *im);

#endif
