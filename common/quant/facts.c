/* facts.c - what a checkpoint's files say, before any engine reads them */
#include "common/quant/facts.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/quant/facts_read.h"

const char *facts_layout_text(enum facts_layout l)
{
    return l == FACTS_PLAIN ? "none" : l == FACTS_MODELOPT ? "modelopt" : "compressed-tensors";
}

const char *facts_held_text(enum facts_held h)
{
    static const char *const text[] = {
        [HELD_NOT] = "-",     [HELD_16_BITS] = "16-bit", [HELD_FP8] = "fp8",
        [HELD_INT8] = "int8", [HELD_OTHER] = "other",    [HELD_MIXED] = "mixed"};

    return text[h];
}

bool facts_is_codes(enum facts_held h)
{
    return h == HELD_FP8 || h == HELD_INT8;
}

static enum facts_held held_of(const struct st_tensor *t)
{
    if (!t)
        return HELD_NOT;
    switch (t->dtype) {
    case DT_BF16:
    case DT_F16:
    case DT_F32: return HELD_16_BITS;
    case DT_F8_E4M3: return HELD_FP8;
    case DT_I8: return HELD_INT8;
    default: return HELD_OTHER;
    }
}

float facts_scale(const struct st_tensor *t)
{
    uint32_t bits = 0;

    if (t->count != 1)
        return NAN;
    if (t->dtype != DT_F32 && t->dtype != DT_BF16 && t->dtype != DT_F16)
        return NAN;
    for (size_t i = 0; i < t->bytes; i++)
        bits |= (uint32_t)t->data[i] << 8 * i;
    return t->dtype == DT_F32    ? f32_from_bits(bits)
           : t->dtype == DT_BF16 ? bf16_to_f32((uint16_t)bits)
                                 : f16_to_f32((uint16_t)bits);
}

/* ---- tensors to modules ---- */

struct place {
    const char *name;
    struct facts_module *module;
};

static int compare_places(const void *a, const void *b)
{
    return strcmp(((const struct place *)a)->name, ((const struct place *)b)->name);
}

static enum facts_part part_of(const char *last)
{
    static const struct {
        const char *last;
        enum facts_part part;
    } parts[] = {
        {"weight", PART_WEIGHT},           {"bias", PART_BIAS},        {"weight_scale", PART_WEIGHT_SCALE},
        {"input_scale", PART_INPUT_SCALE}, {"k_scale", PART_KV_SCALE}, {"v_scale", PART_KV_SCALE},
        {"pre_quant_scale", PART_PRE_SCALE}};

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strcmp(last, parts[i].last))
            return parts[i].part;
    return PART_UNKNOWN;
}

static bool is_linear_part(enum facts_part p)
{
    return p == PART_WEIGHT_SCALE || p == PART_INPUT_SCALE || p == PART_PRE_SCALE;
}

/* A tensor that the model has no place for is PART_UNKNOWN, whatever its last name. */
static void place_tensor(struct facts_tensor *t, struct facts_module *m)
{
    if (t->part == PART_KV_SCALE)
        return;
    if (!m || t->part == PART_UNKNOWN || (t->part == PART_BIAS && !m->is->bias) ||
        (is_linear_part(t->part) && !m->is->linear)) {
        t->part = PART_UNKNOWN;
        return;
    }
    t->module = m;
    *(t->part == PART_WEIGHT         ? &m->weight
      : t->part == PART_BIAS         ? &m->bias
      : t->part == PART_WEIGHT_SCALE ? &m->weight_scale
      : t->part == PART_PRE_SCALE    ? &m->pre_scale
                                     : &m->input_scale) = t->t;
}

/* A KV cache scale of the language model is one of k_proj or v_proj, or of an attention that has them. */
static void place_kv_scale(struct facts *f, struct facts_tensor *t, const struct place *place)
{
    const char *member = strrchr(t->name, '.')[1] == 'k' ? "k_proj" : "v_proj";
    char name[NAME_BYTES], other[NAME_BYTES + 8];
    struct place key = {.name = name};

    if (name_scope(t->name) == SCOPE_VISION)
        return;
    snprintf(name, sizeof name, "%.*s", (int)(strrchr(t->name, '.') - t->name), t->name);
    snprintf(other, sizeof other, "%s.%s", name, member);
    if (!bsearch(&key, place, f->modules, sizeof *place, compare_places))
        key.name = other;
    if (!bsearch(&key, place, f->modules, sizeof *place, compare_places) || !name_cached(key.name) ||
        strcmp(strrchr(key.name, '.') + 1, member))
        t->part = PART_UNKNOWN;
    else
        f->kv_scales++;
}

static int compare_tensors(const void *a, const void *b)
{
    return strcmp(((const struct facts_tensor *)a)->name, ((const struct facts_tensor *)b)->name);
}

static int place_tensors(struct facts *f, const struct place *place, struct err *e)
{
    for (size_t i = 0; i < f->ckpt->tensors; i++) {
        struct facts_tensor *t = &f->tensor[f->tensors];
        char name[NAME_BYTES], *dot;
        struct place key = {.name = name};
        const struct place *hit = NULL;

        t->t = f->ckpt->by_name[i];
        f->bytes += t->t->bytes;
        if (name_canonical(t->t->name, name, e))
            return err_prefix(e, "'%s'", ckpt_file_of(f->ckpt, t->t));
        t->name = mem_strdup(name, e);
        if (!t->name)
            return -1;
        f->tensors++;
        t->in_memory =
            !strncmp(t->t->name, "model.language_model.", 21) || !strncmp(t->t->name, "model.visual.", 13);
        dot = strrchr(name, '.');
        t->part = dot ? part_of(dot + 1) : PART_UNKNOWN;
        if (dot) {
            *dot = '\0';
            hit = bsearch(&key, place, f->modules, sizeof *place, compare_places);
        }
        place_tensor(t, hit ? hit->module : NULL);
        if (t->part == PART_KV_SCALE)
            place_kv_scale(f, t, place);
    }
    if (f->tensors)
        qsort(f->tensor, f->tensors, sizeof *f->tensor, compare_tensors);
    for (size_t i = 1; i < f->tensors; i++)
        if (!strcmp(f->tensor[i - 1].name, f->tensor[i].name))
            return err_set(e, RC_DATA, "'%s' holds '%s' twice, as '%s' and as '%s'", f->ckpt->dir,
                           f->tensor[i].name, f->tensor[i - 1].t->name, f->tensor[i].t->name);
    return 0;
}

