/*
 * states.h - what a reference computed, kept
 *
 * A reference is kept as the head's input (final norm output), from which its logits are made again chunk by
 * chunk: hidden numbers a token instead of a vocabulary's.  In memory they are exact, as the backend had them; a
 * file (octet-states(5)) has them in bf16 or fp32, with the log-sum-exp and the argmax of every row of logits.
 */
#ifndef COMMON_MODEL_STATES_H
#define COMMON_MODEL_STATES_H

#include "common/base/progress.h"
#include "common/io/chunks.h"
#include "common/io/samples.h"
#include "common/model/origin.h"

/* The head's input of every token of a sample set under one model. */
struct states {
    size_t tokens, hidden, vocab;
    enum dtype dtype;               /* DT_F32 or DT_BF16 */
    char model[SHA256_HEX];         /* ckpt_digest() of the model they come from */
    char samples[SHA256_HEX];       /* states_samples_digest() of the samples */
    char head[SHA256_HEX];          /* of the head's weight tensor, which turns states into logits */
    struct origin origin;           /* of the model; of the samples where it has none */
    bool kept;                      /* they are in a file */
    char digest[SHA256_HEX];        /* of that file; "" otherwise */
    /* private */
    void *norm;                     /* [tokens, hidden] act, when they are in memory */
    struct chunks file;
    size_t *first;                  /* [file.n + 1]: token that a chunk begins with */
};

/*
 * SHA-256 of samples.digest of their stream and of which of its samples these are: shards of one stream
 * differ.
 */
void states_samples_digest(const struct samples *s, char hex[SHA256_HEX]);

/* Forward the samples and hold what enters the head.  Release s afterwards, also after a failure. */
int states_make(struct states *s, struct model *m, const struct samples *samples, size_t rows,
                struct progress *p, struct err *e);

/*
 * The same into a file, batch by batch, as bf16 or fp32: memory holds one batch.  What is written so far is
 * PATH.part, which becomes PATH when all is there.  A PATH.part that an earlier, equal call left is gone on
 * with; one of anything else is begun anew.  A PATH that is there is used when it holds just this, and else
 * replaced only under -f.  remark: one line about that for a person, "" when there is nothing to say.  -1
 * also when logits are not finite.
 */
enum { STATES_REMARK = 512 };
int states_save(const char *path, enum dtype dtype, struct model *m, const struct samples *samples,
                size_t rows, struct progress *p, char remark[STATES_REMARK], struct err *e);

/* Open a file and check all of it.  Release s afterwards, also after a failure. */
int states_open(struct states *s, const char *path, struct err *e);
void states_release(struct states *s);

/*
 * Rows first .. first + n of a file, in range, as fp32: out [n, hidden].  lse [n] and argmax [n] are of the
 * logits of the states before they were rounded to s->dtype.
 */
void states_rows(const struct states *s, size_t first, size_t n, float *out, float *lse, int32_t *argmax);

/* Put rows first .. first + n of states in memory, in range, on the backend that they come from: x [n, hidden]. */
void states_upload(const struct states *s, struct backend *be, void *x, size_t first, size_t n);

/* SHA-256 of the bytes of the tensor that m's head multiplies by. */
const char *states_head_digest(struct model *m);

#endif
