/* tokenizer-files.c - what a model directory says about its tokenizer */
#include "common/text/tokenizer-files.h"

#include <stdlib.h>
#include <string.h>

#include "common/text/json-scan.h"

enum { TOKENIZER_JSON, VOCAB_JSON, MERGES_TXT, ADDED_TOKENS, TOKENIZER_CONFIG };

static const char *const file_name[TOKENIZER_FILES] = {"tokenizer.json", "vocab.json", "merges.txt",
                                                       "added_tokens.json", "tokenizer_config.json"};

/* Map a file of the directory.  1: done; 0: it is not there; -1. */
static int map(struct tokenizer_files *f, int which, const char *dir, struct err *e)
{
    char *path = file_join(dir, file_name[which], e);
    int ret = path ? file_exists(path, e) : -1;

    if (ret == 1 && file_map(&f->file[which], path, e))
        ret = -1;
    free(path);
    return ret;
}

static struct json_scan scan(const struct file_map *m)
{
    const char *p = m->bytes ? (const char *)m->data : "";

    return (struct json_scan){p, p, p + m->bytes};
}

/* The whole of a small file. */
static int document(const struct file_map *m, json_t **out, struct err *e)
{
    struct json_scan s = scan(m);

    return json_scan_value(&s, out, e) || json_scan_end(&s, e) ? -1 : 0;
}

/* {"token": id, ...} */
static int vocabulary(struct tokenizer_files *f, struct json_scan *s, struct err *e)
{
    struct text scratch = {0};
    const char *token;
    size_t n, done = 0;
    int32_t id;
    int more = json_scan_open(s, '{', e) ? -1 : 1;

    if (more == 1 && f->vocab.size)
        more = err_set(e, RC_DATA, "there are two vocabularies");
    while (more == 1 && (more = json_scan_more(s, '}', done++, e)) == 1)
        if (json_scan_key(s, &scratch, &token, &n, e) || json_scan_index(s, VOCAB_MAX_ID, &id, e) ||
            vocab_add(&f->vocab, token, n, id, e))
            more = -1;
    text_release(&scratch);
    return more;
}

/* One merge as "left right".  A space cannot be part of a token: the byte alphabet has another character for
 * it. */
static int joined_merge(struct tokenizer_files *f, const char *s, size_t n, struct text *scratch,
                        struct err *e)
{
    const char *space = memchr(s, ' ', n), *right = space ? space + 1 : NULL;
    size_t left_n = space ? (size_t)(space - s) : 0, right_n = space ? n - left_n - 1 : 0;

    if (!left_n || !right_n || memchr(right, ' ', right_n))
        return err_set(e, RC_DATA, "merge %zu, '%.*s', is not two tokens with a space between", f->bpe.merges,
                       (int)(n < 80 ? n : 80), s);
    return bpe_add(&f->bpe, &f->vocab, s, left_n, right, right_n, scratch, e);
}

/* The list of merges in a tokenizer.json: of "left right" or of ["left", "right"]. */
static int merges(struct tokenizer_files *f, struct json_scan *s, struct err *e)
{
    struct text left = {0}, right = {0}, scratch = {0};
    const char *l, *r;
    size_t nl, nr, done = 0;
    int more = json_scan_open(s, '[', e) ? -1 : 1, bad;

    while (more == 1 && (more = json_scan_more(s, ']', done++, e)) == 1) {
        if (s->p < s->end && *s->p == '[')
            bad = json_scan_open(s, '[', e) || json_scan_string(s, &left, &l, &nl, e) ||
                  json_scan_open(s, ',', e) || json_scan_string(s, &right, &r, &nr, e) ||
                  json_scan_open(s, ']', e) || bpe_add(&f->bpe, &f->vocab, l, nl, r, nr, &scratch, e);
        else
            bad = json_scan_string(s, &left, &l, &nl, e) || joined_merge(f, l, nl, &scratch, e);
        if (bad)
            more = -1;
    }
    text_release(&left);
    text_release(&right);
    text_release(&scratch);
    return more;
}

static int members(struct tokenizer_files *f, struct json_scan *s, json_t *into, struct json_scan *later,
                   struct err *e);

/* The member "model": its tables go to f, the rest of it into the document. */
static int model(struct tokenizer_files *f, struct json_scan *s, json_t *into, struct err *e)
{
    struct json_scan later = {0};
    json_t *rest = json_object();

    if (json_object_set_new(into, "model", rest))
        return err_set(e, RC_SYS, "out of memory: cannot read 'model'");
    if (members(f, s, rest, &later, e) || bpe_init(&f->bpe, &f->vocab, e))
        return -1;
    return later.p ? merges(f, &later, e) : err_set(e, RC_DATA, "the model has no merges");
}

