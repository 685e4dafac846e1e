/* backend.c - choosing a backend, and its first failure */
#include "kernels/backend.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#ifdef WITH_CUDA
#include "kernels/cuda.h"
#endif

int be_check(struct backend *be, struct err *e)
{
    if (be->err.rc == RC_OK)
        return 0;
    err_set(e, be->err.rc, "%s", be->err.msg);
    be->err = (struct err){0};
    return -1;
}

#ifdef WITH_CUDA

/* "[:N][,fp32]" after "cuda"; -1: something else. */
static int parse_cuda(const char *text, int *index, enum cuda_math *math)
{
    char *end = (char *)text;
    long n = 0;

    *math = CUDA_BF16;
    if (*text == ':') {
        if (text[1] < '0' || text[1] > '9')
            return -1;
        n = strtol(text + 1, &end, 10);
    }
    if (!strcmp(end, ",fp32"))
        *math = CUDA_FP32;
    else if (*end)
        return -1;
    *index = n > INT_MAX ? INT_MAX : (int)n;
    return 0;
}

static struct backend *open_cuda(const char *device, struct err *e)
{
    enum cuda_math math;
    int index;

    if (parse_cuda(device + 4, &index, &math) == 0)
        return be_open_cuda(index, math, e);
    err_set(e, RC_USAGE, "--device: '%s' is not cuda[:N][,fp32]", device);
    return NULL;
}

#else

static int cuda_devices(const char **why)
{
    (void)why;
    return 0;
}

static struct backend *open_cuda(const char *device, struct err *e)
{
    err_set(e, RC_USAGE, "--device %s: this build has no CUDA backend; use --device cpu", device);
    return NULL;
}

#endif

struct backend *be_open(const char *device, struct err *e)
{
    if (!strcmp(device, "auto"))
        device = cuda_devices(NULL) > 0 ? "cuda" : "cpu";
    if (!strcmp(device, "cpu"))
        return be_open_cpu(e);
    if (!strncmp(device, "cuda", 4) && (!device[4] || device[4] == ':' || device[4] == ','))
        return open_cuda(device, e);
    err_set(e, RC_USAGE, "--device: '%s' is not auto, cpu or cuda[:N][,fp32]", device);
    return NULL;
}
