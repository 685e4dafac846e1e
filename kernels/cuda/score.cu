/* score.cu - how much a rounding difference matters under a gradient */
#include "kernels/cuda/score.cuh"

enum { THREADS = 256, TOTAL_THREADS = 1024, PIECE_THREADS = 128 };

/* sum[block] = what its threads have. */
static __device__ void put_sums(double2 *sum, double squares, double kl)
{
    squares = block_reduce(squares, add_values(), 0.0);
    kl = block_reduce(kl, add_values(), 0.0);
    if (threadIdx.x == 0)
        sum[blockIdx.x] = make_double2(squares, kl);
}

/* out += n blocks' sums in their order. */
static __device__ void add_sums(double *out, const double2 *sum, unsigned n)
{
    double squares = 0, kl = 0;

#pragma unroll 8
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x) {
        double2 s = __ldcg(&sum[i]); /* where other multiprocessors' writes are */

        squares += s.x;
        kl += s.y;
    }
    squares = block_reduce(squares, add_values(), 0.0);
    kl = block_reduce(kl, add_values(), 0.0);
    if (threadIdx.x == 0) {
        out[0] += squares;
        out[1] += kl;
    }
}

/* Of thousands of blocks: each would wait for memory before it said that it is done. */
static __global__ void __launch_bounds__(TOTAL_THREADS) total(double *out, const double2 *sum, unsigned n)
{
    add_sums(out, sum, n);
}

/* A row is a warp's, or the block's when WHOLE. */
template <typename T, int N, bool WHOLE>
static __global__ void __launch_bounds__(THREADS)
    score_rows(double2 *sum, const T *g, const T *y, const T *yq, const float *row_weight, size_t rows,
               size_t dim)
{
    const unsigned team = WHOLE ? THREADS : WARP, teams = THREADS / team, me = threadIdx.x % team;
    double squares = 0, kl = 0;

    for (size_t r = blockIdx.x * teams + threadIdx.x / team; r < rows; r += gridDim.x * teams) {
        size_t base = r * dim;
        double row = 0;

#pragma unroll 4
        for (size_t i = base + me * N; i < base + dim; i += team * N)
            score_elements(*(const pack<T, N> *)(g + i), *(const pack<T, N> *)(y + i),
                           *(const pack<T, N> *)(yq + i), &squares, &row);
        row = WHOLE ? block_reduce(row, add_values(), 0.0) : warp_reduce(row, add_values());
        row *= row_weight[r];
        kl += me == 0 ? 0.5 * row * row : 0;
    }
    put_sums(sum, squares, kl);
}

template <typename T, int N>
static void run_rows(struct cuda *c, double2 *sum, unsigned blocks, bool whole, const void *g, const void *y,
                     const void *yq, const float *row_weight, size_t rows, size_t dim)
{
    if (whole)
        score_rows<T, N, true><<<blocks, THREADS, 0, c->stream>>>(sum, (const T *)g, (const T *)y,
                                                                  (const T *)yq, row_weight, rows, dim);
    else
        score_rows<T, N, false><<<blocks, THREADS, 0, c->stream>>>(sum, (const T *)g, (const T *)y,
                                                                   (const T *)yq, row_weight, rows, dim);
    cuda_launched(&c->be, "score");
}

/* With few rows a warp each would leave much of the chip idle, throughout or in the last round. */
template <typename T>
static void run(struct cuda *c, double *out, const void *g, const void *y, const void *yq,
                const float *row_weight, size_t rows, size_t dim)
{
    const int N = wide<T>::N;
    bool whole = rows < 64 * (size_t)c->sms;
    size_t needed = whole ? rows : (rows + THREADS / WARP - 1) / (THREADS / WARP);
    size_t most = 32 * (size_t)c->sms;
    unsigned blocks = (unsigned)(needed < most ? needed : most);
    double2 *sum = (double2 *)cuda_scratch(c, SCRATCH_SUMS, blocks * sizeof *sum);

    if (!sum)
        return;
    if (dim % N == 0 && cuda_aligned(g, 16) && cuda_aligned(y, 16) && cuda_aligned(yq, 16))
        run_rows<T, N>(c, sum, blocks, whole, g, y, yq, row_weight, rows, dim);
    else
        run_rows<T, 1>(c, sum, blocks, whole, g, y, yq, row_weight, rows, dim);
    total<<<1, TOTAL_THREADS, 0, c->stream>>>(out, sum, blocks);
    cuda_launched(&c->be, "score");
}

void cuda_score(struct backend *be, double *out, const void *g, const void *y, const void *yq,
                const float *row_weight, size_t rows, size_t dim)
{
    struct cuda *c = cuda_of(be);

    if (!cuda_idle(be, rows))
        CUDA_ACT(c, run, c, out, g, y, yq, row_weight, rows, dim);
}

/* ---- from pieces ---- */

static unsigned piece_blocks(size_t rows)
{
    return (unsigned)((rows + WARP - 1) / WARP);
}

/* out += all blocks' sums, by the block that is done last. */
static __device__ void add_up(double *out, double2 *sum, unsigned *done, double squares, double kl)
{
    __shared__ bool last;

    put_sums(sum, squares, kl);
    if (threadIdx.x == 0) {
        __threadfence();
        last = atomicInc(done, gridDim.x - 1) == gridDim.x - 1; /* and *done is 0 again */
        __threadfence();
    }
    __syncthreads();
    if (last)
        add_sums(out, sum, gridDim.x);
}

/* A block has 32 rows, a row of a lane; its warps share the pieces. */
static __global__ void __launch_bounds__(PIECE_THREADS)
    add_pieces(double *out, unsigned *done, struct score_pieces p, const float *row_weight, size_t rows)
{
    __shared__ double part[PIECE_THREADS / WARP][WARP];
    unsigned lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    size_t r = (size_t)blockIdx.x * WARP + lane;
    double row = 0, squares = 0, kl = 0;

#pragma unroll 4
    for (size_t i = warp; i < p.pieces && r < rows; i += PIECE_THREADS / WARP)
        row += p.rows[i * rows + r];
    part[warp][lane] = row;
    __syncthreads();
    if (warp == 0 && r < rows) {
        row = 0;
        for (int i = 0; i < PIECE_THREADS / WARP; i++)
            row += part[i][lane];
        row *= row_weight[r];
        kl = 0.5 * row * row;
    }
    for (size_t i = (size_t)blockIdx.x * PIECE_THREADS + threadIdx.x; i < p.n; i += gridDim.x * PIECE_THREADS)
        squares += p.squares[i];
    add_up(out, p.blocks, done, squares, kl);
}

bool cuda_score_room(struct cuda *c, struct score_pieces *p, size_t rows)
{
    size_t blocks = piece_blocks(rows);

    p->blocks = (double2 *)cuda_scratch(
        c, SCRATCH_SUMS, blocks * sizeof *p->blocks + (p->pieces * rows + p->n) * sizeof *p->rows);
    p->rows = (double *)(p->blocks + blocks);
    p->squares = p->rows + p->pieces * rows;
    return p->blocks != NULL;
}

void cuda_score_pieces(struct cuda *c, double *out, const struct score_pieces *p, const float *row_weight,
                       size_t rows)
{
    if (cuda_idle(&c->be, rows))
        return;
    add_pieces<<<piece_blocks(rows), PIECE_THREADS, 0, c->stream>>>(out, c->blocks_done, *p, row_weight,
                                                                    rows);
    cuda_launched(&c->be, "score");
}
