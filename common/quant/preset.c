/* preset.c - recipes by name: the built-in ones, and what a recipe makes of a model */
#include "common/quant/preset.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/quant/preset_file.h"

/*
 * What ModelOpt 0.47 never quantizes unless asked to by name (default_disabled_quantizers), and what no
 * engine loads.  The presets of whole models, *-all, leave out the rows that speak of the vision tower.
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

enum { VISION = 1, KV_CACHE = 2, DYNAMIC = 4, SMOOTH = 8 }; /* SMOOTH: with alpha 1 */
static const struct {
    const char *name;
    enum scheme_format format;
    unsigned flags;
    const char *summary;
} builtin[] = {
    {"fp8-lm", FORMAT_FP8, 0, "FP8 language model"},
    {"fp8-lm-kv", FORMAT_FP8, KV_CACHE, "FP8 language model and KV cache"},
    {"fp8-all", FORMAT_FP8, VISION, "FP8 language model and vision tower"},
    {"fp8-all-kv", FORMAT_FP8, VISION | KV_CACHE, "FP8 language model, vision tower and KV cache"},
    {"int8-lm", FORMAT_INT8, 0, "INT8 language model"},
    {"int8-all", FORMAT_INT8, VISION, "INT8 language model and vision tower"},
    {"int8-sq-lm", FORMAT_INT8, SMOOTH, "INT8 language model, SmoothQuant with alpha 1"},
    {"int8-sq-all", FORMAT_INT8, VISION | SMOOTH, "INT8 both towers, SmoothQuant with alpha 1"},
    {"int8-dynamic-lm", FORMAT_INT8, DYNAMIC, "INT8 language model, a range for every token"},
    {"int8-dynamic-all", FORMAT_INT8, VISION | DYNAMIC, "INT8 both towers, a range for every token"},
};
enum { N_BUILTIN = sizeof builtin / sizeof *builtin };

static int make_builtin(struct preset *p, size_t k, struct err *e)
{
    const unsigned flags = builtin[k].flags;

    p->alpha = flags & SMOOTH ? 1 : NAN;
    p->kv = flags & KV_CACHE;
    p->name = mem_strdup(builtin[k].name, e);
    p->summary = mem_strdup(builtin[k].summary, e);
    p->activations = mem_strdup(flags & DYNAMIC ? "dynamic" : "static", e);
    p->rule = mem_zalloc(1, sizeof *p->rule, e);
    p->disabled = mem_zalloc(N_DISABLED, sizeof *p->disabled, e);
    if (!p->name || !p->summary || !p->activations || !p->rule || !p->disabled)
        return -1;
    p->rule[p->n_rules++] = (struct preset_rule){mem_strdup("*", e), builtin[k].format};
    if (!p->rule[0].pattern)
        return -1;
    for (size_t i = 0; i < N_DISABLED; i++) {
        if (disabled[i].vision && flags & VISION)
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
    return err_set(e, RC_USAGE, "the preset '%s' is not known; known are %s, and files NAME.json", name,
                   names);
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
            return err_set(e, RC_USAGE,
                           "the preset '%s': the pattern '%s' matches no layer of %s; names look like '%s'",
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
        {"", "--per-channel", "--per-channel --alpha=auto",
         "--per-channel --alpha=auto --activations=dynamic"},
        {"--kv", "--kv --per-channel", "--kv --per-channel --alpha=auto",
         "--kv --per-channel --alpha=auto --activations=dynamic"},
    };

    return needs[kv][isnan(alpha) ? 0 : alpha >= 0 ? 1 : strcmp(activations, "dynamic") ? 2 : 3];
}

int preset_list(FILE *f, struct err *e)
{
    fprintf(f, "%-17s  %-45s  %s\n", "preset", "what", "calib-amax");
    for (size_t i = 0; i < N_BUILTIN; i++) {
        const unsigned flags = builtin[i].flags;
        const char *needs = preset_needs(flags & KV_CACHE, flags & SMOOTH ? 1 : NAN, "static");

        fprintf(f, "%-17s  %-45s  %s\n", builtin[i].name, builtin[i].summary, *needs ? needs : "-");
    }
    fputs("\nAll leave these in 16 bits; those of a language model (-lm) the vision tower, too:\n", f);
    for (size_t i = 0; i < N_DISABLED; i++)
        fprintf(f, "  %-27s  %s%s\n", disabled[i].pattern, disabled[i].what,
                disabled[i].vision ? " (-lm)" : "");
    return ferror(f) ? err_sys(e, "cannot write the list of presets") : 0;
}
