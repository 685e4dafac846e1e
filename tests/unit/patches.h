/*
 * patches.h - a whole picture cut into patches by the CPU backend, as a batch does it; included after unit.h
 */
#ifndef TESTS_UNIT_PATCHES_H
#define TESTS_UNIT_PATCHES_H

#include <stdlib.h>

#include "common/image/patches.h"
#include "kernels/backend.h"

/*
 * Cut rgb[grid_h * side, grid_w * side, 3] into out[grid_h * grid_w, 3 * frames * side * side].  Rows: blocks
 * of merge x merge patches in raster order, patches in raster order within a block.
 */
static void patches_cut(float *out, const uint8_t *rgb, size_t grid_h, size_t grid_w, size_t side,
                        size_t frames, size_t merge, const float mean[3], const float std[3],
                        enum resample how)
{
    struct err e = {0};
    struct backend *be = be_open_cpu(&e);
    struct patch *patch = malloc(grid_h * grid_w * sizeof *patch), *next = patch;
    size_t stride = 3 * grid_w * side;
    float table[3][256];

    patches_table(table, mean, std, how);
    for (size_t block = 0; block < grid_h * grid_w / (merge * merge); block++)
        for (size_t i = 0; i < merge * merge; i++) {
            size_t y = block / (grid_w / merge) * merge + i / merge, x = block % (grid_w / merge) * merge +
                i % merge;

            *next++ = (struct patch){(int64_t)(y * side * stride + 3 * x * side), (int64_t)stride};
        }
    be->patches(be, out, rgb, patch, table[0], grid_h * grid_w, side, frames);
    be->close(be);
    free(patch);
}

#endif
