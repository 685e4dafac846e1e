/*
 * samples.h - octet-samples/1: tokenized samples and their pictures as a msgpack stream, in a file or a pipe
 *
 * A stream is a header map, one map per sample and the end map {"end": N} (octet-samples(5)).  One without
 * its end map is truncated, and reading it fails.  Reading holds one sample in memory at a time and allocates
 * no more than a small multiple of the bytes that arrived, whatever the length fields say.
 */
#ifndef COMMON_IO_SAMPLES_H
#define COMMON_IO_SAMPLES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/err.h"
#include "common/base/sha256.h"
#include "common/io/msgread.h"

/*
 * One picture, already resized: grid [1, h, w] patches of patch x patch pixels; rgb is [h * patch, w * patch,
 * 3].
 */
struct sample_image {
    size_t h, w, patch;
    uint8_t *rgb;
};

struct sample {
    size_t index; /* position among all samples of all files, from 0 */
    char *id;     /* printable, never empty */
    int32_t *ids; /* [tokens], none negative; a picture is h*w/merge^2 image tokens */
    /* [tokens], 0 or 1: whether predicting this token from those before it counts; loss[0] is 0 */
    uint8_t *loss;
    size_t tokens; /* at least 1 */
    struct sample_image *image;
    size_t images;
};

/* Frees what s owns and clears it; safe on a zeroed struct. */
void sample_release(struct sample *s);

/*
 * What reader and writer refuse.  An id goes into messages and reports: UTF-8 without control characters, n
 * bytes.
 */
bool sample_id_is_good(const char *id, size_t n);
int sample_check(const struct sample *s, struct err *e); /* its tokens and their loss */

/* ---- reading ---- */

struct samples_reader {
    /*
     * The header of the first file: "tokenizer" and "processor" (digests; null or absent when not known),
     * "resampler", "style", "from", ...  These first three must be the same in later files, or absent; what
     * the first file leaves open is taken from the one that has it.
     */
    json_t *head;
    size_t total; /* samples in all files, 0: not known beforehand; checked against what arrives */
    /* private */
    const char *const *path;
    size_t paths, at; /* path[at] is being read */
    size_t expected, in_file, done; /* expected: "count" of this file's header, SIZE_MAX: none */
    struct msgread in;
};

/*
 * Open the files one after the other as one stream; a path "-", and no path at all, is standard input.  The
 * path array (an operand list) must outlive the reader.  The first header is read here.
 */
int samples_open(struct samples_reader *r, const char *const *path, size_t paths, struct err *e);

/*
 * 1: *s is the next sample, to be released by the caller; 0: all samples were read and every end checked; -1:
 * error.
 */
int samples_next(struct samples_reader *r, struct sample *s, struct err *e);

/* SHA-256 of the bytes of all files in order, for provenance.  Meaningful once samples_next() returned 0. */
void samples_digest(const struct samples_reader *r, char hex[SHA256_HEX]);

void samples_close(struct samples_reader *r); /* safe on a zeroed struct */

struct samples {
    struct sample *sample;
    size_t n;
    json_t *head;
    char digest[SHA256_HEX]; /* of the whole stream, whatever the shard */
};

/*
 * Read everything and keep the samples whose index is shard modulo shards (0 <= shard < shards; 0 of 1: all
 * of them).  A stream without a single sample is an error; an empty shard is not.
 */
int samples_load(struct samples *all, const char *const *path, size_t paths, size_t shard, size_t shards,
                 struct err *e);
void samples_release(struct samples *all); /* safe on a zeroed struct */

/* ---- writing ---- */

struct samples_writer {
    FILE *f;
    const char *name; /* for messages */
    size_t n, expected;
};

/*
 * Begin a stream on f (file_create() with binary set: never a terminal).  head: a document of
 * doc_new(SAMPLES_SCHEMA), with further keys; a whole number under "count" promises that many samples.  name
 * must outlive the writer.
 */
#define SAMPLES_SCHEMA "octet-samples/1"
int samples_begin(struct samples_writer *w, FILE *f, const char *name, const json_t *head, struct err *e);
/* s->index is not written */
int samples_put(struct samples_writer *w, const struct sample *s, struct err *e);
/* the end map; does not close f */
int samples_end(struct samples_writer *w, struct err *e);

#endif
