/* rows.cu - moving rows: gather, scatter, and the embedding */
#include "kernels/cuda/linear.cuh"

/* Rows are moved as `units` words of type V; those of the indexed side are `stride` words apart. */
template <typename V, bool SCATTER>
static __global__ void move(V *y, const V *x, const int32_t *index, size_t rows, size_t units, size_t stride)
{
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < rows * units;
         i += (size_t)gridDim.x * blockDim.x) {
        size_t row = i / units, unit = i % units, other = (size_t)index[row] * stride + unit;

        y[SCATTER ? other : i] = x[SCATTER ? i : other];
    }
}

template <bool SCATTER>
static void move_rows(struct backend *be, void *y, const void *x, const int32_t *index, size_t rows,
                      size_t dim, size_t stride)
{
    struct cuda *c = cuda_of(be);
    size_t bytes = dim * be->act_bytes;

    if (cuda_idle(be, rows * dim))
        return;
    if (bytes % 16 == 0 && stride * be->act_bytes % 16 == 0 && cuda_aligned(x, 16) && cuda_aligned(y, 16))
        move<uint4, SCATTER><<<cuda_blocks(c, rows * bytes / 16, 256), 256, 0, c->stream>>>(
            (uint4 *)y, (const uint4 *)x, index, rows, bytes / 16, stride * be->act_bytes / 16);
    else
        move<uint16_t, SCATTER><<<cuda_blocks(c, rows * bytes / 2, 256), 256, 0, c->stream>>>(
            (uint16_t *)y, (const uint16_t *)x, index, rows, bytes / 2, stride * be->act_bytes / 2);
    cuda_launched(be, SCATTER ? "scatter" : "gather");
}

void cuda_gather(struct backend *be, void *y, const void *x, const int32_t *index, size_t rows, size_t dim)
{
    move_rows<false>(be, y, x, index, rows, dim, dim);
}

void cuda_scatter(struct backend *be, void *y, const void *x, const int32_t *index, size_t rows, size_t dim)
{
    move_rows<true>(be, y, x, index, rows, dim, dim);
}

void cuda_embed(struct backend *be, void *y, const struct weight *table, const int32_t *ids, size_t rows)
{
    if (!cuda_idle(be, rows))
        move_rows<false>(be, y, cuda_matrix_of(table)->data, ids, rows, table->in,
                         dense_padded(cuda_of(be), table->in));
}
