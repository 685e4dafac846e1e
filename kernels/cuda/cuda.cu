/* cuda.cu - the CUDA backend's table of operations, and opening a device */
#include "kernels/cuda/cuda.cuh"

#include <stdlib.h>

#include "kernels/cuda/lt.cuh"

extern "C" {
#include "common/base/mem.h"
}

bool cuda_ok(struct backend *be, cudaError_t status, const char *what)
{
    if (status == cudaSuccess)
        return true;
    err_set(&be->err, RC_SYS, "CUDA: %s: %s", what, cudaGetErrorString(status));
    return false;
}

/* Tensor cores take rows in units of 16 bytes, of FP8 codes 16 elements; in fp32 they are not used. */
enum { WIDTH_UNIT = 16 };

void *cuda_scratch(struct cuda *c, enum cuda_scratch_kind kind, size_t bytes)
{
    if (bytes > c->scratch_bytes[kind] || !c->scratch[kind]) {
        cuda_free(&c->be, c->scratch[kind]);
        c->scratch[kind] = cuda_alloc(&c->be, bytes);
        c->scratch_bytes[kind] = c->scratch[kind] ? bytes : 0;
    }
    return c->scratch[kind];
}

static void cuda_close(struct backend *be)
{
    struct cuda *c = cuda_of(be);

    cudaStreamSynchronize(c->stream);
    for (int i = 0; i < SCRATCH_KINDS; i++)
        cuda_free(be, c->scratch[i]);
    cuda_free(be, c->blocks_done);
    for (int i = 0; i < 2; i++) {
        if (c->pinned[i])
            cudaFreeHost(c->pinned[i]);
        if (c->sent[i])
            cudaEventDestroy(c->sent[i]);
    }
    for (int i = 0; i < UPLOAD_SLOTS; i++) {
        if (c->slot[i].host)
            cudaFreeHost(c->slot[i].host);
        if (c->slot[i].sent)
            cudaEventDestroy(c->slot[i].sent);
    }
    lt_close(c->lt);
    if (c->stream) {
        cudaStreamSynchronize(c->stream);
        cudaStreamDestroy(c->stream);
    }
    free(c);
}

static void fill_table(struct backend *be)
{
    be->close = cuda_close;
    be->alloc = cuda_alloc;
    be->free = cuda_free;
    be->spare = cuda_spare;
    be->upload = cuda_upload;
    be->download = cuda_download;
    be->upload_act = cuda_upload_act;
    be->download_act = cuda_download_act;
    be->zero = cuda_zero;
    be->copy = cuda_copy;
    be->weight_load = cuda_weight_load;
    be->weight_load_fp8 = cuda_weight_load_fp8;
    be->weight_quantize = cuda_weight_quantize;
    be->weight_load_int8 = cuda_weight_load_int8;
    be->weight_quantize_int8 = cuda_weight_quantize_int8;
    be->weight_free = cuda_weight_free;
    be->linear = cuda_linear;
    be->linear_again = cuda_linear_again;
    be->linear_dx = cuda_linear_dx;
    be->linear_f32 = cuda_linear_f32;
    be->score_linear = cuda_score_linear;
    be->rmsnorm = cuda_rmsnorm;
    be->add_rmsnorm = cuda_add_rmsnorm;
    be->rmsnorm_dx = cuda_rmsnorm_dx;
    be->rope = cuda_rope;
    be->attention = cuda_attention;
    be->attention_dx = cuda_attention_dx;
    be->swiglu = cuda_swiglu;
    be->swiglu_dx = cuda_swiglu_dx;
    be->gelu = cuda_gelu;
    be->gelu_dx = cuda_gelu_dx;
    be->gather = cuda_gather;
    be->scatter = cuda_scatter;
    be->patches = cuda_patches;
    be->embed = cuda_embed;
    be->narrow = cuda_narrow;
    be->nll = cuda_nll;
    be->nll_dx = cuda_nll_dx;
    be->compare = cuda_compare;
    be->amax = cuda_amax;
    be->weight_amax = cuda_weight_amax;
    be->amax_columns = cuda_amax_columns;
    be->distance = cuda_distance;
    be->round_fp8 = cuda_round_fp8;
    be->score = cuda_score;
}

