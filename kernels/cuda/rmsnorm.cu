/* rmsnorm.cu - root-mean-square normalisation of rows, a block a row */
#include "kernels/cuda/cuda.cuh"

enum { THREADS = 256 };

/* 1 / sqrt(mean(x^2) + eps) of a row; N elements are read at once. */
template <typename T, int N> static __device__ float inverse_rms(const T *x, size_t dim, float eps)
{
    typedef typename sum_of<T>::type S;
    S sum = 0;

    for (size_t i = threadIdx.x * N; i < dim; i += THREADS * N) {
        pack<T, N> p = *(const pack<T, N> *)(x + i);

#pragma unroll
        for (int j = 0; j < N; j++)
            sum += (S)to_f32(p.v[j]) * to_f32(p.v[j]);
    }
    sum = block_reduce(sum, add_values(), (S)0);
    return (float)(1 / sqrt(sum / (S)dim + (S)eps));
}

template <typename T, int N>
static __global__ void __launch_bounds__(THREADS) forward(T *y, const T *x, const T *w, size_t dim, float eps)
{
    const T *from = x + blockIdx.x * dim;
    T *to = y + blockIdx.x * dim;
    float inv = inverse_rms<T, N>(from, dim, eps);

    for (size_t i = threadIdx.x * N; i < dim; i += THREADS * N) {
        pack<T, N> p = *(const pack<T, N> *)(from + i), weight = *(const pack<T, N> *)(w + i);

#pragma unroll
        for (int j = 0; j < N; j++)
            p.v[j] = from_f32<T>(to_f32(weight.v[j]) * (to_f32(p.v[j]) * inv));
        *(pack<T, N> *)(to + i) = p;
    }
}

/* With xn = x inv and q = w dy: dx += inv (q - xn mean(q xn)). */
template <typename T, int N>
static __global__ void __launch_bounds__(THREADS)
    backward(T *dx, const T *dy, const T *x, const T *w, size_t dim, float eps)
{
    typedef typename sum_of<T>::type S;
    const T *from = x + blockIdx.x * dim, *g = dy + blockIdx.x * dim;
    T *to = dx + blockIdx.x * dim;
    float inv = inverse_rms<T, N>(from, dim, eps), mean;
    S sum = 0;

    for (size_t i = threadIdx.x * N; i < dim; i += THREADS * N) {
        pack<T, N> p = *(const pack<T, N> *)(from + i), d = *(const pack<T, N> *)(g + i),
                   weight = *(const pack<T, N> *)(w + i);

#pragma unroll
        for (int j = 0; j < N; j++)
            sum += (S)(to_f32(weight.v[j]) * to_f32(d.v[j])) * (S)(to_f32(p.v[j]) * inv);
    }
    mean = (float)(block_reduce(sum, add_values(), (S)0) / (S)dim);
    for (size_t i = threadIdx.x * N; i < dim; i += THREADS * N) {
        pack<T, N> p = *(const pack<T, N> *)(from + i), d = *(const pack<T, N> *)(g + i),
                   weight = *(const pack<T, N> *)(w + i), r = *(const pack<T, N> *)(to + i);

#pragma unroll
        for (int j = 0; j < N; j++)
            r.v[j] = from_f32<T>(to_f32(r.v[j]) +
                                 inv * (to_f32(weight.v[j]) * to_f32(d.v[j]) - to_f32(p.v[j]) * inv * mean));
        *(pack<T, N> *)(to + i) = r;
    }
}

/* Whether rows of dim elements can be read 16 bytes at a time. */
template <typename T> static bool fits(size_t dim, const void *a, const void *b, const void *c, const void *d)
{
    return dim % wide<T>::N == 0 && cuda_aligned(a, 16) && cuda_aligned(b, 16) && cuda_aligned(c, 16) &&
           cuda_aligned(d, 16);
}

template <typename T>
static void run(struct cuda *c, void *y, const void *x, const void *w, size_t rows, size_t dim, float eps)
{
    if (fits<T>(dim, y, x, w, w))
        forward<T, wide<T>::N>
            <<<(unsigned)rows, THREADS, 0, c->stream>>>((T *)y, (const T *)x, (const T *)w, dim, eps);
    else
        forward<T, 1>
            <<<(unsigned)rows, THREADS, 0, c->stream>>>((T *)y, (const T *)x, (const T *)w, dim, eps);
    cuda_launched(&c->be, "rmsnorm");
}

template <typename T>
static void run_dx(struct cuda *c, void *dx, const void *dy, const void *x, const void *w, size_t rows,
                   size_t dim, float eps)
{
    if (fits<T>(dim, dx, dy, x, w))
        backward<T, wide<T>::N><<<(unsigned)rows, THREADS, 0, c->stream>>>(
            (T *)dx, (const T *)dy, (const T *)x, (const T *)w, dim, eps);
    else
        backward<T, 1><<<(unsigned)rows, THREADS, 0, c->stream>>>((T *)dx, (const T *)dy, (const T *)x,
                                                                  (const T *)w, dim, eps);
    cuda_launched(&c->be, "rmsnorm_dx");
}

void cuda_rmsnorm(struct backend *be, void *y, const void *x, const void *w, size_t rows, size_t dim,
                  float eps)
{
    struct cuda *c = cuda_of(be);

    if (!cuda_idle(be, rows * dim))
        CUDA_ACT(c, run, c, y, x, w, rows, dim, eps);
}

void cuda_rmsnorm_dx(struct backend *be, void *dx, const void *dy, const void *x, const void *w, size_t rows,
                     size_t dim, float eps)
{
    struct cuda *c = cuda_of(be);

    if (!cuda_idle(be, rows * dim))
        CUDA_ACT(c, run_dx, c, dx, dy, x, w, rows, dim, eps);
}
