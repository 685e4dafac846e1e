/* patches.c - a resized picture as the rows the vision tower reads: normalised floats, cut into patches */
#include "common/image/patches.h"

#include <string.h>

void patches_table(float table[3][256], const float mean[3], const float std[3], enum resample how)
{
    for (int c = 0; c < 3; c++) {
        float m = mean[c] * 255.0f, s = std[c] * 255.0f;

        for (int v = 0; v < 256; v++) {
            if (how == RESAMPLE_TORCHVISION)
                table[c][v] = ((float)v - m) / s;
            else
                table[c][v] = ((float)(v * (1 / 255.0)) - mean[c]) / std[c];
        }
    }
}

/* One patch, out[3, temporal, patch, patch], whose first pixel is at rgb; stride is the picture's in bytes.
 */
static void cut(float *out, const uint8_t *rgb, size_t stride, size_t patch, size_t temporal,
                float table[3][256])
{
    size_t area = patch * patch;

    for (size_t c = 0; c < 3; c++, out += temporal * area) {
        for (size_t y = 0; y < patch; y++)
            for (size_t x = 0; x < patch; x++)
                out[y * patch + x] = table[c][rgb[y * stride + 3 * x + c]];
        for (size_t frame = 1; frame < temporal; frame++)
            memcpy(out + frame * area, out, area * sizeof *out);
    }
}

void patches_cut(float *out, const uint8_t *rgb, size_t grid_h, size_t grid_w, size_t patch, size_t temporal,
                 size_t merge, const float mean[3], const float std[3], enum resample how)
{
    size_t stride = 3 * grid_w * patch, columns = 3 * temporal * patch * patch;
    float table[3][256];

    patches_table(table, mean, std, how);
    for (size_t block_y = 0; block_y < grid_h; block_y += merge)
        for (size_t block_x = 0; block_x < grid_w; block_x += merge)
            for (size_t y = block_y; y < block_y + merge; y++)
                for (size_t x = block_x; x < block_x + merge; x++, out += columns)
                    cut(out, rgb + y * patch * stride + 3 * x * patch, stride, patch, temporal, table);
}
