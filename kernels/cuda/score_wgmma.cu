/*
 * score_wgmma.cu - the score of a product of codes, INT8 or E4M3, that is never written: its tiles are
 * compared with those of y where the sums are
 */
#include "kernels/cuda/code_tiles.cuh"
#include "kernels/cuda/score.cuh"

enum { SCORED = 64, BUFFERS = 2 }; /* columns and rows that are compared at a time, from buffers in turn */

struct scorer;

/* Of y and the gradient g, both [rows, out]. */
struct to_score {
    CUtensorMap g, y;         /* by tiles [SCORED, SCORED] */
    struct score_pieces sums; /* a piece a tile's row; squares of each warp's tiles, [blocks, WARPS] */

    typedef scorer finisher;
    struct room {
        bf16 g[BUFFERS][SCORED * SCORED], y[BUFFERS][SCORED * SCORED];
        uint64_t full[BUFFERS], empty[BUFFERS];
        uint64_t go[GROUPS]; /* the other group has scored its tile */
    };
};

#ifdef HAS_WGMMA

/* Two bf16 neighbours in a word: as a pack they would be loaded from shared memory one by one. */
static __device__ __forceinline__ pack<float, 2> values_of(unsigned two)
{
    return {f32_from_bits(two << 16), f32_from_bits(two & 0xffff0000)};
}

struct scorer {
    double squares = 0;

    static __device__ void begin(to_score::room *room)
    {
        for (int i = 0; i < BUFFERS; i++) {
            barrier_init(&room->full[i], 1);
            barrier_init(&room->empty[i], WARPS / GROUPS);
        }
        for (int i = 0; i < GROUPS; i++)
            barrier_init(&room->go[i], WARPS / GROUPS);
    }

    template <int N, int PAIR>
    static __device__ void copy(struct store<N, to_score> *s, const task<to_score> &task)
    {
        to_score::room *room = &s->room;
        turn<BUFFERS> at(0);
        int row, column;

        for (unsigned t = first_tile<PAIR>(); t < task.down * task.across; t += tile_step<PAIR>()) {
            tile_at<N, PAIR>(task, t, &row, &column);
            for (int i = 0; i < ROWS * N / (SCORED * SCORED); i++, at.next()) {
                int r = row + i / (N / SCORED) * SCORED, c = column + i % (N / SCORED) * SCORED;
                uint64_t *full = &room->full[at.stage];

                barrier_wait(&room->empty[at.stage], at.parity ^ 1);
                barrier_expect(full, sizeof room->g[0] + sizeof room->y[0]);
                copy_tile(room->g[at.stage], &task.sink.g, c, r, full);
                copy_tile(room->y[at.stage], &task.sink.y, c, r, full);
            }
        }
    }

    /* In the order of the copies, which `go` keeps. */
    template <int N, typename S>
    __device__ __forceinline__ void take(const task<to_score> &task, struct store<N, to_score> *s,
                                         const S (*sum)[N / 8][4], const float (*row_scale)[2], int row,
                                         int column, unsigned n)
    {
        typedef tile<SCORED, SCORED> scored;
        enum { ACROSS = N / SCORED };
        to_score::room *room = &s->room;
        int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, group = warp / 4;
        int mine = warp % 4 * 16 + lane / 4; /* of 64 rows, and the eighth below */
        turn<BUFFERS> at(n * HALVES * ACROSS);

        barrier_wait(&room->go[group], n / GROUPS % 2 ^ (group == 0));
#pragma unroll
        for (int half = 0; half < HALVES; half++) {
            double *pieces = task.sink.sums.rows + (size_t)(column / N) * task.rows;
            double part[2] = {0, 0};

#pragma unroll
            for (int across = 0; across < ACROSS; across++, at.next()) {
                const bf16 *g = room->g[at.stage], *y = room->y[at.stage];

                barrier_wait(&room->full[at.stage], at.parity);
#pragma unroll
                for (int i = 0; i < SCORED; i += 8)
#pragma unroll
                    for (int h = 0; h < 2; h++) {
                        int r = mine + 8 * h, c = across * SCORED + i;
                        int from = scored::at(r, i / 8) + lane % 4 * 2;
                        bool is = row + half * 64 + r < task.rows && (size_t)(column + c) < task.out;
                        float2 v = scaled_two<N>(s, sum[half], row_scale[half], c, h);
                        unsigned yq = pack_bf16(is ? v.x : 0, is ? v.y : 0); /* as g and y are outside */

                        score_elements(values_of(*(const unsigned *)(g + from)),
                                       values_of(*(const unsigned *)(y + from)), values_of(yq), &squares,
                                       &part[h]);
                    }
                __syncwarp();
                if (lane == 0)
                    barrier_arrive(&room->empty[at.stage], cluster_rank());
            }
#pragma unroll
            for (int h = 0; h < 2; h++) {
                int r = row + half * 64 + mine + 8 * h;

                part[h] += __shfl_xor_sync(~0u, part[h], 1);
                part[h] += __shfl_xor_sync(~0u, part[h], 2);
                if (lane % 4 == 0 && r < task.rows)
                    pieces[r] = part[h];
            }
        }
        if (lane == 0)
            barrier_arrive(&room->go[group ^ 1], cluster_rank());
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
    return map_tiles(c, map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, sizeof(bf16), y, rows, columns, SCORED);
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
    return large_tiles(c, *x, w) ? run_score<128, 2>(c, out, to, row_weight, *x, w)
                                 : run_score<64, 1>(c, out, to, row_weight, *x, w);
}
