/* weights.c - golden models opened, damaged copies of them refused */
#include "tests/unit/checkpoint.h"

#define MODELS "tests/golden/models/"
#define TINY   "data/tiny-qwen2_5-vl"

static double amax(const struct weights *w, const struct st_tensor *t)
{
    struct err e = {0};
    float *x = weights_f32(w, t, &e);
    double m = 0;

    if (!x)
        die(&e);
    for (size_t i = 0; i < t->count; i++)
        m = fmax(m, fabs((double)x[i]));
    free(x);
    return m;
}

static void golden(const char *model, const char *oracle, size_t linears)
{
    struct err e = {0};
    struct weights w;
    json_t *doc = json_read(oracle, NULL, &e), *v;
    const char *name;
    size_t i = 0, same = 0, biases = 0;

    if (!doc || weights_open(&w, model, &e))
        die(&e);
    json_object_foreach(json_object_get(doc, "amax"), name, v)
    {
        const double want = json_number_value(json_object_get(v, "weight"));

        if (i < w.linears && !strcmp(w.linear[i].name, name) && weights_linear(&w, name) == &w.linear[i])
            same += unit_near(amax(&w, w.linear[i].weight), want, 1e-7, 0) ? 1 : 0;
        i++;
    }
    CHECK(w.linears == linears && i == linears && same == linears,
          "%s: %zu linears in the reference's order with its weight amax (%zu agree)", model, w.linears,
          same);
    for (i = 0; i < w.linears; i++) {
        const struct linear_info *l = &w.linear[i];

        biases += l->bias && l->bias->count == l->out;
        same -= l->weight->count == l->out * l->in;
    }
    CHECK(same == 0, "%s: out x in is the size of every weight", model);
    CHECK(biases == (w.config.has_vision ? 5 * w.config.vision.depth + 2 : 0) + 3 * w.config.layers,
          "%s: biases of the vision tower and of q, k, v", model);
    CHECK(w.scales_applied == 0 && w.kv_scales == 0 && !w.stray_head, "%s: not quantized", model);
    CHECK((weights_linear(&w, "lm_head")->weight == weights_find(&w, "language_model.embed_tokens.weight")) ==
              w.config.tied,
          "%s: tied head is the embedding", model);
    CHECK(!weights_find(&w, "language_model.layers.99.mlp.up_proj.weight") && !weights_linear(&w, "visual"),
          "%s: unknown names are NULL", model);
    weights_close(&w);
    json_decref(doc);
}

static void goldens(void)
{
    golden(MODELS "flat-mha", MODELS "flat-mha.oracle.json", 45);
    golden(MODELS "full-only-patch8", MODELS "full-only-patch8.oracle.json", 28);
    golden(MODELS "nested4-gqa8", MODELS "nested4-gqa8.oracle.json", 33);
    golden(MODELS "nested5-sharded", MODELS "nested5-sharded.oracle.json", 40);
    golden(MODELS "qwen2-text", MODELS "qwen2-text.oracle.json", 29);
    golden(MODELS "windows-only", MODELS "windows-only.oracle.json", 40);
    golden(TINY, "tests/golden/tiny-describe.oracle.json", 66);
}

/* Hub names, in-memory names, names of the base class: one model. */
static void naming_styles(void)
{
    static const char *const prefix[][2] = {{"model.language_model.", "model.visual."},
                                            {"language_model.", "visual."}};
    struct model m;
    char name[200];

    for (size_t style = 0; style < 2; style++) {
        model_load(&m, MODELS "flat-mha");
        for (size_t i = 0; i < m.tensors; i++) {
            struct st_tensor *t = &m.tensor[i];
            const bool visual = !strncmp(t->name, "visual.", 7);

            if (!strncmp(t->name, "lm_head", 7))
                continue;
            snprintf(name, sizeof name, "%s%s", prefix[style][visual], strchr(t->name, '.') + 1);
            rename_to(&m, t, name);
        }
        opens(&m, prefix[style][0]);
        add(&m, "model.norm.weight", DT_BF16, 1, 64);
        refused(&m, "one tensor in two styles", "model.norm.weight", "two naming styles");
        model_release(&m);
    }
}

/* Every tensor in turn: absent, in another shape, of another type. */
static void every_tensor(void)
{
    static const struct {
        const char *what, *says;
    } damage[] = {{"absent", "copy all its files"}, {"flattened", "asks for"}, {"integers", "is read here"}};
    struct model m;
    size_t n = 1, found[3] = {0};

    for (size_t i = 0; i < n; i++) {
        for (size_t d = 0; d < 3; d++) {
            struct weights w;
            struct st_tensor *t;
            struct err e;
            char name[200];

            model_load(&m, MODELS "windows-only");
            n = m.tensors;
            t = &m.tensor[i];
            snprintf(name, sizeof name, "%s", strchr(t->name, '.') + 1); /* absent: named without "model." */
            if (d == 0) {
                drop(&m, t->name);
            } else if (d == 1) {
                t->shape[0] = t->ndim == 1 ? t->count / 2 : t->count;
                t->shape[1] = 2;
                t->ndim = t->ndim == 1 ? 2 : 1;
                t->shape[0] = t->ndim == 2 && t->count % 2 ? t->count : t->shape[0];
                t->shape[1] = t->ndim == 2 && t->count % 2 ? 1 : 2;
            } else {
                t->dtype = DT_I16;
            }
            found[d] += open_changed(&m, &w, &e) == -1 && e.rc == RC_DATA && strstr(e.msg, name) &&
                        strstr(e.msg, damage[d].says) && strstr(e.msg, scratch_dir());
            weights_close(&w);
            model_release(&m);
        }
    }
    for (size_t d = 0; d < 3; d++)
        CHECK(n > 80 && found[d] == n, "each tensor %s: %zu of %zu refused by name", damage[d].what, found[d],
              n);
}

