/* rmsnorm.cu - root-mean-square normalisation of rows, a block a row */
#include "kernels/cuda/linear.cuh"

enum { THREADS = 256 };

/* 1 / sqrt(mean(x^2) + eps) of the row whose squares the block's threads have summed. */
template <typename S> static __device__ float inverse_of(S squares, size_t dim, float eps)
{
    squares = block_reduce(squares, add_values(), (S)0);
    return (float)(1 / sqrt(squares / (S)dim + (S)eps));
}

template <typename S, typename T, int N> static __device__ S squares_of(const pack<T, N> &p, S sum)
{
#pragma unroll
    for (int j = 0; j < N; j++)
        sum += (S)to_f32(p.v[j]) * to_f32(p.v[j]);
    return sum;
}

/* The same of a row in memory; N elements are read at once. */
template <typename T, int N> static __device__ float inverse_rms(const T *x, size_t dim, float eps)
{
    typename sum_of<T>::type sum = 0;

    for (size_t i = threadIdx.x * N; i < dim; i += THREADS * N)
        sum = squares_of(*(const pack<T, N> *)(x + i), sum);
    return inverse_of(sum, dim, eps);
}

/* Rows x = a + b, which go to sum, or a alone where b is NULL; ahead: y's codes. */
template <typename T> struct rows {
    T *y, *sum;
    const T *a, *b, *w;
    size_t dim;
    float eps;
    struct ahead ahead;
};

template <typename T, int N> static __device__ pack<T, N> sum_of_packs(pack<T, N> a, const pack<T, N> &b)
{
#pragma unroll
    for (int j = 0; j < N; j++)
        a.v[j] = from_f32<T>(to_f32(a.v[j]) + to_f32(b.v[j]));
    return a;
}

template <typename T, int N>
static __device__ pack<T, N> normed(const pack<T, N> &x, const pack<T, N> &weight, float inv)
{
    pack<T, N> y;

#pragma unroll
    for (int j = 0; j < N; j++)
        y.v[j] = from_f32<T>(to_f32(weight.v[j]) * (to_f32(x.v[j]) * inv));
    return y;
}

static __device__ void put_codes(const struct ahead &to, size_t at, const pack<bf16, 8> &y)
{
    *(pack<uint16_t, 4> *)(to.code + at) = codes_of<8>(y, to.d);
}

/* Codes are of bf16. */
static __device__ void put_codes(const struct ahead &, size_t, const pack<float, 4> &)
{
}

/* A row that its block holds in registers, HELD packs a thread: memory is read once. */
template <typename T, int HELD> static __global__ void __launch_bounds__(THREADS) forward_held(rows<T> r)
{
    const int N = wide<T>::N;
    const size_t row = blockIdx.x * r.dim, first = threadIdx.x * N, step = THREADS * N;
    typename sum_of<T>::type squares = 0;
    pack<T, N> x[HELD], other[HELD];
    float inv;

#pragma unroll
    for (int k = 0; k < HELD; k++) {
        size_t i = first + k * step;

        if (i < r.dim)
            x[k] = *(const pack<T, N> *)(r.a + row + i);
        if (i < r.dim && r.b)
            other[k] = *(const pack<T, N> *)(r.b + row + i);
    }
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        size_t i = first + k * step;

        if (i < r.dim && r.b) {
            x[k] = sum_of_packs(x[k], other[k]);
            *(pack<T, N> *)(r.sum + row + i) = x[k];
        }
        if (i < r.dim)
            squares = squares_of(x[k], squares);
    }
    inv = inverse_of(squares, r.dim, r.eps);
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        size_t i = first + k * step;

        if (i < r.dim) {
            pack<T, N> y = normed(x[k], *(const pack<T, N> *)(r.w + i), inv);

            *(pack<T, N> *)(r.y + row + i) = y;
            if (r.ahead.code)
                put_codes(r.ahead, row + i, y);
        }
    }
}

