/*
 * states.h - what a reference computed, kept
 *
 * A reference is kept as the head's input (final norm output, fp32), from which its logits are made again chunk by chunk:
 * 4 * hidden bytes a token instead of 4 * vocab.
 */
#ifndef COMMON_MODEL_STATES_H
#define COMMON_MODEL_STATES_H

#include "common/base/progress.h"
#include "common/model/model.h"
#include "common/io/samples.h"

/* The head's input of every token of a sample set under one model. */
struct states {
    size_t tokens, hidden;
    float *norm;                    /* [tokens, hidden] */
    char model[SHA256_HEX];         /* ckpt_digest() of the model they come from */
    char samples[SHA256_HEX];       /* states_samples_digest() of the samples */
    char head[SHA256_HEX];          /* of the head's weight tensor, which turns states into logits */
};

/*
 * SHA-256 of samples.digest of their stream and of which of its samples these are: shards of one stream differ.
 */
void states_samples_digest(const struct sample *sample, size_t n, const char *stream_digest, char hex[SHA256_HEX]);

/* Forward n samples of a stream and keep what enters the head.  Release s afterwards, also after a failure. */
int states_make(struct states *s, struct model *m, const struct sample *sample, size_t n, const char *stream_digest,
                size_t rows, struct progress *p, struct err *e);
void states_release(struct states *s);

/*
 * A file of states: a safetensors file of the F32 tensor "states" [tokens, hidden] and the U8 tensors "model", "samples"
 * and "head", the digests as text, and "sum", the SHA-256 of the data of the four.  states_load() checks all of it;
 * states_save() replaces an existing file only under -f.
 */
int states_save(const struct states *s, const char *path, struct err *e);
int states_load(struct states *s, const char *path, struct err *e);

/* SHA-256 of the bytes of the tensor that m's head multiplies by. */
void states_head_digest(const struct model *m, char hex[SHA256_HEX]);

#endif
