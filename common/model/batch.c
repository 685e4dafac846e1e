/* batch.c - samples packed into rows, without padding */
#include "common/model/batch.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/image/patches.h"
#include "common/model/positions.h"

size_t batch_take(const struct config *c, const struct sample *sample, size_t n, size_t budget)
{
    size_t rows = 0, k;

    for (k = 0; k < n; k++) {
        rows += sample[k].tokens;
        for (size_t i = 0; i < sample[k].images && c->has_vision; i++) /* a patch row is narrower than a token row */
            rows += sample[k].image[i].h * sample[k].image[i].w * c->vision.hidden / c->hidden;
        if (rows > budget && k > 0)
            break;
    }
    return k;
}

static int count(struct batch *b, const struct config *c, const struct sample *sample, size_t n, struct err *e)
{
    b->samples = n;
    for (size_t i = 0; i < n; i++) {
        const struct sample *s = &sample[i];

        if (s->images && !c->has_vision)
            return err_set(e, RC_DATA, "sample '%s' has a picture, and this model has no vision tower", s->id);
        b->tokens += s->tokens;
        b->longest = s->tokens > b->longest ? s->tokens : b->longest;
        b->images += s->images;
        for (size_t k = 0; k < s->images; k++) {
            const struct sample_image *im = &s->image[k];

            if (im->patch != c->vision.patch || im->h % c->vision.merge || im->w % c->vision.merge)
                return err_set(e, RC_DATA,
                               "sample '%s': its picture of %zu x %zu patches of %zu pixels does not fit this model "
                               "(patches of %zu, merged %zu x %zu): make the samples with this model's calib-stream",
                               s->id, im->h, im->w, im->patch, c->vision.patch, c->vision.merge, c->vision.merge);
            b->patches += im->h * im->w;
        }
    }
    b->units = c->has_vision ? b->patches / (c->vision.merge * c->vision.merge) : 0;
    if (b->tokens > INT32_MAX || b->patches > INT32_MAX)
        return err_set(e, RC_DATA, "a batch of %zu tokens and %zu patches is too large", b->tokens, b->patches);
    return 0;
}

/* Host scratch that is only needed until everything is on the device. */
struct packing {
    int32_t *ids, *position, *image_row;
    int32_t *loss_target, *unit_row;
    float *cosine, *sine;
    float *pixels, *permuted; /* in the pictures' own order, and in the tower's */
    float *token_weight, *patch_weight, *unit_weight, *loss_weight, *loss_inverse;
    float *image_weight; /* loss tokens of the sample of unit m, in the pictures' own order */
};

static int allocate(struct batch *b, struct packing *p, const struct config *c, struct err *e)
{
    size_t half = c->head_dim / 2;

#define TAKE(ptr, n) (((ptr) = mem_zalloc((n), sizeof *(ptr), e)) == NULL)
    return TAKE(b->first, b->samples + 1) || TAKE(b->target, b->tokens) || TAKE(b->loss_tokens, b->samples) ||
                   TAKE(b->delta, b->samples) || TAKE(b->loss_row, b->tokens) ||
                   TAKE(b->grid, b->images) || TAKE(p->ids, b->tokens) ||
                   TAKE(p->position, 3 * b->tokens) || TAKE(p->image_row, b->units) || TAKE(p->unit_row, b->units) ||
                   TAKE(p->loss_target, b->tokens) || TAKE(p->cosine, b->tokens * half) ||
                   TAKE(p->sine, b->tokens * half) || TAKE(p->pixels, b->patches * c->vision.patch_dim) ||
                   TAKE(p->permuted, b->patches * c->vision.patch_dim) ||
                   TAKE(p->token_weight, b->tokens) || TAKE(p->patch_weight, b->patches) ||
                   TAKE(p->unit_weight, b->units) || TAKE(p->image_weight, b->units) ||
                   TAKE(p->loss_weight, b->tokens) || TAKE(p->loss_inverse, b->tokens)
               ? -1
               : 0;
#undef TAKE
}

static void packing_release(struct packing *p)
{
    free(p->ids);
    free(p->position);
    free(p->image_row);
    free(p->unit_row);
    free(p->loss_target);
    free(p->cosine);
    free(p->sine);
    free(p->pixels);
    free(p->permuted);
    free(p->token_weight);
    free(p->patch_weight);
    free(p->unit_weight);
    free(p->image_weight);
    free(p->loss_weight);
    free(p->loss_inverse);
}

