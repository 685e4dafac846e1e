/*
 * generate.c - decoding over cached keys and values against the plain walk, and against the reference's
 * generate()
 *
 * A step's products take one row, whose sums run in another order than those of many rows: a few 1e-7 of the
 * largest term each, which must stay within 1e-5 of the largest logit through a whole model.
 */
#include "common/model/generate.h"
#include "common/model/prompt.h"
#include "common/text/utf8.h"
#include "tests/unit/reference.h"
#include "tests/unit/scratch.h"

#define TOLERANCE 1e-5

/* Logits of all rows of a sample by the plain walk, [tokens, vocab]; NULL with a failed check. */
static float *plain_logits(struct model *m, const struct sample *s)
{
    struct err e = {0};
    float *out = reference_logits(m, s, 1, NULL, &e);

    if (!out)
        CHECK(0, "the plain walk: %s", e.msg);
    return out;
}

static size_t argmax(const float *z, size_t n)
{
    size_t top = 0;

    for (size_t i = 1; i < n; i++)
        if (z[i] > z[top])
            top = i;
    return top;
}

/* Where a sample may be cut so that all its pictures are in the first part; about half of it at least. */
static size_t cut_at(const struct sample *s, const struct config *c)
{
    size_t cut = s->tokens / 2;

    for (size_t i = cut; i < s->tokens && s->images; i++)
        if (s->ids[i] == c->image_token)
            cut = i + 1;
    return cut ? cut : 1;
}

/* Prefill with a sample's first part, step through at most 40 tokens of the rest: each step against the row
 * of one walk. */
static void check_sample(struct reference *r, size_t k)
{
    const struct sample *s = &r->s.sample[k];
    size_t vocab = r->m.config->vocab, cut = cut_at(s, r->m.config), end = s->tokens, same = 0;
    struct sample head = *s;
    struct generate g = {0};
    struct err e = {0};
    float *plain = plain_logits(&r->m, s);
    double worst = 0, top;
    int32_t id = 0;

    end = end - cut > 40 ? cut + 40 : end;
    head.tokens = cut;
    if (plain && generate_prefill(&g, &r->m, &head, end - cut, &e) == 0)
        for (size_t i = cut;; i++) {
            double d = reference_distance(g.logits, plain + (i - 1) * vocab, vocab, &top) / top;

            worst = d > worst || isnan(d) ? d : worst;
            same +=
                generate_greedy(&g, 1, &id, &e) == 0 && (size_t)id == argmax(plain + (i - 1) * vocab, vocab);
            if (i == end || generate_step(&g, s->ids[i], &e))
                break;
        }
    CHECK(same == end - cut + 1,
          "%s: sample %zu, %zu pictures: the next token after each of tokens %zu to %zu %s", r->name, k,
          s->images, cut, end, e.msg);
    CHECK(worst <= TOLERANCE, "%s: sample %zu: logits of steps within %.2g of the largest", r->name, k,
          worst);
    generate_release(&g);
    free(plain);
}

/* Up to two samples for each number of pictures. */
static void check_models(void)
{
    for (size_t i = 0; reference_names[i]; i++) {
        struct reference r;
        size_t seen[8] = {0};

        if (reference_open(&r, reference_names[i]))
            continue;
        for (size_t k = 0; k < r.s.n; k++)
            if (r.s.sample[k].tokens > 1 && r.s.sample[k].images < 8 && seen[r.s.sample[k].images]++ < 2)
                check_sample(&r, k);
        reference_close(&r);
    }
}

/* ---- the reference's answers ---- */

struct tiny {
    struct backend *be;
    struct model m;
    struct tokenizer *t;
    struct chat_form form;
};

static int make(struct sample *s, const struct tiny *t, const json_t *c, struct err *e)
{
    const json_t *text = json_object_get(c, "text"), *name;
    struct prompt p = {.text = json_string_value(text),
                       .n = json_string_length(text),
                       .raw = json_is_true(json_object_get(c, "raw"))};
    char path[4][256];
    const char *picture[4];

    json_array_foreach (json_object_get(c, "images"), p.pictures, name) {
        snprintf(path[p.pictures], sizeof path[0], "data/shapes2017/val2017/%s", json_string_value(name));
        picture[p.pictures] = path[p.pictures];
    }
    p.picture = picture;
    return prompt_make(s, &p, &t->m, t->t, &t->form, e);
}

