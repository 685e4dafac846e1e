/* prompt.c - a question and its pictures, as the sample that a model goes on from */
#include "common/model/prompt.h"

#include <stdlib.h>

#include "common/base/mem.h"
#include "common/text/utf8.h"

int prompt_picture(struct sample *s, const char *path, const struct processor *proc, struct err *e)
{
    struct image im = {0};
    struct picture pic = {0};
    int ret = -1;

    if (image_read(&im, path, e))
        goto out;
    if (processor_run(proc, &im, &pic, e)) {
        err_prefix(e, "'%s'", path);
        goto out;
    }
    s->image[s->images++] =
        (struct sample_image){.h = pic.h, .w = pic.w, .patch = proc->patch_size, .rgb = pic.rgb};
    pic.rgb = NULL;
    ret = 0;
out:
    picture_release(&pic);
    image_release(&im);
    return ret;
}

static int render(const struct prompt *p, const struct chat_form *form, struct text *out, struct err *e)
{
    const struct chat_options o = {.generation_prompt = true};
    struct chat_message message = {.role = "user", .items = p->pictures + 1};
    struct chat_item *item;
    int ret;

    if (p->raw)
        return text_add(out, p->text, p->n, e);
    item = mem_zalloc(message.items, sizeof *item, e);
    if (!item)
        return -1;
    for (size_t i = 0; i < p->pictures; i++)
        item[i].kind = CHAT_IMAGE;
    item[p->pictures] = (struct chat_item){CHAT_TEXT, p->text, p->n};
    message.item = item;
    ret = chat_render(form, &message, 1, &o, out, e);
    free(item);
    return ret;
}

/* Text to ids, each picture's mark as its image tokens. */
static int encode(struct sample *s, const struct text *text, const struct tokenizer *t, size_t merge,
                  struct err *e)
{
    struct ids ids = {0};
    size_t *tokens = mem_zalloc(s->images, sizeof *tokens, e);
    int ret = -1;

    if (!tokens)
        goto out;
    for (size_t i = 0; i < s->images; i++)
        tokens[i] = s->image[i].h * s->image[i].w / (merge * merge);
    if (chat_encode(t, text->v, text->n, tokens, s->images, &ids, e))
        goto out;
    if (ids.n == 0) {
        err_set(e, RC_USAGE, "the prompt is empty");
        goto out;
    }
    s->loss = mem_zalloc(ids.n, sizeof *s->loss, e);
    if (!s->loss)
        goto out;
    s->tokens = ids.n;
    s->ids = ids.v;
    ids.v = NULL;
    ret = 0;
out:
    free(tokens);
    ids_release(&ids);
    return ret;
}

int prompt_make(struct sample *s, const struct prompt *p, const struct model *m, const struct tokenizer *t,
                const struct chat_form *form, struct err *e)
{
    struct text text = {0};
    int ret = -1;

    *s = (struct sample){0};
    if (p->n == 0 && (p->raw || p->pictures == 0))
        return err_set(e, RC_USAGE, "the prompt is empty");
    if (utf8_check(p->text, p->n, e))
        return err_prefix(e, "the prompt");
    if (p->pictures && !m->config->has_vision)
        return err_set(e, RC_DATA, "'%s' has no vision tower: it takes no pictures", m->weights.ckpt.dir);
    s->id = mem_strdup("prompt", e);
    s->image = mem_zalloc(p->pictures, sizeof *s->image, e);
    if (!s->id || !s->image)
        goto out;
    for (size_t i = 0; i < p->pictures; i++)
        if (prompt_picture(s, p->picture[i], &m->processor, e))
            goto out;
    if (render(p, form, &text, e) == 0)
        ret = encode(s, &text, t, m->processor.merge_size, e);
out:
    text_release(&text);
    if (ret)
        sample_release(s);
    return ret;
}
