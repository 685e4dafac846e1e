/*
 * attention_window.cu - backward of attention where a segment is a single tile, as the windows of a vision
 * tower are: at most 64 packed rows and 64 keys; head sizes 16, 32 .. 128, rows aligned to 16 bytes
 *
 * A block has a pair (segment, kv head) to itself.  So everything is read once, the scores are made once, in
 * five products instead of seven, delta is made on the way, and each gradient has one owner: a warp sums dV
 * and dK of 16 keys out of its registers, since rows of its score tiles are keys, and, when dS has passed
 * through shared memory, dQ of 16 packed rows.  Roundings are those of attention_mma.cu.  Nothing overlaps
 * within a block; blocks are small instead, and some load while others compute.
 */
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/softmax.cuh"
#include "kernels/cuda/wgmma.cuh" /* tile */

enum { THREADS = 128, EDGE = 64 };

/* Blocks of a multiprocessor that registers are to suffice for; on 9.0 shared memory has room for as many. */
static constexpr int blocks_for(int dim)
{
    return dim <= 80 ? 5 : 3;
}

/*
 * The tiles in shared memory, TILE elements each.  SLOPES (dS, keys by packed rows) takes the place of
 * VALUES, which is large enough for both.
 */
enum { ROWS, D_O, KEYS, VALUES, SLOPES = VALUES };

typedef tile<EDGE, EDGE> square;

template <int DIM> struct window {
    typedef tile<EDGE, DIM> type;
    enum { TILE = type::SIZE, LAST = EDGE * (DIM > EDGE ? DIM : EDGE) };
    enum { SHARED = (3 * TILE + LAST) * 2 }; /* bytes */
};

/* log-sum (times log2 e), delta and visible keys of the packed rows; whole: all rows exist and see 64 keys.
 */
struct row_facts {
    float lse[EDGE], delta[EDGE];
    int sees[EDGE];
    bool whole;
};

/* The packed row, or key, that is the first of this warp's 16. */
static __device__ __forceinline__ int own_rows()
{
    return threadIdx.x / WARP * 16;
}

/*
 * A warp copies its 16 rows of a tile in DIM / 16 steps: this lane's unit of 8 columns in step n.  Eight
 * neighbours have 128 bytes of shared memory that share no bank, a panel's row of 64 columns or four of 16,
 * and as far as there are 64 columns together they are together for all four rows of a step.
 */
template <int DIM> struct unit_at {
    int row, unit;

    __device__ __forceinline__ unit_at(int n, int lane)
    {
        int quarter = lane / 8, four = lane / 2 % 4;
        bool wide = DIM % 64 == 0, part = n < DIM / 64 * 4; /* of 64 columns */

        row = own_rows() + (part ? n % 4 : quarter) * 4 + (wide ? quarter : four);
        unit = wide ? n / 4 * 8 + lane % 8 : part ? n / 4 * 8 + quarter * 2 + lane % 2 : 2 * n + lane % 2;
    }
};

/* A buffer of queries or of keys as one pair sees it: its first row there, and bytes from row to row. */
struct view {
    char *at;
    unsigned stride;
};

static __device__ __forceinline__ struct view queries(const bf16 *x, const struct shape &s,
                                                      const struct pair &p, size_t stride)
{
    return {(char *)(x + p.q0 * stride + (size_t)p.head * s.dim), (unsigned)(stride * sizeof(bf16))};
}

static __device__ __forceinline__ struct view keys(const bf16 *x, const struct shape &s, const struct pair &p,
                                                   size_t stride)
{
    return {(char *)(x + p.k0 * stride + (size_t)p.kv_head * s.dim), (unsigned)(stride * sizeof(bf16))};
}

/* Unit of 8 columns of a packed row: those of a query lie side by side, the next query's `rest` further on.
 */
template <int DIM>
static __device__ __forceinline__ uint4 *row_unit(struct view x, const struct shape &s, int r, int unit)
{
    unsigned row = DIM * sizeof(bf16), rest = x.stride - s.group * row;

    return (uint4 *)(x.at + r * row + 16 * unit + (size_t)(unsigned)query_of(s, r) * rest);
}

static __device__ __forceinline__ uint4 *key_unit(struct view x, int k, int unit)
{
    return (uint4 *)(x.at + 16 * unit + (size_t)(unsigned)k * x.stride);
}

/* Operands from a swizzled tile, as those of mma.cuh are from one of plain rows. */
template <typename TILE>
static __device__ __forceinline__ void left(unsigned a[4], const bf16 *p, int r, int c)
{
    int l = threadIdx.x % WARP;

    load_matrices(a, p + TILE::at(r + l % 16, c / 8 + l / 16));
}

