/* image_damage.c - pictures that are cut, damaged or lying about their size: one clean error, or a picture */
#include <stdbool.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/image/exif.h"
#include "common/image/image.h"
#include "tests/unit/unit.h"

enum { FLIPS = 300, MANY_SCANS = 600 };

static const char *const files[] = {
    "gray1-adam7.png", "palette4-trns.png", "rgba16-adam7.png",     "exif6.png",
    "split-idat.png",  "420-odd.jpg",       "progressive-gray.jpg", "cmyk-adobe.jpg",
    "restart.jpg",     "exif5.jpg",         "rgb-adobe0.jpg",
};

static uint8_t *load(const char *name, size_t *n)
{
    struct err e = {0};
    uint8_t *data;
    char path[256];

    snprintf(path, sizeof path, "tests/golden/image/%s", name);
    if (file_read(path, &data, n, &e)) {
        printf("Bail out! %s\n", e.msg);
        exit(1);
    }
    return data;
}

/* A failure leaves nothing behind and one sentence with the name; a success leaves a picture. */
static bool clean(int ret, const struct image *im, const struct err *e)
{
    if (ret)
        return ret == -1 && e->rc == RC_DATA && strstr(e->msg, "'it'") && !im->rgb && !im->width &&
               !im->height;
    return e->rc == RC_OK && im->rgb && im->width && im->height && im->width * im->height <= IMAGE_MAX_PIXELS;
}

/* Each cut is decoded from a block of exactly its size, so that reading on is seen by a memory checker. */
static void truncations(const char *name)
{
    size_t n, good = 0, unclean = 0, step;
    uint8_t *data = load(name, &n);

    step = n / 400 + 1;
    for (size_t cut = 0; cut < n; cut += cut + 40 < n && cut > 40 ? step : 1) {
        struct err e = {0};
        struct image im;
        uint8_t *part = mem_zalloc(cut, 1, &e);
        int ret;

        memcpy(part, data, cut);
        ret = image_decode(&im, part, cut, "it", &e);
        good += ret == 0;
        unclean += !clean(ret, &im, &e);
        image_release(&im);
        free(part);
    }
    CHECK(good == 0 && unclean == 0, "%s: refused wherever it is cut", name);
    free(data);
}

static void bit_flips(const char *name)
{
    size_t n, unclean = 0, refused = 0;
    uint8_t *data = load(name, &n);
    uint32_t x = 7;

    for (int i = 0; i < FLIPS; i++) {
        struct err e = {0};
        struct image im;
        size_t where;
        int bit, ret;

        x = x * 1664525u + 1013904223u;
        where = (x >> 8) % (i % 2 ? n : n < 200 ? n : 200); /* every other one in the headers */
        bit = 1 << (x >> 5 & 7);
        data[where] ^= (uint8_t)bit;
        ret = image_decode(&im, data, n, "it", &e);
        refused += ret != 0;
        unclean += !clean(ret, &im, &e);
        image_release(&im);
        data[where] ^= (uint8_t)bit;
    }
    CHECK(unclean == 0 && refused > 0, "%s: %zu of %d single bits refused, none harmful", name, refused,
          FLIPS);
    free(data);
}

static uint32_t crc32_of(const uint8_t *p, size_t n)
{
    uint32_t c = ~0u;

    while (n--) {
        c ^= *p++;
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320 : 0);
    }
    return ~c;
}

static void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void expect(const uint8_t *data, size_t n, const char *what, const char *message)
{
    struct err e = {0};
    struct image im;
    int ret = image_decode(&im, data, n, "it", &e);

    CHECK(ret && clean(ret, &im, &e) && strstr(e.msg, message), "%s: %s", what, e.msg);
    image_release(&im);
}

/* The place of a JPEG marker's first segment. */
static size_t find_marker(const uint8_t *data, size_t n, uint8_t marker)
{
    size_t i = 2;

    while (i + 4 <= n && data[i + 1] != marker)
        i += 2 + ((size_t)data[i + 2] << 8 | data[i + 3]);
    return i;
}

