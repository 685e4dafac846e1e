/* resume.c - evaluations that go on where an earlier run stopped */
#include "common/model/resume.h"

#include <string.h>

enum { KIND_NLL = 2, KIND_CANDIDATE, KIND_COMPARE };

/* Sums are right, so this is a fault of the program: it must not be read past the end all the same. */
static int misfit(const struct partial *part, struct err *e)
{
    return err_set(e, RC_DATA, "'%s' does not fit the samples; remove it to begin anew", part->path);
}

/* ---- perplexity ---- */

struct keep_nll {
    struct eval_keep keep;
    struct partial *part;
    const struct eval_sample *out;
};

static int put_nll(struct eval_keep *keep, size_t first, size_t n, struct err *e)
{
    struct keep_nll *k = (struct keep_nll *)keep;
    const struct chunks_part part = {k->out + first, n * sizeof *k->out};

    return partial_put(k->part, KIND_NLL, &part, 1, e);
}

int resume_nll(struct partial *part, struct model *m, const struct sample *sample, size_t n, size_t rows,
               struct eval_sample *out, struct progress *p, struct err *e)
{
    struct keep_nll k = {.keep.batch = put_nll, .part = part, .out = out};
    const struct chunk *c;

    while ((c = partial_take(part, KIND_NLL))) {
        size_t count = c->bytes / sizeof *out;

        if (count > n - k.keep.start || c->bytes % sizeof *out)
            return misfit(part, e);
        memcpy(out + k.keep.start, c->data, c->bytes);
        k.keep.start += count;
    }
    return eval_nll(m, sample, n, rows, out, &k.keep, p, e);
}

/* ---- comparison ---- */

static size_t count_loss(const struct sample *sample, size_t n)
{
    size_t loss = 0;

    for (size_t i = 0; i < n; i++)
        for (size_t t = 1; t < sample[i].tokens; t++)
            loss += sample[i].loss[t];
    return loss;
}

int resume_candidate(struct partial *part, const char identity[SHA256_HEX], const struct sample *sample,
                     size_t n, struct eval_sample *out, struct row_stats *row, size_t *done, struct err *e)
{
    const struct chunks_part id = {identity, SHA256_HEX - 1};
    const struct chunk *c = partial_peek(part, KIND_CANDIDATE);

    *done = 0;
    part->remark[0] = '\0';
    if (!c || c->bytes != id.bytes || memcmp(c->data, id.data, id.bytes)) {
        if (c)
            snprintf(part->remark, sizeof part->remark,
                     "'%s' goes on with another candidate: ignored from there", part->path);
        return partial_put(part, KIND_CANDIDATE, &id, 1, e);
    }
    partial_take(part, KIND_CANDIDATE);
    while ((c = partial_take(part, KIND_COMPARE))) {
        uint64_t count = UINT64_MAX;
        size_t rows;

        if (c->bytes >= sizeof count)
            memcpy(&count, c->data, sizeof count);
        if (count > n - *done)
            return misfit(part, e);
        rows = count_loss(sample + *done, count);
        if (c->bytes != sizeof count + count * sizeof *out + rows * sizeof *row)
            return misfit(part, e);
        memcpy(out + *done, c->data + sizeof count, count * sizeof *out);
        memcpy(row, c->data + sizeof count + count * sizeof *out, rows * sizeof *row);
        *done += count;
        row += rows;
    }
    return 0;
}

struct keep_compare {
    struct eval_keep keep;
    struct partial *part;
    const struct sample *sample;
    const struct eval_sample *out;
    const struct row_stats *row; /* of the next batch */
};

static int put_compare(struct eval_keep *keep, size_t first, size_t n, struct err *e)
{
    struct keep_compare *k = (struct keep_compare *)keep;
    size_t rows = count_loss(k->sample + first, n);
    uint64_t count = n;
    const struct chunks_part part[] = {{&count, sizeof count}, {k->out + first, n * sizeof *k->out},
                                       {k->row, rows * sizeof *k->row}};

    k->row += rows;
    return partial_put(k->part, KIND_COMPARE, part, 3, e);
}

int resume_compare(struct partial *part, size_t done, struct model *m, const struct states *ref,
                   const struct weight *ref_head, const struct sample *sample, size_t n, size_t rows,
                   struct eval_sample *out, struct row_stats *row, struct progress *p, struct err *e)
{
    struct keep_compare k = {.keep = {put_compare, done}, .part = part, .sample = sample, .out = out,
                             .row = row + count_loss(sample, done)};

    return eval_compare(m, ref, ref_head, sample, n, rows, out, row, &k.keep, p, e);
}
