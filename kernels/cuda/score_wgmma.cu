/*
 * score_wgmma.cu - the score of a product of codes, INT8 or E4M3, that is never written: its tiles are
 * compared with those of y where the sums are
 */
#include "kernels/cuda/code_tiles.cuh"
#include "kernels/cuda/score.cuh"

enum { SCORED = 64 }; /* columns of g and y in a stage */

struct scorer;

/* Of y and the gradient g, both [rows, out]. */
struct to_score {
    CUtensorMap g, y;         /* by tiles [ROWS, SCORED] */
    struct score_pieces sums; /* a piece a tile's row; squares of each warp's tiles, [blocks, WARPS] */

    typedef scorer finisher;
    struct room {
    };

    template <int N> static __host__ __device__ constexpr int after()
    {
        return N / SCORED;
    }
};

#ifdef HAS_WGMMA

/* Two bf16 neighbours in a word: as a pack they would be loaded from shared memory one by one. */
static __device__ __forceinline__ pack<float, 2> values_of(unsigned two)
{
    return {f32_from_bits(two << 16), f32_from_bits(two & 0xffff0000)};
}

struct scorer {
    double squares = 0;

    /* g where x's codes are in other stages, y where W's are. */
    template <int N>
    static __device__ void copy(typename store<N, to_score>::stage *to, uint64_t *full,
                                const task<to_score> &task, int row, int column, int i)
    {
        const int bytes = ROWS * SCORED * (int)sizeof(bf16);

        static_assert(sizeof to->x == bytes && sizeof to->w >= bytes, "there is room");
        barrier_expect(full, 2 * bytes);
        copy_tile(to->x, &task.sink.g, column + i * SCORED, row, full);
        copy_tile(to->w, &task.sink.y, column + i * SCORED, row, full);
    }

    /*
     * Outside of y both g and y are 0, and yq, being the bias of a sum of 0, adds nothing unless that is
     * infinite: then the score is NaN.
     */
    template <int N, int PAIR, typename S>
    __device__ __forceinline__ void take(const task<to_score> &task, struct store<N, to_score> *s,
                                         turn<store<N, to_score>::STAGES> *at, const S (*sum)[4],
                                         const float row_scale[2], int row, int column)
    {
        typedef tile<ROWS, SCORED> scored;
        int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
        int mine = warp % 4 * 16 + lane / 4,
            first = warp / 4 * GROUP_ROWS; /* of the group's rows, of the tile's */
        double *pieces = task.sink.sums.rows + (size_t)(column / N) * task.rows;
        double piece[2] = {0, 0};

#pragma unroll
        for (int across = 0; across < N / SCORED; across++, at->next()) {
            const bf16 *g = (const bf16 *)s->stage[at->stage].x, *y = (const bf16 *)s->stage[at->stage].w;
            float part[2] = {0, 0}, part_squares = 0;

            barrier_wait(&s->full[at->stage], at->parity);
#pragma unroll
            for (int i = 0; i < SCORED; i += 8)
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    int from = scored::at(first + mine + 8 * h, i / 8) + lane % 4 * 2;
                    float2 v = scaled_two<N>(s, sum, row_scale, across * SCORED + i, h);

                    score_elements(values_of(*(const unsigned *)(g + from)),
                                   values_of(*(const unsigned *)(y + from)), values_of(pack_bf16(v.x, v.y)),
                                   &part_squares, &part[h]);
                }
            __syncwarp();
            release<PAIR>(&s->empty[at->stage]);
            piece[0] += part[0];
            piece[1] += part[1];
            squares += part_squares;
        }
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int r = row + mine + 8 * h;

            piece[h] += __shfl_xor_sync(~0u, piece[h], 1);
            piece[h] += __shfl_xor_sync(~0u, piece[h], 2);
            if (lane % 4 == 0 && r < task.rows)
                pieces[r] = piece[h];
        }
    }

    __device__ void end(const task<to_score> &task)
    {
        squares = warp_reduce(squares, add_values());
        if (threadIdx.x % WARP == 0)
            task.sink.sums.squares[blockIdx.x * WARPS + threadIdx.x / WARP] = squares;
    }
};

#endif

static bool map_scored(const struct cuda *c, CUtensorMap *map, const void *y, size_t rows, size_t columns)
{
    return map_tiles(c, map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, sizeof(bf16), y, rows, columns, ROWS);
}

template <int N, int PAIR>
static bool run_score(struct cuda *c, double *out, struct to_score to, const float *row_weight,
                      const struct codes &x, const struct weight *w)
{
    bool is;

    to.sums.pieces = tiles<N, PAIR>::across(w);
    to.sums.n = (size_t)tiles<N, PAIR>::blocks(c, x, w) * WARPS;
    if (!cuda_score_room(c, &to.sums, x.rows))
        return true;
    is = w->format == weight::WEIGHT_INT8 ? run<N, PAIR, int32_t>(c, to, x, w)
                                          : run<N, PAIR, float>(c, to, x, w);
    if (is)
        cuda_score_pieces(c, out, &to.sums, row_weight, x.rows);
    return is;
}

bool cuda_score_wgmma_here(const struct cuda *c, const void *g, const void *y, size_t rows,
                           const struct weight *w)
{
    return is_here(c, rows, w->out) && w->in > 0 && w->out % 8 == 0 && cuda_aligned(g, 16) &&
           cuda_aligned(y, 16) &&
           (w->format == weight::WEIGHT_INT8 || (w->format == weight::WEIGHT_FP8 && c->fp8));
}

bool cuda_score_wgmma(struct cuda *c, double *out, const void *g, const void *y, const float *row_weight,
                      const struct codes *x, const struct weight *w)
{
    struct to_score to = {};

    if (!map_scored(c, &to.g, g, x->rows, w->out) || !map_scored(c, &to.y, y, x->rows, w->out))
        return false;
    return large_tiles(c, *x, w) ? run_score<256, 2>(c, out, to, row_weight, *x, w)
                                 : run_score<128, 1>(c, out, to, row_weight, *x, w);
}
