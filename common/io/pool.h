/*
 * pool.h - a directory of files that several checkpoints share, each once, under the SHA-256 of its bytes
 *
 * A file is HEX.safetensors, read-only, and complete from the moment that it has its name.  Checkpoints hold
 * hard links to it: rm -r of one leaves the others, and a pool file with one link is in no checkpoint any
 * more.  Any number of processes may use a pool at once.  What a killed one leaves is called .new-XXXXXX and
 * has no lock on it: the next pool_open() removes it.
 */
#ifndef COMMON_IO_POOL_H
#define COMMON_IO_POOL_H

#include <stddef.h>
#include <stdio.h>

#include "common/base/err.h"
#include "common/base/sha256.h"

/* What was done with a pool, in files. */
struct pool_use {
    size_t found, stored;          /* were there already, are new */
    size_t linked, cloned, copied; /* how they came into the checkpoint */
};

struct pool {
    char *dir;
    struct pool_use use;
};

/* A new file, not yet in the pool; f is to be written. */
struct pool_file {
    FILE *f;
    char *path;
};

/* Make the directory when it is not there (its parent must be), and clean up after processes that were
 * killed. */
int pool_open(struct pool *p, const char *dir, struct err *e);
void pool_close(struct pool *p); /* safe on a zeroed struct */

/*
 * 1 the pool has a file of this digest, 0 it has not.  The file is read: -1 when its bytes are not those that
 * its name says.  May run in several threads.
 */
int pool_has(const struct pool *p, const char hex[SHA256_HEX], struct err *e);

/*
 * Begin a file, and put it into the pool under its digest, which the caller vouches for, once it is on disk.
 * It is no error when another process was faster.  pool_publish() releases f either way.
 */
int pool_create(const struct pool *p, struct pool_file *f, struct err *e);
int pool_publish(struct pool *p, struct pool_file *f, const char hex[SHA256_HEX], struct err *e);
void pool_discard(struct pool_file *f); /* safe on a zeroed or published struct */

/*
 * Give the file of this digest the name dst, too: as a hard link, else as a reflink, else as a copy.  1 done,
 * 0 the pool does not have it (any more), -1 failed.  dst must not exist.
 */
int pool_take(struct pool *p, const char hex[SHA256_HEX], const char *dst, struct err *e);

/* What was published is in the pool after a crash of the machine. */
int pool_sync(const struct pool *p, struct err *e);

#endif
