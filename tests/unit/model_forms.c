/*
 * model_forms.c - linear modules in 8-bit forms inside a model: folded smoothing, an FP8 KV cache, ranges for
 * both
 *
 * Scales that are powers of two are exact in every product, so that what must be equal is compared bit for
 * bit.
 */
#include "common/model/alpha.h"
#include "common/model/document.h"
#include "common/model/generate.h"
#include "common/model/ranges.h"
#include "tests/unit/reference.h"

/* The head's input of all samples, in one batch. */
static float *states_of(struct reference *r, struct err *e)
{
    struct batch b = {0};
    struct walk w = {0};
    float *out = NULL;

    if (batch_build(&b, r->be, r->m.config, &r->m.processor, r->s.sample, r->s.n, e) == 0 &&
        walk_init(&w, &r->m, &b, false, e) == 0 && walk_forward(&w, 0, e) == 0) {
        out = mem_zalloc(b.tokens * r->m.config->hidden, sizeof *out, e);
        r->be->download_act(r->be, out, w.norm, b.tokens * r->m.config->hidden);
    }
    walk_release(&w);
    batch_release(&b);
    return out;
}

static size_t count(const struct reference *r)
{
    size_t n = 0;

    for (size_t i = 0; i < r->s.n; i++)
        n += r->s.sample[i].tokens * r->m.config->hidden;
    return n;
}

/* Whether the model's output now is `want`, to the bit. */
static bool same(struct reference *r, const float *want)
{
    struct err e = {0};
    float *got = states_of(r, &e);
    bool equal = got && want && !memcmp(got, want, count(r) * sizeof *got);

    if (e.rc)
        printf("# %s\n", e.msg);
    free(got);
    return equal;
}

/* ||got - want|| / ||want||. */
static double off(struct reference *r, const float *want)
{
    struct err e = {0};
    float *got = states_of(r, &e);
    double d = 0, size = 0;

    for (size_t i = 0; got && i < count(r); i++) {
        d += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        size += (double)want[i] * want[i];
    }
    if (!got)
        printf("# %s\n", e.msg);
    free(got);
    return got ? sqrt(d / size) : NAN;
}

/* 2^-3 .. 2^3, or of any size; one for each channel. */
static float *scales(size_t n, bool powers)
{
    static uint32_t seed = 1;
    float *s = calloc(n, sizeof *s);

    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        s[i] = powers ? ldexpf(1, (int)(seed >> 24) % 7 - 3) : expf((float)(seed >> 8) * 0x1p-23f - 1);
    }
    return s;
}

/* A weight divided by pre, dense: what the file would hold if it were not quantized. */
static void smooth_weight(struct reference *r, struct linear *l, const float *pre)
{
    struct err e = {0};
    float *w = weights_f32(&r->m.weights, l->info->weight, &e);

    for (size_t o = 0; o < l->info->out; o++)
        int8_smooth(w + o * l->info->in, w + o * l->info->in, l->info->in, &(struct smooth){.pre = pre},
                    DT_F32, ROUND_EXACT);
    r->be->weight_load(r->be, &l->weight, l->info->out, l->info->in, w, DT_F32);
    free(w);
}

static void fold_norm(struct reference *r, void *norm, const struct st_tensor *t, const float *pre)
{
    struct err e = {0};
    float *w = weights_f32(&r->m.weights, t, &e);

    int8_fold(w, w, pre, t->count, DT_F32);
    r->be->upload_act(r->be, norm, w, t->count);
    free(w);
}

/* Every norm that can carries a scale, the weights after it are divided by it: nothing is quantized, nothing
 * changes. */
