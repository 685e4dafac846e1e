/*
 * attention_plain.cu - attention in fp32 arithmetic, for any head size up to 128 and any alignment
 *
 * Tiles of 32 packed rows by 32 keys in shared memory; eight neighbouring lanes own a row, so that a row's
 * softmax stays within a warp.
 */
#include "kernels/cuda/attention.cuh"

enum {
    TILE = 32,
    LANES = 8,
    THREADS = TILE * LANES,
    PER_ROW = TILE / LANES,
    PER_DIM = ATTENTION_MAX_DIM / LANES
};

/* Tiles [TILE][dim + 1]: one element more, so that columns do not share a bank. */
static __device__ float *tile_at(float *room, const struct shape &s, int i)
{
    return room + (size_t)i * TILE * (s.dim + 1);
}

static size_t shared_bytes(const struct shape &s, int tiles, int squares)
{
    return ((size_t)tiles * TILE * (s.dim + 1) + (size_t)squares * TILE * (TILE + 1)) * sizeof(float);
}

/* Packed rows r0.. of a buffer of query rows; those beyond the last are 0. */
template <typename T>
static __device__ void load_rows(float *to, const T *from, const struct shape &s, const struct pair &p,
                                 int r0, size_t stride)
{
    for (int i = threadIdx.x; i < TILE * s.dim; i += THREADS) {
        int r = i / s.dim, d = i % s.dim;

        to[r * (s.dim + 1) + d] = r0 + r < p.rows ? to_f32(from[row_at(s, p, r0 + r, stride) + d]) : 0;
    }
}

/* Keys or values k0.. of the pair. */
template <typename T>
static __device__ void load_keys(float *to, const T *from, const struct shape &s, const struct pair &p,
                                 int k0, size_t stride)
{
    for (int i = threadIdx.x; i < TILE * s.dim; i += THREADS) {
        int r = i / s.dim, d = i % s.dim;

        to[r * (s.dim + 1) + d] =
            k0 + r < p.nk ? to_f32(from[(p.k0 + k0 + r) * stride + (size_t)p.kv_head * s.dim + d]) : 0;
    }
}

