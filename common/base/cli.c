/* cli.c - the command-line contract that every tool shares */
#include "common/base/cli.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "version.h" /* made by the Makefile: VERSION, BACKENDS */

bool cli_quiet, cli_force;
static const struct cli *cli_tool;
static char **cli_words;
static int lost; /* errno of what standard output did not take before its end */

const char *cli_name(void)
{
    return cli_tool ? cli_tool->name : "octet";
}

const char *cli_version(void)
{
    return VERSION;
}

char *const *cli_argv(void)
{
    return cli_words;
}

static void vtalk(const char *kind, const char *fmt, va_list ap)
{
    if (fflush(stdout) && !lost)
        lost = errno;
    fprintf(stderr, "%s: %s", cli_name(), kind);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
}

void cli_warn(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vtalk("warning: ", fmt, ap);
    va_end(ap);
}

void cli_note(const char *fmt, ...)
{
    va_list ap;

    if (cli_quiet)
        return;
    va_start(ap, fmt);
    vtalk("", fmt, ap);
    va_end(ap);
}

int cli_finish(struct err *e)
{
    bool bad = ferror(stdout) != 0;

    errno = lost;
    if (fclose(stdout) != 0 || bad)
        err_sys(e, "cannot write standard output");
    if (e->rc != RC_OK && e->msg[0])
        fprintf(stderr, "%s: %s\n", cli_name(), e->msg);
    return e->rc;
}

/* Ends the process: 0 when stdout took everything, 4 when not. */
static void finish(void)
{
    struct err e = {0};

    exit(cli_finish(&e));
}

