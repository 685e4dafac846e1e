/* windows.c - the vision tower's order of work */
#include "common/model/windows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

/* cos and sin of every coordinate up to the longest side, [sides, head_dim / 4]: pictures repeat them a lot.
 */
struct table {
    size_t quarter;
    float *cosine, *sine;
};

static int table_build(struct table *tab, const struct vision_config *v, size_t sides, struct err *e)
{
    const size_t quarter = v->head_dim / 4;

    tab->quarter = quarter;
    tab->cosine = mem_zalloc(sides * quarter, sizeof *tab->cosine, e);
    tab->sine = mem_zalloc(sides * quarter, sizeof *tab->sine, e);
    if (!tab->cosine || !tab->sine)
        return -1;
    for (size_t j = 0; j < quarter; j++) {
        const float frequency = 1.0f / powf(v->theta, (float)(2 * j) / (float)(2 * quarter));

        for (size_t i = 0; i < sides; i++) {
            const float angle = (float)i * frequency;

            tab->cosine[i * quarter + j] = (float)cos((double)angle);
            tab->sine[i * quarter + j] = (float)sin((double)angle);
        }
    }
    return 0;
}

static void table_release(struct table *tab)
{
    free(tab->cosine);
    free(tab->sine);
}

/* The next unit in permuted order: original unit `from`, at row y and column x of its picture, in units. */
static void emit(struct windows *w, const struct vision_config *v, const struct table *tab, size_t from,
                 size_t y, size_t x)
{
    const size_t side = v->merge, quarter = tab->quarter, bytes = quarter * sizeof(float);
    size_t row = w->units * side * side;

    w->unit[w->units++] = (int32_t)from;
    for (size_t s = 0; s < side * side; s++, row++) {
        const size_t py = y * side + s / side, px = x * side + s % side;

        w->row[row] = (int32_t)(from * side * side + s);
        memcpy(w->cosine + 2 * quarter * row, tab->cosine + py * quarter, bytes);
        memcpy(w->cosine + 2 * quarter * row + quarter, tab->cosine + px * quarter, bytes);
        memcpy(w->sine + 2 * quarter * row, tab->sine + py * quarter, bytes);
        memcpy(w->sine + 2 * quarter * row + quarter, tab->sine + px * quarter, bytes);
    }
    w->patches = row;
}

/* End a segment at the rows emitted so far. */
static void close_segment(int32_t *cu, size_t *segments, size_t *longest, size_t end)
{
    const size_t length = end - (size_t)cu[*segments];

    cu[++*segments] = (int32_t)end;
    if (length > *longest)
        *longest = length;
}

/*
 * One frame of rows x columns units whose first is `base`.  transformers pads both sides to whole windows, a
 * full one when they are whole already, and drops what is padding; the windows that hold units are those of
 * the rounded-up counts.
 */
static void add_frame(struct windows *w, const struct vision_config *v, const struct table *tab, size_t base,
                      size_t rows, size_t columns)
{
    const size_t side = v->window;

    for (size_t top = 0; top < rows; top += side) {
        for (size_t left = 0; left < columns; left += side) {
            for (size_t y = top; y < rows && y < top + side; y++)
                for (size_t x = left; x < columns && x < left + side; x++)
                    emit(w, v, tab, base + y * columns + x, y, x);
            close_segment(w->cu_window, &w->window_segments, &w->max_window, w->patches);
        }
    }
    close_segment(w->cu_full, &w->full_segments, &w->max_full, w->patches);
}

/* Sizes of all pictures together. */
static int measure(const struct vision_config *v, const struct grid *grid, size_t grids, size_t *units,
                   size_t *frames, size_t *sides, struct err *e)
{
    const size_t limit = INT32_MAX / (v->merge * v->merge);

    *units = *frames = *sides = 0;
    for (size_t k = 0; k < grids; k++) {
        const struct grid *g = &grid[k];
        size_t n = 0;

        if (grid_units(g, v->merge, &n, e))
            return -1;
        *units += n;
        *frames += g->t;
        *sides = g->h > *sides ? g->h : *sides;
        *sides = g->w > *sides ? g->w : *sides;
        if (*units > limit)
            return err_set(e, RC_DATA, "%zu pictures are too many for one batch: their patches pass 2^31",
                           grids);
    }
    return 0;
}

int windows_build(struct windows *w, const struct vision_config *v, const struct grid *grid, size_t grids,
                  struct err *e)
{
    size_t units, frames, sides, patches, base = 0;
    struct table tab = {0};
    int ret = -1;

    *w = (struct windows){0};
    if (measure(v, grid, grids, &units, &frames, &sides, e))
        return -1;
    patches = units * v->merge * v->merge;
    w->unit = mem_zalloc(units, sizeof *w->unit, e);
    w->row = mem_zalloc(patches, sizeof *w->row, e);
    w->cu_window = mem_zalloc(units + 1, sizeof *w->cu_window, e);
    w->cu_full = mem_zalloc(frames + 1, sizeof *w->cu_full, e);
    w->cosine = mem_zalloc(patches, v->head_dim / 2 * sizeof *w->cosine, e);
    w->sine = mem_zalloc(patches, v->head_dim / 2 * sizeof *w->sine, e);
    if (!w->unit || !w->row || !w->cu_window || !w->cu_full || !w->cosine || !w->sine ||
        table_build(&tab, v, sides, e))
        goto out;
    for (size_t k = 0; k < grids; k++) {
        const size_t rows = grid[k].h / v->merge, columns = grid[k].w / v->merge;

        for (size_t t = 0; t < grid[k].t; t++, base += rows * columns)
            add_frame(w, v, &tab, base, rows, columns);
    }
    ret = 0;
out:
    table_release(&tab);
    return ret;
}

void windows_release(struct windows *w)
{
    free(w->unit);
    free(w->row);
    free(w->cu_window);
    free(w->cu_full);
    free(w->cosine);
    free(w->sine);
    *w = (struct windows){0};
}
