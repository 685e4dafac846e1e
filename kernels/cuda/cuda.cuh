/*
 * cuda.cuh - the CUDA backend's own state, and what its operations share
 *
 * Everything runs on one stream, in the order of the calls.  An operation asks cuda_idle() first, launches
 * with cuda_launched() after each launch, and leaves the first failure in be.err.  Kernels never allocate;
 * what an operation needs beyond its operands is scratch, which grows and is shared by all operations since
 * the stream orders them. T stands for the activation type: float or bf16.  The operations' contracts are in
 * kernels/backend.h.
 */
#ifndef KERNELS_CUDA_CUDA_CUH
#define KERNELS_CUDA_CUDA_CUH

#include <cuda_bf16.h>
#include <cuda_runtime.h>

extern "C" {
#include "kernels/cuda.h"
}

typedef __nv_bfloat16 bf16;

enum { WARP = 32, SCALAR_THREADS = 256 };

/* Together some batches' pictures and states: the host is rarely that far ahead of the device. */
enum { UPLOAD_SLOTS = 16, UPLOAD_SLOT_BYTES = 4 << 20 };

/* Of each of the two buffers that weights and large downloads pass through. */
enum { PINNED_BYTES = 32 << 20 };

/* Scratch by purpose: an operation may use several at once. */
enum cuda_scratch_kind { SCRATCH_CODES, SCRATCH_WIDE, SCRATCH_SUMS, SCRATCH_STAGE, SCRATCH_KINDS };

/* Whose codes are in SCRATCH_CODES. */
struct coded {
    const void *x; /* NULL: nobody's */
    size_t rows, in;
    float scale;
    bool int8; /* or E4M3 */
};

static inline bool cuda_same_codes(const struct coded *a, const struct coded *b)
{
    return a->x && a->x == b->x && a->rows == b->rows && a->in == b->in && a->scale == b->scale &&
           a->int8 == b->int8;
}

struct lt; /* cuBLASLt and what is known about each product's shape */

struct cuda {
    struct backend be; /* first: a struct backend * is a struct cuda * */
    int device, sms;
    bool bf16_act, fp8, pool; /* pool: the driver has stream-ordered memory */
    bool wgmma;               /* warpgroup products: the GPU has them, and so has this build */
    void *map_encoder;        /* the driver's cuTensorMapEncodeTiled, or NULL */
    cudaStream_t stream;
    struct lt *lt;
    struct coded coded;
    unsigned *blocks_done; /* device, 0 between kernels: a kernel's blocks count themselves */
    void *scratch[SCRATCH_KINDS];
    size_t scratch_bytes[SCRATCH_KINDS];
    void *pinned[2]; /* host buffers that weights and large downloads pass through */
    cudaEvent_t sent[2];
    unsigned turn; /* the pinned buffer that the next piece of a weight passes through */
    struct {
        void *host; /* pinned */
        size_t used;
        cudaEvent_t sent;
    } slot[UPLOAD_SLOTS]; /* what uploads pass through, in turn */
    unsigned at;          /* the one that is being filled */
};

/* What a weight's data points to, in host memory. */
struct cuda_matrix {
    void *data;   /* device: act [out, in]; FP8 and INT8: see linear.cuh */
    float *exact; /* device: fp32 [out, in] of a weight that bf16 does not hold exactly, for its FP8 codes; or
                     NULL */
};

static inline struct cuda *cuda_of(struct backend *be)
{
    return (struct cuda *)be;
}

static inline struct cuda_matrix *cuda_matrix_of(const struct weight *w)
{
    return (struct cuda_matrix *)w->data;
}

/* True when there is nothing to do: no elements, or a failure that nobody has asked about yet. */
static inline bool cuda_idle(const struct backend *be, size_t n)
{
    return n == 0 || be->err.rc != RC_OK;
}

/* False, and recorded, unless status is success.  what: the operation. */
bool cuda_ok(struct backend *be, cudaError_t status, const char *what);

/* After each launch. */
static inline bool cuda_launched(struct backend *be, const char *what)
{
    return cuda_ok(be, cudaGetLastError(), what);
}

/* Make c->pinned and c->sent; false: recorded. */
bool cuda_open_pinned(struct cuda *c);

/*
 * memcpy by all threads: PCIe is as fast as some five of them.  The team has the size of all others: libgomp
 * ends the threads that a smaller one leaves over, and the next large one would start them anew.
 */
void cuda_copy_in_slices(void *to, const void *from, size_t bytes);

/* Device memory that the running operation may use, aligned to 256 bytes.  NULL: recorded. */
void *cuda_scratch(struct cuda *c, enum cuda_scratch_kind kind, size_t bytes);

