/* image.c - pictures of every form: decoded, resized and cut as the reference does, or refused */
#include <stdbool.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/image/processor.h"
#include "tests/unit/unit.h"
#include "tests/unit/image.h"
#include "tests/unit/patches.h"

enum { HUB_MAX_PIXELS = 12845056 }; /* of the published checkpoints */

static size_t bytes(const struct image *im)
{
    return 3 * im->width * im->height;
}

static void check_resized(const json_t *item, const json_t *digests, const struct image *im,
                          enum resample how)
{
    const char *file = json_string_value(json_object_get(item, "file"));
    const char *backend = how == RESAMPLE_PIL ? "pil" : "torchvision";
    const json_t *grid = json_object_get(item, "grid_thw"), *size = json_object_get(item, "resized");
    const json_t *pixels = json_object_get(json_object_get(item, "pixel_values_sha256"), backend);
    struct processor p;
    struct picture pic;
    struct err e = {0};
    size_t values;
    float *out;
    int ret;

    processor_init(&p);
    p.resample = how;
    ret = processor_run(&p, im, &pic, &e);
    CHECK(ret == 0 && pic.t == at(grid, 0) && pic.h == at(grid, 1) && pic.w == at(grid, 2) &&
              14 * pic.h == at(size, 0) && 14 * pic.w == at(size, 1),
          "%s: grid %s", file, e.msg);
    CHECK(ret == 0 && same_digest(pic.rgb, 3 * at(size, 0) * at(size, 1), json_object_get(digests, backend)),
          "%s: resized by %s", file, backend);
    if (ret == 0 && digests == json_object_get(item, "resized_sha256")) {
        values = pic.h * pic.w * 1176;
        out = mem_zalloc(values, sizeof *out, &e);
        patches_cut(out, pic.rgb, pic.h, pic.w, p.patch_size, p.temporal_patch_size, p.merge_size, p.mean,
                    p.std, how);
        CHECK(same_digest(out, values * sizeof *out, pixels), "%s: patches of %s", file, backend);
        free(out);
    }
    picture_release(&pic);
}

static void check_hub_max(const json_t *item, const struct image *im)
{
    const json_t *size = json_object_get(item, "resized_hub_max");
    size_t h, w;
    struct err e = {0};

    if (!size)
        size = json_object_get(item, "resized");
    CHECK(!smart_resize(im->height, im->width, 28, 3136, HUB_MAX_PIXELS, &h, &w, &e) && h == at(size, 0) &&
              w == at(size, 1),
          "%s: size under the published limit", json_string_value(json_object_get(item, "file")));
}

static void check_item(const json_t *item)
{
    const char *file = json_string_value(json_object_get(item, "file")), *error;
    const json_t *size = json_object_get(item, "decoded"), *also = json_object_get(item, "also");
    const json_t *expect = also ? also : item; /* 16-bit gray: the high byte */
    struct processor p;
    struct picture pic = {0};
    struct image im;
    struct err e = {0};
    char path[256];
    int ret;

    snprintf(path, sizeof path, "tests/golden/%s", file);
    error = json_string_value(json_object_get(item, "error"));
    ret = image_read(&im, path, &e);
    if ((error && !strcmp(error, "decode")) || (ret && json_object_get(item, "either"))) {
        CHECK(ret == -1 && e.rc == RC_DATA && strstr(e.msg, path) && !im.rgb, "%s: %s", file, e.msg);
        image_release(&im);
        return;
    }
    CHECK(ret == 0 && im.height == at(size, 0) && im.width == at(size, 1), "%s: size %s", file, e.msg);
    CHECK(ret == 0 && same_digest(im.rgb, bytes(&im), json_object_get(expect, "rgb_sha256")), "%s: pixels",
          file);
    processor_init(&p);
    if (error) {
        ret = processor_run(&p, &im, &pic, &e);
        CHECK(ret == -1 && e.rc == RC_DATA && strstr(e.msg, "200 times"), "%s: %s", file, e.msg);
    } else if (ret == 0) {
        check_resized(item, json_object_get(expect, "resized_sha256"), &im, RESAMPLE_TORCHVISION);
        check_resized(item, json_object_get(expect, "resized_sha256"), &im, RESAMPLE_PIL);
        check_hub_max(item, &im);
    }
    picture_release(&pic);
    image_release(&im);
}

int main(void)
{
    json_error_t why;
    json_t *root = json_load_file("tests/golden/images.json", 0, &why), *item;
    size_t i;

    CHECK(json_array_size(json_object_get(root, "items")) == 85, "all pictures are listed");
    json_array_foreach(json_object_get(root, "items"), i, item) check_item(item);
    json_decref(root);
    return unit_end();
}
