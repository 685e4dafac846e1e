/* score.cu - how much a rounding difference matters under a gradient */
#include "kernels/cuda/cuda.cuh"

enum { THREADS = 256 };

static const float LIMIT = 1e10f; /* of a product: ModelOpt's */

/* sum[row] = {clamped products' squares, products}; products are fp32, sums fp64. */
template <typename T, int N>
static __global__ void __launch_bounds__(THREADS)
    rows_of(double2 *sum, const T *g, const T *y, const T *yq, size_t dim)
{
    size_t base = blockIdx.x * dim;
    double squares = 0, plain = 0;

    for (size_t i = threadIdx.x * N; i < dim; i += THREADS * N) {
        pack<T, N> a = *(const pack<T, N> *)(g + base + i), b = *(const pack<T, N> *)(y + base + i),
                   q = *(const pack<T, N> *)(yq + base + i);

#pragma unroll
        for (int j = 0; j < N; j++) {
            float p = to_f32(a.v[j]) * (to_f32(q.v[j]) - to_f32(b.v[j]));
            float clamped = p > LIMIT ? LIMIT : p < -LIMIT ? -LIMIT : p; /* a NaN is neither: it stays */

            squares += (double)clamped * clamped;
            plain += p;
        }
    }
    squares = block_reduce(squares, add_values(), 0.0);
    plain = block_reduce(plain, add_values(), 0.0);
    if (threadIdx.x == 0)
        sum[blockIdx.x] = make_double2(squares, plain);
}

/* One block, so that rows are added in one order. */
static __global__ void __launch_bounds__(1024)
    total(double *out, const double2 *sum, const float *row_weight, size_t rows)
{
    double squares = 0, kl = 0;

    for (size_t r = threadIdx.x; r < rows; r += blockDim.x) {
        double first = row_weight[r] * sum[r].y;

        squares += sum[r].x;
        kl += 0.5 * first * first;
    }
    squares = block_reduce(squares, add_values(), 0.0);
    kl = block_reduce(kl, add_values(), 0.0);
    if (threadIdx.x == 0) {
        out[0] += squares;
        out[1] += kl;
    }
}

template <typename T>
static void run(struct cuda *c, double2 *sum, const void *g, const void *y, const void *yq, size_t rows,
                size_t dim)
{
    const int N = wide<T>::N;

    if (dim % N == 0 && cuda_aligned(g, 16) && cuda_aligned(y, 16) && cuda_aligned(yq, 16))
        rows_of<T, N>
            <<<(unsigned)rows, THREADS, 0, c->stream>>>(sum, (const T *)g, (const T *)y, (const T *)yq, dim);
    else
        rows_of<T, 1>
            <<<(unsigned)rows, THREADS, 0, c->stream>>>(sum, (const T *)g, (const T *)y, (const T *)yq, dim);
    cuda_launched(&c->be, "score");
}

void cuda_score(struct backend *be, double *out, const void *g, const void *y, const void *yq,
                const float *row_weight, size_t rows, size_t dim)
{
    struct cuda *c = cuda_of(be);
    double2 *sum;

    if (cuda_idle(be, rows) || !(sum = (double2 *)cuda_scratch(c, SCRATCH_SUMS, rows * sizeof *sum)))
        return;
    CUDA_ACT(c, run, c, sum, g, y, yq, rows, dim);
    total<<<1, 1024, 0, c->stream>>>(out, sum, row_weight, rows);
    cuda_launched(be, "score");
}
