/* states.c - what a reference computed, kept: in memory, and read from a file */
#include "common/model/states.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/model/states_file.h"
#include "common/model/visit.h"

const char *states_head_digest(struct model *m)
{
    const struct st_tensor *t = m->stage[m->head].head->info->weight;
    struct sha256 s;

    if (!*m->head_digest) {
        sha256_init(&s);
        sha256_add(&s, t->data, t->bytes);
        sha256_hex(&s, m->head_digest);
    }
    return m->head_digest;
}

void states_samples_digest(const struct samples *samples, char hex[SHA256_HEX])
{
    struct sha256 s;
    char line[32];

    sha256_init(&s);
    sha256_add(&s, samples->digest, SHA256_HEX - 1);
    for (size_t i = 0; i < samples->n; i++)
        sha256_add(&s, line, (size_t)snprintf(line, sizeof line, "%zu\n", samples->sample[i].index));
    sha256_hex(&s, hex);
}

int states_describe(struct states *s, struct model *m, const struct samples *samples, struct err *e)
{
    struct origin made;

    *s = (struct states){.hidden = m->config->hidden, .vocab = m->config->vocab, .dtype = DT_F32};
    for (size_t i = 0; i < samples->n; i++)
        s->tokens += samples->sample[i].tokens;
    strcpy(s->model, m->digest);
    states_samples_digest(samples, s->samples);
    strcpy(s->head, states_head_digest(m));
    if (origin_of_model(&s->origin, m, e))
        return -1;
    origin_of_samples(&made, samples);
    if (!*s->origin.tokenizer)
        strcpy(s->origin.tokenizer, made.tokenizer);
    return 0;
}

/* ---- in memory ---- */

struct keep {
    struct visit visit;
    struct states *s;
    size_t row;
};

static int keep_batch(struct visit *v, struct walk *w, size_t first, struct err *e)
{
    struct keep *k = (struct keep *)v;
    size_t bytes = k->s->hidden * w->m->be->act_bytes;

    (void)first;
    w->m->be->download(w->m->be, (char *)k->s->norm + k->row * bytes, w->norm, w->b->tokens * bytes);
    k->row += w->b->tokens;
    return be_check(w->m->be, e);
}

int states_make(struct states *s, struct model *m, const struct samples *samples, size_t rows,
                struct progress *p, struct err *e)
{
    struct keep k = {.visit.batch = keep_batch, .s = s};
    size_t count;

    if (states_describe(s, m, samples, e) ||
        mem_mul(s->tokens, s->hidden, &count, "the reference's states", e))
        return -1;
    s->norm = mem_zalloc(count, m->be->act_bytes, e);
    return s->norm ? visit_batches(m, samples->sample, samples->n, rows, &k.visit, p, e) : -1;
}

/* ---- a file ---- */

const struct chunks_type states_type = {"OCTSTATE", 2, "reference states", "make it again with --save-ref"};

static size_t row_bytes(const struct states *s)
{
    return s->hidden * dtype_bytes(s->dtype) + sizeof(float) + sizeof(int32_t);
}

static int get_digest(const json_t *head, const char *key, bool required, char hex[SHA256_HEX],
                      const char *path, struct err *e)
{
    const json_t *v = json_object_get(head, key);
    const char *s = json_string_value(v);

    if (!required && (!v || json_is_null(v)))
        return 0;
    if (!s || json_string_length(v) != SHA256_HEX - 1 || strspn(s, "0123456789abcdef") != SHA256_HEX - 1)
        return err_set(e, RC_DATA, "'%s': its header's '%s' is not a SHA-256 in hexadecimal digits; %s", path,
                       key, states_type.remedy);
    strcpy(hex, s);
    return 0;
}

