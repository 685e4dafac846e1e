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
        /* a patch row is narrower than a token row */
        for (size_t i = 0; i < sample[k].images && c->has_vision; i++)
            rows += sample[k].image[i].h * sample[k].image[i].w * c->vision.hidden / c->hidden;
        if (rows > budget && k > 0)
            break;
    }
    return k;
}

static int count(struct batch *b, const struct config *c, const struct sample *sample, size_t n,
                 struct err *e)
{
    b->samples = n;
    for (size_t i = 0; i < n; i++) {
        const struct sample *s = &sample[i];

        if (s->images && !c->has_vision)
            return err_set(e, RC_DATA, "sample '%s' has a picture, and this model has no vision tower",
                           s->id);
        b->tokens += s->tokens;
        b->longest = s->tokens > b->longest ? s->tokens : b->longest;
        b->images += s->images;
        for (size_t k = 0; k < s->images; k++) {
            const struct sample_image *im = &s->image[k];

            if (im->patch != c->vision.patch || im->h % c->vision.merge || im->w % c->vision.merge)
                return err_set(e, RC_DATA,
                               "sample '%s': its picture of %zu x %zu patches of %zu pixels does not fit this model "
                               "(patches of %zu, merged %zu x %zu): make the samples with this model's calib-stream",
                               s->id, im->h, im->w, im->patch, c->vision.patch, c->vision.merge,
                               c->vision.merge);
            b->patches += im->h * im->w;
        }
    }
    b->units = c->has_vision ? b->patches / (c->vision.merge * c->vision.merge) : 0;
    if (b->tokens > INT32_MAX || b->patches > INT32_MAX)
        return err_set(e, RC_DATA, "a batch of %zu tokens and %zu patches is too large", b->tokens,
                       b->patches);
    return 0;
}

/* Host memory that is only needed until everything is on the device. */
struct packing {
    const struct sample *sample;
    size_t rgb_bytes;
    int32_t *ids, *position, *image_row; /* position [tokens][3 axes], sample by sample */
    int32_t *loss_target, *unit_row;
    float *cosine, *sine;
    struct angles angles;
    struct patch *place, *permuted; /* in the pictures' own order, and in the tower's */
    float table[3][256];            /* of normalised values */
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
                   TAKE(p->position, 3 * b->tokens) || TAKE(p->image_row, b->units) ||
                   TAKE(p->unit_row, b->units) ||
                   TAKE(p->loss_target, b->tokens) || TAKE(p->cosine, b->tokens * half) ||
                   TAKE(p->sine, b->tokens * half) || TAKE(p->place, b->patches) ||
                   TAKE(p->permuted, b->patches) ||
                   TAKE(p->token_weight, b->tokens) || TAKE(p->patch_weight, b->patches) ||
                   TAKE(p->unit_weight, b->units) || TAKE(p->image_weight, b->units) ||
                   TAKE(p->loss_weight, b->tokens) || TAKE(p->loss_inverse, b->tokens)
               ? -1
               : 0;
#undef TAKE
}

static void packing_free(struct packing *p)
{
    if (!p)
        return;
    angles_release(&p->angles);
    free(p->ids);
    free(p->position);
    free(p->image_row);
    free(p->unit_row);
    free(p->loss_target);
    free(p->cosine);
    free(p->sine);
    free(p->place);
    free(p->permuted);
    free(p->token_weight);
    free(p->patch_weight);
    free(p->unit_weight);
    free(p->image_weight);
    free(p->loss_weight);
    free(p->loss_inverse);
    free(p);
}