static int sort_out_tensors(struct facts *f, struct err *e)
{
    struct place *place = mem_zalloc(f->parts.modules, sizeof *place, e);
    int ret = -1;

    f->module = mem_zalloc(f->parts.modules, sizeof *f->module, e);
    f->tensor = mem_zalloc(f->ckpt->tensors, sizeof *f->tensor, e);
    if (!place || !f->module || !f->tensor)
        goto out;
    f->modules = f->parts.modules;
    for (size_t i = 0; i < f->modules; i++) {
        f->module[i].is = &f->parts.module[i];
        place[i] = (struct place){f->module[i].is->name, &f->module[i]};
    }
    qsort(place, f->modules, sizeof *place, compare_places);
    ret = place_tensors(f, place, e);
out:
    free(place);
    return ret;
}

/* ---- modules to units ---- */

/* A group's members stand next to each other in model order. */
static int make_units(struct facts *f, struct err *e)
{
    f->unit = mem_zalloc(f->modules, sizeof *f->unit, e);
    if (!f->unit)
        return -1;
    for (size_t i = 0; i < f->modules; i++) {
        struct facts_module *m = &f->module[i];
        struct facts_unit *u = f->units ? &f->unit[f->units - 1] : NULL;
        const char *member[NAME_MEMBERS_MAX];
        char group[NAME_BYTES];

        m->held = held_of(m->weight);
        if (!m->is->linear)
            continue;
        f->caches += name_cached(m->is->name) && !strcmp(strrchr(m->is->name, '.'), ".k_proj");
        if (name_group(m->is->name, group, e))
            return -1;
        if (!u || strcmp(u->name, group)) {
            u = &f->unit[f->units++];
            memcpy(u->name, group, sizeof group);
            u->first = i;
            u->fused = name_members(group, member) == 3 ? "qkv_proj"
                       : name_members(group, member)    ? "gate_up_proj"
                                                        : NULL;
            u->scope = name_scope(group);
            u->held = m->held;
        }
        u->n++;
        m->unit = (size_t)(u - f->unit);
        if (m->held != u->held)
            u->held = HELD_MIXED;
        if (facts_is_codes(m->held)) {
            f->codes[u->scope]++;
            f->codes[SCOPE_ALL]++;
        }
    }
    return 0;
}

/* ---- the other files ---- */

/* A document that need not be there: NULL and 0 then. */
static int read_optional(const struct ckpt *c, const char *name, json_t **out, char **path, struct err *e)
{
    int there;

    *out = NULL;
    *path = file_join(c->dir, name, e);
    there = *path ? file_exists(*path, e) : -1;
    if (there > 0)
        *out = json_read(*path, NULL, e);
    return there < 0 || (there && !*out) ? -1 : 0;
}

static int read_index(struct facts *f, struct err *e)
{
    json_t *index = NULL, *metadata, *v;
    char *path = NULL;
    int ret = read_optional(f->ckpt, "model.safetensors.index.json", &index, &path, e);

    metadata = json_object_get(index, "metadata");
    v = json_object_get(metadata, "total_size");
    if (ret == 0 && v && !json_is_null(v)) {
        f->sized = true;
        if (!json_is_number(v) || json_number_value(v) < 0)
            ret = err_set(e, RC_DATA, "'%s': metadata.total_size is not a number of bytes", path);
        else
            f->total_size =
                json_is_integer(v) ? (uint64_t)json_integer_value(v) : (uint64_t)json_real_value(v);
    }
    json_decref(index);
    free(path);
    return ret;
}

static int read_sources(struct facts *f, struct err *e)
{
    char *config = file_join(f->ckpt->dir, "config.json", e), *hf = NULL;
    int ret = config ? read_optional(f->ckpt, "hf_quant_config.json", &f->hf, &hf, e) : -1;

    if (ret == 0 && (parts_read(&f->parts, f->ckpt->config, config, e) ||
                     facts_read_config(&f->source[FACTS_CONFIG], f->ckpt->config, config, e) ||
                     facts_read_hf(&f->source[FACTS_HF], f->hf, hf, e)))
        ret = -1;
    free(config);
    free(hf);
    return ret;
}

int facts_read(struct facts *f, const struct ckpt *c, struct err *e)
{
    *f = (struct facts){.ckpt = c};
    if (read_sources(f, e) || read_index(f, e) || sort_out_tensors(f, e) || make_units(f, e)) {
        facts_release(f);
        return -1;
    }
    f->layout = f->source[f->source[FACTS_CONFIG].there ? FACTS_CONFIG : FACTS_HF].layout;
    return 0;
}

void facts_release(struct facts *f)
{
    for (size_t i = 0; i < f->tensors; i++)
        free(f->tensor[i].name);
    free(f->tensor);
    free(f->unit);
    free(f->module);
    for (size_t i = 0; i < FACTS_SOURCES; i++)
        facts_release_source(&f->source[i]);
    parts_release(&f->parts);
    json_decref(f->hf);
    *f = (struct facts){0};
}
