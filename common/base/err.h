/*
 * err.h - error reports
 *
 * A function that fails returns err_set(...), which is -1; success is 0.  Only tools and cli.c print:
 * everything else leaves one finished sentence in a struct err, and the outermost frame decides what to do
 * with it.
 */
#ifndef COMMON_BASE_ERR_H
#define COMMON_BASE_ERR_H

enum rc { RC_OK, RC_NO, RC_USAGE, RC_DATA, RC_SYS }; /* exit statuses 0..4 of every tool */

struct err {
    enum rc rc;
    char msg[1024];
};

/*
 * Record a failure.  The first report stays: a later one, raised while cleaning up, does not overwrite it.
 * Control characters in what it quotes become '?', so that a report is one line and cannot talk to a
 * terminal.
 */
int err_set(struct err *e, enum rc rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The same with RC_SYS and ": " plus the text of errno appended. */
int err_sys(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Put "text: " in front of a report, e.g. the file that a parser was reading.  Returns -1. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
