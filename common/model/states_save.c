/* states_save.c - what a reference computed, written batch by batch, so that a killed run goes on */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cli.h"
#include "common/base/mem.h"
#include "common/model/faults.h"
#include "common/model/states_file.h"
#include "common/model/visit.h"

struct saver {
    struct visit visit;
    struct states s; /* without the states */
    struct chunks_out out;
    size_t start;    /* samples that were there */
    float *logits, *lse;
    int32_t *argmax;
    size_t rows; /* of these */
    struct faults faults;
};

static void say(char remark[STATES_REMARK], const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(char remark[STATES_REMARK], const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(remark, STATES_REMARK, fmt, ap);
    va_end(ap);
}

static json_t *put_digest(json_t *head, const char *key, const char *hex, struct err *e)
{
    return json_put(head, key, *hex ? json_string(hex) : json_null(), e) ? NULL : head;
}

/* All that decides the bytes that follow. */
static json_t *make_head(const struct states *s, const struct model *m, struct err *e)
{
    json_t *head = json_object();
    char arithmetic[32];

    snprintf(arithmetic, sizeof arithmetic, "%s/%s", m->be->name, be_dtype(m->be));
    if (json_put(head, "schema", json_string("octet-states/2"), e) ||
        json_put(head, "version", json_string(cli_version()), e) ||
        json_put(head, "arithmetic", json_string(arithmetic), e) ||
        json_put(head, "dtype", json_string(st_dtype_name(s->dtype)), e) ||
        json_put(head, "tokens", json_integer((json_int_t)s->tokens), e) ||
        json_put(head, "hidden", json_integer((json_int_t)s->hidden), e) ||
        json_put(head, "vocab", json_integer((json_int_t)s->vocab), e) ||
        !put_digest(head, "model", s->model, e) ||
        !put_digest(head, "head", s->head, e) || !put_digest(head, "samples", s->samples, e) ||
        !put_digest(head, "tokenizer", s->origin.tokenizer, e) ||
        !put_digest(head, "processor", s->origin.processor, e)) {
        json_decref(head);
        return NULL;
    }
    return head;
}

/* ---- computing ---- */

/* Log-sum-exp and argmax of the logits of rows i .. i + n of a batch. */
static int sum_logits(struct saver *v, struct walk *w, size_t i, size_t n, float *lse, int32_t *argmax,
                      struct err *e)
{
    struct backend *be = w->m->be;
    const struct weight *head = linear_weight(w->m->stage[w->m->head].head);

    be->linear_f32(be, v->logits, (const char *)w->norm + i * v->s.hidden * be->act_bytes, n, head);
    be->nll(be, NULL, v->lse, v->argmax, v->logits, NULL, n, v->s.vocab);
    be->download(be, lse, v->lse, n * sizeof *lse);
    be->download(be, argmax, v->argmax, n * sizeof *argmax);
    return be_check(be, e);
}

/* Rows that are not finite are counted, and nothing from them on is written. */
static void find_faults(struct saver *v, const struct batch *b, size_t first, const float *lse)
{
    size_t sample = 0;

    for (size_t r = 0; r < b->tokens; r++) {
        while (r >= (size_t)b->first[sample + 1])
            sample++;
        if (!isfinite(lse[r]))
            faults_add(&v->faults, first + sample, r - (size_t)b->first[sample]);
    }
}

static int save_batch(struct visit *visit, struct walk *w, size_t first, struct err *e)
{
    struct saver *v = (struct saver *)visit;
    struct backend *be = w->m->be;
    size_t rows = w->b->tokens, count = rows * v->s.hidden, width = dtype_bytes(v->s.dtype);
    float *x = mem_zalloc(count, sizeof *x, e), *lse = mem_zalloc(rows, sizeof *lse, e);
    int32_t *argmax = mem_zalloc(rows, sizeof *argmax, e);
    const struct chunks_part part[] = {{x, count * width}, {lse, rows * sizeof *lse},
                                       {argmax, rows * sizeof *argmax}};
    int ret = -1;

    if (!x || !lse || !argmax)
        goto out;
    for (size_t i = 0, n; i < rows; i += n) {
        n = rows - i < v->rows ? rows - i : v->rows;
        if (sum_logits(v, w, i, n, lse + i, argmax + i, e))
            goto out;
    }
    find_faults(v, w->b, v->start + first, lse);
    be->download_act(be, x, w->norm, count);
    if (be_check(be, e))
        goto out;
    /* in place: halves never pass what they are made of */
    for (size_t i = 0; i < count && v->s.dtype == DT_BF16; i++) {
        uint16_t h = bf16_from_f32(x[i]);

        memcpy((char *)x + 2 * i, &h, sizeof h);
    }
    ret = v->faults.count ? 0 : chunks_put(&v->out, STATES_ROWS, part, 3, e);
out:
    free(argmax);
    free(lse);
    free(x);
    return ret;
}

static int compute(struct saver *v, struct model *m, const struct samples *samples, size_t rows,
                   struct progress *p, struct err *e)
{
    struct backend *be = m->be;
    int ret;

    v->rows = walk_chunk_rows(m);
    v->logits = be->alloc(be, v->rows * v->s.vocab * sizeof *v->logits);
    v->lse = be->alloc(be, v->rows * sizeof *v->lse);
    v->argmax = be->alloc(be, v->rows * sizeof *v->argmax);
    progress_add(p, v->start);
    ret = be_check(be, e) ? -1 : visit_batches(m, samples->sample + v->start, samples->n - v->start, rows,
                                               &v->visit, p, e);
    be->free(be, v->argmax);
    be->free(be, v->lse);
    be->free(be, v->logits);
    return ret ? -1 : faults_report(&v->faults, m, samples->sample, false, e);
}

/* ---- what is there already ---- */

/* 1: path holds these states, whole; 0: it is not there, or may be replaced; -1. */
static int look_at_old(const char *path, const json_t *head, struct err *e)
{
    struct chunks old = {0};
    struct err ignored = {0};
    int there = file_exists(path, e);
    bool same;

    if (there <= 0)
        return there;
    same = chunks_read(&old, &states_type, path, true, &ignored) == 0 && json_equal(old.head, head);
    chunks_release(&old);
    if (same)
        return 1;
    if (cli_force)
        return 0;
    return err_set(e, RC_USAGE,
                   "'%s' exists and does not hold the states of this model and these samples: remove it or use -f", path);
}

/* How many samples the chunks of a file hold, whole ones all of them. */
static int count_samples(const struct states *s, const struct chunks *c, const struct samples *samples,
                         size_t *done, struct err *e)
{
    size_t tokens, i = 0;

    for (size_t k = 0; k < c->n; k++) {
        if (states_chunk_tokens(s, &c->chunk[k], k + 1, c->map.path, &tokens, e))
            return -1;
        for (; i < samples->n && tokens >= samples->sample[i].tokens; i++)
            tokens -= samples->sample[i].tokens;
        if (tokens)
            return err_set(e, RC_DATA, "'%s': chunk %zu does not end with a sample; remove it to begin anew",
                           c->map.path, k + 1);
    }
    *done = i;
    return 0;
}

/* Open the file in the making, after what an earlier run left in it. */
static int open_part(struct saver *v, const char *path, const json_t *head, const struct samples *samples,
                     char remark[STATES_REMARK], struct err *e)
{
    struct chunks_type type = states_type;
    struct chunks old = {0};
    int there = file_exists(path, e), ret = -1;

    type.remedy = "remove it to begin anew";
    if (there < 0 || (there && chunks_read(&old, &type, path, false, e)))
        return -1;
    if (old.head && !old.ended && json_equal(old.head, head)) {
        if (count_samples(&v->s, &old, samples, &v->start, e) == 0)
            ret = chunks_resume(&v->out, &old, old.n, e);
        say(remark, "%zu of %zu samples are in '%s' already", v->start, samples->n, path);
    } else {
        if (there)
            say(remark, "'%s' is of other models, samples or settings: begun anew", path);
        ret = chunks_create(&v->out, &type, path, head, e);
    }
    chunks_release(&old);
    return ret;
}

int states_save(const char *path, enum dtype dtype, struct model *m, const struct samples *samples,
                size_t rows, struct progress *p, char remark[STATES_REMARK], struct err *e)
{
    struct saver v = {.visit.batch = save_batch};
    char *part = mem_printf(e, "%s.part", path);
    json_t *head = NULL;
    int there, ret = -1;

    remark[0] = '\0';
    if (!part || states_describe(&v.s, m, samples, e))
        goto out;
    v.s.dtype = dtype;
    head = make_head(&v.s, m, e);
    there = head ? look_at_old(path, head, e) : -1;
    if (there == 1)
        say(remark, "'%s' holds these states already", path);
    if (there)
        ret = there == 1 ? 0 : -1;
    else if (open_part(&v, part, head, samples, remark, e) == 0 && compute(&v, m, samples, rows, p, e) == 0 &&
             chunks_end(&v.out, e) == 0)
        ret = file_rename(part, path, e);
    if (ret && v.out.path && v.out.n == 0) /* nothing that a later run could use */
        unlink(part);
out:
    chunks_close(&v.out);
    json_decref(head);
    free(part);
    return ret;
}
