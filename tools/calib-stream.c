/*
 * calib-stream.c - captions and pictures to token ids and resized pixels: the stream that the model's tools
 * read
 */
#include <limits.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cli.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/progress.h"
#include "common/image/processor.h"
#include "common/io/calib.h"
#include "common/io/doc.h"
#include "common/io/samples.h"
#include "common/model/prompt.h"
#include "common/text/chat.h"

enum style { STYLE_DESCRIBE, STYLE_CAPTION, STYLE_TEXT };
static const char *const style_name[] = {"describe", "caption", "text", NULL};
static const char *const resampler_name[] = {"torchvision", "pil", NULL}; /* in the order of enum resample */

static const char *model, *style_arg, *prompt, *images, *resampler, *output;
static long count = -1, max_length = LONG_MAX; /* -1: all */
static bool skip_missing, skip_long;

static const struct cli_opt opts[] = {
    {OPT_STR, 'm', "model", &model, "MODEL", "model directory: its tokenizer and picture settings", 0, 0,
     NULL},
    {OPT_CHOICE, 0, "style", &style_arg, NULL,
     "what a sample is (default: describe, of caption lists text)", 0, 0, style_name},
    {OPT_STR, 0, "prompt", &prompt, "TEXT", "what describe asks (default \"Describe this image.\")", 0, 0,
     NULL},
    {OPT_STR, 0, "images", &images, "DIR", "folder of the split folders (default: where the source says)", 0,
     0, NULL},
    {OPT_LONG, 'n', "count", &count, "N", "the first N captions (COCO annotations: pictures)", 1, INT_MAX,
     NULL},
    {OPT_LONG, 0, "max-length", &max_length, "N", "cut longer samples after N tokens, pictures never", 2,
     INT_MAX, NULL},
    {OPT_CHOICE, 0, "resampler", &resampler, NULL,
     "how pictures are resized (default: as the model's settings say)", 0, 0, resampler_name},
    {OPT_FLAG, 0, "skip-missing", &skip_missing, NULL,
     "leave out samples whose picture is missing, and list them", 0, 0, NULL},
    {OPT_FLAG, 0, "skip-long", &skip_long, NULL,
     "leave out samples whose picture and prompt exceed --max-length", 0, 0, NULL},
    CLI_OUTPUT(output, "write to FILE (default: standard output)"),
    CLI_QUIET,
    {.kind = OPT_END},
};
static const struct cli tool = {
    "calib-stream", "-m MODEL [SOURCE...]", "turn captions and pictures into a stream of samples", opts, 0,
    -1,
};

/* ---- what is to be made ---- */

struct job {
    char *id, *picture; /* picture: path of the file, NULL for text */
    const char *caption; /* borrowed from the source */
    enum style style;
};

struct plan {
    struct calib *source;
    size_t sources;
    struct job *job;
    size_t jobs, cap;
    size_t missing, empty;
    bool mixed, pictures; /* more than one style; any style with pictures */
    enum style style;     /* of the first source */
};

static void plan_release(struct plan *p)
{
    for (size_t i = 0; i < p->jobs; i++) {
        free(p->job[i].id);
        free(p->job[i].picture);
    }
    free(p->job);
    for (size_t i = 0; i < p->sources; i++)
        calib_release(&p->source[i]);
    free(p->source);
    *p = (struct plan){0};
}

static int style_of(const struct calib *c, const char *path, enum style *style, struct err *e)
{
    *style = c->kind == CALIB_CAPTIONS ? STYLE_TEXT : STYLE_DESCRIBE;
    if (style_arg)
        for (*style = 0; strcmp(style_name[*style], style_arg); (*style)++)
            ;
    if (c->kind == CALIB_CAPTIONS && *style != STYLE_TEXT)
        return err_set(e, RC_USAGE, "--style %s needs pictures, and '%s' is a list of captions alone",
                       style_name[*style], file_label(path));
    if (*style != STYLE_TEXT && !images && !c->root)
        return err_set(e, RC_USAGE, "'%s' does not say where its pictures are: give --images DIR",
                       file_label(path));
    return 0;
}

/*
 * "val2017/000000100001.jpg", "text/100001"; captions of a database are told apart by "#" and the caption's
 * id.
 */
