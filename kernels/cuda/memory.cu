/* memory.cu - device memory, and copies to and from it */
#include "kernels/cuda/cuda.cuh"

#include <string.h>

void *cuda_alloc(struct backend *be, size_t bytes)
{
    struct cuda *c = cuda_of(be);
    void *p = NULL;
    size_t free_bytes = 0, all_bytes = 0;
    cudaError_t status;

    if (be->err.rc != RC_OK)
        return NULL;
    status = c->pool ? cudaMallocAsync(&p, bytes ? bytes : 1, c->stream) : cudaMalloc(&p, bytes ? bytes : 1);
    if (status == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* told here */
        cudaMemGetInfo(&free_bytes, &all_bytes);
        err_set(&be->err, RC_SYS,
                "out of GPU memory: cannot allocate %zu bytes, %zu of %zu are free; --max-memory keeps fewer "
                "weights there, --batch-tokens takes fewer rows at a time",
                bytes, free_bytes, all_bytes);
        return NULL;
    }
    return cuda_ok(be, status, "cannot allocate memory") ? p : NULL;
}

void cuda_free(struct backend *be, void *p)
{
    struct cuda *c = cuda_of(be);
    cudaError_t status;

    if (!p)
        return;
    status = c->pool ? cudaFreeAsync(p, c->stream) : cudaFree(p);
    cuda_ok(be, status, "cannot free memory");
}

/* What the pool holds and nobody uses counts as free, too. */
size_t cuda_spare(struct backend *be)
{
    struct cuda *c = cuda_of(be);
    size_t free_bytes = 0, all_bytes = 0;
    uint64_t held = 0, used = 0;
    cudaMemPool_t pool;

    if (cuda_idle(be, 1) || !cuda_ok(be, cudaMemGetInfo(&free_bytes, &all_bytes), "free memory"))
        return 0;
    if (c->pool && cudaDeviceGetDefaultMemPool(&pool, c->device) == cudaSuccess &&
        cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &held) == cudaSuccess &&
        cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used) == cudaSuccess)
        free_bytes += held - used;
    return free_bytes;
}

/* The next slot with room; it may still be on its way from its last use. */
static bool next_slot(struct cuda *c)
{
    struct backend *be = &c->be;

    if (c->slot[c->at].sent && !cuda_ok(be, cudaEventRecord(c->slot[c->at].sent, c->stream), "upload"))
        return false;
    c->at = (c->at + 1) % UPLOAD_SLOTS;
    c->slot[c->at].used = 0;
    if (c->slot[c->at].host)
        return cuda_ok(be, cudaEventSynchronize(c->slot[c->at].sent), "upload");
    return cuda_ok(be, cudaMallocHost(&c->slot[c->at].host, UPLOAD_SLOT_BYTES), "cannot pin host memory") &&
           cuda_ok(be, cudaEventCreateWithFlags(&c->slot[c->at].sent, cudaEventDisableTiming), "event");
}

/*
 * The host's memory is the caller's again on return, and the device has not caught up: what is uploaded waits
 * in pinned memory for its turn.  A copy from pageable memory would wait here until the device has done all
 * that was asked before.
 */
void cuda_upload(struct backend *be, void *dst, const void *host, size_t bytes)
{
    struct cuda *c = cuda_of(be);

    for (size_t at = 0, n; at < bytes && be->err.rc == RC_OK; at += n) {
        size_t room = c->slot[c->at].host ? UPLOAD_SLOT_BYTES - c->slot[c->at].used : 0;
        char *stage;

        n = bytes - at < room ? bytes - at : room;
        if (n == 0) {
            next_slot(c);
            continue;
        }
        stage = (char *)c->slot[c->at].host + c->slot[c->at].used;
        memcpy(stage, (const char *)host + at, n);
        c->slot[c->at].used += n;
        cuda_ok(be, cudaMemcpyAsync((char *)dst + at, stage, n, cudaMemcpyHostToDevice, c->stream), "upload");
    }
}

