/*
 * widths.c - a device that likes wider activations gets the same numbers
 *
 * The CPU's backend is told to like multiples of 16 columns, which the models' MLPs (75, 44, 101, 37, 130
 * wide) are not.  Terms of 0 at the end of a sum change no bit of it, so outputs and ranges must be the same;
 * only the fp64 sums of scores and distances may be in another order.
 */
#include "common/model/alpha.h"
#include "common/model/document.h"
#include "common/model/score.h"
#include "common/model/widths.h"
#include "common/quant/smooth.h"
#include "tests/unit/exported.h"
#include "tests/unit/reference.h"

enum { UNIT = 16, ROWS = 300 };

/* A model on two devices: as its file is, and wider. */
struct pair {
    const char *name;
    const struct samples *s;
    struct backend *be[2];
    struct model m[2];
};

static int pair_open(struct pair *p, const char *name, const char *path, const struct samples *s)
{
    struct err e = {0};

    *p = (struct pair){.name = name, .s = s};
    for (int i = 0; i < 2; i++) {
        p->be[i] = be_open_cpu(&e);
        if (p->be[i] && i == 1)
            p->be[i]->width_unit = UNIT;
        if (!p->be[i] || model_open(&p->m[i], path, p->be[i], 0, &e)) {
            CHECK(0, "%s opens: %s", name, e.msg);
            return -1;
        }
    }
    return 0;
}

static void pair_close(struct pair *p)
{
    for (int i = 0; i < 2; i++) {
        model_close(&p->m[i]);
        if (p->be[i])
            p->be[i]->close(p->be[i]);
    }
}

/* The head's input of all samples, in one batch; NULL: it failed. */
static float *states_of(struct model *m, const struct samples *s, size_t *n)
{
    struct err e = {0};
    struct batch b = {0};
    struct walk w = {0};
    float *out = NULL;

    if (batch_build(&b, m->be, m->config, &m->processor, s->sample, s->n, &e) == 0 &&
        walk_init(&w, m, &b, false, &e) == 0 && walk_forward(&w, 0, &e) == 0) {
        *n = b.tokens * m->config->hidden;
        out = mem_zalloc(*n, sizeof *out, &e);
        m->be->download_act(m->be, out, w.norm, *n);
    }
    if (e.rc)
        printf("# %s\n", e.msg);
    walk_release(&w);
    batch_release(&b);
    return out;
}

static void same_states(struct pair *p, const char *what)
{
    size_t n = 0, m = 1;
    float *a = states_of(&p->m[0], p->s, &n), *b = states_of(&p->m[1], p->s, &m);

    CHECK(a && b && n == m && !memcmp(a, b, n * sizeof *a), "%s %s: the same bits", p->name, what);
    free(a);
    free(b);
}

/* What was widened, and that the files' own shapes are untouched. */
static void look_at_widths(struct pair *p)
{
    size_t wider = 0, bad = 0, blocks = 0;

    for (size_t i = 0; i < p->m[1].linears; i++) {
        const struct linear *a = &p->m[0].linear[i], *b = &p->m[1].linear[i];
        bool out = strstr(b->info->name, "gate_proj") || strstr(b->info->name, "up_proj");
        bool in = strstr(b->info->name, "down_proj") != NULL;

        bad += a->out != a->info->out || a->in != a->info->in || a->info->out != b->info->out ||
               a->info->in != b->info->in;
        bad += b->out != (out ? (a->out + UNIT - 1) / UNIT * UNIT : a->out);
        bad += b->in != (in ? (a->in + UNIT - 1) / UNIT * UNIT : a->in);
        wider += b->out > a->out || b->in > a->in;
        blocks += in;
    }
    CHECK(bad == 0 && wider == 3 * blocks && blocks > 0, "%s: gate, up and down of %zu blocks are wider",
          p->name, blocks);
}

static int measure(struct pair *p, struct ranges r[2])
{
    struct progress progress = {0};
    struct err e = {0};
    size_t bad = 0, n = p->m[0].linears;

    for (int i = 0; i < 2; i++)
        if (ranges_measure(&r[i], &p->m[i], RANGES_CHANNELS, p->s->sample, p->s->n, ROWS, NULL, &progress,
                           &e)) {
            CHECK(0, "%s: measured %s", p->name, e.msg);
            return -1;
        }
    for (size_t i = 0; i < n; i++) {
        size_t bytes = p->m[0].linear[i].info->in * sizeof(float);

        bad += r[0].input[i] != r[1].input[i] || r[0].weight[i] != r[1].weight[i] ||
               memcmp(r[0].input_channels[i], r[1].input_channels[i], bytes) ||
               memcmp(r[0].weight_channels[i], r[1].weight_channels[i], bytes);
    }
    CHECK(bad == 0, "%s: the same ranges of %zu modules and their channels", p->name, n);
    return 0;
}

