/*
 * lt.cuh - matrix products through cuBLASLt
 *
 * The library is loaded when a device is opened, not linked: it is large, and programs that use no GPU start
 * without it and run where it is not installed.
 */
#ifndef KERNELS_CUDA_LT_CUH
#define KERNELS_CUDA_LT_CUH

#include <cublasLt.h>

#include "kernels/cuda/cuda.cuh"

/*
 * d [n, m] = alpha b [n, k] op(a) + bias [m], or += without bias when accumulate; all row-major.  a
 * is [m, k] (a linear module's weight), or [k, m] when a_rows_are_k (the same for its transpose).  Sums in
 * fp32; of CUDA_R_8I in 32-bit integers, which are the result (CUDA_R_32I, alpha 1, nothing added).
 */
struct product {
    size_t m, n, k;
    size_t a_stride, b_stride, d_stride; /* elements from row to row */
    const void *a, *b, *bias;            /* bias: of d's type, or NULL */
    void *d;
    cudaDataType_t in, out; /* types of a and b, and of d */
    bool a_rows_are_k, accumulate;
    float alpha;
};

struct lt *lt_open(struct backend *be); /* NULL: recorded in be->err */
void lt_close(struct lt *lt);           /* NULL is allowed */
void lt_multiply(struct cuda *c, const struct product *p);

#endif
