/*
 * linear_int8_wgmma.cu - INT8 products on warpgroup products, scales and bias applied where the sums are:
 * compute capability 9.0
 *
 * Blocks stay on their multiprocessors and take tiles of y [128 rows, N columns] in turn.  One warp has the
 * copy engine fill a ring of stages, 128 columns of x's and of W's codes each; two warpgroups take tiles by
 * turns, so that one multiplies while the other writes its part of y.  Large tiles are taken by pairs of
 * blocks, one below the other: each copies half of W's stage into both, since the L2 cache could not deliver
 * it twice at the tensor cores' pace.
 */
#include "kernels/cuda/bulk.cuh"
#include "kernels/cuda/linear.cuh"

enum {
    GROUPS = 2,
    WARPS = GROUPS * WARPGROUP / WARP, /* that multiply */
    THREADS = (WARPS + 1) * WARP,      /* and one that copies */
    HALVES = 2,                        /* of a tile's rows: 64, as products have them */
    ROWS = HALVES * 64,
    STEP = CODE_COLUMNS,
    RING_BYTES = 192 << 10,
    LINE = 128,      /* bytes of a row of y that are written at a time */
    BAND = 16 * ROWS /* rows of y that are finished before the next, so that their x stays in the L2 cache */
};

/* y [rows, out] = scaled sums over `steps` stages + bias; unit: bytes that rows of y can be written by. */
template <typename To> struct task {
    To *y;
    const float *row_scale, *column_scale;
    const bf16 *bias; /* or NULL */
    size_t out;
    int rows, steps, unit;
    unsigned down, across; /* tiles */
};

/* A block's shared memory. */
template <int N> struct store {
    enum { STAGES = RING_BYTES / ((ROWS + N) * STEP), STAGE_BYTES = (ROWS + N) * STEP };
    int8_t x[STAGES][ROWS * STEP], w[STAGES][N * STEP];
    char line[WARPS][16 * LINE]; /* each warp's rows of y, on their way out */
    struct {
        float scale[N], bias[N];
    } column[GROUPS];
    uint64_t full[STAGES], empty[STAGES];
    uint64_t go[GROUPS]; /* the other group has issued its products */
};

#ifdef HAS_WGMMA