/* Sums of a few million terms in fp64; rows' sums cancel, so that the second figure may lose more. */
static void scores(struct pair *p, const struct ranges *r)
{
    size_t n = p->m[0].linears, bad = 0;
    struct score_form *form = calloc(2 * n, sizeof *form);
    struct score_result *got[2] = {calloc(2 * n, sizeof **got), calloc(2 * n, sizeof **got)};
    struct progress progress = {0};
    struct err e = {0};
    double nll[2] = {0};

    for (size_t i = 0; i < n; i++) {
        form[i] = (struct score_form){{FORMAT_FP8, r->weight[i], r->input[i], false, {0}}, r->tokens[i] == 0};
        form[n + i] = (struct score_form){{.format = FORMAT_INT8, .dynamic = true}, r->tokens[i] == 0};
    }
    for (int i = 0; i < 2; i++)
        if (score_gradient(&p->m[i], form, 2, p->s->sample, p->s->n, ROWS, got[i], &nll[i], NULL, &progress,
                           &e))
            printf("# %s\n", e.msg);
    for (size_t i = 0; i < 2 * n; i++)
        bad += !unit_near(got[1][i].gradient, got[0][i].gradient, 1e-12, 0) ||
               !unit_near(got[1][i].predicted_kl, got[0][i].predicted_kl, 1e-9, 0);
    CHECK(e.rc == RC_OK && bad == 0 && nll[0] == nll[1] && got[0][0].gradient + got[0][n - 2].gradient > 0,
          "%s: the same scores in FP8 and INT8: %zu differ", p->name, bad);
    free(got[0]);
    free(got[1]);
    free(form);
}

static void alphas(struct pair *p, const struct ranges r[2], struct samples *s)
{
    struct layers l[2] = {0};
    struct progress progress = {0};
    struct err e = {0};
    size_t bad = 0, found = 0;

    for (int i = 0; i < 2; i++)
        if (document_make(&l[i], &p->m[i], "widths", s, &r[i], &e) ||
            alpha_search(&l[i], &p->m[i], false, s->sample, s->n, ROWS, NULL, &progress, &e))
            printf("# %s\n", e.msg);
    for (size_t g = 0; e.rc == RC_OK && g < l[0].n_groups; g++) {
        bad += l[0].group[g].alpha != l[1].group[g].alpha;
        found += l[0].group[g].alpha > 0;
    }
    CHECK(e.rc == RC_OK && bad == 0 && found > 0, "%s: the same %zu alphas %s", p->name, found, e.msg);
    layers_release(&l[0]);
    layers_release(&l[1]);
}

static json_t *numbers(const float *x, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_real((double)x[i]));
    return list;
}

static json_t *module_form(const struct layer_module *m, bool fp8, bool dynamic, const struct smooth_group *s,
                           size_t member)
{
    json_t *form;

    if (fp8)
        return json_pack("{s:s,s:f,s:f}", "format", "fp8", "weight_amax", (double)m->weight_amax,
                         "input_amax", (double)m->input_amax);
    form = json_pack("{s:s,s:b,s:o}", "format", "int8", "dynamic", dynamic, "input_amax",
                     dynamic ? json_null() : json_real((double)s->input_amax));
    json_object_set_new(form, "folded", json_false());
    json_object_set_new(form, "pre_quant_scale", numbers(s->pre, s->channels));
    json_object_set_new(form, "own_scale", numbers(s->own[member], s->channels));
    return form;
}

