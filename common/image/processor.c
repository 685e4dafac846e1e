/* processor.c - a checkpoint's image processor: its settings, and a picture brought to the model's size */
#include "common/image/processor.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"

/* Bounds that keep every product of sizes far from overflow; real values are 14, 2, 2 and about 10^7. */
#define MAX_PATCH  ((size_t)1 << 10)
#define MAX_FRAMES ((size_t)1 << 6)
#define MAX_MERGE  ((size_t)1 << 6)
#define MAX_AREA   ((size_t)1 << 40)

enum { PIL_BICUBIC = 3 };

void processor_init(struct processor *p)
{
    *p = (struct processor){
        .min_pixels = 56 * 56,
        .max_pixels = 28 * 28 * 1280,
        .patch_size = 14,
        .temporal_patch_size = 2,
        .merge_size = 2,
        .mean = {0.48145466f, 0.4578275f, 0.40821073f}, /* CLIP's */
        .std = {0.26862954f, 0.26130258f, 0.27577711f},
    };
}

/* The key's value, or NULL where it is missing or null. */
static const json_t *lookup(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);

    return json_is_null(v) ? NULL : v;
}

/* prefix names the object that holds the key in messages: "" or "size." */
static int read_count(const json_t *object, const char *prefix, const char *key, size_t max, size_t *out,
                      struct err *e)
{
    const json_t *v = lookup(object, key);

    if (!v)
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < 1 || (uint64_t)json_integer_value(v) > max)
        return err_set(e, RC_DATA, "'%s%s' must be a whole number from 1 to %zu", prefix, key, max);
    *out = (size_t)json_integer_value(v);
    return 0;
}

/* One number for each channel; positive: above 0. */
static int read_channels(const json_t *root, const char *key, bool positive, float out[3], struct err *e)
{
    const json_t *v = lookup(root, key), *item;

    if (!v)
        return 0;
    if (!json_is_array(v) || json_array_size(v) != 3)
        return err_set(e, RC_DATA, "'%s' must be an array of three numbers", key);
    for (size_t c = 0; c < 3; c++) {
        item = json_array_get(v, c);
        out[c] = (float)json_number_value(item);
        if (!json_is_number(item) || !isfinite(out[c]) || (positive && !(out[c] > 0)))
            return err_set(e, RC_DATA, "'%s' must be an array of three numbers%s", key,
                           positive ? " above 0" : "");
    }
    return 0;
}

/* min_pixels and max_pixels win over the same limits in "size", which is whole or absent. */
static int read_limits(struct processor *p, const json_t *root, struct err *e)
{
    const json_t *size = lookup(root, "size");

    if (size && !json_is_object(size))
        return err_set(e, RC_DATA, "'size' must be an object");
    if (size && ((!lookup(size, "shortest_edge") && !lookup(root, "min_pixels")) ||
                 (!lookup(size, "longest_edge") && !lookup(root, "max_pixels"))))
        return err_set(e, RC_DATA, "'size' must have 'shortest_edge' and 'longest_edge'");
    if (read_count(size, "size.", "shortest_edge", MAX_AREA, &p->min_pixels, e) ||
        read_count(size, "size.", "longest_edge", MAX_AREA, &p->max_pixels, e) ||
        read_count(root, "", "min_pixels", MAX_AREA, &p->min_pixels, e) ||
        read_count(root, "", "max_pixels", MAX_AREA, &p->max_pixels, e))
        return -1;
    if (p->min_pixels > p->max_pixels)
        return err_set(e, RC_DATA, "the least number of pixels, %zu, is above the most, %zu", p->min_pixels,
                       p->max_pixels);
    return 0;
}

static int read_type(struct processor *p, const json_t *root, struct err *e)
{
    static const struct {
        const char *name;
        enum resample resample;
    } types[] = {
        {"Qwen2VLImageProcessor", RESAMPLE_TORCHVISION},
        {"Qwen2VLImageProcessorFast", RESAMPLE_TORCHVISION},
        {"Qwen2_5_VLImageProcessor", RESAMPLE_TORCHVISION},
        {"Qwen2VLImageProcessorPil", RESAMPLE_PIL},
    };
    const json_t *v = lookup(root, "image_processor_type");

    if (!v)
        return 0;
    if (!json_is_string(v))
        return err_set(e, RC_DATA, "'image_processor_type' must be a string");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(json_string_value(v), types[i].name)) {
            p->resample = types[i].resample;
            return 0;
        }
    return err_set(e, RC_DATA,
                   "'image_processor_type' is '%.100s': only Qwen2VLImageProcessor and its Fast and Pil "
                   "variants are known",
                   json_string_value(v));
}

