/* distance.cu - how far two results are apart, and the rounding of a KV cache */
#include "kernels/cuda/fp8.cuh"

enum { THREADS = 256, BLOCKS = 1024 }; /* as many on every device: the order of the sums */

template <typename T, int N>
static __global__ void __launch_bounds__(THREADS) parts(double *part, const T *a, const T *b, size_t n)
{
    double sum = 0;

    for (size_t i = ((size_t)blockIdx.x * THREADS + threadIdx.x) * N; i < n;
         i += (size_t)BLOCKS * THREADS * N) {
        pack<T, N> p = *(const pack<T, N> *)(a + i), q = *(const pack<T, N> *)(b + i);

#pragma unroll
        for (int j = 0; j < N; j++) {
            float d = to_f32(p.v[j]) - to_f32(q.v[j]);

            sum += (double)(d * d);
        }
    }
    sum = block_reduce(sum, add_values(), 0.0);
    if (threadIdx.x == 0)
        part[blockIdx.x] = sum;
}

static __global__ void __launch_bounds__(BLOCKS) total(double *out, const double *part)
{
    double sum = block_reduce(part[threadIdx.x], add_values(), 0.0);

    if (threadIdx.x == 0)
        *out += sum;
}

template <typename T> static void run(struct cuda *c, double *part, const void *a, const void *b, size_t n)
{
    const int N = wide<T>::N;

    if (n % N == 0 && cuda_aligned(a, 16) && cuda_aligned(b, 16))
        parts<T, N><<<BLOCKS, THREADS, 0, c->stream>>>(part, (const T *)a, (const T *)b, n);
    else
        parts<T, 1><<<BLOCKS, THREADS, 0, c->stream>>>(part, (const T *)a, (const T *)b, n);
    cuda_launched(&c->be, "distance");
}

void cuda_distance(struct backend *be, double *out, const void *a, const void *b, size_t n)
{
    struct cuda *c = cuda_of(be);
    double *part;

    if (cuda_idle(be, n) || !(part = (double *)cuda_scratch(c, SCRATCH_SUMS, BLOCKS * sizeof *part)))
        return;
    CUDA_ACT(c, run, c, part, a, b, n);
    total<<<1, BLOCKS, 0, c->stream>>>(out, part);
    cuda_launched(be, "distance");
}

template <typename T> static __global__ void round_one(T *y, const T *x, size_t n, float scale)
{
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
        y[i] = from_f32<T>(e4m3_to_f32(e4m3_from_f32(to_f32(x[i]) / scale)) * scale);
}

/* The same bits, eight at a time. */
static __global__ void round_eight(bf16 *y, const bf16 *x, size_t n, struct divisor d)
{
    const int N = wide<bf16>::N;

    for (size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * N; i < n;
         i += (size_t)gridDim.x * blockDim.x * N) {
        pack<uint16_t, N / 2> code = codes_of<N>(*(const pack<bf16, N> *)(x + i), d);
        pack<bf16, N> p;

#pragma unroll
        for (int j = 0; j < N / 2; j++) {
            float2 v = two_values(code.v[j]);

            p.v[2 * j] = from_f32<bf16>(v.x * d.scale);
            p.v[2 * j + 1] = from_f32<bf16>(v.y * d.scale);
        }
        *(pack<bf16, N> *)(y + i) = p;
    }
}

static void run_round(struct cuda *c, bf16 *y, const bf16 *x, size_t n, float scale)
{
    const int N = wide<bf16>::N;

    if (n % N == 0 && cuda_aligned(y, 16) && cuda_aligned(x, 16))
        round_eight<<<cuda_blocks(c, n / N, 256), 256, 0, c->stream>>>(y, x, n, divisor_of(scale));
    else
        round_one<<<cuda_blocks(c, n, 256), 256, 0, c->stream>>>(y, x, n, scale);
}

void cuda_round_fp8(struct backend *be, void *y, const void *x, size_t n, float scale)
{
    struct cuda *c = cuda_of(be);

    if (cuda_idle(be, n))
        return;
    if (c->bf16_act)
        run_round(c, (bf16 *)y, (const bf16 *)x, n, scale);
    else
        round_one<<<cuda_blocks(c, n, 256), 256, 0, c->stream>>>((float *)y, (const float *)x, n, scale);
    cuda_launched(be, "round_fp8");
}
