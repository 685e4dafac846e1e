/* linear_int8_wgmma.cu - INT8 products on warpgroup products, scales and bias applied where the sums are */
#include "kernels/cuda/code_tiles.cuh"

enum { LINE = 128 }; /* bytes of a row of y that are written at a time */

template <typename T> struct writer;

/* Rows of y [rows, out] are written; unit: bytes that they can be written by. */
template <typename T> struct to_rows {
    T *y;
    int unit;

    typedef writer<T> finisher;
    struct room {
        char line[WARPS][16 * LINE]; /* each warp's rows of y, on their way out */
    };

    template <int N> static __host__ __device__ constexpr int after()
    {
        return 0;
    }
};

#ifdef HAS_WGMMA

/* Byte of a warp's line buffer: 16-byte units swizzled over the banks. */
static __device__ int line_at(int row, int byte)
{
    return row * LINE + (byte ^ row % 8 * 16);
}

/* 16 rows of a line, by pieces of BYTES, as far as y has them; y: the first. */
template <int BYTES, typename T>
static __device__ void put_lines(T *y, const char *line, size_t out, int rows, size_t columns)
{
    const int V = BYTES / (int)sizeof(T), PIECES = LINE / BYTES;

#pragma unroll 4
    for (int i = threadIdx.x % WARP; i < 16 * PIECES; i += WARP) {
        int r = i / PIECES, c = i % PIECES * V;

        if (r < rows && (size_t)c < columns)
            *(pack<T, V> *)(y + r * out + c) = *(const pack<T, V> *)(line + line_at(r, c * (int)sizeof(T)));
    }
}

static __device__ void put_two(char *to, float2 v, bf16)
{
    *(unsigned *)to = pack_bf16(v.x, v.y);
}

static __device__ void put_two(char *to, float2 v, float)
{
    *(float2 *)to = v;
}

/* A warp's part of the tile whose first row and column these are. */
template <typename T> struct writer {
    template <int N>
    static __device__ void copy(typename store<N, to_rows<T>>::stage *, uint64_t *, const task<to_rows<T>> &,
                                int, int, int)
    {
    }

    template <int N, int PAIR, typename S>
    __device__ __forceinline__ void take(const task<to_rows<T>> &task, struct store<N, to_rows<T>> *s,
                                         turn<store<N, to_rows<T>>::STAGES> *, const S (*sum)[4],
                                         const float row_scale[2], int row, int column)
    {
        const int COLUMNS = LINE / sizeof(T);
        int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
        char *line = s->room.line[warp];
        T *y;

        row += warp % 4 * 16;
        y = task.sink.y + (size_t)row * task.out + column;
#pragma unroll
        for (int c = 0; c < N; c += COLUMNS) {
            size_t left = task.out > (size_t)(column + c) ? task.out - column - c : 0;

#pragma unroll
            for (int i = 0; i < COLUMNS; i += 8)
#pragma unroll
                for (int h = 0; h < 2; h++)
                    put_two(line + line_at(lane / 4 + 8 * h, (i + lane % 4 * 2) * (int)sizeof(T)),
                            scaled_two<N>(s, sum, row_scale, c + i, h), T());
            __syncwarp();
            if (task.sink.unit == 16)
                put_lines<16>(y + c, line, task.out, task.rows - row, left);
            else if (task.sink.unit == 8)
                put_lines<8>(y + c, line, task.out, task.rows - row, left);
            else
                put_lines<sizeof(T)>(y + c, line, task.out, task.rows - row, left);
            __syncwarp();
        }
    }

    __device__ void end(const task<to_rows<T>> &)
    {
    }
};

#endif

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

template <typename T>
static bool run_rows(struct cuda *c, T *y, const struct codes &x, const struct weight *w)
{
    to_rows<T> to = {y, 16};

    while (to.unit > (int)sizeof(T) && (w->out * sizeof(T) % to.unit || !cuda_aligned(y, to.unit)))
        to.unit /= 2;
    return large_tiles(c, x, w) ? run<256, 2, int32_t>(c, to, x, w) : run<128, 1, int32_t>(c, to, x, w);
}

bool cuda_linear_int8_wgmma(struct cuda *c, void *y, bool f32, const struct codes *x, const struct weight *w)
{
    if (!is_here(c, x->rows, w->out))
        return false;
    return f32 ? run_rows(c, (float *)y, *x, w) : run_rows(c, (bf16 *)y, *x, w);
}