template <typename TILE>
static __device__ __forceinline__ void right(unsigned b[4], const bf16 *p, int r, int c)
{
    int l = threadIdx.x % WARP;

    load_matrices(b, p + TILE::at(r + l / 16 * 8 + l % 8, c / 8 + l / 8 % 2));
}

template <typename TILE>
static __device__ __forceinline__ void right_down(unsigned b[4], const bf16 *p, int r, int c)
{
    int l = threadIdx.x % WARP;

    load_transposed(b, p + TILE::at(r + l % 16, c / 8 + l / 16));
}

/* a of a product, a[m, k] = tile[k][m], for k of r.. r+15 and m of c.. c+15. */
template <typename TILE>
static __device__ __forceinline__ void left_down(unsigned a[4], const bf16 *p, int r, int c)
{
    int l = threadIdx.x % WARP;

    load_transposed(a, p + TILE::at(r + l / 16 * 8 + l % 8, c / 8 + l / 8 % 2));
}

/* The pair's rows, their dO, its keys and its values; zeros beyond the last. */
template <int DIM>
static __device__ __forceinline__ void fetch(bf16 *room, const struct shape &s, const struct pair &p,
                                             const gradients<bf16> &g)
{
    enum { TILE = window<DIM>::TILE };
    struct view q = queries(g.q, s, p, s.q_stride), d_o = queries(g.d_o, s, p, s.o_stride);
    struct view k = keys(g.k, s, p, s.k_stride), v = keys(g.v, s, p, s.v_stride);

#pragma unroll
    for (int n = 0; n < DIM / 16; n++) {
        unit_at<DIM> u(n, threadIdx.x % WARP);
        bf16 *to = room + window<DIM>::type::at(u.row, u.unit);

        copy_async(to + ROWS * TILE, row_unit<DIM>(q, s, u.row, u.unit), u.row < p.rows);
        copy_async(to + D_O * TILE, row_unit<DIM>(d_o, s, u.row, u.unit), u.row < p.rows);
        copy_async(to + KEYS * TILE, key_unit(k, u.row, u.unit), u.row < p.nk);
        copy_async(to + VALUES * TILE, key_unit(v, u.row, u.unit), u.row < p.nk);
    }
}

/* The sum of products of two pairs of elements. */
static __device__ __forceinline__ float add_products(float sum, unsigned x, unsigned y)
{
    sum += f32_from_bits(x << 16) * f32_from_bits(y << 16);
    return sum + f32_from_bits(x & 0xffff0000) * f32_from_bits(y & 0xffff0000);
}

/* Four lanes' shares of packed rows r and r + 8 of O: lane t has units t, t + 4, .. */
template <int DIM> struct outputs {
    enum { UNITS = DIM / 8, SHARE = (UNITS + 3) / 4 };
    uint4 x[2][SHARE];

    __device__ __forceinline__ void load(const struct shape &s, const struct pair &p, const bf16 *o, int r)
    {
        struct view v = queries(o, s, p, s.o_stride);
        int t = threadIdx.x % 4;

#pragma unroll
        for (int h = 0; h < 2; h++)
#pragma unroll
            for (int n = 0; n < SHARE; n++)
                x[h][n] = r + 8 * h < p.rows && t + 4 * n < UNITS ? *row_unit<DIM>(v, s, r + 8 * h, t + 4 * n)
                                                                  : make_uint4(0, 0, 0, 0);
    }

    /* The product of row r + 8 h with that row of dO, for each of the four. */
    __device__ __forceinline__ float times(const bf16 *d_o, int r, int h) const
    {
        int t = threadIdx.x % 4;
        float sum = 0;

#pragma unroll
        for (int n = 0; n < SHARE; n++) {
            uint4 y = t + 4 * n < UNITS ? *(const uint4 *)(d_o + window<DIM>::type::at(r + 8 * h, t + 4 * n))
                                        : make_uint4(0, 0, 0, 0);

            sum = add_products(sum, x[h][n].x, y.x);
            sum = add_products(sum, x[h][n].y, y.y);
            sum = add_products(sum, x[h][n].z, y.z);
            sum = add_products(sum, x[h][n].w, y.w);
        }
        return quad_reduce(sum, add_values());
    }
};

