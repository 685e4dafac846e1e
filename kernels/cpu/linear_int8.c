/*
 * linear_int8.c - linear modules in INT8: exact sums of products of codes, then the scales
 *
 * The products run on the fp32 kernel, on codes held as numbers: sums of up to EXACT products of codes, 2^14 each at most,
 * are integers up to 2^24, which fp32 holds.  Those partial sums are added up in 32-bit integers.
 */
#include "common/base/int8.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"

enum {
    EXACT = 1024,     /* products that fp32 sums exactly */
    TILE_ROWS = 48,   /* rows of x whose sums of one panel stay in the L1 cache */
    CODED = 1 << 22,  /* elements of x coded at a time, about */
    PACKED = 1 << 20, /* floats of W packed at a time */
    SKINNY = 1        /* decoding: packing W would take longer than the product */
};

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Columns of W^T that are packed at a time. */
static size_t packed_columns(const struct weight *w)
{
    size_t fit = PACKED / (w->in ? w->in : 1) / GEMM_NR * GEMM_NR;

    return min(gemm_padded(w->out), fit ? fit : GEMM_NR);
}

/*
 * Codes of one row as numbers; the row's scale, which is NaN when the row has a NaN, or without a static scale an infinity:
 * no code can say so.
 */
static float code_row(float *code, const float *x, size_t n, const struct weight *w)
{
    float scale = w->input_scale, amax;
    uint32_t max = 0;

#pragma omp simd reduction(max : max)
    for (size_t i = 0; i < n; i++) {
        float v = w->pre_scale ? x[i] * w->pre_scale[i] : x[i];
        uint32_t m = f32_bits(v) & 0x7fffffff;

        code[i] = v;
        max = m > max ? m : max;
    }
    amax = f32_from_bits(max);
    if (scale == 0)
        scale = isfinite(amax) ? int8_scale(amax, ROUND_EXACT) : NAN;
    else if (isnan(amax))
        scale = NAN;
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        code[i] = int8_nearest(code[i] / scale);
    return scale;
}

/* Rows j .. j + width of W as a panel of W^T: [in][GEMM_NR], missing columns 0. */
static void pack(float *panel, const int8_t *codes, size_t in, size_t width)
{
    for (size_t r = 0; r < in; r++, panel += GEMM_NR)
        for (size_t i = 0; i < GEMM_NR; i++)
            panel[i] = i < width ? codes[i * in + r] : 0;
}

/* Rows of y times one panel's columns, from j on. */
static void tile(float *y, const float *code, const float *scale, size_t rows, const float *panel, size_t j,
                 const struct weight *w)
{
    _Alignas(64) float part[TILE_ROWS * GEMM_NR];
    int32_t sum[TILE_ROWS * GEMM_NR] = {0};
    size_t width = min(GEMM_NR, w->out - j);
    const float *bias = w->bias;

    for (size_t k = 0; k < w->in; k += EXACT) {
        struct packed b = {panel + k * GEMM_NR, w->in};

        gemm(part, GEMM_NR, (struct view){code + k, w->in, 1}, b, rows, GEMM_NR, min(EXACT, w->in - k), 1, false, NULL);
        for (size_t i = 0; i < rows * GEMM_NR; i++)
            sum[i] += (int32_t)part[i];
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < width; i++) {
            float v = (float)sum[r * GEMM_NR + i] * (scale[r] * w->row_scale[j + i]);

            y[r * w->out + j + i] = bias ? v + bias[j + i] : v;
        }
}

/* room: in * packed_columns() floats. */
static void product(float *y, const float *code, const float *scale, size_t rows, const struct weight *w, float *room)
{
    size_t columns = packed_columns(w), in = w->in;

    for (size_t j0 = 0; j0 < w->out; j0 += columns) {
        size_t end = min(w->out, j0 + columns);

#pragma omp parallel if (rows * w->out * in > CPU_SERIAL_PRODUCT)
        {
#pragma omp for
            for (size_t j = j0; j < end; j += GEMM_NR)
                pack(room + (j - j0) * in, (const int8_t *)w->data + j * in, in, min(GEMM_NR, end - j));
#pragma omp for collapse(2) nowait
            for (size_t i = 0; i < rows; i += TILE_ROWS)
                for (size_t j = j0; j < end; j += GEMM_NR)
                    tile(y + i * w->out, code + i * in, scale + i, min(TILE_ROWS, rows - i), room + (j - j0) * in, j, w);
        }
    }
}

/* One row: W is read once, where it lies; the sums are exact, so their order does not matter. */
static void skinny(float *y, const float *code, float scale, const struct weight *w)
{
    const int8_t *codes = w->data;
    const float *bias = w->bias;

#pragma omp parallel for if (w->out * w->in > CPU_SERIAL_PRODUCT)
    for (size_t j = 0; j < w->out; j++) {
        const int8_t *row = codes + j * w->in;
        int32_t sum = 0;
        float v;

#pragma omp simd reduction(+ : sum)
        for (size_t i = 0; i < w->in; i++)
            sum += (int32_t)code[i] * row[i];
        v = (float)sum * (scale * w->row_scale[j]);
        y[j] = bias ? v + bias[j] : v;
    }
}

void cpu_linear_int8(struct backend *be, float *y, const float *x, size_t rows, const struct weight *w)
{
    size_t group = min(rows, CODED / (w->in ? w->in : 1) + TILE_ROWS);
    size_t packed = rows > SKINNY ? w->in * packed_columns(w) : 0;
    float *room, *code, *scale;

    if (cpu_idle(be, rows * w->out) || !(room = cpu_scratch(be, packed + group * (w->in + 1))))
        return;
    code = room + packed;
    scale = code + group * w->in;
    for (size_t i = 0; i < rows; i += group) {
        size_t now = min(group, rows - i);

#pragma omp parallel for if (now * w->in > CPU_SERIAL)
        for (size_t r = 0; r < now; r++)
            scale[r] = code_row(code + r * w->in, x + (i + r) * w->in, w->in, w);
        if (rows <= SKINNY)
            skinny(y, code, scale[0], w);
        else
            product(y + i * w->out, code, scale, now, w, room);
    }
}
