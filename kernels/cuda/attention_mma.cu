/*
 * attention_mma.cu - attention on bf16 tensor cores: head sizes 16, 32 .. 128, rows aligned to 16 bytes
 *
 * Four warps a block.  Forward: 64 packed rows, 16 a warp, against tiles of 64 keys with an online softmax
 * (FlashAttention-2, Dao 2023).  Backward in two kernels, so that each gradient has one owner and nothing is
 * added with atomics: one sums dK and dV of 64 keys over tiles of 32 packed rows, one dQ of 64 packed rows
 * over tiles of 32 keys. Tiles of the next step are on their way while this one is worked on.
 */
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/softmax.cuh"

enum { THREADS = 128, OWN = 64, STEP = 64, STEP_DX = 32 }; /* rows or keys of a block, and of a step */

/* Rows of tiles are 8 elements longer than a head, so that neither rows nor columns share a bank. */
template <int DIM> struct tile {
    enum { STRIDE = DIM + 8, UNITS = DIM / 8 };
};

/* COUNT packed rows from r0 on; zeros beyond the last. */
template <int DIM, int COUNT>
static __device__ void fetch_rows(bf16 *to, const bf16 *from, const struct shape &s, const struct pair &p,
                                  int r0, size_t stride)
{
    for (int i = threadIdx.x; i < COUNT * tile<DIM>::UNITS; i += THREADS) {
        int r = i / tile<DIM>::UNITS, c = i % tile<DIM>::UNITS * 8;
        bool valid = r0 + r < p.rows;

        copy_async(to + r * tile<DIM>::STRIDE + c, valid ? from + row_at(s, p, r0 + r, stride) + c : from,
                   valid);
    }
}

/* COUNT keys or values from k0 on. */
template <int DIM, int COUNT>
static __device__ void fetch_keys(bf16 *to, const bf16 *from, const struct shape &s, const struct pair &p,
                                  int k0, size_t stride)
{
    const bf16 *base = from + (size_t)p.kv_head * DIM;

    for (int i = threadIdx.x; i < COUNT * tile<DIM>::UNITS; i += THREADS) {
        int r = i / tile<DIM>::UNITS, c = i % tile<DIM>::UNITS * 8;
        bool valid = k0 + r < p.nk;

        copy_async(to + r * tile<DIM>::STRIDE + c, valid ? base + (p.k0 + k0 + r) * stride + c : from, valid);
    }
}

/* sum [16, 8 NT] = a's rows (fragments of DIM columns) times the transpose of a tile's NT * 8 rows. */
template <int DIM, int NT>
static __device__ void scores(float (*sum)[4], const unsigned (*a)[4], const bf16 *rows)
{
#pragma unroll
    for (int i = 0; i < NT; i++)
        sum[i][0] = sum[i][1] = sum[i][2] = sum[i][3] = 0;
#pragma unroll
    for (int d = 0; d < DIM / 16; d++)
#pragma unroll
        for (int i = 0; i < NT / 2; i++) {
            unsigned b[4];

            right<tile<DIM>::STRIDE>(b, rows, 16 * i, 16 * d);
            multiply_add(sum[2 * i], a[d], b);
            multiply_add(sum[2 * i + 1], a[d], b + 2);
        }
}

/* sum [16, DIM] += weights [16, 16 KT] (accumulators) times a tile's 16 KT rows. */
template <int DIM, int KT>
static __device__ void weighted_sum(float (*sum)[4], const float (*weights)[4], const bf16 *rows)
{
#pragma unroll
    for (int k = 0; k < KT; k++) {
        unsigned a[4];

        left_of_sums(a, weights, k);
#pragma unroll
        for (int d = 0; d < DIM / 16; d++) {
            unsigned b[4];

            right_down<tile<DIM>::STRIDE>(b, rows, 16 * k, 16 * d);
            multiply_add(sum[2 * d], a, b);
            multiply_add(sum[2 * d + 1], a, b + 2);
        }
    }
}