static char *job_id(const struct calib *c, const struct calib_item *it, enum style style, struct err *e)
{
    char suffix[32] = "";

    if (c->kind == CALIB_DATABASE)
        snprintf(suffix, sizeof suffix, "#%lld", (long long)it->caption_id);
    if (style != STYLE_TEXT)
        return mem_printf(e, "%s%s", it->picture, suffix);
    if (it->line)
        return mem_printf(e, "text/%zu", it->line);
    return mem_printf(e, "text/%lld%s", (long long)it->image_id, suffix);
}

/* List the first of the missing pictures; a wrong folder would list thousands. */
static void report_missing(struct plan *p, const char *path)
{
    enum { LISTED = 20 };

    if (p->missing < LISTED)
        cli_warn("'%s' is missing: left out", path);
    p->missing++;
}

static int add_job(struct plan *p, const struct calib *c, const struct calib_item *it, enum style style,
                   struct err *e)
{
    struct job j = {.caption = it->caption, .style = style};
    int there = 1;

    if (!*it->caption) {
        p->empty++;
        return 0;
    }
    j.id = job_id(c, it, style, e);
    if (!j.id)
        return -1;
    if (style != STYLE_TEXT) {
        j.picture = file_join(images ? images : c->root, it->picture, e);
        there = j.picture ? file_exists(j.picture, e) : -1;
    }
    if (there == 0 && skip_missing)
        report_missing(p, j.picture);
    else if (there == 0)
        err_set(e, RC_SYS,
                "'%s', the picture of sample '%s', is missing; --images names the pictures' folder, "
                           "--skip-missing leaves such samples out", j.picture, j.id);
    if (there == 1 && mem_grow((void **)&p->job, p->jobs, &p->cap, sizeof *p->job, e) == 0) {
        p->job[p->jobs++] = j;
        return 0;
    }
    free(j.picture);
    free(j.id);
    return e->rc == RC_OK ? 0 : -1;
}

static int add_source(struct plan *p, const char *path, size_t *left, struct err *e)
{
    struct calib *c = &p->source[p->sources];
    enum style style;

    if (calib_read(c, path, e))
        return -1;
    p->sources++;
    if (c->remark)
        cli_warn("%s", c->remark);
    if (style_of(c, path, &style, e))
        return -1;
    if (p->sources == 1)
        p->style = style;
    p->mixed |= style != p->style;
    p->pictures |= style != STYLE_TEXT;
    if (c->kind == CALIB_COCO) /* the last caption, so that texts are not what a picture's sample says */
        calib_one_per_image(c, style == STYLE_TEXT);
    for (size_t i = 0; i < c->n && *left; i++, --*left)
        if (add_job(p, c, &c->item[i], style, e))
            return -1;
    return 0;
}

static int plan_make(struct plan *p, char *const *path, size_t paths, struct err *e)
{
    size_t left = count < 0 ? SIZE_MAX : (size_t)count;

    p->source = mem_zalloc(paths, sizeof *p->source, e);
    if (!p->source)
        return -1;
    for (size_t i = 0; i < paths; i++)
        if (add_source(p, path[i], &left, e))
            return -1;
    if (prompt && (p->mixed || p->style != STYLE_DESCRIBE))
        return err_set(e, RC_USAGE, "--prompt belongs to --style describe");
    if (p->missing)
        cli_warn("%zu pictures are missing; their samples are left out", p->missing);
    if (p->empty)
        cli_warn("%zu empty captions are left out", p->empty);
    if (!p->jobs)
        return err_set(e, RC_DATA, "no sample is left");
    if (count > 0 && left)
        cli_note("%zu of the %ld captions asked for are there", (size_t)count - left, count);
    return 0;
}

/* ---- making a sample ---- */

struct maker {
    struct tokenizer *tok;
    struct chat_form form;
    struct processor proc;
    int32_t image_pad;
};

static int maker_open(struct maker *m, const struct plan *p, struct err *e)
{
    if (tokenizer_open(&m->tok, model, e))
        return -1;
    if (!p->pictures)
        return 0;
    if (chat_open(&m->form, model, e) || processor_read_dir(&m->proc, model, e))
        return -1;
    if (m->form.unknown)
        cli_warn("the chat template of '%s' is not the one of Qwen2.5-VL, whose form is used", model);
    if (resampler)
        m->proc.resample = resampler == resampler_name[RESAMPLE_PIL] ? RESAMPLE_PIL : RESAMPLE_TORCHVISION;
    m->image_pad = tokenizer_id(m->tok, "<|image_pad|>");
    if (m->image_pad < 0)
        return err_set(e, RC_DATA, "the tokenizer of '%s' has no <|image_pad|>: use --style text", model);
    return 0;
}

