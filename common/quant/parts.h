/*
 * parts.h - which tensors a model of a configuration consists of
 *
 * Qwen2.5-VL and plain Qwen2 text models, under canonical names and in model order: vision tower, language
 * model, head.  Loaders know the same list: a tensor beside it has no place in the model.
 */
#ifndef COMMON_QUANT_PARTS_H
#define COMMON_QUANT_PARTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"

struct parts_module {
    char *name;  /* canonical, without ".weight" */
    bool linear; /* an engine may hold it quantized; false: norms, embedding, patch embedding */
    bool bias;   /* has one */
    bool needed; /* false: a tied lm_head, which files may leave out */
};

struct parts {
    struct parts_module *module;
    size_t modules, cap;
    bool vision; /* there is a vision tower */
    bool tied;   /* lm_head is the embedding */
};

/* path: of config.json, for messages.  -1 for other architectures and for counts that are missing. */
int parts_read(struct parts *p, const json_t *config, const char *path, struct err *e);
void parts_release(struct parts *p); /* safe on a zeroed struct */

#endif