/* Blocks for n pieces of work, `per` of them a block, in a grid-stride loop. */
static inline unsigned cuda_blocks(const struct cuda *c, size_t n, size_t per)
{
    size_t blocks = (n + per - 1) / per, most = (size_t)c->sms * 32;

    return (unsigned)(blocks < most ? blocks : most);
}

static inline bool cuda_aligned(const void *p, size_t bytes)
{
    return (uintptr_t)p % bytes == 0;
}

/* Call F<float>(...) or F<bf16>(...) by the backend's activation type. */
#define CUDA_ACT(c, F, ...)                                                                                  \
    do {                                                                                                     \
        if ((c)->bf16_act)                                                                                   \
            F<bf16>(__VA_ARGS__);                                                                            \
        else                                                                                                 \
            F<float>(__VA_ARGS__);                                                                           \
    } while (0)

/* ---- on the device ---- */

/* N elements that are read or written at once. */
template <typename T, int N> struct alignas(sizeof(T) * N) pack {
    T v[N];
};

/* Elements of a 16-byte access. */
template <typename T> struct wide {
    enum { N = 16 / sizeof(T) };
};

/* What long sums are kept in: fp64 beside fp32 elements, fp32 beside bf16. */
template <typename T> struct sum_of {
    typedef double type;
};
template <> struct sum_of<bf16> {
    typedef float type;
};

__device__ inline float to_f32(float x)
{
    return x;
}

__device__ inline float to_f32(bf16 x)
{
    return __bfloat162float(x);
}

template <typename T> __device__ inline T from_f32(float x);
template <> __device__ inline float from_f32<float>(float x)
{
    return x;
}
template <> __device__ inline bf16 from_f32<bf16>(float x)
{
    return __float2bfloat16_rn(x);
}

struct add_values {
    template <typename S> __device__ S operator()(S a, S b) const
    {
        return a + b;
    }
};

struct larger_value {
    template <typename S> __device__ S operator()(S a, S b) const
    {
        return a > b ? a : b;
    }
};

template <typename S, typename Op> __device__ inline S warp_reduce(S x, Op op)
{
    for (int step = WARP / 2; step > 0; step /= 2)
        x = op(x, __shfl_xor_sync(~0u, x, step));
    return x;
}

/* Every thread of the block gets the result; always in the same order.  Threads are whole warps, 32 at most.
 */
template <typename S, typename Op> __device__ inline S block_reduce(S x, Op op, S neutral)
{
    __shared__ S part[WARP];
    unsigned lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;

    x = warp_reduce(x, op);
    __syncthreads(); /* part may still be read from the call before */
    if (lane == 0)
        part[warp] = x;
    __syncthreads();
    return warp_reduce(lane < blockDim.x / WARP ? part[lane] : neutral, op);
}

/*
 * An integer that is ordered as x is, so that a maximum keeps NaN: NaN of either sign is the largest, -0
 * equals 0. The CPU's definition is in kernels/cpu/vmath.h.
 */
__device__ inline int32_t order_of(float x)
{
    uint32_t u = f32_bits(x + 0.0f), magnitude = u & 0x7fffffff;

    return magnitude > 0x7f800000 ? INT32_MAX : (int32_t)(u ^ (0u - (u >> 31)) >> 1);
}

__device__ inline float from_order(int32_t k)
{
    uint32_t u = (uint32_t)k;

    return f32_from_bits(u ^ (0u - (u >> 31)) >> 1);
}

/*
 * A kernel that was launched with programmatic stream serialization takes its place on the multiprocessors as
 * soon as every block of the last kernel has said next_may_begin(), and must not touch what others use before
 * its own last_has_ended().  Other launches wait for the end of the last kernel as ever.
 */
__device__ inline void next_may_begin()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

__device__ inline void last_has_ended()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* ---- operations, one file each ---- */

void *cuda_alloc(struct backend *be, size_t bytes);
void cuda_free(struct backend *be, void *p);
size_t cuda_spare(struct backend *be);
void cuda_upload(struct backend *be, void *dst, const void *host, size_t bytes);
void cuda_download(struct backend *be, void *host, const void *src, size_t bytes);
void cuda_upload_act(struct backend *be, void *dst, const float *host, size_t n);
void cuda_download_act(struct backend *be, float *host, const void *src, size_t n);
void cuda_zero(struct backend *be, void *dst, size_t bytes);
void cuda_copy(struct backend *be, void *dst, const void *src, size_t bytes);

void cuda_weight_load(struct backend *be, struct weight *w, size_t out, size_t in, const void *host,
                      enum dtype from);
