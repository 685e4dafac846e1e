/* image.c - milliseconds to decode, resize and cut a picture: CSV on stdout */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/image/image.h"
#include "tests/unit/patches.h"

enum { REPEATS = 9, HEIGHT = 1080, WIDTH = 1920, GRID_H = 78, GRID_W = 138, PATCH = 14 };

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

/* What a benchmark works on; each function below is one run. */
struct work {
    uint8_t *file;
    size_t file_bytes;
    uint8_t *picture, *resized; /* [HEIGHT, WIDTH, 3], [GRID_H * PATCH, GRID_W * PATCH, 3] */
    float *patches;
    enum resample how;
    struct err e;
};

static void decode(struct work *w)
{
    struct image im;

    image_decode(&im, w->file, w->file_bytes, "the picture", &w->e);
    image_release(&im);
}

static void enlarge(struct work *w)
{
    resize_rgb(w->resized, GRID_H * PATCH, GRID_W * PATCH, w->picture, HEIGHT, WIDTH, w->how, &w->e);
}

static void shrink(struct work *w)
{
    resize_rgb(w->resized, 728, 1316, w->picture, HEIGHT, WIDTH, w->how, &w->e);
}

static void cut(struct work *w)
{
    static const float mean[3] = {0.48145466f, 0.4578275f, 0.40821073f},
                       std[3] = {0.26862954f, 0.26130258f, 0.27577711f};

    patches_cut(w->patches, w->resized, GRID_H, GRID_W, PATCH, 2, 2, mean, std, w->how);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The median of a few runs; the first, which touches fresh memory, is left out. */
static void measure(const char *name, void (*run)(struct work *), struct work *w)
{
    double ms[REPEATS], start;

    run(w);
    for (int i = 0; i < REPEATS; i++) {
        start = now_ms();
        run(w);
        ms[i] = now_ms() - start;
    }
    qsort(ms, REPEATS, sizeof *ms, ascending);
    printf("%s,%.3f,ms\n", name, ms[REPEATS / 2]);
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "tests/golden/image/large-700x900.jpg";
    struct work w = {0};
    uint32_t x = 1;
    int ret = 1;

    w.picture = mem_zalloc(HEIGHT * WIDTH, 3, &w.e);
    w.resized = mem_zalloc(GRID_H * PATCH * GRID_W * PATCH, 3, &w.e);
    w.patches = mem_zalloc(GRID_H * GRID_W * 2 * 3 * PATCH * PATCH, sizeof *w.patches, &w.e);
    if (!w.picture || !w.resized || !w.patches || file_read(path, &w.file, &w.file_bytes, &w.e))
        goto out;
    for (size_t k = 0; k < HEIGHT * WIDTH * 3; k++) {
        x = x * 1664525u + 1013904223u;
        w.picture[k] = (uint8_t)(x >> 24);
    }
    printf("benchmark,value,unit\n");
    measure("decode 900x700 jpeg", decode, &w);
    for (w.how = RESAMPLE_TORCHVISION; w.how <= RESAMPLE_PIL; w.how++) {
        measure(w.how ? "resize 1920x1080 to 1932x1092 pil" : "resize 1920x1080 to 1932x1092 torchvision",
                enlarge, &w);
        measure(w.how ? "resize 1920x1080 to 1316x728 pil" : "resize 1920x1080 to 1316x728 torchvision",
                shrink, &w);
    }
    w.how = RESAMPLE_TORCHVISION;
    measure("cut 1932x1092 into patches", cut, &w);
    ret = w.e.rc;
out:
    if (w.e.rc)
        fprintf(stderr, "bench: %s\n", w.e.msg);
    free(w.patches);
    free(w.resized);
    free(w.picture);
    free(w.file);
    return ret;
}
