/* weights_int8.c - INT8 and mixed checkpoints read back: forms, scales, and what is refused */
#include <math.h>

#include "common/base/int8.h"
#include "tests/unit/checkpoint.h"

#define FLAT "tests/golden/models/flat-mha"

/*
 * Weight, and what has codes in it: q, k and v of layer 0 static, down_proj of layer 1 dynamic, up and gate
 * of it FP8.
 */
#define Q0 "model.layers.0.self_attn.q_proj"
#define D1 "model.layers.1.mlp.down_proj"

static float *values(struct model *m, const char *name, size_t n)
{
    struct err e = {0};
    float *x = own(m, n * sizeof *x);

    if (ckpt_read_f32(&m->src, tensor(m, name), 0, n, x, true, &e))
        die(&e);
    return x;
}

static void put_floats(struct model *m, const char *module, const char *what, size_t ndim, const float *x,
                       size_t n)
{
    char name[200];
    struct st_tensor *t;

    snprintf(name, sizeof name, "%s.%s", module, what);
    t = add(m, name, DT_F32, ndim, n);
    t->shape[1] = 1;
    memcpy((void *)t->data, x, n * sizeof *x);
}

/* Codes by row; scales of shape [out] or [out, 1]. */
static void quantize(struct model *m, const char *module, size_t ndim, bool dynamic)
{
    char name[200];
    const float input = 0.5f;
    struct st_tensor *t;
    size_t rows, cols;
    float *x, *scale;
    int8_t *code;

    snprintf(name, sizeof name, "%s.weight", module);
    t = tensor(m, name);
    rows = t->shape[0];
    cols = t->shape[1];
    x = values(m, name, t->count);
    code = own(m, t->count);
    scale = own(m, rows * sizeof *scale);
    for (size_t r = 0; r < rows; r++) {
        float amax = 0;

        for (size_t c = 0; c < cols; c++)
            amax = fmaxf(amax, fabsf(x[r * cols + c]));
        scale[r] = int8_scale(amax, ROUND_EXACT);
        int8_encode(code + r * cols, x + r * cols, cols, scale[r]);
    }
    t->data = (uint8_t *)code;
    t->dtype = DT_I8;
    t->bytes = t->count;
    put_floats(m, module, "weight_scale", ndim, scale, rows);
    if (!dynamic)
        put_floats(m, module, "input_scale", ndim - 1, &input, 1);
}

static json_t *text(const char *s)
{
    json_t *v = json_loads(s, 0, NULL);

    if (!v) {
        fprintf(stderr, "not JSON: %s\n", s);
        exit(1);
    }
    return v;
}

#define WEIGHTS "\"weights\": {\"num_bits\": 8, \"type\": \"int\", \"strategy\": \"channel\", \"symmetric\": true}"
#define STATIC                                                                                               \
    "\"input_activations\": {\"num_bits\": 8, \"type\": \"int\", \"strategy\": \"tensor\", \"symmetric\": true, "  \
    "\"dynamic\": false}"
#define DYNAMIC                                                                                              \
    "\"input_activations\": {\"num_bits\": 8, \"type\": \"int\", \"strategy\": \"token\", \"symmetric\": true, "   \
    "\"dynamic\": true}"
#define GROUP(name, targets, inputs) "\"" name "\": {\"targets\": [" targets "], " WEIGHTS ", " inputs "}"
#define QKV0 "\"re:.*layers\\\\.0\\\\.self_attn\\\\.(q|k|v|qkv)_proj$\""
#define CONFIG(format, groups)                                                                               \
    "{\"quant_method\": \"compressed-tensors\", \"format\": \"" format "\", \"config_groups\": {" groups         \
    "}, \"ignore\": [\"re:(?!.*(layers\\\\.0\\\\.self_attn\\\\.(q|k|v)_proj|layers\\\\.1\\\\.mlp\\\\.down_proj)).*\"]}"
#define BOTH GROUP("group_0", QKV0, STATIC) ", " GROUP("group_1", "\"re:.*down_proj$\"", DYNAMIC)

static void load(struct model *m, const char *config)
{
    model_load(m, FLAT);
    quantize(m, Q0, 2, false);
    quantize(m, "model.layers.0.self_attn.k_proj", 2, false);
    quantize(m, "model.layers.0.self_attn.v_proj", 2, false);
    quantize(m, D1, 2, true);
    json_object_set_new(m->config, "quantization_config", text(config));
}

