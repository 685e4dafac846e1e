/*
 * when_config.c - the conditions of the engines' rules about a configuration and about the files as a whole
 */
#include "common/quant/when.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

bool when_no_algorithm(struct subject *s)
{
    if (s->source->layout != FACTS_MODELOPT || s->source->algo)
        return false;
    WHEN_SAY(s, "%s", s->source->file);
    return true;
}

bool when_not_fp8(struct subject *s)
{
    if (s->source->layout != FACTS_MODELOPT || !s->source->algo || !strcasecmp(s->source->algo, "FP8"))
        return false;
    WHEN_SAY(s, "quant_algo '%s' in %s", s->source->algo, s->source->file);
    return true;
}

static bool some_group(const struct subject *s, bool (*is)(const struct facts_group *))
{
    for (size_t i = 0; i < s->source->groups; i++)
        if (is(&s->source->group[i]))
            return true;
    return false;
}

static bool is_int8(const struct facts_group *g)
{
    return g->held == HELD_INT8;
}

static bool is_per_tensor(const struct facts_group *g)
{
    return g->held == HELD_FP8 && !g->channel;
}

bool when_int8(struct subject *s)
{
    return some_group(s, is_int8);
}

static bool has_odd_inputs(const struct facts_group *g)
{
    return g->held == HELD_INT8 && g->odd_inputs;
}

bool when_odd_int8_inputs(struct subject *s)
{
    return some_group(s, has_odd_inputs);
}

static bool is_fp8(const struct facts_group *g)
{
    return g->held == HELD_FP8;
}

bool when_mixed(struct subject *s)
{
    return some_group(s, is_int8) && some_group(s, is_fp8);
}

bool when_mixed_precision(struct subject *s)
{
    return when_mixed(s) && s->source->format && !strcmp(s->source->format, "mixed-precision");
}

bool when_per_tensor(struct subject *s)
{
    return some_group(s, is_per_tensor);
}

bool when_any_codes(struct subject *s)
{
    WHEN_SAY(s, "%zu layers", s->f->codes[SCOPE_ALL]);
    return s->f->codes[SCOPE_ALL] > 0;
}

bool when_codes_unclaimed(struct subject *s)
{
    return s->source->layout == FACTS_PLAIN && when_any_codes(s);
}

bool when_no_hf(struct subject *s)
{
    return s->f->source[FACTS_CONFIG].there && !s->f->source[FACTS_HF].there;
}

/* An entry of a that b does not have. */
static const char *only_in(const struct facts_source *a, const struct facts_source *b)
{
    for (size_t i = 0; i < a->entries; i++) {
        bool found = false;

        for (size_t k = 0; k < b->entries && !found; k++)
            found = !strcmp(a->entry[i].text, b->entry[k].text);
        if (!found)
            return a->entry[i].text;
    }
    return NULL;
}

bool when_configs_disagree(struct subject *s)
{
    const struct facts_source *a = &s->f->source[FACTS_CONFIG], *b = &s->f->source[FACTS_HF];
    const char *more = NULL;

    if (!a->there || !b->there)
        return false;
    if (a->layout != b->layout)
        WHEN_SAY(s, "%s is of layout %s, %s of %s", a->file, facts_layout_text(a->layout), b->file,
            facts_layout_text(b->layout));
    else if (strcasecmp(a->algo ? a->algo : "", b->algo ? b->algo : ""))
        WHEN_SAY(s, "quant_algo is '%s' in %s, '%s' in %s", a->algo ? a->algo : "", a->file,
            b->algo ? b->algo : "", b->file);
    else if ((more = only_in(a, b)))
        WHEN_SAY(s, "'%.200s' is in %s of %s alone", more, a->key, a->file);
    else if ((more = only_in(b, a)))
        WHEN_SAY(s, "'%.200s' is in %s of %s alone", more, b->key, b->file);
    else if (a->kv != b->kv)
        WHEN_SAY(s, "%s alone says that the KV cache is quantized", a->kv ? a->file : b->file);
    else
        return false;
    return true;
}

bool when_wrong_total_size(struct subject *s)
{
    if (!s->f->sized || s->f->total_size == s->f->bytes)
        return false;
    WHEN_SAY(s, "%llu, the tensors take %llu bytes", (unsigned long long)s->f->total_size,
        (unsigned long long)s->f->bytes);
    return true;
}

bool when_kv_undeclared(struct subject *s)
{
    return !s->source->kv && s->f->kv_scales > 0;
}

bool when_kv_missing(struct subject *s)
{
    return s->source->kv && s->f->kv_scales == 0;
}

bool when_kv_incomplete(struct subject *s)
{
    WHEN_SAY(s, "%zu scales, %zu layers need %zu", s->f->kv_scales, s->f->caches, 2 * s->f->caches);
    return s->f->kv_scales > 0 && s->f->kv_scales != 2 * s->f->caches;
}

bool when_kv_declared_incomplete(struct subject *s)
{
    return s->source->kv && when_kv_incomplete(s);
}

bool when_head_not_ignored(struct subject *s)
{
    return s->f->parts.tied && !engine_ignores(s->source, "lm_head") && engine_target(s->source, "lm_head");
}
