/*
 * attention_wgmma.cu - attention on warpgroup products: compute capability 9.0, heads of 64, 80 and 128
 *
 * Two warpgroups a block.  Forward: 128 packed rows, 64 a warpgroup, against tiles of 128 keys; the scores of
 * the next tile are on their way while this one's values are summed.  Backward in two kernels, so that each
 * gradient has one owner and nothing is added with atomics: one sums dK and dV of 128 keys over tiles of 64
 * packed rows, one dQ of 128 packed rows over tiles of 64 keys; that makes the scores twice, seven products
 * for five.  Copies of the next tiles are under way while these are worked on.
 */
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/softmax.cuh"
#include "kernels/cuda/wgmma.cuh"

enum { THREADS = 2 * WARPGROUP, OWN = 128, KEYS = 128, STEP_DX = 64 };

/* Where a block's tile lies.  Under a causal mask tiles are taken longest first, over all pairs. */
struct place {
    unsigned tiles, pairs;
    unsigned row_step; /* queries from one to the next of the rows that a thread copies; 0: they vary */
    bool causal;
};

/*
 * This thread's share of copying a tile: one unit of 8 columns of every PER-th row.  Eight neighbours write
 * 128 bytes of shared memory that share no bank: a panel's row of 64 columns, or four of 16.
 */
template <int DIM> struct share {
    enum { UNITS = DIM / 8, BLOCK = DIM % 64 == 0 ? 1 : 4, PER = THREADS / (UNITS * BLOCK) * BLOCK };
    int row, unit;

    __device__ __forceinline__ share()
    {
        int i = threadIdx.x, j = i % (UNITS * BLOCK);

        row = i / (UNITS * BLOCK) * BLOCK + (BLOCK == 1 ? 0 : j / 2 % 4);
        unit = BLOCK == 1 ? j : j / 8 * 2 + j % 2;
    }
};

#ifdef HAS_WGMMA

static __device__ void place_of(const struct place &w, unsigned *pair, int *at)
{
    unsigned b = blockIdx.x;

    *pair = w.causal ? b % w.pairs : b / w.tiles;
    *at = (int)(w.causal ? b / w.pairs : b % w.tiles);
}

/* ROWS rows of which `left` exist, zeros for the rest.  from: this thread's first; its others are `step`
 * apart. */
template <int DIM, int ROWS>
static __device__ __forceinline__ void fetch(bf16 *to, const bf16 *from, size_t step, int left)
{
    typedef share<DIM> S;
    S s;
    bf16 *at = to + tile<ROWS, DIM>::at(s.row, s.unit);

    static_assert(S::PER % 8 == 0, "a thread's rows are swizzled alike");
#pragma unroll
    for (int n = 0; n < (ROWS + S::PER - 1) / S::PER; n++) {
        int row = s.row + n * S::PER;

        if (((n + 1) * S::PER <= ROWS && S::PER * S::UNITS == THREADS) || (s.row < S::PER && row < ROWS))
            copy_async(at + n * S::PER * tile<ROWS, DIM>::WIDTH, from + n * step, row < left);
    }
}

/* ROWS keys or values from k0 on. */
template <int DIM, int ROWS>
static __device__ __forceinline__ void fetch_keys(bf16 *to, const bf16 *from, const struct pair &p, int k0,
                                                  size_t stride)
{
    share<DIM> s;

    fetch<DIM, ROWS>(to, from + (p.k0 + k0 + s.row) * stride + (size_t)p.kv_head * DIM + 8 * s.unit,
                     share<DIM>::PER * stride, p.nk - k0);
}

/* ROWS packed rows from r0 on.  step: queries between a thread's rows where they have one head, or 0. */
template <int DIM, int ROWS>
static __device__ __forceinline__ void fetch_rows(bf16 *to, const bf16 *from, const struct shape &s,
                                                  const struct pair &p, int r0, size_t stride, unsigned step)
{
    typedef share<DIM> S;
    S u;

    if (step) {
        fetch<DIM, ROWS>(to, from + row_at(s, p, r0 + u.row, stride) + 8 * u.unit, step * stride,
                         p.rows - r0);
        return;
    }
#pragma unroll 1
    for (int r = u.row; r < ROWS && u.row < S::PER; r += S::PER)
        copy_async(to + tile<ROWS, DIM>::at(r, u.unit), from + row_at(s, p, r0 + r, stride) + 8 * u.unit,
                   r0 + r < p.rows);
}

