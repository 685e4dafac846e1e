/* diff_values.c - two tensors as numbers, codes times their scales */
#include <string.h>

#include "common/base/fp8.h"
#include "common/base/int8.h"
#include "common/quant/diff.h"

enum { CHUNK = 4096 }; /* elements of either side in fp32, on the stack */

static bool is_float(const struct st_tensor *t)
{
    return t->dtype == DT_F32 || t->dtype == DT_BF16 || t->dtype == DT_F16;
}

/* Whether rows and columns matter. */
static bool is_per_row(const struct diff_side *s)
{
    return !is_float(s->t) && (s->scale->count != 1 || s->pre);
}

static bool is_readable(const struct diff_side *s)
{
    const struct st_tensor *t = s->t, *scale = s->scale;

    if (is_float(t))
        return true;
    if ((t->dtype != DT_F8_E4M3 && t->dtype != DT_I8) || !scale || !is_float(scale))
        return false;
    if (s->pre && (!is_float(s->pre) || t->ndim != 2 || s->pre->count != t->shape[1]))
        return false;
    return scale->count == 1 ||
           (t->ndim > 1 && scale->count == t->shape[0] && scale->shape[0] == t->shape[0]);
}

/* n elements from first on, all of one row; is_readable() has seen to it that the reads cannot fail. */
static void decode(const struct diff_side *s, size_t row, size_t first, size_t n, float *out)
{
    struct err e = {0};
    float scale, pre[CHUNK];

    if (is_float(s->t)) {
        ckpt_read_f32(s->ckpt, s->t, first, n, out, false, &e);
        return;
    }
    ckpt_read_f32(s->ckpt, s->scale, s->scale->count > 1 ? row : 0, 1, &scale, false, &e);
    if (s->t->dtype == DT_F8_E4M3)
        fp8_decode(out, s->t->data + first, n, scale);
    else
        int8_decode(out, (const int8_t *)s->t->data + first, n, scale);
    if (s->pre) {
        ckpt_read_f32(s->ckpt, s->pre, first % s->pre->count, n, pre, false, &e);
        for (size_t i = 0; i < n; i++)
            out[i] *= pre[i];
    }
}

/* On bits, which sort like magnitudes and let compilers vectorise; from `inf` on: infinities and NaN. */
static void add(struct diff_values *v, const float *a, const float *b, size_t n)
{
    const uint32_t magnitude = 0x7fffffff, inf = 0x7f800000;
    uint32_t most = f32_bits(v->max_abs), top = f32_bits(v->amax), not_finite = 0;

    for (size_t i = 0; i < n; i++) {
        const uint32_t d = f32_bits(a[i] - b[i]) & magnitude;
        const uint32_t x = f32_bits(a[i]) & magnitude, y = f32_bits(b[i]) & magnitude;
        const uint32_t keep = d < inf ? magnitude : 0, larger = (x > y ? x : y) & keep;

        most = (d & keep) > most ? d & keep : most;
        top = larger > top ? larger : top;
        not_finite += !keep;
    }
    v->max_abs = f32_from_bits(most);
    v->amax = f32_from_bits(top);
    v->not_finite += not_finite;
}

void diff_compare_values(const struct diff_side side[2], struct diff_values *v)
{
    const struct st_tensor *t = side[0].t, *u = side[1].t;
    float a[CHUNK], b[CHUNK];
    size_t rows, cols;

    *v = (struct diff_values){0};
    if (t->ndim != u->ndim || memcmp(t->shape, u->shape, t->ndim * sizeof *t->shape) ||
        !is_readable(&side[0]) || !is_readable(&side[1]))
        return;
    v->known = true;
    rows = is_per_row(&side[0]) || is_per_row(&side[1]) ? t->shape[0] : 1;
    cols = rows ? t->count / rows : 0;
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < cols; c += CHUNK) {
            const size_t n = cols - c < CHUNK ? cols - c : CHUNK;

            decode(&side[0], r, r * cols + c, n, a);
            decode(&side[1], r, r * cols + c, n, b);
            add(v, a, b, n);
        }
    }
}

double diff_relative(const struct diff_values *v)
{
    return v->max_abs > 0 ? (double)v->max_abs / (double)v->amax : 0;
}
