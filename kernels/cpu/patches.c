/* patches.c - the pictures' bytes as rows of normalised patches */
#include <string.h>

#include "kernels/cpu/cpu.h"

static void cut(float *y, const uint8_t *rgb, const struct patch *p, const float *table, size_t side,
                size_t frames)
{
    size_t area = side * side;

    for (size_t channel = 0; channel < 3; channel++, y += frames * area) {
        const uint8_t *line = rgb + p->first + channel;

        for (size_t i = 0; i < side; i++, line += p->stride)
            for (size_t j = 0; j < side; j++)
                y[i * side + j] = table[channel * 256 + line[3 * j]];
        for (size_t frame = 1; frame < frames; frame++)
            memcpy(y + frame * area, y, area * sizeof *y);
    }
}

void cpu_patches(struct backend *be, void *y, const uint8_t *rgb, const struct patch *patch,
                 const float *table, size_t patches, size_t side, size_t frames)
{
    size_t columns = 3 * frames * side * side;

    if (cpu_idle(be, patches * columns))
        return;
#pragma omp parallel for if (patches * columns > CPU_SERIAL)
    for (size_t r = 0; r < patches; r++)
        cut((float *)y + r * columns, rgb, &patch[r], table, side, frames);
}
