/* amax.cu - largest magnitude, of all elements or of every column */
#include "kernels/cuda/linear.cuh"

/*
 * Magnitudes compare as their bits do, and a NaN's are above those of infinity: the largest bits keep it. The
 * maximum of integers does not depend on the order of the blocks.
 */
template <typename T> static __global__ void largest(unsigned *out, const T *x, size_t n)
{
    unsigned max = 0;

    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n;
         i += (size_t)gridDim.x * blockDim.x) {
        unsigned m = f32_bits(to_f32(x[i])) & 0x7fffffff;

        max = m > max ? m : max;
    }
    max = block_reduce(max, larger_value(), 0u);
    if (threadIdx.x == 0)
        atomicMax(out, max);
}

template <typename T> static void run(struct cuda *c, float *out, const void *x, size_t n)
{
    largest<<<cuda_blocks(c, n, 1024), 256, 0, c->stream>>>((unsigned *)out, (const T *)x, n);
    cuda_launched(&c->be, "amax");
}

void cuda_amax(struct backend *be, float *out, const void *x, size_t n)
{
    struct cuda *c = cuda_of(be);

    if (!cuda_idle(be, n))
        CUDA_ACT(c, run, c, out, x, n);
}

/* With its padding, which is 0. */
void cuda_weight_amax(struct backend *be, float *out, const struct weight *w)
{
    const struct cuda *c = cuda_of(be);

    if (!cuda_idle(be, w->out * w->in))
        cuda_amax(be, out, cuda_matrix_of(w)->data, dense_padded(c, w->out) * dense_padded(c, w->in));
}

/* A thread sees one column of every gridDim.y-th row. */
template <typename T> static __global__ void largest_columns(unsigned *out, const T *x, size_t rows,
                                                             size_t dim)
{
    size_t c = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    unsigned max = 0;

    if (c >= dim)
        return;
    for (size_t r = blockIdx.y; r < rows; r += gridDim.y) {
        unsigned m = f32_bits(to_f32(x[r * dim + c])) & 0x7fffffff;

        max = m > max ? m : max;
    }
    atomicMax(out + c, max);
}

template <typename T> static void run_columns(struct cuda *c, float *out, const void *x, size_t rows,
                                              size_t dim)
{
    dim3 grid((unsigned)((dim + 127) / 128), (unsigned)(rows < 64 ? rows : 64));

    largest_columns<<<grid, 128, 0, c->stream>>>((unsigned *)out, (const T *)x, rows, dim);
    cuda_launched(&c->be, "amax_columns");
}

void cuda_amax_columns(struct backend *be, float *out, const void *x, size_t rows, size_t dim)
{
    struct cuda *c = cuda_of(be);

    if (!cuda_idle(be, rows * dim))
        CUDA_ACT(c, run_columns, c, out, x, rows, dim);
}
