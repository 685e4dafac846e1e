/*
 * layers_read.c - LAYERS documents and quant manifests from JSON
 *
 * A document with "modules" is ours: groups follow from the modules.  One without has "layer_sensitivity"
 * alone (the Python system's manifests, or what rank-layers made of one): modules follow from the groups'
 * names and "layers".
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/io/doc.h"
#include "common/quant/layers.h"

#define COST_MAX 0x1p53 /* a double counts no further; sums times 100 fit in 64 bits */

/* "'FILE': SECTION.KEY", for messages. */
struct where {
    char text[NAME_BYTES + 512];
};

static struct where where(const struct layers *l, const char *section, const char *key)
{
    struct where w;

    snprintf(w.text, sizeof w.text, "%.256s: %s%s%.250s", l->label, section, *key ? "." : "", key);
    return w;
}

static int copy(char **to, const char *text, struct err *e)
{
    *to = text ? mem_strdup(text, e) : NULL;
    return text && !*to ? -1 : 0;
}

/* The last part of a path: manifests name the folder on somebody's machine. */
static const char *base_name(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;

    return slash ? slash + 1 : path;
}

/* doc[key] as an object; NULL when it is absent or null. */
static int section(const struct layers *l, const char *key, json_t **out, struct err *e)
{
    *out = json_object_get(l->doc, key);
    if (json_is_null(*out))
        *out = NULL;
    if (*out && !json_is_object(*out))
        return err_set(e, RC_DATA, "%s: the key '%s' is not an object", l->label, key);
    return 0;
}

static int one_of(const struct where *w, const char *key, const char *value, const char *a, const char *b,
                  struct err *e)
{
    if (value && strcmp(value, a) && strcmp(value, b))
        return err_set(e, RC_DATA, "%s.%s is '%s'; known are '%s' and '%s'", w->text, key, value, a, b);
    return 0;
}

/* "smooth_alpha" that INT8 was scored with: a number, "auto" for each group's own, null for none. */
static int read_alpha(struct layers *l, const json_t *quant, const struct where *w, struct err *e)
{
    const json_t *v = json_object_get(quant, "smooth_alpha");

    if (json_is_string(v) && !strcmp(json_string_value(v), "auto"))
        l->alpha = -1;
    else if (json_is_number(v) && json_number_value(v) >= 0 && json_number_value(v) <= 1)
        l->alpha = json_number_value(v);
    else if (v && !json_is_null(v))
        return err_set(e, RC_DATA, "%s: 'smooth_alpha' is neither within 0 and 1, nor \"auto\", nor null",
                       w->text);
    return 0;
}

static int read_meta(struct layers *l, struct err *e)
{
    struct where at_model = where(l, "model", ""), at_samples = where(l, "samples", ""),
                 at_quant = where(l, "quantization", ""), at_scheme = where(l, "scheme", "");
    const char *id = NULL, *digest = NULL, *arch = NULL, *data = NULL, *rounding = NULL, *fused = NULL,
               *method = NULL, *activations = NULL, *smooth_at = NULL;
    json_t *model, *samples, *quant, *scheme;

    if (section(l, "model", &model, e) || section(l, "samples", &samples, e) ||
        section(l, "quantization", &quant, e) || section(l, "scheme", &scheme, e))
        return -1;
    if (model && (json_or_str(model, "id", &id, at_model.text, e) ||
                  json_or_str(model, "digest", &digest, at_model.text, e) ||
                  json_or_str(model, "architecture", &arch, at_model.text, e) ||
                  json_or_bool(model, "tied_lm_head", &l->tied_lm_head, at_model.text, e)))
        return -1;
    if (samples && (json_or_str(samples, "digest", &data, at_samples.text, e) ||
                    json_or_size(samples, "count", &l->samples, at_samples.text, e) ||
                    json_or_size(samples, "tokens", &l->tokens, at_samples.text, e) ||
                    json_or_size(samples, "loss_tokens", &l->loss_tokens, at_samples.text, e)))
        return -1;
    if (quant &&
        (json_or_str(quant, "rounding", &rounding, at_quant.text, e) ||
         json_or_str(quant, "fused_ranges", &fused, at_quant.text, e) ||
         json_or_str(quant, "activations", &activations, at_quant.text, e) ||
         json_or_str(quant, "smooth_at", &smooth_at, at_quant.text, e) || read_alpha(l, quant, &at_quant, e)))
        return -1;
    if (scheme && json_or_str(scheme, "auto_quantize_method", &method, at_scheme.text, e))
        return -1;
    if (one_of(&at_quant, "rounding", rounding, "exact", "modelopt", e) ||
        one_of(&at_quant, "fused_ranges", fused, "shared", "own", e) ||
        one_of(&at_quant, "activations", activations, "static", "dynamic", e) ||
        one_of(&at_quant, "smooth_at", smooth_at, "norm", "input", e) ||
        one_of(&at_scheme, "auto_quantize_method", method, "gradient", "kl_div", e))
        return -1;
    l->smooth_input = smooth_at && !strcmp(smooth_at, "input");
    return copy(&l->model_id, base_name(id), e) || copy(&l->model_digest, digest, e) ||
                   copy(&l->architecture, arch, e) || copy(&l->samples_digest, data, e) ||
                   copy(&l->rounding, rounding, e) || copy(&l->fused_ranges, fused, e) ||
                   copy(&l->method, method, e) || copy(&l->activations, activations, e)
               ? -1
               : 0;
}

