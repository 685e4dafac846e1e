/* feed.c - samples as batches, each packed while the one before is on its way */
#include "common/model/feed.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

struct feed {
    const struct model *m;
    const struct sample *sample;
    size_t n, rows;
    size_t taken; /* samples of the batches handed out */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock: */
    bool full, stop; /* full: the slot holds a batch, or how its packing failed */
    struct batch batch;
    size_t first;
    int ret;
    struct err e;
};

/* Hand over what the thread made, once the slot is free; false: nobody wants more. */
static bool put(struct feed *f, const struct batch *b, size_t first, int ret, const struct err *e)
{
    bool stop;

    pthread_mutex_lock(&f->lock);
    while (f->full && !f->stop)
        pthread_cond_wait(&f->changed, &f->lock);
    stop = f->stop;
    if (!stop) {
        f->batch = *b;
        f->first = first;
        f->ret = ret;
        f->e = *e;
        f->full = true;
        pthread_cond_broadcast(&f->changed);
    }
    pthread_mutex_unlock(&f->lock);
    return !stop;
}

static void *pack(void *arg)
{
    struct feed *f = arg;
    bool wanted = true;

    for (size_t i = 0, k; i < f->n && wanted; i += k) {
        struct batch b;
        struct err e = {0};
        int ret;

        k = batch_take(f->m->config, f->sample + i, f->n - i, f->rows);
        ret = batch_pack(&b, f->m->config, &f->m->processor, f->sample + i, k, &e);
        wanted = put(f, &b, i, ret, &e);
        if (!wanted)
            batch_release(&b);
        wanted = wanted && ret == 0;
    }
    return NULL;
}

struct feed *feed_open(const struct model *m, const struct sample *sample, size_t n, size_t rows,
                       struct err *e)
{
    struct feed *f = mem_zalloc(1, sizeof *f, e);
    int error;

    if (!f)
        return NULL;
    *f = (struct feed){.m = m, .sample = sample, .n = n, .rows = rows};
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    error = pthread_create(&f->thread, NULL, pack, f);
    if (!error)
        return f;
    err_set(e, RC_SYS, "cannot start a thread: %s", strerror(error));
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    free(f);
    return NULL;
}

int feed_next(struct feed *f, struct batch *b, size_t *first, struct err *e)
{
    int ret;

    *b = (struct batch){0};
    if (f->taken == f->n)
        return 0;
    pthread_mutex_lock(&f->lock);
    while (!f->full)
        pthread_cond_wait(&f->changed, &f->lock);
    *b = f->batch;
    *first = f->first;
    ret = f->ret;
    if (ret)
        *e = f->e;
    f->full = false;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    f->taken += b->samples;
    if (ret || batch_upload(b, f->m->be, f->m->config, e))
        return -1;
    return 1;
}

void feed_close(struct feed *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    pthread_join(f->thread, NULL);
    if (f->full)
        batch_release(&f->batch);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    free(f);
}
