/* check_report.c - what check_make() found, as a table and as a document */
#include <string.h>

#include "common/io/doc.h"
#include "common/quant/check.h"

/* ---- for people ---- */

static bool is_bad(const struct check_answer *a, size_t unit)
{
    for (size_t i = 0; i < a->findings; i++)
        if (a->finding[i].unit == unit && a->finding[i].rule->effect >= EFFECT_WRONG)
            return true;
    return false;
}

/* A tied head that the files leave out. */
static bool is_absent(const struct facts *f, const struct facts_unit *u)
{
    return u->held == HELD_NOT && !f->module[u->first].is->needed;
}

/* The entry that the first engine which has one goes by. */
static const char *entry_of(const struct check *c, const struct facts_unit *u)
{
    for (size_t i = 0; i < c->answers; i++)
        for (size_t k = 0; k < u->n; k++)
            if (c->answer[i].choice[u->first + k].entry)
                return c->answer[i].choice[u->first + k].entry;
    return "";
}

/* How an engine holds a unit: members agree, except in an engine that does not fuse them. */
static enum facts_held held_of(const struct check_answer *a, const struct facts_unit *u)
{
    enum facts_held held = a->choice[u->first].held;

    for (size_t k = 1; k < u->n; k++)
        if (a->choice[u->first + k].held != held)
            held = HELD_MIXED;
    return held;
}

static void print_unit(FILE *f, const struct check *c, size_t unit, int width)
{
    const struct facts_unit *u = &c->f->unit[unit];
    const char *entry = entry_of(c, u);
    char cell[64];

    fprintf(f, "%-*s  %-6s", width, u->name, facts_held_text(u->held));
    for (size_t i = 0; i < c->answers; i++) {
        const struct check_answer *a = &c->answer[i];

        snprintf(cell, sizeof cell, "%s%s", a->stopped ? "-" : facts_held_text(held_of(a, u)),
                 is_bad(a, unit) ? " !" : "");
        fprintf(f, "  %-*s", i + 1 < c->answers || *entry ? 12 : 0, cell);
    }
    fprintf(f, "%s%s\n", *entry ? "  " : "", entry);
}

static void print_units(FILE *f, const struct check *c)
{
    int width = 5; /* "layer" */

    for (size_t i = 0; i < c->f->units; i++)
        if ((int)strlen(c->f->unit[i].name) > width)
            width = (int)strlen(c->f->unit[i].name);
    fprintf(f, "%-*s  %-6s", width, "layer", "files");
    for (size_t i = 0; i < c->answers; i++)
        fprintf(f, "  %-12s", c->answer[i].engine->name);
    fprintf(f, "  excluded by\n");
    for (size_t i = 0; i < c->f->units; i++)
        if (!is_absent(c->f, &c->f->unit[i]))
            print_unit(f, c, i, width);
}

/* Findings of one rule under its sentence.  Of a note the first layer stands for all. */
static void print_findings(FILE *f, const struct check_answer *a)
{
    size_t n;

    for (size_t i = 0; i < a->findings; i += n) {
        const struct rule *r = a->finding[i].rule;

        for (n = 1; i + n < a->findings && a->finding[i + n].rule == r;)
            n++;
        fprintf(f, "  %s (%s): %s", effect_word(r->effect), evidence_text(r->evidence), r->says);
        if (!*a->finding[i].subject) {
            fprintf(f, "%s%s\n", *a->finding[i].detail ? ": " : "", a->finding[i].detail);
            continue;
        }
        if (r->effect == EFFECT_NOTE) {
            fprintf(f, ": %s", a->finding[i].subject);
            fprintf(f, n > 1 ? " and %zu more\n" : "\n", n - 1);
            continue;
        }
        fputc('\n', f);
        for (size_t k = i; k < i + n; k++)
            fprintf(f, "      %s%s%s\n", a->finding[k].subject, *a->finding[k].detail ? ": " : "",
                    a->finding[k].detail);
    }
}

int check_table(const struct check *c, FILE *f, struct err *e)
{
    fprintf(f, "layout %s: %zu layers in 8 bits, %zu of them in the vision tower\n\n",
            facts_layout_text(c->f->layout), c->f->codes[SCOPE_ALL], c->f->codes[SCOPE_VISION]);
    print_units(f, c);
    fprintf(f, "\nfiles: %s\n", c->files.findings ? "contradict themselves" : "agree with each other");
    print_findings(f, &c->files);
    for (size_t i = 0; i < c->answers; i++) {
        const struct check_answer *a = &c->answer[i];

        fprintf(f, "%s %s: %s%s\n", a->engine->name, a->engine->version, effect_verdict(a->verdict),
                a->serves ? "" : " (such checkpoints are not made for it)");
        print_findings(f, a);
    }
    return ferror(f) ? err_sys(e, "cannot write the table") : 0;
}

