/*
 * weight.cu - weights on the device
 *
 * They come through two pinned buffers in turns, one filled while the other is on its way, also from one weight
 * to the next.  What is not in its final form in the file goes through a device buffer of the same size and is
 * converted there.
 */
#include <stdlib.h>

#include "kernels/cuda/linear.cuh"

extern "C" {
#include "common/base/mem.h"
}

enum {
    CHUNK = PINNED_BYTES,
    SLICE = 1 << 20
}; /* bytes of a pinned buffer, and of what one thread copies at a time */

static size_t bytes_of(const struct cuda *c, const struct weight *w)
{
    if (w->format == weight::WEIGHT_INT8)
        return code_padded(w->out) * code_padded(w->in);
    if (w->format == weight::WEIGHT_FP8 && c->fp8)
        return code_padded(w->out) * code_padded(w->in);
    return dense_padded(c, w->out) * dense_padded(c, w->in) * c->be.act_bytes;
}

void cuda_weight_free(struct backend *be, struct weight *w)
{
    struct cuda_matrix *m = cuda_matrix_of(w);
    const void *bias = w->bias;

    cuda_free(be, w->row_scale);
    cuda_free(be, w->pre_scale);
    if (m) {
        cuda_free(be, m->data);
        cuda_free(be, m->exact);
        free(m);
    }
    memset(w, 0, sizeof *w);
    w->bias = bias;
}

/* Room for [out, in] in w, that of an earlier load if it fits.  exact: fp32 room too.  Returns NULL:
 * recorded. */
static struct cuda_matrix *reserve(struct backend *be, struct weight *w, int format, size_t out, size_t in,
                                   bool exact)
{
    struct cuda *c = cuda_of(be);
    struct cuda_matrix *m = cuda_matrix_of(w);
    size_t n, bytes;
    bool same = m && w->out == out && w->in == in && (int)w->format == format && (m->exact != NULL) == exact;

    if (be->err.rc != RC_OK || mem_mul(out, in, &n, "a weight", &be->err) ||
        mem_mul(n, sizeof(float), &bytes, "a weight", &be->err))
        return NULL;
    if (!same) {
        cuda_weight_free(be, w);
        m = (struct cuda_matrix *)mem_zalloc(1, sizeof *m, &be->err);
        if (!m)
            return NULL;
        w->data = m;
    }
    w->format = (decltype(w->format))format;
    w->out = out;
    w->in = in;
    if (!m->data)
        m->data = cuda_alloc(be, bytes_of(c, w));
    if (exact && !m->exact)
        m->exact = (float *)cuda_alloc(be, bytes);
    return be->err.rc == RC_OK ? m : NULL;
}

/* ---- conversions ---- */

static __device__ float f32_at(const float *x, size_t i)
{
    return x[i];
}

static __device__ float f32_at(const bf16 *x, size_t i)
{
    return to_f32(x[i]);
}

/* fp16 bits */
static __device__ float f32_at(const uint16_t *x, size_t i)
{
    return f16_to_f32(x[i]);
}

/* Rows of `in` elements that are `stride` apart. */
struct layout {
    size_t in, stride;
};

static __device__ size_t place_of(struct layout l, size_t i)
{
    return l.in == l.stride ? i : i / l.in * l.stride + i % l.in;
}

/* Elements first..first+n in the activation type, and in fp32, densely, when exact is not NULL. */
template <typename To, typename From>
static __global__ void convert(To *to, float *exact, const From *from, size_t first, size_t n,
                               struct layout l)
{
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n;
         i += (size_t)gridDim.x * blockDim.x) {
        float x = f32_at(from, i);

        to[place_of(l, first + i)] = from_f32<To>(x);
        if (exact)
            exact[first + i] = x;
    }
}

/* Code number i of [out, in] in whichever form 8-bit weights have. */
struct code_form {
    bool codes; /* for the tensor cores */
    struct layout layout;
    float factor; /* of values */
};