/* This warp's 16 rows of a tile as left operands. */
template <int DIM> static __device__ void own_rows(unsigned (*a)[4], const bf16 *rows)
{
#pragma unroll
    for (int d = 0; d < DIM / 16; d++)
        left<tile<DIM>::STRIDE>(a[d], rows, (int)threadIdx.x / WARP * 16, 16 * d);
}

/* A row of accumulators (half: 0 for c[0..1], 1 for c[2..3]) times factor, to memory. */
template <int DIM> static __device__ void put_row(bf16 *to, const float (*sum)[4], int half, float factor)
{
#pragma unroll
    for (int i = 0; i < DIM / 8; i++)
        *(__nv_bfloat162 *)(to + 8 * i + threadIdx.x % 4 * 2) =
            __floats2bfloat162_rn(sum[i][2 * half] * factor, sum[i][2 * half + 1] * factor);
}

template <int DIM>
static __global__ void __launch_bounds__(THREADS)
    forward(struct shape s, unsigned tiles, bf16 *o, float *lse, const bf16 *q, const bf16 *k, const bf16 *v)
{
    enum { TILE = STEP * tile<DIM>::STRIDE };
    extern __shared__ bf16
        room[]; /* keys 0, values 0, keys 1, values 1; the rows come in where keys 1 will be */
    struct pair p = pair_at(s, blockIdx.x / tiles);
    int r0 = (int)(tiles - 1 - blockIdx.x % tiles) * OWN; /* the longest work first */
    int warp = threadIdx.x / WARP, first = r0 + warp * 16 + (int)threadIdx.x % WARP / 4, end, whole;
    unsigned a[DIM / 16][4];
    float sum[DIM / 8][4] = {}, scale = s.scale * LOG2_E;
    struct running row[2];

    if (r0 >= p.rows)
        return;
    for (int h = 0; h < 2; h++)
        row[h] = running{-INFINITY, 0, visible(s, p, first + 8 * h)};
    end = visible(s, p, min(r0 + OWN, p.rows) - 1);
    whole = r0 + warp * 16 < p.rows ? visible(s, p, r0 + warp * 16) : end; /* keys that all of its rows see */
    fetch_rows<DIM, OWN>(room + 2 * TILE, q, s, p, r0, s.q_stride);
    fetch_keys<DIM, STEP>(room, k, s, p, 0, s.k_stride);
    fetch_keys<DIM, STEP>(room + TILE, v, s, p, 0, s.v_stride);
    copy_commit();
    copy_wait<0>();
    __syncthreads();
    own_rows<DIM>(a, room + 2 * TILE);
    for (int k0 = 0, at = 0; k0 < end; k0 += STEP, at ^= 1) {
        const bf16 *keys = room + at * 2 * TILE;
        bf16 *next = room + (at ^ 1) * 2 * TILE;
        float score[STEP / 8][4];

        __syncthreads(); /* nobody reads the other tiles any more */
        if (k0 + STEP < end) {
            fetch_keys<DIM, STEP>(next, k, s, p, k0 + STEP, s.k_stride);
            fetch_keys<DIM, STEP>(next + TILE, v, s, p, k0 + STEP, s.v_stride);
        }
        copy_commit();
        copy_wait<1>();
        __syncthreads();
        scores<DIM, STEP / 8>(score, a, keys);
        for (int h = 0; h < 2; h++) {
            float shrink = soften<STEP>(score, h, &row[h], k0, scale, k0 + STEP <= whole);

#pragma unroll
            for (int i = 0; i < DIM / 8; i++) {
                sum[i][2 * h] *= shrink;
                sum[i][2 * h + 1] *= shrink;
            }
        }
        weighted_sum<DIM, STEP / 16>(sum, score, keys + TILE);
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float total = quad_reduce(row[h].sum, add_values());
        int r = first + 8 * h;

        if (r >= p.rows)
            continue;
        put_row<DIM>(o + row_at(s, p, r, s.o_stride), sum, h, row[h].sees ? 1 / total : 0);
        if (lse && threadIdx.x % 4 == 0)
            lse[lse_at(s, p, r)] = row[h].sees ? row[h].max * s.scale + logf(total) : -INFINITY;
    }
}