/*
 * Every member of an object.  Of the model (later given) the vocabulary is read in place and the merges,
 * which need it, are left for later; all that is small goes into a jansson object.
 */
static int members(struct tokenizer_files *f, struct json_scan *s, json_t *into, struct json_scan *later,
                   struct err *e)
{
    struct text scratch = {0};
    const char *key;
    size_t n, done = 0;
    json_t *value;
    int more = json_scan_open(s, '{', e) ? -1 : 1, bad;

    while (more == 1 && (more = json_scan_more(s, '}', done++, e)) == 1) {
        bad = json_scan_key(s, &scratch, &key, &n, e);
        if (bad == 0 && later && n == 5 && !memcmp(key, "vocab", n)) {
            bad = vocabulary(f, s, e);
        } else if (bad == 0 && later && n == 6 && !memcmp(key, "merges", n)) {
            *later = *s;
            bad = json_scan_skip(s, e);
        } else if (bad == 0 && !later && n == 5 && !memcmp(key, "model", n)) {
            bad = model(f, s, into, e);
        } else if (bad == 0) {
            bad = json_scan_value(s, &value, e);
            if (bad == 0 && json_object_setn_new(into, key, n, value))
                bad = err_set(e, RC_DATA, "the member '%.*s' cannot be read", (int)n, key);
        }
        if (bad)
            more = -1;
    }
    text_release(&scratch);
    return more;
}

static bool is_string(const json_t *o, const char *key, const char *value)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s && !strcmp(s, value);
}

/* Absent, null, false, zero or "": switched off. */
static bool is_off(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    return !v || json_is_null(v) || json_is_false(v) || (json_is_number(v) && json_number_value(v) == 0) ||
           (json_is_string(v) && json_string_length(v) == 0);
}

static int unsupported(const char *what, struct err *e)
{
    return err_set(e, RC_DATA, "%s is not that of a Qwen2 byte-level tokenizer, and is not supported", what);
}

/* Whatever changes ids or text and is not what tokenizer.c does. */
static int check_settings(const json_t *doc, struct err *e)
{
    static const char *const off[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix",
                                      "byte_fallback", "ignore_merges"};
    const json_t *bpe = json_object_get(doc, "model"), *normalizer = json_object_get(doc, "normalizer");

    if (!json_is_object(bpe))
        return err_set(e, RC_DATA, "it has no 'model'");
    if (json_object_get(bpe, "type") && !is_string(bpe, "type", "BPE"))
        return unsupported("'model.type'", e);
    for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++)
        if (!is_off(bpe, off[i]))
            return err_set(e, RC_DATA, "'model.%s' is set, which is not supported", off[i]);
    if (normalizer && !json_is_null(normalizer) && !is_string(normalizer, "type", "NFC"))
        return unsupported("'normalizer'", e);
    return is_string(json_object_get(doc, "decoder"), "type", "ByteLevel") ? 0 : unsupported("'decoder'", e);
}

static int set_pattern(struct tokenizer_files *f, const char *pattern, size_t n, struct err *e)
{
    return text_add(&f->pattern, pattern, n, e) || split_open(&f->split, pattern, n, e) ? -1 : 0;
}

/* The pattern of Sequence[Split, ByteLevel]. */
static int pre_tokenizer(struct tokenizer_files *f, const json_t *doc, struct err *e)
{
    const json_t *pre = json_object_get(doc, "pre_tokenizer"), *list = json_object_get(pre, "pretokenizers");
    const json_t *cut = json_array_get(list, 0), *bytes = json_array_get(list, 1);
    const json_t *pattern = json_object_get(json_object_get(cut, "pattern"), "Regex");

    if (!is_string(pre, "type", "Sequence") || json_array_size(list) != 2 ||
        !is_string(cut, "type", "Split") || !is_string(cut, "behavior", "Isolated") ||
        !is_off(cut, "invert") || !json_is_string(pattern) || !is_string(bytes, "type", "ByteLevel") ||
        !is_off(bytes, "add_prefix_space") || !json_is_false(json_object_get(bytes, "use_regex")))
        return unsupported("'pre_tokenizer'", e);
    return set_pattern(f, json_string_value(pattern), json_string_length(pattern), e);
}

