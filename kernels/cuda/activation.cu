/* activation.cu - addition, SwiGLU and GELU */
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

void cuda_swiglu(struct backend *be, void *s, const void *g, const void *u, size_t n)
{
    struct cuda *c = cuda_of(be);

    if (cuda_idle(be, n))
        return;
    if (c->bf16_act)
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
