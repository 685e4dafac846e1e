/* jpeg.c - JPEG pictures, by libjpeg */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "common/base/mem.h"
#include "common/image/codec.h"
#include "common/image/exif.h"

/*
 * A progressive file may hold any number of scans, each a pass over the whole picture, in a few bytes.
 * Encoders write about ten.
 */
enum { MAX_SCANS = 500 };

/*
 * libjpeg reports errors by a function that must not return: ours jumps.  All state lives here and not in
 * locals of the function that calls setjmp(), so none of it is lost, and the caller frees it on either way
 * out.
 */
struct reader {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    jmp_buf out;
    uint8_t *cmyk; /* [width, 4], one row; NULL unless the file has four components */
    struct image *im;
    struct err *e;
};

static void fail(j_common_ptr jpeg)
{
    struct reader *r = jpeg->client_data;
    char why[JMSG_LENGTH_MAX];

    jpeg->err->format_message(jpeg, why);
    err_set(r->e, RC_DATA, "bad JPEG data (%s)", why);
    longjmp(r->out, 1);
}

/* Warnings: damaged data that libjpeg can get past.  The reference takes what it makes of it. */
static void ignore_message(j_common_ptr jpeg, int level)
{
    (void)jpeg;
    (void)level;
}

static void watch_scans(j_common_ptr jpeg)
{
    struct reader *r = jpeg->client_data;

    if (r->jpeg.input_scan_number > MAX_SCANS) {
        err_set(r->e, RC_DATA, "it has more than %d scans", MAX_SCANS);
        longjmp(r->out, 1);
    }
}

static void source_nothing(j_decompress_ptr jpeg)
{
    (void)jpeg;
}

/* The whole file was there from the start, so wanting more means that it was cut. */
static boolean source_fill(j_decompress_ptr jpeg)
{
    struct reader *r = jpeg->client_data;

    err_set(r->e, RC_DATA, "the file is truncated");
    longjmp(r->out, 1);
}

static void source_skip(j_decompress_ptr jpeg, long n)
{
    if (n <= 0)
        return;
    if ((size_t)n > jpeg->src->bytes_in_buffer)
        source_fill(jpeg);
    jpeg->src->next_input_byte += n;
    jpeg->src->bytes_in_buffer -= (size_t)n;
}

static int read_orientation(struct reader *r)
{
    static const uint8_t id[6] = "Exif\0";

    for (jpeg_saved_marker_ptr m = r->jpeg.marker_list; m; m = m->next)
        if (m->data_length >= sizeof id && !memcmp(m->data, id, sizeof id))
            return exif_orientation(m->data + sizeof id, m->data_length - sizeof id);
    return 1;
}

static int set_colours(struct reader *r)
{
    switch (r->jpeg.num_components) {
    case 1:
    case 3: r->jpeg.out_color_space = JCS_RGB; return 0;
    case 4:
        r->jpeg.out_color_space = JCS_CMYK;
        r->cmyk = mem_zalloc(r->jpeg.image_width, 4, r->e);
        return r->cmyk ? 0 : -1;
    default:
        return err_set(r->e, RC_DATA, "pixels of %d components are neither gray, RGB nor CMYK",
                       r->jpeg.num_components);
    }
}

static int mul_div_255(int a, int b)
{
    int t = a * b + 128;

    return ((t >> 8) + t) >> 8;
}

/* Four-component files hold inverted ink, Adobe marker or not: 255 is none.  Pillow's cmyk2rgb() on the rest.
 */
static void cmyk_to_rgb(uint8_t *rgb, const uint8_t *cmyk, size_t width)
{
    for (size_t x = 0; x < width; x++, cmyk += 4, rgb += 3)
        for (int c = 0; c < 3; c++)
            rgb[c] = (uint8_t)(cmyk[3] - mul_div_255(255 - cmyk[c], cmyk[3]));
}

static int read_picture(struct reader *r, int *orientation)
{
    uint8_t *rgb;
    JSAMPROW row;

    if (setjmp(r->out))
        return -1;
    jpeg_create_decompress(&r->jpeg); /* keeps err and client_data, clears the rest */
    r->jpeg.src = &r->source;
    r->jpeg.progress = &r->progress;
    jpeg_save_markers(&r->jpeg, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(&r->jpeg, TRUE);
    *orientation = read_orientation(r);
    if (codec_alloc(r->im, r->jpeg.image_width, r->jpeg.image_height, r->e) || set_colours(r))
        return -1;
    jpeg_start_decompress(&r->jpeg);
    while (r->jpeg.output_scanline < r->jpeg.output_height) {
        rgb = r->im->rgb + r->jpeg.output_scanline * 3 * r->im->width;
        row = r->cmyk ? r->cmyk : rgb;
        jpeg_read_scanlines(&r->jpeg, &row, 1);
        if (r->cmyk)
            cmyk_to_rgb(rgb, r->cmyk, r->im->width);
    }
    jpeg_finish_decompress(&r->jpeg); /* to the end marker: a file without one is truncated */
    return 0;
}

int codec_jpeg(struct image *im, int *orientation, const uint8_t *data, size_t n, struct err *e)
{
    struct reader r = {.im = im, .e = e};
    int ret;

    r.jpeg.err = jpeg_std_error(&r.errors);
    r.jpeg.client_data = &r;
    r.errors.error_exit = fail;
    r.errors.emit_message = ignore_message;
    r.source = (struct jpeg_source_mgr){
        .next_input_byte = data,
        .bytes_in_buffer = n,
        .init_source = source_nothing,
        .fill_input_buffer = source_fill,
        .skip_input_data = source_skip,
        .resync_to_restart = jpeg_resync_to_restart,
        .term_source = source_nothing,
    };
    r.progress.progress_monitor = watch_scans;
    *orientation = 1;
    ret = read_picture(&r, orientation);
    jpeg_destroy_decompress(&r.jpeg);
    free(r.cmyk);
    return ret;
}
