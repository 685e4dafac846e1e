/*
 * engine.c - how each engine reads an exclude list, case by case, and what each does with ModelOpt's own
 * exports
 *
 * The cases are those that were seen by running vLLM 0.32.0, SGLang 0.5.23 and transformers 5.23.0, and by
 * reading TensorRT-LLM.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cli.h"
#include "common/quant/check.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

/* ---- lists ---- */

enum { MODELOPT, COMPRESSED };

/* Letters: f codes, b 16 bits, m some members of the group and not all, . not asked; engines in check_names'
 * order. */
static const struct {
    int layout;
    bool vision_model;
    const char *module, *entry[3], *held;
} cases[] = {
    /* Nothing listed: everything is quantized, the vision tower not in TensorRT-LLM. */
    {MODELOPT, true, "language_model.layers.3.mlp.down_proj", {NULL}, "fff."},
    {MODELOPT, true, "visual.blocks.0.attn.qkv", {NULL}, "ffb."},
    {COMPRESSED, true, "visual.merger.mlp.0", {NULL}, "ff.f"},

    /* Leaf names in hub style, alone and in a fused group. */
    {MODELOPT, true, "language_model.layers.3.mlp.down_proj", {"model.layers.3.mlp.down_proj"}, "bbb."},
    {MODELOPT, true, "language_model.layers.13.mlp.down_proj", {"model.layers.3.mlp.down_proj"}, "fff."},
    {MODELOPT,
     true,
     "language_model.layers.3.self_attn.q_proj",
     {"model.layers.3.self_attn.q_proj", "model.layers.3.self_attn.k_proj",
      "model.layers.3.self_attn.v_proj"},
     "bbb."},
    {MODELOPT, true, "language_model.layers.3.self_attn.q_proj", {"model.layers.3.self_attn.k_proj"}, "mmb."},
    {MODELOPT, true, "language_model.layers.3.mlp.gate_proj", {"model.layers.3.mlp.up_proj"}, "mmb."},
    {MODELOPT, true, "visual.blocks.2.mlp.gate_proj", {"visual.blocks.2.mlp.gate_proj"}, "mmb."},
    {MODELOPT,
     true,
     "visual.blocks.2.mlp.gate_proj",
     {"visual.blocks.2.mlp.gate_proj", "visual.blocks.2.mlp.up_proj"},
     "bbb."},

    /* The fused names: SGLang turns attn.qkv_proj into attn.qkv_proj_proj. */
    {MODELOPT,
     true,
     "language_model.layers.3.self_attn.q_proj",
     {"model.layers.3.self_attn.qkv_proj"},
     "bfb."},
    {MODELOPT, true, "language_model.layers.3.mlp.gate_proj", {"model.layers.3.mlp.gate_up_proj"}, "bbb."},
    {MODELOPT, true, "visual.blocks.0.attn.qkv", {"visual.blocks.0.attn.qkv"}, "bbb."},
    {MODELOPT, true, "visual.blocks.10.attn.qkv", {"visual.blocks.1.attn.qkv"}, "ffb."},

    /* The vision tower: model.visual* alone is not enough for SGLang. */
    {MODELOPT, true, "visual.blocks.0.attn.qkv", {"model.visual*"}, "bfb."},
    {MODELOPT, true, "visual.blocks.0.attn.proj", {"visual*"}, "bbb."},
    {MODELOPT, true, "visual.blocks.0.attn.proj", {"visual"}, "bbb."},
    {MODELOPT, true, "visual.merger.mlp.2", {"visual.merger*"}, "bbb."},
    {MODELOPT, true, "visual.merger.mlp.2", {"visual.merger.*"}, "bbb."},

    /* Prefixes without a dot behind them: a substring in vLLM, whole parts in SGLang. */
    {MODELOPT, true, "visual.blocks.12.attn.qkv", {"visual.blocks.1"}, "bfb."},
    {MODELOPT, true, "visual.blocks.1.attn.qkv", {"visual.blocks.1"}, "bbb."},
    {MODELOPT, true, "visual.blocks.1.attn.proj", {"visual.blocks.1"}, "bbb."},
    {MODELOPT, true, "language_model.layers.10.mlp.down_proj", {"model.layers.1"}, "bff."},
    {MODELOPT, true, "language_model.layers.1.mlp.down_proj", {"model.layers.1"}, "bbf."},
    {MODELOPT, true, "language_model.layers.10.mlp.down_proj", {"model.layers.1*"}, "bbb."},
    {MODELOPT, true, "language_model.layers.10.mlp.down_proj", {"model.layers.1.*"}, "fff."},
    {MODELOPT, true, "language_model.layers.0.mlp.gate_proj", {"mlp.gate"}, "bff."},
    {MODELOPT, true, "language_model.layers.0.self_attn.q_proj", {"model.layers.0.self_attn*"}, "bbb."},
    {MODELOPT, true, "language_model.layers.0.mlp.gate_proj", {"model.layers.0.mlp*"}, "bbb."},

    /* In-memory names: TensorRT-LLM has no such module. */
    {MODELOPT,
     true,
     "language_model.layers.3.mlp.down_proj",
     {"model.language_model.layers.3.mlp.down_proj"},
     "bbf."},
    {MODELOPT, true, "lm_head", {"lm_head"}, "bbb."},

    /* A text model, where hub names are the names. */
    {MODELOPT, false, "language_model.layers.3.mlp.down_proj", {"model.layers.3.mlp.down_proj"}, "bbb."},
    {MODELOPT,
     false,
     "language_model.layers.3.self_attn.q_proj",
     {"model.layers.3.self_attn.q_proj"},
     "mmb."},
    {MODELOPT, false, "lm_head", {"lm_head"}, "bbb."},

    /* compressed-tensors: expressions that name the fused module, too, are the one form that works
       everywhere. */
    {COMPRESSED,
     true,
     "language_model.layers.3.self_attn.q_proj",
     {"re:.*layers\\.3\\.self_attn\\.(q|k|v|qkv)_proj$"},
     "bb.b"},
    {COMPRESSED,
     true,
     "language_model.layers.13.self_attn.q_proj",
     {"re:.*layers\\.3\\.self_attn\\.(q|k|v|qkv)_proj$"},
     "ff.f"},
    {COMPRESSED,
     true,
     "language_model.layers.3.mlp.gate_proj",
     {"re:.*layers\\.3\\.mlp\\.(gate|up|gate_up)_proj$"},
     "bb.b"},
    {COMPRESSED,
     true,
     "language_model.layers.3.mlp.down_proj",
     {"re:.*layers\\.3\\.mlp\\.down_proj$"},
     "bb.b"},
    {COMPRESSED,
     true,
     "visual.blocks.0.attn.qkv",
     {"re:.*visual\\.blocks\\.0\\.attn\\.qkv(_proj)?$"},
     "bb.b"},
    {COMPRESSED, true, "visual.blocks.0.attn.qkv", {"re:.*visual\\.blocks\\.0\\.attn\\.qkv$"}, "bf.b"},
    {COMPRESSED, true, "visual.blocks.0.mlp.down_proj", {"re:.*visual.*"}, "bb.b"},
    {COMPRESSED,
     true,
     "language_model.layers.3.self_attn.q_proj",
     {"re:.*layers\\.3\\.self_attn\\.(q|k|v)_proj$"},
     "bf.b"},
    {COMPRESSED,
     true,
     "language_model.layers.3.self_attn.q_proj",
     {"re:.*layers\\.3\\.self_attn\\.q_proj$"},
     "mf.b"},
    {COMPRESSED,
     true,
     "language_model.layers.3.mlp.gate_proj",
     {"re:.*layers\\.3\\.mlp\\.gate_proj$"},
     "mm.b"},
    {COMPRESSED, true, "lm_head", {"lm_head"}, "bb.b"},
    {COMPRESSED, true, "lm_head", {"re:.*lm_head"}, "bb.b"},

    /* The beginning is anchored, the end is not. */
    {COMPRESSED, true, "language_model.layers.3.mlp.down_proj", {"re:layers\\.3\\.mlp"}, "ff.f"},
    {COMPRESSED, true, "language_model.layers.3.mlp.down_proj", {"re:model\\.layers\\.3\\.mlp"}, "fb.f"},
    {COMPRESSED, true, "language_model.layers.30.mlp.down_proj", {"re:.*layers\\.3"}, "bb.b"},

    /* No plain name works everywhere: hub names not in transformers, those of the language model not in
       SGLang. */
    {COMPRESSED, true, "language_model.layers.3.mlp.down_proj", {"model.layers.3.mlp.down_proj"}, "bf.f"},
    {COMPRESSED,
     true,
     "language_model.layers.3.mlp.down_proj",
     {"model.language_model.layers.3.mlp.down_proj"},
     "bf.b"},
    {COMPRESSED, true, "visual.blocks.0.mlp.down_proj", {"visual.blocks.0.mlp.down_proj"}, "bb.f"},
    {COMPRESSED, true, "visual.blocks.0.mlp.down_proj", {"model.visual.blocks.0.mlp.down_proj"}, "bb.b"},
};