static int make_picture(const struct maker *m, const struct job *j, struct sample *s, struct err *e)
{
    s->image = mem_zalloc(1, sizeof *s->image, e);
    return s->image ? prompt_picture(s, j->picture, &m->proc, e) : -1;
}

/* One user turn of the picture and a text, and the head of the answer. */
static int render(const struct maker *m, const char *words, struct text *out, struct err *e)
{
    const struct chat_item item[] = {{CHAT_IMAGE, NULL, 0}, {CHAT_TEXT, words, strlen(words)}};
    const struct chat_message message = {"user", item, 2};
    const struct chat_options o = {.generation_prompt = true};

    return chat_render(&m->form, &message, 1, &o, out, e);
}

/*
 * The ids of a sample, and the number of tokens that a cut must leave: the picture, and one token that is
 * scored.  *scored: where the loss begins.
 */
static int make_ids(const struct maker *m, const struct job *j, const struct sample *s, struct ids *ids,
                    size_t *scored, size_t *needed, struct err *e)
{
    struct text t = {0};
    struct ids before = {0};
    size_t tokens = 0;
    int ret = -1;

    *scored = *needed = 1;
    if (j->style == STYLE_TEXT)
        return tokenizer_encode(m->tok, j->caption, strlen(j->caption), ids, e);
    tokens = s->image[0].h * s->image[0].w / (m->proc.merge_size * m->proc.merge_size);
    if (render(m, j->style == STYLE_CAPTION ? j->caption : prompt ? prompt : "Describe this image.", &t, e))
        goto out;
    if (j->style == STYLE_DESCRIBE) {
        if (chat_encode(m->tok, t.v, t.n, &tokens, 1, &before, e) || text_add_str(&t, j->caption, e) ||
            text_add_str(&t, "<|im_end|>", e))
            goto out;
        *scored = before.n;
    }
    if (chat_encode(m->tok, t.v, t.n, &tokens, 1, ids, e))
        goto out;
    for (size_t i = 0; i < ids->n; i++)
        if (ids->v[i] == m->image_pad)
            *needed = i + 2; /* and <|vision_end|> */
    if (j->style == STYLE_DESCRIBE)
        *needed = *scored + 1;
    ret = 0;
out:
    ids_release(&before);
    text_release(&t);
    return ret;
}

/* 1: made; 0: too long, and to be left out; -1: e says why not. */
static int make(const struct maker *m, const struct job *j, struct sample *s, struct err *e)
{
    struct ids ids = {0};
    size_t scored, needed;
    int ret = -1;

    *s = (struct sample){0};
    s->id = mem_strdup(j->id, e);
    if (!s->id || (j->picture && make_picture(m, j, s, e)))
        goto out;
    if (make_ids(m, j, s, &ids, &scored, &needed, e)) {
        err_prefix(e, "sample '%s'", j->id);
        goto out;
    }
    if (needed > (size_t)max_length) {
        if (skip_long)
            ret = 0;
        else
            err_set(e, RC_DATA, "sample '%s' needs %zu tokens before the first that may be cut, more than "
                                "--max-length %ld; --skip-long leaves such samples out", j->id, needed,
                                    max_length);
        goto out;
    }
    s->tokens = ids.n < (size_t)max_length ? ids.n : (size_t)max_length;
    s->ids = ids.v;
    ids.v = NULL;
    s->loss = mem_zalloc(s->tokens, 1, e);
    if (!s->loss)
        goto out;
    for (size_t i = scored; i < s->tokens; i++)
        s->loss[i] = j->style == STYLE_TEXT || s->ids[i] != m->image_pad;
    ret = 1;
out:
    ids_release(&ids);
    if (ret <= 0)
        sample_release(s);
    return ret;
}

/* ---- the stream ---- */

