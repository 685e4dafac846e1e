/*
 * quantspec.h - what a checkpoint says about its own quantization
 *
 * ModelOpt's FP8 layout: quantization_config in config.json {quant_method "modelopt", quant_algo "FP8",
 * ignore: [...]}, hf_quant_config.json {quantization: {quant_algo "FP8", exclude_modules: [...]}}, or both.
 * Engines differ in which of the two they believe, so each that is there has to agree with the tensors.
 *
 * compressed-tensors' layout: quantization_config {quant_method "compressed-tensors", format
 * "float-quantized", config_groups: {...}, ignore: [...]}, read when every Linear is FP8 with static scales
 * per tensor.
 */
#ifndef COMMON_MODEL_QUANTSPEC_H
#define COMMON_MODEL_QUANTSPEC_H

#include "common/io/ckpt.h"
#include "common/quant/pattern.h"

struct quantspec_source {
    char *file;            /* its path */
    const char *key;       /* "ignore", "exclude_modules" */
    const json_t *exclude; /* array of strings; NULL: the key is absent, nothing is excluded */
    struct pattern *regex; /* the entries as compressed-tensors reads them; NULL: as ModelOpt's engines do */
};

struct quantspec {
    struct quantspec_source source[2];
    size_t sources; /* 0: the checkpoint does not claim to be quantized */
    json_t *hf;     /* hf_quant_config.json */
};

/* Other methods and algorithms are refused.  Released by the caller, also after a failure; c must outlive q.
 */
int quantspec_read(struct quantspec *q, const struct ckpt *c, struct err *e);
void quantspec_release(struct quantspec *q);

/*
 * Whether source i excludes a module: *by is the entry of the list that does, or NULL.  canonical: its
 * canonical name; in_file: its name as the tensors spell it.  An entry is a name, the name of a parent, or a
 * pattern (fnmatch).  It is tried on the spelling that it is written in, else (lm_head, "model*", "*mlp*") on
 * that of the tensors: older ModelOpt wrote in-memory names beside tensors with hub names.  An entry of
 * compressed-tensors is an exact name or a regular expression, tried on the spelling of the tensors, of the
 * hub, and in memory.
 */
int quantspec_excludes(const struct quantspec *q, size_t i, const char *canonical, const char *in_file,
                       const char **by, struct err *e);

#endif
