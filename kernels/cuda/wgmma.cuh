/*
 * wgmma.cuh - products of a warpgroup (four warps) on tiles in shared memory: compute capability 9.0
 *
 * Of bf16 and of E4M3 codes into fp32, of INT8 codes into 32-bit integers.
 * Accumulators and left operands in registers lie as those of mma.m16n8k16 do (mma.cuh), warp w of the group
 * having rows 16 w .. 16 w + 15.  A tile [ROWS, COLUMNS] in shared memory is in panels of 64 columns, or of
 * 16 where there is no multiple of 64, a panel's rows one after another and their 16-byte units swizzled over
 * the banks.  Both kinds keep the 32 bytes that the L2 cache delivers at once together: without that,
 * asynchronous copies fetch everything twice.  A tile of codes is a panel of 128 columns, 128 bytes as well.
 * Source: PTX ISA, "Asynchronous Warpgroup Level Matrix
 * Instructions", its matrix descriptor, canonical layouts and strides.
 */
#ifndef KERNELS_CUDA_WGMMA_CUH
#define KERNELS_CUDA_WGMMA_CUH

#include "kernels/cuda/mma.cuh"

/* Defined where the code is compiled for sm_90a: elsewhere kernels that would use it are empty. */
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define HAS_WGMMA
#endif

enum { WARPGROUP = 128, CODE_COLUMNS = 128 };

template <int ROWS, int COLUMNS> struct tile {
    enum {
        WIDE = COLUMNS % 64 == 0,
        WIDTH = WIDE ? 64 : 16,          /* columns of a panel */
        ROW = WIDTH * (int)sizeof(bf16), /* bytes */
        PANEL = ROWS * WIDTH,            /* elements from panel to panel */
        SIZE = ROWS * COLUMNS,           /* elements; tiles begin at multiples of 1024 bytes */
        SWIZZLE = WIDE ? 0x70 : 0x10,    /* bits of an address that are changed by those 3 above */
        MODE = WIDE ? 1 : 3              /* of the descriptor */
    };

    /* Element where columns 8 unit .. 8 unit + 7 of row r are. */
    static __device__ __forceinline__ int at(int r, int unit)
    {
        int byte = r * ROW + unit % (WIDTH / 8) * 16;

        return unit / (WIDTH / 8) * PANEL + (byte ^ (byte >> 3 & SWIZZLE)) / 2;
    }
};

#ifdef HAS_WGMMA

/* What shared memory holds by ordinary stores and copies, to be seen by the products that follow a barrier.
 */
__device__ inline void products_see_stores()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* Before products that use registers written since the last ones. */
__device__ inline void products_begin()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ inline void products_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Until at most N groups of products are under way. */
template <int N> __device__ inline void products_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

/* All of a warpgroup: N registers a thread from here on, more than at launch, when others have left as many; */
template <int N> __device__ inline void take_registers()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

/* or fewer. */
template <int N> __device__ inline void leave_registers()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