/* Where a loop over stages is: `steps` after the block's first. */
template <int STAGES> struct turn {
    unsigned stage, parity;

    __device__ turn(unsigned steps)
    {
        stage = steps % STAGES;
        parity = steps / STAGES % 2;
    }

    __device__ void next()
    {
        if (++stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
};

/* The first row and column of tile t: down a band, then across, then the next band. */
template <int N, int PAIR, typename To>
static __device__ void tile_at(const task<To> &task, unsigned t, int *row, int *column)
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

template <int N, int PAIR, typename To>
static __device__ void copy_tiles(struct store<N> *s, const task<To> &task, const CUtensorMap *x,
                                  const CUtensorMap *w)
{
    const int part = N / PAIR, rank = PAIR > 1 ? (int)cluster_rank() : 0;
    turn<store<N>::STAGES> at(0);
    int row, column;

    for (unsigned t = first_tile<PAIR>(); t < task.down * task.across; t += tile_step<PAIR>()) {
        tile_at<N, PAIR>(task, t, &row, &column);
        for (int k = 0; k < task.steps; k++, at.next()) {
            uint64_t *full = &s->full[at.stage];

            barrier_wait(&s->empty[at.stage], at.parity ^ 1); /* at first, of a phase that never was */
            barrier_expect(full, store<N>::STAGE_BYTES);
            copy_tile(s->x[at.stage], x, k * STEP, row, full);
            if (PAIR > 1)
                copy_tile_to_all(s->w[at.stage] + rank * part * STEP, w, k * STEP, column + rank * part, full,
                                 (1 << PAIR) - 1);
            else
                copy_tile(s->w[at.stage], w, k * STEP, column, full);
        }
    }
}

/* This warp no longer reads a stage; all blocks that write it are told. */
template <int PAIR> static __device__ void release(uint64_t *empty)
{
    if (threadIdx.x % WARP < PAIR)
        barrier_arrive(empty, threadIdx.x % WARP);
}

/*
 * sum: one tile, from stage `at` on.  `next` is told when all products are under way: the groups do not wait
 * for stages at once, since of a stage that is two phases ahead only the parity is known.
 */
template <int N, int PAIR>
static __device__ __forceinline__ void sum_tile(int32_t (*sum)[N / 8][4], struct store<N> *s,
                                                turn<store<N>::STAGES> at, int steps, uint64_t *next)
{
    uint64_t *last = NULL;

    for (int k = 0; k < steps; k++, at.next()) {
        barrier_wait(&s->full[at.stage], at.parity);
        products_begin();
#pragma unroll
        for (int i = 0; i < STEP / 32; i++)
#pragma unroll
            for (int half = 0; half < HALVES; half++)
                code_products<N>::of_tiles(sum[half], codes_by_rows(s->x[at.stage], half * 64, i),
                                           codes_by_rows(s->w[at.stage], 0, i), k > 0 || i > 0);
        products_commit();
        products_wait<1>();
        if (last)
            release<PAIR>(last);
        last = &s->empty[at.stage];
    }
    if (threadIdx.x % WARP == 0)
        barrier_arrive(next, cluster_rank());
    products_wait<0>();
#pragma unroll
    for (int half = 0; half < HALVES; half++)
        products_settle<N / 8>(sum[half]);
    release<PAIR>(last);
}

static __device__ void group_sync(int group)
{
    asm volatile("bar.sync %0, %1;" ::"r"(1 + group), "r"((int)WARPGROUP) : "memory");
}

/* Byte of a warp's line buffer: 16-byte units swizzled over the banks. */
static __device__ int line_at(int row, int byte)
{
    return row * LINE + (byte ^ row % 8 * 16);
}

/* 16 rows of a line, by pieces of BYTES, as far as y has them; y: the first. */
template <int BYTES, typename To>
static __device__ void put_lines(To *y, const char *line, size_t out, int rows, size_t columns)
{
    const int V = BYTES / (int)sizeof(To), PIECES = LINE / BYTES;

#pragma unroll 4
    for (int i = threadIdx.x % WARP; i < 16 * PIECES; i += WARP) {
        int r = i / PIECES, c = i % PIECES * V;

        if (r < rows && (size_t)c < columns)
            *(pack<To, V> *)(y + r * out + c) =
                *(const pack<To, V> *)(line + line_at(r, c * (int)sizeof(To)));
    }
}

/* y = sum * (scale of the row * scale of the column) + bias, rounded as written: the CPU's bits. */
static __device__ float scaled(int32_t sum, float row, float column, float bias)
{
    return __fadd_rn(__fmul_rn((float)sum, __fmul_rn(row, column)), bias);
}

static __device__ void put_two(char *to, float low, float high, bf16)
{
    *(unsigned *)to = pack_bf16(low, high);
}

static __device__ void put_two(char *to, float low, float high, float)
{
    *(float2 *)to = make_float2(low, high);
}

/* A warp's 16 rows of sums, from `row` on, to y. */
template <int N, typename To>
static __device__ __forceinline__ void put_sums(const task<To> &task, struct store<N> *s,
                                                const int32_t (*sum)[4], const float row_scale[2], int row,
                                                int column)
{
    enum { COLUMNS = LINE / sizeof(To) };
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, group = warp / 4;
    char *line = s->line[warp];

#pragma unroll
    for (int c = 0; c < N; c += COLUMNS) {
        To *y = task.y + (size_t)row * task.out + column + c;
        size_t left = task.out > (size_t)(column + c) ? task.out - column - c : 0;

#pragma unroll
        for (int i = 0; i < COLUMNS / 8; i++) {
            int at = 8 * i + lane % 4 * 2;
            float2 scale = *(const float2 *)&s->column[group].scale[c + at];
            float2 bias = *(const float2 *)&s->column[group].bias[c + at];

#pragma unroll
            for (int h = 0; h < 2; h++)
                put_two(line + line_at(lane / 4 + 8 * h, at * (int)sizeof(To)),
                        scaled(sum[c / 8 + i][2 * h], row_scale[h], scale.x, bias.x),
                        scaled(sum[c / 8 + i][2 * h + 1], row_scale[h], scale.y, bias.y), To());
        }
        __syncwarp();
        if (task.unit == 16)
            put_lines<16>(y, line, task.out, task.rows - row, left);
        else if (task.unit == 8)
            put_lines<8>(y, line, task.out, task.rows - row, left);
        else
            put_lines<sizeof(To)>(y, line, task.out, task.rows - row, left);
        __syncwarp();
    }
}

/* The tiles of this thread's warpgroup, every second one of the block's. */
template <int N, int PAIR, typename To>
static __device__ __forceinline__ void multiply_tiles(struct store<N> *s, const task<To> &task)
{
    int warp = __shfl_sync(~0u, threadIdx.x / WARP, 0), group = warp / 4, i = threadIdx.x % WARPGROUP;
    unsigned n = group;

    for (unsigned t = first_tile<PAIR>() + n * tile_step<PAIR>(); t < task.down * task.across;
         t += GROUPS * tile_step<PAIR>(), n += GROUPS) {
        int32_t sum[HALVES][N / 8][4];
        float row_scale[HALVES][2], scale, bias;
        int row, column;
        bool is;

        tile_at<N, PAIR>(task, t, &row, &column);
        row += warp % 4 * 16;
#pragma unroll
        for (int j = 0; j < 2 * HALVES; j++) {
            int r = row + (int)threadIdx.x % WARP / 4 + j / 2 * 64 + j % 2 * 8;

            row_scale[j / 2][j % 2] = r < task.rows ? task.row_scale[r] : 0;
        }
        is = i < N && (size_t)(column + i) < task.out;
        scale = is ? task.column_scale[column + i] : 0;
        bias = is && task.bias ? to_f32(task.bias[column + i]) : -0.0f; /* +0 would change a -0 */
        barrier_wait(&s->go[group], n / GROUPS % 2 ^ (group == 0));     /* the first tile waits for nobody */
        sum_tile<N, PAIR>(sum, s, turn<store<N>::STAGES>(n * task.steps), task.steps, &s->go[group ^ 1]);
        group_sync(group); /* all of the group are done with the last tile's columns */
        if (i < N) {
            s->column[group].scale[i] = scale;
            s->column[group].bias[i] = bias;
        }
        group_sync(group);
#pragma unroll
        for (int half = 0; half < HALVES; half++)
            put_sums<N>(task, s, sum[half], row_scale[half], row + half * 64, column);
    }
}

#endif

template <int N, int PAIR, typename To>
static __global__ void __launch_bounds__(THREADS, 1)
    multiply(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap w,
             const __grid_constant__ task<To> task)
{
#ifdef HAS_WGMMA
    extern __shared__ __align__(1024) char memory[];
    struct store<N> *s = (struct store<N> *)memory;

    if (threadIdx.x == 0) {
        for (int i = 0; i < store<N>::STAGES; i++) {
            barrier_init(&s->full[i], 1);
            barrier_init(&s->empty[i], PAIR * WARPS / GROUPS);
        }
        for (int i = 0; i < GROUPS; i++)
            barrier_init(&s->go[i], WARPS / GROUPS);
        barrier_publish();
    }
    cluster_sync();
    next_may_begin();
    last_has_ended();
    if (threadIdx.x < WARPS * WARP)
        multiply_tiles<N, PAIR>(s, task);
    else {
        if (threadIdx.x == WARPS * WARP)
            copy_tiles<N, PAIR>(s, task, &x, &w);
        __syncwarp();
    }
    cluster_sync(); /* the other block is done with this one's barriers */
#endif
}

/* ---- on the host ---- */

typedef decltype(&cuTensorMapEncodeTiled) map_encoder;

void *cuda_map_encoder(void)
{
    cudaDriverEntryPointQueryResult found;
    void *f = NULL;
#if CUDART_VERSION >= 12050
    cudaError_t status =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &f, 12000, cudaEnableDefault, &found);
#else
    cudaError_t status = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &f, cudaEnableDefault, &found);
#endif

    if (status == cudaSuccess && found == cudaDriverEntryPointSuccess)
        return f;
    cudaGetLastError(); /* then others multiply */
    return NULL;
}

