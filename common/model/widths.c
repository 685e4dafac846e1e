/* widths.c - what a file holds, in the wider form that a device asks for */
#include "common/model/widths.h"

#include <string.h>

#include "common/base/mem.h"

enum { SERIAL = 1 << 16 }; /* elements below which more threads are not worth waking */

void *widths_matrix(const void *matrix, size_t size, size_t out, size_t in, size_t to_out, size_t to_in,
                    struct err *e)
{
    const char *from = matrix;
    size_t row = in * size, to_row = to_in * size, n;
    char *to;

    if (mem_mul(to_out, to_in, &n, "a weight", e) || !(to = mem_realloc(NULL, n, size, e)))
        return NULL;
#pragma omp parallel for if (n > SERIAL)
    for (size_t r = 0; r < out; r++) {
        memcpy(to + r * to_row, from + r * row, row);
        memset(to + r * to_row + row, 0, to_row - row);
    }
    memset(to + out * to_row, 0, (to_out - out) * to_row);
    return to;
}

float *widths_vector(const float *v, size_t n, size_t to, float fill, struct err *e)
{
    float *wide = mem_zalloc(to, sizeof *wide, e);

    for (size_t i = 0; wide && i < to; i++)
        wide[i] = i < n ? v[i] : fill;
    return wide;
}
