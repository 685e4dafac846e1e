/*
 * lt.cu - matrix products through cuBLASLt
 *
 * An algorithm is the first that cuBLASLt's heuristic names, asked once per shape and kept.  For a large
 * product that comes often, the heuristic's other algorithms are timed against it, and the fastest takes its
 * place: of those only that give the same result, bit for bit, since which of several is the fastest changes
 * from run to run.  Most do: they differ in tiles and clusters, but add along k in the same order.
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
    F(MatmulAlgoCheck)                                                                                       \
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

/* The fastest algorithm of products that differ in their rows a little, or in adding to what is there. */
struct choice {
    struct key key;
    size_t uses; /* until it is made */
    bool used, made;
    cublasLtMatmulAlgo_t algo;
};

struct plan {
    struct key key;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algo;
    bool used, final; /* final: the algorithm stays */
};

enum { PLANS = 4096, CHOICES = 1024, WORKSPACE_BYTES = 32 << 20 };

/*
 * When to choose: it costs some 90 products, or 0.1 ms for each turn of each algorithm where they are short.
 * Smaller ones wait for their launch more than for their sums.
 */
enum { CHOICE_USES = 128, CHOICE_ROWS = 256, CHOICE_TURNS = 6, CHOICE_TIMES = 3, ALGORITHMS = 16 };
static const float CHOICE_MS = 0.1f;    /* what is timed together: CHOICE_TIMES products, or as many as this */
static const float CHOICE_SLOW = 1.15f; /* what is slower than this to begin with is not timed again */
static const double CHOICE_SIZE = 1e9; /* m n k */

struct lt {
    void *library;
#define F(name) decltype(&cublasLt##name) name;
    LT_FUNCTIONS(F)
#undef F
    cublasLtHandle_t handle;
    struct backend *be;
    void *workspace;
    bool search;             /* see cuda_search_products() */
    struct plan plan[PLANS]; /* by hash; a later shape takes the place of an earlier one */
    struct choice choice[CHOICES];
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

static size_t slot_of(const struct key *k, size_t slots)
{
    const unsigned char *byte = (const unsigned char *)k;
    uint64_t h = 1469598103934665603u; /* FNV-1a */

    for (size_t i = 0; i < sizeof *k; i++)
        h = (h ^ byte[i]) * 1099511628211u;
    return (size_t)(h >> 32) % slots;
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

/* The heuristic's algorithms, best first: how many, or 0. */
static int algorithms(struct lt *lt, struct plan *p, cublasLtMatmulHeuristicResult_t *result, int most)
{
    const struct key *k = &p->key;
    cublasLtMatmulPreference_t pref = NULL;
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
        status = lt->MatmulAlgoGetHeuristic(lt->handle, p->desc, p->a, p->b, p->d, p->d, pref, most, result,
                                            &found);
        if (status != CUBLAS_STATUS_SUCCESS || found == 0) {
            err_set(&lt->be->err, RC_SYS,
                    "CUDA: cuBLASLt has no algorithm for a product of %zu x %zu x %zu: %s", k->m, k->n, k->k,
                    lt->GetStatusString(status));
            found = 0;
        }
    }
    if (pref)
        lt->MatmulPreferenceDestroy(pref);
    return found;
}

static bool multiply(struct lt *lt, const struct plan *p, const cublasLtMatmulAlgo_t *algo,
                     const struct product *product)
{
    const int32_t one = 1, none = 0;
    float beta = product->accumulate ? 1 : 0;
    bool integers = product->in == CUDA_R_8I;

    return lt_ok(lt,
                 lt->Matmul(lt->handle, p->desc, integers ? (const void *)&one : &product->alpha, product->a,
                            p->a, product->b, p->b, integers ? (const void *)&none : &beta, product->d, p->d,
                            product->d, p->d, algo, lt->workspace, WORKSPACE_BYTES, cuda_of(lt->be)->stream),
                 "a product");
}

/* A result told apart from others: a sum over its words and their places, and how many are not 0. */
struct digest {
    unsigned long long sum, filled;
};

static __global__ void take_digest(struct digest *out, const uint32_t *d, size_t n)
{
    unsigned long long sum = 0, filled = 0;

    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n;
         i += (size_t)gridDim.x * blockDim.x) {
        unsigned long long h = (d[i] ^ (unsigned long long)i << 32) * 0x9e3779b97f4a7c15u;

        sum += (h ^ h >> 29) * 0xbf58476d1ce4e5b9u;
        filled += d[i] != 0;
    }
    sum = block_reduce(sum, add_values(), 0ULL);
    filled = block_reduce(filled, add_values(), 0ULL);
    if (threadIdx.x == 0) { /* integers: the order does not matter */
        atomicAdd(&out->sum, sum);
        atomicAdd(&out->filled, filled);
    }
}

