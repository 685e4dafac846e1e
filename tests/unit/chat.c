/* chat.c - the chat form against the reference's renderings, and templates that are known or not */
#include "common/text/chat.h"
#include "tests/unit/text.h"

enum { MOST = 16 };

static struct chat_item item_of(const json_t *j)
{
    const char *type = json_string_value(json_object_get(j, "type"));
    struct text text = string_of(json_object_get(j, "text"));

    if ((type && !strcmp(type, "image")) || json_object_get(j, "image") || json_object_get(j, "image_url"))
        return (struct chat_item){.kind = CHAT_IMAGE};
    if ((type && !strcmp(type, "video")) || json_object_get(j, "video"))
        return (struct chat_item){.kind = CHAT_VIDEO};
    return (struct chat_item){CHAT_TEXT, text.v, text.n};
}

static size_t messages_of(const json_t *list, struct chat_message m[MOST], struct chat_item item[MOST][MOST])
{
    size_t i, k;
    json_t *j, *x;

    json_array_foreach(list, i, j)
    {
        const json_t *content = json_object_get(j, "content");

        m[i] = (struct chat_message){json_string_value(json_object_get(j, "role")), item[i],
                                     json_array_size(content)};
        json_array_foreach(content, k, x) item[i][k] = item_of(x);
        if (json_is_string(content)) {
            struct text text = string_of(content);

            item[i][0] = (struct chat_item){CHAT_TEXT, text.v, text.n};
            m[i].items = 1;
        }
    }
    return json_array_size(list);
}

/* ids with every pad taken three times over must be those of the reference with three pads for one. */
static bool same_but_pads(const struct ids *got, const json_t *want, int32_t pad)
{
    size_t k = 0;

    for (size_t i = 0; i < json_array_size(want); i++) {
        json_int_t id = json_integer_value(json_array_get(want, i));

        for (int times = id == pad ? 3 : 1; times > 0; times--, k++)
            if (k >= got->n || got->v[k] != id)
                return false;
    }
    return k == got->n;
}

static void chat(const struct tokenizer *t, const char *folder, const char *path, bool video)
{
    size_t n, rows = 0, bad = 0, bad_ids = 0, tokens[MOST], pads;
    char *data = slurp(path, &n);
    const char *at = data;
    struct chat_form form;
    struct err e = {0};
    json_t *j;

    CHECK(chat_open(&form, folder, &e) == 0 && !form.unknown && form.video == video,
          "%s: the template is known", path);
    for (int k = 0; k < MOST; k++)
        tokens[k] = 3;
    for (; (j = row(&at)); json_decref(j), rows++) {
        struct chat_options o = {json_is_true(json_object_get(j, "add_generation_prompt")),
                                 json_is_true(json_object_get(j, "add_vision_id"))};
        struct text want = string_of(json_object_get(j, "text")), got = {0};
        struct chat_item item[MOST][MOST];
        struct chat_message m[MOST];
        struct ids ids = {0};

        n = messages_of(json_object_get(j, "messages"), m, item);
        bad += chat_render(&form, m, n, &o, &got, &e) || !same_text(&got, &want);
        pads = 0;
        for (const char *p = got.v; (p = strstr(p, "<|image_pad|>")); p++)
            pads++;
        bad_ids += chat_encode(t, got.v, got.n, tokens, pads, &ids, &e) ||
                   !same_but_pads(&ids, json_object_get(j, "ids"), tokenizer_id(t, "<|image_pad|>"));
        bad_ids += chat_encode(t, got.v, got.n, tokens, pads + 1, &ids, &e) != -1;
        e = (struct err){0};
        text_release(&got);
        ids_release(&ids);
    }
    CHECK(rows == 39 && bad == 0, "%s: %zu renderings (%zu differ)", path, rows, bad);
    CHECK(bad_ids == 0, "%s: ids with pads expanded, and none when the pictures are too many", path);
    free(data);
}

static void templates(void)
{
    static const char other[] = "{% for message in messages %}{{ message['content'] }}{% endfor %}";
    struct chat_form form = {0};
    struct err e = {0};
    struct text text = {0};
    json_t *j = must(json_load_file(GOLDEN "qwen2_5_vl/chat_template.json", 0, NULL), "chat_template.json");
    const char *known = json_string_value(json_object_get(j, "chat_template"));

    scratch_clear();
    CHECK(chat_open(&form, scratch_dir(), &e) == 0 && form.unknown,
          "a model without a template is an unknown one");
    link_to(GOLDEN "qwen2_5_vl", "chat_template.json");
    CHECK(chat_open(&form, scratch_dir(), &e) == 0 && !form.unknown && form.video, "chat_template.json");
    scratch_text("chat_template.jinja", other);
    CHECK(chat_open(&form, scratch_dir(), &e) == 0 && form.unknown && !form.video,
          "chat_template.jinja goes before it");
    scratch_text("chat_template.jinja", known);
    CHECK(chat_open(&form, scratch_dir(), &e) == 0 && !form.unknown && form.video,
          "the known one as a .jinja file");
    scratch_put("chat_template.jinja", known, strlen(known) - 1);
    CHECK(chat_open(&form, scratch_dir(), &e) == 0 && form.unknown, "a template cut short is unknown");
    scratch_clear();
    CHECK(chat_open(&form, "data/qwen2-tokenizer", &e) == 0 && form.unknown,
          "Qwen2's own template is another");
    scratch_text("chat_template.json", "{");
    CHECK(chat_open(&form, scratch_dir(), &e) == -1 && e.rc == RC_DATA &&
              strstr(e.msg, "chat_template.json: line 1: "),
          "a broken chat_template.json: %s", e.msg);
    e = (struct err){0};
    CHECK(chat_render(&form, NULL, 0, &(struct chat_options){0}, &text, &e) == -1 && text.n == 0,
          "no messages: %s", e.msg);
    json_decref(j);
}

int main(void)
{
    struct tokenizer *t;

    t = opened(TINY);
    chat(t, TINY, GOLDEN "chat.tiny.jsonl", false);
    tokenizer_free(t);
    link_to("data/qwen2-tokenizer", "vocab.json");
    link_to("data/qwen2-tokenizer", "merges.txt");
    link_to(GOLDEN "qwen2_5_vl", "tokenizer_config.json");
    t = opened(scratch_dir());
    chat(t, scratch_dir(), GOLDEN "chat.qwen2_5_vl.jsonl", true);
    tokenizer_free(t);
    templates();
    return unit_end();
}
