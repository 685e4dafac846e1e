/*
 * code_tiles.cuh - products of 8-bit codes on warpgroup products, tile by tile, finished where the sums are:
 * compute capability 9.0
 *
 * Blocks stay on their multiprocessors and take tiles of y [128 rows, N columns] in turn.  One thread has the
 * copy engine fill a ring of stages, 128 columns of x's and of W's codes each; two warpgroups multiply, 64 of
 * the tile's rows each.  Large tiles are taken by pairs of blocks, one below the other: each copies half of
 * W's stage into both, since the L2 cache could not deliver it twice at the tensor cores' pace.
 *
 * What becomes of sums is a SINK's business.  It is a part of the kernel's parameters, and has
 *
 *   room       what of a block's shared memory is its own
 *   after<N>() stages of its own that follow a tile's
 *   finisher   what each thread of a warpgroup has of it:
 *     static copy<N>(stage, full, task, row, column, i)   has the i-th of them copied, by one thread
 *     take<N, PAIR>(task, store, at, sum, row_scale, row, column)   finishes the group's rows, which begin
 *                there; the tile's stages from `at` on
 *     end(task)  after the last tile
 */
#ifndef KERNELS_CUDA_CODE_TILES_CUH
#define KERNELS_CUDA_CODE_TILES_CUH

#include <type_traits>

#include "kernels/cuda/bulk.cuh"
#include "kernels/cuda/linear.cuh"

enum {
    GROUPS = 2,
    WARPS = GROUPS * WARPGROUP / WARP,  /* that multiply */
    THREADS = WARPS * WARP + WARPGROUP, /* and a group of which one thread copies */
    COPY_REGISTERS = 40,                /* which leaves the others more than their share */
    MULTIPLY_REGISTERS = 232,
    GROUP_ROWS = 64, /* as products have them */
    ROWS = GROUPS * GROUP_ROWS,
    PART = 128, /* columns of a product */
    STEP = CODE_COLUMNS,
    RING_BYTES = 192 << 10,
    BAND = 16 * ROWS /* rows of y that are finished before the next, so that their x stays in the L2 cache */
};

/* SINK gets scaled sums over `steps` stages + bias. */
template <typename SINK> struct task {
    SINK sink;
    const float *row_scale, *column_scale; /* of INT8 */
    float scale;                           /* of E4M3 */
    const bf16 *bias;                      /* or NULL */
    size_t out;
    int rows, steps;
    unsigned down, across; /* tiles */
};

/* A block's shared memory. */
template <int N, typename SINK> struct store {
    enum { STAGES = RING_BYTES / ((ROWS + N) * STEP) };
    struct stage {
        int8_t x[ROWS * STEP], w[N * STEP];
    } stage[STAGES];
    typename SINK::room room;
    struct {
        alignas(float2) float scale[N], bias[N];
    } column[GROUPS];
    uint64_t full[STAGES], empty[STAGES];
};

#ifdef HAS_WGMMA