static char letter_of(enum facts_held h)
{
    return h == HELD_FP8 ? 'f' : h == HELD_16_BITS ? 'b' : h == HELD_MIXED ? 'm' : '?';
}

static void check_case(size_t i)
{
    static const struct engine *const engines[] = {&engine_vllm, &engine_sglang, &engine_trtllm,
                                                   &engine_transformers};
    const char *member[NAME_MEMBERS_MAX];
    const size_t members = name_members(cases[i].module, member);
    struct pattern entry[3] = {{0}}, linear = {.text = "Linear"};
    struct facts_group group = {.held = HELD_FP8, .target = &linear, .targets = 1};
    struct facts_source src = {.there = true, .entry = entry, .group = &group, .groups = 1};
    struct parts_module is = {.name = (char *)cases[i].module, .linear = true};
    struct facts_module module = {.is = &is};
    struct facts_unit unit = {.n = members ? members : 1, .scope = name_scope(cases[i].module)};
    struct facts f = {.parts.vision = cases[i].vision_model};
    struct subject s = {.f = &f, .source = &src, .unit = &unit, .module = &module};
    char got[] = "....";
    struct err e = {0};
    bool named = true;

    strcpy(unit.name, cases[i].module);
    unit.fused = members == 3 ? "qkv_proj" : members == 2 ? "gate_up_proj" : NULL;
    src.layout = cases[i].layout == MODELOPT ? FACTS_MODELOPT : FACTS_COMPRESSED;
    for (; src.entries < 3 && cases[i].entry[src.entries]; src.entries++) {
        entry[src.entries].text = cases[i].entry[src.entries];
        if (src.layout == FACTS_COMPRESSED &&
            pattern_init(&entry[src.entries], cases[i].entry[src.entries], &e))
            exit(1);
    }
    for (size_t k = 0; k < 4; k++) {
        struct choice c = {0};

        if (cases[i].held[k] == '.')
            continue;
        engines[k]->choose(&s, &c);
        got[k] = letter_of(c.held);
        /* what is not quantized is so by an entry, but for the vision tower of TensorRT-LLM */
        named &= (c.entry != NULL) == (c.held != HELD_FP8) || engines[k] == &engine_trtllm;
    }
    CHECK(!strcmp(got, cases[i].held) && named, "%s, %s under '%s': %s", cases[i].layout ? "ct" : "modelopt",
          cases[i].module, cases[i].entry[0] ? cases[i].entry[0] : "", got);
    for (size_t k = 0; k < src.entries; k++)
        pattern_release(&entry[k]);
}

