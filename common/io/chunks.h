/*
 * chunks.h - a file of checksummed records that only ever grows: what a long run has computed, safe from a
 * kill
 *
 *   magic [8], u32 version, u32 zero
 *   chunks: u32 kind, u32 check, u64 bytes, payload, sum [32]
 *
 * Numbers are little-endian.  The first chunk is the header, of kind 1, a JSON object; one of kind
 * CHUNKS_END, without payload, closes the file, and nothing follows it.  sum is the SHA-256 of the sum before
 * it and of all that its own chunk has in front of it, so that a chunk changed, lost, moved or of another
 * file breaks the chain; the first one's sum before is the SHA-256 of the 16 bytes before it.  check is the
 * first four bytes of the SHA-256 of the sum before, kind and bytes: a length is known to be one before it is
 * believed.
 *
 * A write that was cut off leaves a torn chunk at the end.  It is told from damage: the file ends inside of
 * it, or what is wrong about it reaches the end of the file (a disk that lost power may give zeros).  Damage
 * anywhere else is an error.
 */
#ifndef COMMON_IO_CHUNKS_H
#define COMMON_IO_CHUNKS_H

#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/io/json.h"

enum { CHUNKS_END };

/* What kind of file it is. */
struct chunks_type {
    char magic[9];
    uint32_t version;
    const char *what;   /* "reference states": what a message calls such a file */
    const char *remedy; /* "make it again with --save-ref": the way out of a file that cannot be read */
};

struct chunk {
    uint32_t kind;
    size_t bytes;
    const uint8_t *data; /* borrowed from the map, may be unaligned */
};

/* A file as it was found.  The map stays valid while a writer appends to the file. */
struct chunks {
    struct file_map map;
    json_t *head;
    struct chunk *chunk; /* those that are whole; without the end's */
    size_t n;
    bool ended;
    uint8_t (*sum)[SHA256_BYTES]; /* [n + 1]: of the header and of each chunk */
};

/*
 * Map a file and check all of it.  whole: it must have its end; otherwise a torn chunk at the end is left
 * out, and a file whose header is torn has head NULL.  RC_DATA when it is damaged, of another type or of a
 * newer version; the message names the file, the chunk and the remedy.
 */
int chunks_read(struct chunks *c, const struct chunks_type *t, const char *path, bool whole, struct err *e);
void chunks_release(struct chunks *c); /* safe on a zeroed struct */

/* The sum of the last chunk, which stands for all before it, in hexadecimal digits. */
void chunks_digest(const struct chunks *c, char hex[SHA256_HEX]);

struct chunks_out {
    int fd;     /* means nothing when path is NULL */
    char *path;
    size_t n;   /* chunks so far, without the header */
    uint8_t sum[SHA256_BYTES];
};

/*
 * Begin a file, whatever is there; its directory must exist.  While it is open no other process can write to
 * it: a second one is told so.  After a failure there is none.
 */
int chunks_create(struct chunks_out *o, const struct chunks_type *t, const char *path, const json_t *head,
                  struct err *e);

/* Go on after the first `keep` chunks of c, which was read from path; what follows them is cut off. */
int chunks_resume(struct chunks_out *o, const struct chunks *c, size_t keep, struct err *e);

struct chunks_part {
    const void *data;
    size_t bytes;
};

/*
 * Append a chunk of these parts, one after another.  It is in the file when this returns 0: a kill does not
 * undo it.
 */
int chunks_put(struct chunks_out *o, uint32_t kind, const struct chunks_part *part, size_t parts,
               struct err *e);

/* Append the end, and wait until everything is on disk. */
int chunks_end(struct chunks_out *o, struct err *e);

/* Close; the file stays as it is.  Safe on a zeroed struct. */
void chunks_close(struct chunks_out *o);

#endif
