/* check.c - what engines will do with a checkpoint: their rules asked about every layer and tensor */
#include "common/quant/check.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

static const struct engine *const engines[CHECK_ENGINES] = {&engine_vllm, &engine_sglang, &engine_trtllm,
                                                            &engine_transformers};
const char *const check_names[] = {"vllm", "sglang", "tensorrt-llm", "transformers", NULL};

static int add_finding(struct check_answer *a, const struct rule *r, const struct subject *s, struct err *e)
{
    const char *subject = s->tensor               ? s->tensor->name
                          : r->scope == RULE_UNIT ? s->unit->name
                          : s->module             ? s->module->is->name
                                                  : "";
    struct check_finding *n;

    if (mem_grow((void **)&a->finding, a->findings, &a->cap, sizeof *a->finding, e))
        return -1;
    n = &a->finding[a->findings];
    *n = (struct check_finding){.rule = r, .unit = s->unit ? (size_t)(s->unit - s->f->unit) : SIZE_MAX};
    n->subject = mem_strdup(subject, e);
    n->detail = mem_strdup(s->detail, e);
    a->findings++;
    if (r->effect > a->verdict)
        a->verdict = r->effect;
    return n->subject && n->detail ? 0 : -1;
}

static int ask(struct check_answer *a, const struct rule *r, struct subject *s, struct err *e)
{
    s->detail[0] = '\0';
    return r->when(s) ? add_finding(a, r, s, e) : 0;
}

/* The subject that a module is, or a unit's first member. */
static void point_at(const struct check_answer *a, struct subject *s, const struct facts_module *m)
{
    static const struct choice none;
    const bool linear = m && m->is->linear;

    s->module = m;
    s->unit = linear ? &s->f->unit[m->unit] : NULL;
    s->choice = linear ? &a->choice[m - s->f->module] : &none;
}

/* Members that are not in the files and need not be are no subject. */
static bool is_there(const struct facts_module *m)
{
    return m->weight || m->is->needed;
}

static int ask_units(struct check_answer *a, const struct rule *r, struct subject *s, struct err *e)
{
    for (size_t i = 0; i < s->f->units; i++) {
        point_at(a, s, &s->f->module[s->f->unit[i].first]);
        if (is_there(s->module) && ask(a, r, s, e))
            return -1;
    }
    return 0;
}

static int ask_modules(struct check_answer *a, const struct rule *r, struct subject *s, struct err *e)
{
    for (size_t i = 0; i < s->f->modules; i++) {
        point_at(a, s, &s->f->module[i]);
        if (is_there(s->module) && (s->unit || r->scope == RULE_PART) && ask(a, r, s, e))
            return -1;
    }
    return 0;
}

static int ask_tensors(struct check_answer *a, const struct rule *r, struct subject *s, struct err *e)
{
    int ret = 0;

    for (size_t i = 0; i < s->f->tensors && ret == 0; i++) {
        s->tensor = &s->f->tensor[i];
        point_at(a, s, s->tensor->module);
        ret = ask(a, r, s, e);
    }
    s->tensor = NULL;
    return ret;
}

static int ask_rules(struct check_answer *a, struct subject *s, bool config, struct err *e)
{
    for (size_t i = 0; i < a->engine->rules; i++) {
        const struct rule *r = &a->engine->rule[i];
        int ret;

        if (!(r->layouts & a->source->layout) || (r->scope == RULE_CONFIG) != config)
            continue;
        point_at(a, s, NULL);
        ret = r->scope == RULE_UNIT     ? ask_units(a, r, s, e)
              : r->scope == RULE_MODULE ? ask_modules(a, r, s, e)
              : r->scope == RULE_PART   ? ask_modules(a, r, s, e)
              : r->scope == RULE_TENSOR ? ask_tensors(a, r, s, e)
                                        : ask(a, r, s, e);
        if (ret)
            return -1;
    }
    return 0;
}

static void choose(struct check_answer *a, struct subject *s)
{
    for (size_t i = 0; i < s->f->modules; i++) {
        if (!s->f->module[i].is->linear)
            continue;
        point_at(a, s, &s->f->module[i]);
        if (a->source->layout == FACTS_PLAIN)
            a->choice[i].held = HELD_16_BITS;
        else
            a->engine->choose(s, &a->choice[i]);
    }
}

static int answer(struct check_answer *a, const struct engine *g, const struct facts *f, struct err *e)
{
    struct subject s = {.f = f, .engine = g, .source = engine_source(g, f)};

    *a = (struct check_answer){.engine = g, .source = s.source, .serves = engine_serves(g, f)};
    a->choice = mem_zalloc(f->modules, sizeof *a->choice, e);
    if (!a->choice || ask_rules(a, &s, true, e))
        return -1;
    a->stopped = a->verdict >= EFFECT_WRONG;
    if (a->stopped)
        return 0;
    if (g->choose)
        choose(a, &s);
    return ask_rules(a, &s, false, e);
}

static bool is_among(const char *text, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(text, list[i]))
            return true;
    return !n;
}

int check_make(struct check *c, const struct facts *f, const char *const *name, size_t n, struct err *e)
{
    *c = (struct check){.f = f, .named = n > 0};
    if (answer(&c->files, &engine_files, f, e))
        goto fail;
    for (size_t i = 0; i < CHECK_ENGINES; i++)
        if (is_among(engines[i]->name, name, n) && answer(&c->answer[c->answers++], engines[i], f, e))
            goto fail;
    return 0;
fail:
    check_release(c);
    return -1;
}

static void release_answer(struct check_answer *a)
{
    for (size_t i = 0; i < a->findings; i++) {
        free(a->finding[i].subject);
        free(a->finding[i].detail);
    }
    free(a->finding);
    free(a->choice);
}

void check_release(struct check *c)
{
    release_answer(&c->files);
    for (size_t i = 0; i < c->answers; i++)
        release_answer(&c->answer[i]);
    *c = (struct check){0};
}

bool check_counts(const struct check *c, const struct check_answer *a)
{
    return c->named || a->serves;
}

bool check_passes(const struct check *c)
{
    bool passes = c->files.verdict < EFFECT_WRONG;

    for (size_t i = 0; i < c->answers; i++)
        if (check_counts(c, &c->answer[i]))
            passes &= c->answer[i].verdict < EFFECT_WRONG;
    return passes;
}