/* Sums are not read before this: their products' registers are written behind the compiler's back. */
template <int N> __device__ __forceinline__ void products_settle(float (*d)[4])
{
#pragma unroll
    for (int i = 0; i < N; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            asm volatile("" : "+f"(d[i][j])::"memory");
}

template <int N> __device__ __forceinline__ void products_settle(int32_t (*d)[4])
{
#pragma unroll
    for (int i = 0; i < N; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            asm volatile("" : "+r"(d[i][j])::"memory");
}

/* A tile as an operand: strides in bytes.  leading: of panels, where a product's columns pass several. */
__device__ inline uint64_t operand(const void *p, unsigned leading, unsigned stride, unsigned mode)
{
    return (uint64_t)(shared_address(p) >> 4) | (uint64_t)(leading >> 4) << 16 |
           (uint64_t)(stride >> 4) << 32 | (uint64_t)mode << 62;
}

/* Rows r0 (a multiple of 8) on of a tile, summed over columns 16 k .. 16 k + 15. */
template <typename TILE> __device__ __forceinline__ uint64_t by_rows(const bf16 *p, int r0, int k)
{
    const int steps = TILE::WIDTH / 16;

    return operand(p + k / steps * TILE::PANEL + r0 * TILE::WIDTH + k % steps * 16, 16, 8 * TILE::ROW,
                   TILE::MODE);
}

/* The columns of a tile, summed over rows 16 k .. 16 k + 15. */
template <typename TILE> __device__ __forceinline__ uint64_t by_columns(const bf16 *p, int k)
{
    return operand(p + 16 * k * TILE::WIDTH, TILE::PANEL * sizeof(bf16), 8 * TILE::ROW, TILE::MODE);
}

/* Rows r0 (a multiple of 8) on of a tile of codes, summed over columns 32 k .. 32 k + 31. */
__device__ __forceinline__ uint64_t codes_by_rows(const int8_t *p, int r0, int k)
{
    return operand(p + r0 * CODE_COLUMNS + 32 * k, 16, 8 * CODE_COLUMNS, 1);
}

#define ACC4(as, d, i) as(d[i][0]), as(d[i][1]), as(d[i][2]), as(d[i][3])
#define ACC32(as, d, i)                                                                                      \
    ACC4(as, d, i), ACC4(as, d, i + 1), ACC4(as, d, i + 2), ACC4(as, d, i + 3), ACC4(as, d, i + 4),          \
        ACC4(as, d, i + 5), ACC4(as, d, i + 6), ACC4(as, d, i + 7)
#define LIST32                                                                                               \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, "   \
    "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define LIST40 LIST32 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define LIST64                                                                                               \
    LIST40 ", %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, "    \
           "%58, %59, %60, %61, %62, %63"
/*
 * d [64, N] = a [64, 16] times b [N, 16] transposed, both by rows; or += when add.
 * d += a [64, 16] in registers times b [16, N], by columns.
 */
template <int N> struct products;

#define PRODUCTS(N, LIST, A0, A1, A2, A3, A4, ...)                                                           \
    template <> struct products<N> {                                                                         \
        static __device__ __forceinline__ void of_tiles(float (*d)[4], uint64_t a, uint64_t b, int add)      \
        {                                                                                                    \
            asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" A2 ", 0;\n"                                    \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" LIST "}, %" A0         \
                         ", %" A1 ", p, 1, 1, 0, 0;\n}"                                                      \
                         : __VA_ARGS__                                                                       \
                         : "l"(a), "l"(b), "r"(add));                                                        \
        }                                                                                                    \
        static __device__ __forceinline__ void add(float (*d)[4], const unsigned a[4], uint64_t b)           \
        {                                                                                                    \
            asm volatile("{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"                                          \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" LIST "}, {%" A0        \
                         ", %" A1 ", %" A2 ", %" A3 "}, %" A4 ", p, 1, 1, 1;\n}"                             \
                         : __VA_ARGS__                                                                       \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                              \
        }                                                                                                    \
    }

PRODUCTS(64, LIST32, "32", "33", "34", "35", "36", ACC32("+f", d, 0));
PRODUCTS(80, LIST40, "40", "41", "42", "43", "44", ACC32("+f", d, 0), ACC4("+f", d, 8), ACC4("+f", d, 9));
PRODUCTS(128, LIST64, "64", "65", "66", "67", "68", ACC32("+f", d, 0), ACC32("+f", d, 8));

/*
 * d [64, N] = a [64, 32] times b [N, 32] transposed, codes, both by rows; or += when add.  Into int32_t of
 * INT8, exactly; into float of E4M3.
 */
template <typename S, int N> struct code_products;

#define CODE_PRODUCTS(S, N, TYPES, SIGNS, LIST, A0, A1, A2, ...)                                             \
    template <> struct code_products<S, N> {                                                                 \
        static __device__ __forceinline__ void of_tiles(S (*d)[4], uint64_t a, uint64_t b, int add)          \
        {                                                                                                    \
            asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" A2 ", 0;\n"                                    \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k32." TYPES " {" LIST "}, %" A0 ", %" A1    \
                         ", p" SIGNS ";\n}"                                                                  \
                         : __VA_ARGS__                                                                       \
                         : "l"(a), "l"(b), "r"(add));                                                        \
        }                                                                                                    \
    }

CODE_PRODUCTS(int32_t, 128, "s32.s8.s8", "", LIST64, "64", "65", "66", ACC32("+r", d, 0), ACC32("+r", d, 8));
CODE_PRODUCTS(float, 128, "f32.e4m3.e4m3", ", 1, 1", LIST64, "64", "65", "66", ACC32("+f", d, 0),
              ACC32("+f", d, 8));

#undef CODE_PRODUCTS
#undef PRODUCTS
#undef LIST64
#undef LIST40
#undef LIST32
#undef ACC32
#undef ACC4

#endif /* HAS_WGMMA */
#endif
