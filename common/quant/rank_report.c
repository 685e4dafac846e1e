/* rank_report.c - a ranking for people: the Markdown report and the table */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/quant/rank.h"

/* Of the best choice; NAN when the document does not say. */
static double nats_per_token(const struct layers *l, const struct layer_group *g)
{
    return l->loss_tokens && g->scored ? layers_best(g)->predicted_kl / (double)l->loss_tokens : NAN;
}

/* One object as rows of a table, its nested values left out. */
static void object_rows(FILE *f, const json_t *obj)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)obj, key, v)
    {
        char *text = json_is_object(v) || json_is_null(v)
                         ? NULL
                         : json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));

        if (text)
            fprintf(f, "| `%s` | `%s` |\n", key, json_is_string(v) ? json_string_value(v) : text);
        free(text);
    }
}

static void object_table(FILE *f, const char *title, const json_t *obj)
{
    if (!json_object_size(obj))
        return;
    fprintf(f, "\n## %s\n\n| Key | Value |\n| :--- | :--- |\n", title);
    object_rows(f, obj);
}

static void summary(FILE *f, const struct rank *r, const struct layers *l)
{
    const json_t *state = json_object_get(l->doc, "autoquant_state");
    const json_t *bits = json_object_get(json_object_get(state, "constraints"), "effective_bits");
    const json_t *scheme = json_object_get(json_object_get(l->doc, "scheme"), "name");
    double score = 0, nats = 0;

    for (size_t i = 0; i < r->n; i++) {
        score += l->group[r->order[i]].importance;
        nats += nats_per_token(l, &l->group[r->order[i]]);
    }
    fprintf(f, "# Layer sensitivity\n\n## Summary\n\n| Key | Value |\n| :--- | :--- |\n");
    if (json_is_string(scheme))
        fprintf(f, "| Scheme | `%s` |\n", json_string_value(scheme));
    if (l->model_id)
        fprintf(f, "| Model | `%s` |\n", l->model_id);
    if (l->method)
        fprintf(f, "| Method | `%s` |\n", l->method);
    fprintf(f, "| Groups ranked | %zu of %zu |\n| Sum of their sensitivities | %.6e |\n", r->n,
            r->n + r->n_out, score);
    if (!isnan(nats))
        fprintf(f, "| Predicted KL with all of them quantized | %.6e nats per token |\n", nats);
    if (json_is_number(bits))
        fprintf(f, "| Effective bits (from search) | %.4f |\n", json_number_value(bits));
    if (json_is_number(json_object_get(state, "score")))
        fprintf(f, "| Total AutoQuant score | %.6e |\n", json_number_value(json_object_get(state, "score")));
    if (json_is_boolean(json_object_get(state, "is_satisfied")))
        fprintf(f, "| Constraint satisfied | %s |\n",
                json_is_true(json_object_get(state, "is_satisfied")) ? "True" : "False");
}

static void quantization(FILE *f, const struct layers *l)
{
    const json_t *q = json_object_get(l->doc, "quantization");
    const char *key;
    json_t *v;

    object_table(f, "Quantization", q);
    json_object_foreach((json_t *)q, key, v)
    {
        char *text = json_is_object(v) ? json_dumps(v, JSON_INDENT(2)) : NULL;

        if (text && json_object_size(v))
            fprintf(f, "\n`%s`:\n\n```json\n%s\n```\n", key, text);
        free(text);
    }
}

struct line {
    double sensitivity;
    size_t group;
};

static int most_sensitive_first(const void *pa, const void *pb)
{
    const struct line *a = pa, *b = pb;

    if (a->sensitivity != b->sensitivity)
        return a->sensitivity > b->sensitivity ? -1 : 1;
    return a->group < b->group ? -1 : a->group > b->group;
}

/* Some group has a choice of formats: tables name them. */
static bool several_formats(const struct layers *l)
{
    for (size_t i = 0; i < l->n_groups; i++)
        if (l->group[i].n_choices > 2)
            return true;
    return false;
}

/* "INT8" of "INT8(effective-bits: 8.0)". */
static int format_length(const struct layer_choice *c)
{
    return (int)strcspn(c->label, "(");
}