/* Tokens, targets and positions of one sample whose rows begin at b->first[i]. */
static int pack_tokens(struct batch *b, struct packing *p, const struct config *c, const struct sample *s,
                       size_t i, const struct grid *grid, struct err *e)
{
    size_t first = (size_t)b->first[i];

    memcpy(p->ids + first, s->ids, s->tokens * sizeof *s->ids);
    for (size_t t = 0; t < s->tokens; t++) {
        bool counts = t + 1 < s->tokens && s->loss[t + 1];

        b->target[first + t] = counts ? s->ids[t + 1] : -1;
        b->loss_tokens[i] += counts;
    }
    if (positions_build(c, s->ids, s->tokens, grid, s->images, p->position + 3 * first, &b->delta[i], e))
        return err_prefix(e, "sample '%s'", s->id);
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

/* Rotations of all rows: those of one sample are those of the others from the same position on. */
static int pack_angles(const struct batch *b, struct packing *p, const struct config *c, struct err *e)
{
    size_t half = c->head_dim / 2;
    int32_t largest = 0;

    for (size_t i = 0; i < 3 * b->tokens; i++)
        largest = p->position[i] > largest ? p->position[i] : largest;
    if (angles_build(&p->angles, c, (size_t)largest + 1, e))
        return -1;
    for (size_t i = 0; i < b->samples; i++) {
        size_t first = (size_t)b->first[i], n = (size_t)b->first[i + 1] - first;

        angles_take(&p->angles, c, p->position + 3 * first, n, p->cosine + first * half,
                    p->sine + first * half);
    }
    return 0;
}

/* Where the patches of a picture are, in blocks of merge x merge, its bytes beginning at p->rgb_bytes. */
static void pack_picture(struct packing *p, const struct vision_config *v, const struct sample_image *im,
                         struct patch *place)
{
    size_t stride = 3 * im->w * v->patch, merge = v->merge;

    for (size_t block_y = 0; block_y < im->h; block_y += merge)
        for (size_t block_x = 0; block_x < im->w; block_x += merge)
            for (size_t y = block_y; y < block_y + merge; y++)
                for (size_t x = block_x; x < block_x + merge; x++)
                    *place++ = (struct patch){(int64_t)(p->rgb_bytes + y * v->patch * stride +
                                                        3 * x * v->patch),
                                              (int64_t)stride};
    p->rgb_bytes += stride * im->h * v->patch;
}

/* The tower works window by window: patches and units are brought into that order once, here. */
static int permute(struct batch *b, struct packing *p, const struct config *c, struct err *e)
{
    size_t area = c->vision.merge * c->vision.merge;

    if (windows_build(&b->windows, &c->vision, b->grid, b->images, e))
        return -1;
    for (size_t m = 0; m < b->units; m++) {
        size_t unit = (size_t)b->windows.unit[m];

        p->unit_row[m] = p->image_row[unit];
        p->unit_weight[m] = p->image_weight[unit];
        for (size_t k = 0; k < area; k++)
            p->patch_weight[m * area + k] = p->image_weight[unit];
        memcpy(p->permuted + m * area, p->place + unit * area, area * sizeof *p->place);
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

        for (size_t k = 0; k < s->images; k++) {
            b->grid[images++] = (struct grid){1, s->image[k].h, s->image[k].w};
            pack_picture(p, &c->vision, &s->image[k], p->place + patches);
            patches += s->image[k].h * s->image[k].w;
        }
        b->first[i + 1] = b->first[i] + (int32_t)s->tokens;
        if (pack_tokens(b, p, c, s, i, grid, e))
            return -1;
        for (size_t t = 0; t < s->tokens && s->images; t++)
            if (s->ids[t] == c->image_token) {
                p->image_weight[units] = (float)b->loss_tokens[i];
                p->image_row[units++] = b->first[i] + (int32_t)t;
            }
    }
    if (b->patches)
        patches_table(p->table, proc->mean, proc->std, proc->resample);
    return pack_angles(b, p, c, e) || (b->patches && permute(b, p, c, e)) ? -1 : 0;
}

static void *to_device(struct backend *be, const void *host, size_t n, size_t size)
{
    void *d = be->alloc(be, n * size);

    if (d)
        be->upload(be, d, host, n * size);
    return d;
}

/* The pictures' bytes go to the device as they are, a quarter of what their patches take there. */
static void upload_pictures(struct batch *b, const struct packing *p, const struct vision_config *v)
{
    struct backend *be = b->be;
    uint8_t *rgb = be->alloc(be, p->rgb_bytes);
    struct patch *place = to_device(be, p->permuted, b->patches, sizeof *place);
    float *table = to_device(be, p->table, 3 * 256, sizeof *table);
    size_t at = 0;

    b->d_pixels = be->alloc(be, b->patches * v->patch_dim * be->act_bytes);
    for (size_t i = 0; i < b->samples; i++)
        for (size_t k = 0; k < p->sample[i].images && rgb; k++) {
            const struct sample_image *im = &p->sample[i].image[k];
            size_t bytes = 3 * im->h * im->w * v->patch * v->patch;

            be->upload(be, rgb + at, im->rgb, bytes);
            at += bytes;
        }
    be->patches(be, b->d_pixels, rgb, place, table, b->patches, v->patch, v->temporal_patch);
    be->free(be, table);
    be->free(be, place);
    be->free(be, rgb);
}

static void upload(struct batch *b, const struct packing *p, const struct config *c)
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
        upload_pictures(b, p, &c->vision);
        b->d_image_row = UP(p->unit_row, b->units);
        b->d_cu_window = UP(w->cu_window, w->window_segments + 1);
        b->d_cu_full = UP(w->cu_full, w->full_segments + 1);
        b->d_vision_cosine = UP(w->cosine, b->patches * vhalf);
        b->d_vision_sine = UP(w->sine, b->patches * vhalf);
        b->d_patch_weight = UP(p->patch_weight, b->patches);
        b->d_unit_weight = UP(p->unit_weight, b->units);
    }