/* A row of any width and alignment, without codes. */
template <typename T> static __global__ void __launch_bounds__(THREADS) forward_any(rows<T> r)
{
    const size_t row = blockIdx.x * r.dim;
    const T *x = (r.b ? r.sum : r.a) + row;
    float inv;

    for (size_t i = threadIdx.x; r.b && i < r.dim; i += THREADS)
        r.sum[row + i] = from_f32<T>(to_f32(r.a[row + i]) + to_f32(r.b[row + i]));
    inv = inverse_rms<T, 1>(x, r.dim, r.eps); /* of what this thread has written itself */
    for (size_t i = threadIdx.x; i < r.dim; i += THREADS)
        r.y[row + i] = from_f32<T>(to_f32(r.w[i]) * (to_f32(x[i]) * inv));
}

/* sum + the sum of q xn; and dx += inv (q - xn mean), with xn = x inv, q = w dy and mean that of q xn. */
template <typename S, typename T, int N>
static __device__ S alike(const pack<T, N> &x, const pack<T, N> &dy, const pack<T, N> &w, float inv, S sum)
{
#pragma unroll
    for (int j = 0; j < N; j++)
        sum += (S)(to_f32(w.v[j]) * to_f32(dy.v[j])) * (S)(to_f32(x.v[j]) * inv);
    return sum;
}

template <typename T, int N>
static __device__ pack<T, N> with_gradient(pack<T, N> dx, const pack<T, N> &x, const pack<T, N> &dy,
                                           const pack<T, N> &w, float inv, float mean)
{
#pragma unroll
    for (int j = 0; j < N; j++)
        dx.v[j] = from_f32<T>(to_f32(dx.v[j]) +
                              inv * (to_f32(w.v[j]) * to_f32(dy.v[j]) - to_f32(x.v[j]) * inv * mean));
    return dx;
}

/* A row that its block holds, as forward_held(): all of it is on its way before the first sum. */
template <typename T, int HELD>
static __global__ void __launch_bounds__(THREADS)
    backward_held(T *dx, const T *dy, const T *x, const T *w, size_t dim, float eps)
{
    const int N = wide<T>::N;
    typedef typename sum_of<T>::type S;
    const size_t row = blockIdx.x * dim, first = threadIdx.x * N, step = THREADS * N;
    pack<T, N> from[HELD], g[HELD], weight[HELD], to[HELD];
    S squares = 0, sum = 0;
    float inv, mean;

#pragma unroll
    for (int k = 0; k < HELD; k++) {
        size_t i = first + k * step;

        if (i < dim) {
            from[k] = *(const pack<T, N> *)(x + row + i);
            g[k] = *(const pack<T, N> *)(dy + row + i);
            to[k] = *(const pack<T, N> *)(dx + row + i);
            weight[k] = *(const pack<T, N> *)(w + i);
        }
    }
#pragma unroll
    for (int k = 0; k < HELD; k++)
        if (first + k * step < dim)
            squares = squares_of(from[k], squares);
    inv = inverse_of(squares, dim, eps);
#pragma unroll
    for (int k = 0; k < HELD; k++)
        if (first + k * step < dim)
            sum = alike(from[k], g[k], weight[k], inv, sum);
    mean = (float)(block_reduce(sum, add_values(), (S)0) / (S)dim);
#pragma unroll
    for (int k = 0; k < HELD; k++)
        if (first + k * step < dim)
            *(pack<T, N> *)(dx + row + first + k * step) =
                with_gradient(to[k], from[k], g[k], weight[k], inv, mean);
}

