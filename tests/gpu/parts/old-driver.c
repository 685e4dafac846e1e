/* old-driver.c - a libcuda.so.1 of CUDA 11: what the CUDA runtime asks of it until it knows the version */
#include <string.h>

static int nothing(void)
{
    return 0;
}

int cuDriverGetVersion(int *version)
{
    *version = 11000;
    return 0;
}

int cuGetProcAddress_v2(const char *name, void **function, int version, unsigned long long flags, int *found)
{
    (void)version, (void)flags;
    *function = !strcmp(name, "cuDriverGetVersion")  ? (void *)cuDriverGetVersion
                : !strcmp(name, "cuGetProcAddress") ? (void *)cuGetProcAddress_v2
                                                     : (void *)nothing;
    if (found)
        *found = 0;
    return 0;
}
