/* table.c - a comparison for people, in llama-perplexity's words and order */
#include "common/model/table.h"

/* Lines of percentiles, largest first; i: of STATS_POINTS. */
struct line {
    const char *name;
    size_t i;
};

static void print_interval(FILE *f, const struct candidate_split *s, enum figure g, double unit)
{
    if (s->sampled)
        fprintf(f, "   [%.6g, %.6g]", s->interval[g].low * unit, s->interval[g].high * unit);
    fputc('\n', f);
}

static void print_perplexity(FILE *f, const struct candidate_split *split)
{
    const struct stats *s = &split->stats;

    fprintf(f, "====== Perplexity statistics ======\n");
    fprintf(f, "Mean PPL(Q)                   : %10.6f ± %10.6f", s->ppl.value, s->ppl.error);
    print_interval(f, split, FIG_PPL, 1);
    fprintf(f, "Mean PPL(base)                : %10.6f ± %10.6f\n", s->ppl_ref.value, s->ppl_ref.error);
    fprintf(f, "Cor(ln(PPL(Q)), ln(PPL(base))): %6.2f%%\n", 100 * s->correlation);
    fprintf(f, "Mean ln(PPL(Q)/PPL(base))     : %10.6f ± %10.6f\n", s->ln_ratio.value, s->ln_ratio.error);
    fprintf(f, "Mean PPL(Q)/PPL(base)         : %10.6f ± %10.6f", s->ratio.value, s->ratio.error);
    print_interval(f, split, FIG_PPL_RATIO, 1);
    fprintf(f, "Mean PPL(Q)-PPL(base)         : %10.6f ± %10.6f\n", s->difference.value, s->difference.error);
    fprintf(f, "Macro PPL(Q), PPL(base)       : %10.6f   %10.6f\n\n", s->ppl_macro, s->ppl_ref_macro);
}

static void print_divergence(FILE *f, const struct candidate_split *split)
{
    static const struct line lines[] = {
        {"Maximum", 12}, {"99.9%  ", 11}, {"99.0%  ", 10}, {"95.0%  ", 9}, {"90.0%  ", 8}, {"Median ", 6},
        {"10.0%  ", 4},  {" 5.0%  ", 3},  {" 1.0%  ", 2},  {" 0.1%  ", 1}, {"Minimum", 0},
    };
    const struct stats *s = &split->stats;

    fprintf(f, "====== KL divergence statistics ======\n");
    fprintf(f, "Mean    KLD: %12.6g ± %10.4g", s->kl.value, s->kl.error);
    print_interval(f, split, FIG_KL_ANSWER, 1);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        fprintf(f, "%s KLD: %12.6g\n", lines[i].name, s->kl_point[lines[i].i]);
    fprintf(f, "Macro   KLD: %12.6g\n", s->kl_macro);
    fprintf(f, "Reverse KLD: %12.6g\n", s->kl_back);
    fprintf(f, "Mean    JSD: %12.6g\n", s->js);
    for (size_t b = 0; b < STATS_BUCKETS; b++)
        if (s->bucket[b].tokens)
            fprintf(f, "KLD where base is %3.0f-%3.0f%% sure: mean %12.6g, median %12.6g (%.1f%% of tokens)\n",
                    100 * stats_bucket[b], 100 * stats_bucket[b + 1], s->bucket[b].mean, s->bucket[b].median,
                    100 * (double)s->bucket[b].tokens / (double)s->tokens);
    fputc('\n', f);
}

static void print_probability(FILE *f, const struct candidate_split *split)
{
    static const struct line lines[] = {
        {"Maximum", 12}, {"99.9%  ", 11}, {"99.0%  ", 10}, {"95.0%  ", 9}, {"90.0%  ", 8}, {"75.0%  ", 7},
        {"Median ", 6},
        {"25.0%  ", 5},  {"10.0%  ", 4},  {" 5.0%  ", 3},  {" 1.0%  ", 2}, {" 0.1%  ", 1}, {"Minimum", 0},
    };
    const struct stats *s = &split->stats;

    fprintf(f, "====== Token probability statistics ======\n");
    fprintf(f, "Mean    Δp: %7.3f ± %6.3f %%", 100 * s->dp.value, 100 * s->dp.error);
    print_interval(f, split, FIG_DP, 100);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        fprintf(f, "%s Δp: %7.3f%%\n", lines[i].name, 100 * s->dp_point[lines[i].i]);
    fprintf(f, "RMS Δp    : %7.3f ± %6.3f %%", 100 * s->dp_rms.value, 100 * s->dp_rms.error);
    print_interval(f, split, FIG_DP_RMS, 100);
    fprintf(f, "Same top p: %7.3f ± %6.3f %%", 100 * s->same_top.value, 100 * s->same_top.error);
    print_interval(f, split, FIG_SAME_TOP, 100);
    fputc('\n', f);
}

