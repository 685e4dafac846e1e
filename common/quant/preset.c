/* preset.c - recipes by name: the built-in ones, and what a recipe makes of a model */
#include "common/quant/preset.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/quant/preset_file.h"

/*
 * What ModelOpt 0.47 never quantizes unless asked to by name (default_disabled_quantizers), and what no engine loads.  The
 * presets of whole models, *-all, leave out the rows that speak of the vision tower.
 */
static const struct {
    const char *pattern, *what;
    bool vision;
} disabled[] = {
    {"*lm_head*", "the output layer", false},
    {"*output_layer*", "the output layer", false},
    {"output.*", "the output layer", false},
    {"*proj_out.*", "the output layer", false},
    {"*router*", "routers of experts", false},
    {"*mlp.gate.*", "routers of experts", false},
    {"*block_sparse_moe.gate*", "routers of experts", false},
    {"*mlp.shared_expert_gate.*", "routers of experts", false},
    {"*linear_attn.conv1d*", "convolutions of state-space layers", false},
    {"*mixer.conv1d*", "convolutions of state-space layers", false},
    {"*linear_attn.in_proj_a*", "gates of linear attention", false},
    {"*linear_attn.in_proj_b*", "gates of linear attention", false},
    {"mtp.*", "multi-token prediction", false},
    {"*patch_embed*", "a convolution, which no engine loads quantized", false},
    {"*visual*", "vision towers", true},
    {"*vision_tower*", "vision towers", true},
    {"*vision_model*", "vision towers", true},
    {"*embed_vision*", "vision towers", true},
    {"*multi_modal_projector*", "vision towers", true},
};
enum { N_DISABLED = sizeof disabled / sizeof *disabled };

static const struct {
    const char *name, *summary;
    enum scheme_format format;
    bool vision; /* the vision tower, too */
    bool dynamic;
    double alpha; /* < 0: without SmoothQuant */
    bool kv;
} builtin[] = {
    {"fp8-lm", "FP8 language model", FORMAT_FP8, false, false, -1, false},
    {"fp8-lm-kv", "FP8 language model and KV cache", FORMAT_FP8, false, false, -1, true},
    {"fp8-all", "FP8 language model and vision tower", FORMAT_FP8, true, false, -1, false},
    {"fp8-all-kv", "FP8 language model, vision tower and KV cache", FORMAT_FP8, true, false, -1, true},
    {"int8-lm", "INT8 language model", FORMAT_INT8, false, false, -1, false},
    {"int8-all", "INT8 language model and vision tower", FORMAT_INT8, true, false, -1, false},
    {"int8-sq-lm", "INT8 language model, SmoothQuant with alpha 1", FORMAT_INT8, false, false, 1, false},
    {"int8-sq-all", "INT8 language model and vision tower, SmoothQuant with alpha 1", FORMAT_INT8, true, false, 1, false},
    {"int8-dynamic-lm", "INT8 language model, a range for every token", FORMAT_INT8, false, true, -1, false},
    {"int8-dynamic-all", "INT8 language model and vision tower, a range for every token", FORMAT_INT8, true, true, -1,
     false},
};
enum { N_BUILTIN = sizeof builtin / sizeof *builtin };

static int make_builtin(struct preset *p, size_t k, struct err *e)
{
    p->alpha = builtin[k].alpha < 0 ? NAN : builtin[k].alpha;
    p->kv = builtin[k].kv;
    p->name = mem_strdup(builtin[k].name, e);
    p->summary = mem_strdup(builtin[k].summary, e);
    p->activations = mem_strdup(builtin[k].dynamic ? "dynamic" : "static", e);
    p->rule = mem_zalloc(1, sizeof *p->rule, e);
    p->disabled = mem_zalloc(N_DISABLED, sizeof *p->disabled, e);
    if (!p->name || !p->summary || !p->activations || !p->rule || !p->disabled)
        return -1;
    p->rule[p->n_rules++] = (struct preset_rule){mem_strdup("*", e), builtin[k].format};
    if (!p->rule[0].pattern)
        return -1;
    for (size_t i = 0; i < N_DISABLED; i++) {
        if (disabled[i].vision && builtin[k].vision)
            continue;
        p->disabled[p->n_disabled] = mem_strdup(disabled[i].pattern, e);
        if (!p->disabled[p->n_disabled++])
            return -1;
    }
    return 0;
}