/* Where a loop over stages is. */
template <int STAGES> struct turn {
    unsigned stage = 0, parity = 0;

    __device__ void next()
    {
        if (++stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
};

/* The first row and column of tile t: down a band, then across, then the next band. */
template <int N, int PAIR, typename SINK>
static __device__ void tile_at(const task<SINK> &task, unsigned t, int *row, int *column)
{
    const unsigned band = BAND / (PAIR * ROWS);
    unsigned first = t / (band * task.across) * band, height = min(band, task.down - first),
             i = t - first * task.across;

    *row = (int)((first + i % height) * PAIR + (PAIR > 1 ? cluster_rank() : 0)) * ROWS;
    *column = (int)(i / height) * N;
}

template <int PAIR> static __device__ unsigned first_tile()
{
    return blockIdx.x / PAIR;
}

template <int PAIR> static __device__ unsigned tile_step()
{
    return gridDim.x / PAIR;
}

template <int N, int PAIR, typename SINK>
static __device__ void copy_tiles(struct store<N, SINK> *s, const task<SINK> &task, const CUtensorMap *x,
                                  const CUtensorMap *w)
{
    const int part = N / PAIR, rank = PAIR > 1 ? (int)cluster_rank() : 0;
    turn<store<N, SINK>::STAGES> at;
    int row, column;

    for (unsigned t = first_tile<PAIR>(); t < task.down * task.across; t += tile_step<PAIR>()) {
        tile_at<N, PAIR>(task, t, &row, &column);
        for (int k = 0; k < task.steps; k++, at.next()) {
            typename store<N, SINK>::stage *to = &s->stage[at.stage];
            uint64_t *full = &s->full[at.stage];

            barrier_wait(&s->empty[at.stage], at.parity ^ 1); /* at first, of a phase that never was */
            barrier_expect(full, sizeof *to);
            copy_tile(to->x, x, k * STEP, row, full);
            if (PAIR > 1)
                copy_tile_to_all(to->w + rank * part * STEP, w, k * STEP, column + rank * part, full,
                                 (1 << PAIR) - 1);
            else
                copy_tile(to->w, w, k * STEP, column, full);
        }
        for (int i = 0; i < SINK::template after<N>(); i++, at.next()) {
            barrier_wait(&s->empty[at.stage], at.parity ^ 1);
            SINK::finisher::template copy<N>(&s->stage[at.stage], &s->full[at.stage], task, row, column, i);
        }
    }
}

/* This warp no longer reads a stage; all blocks that write it are told. */
template <int PAIR> static __device__ void release(uint64_t *empty)
{
    if (threadIdx.x % WARP < PAIR)
        barrier_arrive(empty, threadIdx.x % WARP);
}

/* sum: the group's rows of one tile, first .. first + 63 of each stage, from stage `at` on. */
template <int N, int PAIR, typename SINK>
static __device__ __forceinline__ void sum_tile(int32_t (*sum)[4], struct store<N, SINK> *s,
                                                turn<store<N, SINK>::STAGES> *at, int steps, int first)
{
    uint64_t *last = NULL;

    for (int k = 0; k < steps; k++, at->next()) {
        const typename store<N, SINK>::stage *from = &s->stage[at->stage];

        barrier_wait(&s->full[at->stage], at->parity);
        products_begin();
#pragma unroll
        for (int i = 0; i < STEP / 32; i++)
#pragma unroll
            for (int c = 0; c < N; c += PART)
                code_products<int32_t, PART>::of_tiles(sum + c / 8, codes_by_rows(from->x, first, i),
                                                       codes_by_rows(from->w, c, i), k > 0 || i > 0);
        products_commit();
        products_wait<1>();
        if (last)
            release<PAIR>(last);
        last = &s->empty[at->stage];
    }
    products_wait<0>();
    products_settle<N / 8>(sum);
    release<PAIR>(last);
}

/*
 * The same in fp32.  Tensor cores add E4M3 products with 14 bits or so: each stage is summed on its own, in
 * parts, and added with all bits, while the other group's products keep the tensor cores busy.
 */
template <int N, int PAIR, typename SINK>
static __device__ __forceinline__ void sum_tile(float (*sum)[4], struct store<N, SINK> *s,
                                                turn<store<N, SINK>::STAGES> *at, int steps, int first)
{
    float part[PART / 8][4];

#pragma unroll
    for (int i = 0; i < N / 8; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            sum[i][j] = 0;
    for (int k = 0; k < steps; k++, at->next()) {
        const typename store<N, SINK>::stage *from = &s->stage[at->stage];

        barrier_wait(&s->full[at->stage], at->parity);
#pragma unroll
        for (int c = 0; c < N; c += PART) {
            products_begin();
#pragma unroll
            for (int i = 0; i < STEP / 32; i++)
                code_products<float, PART>::of_tiles(part, codes_by_rows(from->x, first, i),
                                                     codes_by_rows(from->w, c, i), i > 0);
            products_commit();
            products_wait<0>();
            products_settle<PART / 8>(part);
            if (c + PART == N)
                release<PAIR>(&s->empty[at->stage]);
#pragma unroll
            for (int i = 0; i < PART / 8; i++)
#pragma unroll
                for (int j = 0; j < 4; j++)
                    sum[c / 8 + i][j] += part[i][j];
        }
    }
}

static __device__ void group_sync(int group)
{
    asm volatile("bar.sync %0, %1;" ::"r"(1 + group), "r"((int)WARPGROUP) : "memory");
}

/*
 * y = sum * scale + bias, the scale of INT8 that of the row times that of the column, rounded as written: the
 * CPU's bits.
 */
static __device__ float scaled(int32_t sum, float row, float column, float bias)
{
    return __fadd_rn(__fmul_rn((float)sum, __fmul_rn(row, column)), bias);
}

static __device__ float scaled(float sum, float, float column, float bias)
{
    return __fadd_rn(__fmul_rn(sum, column), bias);
}

/* Two neighbours of row h, 0 or 8 below the lane's first, at column c (a multiple of 8) + lane % 4 * 2. */
template <int N, typename S, typename SINK>
static __device__ __forceinline__ float2 scaled_two(const struct store<N, SINK> *s, const S (*sum)[4],
                                                    const float row_scale[2], int c, int h)
{
    const auto &column = s->column[threadIdx.x / WARPGROUP];
    int at = c + threadIdx.x % 4 * 2;
    float2 scale = *(const float2 *)&column.scale[at], bias = *(const float2 *)&column.bias[at];

    return make_float2(scaled(sum[c / 8][2 * h], row_scale[h], scale.x, bias.x),
                       scaled(sum[c / 8][2 * h + 1], row_scale[h], scale.y, bias.y));
}

template <int N, int PAIR, typename S, typename SINK>
static __device__ __forceinline__ void multiply_tiles(struct store<N, SINK> *s, const task<SINK> &task)
{
    const bool INT8 = std::is_same<S, int32_t>::value;
    const int COLUMNS = N / WARPGROUP; /* a thread's, whose scales it fetches */
    int warp = __shfl_sync(~0u, threadIdx.x / WARP, 0), group = warp / 4, i = threadIdx.x % WARPGROUP;
    turn<store<N, SINK>::STAGES> at;
    typename SINK::finisher finisher;

    for (unsigned t = first_tile<PAIR>(); t < task.down * task.across; t += tile_step<PAIR>()) {
        S sum[N / 8][4];
        float row_scale[2], scale[COLUMNS], bias[COLUMNS];
        int row, column;

        tile_at<N, PAIR>(task, t, &row, &column);
        row += group * GROUP_ROWS;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int r = row + warp % 4 * 16 + (int)threadIdx.x % WARP / 4 + 8 * h;

            row_scale[h] = !INT8 ? 1 : r < task.rows ? task.row_scale[r] : 0;
        }
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
            size_t c = column + i + j * WARPGROUP;
            bool is = c < task.out;

            scale[j] = !INT8 ? task.scale : is ? task.column_scale[c] : 0;
            bias[j] = is && task.bias ? to_f32(task.bias[c]) : -0.0f; /* +0 would change a -0 */
        }
        sum_tile<N, PAIR>(sum, s, &at, task.steps, group * GROUP_ROWS);
        group_sync(group); /* all of the group are done with the last tile's columns */
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
            s->column[group].scale[i + j * WARPGROUP] = scale[j];
            s->column[group].bias[i + j * WARPGROUP] = bias[j];
        }
        group_sync(group);
        finisher.template take<N, PAIR>(task, s, &at, sum, row_scale, row, column);
    }
    finisher.end(task);
}

