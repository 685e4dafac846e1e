/*
 * file.h - whole files: read, map, and write so that a result appears under its name whole or not at all
 *
 * A path "-" or NULL means standard input to the readers.  Messages name the path as the user gave it.
 */
#ifndef COMMON_BASE_FILE_H
#define COMMON_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/err.h"

/* "standard input" for "-" and NULL, else the path: what a message calls an input. */
const char *file_label(const char *path);

/* Read all of it; pipes too.  The caller frees *data, which has a NUL after its *n bytes.  0 or -1. */
int file_read(const char *path, uint8_t **data, size_t *n, struct err *e);

struct file_map {
    char *path;
    const uint8_t *data; /* read-only; NULL for an empty file */
    size_t bytes;
};

/* Map a regular file read-only.  file_unmap() takes a zeroed struct too. */
int file_map(struct file_map *m, const char *path, struct err *e);
void file_unmap(struct file_map *m);

/* A file in the making: written to PATH.tmp.PID beside it. */
struct file_out {
    FILE *f;
    char *path, *tmp; /* path NULL: standard output */
};

/* 0 when a file may be put under this name: what is there, if anything, is a regular one.  A device would be gone. */
int file_replaceable(const char *path, struct err *e);

/*
 * Open for writing.  path NULL or "-": standard output.  An existing path is replaced, at file_commit(), only when force
 * is set; otherwise, and when it is not replaceable, it is an error now.  binary: refuse to write to a terminal.
 */
int file_create(struct file_out *o, const char *path, bool force, bool binary, struct err *e);

/* "standard output" or the path: what a message calls an output. */
const char *file_out_label(const struct file_out *o);

/*
 * Flush, fsync, rename into place, and sync the directory.  Releases o either way; on failure nothing
 * appears.
 */
int file_commit(struct file_out *o, struct err *e);

/* Rename a file that is on disk, and sync its directory: it has the new name for good. */
int file_rename(const char *from, const char *to, struct err *e);

/* Throw the unfinished file away; safe on a zeroed or committed struct. */
void file_discard(struct file_out *o);

/* dst = bytes of src; dst must not exist.  Neither is left half-written under its name. */
int file_copy(const char *src, const char *dst, struct err *e);

/* 1 it exists, 0 it does not, -1 cannot tell (e is set). */
int file_exists(const char *path, struct err *e);

/* DIR "/" NAME, to be freed. */
char *file_join(const char *dir, const char *name, struct err *e);

#endif