/* Tokens, targets and positions of one sample whose rows begin at b->first[i]. */
static int pack_tokens(struct batch *b, struct packing *p, const struct config *c, const struct sample *s, size_t i,
                       const struct grid *grid, struct err *e)
{
    size_t first = (size_t)b->first[i], half = c->head_dim / 2;
    int32_t *position = p->position;

    memcpy(p->ids + first, s->ids, s->tokens * sizeof *s->ids);
    for (size_t t = 0; t < s->tokens; t++) {
        bool counts = t + 1 < s->tokens && s->loss[t + 1];

        b->target[first + t] = counts ? s->ids[t + 1] : -1;
        b->loss_tokens[i] += counts;
    }
    if (positions_build(c, s->ids, s->tokens, grid, s->images, position, &b->delta[i], e))
        return err_prefix(e, "sample '%s'", s->id);
    positions_angles(c, position, s->tokens, p->cosine + first * half, p->sine + first * half);
    for (size_t t = 0; t < s->tokens; t++) {
        p->token_weight[first + t] = (float)b->loss_tokens[i];
        if (b->target[first + t] < 0)
            continue;
        b->loss_row[b->loss_rows] = (int32_t)(first + t);
        p->loss_target[b->loss_rows] = b->target[first + t];
        p->loss_weight[b->loss_rows] = (float)b->loss_tokens[i];
        p->loss_inverse[b->loss_rows++] = 1 / (float)b->loss_tokens[i];
    }
    return 0;
}

static void pack_pictures(struct packing *p, const struct config *c, const struct processor *proc,
                          const struct sample *s, size_t first_patch)
{
    const struct vision_config *v = &c->vision;

    for (size_t k = 0; k < s->images; k++) {
        const struct sample_image *im = &s->image[k];

        patches_cut(p->pixels + first_patch * v->patch_dim, im->rgb, im->h, im->w, v->patch, v->temporal_patch,
                    v->merge, proc->mean, proc->std, proc->resample);
        first_patch += im->h * im->w;
    }
}

/* The tower works window by window: patches and units are brought into that order once, here. */
static int permute(struct batch *b, struct packing *p, const struct config *c, struct err *e)
{
    size_t area = c->vision.merge * c->vision.merge, dim = c->vision.patch_dim;

    if (windows_build(&b->windows, &c->vision, b->grid, b->images, e))
        return -1;
    for (size_t m = 0; m < b->units; m++) {
        size_t unit = (size_t)b->windows.unit[m];

        p->unit_row[m] = p->image_row[unit];
        p->unit_weight[m] = p->image_weight[unit];
        for (size_t k = 0; k < area; k++)
            p->patch_weight[m * area + k] = p->image_weight[unit];
        memcpy(p->permuted + m * area * dim, p->pixels + unit * area * dim, area * dim * sizeof *p->pixels);
    }
    return 0;
}

static int pack(struct batch *b, struct packing *p, const struct config *c, const struct processor *proc,
                const struct sample *sample, struct err *e)
{
    size_t images = 0, patches = 0, units = 0;

    for (size_t i = 0; i < b->samples; i++) {
        const struct sample *s = &sample[i];
        struct grid *grid = b->grid + images;

        for (size_t k = 0; k < s->images; k++)
            b->grid[images++] = (struct grid){1, s->image[k].h, s->image[k].w};
        b->first[i + 1] = b->first[i] + (int32_t)s->tokens;
        if (pack_tokens(b, p, c, s, i, grid, e))
            return -1;
        pack_pictures(p, c, proc, s, patches);
        for (size_t k = 0; k < s->images; k++)
            patches += grid[k].h * grid[k].w;
        for (size_t t = 0; t < s->tokens && s->images; t++)
            if (s->ids[t] == c->image_token) {
                p->image_weight[units] = (float)b->loss_tokens[i];
                p->image_row[units++] = b->first[i] + (int32_t)t;
            }
    }
    return b->patches ? permute(b, p, c, e) : 0;
}

static void *to_device(struct backend *be, const void *host, size_t n, size_t size)
{
    void *d = be->alloc(be, n * size);

    if (d)
        be->upload(be, d, host, n * size);
    return d;
}