template <typename T> static __device__ void put_code(void *to, size_t i, uint8_t code, struct code_form f)
{
    if (f.codes)
        ((uint8_t *)to)[place_of(f.layout, i)] = code;
    else
        ((T *)to)[place_of(f.layout, i)] = from_f32<T>(e4m3_to_f32(code) * f.factor);
}

/* Codes first..first+n of a matrix. */
template <typename T>
static __global__ void place_codes(void *to, const uint8_t *code, size_t first, size_t n, struct code_form f)
{
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
        put_code<T>(to, first + i, code[i], f);
}

/* twice: ROUND_MODELOPT of a bf16 weight; scale is then rounded to bf16 already. */
static __device__ uint8_t code_of(float x, float scale, bool twice)
{
    float q = x / scale;

    return e4m3_from_f32(twice ? bf16_to_f32(bf16_from_f32(q)) : q);
}

template <typename T, typename From>
static __global__ void quantize(void *to, const From *x, size_t n, float scale, bool twice,
                                struct layout from, struct code_form f)
{
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
        put_code<T>(to, i, code_of(to_f32(x[place_of(from, i)]), scale, twice), f);
}

/* The same for codes and weights that are not padded, eight at a time. */
template <bool TWICE>
static __global__ void quantize_dense(uint8_t *to, const bf16 *x, size_t n, struct divisor d)
{
    for (size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * 8; i < n;
         i += (size_t)gridDim.x * blockDim.x * 8)
        *(pack<uint16_t, 4> *)(to + i) = codes_of<8, TWICE>(*(const pack<bf16, 8> *)(x + i), d);
}

static struct code_form form_of(const struct cuda *c, const struct weight *w)
{
    if (w->format == weight::WEIGHT_INT8)
        return code_form{true, {w->in, code_padded(w->in)}, 1};
    return code_form{
        c->fp8, {w->in, c->fp8 ? code_padded(w->in) : dense_padded(c, w->in)}, c->bf16_act ? 1 : w->scale};
}

/* Padding is 0 and stays so. */
static void clear_padding(struct backend *be, const struct weight *w)
{
    struct cuda *c = cuda_of(be);

    bool codes = w->format == weight::WEIGHT_INT8 || (w->format == weight::WEIGHT_FP8 && c->fp8);

    if (bytes_of(c, w) != w->out * w->in * (codes ? 1 : be->act_bytes))
        cuda_zero(be, cuda_matrix_of(w)->data, bytes_of(c, w));
}

static struct layout layout_of(const struct cuda *c, const struct weight *w)
{
    return layout{w->in, dense_padded(c, w->in)};
}

/* ---- loading ---- */

bool cuda_open_pinned(struct cuda *c)
{
    for (int i = 0; i < 2; i++)
        if (!c->pinned[i] &&
            (!cuda_ok(&c->be, cudaMallocHost(&c->pinned[i], CHUNK), "cannot pin host memory") ||
             !cuda_ok(&c->be, cudaEventCreateWithFlags(&c->sent[i], cudaEventDisableTiming), "event")))
            return false;
    return true;
}

void cuda_copy_in_slices(void *to, const void *from, size_t bytes)
{
    long slices = (long)((bytes + SLICE - 1) / SLICE);

#pragma omp parallel for if (slices > 1)
    for (long i = 0; i < slices; i++) {
        size_t at = (size_t)i * SLICE, n = bytes - at < SLICE ? bytes - at : (size_t)SLICE;

        memcpy((char *)to + at, (const char *)from + at, n);
    }
}

/* What becomes of bytes that have arrived on the device: elements first..first+n of the weight. */
struct arrival {
    struct cuda *c;
    struct weight *w;
    enum dtype from;
};