static void unquantized(struct reference *r, const float *plain, bool powers)
{
    struct model *m = &r->m;
    size_t folded = 0;

    for (size_t i = 0; i < m->stages; i++) {
        struct stage *s = &m->stage[i];
        struct linear *after[2][3] = {{s->qkv ? s->qkv : s->q, s->k, s->v}, {s->gate, s->up, NULL}};
        struct err e = {0};

        if ((s->kind != STAGE_VISION && s->kind != STAGE_TEXT) || model_enter(m, s, &e))
            continue;
        for (int k = 0; k < 2; k++) {
            float *pre = scales(after[k][0]->info->in, powers);

            fold_norm(r, k ? s->norm2 : s->norm1, k ? s->norm2_tensor : s->norm1_tensor, pre);
            for (int j = 0; j < 3 && after[k][j]; j++, folded++)
                smooth_weight(r, after[k][j], pre);
            free(pre);
        }
    }
    if (powers)
        CHECK(same(r, plain),
              "%s: the unquantized model with %zu weights smoothed into their norms: the same bits", r->name,
              folded);
    else /* two roundings more for each of a sum's terms, through the layers as in forward.c */
        CHECK(off(r, plain) <= 1e-5, "%s: with scales of any size, %.2g", r->name, off(r, plain));
    model_evict(m);
}

/* The same scales in the norm, or at the input of the modules that it feeds: the same codes. */
static void folded_forms(struct reference *r, const float *plain)
{
    struct model *m = &r->m;
    struct stage *s = &m->stage[m->head - 1];
    struct linear *group[] = {s->q, s->k, s->v, s->gate, s->up};
    float *pre = scales(s->q->info->in, true), *other = scales(s->q->info->in, true), *want = NULL;
    struct linear_form form = {.format = FORMAT_INT8, .dynamic = true, .smooth = {.pre = pre}};
    struct err e = {0};

    for (int folded = 0; folded < 2; folded++) {
        form.smooth.folded = folded;
        for (size_t i = 0; i < 5; i++)
            CHECK(model_quantize(m, group[i], &form, &e) == 0, "%s in INT8 %s", group[i]->info->name, e.msg);
        if (!folded) {
            want = states_of(r, &e);
            CHECK(!same(r, plain), "%s: which is not the unquantized model", r->name);
        } else {
            CHECK(same(r, want), "%s: smoothed in the norms, the bits of smoothed at the input", r->name);
        }
    }
    model_evict(m);
    CHECK(same(r, want), "%s: a norm that is loaded again carries its scale again", r->name);
    form.smooth.pre = other;
    model_quantize(m, s->v, &form, &e);
    CHECK(states_of(r, &e) == NULL && strstr(e.msg, "q_proj") && strstr(e.msg, "v_proj") &&
              strstr(e.msg, "--smooth-at input"),
          "%s: members that disagree about their norm: %s", r->name, e.msg);
    e = (struct err){0};
    model_unquantize(m, s->v);
    CHECK(states_of(r, &e) == NULL && strstr(e.msg, "read the same norm"), "%s: or of which one has none",
          r->name);
    for (size_t i = 0; i < 5; i++)
        model_unquantize(m, group[i]);
    CHECK(same(r, plain), "%s: unquantized again, its norms too", r->name);
    free(want);
    free(other);
    free(pre);
}

/* Static with the range that its input has is close, dynamic at least as good; a range too small clips. */
static void int8_scheme(struct reference *r, const float *plain, const struct ranges *ranges)
{
    struct model *m = &r->m;
    struct scheme s = {.label = (char[]){"forms"}, .module = calloc(m->linears, sizeof *s.module)};
    double d[3];

    for (size_t i = 0; i < m->linears; i++)
        if (ranges->tokens[i] && &m->linear[i] != m->stage[m->head].head)
            s.module[s.n_modules++] = (struct scheme_module){
                .name = m->linear[i].info->name, .format = FORMAT_INT8, .input_amax = ranges->input[i]};
    for (int k = 0; k < 3; k++) {
        struct err e = {0};

        for (size_t i = 0; i < s.n_modules; i++) {
            s.module[i].dynamic = k == 1;
            s.module[i].input_amax *= k == 2 ? 0.1f : 1;
        }
        if (model_apply(m, &s, &e))
            printf("# %s\n", e.msg);
        d[k] = off(r, plain);
    }
    CHECK(d[0] > 1e-4 && d[0] < 0.2 && d[1] > 1e-4 && d[1] <= 1.1 * d[0] && d[2] > d[0],
          "%s: %zu modules in INT8: static %.2g, dynamic %.2g, ranges too small %.2g", r->name, s.n_modules,
          d[0], d[1], d[2]);
    s.n_modules = 0;
    model_apply(m, &s, &(struct err){0});
    free(s.module);
}