/* Codes [rows, columns] by tiles [tile_rows, STEP], as products want them in shared memory. */
static bool map_codes(const struct cuda *c, CUtensorMap *map, const void *codes, size_t rows, size_t columns,
                      unsigned tile_rows)
{
    cuuint64_t size[2] = {columns, rows}, stride[1] = {columns};
    cuuint32_t box[2] = {STEP, tile_rows}, step[2] = {1, 1};

    return ((map_encoder)c->map_encoder)(map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, (void *)codes, size, stride,
                                         box, step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                         CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                         CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

/* What a product is made of; y of To. */
struct operands {
    const int8_t *code;
    const float *row_scale;
    size_t rows;
    const struct weight *w;
};

template <int N, int PAIR, typename To> static bool run(struct cuda *c, To *y, const struct operands *o)
{
    const struct weight *w = o->w;
    size_t k = int8_padded(w->in), shared = sizeof(struct store<N>);
    cudaLaunchConfig_t launch = {};
    cudaLaunchAttribute how[2] = {};
    CUtensorMap x_map, w_map;
    task<To> task = {};

    if (!map_codes(c, &x_map, o->code, o->rows, k, ROWS) ||
        !map_codes(c, &w_map, cuda_matrix_of(w)->data, w->out, k, N / PAIR))
        return false;
    task.y = y;
    task.row_scale = o->row_scale;
    task.column_scale = w->row_scale;
    task.bias = (const bf16 *)w->bias;
    task.out = w->out;
    task.rows = (int)o->rows;
    task.steps = (int)((k + STEP - 1) / STEP);
    task.unit = 16;
    while (task.unit > (int)sizeof(To) && (w->out * sizeof(To) % task.unit || !cuda_aligned(y, task.unit)))
        task.unit /= 2;
    task.down = (unsigned)((o->rows + PAIR * ROWS - 1) / (PAIR * ROWS));
    task.across = (unsigned)((w->out + N - 1) / N);
    how[0].id = cudaLaunchAttributeClusterDimension;
    how[0].val.clusterDim.x = PAIR;
    how[0].val.clusterDim.y = how[0].val.clusterDim.z = 1;
    how[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    how[1].val.programmaticStreamSerializationAllowed = 1;
    launch.gridDim = dim3(PAIR * min(task.down * task.across, (unsigned)c->sms / PAIR));
    launch.blockDim = dim3(THREADS);
    launch.dynamicSmemBytes = shared;
    launch.stream = c->stream;
    launch.attrs = how;
    launch.numAttrs = 2;
    if (cuda_ok(&c->be,
                cudaFuncSetAttribute(multiply<N, PAIR, To>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     (int)shared),
                "linear"))
        cuda_ok(&c->be, cudaLaunchKernelEx(&launch, multiply<N, PAIR, To>, x_map, w_map, task), "linear");
    return true;
}

/* Rounds of tiles of a width, in columns; small tiles take longer than their share, since they read more. */
static double time_of(const struct cuda *c, const struct operands *o, size_t width, size_t blocks,
                      double share)
{
    size_t tile_rows = blocks * ROWS, at_once = (size_t)c->sms / blocks;
    size_t tiles = ((o->rows + tile_rows - 1) / tile_rows) * ((o->w->out + width - 1) / width);

    return (double)((tiles + at_once - 1) / at_once) * (double)width * share;
}

template <typename To> static bool run_best(struct cuda *c, To *y, const struct operands *o)
{
    if (time_of(c, o, 128, 2, 1) <= time_of(c, o, 64, 1, 1.4))
        return run<128, 2>(c, y, o);
    return run<64, 1>(c, y, o);
}

bool cuda_linear_int8_wgmma(struct cuda *c, void *y, bool f32, const int8_t *code, const float *row_scale,
                            size_t rows, const struct weight *w)
{
    struct operands o = {code, row_scale, rows, w};

    if (!c->wgmma || !c->map_encoder || !c->bf16_act || rows > INT32_MAX / 2 || w->out > INT32_MAX / 2)
        return false;
    return f32 ? run_best(c, (float *)y, &o) : run_best(c, (bf16 *)y, &o);
}
