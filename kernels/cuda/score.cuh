/* score.cuh - gradient scores, for kernels that have rows whole and for those that have pieces of them */
#ifndef KERNELS_CUDA_SCORE_CUH
#define KERNELS_CUDA_SCORE_CUH

#include "kernels/cuda/cuda.cuh"

/* |p|, limit at most; a NaN stays one. */
static __device__ __forceinline__ float clamped_size(float p, float limit)
{
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(p) : "f"(fabsf(p)), "f"(limit));
    return p;
}

/*
 * N elements' products with the gradient g, fp32: the squares of clamped ones and the sum of all, in SUM:
 * fp64, or fp32 where few are added before fp64 takes over (then squares below 1e-38 are lost).
 */
template <typename T, int N, typename SUM>
static __device__ __forceinline__ void score_elements(const pack<T, N> &g, const pack<T, N> &y,
                                                      const pack<T, N> &yq, SUM *squares, SUM *sum)
{
    const float limit = 1e10f; /* ModelOpt's */

#pragma unroll
    for (int j = 0; j < N; j++) {
        float p = to_f32(g.v[j]) * (to_f32(yq.v[j]) - to_f32(y.v[j]));
        SUM clamped = clamped_size(p, limit);

        *squares += clamped * clamped;
        *sum += p;
    }
}

/* A score in pieces, in device memory that the running operation may use. */
struct score_pieces {
    double *rows;    /* [pieces, rows]: of each row's sum */
    double *squares; /* [n]: of the sum of squares */
    double2 *blocks; /* cuda_score_pieces()'s own */
    size_t pieces, n;
};

/* score.cu: room for p->pieces and p->n; false: recorded. */
bool cuda_score_room(struct cuda *c, struct score_pieces *p, size_t rows);

/* score.cu: out += what the pieces amount to. */
void cuda_score_pieces(struct cuda *c, double *out, const struct score_pieces *p, const float *row_weight,
                       size_t rows);

#endif
