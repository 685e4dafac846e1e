/*
 * partial.h - what a run has computed so far, kept beside its output until that is there
 *
 * OUT.part is a file of chunks.h beside -o OUT.  The same command finds there what an earlier one, killed or
 * failed, had done, and goes on behind it; the result is the same to the last bit.  The file belongs to a
 * digest of everything that decides the result, the program's version included: what it holds is that
 * program's memory, and no format for others.
 */
#ifndef COMMON_MODEL_PARTIAL_H
#define COMMON_MODEL_PARTIAL_H

#include <stdbool.h>

#include "common/io/chunks.h"
#include "kernels/backend.h"

/* Digest of tool, version, backend and n texts: options and digests of inputs. */
void partial_identity(char hex[SHA256_HEX], const struct backend *be, const char *const *text, size_t n);

struct partial {
    char remark[512]; /* for a person, after partial_open() and resume_candidate(); "": nothing to say */
    /* private */
    char *path;           /* NULL: nothing is kept */
    json_t *head;
    struct chunks old;    /* what an earlier run left */
    size_t taken;         /* chunks of it */
    struct chunks_out out;
};

/*
 * Look for OUT.part.  output NULL or "-": nothing is kept, and the other calls do nothing.  A file of another
 * identity is left alone until the first partial_put() replaces it; one that is damaged, or no such file at
 * all, is an error.
 */
int partial_open(struct partial *p, const char *output, const char identity[SHA256_HEX], struct err *e);

/*
 * The next chunk that an earlier run left, when it is of this kind; NULL: there is none.  Its data stay
 * valid.
 */
const struct chunk *partial_peek(const struct partial *p, uint32_t kind);
const struct chunk *partial_take(struct partial *p, uint32_t kind); /* and go on to the one after it */

/* Append a chunk.  What an earlier run left and nobody took is gone with the first call. */
int partial_put(struct partial *p, uint32_t kind, const struct chunks_part *part, size_t parts,
                struct err *e);

/*
 * Close; safe on a zeroed struct.  done: the output is there, so the file is removed; else it stays, unless
 * it holds nothing.
 */
void partial_close(struct partial *p, bool done);

#endif