#undef UP
}

int batch_pack(struct batch *b, const struct config *c, const struct processor *p,
               const struct sample *sample, size_t n, struct err *e)
{
    *b = (struct batch){.packing = mem_zalloc(1, sizeof *b->packing, e)};
    if (!b->packing)
        return -1;
    b->packing->sample = sample;
    return count(b, c, sample, n, e) || allocate(b, b->packing, c, e) ||
           pack(b, b->packing, c, p, sample, e) ? -1 : 0;
}

int batch_upload(struct batch *b, struct backend *be, const struct config *c, struct err *e)
{
    b->be = be;
    upload(b, b->packing, c);
    packing_free(b->packing);
    b->packing = NULL;
    return be_check(be, e);
}

int batch_build(struct batch *b, struct backend *be, const struct config *c, const struct processor *p,
                const struct sample *sample, size_t n, struct err *e)
{
    return batch_pack(b, c, p, sample, n, e) || batch_upload(b, be, c, e) ? -1 : 0;
}

int batch_step_build(struct batch *b, struct backend *be, const struct config *c, struct err *e)
{
    *b = (struct batch){.packing = mem_zalloc(1, sizeof *b->packing, e), .samples = 1, .tokens = 1,
                        .longest = 1};
    if (!b->packing || allocate(b, b->packing, c, e))
        return -1;
    b->first[1] = 1;
    b->target[0] = -1;
    return batch_upload(b, be, c, e);
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
    void *device[] = {b->d_ids,           b->d_first,       b->d_target,       b->d_loss_row,
                      b->d_loss_target,   b->d_cosine,      b->d_sine,         b->d_pixels,
                      b->d_image_row,     b->d_cu_window,   b->d_cu_full,      b->d_vision_cosine,
                      b->d_vision_sine,   b->d_token_weight, b->d_patch_weight, b->d_unit_weight,
                      b->d_loss_weight,   b->d_loss_inverse};

    for (size_t i = 0; i < sizeof device / sizeof *device; i++)
        if (device[i])
            b->be->free(b->be, device[i]);
    packing_free(b->packing);
    windows_release(&b->windows);
    free(b->first);
    free(b->target);
    free(b->loss_tokens);
    free(b->delta);
    free(b->loss_row);
    free(b->grid);
    *b = (struct batch){0};
}