/* What was copied is there for every product, and what other warps' products read may be written again. */
static __device__ void arrive()
{
    copy_wait<0>();
    products_see_stores();
    __syncthreads();
}

/* sum [64, N] = rows r0.. of tile a times the transpose of tile b [N]. */
template <int DIM, int ROWS, int N>
static __device__ void scores(float (*sum)[4], const bf16 *a, int r0, const bf16 *b)
{
#pragma unroll
    for (int d = 0; d < DIM / 16; d++)
        products<N>::of_tiles(sum, by_rows<tile<ROWS, DIM>>(a, r0, d), by_rows<tile<N, DIM>>(b, 0, d), d > 0);
}

/* sum [64, DIM] += weights [64, COUNT] times tile [COUNT, DIM]. */
template <int DIM, int COUNT>
static __device__ void weighted_sum(float (*sum)[4], const unsigned (*weights)[4], const bf16 *b)
{
#pragma unroll
    for (int k = 0; k < COUNT / 16; k++)
        products<DIM>::add(sum, weights[k], by_columns<tile<COUNT, DIM>>(b, k));
}

template <int COUNT> static __device__ void round_weights(unsigned (*to)[4], const float (*weights)[4])
{
#pragma unroll
    for (int k = 0; k < COUNT / 16; k++)
        left_of_sums(to[k], weights, k);
}

/*
 * This warp's 16 rows of accumulators, each times its factor, rounded, by way of its rows of a tile [ROWS,
 * DIM] that is not needed any more; to(r): where row r of the tile goes, or NULL.
 */
template <int DIM, int ROWS, typename To>
static __device__ void put_rows(bf16 *room, const float (*sum)[4], float low, float high, To to)
{
    int r0 = (int)threadIdx.x / WARP * 16, lane = threadIdx.x % WARP;

#pragma unroll
    for (int i = 0; i < DIM / 8; i++) {
        int at = tile<ROWS, DIM>::at(r0 + lane / 4, i) + lane % 4 * 2;
        int below = tile<ROWS, DIM>::at(r0 + lane / 4 + 8, i) + lane % 4 * 2;

        *(unsigned *)(room + at) = pack_bf16(sum[i][0] * low, sum[i][1] * low);
        *(unsigned *)(room + below) = pack_bf16(sum[i][2] * high, sum[i][3] * high);
    }
    __syncwarp();
#pragma unroll
    for (int i = lane; i < 2 * DIM; i += WARP) {
        int r = r0 + i / (DIM / 8), unit = i % (DIM / 8);
        bf16 *row = to(r);

        if (row)
            *(uint4 *)(row + 8 * unit) = *(const uint4 *)(room + tile<ROWS, DIM>::at(r, unit));
    }
}

#endif

