/*
 * chat.h - the chat form of Qwen2.5-VL: messages to the text and the token ids that the model was trained on
 *
 * The form, which the model's template writes in Jinja, is built in: a default system message unless the
 * first message is one, then "<|im_start|>ROLE\n", the content, "<|im_end|>\n" for each message; a picture is
 * "<|vision_start|><|image_pad|><|vision_end|>", a video the same with <|video_pad|>.
 */
#ifndef COMMON_TEXT_CHAT_H
#define COMMON_TEXT_CHAT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/text/text.h"
#include "common/text/tokenizer.h"

enum chat_kind { CHAT_TEXT, CHAT_IMAGE, CHAT_VIDEO };

struct chat_item {
    enum chat_kind kind;
    const char *text; /* CHAT_TEXT: n bytes of UTF-8 */
    size_t n;
};

struct chat_message {
    const char *role; /* "system", "user", "assistant", ... */
    const struct chat_item *item;
    size_t items;
};

/* What a model's template says.  A zeroed struct is the form without videos. */
struct chat_form {
    bool unknown; /* the model has another template, or none: warn that this form may not be what it was
                     trained on */
    bool video;   /* the template renders videos; without this they render to nothing, as in the reference */
};

/*
 * Look at the model's template: chat_template.jinja, else chat_template.json, else tokenizer_config.json.  It
 * is known when its text is one of the two that this form was written from (space at its end apart).  -1: a
 * file cannot be read.
 */
int chat_open(struct chat_form *f, const char *model_dir, struct err *e);

struct chat_options {
    bool generation_prompt; /* end with "<|im_start|>assistant\n" */
    bool vision_ids;        /* "Picture 1: " or "Video 1: " before each, counted through all messages */
};

/* Append the text, each picture as one <|image_pad|>.  No messages at all are an error, as in the reference.
 */
int chat_render(const struct chat_form *f, const struct chat_message *m, size_t n,
                const struct chat_options *o, struct text *out, struct err *e);

/*
 * Append the ids of rendered text, the k-th <|image_pad|> as tokens[k] of them: t * h * w / merge_size^2 of
 * the picture's grid, at least 1.  The text must hold exactly as many as there are pictures; one typed in a
 * message counts too.  After an error out is as it was.
 */
int chat_encode(const struct tokenizer *t, const char *text, size_t n, const size_t *tokens, size_t pictures,
                struct ids *out, struct err *e);

#endif