static void too_many_pixels(void)
{
    size_t n, sof;
    uint8_t *png = load("28x28.png", &n), *jpeg;

    put_u32(png + 16, 20000);
    put_u32(png + 20, 8948);
    put_u32(png + 29, crc32_of(png + 12, 17));
    expect(png, n, "PNG", "cannot decode 'it': 20000 x 8948 pixels are more than the limit of 178956970");
    put_u32(png + 16, 0x7fffffff);
    put_u32(png + 20, 0x7fffffff);
    put_u32(png + 29, crc32_of(png + 12, 17));
    expect(png, n, "PNG", "2147483647 x 2147483647");
    free(png);
    jpeg = load("1x1.jpg", &n);
    sof = find_marker(jpeg, n, 0xc0);
    memcpy(jpeg + sof + 5, "\xff\xdc\xff\xdc", 4);
    expect(jpeg, n, "JPEG", "65500 x 65500 pixels are more than the limit");
    free(jpeg);
}

/* A small file that asks for the same work over and over. */
static void too_many_scans(void)
{
    size_t n, first, scan, end;
    uint8_t *data = load("progressive-gray.jpg", &n), *many, *p;
    struct err e = {0};

    first = find_marker(data, n, 0xda);
    for (end = first + 2; data[end] != 0xff || data[end + 1] == 0 || data[end + 1] == 0xff; end++)
        ;
    scan = end - first;
    many = mem_zalloc(n + scan * MANY_SCANS, 1, &e);
    memcpy(many, data, first);
    p = many + first;
    for (int i = 0; i < MANY_SCANS; i++, p += scan)
        memcpy(p, data + first, scan);
    memcpy(p, data + first, n - first);
    expect(many, n + scan * MANY_SCANS, "progressive", "more than 500 scans");
    free(many);
    free(data);
}

static void wrong_files(void)
{
    struct image im = {0};
    struct err e = {0};

    CHECK(image_read(&im, "tests/golden/none.png", &e) == -1 && e.rc == RC_SYS &&
              strstr(e.msg, "'tests/golden/none.png'"),
          "%s", e.msg);
    e = (struct err){0};
    CHECK(image_read(&im, "tests/golden", &e) == -1 && e.rc == RC_SYS && strstr(e.msg, "'tests/golden'"),
          "%s", e.msg);
    expect((const uint8_t *)"", 0, "nothing", "'it' is empty");
    expect((const uint8_t *)"GIF89a..", 8, "GIF", "'it' is neither a PNG nor a JPEG picture");
    image_release(&im);
}

static void exif(void)
{
    static const uint8_t little[] = "II*\0\10\0\0\0\2\0\17\1\2\0\1\0\0\0x\0\0\0\22\1\3\0\1\0\0\0\6\0\0\0";
    static const uint8_t big[] = "MM\0*\0\0\0\10\0\1\1\22\0\3\0\0\0\1\0\10\0\0";
    uint8_t tiff[64];
    size_t n = sizeof little - 1, wrong = 0;

    CHECK(exif_orientation(little, n) == 6, "little-endian, second entry");
    CHECK(exif_orientation(big, sizeof big - 1) == 8, "big-endian");
    for (size_t cut = 0; cut < n; cut++) {
        struct err e = {0};
        uint8_t *part = mem_zalloc(cut, 1, &e);

        memcpy(part, little, cut);
        wrong += exif_orientation(part, cut) != 1;
        free(part);
    }
    CHECK(wrong == 0, "cut EXIF data has no orientation");
    memcpy(tiff, little, n);
    put_u32(tiff + 4, 0xffffffff);
    CHECK(exif_orientation(tiff, n) == 1, "a directory beyond the end");
    memcpy(tiff, little, n);
    tiff[30] = 9;
    CHECK(exif_orientation(tiff, n) == 1, "orientation 9");
    tiff[30] = 6;
    tiff[26] = 2;
    CHECK(exif_orientation(tiff, n) == 1, "two orientations");
    tiff[26] = 1;
    tiff[24] = 5;
    CHECK(exif_orientation(tiff, n) == 1, "an orientation that is a fraction");
    tiff[24] = 1;
    CHECK(exif_orientation(tiff, n) == 1, "an orientation in a byte");
    memcpy(tiff, little, n);
    memcpy(tiff + 10, "\22\1\3\0\1\0\0\0\3\0\0\0", 12);
    CHECK(exif_orientation(tiff, n) == 3, "of two orientation entries the first");
    memcpy(tiff, "II+\0", 4);
    CHECK(exif_orientation(tiff, n) == 1, "not a TIFF header");
}

int main(void)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        truncations(files[i]);
        bit_flips(files[i]);
    }
    too_many_pixels();
    too_many_scans();
    wrong_files();
    exif();
    return unit_end();
}
