/* softmax.cuh - the online softmax of score tiles in accumulators of tensor-core products (mma.cuh) */
#ifndef KERNELS_CUDA_SOFTMAX_CUH
#define KERNELS_CUDA_SOFTMAX_CUH

#include "kernels/cuda/mma.cuh"

static const float LOG2_E = 1.44269504f;

/* 2^x to 2 units in the last place; below 2^-126: 0. */
__device__ inline float power_of_two(float x)
{
    float y;

    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

struct larger_number { /* a NaN is dropped: its row's sum keeps it */
    __device__ float operator()(float a, float b) const
    {
        return fmaxf(a, b);
    }
};

/* What a row knows of its softmax so far; scores are in units before the scale. */
struct running {
    float max, sum;
    int sees;
};

/*
 * Scores of keys k0 .. k0 + KEYS - 1 become probabilities under the new maximum; returns what the old sums
 * are multiplied by.  half: 0 for c[0..1] of each tile, 1 for c[2..3].  The row's sum is this lane's share.
 * whole: the row sees all of these keys.
 */
template <int KEYS>
static __device__ float soften(float (*score)[4], int half, struct running *row, int k0, float scale,
                               bool whole)
{
    float top = -INFINITY, shrink, offset, sum[2] = {};

    if (!whole)
#pragma unroll
        for (int i = 0; i < KEYS / 8; i++)
#pragma unroll
            for (int j = 0; j < 2; j++)
                if (k0 + 8 * i + (int)threadIdx.x % 4 * 2 + j >= row->sees)
                    score[i][2 * half + j] = -INFINITY;
#pragma unroll
    for (int i = 0; i < KEYS / 8; i++)
        top = fmaxf(top, fmaxf(score[i][2 * half], score[i][2 * half + 1]));
    top = fmaxf(row->max, quad_reduce(top, larger_number()));
    offset = top == -INFINITY ? 0 : top * scale;
    shrink = power_of_two(row->max * scale - offset);
    row->max = top;
#pragma unroll
    for (int i = 0; i < KEYS / 8; i++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            float e = power_of_two(score[i][2 * half + j] * scale - offset);

            score[i][2 * half + j] = e;
            sum[j] += e;
        }
    row->sum = row->sum * shrink + (sum[0] + sum[1]);
    return shrink;
}

#endif
