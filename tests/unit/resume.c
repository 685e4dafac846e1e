/*
 * resume.c - every pass over samples, stopped behind and inside of each of its chunks, ends with the same
 * bits
 */
#include "common/model/resume.h"

#include "common/model/alpha.h"
#include "common/model/document.h"
#include "common/model/ranges.h"
#include "common/model/score.h"
#include "tests/unit/groups.h"
#include "tests/unit/reference.h"
#include "tests/unit/scratch.h"

enum { ROWS = 60, KIND = 2 }; /* rows of a batch: several batches of these samples */

/* What the passes need, made once without a file. */
struct stand {
    struct reference r;
    struct groups groups;
    struct ranges ranges;
    struct score_form *form;
    struct layers layers;
    struct states states;
    struct row_stats *row;
};

static const char *path, *part_path;
static char identity[SHA256_HEX];

/* Each runs a pass that is kept in part, and leaves what came of it in out, n bytes. */
typedef int pass_fn(struct stand *s, struct partial *part, void *out, size_t *n, struct err *e);

static int pass_ranges(struct stand *s, struct partial *part, void *out, size_t *n, struct err *e)
{
    struct snapshot keep = {part, KIND, 0, 0, 0};
    struct reference *r = &s->r;
    struct progress p = {0};
    struct ranges got;
    char *to = out;
    int ret = ranges_measure(&got, &r->m, RANGES_CHANNELS | RANGES_KV, r->s.sample, r->s.n, ROWS, &keep, &p,
                             e);

    for (size_t i = 0; ret == 0 && i < got.linears; i++) {
        size_t bytes = r->m.linear[i].info->in * sizeof(float);

        memcpy(to, got.input_channels[i], bytes);
        memcpy(to + bytes, &got.input[i], sizeof(float));
        memcpy(to + bytes + sizeof(float), &got.kv[i], sizeof(float));
        memcpy(to + bytes + 2 * sizeof(float), &got.tokens[i], sizeof(size_t));
        to += bytes + 2 * sizeof(float) + sizeof(size_t);
    }
    *n = (size_t)(to - (char *)out);
    ranges_release(&got);
    return ret;
}

static int pass_alphas(struct stand *s, struct partial *part, void *out, size_t *n, struct err *e)
{
    struct snapshot keep = {part, KIND, 0, 0, 0};
    struct reference *r = &s->r;
    struct progress p = {0};
    double *to = out;
    int ret = alpha_search(&s->layers, &r->m, false, r->s.sample, r->s.n, ROWS, &keep, &p, e);

    for (size_t g = 0; g < s->layers.n_groups; g++)
        to[g] = s->layers.group[g].alpha;
    *n = s->layers.n_groups * sizeof *to;
    return ret;
}

static int pass_gradient(struct stand *s, struct partial *part, void *out, size_t *n, struct err *e)
{
    struct snapshot keep = {part, KIND, 0, 0, 0};
    struct reference *r = &s->r;
    struct progress p = {0};
    struct score_result *to = out;

    *n = r->m.linears * sizeof *to + sizeof(double);
    return score_gradient(&r->m, s->form, 1, r->s.sample, r->s.n, ROWS, to, (double *)(to + r->m.linears),
                          &keep, &p, e);
}

static int pass_kl(struct stand *s, struct partial *part, void *out, size_t *n, struct err *e)
{
    struct snapshot keep = {part, KIND, 0, 0, 0};
    struct reference *r = &s->r;
    struct progress p = {0};

    *n = s->groups.n * sizeof(double);
    return score_kl(&r->m, s->form, 1, s->groups.group, s->groups.n, r->s.sample, r->s.n, ROWS, out, &keep,
                    &p, e);
}

static int pass_nll(struct stand *s, struct partial *part, void *out, size_t *n, struct err *e)
{
    struct reference *r = &s->r;
    struct progress p = {0};

    *n = r->s.n * sizeof(struct eval_sample);
    return resume_nll(part, &r->m, r->s.sample, r->s.n, ROWS, out, &p, e);
}

