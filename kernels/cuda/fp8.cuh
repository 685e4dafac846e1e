/* fp8.cuh - E4M3 codes of activations, on the device */
#ifndef KERNELS_CUDA_FP8_CUH
#define KERNELS_CUDA_FP8_CUH

#include <cuda_fp16.h>

#include "kernels/cuda/cuda.cuh"

/* What elements are divided by; inverse: 0 where it would not do. */
struct divisor {
    float scale, inverse;
};

/* 2^-60 .. 2^60: then no residual below underflows for a quotient that matters. */
static inline struct divisor divisor_of(float scale)
{
    return divisor{scale, scale >= 0x1p-60f && scale <= 0x1p60f ? 1 / scale : 0};
}

/*
 * What has the code of x / scale, for a bf16 x and an inverse that is not 0.  Between 2^-20 and 2^20 it is
 * the quotient itself: that by the inverse, corrected once by its residual, as division is done, without
 * division's care for other ranges.  Beyond, the code is 0 or the largest whatever the last bit.
 */
static __device__ inline float quotient(float x, const struct divisor &d)
{
    float q = __fmul_rn(x, d.inverse), magnitude = fabsf(q);

    return magnitude >= 0x1p-20f && magnitude <= 0x1p20f ? __fmaf_rn(__fmaf_rn(-q, d.scale, x), d.inverse, q)
                                                         : q;
}

/* Two codes, the first in the low byte; a NaN's may differ from the CPU's in its sign. */
static __device__ inline uint16_t two_codes(float first, float second)
{
#if __CUDA_ARCH__ >= 890
    uint16_t codes;

    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(second), "f"(first));
    return codes;
#else
    return (uint16_t)(e4m3_from_f32(first) | e4m3_from_f32(second) << 8);
#endif
}

/* The values of two codes, the first in the low byte. */
static __device__ inline float2 two_values(uint16_t codes)
{
#if __CUDA_ARCH__ >= 890
    uint32_t halves;

    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"(codes));
    return __half22float2(*(const __half2 *)&halves);
#else
    return make_float2(e4m3_to_f32((uint8_t)codes), e4m3_to_f32((uint8_t)(codes >> 8)));
#endif
}

/* The codes of N elements, in their order; TWICE: of quotients rounded to bf16, for ROUND_MODELOPT. */
template <int N, bool TWICE = false>
static __device__ inline pack<uint16_t, N / 2> codes_of(const pack<bf16, N> &x, const struct divisor &d)
{
    pack<uint16_t, N / 2> code;
    float q[N];

    if (d.inverse == 0) {
#pragma unroll
        for (int j = 0; j < N; j++)
            q[j] = to_f32(x.v[j]) / d.scale;
    } else {
#pragma unroll
        for (int j = 0; j < N; j++)
            q[j] = quotient(to_f32(x.v[j]), d);
    }
#pragma unroll
    for (int j = 0; j < N / 2; j++)
        code.v[j] = TWICE ? two_codes(to_f32(from_f32<bf16>(q[2 * j])), to_f32(from_f32<bf16>(q[2 * j + 1])))
                          : two_codes(q[2 * j], q[2 * j + 1]);
    return code;
}

#endif