/* A range: absent is -1; a number must be finite in fp32 and not negative. */
static int read_amax(const json_t *obj, const char *key, const struct where *w, float *out, struct err *e)
{
    double v = -1;

    if (json_or_f64(obj, key, &v, w->text, e))
        return -1;
    if (json_object_get(obj, key) && !json_is_null(json_object_get(obj, key)) &&
        !(v >= 0 && isfinite((float)v)))
        return err_set(e, RC_DATA, "%s: '%s' is negative or not finite: %g", w->text, key, v);
    *out = (float)v;
    return 0;
}

/* Ranges of the input channels; absent: *out is NULL. */
static int read_channels(const struct layer_module *m, const json_t *obj, const char *key,
                         const struct where *w, float **out, struct err *e)
{
    const json_t *list = json_object_get(obj, key);

    *out = NULL;
    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list) || json_array_size(list) != m->cols)
        return err_set(e, RC_DATA, "%s: '%s' is not an array of %zu numbers, one per column", w->text, key,
                       m->cols);
    *out = mem_zalloc(m->cols, sizeof **out, e);
    for (size_t c = 0; *out && c < m->cols; c++) {
        const json_t *v = json_array_get(list, c);
        double amax = json_number_value(v);

        if (!json_is_number(v) || !(amax >= 0 && isfinite((float)amax)))
            return err_set(e, RC_DATA, "%s: %s[%zu] is not a finite number that is not negative", w->text,
                           key, c);
        (*out)[c] = (float)amax;
    }
    return *out ? 0 : -1;
}

/* What SmoothQuant and an FP8 KV cache need, each optional. */
static int read_more_ranges(struct layers *l, size_t index, const json_t *obj, const struct where *w,
                            struct err *e)
{
    struct layer_module *m = &l->module[index];
    struct layer_group *g = &l->group[m->group];
    double alpha = NAN;
    float kv;

    if (read_channels(m, obj, "input_amax_per_channel", w, &m->input_channels, e) ||
        read_channels(m, obj, "weight_amax_per_channel", w, &m->weight_channels, e) ||
        read_amax(obj, "kv_amax", w, &kv, e) || json_or_f64(obj, "smooth_alpha", &alpha, w->text, e))
        return -1;
    if (!isnan(g->alpha) && alpha != g->alpha)
        return err_set(e, RC_DATA, "%s: 'smooth_alpha' is not that of '%s'", w->text, g->name);
    if ((kv >= 0 && layers_set_kv(l, index, kv, e)) ||
        (!isnan(alpha) && layers_set_alpha(l, m->group, alpha, e)))
        return err_prefix(e, "%s", w->text);
    return 0;
}