static void forms(void)
{
    const struct linear_info *q, *d;
    struct weights w = {0};
    struct model m;
    struct err e;
    float *x, *y;
    size_t bad = 0;

    load(&m, CONFIG("mixed-precision", BOTH));
    CHECK(open_changed(&m, &w, &e) == 0 && w.scales_applied == 4, "two groups %s", e.msg);
    q = weights_linear(&w, "language_model.layers.0.self_attn.q_proj");
    d = weights_linear(&w, "language_model.layers.1.mlp.down_proj");
    CHECK(q->row_scale && q->input_scale == 0.5f && !q->pre_scale && q->weight_scale == 0, "static");
    CHECK(d->row_scale && d->input_scale == 0, "dynamic");
    x = weights_f32(&w, q->weight, &e);
    model_release(&m);
    model_load(&m, FLAT);
    y = values(&m, Q0 ".weight", q->out * q->in);
    /* half a step, and the roundings of the quotient and the product */
    for (size_t i = 0; i < q->out * q->in; i++)
        bad += !(fabsf(x[i] - y[i]) <= q->row_scale[i / q->in] * 0.5001f);
    CHECK(bad == 0, "codes come with the scale of their row");
    free(x);
    weights_close(&w);
    model_release(&m);
}

static void groups(void)
{
    struct model m;

    load(&m, CONFIG("int-quantized", GROUP("group_0", "\"Linear\"", STATIC)));
    refused(&m, "a static group over a dynamic layer", "no 'input_scale'", D1);
    model_release(&m);
    load(&m, CONFIG("int-quantized", GROUP("group_0", "\"Linear\"", DYNAMIC)));
    refused(&m, "a dynamic group over a static layer", "scales at run time", Q0 ".input_scale");
    model_release(&m);
    load(&m, CONFIG("mixed-precision",
                    GROUP("group_0", "\"Linear\"", STATIC) ", " GROUP("group_1", "\"re:.*down_proj$\"",
                                                                      DYNAMIC)));
    opens(&m, "names and expressions come before Linear");
    model_release(&m);
    load(&m, CONFIG("mixed-precision", GROUP("group_0", QKV0, STATIC)));
    refused(&m, "codes that no group names", "has no group for it", D1);
    model_release(&m);
    load(&m, CONFIG("float-quantized", GROUP("group_0", "\"Linear\"", STATIC)));
    refused(&m, "a format that is not the group's", "'format' is 'float-quantized', but its group is in int8",
            "config.json");
    model_release(&m);
    load(&m, "{\"quant_method\": \"modelopt\", \"quant_algo\": \"FP8\", \"ignore\": [\"visual*\"]}");
    refused(&m, "INT8 codes where FP8 is said", "says that it is in FP8", Q0);
    model_release(&m);
}

static void scales(void)
{
    const float two[] = {1, 2}, zero = 0;
    struct st_tensor *t;
    struct model m;

    load(&m, CONFIG("mixed-precision", BOTH));
    t = tensor(&m, Q0 ".weight_scale");
    memcpy(writable(&m, t) + 8, &zero, sizeof zero);
    refused(&m, "a row scale of 0", "above 0", Q0 ".weight_scale");
    drop(&m, Q0 ".weight_scale");
    refused(&m, "no row scales", "INT8 codes, but there is no 'weight_scale'", Q0);
    put_floats(&m, Q0, "weight_scale", 1, two, 2);
    refused(&m, "two row scales", "one for each row", Q0 ".weight_scale");
    drop(&m, Q0 ".weight_scale");
    put_floats(&m, Q0, "weight_scale", 1, two, 1);
    refused(&m, "one scale for all rows", "one for each row", Q0 ".weight_scale");
    model_release(&m);
    load(&m, CONFIG("mixed-precision", BOTH));
    put_floats(&m, Q0, "pre_quant_scale", 1, two, 2);
    refused(&m, "two smoothing scales", "one for each column", Q0 ".pre_quant_scale");
    model_release(&m);
    load(&m, CONFIG("mixed-precision", BOTH));
    put_floats(&m, "model.layers.1.mlp.up_proj", "pre_quant_scale", 1, two, 2);
    refused(&m, "smoothing of a layer without codes", "and not INT8", "up_proj.pre_quant_scale");
    model_release(&m);
}

static void smoothed(void)
{
    struct weights w = {0};
    struct model m;
    struct err e;
    float *pre;
    size_t n;

    load(&m, CONFIG("mixed-precision", BOTH));
    n = tensor(&m, Q0 ".weight")->shape[1];
    pre = own(&m, n * sizeof *pre);
    for (size_t i = 0; i < n; i++)
        pre[i] = 1.0f + (float)i;
    put_floats(&m, Q0, "pre_quant_scale", 1, pre, n);
    CHECK(open_changed(&m, &w, &e) == 0 &&
              !memcmp(weights_linear(&w, "language_model.layers.0.self_attn.q_proj")->pre_scale, pre,
                      n * sizeof *pre),
          "smoothing scales %s", e.msg);
    weights_close(&w);
    model_release(&m);
}

int main(void)
{
    forms();
    groups();
    scales();
    smoothed();
    return unit_end();
}