static int unknown(const char *name, struct err *e)
{
    char names[N_BUILTIN * 24] = "";
    size_t n = 0;

    for (size_t i = 0; i < N_BUILTIN; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", builtin[i].name);
    return err_set(e, RC_USAGE, "the preset '%s' is not known; known are %s, and files NAME.json", name, names);
}

int preset_read(struct preset *p, const char *name, struct err *e)
{
    size_t n = strlen(name);

    *p = (struct preset){.alpha = NAN};
    if (strchr(name, '/') || (n > 5 && !strcmp(name + n - 5, ".json")))
        return preset_file(p, name, e);
    for (size_t i = 0; i < N_BUILTIN; i++)
        if (!strcmp(name, builtin[i].name))
            return make_builtin(p, i, e);
    return unknown(name, e);
}

void preset_release(struct preset *p)
{
    for (size_t i = 0; i < p->n_rules; i++)
        free(p->rule[i].pattern);
    for (size_t i = 0; i < p->n_disabled; i++)
        free(p->disabled[i]);
    free(p->disabled);
    free(p->rule);
    free(p->activations);
    free(p->summary);
    free(p->name);
    *p = (struct preset){0};
}

bool preset_has(const struct preset *p, enum scheme_format f)
{
    for (size_t i = 0; i < p->n_rules; i++)
        if (p->rule[i].format == f)
            return true;
    return false;
}

static bool is_disabled(const struct preset *p, const char *name)
{
    char quantizer[NAME_BYTES + 32];

    snprintf(quantizer, sizeof quantizer, "%s.weight_quantizer", name);
    for (size_t i = 0; i < p->n_disabled; i++)
        if (name_match(p->disabled[i], name) || name_match(p->disabled[i], quantizer))
            return true;
    return false;
}

int preset_apply(const struct preset *p, const struct layers *l, enum scheme_format *format, struct err *e)
{
    for (size_t g = 0; g < l->n_groups; g++)
        format[g] = FORMAT_NONE;
    for (size_t i = 0; i < p->n_rules; i++) {
        bool any = false;

        for (size_t g = 0; g < l->n_groups; g++) {
            if (!layers_group_matches(l, g, p->rule[i].pattern))
                continue;
            format[g] = p->rule[i].format;
            any = true;
        }
        if (!any)
            return err_set(e, RC_USAGE, "the preset '%s': the pattern '%s' matches no layer of %s; names look like '%s'",
                           p->name, p->rule[i].pattern, l->label, l->module[l->n_modules - 1].name);
    }
    for (size_t m = 0; m < l->n_modules; m++)
        if (is_disabled(p, l->module[m].name))
            format[l->module[m].group] = FORMAT_NONE;
    return 0;
}

const char *preset_needs(bool kv, double alpha, const char *activations)
{
    static const char *const needs[2][4] = {
        {"", "--per-channel", "--per-channel --alpha=auto", "--per-channel --alpha=auto --activations=dynamic"},
        {"--kv", "--kv --per-channel", "--kv --per-channel --alpha=auto",
         "--kv --per-channel --alpha=auto --activations=dynamic"},
    };

    return needs[kv][isnan(alpha) ? 0 : alpha >= 0 ? 1 : strcmp(activations, "dynamic") ? 2 : 3];
}

int preset_list(FILE *f, struct err *e)
{
    fprintf(f, "%-17s  %-62s  %s\n", "preset", "what", "calib-amax");
    for (size_t i = 0; i < N_BUILTIN; i++) {
        double alpha = builtin[i].alpha < 0 ? NAN : builtin[i].alpha;
        const char *needs = preset_needs(builtin[i].kv, alpha, builtin[i].dynamic ? "dynamic" : "static");

        fprintf(f, "%-17s  %-62s  %s\n", builtin[i].name, builtin[i].summary, *needs ? needs : "-");
    }
    fputs("\nAll leave these in 16 bits; those of a language model (-lm) the vision tower, too:\n", f);
    for (size_t i = 0; i < N_DISABLED; i++)
        fprintf(f, "  %-27s  %s%s\n", disabled[i].pattern, disabled[i].what, disabled[i].vision ? " (-lm)" : "");
    return ferror(f) ? err_sys(e, "cannot write the list of presets") : 0;
}