/* One added token with its flags, as tokenizer.json and tokenizer_config.json both write it. */
static int added_entry(struct tokenizer_files *f, const json_t *entry, json_int_t id, struct err *e)
{
    static const char *const off[] = {"single_word", "lstrip", "rstrip", "normalized"};
    const json_t *content = json_object_get(entry, "content");

    if (!json_is_string(content) || id < 0 || id > VOCAB_MAX_ID)
        return err_set(e, RC_DATA, "an added token has no 'content' or no 'id' in 0..%d", VOCAB_MAX_ID);
    for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++)
        if (!is_off(entry, off[i]))
            return err_set(e, RC_DATA, "added token '%s' sets '%s', which is not supported",
                           json_string_value(content), off[i]);
    return added_put(&f->added, json_string_value(content), json_string_length(content), (int32_t)id,
                     json_is_true(json_object_get(entry, "special")), e);
}

static int added_list(struct tokenizer_files *f, const json_t *list, struct err *e)
{
    const json_t *entry, *id;
    size_t i;

    if (list && !json_is_array(list))
        return err_set(e, RC_DATA, "'added_tokens' is not a list");
    json_array_foreach(list, i, entry)
    {
        id = json_object_get(entry, "id");
        if (added_entry(f, entry, json_is_integer(id) ? json_integer_value(id) : -1, e))
            return -1;
    }
    return 0;
}

static int read_tokenizer_json(struct tokenizer_files *f, struct err *e)
{
    struct json_scan s = scan(&f->file[TOKENIZER_JSON]);
    json_t *doc = json_object();
    int ret = doc ? 0 : err_set(e, RC_SYS, "out of memory: cannot read a document");

    if (ret == 0 && (members(f, &s, doc, NULL, e) || json_scan_end(&s, e) || check_settings(doc, e) ||
                     pre_tokenizer(f, doc, e) || added_list(f, json_object_get(doc, "added_tokens"), e)))
        ret = -1;
    f->nfc = ret == 0 && json_is_object(json_object_get(doc, "normalizer"));
    json_decref(doc);
    return ret ? err_prefix(e, "%s", f->file[TOKENIZER_JSON].path) : 0;
}

static int read_vocab_json(struct tokenizer_files *f, struct err *e)
{
    struct json_scan s = scan(&f->file[VOCAB_JSON]);

    if (vocabulary(f, &s, e) || json_scan_end(&s, e) || bpe_init(&f->bpe, &f->vocab, e))
        return err_prefix(e, "%s", f->file[VOCAB_JSON].path);
    f->nfc = true;
    return set_pattern(f, SPLIT_QWEN2, strlen(SPLIT_QWEN2), e);
}

static int read_merges_txt(struct tokenizer_files *f, struct err *e)
{
    struct json_scan s = scan(&f->file[MERGES_TXT]);
    const char version[] = "#version", *eol;
    struct text scratch = {0};
    size_t n, length, line = 0;
    int ret = 0;

    for (; s.p < s.end && ret == 0; s.p += n + (s.p + n < s.end)) {
        eol = memchr(s.p, '\n', (size_t)(s.end - s.p));
        n = (size_t)((eol ? eol : s.end) - s.p);
        line++;
        length = n - (n > 0 && s.p[n - 1] == '\r'); /* copies with DOS line ends go round */
        if (length == 0 || (line == 1 && length >= strlen(version) && !memcmp(s.p, version, strlen(version))))
            continue;
        ret = joined_merge(f, s.p, length, &scratch, e);
    }
    text_release(&scratch);
    return ret ? err_prefix(e, "%s: line %zu", f->file[MERGES_TXT].path, line) : 0;
}

/* The string itself, or the content of an added token written out. */
static const json_t *token_name(const json_t *v)
{
    return json_is_object(v) ? json_object_get(v, "content") : v;
}

/* Does tokenizer_config.json name this token as a special one? */
static bool named_special(const json_t *config, const char *content)
{
    static const char *const one[] = {"eos_token", "pad_token", "bos_token", "unk_token"};
    static const char *const many[] = {"additional_special_tokens", "extra_special_tokens"};
    const char *s;
    const json_t *v;
    size_t k;

    for (size_t i = 0; i < sizeof(one) / sizeof(one[0]); i++) {
        s = json_string_value(token_name(json_object_get(config, one[i])));
        if (s && !strcmp(s, content))
            return true;
    }
    for (size_t i = 0; i < sizeof(many) / sizeof(many[0]); i++)
        json_array_foreach(json_object_get(config, many[i]), k, v)
        {
            s = json_string_value(token_name(v));
            if (s && !strcmp(s, content))
                return true;
        }
    return false;
}

