/*
 * lt.cu - matrix products through cuBLASLt
 *
 * An algorithm is the first that cuBLASLt's heuristic names, asked once per shape and kept.  Algorithms are
 * not timed against each other: the fastest of several that are nearly equal changes from run to run, and
 * with it the order of the sums and the result's last bits.
 */
#include "kernels/cuda/lt.cuh"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

extern "C" {
#include "common/base/mem.h"
}

#define LT_FUNCTIONS(F)                                                                                      \
    F(Create)                                                                                                \
    F(Destroy)                                                                                               \
    F(GetStatusString)                                                                                       \
    F(Matmul)                                                                                                \
    F(MatmulAlgoGetHeuristic)                                                                                \
    F(MatmulDescCreate)                                                                                      \
    F(MatmulDescDestroy)                                                                                     \
    F(MatmulDescSetAttribute)                                                                                \
    F(MatmulPreferenceCreate)                                                                                \
    F(MatmulPreferenceDestroy)                                                                               \
    F(MatmulPreferenceSetAttribute)                                                                          \
    F(MatrixLayoutCreate)                                                                                    \
    F(MatrixLayoutDestroy)

/* What an algorithm depends on.  Compared as bytes: zeroed before it is filled. */
struct key {
    size_t m, n, k, a_stride, b_stride, d_stride;
    int in, out, a_rows_are_k, accumulate, bias;
    unsigned align_a, align_b, align_d;
};

struct plan {
    struct key key;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algo;
    bool used;
};

enum { PLANS = 4096, WORKSPACE_BYTES = 32 << 20 };

struct lt {
    void *library;
#define F(name) decltype(&cublasLt##name) name;
    LT_FUNCTIONS(F)
#undef F
    cublasLtHandle_t handle;
    struct backend *be;
    void *workspace;
    struct plan plan[PLANS]; /* by hash; a later shape takes the place of an earlier one */
};

static bool lt_ok(struct lt *lt, cublasStatus_t status, const char *what)
{
    if (status == CUBLAS_STATUS_SUCCESS)
        return true;
    err_set(&lt->be->err, RC_SYS, "CUDA: cuBLASLt, %s: %s", what, lt->GetStatusString(status));
    return false;
}

/* The library by its name, then where the toolkit of this build has it. */
static bool load(struct lt *lt)
{
    char name[64], path[1024];

    snprintf(name, sizeof name, "libcublasLt.so.%d", CUBLAS_VER_MAJOR);
    snprintf(path, sizeof path, "%s/%s", CUDA_LIBRARIES, name);
    lt->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!lt->library)
        lt->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!lt->library) {
        err_set(&lt->be->err, RC_SYS,
                "--device cuda: cannot load %s: install the CUDA %d libraries or name their directory in "
                "LD_LIBRARY_PATH, or use --device cpu",
                name, CUBLAS_VER_MAJOR);
        return false;
    }
