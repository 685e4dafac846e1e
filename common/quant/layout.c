/* layout.c - how checkpoints say which layers are quantized */
#include "common/quant/layout.h"

#include <stdlib.h>
#include <string.h>

#include "common/io/json.h"
#include "common/quant/compressed.h"
#include "common/quant/modelopt.h"
#include "common/quant/names.h"

static const struct layout layouts[] = {
    {.name = "modelopt",
     .pre_scales = true,
     .scale_ndim = 0,
     .row_scale_ndim = 1,
     .k_scale = "self_attn.k_proj.k_scale",
     .v_scale = "self_attn.v_proj.v_scale",
     .ignore = modelopt_exclude,
     .config = modelopt_inline_config,
     .hf_config = modelopt_file_config},
    {.name = "compressed-tensors",
     .mixed = true,
     .dynamic = true,
     .scale_ndim = 1,
     .row_scale_ndim = 2,
     .k_scale = "self_attn.k_scale",
     .v_scale = "self_attn.v_scale",
     .ignore = compressed_ignore,
     .config = compressed_config},
};

const char *const layout_choices[] = {"modelopt", "compressed-tensors", NULL};

const struct layout *layout_find(const char *name)
{
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        if (!strcmp(name, layouts[i].name))
            return &layouts[i];
    return NULL;
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(json_string_value(*(json_t *const *)a), json_string_value(*(json_t *const *)b));
}

json_t *layout_sorted(json_t *list, struct err *e)
{
    const size_t n = json_array_size(list);
    json_t **v = calloc(n + 1, sizeof *v), *out = json_array();
    int bad = v ? 0 : err_set(e, RC_SYS, "out of memory: cannot sort %zu names", n);

    for (size_t i = 0; i < n && !bad; i++)
        v[i] = json_array_get(list, i);
    if (!bad)
        qsort(v, n, sizeof *v, compare_text);
    for (size_t i = 0; i < n && !bad; i++)
        if (!i || compare_text(&v[i - 1], &v[i]))
            bad = json_push(out, json_incref(v[i]), e);
    free(v);
    json_decref(list);
    if (bad) {
        json_decref(out);
        return NULL;
    }
    return out;
}

bool layout_has(const struct layout_layer *layer, size_t n, enum scheme_format format)
{
    bool has = false;

    for (size_t i = 0; i < n; i++)
        has |= layer[i].format == format;
    return has;
}

void layout_vision(const struct layout_layer *layer, size_t n, bool *there, bool *quantized)
{
    *there = *quantized = false;
    for (size_t i = 0; i < n; i++) {
        if (name_scope(layer[i].name) == SCOPE_VISION) {
            *there = true;
            *quantized |= layer[i].format != FORMAT_NONE;
        }
    }
}

json_t *layout_packed(json_t *v, struct err *e)
{
    if (!v)
        err_set(e, RC_SYS, "out of memory: cannot build the quantization config");
    return v;
}
