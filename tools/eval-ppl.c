/* eval-ppl.c - perplexity of a model, a quantized checkpoint, or a model under a scheme */
#include <math.h>
#include <stdlib.h>

#include "common/base/cli.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/io/doc.h"
#include "common/model/metrics.h"
#include "common/model/run.h"
#include "common/model/resume.h"
#include "common/model/slide.h"
#include "common/text/tokenizer.h"

static const char *model_dir, *output, *scheme_path, *per_sample;
static bool bits_per_byte;
static long window, stride;
static struct run_options ro = RUN_DEFAULTS;

static const struct cli_opt opts[] = {
    RUN_MODEL(model_dir, "a model or a quantized checkpoint (required)"),
    RUN_SCHEME(scheme_path),
    {.kind = OPT_STR, .name = "per-sample", .to = &per_sample, .arg = "FILE",
     .help = "also write a line of JSON for every sample to this file"},
    {.kind = OPT_FLAG, .name = "bits-per-byte", .to = &bits_per_byte,
     .help = "also say how many bits a byte of text costs"},
    {.kind = OPT_LONG, .name = "window", .to = &window, .arg = "N", .min = 2, .max = 1 << 30,
     .help = "cut longer texts into windows of N tokens"},
    {.kind = OPT_LONG, .name = "stride", .to = &stride, .arg = "N", .min = 1, .max = 1 << 30,
     .help = "which start every N tokens (default: half a window)"},
    RUN_OPTIONS(ro),
    CLI_OUTPUT(output, "write the METRICS document here (default: standard output)"),
    CLI_QUIET,
    {.kind = OPT_END},
};

static const struct cli tool = {
    .name = "eval-ppl",
    .operands = "-m MODEL [SAMPLES...]",
    .summary = "Perplexity over the samples' loss tokens: exp(sum of negative log likelihoods / their number).",
    .opts = opts,
    .max_operands = -1,
};

/* bytes [n]: of text that the loss tokens of each sample stand for; special tokens stand for none. */
static int count_bytes(size_t *bytes, const struct samples *s, struct err *e)
{
    struct tokenizer *t = NULL;
    struct text text = {0};
    int ret = tokenizer_open(&t, model_dir, e);

    for (size_t i = 0; i < s->n && ret == 0; i++) {
        const struct sample *one = &s->sample[i];

        text.n = 0;
        for (size_t k = 0; k < one->tokens && ret == 0; k++)
            if (one->loss[k])
                ret = tokenizer_bytes(t, &one->ids[k], 1, true, &text, e);
        bytes[i] = text.n;
    }
    text_release(&text);
    tokenizer_free(t);
    return ret;
}

/* One sample's line; bytes: NULL when they were not counted. */
static int put_sample(FILE *f, const struct sample *s, const struct eval_sample *out, const size_t *bytes,
                      struct err *e)
{
    json_t *o = json_object();
    int ret = json_put(o, "id", json_string(s->id), e) ||
              json_put(o, "tokens", json_integer((json_int_t)out->tokens), e) ||
              json_put(o, "loss_tokens", json_integer((json_int_t)out->loss_tokens), e) ||
              json_put(o, "nll", json_real(out->nll), e) ||
              (bytes && json_put(o, "loss_bytes", json_integer((json_int_t)*bytes), e));

    if (ret == 0 && (json_dumpf(o, f, JSON_COMPACT | JSON_REAL_PRECISION(17)) || putc('\n', f) == EOF))
        ret = err_sys(e, "cannot write '%s'", per_sample);
    json_decref(o);
    return ret ? -1 : 0;
}

static int save_samples(const struct samples *s, const struct eval_sample *out, const size_t *bytes,
                        struct err *e)
{
    struct file_out o;
    int ret = 0;

    if (file_create(&o, per_sample, cli_force, false, e))
        return -1;
    for (size_t i = 0; i < s->n && ret == 0; i++)
        ret = put_sample(o.f, &s->sample[i], &out[i], bytes ? &bytes[i] : NULL, e);
    if (ret == 0)
        ret = file_commit(&o, e);
    file_discard(&o);
    return ret;
}