/* log-sum (times log2 e), delta and visible keys of a step's packed rows. */
struct row_facts {
    float lse[STEP_DX], delta[STEP_DX];
    int sees[STEP_DX];
};

static __device__ void fetch_facts(struct row_facts *f, const struct shape &s, const struct pair &p,
                                   const gradients<bf16> &g, int r0)
{
    int i = threadIdx.x;

    if (i < STEP_DX) {
        int sees = visible(s, p, r0 + i);
        size_t at = sees ? lse_at(s, p, r0 + i) : 0;

        f->sees[i] = sees;
        f->lse[i] = sees ? g.lse[at] * LOG2_E : 0;
        f->delta[i] = sees ? g.delta[at] : 0;
    }
}

/* A warp sums dK and dV of 16 keys: rows of the score tiles are keys, columns packed rows. */
template <int DIM>
static __global__ void __launch_bounds__(THREADS)
    keys_backward(struct shape s, unsigned tiles, struct parts parts, gradients<bf16> g)
{
    enum { TILE = STEP_DX * tile<DIM>::STRIDE, OWN_TILE = OWN * tile<DIM>::STRIDE };
    extern __shared__ bf16 room[]; /* this block's keys and values, then rows and their dO, twice */
    __shared__ struct row_facts facts[2];
    struct pair p = pair_at(s, blockIdx.x / tiles);
    int k0 = (int)(blockIdx.x % tiles) * OWN, first = first_row_seeing(s, p, k0, STEP_DX);
    int part = p.kv_head % parts.n;
    int key = k0 + (int)threadIdx.x / WARP * 16 + (int)threadIdx.x % WARP / 4;
    bf16 *steps = room + 2 * OWN_TILE;
    float dk[DIM / 8][4] = {}, dv[DIM / 8][4] = {}, scale = s.scale * LOG2_E;

    p.kv_head /= parts.n; /* p.head stays the part's first */
    if (k0 >= p.nk)
        return;
    fetch_keys<DIM, OWN>(room, g.k, s, p, k0, s.k_stride);
    fetch_keys<DIM, OWN>(room + OWN_TILE, g.v, s, p, k0, s.v_stride);
    if (first < p.rows) {
        fetch_rows<DIM, STEP_DX>(steps, g.q, s, p, first, s.q_stride);
        fetch_rows<DIM, STEP_DX>(steps + TILE, g.d_o, s, p, first, s.o_stride);
        fetch_facts(&facts[0], s, p, g, first);
    }
    copy_commit();
    for (int r0 = first, at = 0; r0 < p.rows; r0 += STEP_DX, at ^= 1) {
        const bf16 *rows = steps + at * 2 * TILE;
        bf16 *next = steps + (at ^ 1) * 2 * TILE;
        float prob[STEP_DX / 8][4], ds[STEP_DX / 8][4];
        unsigned a[DIM / 16][4];

        __syncthreads();
        if (r0 + STEP_DX < p.rows) {
            fetch_rows<DIM, STEP_DX>(next, g.q, s, p, r0 + STEP_DX, s.q_stride);
            fetch_rows<DIM, STEP_DX>(next + TILE, g.d_o, s, p, r0 + STEP_DX, s.o_stride);
            fetch_facts(&facts[at ^ 1], s, p, g, r0 + STEP_DX);
        }
        copy_commit();
        copy_wait<1>();
        __syncthreads();
        own_rows<DIM>(a, room);
        scores<DIM, STEP_DX / 8>(prob, a, rows);
        own_rows<DIM>(a, room + OWN_TILE);
        scores<DIM, STEP_DX / 8>(ds, a, rows + TILE);
#pragma unroll
        for (int i = 0; i < STEP_DX / 8; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int column = 8 * i + (int)threadIdx.x % 4 * 2 + j % 2;
                bool sees = key + j / 2 * 8 < facts[at].sees[column];

                prob[i][j] = sees ? power_of_two(prob[i][j] * scale - facts[at].lse[column]) : 0;
                ds[i][j] = sees ? prob[i][j] * (ds[i][j] - facts[at].delta[column]) : 0;
            }
        weighted_sum<DIM, STEP_DX / 16>(dv, prob, rows + TILE);
        weighted_sum<DIM, STEP_DX / 16>(dk, ds, rows);
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        size_t row = p.k0 + key + 8 * h, head = (size_t)p.kv_head * DIM,
               dim = (size_t)s.kv_heads / parts.n * DIM;

        if (key + 8 * h >= p.nk)
            continue;
        if (parts.sums) {
            put_part<DIM>(parts.sums + part_at(s, part, 0, row, dim) + head, dk, h);
            put_part<DIM>(parts.sums + part_at(s, part, 1, row, dim) + head, dv, h);
        } else {
            put_row<DIM>(g.dk + row * s.k_stride + head, dk, h, s.scale);
            put_row<DIM>(g.dv + row * s.v_stride + head, dv, h, 1);
        }
    }
}

