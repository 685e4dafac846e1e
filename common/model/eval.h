/*
 * eval.h - perplexity, and how far a candidate's logits are from a reference's
 *
 * A reference is kept as the head's input (final norm output, fp32), from which its logits are made again chunk by chunk:
 * 4 * hidden bytes a token instead of 4 * vocab.  All logarithms are natural.
 */
#ifndef COMMON_MODEL_EVAL_H
#define COMMON_MODEL_EVAL_H

#include "common/base/progress.h"
#include "common/model/walk.h"

/* The head's input of every token of a sample set under one model. */
struct states {
    size_t tokens, hidden;
    float *norm;                    /* [tokens, hidden] */
    char model[SHA256_HEX];         /* ckpt_digest() of the model they come from */
    char samples[SHA256_HEX];       /* eval_samples_digest() of the samples */
    char head[SHA256_HEX];          /* of the head's weight tensor, which turns states into logits */
};

/*
 * SHA-256 of samples.digest of their stream and of which of its samples these are: shards of one stream differ.
 */
void eval_samples_digest(const struct sample *sample, size_t n, const char *stream_digest, char hex[SHA256_HEX]);

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

/* One sample of a comparison; sums over its positions unless said otherwise.  Reference p, candidate q. */
struct eval_sample {
    size_t tokens, loss_tokens;
    double nll_ref, nll;       /* over loss tokens */
    double kl, kl_answer;      /* KL(p || q): over all positions; over positions that predict a loss token */
    double kl_last, mse_last;  /* of the last position; mse: mean over the vocabulary of (z_q - z_p)^2 */
    double mse;                /* sum over positions of that mean */
    size_t same_top;           /* positions where both have the same argmax */
};

/*
 * Compare m with the reference states; ref_head is the reference's head on m's backend, NULL when m's own head is the same
 * (states.head says so).  out [n].
 */
int eval_compare(struct model *m, const struct states *ref, const struct weight *ref_head, const struct sample *sample,
                 size_t n, size_t rows, struct eval_sample *out, struct progress *p, struct err *e);

/* Negative log likelihood of each sample's loss tokens: fills tokens, loss_tokens and nll of out [n]. */
int eval_nll(struct model *m, const struct sample *sample, size_t n, size_t rows, struct eval_sample *out,
             struct progress *p, struct err *e);

/* SHA-256 of the bytes of the tensor that m's head multiplies by. */
void eval_head_digest(const struct model *m, char hex[SHA256_HEX]);

/*
 * Corpus figures: means over positions, samples or loss tokens; perplexity exp(sum nll / sum loss tokens).  -1 when there
 * is no loss token.
 */
struct eval_total {
    size_t samples, tokens, loss_tokens, same_top;
    double ppl_ref, ppl, kl, kl_answer, kl_last, mse, mse_last, top1;
};
int eval_sum(struct eval_total *t, const struct eval_sample *sample, size_t n, struct err *e);

#endif
