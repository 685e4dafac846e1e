/* processor.c - image processor settings: read, defaulted, refused */
#include <stdbool.h>

#include "common/base/file.h"
#include "common/image/processor.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

static const char file[] = "preprocessor_config.json", nested[] = "processor_config.json";

/* Settings as the one file of a directory. */
static int read_text(struct processor *p, const char *text, struct err *e)
{
    scratch_text(file, text);
    return processor_read_dir(p, scratch_dir(), e);
}

static void published(void)
{
    struct processor p;
    struct err e = {0};

    CHECK(!processor_read_dir(&p, "data/tiny-qwen2_5-vl", &e), "the bundled model's file %s", e.msg);
    CHECK(p.min_pixels == 3136 && p.max_pixels == 1003520 && p.patch_size == 14 &&
              p.temporal_patch_size == 2 && p.merge_size == 2 && p.resample == RESAMPLE_TORCHVISION,
          "its settings");
    CHECK(p.mean[0] == 0.48145466f && p.std[2] == 0.27577711f, "its mean and std");
}

static void directories(void)
{
    struct processor p, plain;
    struct err e = {0};

    processor_init(&plain);
    CHECK(plain.max_pixels == 1003520 && plain.min_pixels == 3136, "settings of the class");
    CHECK(!processor_read_dir(&p, scratch_dir(), &e) && p.resample == plain.resample &&
              !memcmp(&p, &plain, offsetof(struct processor, resample)),
          "no file: the class's settings %s", e.msg);
    scratch_text(file, "{\"max_pixels\": 12845056}");
    scratch_text(nested, "{\"processor_class\": \"Qwen2_5_VLProcessor\"}");
    CHECK(!processor_read_dir(&p, scratch_dir(), &e) && p.max_pixels == 12845056,
          "processor_config.json without settings");
    scratch_text(nested, "{\"image_processor\": {\"max_pixels\": 5000}}");
    CHECK(!processor_read_dir(&p, scratch_dir(), &e) && p.max_pixels == 5000,
          "processor_config.json with settings goes first");
    unlink(scratch(nested));
}

/* text is read, and gives these limits and this backend. */
static void accepted(const char *text, size_t min, size_t max, enum resample how)
{
    struct processor p;
    struct err e = {0};

    CHECK(!read_text(&p, text, &e) && p.min_pixels == min && p.max_pixels == max && p.resample == how,
          "%s %s", text, e.msg);
}

static void refused(const char *text, const char *key)
{
    struct processor p;
    struct err e = {0};

    CHECK(read_text(&p, text, &e) == -1 && e.rc == RC_DATA && strstr(e.msg, scratch(file)) &&
              strstr(e.msg, key),
          "%s: %s", text, e.msg);
}

static void digest_of(const char *text, char hex[SHA256_HEX])
{
    struct processor p;
    struct err e = {0};

    CHECK(!read_text(&p, text, &e), "%s is read %s", text, e.msg);
    processor_digest(&p, hex);
}

static void digest(void)
{
    char plain[SHA256_HEX], other[SHA256_HEX];

    digest_of("{}", plain);
    CHECK(strspn(plain, "0123456789abcdef") == 64, "digest %s", plain);
    digest_of("{\"image_mean\": [0, 0, 0], \"size\": {\"longest_edge\": 1003520, \"shortest_edge\": 3136}}",
              other);
    CHECK(!strcmp(plain, other), "settings that give the same sizes have the same digest");
    digest_of("{\"max_pixels\": 1003521}", other);
    CHECK(strcmp(plain, other), "another limit, another digest");
}