/* What a walk's taps see of keys and values, before they are rounded; and outputs with the cache in FP8. */
struct kv_tap {
    struct tap tap;
    struct backend *be;
    float amax[2];
    size_t layers, rows;
};

static int see_kv(struct tap *tap, const struct stage *s, const void *k, const void *v, size_t rows,
                  struct err *e)
{
    struct kv_tap *t = (struct kv_tap *)tap;
    float *both[2] = {calloc(rows * s->k->info->out, sizeof(float)),
                      calloc(rows * s->v->info->out, sizeof(float))};

    (void)e;
    t->be->download_act(t->be, both[0], k, rows * s->k->info->out);
    t->be->download_act(t->be, both[1], v, rows * s->v->info->out);
    for (int i = 0; i < 2 && s->block == 0; i++)
        for (size_t j = 0; j < rows * s->k->info->out; j++)
            t->amax[i] = fmaxf(t->amax[i], fabsf(both[i][j]));
    t->layers++;
    t->rows = rows;
    free(both[0]);
    free(both[1]);
    return 0;
}

/* Logits after all tokens of a sample, the last `steps` of them given one by one. */
static float *last_logits(struct model *m, const struct sample *whole, size_t steps)
{
    struct sample prompt = *whole;
    struct generate g = {0};
    struct err e = {0};
    float *out = calloc(m->config->vocab, sizeof *out);

    prompt.tokens -= steps;
    if (generate_prefill(&g, m, &prompt, steps, &e) == 0)
        for (size_t i = prompt.tokens; i < whole->tokens && e.rc == RC_OK; i++)
            generate_step(&g, whole->ids[i], &e);
    if (e.rc == RC_OK)
        memcpy(out, g.logits, m->config->vocab * sizeof *out);
    else
        printf("# %s\n", e.msg);
    generate_release(&g);
    return out;
}

/*
 * Keys and values that were kept are those that a walk over everything sees.  A step's product runs in
 * another order, and a number on the edge between two codes may take the other: far less than what the codes
 * themselves change.
 */
static void kept(struct reference *r, const float *unrounded)
{
    const struct sample *s = &r->s.sample[0];
    float *steps = last_logits(&r->m, s, 3), *whole = last_logits(&r->m, s, 0);
    double apart = 0, change = 0;

    for (size_t i = 0; i < r->m.config->vocab; i++) {
        apart = fmax(apart, fabs((double)steps[i] - whole[i]));
        change = fmax(change, fabs((double)unrounded[i] - whole[i]));
    }
    CHECK(change > 1e-4 && apart <= 0.05 * change,
          "%s: decoding over it differs by %.2g from one pass, codes by %.2g", r->name, apart, change);
    free(whole);
    free(steps);
}

