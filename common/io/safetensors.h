/*
 * safetensors.h - one .safetensors file: read by mapping it, write in one pass
 *
 * Format: u64 little-endian header length N, N bytes of JSON {"name": {"dtype", "shape", "data_offsets":
 * [begin, end]}, "__metadata__": {str: str}}, then the data.  Everything is checked before a tensor is handed
 * out: sizes against the file, offsets against shape and dtype, no overlaps, no holes, no name twice, a
 * header of at most 100 MB.
 */
#ifndef COMMON_IO_SAFETENSORS_H
#define COMMON_IO_SAFETENSORS_H

#include "common/base/file.h"
#include "common/base/numeric.h"

enum { ST_MAX_DIMS = 8 };

struct st_tensor {
    char *name;
    enum dtype dtype;
    size_t ndim, shape[ST_MAX_DIMS]; /* ndim 0: one element */
    size_t count;                    /* elements */
    size_t bytes;
    const uint8_t *data; /* borrowed from the map, may be unaligned; not used in writing */
};

struct st_file {
    struct file_map map;
    struct st_tensor *tensor; /* in the order of their data */
    size_t tensors;
    size_t header_bytes; /* 8 + N: where the data begins */
};

int st_open(struct st_file *st, const char *path, struct err *e);
void st_close(struct st_file *st); /* safe on a zeroed struct */

/* The safetensors name of a dtype ("BF16"), and back (DT_NONE: unknown). */
const char *st_dtype_name(enum dtype t);
enum dtype st_dtype(const char *name);

/*
 * The order in which tensors are written, as strcmp() orders: falling element size, then name.  Each tensor
 * then starts at a multiple of its element size, which readers that view the mapped bytes in place rely on.
 */
int st_compare(const struct st_tensor *a, const struct st_tensor *b);

/*
 * Write the header (8 + N bytes, N padded with spaces to a multiple of 8) of a file with these tensors, whose
 * data follow one another in this order; name, dtype, ndim, shape and bytes are used.  The metadata is
 * {"format": "pt"}.  f NULL: write nothing.  *header_bytes = 8 + N.
 */
int st_write_header(FILE *f, const struct st_tensor *tensor, size_t tensors, size_t *header_bytes,
                    struct err *e);

#endif