/* ---- ModelOpt's exports: files of the same tensors, of which single numbers are as they were ---- */

#define EXPORTS "tests/golden/modelopt-tiny/exports/"
enum { TENSORS_MOST = 400 };

static void copy(const char *name, const char *file)
{
    struct err e = {0};
    char from[256];

    snprintf(from, sizeof from, EXPORTS "%s/%s", name, file);
    unlink(scratch(file));
    if (file_copy(from, scratch(file), &e)) {
        printf("Bail out! %s\n", e.msg);
        exit(1);
    }
}

/* A line of tensors.tsv: name, dtype, [shape], sha256, value. */
static void read_line(char *line, struct st_tensor *t, float *value)
{
    static const struct {
        const char *torch;
        enum dtype dtype;
    } types[] = {{"bfloat16", DT_BF16}, {"float32", DT_F32}, {"float8_e4m3fn", DT_F8_E4M3}, {"int8", DT_I8}};
    char *name = strsep(&line, "\t"), *type = strsep(&line, "\t"), *shape = strsep(&line, "\t");

    *t = (struct st_tensor){.name = strdup(name), .count = 1};
    for (size_t i = 0; i < 4; i++)
        if (!strcmp(type, types[i].torch))
            t->dtype = types[i].dtype;
    for (char *p = shape + 1; *p && *p != ']'; p += *p == ',') {
        t->shape[t->ndim] = strtoul(p, &p, 10);
        t->count *= t->shape[t->ndim++];
    }
    t->bytes = t->count * dtype_bytes(t->dtype);
    strsep(&line, "\t");
    *value = strtof(line, NULL);
}

static int compare(const void *a, const void *b)
{
    return st_compare(a, b);
}

