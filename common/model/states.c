/* states.c - what a reference computed, kept */
#include "common/model/states.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/cli.h"
#include "common/base/mem.h"
#include "common/model/visit.h"

void states_head_digest(const struct model *m, char hex[SHA256_HEX])
{
    const struct st_tensor *t = m->stage[m->head].head->info->weight;
    struct sha256 s;

    sha256_init(&s);
    sha256_add(&s, t->data, t->bytes);
    sha256_hex(&s, hex);
}

struct keep {
    struct visit visit;
    struct states *s;
    size_t row;
};

static int keep_batch(struct visit *v, struct walk *w, size_t first, struct err *e)
{
    struct keep *k = (struct keep *)v;

    (void)first;
    w->m->be->download_act(w->m->be, k->s->norm + k->row * k->s->hidden, w->norm, w->b->tokens * k->s->hidden);
    k->row += w->b->tokens;
    return be_check(w->m->be, e);
}

void states_samples_digest(const struct sample *sample, size_t n, const char *stream_digest, char hex[SHA256_HEX])
{
    struct sha256 s;
    char line[32];

    sha256_init(&s);
    sha256_add(&s, stream_digest, SHA256_HEX - 1);
    for (size_t i = 0; i < n; i++)
        sha256_add(&s, line, (size_t)snprintf(line, sizeof line, "%zu\n", sample[i].index));
    sha256_hex(&s, hex);
}

int states_make(struct states *s, struct model *m, const struct sample *sample, size_t n, const char *stream_digest,
                size_t rows, struct progress *p, struct err *e)
{
    struct keep k = {.visit.batch = keep_batch, .s = s};
    size_t count;

    *s = (struct states){.hidden = m->config->hidden};
    for (size_t i = 0; i < n; i++)
        s->tokens += sample[i].tokens;
    strcpy(s->model, m->digest);
    states_samples_digest(sample, n, stream_digest, s->samples);
    states_head_digest(m, s->head);
    if (mem_mul(s->tokens, s->hidden, &count, "the reference's states", e))
        return -1;
    s->norm = mem_zalloc(count, sizeof *s->norm, e);
    return s->norm ? visit_batches(m, sample, n, rows, &k.visit, p, e) : -1;
}

enum { PARTS = 5 };

/* The tensors of a file of states, in the order of their data. */
static void parts(struct st_tensor t[PARTS], const struct states *s, char sum[SHA256_HEX])
{
    static const char *const names[PARTS] = {"states", "model", "samples", "head", "sum"};
    const void *data[PARTS] = {s->norm, s->model, s->samples, s->head, sum};
    size_t n = s->tokens * s->hidden;

    t[0] = (struct st_tensor){.dtype = DT_F32, .ndim = 2, .shape = {s->tokens, s->hidden}, .count = n,
                              .bytes = n * sizeof *s->norm};
    for (int i = 1; i < PARTS; i++)
        t[i] = (struct st_tensor){.dtype = DT_U8, .ndim = 1, .shape = {SHA256_HEX - 1}, .count = SHA256_HEX - 1,
                                  .bytes = SHA256_HEX - 1};
    for (int i = 0; i < PARTS; i++) {
        t[i].name = (char *)names[i];
        t[i].data = data[i];
    }
}

static void sum_states(const struct states *s, char hex[SHA256_HEX])
{
    struct sha256 sha;

    sha256_init(&sha);
    sha256_add(&sha, s->norm, s->tokens * s->hidden * sizeof *s->norm);
    sha256_add(&sha, s->model, SHA256_HEX - 1);
    sha256_add(&sha, s->samples, SHA256_HEX - 1);
    sha256_add(&sha, s->head, SHA256_HEX - 1);
    sha256_hex(&sha, hex);
}

int states_save(const struct states *s, const char *path, struct err *e)
{
    struct st_tensor t[PARTS];
    struct file_out o;
    char sum[SHA256_HEX];
    size_t header;
    int ret = -1;

    sum_states(s, sum);
    parts(t, s, sum);
    if (file_create(&o, path, cli_force, true, e))
        return -1;
    if (st_write_header(o.f, t, PARTS, &header, e))
        goto out;
    for (int i = 0; i < PARTS; i++)
        if (fwrite(t[i].data, 1, t[i].bytes, o.f) != t[i].bytes) {
            err_sys(e, "cannot write '%s'", path);
            goto out;
        }
    ret = file_commit(&o, e);
out:
    file_discard(&o);
    return ret;
}

int states_load(struct states *s, const char *path, struct err *e)
{
    struct st_tensor want[PARTS];
    struct st_file st = {0};
    char sum[SHA256_HEX], is[SHA256_HEX] = "";
    char *text[PARTS] = {NULL, s->model, s->samples, s->head, is};
    int ret = -1;

    *s = (struct states){0};
    if (st_open(&st, path, e))
        return err_prefix(e, "reference states");
    if (st.tensors != PARTS || st.tensor[0].ndim != 2 || st.tensor[0].dtype != DT_F32)
        goto other;
    s->tokens = st.tensor[0].shape[0];
    s->hidden = st.tensor[0].shape[1];
    parts(want, s, sum);
    for (int i = 0; i < PARTS; i++)
        if (strcmp(st.tensor[i].name, want[i].name) || st.tensor[i].dtype != want[i].dtype ||
            st.tensor[i].bytes != want[i].bytes)
            goto other;
    s->norm = mem_zalloc(st.tensor[0].count, sizeof *s->norm, e);
    if (!s->norm)
        goto out;
    memcpy(s->norm, st.tensor[0].data, st.tensor[0].bytes);
    for (int i = 1; i < PARTS; i++)
        memcpy(text[i], st.tensor[i].data, SHA256_HEX - 1);
    sum_states(s, sum);
    if (strcmp(sum, is)) {
        err_set(e, RC_DATA, "'%s' is damaged: it does not have its checksum; make it again with --save-ref", path);
        goto out;
    }
    ret = 0;
    goto out;
other:
    err_set(e, RC_DATA, "'%s' is not a file of reference states; --save-ref makes one", path);
out:
    st_close(&st);
    if (ret)
        states_release(s);
    return ret;
}

void states_release(struct states *s)
{
    free(s->norm);
    *s = (struct states){0};
}