/* The candidate is the model with one module in FP8. */
static int pass_compare(struct stand *s, struct partial *part, void *out, size_t *n, struct err *e)
{
    struct reference *r = &s->r;
    struct eval_sample *to = out;
    struct progress p = {0};
    size_t done, rows = 0;
    int ret = -1;

    if (resume_candidate(part, identity, r->s.sample, r->s.n, to, s->row, &done, e) == 0 &&
        model_quantize(&r->m, &r->m.linear[0], &s->form[0].form, e) == 0)
        ret = resume_compare(part, done, &r->m, &s->states, NULL, r->s.sample, r->s.n, ROWS, to, s->row, &p,
                             e);
    model_unquantize(&r->m, &r->m.linear[0]);
    for (size_t i = 0; i < r->s.n; i++)
        rows += to[i].loss_tokens;
    memcpy(to + r->s.n, s->row, rows * sizeof *s->row);
    *n = r->s.n * sizeof *to + rows * sizeof *s->row;
    return ret;
}

/*
 * What the pass comes to when it goes on with these bytes of an earlier run, *taken of its chunks; its file
 * stays.
 */
static bool run(struct stand *s, pass_fn *pass, const uint8_t *left, size_t bytes, void *out, size_t *n,
                size_t *taken)
{
    struct partial part;
    struct err e = {0};
    bool ret;

    if (bytes)
        scratch_put("out.part", left, bytes);
    ret = partial_open(&part, path, identity, &e) == 0 && pass(s, &part, out, n, &e) == 0;
    if (!ret)
        printf("# %s\n", e.msg);
    *taken = part.taken;
    partial_close(&part, false);
    return ret;
}

static void check(struct stand *s, const char *name, pass_fn *pass)
{
    enum { ROOM = 1 << 20 };
    static char want[ROOM], got[ROOM];
    const struct chunks_type type = {"OCTETRUN", 1, "", ""};
    struct chunks c;
    struct err e = {0};
    uint8_t *file = NULL;
    size_t n = 0, m, bytes, taken, good = 0, stops = 0;

    unlink(part_path);
    if (!run(s, pass, NULL, 0, want, &n, &taken) || chunks_read(&c, &type, part_path, false, &e) ||
        file_read(part_path, &file, &bytes, &e)) {
        CHECK(0, "%s: it runs and is kept: %s", name, e.msg);
        return;
    }
    CHECK(c.n >= 3 && n > 0, "%s: kept in %zu chunks", name, c.n);
    for (size_t i = 0; i < 2 * c.n; i++) {
        const struct chunk *k = &c.chunk[i / 2];
        size_t end = (size_t)(k->data - c.map.data) + (i % 2 ? k->bytes + SHA256_BYTES : k->bytes / 2);

        stops++;
        memset(got, 0xff, n);
        m = 0;
        unlink(part_path); /* the map of c stays */
        good += run(s, pass, file, end, got, &m, &taken) && taken == (i + 1) / 2 && m == n &&
            !memcmp(want, got, n);
    }
    CHECK(good == stops, "%s: stopped in %zu places, it goes on to the same bits after %zu of them", name,
          stops, good);
    chunks_release(&c);
    free(file);
}

static int prepare(struct stand *s)
{
    struct reference *r = &s->r;
    struct progress p = {0};
    struct err e = {0};

    s->groups = make_groups(&r->m);
    s->form = calloc(r->m.linears, sizeof *s->form);
    s->row = calloc(1000, sizeof *s->row);
    if (ranges_measure(&s->ranges, &r->m, RANGES_CHANNELS, r->s.sample, r->s.n, ROWS, NULL, &p, &e) ||
        document_make(&s->layers, &r->m, "x", &r->s, &s->ranges, &e) ||
        states_make(&s->states, &r->m, &r->s, ROWS, &p, &e)) {
        CHECK(0, "the model is prepared: %s", e.msg);
        return -1;
    }
    for (size_t i = 0; i < r->m.linears; i++)
        s->form[i] = (struct score_form){{FORMAT_FP8, s->ranges.weight[i], s->ranges.input[i], false, {0}},
                                         s->ranges.tokens[i] == 0};
    return 0;
}

int main(void)
{
    struct stand s = {0};

    path = scratch("out");
    part_path = scratch("out.part");
    if (reference_open(&s.r, "nested4-gqa8"))
        return 1;
    partial_identity(identity, s.r.be, NULL, 0);
    if (prepare(&s) == 0) {
        check(&s, "ranges", pass_ranges);
        check(&s, "alphas", pass_alphas);
        check(&s, "gradient", pass_gradient);
        check(&s, "kl", pass_kl);
        check(&s, "perplexity", pass_nll);
        check(&s, "comparison", pass_compare);
    }
    states_release(&s.states);
    layers_release(&s.layers);
    ranges_release(&s.ranges);
    free(s.row);
    free(s.form);
    free(s.groups.group);
    free(s.groups.name);
    reference_close(&s.r);
    return unit_end();
}
