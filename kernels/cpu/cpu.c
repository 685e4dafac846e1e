/* cpu.c - the CPU backend's table of operations */
#include "kernels/cpu/cpu.h"

#include <stdlib.h>

#include "common/base/mem.h"

static void cpu_close(struct backend *be)
{
    struct cpu *c = (struct cpu *)be;

    free(c->scratch);
    free(c);
}

static const struct backend table = {
    .name = "cpu",
    .act_bytes = sizeof(float),
    .batch_rows = 2048,
    .logit_bytes = (size_t)128 << 20,
    .width_unit = 1,
    .close = cpu_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .spare = cpu_spare,
    .upload = cpu_copy,
    .download = cpu_copy,
    .upload_act = cpu_upload_act,
    .download_act = cpu_download_act,
    .zero = cpu_zero,
    .copy = cpu_copy,
    .weight_load = cpu_weight_load,
    .weight_load_fp8 = cpu_weight_load_fp8,
    .weight_quantize = cpu_weight_quantize,
    .weight_load_int8 = cpu_weight_load_int8,
    .weight_quantize_int8 = cpu_weight_quantize_int8,
    .weight_free = cpu_weight_free,
    .linear = cpu_linear,
    .linear_again = cpu_linear,
    .linear_dx = cpu_linear_dx,
    .linear_f32 = cpu_linear_f32,
    .rmsnorm = cpu_rmsnorm,
    .add_rmsnorm = cpu_add_rmsnorm,
    .rmsnorm_dx = cpu_rmsnorm_dx,
    .rope = cpu_rope,
    .attention = cpu_attention,
    .attention_dx = cpu_attention_dx,
    .swiglu = cpu_swiglu,
    .swiglu_dx = cpu_swiglu_dx,
    .gelu = cpu_gelu,
    .gelu_dx = cpu_gelu_dx,
    .gather = cpu_gather,
    .scatter = cpu_scatter,
    .patches = cpu_patches,
    .embed = cpu_embed,
    .narrow = cpu_narrow,
    .nll = cpu_nll,
    .nll_dx = cpu_nll_dx,
    .compare = cpu_compare,
    .amax = cpu_amax,
    .weight_amax = cpu_weight_amax,
    .amax_columns = cpu_amax_columns,
    .distance = cpu_distance,
    .round_fp8 = cpu_round_fp8,
    .score = cpu_score,
    .score_linear = be_score_linear,
};

struct backend *be_open_cpu(struct err *e)
{
    struct cpu *c = mem_zalloc(1, sizeof *c, e);

    if (!c)
        return NULL;
    c->be = table;
    return &c->be;
}
