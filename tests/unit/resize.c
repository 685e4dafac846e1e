/* resize.c - target sizes, both resamplers and the cutting into patches, bit for bit */
#include <stdbool.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/numeric.h"
#include "tests/unit/unit.h"
#include "tests/unit/image.h"
#include "tests/unit/patches.h"

static uint8_t random_byte(uint32_t *x)
{
    *x = *x * 1664525u + 1013904223u;
    return (uint8_t)(*x >> 24);
}

static uint8_t *allocate(size_t height, size_t width)
{
    struct err e = {0};

    return mem_zalloc(3 * height * width, 1, &e);
}

static void target_sizes(void)
{
    json_t *root = json_load_file("tests/golden/smart_resize.json", 0, NULL), *row;
    size_t i, h, w, wrong = 0, refused = 0;

    json_array_foreach(json_object_get(root, "items"), i, row)
    {
        struct err e = {0};

        h = w = 0;
        if (smart_resize(at(row, 0), at(row, 1), at(row, 2), at(row, 3), at(row, 4), &h, &w, &e))
            refused += e.rc == RC_DATA;
        wrong += h != at(row, 5) || w != at(row, 6);
    }
    CHECK(json_array_size(json_object_get(root, "items")) == 1500 && wrong == 0 && refused > 0,
          "1500 sizes equal the reference's, %zu refused", refused);
    json_decref(root);
}

static void longest_pictures(void)
{
    static const size_t sizes[][3] = {
        /* height, width, accepted */
        {1, 200, 1},   {200, 1, 1},   {1, 201, 0}, {201, 1, 0}, {10, 2000, 1},
        {10, 2001, 0}, {2001, 10, 0}, {0, 7, 0},   {7, 0, 0},
    };

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t h, w;
        struct err e = {0};
        int ret = smart_resize(sizes[i][0], sizes[i][1], 28, 3136, 1003520, &h, &w, &e);

        CHECK((ret == 0) == sizes[i][2] && (ret == 0 ? h && w && !(h % 28) && !(w % 28) : e.rc == RC_DATA),
              "%zu x %zu: %s", sizes[i][0], sizes[i][1], ret ? e.msg : "accepted");
    }
}

static void resamplers(void)
{
    static const char *const name[] = {"torchvision", "pil"};
    json_t *root = json_load_file("tests/golden/resample.json", 0, NULL), *item;
    size_t i;

    CHECK(json_array_size(json_object_get(root, "items")) == 20, "all resamplings are listed");
    json_array_foreach(json_object_get(root, "items"), i, item)
    {
        const json_t *size = json_object_get(item, "size"), *to = json_object_get(item, "to");
        size_t h = at(size, 0), w = at(size, 1), oh = at(to, 0), ow = at(to, 1);
        uint32_t seed = (uint32_t)json_integer_value(json_object_get(item, "seed"));
        uint8_t *in = allocate(h, w), *out = allocate(oh, ow);

        for (size_t k = 0; k < 3 * h * w; k++)
            in[k] = random_byte(&seed);
        CHECK(same_digest(in, 3 * h * w, json_object_get(item, "rgb_sha256")), "input of %zu x %zu", h, w);
        for (int how = RESAMPLE_TORCHVISION; how <= RESAMPLE_PIL; how++) {
            struct err e = {0};

            CHECK(!resize_rgb(out, oh, ow, in, h, w, (enum resample)how, &e) &&
                      same_digest(out, 3 * oh * ow, json_object_get(item, name[how])),
                  "%zu x %zu to %zu x %zu by %s", h, w, oh, ow, name[how]);
        }
        free(out);
        free(in);
    }
    json_decref(root);
}