void cuda_weight_load_fp8(struct backend *be, struct weight *w, size_t out, size_t in, const uint8_t *codes,
                          float scale, float input_scale);
void cuda_weight_quantize(struct backend *be, struct weight *q, const struct weight *w, enum dtype from,
                          float scale, float input_scale, enum rounding r);
void cuda_weight_load_int8(struct backend *be, struct weight *w, size_t out, size_t in, const int8_t *codes,
                           const float *row_scale, float input_scale, const float *pre_scale);
void cuda_weight_quantize_int8(struct backend *be, struct weight *q, const struct weight *w, enum dtype from,
                               const struct smooth *smooth, float input_scale, enum rounding r);
void cuda_weight_free(struct backend *be, struct weight *w);

void cuda_linear(struct backend *be, void *y, const void *x, size_t rows, const struct weight *w);
void cuda_linear_again(struct backend *be, void *y, const void *x, size_t rows, const struct weight *w);
void cuda_linear_f32(struct backend *be, float *y, const void *x, size_t rows, const struct weight *w);
void cuda_score_linear(struct backend *be, double *out, const void *g, const void *y, void *yq, const void *x,
                       const float *row_weight, size_t rows, const struct weight *w, bool again);
void cuda_linear_dx(struct backend *be, void *dx, const void *dy, size_t rows, const struct weight *w,
                    bool accumulate);

void cuda_rmsnorm(struct backend *be, void *y, const void *x, const void *w, size_t rows, size_t dim,
                  float eps, const struct weight *next);
void cuda_add_rmsnorm(struct backend *be, void *sum, void *y, const void *a, const void *b, const void *w,
                      size_t rows, size_t dim, float eps, const struct weight *next);
void cuda_rmsnorm_dx(struct backend *be, void *dx, const void *dy, const void *x, const void *w, size_t rows,
                     size_t dim, float eps);
void cuda_rope(struct backend *be, void *y, size_t y_stride, const void *x, size_t x_stride, const float *c,
               const float *s, size_t rows, size_t heads, size_t head_dim, bool inverse);

void *cuda_map_encoder(void); /* the driver's, see struct cuda; NULL: it has none */
bool attention_wgmma_here(void); /* on the device in use */
void cuda_attention(struct backend *be, const struct attention *a, void *o, float *lse, const void *q,
                    const void *k, const void *v);
void cuda_attention_dx(struct backend *be, const struct attention *a, void *dq, void *dk, void *dv,
                       const void *d_o, const void *q, const void *k, const void *v, const void *o,
                       const float *lse);

void cuda_swiglu(struct backend *be, void *s, const void *g, const void *u, size_t rows, size_t dim,
                 const struct weight *next);
void cuda_swiglu_dx(struct backend *be, void *dg, void *du, void *s, const void *ds, const void *g,
                    const void *u, size_t rows, size_t dim, const struct weight *next);
void cuda_gelu(struct backend *be, void *y, const void *x, size_t n);
void cuda_gelu_dx(struct backend *be, void *dx, const void *dy, const void *x, size_t n);

void cuda_gather(struct backend *be, void *y, const void *x, const int32_t *index, size_t rows, size_t dim);
void cuda_scatter(struct backend *be, void *y, const void *x, const int32_t *index, size_t rows, size_t dim);
void cuda_patches(struct backend *be, void *y, const uint8_t *rgb, const struct patch *patch,
                  const float *table, size_t patches, size_t side, size_t frames);
void cuda_embed(struct backend *be, void *y, const struct weight *table, const int32_t *ids, size_t rows);

void cuda_narrow(struct backend *be, void *y, const float *x, size_t n);
void cuda_nll(struct backend *be, float *nll, float *lse, int32_t *argmax, const float *logits,
              const int32_t *target, size_t rows, size_t vocab);
void cuda_nll_dx(struct backend *be, void *dlogits, const float *logits, const float *lse,
                 const int32_t *target, const float *weight, size_t rows, size_t vocab);
void cuda_compare(struct backend *be, struct row_stats *out, const float *p, const float *q, size_t rows,
                  size_t vocab);

void cuda_amax(struct backend *be, float *out, const void *x, size_t n);
void cuda_weight_amax(struct backend *be, float *out, const struct weight *w);
void cuda_amax_columns(struct backend *be, float *out, const void *x, size_t rows, size_t dim);
void cuda_distance(struct backend *be, double *out, const void *a, const void *b, size_t n);
void cuda_round_fp8(struct backend *be, void *y, const void *x, size_t n, float scale);
void cuda_score(struct backend *be, double *out, const void *g, const void *y, const void *yq,
                const float *row_weight, size_t rows, size_t dim);

#endif