static void print_tops_and_logits(FILE *f, const struct stats *s)
{
    fprintf(f, "====== Top-k statistics ======\n%-22s", "k");
    for (size_t k = 0; k < STATS_TOPS; k++)
        fprintf(f, " %7d", stats_top[k]);
    fprintf(f, "\n%-22s", "Top-k agreement");
    for (size_t k = 0; k < STATS_TOPS; k++)
        fprintf(f, " %6.2f%%", 100 * s->agree[k]);
    fprintf(f, "\n%-22s", "Label in top-k (Q)");
    for (size_t k = 0; k < STATS_TOPS; k++)
        fprintf(f, " %6.2f%%", 100 * s->label[k]);
    fprintf(f, "\n%-22s", "Label in top-k (base)");
    for (size_t k = 0; k < STATS_TOPS; k++)
        fprintf(f, " %6.2f%%", 100 * s->label_ref[k]);
    fprintf(f, "\n\n====== Logit statistics ======\n");
    fprintf(f, "                    raw   mean-centred\n");
    fprintf(f, "MSE    : %14.6g %14.6g\n", s->mse, s->mse_centred);
    fprintf(f, "RMSE   : %14.6g %14.6g\n", sqrt(s->mse), sqrt(s->mse_centred));
    fprintf(f, "Cosine : %14.10f %14.10f\n", s->cos, s->cos_centred);
    fprintf(f, "Maximum: %14.6g\n\n", s->max_abs);
}

void table_candidate(FILE *f, const struct candidate *c)
{
    const struct candidate_split *all = &c->split[SPLIT_ALL];

    fprintf(f, "%s: %zu samples, %zu tokens with loss", c->name, all->stats.samples, all->stats.tokens);
    fprintf(f, all->sampled ? "; [%g%% intervals over samples]\n\n" : "\n\n", 100 * BOOT_LEVEL);
    print_perplexity(f, all);
    print_divergence(f, all);
    print_probability(f, all);
    print_tops_and_logits(f, &all->stats);
    if (!c->split[SPLIT_TEXT].stats.tokens || !c->split[SPLIT_PICTURE].stats.tokens)
        return;
    fprintf(f, "====== By modality ======\n");
    for (enum split s = SPLIT_TEXT; s <= SPLIT_PICTURE; s++) {
        const struct candidate_split *split = &c->split[s];

        fprintf(f, "%-7s: %zu samples, %zu tokens: PPL(Q)/PPL(base) %.6f, same top p %.3f%%, KLD %.6g ± %.4g",
                split_name[s], split->stats.samples, split->stats.tokens, split->stats.ratio.value,
                100 * split->stats.same_top.value, split->stats.kl.value, split->stats.kl.error);
        print_interval(f, split, FIG_KL_ANSWER, 1);
    }
    fputc('\n', f);
}

void table_hint(char *text, size_t size, const struct pairs *p)
{
    text[0] = 0;
    if (p->clear + p->equal == p->neighbours)
        return;
    if (p->samples_needed)
        snprintf(text, size,
                 "%zu samples tell %zu of %zu neighbouring candidates apart by their KL; some %zu would tell all", p->samples, p->clear, p->neighbours, p->samples_needed);
    else
        snprintf(text, size, "%zu samples tell %zu of %zu neighbouring candidates apart by their KL",
                 p->samples, p->clear, p->neighbours);
}

void table_pairs(FILE *f, const struct candidate *c, const struct pairs *p)
{
    static const char *const words[] = {"is worse than", "is better than", "equals",
                                        "is not told apart from"};
    char hint[160];

    if (p->neighbours == 0)
        return;
    fprintf(f, "====== Neighbours, by mean KLD (paired) ======\n");
    for (size_t i = 0; i < p->n; i++) {
        const struct pair *one = &p->pair[i];

        if (one->b != one->a + 1)
            continue;
        fprintf(f, "%s %s %s: %+.6g [%.6g, %.6g]", c[one->b].name, words[one->verdict], c[one->a].name,
                one->difference[PAIR_KL_ANSWER], one->interval[PAIR_KL_ANSWER].low,
                one->interval[PAIR_KL_ANSWER].high);
        if (one->samples_needed)
            fprintf(f, "; some %zu samples would settle it", one->samples_needed);
        fputc('\n', f);
    }
    table_hint(hint, sizeof hint, p);
    if (hint[0])
        fprintf(f, "%s\n", hint);
}
