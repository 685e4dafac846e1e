/* candidate.c - one candidate's figures with their uncertainty, and how two candidates differ */
#include "common/model/candidate.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

const char *const split_name[SPLITS] = {"all", "text", "picture"};
const char *const figure_name[FIGURES] = {"ppl",      "ppl_ratio", "kl",      "kl_answer",   "kl_last", "mse",
                                          "mse_last", "top1",      "delta_p", "rms_delta_p", "same_top"};
const char *const verdict_name[] = {"worse", "better", "equal", "unclear"};

/* What figures are made of: sums over samples.  The first is what most are divided by. */
enum column {
    LOSS, SAMPLES, TOKENS, NLL, NLL_REF, KL, KL_ANSWER, KL_LAST, MSE, MSE_LAST, SAME, DP, DP_SQ, SAME_ANSWER, COLUMNS
};

static void put_columns(double *column[COLUMNS], size_t i, const struct eval_sample *s)
{
    const double value[COLUMNS] = {
        [LOSS] = (double)s->loss_tokens, [SAMPLES] = 1,           [TOKENS] = (double)s->tokens,
        [NLL] = s->nll,                  [NLL_REF] = s->nll_ref,  [KL] = s->kl,
        [KL_ANSWER] = s->kl_answer,      [KL_LAST] = s->kl_last,  [MSE] = s->mse,
        [MSE_LAST] = s->mse_last,        [SAME] = (double)s->same_top,
        [DP] = s->dp,                    [DP_SQ] = s->dp_sq,      [SAME_ANSWER] = (double)s->same_top_answer,
    };

    for (size_t c = 0; c < COLUMNS; c++)
        column[c][i] = value[c];
}

static void make_figures(double figure[FIGURES], const double sum[COLUMNS])
{
    figure[FIG_PPL] = exp(sum[NLL] / sum[LOSS]);
    figure[FIG_PPL_RATIO] = exp((sum[NLL] - sum[NLL_REF]) / sum[LOSS]);
    figure[FIG_KL] = sum[KL] / sum[TOKENS];
    figure[FIG_KL_ANSWER] = sum[KL_ANSWER] / sum[LOSS];
    figure[FIG_KL_LAST] = sum[KL_LAST] / sum[SAMPLES];
    figure[FIG_MSE] = sum[MSE] / sum[TOKENS];
    figure[FIG_MSE_LAST] = sum[MSE_LAST] / sum[SAMPLES];
    figure[FIG_TOP1] = sum[SAME] / sum[TOKENS];
    figure[FIG_DP] = sum[DP] / sum[LOSS];
    figure[FIG_DP_RMS] = sqrt(sum[DP_SQ] / sum[LOSS]);
    figure[FIG_SAME_TOP] = sum[SAME_ANSWER] / sum[LOSS];
}

static bool is_in(enum split split, const struct eval_sample *s)
{
    return split == SPLIT_ALL || s->picture == (split == SPLIT_PICTURE);
}

/* draw [FIGURES, BOOT_DRAWS], in the order of the draws; value [FIGURES]. */
static int resample(double *draw, double *value, enum split split, const struct eval_sample *sample, size_t n,
                    struct err *e)
{
    double *room = mem_zalloc((n + BOOT_DRAWS) * COLUMNS, sizeof *room, e), *sums, *column[COLUMNS];
    double total[COLUMNS] = {0}, figure[FIGURES];
    const double *in[COLUMNS];
    size_t used = 0;

    if (!room)
        return -1;
    sums = room + n * COLUMNS;
    for (size_t c = 0; c < COLUMNS; c++)
        in[c] = column[c] = room + c * n;
    for (size_t i = 0; i < n; i++)
        if (is_in(split, &sample[i]))
            put_columns(column, used++, &sample[i]);
    for (size_t c = 0; c < COLUMNS; c++)
        for (size_t i = 0; i < used; i++)
            total[c] += column[c][i];
    make_figures(value, total);
    if (draw) {
        boot_sums(sums, in, COLUMNS, used, BOOT_DRAWS, BOOT_SEED);
        for (size_t d = 0; d < BOOT_DRAWS; d++) {
            make_figures(figure, sums + d * COLUMNS);
            for (size_t f = 0; f < FIGURES; f++)
                draw[f * BOOT_DRAWS + d] = figure[f];
        }
    }
    free(room);
    return 0;
}

/* room [max(FIGURES, 1) * BOOT_DRAWS]: intervals sort draws, and pairs need their order. */
static int add_intervals(struct candidate *c, enum split split, const struct eval_sample *sample, size_t n, double *room,
                         struct err *e)
{
    struct candidate_split *s = &c->split[split];
    double value[FIGURES];
    size_t used = 0;

