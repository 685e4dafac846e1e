/* activation.cu - addition, SwiGLU and GELU */
#include "kernels/cuda/linear.cuh"
#include "kernels/cuda/map.cuh"

struct add_op {
    static __device__ void apply(float *out, const float *in)
    {
        out[0] = in[0] + in[1];
    }
};

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

void cuda_add(struct backend *be, void *y, const void *a, const void *b, size_t n)
{
    struct cuda *c = cuda_of(be);

    if (cuda_idle(be, n))
        return;
    if (c->bf16_act)
        one_of_two<bf16, add_op>(c, y, a, b, n);
    else
        one_of_two<float, add_op>(c, y, a, b, n);
}

/* Eight elements and their codes at a time. */
static __global__ void swiglu_codes(bf16 *s, struct ahead to, const bf16 *g, const bf16 *u, size_t n)
{
    const int N = wide<bf16>::N;

    for (size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * N; i < n;
         i += (size_t)gridDim.x * blockDim.x * N) {
        pack<bf16, N> gate = *(const pack<bf16, N> *)(g + i), up = *(const pack<bf16, N> *)(u + i), y;

#pragma unroll
        for (int j = 0; j < N; j++) {
            float in[] = {to_f32(gate.v[j]), to_f32(up.v[j])}, out;

            swiglu_op::apply(&out, in);
            y.v[j] = from_f32<bf16>(out);
        }
        *(pack<bf16, N> *)(s + i) = y;
        *(pack<uint16_t, N / 2> *)(to.code + i) = codes_of<N>(y, to.d);
    }
}

void cuda_swiglu(struct backend *be, void *s, const void *g, const void *u, size_t rows, size_t dim,
                 const struct weight *next)
{
    struct cuda *c = cuda_of(be);
    size_t n = rows * dim;
    struct ahead to;

    if (cuda_idle(be, n))
        return;
    to = cuda_codes_ahead(c, s, rows, dim, cuda_aligned(g, 16) && cuda_aligned(u, 16) ? next : NULL);
    if (cuda_idle(be, n))
        return;
    if (to.code) {
        swiglu_codes<<<cuda_blocks(c, n, 256 * wide<bf16>::N), 256, 0, c->stream>>>(
            (bf16 *)s, to, (const bf16 *)g, (const bf16 *)u, n);
        cuda_launched(be, "swiglu");
    } else if (c->bf16_act)
        one_of_two<bf16, swiglu_op>(c, s, g, u, n);
    else
        one_of_two<float, swiglu_op>(c, s, g, u, n);
}

template <typename T>
static void swiglu_dx(struct cuda *c, void *dg, void *du, const void *ds, const void *g, const void *u,
                      size_t n)
{
    operands<T, 2, 3> p = {{(T *)dg, (T *)du}, {(const T *)ds, (const T *)g, (const T *)u}};

    map_elements<swiglu_dx_op>(c, p, n, "swiglu_dx");
}

void cuda_swiglu_dx(struct backend *be, void *dg, void *du, const void *ds, const void *g, const void *u,
                    size_t n)
{
    struct cuda *c = cuda_of(be);

    if (!cuda_idle(be, n))
        CUDA_ACT(c, swiglu_dx, c, dg, du, ds, g, u, n);
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
