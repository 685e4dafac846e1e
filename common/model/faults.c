/* faults.c - numbers that are not finite, and where they begin */
#include "common/model/faults.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/model/walk.h"

/* Where such a number first appears on the way of a sample. */
struct fault {
    const char *module; /* canonical name; NULL: nowhere */
    const char *side;   /* "input" or "output" */
    size_t row;
};

struct fault_tap {
    struct tap tap;
    struct model *m;
    struct fault *fault;
};

/* True when x [rows, dim] has such a number; *row says where. */
static int look(const struct fault_tap *t, const void *x, size_t rows, size_t dim, bool *found, size_t *row,
                struct err *e)
{
    struct backend *be = t->m->be;
    float *host = mem_zalloc(rows * dim, sizeof *host, e);
    size_t i = 0;

    if (!host)
        return -1;
    be->download_act(be, host, x, rows * dim);
    while (i < rows * dim && isfinite(host[i]))
        i++;
    *found = i < rows * dim;
    *row = *found ? i / dim : 0;
    free(host);
    return be_check(be, e);
}

static int look_at_linear(struct tap *tap, struct linear *l, const void *x, const void *y, size_t rows,
                          struct err *e)
{
    struct fault_tap *t = (struct fault_tap *)tap;
    const struct weight *w = linear_weight(l);
    bool found = false;

    if (t->fault->module)
        return 0;
    if (look(t, x, rows, w->in, &found, &t->fault->row, e))
        return -1;
    t->fault->side = "input";
    if (!found && y) {
        if (look(t, y, rows, w->out, &found, &t->fault->row, e))
            return -1;
        t->fault->side = "output";
    }
    if (found)
        t->fault->module = l->info->name;
    return 0;
}

/* The head's product is not part of a walk: row by row here. */
static int look_at_head(struct fault_tap *t, struct walk *w, struct err *e)
{
    struct linear *head = t->m->stage[t->m->head].head;
    struct backend *be = t->m->be;
    size_t vocab = t->m->config->vocab, row_bytes = t->m->config->hidden * be->act_bytes;
    float *logits = be->alloc(be, vocab * sizeof *logits), *host = mem_zalloc(vocab, sizeof *host, e);
    int ret = be_check(be, e) || !host ? -1 : 0;

    for (size_t r = 0; ret == 0 && r < w->b->tokens && !t->fault->module; r++) {
        size_t i = 0;

        be->linear_f32(be, logits, (const char *)w->norm + r * row_bytes, 1, linear_weight(head));
        be->download(be, host, logits, vocab * sizeof *host);
        ret = be_check(be, e);
        while (ret == 0 && i < vocab && isfinite(host[i]))
            i++;
        if (ret == 0 && i < vocab)
            *t->fault = (struct fault){head->info->name, "output", r};
    }
    free(host);
    be->free(be, logits);
    return ret;
}

/*
 * Walk one sample and look at the input and the output of every linear module, the head's last.  -1: the walk
 * failed.
 */
static int find_fault(struct model *m, const struct sample *s, struct fault *f, struct err *e)
{
    struct fault_tap t = {.tap.forward = look_at_linear, .m = m, .fault = f};
    struct batch b = {0};
    struct walk w = {0};
    int ret = -1;

    *f = (struct fault){0};
    if (batch_build(&b, m->be, m->config, &m->processor, s, 1, e) == 0 &&
        walk_init(&w, m, &b, false, e) == 0) {
        w.tap = &t.tap;
        ret = walk_forward(&w, 0, e) || (!f->module && look_at_head(&t, &w, e)) ? -1 : 0;
    }
    walk_release(&w);
    batch_release(&b);
    return ret;
}

void faults_add(struct faults *f, size_t sample, size_t position)
{
    if (f->count++ == 0) {
        f->sample = sample;
        f->position = position;
    }
}

int faults_report(const struct faults *f, struct model *m, const struct sample *sample, bool against,
                  struct err *e)
{
    const struct sample *s = &sample[f->sample];
    struct fault fault;
    char more[64] = "";

    if (f->count == 0)
        return 0;
    if (find_fault(m, s, &fault, e))
        return -1;
    if (f->count > 1)
        snprintf(more, sizeof more, ", and of %zu more positions", f->count - 1);
    if (fault.module)
        return err_set(e, RC_DATA,
                       "the logits of '%s' are not finite: sample '%s', position %zu%s; it begins in the %s of %s, "
                       "row %zu", m->weights.ckpt.dir, s->id, f->position, more, fault.side, fault.module,
                           fault.row);
    return err_set(e, RC_DATA, "the logits of %s are not finite: sample '%s', position %zu%s",
                   against ? "the reference" : m->weights.ckpt.dir, s->id, f->position, more);
}
