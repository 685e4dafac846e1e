/*
 * mma.cuh - bf16 tensor-core products on tiles in shared memory, as every GPU since sm_80 has them
 *
 * Fragments of mma.m16n8k16, by lane l with g = l / 4 and t = l % 4: accumulator c[0..3] is (g, 2t), (g,
 * 2t+1), (g+8, 2t), (g+8, 2t+1).  Source: PTX ISA, "Matrix Fragments for mma.m16n8k16".
 */
#ifndef KERNELS_CUDA_MMA_CUH
#define KERNELS_CUDA_MMA_CUH

#include "kernels/cuda/cuda.cuh"

__device__ inline unsigned shared_address(const void *p)
{
    return (unsigned)__cvta_generic_to_shared(p);
}

/* 16 bytes, or zeros. */
__device__ inline void copy_async(void *to, const void *from, bool valid)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(valid ? 16 : 0));
}

/* 4 bytes, or zeros. */
__device__ inline void copy_word(void *to, const void *from, bool valid)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(valid ? 4 : 0));
}

__device__ inline void copy_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Until at most N groups are under way. */
template <int N> __device__ inline void copy_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* Four 8 x 8 matrices; lane l gives the address of row l % 8 of matrix l / 8. */
__device__ inline void load_matrices(unsigned r[4], const bf16 *p)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p))
                 : "memory");
}

__device__ inline void load_transposed(unsigned r[4], const bf16 *p)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p))
                 : "memory");
}

/* c += a [16, 16] b [16, 8] */
__device__ inline void multiply_add(float c[4], const unsigned a[4], const unsigned *b)
{
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline unsigned pack_bf16(float low, float high)
{
    __nv_bfloat162 p = __floats2bfloat162_rn(low, high);
    unsigned u;

    memcpy(&u, &p, sizeof u);
    return u;
}

/*
 * Operands from a tile [rows][STRIDE] in shared memory:
 *   left: rows r.. r+15, columns c.. c+15, as a of a product;
 *   right: b of two products side by side, b[k, n] = tile[n][k], for n of r.. r+15 and k of c.. c+15: regs 0,
 * 1 and 2, 3; right_down: the same with b[k, n] = tile[k][n], for k of r.. r+15 and n of c.. c+15.
 */
template <int STRIDE> __device__ inline void left(unsigned a[4], const bf16 *tile, int r, int c)
{
    int l = threadIdx.x % WARP;

    load_matrices(a, tile + (r + l % 16) * STRIDE + c + l / 16 * 8);
}

template <int STRIDE> __device__ inline void right(unsigned b[4], const bf16 *tile, int r, int c)
{
    int l = threadIdx.x % WARP;

    load_matrices(b, tile + (r + l / 16 * 8 + l % 8) * STRIDE + c + l / 8 % 2 * 8);
}

template <int STRIDE> __device__ inline void right_down(unsigned b[4], const bf16 *tile, int r, int c)
{
    int l = threadIdx.x % WARP;

    load_transposed(b, tile + (r + l % 16) * STRIDE + c + l / 16 * 8);
}

/* Columns 16 i.. of accumulators as the left operand of the next product. */
__device__ inline void left_of_sums(unsigned a[4], const float (*c)[4], int i)
{
    a[0] = pack_bf16(c[2 * i][0], c[2 * i][1]);
    a[1] = pack_bf16(c[2 * i][2], c[2 * i][3]);
    a[2] = pack_bf16(c[2 * i + 1][0], c[2 * i + 1][1]);
    a[3] = pack_bf16(c[2 * i + 1][2], c[2 * i + 1][3]);
}

/* Over the four lanes that share a row of accumulators. */
template <typename Op> __device__ inline float quad_reduce(float x, Op op)
{
    x = op(x, __shfl_xor_sync(~0u, x, 1));
    return op(x, __shfl_xor_sync(~0u, x, 2));
}

#endif
