/* rope.cu - rotary position embedding, half-split */
#include <stdint.h>

#include "kernels/cuda/cuda.cuh"

/* Heads side by side in rows; in packs: half a head, and the way from row to row. */
struct heads {
    unsigned heads, half;
    size_t y_stride, x_stride;
};

/*
 * A thread turns the pairs of one pack and its other half.  y may be x: all are read first.  Index holds the
 * number of such units; its divisions are most of the arithmetic.
 */
template <typename T, int N, typename Index>
static __global__ void rotate(pack<T, N> *y, const pack<T, N> *x, const pack<float, N> *c,
                              const pack<float, N> *s, Index units, struct heads h, float sign)
{
    const Index step = (Index)gridDim.x * blockDim.x, per_row = h.heads * h.half;

    for (Index i = (Index)blockIdx.x * blockDim.x + threadIdx.x; i < units; i += step) {
        Index row = i / per_row, in_row = i - row * per_row;
        Index head = in_row / h.half, j = in_row - head * h.half;
        size_t at = (size_t)head * 2 * h.half + j;
        const pack<T, N> *from = x + row * h.x_stride + at;
        pack<T, N> *to = y + row * h.y_stride + at, a = from[0], b = from[h.half], first, second;
        pack<float, N> cosine = c[(size_t)row * h.half + j], sine = s[(size_t)row * h.half + j];

#pragma unroll
        for (int k = 0; k < N; k++) {
            float p = to_f32(a.v[k]), q = to_f32(b.v[k]), cs = cosine.v[k], sn = sign * sine.v[k];

            first.v[k] = from_f32<T>(__fmaf_rn(p, cs, -__fmul_rn(q, sn)));
            second.v[k] = from_f32<T>(__fmaf_rn(q, cs, __fmul_rn(p, sn)));
        }
        to[0] = first;
        to[h.half] = second;
    }
}

/* Operands in elements. */
struct rotation {
    void *y;
    const void *x;
    const float *c, *s;
    size_t rows, heads, half, y_stride, x_stride;
    float sign;
};

template <typename T, int N, typename Index> static void launch(struct cuda *c, const struct rotation *r)
{
    size_t units = r->rows * r->heads * r->half / N;
    struct heads h = {(unsigned)r->heads, (unsigned)(r->half / N), r->y_stride / N, r->x_stride / N};

    rotate<T, N, Index><<<cuda_blocks(c, units, 256), 256, 0, c->stream>>>(
        (pack<T, N> *)r->y, (const pack<T, N> *)r->x, (const pack<float, N> *)r->c,
        (const pack<float, N> *)r->s, (Index)units, h, r->sign);
    cuda_launched(&c->be, "rope");
}

/* In packs, whose number 32 bits hold, where the operands allow that. */
template <typename T> static void choose(struct cuda *c, const struct rotation *r)
{
    const int N = wide<T>::N;
    const size_t angles = N * sizeof(float);

    if (r->half % N == 0 && r->y_stride % N == 0 && r->x_stride % N == 0 && cuda_aligned(r->y, 16) &&
        cuda_aligned(r->x, 16) && cuda_aligned(r->c, angles) && cuda_aligned(r->s, angles) &&
        r->rows * r->heads * r->half / N < INT32_MAX)
        launch<T, N, uint32_t>(c, r);
    else
        launch<T, 1, size_t>(c, r);
}

void cuda_rope(struct backend *be, void *y, size_t y_stride, const void *x, size_t x_stride, const float *c,
               const float *s, size_t rows, size_t heads, size_t head_dim, bool inverse)
{
    struct rotation r = {y, x, c, s, rows, heads, head_dim / 2, y_stride, x_stride, inverse ? -1.0f : 1.0f};
    struct cuda *cu = cuda_of(be);

    if (!cuda_idle(be, rows * heads * r.half))
        CUDA_ACT(cu, choose, cu, &r);
}