static int read_head(struct states *s, const json_t *head, const char *path, struct err *e)
{
    const char *dtype;

    *s = (struct states){.kept = true};
    if (json_get_str(head, "dtype", &dtype, path, e) || json_get_size(head, "hidden", &s->hidden, path, e) ||
        json_get_size(head, "vocab", &s->vocab, path, e) ||
        json_get_size(head, "tokens", &s->tokens, path, e) ||
        get_digest(head, "model", true, s->model, path, e) ||
        get_digest(head, "head", true, s->head, path, e) ||
        get_digest(head, "samples", true, s->samples, path, e) ||
        get_digest(head, "tokenizer", false, s->origin.tokenizer, path, e) ||
        get_digest(head, "processor", false, s->origin.processor, path, e))
        return -1;
    s->dtype = st_dtype(dtype);
    if (s->dtype != DT_F32 && s->dtype != DT_BF16)
        return err_set(e, RC_DATA, "'%s': its header's 'dtype' is '%s', and BF16 or F32 are read; %s", path,
                       dtype, states_type.remedy);
    if (s->hidden == 0 || s->hidden > (size_t)1 << 24)
        return err_set(e, RC_DATA, "'%s': its header's 'hidden' is %zu; %s", path, s->hidden,
                       states_type.remedy);
    return 0;
}

int states_chunk_tokens(const struct states *s, const struct chunk *c, size_t number, const char *path,
                        size_t *tokens, struct err *e)
{
    *tokens = c->bytes / row_bytes(s);
    if (c->kind == STATES_ROWS && c->bytes && c->bytes % row_bytes(s) == 0)
        return 0;
    return err_set(e, RC_DATA, "'%s': chunk %zu, of kind %u, is not a whole number of rows; %s", path, number,
                   c->kind, states_type.remedy);
}

int states_open(struct states *s, const char *path, struct err *e)
{
    struct chunks file;
    size_t n;

    *s = (struct states){0};
    if (chunks_read(&file, &states_type, path, true, e))
        return err_prefix(e, "reference states");
    if (read_head(s, file.head, path, e)) {
        chunks_release(&file);
        return -1;
    }
    s->file = file;
    s->first = mem_zalloc(file.n + 1, sizeof *s->first, e);
    if (!s->first)
        goto fail;
    for (size_t i = 0; i < file.n; i++) {
        if (states_chunk_tokens(s, &file.chunk[i], i + 1, path, &n, e))
            goto fail;
        s->first[i + 1] = s->first[i] + n;
    }
    if (s->first[file.n] == s->tokens) {
        chunks_digest(&file, s->digest);
        return 0;
    }
    err_set(e, RC_DATA, "'%s' has %zu tokens, and its header promises %zu; %s", path, s->first[file.n],
            s->tokens, states_type.remedy);
fail:
    states_release(s);
    return -1;
}

/* n rows of one chunk, from its row `row` on. */
static void chunk_rows(const struct states *s, size_t chunk, size_t row, size_t n, float *out, float *lse,
                       int32_t *argmax)
{
    size_t tokens = s->first[chunk + 1] - s->first[chunk], width = dtype_bytes(s->dtype);
    const uint8_t *x = s->file.chunk[chunk].data, *sums = x + tokens * s->hidden * width;

    x += row * s->hidden * width;
    if (s->dtype == DT_F32)
        memcpy(out, x, n * s->hidden * width);
    else
        for (size_t i = 0; i < n * s->hidden; i++) {
            uint16_t h;

            memcpy(&h, x + 2 * i, sizeof h);
            out[i] = bf16_to_f32(h);
        }
    memcpy(lse, sums + row * sizeof *lse, n * sizeof *lse);
    memcpy(argmax, sums + tokens * sizeof *lse + row * sizeof *argmax, n * sizeof *argmax);
}

void states_rows(const struct states *s, size_t first, size_t n, float *out, float *lse, int32_t *argmax)
{
    size_t chunk = 0;

    for (size_t high = s->file.n; high - chunk > 1;) {
        size_t middle = chunk + (high - chunk) / 2;

        *(s->first[middle] <= first ? &chunk : &high) = middle;
    }
    for (size_t done = 0, k; done < n; done += k, chunk++) {
        k = s->first[chunk + 1] - (first + done);
        k = k < n - done ? k : n - done;
        chunk_rows(s, chunk, first + done - s->first[chunk], k, out + done * s->hidden, lse + done,
                   argmax + done);
    }
}

void states_upload(const struct states *s, struct backend *be, void *x, size_t first, size_t n)
{
    size_t bytes = s->hidden * be->act_bytes;

    be->upload(be, x, (const char *)s->norm + first * bytes, n * bytes);
}

void states_release(struct states *s)
{
    free(s->norm);
    free(s->first);
    chunks_release(&s->file);
    *s = (struct states){0};
}
