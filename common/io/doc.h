/*
 * doc.h - the head of every JSON document of the suite
 *
 *   {"schema": "octet-layers/1", "tool": "layer-score", "version": "...", "argv": [...], "from": {"samples": "<sha256>"}, ...}
 *
 * No clock, host name or absolute path: two runs of one command give the same bytes.
 */
#ifndef COMMON_IO_DOC_H
#define COMMON_IO_DOC_H

#include "common/io/json.h"

/*
 * A new object with the head filled in: schema is e.g. "octet-layers/1"; tool, version and argv come from the
 * command line (absolute paths in argv are cut to their last part, "-o FILE" is left out); "from" is empty.
 * NULL: e is set.
 */
json_t *doc_new(const char *schema, struct err *e);

/* from[role] = hex: one input of this document, e.g. "samples" or "model". */
int doc_from(json_t *doc, const char *role, const char *hex, struct err *e);

/*
 * Check that doc is an object of the schema family ("octet-layers") and of a major version up to `major`.
 * foreign_ok: a document without "schema" passes, too (the readers of the Python system's files look
 * further).
 */
int doc_check(const json_t *doc, const char *family, int major, bool foreign_ok, const char *name,
              struct err *e);

#endif