static bool same_ids(const struct ids *got, const json_t *want)
{
    size_t same = 0;

    for (size_t i = 0; i < got->n; i++)
        same += got->v[i] == json_integer_value(json_array_get(want, i));
    return same == got->n && got->n == json_array_size(want);
}

/* The token after all of ids, without a cache; prompt has the pictures. */
static size_t next_of_whole(struct tiny *t, const struct sample *prompt, const struct ids *ids)
{
    static uint8_t no_loss[512];
    size_t vocab = t->m.config->vocab, next = SIZE_MAX;
    struct sample whole = *prompt;
    float *plain;

    whole.ids = ids->v;
    whole.tokens = ids->n;
    whole.loss = no_loss;
    plain = ids->n <= sizeof no_loss ? plain_logits(&t->m, &whole) : NULL;
    if (plain)
        next = argmax(plain + (ids->n - 1) * vocab, vocab);
    free(plain);
    return next;
}

/* The same tokens as generate() of transformers, and by walking the whole sequence again for each. */
static void check_answer(struct tiny *t, size_t k, const json_t *c)
{
    const json_t *want = json_object_get(c, "answer");
    float penalty = (float)json_number_value(json_object_get(c, "penalty"));
    struct sample s = {0};
    struct ids ids = {0}, stop = {0};
    struct generate g = {0};
    struct text text = {0};
    struct err e = {0};
    size_t prompt, again = 0;
    bool stopped = false;
    int32_t id;

    if (make(&s, t, c, &e) || ids_add(&ids, s.ids, s.tokens, &e) ||
        generate_stops(&stop, "data/tiny-qwen2_5-vl", t->t, &e)) {
        CHECK(0, "case %zu: %s", k, e.msg);
        goto out;
    }
    CHECK(same_ids(&ids, json_object_get(c, "ids")), "case %zu: %zu ids of the prompt, %zu pictures", k,
          s.tokens, s.images);
    prompt = ids.n;
    if (generate_prefill(&g, &t->m, &s, 24, &e))
        goto bad;
    while (ids.n < prompt + 24 && !stopped) {
        if ((ids.n > prompt && generate_step(&g, id, &e)) || generate_greedy(&g, penalty, &id, &e))
            goto bad;
        again += penalty == 1 && next_of_whole(t, &s, &ids) == (size_t)id;
        for (size_t i = 0; i < stop.n; i++)
            stopped |= stop.v[i] == id;
        if (ids_add(&ids, &id, 1, &e))
            goto bad;
    }
    ids.n -= prompt;
    memmove(ids.v, ids.v + prompt, ids.n * sizeof *ids.v);
    CHECK(same_ids(&ids, want), "case %zu: %zu tokens of the reference's answer", k, ids.n);
    CHECK(penalty != 1 || again == ids.n, "case %zu: the same by walking the whole sequence", k);
    CHECK(tokenizer_bytes(t->t, ids.v, ids.n, true, &text, &e) == 0 &&
              !strcmp(text.v, json_string_value(json_object_get(c, "decoded"))),
          "case %zu: and its text", k);
    goto out;
bad:
    CHECK(0, "case %zu: %s", k, e.msg);
out:
    text_release(&text);
    generate_release(&g);
    ids_release(&stop);
    ids_release(&ids);
    sample_release(&s);
}

/* ---- limits ---- */

static void check_limits(struct tiny *t)
{
    int32_t ids[5000] = {0}, id;
    uint8_t loss[5000] = {0};
    char name[] = "prompt";
    struct sample s = {.id = name, .ids = ids, .loss = loss, .tokens = 5000};
    struct generate g = {0};
    struct err e = {0};

    CHECK(generate_prefill(&g, &t->m, &s, 1, &e) && e.rc == RC_DATA && strstr(e.msg, "5000 tokens fill"),
          "%s", e.msg);
    generate_release(&g);
    e = (struct err){0};
    s.tokens = 4;
    CHECK(generate_prefill(&g, &t->m, &s, 4093, &e) && e.rc == RC_USAGE &&
              strstr(e.msg, "ask for 4092 at most"),
          "%s", e.msg);
    generate_release(&g);
    e = (struct err){0};
    CHECK(generate_prefill(&g, &t->m, &s, 2, &e) == 0 && generate_step(&g, 7, &e) == 0 &&
              generate_step(&g, 8, &e) == 0,
          "as many steps as room was asked for %s", e.msg);
    CHECK(generate_step(&g, 9, &e) && strstr(e.msg, "exceed the cache's 6"), "and no more: %s", e.msg);
    e = (struct err){0};
    for (size_t i = 0; i < t->m.config->vocab; i++)
        g.logits[i] = i == 300 || i == 400 ? 2 : i == 7 ? 3 : -1;
    CHECK(generate_greedy(&g, 1, &id, &e) == 0 && id == 7, "the largest logit");
    CHECK(generate_greedy(&g, 2, &id, &e) == 0 && id == 300, "under a penalty, and the first of equals");
    g.logits[1000] = NAN;
    CHECK(generate_greedy(&g, 1, &id, &e) && e.rc == RC_DATA, "NaN: %s", e.msg);
    generate_release(&g);
}

