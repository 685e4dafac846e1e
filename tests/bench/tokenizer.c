/*
 * tokenizer.c - speed of the tokenizer with the published vocabulary, on one core
 *
 * captions: data/coco2017/coco2017_captions.txt line by line, as calib-stream does, and whole; the best of
 * several passes, the first of which fills the word cache.  long_word: one word of that many letters, drawn
 * from a few so that it merges, which no cache holds.  load: opening the model directory, files in the page
 * cache.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/file.h"
#include "common/text/tokenizer.h"

#define MODEL    "data/qwen2-tokenizer"
#define CAPTIONS "data/coco2017/coco2017_captions.txt"

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(int failed, const struct err *e)
{
    if (failed) {
        fprintf(stderr, "tokenizer: %s\n", e->msg);
        exit(1);
    }
}

/* Seconds for one pass over the text, in lines or whole. */
static double pass(const struct tokenizer *t, const char *text, size_t n, int lines, struct ids *out)
{
    struct err e = {0};
    double start = now();
    size_t take;

    out->n = 0;
    for (size_t i = 0; i < n; i += take) {
        const char *eol = lines ? memchr(text + i, '\n', n - i) : NULL;

        take = eol ? (size_t)(eol - text) - i + 1 : n - i;
        check(tokenizer_encode(t, text + i, take, out, &e), &e);
    }
    return now() - start;
}

static double best(const struct tokenizer *t, const char *text, size_t n, int lines, struct ids *out,
                   double budget)
{
    double least = pass(t, text, n, lines, out), end = now() + budget, s;

    while (now() < end) {
        s = pass(t, text, n, lines, out);
        least = s < least ? s : least;
    }
    return least;
}

static void long_word(const struct tokenizer *t, size_t n, struct ids *out)
{
    static const char letter[] = "etaoinshrdlu";
    char *word = malloc(n);
    uint32_t seed = 1;

    if (!word)
        exit(1);
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        word[i] = letter[(seed >> 16) % 12];
    }
    printf("long_word_%zu,%.3f,ms\n", n, 1e3 * best(t, word, n, 0, out, 0.5));
    free(word);
}

int main(void)
{
    struct tokenizer *t = NULL;
    struct err e = {0};
    struct ids out = {0};
    uint8_t *text;
    size_t n;
    double start, load = 1e9;

    printf("benchmark,value,unit\n");
    for (int i = 0; i < 5; i++) {
        tokenizer_free(t);
        start = now();
        check(tokenizer_open(&t, MODEL, &e), &e);
        load = now() - start < load ? now() - start : load;
    }
    printf("load,%.1f,ms\n", 1e3 * load);
    check(file_read(CAPTIONS, &text, &n, &e), &e);
    printf("captions_first_pass,%.1f,MB/s\n", 1e-6 * (double)n / pass(t, (char *)text, n, 1, &out));
    printf("captions,%.1f,MB/s\n", 1e-6 * (double)n / best(t, (char *)text, n, 1, &out, 2));
    printf("captions_whole_file,%.1f,MB/s\n", 1e-6 * (double)n / best(t, (char *)text, n, 0, &out, 1));
    printf("captions_tokens,%zu,1\n", out.n);
    long_word(t, 5000, &out);
    long_word(t, 200000, &out);
    free(text);
    ids_release(&out);
    tokenizer_free(t);
    return 0;
}