static void write_tensors(const char *name)
{
    static struct st_tensor tensor[TENSORS_MOST];
    static uint8_t fill[1 << 20];
    char path[256], line[1024];
    struct err e = {0};
    size_t n = 0, header;
    float value;
    FILE *f;

    memset(fill, 0x3c, sizeof fill); /* above 0 in every type */
    snprintf(path, sizeof path, EXPORTS "%s/tensors.tsv", name);
    f = fopen(path, "r");
    if (!f || !fgets(line, sizeof line, f))
        exit(1);
    while (fgets(line, sizeof line, f)) {
        read_line(line, &tensor[n], &value);
        tensor[n].data = calloc(1, sizeof value); /* of one number: itself */
        memcpy((void *)tensor[n++].data, &value, sizeof value);
    }
    fclose(f);
    qsort(tensor, n, sizeof *tensor, compare);
    f = fopen(scratch("model.safetensors"), "wb");
    if (!f || st_write_header(f, tensor, n, &header, &e))
        exit(1);
    for (size_t i = 0; i < n; i++) {
        if (tensor[i].count == 1)
            fwrite(tensor[i].data, 1, tensor[i].bytes, f);
        else
            for (size_t left = tensor[i].bytes; left; left -= left < sizeof fill ? left : sizeof fill)
                fwrite(fill, 1, left < sizeof fill ? left : sizeof fill, f);
        free(tensor[i].name);
        free((void *)tensor[i].data);
    }
    fclose(f);
}

/* Whether the answer has a finding of this rule; NULL: any rule. */
static bool finds(const struct check_answer *a, const char *id)
{
    for (size_t i = 0; i < a->findings; i++)
        if (!strcmp(a->finding[i].rule->id, id))
            return true;
    return false;
}

/* Verdicts in check_names' order: . fine, r rounds, w wrong, x refuses; `rule` is what two engines say. */
static const struct {
    const char *name, *verdicts, *vllm, *sglang;
    bool files;
} exports[] = {
    {"fp8-lm-top10", "...w", NULL, NULL, true},
    {"fp8-lm-top50", "rrrw", "scales-differ", "scales-differ", true},
    {"fp8-lm-top100", "rrrw", "scales-differ", "scales-differ", true},
    {"fp8-stock", "rrrw", "scales-differ", "scales-differ", true},
    {"fp8-all-top50", "rrxw", "vision", "vision", true},
    {"fp8-all-top100", "rrxw", "alignment", "alignment-vision", true},
    {"fp8-stock-kv", "xxrw", "kv-vision", "kv-language", false},
    {"fp8-lm-kv", "rxrw", "kv-language", "kv-language", true},
    {"fp8-lm-head", "wwww", "tied-head", "tied-head", false},
    {"fp8-patch-embed", "....", NULL, NULL, true},
    {"int8-lm-top50", "xxxw", "algorithm", "algorithm", true},
    {"int8-sq-stock", "xxxw", "algorithm", "algorithm", true},
};

static void check_export(size_t i)
{
    static const char letters[] = "..rwx"; /* by enum effect */
    char got[] = "....";
    struct ckpt ckpt = {0};
    struct facts facts = {0};
    struct check c = {0};
    struct err e = {0};
    bool said = true;

    copy(exports[i].name, "config.json");
    copy(exports[i].name, "hf_quant_config.json");
    write_tensors(exports[i].name);
    if (ckpt_open(&ckpt, scratch_dir(), &e) || facts_read(&facts, &ckpt, &e) ||
        check_make(&c, &facts, NULL, 0, &e)) {
        CHECK(false, "%s: %s", exports[i].name, e.msg);
    } else {
        for (size_t k = 0; k < c.answers; k++)
            got[k] = letters[c.answer[k].verdict];
        said = (!exports[i].vllm || finds(&c.answer[0], exports[i].vllm)) &&
               (!exports[i].sglang || finds(&c.answer[1], exports[i].sglang));
        CHECK(!strcmp(got, exports[i].verdicts) && said, "%s: %s", exports[i].name, got);
        CHECK((c.files.verdict < EFFECT_WRONG) == exports[i].files, "%s: its files agree: %s",
              exports[i].name, c.files.findings ? c.files.finding[0].rule->id : "yes");
    }
    check_release(&c);
    facts_release(&facts);
    ckpt_close(&ckpt);
}

int main(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_case(i);
    for (size_t i = 0; i < sizeof exports / sizeof *exports; i++)
        check_export(i);
    return unit_end();
}
