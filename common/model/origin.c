/* origin.c - whether samples and models were made for each other */
#include "common/model/origin.h"

#include <stdlib.h>
#include <string.h>

#include "common/text/tokenizer.h"

static int has_file(const char *dir, const char *name, struct err *e)
{
    char *path = file_join(dir, name, e);
    int ret = path ? file_exists(path, e) : -1;

    free(path);
    return ret;
}

/* 1: it has the files that tokenizer_open() wants to see; 0: it does not; -1. */
static int has_tokenizer(const char *dir, struct err *e)
{
    int ret = has_file(dir, "tokenizer.json", e);

    if (ret == 0)
        ret = has_file(dir, "vocab.json", e);
    return ret;
}

int origin_of_model(struct origin *o, const struct model *m, struct err *e)
{
    const char *dir = m->weights.ckpt.dir;
    struct tokenizer *t = NULL;
    int ret = has_tokenizer(dir, e);

    *o = (struct origin){0};
    if (ret == 1)
        ret = tokenizer_open(&t, dir, e) || tokenizer_digest(t, o->tokenizer, e) ? -1 : 0;
    if (m->config->has_vision)
        processor_digest(&m->processor, o->processor);
    tokenizer_free(t);
    return ret;
}

static void take(char hex[SHA256_HEX], const json_t *v)
{
    hex[0] = '\0';
    if (json_is_string(v) && json_string_length(v) == SHA256_HEX - 1)
        strcpy(hex, json_string_value(v));
}

void origin_of_samples(struct origin *o, const struct samples *s)
{
    take(o->tokenizer, json_object_get(s->head, "tokenizer"));
    take(o->processor, json_object_get(s->head, "processor"));
}

static bool differ(const char *a, const char *b)
{
    return *a && *b && strcmp(a, b);
}

int origin_check(const struct origin *o, const char *subject, const struct origin *m, const char *dir,
                 const char *way_out, struct err *e)
{
    if (differ(o->tokenizer, m->tokenizer))
        return err_set(e, RC_DATA,
                       "%s: the tokenizer (digest %.12s) is not that of '%s' (%.12s): ids do not mean the same "
                       "tokens; %s", subject, o->tokenizer, dir, m->tokenizer, way_out);
    if (differ(o->processor, m->processor))
        return err_set(e, RC_DATA,
                       "%s: pictures were resized by other settings (digest %.12s) than those of '%s' (%.12s); %s", subject, o->processor, dir, m->processor, way_out);
    return 0;
}
