/*
 * fuzz.h - what the fuzz targets share: inputs as files, and the contract that every reader keeps
 *
 * A target is one file with LLVMFuzzerTestOneInput(): any bytes in, 0 out, abort() when a promise is broken.
 * libFuzzer calls it with bytes that it makes up (make fuzz), driver.c with the files of corpus/NAME (make
 * check).
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define FUZZ_CHECK(cond)                                                                                     \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #cond);                       \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/*
 * What a reader answers: 0 and no report, or -1 and a report of bad data or of the system, which is one line
 * of text.  True for 0.  FUZZ_SHOW=1 prints the reports.
 */
static inline bool fuzz_good(int ret, const struct err *e)
{
    if (ret == 0) {
        FUZZ_CHECK(e->rc == RC_OK);
        return true;
    }
    if (getenv("FUZZ_SHOW"))
        fprintf(stderr, "%d: %s\n", e->rc, e->msg);
    FUZZ_CHECK(ret == -1);
    FUZZ_CHECK(e->rc == RC_DATA || e->rc == RC_SYS);
    FUZZ_CHECK(e->msg[0] != '\0');
    for (const char *p = e->msg; *p; p++)
        FUZZ_CHECK((unsigned char)*p >= 0x20 && *p != 0x7f);
    return false;
}

static char fuzz_dir[64]; /* this process's scratch directory */

static inline void fuzz_clean(void)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf '%s'", fuzz_dir);
    if (system(command))
        fprintf(stderr, "cannot remove %s\n", fuzz_dir);
}

/* The path of a file in the scratch directory; out has room for 256 bytes. */
static inline const char *fuzz_path(char *out, const char *name)
{
    if (!fuzz_dir[0]) {
        const char *tmp = getenv("TMPDIR");

        snprintf(fuzz_dir, sizeof fuzz_dir, "%.32s/octet-fuzz.XXXXXX", tmp ? tmp : "/tmp");
        FUZZ_CHECK(mkdtemp(fuzz_dir));
        atexit(fuzz_clean);
    }
    snprintf(out, 256, "%s/%s", fuzz_dir, name);
    return out;
}

static inline void fuzz_write(const char *path, const uint8_t *data, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    FUZZ_CHECK(fd >= 0);
    while (n) {
        ssize_t k = write(fd, data, n);

        FUZZ_CHECK(k > 0);
        data += k;
        n -= (size_t)k;
    }
    close(fd);
}

/*
 * Inputs of several files: parts with a line "%%" between them, one for each name in turn; the last takes all
 * that is left, and an empty part is a file that is absent.  A NULL name is no file: its part is *rest.
 */
static inline void fuzz_parts(const uint8_t *data, size_t n, const char *const *name, size_t names,
                              const uint8_t **rest, size_t *rest_n)
{
    static const char line[] = "\n%%\n";
    char path[256];

    for (size_t i = 0; i < names; i++) {
        const uint8_t *end = i + 1 < names && n ? memmem(data, n, line, sizeof line - 1) : NULL;
        size_t part = end ? (size_t)(end - data) : n, skip = end ? part + sizeof line - 1 : n;

        if (!name[i]) {
            *rest = data;
            *rest_n = part;
        } else {
            unlink(fuzz_path(path, name[i]));
            if (part)
                fuzz_write(path, data, part);
        }
        data += skip;
        n -= skip;
    }
}

#endif
