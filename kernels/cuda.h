/*
 * cuda.h - opening the CUDA backend
 *
 * Either bf16 activations and weights, products with fp32 accumulation; or fp32 throughout, without TF32, to
 * check against the CPU.  FP8 weights have the CPU's codes, bit for bit.  Their products run on FP8 tensor
 * cores in bf16 mode where the device has them (compute capability 8.9 and later; all sums in fp32),
 * elsewhere on the same codes decoded to bf16, which holds them exactly.
 */
#ifndef KERNELS_CUDA_H
#define KERNELS_CUDA_H

#include "kernels/backend.h"

enum cuda_math {
    CUDA_BF16,        /* FP8 tensor cores where there are any */
    CUDA_BF16_DECODE, /* FP8 codes decoded to bf16 on any device, to measure what an older one computes */
    CUDA_FP32
};

/* Devices that this machine has; 0 and *why (may be NULL) set to a finished clause when there is none or no
 * driver. */
int cuda_devices(const char **why);

/* NULL: e is set, RC_USAGE for an index that does not exist, RC_SYS for the rest. */
struct backend *be_open_cuda(int index, enum cuda_math math, struct err *e);

/*
 * For benchmarks: from now on the first product of a shape times the algorithms that cuBLASLt's heuristic
 * names, and the fastest is kept, whatever its order of sums: which one that is may change from run to run,
 * and with it the results' last bits.
 */
void cuda_search_products(struct backend *be);

#endif
