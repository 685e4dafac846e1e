/* tensor.c - whole weight tensors as they lie in a file: their ranges, and their FP8 and INT8 codes */
#include "common/quant/tensor.h"

#include <stdbool.h>

/*
 * Elements that one thread takes at a time, and that it converts at a time: the latter stay in the first
 * cache.
 */
enum { CHUNK = 1 << 16, BLOCK = 1 << 10 };

static int check_dtype(enum dtype dtype, const char *tensor, struct err *e)
{
    if (dtype == DT_F32 || dtype == DT_BF16 || dtype == DT_F16)
        return 0;
    return err_set(e, RC_DATA, "tensor '%s' is not F32, BF16 or F16: it cannot be quantized", tensor);
}

static int not_finite(const char *tensor, struct err *e)
{
    return err_set(e, RC_DATA, "tensor '%s' holds NaN or infinity: the model is damaged", tensor);
}

/* n <= BLOCK elements from the first-th on, as fp32.  memcpy(): the file aligns nothing. */
static void load(const uint8_t *w, enum dtype dtype, size_t first, size_t n, float *restrict out)
{
    uint16_t half[BLOCK];

    if (dtype == DT_F32) {
        memcpy(out, w + 4 * first, 4 * n);
        return;
    }
    memcpy(half, w + 2 * first, 2 * n);
    if (dtype == DT_BF16)
        for (size_t i = 0; i < n; i++)
            out[i] = bf16_to_f32(half[i]);
    else
        for (size_t i = 0; i < n; i++)
            out[i] = f16_to_f32(half[i]);
}

/* Bits of the largest magnitude: fp32 values order as their bits do, NaN above infinity above all. */
static uint32_t largest(const float *x, size_t n)
{
    uint32_t most = 0;

    for (size_t i = 0; i < n; i++) {
        const uint32_t a = f32_bits(x[i]) & 0x7fffffff;

        most = a > most ? a : most;
    }
    return most;
}

/*
 * Bits of the largest magnitude of n elements, each of which goes to code[] as well unless encode is NULL.
 * Blocks of a chunk go one after the other while they are in the cache.
 */
static uint32_t each_block(const void *w, enum dtype dtype, size_t n, void (*encode)(uint8_t *, const float *,
                                                                                     size_t, float),
                           uint8_t *code, float scale)
{
    const size_t chunks = n / CHUNK + (n % CHUNK != 0);
    uint32_t most = 0;

#pragma omp parallel for schedule(static) reduction(max : most) if (chunks > 1)
    for (size_t c = 0; c < chunks; c++) {
        const size_t end = c + 1 < chunks ? (c + 1) * CHUNK : n;
        float x[BLOCK];

        for (size_t i = c * CHUNK; i < end; i += BLOCK) {
            const size_t m = end - i < BLOCK ? end - i : BLOCK;
            uint32_t a;

            load(w, dtype, i, m, x);
            a = largest(x, m);
            most = a > most ? a : most;
            if (encode)
                encode(code + i, x, m, scale);
        }
    }
    return most;
}

int tensor_amax(const void *w, enum dtype dtype, size_t n, const char *tensor, float *amax, struct err *e)
{
    uint32_t most;

    if (check_dtype(dtype, tensor, e))
        return -1;
    most = each_block(w, dtype, n, NULL, NULL, 0);
    if (most >= 0x7f800000)
        return not_finite(tensor, e);
    *amax = f32_from_bits(most);
    return 0;
}

int tensor_encode(const void *w, enum dtype dtype, size_t n, float scale, enum rounding r, uint8_t *code,
                  const char *tensor, struct err *e)
{
    const bool twice = r != ROUND_EXACT && dtype == DT_BF16;
    uint32_t most;

    if (check_dtype(dtype, tensor, e))
        return -1;
    if (r != ROUND_EXACT && dtype == DT_F16)
        return err_set(e, RC_DATA, "tensor '%s' is F16: rounding %s is for BF16 and F32 weights, use exact",
                       tensor, rounding_text(r));
    most = each_block(w, dtype, n, !twice ? fp8_encode : r == ROUND_MODELOPT ? fp8_encode_twice
                      : fp8_encode_twice_cpu, code, scale);
    return most >= 0x7f800000 ? not_finite(tensor, e) : 0;
}

/* n <= BLOCK columns of a row from the first-th on, smoothed. */
static void load_part(const struct tensor_rows *t, size_t row, size_t first, size_t n, float *x)
{
    const struct smooth *s = t->smooth;

    load(t->w, t->dtype, row * t->cols + first, n, x);
    if (s) {
        const struct smooth part = {.pre = s->pre + first, .own = s->own ? s->own + first : NULL};

        int8_smooth(x, x, n, &part, t->dtype, t->rounding);
    }
}

int tensor_row_scales(const struct tensor_rows *t, float *scale, struct err *e)
{
    uint32_t top = 0;

    if (check_dtype(t->dtype, t->name, e))
        return -1;
#pragma omp parallel for schedule(static) reduction(max : top) if (t->rows > 1)
    for (size_t r = 0; r < t->rows; r++) {
        uint32_t most = 0;
        float x[BLOCK];

        for (size_t i = 0; i < t->cols; i += BLOCK) {
            const size_t m = t->cols - i < BLOCK ? t->cols - i : BLOCK;
            uint32_t a;

            load_part(t, r, i, m, x);
            a = largest(x, m);
            most = a > most ? a : most;
        }
        scale[r] = int8_scale(f32_from_bits(most), t->rounding);
        top = most > top ? most : top;
    }
    return top >= 0x7f800000 ? not_finite(t->name, e) : 0;
}

int tensor_encode_rows(const struct tensor_rows *t, const float *scale, size_t first, size_t n, int8_t *code,
                       struct err *e)
{
    uint32_t most = 0;

    if (check_dtype(t->dtype, t->name, e))
        return -1;
#pragma omp parallel for schedule(static) reduction(max : most) if (n > 1)
    for (size_t r = 0; r < n; r++) {
        float x[BLOCK];

        for (size_t i = 0; i < t->cols; i += BLOCK) {
            const size_t m = t->cols - i < BLOCK ? t->cols - i : BLOCK;
            uint32_t a;

            load_part(t, first + r, i, m, x);
            a = largest(x, m);
            most = a > most ? a : most;
            int8_encode(code + r * t->cols + i, x, m, scale[first + r]);
        }
    }
    return most >= 0x7f800000 ? not_finite(t->name, e) : 0;
}