/* The scheme of all MLPs that samples reach: in FP8, or smoothed in INT8. */
static const char *put_scheme(const struct layers *l, bool fp8, bool dynamic)
{
    json_t *selected = json_array(), *all = json_object(), *doc;
    const char *path = scratch("scheme.json");
    struct err e = {0};

    for (size_t g = 0; g < l->n_groups; g++) {
        const struct layer_group *group = &l->group[g];
        struct smooth_group s;

        if (!strstr(group->name, "mlp.gate_proj") && !strstr(group->name, "mlp.down_proj"))
            continue;
        if (smooth_make(&s, l, g, 0.5, ROUND_EXACT, &e))
            printf("# %s\n", e.msg);
        json_array_append_new(selected, json_string(group->name));
        for (size_t k = 0; k < group->n_members; k++) {
            const struct layer_module *m = &l->module[group->member[k]];

            json_object_set_new(all, m->name, module_form(m, fp8, dynamic, &s, k));
        }
        smooth_release(&s);
    }
    doc = json_pack("{s:s,s:s,s:o,s:[],s:s,s:s,s:{},s:o}", "schema", "octet-scheme/1", "scheme_name", "t",
                    "selected_layers", selected, "dropped_layers", "rounding", "exact", "fused_ranges", "own",
                    "model", "modules", all);
    if (json_dump_file(doc, path, JSON_REAL_PRECISION(9)))
        exit(1);
    json_decref(doc);
    return path;
}

/* A scheme run over the model. */
static void applied(struct pair *p, const char *scheme, const char *what)
{
    struct scheme s = {0};
    struct err e = {0};

    if (scheme_read(&s, scheme, false, &e) || model_apply(&p->m[0], &s, &e) || model_apply(&p->m[1], &s, &e))
        CHECK(0, "%s %s", p->name, e.msg);
    same_states(p, what);
    for (int i = 0; i < 2; i++)
        model_apply(&p->m[i], &(struct scheme){.label = (char[]){"nothing"}}, &e);
    scheme_release(&s);
}

/* The checkpoint that is made of it. */
static void exported(struct pair *p, const char *path, const char *scheme, const char *what)
{
    struct err e = {0};
    struct pair out;

    CHECK(export_as("modelopt", path, scheme, ROUND_EXACT, EXPORT_SHARD_BYTES, scratch("out"), &e) == 0,
          "%s exported %s %s", p->name, what, e.msg);
    if (pair_open(&out, p->name, scratch("out"), p->s) == 0) {
        CHECK(model_is_quantized(&out.m[1]), "%s is a quantized checkpoint", p->name);
        same_states(&out, "read back");
    }
    pair_close(&out);
    scratch_wipe(scratch("out"));
}

static void forms(struct pair *p, const char *path, const struct ranges *r, struct samples *s)
{
    static const char *const what[] = {"in FP8", "in INT8", "in INT8 with dynamic inputs"};
    struct layers l = {0};
    struct err e = {0};

    if (document_make(&l, &p->m[0], "widths", s, r, &e))
        CHECK(0, "%s %s", p->name, e.msg);
    for (int i = 0; i < 3; i++) {
        const char *scheme = put_scheme(&l, i == 0, i == 2);

        applied(p, scheme, what[i]);
        if (i < 2) /* the layout has no dynamic inputs */
            exported(p, path, scheme, what[i]);
    }
    layers_release(&l);
}

static void check_model(const char *name)
{
    struct ranges r[2] = {0};
    struct reference of;
    struct pair p;
    char path[300];

    snprintf(path, sizeof path, "tests/golden/models/%s", name);
    if (reference_open(&of, name))
        return;
    if (pair_open(&p, name, path, &of.s) == 0) {
        look_at_widths(&p);
        same_states(&p, "dense");
        if (measure(&p, r) == 0) {
            scores(&p, &r[0]);
            alphas(&p, r, &of.s);
            forms(&p, path, &r[0], &of.s);
        }
    }
    ranges_release(&r[0]);
    ranges_release(&r[1]);
    pair_close(&p);
    reference_close(&of);
}

/* The pieces by themselves. */
static void pieces(void)
{
    static const uint16_t m[] = {1, 2, 3, 4, 5, 6}, want[] = {1, 2, 3, 0, 4, 5, 6, 0, 0, 0, 0, 0};
    static const float v[] = {2, 3}, wide[] = {2, 3, 1, 1};
    struct err e = {0};
    void *a = widths_matrix(m, sizeof *m, 2, 3, 3, 4, &e);
    float *b = widths_vector(v, 2, 4, 1, &e);

    CHECK(a && !memcmp(a, want, sizeof want), "rows and columns of 0");
    CHECK(b && !memcmp(b, wide, sizeof wide), "a vector's filling");
    free(a);
    free(b);
}

int main(void)
{
    static const char *const names[] = {"nested4-gqa8", "windows-only", "qwen2-text"};

    pieces();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        check_model(names[i]);
    return unit_end();
}