static void settings(void)
{
    accepted("{}", 3136, 1003520, RESAMPLE_TORCHVISION);
    accepted("{\"size\": {\"shortest_edge\": 784, \"longest_edge\": 50176}}", 784, 50176,
             RESAMPLE_TORCHVISION);
    accepted("{\"size\": {\"shortest_edge\": 784, \"longest_edge\": 50176}, \"max_pixels\": 9000}", 784, 9000,
             RESAMPLE_TORCHVISION);
    accepted("{\"size\": {\"longest_edge\": 50176}, \"min_pixels\": 28}", 28, 50176, RESAMPLE_TORCHVISION);
    accepted("{\"size\": null, \"min_pixels\": null, \"resample\": null}", 3136, 1003520,
             RESAMPLE_TORCHVISION);
    accepted("{\"image_processor_type\": \"Qwen2VLImageProcessorPil\"}", 3136, 1003520, RESAMPLE_PIL);
    accepted("{\"image_processor_type\": \"Qwen2VLImageProcessorFast\"}", 3136, 1003520,
             RESAMPLE_TORCHVISION);
    accepted("{\"resample\": 3, \"rescale_factor\": 0.00392156862745098, \"do_resize\": true}", 3136, 1003520,
             RESAMPLE_TORCHVISION);
    refused("", "not JSON");
    refused("{\"min_pixels\": 3136", "not JSON");
    refused("[1]", "object");
    refused("{\"image_processor\": 1}", "object");
    refused("{\"min_pixels\": \"3136\"}", "'min_pixels'");
    refused("{\"min_pixels\": 0}", "'min_pixels'");
    refused("{\"max_pixels\": -1}", "'max_pixels'");
    refused("{\"max_pixels\": 1.5}", "'max_pixels'");
    refused("{\"max_pixels\": 1099511627777}", "'max_pixels'");
    refused("{\"min_pixels\": 5000, \"max_pixels\": 4999}", "5000");
    refused("{\"size\": 28}", "'size'");
    refused("{\"size\": {\"shortest_edge\": 784}}", "'longest_edge'");
    refused("{\"size\": {\"height\": 224, \"width\": 224}}", "'shortest_edge'");
    refused("{\"size\": {\"shortest_edge\": [], \"longest_edge\": 50176}}", "'size.shortest_edge'");
    refused("{\"patch_size\": 0}", "'patch_size'");
    refused("{\"patch_size\": {\"height\": 14}}", "'patch_size'");
    refused("{\"temporal_patch_size\": 65}", "'temporal_patch_size'");
    refused("{\"merge_size\": true}", "'merge_size'");
    refused("{\"image_mean\": 0.5}", "'image_mean'");
    refused("{\"image_mean\": [0.5, 0.5]}", "'image_mean'");
    refused("{\"image_mean\": [0.5, 0.5, \"0.5\"]}", "'image_mean'");
    refused("{\"image_mean\": [0.5, 0.5, 1e39]}", "'image_mean'");
    refused("{\"image_std\": [0.5, 0, 0.5]}", "'image_std'");
    refused("{\"image_std\": [0.5, -0.5, 0.5]}", "'image_std'");
    refused("{\"image_processor_type\": \"CLIPImageProcessor\"}", "'CLIPImageProcessor'");
    refused("{\"image_processor_type\": 1}", "'image_processor_type'");
    refused("{\"do_rescale\": false}", "'do_rescale'");
    refused("{\"do_convert_rgb\": 1}", "'do_convert_rgb'");
    refused("{\"resample\": 2}", "'resample'");
    refused("{\"rescale_factor\": 0.00784313725490196}", "'rescale_factor'");
}

static void run(void)
{
    uint8_t rgb[3 * 30 * 50];
    struct image im = {.width = 50, .height = 30, .rgb = rgb};
    struct processor p;
    struct picture pic;
    struct err e = {0};

    memset(rgb, 77, sizeof rgb);
    processor_init(&p);
    p.patch_size = 8;
    p.merge_size = 3;
    CHECK(!processor_run(&p, &im, &pic, &e) && pic.t == 1 && pic.h == 6 && pic.w == 12 &&
              pic.rgb[3 * 48 * 96 - 1] == 77,
          "patches of 8, blocks of 3: %zu x %zu", pic.h, pic.w);
    picture_release(&pic);
    im.width = 0;
    CHECK(processor_run(&p, &im, &pic, &e) == -1 && e.rc == RC_DATA && !pic.rgb, "%s", e.msg);
    picture_release(&pic);
    im.width = 50;
    p.min_pixels = p.max_pixels = 4 * IMAGE_MAX_PIXELS;
    e = (struct err){0};
    CHECK(processor_run(&p, &im, &pic, &e) == -1 && strstr(e.msg, "check min_pixels") &&
          !pic.rgb, "%s", e.msg);
    picture_release(&pic);
}

int main(void)
{
    published();
    directories();
    digest();
    settings();
    run();
    return unit_end();
}
