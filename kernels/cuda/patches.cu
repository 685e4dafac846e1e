/* patches.cu - the pictures' bytes as rows of normalised patches */
#include "kernels/cuda/cuda.cuh"

/* One block a patch; every byte is looked up once and written to all frames. */
template <typename T>
static __global__ void cut(T *y, const uint8_t *rgb, const struct patch *patch, const float *table,
                           unsigned side, unsigned frames)
{
    struct patch p = patch[blockIdx.x];
    unsigned area = side * side;

    y += (size_t)blockIdx.x * 3 * frames * area;
    for (unsigned i = threadIdx.x; i < 3 * area; i += blockDim.x) {
        unsigned channel = i / area, at = i % area;
        uint8_t byte = rgb[p.first + at / side * p.stride + 3 * (at % side) + channel];
        T v = from_f32<T>(table[channel * 256 + byte]);

        for (unsigned frame = 0; frame < frames; frame++)
            y[(channel * frames + frame) * area + at] = v;
    }
}

template <typename T>
static void run(struct cuda *c, void *y, const uint8_t *rgb, const struct patch *patch, const float *table,
                size_t patches, size_t side, size_t frames)
{
    cut<<<(unsigned)patches, 256, 0, c->stream>>>((T *)y, rgb, patch, table, (unsigned)side,
                                                  (unsigned)frames);
}

void cuda_patches(struct backend *be, void *y, const uint8_t *rgb, const struct patch *patch,
                  const float *table, size_t patches, size_t side, size_t frames)
{
    struct cuda *c = cuda_of(be);

    if (cuda_idle(be, patches * side * frames))
        return;
    CUDA_ACT(c, run, c, y, rgb, patch, table, patches, side, frames);
    cuda_launched(be, "patches");
}