#endif

template <int N, int PAIR, typename S, typename SINK>
static __global__ void __launch_bounds__(THREADS, 1)
    multiply(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap w,
             const __grid_constant__ task<SINK> task)
{
#ifdef HAS_WGMMA
    extern __shared__ __align__(1024) char memory[];
    struct store<N, SINK> *s = (struct store<N, SINK> *)memory;

    if (threadIdx.x == 0) {
        for (int i = 0; i < store<N, SINK>::STAGES; i++) {
            barrier_init(&s->full[i], 1);
            barrier_init(&s->empty[i], PAIR * WARPS);
        }
        barrier_publish();
    }
    cluster_sync();
    next_may_begin();
    last_has_ended();
    if (threadIdx.x < WARPS * WARP) {
        take_registers<MULTIPLY_REGISTERS>();
        multiply_tiles<N, PAIR, S>(s, task);
    } else {
        leave_registers<COPY_REGISTERS>();
        if (threadIdx.x == WARPS * WARP)
            copy_tiles<N, PAIR>(s, task, &x, &w);
        __syncwarp();
    }
    cluster_sync(); /* the other block is done with this one's barriers */
#endif
}

/* ---- on the host ---- */

typedef decltype(&cuTensorMapEncodeTiled) map_encoder;

/* A matrix by tiles whose rows are 128 bytes, as products want them in shared memory. */
static bool map_tiles(const struct cuda *c, CUtensorMap *map, CUtensorMapDataType type, size_t element,
                      const void *data, size_t rows, size_t columns, unsigned tile_rows)
{
    cuuint64_t size[2] = {columns, rows}, stride[1] = {columns * element};
    cuuint32_t box[2] = {(cuuint32_t)(128 / element), tile_rows}, step[2] = {1, 1};

    return ((map_encoder)c->map_encoder)(map, type, 2, (void *)data, size, stride, box, step,
                                         CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                         CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                         CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

static bool map_codes(const struct cuda *c, CUtensorMap *map, const void *codes, size_t rows, size_t columns,
                      unsigned tile_rows)
{
    return map_tiles(c, map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 1, codes, rows, columns, tile_rows);
}

/* A product's tiles, N columns wide, in clusters of PAIR. */
template <int N, int PAIR> struct tiles {
    static unsigned down(const struct codes &x)
    {
        return (unsigned)((x.rows + PAIR * ROWS - 1) / (PAIR * ROWS));
    }

    static unsigned across(const struct weight *w)
    {
        return (unsigned)((w->out + N - 1) / N);
    }

    static unsigned blocks(const struct cuda *c, const struct codes &x, const struct weight *w)
    {
        return PAIR * min(down(x) * across(w), (unsigned)c->sms / PAIR);
    }
};

template <int N, int PAIR, typename S, typename SINK>
static bool run(struct cuda *c, const SINK &sink, const struct codes &x, const struct weight *w)
{
    typedef tiles<N, PAIR> tiles;
    size_t k = code_padded(w->in), shared = sizeof(struct store<N, SINK>);
    cudaLaunchConfig_t launch = {};
    cudaLaunchAttribute how[2] = {};
    CUtensorMap x_map, w_map;
    task<SINK> task = {};

    if (!map_codes(c, &x_map, x.code, x.rows, k, ROWS) ||
        !map_codes(c, &w_map, cuda_matrix_of(w)->data, w->out, k, N / PAIR))
        return false;
    task.sink = sink;
    task.row_scale = x.scale;
    task.column_scale = w->row_scale;
    task.scale = w->scale * w->input_scale;
    task.bias = (const bf16 *)w->bias;
    task.out = w->out;
    task.rows = (int)x.rows;
    task.steps = (int)((k + STEP - 1) / STEP);
    task.down = tiles::down(x);
    task.across = tiles::across(w);
    how[0].id = cudaLaunchAttributeClusterDimension;
    how[0].val.clusterDim.x = PAIR;
    how[0].val.clusterDim.y = how[0].val.clusterDim.z = 1;
    how[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    how[1].val.programmaticStreamSerializationAllowed = 1;
    launch.gridDim = dim3(tiles::blocks(c, x, w));
    launch.blockDim = dim3(THREADS);
    launch.dynamicSmemBytes = shared;
    launch.stream = c->stream;
    launch.attrs = how;
    launch.numAttrs = 2;
    if (cuda_ok(&c->be,
                cudaFuncSetAttribute(multiply<N, PAIR, S, SINK>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     (int)shared),
                "linear"))
        cuda_ok(&c->be, cudaLaunchKernelEx(&launch, multiply<N, PAIR, S, SINK>, x_map, w_map, task),
                "linear");
    return true;
}

/* Rounds of tiles of a width, in columns; small tiles take longer than their share, since they read more. */
static double time_of(const struct cuda *c, const struct codes &x, const struct weight *w, size_t width,
                      size_t blocks, double share)
{
    size_t tile_rows = blocks * ROWS, at_once = (size_t)c->sms / blocks;
    size_t tiles = ((x.rows + tile_rows - 1) / tile_rows) * ((w->out + width - 1) / width);

    return (double)((tiles + at_once - 1) / at_once) * (double)width * share;
}

/* Tiles 256 columns wide by pairs; or 128, alone. */
static bool large_tiles(const struct cuda *c, const struct codes &x, const struct weight *w)
{
    return time_of(c, x, w, 256, 2, 1) <= time_of(c, x, w, 128, 1, 1.4);
}

static bool is_here(const struct cuda *c, size_t rows, size_t out)
{
    return c->wgmma && c->map_encoder && c->bf16_act && rows <= INT32_MAX / 2 && out <= INT32_MAX / 2;
}

#endif