/* eos_token_id in the forms that files have it, and where it is not there. */
static void check_stops(const struct tiny *t)
{
    static const struct {
        const char *json;
        size_t n;
        int32_t first;
        const char *error;
    } cases[] = {
        {"{\"eos_token_id\": 12}", 1, 12, NULL},
        {"{\"eos_token_id\": [3, 4, 5]}", 3, 3, NULL},
        {"{\"eos_token_id\": null}", 2, 509, NULL},
        {"{}", 2, 509, NULL},
        {NULL, 2, 509, NULL},
        {"{\"eos_token_id\": \"<|im_end|>\"}", 0, 0, "neither a token id nor a list"},
        {"{\"eos_token_id\": [3, -4]}", 0, 0, "neither a token id nor a list"},
        {"{\"eos_token_id\": 12", 0, 0, "not valid JSON"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ids stop = {0};
        struct err e = {0};
        int ret;

        scratch_clear();
        if (cases[i].json)
            scratch_text("generation_config.json", cases[i].json);
        ret = generate_stops(&stop, scratch_dir(), t->t, &e);
        if (cases[i].error)
            CHECK(ret && strstr(e.msg, cases[i].error), "%s: %s", cases[i].json, cases[i].error);
        else
            CHECK(ret == 0 && stop.n == cases[i].n && stop.v[0] == cases[i].first, "stops of %s: %zu %s",
                  cases[i].json ? cases[i].json : "no file", stop.n, e.msg);
        ids_release(&stop);
    }
}

/* However a text is cut into pieces, what comes out is what the whole gives, and whole characters only. */
static void check_pieces(void)
{
    static const char text[] = "a\xc3\xa9 \xe2\x82\xac\xf0\x9f\x98\x80\xff\xe2\x82z\xf0\x9f";
    size_t n = sizeof text - 1, bad = 0;
    struct text want = {0};
    struct err e = {0};

    utf8_repair(text, n, &want, &e);
    for (size_t piece = 1; piece <= n; piece++) {
        struct text in = {0}, out = {0};

        for (size_t i = 0; i < n; i += piece) {
            bad += text_add(&in, text + i, n - i < piece ? n - i : piece, &e) || utf8_take(&in, &out, &e);
            bad += in.n > 3 || (out.n && utf8_check(out.v, out.n, &e));
        }
        bad += utf8_repair(in.v, in.n, &out, &e) || out.n != want.n || memcmp(out.v, want.v, want.n);
        text_release(&in);
        text_release(&out);
    }
    CHECK(bad == 0, "text in pieces of 1 to %zu bytes", n);
    text_release(&want);
}

int main(void)
{
    struct tiny t = {0};
    struct err e = {0};
    json_t *cases = json_read("tests/golden/generate.json", NULL, &e), *c;
    size_t k;

    check_models();
    t.be = be_open_cpu(&e);
    if (cases && t.be && model_open(&t.m, "data/tiny-qwen2_5-vl", t.be, 0, &e) == 0 &&
        tokenizer_open(&t.t, "data/tiny-qwen2_5-vl", &e) == 0 &&
        chat_open(&t.form, "data/tiny-qwen2_5-vl", &e) == 0) {
        json_array_foreach (cases, k, c)
            check_answer(&t, k, c);
        check_limits(&t);
        check_stops(&t);
    }
    CHECK(e.rc == RC_OK && json_array_size(cases) == 8, "golden answers and the bundled model %s", e.msg);
    check_pieces();
    json_decref(cases);
    tokenizer_free(t.t);
    model_close(&t.m);
    if (t.be)
        t.be->close(t.be);
    return unit_end();
}