/* ---- for programs ---- */

static json_t *findings_of(const struct check_answer *a, struct err *e)
{
    json_t *list = json_array();

    for (size_t i = 0; i < a->findings; i++) {
        const struct check_finding *n = &a->finding[i];
        json_t *o = json_object();

        if (json_push(list, o, e) || json_put(o, "rule", json_string(n->rule->id), e) ||
            json_put(o, "effect", json_string(effect_word(n->rule->effect)), e) ||
            json_put(o, "evidence", json_string(evidence_text(n->rule->evidence)), e) ||
            json_put(o, "subject", *n->subject ? json_string(n->subject) : json_null(), e) ||
            json_put(o, "says", json_string(n->rule->says), e) ||
            json_put(o, "detail", *n->detail ? json_string(n->detail) : json_null(), e)) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static int push_engine(json_t *list, const struct check *c, const struct check_answer *a, struct err *e)
{
    const enum effect verdict = a->verdict == EFFECT_NOTE ? EFFECT_NONE : a->verdict;
    json_t *o = json_object();

    return json_push(list, o, e) || json_put(o, "name", json_string(a->engine->name), e) ||
                   json_put(o, "version", json_string(a->engine->version), e) ||
                   json_put(o, "serves", json_boolean(a->serves), e) ||
                   json_put(o, "counts", json_boolean(check_counts(c, a)), e) ||
                   json_put(o, "believes", a->source->there ? json_string(a->source->file) : json_null(),
                            e) ||
                   json_put(o, "verdict", json_string(effect_word(verdict)), e) ||
                   json_put(o, "findings", findings_of(a, e), e)
               ? -1
               : 0;
}

/* What an engine makes of a module. */
static json_t *choice_of(const struct check_answer *a, const struct choice *k, struct err *e)
{
    json_t *o = json_object();

    if (json_put(o, "held", a->stopped ? json_null() : json_string(facts_held_text(k->held)), e) ||
        json_put(o, "entry", k->entry ? json_string(k->entry) : json_null(), e)) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static int push_module(json_t *list, const struct check *c, size_t module, struct err *e)
{
    const struct facts_module *m = &c->f->module[module];
    json_t *o = json_object(), *by = json_object();
    int bad = json_push(list, o, e) || json_put(o, "name", json_string(m->is->name), e) ||
              json_put(o, "group", json_string(c->f->unit[m->unit].name), e) ||
              json_put(o, "files", json_string(facts_held_text(m->held)), e);

    bad = json_put(o, "engines", by, e) || bad;
    for (size_t i = 0; i < c->answers && !bad; i++)
        bad = json_put(by, c->answer[i].engine->name,
                       choice_of(&c->answer[i], &c->answer[i].choice[module], e), e);
    return bad ? -1 : 0;
}

static int put_lists(json_t *doc, const struct check *c, struct err *e)
{
    json_t *engines = json_array(), *layers = json_array();
    int bad = json_put(doc, "engines", engines, e);

    bad = json_put(doc, "layers", layers, e) || bad;
    for (size_t i = 0; i < c->answers && !bad; i++)
        bad = push_engine(engines, c, &c->answer[i], e);
    for (size_t i = 0; i < c->f->modules && !bad; i++) {
        const struct facts_module *m = &c->f->module[i];

        if (m->is->linear && !is_absent(c->f, &c->f->unit[m->unit]))
            bad = push_module(layers, c, i, e);
    }
    return bad ? -1 : 0;
}

json_t *check_to_json(const struct check *c, struct err *e)
{
    json_t *doc = doc_new("octet-check/1", e);
    char hex[SHA256_HEX];

    if (!doc)
        return NULL;
    if (ckpt_digest(c->f->ckpt, hex, e) || doc_from(doc, "checkpoint", hex, e) ||
        json_put(doc, "layout", json_string(facts_layout_text(c->f->layout)), e) ||
        json_put(doc, "passes", json_boolean(check_passes(c)), e) ||
        json_put(doc, "num_layers_8_bits", json_integer((json_int_t)c->f->codes[SCOPE_ALL]), e) ||
        json_put(doc, "num_layers_8_bits_vision", json_integer((json_int_t)c->f->codes[SCOPE_VISION]), e) ||
        json_put(doc, "files", findings_of(&c->files, e), e) || put_lists(doc, c, e)) {
        json_decref(doc);
        return NULL;
    }
    return doc;
}
