/* progress.h - one line on a terminal: done, total, rate, time left.  Silent elsewhere and under -q. */
#ifndef COMMON_BASE_PROGRESS_H
#define COMMON_BASE_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

struct progress {
    const char *label, *unit; /* "scoring", "samples" */
    size_t done, total;       /* total 0: not known */
    double start, shown;      /* seconds, monotonic */
    bool on;
};

void progress_begin(struct progress *p, const char *label, const char *unit, size_t total);
void progress_add(struct progress *p, size_t n);
void progress_end(struct progress *p); /* clears the line; safe on a zeroed struct */

/* Seconds of a monotonic clock. */
double progress_clock(void);

#endif
