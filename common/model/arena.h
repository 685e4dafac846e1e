/* arena.h - device buffers with one owner: taken one by one, freed together */
#ifndef COMMON_MODEL_ARENA_H
#define COMMON_MODEL_ARENA_H

#include "kernels/backend.h"

struct arena {
    struct backend *be;
    void **buf;
    size_t n, cap;
};

/* A buffer of n elements of `size` bytes, owned by a.  NULL after a failure, which stays in the backend. */
void *arena_take(struct arena *a, size_t n, size_t size);
void arena_release(struct arena *a);

#endif
