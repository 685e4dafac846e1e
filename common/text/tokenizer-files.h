/* tokenizer-files.h - what a model directory says about its tokenizer; for tokenizer.c */
#ifndef COMMON_TEXT_TOKENIZER_FILES_H
#define COMMON_TEXT_TOKENIZER_FILES_H

#include <stdbool.h>

#include "common/base/file.h"
#include "common/text/added.h"
#include "common/text/bpe.h"
#include "common/text/split.h"
#include "common/text/vocab.h"

enum { TOKENIZER_FILES = 5 };

struct tokenizer_files {
    struct vocab vocab;
    struct bpe bpe;
    struct added added; /* sorted */
    struct split *split;
    struct text pattern;                   /* what split was made of */
    bool nfc;                              /* texts are normalised first */
    struct file_map file[TOKENIZER_FILES]; /* those that were read */
};

/* Zero f before; release it after, a failure included. */
int tokenizer_files_read(struct tokenizer_files *f, const char *dir, struct err *e);
void tokenizer_files_release(struct tokenizer_files *f);

#endif