static __device__ float dot(const float *a, const float *b, int n)
{
    float sum = 0;

    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Over the lanes of a row. */
template <typename Op> static __device__ float row_reduce(float x, Op op)
{
    for (int step = LANES / 2; step > 0; step /= 2)
        x = op(x, __shfl_xor_sync(~0u, x, step));
    return x;
}

struct larger_number { /* a NaN is dropped: its row's sum keeps it */
    __device__ float operator()(float a, float b) const
    {
        return fmaxf(a, b);
    }
};

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    forward(struct shape s, unsigned tiles, T *o, float *lse, const T *q, const T *k, const T *v)
{
    extern __shared__ float room[];
    float *tq = tile_at(room, s, 0), *tk = tile_at(room, s, 1), *tv = tile_at(room, s, 2),
          *tp = tile_at(room, s, 3);
    struct pair p = pair_at(s, blockIdx.x / tiles);
    int r0 = (int)(blockIdx.x % tiles) * TILE, r = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    int sees = visible(s, p, r0 + r), end;
    float max = -INFINITY, sum = 0, acc[PER_DIM] = {};

    if (r0 >= p.rows)
        return;
    end = visible(s, p, min(r0 + TILE, p.rows) - 1);
    load_rows(tq, q, s, p, r0, s.q_stride);
    for (int k0 = 0; k0 < end; k0 += TILE) {
        float score[PER_ROW], top = -INFINITY, shrink, part = 0;

        __syncthreads();
        load_keys(tk, k, s, p, k0, s.k_stride);
        load_keys(tv, v, s, p, k0, s.v_stride);
        __syncthreads();
#pragma unroll
        for (int j = 0; j < PER_ROW; j++) {
            int key = lane + j * LANES;

            score[j] = s.scale * dot(tq + r * (s.dim + 1), tk + key * (s.dim + 1), s.dim);
            top = k0 + key < sees ? fmaxf(top, score[j]) : top;
        }
        top = fmaxf(max, row_reduce(top, larger_number()));
        shrink = max == -INFINITY ? 0 : expf(max - top);
#pragma unroll
        for (int j = 0; j < PER_ROW; j++) {
            int key = lane + j * LANES;
            float e = k0 + key < sees ? expf(score[j] - top) : 0;

            tp[r * (TILE + 1) + key] = e;
            part += e;
        }
        sum = sum * shrink + row_reduce(part, add_values());
        max = top;
        __syncwarp();
        for (int i = 0; i < PER_DIM && lane + i * LANES < s.dim; i++) {
            float a = 0;

            for (int j = 0; j < TILE; j++)
                a += tp[r * (TILE + 1) + j] * tv[j * (s.dim + 1) + lane + i * LANES];
            acc[i] = acc[i] * shrink + a;
        }
        __syncwarp();
    }
    if (r0 + r >= p.rows)
        return;
    for (int i = 0; i < PER_DIM && lane + i * LANES < s.dim; i++)
        o[row_at(s, p, r0 + r, s.o_stride) + lane + i * LANES] = from_f32<T>(sees ? acc[i] / sum : 0);
    if (lse && lane == 0)
        lse[lse_at(s, p, r0 + r)] = sees ? max + logf(sum) : -INFINITY;
}

/* Probability and dS of a packed row and a key from their tiles' rows; 0 when the row does not see the key.
 */
static __device__ void backward_score(float *prob, float *ds, const struct shape &s, bool sees,
                                      const float *q, const float *k, const float *d_o, const float *v,
                                      float lse, float delta)
{
    *prob = sees ? expf(s.scale * dot(q, k, s.dim) - lse) : 0;
    *ds = sees ? *prob * (dot(d_o, v, s.dim) - delta) : 0;
}

/* A block sums dK and dV of 32 keys over all rows that see them. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    keys_backward(struct shape s, unsigned tiles, gradients<T> g)
{
    extern __shared__ float room[];
    float *tk = tile_at(room, s, 0), *tv = tile_at(room, s, 1), *tq = tile_at(room, s, 2),
          *td = tile_at(room, s, 3);
    float *tp = tile_at(room, s, 4), *ts = tp + TILE * (TILE + 1);
    struct pair p = pair_at(s, blockIdx.x / tiles);
    int k0 = (int)(blockIdx.x % tiles) * TILE, r = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    float dk[PER_DIM] = {}, dv[PER_DIM] = {};
    size_t to_k = (p.k0 + k0 + r) * s.k_stride + (size_t)p.kv_head * s.dim,
           to_v = (p.k0 + k0 + r) * s.v_stride + (size_t)p.kv_head * s.dim;

    if (k0 >= p.nk)
        return;
    load_keys(tk, g.k, s, p, k0, s.k_stride);
    load_keys(tv, g.v, s, p, k0, s.v_stride);
    for (int r0 = first_row_seeing(s, p, k0, TILE); r0 < p.rows; r0 += TILE) {
        __syncthreads();
        load_rows(tq, g.q, s, p, r0, s.q_stride);
        load_rows(td, g.d_o, s, p, r0, s.o_stride);
        __syncthreads();
        for (int j = lane; j < TILE; j += LANES) {
            bool sees = k0 + r < visible(s, p, r0 + j);
            size_t at = sees ? lse_at(s, p, r0 + j) : 0;

            backward_score(&tp[r * (TILE + 1) + j], &ts[r * (TILE + 1) + j], s, sees, tq + j * (s.dim + 1),
                           tk + r * (s.dim + 1), td + j * (s.dim + 1), tv + r * (s.dim + 1),
                           sees ? g.lse[at] : 0, sees ? g.delta[at] : 0);
        }
        __syncwarp();
        for (int i = 0; i < PER_DIM && lane + i * LANES < s.dim; i++)
            for (int j = 0; j < TILE; j++) {
                dv[i] += tp[r * (TILE + 1) + j] * td[j * (s.dim + 1) + lane + i * LANES];
                dk[i] += ts[r * (TILE + 1) + j] * tq[j * (s.dim + 1) + lane + i * LANES];
            }
        __syncwarp();
    }
    if (k0 + r >= p.nk)
        return;
    for (int i = 0; i < PER_DIM && lane + i * LANES < s.dim; i++) {
        g.dk[to_k + lane + i * LANES] = from_f32<T>(s.scale * dk[i]);
        g.dv[to_v + lane + i * LANES] = from_f32<T>(dv[i]);
    }
}

/* A block sums dQ of 32 packed rows over the keys that they see. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    rows_backward(struct shape s, unsigned tiles, gradients<T> g)
{
    extern __shared__ float room[];
    float *tk = tile_at(room, s, 0), *tv = tile_at(room, s, 1), *tq = tile_at(room, s, 2),
          *td = tile_at(room, s, 3);
    float *ts = tile_at(room, s, 4), prob;
    struct pair p = pair_at(s, blockIdx.x / tiles);
    int r0 = (int)(blockIdx.x % tiles) * TILE, r = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    int sees = visible(s, p, r0 + r), end;
    float dq[PER_DIM] = {}, lse, delta;

    if (r0 >= p.rows)
        return;
    end = visible(s, p, min(r0 + TILE, p.rows) - 1);
    lse = sees ? g.lse[lse_at(s, p, r0 + r)] : 0;
    delta = sees ? g.delta[lse_at(s, p, r0 + r)] : 0;
    load_rows(tq, g.q, s, p, r0, s.q_stride);
    load_rows(td, g.d_o, s, p, r0, s.o_stride);
    for (int k0 = 0; k0 < end; k0 += TILE) {
        __syncthreads();
        load_keys(tk, g.k, s, p, k0, s.k_stride);
        load_keys(tv, g.v, s, p, k0, s.v_stride);
        __syncthreads();
        for (int j = lane; j < TILE; j += LANES)
            backward_score(&prob, &ts[r * (TILE + 1) + j], s, k0 + j < sees, tq + r * (s.dim + 1),
                           tk + j * (s.dim + 1), td + r * (s.dim + 1), tv + j * (s.dim + 1), lse, delta);
        __syncwarp();
        for (int i = 0; i < PER_DIM && lane + i * LANES < s.dim; i++)
            for (int j = 0; j < TILE; j++)
                dq[i] += ts[r * (TILE + 1) + j] * tk[j * (s.dim + 1) + lane + i * LANES];
        __syncwarp();
    }
    if (r0 + r >= p.rows)
        return;
    for (int i = 0; i < PER_DIM && lane + i * LANES < s.dim; i++)
        g.dq[row_at(s, p, r0 + r, s.q_stride) + lane + i * LANES] = from_f32<T>(s.scale * dq[i]);
}

static unsigned tiles_of(size_t n)
{
    return (unsigned)((n + TILE - 1) / TILE);
}

template <typename T>
void attention_plain(const struct attention_call *a, T *o, float *lse, const T *q, const T *k, const T *v)
{
    unsigned tiles = tiles_of(a->max_rows);

    attention_launch(a->c, forward<T>, a->pairs * tiles, THREADS, shared_bytes(a->shape, 3, 1), a->shape,
                     tiles, o, lse, q, k, v);
}

template <typename T> void attention_plain_dx(const struct attention_call *a, const gradients<T> &g)
{
    unsigned rows = tiles_of(a->max_rows), keys = tiles_of(a->max_keys);

    if (keys)
        attention_launch(a->c, keys_backward<T>, a->pairs * keys, THREADS, shared_bytes(a->shape, 4, 2),
                         a->shape, keys, g);
    if (rows)
        attention_launch(a->c, rows_backward<T>, a->pairs * rows, THREADS, shared_bytes(a->shape, 4, 1),
                         a->shape, rows, g);
}

template void attention_plain(const struct attention_call *, float *, float *, const float *, const float *,
                              const float *);
template void attention_plain(const struct attention_call *, bf16 *, float *, const bf16 *, const bf16 *,
                              const bf16 *);
template void attention_plain_dx(const struct attention_call *, const gradients<float> &);
template void attention_plain_dx(const struct attention_call *, const gradients<bf16> &);
