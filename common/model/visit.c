/* visit.c - samples through a model, batch by batch, with something to do at each */
#include "common/model/visit.h"

#include "common/model/feed.h"

int visit_batches(struct model *m, const struct sample *sample, size_t n, size_t rows, struct visit *v,
                  struct progress *p, struct err *e)
{
    struct feed *f = feed_open(m, sample, n, rows, e);
    int more = f ? 1 : -1;

    while (more == 1) {
        struct batch b;
        struct walk w = {0};
        size_t first;

        more = feed_next(f, &b, &first, e);
        if (more == 1) {
            more = walk_init(&w, m, &b, v->keep, e) ? -1 : 1;
            w.tap = v->tap;
        }
        if (more == 1 && (walk_forward(&w, 0, e) || (v->batch && v->batch(v, &w, first, e))))
            more = -1;
        if (more == 1)
            progress_add(p, b.samples);
        walk_release(&w);
        batch_release(&b);
    }
    feed_close(f);
    return more;
}
