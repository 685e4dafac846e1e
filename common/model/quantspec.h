/*
 * quantspec.h - what a checkpoint says about its own quantization
 *
 * ModelOpt's layout: quantization_config in config.json {quant_method "modelopt", quant_algo, ignore: [...]},
 * hf_quant_config.json {quantization: {quant_algo, exclude_modules: [...]}}, or both; quant_algo "FP8" or
 * "W8A8_SQ_PER_CHANNEL", which is INT8.  Engines differ in which of the two they believe, so each that is
 * there has to agree with the tensors.
 *
 * compressed-tensors' layout: quantization_config {quant_method "compressed-tensors", format, config_groups:
 * {...},
 * ignore: [...]}, read when each group is FP8 with static scales per tensor, or INT8 with weight scales per
 * row and inputs scaled per tensor, static, or per token, dynamic.
 */
#ifndef COMMON_MODEL_QUANTSPEC_H
#define COMMON_MODEL_QUANTSPEC_H

#include "common/io/ckpt.h"
#include "common/quant/pattern.h"
#include "common/quant/scheme.h"

/* Modules that share a format. */
struct quantspec_group {
    enum scheme_format format;
    bool dynamic;           /* inputs get their scales at run time */
    /* names and expressions; "Linear" is every module that no name or expression has */
    struct pattern *target;
    size_t targets;
};

struct quantspec_source {
    char *file;            /* its path */
    const char *key;       /* "ignore", "exclude_modules" */
    const json_t *exclude; /* array of strings; NULL: the key is absent, nothing is excluded */
    struct pattern *regex; /* the entries as compressed-tensors reads them; NULL: as ModelOpt's engines do */
    struct quantspec_group *group;
    size_t groups;
    bool kv; /* says that the KV cache is FP8 */
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

/* How a source says that a module is stored. */
struct quantspec_form {
    enum scheme_format format; /* FORMAT_NONE: in 16 bits */
    bool dynamic;
    const char *by; /* FORMAT_NONE: the entry of the list that excludes it; NULL: no group has it */
};

/*
 * What source i says of a module.  canonical: its canonical name; in_file: its name as the tensors spell it.
 * An entry of ModelOpt's list is a name, the name of a parent, or a pattern (fnmatch).  It is tried on the
 * spelling that it is written in, else (lm_head, "model*", "*mlp*") on that of the tensors: older ModelOpt
 * wrote in-memory names beside tensors with hub names.  An entry of compressed-tensors is an exact name or a
 * regular expression, tried on the spelling of the tensors, of the hub, and in memory.
 */
int quantspec_form(const struct quantspec *q, size_t i, const char *canonical, const char *in_file,
                   struct quantspec_form *form, struct err *e);

#endif
