/*
 * states.c - kept references: what is written is what was computed, whatever the batches and wherever it
 * stopped
 */
#include "common/model/states.h"

#include "common/base/cli.h"
#include "tests/unit/reference.h"
#include "tests/unit/scratch.h"

enum { ROWS = 60 }; /* of a batch: several batches of these samples */

static const char *path, *part;

static int save(struct reference *r, enum dtype dtype, struct err *e)
{
    char remark[STATES_REMARK];
    struct progress p = {0};

    return states_save(path, dtype, &r->m, &r->s, ROWS, &p, remark, e);
}

/* Log-sum-exp and argmax of one row of states, in fp64. */
static void sum_row(struct reference *r, const float *x, double *lse, int32_t *argmax)
{
    size_t vocab = r->m.config->vocab;
    struct backend *be = r->be;
    float *logits = malloc(vocab * sizeof *logits);
    void *norm = be->alloc(be, r->m.config->hidden * be->act_bytes),
        *out = be->alloc(be, vocab * sizeof *logits);
    double sum = 0;

    be->upload_act(be, norm, x, r->m.config->hidden);
    be->linear_f32(be, out, norm, 1, linear_weight(r->m.stage[r->m.head].head));
    be->download(be, logits, out, vocab * sizeof *logits);
    *argmax = 0;
    for (size_t i = 1; i < vocab; i++)
        if (logits[i] > logits[*argmax])
            *argmax = (int32_t)i;
    for (size_t i = 0; i < vocab; i++)
        sum += exp((double)logits[i] - logits[*argmax]);
    *lse = logits[*argmax] + log(sum);
    be->free(be, out);
    be->free(be, norm);
    free(logits);
}

/* Rows in pieces of `step`, which lie across the ends of chunks, against those in memory. */
static void compare(struct reference *r, const struct states *kept, const struct states *exact, size_t step)
{
    size_t width = exact->hidden, wrong = 0, sums = 0;
    float *got = calloc(step, width * sizeof *got), *want = calloc(step, width * sizeof *want);
    float *lse = calloc(step, sizeof *lse);
    int32_t *argmax = calloc(step, sizeof *argmax);

    for (size_t i = 0, n; i < exact->tokens; i += n) {
        n = exact->tokens - i < step ? exact->tokens - i : step;
        states_rows(kept, i, n, got, lse, argmax);
        states_upload(exact, r->m.be, want, i, n); /* the CPU's memory, and fp32 */
        for (size_t k = 0; k < n * width; k++)
            wrong += got[k] != (kept->dtype == DT_F32 ? want[k] : bf16_to_f32(bf16_from_f32(want[k])));
        for (size_t k = 0; k < n && step == 1; k++) {
            double sum;
            int32_t top;

            sum_row(r, want + k * width, &sum, &top);
            /* fp32 of a sum in fp64, logits to 1 ulp */
            sums += !unit_near(lse[k], sum, 1e-6, 0) || argmax[k] != top;
        }
    }
    CHECK(wrong == 0, "%s, %zu rows at a time: they are those that were computed", st_dtype_name(kept->dtype),
          step);
    if (step == 1)
        CHECK(sums == 0, "%s: log-sum-exps and argmaxes are of the exact logits", st_dtype_name(kept->dtype));
    free(argmax);
    free(lse);
    free(want);
    free(got);
}

static void test_rows(struct reference *r, enum dtype dtype)
{
    const size_t step[] = {1, 7, 64, 1000};
    struct states exact, kept;
    struct progress p = {0};
    struct err e = {0};

    if (states_make(&exact, &r->m, &r->s, ROWS, &p, &e) || save(r, dtype, &e) ||
        states_open(&kept, path, &e)) {
        CHECK(0, "states are kept: %s", e.msg);
        return;
    }
    CHECK(kept.file.n > 1 && kept.tokens == exact.tokens && kept.hidden == exact.hidden &&
          kept.dtype == dtype,
          "%zu tokens in %zu chunks", kept.tokens, kept.file.n);
    CHECK(!strcmp(kept.model, exact.model) && !strcmp(kept.samples, exact.samples) &&
          !strcmp(kept.head, exact.head) &&
              !memcmp(&kept.origin, &exact.origin, sizeof exact.origin),
          "what they belong to");
    for (size_t i = 0; i < sizeof step / sizeof *step; i++)
        compare(r, &kept, &exact, step[i]);
    states_release(&kept);
    states_release(&exact);
}

/* Cut behind each chunk, and in the middle of each: always the same file in the end. */
static void test_resume(struct reference *r)
{
    struct states s;
    struct err e = {0};
    uint8_t *whole = NULL, *again;
    size_t n, m, good = 0, cuts = 0;

    if (save(r, DT_BF16, &e) || states_open(&s, path, &e) || file_read(path, &whole, &n, &e)) {
        CHECK(0, "states are kept: %s", e.msg);
        return;
    }
    for (size_t i = 0; i < 2 * s.file.n; i++) {
        const struct chunk *c = &s.file.chunk[i / 2];
        size_t end = (size_t)(c->data - s.file.map.data) + (i % 2 ? c->bytes + SHA256_BYTES : c->bytes / 2);

        cuts++;
        unlink(path);
        scratch_put("states.part", whole, end);
        if (save(r, DT_BF16, &e) == 0 && file_read(path, &again, &m, &e) == 0) {
            good += m == n && !memcmp(whole, again, n) && access(part, F_OK);
            free(again);
        }
    }
    CHECK(good == cuts, "stopped in %zu places, the same file in %zu of them %s", cuts, good, e.msg);
    states_release(&s);
    free(whole);
}

int main(void)
{
    struct reference r;

    path = scratch("states");
    part = scratch("states.part");
    cli_force = true;
    if (reference_open(&r, "nested4-gqa8") == 0) {
        test_rows(&r, DT_F32);
        test_rows(&r, DT_BF16);
        test_resume(&r);
        reference_close(&r);
    }
    return unit_end();
}