static int upload(struct batch *b, const struct packing *p, const struct config *c, struct err *e)
{
    struct backend *be = b->be;
    const struct windows *w = &b->windows;
    size_t half = c->head_dim / 2, vhalf = c->has_vision ? c->vision.head_dim / 2 : 0;

#define UP(host, n) to_device(be, host, n, sizeof *(host))
    b->d_ids = UP(p->ids, b->tokens);
    b->d_first = UP(b->first, b->samples + 1);
    b->d_target = UP(b->target, b->tokens);
    b->d_loss_row = UP(b->loss_row, b->loss_rows);
    b->d_loss_target = UP(p->loss_target, b->loss_rows);
    b->d_loss_weight = UP(p->loss_weight, b->loss_rows);
    b->d_loss_inverse = UP(p->loss_inverse, b->loss_rows);
    b->d_cosine = UP(p->cosine, b->tokens * half);
    b->d_sine = UP(p->sine, b->tokens * half);
    b->d_token_weight = UP(p->token_weight, b->tokens);
    if (b->patches) {
        b->d_pixels = be->alloc(be, b->patches * c->vision.patch_dim * be->act_bytes);
        if (b->d_pixels)
            be->upload_act(be, b->d_pixels, p->permuted, b->patches * c->vision.patch_dim);
        b->d_image_row = UP(p->unit_row, b->units);
        b->d_cu_window = UP(w->cu_window, w->window_segments + 1);
        b->d_cu_full = UP(w->cu_full, w->full_segments + 1);
        b->d_vision_cosine = UP(w->cosine, b->patches * vhalf);
        b->d_vision_sine = UP(w->sine, b->patches * vhalf);
        b->d_patch_weight = UP(p->patch_weight, b->patches);
        b->d_unit_weight = UP(p->unit_weight, b->units);
    }
#undef UP
    return be_check(be, e);
}

int batch_build(struct batch *b, struct backend *be, const struct config *c, const struct processor *p,
                const struct sample *sample, size_t n, struct err *e)
{
    struct packing pk = {0};
    int ret = -1;

    *b = (struct batch){.be = be};
    if (count(b, c, sample, n, e) == 0 && allocate(b, &pk, c, e) == 0 && pack(b, &pk, c, p, sample, e) == 0)
        ret = upload(b, &pk, c, e);
    packing_release(&pk);
    return ret;
}

int batch_step_build(struct batch *b, struct backend *be, const struct config *c, struct err *e)
{
    struct packing pk = {0};
    int ret = -1;

    *b = (struct batch){.be = be, .samples = 1, .tokens = 1, .longest = 1};
    if (allocate(b, &pk, c, e) == 0) {
        b->first[1] = 1;
        b->target[0] = -1;
        ret = upload(b, &pk, c, e);
    }
    packing_release(&pk);
    return ret;
}

int batch_step(struct batch *b, const struct config *c, int32_t id, int32_t position, struct err *e)
{
    const int32_t axes[3] = {position, position, position};
    size_t half = c->head_dim / 2;
    float *cosine = mem_zalloc(2 * half, sizeof *cosine, e);

    if (!cosine)
        return -1;
    positions_angles(c, axes, 1, cosine, cosine + half);
    b->be->upload(b->be, b->d_ids, &id, sizeof id);
    b->be->upload(b->be, b->d_cosine, cosine, half * sizeof *cosine);
    b->be->upload(b->be, b->d_sine, cosine + half, half * sizeof *cosine);
    free(cosine);
    return be_check(b->be, e);
}

void batch_release(struct batch *b)
{
    void *device[] = {b->d_ids,          b->d_first,         b->d_target,       b->d_loss_row,    b->d_loss_target,
                      b->d_cosine,       b->d_sine,          b->d_pixels,       b->d_image_row,   b->d_cu_window,
                      b->d_cu_full,      b->d_vision_cosine, b->d_vision_sine,  b->d_token_weight,
                      b->d_patch_weight, b->d_unit_weight,   b->d_loss_weight,  b->d_loss_inverse};

    for (size_t i = 0; i < sizeof device / sizeof *device; i++)
        if (device[i])
            b->be->free(b->be, device[i]);
    windows_release(&b->windows);
    free(b->first);
    free(b->target);
    free(b->loss_tokens);
    free(b->delta);
    free(b->loss_row);
    free(b->grid);
    *b = (struct batch){0};
}
