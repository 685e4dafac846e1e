/*
 * tokenizer.h - the byte-level BPE tokenizer of Qwen2 models: text to token ids and back
 *
 * Encoding: added tokens are cut out (leftmost, the longest of those that start there), what lies between
 * them is brought to NFC, cut into words by the pre-tokenizer's pattern (split.h), and each word's UTF-8
 * bytes are merged by rank (bpe.h). No token is added at either end.
 */
#ifndef COMMON_TEXT_TOKENIZER_H
#define COMMON_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/sha256.h"
#include "common/text/text.h"

struct tokenizer;

/*
 * Read a model directory: tokenizer.json, merges in either form; without one, vocab.json and merges.txt with
 * Qwen2's normalizer and pattern, and added_tokens.json.  tokenizer_config.json, if there, adds what its
 * added_tokens_decoder lists beyond those.  An entry that only added_tokens.json knows is special when
 * tokenizer_config.json names it as one. A tokenizer that works otherwise than the steps above say is
 * refused, with the setting that is not supported.
 */
int tokenizer_open(struct tokenizer **t, const char *model_dir, struct err *e);
void tokenizer_free(struct tokenizer *t);

/*
 * Append the ids of n bytes of text, which may hold NUL.  Text that is not UTF-8 is an error that names the
 * offset; after an error out is as it was.  Any number of threads may encode with one tokenizer: each call
 * borrows a context (buffers and a word cache, about 1 MiB) from a list in the tokenizer, which is locked
 * only to take it and to put it back.
 */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, struct ids *out, struct err *e);

/*
 * Append what ids stand for.  An id without a token stands for nothing, as do special tokens under
 * skip_special.  Tokens may cut a character in two, and what a model says need not be UTF-8: see utf8_repair().
 */
int tokenizer_bytes(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
                    struct text *out, struct err *e);

/* Id of an added token, or of a vocabulary entry as files spell it ("<|im_end|>"); -1: there is none. */
int32_t tokenizer_id(const struct tokenizer *t, const char *token);

/* One more than the highest id: the rows that an embedding needs. */
size_t tokenizer_vocab(const struct tokenizer *t);

/*
 * SHA-256 over what decides which ids a text has: vocabulary, merges, added tokens, normalizer and pattern.
 * The same for all files that say the same, however they are written.
 */
int tokenizer_digest(const struct tokenizer *t, char hex[SHA256_HEX], struct err *e);

#endif
