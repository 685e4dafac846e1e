/* exif.c - the EXIF orientation tag: find it, apply it */
#include "common/image/exif.h"

#include <stdbool.h>
#include <string.h>

#include "common/image/codec.h"

enum { TAG_ORIENTATION = 0x112, TYPE_SHORT = 3, TYPE_LONG = 4, ENTRY_BYTES = 12 };

static uint32_t get(const uint8_t *p, size_t bytes, bool big_endian)
{
    uint32_t v = 0;

    for (size_t i = 0; i < bytes; i++)
        v = v << 8 | p[big_endian ? i : bytes - 1 - i];
    return v;
}

/* The value of a directory entry that holds one whole number; 0 for any other. */
static uint32_t entry_value(const uint8_t *entry, bool big)
{
    uint32_t type = get(entry + 2, 2, big), count = get(entry + 4, 4, big);

    if (count != 1 || (type != TYPE_SHORT && type != TYPE_LONG))
        return 0;
    return get(entry + 8, type == TYPE_SHORT ? 2 : 4, big);
}

int exif_orientation(const uint8_t *tiff, size_t n)
{
    uint32_t at, value;
    bool big;

    if (n < 8 || (memcmp(tiff, "II*\0", 4) && memcmp(tiff, "MM\0*", 4)))
        return 1;
    big = tiff[0] == 'M';
    at = get(tiff + 4, 4, big);
    if (at > n - 2)
        return 1;
    for (size_t left = get(tiff + at, 2, big), p = (size_t)at + 2; left && p + ENTRY_BYTES <= n;
         left--, p += ENTRY_BYTES) {
        if (get(tiff + p, 2, big) != TAG_ORIENTATION)
            continue;
        value = entry_value(tiff + p, big);
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

int exif_apply(struct image *im, int orientation, struct err *e)
{
    /* By orientation: are rows and columns swapped; is the stored picture read from its right; its bottom? */
    static const bool swapped[9] = {[5] = true, [6] = true, [7] = true, [8] = true};
    static const bool from_right[9] = {[2] = true, [3] = true, [7] = true, [8] = true};
    static const bool from_bottom[9] = {[3] = true, [4] = true, [6] = true, [7] = true};
    ptrdiff_t right = 3, down = 3 * (ptrdiff_t)im->width, across,
              along; /* steps in the stored picture, in bytes */
    const uint8_t *start = im->rgb, *src;
    struct image out = {0};
    bool swap;
    uint8_t *dst;

    if (orientation < 2 || orientation > 8)
        return 0;
    swap = swapped[orientation];
    if (codec_alloc(&out, swap ? im->height : im->width, swap ? im->width : im->height, e))
        return -1;
    if (from_right[orientation]) {
        start += right * (ptrdiff_t)(im->width - 1);
        right = -right;
    }
    if (from_bottom[orientation]) {
        start += down * (ptrdiff_t)(im->height - 1);
        down = -down;
    }
    across = swap ? down : right; /* one column further in the upright picture */
    along = swap ? right : down;  /* one row further */
    dst = out.rgb;
    for (size_t y = 0; y < out.height; y++) {
        src = start + (ptrdiff_t)y * along;
        for (size_t x = 0; x < out.width; x++, src += across, dst += 3)
            memcpy(dst, src, 3);
    }
    image_release(im);
    *im = out;
    return 0;
}
