/* keep.c - what a walk keeps for its backward pass changes time and memory, not one bit */
#include "common/base/sha256.h"
#include "tests/unit/reference.h"

struct digest {
    struct tap tap;
    struct backend *be;
    struct sha256 sha;
    size_t seen;
    const struct linear *next; /* whose weight was asked for, until it is shown */
    size_t asked, out_of_turn;
};

static const struct weight *ask(struct tap *tap, const struct linear *l)
{
    struct digest *d = (struct digest *)tap;

    d->out_of_turn += d->next != NULL;
    d->next = l;
    d->asked++;
    return NULL;
}

/* All that a tap is shown of a module. */
static int add(struct tap *tap, struct linear *l, const void *x, const void *y, const void *dy,
               const float *row_weight, size_t rows, struct err *e)
{
    struct digest *d = (struct digest *)tap;
    const void *from[] = {x, y, dy};
    size_t wide[] = {l->weight.in, l->weight.out, l->weight.out};

    (void)row_weight;
    d->out_of_turn += d->next && d->next != l;
    d->next = NULL;
    for (size_t i = 0; i < 3; i++) {
        float *host = mem_zalloc(rows * wide[i], sizeof *host, e);

        if (!host)
            return -1;
        d->be->download_act(d->be, host, from[i], rows * wide[i]);
        sha256_add(&d->sha, host, rows * wide[i] * sizeof *host);
        free(host);
    }
    d->seen++;
    return be_check(d->be, e);
}

/* A pass that may keep so many bytes; out: its digest, "" after a failure. */
static struct digest pass(struct reference *r, size_t n, size_t bytes, char out[SHA256_HEX])
{
    struct digest d = {.tap = {.backward = add, .weight = ask}, .be = r->be};
    struct batch b = {0};
    struct walk w = {0};
    struct err e = {0};

    *out = '\0';
    sha256_init(&d.sha);
    if (batch_build(&b, r->be, r->m.config, &r->m.processor, r->s.sample, n, &e) == 0 &&
        walk_init(&w, &r->m, &b, true, &e) == 0 && walk_keep_blocks(&w, bytes, &e) == 0 &&
        walk_forward(&w, 0, &e) == 0) {
        w.tap = &d.tap;
        if (walk_backward(&w, NULL, &e) == 0)
            sha256_hex(&d.sha, out);
    }
    walk_release(&w);
    batch_release(&b);
    return d;
}

static void check(struct reference *r)
{
    size_t n = r->s.n < 2 ? r->s.n : 2, most = (size_t)1 << 30, bad = 0, out_of_turn = 0, passes = 0;
    char want[SHA256_HEX], got[SHA256_HEX];
    struct digest d = pass(r, n, 0, want);

    CHECK(*want && d.seen > 20 && d.asked == 0, "%s: a pass that keeps nothing shows %zu modules", r->name,
          d.seen);
    /* From a block's products to those of all blocks, and what is between them in the vision tower. */
    for (size_t bytes = 1 << 14; bytes <= most; bytes *= bytes < (1 << 24) ? 2 : 64) {
        d = pass(r, n, bytes, got);
        bad += strcmp(want, got) != 0;
        out_of_turn += d.out_of_turn;
        passes++;
    }
    CHECK(bad == 0, "%s: nor do %zu passes that keep more differ in a bit", r->name, passes);
    CHECK(out_of_turn == 0 && d.asked == 3 * r->m.config->layers,
          "%s: %zu inputs are made again, each just before its module is shown", r->name, d.asked);
}

int main(void)
{
    for (size_t i = 0; reference_names[i]; i++) {
        struct reference r;

        if (reference_open(&r, reference_names[i]))
            continue;
        check(&r);
        reference_close(&r);
    }
    return unit_end();
}
