/*
 * msgread.h - values of a msgpack stream, one whole value at a time, with memory bounded by the bytes that
 * arrive
 */
#ifndef COMMON_IO_MSGREAD_H
#define COMMON_IO_MSGREAD_H

#include <msgpack.h>
#include <stdio.h>

#include "common/base/err.h"
#include "common/base/sha256.h"

struct msgread {
    FILE *f; /* not owned; read no further than the end of a value */
    struct sha256 sha; /* of the bytes of all values taken */
    uint8_t *buf;      /* the bytes of the last value; what u->data points into */
    size_t fill, cap;
};

void msgread_init(struct msgread *m);
void msgread_release(struct msgread *m);

/*
 * Take the next value, whole.  u (initialised) holds it until the next call.  The end of the input is an
 * error here: the caller knows when values are over.  Messages do not name the file.
 */
int msgread_next(struct msgread *m, msgpack_unpacked *u, struct err *e);

#endif
