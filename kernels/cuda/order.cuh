/*
 * order.cuh - the order of a row of logits: largest first, of equal ones the first, NaN before all
 *
 * A token's key has the logit's order in its high half and in its low one its place, such that an earlier
 * token is larger; so an order is that of the keys, which are all different.
 */
#ifndef KERNELS_CUDA_ORDER_CUH
#define KERNELS_CUDA_ORDER_CUH

#include "kernels/cuda/cuda.cuh"

__device__ inline int64_t order_key(float z, size_t i)
{
    return (int64_t)order_of(z) * ((int64_t)1 << 32) + (0x7fffffff - (int64_t)i);
}

__device__ inline int32_t order_index(int64_t key)
{
    return (int32_t)(0x7fffffff - (key & 0xffffffff));
}

__device__ inline float order_value(int64_t key)
{
    return from_order((int32_t)(key >> 32));
}

/* The largest key of a row that is below `limit`; INT64_MIN when there is none.  A block asks for one row. */
__device__ inline int64_t order_next(const float *z, size_t n, int64_t limit)
{
    int64_t best = INT64_MIN;

    for (size_t i = threadIdx.x; i < n; i += blockDim.x) {
        int64_t key = order_key(z[i], i);

        best = key < limit && key > best ? key : best;
    }
    return block_reduce((long long)best, larger_value(), (long long)INT64_MIN);
}

#endif
