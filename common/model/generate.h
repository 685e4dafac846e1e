/*
 * generate.h - a sequence that grows token by token: the prompt's pass, then one row a token over cached keys
 * and values
 */
#ifndef COMMON_MODEL_GENERATE_H
#define COMMON_MODEL_GENERATE_H

#include "common/model/walk.h"
#include "common/text/tokenizer.h"

struct generate {
    struct model *m;
    struct kv_cache cache;
    struct batch batch; /* of one token, and its walk: every step's */
    struct walk walk;
    int32_t delta;            /* token n of the sequence, from 0, has position n + delta */
    float *d_logits, *logits; /* [vocab] on the device and here: of the token to come */
    bool *seen;               /* [vocab]: ids in the sequence so far */
};

/*
 * Walk the prompt (loss and id do not count) and leave the logits of the token after it, with room for `more`
 * tokens. -1 when prompt and more together exceed the model's max_position_embeddings: RC_DATA when the
 * prompt alone leaves no room, RC_USAGE when fewer would fit.  Release g afterwards, also after a failure.
 */
int generate_prefill(struct generate *g, struct model *m, const struct sample *prompt, size_t more,
                     struct err *e);

/* The sequence goes on with this id, in 0 .. vocab: leaves the logits of the token after it. */
int generate_step(struct generate *g, int32_t id, struct err *e);

void generate_release(struct generate *g); /* safe on a zeroed struct */

/*
 * The most probable next token, of equals the first; -1 when a logit is NaN.  penalty as transformers applies
 * repetition_penalty: the logit of every id in the sequence so far, prompt and image tokens included, is
 * divided by it when positive, else multiplied.  1: none.
 */
int generate_greedy(const struct generate *g, float penalty, int32_t *id, struct err *e);

/*
 * Append the ids that end a text: eos_token_id of DIR/generation_config.json, a number or a list; without it
 * <|im_end|> and <|endoftext|>, as far as the tokenizer has them.
 */
int generate_stops(struct ids *stop, const char *dir, const struct tokenizer *t, struct err *e);

#endif
