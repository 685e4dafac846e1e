/* activation.cu - SwiGLU and GELU */
#include "kernels/cuda/linear.cuh"
#include "kernels/cuda/map.cuh"

struct swiglu_op {
    static __device__ void apply(float *out, const float *in)
    {
        out[0] = in[0] / (1 + expf(-in[0])) * in[1];
    }
};

/* in: ds, g, u; out: dg, du. */
struct swiglu_dx_op {
    static __device__ void apply(float *out, const float *in)
    {
        float sigmoid = 1 / (1 + expf(-in[1]));

        out[1] = in[0] * (in[1] * sigmoid);
        out[0] = in[0] * in[2] * (sigmoid * (1 + in[1] * (1 - sigmoid)));
    }
};

/* in: ds, g, u; out: s, dg, du. */
struct swiglu_and_dx_op {
    static __device__ void apply(float *out, const float *in)
    {
        swiglu_op::apply(out, in + 1);
        swiglu_dx_op::apply(out + 1, in);
    }
};

/* The normal distribution function. */
static __device__ float phi(float x)
{
    return 0.5f * (1 + erff(x * 0.70710678f));
}

struct gelu_op {
    static __device__ void apply(float *out, const float *in)
    {
        out[0] = in[0] * phi(in[0]);
    }
};

/* in: dy, x. */
struct gelu_dx_op {
    static __device__ void apply(float *out, const float *in)
    {
        float x = in[1], density = 0.39894228f * expf(-0.5f * x * x);

        out[0] = in[0] * (phi(x) + x * density);
    }
};

/* Operands by position: y and the inputs of one output, or two of each kind. */
template <typename T, typename Op> static void one_of_one(struct cuda *c, void *y, const void *a, size_t n)
{
    operands<T, 1, 1> p = {{(T *)y}, {(const T *)a}};

    map_elements<Op>(c, p, n, "an elementwise operation");
}

template <typename T, typename Op>
static void one_of_two(struct cuda *c, void *y, const void *a, const void *b, size_t n)
{
    operands<T, 1, 2> p = {{(T *)y}, {(const T *)a, (const T *)b}};

    map_elements<Op>(c, p, n, "an elementwise operation");
}

/* Elements and the codes of the first output's. */
template <typename Op, int OUT, int IN>
static __global__ void map_codes(operands<bf16, OUT, IN> p, struct ahead to, size_t n)
{
    const int N = wide<bf16>::N;

    for (size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * N; i < n;
         i += (size_t)gridDim.x * blockDim.x * N)
        *(pack<uint16_t, N / 2> *)(to.code + i) = codes_of<N>(map_pack<Op, N>(p, i), to.d);
}

template <typename Op, int OUT, int IN>
static void run_codes(struct cuda *c, const operands<bf16, OUT, IN> &p, struct ahead to, size_t n)
{
    map_codes<Op><<<cuda_blocks(c, n, 256 * wide<bf16>::N), 256, 0, c->stream>>>(p, to, n);
}

/* Codes are of bf16. */
template <typename Op, int OUT, int IN>
static void run_codes(struct cuda *, const operands<float, OUT, IN> &, struct ahead, size_t)
{
}

/* map_elements() of rows whose first output is made for `next`. */
template <typename Op, typename T, int OUT, int IN>
static void map_rows(struct cuda *c, const operands<T, OUT, IN> &p, size_t rows, size_t dim,
                     const struct weight *next, const char *what)
{
    size_t n = rows * dim;
    struct ahead to = cuda_codes_ahead(c, p.out[0], rows, dim, map_fits(p, n) ? next : NULL);

    if (cuda_idle(&c->be, n))
        return;
    if (!to.code) {
        map_elements<Op>(c, p, n, what);
        return;
    }
    run_codes<Op>(c, p, to, n);
    cuda_launched(&c->be, what);
}

template <typename T>
static void swiglu(struct cuda *c, void *s, const void *g, const void *u, size_t rows, size_t dim,
                   const struct weight *next)
{
    operands<T, 1, 2> p = {{(T *)s}, {(const T *)g, (const T *)u}};

    map_rows<swiglu_op>(c, p, rows, dim, next, "swiglu");
}

void cuda_swiglu(struct backend *be, void *s, const void *g, const void *u, size_t rows, size_t dim,
                 const struct weight *next)
{
    struct cuda *c = cuda_of(be);

    if (!cuda_idle(be, rows * dim))
        CUDA_ACT(c, swiglu, c, s, g, u, rows, dim, next);
}

template <typename T>
static void swiglu_dx(struct cuda *c, void *dg, void *du, void *s, const void *ds, const void *g,
                      const void *u, size_t rows, size_t dim, const struct weight *next)
{
    operands<T, 2, 3> p = {{(T *)dg, (T *)du}, {(const T *)ds, (const T *)g, (const T *)u}};
    operands<T, 3, 3> with_s = {{(T *)s, (T *)dg, (T *)du}, {p.in[0], p.in[1], p.in[2]}};

    if (s)
        map_rows<swiglu_and_dx_op>(c, with_s, rows, dim, next, "swiglu_dx");
    else
        map_elements<swiglu_dx_op>(c, p, rows * dim, "swiglu_dx");
}

void cuda_swiglu_dx(struct backend *be, void *dg, void *du, void *s, const void *ds, const void *g,
                    const void *u, size_t rows, size_t dim, const struct weight *next)
{
    struct cuda *c = cuda_of(be);

    if (!cuda_idle(be, rows * dim))
        CUDA_ACT(c, swiglu_dx, c, dg, du, s, ds, g, u, rows, dim, next);
}

void cuda_gelu(struct backend *be, void *y, const void *x, size_t n)
{
    struct cuda *c = cuda_of(be);

    if (cuda_idle(be, n))
        return;
    if (c->bf16_act)
        one_of_one<bf16, gelu_op>(c, y, x, n);
    else
        one_of_one<float, gelu_op>(c, y, x, n);
}

void cuda_gelu_dx(struct backend *be, void *dx, const void *dy, const void *x, size_t n)
{
    struct cuda *c = cuda_of(be);

    if (cuda_idle(be, n))
        return;
    if (c->bf16_act)
        one_of_two<bf16, gelu_dx_op>(c, dx, dy, x, n);
    else
        one_of_two<float, gelu_dx_op>(c, dx, dy, x, n);
}