/* sum [16, 64] = this warp's rows of one tile times the transpose of another. */
template <int DIM>
static __device__ __forceinline__ void scores(float (*sum)[4], const bf16 *own, const bf16 *all)
{
    typedef typename window<DIM>::type T;

#pragma unroll
    for (int i = 0; i < EDGE / 8; i++)
        sum[i][0] = sum[i][1] = sum[i][2] = sum[i][3] = 0;
#pragma unroll
    for (int d = 0; d < DIM / 16; d++) {
        unsigned a[4];

        left<T>(a, own, own_rows(), 16 * d);
#pragma unroll
        for (int i = 0; i < EDGE / 16; i++) {
            unsigned b[4];

            right<T>(b, all, 16 * i, 16 * d);
            multiply_add(sum[2 * i], a, b);
            multiply_add(sum[2 * i + 1], a, b + 2);
        }
    }
}

/* sum [16, DIM] += columns 16 k .. 16 k + 15 of a left operand times those rows of a tile. */
template <int DIM>
static __device__ __forceinline__ void weighted_sum(float (*sum)[4], const unsigned a[4], const bf16 *rows,
                                                    int k)
{
#pragma unroll
    for (int d = 0; d < DIM / 16; d++) {
        unsigned b[4];

        right_down<typename window<DIM>::type>(b, rows, 16 * k, 16 * d);
        multiply_add(sum[2 * d], a, b);
        multiply_add(sum[2 * d + 1], a, b + 2);
    }
}

/* Scores and dP of this warp's keys, from key on, become P and dS, as left operands. */
static __device__ __forceinline__ void slopes_of(unsigned (*weights)[4], unsigned (*slopes)[4],
                                                 float (*prob)[4], float (*ds)[4], const struct row_facts &f,
                                                 int key, float scale)
{
    int row = threadIdx.x % 4 * 2;

#pragma unroll
    for (int i = 0; i < EDGE / 8; i++) {
        float2 lse = *(const float2 *)&f.lse[8 * i + row], delta = *(const float2 *)&f.delta[8 * i + row];

#pragma unroll
        for (int j = 0; j < 4; j++) {
            prob[i][j] = power_of_two(prob[i][j] * scale - (j % 2 ? lse.y : lse.x));
            ds[i][j] = prob[i][j] * (ds[i][j] - (j % 2 ? delta.y : delta.x));
        }
    }
    if (!f.whole)
#pragma unroll
        for (int i = 0; i < EDGE / 8; i++) {
            int2 sees = *(const int2 *)&f.sees[8 * i + row];

#pragma unroll
            for (int j = 0; j < 4; j++)
                if (key + j / 2 * 8 >= (j % 2 ? sees.y : sees.x))
                    prob[i][j] = ds[i][j] = 0;
        }
#pragma unroll
    for (int k = 0; k < EDGE / 16; k++) {
        left_of_sums(weights[k], prob, k);
        left_of_sums(slopes[k], ds, k);
    }
}

/* A left operand of this warp's 16 rows and columns 16 k .. 16 k + 15, back to a tile. */
static __device__ __forceinline__ void put_left(bf16 *to, const unsigned a[4], int k)
{
    int row = own_rows() + (int)threadIdx.x % WARP / 4, column = threadIdx.x % 4 * 2;

#pragma unroll
    for (int i = 0; i < 4; i++)
        *(unsigned *)(to + square::at(row + i % 2 * 8, 2 * k + i / 2) + column) = a[i];
}

/*
 * This warp's 16 rows of accumulators, each times factor, rounded, by way of its rows of a tile that is not
 * needed any more, to `count` rows of memory; to(r, unit): where a unit of row r goes.
 */
