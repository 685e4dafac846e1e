/* parts.c - which tensors a model of a configuration consists of */
#include "common/quant/parts.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/io/json.h"

enum { PLAIN, LINEAR, BIASED }; /* BIASED: linear, with a bias */
enum { LAYERS_MOST = 10000 };

struct row {
    const char *name;
    int kind;
};

static const struct row vision_block[] = {
    {"norm1", PLAIN},          {"attn.qkv", BIASED},    {"attn.proj", BIASED},     {"norm2", PLAIN},
    {"mlp.gate_proj", BIASED}, {"mlp.up_proj", BIASED}, {"mlp.down_proj", BIASED}, {NULL, 0},
};
static const struct row language_layer[] = {
    {"input_layernorm", PLAIN},   {"self_attn.q_proj", BIASED},
    {"self_attn.k_proj", BIASED}, {"self_attn.v_proj", BIASED},
    {"self_attn.o_proj", LINEAR}, {"post_attention_layernorm", PLAIN},
    {"mlp.gate_proj", LINEAR},    {"mlp.up_proj", LINEAR},
    {"mlp.down_proj", LINEAR},    {NULL, 0},
};
static const struct row merger[] = {{"visual.merger.ln_q", PLAIN},
                                    {"visual.merger.mlp.0", BIASED},
                                    {"visual.merger.mlp.2", BIASED},
                                    {NULL, 0}};
static const struct row patch_embed[] = {{"visual.patch_embed.proj", PLAIN}, {NULL, 0}};
static const struct row embedding[] = {{"language_model.embed_tokens", PLAIN}, {NULL, 0}};
static const struct row ending[] = {{"language_model.norm", PLAIN}, {"lm_head", LINEAR}, {NULL, 0}};

static int add(struct parts *p, char *name, int kind, struct err *e)
{
    if (!name || mem_grow((void **)&p->module, p->modules, &p->cap, sizeof *p->module, e)) {
        free(name);
        return -1;
    }
    p->module[p->modules++] =
        (struct parts_module){.name = name, .linear = kind != PLAIN, .bias = kind == BIASED, .needed = true};
    return 0;
}

static int add_rows(struct parts *p, const struct row *r, struct err *e)
{
    for (; r->name; r++)
        if (add(p, mem_strdup(r->name, e), r->kind, e))
            return -1;
    return 0;
}

/* The rows n times, under PREFIX.0. ... */
static int add_blocks(struct parts *p, const char *prefix, size_t n, const struct row *rows, struct err *e)
{
    for (size_t i = 0; i < n; i++)
        for (const struct row *r = rows; r->name; r++)
            if (add(p, mem_printf(e, "%s.%zu.%s", prefix, i, r->name), r->kind, e))
                return -1;
    return 0;
}

static int read_count(const json_t *o, const char *key, size_t *n, const char *path, struct err *e)
{
    if (json_get_size(o, key, n, path, e))
        return -1;
    if (*n > LAYERS_MOST)
        return err_set(e, RC_DATA, "'%s': '%s' is %zu; no model has more than %d", path, key, *n,
                       LAYERS_MOST);
    return 0;
}

int parts_read(struct parts *p, const json_t *config, const char *path, struct err *e)
{
    const json_t *text = json_object_get(config, "text_config"),
                 *vision = json_object_get(config, "vision_config");
    const char *type = NULL;
    size_t layers = 0, blocks = 0;

    *p = (struct parts){0};
    if (json_get_str(config, "model_type", &type, path, e))
        return -1;
    p->vision = !strcmp(type, "qwen2_5_vl");
    if (!p->vision && strcmp(type, "qwen2"))
        return err_set(e, RC_DATA, "'%s': 'model_type' is '%s'; qwen2_5_vl and qwen2 are known", path, type);
    if (!json_is_object(text))
        text = config;
    if (read_count(text, "num_hidden_layers", &layers, path, e) ||
        (p->vision && read_count(vision, "depth", &blocks, path, e)))
        return -1;
    p->tied = json_is_true(json_object_get(config, "tie_word_embeddings")) ||
              (!json_object_get(config, "tie_word_embeddings") &&
               json_is_true(json_object_get(text, "tie_word_embeddings")));
    if ((p->vision && (add_rows(p, patch_embed, e) ||
                       add_blocks(p, "visual.blocks", blocks, vision_block, e) || add_rows(p, merger, e))) ||
        add_rows(p, embedding, e) || add_blocks(p, "language_model.layers", layers, language_layer, e) ||
        add_rows(p, ending, e)) {
        parts_release(p);
        return -1;
    }
    p->module[p->modules - 1].needed = !p->tied;
    return 0;
}

void parts_release(struct parts *p)
{
    for (size_t i = 0; i < p->modules; i++)
        free(p->module[i].name);
    free(p->module);
    *p = (struct parts){0};
}