/* A warp sums dQ of 16 packed rows. */
template <int DIM>
static __global__ void __launch_bounds__(THREADS)
    rows_backward(struct shape s, unsigned tiles, gradients<bf16> g)
{
    enum { TILE = STEP_DX * tile<DIM>::STRIDE, OWN_TILE = OWN * tile<DIM>::STRIDE };
    extern __shared__ bf16 room[]; /* this block's rows and their dO, then keys and values, twice */
    struct pair p = pair_at(s, blockIdx.x / tiles);
    int r0 = (int)(tiles - 1 - blockIdx.x % tiles) * OWN;
    int first = r0 + (int)threadIdx.x / WARP * 16 + (int)threadIdx.x % WARP / 4, end, sees[2];
    bf16 *steps = room + 2 * OWN_TILE;
    unsigned q[DIM / 16][4], d_o[DIM / 16][4];
    float dq[DIM / 8][4] = {}, lse[2], delta[2], scale = s.scale * LOG2_E;

    if (r0 >= p.rows)
        return;
    for (int h = 0; h < 2; h++) {
        sees[h] = visible(s, p, first + 8 * h);
        lse[h] = sees[h] ? g.lse[lse_at(s, p, first + 8 * h)] * LOG2_E : 0;
        delta[h] = sees[h] ? g.delta[lse_at(s, p, first + 8 * h)] : 0;
    }
    end = visible(s, p, min(r0 + OWN, p.rows) - 1);
    fetch_rows<DIM, OWN>(room, g.q, s, p, r0, s.q_stride);
    fetch_rows<DIM, OWN>(room + OWN_TILE, g.d_o, s, p, r0, s.o_stride);
    fetch_keys<DIM, STEP_DX>(steps, g.k, s, p, 0, s.k_stride);
    fetch_keys<DIM, STEP_DX>(steps + TILE, g.v, s, p, 0, s.v_stride);
    copy_commit();
    copy_wait<0>();
    __syncthreads();
    own_rows<DIM>(q, room);
    own_rows<DIM>(d_o, room + OWN_TILE);
    for (int k0 = 0, at = 0; k0 < end; k0 += STEP_DX, at ^= 1) {
        const bf16 *keys = steps + at * 2 * TILE;
        bf16 *next = steps + (at ^ 1) * 2 * TILE;
        float prob[STEP_DX / 8][4], ds[STEP_DX / 8][4];

        __syncthreads();
        if (k0 + STEP_DX < end) {
            fetch_keys<DIM, STEP_DX>(next, g.k, s, p, k0 + STEP_DX, s.k_stride);
            fetch_keys<DIM, STEP_DX>(next + TILE, g.v, s, p, k0 + STEP_DX, s.v_stride);
        }
        copy_commit();
        copy_wait<1>();
        __syncthreads();
        scores<DIM, STEP_DX / 8>(prob, q, keys);
        scores<DIM, STEP_DX / 8>(ds, d_o, keys + TILE);
#pragma unroll
        for (int i = 0; i < STEP_DX / 8; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int h = j / 2;
                bool seen = k0 + 8 * i + (int)threadIdx.x % 4 * 2 + j % 2 < sees[h];

                ds[i][j] = seen ? power_of_two(prob[i][j] * scale - lse[h]) * (ds[i][j] - delta[h]) : 0;
            }
        weighted_sum<DIM, STEP_DX / 16>(dq, ds, keys);
    }
#pragma unroll
    for (int h = 0; h < 2; h++)
        if (first + 8 * h < p.rows)
            put_row<DIM>(g.dq + row_at(s, p, first + 8 * h, s.q_stride), dq, h, s.scale);
}