template <int DIM, typename To>
static __device__ __forceinline__ void put_rows(bf16 *room, const float (*sum)[4], float factor, int count,
                                                To to)
{
    typedef typename window<DIM>::type T;
    int row = own_rows() + (int)threadIdx.x % WARP / 4, column = threadIdx.x % 4 * 2;
    unsigned lane;

    /* The lane is asked for anew, or the compiler keeps fetch()'s addresses in registers until here. */
    asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
    __syncwarp(); /* what was there before has been read */
#pragma unroll
    for (int i = 0; i < DIM / 8; i++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            *(unsigned *)(room + T::at(row + 8 * h, i) + column) =
                pack_bf16(sum[i][2 * h] * factor, sum[i][2 * h + 1] * factor);
    __syncwarp();
#pragma unroll
    for (int n = 0; n < DIM / 16; n++) {
        unit_at<DIM> u(n, lane % WARP);

        if (u.row < count)
            *to(u.row, u.unit) = *(const uint4 *)(room + T::at(u.row, u.unit));
    }
}

template <int DIM>
static __global__ void __launch_bounds__(THREADS, blocks_for(DIM))
    backward(struct shape s, gradients<bf16> g, const bf16 *o)
{
    enum { TILE = window<DIM>::TILE };
    extern __shared__ __align__(128) bf16 room[];
    __shared__ struct row_facts facts;
    struct pair p = pair_at(s, blockIdx.x);
    int own = own_rows(), first = own + (int)threadIdx.x % WARP / 4;
    unsigned weights[EDGE / 16][4], slopes[EDGE / 16][4];

    fetch<DIM>(room, s, p, g);
    copy_commit();
    {
        outputs<DIM> out;
        float prob[EDGE / 8][4], ds[EDGE / 8][4];

        out.load(s, p, o, first);
        if (threadIdx.x < EDGE) {
            int r = threadIdx.x, sees = visible(s, p, r);

            facts.sees[r] = sees;
            if (r == 0)
                facts.whole = p.rows == EDGE && sees == EDGE;
            facts.lse[r] = sees ? g.lse[lse_at(s, p, r)] * LOG2_E : 0;
        }
        copy_wait<0>();
        __syncthreads();
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float delta = out.times(room + D_O * TILE, first, h);

            if (threadIdx.x % 4 == 0)
                facts.delta[first + 8 * h] = delta;
        }
        scores<DIM>(prob, room + KEYS * TILE, room + ROWS * TILE);
        scores<DIM>(ds, room + VALUES * TILE, room + D_O * TILE);
        __syncthreads(); /* the facts are complete, and the values not needed any more */
        slopes_of(weights, slopes, prob, ds, facts, first, s.scale * LOG2_E);
    }
#pragma unroll
    for (int k = 0; k < EDGE / 16; k++)
        put_left(room + SLOPES * TILE, slopes[k], k);
    {
        struct view to_v = keys(g.dv, s, p, s.v_stride);
        float dv[DIM / 8][4] = {};

#pragma unroll
        for (int k = 0; k < EDGE / 16; k++)
            weighted_sum<DIM>(dv, weights[k], room + D_O * TILE, k);
        __syncthreads(); /* dS is complete, and dO not needed any more */
        put_rows<DIM>(room + D_O * TILE, dv, 1, p.nk,
                      [=](int r, int unit) { return key_unit(to_v, r, unit); });
    }
    {
        struct view to_k = keys(g.dk, s, p, s.k_stride);
        float dk[DIM / 8][4] = {};

#pragma unroll
        for (int k = 0; k < EDGE / 16; k++)
            weighted_sum<DIM>(dk, slopes[k], room + ROWS * TILE, k);
        put_rows<DIM>(room + D_O * TILE, dk, s.scale, p.nk,
                      [=](int r, int unit) { return key_unit(to_k, r, unit); });
    }
    {
        struct view to_q = queries(g.dq, s, p, s.q_stride);
        float dq[DIM / 8][4] = {};

#pragma unroll
        for (int k = 0; k < EDGE / 16; k++) {
            unsigned a[4];

            left_down<square>(a, room + SLOPES * TILE, 16 * k, own);
            weighted_sum<DIM>(dq, a, room + KEYS * TILE, k);
        }
        put_rows<DIM>(room + D_O * TILE, dq, s.scale, p.rows,
                      [=](int r, int unit) { return row_unit<DIM>(to_q, s, r, unit); });
    }
}

template <int DIM> static void run(const struct attention_call *a, const gradients<bf16> &g, const bf16 *o)
{
    attention_launch(a->c, backward<DIM>, a->pairs, THREADS, window<DIM>::SHARED, a->shape, g, o);
}

bool attention_window_dx(const struct attention_call *a, const gradients<bf16> &g, const bf16 *o)
{
    const struct shape *s = &a->shape;

    if (a->max_rows > EDGE || a->max_keys > EDGE || s->q_stride > INT32_MAX || s->k_stride > INT32_MAX ||
        s->v_stride > INT32_MAX || s->o_stride > INT32_MAX)
        return false;
    if (!attention_units(a, g.q, g.k, g.v, g.d_o) || !attention_units(a, g.dq, g.dk, g.dv, o))
        return false;
    switch (s->dim) {
    case 16: run<16>(a, g, o); break;
    case 32: run<32>(a, g, o); break;
    case 48: run<48>(a, g, o); break;
    case 64: run<64>(a, g, o); break;
    case 80: run<80>(a, g, o); break;
    case 96: run<96>(a, g, o); break;
    case 112: run<112>(a, g, o); break;
    case 128: run<128>(a, g, o); break;
    default: return false;
    }
    return true;
}
