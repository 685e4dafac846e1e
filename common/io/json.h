/*
 * json.h - JSON documents on jansson: reading with file and key in every message, writing with stable bytes
 *
 * "where" in the getters names the object for messages, e.g. "config.json" or "LAYERS 'x.json':
 * modules.lm_head".
 */
#ifndef COMMON_IO_JSON_H
#define COMMON_IO_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/err.h"
#include "common/base/sha256.h"

/*
 * Read one JSON value from a file ("-" or NULL: standard input).  Duplicate keys and trailing text are
 * errors.  hex, when not NULL, receives the SHA-256 of the bytes.  NULL: e is set.
 */
json_t *json_read(const char *path, char hex[SHA256_HEX], struct err *e);
json_t *json_parse(const char *text, size_t n, const char *name, struct err *e);

/* A number with 9 significant digits: what an fp32 value needs and no more.  NULL when v is not finite. */
json_t *json_f32(float v);

/*
 * Whole document to PATH (NULL or "-": stdout), which appears whole or not at all; an existing file is
 * replaced under -f and an error otherwise.  Two-space indentation, keys in their order, arrays of scalars on
 * one line, and the shortest decimal form that reads back as the same double.
 */
int json_save(const char *path, const json_t *v, struct err *e);

/*
 * obj[key] = v, taking v over.  -1 with e set when v is NULL: out of memory, or a number that is not finite;
 * the message names the key.
 */
int json_put(json_t *obj, const char *key, json_t *v, struct err *e);
int json_push(json_t *array, json_t *v, struct err *e);

/*
 * Typed members of an object.  Required ones fail when absent or of another type.  The *_or forms leave *out
 * alone when the key is absent or null and fail only on another type.  Strings are borrowed from obj.
 */
int json_get_str(const json_t *obj, const char *key, const char **out, const char *where, struct err *e);
int json_get_size(const json_t *obj, const char *key, size_t *out, const char *where, struct err *e);
int json_get_f64(const json_t *obj, const char *key, double *out, const char *where, struct err *e);
int json_get_bool(const json_t *obj, const char *key, bool *out, const char *where, struct err *e);
int json_get_obj(const json_t *obj, const char *key, json_t **out, const char *where, struct err *e);
int json_get_arr(const json_t *obj, const char *key, json_t **out, const char *where, struct err *e);
int json_or_str(const json_t *obj, const char *key, const char **out, const char *where, struct err *e);
int json_or_size(const json_t *obj, const char *key, size_t *out, const char *where, struct err *e);
int json_or_f64(const json_t *obj, const char *key, double *out, const char *where, struct err *e);
int json_or_bool(const json_t *obj, const char *key, bool *out, const char *where, struct err *e);

#endif