static json_t *header(const struct plan *p, const struct maker *m, char *const *path, struct err *e)
{
    json_t *head = doc_new(SAMPLES_SCHEMA, e), *sources = json_array();
    char hex[SHA256_HEX], pixels[SHA256_HEX], role[32];

    for (size_t i = 0; head && i < p->sources; i++) {
        const char *slash = strrchr(path[i], '/');

        snprintf(role, sizeof role, i ? "source.%zu" : "source", i + 1);
        if (doc_from(head, role, p->source[i].digest, e) ||
            json_push(sources, json_string(slash && slash[1] ? slash + 1 : path[i]), e))
            goto bad;
    }
    processor_digest(&m->proc, pixels);
    if (!head || tokenizer_digest(m->tok, hex, e) || json_put(head, "sources", json_incref(sources), e) ||
        json_put(head, "style", json_string(p->mixed ? "mixed" : style_name[p->style]), e) ||
        json_put(head, "tokenizer", json_string(hex), e) ||
        json_put(head, "processor", p->pictures ? json_string(pixels) : json_null(), e) ||
        json_put(head, "resampler", p->pictures ? json_string(resampler_name[m->proc.resample]) : json_null(),
                 e))
        goto bad;
    if (!skip_long && json_put(head, "count", json_integer((json_int_t)p->jobs), e))
        goto bad;
    json_decref(sources);
    return head;
bad:
    json_decref(sources);
    json_decref(head);
    return NULL;
}

/* What one job came to. */
struct made {
    struct sample s;
    int result; /* of make() */
    struct err e;
};

/*
 * Samples are made by all threads, a block at a time, and written in their order: memory holds one block, and
 * the first error in that order is the one reported.  (OpenMP's "ordered" would need no blocks, but its
 * threads spin while they wait for their turn: on a busy machine that made texts fifty times slower.)
 */
static int stream(const struct plan *p, const struct maker *m, struct samples_writer *w, struct err *e)
{
    const size_t block = p->pictures ? 4 * (size_t)omp_get_max_threads() : 4096;
    struct made *made = mem_zalloc(block, sizeof *made, e);
    struct progress bar;
    size_t too_long = 0;

    if (!made)
        return -1;
    progress_begin(&bar, "samples", "samples", p->jobs);
    for (size_t first = 0; first < p->jobs && e->rc == RC_OK; first += block) {
        size_t n = p->jobs - first < block ? p->jobs - first : block;

#pragma omp parallel for schedule(dynamic, p->pictures ? 1 : 64)
        for (size_t i = 0; i < n; i++) {
            made[i].e = (struct err){0};
            made[i].result = make(m, &p->job[first + i], &made[i].s, &made[i].e);
        }
        for (size_t i = 0; i < n; i++) {
            if (made[i].result < 0 && e->rc == RC_OK)
                *e = made[i].e;
            if (made[i].result == 1 && e->rc == RC_OK)
                samples_put(w, &made[i].s, e);
            too_long += made[i].result == 0;
            sample_release(&made[i].s);
        }
        progress_add(&bar, n);
    }
    progress_end(&bar);
    free(made);
    if (e->rc != RC_OK)
        return -1;
    if (too_long)
        cli_warn("%zu samples exceed --max-length with their picture and prompt alone; they are left out",
                 too_long);
    if (!w->n)
        return err_set(e, RC_DATA, "no sample is left");
    return samples_end(w, e);
}

static int run(char *const *path, size_t paths, struct err *e)
{
    struct plan p = {0};
    struct maker m = {0};
    struct file_out out = {0};
    struct samples_writer w;
    json_t *head = NULL;
    int ret = -1;

    if (!model)
        return err_set(e, RC_USAGE, "-m MODEL is missing (see calib-stream --help)");
    if (plan_make(&p, path, paths, e) || maker_open(&m, &p, e))
        goto out;
    head = header(&p, &m, path, e);
    if (!head || file_create(&out, output, cli_force, true, e) ||
        samples_begin(&w, out.f, output ? output : "standard output", head, e) || stream(&p, &m, &w, e))
        goto out;
    ret = file_commit(&out, e);
out:
    file_discard(&out);
    json_decref(head);
    tokenizer_free(m.tok);
    plan_release(&p);
    return ret;
}

int main(int argc, char **argv)
{
    static char standard[] = "-";
    char *input[] = {standard};
    struct err e = {0};
    size_t n;
    char **path = cli_parse(&tool, argc, argv, &n);

    run(n ? path : input, n ? n : 1, &e);
    return cli_finish(&e);
}