static double cubic(double x)
{
    return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

/* The i-th of m samples made from n, the definition written out: weights kept in double, sums in 64 bits. */
static uint8_t resampled(const uint8_t *in, size_t n, size_t m, size_t i, int bits)
{
    double scale = (double)n / (double)m, fs = fmax(scale, 1), c = ((double)i + 0.5) * scale, total = 0;
    int64_t sum = bits ? (int64_t)1 << (bits - 1) : 0, one = (int64_t)1 << bits;
    double lo = trunc(c - 2 * fs + 0.5), hi = trunc(c + 2 * fs + 0.5);

    lo = lo < 0 ? 0 : lo;
    hi = hi > (double)n ? (double)n : hi;
    for (double k = lo; k < hi; k++)
        total += cubic(fabs((k - c + 0.5) * (1 / fs)));
    for (double k = lo; k < hi; k++) {
        double w = cubic(fabs((k - c + 0.5) * (1 / fs))) / total * (double)one;

        sum += (int64_t)(w + (w < 0 ? -0.5 : 0.5)) * in[(size_t)k];
    }
    sum >>= bits;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* How many of a [height, width, 3] picture's bytes are not line[y] (down) or line[x]. */
static size_t differing(const uint8_t *rgb, size_t height, size_t width, const uint8_t *line, bool down)
{
    size_t n = 0;

    for (size_t y = 0; y < height; y++)
        for (size_t k = 0; k < 3 * width; k++)
            n += rgb[3 * y * width + k] != line[down ? y : k / 3];
    return n;
}

/* One axis, every pair of sizes 1..35, and another side that ends inside the second block the code works in.
 */
static void small_sizes(void)
{
    enum { LONGEST = 35, SIDE = 70 };
    uint8_t line[LONGEST], want[LONGEST];
    uint8_t *wide = allocate(SIDE, LONGEST), *tall = allocate(LONGEST, SIDE), *out = allocate(SIDE, LONGEST);
    size_t wrong_across = 0, wrong_down = 0;
    uint32_t seed = 9;
    struct err e = {0};

    for (size_t n = 1; n <= LONGEST; n++)
        for (size_t m = 1; m <= LONGEST; m++) {
            for (size_t k = 0; k < n; k++) /* full contrast, so that sums overshoot both ends */
                line[k] = random_byte(&seed) & 1 ? 255 : 0;
            for (size_t i = 0; i < m; i++)
                want[i] = n == m ? line[i] : resampled(line, n, m, i, 22);
            for (size_t k = 0; k < n; k++)
                memset(tall + 3 * SIDE * k, line[k], 3 * SIDE);
            for (size_t k = 0; k < 3 * SIDE * n; k++)
                wide[k] = line[k / 3 % n];
            wrong_across += resize_rgb(out, SIDE, m, wide, SIDE, n, RESAMPLE_PIL, &e) != 0;
            wrong_across += differing(out, SIDE, m, want, false);
            wrong_down += resize_rgb(out, m, SIDE, tall, n, SIDE, RESAMPLE_PIL, &e) != 0;
            wrong_down += differing(out, m, SIDE, want, true);
        }
    CHECK(wrong_across == 0, "every pair of widths up to %d", LONGEST);
    CHECK(wrong_down == 0, "every pair of heights up to %d", LONGEST);
    free(out);
    free(tall);
    free(wide);
}

/* Vectors worked out by hand from the definition, the same for both. */
static void known_vectors(void)
{
    static const uint8_t in[8] = {0, 32, 255, 128, 64, 200, 10, 77}, to_3[] = {81, 143, 76};
    static const uint8_t to_5[] = {6, 185, 108, 127, 46},
                         to_12[] = {0, 2, 62, 236, 209, 111, 62, 140, 184, 31, 34, 81};
    static const uint8_t to_16[] = {0, 1, 10, 83, 219, 246, 164, 103, 64, 92, 184, 169, 47, 12, 60, 83};
    static const struct {
        const uint8_t *want;
        size_t n;
    } rows[] = {{to_3, 3}, {to_5, 5}, {to_12, 12}, {to_16, 16}, {in, 8}};

    for (int how = RESAMPLE_TORCHVISION; how <= RESAMPLE_PIL; how++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            uint8_t rgb[24], out[48];
            struct err e = {0};
            size_t wrong = 0;

            for (size_t k = 0; k < 24; k++)
                rgb[k] = in[k / 3];
            CHECK(!resize_rgb(out, 1, rows[i].n, rgb, 1, 8, (enum resample)how, &e), "8 to %zu", rows[i].n);
            for (size_t k = 0; k < 3 * rows[i].n; k++)
                wrong += out[k] != rows[i].want[k / 3];
            CHECK(wrong == 0, "8 to %zu: values", rows[i].n);
        }
}

static void read_floats(const json_t *array, float out[3])
{
    for (size_t c = 0; c < 3; c++)
        out[c] = (float)json_number_value(json_array_get(array, c));
}

static void normalisation(void)
{
    static const char *const name[] = {"torchvision", "pil"};
    json_t *root = json_load_file("tests/golden/pixels.json", 0, NULL);
    const char *hex = json_string_value(json_object_get(root, "picture"));
    float mean[3], std[3], table[3][256], *out;
    uint8_t *rgb = allocate(56, 84);
    unsigned v;
    struct err e = {0};

    read_floats(json_object_get(root, "image_mean"), mean);
    read_floats(json_object_get(root, "image_std"), std);
    for (size_t k = 0; k < 3 * 56 * 84 && sscanf(hex + 2 * k, "%2x", &v) == 1; k++)
        rgb[k] = (uint8_t)v;
    out = mem_zalloc(24 * 1176, sizeof *out, &e);
    for (int how = RESAMPLE_TORCHVISION; how <= RESAMPLE_PIL; how++) {
        const json_t *want = json_object_get(root, name[how]), *bits = json_object_get(want, "lut_bits");
        size_t wrong = 0;

        patches_table(table, mean, std, (enum resample)how);
        for (size_t c = 0; c < 3; c++)
            for (size_t k = 0; k < 256; k++)
                wrong += f32_bits(table[c][k]) != at(json_array_get(bits, c), k);
        CHECK(wrong == 0, "768 normalised values of %s", name[how]);
        patches_cut(out, rgb, 4, 6, 14, 2, 2, mean, std, (enum resample)how);
        CHECK(same_digest(out, 24 * 1176 * sizeof *out, json_object_get(want, "pixel_values_sha256")),
              "patches of %s", name[how]);
    }
    free(out);
    free(rgb);
    json_decref(root);
}

/* Other sizes than the published ones: every value is looked up where the header's formulas say. */
static void patch_order(void)
{
    static const float mean[3] = {0}, std[3] = {1 / 255.0f, 1 / 255.0f, 1 / 255.0f};
    enum { GH = 6, GW = 9, P = 5, T = 3, M = 3, COLUMNS = 3 * T * P * P };
    uint8_t *rgb = allocate(GH * P, GW * P);
    uint32_t seed = 3;
    size_t wrong = 0, row = 0;
    struct err e = {0};
    float *out = mem_zalloc(GH * GW * COLUMNS, sizeof *out, &e);

    for (size_t k = 0; k < 3 * GH * P * GW * P; k++)
        rgb[k] = random_byte(&seed);
    patches_cut(out, rgb, GH, GW, P, T, M, mean, std, RESAMPLE_TORCHVISION);
    for (size_t b = 0; b < GH * GW / (M * M); b++)
        for (size_t u = 0; u < M * M; u++, row++)
            for (size_t f = 0; f < COLUMNS; f++) {
                size_t y = (b / (GW / M) * M + u / M) * P + f / P % P,
                       x = (b % (GW / M) * M + u % M) * P + f % P;

                wrong += out[row * COLUMNS + f] != (float)rgb[3 * (y * GW * P + x) + f / (T * P * P)];
            }
    CHECK(wrong == 0 && row == GH * GW, "patches of 5 x 5, three frames, blocks of 3 x 3");
    free(out);
    free(rgb);
}

int main(void)
{
    target_sizes();
    longest_pictures();
    resamplers();
    small_sizes();
    known_vectors();
    normalisation();
    patch_order();
    return unit_end();
}
