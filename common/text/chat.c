/* chat.c - the chat form of Qwen2.5-VL */
#include "common/text/chat.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"

#define IMAGE  "<|vision_start|><|image_pad|><|vision_end|>"
#define VIDEO  "<|vision_start|><|video_pad|><|vision_end|>"
#define SYSTEM "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
#define PROMPT "<|im_start|>assistant\n"

/* The published template, which chat_render() follows, in three parts; one without the video branch is known
 * too. */
static const char head[] =
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}"
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}" SYSTEM "{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}{{ message['content'] "
    "}}<|im_end|>\n"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}"
    "{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}" IMAGE;
static const char video[] = "{% elif content['type'] == 'video' or 'video' in content %}{% set "
                            "video_count.value = video_count.value + 1 %}"
                            "{% if add_vision_id %}Video {{ video_count.value }}: {% endif %}" VIDEO;
static const char tail[] =
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}" PROMPT "{% endif %}";

/* Step over a part that s, of *n bytes, starts with. */
static bool eat(const char **s, size_t *n, const char *part)
{
    size_t length = strlen(part);

    if (*n < length || memcmp(*s, part, length))
        return false;
    *s += length;
    *n -= length;
    return true;
}

static void recognise(struct chat_form *f, const char *s, size_t n)
{
    while (n && isspace((unsigned char)s[n - 1]))
        n--;
    f->unknown = !eat(&s, &n, head);
    f->video = !f->unknown && eat(&s, &n, video);
    f->unknown = f->unknown || !eat(&s, &n, tail) || n;
}

/* Read a file of the directory.  1: done; 0: it is not there; -1. */
static int read_file(const char *dir, const char *name, char **path, uint8_t **data, size_t *n, struct err *e)
{
    int ret;

    *path = file_join(dir, name, e);
    ret = *path ? file_exists(*path, e) : -1;
    if (ret == 1 && file_read(*path, data, n, e))
        ret = -1;
    return ret;
}

/* The template in one file, as it stands or as a member.  1: found; 0: not there; -1. */
static int look(struct chat_form *f, const char *dir, const char *name, bool json, struct err *e)
{
    char *path = NULL;
    uint8_t *data = NULL;
    size_t n = 0;
    json_error_t why;
    json_t *doc = NULL, *member;
    int ret = read_file(dir, name, &path, &data, &n, e);

    if (ret == 1 && !json) {
        recognise(f, (const char *)data, n);
    } else if (ret == 1) {
        doc = json_loadb((const char *)data, n, JSON_ALLOW_NUL, &why);
        member = json_object_get(doc, "chat_template");
        if (!doc)
            ret = err_set(e, RC_DATA, "%s: line %d: %s", path, why.line, why.text);
        else if (json_is_string(member))
            recognise(f, json_string_value(member), json_string_length(member));
        else
            ret = member &&
                  !json_is_null(member); /* a list of named templates, say, is one that is not known */
    }
    json_decref(doc);
    free(data);
    free(path);
    return ret;
}

int chat_open(struct chat_form *f, const char *model_dir, struct err *e)
{
    int ret;

    *f = (struct chat_form){.unknown = true};
    ret = look(f, model_dir, "chat_template.jinja", false, e);
    if (ret == 0)
        ret = look(f, model_dir, "chat_template.json", true, e);
    if (ret == 0)
        ret = look(f, model_dir, "tokenizer_config.json", true, e);
    return ret < 0 ? -1 : 0;
}

/* How many pictures and videos were rendered. */
struct counts {
    size_t images, videos;
};

static int vision(const char *what, size_t k, const char *pads, const struct chat_options *o,
                  struct text *out, struct err *e)
{
    char id[64];

    snprintf(id, sizeof(id), "%s %zu: ", what, k);
    return (o->vision_ids && text_add_str(out, id, e)) || text_add_str(out, pads, e) ? -1 : 0;
}

static int message(const struct chat_form *f, const struct chat_message *m, const struct chat_options *o,
                   struct counts *c, struct text *out, struct err *e)
{
    int ret;

    if (text_add_str(out, "<|im_start|>", e) || text_add_str(out, m->role, e) || text_add_str(out, "\n", e))
        return -1;
    for (size_t i = 0; i < m->items; i++) {
        const struct chat_item *x = &m->item[i];

        if (x->kind == CHAT_IMAGE)
            ret = vision("Picture", ++c->images, IMAGE, o, out, e);
        else if (x->kind == CHAT_TEXT)
            ret = text_add(out, x->text, x->n, e);
        else
            ret = f->video ? vision("Video", ++c->videos, VIDEO, o, out, e) : 0;
        if (ret)
            return -1;
    }
    return text_add_str(out, "<|im_end|>\n", e);
}

int chat_render(const struct chat_form *f, const struct chat_message *m, size_t n,
                const struct chat_options *o, struct text *out, struct err *e)
{
    struct counts c = {0};
    size_t before = out->n;
    int ret = 0;

    if (n == 0)
        return err_set(e, RC_DATA, "a conversation without messages cannot be rendered");
    if (strcmp(m[0].role, "system"))
        ret = text_add_str(out, SYSTEM, e);
    for (size_t i = 0; i < n && ret == 0; i++)
        ret = message(f, &m[i], o, &c, out, e);
    if (ret == 0 && o->generation_prompt)
        ret = text_add_str(out, PROMPT, e);
    if (ret)
        out->n = before;
    return ret;
}

/* Append ids with the k-th pad repeated tokens[k] times. */
static int expand(const struct ids *ids, int32_t pad, const size_t *tokens, struct ids *out, struct err *e)
{
    size_t k = 0, times;

    for (size_t i = 0; i < ids->n; i++) {
        times = ids->v[i] == pad ? tokens[k++] : 1;
        if (times == 0)
            return err_set(e, RC_DATA, "picture %zu has no tokens", k);
        if (ids_reserve(out, times, e))
            return -1;
        while (times--)
            out->v[out->n++] = ids->v[i];
    }
    return 0;
}

int chat_encode(const struct tokenizer *t, const char *text, size_t n, const size_t *tokens, size_t pictures,
                struct ids *out, struct err *e)
{
    int32_t pad = tokenizer_id(t, "<|image_pad|>");
    struct ids ids = {0};
    size_t pads = 0, before = out->n;
    int ret = tokenizer_encode(t, text, n, &ids, e);

    for (size_t i = 0; i < ids.n && ret == 0; i++)
        pads += ids.v[i] == pad;
    if (ret == 0 && pads != pictures)
        ret = err_set(e, RC_DATA, "the text has %zu <|image_pad|>, but there are %zu pictures%s", pads,
                      pictures, pad < 0 ? ": the tokenizer has no such token" : "");
    if (ret == 0)
        ret = expand(&ids, pad, tokens, out, e);
    if (ret)
        out->n = before;
    ids_release(&ids);
    return ret;
}
