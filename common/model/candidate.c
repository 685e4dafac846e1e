/* candidate.c - one candidate's figures with their uncertainty */
#include "common/model/candidate.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

const char *const split_name[SPLITS] = {"all", "text", "picture"};
const char *const figure_name[FIGURES] = {"ppl",      "ppl_ratio", "kl",      "kl_answer",   "kl_last", "mse",
                                          "mse_last", "top1",      "delta_p", "rms_delta_p", "same_top"};

struct figure_part figure_part(enum figure f, const struct eval_sample *s)
{
    double loss = (double)s->loss_tokens, tokens = (double)s->tokens;

    switch (f) {
    case FIG_PPL: return (struct figure_part){s->nll, loss};
    case FIG_PPL_RATIO: return (struct figure_part){s->nll - s->nll_ref, loss};
    case FIG_KL: return (struct figure_part){s->kl, tokens};
    case FIG_KL_ANSWER: return (struct figure_part){s->kl_answer, loss};
    case FIG_KL_LAST: return (struct figure_part){s->kl_last, 1};
    case FIG_MSE: return (struct figure_part){s->mse, tokens};
    case FIG_MSE_LAST: return (struct figure_part){s->mse_last, 1};
    case FIG_TOP1: return (struct figure_part){(double)s->same_top, tokens};
    case FIG_DP: return (struct figure_part){s->dp, loss};
    case FIG_DP_RMS: return (struct figure_part){s->dp_sq, loss};
    case FIG_SAME_TOP: return (struct figure_part){(double)s->same_top_answer, loss};
    case FIGURES: break;
    }
    return (struct figure_part){0};
}

enum boot_form figure_form(enum figure f)
{
    static const enum boot_form form[FIGURES] = {
        [FIG_PPL] = BOOT_EXP,         [FIG_PPL_RATIO] = BOOT_EXP, [FIG_KL] = BOOT_SIZE,
        [FIG_KL_ANSWER] = BOOT_SIZE,  [FIG_KL_LAST] = BOOT_SIZE,  [FIG_MSE] = BOOT_SIZE,
        [FIG_MSE_LAST] = BOOT_SIZE,   [FIG_TOP1] = BOOT_SHARE,    [FIG_DP] = BOOT_REAL,
        [FIG_DP_RMS] = BOOT_ROOT,     [FIG_SAME_TOP] = BOOT_SHARE,
    };

    return form[f];
}

static bool is_in(enum split split, const struct eval_sample *s)
{
    return split == SPLIT_ALL || s->picture == (split == SPLIT_PICTURE);
}

int candidate_intervals(struct boot_interval *out, const enum figure *figure, size_t figures,
                        enum split split, const struct eval_sample *sample, size_t n, struct err *e)
{
    struct boot_ratio ratio[FIGURES];
    double *column = mem_zalloc(2 * n * figures, sizeof *column, e);
    size_t used = 0;
    int ret = -1;

    if (!column)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (!is_in(split, &sample[i]))
            continue;
        for (size_t f = 0; f < figures; f++) {
            struct figure_part part = figure_part(figure[f], &sample[i]);

            column[2 * f * n + used] = part.top;
            column[(2 * f + 1) * n + used] = part.bottom;
        }
        used++;
    }
    for (size_t f = 0; f < figures; f++)
        ratio[f] = (struct boot_ratio){column + 2 * f * n, column + (2 * f + 1) * n, figure_form(figure[f])};
    ret = boot_intervals(out, ratio, figures, used, BOOT_DRAWS, BOOT_SEED, e);
    free(column);
    return ret;
}

static int add_intervals(struct candidate_split *s, enum split split, const struct eval_sample *sample,
                         size_t n, struct err *e)
{
    enum figure every[FIGURES];
    size_t used = 0;

    for (enum figure f = 0; f < FIGURES; f++)
        every[f] = f;
    for (size_t i = 0; i < n; i++)
        used += is_in(split, &sample[i]);
    s->sampled = used >= 2;
    return s->sampled ? candidate_intervals(s->interval, every, FIGURES, split, sample, n, e) : 0;
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

int candidate_recall(struct candidate *c, const char *name, const struct eval_sample *sample, size_t n,
                     struct err *e)
{
    *c = (struct candidate){.name = mem_strdup(name, e)};
    if (!c->name || eval_sum(&c->total, sample, n, e) || !(c->sample = mem_zalloc(n, sizeof *sample, e)))
        return -1;
    memcpy(c->sample, sample, n * sizeof *sample);
    return 0;
}

int candidate_make(struct candidate *c, const char *name, const struct eval_sample *sample, size_t n,
                   const struct row_stats *row, size_t vocab, struct err *e)
{
    if (candidate_recall(c, name, sample, n, e))
        return -1;
    for (enum split s = 0; s < SPLITS; s++)
        if (add_stats(&c->split[s].stats, s, sample, n, row, vocab, e) ||
            (c->split[s].stats.tokens && add_intervals(&c->split[s], s, sample, n, e)))
            return -1;
    return 0;
}

void candidate_release(struct candidate *c)
{
    free(c->sample);
    free(c->name);
    *c = (struct candidate){0};
}
