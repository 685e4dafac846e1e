/* positions.c - M-RoPE positions of a token row, and the rotation angles made of them */
#include "common/model/positions.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

int grid_units(const struct grid *g, size_t merge, size_t *units, struct err *e)
{
    size_t patches;

    if (!g->t || !g->h || !g->w || g->h % merge || g->w % merge)
        return err_set(e, RC_DATA,
                       "a picture of %zu x %zu x %zu patches: its sides must be multiples of %zu above 0",
                       g->t, g->h, g->w, merge);
    if (mem_mul(g->h, g->w, &patches, "a picture", e) || mem_mul(patches, g->t, &patches, "a picture", e))
        return -1;
    if (patches > INT32_MAX)
        return err_set(e, RC_DATA, "a picture of %zu x %zu x %zu patches is too large", g->t, g->h, g->w);
    *units = patches / merge / merge;
    return 0;
}

static int check_ids(const struct config *c, const int32_t *ids, size_t n, struct err *e)
{
    if (n > INT32_MAX)
        return err_set(e, RC_DATA, "a sample of %zu tokens is too long", n);
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= c->vocab)
            return err_set(
                e, RC_DATA,
                "token %zu of the sample is %d, outside the vocabulary of %zu: the samples were made for "
                "another model",
                i, ids[i], c->vocab);
        if (c->has_vision && ids[i] == c->video_token)
            return err_set(e, RC_DATA,
                           "token %zu of the sample is a video token (%d): video is not supported", i,
                           ids[i]);
    }
    return 0;
}

static bool is_image(const struct config *c, int32_t id)
{
    return c->has_vision && id == c->image_token;
}

/* The run of image tokens from ids[at] on against picture k. */
static int check_run(const struct config *c, const int32_t *ids, size_t n, size_t at, const struct grid *grid,
                     size_t grids, size_t k, struct err *e)
{
    const struct grid *g = &grid[k];
    size_t run = 0, units = 0;

    while (at + run < n && is_image(c, ids[at + run]))
        run++;
    if (k == grids)
        return err_set(e, RC_DATA, "it has %zu image tokens from token %zu on, but only %zu pictures",
                       run, at, grids);
    if (grid_units(g, c->vision.merge, &units, e))
        return -1;
    if (g->t != 1)
        return err_set(e, RC_DATA, "picture %zu has %zu frames: video is not supported", k + 1,
                       g->t);
    if (run != units)
        return err_set(e, RC_DATA,
                       "it has %zu image tokens from token %zu on, its picture %zu of %zu x %zu x %zu "
                       "patches needs %zu",
                       run, at, k + 1, g->t, g->h, g->w, units);
    return 0;
}

int positions_build(const struct config *c, const int32_t *ids, size_t n, const struct grid *grid,
                    size_t grids, int32_t *position, int32_t *delta, struct err *e)
{
    int32_t *t = position, *h = t + n, *w = h + n, next = 0;
    size_t picture = 0;

    if (check_ids(c, ids, n, e))
        return -1;
    for (size_t i = 0; i < n;) {
        size_t rows, columns;

        if (!is_image(c, ids[i])) {
            t[i] = h[i] = w[i] = next++;
            i++;
            continue;
        }
        if (check_run(c, ids, n, i, grid, grids, picture, e))
            return -1;
        rows = grid[picture].h / c->vision.merge;
        columns = grid[picture].w / c->vision.merge;
        for (size_t u = 0; u < rows * columns; u++, i++) {
            t[i] = next;
            h[i] = next + (int32_t)(u / columns);
            w[i] = next + (int32_t)(u % columns);
        }
        next += (int32_t)(rows > columns ? rows : columns);
        picture++;
    }
    if (picture < grids)
        return err_set(e, RC_DATA, "it has %zu pictures, but image tokens for %zu only", grids, picture);
    *delta = next - (int32_t)n; /* next is the largest position + 1 */
    return 0;
}

void positions_angles(const struct config *c, const int32_t *position, size_t n, float *cosine, float *sine)
{
    const size_t half = c->head_dim / 2;

    for (size_t j = 0; j < half; j++) {
        const size_t axis = j < c->mrope[0] ? 0 : j < c->mrope[0] + c->mrope[1] ? 1 : 2;
        const float frequency = 1.0f / powf((float)c->theta, (float)(2 * j) / (float)c->head_dim);

        for (size_t i = 0; i < n; i++) {
            const float angle = (float)position[axis * n + i] * frequency;

            cosine[i * half + j] = (float)cos((double)angle);
            sine[i * half + j] = (float)sin((double)angle);
        }
    }
}

int angles_build(struct angles *a, const struct config *c, size_t n, struct err *e)
{
    int32_t *position = mem_zalloc(n, 3 * sizeof *position, e);
    size_t half = c->head_dim / 2;

    *a = (struct angles){.n = n, .half = half};
    a->cosine = mem_zalloc(n, half * sizeof *a->cosine, e);
    a->sine = mem_zalloc(n, half * sizeof *a->sine, e);
    if (!position || !a->cosine || !a->sine) {
        free(position);
        return -1;
    }
    for (size_t i = 0; i < 3 * n; i++)
        position[i] = (int32_t)(i % n);
    positions_angles(c, position, n, a->cosine, a->sine);
    free(position);
    return 0;
}

void angles_take(const struct angles *a, const struct config *c, const int32_t *position, size_t n,
                 float *cosine, float *sine)
{
    size_t half = a->half, end[3] = {c->mrope[0], c->mrope[0] + c->mrope[1], half};

    for (size_t i = 0; i < n; i++)
        for (size_t axis = 0, j = 0; axis < 3; j = end[axis++]) {
            size_t from = (size_t)position[axis * n + i] * half + j, to = i * half + j;

            memcpy(cosine + to, a->cosine + from, (end[axis] - j) * sizeof *cosine);
            memcpy(sine + to, a->sine + from, (end[axis] - j) * sizeof *sine);
        }
}

void angles_release(struct angles *a)
{
    free(a->cosine);
    free(a->sine);
    *a = (struct angles){0};
}