static void kv_cache(struct reference *r, const float *plain, const struct ranges *ranges)
{
    struct model *m = &r->m;
    size_t layers = m->config->layers;
    struct scheme s = {.label = (char[]){"forms"}, .kv = calloc(layers, sizeof *s.kv), .n_kv = layers};
    struct kv_tap t = {.tap.kv = see_kv, .be = r->be};
    struct stage *first = &m->stage[m->head - layers];
    struct batch b = {0};
    struct walk w = {0};
    float *unrounded = last_logits(m, &r->s.sample[0], 0);
    struct err e = {0};
    double d;

    if (batch_build(&b, r->be, m->config, &m->processor, r->s.sample, r->s.n, &e) == 0 &&
        walk_init(&w, m, &b, false, &e) == 0) {
        w.tap = &t.tap;
        walk_forward(&w, 0, &e);
    }
    CHECK(t.layers == layers && t.rows == b.tokens && t.amax[0] == ranges->kv[first->k->index] &&
              t.amax[1] == ranges->kv[first->v->index] && ranges->kv[first->q->index] == -1 && t.amax[0] > 0,
          "%s: ranges of keys and values: %g, %g", r->name, t.amax[0], t.amax[1]);
    walk_release(&w);
    batch_release(&b);
    for (size_t i = 0; i < layers; i++) {
        const struct stage *at = &first[i];
        char name[64];

        snprintf(name, sizeof name, "language_model.layers.%zu", i);
        s.kv[i] = (struct scheme_kv){strdup(name), ranges->kv[at->k->index], ranges->kv[at->v->index]};
    }
    CHECK(model_apply(m, &s, &e) == 0 && m->kv && m->kv[0].k == fp8_scale(s.kv[0].k_amax, ROUND_EXACT),
          "%s: a scheme "
          "with an FP8 KV cache %s",
          r->name, e.msg);
    d = off(r, plain);
    CHECK(d > 1e-4 && d < 0.1, "%s: which moves the output by %.2g", r->name, d);
    kept(r, unrounded);
    s.n_kv--;
    CHECK(model_apply(m, &s, &e) == -1 && strstr(e.msg, "KV ranges of 'language_model.layers.0'"),
          "%s: a layer short: %s", r->name, e.msg);
    s.n_kv = 0;
    e = (struct err){0};
    CHECK(model_apply(m, &s, &e) == 0 && !m->kv && same(r, plain), "%s: and without", r->name);
    for (size_t i = 0; i < layers; i++)
        free(s.kv[i].layer);
    free(s.kv);
    free(unrounded);
}

/* Channels: their maximum is the range, columns are the weight's; every group with data gets an alpha, the
 * best of eleven. */
static void channels(struct reference *r, const struct ranges *ranges)
{
    struct model *m = &r->m;
    struct layers l = {0};
    struct progress p = {0};
    struct err e = {0};
    size_t bad = 0, found = 0, want = 0;

    for (size_t i = 0; i < m->linears; i++) {
        float in = 0, weight = 0;

        for (size_t c = 0; c < m->linear[i].info->in; c++) {
            in = fmaxf(in, ranges->input_channels[i][c]);
            weight = fmaxf(weight, ranges->weight_channels[i][c]);
        }
        bad += in != ranges->input[i] || weight != ranges->weight[i];
    }
    CHECK(bad == 0, "%s: the largest channel is the range, of inputs and weights", r->name);
    CHECK(document_make(&l, m, "forms", &r->s, ranges, &e) == 0 &&
              alpha_search(&l, m, false, r->s.sample, r->s.n, 300, NULL, &p, &e) == 0,
          "%s: alphas %s", r->name, e.msg);
    for (size_t g = 0; g < l.n_groups; g++) {
        bool head = l.group[g].member[0] == m->linears - 1 && m->config->tied;

        want += l.group[g].tokens > 0 && !head;
        found += l.group[g].alpha >= 0 && l.group[g].alpha <= 1;
    }
    CHECK(found == want && found > 0, "%s: %zu groups with data, %zu alphas", r->name, want, found);
    layers_release(&l);
}

int main(void)
{
    static const char *const names[] = {"nested4-gqa8", "qwen2-text"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct ranges ranges = {0};
        struct progress p = {0};
        struct err e = {0};
        struct reference r;
        float *plain;

        if (reference_open(&r, names[i]))
            continue;
        plain = states_of(&r, &e);
        CHECK(plain && ranges_measure(&ranges, &r.m, RANGES_CHANNELS | RANGES_KV, r.s.sample, r.s.n, 4000,
                                      NULL, &p, &e) == 0,
              "%s runs %s", r.name, e.msg);
        unquantized(&r, plain, true);
        unquantized(&r, plain, false);
        folded_forms(&r, plain);
        int8_scheme(&r, plain, &ranges);
        kv_cache(&r, plain, &ranges);
        channels(&r, &ranges);
        ranges_release(&ranges);
        free(plain);
        reference_close(&r);
    }
    return unit_end();
}
