/* states_file.h - what the reader and the writer of kept states share */
#ifndef COMMON_MODEL_STATES_FILE_H
#define COMMON_MODEL_STATES_FILE_H

#include "common/model/states.h"

enum { STATES_ROWS = 2 }; /* kind of a chunk: states [rows, hidden], lse [rows], argmax [rows] */

extern const struct chunks_type states_type;

/* All of s but the states: what model and samples say. */
int states_describe(struct states *s, struct model *m, const struct samples *samples, struct err *e);

/* The rows of a chunk, the number-th of its file; -1 when it does not hold rows of this width. */
int states_chunk_tokens(const struct states *s, const struct chunk *c, size_t number, const char *path,
                        size_t *tokens, struct err *e);

#endif