    for (size_t i = 0; i < n; i++)
        used += is_in(split, &sample[i]);
    s->sampled = used >= 2;
    if (resample(s->sampled ? room : NULL, value, split, sample, n, e))
        return -1;
    if (split == SPLIT_ALL) {
        memcpy(c->value, value, sizeof value);
        if (s->sampled && !(c->draw = mem_zalloc((size_t)FIGURES * BOOT_DRAWS, sizeof *c->draw, e)))
            return -1;
        if (s->sampled)
            memcpy(c->draw, room, (size_t)FIGURES * BOOT_DRAWS * sizeof *room);
    }
    for (size_t f = 0; f < FIGURES && s->sampled; f++)
        s->interval[f] = boot_interval(room + f * BOOT_DRAWS, BOOT_DRAWS, used);
    return 0;
}

/* The rows of a split's samples, one after another. */
static int add_stats(struct stats *stats, enum split split, const struct eval_sample *sample, size_t n,
                     const struct row_stats *row, size_t vocab, struct err *e)
{
    size_t *tokens = mem_zalloc(n, sizeof *tokens, e), rows = 0, used = 0, kept = 0;
    struct row_stats *in = NULL;
    int ret = -1;

    for (size_t i = 0; i < n; i++)
        rows += sample[i].loss_tokens;
    in = mem_zalloc(rows, sizeof *in, e);
    if (!tokens || !in)
        goto out;
    for (size_t i = 0; i < n; row += sample[i++].loss_tokens)
        if (is_in(split, &sample[i])) {
            tokens[used++] = sample[i].loss_tokens;
            memcpy(in + kept, row, sample[i].loss_tokens * sizeof *row);
            kept += sample[i].loss_tokens;
        }
    *stats = (struct stats){0};
    ret = kept ? stats_make(stats, in, tokens, used, vocab, e) : 0;
out:
    free(in);
    free(tokens);
    return ret;
}

int candidate_make(struct candidate *c, const char *name, const struct eval_sample *sample, size_t n,
                   const struct row_stats *row, size_t vocab, struct err *e)
{
    double *room = mem_zalloc((size_t)FIGURES * BOOT_DRAWS, sizeof *room, e);
    int ret = -1;

    *c = (struct candidate){.name = mem_strdup(name, e)};
    if (!c->name || !room || eval_sum(&c->total, sample, n, e))
        goto out;
    for (enum split s = 0; s < SPLITS; s++)
        if (add_stats(&c->split[s].stats, s, sample, n, row, vocab, e) ||
            (c->split[s].stats.tokens && add_intervals(c, s, sample, n, room, e)))
            goto out;
    ret = 0;
out:
    free(room);
    return ret;
}

void candidate_release(struct candidate *c)
{
    free(c->draw);
    free(c->name);
    *c = (struct candidate){0};
}

static enum verdict verdict(double difference, const struct boot_interval *i)
{
    if (i->low > 0)
        return VERDICT_WORSE;
    if (i->high < 0)
        return VERDICT_BETTER;
    return difference == 0 && i->error == 0 ? VERDICT_EQUAL : VERDICT_UNCLEAR;
}

int pair_make(struct pair *p, const struct candidate *a, const struct candidate *b, struct err *e)
{
    double *draw = mem_zalloc(BOOT_DRAWS, sizeof *draw, e);

    if (!draw)
        return -1;
    for (size_t f = 0; f < FIGURES; f++) {
        for (size_t d = 0; d < BOOT_DRAWS; d++)
            draw[d] = b->draw[f * BOOT_DRAWS + d] - a->draw[f * BOOT_DRAWS + d];
        p->difference[f] = b->value[f] - a->value[f];
        p->interval[f] = boot_interval(draw, BOOT_DRAWS, a->total.samples);
    }
    p->samples_needed = 0;
    p->verdict = verdict(p->difference[FIG_KL_ANSWER], &p->interval[FIG_KL_ANSWER]);
    if (p->verdict == VERDICT_UNCLEAR)
        p->samples_needed = boot_samples(p->difference[FIG_KL_ANSWER], p->interval[FIG_KL_ANSWER].error, a->total.samples);
    if (p->samples_needed && p->samples_needed < 2 * a->total.samples)
        p->samples_needed = 2 * a->total.samples; /* (z_0.975 + z_0.8)^2 / z_0.975^2, where an interval just holds 0 */
    free(draw);
    return 0;
}

int resolution_make(struct resolution *r, const struct candidate *c, size_t n, struct err *e)
{
    *r = (struct resolution){0};
    for (size_t i = 0; i + 1 < n && c[i].draw; i++) {
        struct pair p;

        if (pair_make(&p, &c[i], &c[i + 1], e))
            return -1;
        r->neighbours++;
        r->clear += p.verdict == VERDICT_WORSE || p.verdict == VERDICT_BETTER;
        r->equal += p.verdict == VERDICT_EQUAL;
        if (p.samples_needed > r->samples_needed)
            r->samples_needed = p.samples_needed;
    }
    return 0;
}
