/* engine.c - what the tables of the engines share: names, entries, groups */
#include "common/quant/engine.h"

#include <stdio.h>
#include <string.h>

const char *effect_word(enum effect x)
{
    static const char *const word[] = {"fine", "note", "rounds", "wrong", "refuses"};

    return word[x];
}

const char *effect_verdict(enum effect x)
{
    static const char *const verdict[] = {
        "loads and computes what was written", "loads and computes what was written",
        "loads, and rounds some numbers once more", "loads wrong, without an error", "refuses"};

    return verdict[x];
}

const char *evidence_text(enum evidence v)
{
    static const char *const text[] = {"run", "read", "inferred"};

    return text[v];
}

bool engine_serves(const struct engine *g, const struct facts *f)
{
    return (g->serves & f->layout) && (g->serves_vision || !f->codes[SCOPE_VISION]);
}

const struct facts_source *engine_source(const struct engine *g, const struct facts *f)
{
    const struct facts_source *src = &f->source[g->first];

    return src->there ? src : &f->source[!g->first];
}

void engine_join(const char *language_prefix, const char *canonical, const char *last,
                 char out[ENGINE_NAME_BYTES])
{
    static const char language[] = "language_model.";
    const bool inside = !strncmp(canonical, language, strlen(language));
    const char *rest = inside ? canonical + strlen(language) : canonical, *dot = strrchr(rest, '.');
    const size_t stem = last && dot ? (size_t)(dot + 1 - rest) : strlen(rest);

    snprintf(out, ENGINE_NAME_BYTES, "%s%.*s%s", inside ? language_prefix : "", (int)stem, rest,
             last ? last : "");
}

static void replace_at(char *text, char *at, size_t n, const char *to)
{
    char rest[ENGINE_NAME_BYTES];

    snprintf(rest, sizeof rest, "%s", at + n);
    snprintf(at, ENGINE_NAME_BYTES - (size_t)(at - text), "%s%s", to, rest);
}

bool engine_map_prefix(char text[ENGINE_NAME_BYTES], const char *from, const char *to)
{
    if (strncmp(text, from, strlen(from)))
        return false;
    replace_at(text, text, strlen(from), to);
    return true;
}

bool engine_map_part(char text[ENGINE_NAME_BYTES], const char *from, const char *to)
{
    char *at = strstr(text, from);

    if (!at)
        return false;
    replace_at(text, at, strlen(from), to);
    return true;
}

/* A pattern that takes too long to match counts as one that does not: engines have no limit, and hang. */
static bool matches(const struct pattern *p, const char *name)
{
    struct err ignored = {0};

    return pattern_match(p, name, &ignored) == 1;
}

/* Names and expressions come before the class. */
const struct facts_group *engine_target(const struct facts_source *src, const char *name)
{
    for (size_t i = 0; i < src->groups; i++)
        for (size_t k = 0; k < src->group[i].targets; k++)
            if (matches(&src->group[i].target[k], name))
                return &src->group[i];
    for (size_t i = 0; i < src->groups; i++)
        for (size_t k = 0; k < src->group[i].targets; k++)
            if (!strcmp(src->group[i].target[k].text, "Linear"))
                return &src->group[i];
    return NULL;
}

const char *engine_ignores(const struct facts_source *src, const char *name)
{
    for (size_t i = 0; i < src->entries; i++)
        if (matches(&src->entry[i], name))
            return src->entry[i].text;
    return NULL;
}

void engine_take_group(const struct facts_source *src, const char *name, struct choice *c)
{
    c->group = src->layout == FACTS_MODELOPT ? &src->group[0] : engine_target(src, name);
    c->held = c->group ? c->group->held : HELD_16_BITS;
}