static void extra_tensors(void)
{
    struct model m;

    model_load(&m, MODELS "flat-mha");
    add(&m, "model.layers.0.self_attn.rotary_emb.inv_freq", DT_F32, 1, 8);
    opens(&m, "inv_freq of old files");
    add(&m, "model.layers.0.self_attn.o_proj.bias", DT_BF16, 1, 64);
    refused(&m, "bias that the model has not", "self_attn.o_proj.bias", "no place");
    drop(&m, "model.layers.0.self_attn.o_proj.bias");
    add(&m, "model.layers.3.input_layernorm.weight", DT_BF16, 1, 64);
    refused(&m, "layer beyond num_hidden_layers", "model.layers.3.input_layernorm.weight", "no place");
    drop(&m, "model.layers.3.input_layernorm.weight");
    json_object_set_new(m.config, "num_hidden_layers", json_integer(4));
    refused(&m, "layer fewer than num_hidden_layers", "layers.3.", "copy all its files");
    json_object_set_new(m.config, "num_hidden_layers", json_integer(3));
    json_object_del(m.config, "rms_norm_eps");
    refused(&m, "incomplete configuration", "rms_norm_eps", "config.json");
    model_release(&m);
}

static void f16_bits(struct model *m, struct st_tensor *t)
{
    uint8_t *p = writable(m, t);

    for (size_t i = 0; i < t->count;
         i++) { /* sign and top exponent bits differ; any finite F16 pattern will do */
        uint16_t h = (uint16_t)(0x3000 + i % 0x400 + (i % 2 ? 0x8000 : 0));

        memcpy(p + 2 * i, &h, sizeof h);
    }
    t->dtype = DT_F16;
}

static void half_floats(void)
{
    struct err e = {0};
    struct weights w;
    struct model m;
    const struct st_tensor *t;
    size_t same = 0;
    float *x;

    model_load(&m, MODELS "flat-mha");
    for (size_t i = 0; i < m.tensors; i++)
        f16_bits(&m, &m.tensor[i]);
    if (open_changed(&m, &w, &e))
        die(&e);
    t = weights_find(&w, "language_model.embed_tokens.weight");
    x = weights_f32(&w, t, &e);
    for (size_t i = 0; x && i < t->count; i++)
        same += x[i] == (i % 2 ? -1 : 1) * ldexpf(1 + (float)(i % 0x400) / 1024, -3);
    CHECK(x && same == t->count, "an F16 model reads exactly");
    free(x);
    weights_close(&w);
    model_release(&m);
}

/* One element of 196608, which are several chunks of work. */
static void not_finite(void)
{
    static const uint16_t bits[] = {0x7fc0, 0xff80, 0x7f80};
    static const size_t at[] = {0, 196607, 100000};

    for (size_t i = 0; i < 3; i++) {
        const struct st_tensor *t;
        struct err e = {0};
        struct weights w;
        struct model m;
        float *x;

        model_load(&m, TINY);
        memcpy(writable(&m, tensor(&m, "model.embed_tokens.weight")) + 2 * at[i], &bits[i], 2);
        if (open_changed(&m, &w, &e))
            die(&e);
        t = weights_find(&w, "language_model.embed_tokens.weight");
        x = weights_f32(&w, t, &e);
        CHECK(!x && e.rc == RC_DATA && strstr(e.msg, "model.embed_tokens.weight") &&
                  strstr(e.msg, "model.safetensors"),
              "bits %04x: %s", bits[i], e.msg);
        free(x);
        weights_close(&w);
        model_release(&m);
    }
}

static void stray_heads(void)
{
    struct model m;
    struct weights w;
    struct err e;

    model_load(&m, MODELS "nested5-sharded"); /* tied */
    m.tensor[m.tensors] = *tensor(&m, "model.language_model.embed_tokens.weight");
    rename_to(&m, &m.tensor[m.tensors++], "lm_head.weight");
    CHECK(open_changed(&m, &w, &e) == 0 && !w.stray_head, "a head equal to the embedding is no stray (%s)",
          e.msg);
    weights_close(&w);
    writable(&m, tensor(&m, "lm_head.weight"))[100] ^= 1;
    CHECK(open_changed(&m, &w, &e) == 0 && w.stray_head, "another head is one (%s)", e.msg);
    CHECK(weights_linear(&w, "lm_head")->weight == weights_find(&w, "language_model.embed_tokens.weight"),
          "and is not used");
    weights_close(&w);
    model_release(&m);
}

static void no_model(void)
{
    struct weights w;
    struct err e = {0};

    CHECK(weights_open(&w, "tests/golden/models/none", &e) == -1 && strstr(e.msg, "models/none"), "%s",
          e.msg);
    weights_close(&w);
}

int main(void)
{
    goldens();
    naming_styles();
    every_tensor();
    extra_tensors();
    half_floats();
    not_finite();
    stray_heads();
    no_model();
    return unit_end();
}
