/* rope.cu - rotary position embedding, half-split */
#include "kernels/cuda/cuda.cuh"

/* A thread turns one pair.  y may be x: both are read first. */
template <typename T>
static __global__ void rotate(T *y, size_t y_stride, const T *x, size_t x_stride, const float *c,
                              const float *s, size_t pairs, unsigned heads, unsigned half, float sign)
{
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < pairs;
         i += (size_t)gridDim.x * blockDim.x) {
        size_t row = i / (heads * half), in_row = i % (heads * half), head = in_row / half, j = in_row % half;
        const T *from = x + row * x_stride + head * 2 * half + j;
        T *to = y + row * y_stride + head * 2 * half + j;
        float a = to_f32(from[0]), b = to_f32(from[half]), cs = c[row * half + j],
              sn = sign * s[row * half + j];

        to[0] = from_f32<T>(a * cs - b * sn);
        to[half] = from_f32<T>(b * cs + a * sn);
    }
}

template <typename T>
static void launch(struct cuda *c, void *y, size_t y_stride, const void *x, size_t x_stride,
                   const float *cosine, const float *sine, size_t rows, size_t heads, size_t half, float sign)
{
    size_t pairs = rows * heads * half;

    rotate<<<cuda_blocks(c, pairs, 256), 256, 0, c->stream>>>(
        (T *)y, y_stride, (const T *)x, x_stride, cosine, sine, pairs, (unsigned)heads, (unsigned)half, sign);
    cuda_launched(&c->be, "rope");
}

void cuda_rope(struct backend *be, void *y, size_t y_stride, const void *x, size_t x_stride, const float *c,
               const float *s, size_t rows, size_t heads, size_t head_dim, bool inverse)
{
    struct cuda *cu = cuda_of(be);
    size_t half = head_dim / 2;
    float sign = inverse ? -1 : 1;

    if (!cuda_idle(be, rows * heads * half))
        CUDA_ACT(cu, launch, cu, y, y_stride, x, x_stride, c, s, rows, heads, half, sign);
}
