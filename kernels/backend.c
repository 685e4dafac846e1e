/* backend.c - choosing a backend, and its first failure */
#include "kernels/backend.h"

#include <string.h>

int be_check(struct backend *be, struct err *e)
{
    if (be->err.rc == RC_OK)
        return 0;
    err_set(e, be->err.rc, "%s", be->err.msg);
    be->err = (struct err){0};
    return -1;
}

struct backend *be_open(const char *device, struct err *e)
{
    if (!strcmp(device, "auto") || !strcmp(device, "cpu"))
        return be_open_cpu(e);
    if (!strncmp(device, "cuda", 4) && (!device[4] || device[4] == ':'))
        err_set(e, RC_USAGE, "--device %s: this build has no CUDA backend; use --device cpu", device);
    else
        err_set(e, RC_USAGE, "--device: '%s' is not auto, cpu or cuda[:N]", device);
    return NULL;
}
