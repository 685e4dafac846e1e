/*
 * fuzz.h - what the fuzz targets share: inputs as files, and the contract that every reader keeps
 *
 * A target is one file with LLVMFuzzerTestOneInput(): any bytes in, 0 out, abort() when a promise is broken.
 * libFuzzer calls it with bytes that it makes up (make fuzz), driver.c with the files of corpus/NAME (make
 * check).
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/err.h"
#include "tests/unit/scratch.h"

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

/*
 * Inputs of several files: parts with a line "%%" between them, one for each name in turn; the last takes all
 * that is left, and an empty part is a file that is absent.  A NULL name is no file: its part is *rest.
 */
static inline void fuzz_parts(const uint8_t *data, size_t n, const char *const *name, size_t names,
                              const uint8_t **rest, size_t *rest_n)
{
    static const char line[] = "\n%%\n";

    for (size_t i = 0; i < names; i++) {
        const uint8_t *end = i + 1 < names && n ? memmem(data, n, line, sizeof line - 1) : NULL;
        size_t part = end ? (size_t)(end - data) : n, skip = end ? part + sizeof line - 1 : n;

        if (!name[i]) {
            *rest = data;
            *rest_n = part;
        } else {
            unlink(scratch(name[i]));
            if (part)
                scratch_put(name[i], data, part);
        }
        data += skip;
        n -= skip;
    }
}

#endif