static size_t bytes_of_result(const struct plan *p)
{
    return p->key.n * p->key.d_stride * (p->key.out == CUDA_R_16BF ? sizeof(bf16) : sizeof(float));
}

static bool digest_of(struct lt *lt, const struct plan *p, const struct product *product,
                      struct digest *digest)
{
    struct cuda *c = cuda_of(lt->be);
    size_t bytes = bytes_of_result(p);
    struct digest *out = (struct digest *)cuda_scratch(c, SCRATCH_STAGE, sizeof *out);

    cuda_zero(lt->be, out, sizeof *out);
    if (cuda_idle(lt->be, 1))
        return false;
    take_digest<<<cuda_blocks(c, bytes / 4, 256), 256, 0, c->stream>>>(out, (const uint32_t *)product->d,
                                                                       bytes / 4);
    cuda_launched(lt->be, "comparing products");
    cuda_download(lt->be, digest, out, sizeof *digest);
    return lt->be->err.rc == RC_OK;
}

/* Milliseconds of so many products by one algorithm. */
static float time_of(struct lt *lt, const struct plan *p, const cublasLtMatmulAlgo_t *algo,
                     const struct product *product, int times, cudaEvent_t *event)
{
    cudaStream_t stream = cuda_of(lt->be)->stream;
    float ms = INFINITY;
    bool ok = cuda_ok(lt->be, cudaEventRecord(event[0], stream), "an event");

    for (int i = 0; i < times && ok; i++)
        ok = multiply(lt, p, algo, product);
    ok = ok && cuda_ok(lt->be, cudaEventRecord(event[1], stream), "an event") &&
         cuda_ok(lt->be, cudaEventSynchronize(event[1]), "a product") &&
         cuda_ok(lt->be, cudaEventElapsedTime(&ms, event[0], event[1]), "an event");
    return ok ? ms : INFINITY;
}

/*
 * Keep those of `found` algorithms that give the first's result, bit for bit: how many.  0 after a failure, or
 * when that result is mostly zeros, which say little.
 */
static int keep_alike(struct lt *lt, const struct plan *p, cublasLtMatmulHeuristicResult_t *result, int found,
                      const struct product *product)
{
    struct digest digest, first = {};
    int alike = 0;

    for (int i = 0; i < found; i++) {
        if (!multiply(lt, p, &result[i].algo, product) || !digest_of(lt, p, product, &digest))
            return 0;
        if (i == 0)
            first = digest;
        if (first.filled < bytes_of_result(p) / 4 / 2)
            return 0;
        if (digest.sum == first.sum || lt->search)
            result[alike++] = result[i];
    }
    return alike;
}

/*
 * The fastest of n algorithms.  They take turns: a chip under load slows down, and what is timed first would
 * win.  One is timed to warm up; the first turn sorts out the slow ones.
 */
static cublasLtMatmulAlgo_t fastest(struct lt *lt, const struct plan *p,
                                    cublasLtMatmulHeuristicResult_t *result, int n,
                                    const struct product *product, cudaEvent_t *event)
{
    float ms[ALGORITHMS], least, first = time_of(lt, p, &result->algo, product, CHOICE_TIMES, event);
    int best = 0, left = 0, times = CHOICE_TIMES * (int)fmaxf(1, CHOICE_MS / first);

    for (int turn = 0; turn < CHOICE_TURNS; turn++) {
        least = INFINITY;
        for (int i = 0; i < n; i++) {
            ms[i] = time_of(lt, p, &result[i].algo, product, times, event) + (turn > 1 ? ms[i] : 0);
            if (ms[i] < least) {
                least = ms[i];
                best = i;
            }
        }
        if (turn == 0) {
            for (int i = 0; i < n; i++)
                if (ms[i] <= least * CHOICE_SLOW)
                    result[left++] = result[i];
            n = left;
        }
    }
    return result[best].algo;
}