static int put_bits(json_t *o, const struct eval_sample *out, const size_t *bytes, size_t n, struct err *e)
{
    double nll = 0;
    size_t sum = 0;

    for (size_t i = 0; i < n; i++) {
        nll += out[i].nll;
        sum += bytes[i];
    }
    if (sum == 0)
        return err_set(e, RC_DATA, "--bits-per-byte: the tokens with loss stand for no text");
    return json_put(o, "loss_bytes", json_integer((json_int_t)sum), e) ||
                   json_put(o, "bits_per_byte", json_real(nll / log(2) / (double)sum), e)
               ? -1
               : 0;
}

static int report(const struct run *r, const struct eval_sample *out, const size_t *bytes, struct err *e)
{
    struct eval_total total;
    json_t *doc = NULL, *o;
    int ret = -1;

    if (eval_sum(&total, out, r->s.n, e) || !(doc = metrics_new(&r->s, &total, e)) ||
        doc_from(doc, "model", r->m.digest, e) ||
        !(o = metrics_add(doc, run_id(model_dir), &r->m, r->applied, &total, e)) ||
        (bytes && put_bits(o, out, bytes, r->s.n, e)) || metrics_perplexity(o, out, r->s.n, e) ||
        metrics_bootstrap(doc, e) || (per_sample && save_samples(&r->s, out, bytes, e)))
        goto out;
    ret = json_save(output, doc, e);
out:
    json_decref(doc);
    return ret;
}

/* out [samples]: of the samples, whatever the windows; NULL: e is set. */
static struct eval_sample *evaluate(struct run *r, struct err *e)
{
    const struct samples *s = &r->s;
    struct slide slide = {0};
    struct eval_sample *part = NULL, *out = mem_zalloc(s->n, sizeof *out, e);
    struct progress p = {0};
    size_t most = window ? (size_t)window : SIZE_MAX;
    int ret = -1;

    if (!out || slide_make(&slide, s->sample, s->n, most, stride ? (size_t)stride : (most + 1) / 2, e) ||
        !(part = mem_zalloc(slide.n, sizeof *part, e)))
        goto out;
    progress_begin(&p, "evaluating", window ? "windows" : "samples", slide.n);
    ret = resume_nll(&r->part, &r->m, slide.view, slide.n, run_rows(r), part, &p, e);
    progress_end(&p);
    for (size_t i = 0; i < slide.n; i++) {
        out[slide.of[i]].loss_tokens += part[i].loss_tokens;
        out[slide.of[i]].nll += part[i].nll;
    }
    for (size_t i = 0; i < s->n; i++)
        out[i].tokens = s->sample[i].tokens;
out:
    free(part);
    slide_release(&slide);
    if (ret) {
        free(out);
        out = NULL;
    }
    return out;
}

static int check_options(struct err *e)
{
    if (stride && !window)
        return err_set(e, RC_USAGE, "--stride needs --window");
    if (stride > window)
        return err_set(e, RC_USAGE,
                       "--stride %ld is longer than --window %ld: tokens between windows would not count",
                       stride, window);
    return run_output(output, e) || (per_sample && run_output(per_sample, e)) ? -1 : 0;
}

static int open_partial(struct run *r, struct err *e)
{
    char cut[64];
    const char *text[] = {r->m.digest, r->applied ? r->applied->hex : "", cut};

    snprintf(cut, sizeof cut, "window %ld stride %ld", window, stride);
    return run_partial(r, output, text, sizeof text / sizeof *text, e);
}

static int run(char *const *operand, size_t n, struct err *e)
{
    struct run r = {0};
    struct eval_sample *out = NULL;
    size_t *bytes = NULL;
    int ret = -1;

    if (check_options(e) || run_open(&r, &ro, model_dir, true, scheme_path, e) ||
        run_load(&r, operand, n, e) ||
        (bits_per_byte && (!(bytes = mem_zalloc(r.s.n, sizeof *bytes, e)) || count_bytes(bytes, &r.s, e))) ||
        open_partial(&r, e) || !(out = evaluate(&r, e)))
        goto out;
    ret = report(&r, out, bytes, e);
out:
    partial_close(&r.part, ret == 0);
    free(bytes);
    free(out);
    run_release(&r);
    return ret;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, argc, argv, run);
}
