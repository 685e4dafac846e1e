/* map.cuh - elementwise operations: one kernel for all of them, 16 bytes at a time where that is possible */
#ifndef KERNELS_CUDA_MAP_CUH
#define KERNELS_CUDA_MAP_CUH

#include "kernels/cuda/cuda.cuh"

/* An element is read by the thread that writes it, so an output may be an input. */
template <typename T, int OUT, int IN> struct operands {
    T *out[OUT];
    const T *in[IN];
};

/* Op::apply(float out[OUT], const float in[IN]) on each of N elements from i on; what out[0] has got. */
template <typename Op, int N, typename T, int OUT, int IN>
static __device__ pack<T, N> map_pack(const operands<T, OUT, IN> &p, size_t i)
{
    pack<T, N> x[IN], y[OUT];

#pragma unroll
    for (int k = 0; k < IN; k++)
        x[k] = *(const pack<T, N> *)(p.in[k] + i);
#pragma unroll
    for (int j = 0; j < N; j++) {
        float in[IN], out[OUT];

#pragma unroll
        for (int k = 0; k < IN; k++)
            in[k] = to_f32(x[k].v[j]);
        Op::apply(out, in);
#pragma unroll
        for (int k = 0; k < OUT; k++)
            y[k].v[j] = from_f32<T>(out[k]);
    }
#pragma unroll
    for (int k = 0; k < OUT; k++)
        *(pack<T, N> *)(p.out[k] + i) = y[k];
    return y[0];
}

template <typename Op, int N, typename T, int OUT, int IN>
static __global__ void map_kernel(operands<T, OUT, IN> p, size_t n)
{
    size_t step = (size_t)gridDim.x * blockDim.x * N;

    for (size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * N; i < n; i += step)
        map_pack<Op, N>(p, i);
}

/* Whether n elements can be read and written 16 bytes at a time. */
template <typename T, int OUT, int IN> static bool map_fits(const operands<T, OUT, IN> &p, size_t n)
{
    bool fits = n % wide<T>::N == 0;

    for (int k = 0; k < OUT; k++)
        fits = fits && cuda_aligned(p.out[k], 16);
    for (int k = 0; k < IN; k++)
        fits = fits && cuda_aligned(p.in[k], 16);
    return fits;
}

template <typename Op, typename T, int OUT, int IN>
static void map_elements(struct cuda *c, operands<T, OUT, IN> p, size_t n, const char *what)
{
    const int N = wide<T>::N;

    if (map_fits(p, n))
        map_kernel<Op, N><<<cuda_blocks(c, n, 256 * N), 256, 0, c->stream>>>(p, n);
    else
        map_kernel<Op, 1><<<cuda_blocks(c, n, 256), 256, 0, c->stream>>>(p, n);
    cuda_launched(&c->be, what);
}

#endif
