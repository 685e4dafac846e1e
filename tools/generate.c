/* generate.c - what a model answers: greedy decoding over cached keys and values */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cli.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/progress.h"
#include "common/model/generate.h"
#include "common/model/run.h"
#include "common/model/prompt.h"
#include "common/text/utf8.h"

static const char *model_dir, *scheme_path, *output;
static struct cli_list images;
static long most = 256;
static double penalty = 1;
static bool raw;
static struct run_options ro = RUN_DEFAULTS;

static const struct cli_opt opts[] = {
    RUN_MODEL(model_dir, "a model or a quantized checkpoint (required)"),
    RUN_SCHEME(scheme_path),
    {.kind = OPT_LIST, .letter = 'i', .name = "image", .to = &images, .arg = "FILE",
     .help = "a picture that the prompt is about; may be given again"},
    {.kind = OPT_LONG, .letter = 'n', .name = "count", .to = &most, .arg = "N", .min = 1, .max = INT_MAX,
     .help = "generate at most N tokens (default 256)"},
    {.kind = OPT_FLAG, .name = "raw", .to = &raw,
     .help = "take the prompt as it stands, without the chat template"},
    {.kind = OPT_DOUBLE, .name = "repetition-penalty", .to = &penalty, .arg = "R", .min = 0.01, .max = 100,
     .help = "divide the logits of tokens that occurred by R (default 1: none)"},
    RUN_DEVICE(ro),
    RUN_DTYPE(ro),
    RUN_MEMORY(ro),
    CLI_OUTPUT(output, "write the text here (default: standard output)"),
    CLI_QUIET,
    {.kind = OPT_END},
};

static const struct cli tool = {
    .name = "generate",
    .operands = "-m MODEL [PROMPT]",
    .summary = "The model's answer to a prompt, about pictures if any: the most probable token, each time.",
    .opts = opts,
    .max_operands = 1,
};

/* The operand, or all of standard input, where the newline at its end is no part of a question. */
static int read_prompt(struct prompt *p, uint8_t **owned, const char *operand, struct err *e)
{
    p->text = operand;
    if (operand && strcmp(operand, "-")) {
        p->n = strlen(operand);
        return 0;
    }
    if (file_read(NULL, owned, &p->n, e))
        return -1;
    p->text = (const char *)*owned;
    p->n -= !raw && p->n && p->text[p->n - 1] == '\n';
    return 0;
}

static int make_sample(struct sample *s, const char *operand, const struct model *m,
                       const struct tokenizer *t, struct err *e)
{
    struct prompt p = {.raw = raw, .pictures = images.n};
    const char **picture = mem_zalloc(images.n, sizeof *picture, e);
    struct chat_form form;
    uint8_t *owned = NULL;
    int ret = -1;

    if (!picture || read_prompt(&p, &owned, operand, e) || (!raw && chat_open(&form, model_dir, e)))
        goto out;
    if (!raw && form.unknown)
        cli_warn("the chat template of '%s' is not the one of Qwen2.5-VL, whose form is used; see --raw",
                 model_dir);
    for (size_t i = 0; i < images.n; i++)
        picture[i] = images.item[i].value;
    p.picture = picture;
    ret = prompt_make(s, &p, m, t, &form, e);
out:
    free(owned);
    free(picture);
    return ret;
}

static int put(FILE *f, struct text *t, struct err *e)
{
    if (t->n && (fwrite(t->v, 1, t->n, f) != t->n || fflush(f)))
        return err_sys(e, "cannot write %s", output ? output : "standard output");
    t->n = 0;
    return 0;
}

static bool stops(const struct ids *stop, int32_t id)
{
    for (size_t i = 0; i < stop->n; i++)
        if (stop->v[i] == id)
            return true;
    return false;
}

/* Tokens until one that stops, as text the moment that its characters are whole; *count: how many. */
static int decode(struct generate *g, const struct tokenizer *t, const struct ids *stop, FILE *f,
                  size_t *count, struct err *e)
{
    struct text bytes = {0}, whole = {0};
    int32_t id;
    int ret = -1;

    for (*count = 0; *count < (size_t)most; ++*count) {
        if (*count && generate_step(g, id, e))
            goto out;
        if (generate_greedy(g, (float)penalty, &id, e))
            goto out;
        if (stops(stop, id))
            break;
        if (tokenizer_bytes(t, &id, 1, true, &bytes, e) || utf8_take(&bytes, &whole, e) || put(f, &whole, e))
            goto out;
    }
    if ((bytes.n == 0 || utf8_repair(bytes.v, bytes.n, &whole, e) == 0) && text_add_str(&whole, "\n", e) == 0)
        ret = put(f, &whole, e);
out:
    text_release(&bytes);
    text_release(&whole);
    return ret;
}

/* Speed, for the person who waits.  The prompt's pass is the one that loads the weights. */
static void report(size_t prompt, double prefill_s, size_t count, double decode_s)
{
    if (isatty(STDERR_FILENO))
        cli_note("prompt: %zu tokens, %.0f/s with loading; answer: %zu tokens, %.0f/s", prompt,
                 (double)prompt / prefill_s, count, (double)count / decode_s);
}

static int run(const char *operand, struct err *e)
{
    struct run r = {0};
    struct tokenizer *t = NULL;
    struct sample s = {0};
    struct ids stop = {0};
    struct generate g = {0};
    struct file_out out = {0};
    double start, prefilled;
    size_t count;
    int ret = -1;

    if (run_open(&r, &ro, model_dir, true, scheme_path, e) || tokenizer_open(&t, model_dir, e) ||
        generate_stops(&stop, model_dir, t, e) || make_sample(&s, operand, &r.m, t, e))
        goto out;
    start = progress_clock();
    if (file_create(&out, output, cli_force, false, e) || generate_prefill(&g, &r.m, &s, (size_t)most, e))
        goto out;
    prefilled = progress_clock();
    if (decode(&g, t, &stop, out.f, &count, e))
        goto out;
    report(s.tokens, prefilled - start, count, progress_clock() - prefilled);
    ret = file_commit(&out, e);
out:
    file_discard(&out);
    generate_release(&g);
    ids_release(&stop);
    sample_release(&s);
    tokenizer_free(t);
    run_release(&r);
    return ret;
}

int main(int argc, char **argv)
{
    struct err e = {0};
    size_t n;
    char **operand = cli_parse(&tool, argc, argv, &n);

    run(n ? operand[0] : NULL, &e);
    return cli_finish(&e);
}
