/* image.c - pictures as rows of RGB bytes, read from PNG and JPEG files */
#include "common/image/image.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/image/codec.h"
#include "common/image/exif.h"

int codec_alloc(struct image *im, size_t width, size_t height, struct err *e)
{
    size_t pixels;

    if (!width || !height)
        return err_set(e, RC_DATA, "a picture of %zu x %zu pixels is empty", width, height);
    if (mem_mul(width, height, &pixels, "a picture", e))
        return -1;
    if (pixels > IMAGE_MAX_PIXELS)
        return err_set(e, RC_DATA, "%zu x %zu pixels are more than the limit of %zu", width, height,
                       IMAGE_MAX_PIXELS);
    im->rgb = mem_zalloc(pixels, 3, e);
    if (!im->rgb)
        return -1;
    im->width = width;
    im->height = height;
    return 0;
}

int image_decode(struct image *im, const uint8_t *data, size_t n, const char *name, struct err *e)
{
    static const uint8_t png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'}, jpeg[] = {0xff, 0xd8, 0xff};
    int orientation = 1, ret;

    *im = (struct image){0};
    if (n >= sizeof png && !memcmp(data, png, sizeof png))
        ret = codec_png(im, &orientation, data, n, e);
    else if (n >= sizeof jpeg && !memcmp(data, jpeg, sizeof jpeg))
        ret = codec_jpeg(im, &orientation, data, n, e);
    else
        return err_set(e, RC_DATA, "'%s' is %s", name, n ? "neither a PNG nor a JPEG picture" : "empty");
    if (ret == 0)
        ret = exif_apply(im, orientation, e);
    if (ret) {
        err_prefix(e, "cannot decode '%s'", name);
        image_release(im);
    }
    return ret;
}

int image_read(struct image *im, const char *path, struct err *e)
{
    uint8_t *data;
    size_t n;
    int ret;

    *im = (struct image){0};
    if (file_read(path, &data, &n, e))
        return -1;
    ret = image_decode(im, data, n, file_label(path), e);
    free(data);
    return ret;
}

void image_release(struct image *im)
{
    free(im->rgb);
    *im = (struct image){0};
}