/* Steps that are always taken here, in one way only: a file that wants otherwise would get wrong pixels. */
static int check_steps(const json_t *root, struct err *e)
{
    static const char *const steps[] = {"do_resize", "do_rescale", "do_normalize", "do_convert_rgb"};
    const json_t *v;

    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        v = lookup(root, steps[i]);
        if (v && !json_is_true(v))
            return err_set(e, RC_DATA, "'%s' must be true: leaving that step out is not supported", steps[i]);
    }
    v = lookup(root, "resample");
    if (v && !(json_is_integer(v) && json_integer_value(v) == PIL_BICUBIC))
        return err_set(e, RC_DATA, "'resample' must be %d, bicubic: no other filter is supported",
                       PIL_BICUBIC);
    v = lookup(root, "rescale_factor");
    if (v && !(json_is_number(v) && fabs(json_number_value(v) * 255 - 1) < 1e-12))
        return err_set(e, RC_DATA, "'rescale_factor' must be 1/255: no other is supported");
    return 0;
}

static int read_settings(struct processor *p, const json_t *root, struct err *e)
{
    if (read_type(p, root, e) || check_steps(root, e) || read_limits(p, root, e))
        return -1;
    if (read_count(root, "", "patch_size", MAX_PATCH, &p->patch_size, e) ||
        read_count(root, "", "temporal_patch_size", MAX_FRAMES, &p->temporal_patch_size, e) ||
        read_count(root, "", "merge_size", MAX_MERGE, &p->merge_size, e))
        return -1;
    if (read_channels(root, "image_mean", false, p->mean, e))
        return -1;
    return read_channels(root, "image_std", true, p->std, e);
}

/* nested_only: a file without "image_processor" is not an error but gives *found = false. */
static int read_file(struct processor *p, const char *path, bool nested_only, bool *found, struct err *e)
{
    const json_t *settings;
    json_t *root = NULL;
    json_error_t why;
    uint8_t *data;
    size_t n;
    int ret = -1;

    *found = false;
    processor_init(p);
    if (file_read(path, &data, &n, e))
        return -1;
    root = json_loadb((const char *)data, n, 0, &why);
    if (!root) {
        err_set(e, RC_DATA, "'%s' is not JSON: line %d: %s", file_label(path), why.line, why.text);
        goto out;
    }
    settings = json_object_get(root, "image_processor");
    if (!settings && nested_only && json_is_object(root)) {
        ret = 0;
        goto out;
    }
    if (!settings)
        settings = root;
    if (!json_is_object(settings)) {
        err_set(e, RC_DATA, "'%s' does not hold an object of image processor settings", file_label(path));
        goto out;
    }
    if (read_settings(p, settings, e)) {
        err_prefix(e, "'%s'", file_label(path));
        goto out;
    }
    *found = true;
    ret = 0;
out:
    json_decref(root);
    free(data);
    return ret;
}

int processor_read_dir(struct processor *p, const char *dir, struct err *e)
{
    static const char *const names[] = {"processor_config.json", "preprocessor_config.json"};
    bool found = false;
    int ret = 0;

    processor_init(p);
    for (size_t i = 0; i < 2 && ret == 0 && !found; i++) {
        char *path = file_join(dir, names[i], e);

        ret = path ? file_exists(path, e) : -1;
        if (ret > 0)
            ret = read_file(p, path, i == 0, &found, e);
        free(path);
    }
    return ret;
}

void processor_digest(const struct processor *p, char hex[SHA256_HEX])
{
    struct sha256 s;
    char text[128];

    snprintf(text, sizeof text, "min_pixels %zu max_pixels %zu patch_size %zu merge_size %zu", p->min_pixels,
             p->max_pixels, p->patch_size, p->merge_size);
    sha256_init(&s);
    sha256_add(&s, text, strlen(text));
    sha256_hex(&s, hex);
}

int processor_run(const struct processor *p, const struct image *im, struct picture *out, struct err *e)
{
    size_t height, width, pixels;

    *out = (struct picture){0};
    if (smart_resize(im->height, im->width, p->patch_size * p->merge_size, p->min_pixels, p->max_pixels,
                     &height, &width, e) ||
        mem_mul(height, width, &pixels, "a resized picture", e))
        return -1;
    if (pixels > IMAGE_MAX_PIXELS)
        return err_set(e, RC_DATA,
                       "the processor's settings resize it to %zu x %zu pixels, at most %zu in all are done; "
                       "check min_pixels, patch_size and merge_size",
                       width, height, IMAGE_MAX_PIXELS);
    out->rgb = mem_zalloc(pixels, 3, e);
    if (!out->rgb)
        return -1;
    if (resize_rgb(out->rgb, height, width, im->rgb, im->height, im->width, p->resample, e)) {
        picture_release(out);
        return -1;
    }
    out->t = 1;
    out->h = height / p->patch_size;
    out->w = width / p->patch_size;
    return 0;
}

void picture_release(struct picture *pic)
{
    free(pic->rgb);
    *pic = (struct picture){0};
}
