/* rows.cu - moving rows: gather, scatter, and the embedding */
#include "kernels/cuda/cuda.cuh"

/* Rows are moved as `units` words of type V. */
template <typename V, bool SCATTER>
static __global__ void move(V *y, const V *x, const int32_t *index, size_t rows, size_t units)
{
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < rows * units;
         i += (size_t)gridDim.x * blockDim.x) {
        size_t row = i / units, unit = i % units, other = (size_t)index[row] * units + unit;

        y[SCATTER ? other : i] = x[SCATTER ? i : other];
    }
}

template <bool SCATTER>
static void move_rows(struct backend *be, void *y, const void *x, const int32_t *index, size_t rows,
                      size_t dim)
{
    struct cuda *c = cuda_of(be);
    size_t bytes = dim * be->act_bytes;

    if (cuda_idle(be, rows * dim))
        return;
    if (bytes % 16 == 0 && cuda_aligned(x, 16) && cuda_aligned(y, 16))
        move<uint4, SCATTER><<<cuda_blocks(c, rows * bytes / 16, 256), 256, 0, c->stream>>>(
            (uint4 *)y, (const uint4 *)x, index, rows, bytes / 16);
    else
        move<uint16_t, SCATTER><<<cuda_blocks(c, rows * bytes / 2, 256), 256, 0, c->stream>>>(
            (uint16_t *)y, (const uint16_t *)x, index, rows, bytes / 2);
    cuda_launched(be, SCATTER ? "scatter" : "gather");
}

void cuda_gather(struct backend *be, void *y, const void *x, const int32_t *index, size_t rows, size_t dim)
{
    move_rows<false>(be, y, x, index, rows, dim);
}

void cuda_scatter(struct backend *be, void *y, const void *x, const int32_t *index, size_t rows, size_t dim)
{
    move_rows<true>(be, y, x, index, rows, dim);
}

void cuda_embed(struct backend *be, void *y, const struct weight *table, const int32_t *ids, size_t rows)
{
    if (!cuda_idle(be, rows))
        cuda_gather(be, y, cuda_matrix_of(table)->data, ids, rows, table->in);
}