template <typename T> static void arrive(const struct arrival *a, const void *raw, size_t first, size_t n)
{
    struct cuda *c = a->c;
    struct cuda_matrix *m = cuda_matrix_of(a->w);
    struct layout l = layout_of(c, a->w);
    unsigned blocks = cuda_blocks(c, n, 256);
    T *to = (T *)m->data;

    if (a->from == DT_F8_E4M3 || a->from == DT_I8)
        place_codes<T>
            <<<blocks, 256, 0, c->stream>>>(m->data, (const uint8_t *)raw, first, n, form_of(c, a->w));
    else if (a->from == DT_F32)
        convert<<<blocks, 256, 0, c->stream>>>(to, m->exact, (const float *)raw, first, n, l);
    else if (a->from == DT_BF16)
        convert<<<blocks, 256, 0, c->stream>>>(to, m->exact, (const bf16 *)raw, first, n, l);
    else
        convert<<<blocks, 256, 0, c->stream>>>(to, m->exact, (const uint16_t *)raw, first, n, l);
    cuda_launched(&c->be, "loading a weight");
}

/* All of a weight's elements, from host memory, which is the caller's again on return. */
static void bring(const struct arrival *a, const void *host)
{
    struct cuda *c = a->c;
    struct backend *be = &c->be;
    size_t size = dtype_bytes(a->from), per = CHUNK / size, n = a->w->out * a->w->in;
    bool as_is = a->from == (c->bf16_act ? DT_BF16 : DT_F32) && dense_padded(c, a->w->in) == a->w->in;
    void *stage = as_is ? NULL : cuda_scratch(c, SCRATCH_STAGE, n < per ? n * size : (size_t)CHUNK);

    if (cuda_idle(be, n) || !cuda_open_pinned(c))
        return;
    for (size_t first = 0; first < n && be->err.rc == RC_OK; first += per, c->turn ^= 1) {
        size_t now = n - first < per ? n - first : per;
        void *pinned = c->pinned[c->turn],
             *to = as_is ? (char *)cuda_matrix_of(a->w)->data + first * size : stage;

        if (!cuda_ok(be, cudaEventSynchronize(c->sent[c->turn]), "loading a weight"))
            return;
        cuda_copy_in_slices(pinned, (const char *)host + first * size, now * size);
        if (!cuda_ok(be, cudaMemcpyAsync(to, pinned, now * size, cudaMemcpyHostToDevice, c->stream),
                     "loading a weight") ||
            !cuda_ok(be, cudaEventRecord(c->sent[c->turn], c->stream), "loading a weight"))
            return;
        if (!as_is)
            CUDA_ACT(c, arrive, a, to, first, now);
    }
}

void cuda_weight_load(struct backend *be, struct weight *w, size_t out, size_t in, const void *host,
                      enum dtype from)
{
    struct cuda *c = cuda_of(be);
    struct arrival a = {c, w, from};

    if (from != DT_F32 && from != DT_BF16 && from != DT_F16) {
        err_set(&be->err, RC_DATA,
                "a dense weight is F32, BF16 or F16 in its file; this one is of another type");
        return;
    }
    if (!reserve(be, w, weight::WEIGHT_DENSE, out, in, c->bf16_act && from != DT_BF16))
        return;
    clear_padding(be, w);
    bring(&a, host);
}

void cuda_weight_load_fp8(struct backend *be, struct weight *w, size_t out, size_t in, const uint8_t *codes,
                          float scale, float input_scale)
{
    struct arrival a = {cuda_of(be), w, DT_F8_E4M3};

    if (!reserve(be, w, weight::WEIGHT_FP8, out, in, false))
        return;
    w->scale = scale;
    w->input_scale = input_scale;
    clear_padding(be, w);
    bring(&a, codes);
}

template <typename T>
static void run_quantize(struct cuda *c, struct weight *q, const struct weight *w, float divisor, bool twice,
                         bool exact)
{
    const struct cuda_matrix *m = cuda_matrix_of(w);
    size_t n = w->out * w->in;
    unsigned blocks = cuda_blocks(c, n, 256);
    void *to = cuda_matrix_of(q)->data;

    if (exact)
        quantize<T><<<blocks, 256, 0, c->stream>>>(to, m->exact, n, divisor, twice, layout{w->in, w->in},
                                                   form_of(c, q));
    else if (c->fp8 && w->in % 16 == 0 && twice)
        quantize_dense<true><<<cuda_blocks(c, n, 2048), 256, 0, c->stream>>>(
            (uint8_t *)to, (const bf16 *)m->data, n, divisor_of(divisor));
    else if (c->fp8 && w->in % 16 == 0)
        quantize_dense<false><<<cuda_blocks(c, n, 2048), 256, 0, c->stream>>>(
            (uint8_t *)to, (const bf16 *)m->data, n, divisor_of(divisor));
    else
        quantize<T><<<blocks, 256, 0, c->stream>>>(to, (const T *)m->data, n, divisor, twice, layout_of(c, w),
                                                   form_of(c, q));
    cuda_launched(&c->be, "weight_quantize");
}

