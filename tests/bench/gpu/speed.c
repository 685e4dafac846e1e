/*
 * speed.c - speed of a backend's operations and of whole passes: CSV on stdout
 *
 *   speed DEVICE [MODEL [text | pictures | evaluation]]
 *
 * Each figure is the median of at least five measurements after some that are not counted; a measurement ends
 * when the device has finished.  Numbers are random.  With text or pictures nothing but scoring passes run,
 * for a profiler, and with evaluation nothing but that.  Without MODEL only the operations are measured, at
 * the 3B model's shapes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/cuda.h"
#include "tests/bench/gpu/parts/speed.h"

struct backend *be;

double speed_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void speed_fail(const char *what)
{
    fprintf(stderr, "speed: %s\n", what);
    exit(4);
}

void *speed_room(size_t bytes)
{
    void *p = be->alloc(be, bytes);

    if (!p)
        speed_fail(be->err.msg);
    return p;
}

void speed_wait(void)
{
    static void *word;
    int host;

    if (!word)
        word = speed_room(sizeof host);
    be->download(be, &host, word, sizeof host);
    if (be->err.rc != RC_OK)
        speed_fail(be->err.msg);
}

int speed_ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* One kind of pass alone, for a profiler. */
static void one_alone(const char *dir, const char *what)
{
    struct err e = {0};
    struct model m;

    if (model_open(&m, dir, be, 0, &e))
        speed_fail(e.msg);
    if (!strcmp(what, "evaluation"))
        speed_evaluation(&m);
    else
        speed_scoring(&m, !strcmp(what, "pictures"));
    model_close(&m);
}

/* On a GPU, one whose products are those of cuBLASLt's fastest algorithms. */
static struct backend *open_rival(const char *device)
{
    struct backend *rival = NULL;
#ifdef WITH_CUDA
    struct err e = {0};

    if (!strcmp(be->name, "cuda")) {
        rival = be_open(device, getenv("DTYPE") ? getenv("DTYPE") : "auto", &e);
        if (!rival)
            speed_fail(e.msg);
        cuda_search_products(rival);
    }
#endif
    return rival;
}

int main(int argc, char **argv)
{
    struct err e = {0};
    struct backend *rival;

    if (argc < 2) {
        fprintf(stderr, "usage: speed DEVICE [MODEL [text | pictures | evaluation]]\n");
        return 2;
    }
    be = be_open(argv[1], getenv("DTYPE") ? getenv("DTYPE") : "auto", &e);
    if (!be)
        speed_fail(e.msg);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 3) {
        one_alone(argv[2], argv[3]);
        return 0;
    }
    printf("benchmark,value,unit\n");
    rival = open_rival(argv[1]);
    speed_products(rival);
    if (rival)
        rival->close(rival);
    speed_operations();
    if (argc > 2)
        speed_model(argv[2]);
    return 0;
}