/* A row of any width and alignment. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    backward_any(T *dx, const T *dy, const T *x, const T *w, size_t dim, float eps)
{
    typedef typename sum_of<T>::type S;
    typedef pack<T, 1> one;
    const size_t row = blockIdx.x * dim;
    float inv = inverse_rms<T, 1>(x + row, dim, eps), mean;
    S sum = 0;

    for (size_t i = threadIdx.x; i < dim; i += THREADS)
        sum = alike(one{x[row + i]}, one{dy[row + i]}, one{w[i]}, inv, sum);
    mean = (float)(block_reduce(sum, add_values(), (S)0) / (S)dim);
    for (size_t i = threadIdx.x; i < dim; i += THREADS)
        dx[row + i] =
            with_gradient(one{dx[row + i]}, one{x[row + i]}, one{dy[row + i]}, one{w[i]}, inv, mean).v[0];
}

/* Whether rows of dim elements can be read 16 bytes at a time. */
template <typename T> static bool fits(size_t dim, const void *a, const void *b, const void *c, const void *d)
{
    return dim % wide<T>::N == 0 && cuda_aligned(a, 16) && cuda_aligned(b, 16) && cuda_aligned(c, 16) &&
           cuda_aligned(d, 16);
}

/* A thread's, of a row. */
template <typename T> static size_t packs_of(size_t dim)
{
    return (dim + THREADS * wide<T>::N - 1) / (THREADS * wide<T>::N);
}

template <typename T>
static void run(struct cuda *c, void *sum, void *y, const void *a, const void *b, const void *w, size_t n,
                size_t dim, float eps, const struct weight *next)
{
    size_t packs = packs_of<T>(dim);
    bool held = packs <= 4 && fits<T>(dim, y, a, w, sum) && cuda_aligned(b, 16);
    struct ahead ahead = cuda_codes_ahead(c, y, n, dim, held ? next : NULL);
    rows<T> r = {(T *)y, (T *)sum, (const T *)a, (const T *)b, (const T *)w, dim, eps, ahead};
    unsigned blocks = (unsigned)n;

    if (cuda_idle(&c->be, n))
        return;
    if (!held)
        forward_any<T><<<blocks, THREADS, 0, c->stream>>>(r);
    else if (packs == 1)
        forward_held<T, 1><<<blocks, THREADS, 0, c->stream>>>(r);
    else if (packs == 2)
        forward_held<T, 2><<<blocks, THREADS, 0, c->stream>>>(r);
    else
        forward_held<T, 4><<<blocks, THREADS, 0, c->stream>>>(r);
    cuda_launched(&c->be, "rmsnorm");
}

template <typename T>
static void run_dx(struct cuda *c, void *dx, const void *dy, const void *x, const void *w, size_t rows,
                   size_t dim, float eps)
{
    size_t packs = packs_of<T>(dim);
    auto kernel = packs > 4 || !fits<T>(dim, dx, dy, x, w) ? backward_any<T>
                  : packs == 1                             ? backward_held<T, 1>
                  : packs == 2                             ? backward_held<T, 2>
                                                           : backward_held<T, 4>;

    kernel<<<(unsigned)rows, THREADS, 0, c->stream>>>((T *)dx, (const T *)dy, (const T *)x, (const T *)w, dim,
                                                      eps);
    cuda_launched(&c->be, "rmsnorm_dx");
}

void cuda_rmsnorm(struct backend *be, void *y, const void *x, const void *w, size_t rows, size_t dim,
                  float eps, const struct weight *next)
{
    struct cuda *c = cuda_of(be);

    if (!cuda_idle(be, rows * dim))
        CUDA_ACT(c, run, c, NULL, y, x, NULL, w, rows, dim, eps, next);
}

void cuda_add_rmsnorm(struct backend *be, void *sum, void *y, const void *a, const void *b, const void *w,
                      size_t rows, size_t dim, float eps, const struct weight *next)
{
    struct cuda *c = cuda_of(be);

    if (!cuda_idle(be, rows * dim))
        CUDA_ACT(c, run, c, sum, y, a, b, w, rows, dim, eps, next);
}

void cuda_rmsnorm_dx(struct backend *be, void *dx, const void *dy, const void *x, const void *w, size_t rows,
                     size_t dim, float eps)
{
    struct cuda *c = cuda_of(be);

    if (!cuda_idle(be, rows * dim))
        CUDA_ACT(c, run_dx, c, dx, dy, x, w, rows, dim, eps);
}