#define F(function)                                                                                          \
    lt->function = (decltype(&cublasLt##function))dlsym(lt->library, "cublasLt" #function);                  \
    if (!lt->function) {                                                                                     \
        err_set(&lt->be->err, RC_SYS, "--device cuda: %s has no cublasLt" #function, name);                  \
        return false;                                                                                        \
    }
    LT_FUNCTIONS(F)
#undef F
    return true;
}

struct lt *lt_open(struct backend *be)
{
    struct lt *lt = (struct lt *)mem_zalloc(1, sizeof *lt, &be->err);

    if (!lt)
        return NULL;
    lt->be = be;
    if (load(lt) && lt_ok(lt, lt->Create(&lt->handle), "opening")) {
        lt->workspace = cuda_alloc(be, WORKSPACE_BYTES);
        if (lt->workspace)
            return lt;
    }
    lt_close(lt);
    return NULL;
}

static void plan_release(struct lt *lt, struct plan *p)
{
    if (p->a)
        lt->MatrixLayoutDestroy(p->a);
    if (p->b)
        lt->MatrixLayoutDestroy(p->b);
    if (p->d)
        lt->MatrixLayoutDestroy(p->d);
    if (p->desc)
        lt->MatmulDescDestroy(p->desc);
    *p = plan{};
}

void lt_close(struct lt *lt)
{
    if (!lt)
        return;
    if (lt->handle) {
        for (size_t i = 0; i < PLANS; i++)
            plan_release(lt, &lt->plan[i]);
        lt->Destroy(lt->handle);
    }
    cuda_free(lt->be, lt->workspace);
    free(lt); /* the library stays loaded: its kernels are registered with CUDA until the process ends */
}

/* The largest power of two, up to 256, that p is a multiple of. */
static unsigned alignment(const void *p)
{
    uintptr_t low = (uintptr_t)p & -(uintptr_t)p;

    return low && low < 256 ? (unsigned)low : 256;
}

static struct key key_of(const struct product *p)
{
    struct key k;

    memset(&k, 0, sizeof k);
    k.m = p->m;
    k.n = p->n;
    k.k = p->k;
    k.a_stride = p->a_stride;
    k.b_stride = p->b_stride;
    k.d_stride = p->d_stride;
    k.in = p->in;
    k.out = p->out;
    k.a_rows_are_k = p->a_rows_are_k;
    k.accumulate = p->accumulate;
    k.bias = p->bias != NULL;
    k.align_a = alignment(p->a);
    k.align_b = alignment(p->b);
    k.align_d = alignment(p->d);
    return k;
}

static size_t slot_of(const struct key *k)
{
    const unsigned char *byte = (const unsigned char *)k;
    uint64_t h = 1469598103934665603u; /* FNV-1a */

    for (size_t i = 0; i < sizeof *k; i++)
        h = (h ^ byte[i]) * 1099511628211u;
    return (size_t)(h >> 32) % PLANS;
}

#define SET(desc, name, value)                                                                               \
    lt_ok(lt, lt->MatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_##name, &(value), sizeof(value)), #name)

/* cuBLASLt's matrices are column-major: a row-major [r, c] is its [c, r]. */
static bool describe(struct lt *lt, struct plan *p)
{
    const struct key *k = &p->key;
    cudaDataType_t in = (cudaDataType_t)k->in, out = (cudaDataType_t)k->out;
    cublasOperation_t op_a = k->a_rows_are_k ? CUBLAS_OP_N : CUBLAS_OP_T;
    cublasLtEpilogue_t bias = CUBLASLT_EPILOGUE_BIAS;
    size_t a_rows = k->a_rows_are_k ? k->m : k->k, a_cols = k->a_rows_are_k ? k->k : k->m;
    bool integers = in == CUDA_R_8I;
    cublasComputeType_t sums = integers ? CUBLAS_COMPUTE_32I : CUBLAS_COMPUTE_32F;

    return lt_ok(lt, lt->MatmulDescCreate(&p->desc, sums, integers ? CUDA_R_32I : CUDA_R_32F), "a product") &&
           SET(p->desc, TRANSA, op_a) && (!k->bias || SET(p->desc, EPILOGUE, bias)) &&
           lt_ok(lt, lt->MatrixLayoutCreate(&p->a, in, a_rows, a_cols, (int64_t)k->a_stride), "a matrix") &&
           lt_ok(lt, lt->MatrixLayoutCreate(&p->b, in, k->k, k->n, (int64_t)k->b_stride), "a matrix") &&
           lt_ok(lt, lt->MatrixLayoutCreate(&p->d, out, k->m, k->n, (int64_t)k->d_stride), "a matrix");
}

static bool choose(struct lt *lt, struct plan *p)
{
    const struct key *k = &p->key;
    cublasLtMatmulPreference_t pref = NULL;
    cublasLtMatmulHeuristicResult_t result;
    size_t workspace = WORKSPACE_BYTES;
    uint32_t align[4] = {k->align_a, k->align_b, k->align_d, k->align_d};
    const cublasLtMatmulPreferenceAttributes_t which[4] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    cublasStatus_t status;
    int found = 0;
    bool ok = lt_ok(lt, lt->MatmulPreferenceCreate(&pref), "a preference") &&
              lt_ok(lt,
                    lt->MatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                     &workspace, sizeof workspace),
                    "a preference");

    for (int i = 0; i < 4 && ok; i++)
        ok = lt_ok(lt, lt->MatmulPreferenceSetAttribute(pref, which[i], &align[i], sizeof align[i]),
                   "a preference");
    if (ok) {
        status =
            lt->MatmulAlgoGetHeuristic(lt->handle, p->desc, p->a, p->b, p->d, p->d, pref, 1, &result, &found);
        if (status != CUBLAS_STATUS_SUCCESS || found == 0) {
            err_set(&lt->be->err, RC_SYS,
                    "CUDA: cuBLASLt has no algorithm for a product of %zu x %zu x %zu: %s", k->m, k->n, k->k,
                    lt->GetStatusString(status));
            ok = false;
        } else {
            p->algo = result.algo;
        }
    }
    if (pref)
        lt->MatmulPreferenceDestroy(pref);
    return ok;
}

static struct plan *plan_of(struct lt *lt, const struct product *product)
{
    struct key k = key_of(product);
    struct plan *p = &lt->plan[slot_of(&k)];

    if (p->used && !memcmp(&p->key, &k, sizeof k))
        return p;
    plan_release(lt, p);
    p->key = k;
    if (!describe(lt, p) || !choose(lt, p)) {
        plan_release(lt, p);
        return NULL;
    }
    p->used = true;
    return p;
}

void lt_multiply(struct cuda *c, const struct product *product)
{
    struct lt *lt = c->lt;
    struct plan *p = plan_of(lt, product);
    float beta = product->accumulate ? 1 : 0;
    const int32_t one = 1, none = 0;
    bool integers = product->in == CUDA_R_8I;

    if (!p || (product->bias && !SET(p->desc, BIAS_POINTER, product->bias)))
        return;
    lt_ok(lt,
          lt->Matmul(lt->handle, p->desc, integers ? (const void *)&one : &product->alpha, product->a, p->a,
                     product->b, p->b, integers ? (const void *)&none : &beta, product->d, p->d, product->d, p->d,
                     &p->algo, lt->workspace, WORKSPACE_BYTES, c->stream),
          "a product");
}
