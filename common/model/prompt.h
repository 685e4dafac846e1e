/* prompt.h - a question and its pictures, as the sample that a model goes on from */
#ifndef COMMON_MODEL_PROMPT_H
#define COMMON_MODEL_PROMPT_H

#include "common/io/samples.h"
#include "common/model/model.h"
#include "common/text/chat.h"

struct prompt {
    const char *text; /* n bytes of UTF-8 */
    size_t n;
    const char *const *picture; /* files, in the order in which the model sees them */
    size_t pictures;
    bool raw; /* text is all there is: no template, pictures go where it has <|image_pad|> */
};

/* Append a picture to those of s, which have room for it, as proc makes it of the file. */
int prompt_picture(struct sample *s, const char *path, const struct processor *proc, struct err *e);

/*
 * One user's turn, the pictures before the text, and the head of the answer; or the text alone when raw.
 * Pictures are brought to the size that m sees.  Nothing counts for a loss.  Release s afterwards.
 */
int prompt_make(struct sample *s, const struct prompt *p, const struct model *m, const struct tokenizer *t,
                const struct chat_form *form, struct err *e);

#endif
