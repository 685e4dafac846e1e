/* plain.c - the plain backend: the CPU's, with operations in fp64 */
#include "kernels/plain/plain.h"

void plain_upload_act(struct backend *be, void *dst, const float *host, size_t n)
{
    double *to = dst;

    if (cpu_idle(be, n))
        return;
    for (size_t i = 0; i < n; i++)
        to[i] = host[i];
}

static void download_act(struct backend *be, float *host, const void *src, size_t n)
{
    const double *from = src;

    if (cpu_idle(be, n))
        return;
    for (size_t i = 0; i < n; i++)
        host[i] = (float)from[i];
}

struct backend *be_open_plain(struct err *e)
{
    struct backend *be = be_open_cpu(e);

    if (!be)
        return NULL;
    be->act_bytes = sizeof(double);
    be->upload_act = plain_upload_act;
    be->download_act = download_act;
    be->narrow = plain_upload_act;
    be->weight_load_fp8 = plain_weight_load_fp8;
    be->weight_quantize = plain_weight_quantize;
    be->linear = plain_linear;
    be->linear_again = plain_linear;
    be->linear_dx = plain_linear_dx;
    be->linear_f32 = plain_linear_f32;
    be->rmsnorm = plain_rmsnorm;
    be->add_rmsnorm = plain_add_rmsnorm;
    be->rmsnorm_dx = plain_rmsnorm_dx;
    be->rope = plain_rope;
    be->attention = plain_attention;
    be->attention_dx = plain_attention_dx;
    be->swiglu = plain_swiglu;
    be->swiglu_dx = plain_swiglu_dx;
    be->gelu = plain_gelu;
    be->gelu_dx = plain_gelu_dx;
    be->gather = plain_gather;
    be->scatter = plain_scatter;
    be->patches = plain_patches;
    be->embed = plain_embed;
    be->nll = plain_nll;
    be->nll_dx = plain_nll_dx;
    be->amax = plain_amax;
    be->amax_columns = plain_amax_columns;
    be->distance = plain_distance;
    be->round_fp8 = plain_round_fp8;
    be->score = plain_score;
    be->score_linear = be_score_linear;
    return be;
}
