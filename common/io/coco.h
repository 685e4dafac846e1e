/* coco.h - caption annotations of the COCO layout: ROOT/annotations/captions_SPLIT.json, ROOT/SPLIT/FILE */
#ifndef COMMON_IO_COCO_H
#define COMMON_IO_COCO_H

#include <jansson.h>

#include "common/io/calib.h"

/* Whether a JSON value looks like an annotation file: an object with "images" and "annotations". */
bool coco_is(const json_t *doc);

/*
 * Append every caption of an annotation file, in its order, to c.  path gives the split (its name must be
 * captions_SPLIT.json) and messages.  A caption of a picture that is not listed is an error.
 */
int coco_add(struct calib *c, const json_t *doc, const char *path, struct err *e);

/* The folder above the annotation file's: "data/annotations/captions_x.json" -> "data".  To be freed. */
char *coco_root(const char *path, struct err *e);

#endif
