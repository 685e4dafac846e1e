/*
 * origin.h - whether samples and models were made for each other
 *
 * Ids mean something under one tokenizer only, and a picture takes as many of them as the processor's
 * settings say.  Digests are of what the files say, not of their bytes: an exported checkpoint, and one that
 * another program wrote anew, have those of their model.
 */
#ifndef COMMON_MODEL_ORIGIN_H
#define COMMON_MODEL_ORIGIN_H

#include "common/io/samples.h"
#include "common/model/model.h"

struct origin {
    char tokenizer[SHA256_HEX]; /* tokenizer_digest(); "": not known */
    char processor[SHA256_HEX]; /* processor_digest(); "": not known, or there are no pictures */
};

/* A directory without a tokenizer has none that is known; one that cannot be read is an error. */
int origin_of_model(struct origin *o, const struct model *m, struct err *e);

/* As the streams' headers say. */
void origin_of_samples(struct origin *o, const struct samples *s);

/*
 * -1 when both tokenizers, or both processors, are known and differ.  subject: "the samples"; dir: of the
 * model that has m;
 * way_out: what to do about it.
 */
int origin_check(const struct origin *o, const char *subject, const struct origin *m, const char *dir,
                 const char *way_out, struct err *e);

#endif
