/* png.c - PNG pictures, by libpng */
#include <png.h>

#include <string.h>

#include "common/image/codec.h"
#include "common/image/exif.h"

enum {
    PNG_SIGNATURE = 8,
    CHUNK_FRAME = 12,        /* length, name and check sum */
    INFLATED_BYTES = 8000000 /* what a compressed chunk may grow to, beside the file's size: libpng's own limit, if any */
};

/*
 * libpng reports errors by longjmp().  All state lives here and not in locals of the function that calls
 * setjmp(), so none of it is lost by the jump, and the caller frees it on either way out.
 */
struct reader {
    png_structp png;
    png_infop info;
    const uint8_t *next; /* the part of the file not read yet */
    size_t left;
    struct image *im;
    struct err *e;
};

static void fail(png_structp png, png_const_charp why)
{
    struct reader *r = png_get_error_ptr(png);

    err_set(r->e, RC_DATA, "bad PNG data (%s)", why);
    png_longjmp(png, 1);
}

static void ignore(png_structp png, png_const_charp why)
{
    (void)png;
    (void)why;
}

static void read_bytes(png_structp png, png_bytep out, size_t n)
{
    struct reader *r = png_get_io_ptr(png);

    if (n > r->left) {
        err_set(r->e, RC_DATA, "the file is truncated");
        png_longjmp(png, 1);
    }
    memcpy(out, r->next, n);
    r->next += n;
    r->left -= n;
}

/* Whatever the file holds becomes 3 bytes a pixel. */
static void set_transforms(struct reader *r)
{
    int type = png_get_color_type(r->png, r->info);

    if (type == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(r->png);
    if (type == PNG_COLOR_TYPE_GRAY)
        png_set_expand_gray_1_2_4_to_8(r->png);
    if (!(type & PNG_COLOR_MASK_COLOR))
        png_set_gray_to_rgb(r->png);
    png_set_strip_16(r->png);
    png_set_strip_alpha(r->png);
}

/* libpng allocates what a chunk says it has before it reads it: no more than is there. */
static int check_lengths(const struct reader *r)
{
    const uint8_t *at = r->next + PNG_SIGNATURE;

    for (size_t left = r->left - PNG_SIGNATURE, bytes; left >= CHUNK_FRAME && memcmp(at + 4, "IEND", 4); at += bytes) {
        bytes = (size_t)png_get_uint_32(at) + CHUNK_FRAME;
        if (bytes > left)
            return err_set(r->e, RC_DATA, "the file is truncated");
        left -= bytes;
    }
    return 0;
}

static int read_picture(struct reader *r)
{
    size_t stride;
    int passes;

    if (setjmp(png_jmpbuf(r->png)))
        return -1;
    png_set_read_fn(r->png, r, read_bytes);
    png_set_user_limits(r->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* codec_alloc() has the limit */
    png_set_chunk_malloc_max(r->png, r->left > INFLATED_BYTES ? r->left : INFLATED_BYTES);
    png_read_info(r->png, r->info);
    /* First, because libpng allocates and clears whole rows from here on. */
    if (codec_alloc(r->im, png_get_image_width(r->png, r->info), png_get_image_height(r->png, r->info), r->e))
        return -1;
    set_transforms(r);
    passes = png_set_interlace_handling(r->png);
    png_read_update_info(r->png, r->info);
    stride = 3 * r->im->width;
    if (png_get_rowbytes(r->png, r->info) != stride)
        return err_set(r->e, RC_DATA, "its pixels do not convert to RGB");
    for (int pass = 0; pass < passes; pass++)
        for (size_t y = 0; y < r->im->height; y++)
            png_read_row(r->png, r->im->rgb + y * stride, NULL);
    png_read_end(r->png, r->info); /* eXIf may follow the pixels */
    return 0;
}

int codec_png(struct image *im, int *orientation, const uint8_t *data, size_t n, struct err *e)
{
    struct reader r = {.next = data, .left = n, .im = im, .e = e};
    png_uint_32 bytes;
    png_bytep exif;
    int ret = -1;

    *orientation = 1;
    r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, fail, ignore);
    r.info = r.png ? png_create_info_struct(r.png) : NULL;
    if (!r.info) {
        err_set(e, RC_SYS, "libpng does not start: out of memory, or not the version this was built for");
        goto out;
    }
    ret = check_lengths(&r) || read_picture(&r) ? -1 : 0;
    if (ret == 0 && png_get_eXIf_1(r.png, r.info, &bytes, &exif))
        *orientation = exif_orientation(exif, bytes);
out:
    png_destroy_read_struct(&r.png, &r.info, NULL);
    return ret;
}
