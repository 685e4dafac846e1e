/*
 * attention.cuh - what the attention kernels share
 *
 * Work is cut into pairs (segment, kv head).  The query heads of a kv head count as rows: packed row r of a
 * pair is query r / group under head r % group, so that keys and values are read once for all heads and short
 * segments still fill a tile.  Scores exist as tiles only; the backward pass makes them again from the
 * log-sums.  Each gradient is summed by one block in one order.
 */
#ifndef KERNELS_CUDA_ATTENTION_CUH
#define KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/cuda.cuh"

enum { ATTENTION_MAX_DIM = 128 };

/* A call, as a kernel sees it. */
struct shape {
    const int32_t *cu_q, *cu_k;
    size_t q_stride, k_stride, v_stride, o_stride;
    int segments, kv_heads, group, dim;
    unsigned reciprocal; /* floor(2^32 / group) + 1, for group > 1: set_group() */
    float scale;
    bool causal;
};

/* Dividing a packed row by group is then a product: exact, since attention.cu holds rows * group below 2^32.
 */
static inline void set_group(struct shape *s, int group)
{
    s->group = group;
    s->reciprocal = group > 1 ? (unsigned)(((uint64_t)1 << 32) / (unsigned)group + 1) : 0;
}

/* The query of packed row r, and its head within the group. */
__device__ inline int query_of(const struct shape &s, int r)
{
    return s.group > 1 ? (int)__umulhi((unsigned)r, s.reciprocal) : r;
}

__device__ inline int head_of(const struct shape &s, int r)
{
    return r - query_of(s, r) * s.group;
}

/* One segment under one kv head. */
struct pair {
    size_t q0, k0;     /* rows */
    int nq, nk, rows;  /* rows: packed */
    int head, kv_head; /* head: the first of the group */
    size_t queries;    /* of all segments */
};

__device__ inline struct pair pair_at(const struct shape &s, unsigned i)
{
    unsigned segment = i / s.kv_heads;
    struct pair p;

    p.kv_head = i % s.kv_heads;
    p.head = p.kv_head * s.group;
    p.q0 = s.cu_q[segment];
    p.nq = s.cu_q[segment + 1] - s.cu_q[segment];
    p.k0 = s.cu_k[segment];
    p.nk = s.cu_k[segment + 1] - s.cu_k[segment];
    p.rows = p.nq * s.group;
    p.queries = s.cu_q[s.segments];
    return p;
}

/* Keys that packed row r sees. */
__device__ inline int visible(const struct shape &s, const struct pair &p, int r)
{
    int n = s.causal ? p.nk - p.nq + query_of(s, r) + 1 : p.nk;

    return r >= p.rows || n < 0 ? 0 : n < p.nk ? n : p.nk;
}

/* The first packed row that sees key k, rounded down to a multiple of `tile`. */
__device__ inline int first_row_seeing(const struct shape &s, const struct pair &p, int k, int tile)
{
    int t = s.causal ? k - (p.nk - p.nq) : 0;

    return t > 0 ? t * s.group / tile * tile : 0;
}

/* Element where packed row r begins in a buffer of query rows, and its place in lse and delta. */
__device__ inline size_t row_at(const struct shape &s, const struct pair &p, int r, size_t stride)
{
    return (p.q0 + query_of(s, r)) * stride + (size_t)(p.head + head_of(s, r)) * s.dim;
}

__device__ inline size_t lse_at(const struct shape &s, const struct pair &p, int r)
{
    return (size_t)(p.head + head_of(s, r)) * p.queries + p.q0 + query_of(s, r);
}

struct attention_call {
    struct cuda *c;
    struct shape shape;
    size_t pairs, max_rows, max_keys; /* max_rows: packed */
};

/* Operands of the backward pass; delta [heads, query rows] = dO . O is scratch, filled before all kernels but
 * attention_window_dx()'s. */
template <typename T> struct gradients {
    T *dq, *dk, *dv;
    const T *d_o, *q, *k, *v;
    const float *lse, *delta;
};

/*
 * Where a kv head's query heads are divided among several blocks, each part's dK and dV go to sums
 * [parts][2][keys] [kv_heads * dim] in fp32, and are added up afterwards in the order of the parts.
 */
struct parts {
    int n;
    float *sums; /* NULL: one part, straight to dK and dV */
};

/* s describes the parts: s.group heads each, n for each kv head. */
__device__ inline size_t part_at(const struct shape &s, int part, int which, size_t row, size_t dim)
{
    return (((size_t)part * 2 + which) * s.cu_k[s.segments] + row) * dim;
}

/* A row of accumulators (half: 0 for c[0..1] of each tile, 1 for c[2..3]) to memory. */
template <int DIM> __device__ void put_part(float *to, const float (*sum)[4], int half)
{
#pragma unroll
    for (int i = 0; i < DIM / 8; i++)
        *(float2 *)(to + 8 * i + threadIdx.x % 4 * 2) = make_float2(sum[i][2 * half], sum[i][2 * half + 1]);
}

/* With few keys and many query heads, heads are divided until there are `enough` blocks; s is then of the
 * parts. */
bool attention_parts(const struct attention_call *a, size_t blocks, size_t enough, struct shape *s,
                     struct parts *parts);
void attention_add_parts(const struct attention_call *a, const struct shape &s, struct parts parts,
                         const gradients<bf16> &g);

/* Whether rows are of 16-byte units, whatever the segment and the head. */
bool attention_units(const struct attention_call *a, const void *q, const void *k, const void *v,
                     const void *o);

/* False: this head size, alignment or GPU is for other kernels. */
bool attention_wgmma(const struct attention_call *a, bf16 *o, float *lse, const bf16 *q, const bf16 *k,
                     const bf16 *v);
bool attention_wgmma_dx(const struct attention_call *a, const gradients<bf16> &g);
bool attention_mma(const struct attention_call *a, bf16 *o, float *lse, const bf16 *q, const bf16 *k,
                   const bf16 *v);
bool attention_mma_dx(const struct attention_call *a, const gradients<bf16> &g);
/* Where a segment is one tile; of o instead of g.delta. */
bool attention_window_dx(const struct attention_call *a, const gradients<bf16> &g, const bf16 *o);

template <typename T>
void attention_plain(const struct attention_call *a, T *o, float *lse, const T *q, const T *k, const T *v);
template <typename T> void attention_plain_dx(const struct attention_call *a, const gradients<T> &g);

/* Launch with more shared memory than a kernel gets unasked. */
template <typename K, typename... A>
static void attention_launch(struct cuda *c, K *kernel, size_t blocks, int threads, size_t shared, A... args)
{
    if (blocks > INT32_MAX) {
        err_set(&c->be.err, RC_DATA, "attention over %zu tiles in one batch is too much; use smaller batches",
                blocks);
        return;
    }
    if (!cuda_ok(&c->be,
                 cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared),
                 "attention"))
        return;
    kernel<<<(unsigned)blocks, threads, shared, c->stream>>>(args...);
    cuda_launched(&c->be, "attention");
}

#endif
