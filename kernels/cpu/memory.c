/* memory.c - the CPU backend's memory */
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

enum { ALIGNMENT = 64 }; /* a cache line, and the widest vector */

void *cpu_alloc(struct backend *be, size_t bytes)
{
    void *p = NULL;

    if (bytes > PTRDIFF_MAX - ALIGNMENT || posix_memalign(&p, ALIGNMENT, bytes ? bytes : 1)) {
        err_set(&be->err, RC_SYS, "out of memory: cannot allocate %zu bytes", bytes);
        return NULL;
    }
    return p;
}

void cpu_free(struct backend *be, void *p)
{
    (void)be;
    free(p);
}

size_t cpu_spare(struct backend *be)
{
    (void)be;
    return (size_t)1 << 30;
}

float *cpu_scratch(struct backend *be, size_t n)
{
    struct cpu *c = (struct cpu *)be;
    size_t bytes = n > SIZE_MAX / sizeof(float) ? SIZE_MAX : n * sizeof(float);

    if (bytes > c->scratch_bytes || !c->scratch) {
        free(c->scratch);
        c->scratch = cpu_alloc(be, bytes);
        c->scratch_bytes = c->scratch ? bytes : 0;
    }
    return c->scratch;
}

void cpu_copy(struct backend *be, void *dst, const void *src, size_t bytes)
{
    if (!cpu_idle(be, bytes))
        memcpy(dst, src, bytes);
}

void cpu_upload_act(struct backend *be, void *dst, const float *host, size_t n)
{
    cpu_copy(be, dst, host, n * sizeof *host);
}

void cpu_download_act(struct backend *be, float *host, const void *src, size_t n)
{
    cpu_copy(be, host, src, n * sizeof *host);
}

void cpu_narrow(struct backend *be, void *y, const float *x, size_t n)
{
    cpu_copy(be, y, x, n * sizeof *x);
}

void cpu_zero(struct backend *be, void *dst, size_t bytes)
{
    if (!cpu_idle(be, bytes))
        memset(dst, 0, bytes);
}