/* A line for each format but NONE; for NONE, when there is nothing else. */
static void rows(FILE *f, const struct layers *l, const struct layer_group *g, bool name_format)
{
    size_t key = strlen(g->key), recipe = strlen(".quant_recipe");

    if (key > recipe && !strcmp(g->key + key - recipe, ".quant_recipe"))
        key -= recipe;
    for (size_t i = 0; i == 0 || i + 1 < g->n_choices; i++) {
        const struct layer_choice *c = &g->choice[i];

        fprintf(f, "|%.*s|", (int)key, g->key);
        if (name_format)
            fprintf(f, "%.*s|", format_length(c), c->label);
        fprintf(f, "%.1f|%.3e|%.3e|", c->bits, c->score, (double)c->cost);
        if (l->loss_tokens && !isnan(c->predicted_kl))
            fprintf(f, "%.3e", c->predicted_kl / (double)l->loss_tokens);
        fputs("|\n", f);
    }
}

static void table(FILE *f, const struct layers *l, const struct line *line)
{
    bool several = several_formats(l);

    if (several)
        fputs("\n## Layer Sensitivity Table\n\nMost sensitive first, by the better of the formats. "
              "Sensitivity is a format's "
              "score; size cost is weights x bits / 16;\npredicted KL is in nats per token.\n\n"
              "|Layer|Format|Num Bits|Sensitivity|Size Cost|Predicted KL|\n| :--- | :--- | :--- | :--- | "
              ":--- | :--- |\n",
              f);
    else
        fputs(
            "\n## Layer Sensitivity Table\n\nMost sensitive first. Sensitivity is the score of the cheapest "
            "format; size "
            "cost is weights x bits / 16;\npredicted KL is in nats per token.\n\n"
            "|Layer|Num Bits|Sensitivity|Size Cost|Predicted KL|\n| :--- | :--- | :--- | :--- | :--- |\n",
            f);
    for (size_t i = 0; i < l->n_groups; i++)
        if (l->group[line[i].group].scored)
            rows(f, l, &l->group[line[i].group], several);
}

int rank_report(const struct rank *r, const struct layers *l, FILE *f, struct err *e)
{
    struct line *line = mem_zalloc(l->n_groups, sizeof *line, e);

    if (!line)
        return -1;
    for (size_t i = 0; i < l->n_groups; i++)
        line[i] = (struct line){l->group[i].importance, i};
    qsort(line, l->n_groups, sizeof *line, most_sensitive_first);
    summary(f, r, l);
    object_table(f, "Dataset", json_object_get(l->doc, "dataset"));
    object_table(f, "Samples", json_object_get(l->doc, "samples"));
    quantization(f, l);
    table(f, l, line);
    if (r->n_out)
        fputs("\n## Not ranked\n\n|Layer|Reason|\n| :--- | :--- |\n", f);
    for (size_t i = 0; i < r->n_out; i++)
        fprintf(f, "|%s|%s|\n", l->group[r->out[i].group].name, r->out[i].reason);
    free(line);
    return ferror(f) ? err_sys(e, "cannot write the report") : 0;
}

static void table_row(FILE *f, const struct layers *l, const struct layer_group *g, int width,
                      bool name_format)
{
    double nats = nats_per_token(l, g);

    fprintf(f, "  %-*s  %10.4g  ", width, g->name, g->importance);
    if (isnan(nats))
        fprintf(f, "%10s", "-");
    else
        fprintf(f, "%10.4g", nats);
    fprintf(f, "  %11zu  ", g->weights);
    if (g->has_tokens)
        fprintf(f, "%8zu", g->tokens);
    else
        fprintf(f, "%8s", "-");
    if (name_format && g->scored)
        fprintf(f, "  %6.*s", format_length(layers_best(g)), layers_best(g)->label);
    else if (name_format)
        fprintf(f, "  %6s", "-");
}

int rank_table(const struct rank *r, const struct layers *l, FILE *f, struct err *e)
{
    bool several = several_formats(l);
    int width = 5;

    for (size_t i = 0; i < l->n_groups; i++)
        width = (int)strlen(l->group[i].name) > width ? (int)strlen(l->group[i].name) : width;
    fprintf(f, "%4s  %-*s  %10s  %10s  %11s  %8s%s\n", "rank", width, "group", "score", "nats/token",
            "weights", "tokens", several ? "  format" : "");
    for (size_t i = 0; i < r->n; i++) {
        fprintf(f, "%4zu", i + 1);
        table_row(f, l, &l->group[r->order[i]], width, several);
        fputc('\n', f);
    }
    for (size_t i = 0; i < r->n_out; i++) {
        fprintf(f, "%4s", "-");
        table_row(f, l, &l->group[r->out[i].group], width, several);
        fprintf(f, "  %s\n", r->out[i].reason);
    }
    return ferror(f) ? err_sys(e, "cannot write the table") : 0;
}