static int read_module(struct layers *l, const char *name, json_t *obj, struct err *e)
{
    struct where w = where(l, "modules", name);
    float weight_amax, input_amax;
    json_t *shape, *rows, *cols;
    size_t index, tokens = 0;

    if (!json_is_object(obj))
        return err_set(e, RC_DATA, "%s is not an object", w.text);
    if (json_get_arr(obj, "shape", &shape, w.text, e) || read_amax(obj, "weight_amax", &w, &weight_amax, e) ||
        read_amax(obj, "input_amax", &w, &input_amax, e) || json_or_size(obj, "tokens", &tokens, w.text, e))
        return -1;
    rows = json_array_get(shape, 0);
    cols = json_array_get(shape, 1);
    if (json_array_size(shape) != 2 || !json_is_integer(rows) || !json_is_integer(cols) ||
        json_integer_value(rows) <= 0 || json_integer_value(cols) <= 0)
        return err_set(e, RC_DATA, "%s: 'shape' is not [rows, columns]", w.text);
    if (tokens && input_amax < 0)
        return err_set(e, RC_DATA, "%s: %zu tokens reached it, but 'input_amax' is missing", w.text, tokens);
    if (layers_add(l, name, (size_t)json_integer_value(rows), (size_t)json_integer_value(cols), &index, e))
        return -1;
    l->module[index].json = json_incref(obj);
    if (read_more_ranges(l, index, obj, &w, e))
        return -1;
    if (weight_amax >= 0)
        return layers_set_ranges(l, index, weight_amax, input_amax, tokens, e);
    l->module[index].input_amax = tokens ? input_amax : -1;
    l->module[index].tokens = tokens;
    return 0;
}

/* One candidate from the three parallel arrays. */
static int read_choice(struct layer_choice *c, const json_t *label, const json_t *score, const json_t *cost,
                       const struct where *w, struct err *e)
{
    const char *text = json_string_value(label), *tag = "effective-bits:", *bits;
    char *end;

    bits = text ? strstr(text, tag) : NULL;
    if (!bits)
        return err_set(e, RC_DATA, "%s: a format is not of the form 'NAME(effective-bits: N)'", w->text);
    c->gradient = c->kl = c->predicted_kl = NAN;
    c->bits = strtod(bits + strlen(tag), &end);
    if (*end != ')' || !(c->bits > 0 && c->bits <= 64))
        return err_set(e, RC_DATA, "%s: the format '%s' has no number of bits", w->text, text);
    if (!json_is_number(score) || !json_is_number(cost))
        return err_set(e, RC_DATA, "%s: a score or cost is not a number", w->text);
    c->score = json_number_value(score);
    if (!(c->score >= 0 && isfinite(c->score)))
        return err_set(e, RC_DATA, "%s: the score %g is negative or not finite", w->text, c->score);
    if (!(json_number_value(cost) >= 0 && json_number_value(cost) <= COST_MAX))
        return err_set(e, RC_DATA, "%s: the cost %g is out of range", w->text, json_number_value(cost));
    c->cost = (uint64_t)ceil(json_number_value(cost));
    return copy(&c->label, text, e);
}

static int read_choices(struct layer_group *g, const json_t *obj, const struct where *w, struct err *e)
{
    json_t *formats, *scores, *costs;
    const struct layer_choice *none;
    size_t n;

    if (json_get_arr(obj, "formats", &formats, w->text, e) ||
        json_get_arr(obj, "scores", &scores, w->text, e) || json_get_arr(obj, "costs", &costs, w->text, e))
        return -1;
    n = json_array_size(formats);
    if (!n || json_array_size(scores) != n || json_array_size(costs) != n)
        return err_set(e, RC_DATA, "%s: 'formats', 'scores' and 'costs' are empty or differ in length",
                       w->text);
    g->choice = mem_zalloc(n, sizeof *g->choice, e);
    if (!g->choice)
        return -1;
    g->n_choices = n;
    for (size_t i = 0; i < n; i++) {
        if (read_choice(&g->choice[i], json_array_get(formats, i), json_array_get(scores, i),
                        json_array_get(costs, i), w, e))
            return -1;
        if (i && g->choice[i].cost < g->choice[i - 1].cost)
            return err_set(e, RC_DATA, "%s: the formats are not in order of cost", w->text);
    }
    g->importance = layers_best(g)->score;
    none = &g->choice[n - 1];
    if (none->bits != 16 || none->score != 0 || strncmp(none->label, "NONE(", 5))
        return err_set(e, RC_DATA, "%s: the last format is not NONE with 16 bits and score 0", w->text);
    if (g->weights && none->cost != g->weights)
        return err_set(e, RC_DATA, "%s: the cost of NONE is %llu, but its modules have %zu weights", w->text,
                       (unsigned long long)none->cost, g->weights);
    g->weights = none->cost;
    g->scored = true;
    return 0;
}