/* A choice for the products that p stands for, unless its time has not come; d is left with the product. */
static bool choose(struct lt *lt, struct plan *p, struct choice *choice, const struct product *product)
{
    cublasLtMatmulHeuristicResult_t result[ALGORITHMS];
    cudaEvent_t event[2] = {};
    int n = algorithms(lt, p, result, ALGORITHMS);

    n = keep_alike(lt, p, result, n, product);
    if (n > 0 && cuda_ok(lt->be, cudaEventCreate(&event[0]), "an event") &&
        cuda_ok(lt->be, cudaEventCreate(&event[1]), "an event")) {
        choice->algo = fastest(lt, p, result, n, product, event);
        choice->made = lt->be->err.rc == RC_OK;
    }
    for (int i = 0; i < 2; i++)
        if (event[i])
            cudaEventDestroy(event[i]);
    choice->uses = 0;
    return lt->be->err.rc == RC_OK;
}

static struct choice *choice_of(struct lt *lt, const struct plan *p)
{
    struct key k = p->key;
    struct choice *choice;

    k.n = (k.n + CHOICE_ROWS - 1) / CHOICE_ROWS * CHOICE_ROWS;
    k.accumulate = 0;
    choice = &lt->choice[slot_of(&k, CHOICES)];
    if (!choice->used || memcmp(&choice->key, &k, sizeof k)) {
        *choice = {};
        choice->key = k;
        choice->used = true;
    }
    return choice;
}

/* A better algorithm, if there is one by now. */
static bool improve(struct lt *lt, struct plan *p, const struct product *product)
{
    struct choice *choice;
    cublasLtMatmulHeuristicResult_t result;

    if ((double)p->key.m * p->key.n * p->key.k < CHOICE_SIZE && !lt->search) {
        p->final = true;
        return true;
    }
    choice = choice_of(lt, p);
    if (!choice->made && !product->accumulate && (++choice->uses >= CHOICE_USES || lt->search) &&
        !choose(lt, p, choice, product))
        return false;
    if (!choice->made)
        return true;
    if (lt->MatmulAlgoCheck(lt->handle, p->desc, p->a, p->b, p->d, p->d, &choice->algo, &result) ==
            CUBLAS_STATUS_SUCCESS &&
        result.workspaceSize <= WORKSPACE_BYTES)
        p->algo = choice->algo;
    p->final = true;
    return true;
}

static struct plan *plan_of(struct lt *lt, const struct product *product)
{
    struct key k = key_of(product);
    struct plan *p = &lt->plan[slot_of(&k, PLANS)];
    cublasLtMatmulHeuristicResult_t result;

    if (p->used && !memcmp(&p->key, &k, sizeof k))
        return p;
    plan_release(lt, p);
    p->key = k;
    if (!describe(lt, p) || algorithms(lt, p, &result, 1) == 0) {
        plan_release(lt, p);
        return NULL;
    }
    p->algo = result.algo;
    p->used = true;
    return p;
}

void lt_multiply(struct cuda *c, const struct product *product)
{
    struct lt *lt = c->lt;
    struct plan *p = plan_of(lt, product);

    if (!p || (product->bias && !SET(p->desc, BIAS_POINTER, product->bias)))
        return;
    if (p->final || improve(lt, p, product))
        multiply(lt, p, &p->algo, product);
}

void cuda_search_products(struct backend *be)
{
    struct lt *lt = cuda_of(be)->lt;

    for (size_t i = 0; i < PLANS; i++)
        lt->plan[i].final = false;
    memset(lt->choice, 0, sizeof lt->choice);
    lt->search = true;
}
