/* linear.c - linear modules: y = x W^T + bias, and dx = dy W */
#include "common/base/fp8.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"

enum {
    TILE_ROWS = 96,    /* rows of x that stay in the L2 cache while the panels of W pass */
    PACKED = 1 << 20,  /* floats of W packed at a time */
    ROUNDED = 1 << 22, /* floats of x rounded to FP8 at a time, about */
    SKINNY = 1         /* decoding: packing W would take longer than the product */
};

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Columns of a [k, n] matrix that are packed at a time. */
static size_t packed_columns(size_t n, size_t k)
{
    size_t fit = PACKED / (k ? k : 1) / GEMM_NR * GEMM_NR;

    return min(gemm_padded(n), fit ? fit : GEMM_NR);
}

/* c [rows, n] = a [rows, k] B + bias, or += ; room is k * packed_columns(n, k) floats. */
static void product(float *c, const float *a, struct view b, size_t rows, size_t n, size_t k, bool accumulate,
                    const float *bias, float *room)
{
    size_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    size_t tile = ((rows + tiles - 1) / tiles + GEMM_MR - 1) / GEMM_MR * GEMM_MR; /* of about one size */
    size_t columns = packed_columns(n, k);

    for (size_t j0 = 0; j0 < n; j0 += columns) {
        size_t end = min(n, j0 + columns);

#pragma omp parallel if (rows * n * k > CPU_SERIAL_PRODUCT)
        {
#pragma omp for
            for (size_t j = j0; j < end; j += GEMM_NR) {
                struct view panel = {b.p + j * b.col, b.row, b.col};

                gemm_pack(room + (j - j0) * k, panel, k, min(GEMM_NR, end - j));
            }
#pragma omp for collapse(2) nowait
            for (size_t i = 0; i < rows; i += tile)
                for (size_t j = j0; j < end; j += GEMM_NR) {
                    struct view x = {a + i * k, k, 1};
                    struct packed panel = {room + (j - j0) * k, k};

                    gemm(c + i * n + j, n, x, panel, min(tile, rows - i), min(GEMM_NR, end - j), k, 1,
                         accumulate, bias ? bias + j : NULL);
                }
        }
    }
}

static float dot(const float *a, const float *b, size_t n)
{
    float sum = 0;

#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/*
 * One row: W is read once, where it lies.  The order of the sums is not gemm()'s, so only this case has other
 * last bits than the same row in a batch.
 */
static void skinny(float *y, const float *x, size_t rows, const struct weight *w)
{
    const float *m = w->data, *bias = w->bias;

#pragma omp parallel for if (w->out * w->in > CPU_SERIAL_PRODUCT)
    for (size_t j = 0; j < w->out; j++)
        for (size_t r = 0; r < rows; r++) {
            float sum = dot(x + r * w->in, m + j * w->in, w->in);

            y[r * w->out + j] = bias ? sum + bias[j] : sum;
        }
}

static void round_rows(float *y, const float *x, size_t rows, const struct weight *w)
{
#pragma omp parallel for if (rows * w->in > CPU_SERIAL)
    for (size_t r = 0; r < rows; r++)
        fp8_round(y + r * w->in, x + r * w->in, w->in, w->input_scale);
}

void cpu_linear(struct backend *be, void *y, const void *x, size_t rows, const struct weight *w)
{
    bool fp8 = w->format == WEIGHT_FP8;
    size_t rounded = ROUNDED / (w->in ? w->in : 1) + TILE_ROWS, group = fp8 ? min(rows, rounded) : rows;
    size_t packed = rows > SKINNY ? w->in * packed_columns(w->out, w->in) : 0;
    float *room;

    if (w->format == WEIGHT_INT8) {
        cpu_linear_int8(be, y, x, rows, w);
        return;
    }
    if (cpu_idle(be, rows * w->out) || !(room = cpu_scratch(be, packed + (fp8 ? group * w->in : 0))))
        return;
    for (size_t i = 0; i < rows; i += group) {
        size_t now = min(group, rows - i);
        float *to = (float *)y + i * w->out;
        const float *from = (const float *)x + i * w->in;

        if (fp8) {
            round_rows(room + packed, from, now, w);
            from = room + packed;
        }
        if (rows <= SKINNY)
            skinny(to, from, now, w);
        else
            product(to, from, (struct view){w->data, 1, w->in}, now, w->out, w->in, false, w->bias, room);
    }
}

void cpu_linear_f32(struct backend *be, float *y, const void *x, size_t rows, const struct weight *w)
{
    cpu_linear(be, y, x, rows, w);
}

void cpu_linear_dx(struct backend *be, void *dx, const void *dy, size_t rows, const struct weight *w,
                   bool accumulate)
{
    float *room;

    if (cpu_idle(be, rows * w->in) || !(room = cpu_scratch(be, w->out * packed_columns(w->in, w->out))))
        return;
    product(dx, dy, (struct view){w->data, w->in, 1}, rows, w->in, w->out, accumulate, NULL, room);
}