static unsigned tiles_of(size_t n)
{
    return (unsigned)((n + OWN - 1) / OWN);
}

template <int DIM>
static void run(const struct attention_call *a, bf16 *o, float *lse, const bf16 *q, const bf16 *k,
                const bf16 *v)
{
    size_t shared = 4 * STEP * tile<DIM>::STRIDE * sizeof(bf16);
    unsigned tiles = tiles_of(a->max_rows);

    attention_launch(a->c, forward<DIM>, a->pairs * tiles, THREADS, shared, a->shape, tiles, o, lse, q, k, v);
}

template <int DIM> static void run_dx(const struct attention_call *a, const gradients<bf16> &g)
{
    size_t shared = (2 * OWN + 4 * STEP_DX) * tile<DIM>::STRIDE * sizeof(bf16);
    unsigned rows = tiles_of(a->max_rows), keys = tiles_of(a->max_keys);
    struct shape s = a->shape;
    struct parts parts;

    if (keys && attention_parts(a, a->pairs * keys, 4 * (size_t)a->c->sms, &s, &parts)) {
        attention_launch(a->c, keys_backward<DIM>, a->pairs * parts.n * keys, THREADS, shared, s, keys, parts,
                         g);
        attention_add_parts(a, s, parts, g);
    }
    if (rows && a->c->be.err.rc == RC_OK)
        attention_launch(a->c, rows_backward<DIM>, a->pairs * rows, THREADS, shared, a->shape, rows, g);
}

#define BY_DIM(dim, F, ...)                                                                                  \
    switch (dim) {                                                                                           \
    case 16: F<16>(__VA_ARGS__); break;                                                                      \
    case 32: F<32>(__VA_ARGS__); break;                                                                      \
    case 48: F<48>(__VA_ARGS__); break;                                                                      \
    case 64: F<64>(__VA_ARGS__); break;                                                                      \
    case 80: F<80>(__VA_ARGS__); break;                                                                      \
    case 96: F<96>(__VA_ARGS__); break;                                                                      \
    case 112: F<112>(__VA_ARGS__); break;                                                                    \
    case 128: F<128>(__VA_ARGS__); break;                                                                    \
    default: return false;                                                                                   \
    }

bool attention_mma(const struct attention_call *a, bf16 *o, float *lse, const bf16 *q, const bf16 *k,
                   const bf16 *v)
{
    if (!attention_units(a, q, k, v, o))
        return false;
    BY_DIM(a->shape.dim, run, a, o, lse, q, k, v)
    return true;
}

bool attention_mma_dx(const struct attention_call *a, const gradients<bf16> &g)
{
    if (!attention_units(a, g.q, g.k, g.v, g.d_o) || !attention_units(a, g.dq, g.dk, g.dv, NULL))
        return false;
    BY_DIM(a->shape.dim, run_dx, a, g)
    return true;
}
