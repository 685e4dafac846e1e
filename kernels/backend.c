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

const char *be_dtype(const struct backend *be)
{
    return be->act_bytes == sizeof(double) ? "fp64" : be->act_bytes == sizeof(float) ? "fp32" : "bf16";
}

void be_score_linear(struct backend *be, double *out, const void *g, const void *y, void *yq, const void *x,
                     const float *row_weight, size_t rows, const struct weight *w, bool again)
{
    (again ? be->linear_again : be->linear)(be, yq, x, rows, w);
    be->score(be, out, g, y, yq, row_weight, rows, w->out);
}

#ifdef WITH_CUDA

/* "[:N]" after "cuda"; -1: something else. */
static int parse_index(const char *text)
{
    char *end = (char *)text;
    long n = 0;

    if (*text == ':') {
        if (text[1] < '0' || text[1] > '9')
            return -1;
        n = strtol(text + 1, &end, 10);
    }
    return *end ? -1 : n > INT_MAX ? INT_MAX : (int)n;
}

static struct backend *open_cuda(const char *device, bool fp32, struct err *e)
{
    int index = parse_index(device + 4);

    if (index >= 0)
        return be_open_cuda(index, fp32 ? CUDA_FP32 : CUDA_BF16, e);
    err_set(e, RC_USAGE, "--device: '%s' is not cuda or cuda:N", device);
    return NULL;
}

#else

static int cuda_devices(const char **why)
{
    (void)why;
    return 0;
}

static struct backend *open_cuda(const char *device, bool fp32, struct err *e)
{
    (void)fp32;
    err_set(e, RC_USAGE, "--device %s: this build has no CUDA backend; use --device cpu", device);
    return NULL;
}

#endif

static struct backend *open_cpu(const char *dtype, struct err *e)
{
    if (!strcmp(dtype, "fp64"))
        return be_open_plain(e);
    if (strcmp(dtype, "bf16") != 0)
        return be_open_cpu(e);
    err_set(e, RC_USAGE,
            "--dtype bf16: the CPU computes in fp32 and fp64, which a GPU's bf16 is checked against; "
            "use --dtype fp32, or --device cuda");
    return NULL;
}

struct backend *be_open(const char *device, const char *dtype, struct err *e)
{
    bool bf16 = !strcmp(dtype, "bf16"), fp32 = !strcmp(dtype, "fp32"), fp64 = !strcmp(dtype, "fp64");

    if (!bf16 && !fp32 && !fp64 && strcmp(dtype, "auto")) {
        err_set(e, RC_USAGE, "--dtype: '%s' is not auto, bf16, fp32 or fp64", dtype);
        return NULL;
    }
    if (!strcmp(device, "auto"))
        device = !fp64 && cuda_devices(NULL) > 0 ? "cuda" : "cpu";
    if (!strcmp(device, "cpu"))
        return open_cpu(dtype, e);
    if (strncmp(device, "cuda", 4) != 0 || (device[4] && device[4] != ':')) {
        err_set(e, RC_USAGE, "--device: '%s' is not auto, cpu or cuda[:N]", device);
        return NULL;
    }
    if (!fp64)
        return open_cuda(device, fp32, e);
    err_set(e, RC_USAGE, "--dtype fp64: a GPU computes in bf16 or fp32 here; use --device cpu");
    return NULL;
}
