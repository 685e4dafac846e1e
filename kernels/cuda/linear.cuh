/* linear.cuh - how FP8 weights lie on the device */
#ifndef KERNELS_CUDA_LINEAR_CUH
#define KERNELS_CUDA_LINEAR_CUH

#include "kernels/cuda/cuda.cuh"

/*
 * With FP8 tensor cores: E4M3 codes [fp8_padded(out), fp8_padded(in)], the padding 0.  In bf16 without them:
 * the codes' values [out, in], unscaled, which bf16 holds exactly.  In fp32: values times scale, as on the
 * CPU.
 */
static inline size_t fp8_padded(size_t n)
{
    return (n + 15) / 16 * 16;
}

#endif
