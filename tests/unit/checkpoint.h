/*
 * checkpoint.h - for tests: a model directory that is a changed copy of another
 *
 * A program includes it once, and changes tensors and configuration of what model_load() gives.
 */
#ifndef TESTS_UNIT_CHECKPOINT_H
#define TESTS_UNIT_CHECKPOINT_H

#include "common/base/cli.h"
#include "common/model/weights.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

/* A model in the making: tensors of an opened one, changed and written to a directory of its own. */
struct model {
    struct ckpt src;
    struct st_tensor tensor[1024];
    size_t tensors;
    void *owned[4096];
    size_t allocations;
    json_t *config, *hf;
};

static void die(const struct err *e)
{
    fprintf(stderr, "%s\n", e->msg);
    exit(1);
}

static void *own(struct model *m, size_t bytes)
{
    void *p = calloc(1, bytes ? bytes : 1);

    m->owned[m->allocations++] = p;
    return p;
}

static void model_load(struct model *m, const char *from)
{
    struct err e = {0};

    *m = (struct model){0};
    if (ckpt_open(&m->src, from, &e))
        die(&e);
    for (size_t i = 0; i < m->src.tensors; i++)
        m->tensor[m->tensors++] = *m->src.by_name[i];
    m->config = json_deep_copy(m->src.config);
}

static void model_release(struct model *m)
{
    for (size_t i = 0; i < m->allocations; i++)
        free(m->owned[i]);
    json_decref(m->config);
    json_decref(m->hf);
    ckpt_close(&m->src);
}

static struct st_tensor *tensor(struct model *m, const char *name)
{
    for (size_t i = 0; i < m->tensors; i++)
        if (!strcmp(m->tensor[i].name, name))
            return &m->tensor[i];
    fprintf(stderr, "no tensor %s\n", name);
    exit(1);
}

static void drop(struct model *m, const char *name)
{
    struct st_tensor *t = tensor(m, name);

    memmove(t, t + 1, (size_t)(m->tensor + m->tensors - (t + 1)) * sizeof *t);
    m->tensors--;
}

static void rename_to(struct model *m, struct st_tensor *t, const char *name)
{
    char *s = own(m, strlen(name) + 1);

    t->name = strcpy(s, name);
}

static struct st_tensor *add(struct model *m, const char *name, enum dtype dtype, size_t ndim, size_t count)
{
    struct st_tensor *t = &m->tensor[m->tensors++];

    *t = (struct st_tensor){.dtype = dtype, .ndim = ndim, .shape = {count}, .count = count};
    t->bytes = count * dtype_bytes(dtype);
    t->data = own(m, t->bytes);
    rename_to(m, t, name);
    return t;
}

/* A private copy of the data, to write into. */
static uint8_t *writable(struct model *m, struct st_tensor *t)
{
    uint8_t *p = own(m, t->bytes);

    memcpy(p, t->data, t->bytes);
    t->data = p;
    return p;
}

static void write_document(const char *name, const json_t *v)
{
    const char *path = scratch(name);
    struct err e = {0};

    cli_force = true; /* files of one test replace those of the test before */
    if (!v)
        unlink(path);
    else if (json_save(path, v, &e))
        die(&e);
}

static void write_tensors(struct model *m)
{
    struct err e = {0};
    size_t header;
    FILE *f = fopen(scratch("model.safetensors"), "wb");

    if (!f || st_write_header(f, m->tensor, m->tensors, &header, &e))
        die(&e);
    for (size_t i = 0; i < m->tensors; i++)
        fwrite(m->tensor[i].data, 1, m->tensor[i].bytes, f);
    if (fclose(f))
        exit(1);
}

static int open_changed(struct model *m, struct weights *w, struct err *e)
{
    write_document("config.json", m->config);
    write_document("hf_quant_config.json", m->hf);
    write_tensors(m);
    *e = (struct err){0};
    return weights_open(w, scratch_dir(), e);
}

/* Opens, or fails with a message that holds both texts. */
static void opens(struct model *m, const char *what)
{
    struct weights w;
    struct err e;
    int ret = open_changed(m, &w, &e);

    CHECK(ret == 0, "%s: opens %s", what, e.msg);
    weights_close(&w);
}

static void refused(struct model *m, const char *what, const char *says, const char *also)
{
    struct weights w;
    struct err e;
    int ret = open_changed(m, &w, &e);

    CHECK(ret == -1 && e.rc == RC_DATA && strstr(e.msg, says) && strstr(e.msg, also) &&
              strstr(e.msg, scratch_dir()),
          "%s: %s", what, e.msg);
    weights_close(&w);
}

#endif