/* A wrong command line: one line that says what and where to look; ends the process. */
static void usage(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void usage(const char *fmt, ...)
{
    char what[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    fprintf(stderr, "%s: %s (see %s --help)\n", cli_tool->name, what, cli_tool->name);
    exit(RC_USAGE);
}

/* "--name ARG" as --help shows it: choices are spelled out. */
static void form(const struct cli_opt *o, char *out, size_t size)
{
    int n = snprintf(out, size, "%c%c%s--%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
                     o->letter ? ", " : "  ", o->name);

    if (o->kind == OPT_CHOICE) {
        for (size_t i = 0; o->choices[i] && (size_t)n < size; i++)
            n += snprintf(out + n, size - (size_t)n, "%s%s", i ? "|" : "=", o->choices[i]);
    } else if (o->kind != OPT_FLAG) {
        snprintf(out + n, size - (size_t)n, "=%s", o->arg);
    }
}

static void help_line(const char *left, const char *text)
{
    const char *nl;
    const int column = 30;

    if (strlen(left) > (size_t)column - 3)
        printf("  %s\n  %*s", left, column - 2, "");
    else
        printf("  %-*s", column - 2, left);
    for (; (nl = strchr(text, '\n')); text = nl + 1)
        printf("%.*s\n%*s", (int)(nl - text), text, column, "");
    printf("%s\n", text);
}

static void help(void)
{
    char left[256];

    printf("usage: %s [OPTION]... %s\n%s\n\n", cli_tool->name, cli_tool->operands, cli_tool->summary);
    for (const struct cli_opt *o = cli_tool->opts; o->kind != OPT_END; o++) {
        form(o, left, sizeof left);
        help_line(left, o->help);
    }
    help_line("-h, --help", "this text");
    help_line("-V, --version", "version and backends");
    finish();
}

static double number(const struct cli_opt *o, const char *s, bool whole)
{
    char *end;
    double v;

    errno = 0;
    v = whole ? (double)strtol(s, &end, 10) : strtod(s, &end);
    if (end == s || *end || errno || !isfinite(v))
        usage("--%s: '%s' is not a %s", o->name, s, whole ? "whole number" : "number");
    if (v < o->min || v > o->max)
        usage("--%s: %s is not in %.15g..%.15g", o->name, s, o->min, o->max);
    return v;
}

static size_t size_bytes(const struct cli_opt *o, const char *s)
{
    static const char suffix[] = "KMGT";
    unsigned long long v;
    const char *k;
    char *end;

    errno = 0;
    v = strtoull(s, &end, 10);
    if (end == s || errno || *s == '-')
        usage("--%s: '%s' is not a size such as 512M or 20G", o->name, s);
    if (*end && (k = strchr(suffix, *end & ~0x20))) {
        unsigned shift = 10 * (unsigned)(k - suffix + 1);

        if (v > SIZE_MAX >> shift)
            usage("--%s: '%s' is too large", o->name, s);
        v <<= shift;
        end++;
        end += *end == 'i';
        end += *end == 'B';
    }
    if (*end)
        usage("--%s: '%s' is not a size such as 512M or 20G", o->name, s);
    return (size_t)v;
}

static void store(const struct cli_opt *o, char *arg)
{
    size_t i;

    switch (o->kind) {
    case OPT_FLAG: *(bool *)o->to = true; break;
    case OPT_STR: *(const char **)o->to = arg; break;
    case OPT_LONG: *(long *)o->to = (long)number(o, arg, true); break;
    case OPT_DOUBLE: *(double *)o->to = number(o, arg, false); break;
    case OPT_SIZE: *(size_t *)o->to = size_bytes(o, arg); break;
    case OPT_CHOICE:
        for (i = 0; o->choices[i] && strcmp(o->choices[i], arg); i++)
            ;
        if (!o->choices[i]) {
            char left[256];

            form(o, left, sizeof left);
            usage("--%s: '%s' is not one of %s", o->name, arg, strchr(left, '=') + 1);
        }
        *(const char **)o->to = o->choices[i];
        break;
    case OPT_LIST: {
        struct cli_list *l = o->to;
        struct err e = {0};
        struct cli_item *item = realloc(l->item, (l->n + 1) * sizeof *item);

        if (!item) {
            err_set(&e, RC_SYS, "out of memory");
            exit(cli_finish(&e));
        }
        l->item = item;
        l->item[l->n++] = (struct cli_item){o, arg};
        break;
    }
    case OPT_END: break;
    }
}

char **cli_parse(const struct cli *tool, int argc, char **argv, size_t *n)
{
    enum { MAX = 64, LONG_ONLY = 256 };
    struct option longs[MAX + 3] = {0};
    char shorts[2 * MAX + 8] = ":hV";
    size_t count = 0, s = strlen(shorts);
    int c, operands;

    cli_tool = tool;
    cli_words = argv;
    signal(SIGXFSZ, SIG_IGN); /* past a file size limit, writing fails as on a full disk */
    for (const struct cli_opt *o = tool->opts; o->kind != OPT_END && count < MAX; o++, count++) {
        bool arg = o->kind != OPT_FLAG;

        longs[count] = (struct option){o->name, arg ? required_argument : no_argument, NULL,
                                       LONG_ONLY + (int)count};
        if (o->letter) {
            shorts[s++] = o->letter;
            if (arg)
                shorts[s++] = ':';
        }
    }
    longs[count] = (struct option){"help", no_argument, NULL, 'h'};
    longs[count + 1] = (struct option){"version", no_argument, NULL, 'V'};
    opterr = 0;
    while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        const struct cli_opt *o = tool->opts;

        if (c == 'h')
            help();
        if (c == 'V') {
            printf("%s (octet) %s, %s\n", tool->name, VERSION, BACKENDS);
            finish();
        }
        if (c == ':')
            usage("option '%s' needs a value", argv[optind - 1]);
        if (c == '?') {
            if (optopt && optopt < LONG_ONLY)
                usage("unknown option '-%c'", optopt);
            usage("unknown or ambiguous option '%s'", argv[optind - 1]);
        }
        if (c >= LONG_ONLY)
            o += c - LONG_ONLY;
        else
            while (o->letter != c)
                o++;
        store(o, optarg);
    }
    operands = argc - optind;
    if (operands < tool->min_operands)
        usage("an operand is missing");
    if (tool->max_operands >= 0 && operands > tool->max_operands)
        usage("unexpected operand '%s'", argv[optind + tool->max_operands]);
    if (n)
        *n = (size_t)operands;
    return argv + optind;
}

int cli_main(const struct cli *tool, int argc, char **argv,
             int (*run)(char *const *operand, size_t n, struct err *e))
{
    struct err e = {0};
    size_t n;
    char **operand = cli_parse(tool, argc, argv, &n);

    run(operand, n, &e);
    return cli_finish(&e);
}