template <int DIM>
static __global__ void __launch_bounds__(THREADS, 1)
    forward(struct shape s, struct place w, bf16 *o, float *lse, const bf16 *q, const bf16 *k, const bf16 *v)
{
#ifdef HAS_WGMMA
    enum { TILE = tile<KEYS, DIM>::SIZE, OWN_TILE = tile<OWN, DIM>::SIZE };
    extern __shared__ __align__(1024) bf16 room[]; /* rows, then two tiles of keys, then two of values */
    bf16 *rows = room, *keys = rows + OWN_TILE, *values = keys + 2 * TILE;
    unsigned at;
    int place, warp = __shfl_sync(~0u, threadIdx.x / WARP, 0), group = warp / 4 * 64;
    place_of(w, &at, &place);
    struct pair p = pair_at(s, at);
    int r0 = ((int)w.tiles - 1 - place) * OWN, first = r0 + warp * 16 + (int)threadIdx.x % WARP / 4, end,
        whole;
    float score[KEYS / 8][4], sum[DIM / 8][4] = {}, scale = s.scale * LOG2_E;
    unsigned weights[KEYS / 16][4];
    struct running row[2];

    if (r0 >= p.rows)
        return;
    for (int h = 0; h < 2; h++)
        row[h] = running{-INFINITY, 0, visible(s, p, first + 8 * h)};
    end = visible(s, p, min(r0 + OWN, p.rows) - 1);
    whole = r0 + warp * 16 < p.rows ? visible(s, p, r0 + warp * 16) : end; /* keys that all of its rows see */
    if (end > 0) {
        fetch_rows<DIM, OWN>(rows, q, s, p, r0, s.q_stride, w.row_step);
        fetch_keys<DIM, KEYS>(keys, k, p, 0, s.k_stride);
        copy_commit();
        arrive();
        fetch_keys<DIM, KEYS>(values, v, p, 0, s.v_stride);
        if (KEYS < end)
            fetch_keys<DIM, KEYS>(keys + TILE, k, p, KEYS, s.k_stride);
        copy_commit();
        products_begin();
        scores<DIM, OWN, KEYS>(score, rows, group, keys);
        products_commit();
        products_wait<0>();
        products_settle<KEYS / 8>(score);
        for (int h = 0; h < 2; h++)
            soften<KEYS>(score, h, &row[h], 0, scale, KEYS <= whole);
        round_weights<KEYS>(weights, score);
    }
    for (int k0 = 0, here = 0; k0 < end; k0 += KEYS, here ^= 1) {
        int next = k0 + KEYS;
        float shrink[2];

        arrive(); /* these values and the next keys */
        if (next < end)
            fetch_keys<DIM, KEYS>(values + (here ^ 1) * TILE, v, p, next, s.v_stride);
        if (next + KEYS < end)
            fetch_keys<DIM, KEYS>(keys + here * TILE, k, p, next + KEYS, s.k_stride);
        copy_commit();
        if (next >= end) {
            products_begin();
            weighted_sum<DIM, KEYS>(sum, weights, values + here * TILE);
            products_commit();
            products_wait<0>();
            products_settle<DIM / 8>(sum);
            break;
        }
        products_begin();
        scores<DIM, OWN, KEYS>(score, rows, group, keys + (here ^ 1) * TILE);
        products_commit();
        weighted_sum<DIM, KEYS>(sum, weights, values + here * TILE);
        products_commit();
        products_wait<1>();
        products_settle<KEYS / 8>(score);
#pragma unroll
        for (int h = 0; h < 2; h++)
            shrink[h] = soften<KEYS>(score, h, &row[h], next, scale, next + KEYS <= whole);
        products_wait<0>();
        products_settle<DIM / 8>(sum);
#pragma unroll
        for (int i = 0; i < DIM / 8; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                sum[i][j] *= shrink[j / 2];
        round_weights<KEYS>(weights, score);
    }
    float total[2];
    for (int h = 0; h < 2; h++) {
        int r = first + 8 * h;

        total[h] = quad_reduce(row[h].sum, add_values());
        if (lse && r < p.rows && threadIdx.x % 4 == 0)
            lse[lse_at(s, p, r)] = row[h].sees ? row[h].max * s.scale + logf(total[h]) : -INFINITY;
    }
    put_rows<DIM, OWN>(rows, sum, row[0].sees ? 1 / total[0] : 0, row[1].sees ? 1 / total[1] : 0,
                       [&](int r) { return r0 + r < p.rows ? o + row_at(s, p, r0 + r, s.o_stride) : NULL; });
#endif
}

/* log-sum and delta of a step's packed rows; 0 beyond the last. */
struct row_facts {
    float lse[STEP_DX], delta[STEP_DX];
};

#ifdef HAS_WGMMA

static __device__ void fetch_facts(struct row_facts *f, const struct shape &s, const struct pair &p,
                                   const gradients<bf16> &g, int r0)
{
    int i = threadIdx.x % STEP_DX, which = threadIdx.x / STEP_DX;
    bool valid = r0 + i < p.rows;
    const float *from = which ? g.delta : g.lse;

    if (which < 2)
        copy_word(which ? &f->delta[i] : &f->lse[i], valid ? from + lse_at(s, p, r0 + i) : from, valid);
}

#endif

/* Two warpgroups sum dK and dV of 64 keys each: rows of the score tiles are keys, columns packed rows. */
template <int DIM>
static __global__ void __launch_bounds__(THREADS, 1)
    keys_backward(struct shape s, struct place w, struct parts parts, gradients<bf16> g)
{
#ifdef HAS_WGMMA
    enum { TILE = tile<STEP_DX, DIM>::SIZE, OWN_TILE = tile<OWN, DIM>::SIZE };
    extern __shared__ __align__(1024)
        bf16 room[]; /* this block's keys and values; rows and their dO, twice; facts */
    bf16 *keys = room, *values = room + OWN_TILE, *steps = room + 2 * OWN_TILE;
    struct row_facts *facts = (struct row_facts *)(steps + 4 * TILE); /* 2 */
    unsigned index;
    int place, warp = __shfl_sync(~0u, threadIdx.x / WARP, 0), group = warp / 4 * 64;
    place_of(w, &index, &place);
    struct pair p = pair_at(s, index);
    int k0 = place * OWN, begin = first_row_seeing(s, p, k0, STEP_DX), part = p.kv_head % parts.n;
    int key = k0 + warp * 16 + (int)threadIdx.x % WARP / 4;
    float dk[DIM / 8][4] = {}, dv[DIM / 8][4] = {}, scale = s.scale * LOG2_E;

    p.kv_head /= parts.n; /* p.head stays the part's first */
    if (k0 >= p.nk)
        return;
    fetch_keys<DIM, OWN>(keys, g.k, p, k0, s.k_stride);
    fetch_keys<DIM, OWN>(values, g.v, p, k0, s.v_stride);
    if (begin < p.rows) {
        fetch_rows<DIM, STEP_DX>(steps, g.q, s, p, begin, s.q_stride, w.row_step);
        fetch_rows<DIM, STEP_DX>(steps + TILE, g.d_o, s, p, begin, s.o_stride, w.row_step);
        fetch_facts(&facts[0], s, p, g, begin);
    }
    copy_commit();
    for (int r0 = begin, at = 0; r0 < p.rows; r0 += STEP_DX, at ^= 1) {
        const bf16 *rows = steps + at * 2 * TILE, *d_o = rows + TILE;
        bf16 *next = steps + (at ^ 1) * 2 * TILE;
        bool whole = visible(s, p, r0) >= k0 + group + 64;
        float prob[STEP_DX / 8][4], ds[STEP_DX / 8][4];
        unsigned weights[STEP_DX / 16][4], slopes[STEP_DX / 16][4];

        arrive();
        if (r0 + STEP_DX < p.rows) {
            fetch_rows<DIM, STEP_DX>(next, g.q, s, p, r0 + STEP_DX, s.q_stride, w.row_step);
            fetch_rows<DIM, STEP_DX>(next + TILE, g.d_o, s, p, r0 + STEP_DX, s.o_stride, w.row_step);
            fetch_facts(&facts[at ^ 1], s, p, g, r0 + STEP_DX);
        }
        copy_commit();
        products_begin();
        scores<DIM, OWN, STEP_DX>(prob, keys, group, rows);
        products_commit();
        scores<DIM, OWN, STEP_DX>(ds, values, group, d_o);
        products_commit();
        float2 fact[STEP_DX / 8];
#pragma unroll
        for (int i = 0; i < STEP_DX / 8; i++)
            fact[i] = *(const float2 *)&facts[at].lse[8 * i + (int)threadIdx.x % 4 * 2];
        products_wait<1>();
        products_settle<STEP_DX / 8>(prob);
#pragma unroll
        for (int i = 0; i < STEP_DX / 8; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                prob[i][j] = power_of_two(prob[i][j] * scale - (j % 2 ? fact[i].y : fact[i].x) * LOG2_E);
        if (!whole)
#pragma unroll
            for (int i = 0; i < STEP_DX / 8; i++)
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    int sees = visible(s, p, r0 + 8 * i + (int)threadIdx.x % 4 * 2 + j);

                    prob[i][j] = key < sees ? prob[i][j] : 0;
                    prob[i][2 + j] = key + 8 < sees ? prob[i][2 + j] : 0;
                }
        round_weights<STEP_DX>(weights, prob);
        products_begin();
        weighted_sum<DIM, STEP_DX>(dv, weights, d_o);
        products_commit();
#pragma unroll
        for (int i = 0; i < STEP_DX / 8; i++)
            fact[i] = *(const float2 *)&facts[at].delta[8 * i + (int)threadIdx.x % 4 * 2];
        products_wait<1>();
        products_settle<STEP_DX / 8>(ds);
#pragma unroll
        for (int i = 0; i < STEP_DX / 8; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                ds[i][j] = prob[i][j] * (ds[i][j] - (j % 2 ? fact[i].y : fact[i].x));
        round_weights<STEP_DX>(slopes, ds);
        products_begin();
        weighted_sum<DIM, STEP_DX>(dk, slopes, rows);
        products_commit();
        products_wait<0>();
        products_settle<DIM / 8>(dv);
        products_settle<DIM / 8>(dk);
    }
    size_t head = (size_t)p.kv_head * DIM;
    if (parts.sums) {
        size_t dim = (size_t)s.kv_heads / parts.n * DIM;

#pragma unroll
        for (int h = 0; h < 2; h++)
            if (key + 8 * h < p.nk) {
                put_part<DIM>(parts.sums + part_at(s, part, 0, p.k0 + key + 8 * h, dim) + head, dk, h);
                put_part<DIM>(parts.sums + part_at(s, part, 1, p.k0 + key + 8 * h, dim) + head, dv, h);
            }
    } else {
        copy_wait<0>(); /* with no rows the tiles are still on their way */
        __syncthreads();
        put_rows<DIM, OWN>(keys, dk, s.scale, s.scale, [&](int r) {
            return k0 + r < p.nk ? g.dk + (p.k0 + k0 + r) * s.k_stride + head : NULL;
        });
        put_rows<DIM, OWN>(values, dv, 1, 1, [&](int r) {
            return k0 + r < p.nk ? g.dv + (p.k0 + k0 + r) * s.v_stride + head : NULL;
        });
    }
#endif
}

/* Two warpgroups sum dQ of 64 packed rows each. */
template <int DIM>
static __global__ void __launch_bounds__(THREADS, 1)
    rows_backward(struct shape s, struct place w, gradients<bf16> g)
{
#ifdef HAS_WGMMA
    enum { TILE = tile<STEP_DX, DIM>::SIZE, OWN_TILE = tile<OWN, DIM>::SIZE };
    extern __shared__ __align__(1024)
        bf16 room[]; /* this block's rows and their dO; keys and values, twice */
    bf16 *rows = room, *d_o = room + OWN_TILE, *steps = room + 2 * OWN_TILE;
    unsigned index;
    int place, warp = __shfl_sync(~0u, threadIdx.x / WARP, 0), group = warp / 4 * 64;
    place_of(w, &index, &place);
    struct pair p = pair_at(s, index);
    int r0 = ((int)w.tiles - 1 - place) * OWN, first = r0 + warp * 16 + (int)threadIdx.x % WARP / 4, end,
        whole;
    int sees[2];
    float dq[DIM / 8][4] = {}, lse[2], delta[2], scale = s.scale * LOG2_E;

    if (r0 >= p.rows)
        return;
    for (int h = 0; h < 2; h++) {
        sees[h] = visible(s, p, first + 8 * h);
        lse[h] = sees[h] ? g.lse[lse_at(s, p, first + 8 * h)] * LOG2_E : 0;
        delta[h] = sees[h] ? g.delta[lse_at(s, p, first + 8 * h)] : 0;
    }
    end = visible(s, p, min(r0 + OWN, p.rows) - 1);
    whole = r0 + warp * 16 < p.rows ? visible(s, p, r0 + warp * 16) : end;
    if (end > 0) {
        fetch_rows<DIM, OWN>(rows, g.q, s, p, r0, s.q_stride, w.row_step);
        fetch_rows<DIM, OWN>(d_o, g.d_o, s, p, r0, s.o_stride, w.row_step);
        fetch_keys<DIM, STEP_DX>(steps, g.k, p, 0, s.k_stride);
        fetch_keys<DIM, STEP_DX>(steps + TILE, g.v, p, 0, s.v_stride);
        copy_commit();
    }
    for (int k0 = 0, at = 0; k0 < end; k0 += STEP_DX, at ^= 1) {
        const bf16 *keys = steps + at * 2 * TILE, *values = keys + TILE;
        bf16 *next = steps + (at ^ 1) * 2 * TILE;
        float prob[STEP_DX / 8][4], ds[STEP_DX / 8][4];
        unsigned slopes[STEP_DX / 16][4];

        arrive();
        if (k0 + STEP_DX < end) {
            fetch_keys<DIM, STEP_DX>(next, g.k, p, k0 + STEP_DX, s.k_stride);
            fetch_keys<DIM, STEP_DX>(next + TILE, g.v, p, k0 + STEP_DX, s.v_stride);
        }
        copy_commit();
        products_begin();
        scores<DIM, OWN, STEP_DX>(prob, rows, group, keys);
        products_commit();
        scores<DIM, OWN, STEP_DX>(ds, d_o, group, values);
        products_commit();
        products_wait<1>();
        products_settle<STEP_DX / 8>(prob);
#pragma unroll
        for (int i = 0; i < STEP_DX / 8; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                prob[i][j] = power_of_two(prob[i][j] * scale - lse[j / 2]);
        if (k0 + STEP_DX > whole)
#pragma unroll
            for (int i = 0; i < STEP_DX / 8; i++)
#pragma unroll
                for (int j = 0; j < 4; j++)
                    if (k0 + 8 * i + (int)threadIdx.x % 4 * 2 + j % 2 >= sees[j / 2])
                        prob[i][j] = 0;
        products_wait<0>();
        products_settle<STEP_DX / 8>(ds);
#pragma unroll
        for (int i = 0; i < STEP_DX / 8; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                ds[i][j] = prob[i][j] * (ds[i][j] - delta[j / 2]);
        round_weights<STEP_DX>(slopes, ds);
        products_begin();
        weighted_sum<DIM, STEP_DX>(dq, slopes, keys);
        products_commit();
        products_wait<0>();
        products_settle<DIM / 8>(dq);
    }
    __syncthreads(); /* rows are read by both warpgroups' products no more */
    put_rows<DIM, OWN>(rows, dq, s.scale, s.scale, [&](int r) {
        return r0 + r < p.rows ? g.dq + row_at(s, p, r0 + r, s.q_stride) : NULL;
    });
#endif
}

static unsigned tiles_of(size_t n)
{
    return (unsigned)((n + OWN - 1) / OWN);
}

template <int DIM> static struct place place_for(const struct shape &s, unsigned tiles, size_t pairs)
{
    int per = share<DIM>::PER;

    return place{tiles, (unsigned)pairs, per % s.group ? 0u : (unsigned)(per / s.group), s.causal};
}

template <int DIM>
static void run(const struct attention_call *a, bf16 *o, float *lse, const bf16 *q, const bf16 *k,
                const bf16 *v)
{
    size_t shared = (tile<OWN, DIM>::SIZE + 4 * tile<KEYS, DIM>::SIZE) * sizeof(bf16);
    unsigned tiles = tiles_of(a->max_rows);

    attention_launch(a->c, forward<DIM>, a->pairs * tiles, THREADS, shared, a->shape,
                     place_for<DIM>(a->shape, tiles, a->pairs), o, lse, q, k, v);
}

template <int DIM> static void run_dx(const struct attention_call *a, const gradients<bf16> &g)
{
    size_t shared = (2 * tile<OWN, DIM>::SIZE + 4 * tile<STEP_DX, DIM>::SIZE) * sizeof(bf16);
    unsigned rows = tiles_of(a->max_rows), keys = tiles_of(a->max_keys);
    struct shape s = a->shape;
    struct parts parts;

    if (keys && attention_parts(a, a->pairs * keys, 3 * (size_t)a->c->sms / 2, &s, &parts)) {
        attention_launch(a->c, keys_backward<DIM>, a->pairs * parts.n * keys, THREADS,
                         shared + 2 * sizeof(struct row_facts), s,
                         place_for<DIM>(s, keys, a->pairs * parts.n), parts, g);
        attention_add_parts(a, s, parts, g);
    }
    if (rows && a->c->be.err.rc == RC_OK)
        attention_launch(a->c, rows_backward<DIM>, a->pairs * rows, THREADS, shared, a->shape,
                         place_for<DIM>(a->shape, rows, a->pairs), g);
}

/* Whether this file's kernels were compiled, as the device of now finds them in this program. */
static __device__ const int compiled =
#ifdef HAS_WGMMA
    1;
#else
    0;
#endif

bool attention_wgmma_here(void)
{
    int yes = 0, major = 0, device = 0;

    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
        major != 9)
        return false;
    if (cudaMemcpyFromSymbol(&yes, compiled, sizeof yes) != cudaSuccess)
        cudaGetLastError(); /* then the other kernels tell */
    return yes;
}

/* Segments that fill less than half a tile are better off with the smaller tiles of the other kernels. */
static bool suits(const struct attention_call *a)
{
    int dim = a->shape.dim;

    return a->c->wgmma && (dim == 64 || dim == 80 || dim == 128) && a->max_keys > OWN / 2;
}

bool attention_wgmma(const struct attention_call *a, bf16 *o, float *lse, const bf16 *q, const bf16 *k,
                     const bf16 *v)
{
    if (!suits(a) || !attention_units(a, q, k, v, o))
        return false;
    switch (a->shape.dim) {
    case 64: run<64>(a, o, lse, q, k, v); break;
    case 80: run<80>(a, o, lse, q, k, v); break;
    default: run<128>(a, o, lse, q, k, v);
    }
    return true;
}

bool attention_wgmma_dx(const struct attention_call *a, const gradients<bf16> &g)
{
    if (!suits(a) || !attention_units(a, g.q, g.k, g.v, g.d_o) || !attention_units(a, g.dq, g.dk, g.dv, NULL))
        return false;
    switch (a->shape.dim) {
    case 64: run_dx<64>(a, g); break;
    case 80: run_dx<80>(a, g); break;
    default: run_dx<128>(a, g);
    }
    return true;
}
