/*
 * scratch.h - for tests: a directory of the program's own, made when first asked for, removed at its end with
 * all that is in it
 */
#ifndef TESTS_UNIT_SCRATCH_H
#define TESTS_UNIT_SCRATCH_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static inline void scratch_bail(const char *what)
{
    printf("Bail out! %s\n", what);
    exit(1);
}

static inline int scratch_remove(const char *path, const struct stat *s, int type, struct FTW *at)
{
    (void)s, (void)type, (void)at;
    return remove(path);
}

/* Remove a directory and all that is in it. */
static inline void scratch_wipe(const char *path)
{
    nftw(path, scratch_remove, 8, FTW_DEPTH | FTW_PHYS);
}

static inline const char *scratch_dir(void);

/* Leave the directory empty. */
static inline void scratch_clear(void)
{
    scratch_wipe(scratch_dir());
    if (mkdir(scratch_dir(), 0700))
        scratch_bail(scratch_dir());
}

static inline void scratch_end(void)
{
    scratch_wipe(scratch_dir());
}

static inline const char *scratch_dir(void)
{
    static char dir[64];
    const char *tmp = getenv("TMPDIR");

    if (dir[0])
        return dir;
    snprintf(dir, sizeof dir, "%.32s/octet-unit.XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(dir))
        scratch_bail(dir);
    atexit(scratch_end);
    return dir;
}

/* A path in the directory; it stays until the end, and is the same for the same name. */
static inline const char *scratch(const char *name)
{
    enum { NAMES = 64 };
    static char path[NAMES][128];
    size_t n = strlen(scratch_dir()) + 1, i = 0;

    while (i < NAMES && *path[i] && strcmp(path[i] + n, name))
        i++;
    if (i == NAMES)
        scratch_bail("too many scratch files");
    snprintf(path[i], sizeof path[i], "%s/%s", scratch_dir(), name);
    return path[i];
}

/* Write a file there.  Returns its path, as scratch() does. */
static inline const char *scratch_put(const char *name, const void *data, size_t n)
{
    const char *path = scratch(name);
    FILE *f = fopen(path, "wb");

    if (!f || fwrite(data, 1, n, f) != n || fclose(f))
        scratch_bail(path);
    return path;
}

static inline const char *scratch_text(const char *name, const char *text)
{
    return scratch_put(name, text, strlen(text));
}

#endif