/* added_tokens_decoder: {"151643": {"content": ..., "special": ...}, ...} */
static int read_config(struct tokenizer_files *f, json_t **config, struct err *e)
{
    const struct file_map *m = &f->file[TOKENIZER_CONFIG];
    json_t *decoder, *entry;
    const char *key;

    if (document(m, config, e))
        return err_prefix(e, "%s", m->path);
    decoder = json_object_get(*config, "added_tokens_decoder");
    if (decoder && !json_is_object(decoder))
        return err_set(e, RC_DATA, "%s: 'added_tokens_decoder' is not an object", m->path);
    json_object_foreach(decoder, key, entry)
    {
        struct json_scan s = {key, key, key + strlen(key)};
        int32_t id;

        if (json_scan_index(&s, VOCAB_MAX_ID, &id, e) || json_scan_end(&s, e)) {
            *e = (struct err){0};
            return err_set(e, RC_DATA, "%s: 'added_tokens_decoder' has a key '%s', which is no id", m->path,
                           key);
        }
        if (added_entry(f, entry, id, e))
            return err_prefix(e, "%s", m->path);
    }
    return 0;
}

/* added_tokens.json: {"content": id, ...} */
static int read_added_tokens(struct tokenizer_files *f, const json_t *config, struct err *e)
{
    const struct file_map *m = &f->file[ADDED_TOKENS];
    json_t *doc = NULL, *id;
    const char *content;
    int ret = document(m, &doc, e);

    if (ret == 0 && !json_is_object(doc))
        ret = err_set(e, RC_DATA, "it is not a JSON object of tokens and ids");
    if (ret == 0)
        json_object_foreach(doc, content, id)
        {
            json_int_t n = json_is_integer(id) ? json_integer_value(id) : -1;

            if (n < 0 || n > VOCAB_MAX_ID)
                ret = err_set(e, RC_DATA, "the id of '%s' is not a whole number in 0..%d", content,
                              VOCAB_MAX_ID);
            else
                ret = added_put(&f->added, content, strlen(content), (int32_t)n,
                                named_special(config, content), e);
            if (ret)
                break;
        }
    json_decref(doc);
    return ret ? err_prefix(e, "%s", m->path) : 0;
}

/* An added token may also be in the vocabulary, but then under the same id. */
static int check_ids(const struct tokenizer_files *f, const char *dir, struct err *e)
{
    const char *bytes;
    size_t n;

    for (size_t i = 0; i < f->added.n; i++) {
        const struct added_token *t = &f->added.token[i];

        bytes = vocab_bytes(&f->vocab, t->id, &n);
        if (bytes && (n != t->decoded.n || memcmp(bytes, t->decoded.v, n)))
            return err_set(e, RC_DATA, "%s: id %d is that of the added token '%s' and of a vocabulary entry",
                           dir, t->id, t->content);
    }
    return 0;
}

int tokenizer_files_read(struct tokenizer_files *f, const char *dir, struct err *e)
{
    json_t *config = NULL;
    int have, ret = 0;

    have = map(f, TOKENIZER_JSON, dir, e);
    if (have == 1) {
        ret = read_tokenizer_json(f, e);
    } else if (have == 0) {
        int vocab = map(f, VOCAB_JSON, dir, e), merge = vocab < 0 ? -1 : map(f, MERGES_TXT, dir, e);

        if (merge == 0 || vocab == 0)
            ret = err_set(e, RC_DATA,
                          "%s: there is neither a tokenizer.json nor both vocab.json and merges.txt", dir);
        else
            ret = merge < 0 || read_vocab_json(f, e) || read_merges_txt(f, e) ? -1 : 0;
    }
    if (have < 0 || ret)
        return -1;
    ret = map(f, TOKENIZER_CONFIG, dir, e);
    if (ret == 1)
        ret = read_config(f, &config, e);
    if (ret == 0 && have == 0)
        ret = map(f, ADDED_TOKENS, dir, e);
    if (ret == 1)
        ret = read_added_tokens(f, config, e);
    json_decref(config);
    if (ret || check_ids(f, dir, e))
        return -1;
    added_sort(&f->added);
    return 0;
}

void tokenizer_files_release(struct tokenizer_files *f)
{
    for (int i = 0; i < TOKENIZER_FILES; i++)
        file_unmap(&f->file[i]);
    split_free(f->split);
    text_release(&f->pattern);
    added_release(&f->added);
    bpe_release(&f->bpe);
    vocab_release(&f->vocab);
    *f = (struct tokenizer_files){0};
}
