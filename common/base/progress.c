/* progress.c - one line on a terminal: done, total, rate, time left */
#include "common/base/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "common/base/cli.h"

double progress_clock(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void show(struct progress *p, double now)
{
    double seconds = now - p->start, rate = seconds > 0 ? (double)p->done / seconds : 0;

    p->shown = now;
    fprintf(stderr, "\r%s: %s %zu", cli_name(), p->label, p->done);
    if (p->total)
        fprintf(stderr, "/%zu", p->total);
    fprintf(stderr, " %s, %.3g/s", p->unit, rate);
    if (p->total && rate > 0 && p->done < p->total) {
        long left = (long)((double)(p->total - p->done) / rate + 0.5);

        fprintf(stderr, ", ETA %ld:%02ld:%02ld", left / 3600, left / 60 % 60, left % 60);
    }
    fputs("\033[K", stderr);
    fflush(stderr);
}

void progress_begin(struct progress *p, const char *label, const char *unit, size_t total)
{
    *p = (struct progress){.label = label, .unit = unit, .total = total, .start = progress_clock()};
    p->on = !cli_quiet && isatty(STDERR_FILENO);
    if (p->on)
        show(p, p->start);
}

void progress_add(struct progress *p, size_t n)
{
    double now;

    p->done += n;
    if (!p->on)
        return;
    now = progress_clock();
    if (now - p->shown >= 0.1)
        show(p, now);
}

void progress_end(struct progress *p)
{
    if (!p->on)
        return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    p->on = false;
}