/*
 * Optional sums of the choices but NONE: a number when there is one, else an array beside "formats", null
 * where it was not measured.  offset: of the member of struct layer_choice.
 */
static int read_sums(struct layer_group *g, const json_t *obj, const char *key, const struct where *w,
                     size_t offset, struct err *e)
{
    const json_t *v = json_object_get(obj, key);
    size_t n = g->n_choices - 1;

    if (!v || json_is_null(v))
        return 0;
    if (json_is_array(v) ? json_array_size(v) != n : n != 1)
        return err_set(e, RC_DATA, "%s: '%s' does not have a number for each of the %zu formats", w->text,
                       key, n);
    for (size_t i = 0; i < n; i++) {
        const json_t *sum = json_is_array(v) ? json_array_get(v, i) : v;
        double x = json_number_value(sum);

        if (json_is_null(sum))
            continue;
        if (!json_is_number(sum) || !(x >= 0 && isfinite(x)))
            return err_set(e, RC_DATA, "%s: '%s' is not a number, negative or not finite: %g", w->text, key,
                           x);
        memcpy((char *)&g->choice[i] + offset, &x, sizeof x);
    }
    return 0;
}

/* Modules of a group of a manifest: its "members", or what its name says, less what "layers" does not have.
 */
static int add_members(struct layers *l, const char *name, const json_t *obj, const json_t *known,
                       struct err *e)
{
    const json_t *listed = json_object_get(obj, "members");
    const char *member[NAME_MEMBERS_MAX];
    size_t n = name_members(name, member);
    char full[NAME_BYTES], group[NAME_BYTES];

    if (name_group(name, group, e))
        return -1;
    if (strcmp(group, name))
        return err_set(e, RC_DATA, "%s: the group '%s' should be named after its first member, '%s'",
                       l->label, name, group);
    if (json_is_array(listed) && json_array_size(listed)) {
        for (size_t i = 0; i < json_array_size(listed); i++) {
            const char *m = json_string_value(json_array_get(listed, i));

            if (!m || name_canonical(m, full, e) || name_group(full, group, e) || strcmp(group, name))
                return err_set(e, RC_DATA, "%s: '%s' cannot be a member of '%s'", l->label,
                               m ? m : "(no name)", name);
            if (layers_add(l, full, 0, 0, NULL, e))
                return -1;
        }
        return 0;
    }
    if (!n)
        return layers_add(l, name, 0, 0, NULL, e);
    for (size_t i = 0; i < n; i++) {
        size_t stem = strlen(name) - strlen(member[0]);

        snprintf(full, sizeof full, "%.*s%s", (int)stem, name, member[i]);
        if ((i == 0 || json_object_get(known, full)) && layers_add(l, full, 0, 0, NULL, e))
            return -1;
    }
    return 0;
}

static int read_group(struct layers *l, const char *key, json_t *obj, const json_t *known, struct err *e)
{
    struct where w = where(l, "layer_sensitivity", key);
    struct layer_group *g;
    char name[NAME_BYTES];
    char *as_read;
    long at;

    if (!json_is_object(obj))
        return err_set(e, RC_DATA, "%s is not an object", w.text);
    if (name_canonical(key, name, e))
        return err_prefix(e, "%s: layer_sensitivity", l->label);
    if (l->foreign && layers_find_group(l, name) < 0 && add_members(l, name, obj, known, e))
        return -1;
    at = layers_find_group(l, name);
    if (at < 0)
        return err_set(e, RC_DATA, "%s: there is no such group in 'modules'", w.text);
    g = &l->group[at];
    if (g->scored)
        return err_set(e, RC_DATA, "%s: the group stands there twice", w.text);
    as_read = mem_strdup(key, e);
    if (!as_read)
        return -1;
    free(g->key);
    g->key = as_read;
    g->json = json_incref(obj);
    if (json_is_integer(json_object_get(obj, "tokens")))
        g->has_tokens = true;
    return read_choices(g, obj, &w, e) || json_or_size(obj, "tokens", &g->tokens, w.text, e) ||
                   read_sums(g, obj, "gradient", &w, offsetof(struct layer_choice, gradient), e) ||
                   read_sums(g, obj, "kl", &w, offsetof(struct layer_choice, kl), e) ||
                   read_sums(g, obj, "predicted_kl", &w, offsetof(struct layer_choice, predicted_kl), e)
               ? -1
               : 0;
}

