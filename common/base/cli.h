/*
 * cli.h - the command-line contract that every tool shares
 *
 * One table per tool drives parsing, --help and the check of its man page.  -h/--help and -V/--version print
 * on stdout with status 0; a wrong command line prints one line on stderr with status 2.  Options and
 * operands may be mixed; "--" ends the options; "-" is an operand (standard input).
 */
#ifndef COMMON_BASE_CLI_H
#define COMMON_BASE_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "common/base/err.h"

enum cli_kind {
    OPT_END,
    OPT_FLAG,   /* to: bool */
    OPT_STR,    /* to: const char * */
    OPT_LONG,   /* to: long; a whole number in min..max */
    OPT_DOUBLE, /* to: double; in min..max */
    OPT_SIZE,   /* to: size_t bytes; a number with an optional suffix K, M, G or T (powers of 1024) */
    OPT_CHOICE, /* to: const char *; one of choices */
    OPT_LIST,   /* to: struct cli_list; may be given again, and several options may share one list */
};

struct cli_opt {
    enum cli_kind kind;
    char letter;                /* 0: long form only */
    const char *name;           /* without the dashes */
    void *to;                   /* left alone when the option is absent: the default is its initial value */
    const char *arg;            /* metavariable; NULL for flags and choices */
    const char *help;           /* one line; may contain newlines to continue */
    double min, max;            /* OPT_LONG, OPT_DOUBLE: inclusive range */
    const char *const *choices; /* OPT_CHOICE: NULL-terminated */
};

struct cli_list {
    size_t n;
    struct cli_item {
        const struct cli_opt *opt; /* which option gave it */
        const char *value;
    } *item;
};

struct cli {
    const char *name;     /* "rank-layers" */
    const char *operands; /* "[LAYERS...]" */
    const char *summary;  /* "order layers by sensitivity, least sensitive first" */
    const struct cli_opt *opts;
    int min_operands, max_operands; /* max < 0: any number */
};

/* -o FILE with -f, and -q, which every tool has; they go before OPT_END. */
#define CLI_OUTPUT(var, help_)                                                                               \
    {.kind = OPT_STR, .letter = 'o', .name = "output", .to = &(var), .arg = "FILE", .help = help_},          \
    {                                                                                                        \
        .kind = OPT_FLAG, .letter = 'f', .name = "force", .to = &cli_force, .help = "replace what exists"    \
    }
#define CLI_QUIET                                                                                            \
    {                                                                                                        \
        .kind = OPT_FLAG, .letter = 'q', .name = "quiet", .to = &cli_quiet,                                  \
        .help = "no progress on standard error"                                                              \
    }
extern bool cli_quiet, cli_force;

/*
 * Parse the command line.  Returns the operands, NULL-terminated, owned by cli; their number in *n when n is
 * not NULL.  Ends the process after --help, --version (status 0) and a wrong command line (status 2).  From
 * here on, writing past a file size limit (RLIMIT_FSIZE) fails as on a full disk.
 */
char **cli_parse(const struct cli *tool, int argc, char **argv, size_t *n);

/* The command line as it was given, for provenance; NULL-terminated, owned by cli. */
char *const *cli_argv(void);

/* Name of the running tool (of cli_parse()), or "octet" before that. */
const char *cli_name(void);

/* The version that --version prints. */
const char *cli_version(void);

/* A talkative line on stderr, "NAME: warning: ..."; not silenced by -q. */
void cli_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A line on stderr for a person, silenced by -q. */
void cli_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * The end of every main(): closes stdout and checks that all of it arrived, prints e if it holds a report,
 * and returns the exit status.
 */
int cli_finish(struct err *e);

/* The main() of a tool that needs nothing more: cli_parse(), run with the n operands, cli_finish(). */
int cli_main(const struct cli *tool, int argc, char **argv,
             int (*run)(char *const *operand, size_t n, struct err *e));

#endif
