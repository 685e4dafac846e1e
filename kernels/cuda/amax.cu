/* amax.cu - largest magnitude */
#include "kernels/cuda/cuda.cuh"

/*
 * Magnitudes compare as their bits do, and a NaN's are above those of infinity: the largest bits keep it. The
 * maximum of integers does not depend on the order of the blocks.
 */
template <typename T> static __global__ void largest(unsigned *out, const T *x, size_t n)
{
    unsigned max = 0;

    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n;
         i += (size_t)gridDim.x * blockDim.x) {
        unsigned m = f32_bits(to_f32(x[i])) & 0x7fffffff;

        max = m > max ? m : max;
    }
    max = block_reduce(max, larger_value(), 0u);
    if (threadIdx.x == 0)
        atomicMax(out, max);
}

template <typename T> static void run(struct cuda *c, float *out, const void *x, size_t n)
{
    largest<<<cuda_blocks(c, n, 1024), 256, 0, c->stream>>>((unsigned *)out, (const T *)x, n);
    cuda_launched(&c->be, "amax");
}

void cuda_amax(struct backend *be, float *out, const void *x, size_t n)
{
    struct cuda *c = cuda_of(be);

    if (!cuda_idle(be, n))
        CUDA_ACT(c, run, c, out, x, n);
}