int cuda_devices(const char **why)
{
    int n = 0;
    cudaError_t status = cudaGetDeviceCount(&n);

    cudaGetLastError(); /* the failure is told here, not by the next call */
    if (why && status == cudaErrorInsufficientDriver)
        *why = "the NVIDIA driver is missing or older than this build's CUDA asks for";
    else if (why && (status == cudaErrorNoDevice || (status == cudaSuccess && n == 0)))
        *why = "there is no NVIDIA GPU";
    else if (why && status != cudaSuccess)
        *why = cudaGetErrorString(status);
    return status == cudaSuccess ? n : 0;
}

/* Freed memory stays with the process: a walk's buffers come and go with each batch. */
static bool keep_pool(struct cuda *c)
{
    cudaMemPool_t pool;
    uint64_t all = UINT64_MAX;
    int has = 0;

    if (cudaDeviceGetAttribute(&has, cudaDevAttrMemoryPoolsSupported, c->device) != cudaSuccess || !has)
        return false;
    return cudaDeviceGetDefaultMemPool(&pool, c->device) == cudaSuccess &&
           cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &all) == cudaSuccess;
}

/*
 * A batch of 4096 rows fills a large GPU's tensor cores; twice that makes up for pictures, of which few fit
 * into one.  Scoring takes some 0.3 MB a row of a 3B model, 4 MB of a 72B one.
 */
static void choose_sizes(struct cuda *c)
{
    const size_t gib = (size_t)1 << 30;
    size_t free_bytes = 0, bytes = 0;

    cudaMemGetInfo(&free_bytes, &bytes);
    c->be.batch_rows = bytes >= 40 * gib ? 8192 : bytes >= 12 * gib ? 4096 : 2048;
    c->be.logit_bytes = bytes >= 12 * gib ? 320 << 20 : 128 << 20;
}

struct backend *be_open_cuda(int index, enum cuda_math math, struct err *e)
{
    const char *why = NULL;
    int n = cuda_devices(&why), major = 0, minor = 0;
    struct cuda *c;

    if (n == 0) {
        err_set(e, RC_SYS, "--device cuda: %s; use --device cpu", why);
        return NULL;
    }
    if (index < 0 || index >= n) {
        err_set(e, RC_USAGE, "--device cuda:%d: this machine has %d GPU%s, 0%s", index, n, n > 1 ? "s" : "",
                n > 1 ? " and up" : "");
        return NULL;
    }
    c = (struct cuda *)mem_zalloc(1, sizeof *c, e);
    if (!c)
        return NULL;
    c->device = index;
    if (!cuda_ok(&c->be, cudaSetDevice(index), "cannot use the device") ||
        !cuda_ok(&c->be, cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index),
                 "device") ||
        !cuda_ok(&c->be, cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index),
                 "device") ||
        !cuda_ok(&c->be, cudaDeviceGetAttribute(&c->sms, cudaDevAttrMultiProcessorCount, index), "device"))
        goto fail;
    if (major < 8) {
        err_set(&c->be.err, RC_SYS,
                "--device cuda:%d: a GPU of compute capability 8.0 or later is needed, this one has %d.%d; "
                "use --device "
                "cpu",
                index, major, minor);
        goto fail;
    }
    c->be.name = "cuda";
    c->bf16_act = math != CUDA_FP32;
    c->be.act_bytes = c->bf16_act ? sizeof(bf16) : sizeof(float);
    c->be.width_unit = c->bf16_act ? WIDTH_UNIT : 1;
    c->fp8 = math == CUDA_BF16 && 10 * major + minor >= 89;
    c->wgmma = attention_wgmma_here();
    c->map_encoder = cuda_map_encoder();
    c->pool = keep_pool(c);
    choose_sizes(c);
    fill_table(&c->be);
    if (!cuda_ok(&c->be, cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking),
                 "cannot make a stream"))
        goto fail;
    c->lt = lt_open(&c->be);
    c->blocks_done = (unsigned *)cuda_alloc(&c->be, sizeof *c->blocks_done);
    cuda_zero(&c->be, c->blocks_done, sizeof *c->blocks_done);
    if (c->be.err.rc != RC_OK)
        goto fail;
    return &c->be;
fail:
    be_check(&c->be, e);
    cuda_close(&c->be);
    return NULL;
}
