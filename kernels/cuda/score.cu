/* score.cu - how much a rounding difference matters under a gradient */
#include "kernels/cuda/cuda.cuh"

enum { THREADS = 256, TOTAL_THREADS = 1024 };

static const float LIMIT = 1e10f; /* of a product: ModelOpt's */

/*
 * sum[block] = {clamped products' squares, halves of rows' weighted sums squared}, over the block's rows;
 * products are fp32, sums fp64.  A row is a warp's, or the block's when WHOLE.
 */
template <typename T, int N, bool WHOLE>
static __global__ void __launch_bounds__(THREADS) blocks_of(double2 *sum, const T *g, const T *y, const T *yq,
                                                            const float *row_weight, size_t rows, size_t dim)
{
    const unsigned team = WHOLE ? THREADS : WARP, teams = THREADS / team, me = threadIdx.x % team;
    double squares = 0, kl = 0;

    for (size_t r = blockIdx.x * teams + threadIdx.x / team; r < rows; r += gridDim.x * teams) {
        size_t base = r * dim;
        double plain = 0;

#pragma unroll 4
        for (size_t i = me * N; i < dim; i += team * N) {
            pack<T, N> a = *(const pack<T, N> *)(g + base + i), b = *(const pack<T, N> *)(y + base + i),
                       q = *(const pack<T, N> *)(yq + base + i);

#pragma unroll
            for (int j = 0; j < N; j++) {
                float p = to_f32(a.v[j]) * (to_f32(q.v[j]) - to_f32(b.v[j]));
                double exact = p; /* once: conversions are slow */
                double clamped = fabsf(p) > LIMIT ? (double)LIMIT : exact; /* a NaN is not above: it stays */

                squares += clamped * clamped; /* whose sign does not matter */
                plain += exact;
            }
        }
        plain = WHOLE ? block_reduce(plain, add_values(), 0.0) : warp_reduce(plain, add_values());
        plain *= row_weight[r];
        kl += me == 0 ? 0.5 * plain * plain : 0;
    }
    squares = block_reduce(squares, add_values(), 0.0);
    kl = block_reduce(kl, add_values(), 0.0);
    if (threadIdx.x == 0)
        sum[blockIdx.x] = make_double2(squares, kl);
}

/* One block, so that the others' sums are added in one order. */
static __global__ void __launch_bounds__(TOTAL_THREADS)
    total(double *out, const double2 *sum, unsigned blocks)
{
    double squares = 0, kl = 0;

#pragma unroll 4
    for (unsigned i = threadIdx.x; i < blocks; i += TOTAL_THREADS) {
        squares += sum[i].x;
        kl += sum[i].y;
    }
    squares = block_reduce(squares, add_values(), 0.0);
    kl = block_reduce(kl, add_values(), 0.0);
    if (threadIdx.x == 0) {
        out[0] += squares;
        out[1] += kl;
    }
}

template <typename T, int N>
static void run_blocks(struct cuda *c, double2 *sum, unsigned blocks, bool whole, const void *g,
                       const void *y, const void *yq, const float *row_weight, size_t rows, size_t dim)
{
    if (whole)
        blocks_of<T, N, true><<<blocks, THREADS, 0, c->stream>>>(sum, (const T *)g, (const T *)y,
                                                                 (const T *)yq, row_weight, rows, dim);
    else
        blocks_of<T, N, false><<<blocks, THREADS, 0, c->stream>>>(sum, (const T *)g, (const T *)y,
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
        run_blocks<T, N>(c, sum, blocks, whole, g, y, yq, row_weight, rows, dim);
    else
        run_blocks<T, 1>(c, sum, blocks, whole, g, y, yq, row_weight, rows, dim);
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
