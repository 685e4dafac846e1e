/* snapshot.c - the sums of a pass over samples, kept now and then */
#include "common/model/snapshot.h"

#include <string.h>

#include "common/base/progress.h"

enum { MAX_PARTS = 7 };
static const double share = 0.02; /* of the time so far that a kill may cost */

int snapshot_begin(struct snapshot *s, size_t n, const struct snapshot_part *part, size_t parts, size_t *done,
                   struct err *e)
{
    const struct chunk *c, *last = NULL;
    uint64_t count;
    size_t bytes = sizeof count, at = sizeof count;

    *done = 0;
    if (!s)
        return 0;
    s->began = s->last = progress_clock();
    while ((c = partial_take(s->part, s->kind)))
        last = c;
    if (!last)
        return 0;
    for (size_t i = 0; i < parts; i++)
        bytes += part[i].bytes;
    if (last->bytes == bytes)
        memcpy(&count, last->data, sizeof count);
    if (last->bytes != bytes || count > n) /* a fault of the program: its sum is right */
        return err_set(e, RC_DATA, "'%s' does not fit the samples; remove it to begin anew", s->part->path);
    for (size_t i = 0; i < parts; i++) {
        memcpy(part[i].data, last->data + at, part[i].bytes);
        at += part[i].bytes;
    }
    *done = count;
    return 0;
}

bool snapshot_due(const struct snapshot *s, size_t done, size_t n)
{
    double now, wait;

    if (!s || !s->part->path)
        return false;
    now = progress_clock();
    wait = s->every_s > 0 ? share * (now - s->began) : 0;
    return done == n || now - s->last >= (wait > s->every_s ? wait : s->every_s);
}

int snapshot_put(struct snapshot *s, size_t done, const struct snapshot_part *part, size_t parts,
                 struct err *e)
{
    const uint64_t count = done;
    struct chunks_part all[MAX_PARTS + 1] = {{&count, sizeof count}};

    if (parts > MAX_PARTS)
        return err_set(e, RC_SYS, "a snapshot of %zu parts is not kept", parts);
    for (size_t i = 0; i < parts; i++)
        all[i + 1] = (struct chunks_part){part[i].data, part[i].bytes};
    s->last = progress_clock();
    return partial_put(s->part, s->kind, all, parts + 1, e);
}
