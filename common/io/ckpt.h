/*
 * ckpt.h - a model directory in hub layout: config.json and the tensors of its safetensors files
 *
 * model.safetensors, or model.safetensors.index.json and the shards that it names (which must lie in the
 * directory). Files are mapped, not read.
 */
#ifndef COMMON_IO_CKPT_H
#define COMMON_IO_CKPT_H

#include "common/io/json.h"
#include "common/io/safetensors.h"

struct ckpt {
    char *dir;
    json_t *config; /* config.json */
    char **file;    /* names of the safetensors files, without the directory */
    struct st_file *shard;
    size_t shards;
    const struct st_tensor **by_name; /* all tensors, sorted by name */
    size_t tensors;
    bool indexed; /* there is an index file */
};

int ckpt_open(struct ckpt *c, const char *dir, struct err *e);
void ckpt_close(struct ckpt *c); /* safe on a zeroed struct */

/* The tensor of that name as it stands in the files, or NULL. */
const struct st_tensor *ckpt_find(const struct ckpt *c, const char *name);

/* Path of the file that holds t, for messages. */
const char *ckpt_file_of(const struct ckpt *c, const struct st_tensor *t);

/*
 * A fingerprint of the model for provenance, quick on any size: SHA-256 over config.json, and per file its
 * size, its whole header and at most 256 blocks of 4 KiB spread evenly over the data.  Files of up to 1 MiB
 * count whole.
 */
int ckpt_digest(const struct ckpt *c, char hex[SHA256_HEX], struct err *e);

/*
 * Elements first..first+n of t as fp32.  t is F32, BF16 or F16.  NaN and infinities are an error that names
 * the tensor when `finite` is set.
 */
int ckpt_read_f32(const struct ckpt *c, const struct st_tensor *t, size_t first, size_t n, float *out,
                  bool finite, struct err *e);

#endif