/* One piece on its way while the one before is copied out. */
static void download_large(struct cuda *c, char *host, const char *src, size_t bytes)
{
    struct backend *be = &c->be;
    size_t pieces = (bytes + PINNED_BYTES - 1) / PINNED_BYTES;

    if (!cuda_open_pinned(c))
        return;
    for (size_t i = 0; i <= pieces && be->err.rc == RC_OK; i++) {
        size_t at = i * PINNED_BYTES, n = bytes - at < PINNED_BYTES ? bytes - at : (size_t)PINNED_BYTES;

        if (i < pieces &&
            (!cuda_ok(be, cudaMemcpyAsync(c->pinned[i % 2], src + at, n, cudaMemcpyDeviceToHost, c->stream),
                      "download") ||
             !cuda_ok(be, cudaEventRecord(c->sent[i % 2], c->stream), "download")))
            return;
        if (i == 0 ||
            !cuda_ok(be, cudaEventSynchronize(c->sent[(i - 1) % 2]), "an operation before a download"))
            continue;
        at = (i - 1) * PINNED_BYTES;
        n = bytes - at < PINNED_BYTES ? bytes - at : (size_t)PINNED_BYTES;
        cuda_copy_in_slices(host + at, c->pinned[(i - 1) % 2], n);
    }
}

void cuda_download(struct backend *be, void *host, const void *src, size_t bytes)
{
    struct cuda *c = cuda_of(be);

    if (bytes > 2 << 20 && !cuda_idle(be, bytes))
        download_large(c, (char *)host, (const char *)src, bytes);
    else if (!cuda_idle(be, bytes) &&
        cuda_ok(be, cudaMemcpyAsync(host, src, bytes, cudaMemcpyDeviceToHost, c->stream), "download"))
        cuda_ok(be, cudaStreamSynchronize(c->stream), "an operation before a download");
}

void cuda_zero(struct backend *be, void *dst, size_t bytes)
{
    struct cuda *c = cuda_of(be);

    if (!cuda_idle(be, bytes))
        cuda_ok(be, cudaMemsetAsync(dst, 0, bytes, c->stream), "zero");
}

void cuda_copy(struct backend *be, void *dst, const void *src, size_t bytes)
{
    struct cuda *c = cuda_of(be);

    if (!cuda_idle(be, bytes))
        cuda_ok(be, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, c->stream), "copy");
}

template <typename To, typename From> static __global__ void convert(To *to, const From *from, size_t n)
{
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
        to[i] = from_f32<To>(to_f32(from[i]));
}

template <typename T> static __global__ void narrow_four(T *y, const float *x, size_t n)
{
    for (size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * 4; i < n;
         i += (size_t)gridDim.x * blockDim.x * 4) {
        pack<float, 4> p = *(const pack<float, 4> *)(x + i);
        pack<T, 4> q;

#pragma unroll
        for (int j = 0; j < 4; j++)
            q.v[j] = from_f32<T>(p.v[j]);
        *(pack<T, 4> *)(y + i) = q;
    }
}

template <typename T> static void run_narrow(struct cuda *c, void *y, const float *x, size_t n)
{
    if (n % 4 == 0 && cuda_aligned(x, 16) && cuda_aligned(y, 16))
        narrow_four<<<cuda_blocks(c, n, 1024), 256, 0, c->stream>>>((T *)y, x, n);
    else
        convert<<<cuda_blocks(c, n, 1024), 256, 0, c->stream>>>((T *)y, x, n);
}

void cuda_narrow(struct backend *be, void *y, const float *x, size_t n)
{
    struct cuda *c = cuda_of(be);

    if (cuda_idle(be, n))
        return;
    CUDA_ACT(c, run_narrow, c, y, x, n);
    cuda_launched(be, "narrow");
}

void cuda_upload_act(struct backend *be, void *dst, const float *host, size_t n)
{
    struct cuda *c = cuda_of(be);
    float *stage;

    if (!c->bf16_act) {
        cuda_upload(be, dst, host, n * sizeof *host);
        return;
    }
    if (cuda_idle(be, n) || !(stage = (float *)cuda_scratch(c, SCRATCH_STAGE, n * sizeof *stage)))
        return;
    cuda_upload(be, stage, host, n * sizeof *stage);
    convert<<<cuda_blocks(c, n, 256), 256, 0, c->stream>>>((bf16 *)dst, stage, n);
    cuda_launched(be, "upload_act");
}

void cuda_download_act(struct backend *be, float *host, const void *src, size_t n)
{
    struct cuda *c = cuda_of(be);
    float *stage;

    if (!c->bf16_act) {
        cuda_download(be, host, src, n * sizeof *host);
        return;
    }
    if (cuda_idle(be, n) || !(stage = (float *)cuda_scratch(c, SCRATCH_STAGE, n * sizeof *stage)))
        return;
    convert<<<cuda_blocks(c, n, 256), 256, 0, c->stream>>>(stage, (const bf16 *)src, n);
    if (cuda_launched(be, "download_act"))
        cuda_download(be, host, stage, n * sizeof *host);
}