void cuda_weight_quantize(struct backend *be, struct weight *q, const struct weight *w, enum dtype from,
                          float scale, float input_scale, enum rounding r)
{
    struct cuda *c = cuda_of(be);
    bool twice = r == ROUND_MODELOPT && from == DT_BF16;
    float divisor = twice ? bf16_to_f32(bf16_from_f32(scale)) : scale;

    if (be->err.rc != RC_OK || !reserve(be, q, weight::WEIGHT_FP8, w->out, w->in, false))
        return;
    q->scale = scale;
    q->input_scale = input_scale;
    q->bias = w->bias;
    clear_padding(be, q);
    if (!cuda_idle(be, w->out * w->in))
        CUDA_ACT(c, run_quantize, c, q, w, divisor, twice, cuda_matrix_of(w)->exact != NULL);
}

/* A copy of n numbers of the host in *to, which may hold an earlier one; from NULL: none. */
static void put_vector(struct backend *be, float **to, const float *from, size_t n)
{
    cuda_free(be, *to);
    *to = from ? (float *)cuda_alloc(be, n * sizeof **to) : NULL;
    if (*to)
        cuda_upload(be, *to, from, n * sizeof **to);
}

void cuda_weight_load_int8(struct backend *be, struct weight *w, size_t out, size_t in, const int8_t *codes,
                           const float *row_scale, float input_scale, const float *pre_scale)
{
    struct arrival a = {cuda_of(be), w, DT_I8};

    if (!reserve(be, w, weight::WEIGHT_INT8, out, in, false))
        return;
    put_vector(be, &w->row_scale, row_scale, out);
    put_vector(be, &w->pre_scale, pre_scale, in);
    w->input_scale = input_scale;
    clear_padding(be, w);
    if (be->err.rc == RC_OK)
        bring(&a, codes);
}

/* The scales of a smoothing in scratch: pre, then own. */
static void bring_smooth(struct cuda *c, struct int8_rounding *r, const struct smooth *s, size_t in)
{
    float *room = (float *)cuda_scratch(c, SCRATCH_SUMS, 2 * in * sizeof *room);

    if (!room)
        return;
    cuda_upload(&c->be, room, s->pre, in * sizeof *room);
    cuda_upload(&c->be, room + in, s->own ? s->own : s->pre, in * sizeof *room);
    r->pre = room;
    r->own = room + in;
}

void cuda_weight_quantize_int8(struct backend *be, struct weight *q, const struct weight *w, enum dtype from,
                               const struct smooth *smooth, float input_scale, enum rounding r)
{
    struct cuda *c = cuda_of(be);
    struct int8_rounding how = {NULL, NULL, r == ROUND_MODELOPT, r == ROUND_MODELOPT && from == DT_BF16};
    bool smoothed = smooth && smooth->pre;

    if (be->err.rc != RC_OK || !reserve(be, q, weight::WEIGHT_INT8, w->out, w->in, false))
        return;
    if (!q->row_scale)
        q->row_scale = (float *)cuda_alloc(be, w->out * sizeof *q->row_scale);
    put_vector(be, &q->pre_scale, smoothed && !smooth->folded ? smooth->pre : NULL, w->in);
    q->input_scale = input_scale;
    q->bias = w->bias;
    clear_padding(be, q);
    if (smoothed)
        bring_smooth(c, &how, smooth, w->in);
    if (!cuda_idle(be, w->out)) /* rows of no columns have scales too */
        cuda_round_rows(c, q, w, how);
}
