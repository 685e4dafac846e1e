/* partial.c - what a run has computed so far, kept beside its output until that is there */
#include "common/model/partial.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cli.h"
#include "common/base/mem.h"

static const struct chunks_type type = {"OCTETRUN", 1, "an interrupted run", "remove it to begin anew"};

void partial_identity(char hex[SHA256_HEX], const struct backend *be, const char *const *text, size_t n)
{
    const char *all[] = {cli_name(), cli_version(), be->name, be_dtype(be)};
    struct sha256 s;

    sha256_init(&s);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sha256_add(&s, all[i], strlen(all[i]) + 1);
    for (size_t i = 0; i < n; i++)
        sha256_add(&s, text[i], strlen(text[i]) + 1);
    sha256_hex(&s, hex);
}

static json_t *make_head(const char *identity, struct err *e)
{
    json_t *head = json_object();

    if (json_put(head, "tool", json_string(cli_name()), e) ||
        json_put(head, "version", json_string(cli_version()), e) ||
        json_put(head, "identity", json_string(identity), e)) {
        json_decref(head);
        return NULL;
    }
    return head;
}

int partial_open(struct partial *p, const char *output, const char identity[SHA256_HEX], struct err *e)
{
    int there;

    *p = (struct partial){0};
    if (!output || !strcmp(output, "-"))
        return 0;
    p->head = make_head(identity, e);
    p->path = p->head ? mem_printf(e, "%s.part", output) : NULL;
    there = p->path ? file_exists(p->path, e) : -1;
    if (there < 0 || (there && chunks_read(&p->old, &type, p->path, false, e)))
        return -1;
    if (there && !json_equal(p->old.head, p->head)) {
        snprintf(p->remark, sizeof p->remark, "'%s' is of other inputs, options or another version: ignored",
                 p->path);
        chunks_release(&p->old);
    } else if (p->old.n)
        snprintf(p->remark, sizeof p->remark, "going on with '%s'", p->path);
    return 0;
}

const struct chunk *partial_peek(const struct partial *p, uint32_t kind)
{
    if (p->out.path || p->taken >= p->old.n || p->old.chunk[p->taken].kind != kind)
        return NULL;
    return &p->old.chunk[p->taken];
}

const struct chunk *partial_take(struct partial *p, uint32_t kind)
{
    const struct chunk *c = partial_peek(p, kind);

    p->taken += c != NULL;
    return c;
}

static int begin(struct partial *p, struct err *e)
{
    if (p->out.path)
        return 0;
    return p->old.head ? chunks_resume(&p->out, &p->old, p->taken, e) : chunks_create(&p->out, &type, p->path,
                                                                                      p->head, e);
}

int partial_put(struct partial *p, uint32_t kind, const struct chunks_part *part, size_t parts, struct err *e)
{
    if (!p->path)
        return 0;
    return begin(p, e) || chunks_put(&p->out, kind, part, parts, e) ? -1 : 0;
}

void partial_close(struct partial *p, bool done)
{
    if ((p->out.path && (done || p->out.n == 0)) || (done && p->old.head))
        unlink(p->path);
    chunks_close(&p->out);
    chunks_release(&p->old);
    json_decref(p->head);
    free(p->path);
    *p = (struct partial){0};
}
