/* names.c - what layers are called, and which of them share one decision */
#include "common/quant/names.h"

#include <stdio.h>
#include <string.h>

const char *const name_scope_choices[] = {"all", "language", "vision", NULL};

static const char *after(const char *name, const char *prefix)
{
    size_t n = strlen(prefix);

    return strncmp(name, prefix, n) ? NULL : name + n;
}

static int put(char out[NAME_BYTES], const char *prefix, const char *rest, struct err *e)
{
    int n = snprintf(out, NAME_BYTES, "%s%s", prefix, rest);

    if (n <= 0 || n >= NAME_BYTES)
        return err_set(e, RC_DATA, "the layer name '%.40s%s' is %s", rest, n > 40 ? "..." : "",
                       n <= 0 ? "empty" : "too long");
    for (const char *p = out; *p; p++) /* names go into tables and reports */
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return err_set(e, RC_DATA, "the layer name '%s' has control characters", out);
    return 0;
}

int name_canonical(const char *name, char out[NAME_BYTES], struct err *e)
{
    static const struct {
        const char *from, *to;
    } style[] = {
        /* the first that fits; longer prefixes before those that they begin with */
        {"model.language_model.", "language_model."},
        {"model.visual.", "visual."},
        {"model.lm_head", "lm_head"},
        {"language_model.model.", "language_model."},
        {"language_model.lm_head", "lm_head"},
        {"model.", "language_model."},
        {"layers.", "language_model.layers."},
    };
    const char *suffix = ".quant_recipe", *rest = name, *prefix = "";
    size_t n;

    for (size_t i = 0; i < sizeof style / sizeof *style; i++) {
        if (after(name, style[i].from)) {
            prefix = style[i].to;
            rest = after(name, style[i].from);
            break;
        }
    }
    if (put(out, prefix, rest, e))
        return -1;
    n = strlen(out);
    if (n > strlen(suffix) && !strcmp(out + n - strlen(suffix), suffix))
        out[n - strlen(suffix)] = '\0';
    return 0;
}

int name_hub(const char *canonical, char out[NAME_BYTES], struct err *e)
{
    const char *rest = after(canonical, "language_model.");

    return put(out, rest ? "model." : "", rest ? rest : canonical, e);
}

int name_in_memory(const char *canonical, char out[NAME_BYTES], struct err *e)
{
    bool inside = after(canonical, "language_model.") || after(canonical, "visual.");

    return put(out, inside ? "model." : "", canonical, e);
}

static const char *last_part(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot ? dot + 1 : name;
}

size_t name_members(const char *canonical, const char *out[NAME_MEMBERS_MAX])
{
    static const char *const fused[][NAME_MEMBERS_MAX + 1] = {{"q_proj", "k_proj", "v_proj"},
                                                              {"gate_proj", "up_proj"}};
    const char *last = last_part(canonical);

    for (size_t i = 0; last != canonical && i < sizeof fused / sizeof *fused; i++) {
        bool found = false;
        size_t n = 0;

        for (; fused[i][n]; n++) {
            out[n] = fused[i][n];
            found |= !strcmp(last, fused[i][n]);
        }
        if (found)
            return n;
    }
    return 0;
}

int name_group(const char *canonical, char out[NAME_BYTES], struct err *e)
{
    const char *member[NAME_MEMBERS_MAX];
    size_t stem = (size_t)(last_part(canonical) - canonical);

    if (!name_members(canonical, member))
        return put(out, "", canonical, e);
    if (stem + strlen(member[0]) >= NAME_BYTES)
        return err_set(e, RC_DATA, "the layer name '%.40s...' is too long", canonical);
    snprintf(out, NAME_BYTES, "%.*s%s", (int)stem, canonical, member[0]);
    return 0;
}

enum name_scope name_scope(const char *canonical)
{
    return after(canonical, "visual.") ? SCOPE_VISION : SCOPE_LANGUAGE;
}

enum name_scope name_scope_parse(const char *text)
{
    for (enum name_scope s = SCOPE_ALL; name_scope_choices[s]; s++)
        if (!strcmp(text, name_scope_choices[s]))
            return s;
    return SCOPE_ALL;
}

const char *name_scope_text(enum name_scope s)
{
    return name_scope_choices[s];
}

bool name_servable(const char *canonical)
{
    return !after(canonical, "visual.patch_embed.");
}

bool name_cached(const char *canonical)
{
    const char *last = last_part(canonical);

    return after(canonical, "language_model.") && (!strcmp(last, "k_proj") || !strcmp(last, "v_proj"));
}

int name_norm(const char *canonical, char out[NAME_BYTES], struct err *e)
{
    static const struct {
        enum name_scope scope;
        const char *end, *norm;
    } readers[] = {
        {SCOPE_LANGUAGE, ".self_attn.q_proj", ".input_layernorm"},
        {SCOPE_LANGUAGE, ".self_attn.k_proj", ".input_layernorm"},
        {SCOPE_LANGUAGE, ".self_attn.v_proj", ".input_layernorm"},
        {SCOPE_LANGUAGE, ".mlp.gate_proj", ".post_attention_layernorm"},
        {SCOPE_LANGUAGE, ".mlp.up_proj", ".post_attention_layernorm"},
        {SCOPE_VISION, ".attn.qkv", ".norm1"},
        {SCOPE_VISION, ".mlp.gate_proj", ".norm2"},
        {SCOPE_VISION, ".mlp.up_proj", ".norm2"},
    };
    const size_t length = strlen(canonical);

    out[0] = '\0';
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
        const size_t end = strlen(readers[i].end);

        if (readers[i].scope != name_scope(canonical) || length <= end ||
            strcmp(canonical + length - end, readers[i].end))
            continue;
        if (snprintf(out, NAME_BYTES, "%.*s%s", (int)(length - end), canonical,
                     readers[i].norm) >= NAME_BYTES)
            return err_set(e, RC_DATA, "the layer name '%.40s...' is too long", canonical);
    }
    return 0;
}

/* One character against the set that begins at p[1]; *end: what follows its "]", or NULL when there is none.
 */
static bool in_set(const char *p, char c, const char **end)
{
    bool negate = p[1] == '!', found = false;
    const char *first = p + 1 + negate, *q = first;

    *end = NULL;
    for (; *q && (*q != ']' || q == first); q++) {
        if (q[1] == '-' && q[2] && q[2] != ']') {
            found |= (unsigned char)q[0] <= (unsigned char)c && (unsigned char)c <= (unsigned char)q[2];
            q += 2;
        } else {
            found |= *q == c;
        }
    }
    if (*q)
        *end = q + 1;
    return found != negate;
}

bool name_match(const char *pattern, const char *name)
{
    const char *star = NULL,
               *retry = NULL; /* the last "*" seen, and the text that it has not swallowed yet */

    for (;;) {
        const char *next = pattern + 1, *end = NULL;
        bool same;

        if (*pattern == '*') {
            star = ++pattern;
            retry = name;
            continue;
        }
        if (!*pattern && !*name)
            return true;
        same = *name && (*pattern == '?' || *pattern == *name);
        if (*name && *pattern == '[') {
            bool found = in_set(pattern, *name, &end);

            if (end) {
                same = found;
                next = end;
            }
        }
        if (*pattern && same) {
            pattern = next;
            name++;
        } else if (star && *retry) {
            pattern = star;
            name = ++retry;
        } else {
            return false;
        }
    }
}
