/* attention.c - softmax attention over rows of segments, and its backward, query by query in fp64 */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "kernels/plain/plain.h"

/* One segment: its rows of q and o, of k and v, and how many there are. */
struct segment {
    size_t q0, nq, k0, nk;
};

static struct segment segment_at(const struct attention *a, size_t s)
{
    return (struct segment){(size_t)a->cu_q[s], (size_t)(a->cu_q[s + 1] - a->cu_q[s]), (size_t)a->cu_k[s],
                            (size_t)(a->cu_k[s + 1] - a->cu_k[s])};
}

/* Keys that query i of a segment sees. */
static size_t visible(const struct attention *a, const struct segment *s, size_t i)
{
    size_t hidden = a->causal ? s->nq - 1 - i : 0; /* behind the last key that it sees */

    return s->nk > hidden ? s->nk - hidden : 0;
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;

#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* y += a x */
static void add_scaled(double *y, double a, const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

/* p [n] = softmax(scale q k^T), k with its stride; returns the log-sum, -infinity when n is 0. */
static double probabilities(double *p, const struct attention *a, const double *q, const double *k, size_t n)
{
    double max = -INFINITY, sum = 0;

    for (size_t j = 0; j < n; j++) {
        p[j] = a->scale * dot(q, k + j * a->k_stride, a->head_dim);
        max = p[j] > max ? p[j] : max;
    }
    for (size_t j = 0; j < n; j++)
        sum += p[j] = exp(p[j] - max);
    for (size_t j = 0; j < n; j++)
        p[j] /= sum;
    return max + log(sum);
}

void plain_attention(struct backend *be, const struct attention *a, void *o, float *lse, const void *q,
                     const void *k, const void *v)
{
    double *room;

    if (cpu_idle(be, a->segments * a->heads) ||
        !(room = plain_scratch(be, (size_t)omp_get_max_threads() * a->max_k)))
        return;
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (size_t seg = 0; seg < a->segments; seg++)
        for (size_t head = 0; head < a->heads; head++) {
            struct segment s = segment_at(a, seg);
            size_t dim = a->head_dim, kv = head / (a->heads / a->kv_heads);
            const double *key = (const double *)k + s.k0 * a->k_stride + kv * dim;
            const double *value = (const double *)v + s.k0 * a->v_stride + kv * dim;
            double *p = room + (size_t)omp_get_thread_num() * a->max_k;

            for (size_t i = 0; i < s.nq; i++) {
                size_t row = s.q0 + i, n = visible(a, &s, i);
                double *out = (double *)o + row * a->o_stride + head * dim;
                double sum = probabilities(p, a, (const double *)q + row * a->q_stride + head * dim, key, n);

                memset(out, 0, dim * sizeof *out);
                for (size_t j = 0; j < n; j++)
                    add_scaled(out, p[j], value + j * a->v_stride, dim);
                if (lse)
                    lse[head * (size_t)a->cu_q[a->segments] + row] = (float)sum;
            }
        }
}

/* One kv head's rows of a segment: where they begin. */
struct side {
    const double *k, *v;
    double *dk, *dv;
};

/*
 * One query under one head, with p the probabilities of the n keys that it sees: dv_j += p_j d_o; with
 * dp_j = d_o . v_j, ds_j = scale p_j (dp_j - p . dp); dq = sum of ds_j k_j, dk_j += ds_j q.
 */
static void query_dx(const struct attention *a, double *dq, const struct side *kv, const double *d_o,
                     const double *q, const double *p, double *dp, size_t n)
{
    size_t dim = a->head_dim;
    double mean;

    for (size_t j = 0; j < n; j++)
        dp[j] = dot(d_o, kv->v + j * a->v_stride, dim);
    mean = dot(p, dp, n);
    memset(dq, 0, dim * sizeof *dq);
    for (size_t j = 0; j < n; j++) {
        double ds = a->scale * p[j] * (dp[j] - mean);

        add_scaled(dq, ds, kv->k + j * a->k_stride, dim);
        add_scaled(kv->dk + j * a->k_stride, ds, q, dim);
        add_scaled(kv->dv + j * a->v_stride, p[j], d_o, dim);
    }
}

void plain_attention_dx(struct backend *be, const struct attention *a, void *dq, void *dk, void *dv,
                        const void *d_o, const void *q, const void *k, const void *v, const void *o,
                        const float *lse)
{
    double *room;

    (void)o;
    (void)lse;
    if (cpu_idle(be, a->segments * a->heads) ||
        !(room = plain_scratch(be, (size_t)omp_get_max_threads() * 2 * a->max_k)))
        return;
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (size_t seg = 0; seg < a->segments; seg++)
        for (size_t kv = 0; kv < a->kv_heads; kv++) {
            struct segment s = segment_at(a, seg);
            size_t dim = a->head_dim, group = a->heads / a->kv_heads;
            size_t k_at = s.k0 * a->k_stride + kv * dim, v_at = s.k0 * a->v_stride + kv * dim;
            struct side side = {(const double *)k + k_at, (const double *)v + v_at, (double *)dk + k_at,
                                (double *)dv + v_at};
            double *p = room + (size_t)omp_get_thread_num() * 2 * a->max_k, *dp = p + a->max_k;

            for (size_t j = 0; j < s.nk; j++) {
                memset(side.dk + j * a->k_stride, 0, dim * sizeof(double));
                memset(side.dv + j * a->v_stride, 0, dim * sizeof(double));
            }
            for (size_t head = kv * group; head < (kv + 1) * group; head++)
                for (size_t i = 0; i < s.nq; i++) {
                    size_t row = s.q0 + i, n = visible(a, &s, i), at = row * a->q_stride + head * dim;
                    const double *query = (const double *)q + at;

                    probabilities(p, a, query, side.k, n);
                    query_dx(a, (double *)dq + at, &side,
                             (const double *)d_o + row * a->o_stride + head * dim, query, p, dp, n);
                }
        }
}
