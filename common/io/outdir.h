/*
 * outdir.h - a directory in the making: it appears under its name whole or not at all
 *
 * Everything is written into PATH.tmp.PID beside the final place.  A process that is killed leaves that
 * behind; the next outdir_create() of the same path removes it once its process is gone.  Directories are
 * flat: they hold regular files only.
 */
#ifndef COMMON_IO_OUTDIR_H
#define COMMON_IO_OUTDIR_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

struct outdir {
    char *path; /* where it will be */
    char *tmp;  /* where it is now; NULL once committed */
};

/*
 * Check the place and make the temporary directory.  An existing path is refused unless force is set; even
 * then it must be an empty directory or one of regular files of which one is called `marker`: what -f
 * replaces is an earlier result, not somebody's home.
 */
int outdir_create(struct outdir *o, const char *path, bool force, const char *marker, struct err *e);

/* -1 when the file system has less than this many bytes free: the message says how many are missing. */
int outdir_room(const struct outdir *o, uint64_t bytes, struct err *e);

/* The same for any directory; what: the thing that needs the room. */
int outdir_room_at(const char *dir, const char *what, uint64_t bytes, struct err *e);

/* Sync what was written and move it into place.  Releases o either way; on failure nothing changed there. */
int outdir_commit(struct outdir *o, struct err *e);

/* Remove the unfinished directory; safe on a zeroed or committed struct. */
void outdir_discard(struct outdir *o);

#endif