static int read_ranking(struct layers *l, struct err *e)
{
    const json_t *list = json_object_get(l->doc, "sensitivity_ranking");
    size_t n = json_array_size(list);

    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list))
        return err_set(e, RC_DATA, "%s: the key 'sensitivity_ranking' is not an array", l->label);
    l->ranking = mem_zalloc(n, sizeof *l->ranking, e);
    if (!l->ranking)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_object_get(json_array_get(list, i), "name"));
        char name[NAME_BYTES];
        long at;

        if (!text)
            return err_set(e, RC_DATA, "%s: sensitivity_ranking[%zu] has no 'name'", l->label, i);
        if (name_canonical(text, name, e))
            return err_prefix(e, "%s: sensitivity_ranking[%zu]", l->label, i);
        at = layers_find_group(l, name);
        if (at < 0 || !l->group[at].scored)
            return err_set(e, RC_DATA, "%s: sensitivity_ranking[%zu]: '%s' is not in 'layer_sensitivity'",
                           l->label, i, text);
        if (l->group[at].rank)
            return err_set(e, RC_DATA, "%s: sensitivity_ranking: '%s' stands there twice", l->label, text);
        l->group[at].rank = i + 1;
        l->ranking[l->n_ranked++] = (size_t)at;
    }
    return 0;
}

/* The canonical names in a manifest's "layers", as the keys of a new object. */
static json_t *known_layers(const struct layers *l, struct err *e)
{
    json_t *known = json_object(), *layers = json_object_get(l->doc, "layers"), *v;
    char name[NAME_BYTES];
    const char *key;

    json_object_foreach(layers, key, v)
    {
        if (name_canonical(key, name, e) || json_put(known, name, json_true(), e)) {
            err_prefix(e, "%s: layers", l->label);
            json_decref(known);
            return NULL;
        }
    }
    return known;
}

static int check_total(const struct layers *l, struct err *e)
{
    double sum = 0;

    for (size_t i = 0; i < l->n_groups; i++)
        sum += (double)l->group[i].weights;
    if (!l->n_groups)
        return err_set(e, RC_DATA, "%s has no layers", l->label);
    if (sum > COST_MAX)
        return err_set(e, RC_DATA, "%s: %g weights in all cannot be", l->label, sum);
    return 0;
}

static int read_sections(struct layers *l, struct err *e)
{
    json_t *modules, *groups, *known, *v;
    const char *key;
    int ret = -1;

    if (section(l, "modules", &modules, e) || section(l, "layer_sensitivity", &groups, e))
        return -1;
    if (!modules && !groups)
        return err_set(e, RC_DATA,
                       "%s has neither 'modules' nor 'layer_sensitivity': it is no LAYERS document",
                       l->label);
    known = known_layers(l, e);
    if (!known || read_meta(l, e))
        goto out;
    json_object_foreach(modules, key, v) if (read_module(l, key, v, e)) goto out;
    l->foreign = !modules;
    json_object_foreach(groups, key, v) if (read_group(l, key, v, known, e)) goto out;
    ret = check_total(l, e) || read_ranking(l, e) ? -1 : 0;
out:
    json_decref(known);
    return ret;
}

int layers_read(struct layers *l, const char *path, struct err *e)
{
    if (layers_init(l, e))
        return -1;
    free(l->label);
    l->label = mem_printf(e, "'%s'", file_label(path));
    if (!l->label)
        goto fail;
    l->doc = json_read(path, l->hex, e);
    if (!l->doc || doc_check(l->doc, LAYERS_SCHEMA, LAYERS_MAJOR, true, file_label(path), e) ||
        read_sections(l, e))
        goto fail;
    return 0;
fail:
    layers_release(l);
    return -1;
}
