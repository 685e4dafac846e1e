/* loss.c - rows of logits: negative log-likelihood and its gradient */
#include <math.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vmath.h"

/* A row's largest logit and where it is first; a NaN counts as the largest of all. */
struct top {
    float value;
    size_t index;
};

static struct top find_top(const float *z, size_t n)
{
    struct top t = {max_f32(z, n), 0};
    int32_t order = order_of(t.value);

    while (t.index + 1 < n && order_of(z[t.index]) != order)
        t.index++;
    return t;
}

static double log_sum_exp(const float *z, size_t n, float max)
{
    float block[512];
    double sum = 0;

    for (size_t i = 0; i < n; i += 512)
        sum += exp_sum_f32(block, z + i, n - i < 512 ? n - i : 512, max);
    return max + log(sum);
}

void cpu_nll(struct backend *be, float *nll, float *lse, int32_t *argmax, const float *logits,
             const int32_t *target, size_t rows, size_t vocab)
{
    if (cpu_idle(be, rows * vocab))
        return;
#pragma omp parallel for if (rows * vocab > CPU_SERIAL)
    for (size_t r = 0; r < rows; r++) {
        const float *z = logits + r * vocab;
        struct top top = find_top(z, vocab);
        double total = nll || lse ? log_sum_exp(z, vocab, top.value) : 0;

        if (nll)
            nll[r] = target[r] < 0 ? 0 : (float)(total - z[target[r]]);
        if (lse)
            lse[r] = (float)total;
        if (argmax)
            argmax[r] = (int32_t)top.index;
    }
}

void cpu_nll_dx(struct backend *be, void *dlogits, const float *logits, const float *lse,
                const int32_t *target, const float *weight, size_t rows, size_t vocab)
{
    if (cpu_idle(be, rows * vocab))
        return;
#pragma omp parallel for if (rows * vocab > CPU_SERIAL)
    for (size_t r = 0; r < rows; r++) {
        const float *z = logits + r * vocab;
        float *d = (float *)dlogits + r * vocab, w = weight[r], l = lse[r];

        if (target[r] < 0) {
            for (size_t i = 0; i < vocab; i++)
                d[i] = 0;
            continue;
        }
#pragma omp simd
        for (size_t i = 0; i < vocab; i++)
            d[i] = w * exp_f32(z[i] - l);
        d[target[r]] = w * (exp_f32(z[target[r]] - l) - 1);
    }
}
