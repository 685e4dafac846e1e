/*
 * calib.h - lists of captions and the pictures they belong to, from every kind of source
 *
 *   database    sqlite, table vlm_calib_samples (and meta), as coco-subset and the Python system write it
 *   evaluation  one JSON object per line: split, image_relpath, caption
 *   captions    text, one caption a line
 *   COCO        captions_SPLIT.json of the COCO layout, or the directory that has annotations/captions_*.json
 *
 * The kind is told by content, not by name.
 */
#ifndef COMMON_IO_CALIB_H
#define COMMON_IO_CALIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/err.h"
#include "common/base/sha256.h"

enum calib_kind { CALIB_DATABASE, CALIB_EVAL, CALIB_CAPTIONS, CALIB_COCO };

struct calib_item {
    char *split;                  /* "train2017"; NULL when the source does not say */
    /* "train2017/000000448463.jpg", below the root; NULL in a list of captions */
    char *picture;
    char *caption;                /* as it stands in the source: blanks and newlines at its ends included */
    int64_t image_id, caption_id; /* -1: not known */
    size_t line;                  /* in a text file, from 1; else 0 */
};

struct calib {
    enum calib_kind kind;
    struct calib_item *item;
    size_t n, cap;
    /* the folder that the split folders are in, as far as the source tells; or NULL */
    char *root;
    char *remark;            /* a defect that was tolerated, for a warning; or NULL */
    /* of the source's bytes (of several annotation files: of all, one after the other) */
    char digest[SHA256_HEX];
};

/*
 * Read a source; "-" and NULL: standard input (not for databases).
 *
 * Databases are read in the order of their ids, a repeated (image_id, caption_id) once; the remark tells of
 * repeats and of a meta.num_samples that is not the number of rows.  The table meta may be missing; a view in
 * the place of a table is refused.  Blank lines of text files are skipped, captions stripped.  COCO captions
 * are in annotation order, splits in the order of their names.
 */
int calib_read(struct calib *c, const char *path, struct err *e);
void calib_release(struct calib *c); /* safe on a zeroed struct */

/* Append an item, whose strings are copied (split, picture may be NULL). */
int calib_add(struct calib *c, const struct calib_item *item, struct err *e);

/* Of a COCO source keep one caption per picture, pictures by ascending id: its first caption, or its last. */
void calib_one_per_image(struct calib *c, bool last);

/* ---- writing, in the Python system's forms ---- */

struct calib_meta {
    const char *root; /* coco_root_relative; NULL: row left out */
    long seed;
};

/* A database; the same items give the same bytes. */
int calib_write_db(FILE *f, const char *name, const struct calib *c, const struct calib_meta *meta,
                   struct err *e);

/* Captions, one a line: newlines become blanks, then both ends are stripped. */
int calib_write_captions(FILE *f, const char *name, const struct calib *c, struct err *e);

/* One JSON object per line. */
int calib_write_eval(FILE *f, const char *name, const struct calib *c, struct err *e);

#endif
