/* json.c - JSON documents on jansson */
#include "common/io/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cli.h"
#include "common/base/file.h"

json_t *json_parse(const char *text, size_t n, const char *name, struct err *e)
{
    json_error_t je;
    json_t *v = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);

    if (!v)
        err_set(e, RC_DATA, "'%s' is not valid JSON: line %d, column %d: %s", name, je.line, je.column,
                je.text);
    return v;
}

json_t *json_read(const char *path, char hex[SHA256_HEX], struct err *e)
{
    struct sha256 s;
    uint8_t *data;
    json_t *v = NULL;
    size_t n;

    if (file_read(path, &data, &n, e))
        return NULL;
    if (n == 0)
        err_set(e, RC_DATA, "'%s' is empty, JSON was expected", file_label(path));
    else
        v = json_parse((const char *)data, n, file_label(path), e);
    if (v && hex) {
        sha256_init(&s);
        sha256_add(&s, data, n);
        sha256_hex(&s, hex);
    }
    free(data);
    return v;
}

/*
 * The shortest of %.1g .. %.17g that reads back as v; always with a point or an exponent, so that it stays a
 * real.
 */
static void put_real(FILE *f, double v)
{
    char s[40];

    for (int digits = 6; digits <= 17; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, v);
        if (strtod(s, NULL) == v)
            break;
    }
    if (!strpbrk(s, ".e"))
        strcat(s, ".0");
    fputs(s, f);
}

static void put_string(FILE *f, const char *s, size_t n)
{
    fputc('"', f);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c == '"' || c == '\\')
            fprintf(f, "\\%c", c);
        else if (c == '\n')
            fputs("\\n", f);
        else if (c == '\t')
            fputs("\\t", f);
        else if (c < 0x20 || c == 0x7f)
            fprintf(f, "\\u%04x", c);
        else
            fputc(c, f);
    }
    fputc('"', f);
}

static bool is_flat(const json_t *array)
{
    size_t i, bytes = 0;
    json_t *v;

    json_array_foreach ((json_t *)array, i, v) {
        if (json_is_object(v) || json_is_array(v))
            return false;
        bytes += json_is_string(v) ? json_string_length(v) + 4 : 8;
    }
    return bytes < 100;
}

static void put(FILE *f, const json_t *v, int depth)
{
    const int step = 2;
    size_t i, n;
    json_t *item;
    const char *key;

    switch (json_typeof(v)) {
    case JSON_NULL: fputs("null", f); break;
    case JSON_TRUE: fputs("true", f); break;
    case JSON_FALSE: fputs("false", f); break;
    case JSON_INTEGER: fprintf(f, "%" JSON_INTEGER_FORMAT, json_integer_value(v)); break;
    case JSON_REAL: put_real(f, json_real_value(v)); break;
    case JSON_STRING: put_string(f, json_string_value(v), json_string_length(v)); break;
    case JSON_ARRAY: {
        bool flat = is_flat(v);

        n = json_array_size(v);
        fputc('[', f);
        json_array_foreach ((json_t *)v, i, item) {
            if (!flat)
                fprintf(f, "\n%*s", step * (depth + 1), "");
            put(f, item, depth + 1);
            if (i + 1 < n)
                fputs(flat ? ", " : ",", f);
        }
        if (n && !flat)
            fprintf(f, "\n%*s", step * depth, "");
        fputc(']', f);
        break;
    }
    case JSON_OBJECT:
        n = json_object_size(v);
        fputc('{', f);
        i = 0;
        json_object_foreach ((json_t *)v, key, item) {
            fprintf(f, "\n%*s", step * (depth + 1), "");
            put_string(f, key, strlen(key));
            fputs(": ", f);
            put(f, item, depth + 1);
            if (++i < n)
                fputc(',', f);
        }
        if (n)
            fprintf(f, "\n%*s", step * depth, "");
        fputc('}', f);
        break;
    }
}

json_t *json_f32(float v)
{
    char s[32];

    if (!isfinite(v))
        return NULL;
    snprintf(s, sizeof s, "%.9g", (double)v);
    return json_real(strtod(s, NULL));
}

int json_save(const char *path, const json_t *v, struct err *e)
{
    struct file_out o;
    int ret;

    if (file_create(&o, path, cli_force, false, e))
        return -1;
    put(o.f, v, 0);
    fputc('\n', o.f);
    ret = ferror(o.f) ? err_sys(e, "cannot write %s", file_out_label(&o)) : file_commit(&o, e);
    file_discard(&o);
    return ret;
}

int json_put(json_t *obj, const char *key, json_t *v, struct err *e)
{
    if (!v)
        return err_set(e, RC_DATA, "'%s' cannot be written: its value is not finite or not valid UTF-8", key);
    if (json_object_set_new(obj, key, v))
        return err_set(e, RC_SYS, "out of memory: cannot store '%s'", key);
    return 0;
}

int json_push(json_t *array, json_t *v, struct err *e)
{
    if (!v)
        return err_set(e, RC_DATA, "an array member cannot be written: it is not finite or not valid UTF-8");
    if (json_array_append_new(array, v))
        return err_set(e, RC_SYS, "out of memory: cannot store an array member");
    return 0;
}

/* obj[key]; absent or null: 0 and *v NULL, or an error when it is required. */
static int find(const json_t *obj, const char *key, bool required, json_t **v, const char *where,
                struct err *e)
{
    *v = json_object_get(obj, key);
    if (json_is_null(*v))
        *v = NULL;
    if (!*v && required)
        return err_set(e, RC_DATA, "%s: the key '%s' is missing", where, key);
    return 0;
}

static int wrong(const char *key, const char *want, const char *where, struct err *e)
{
    return err_set(e, RC_DATA, "%s: the key '%s' is not %s", where, key, want);
}

static int get_str(const json_t *o, const char *k, bool req, const char **out, const char *where,
                   struct err *e)
{
    json_t *v;

    if (find(o, k, req, &v, where, e))
        return -1;
    if (v && (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v)))
        return wrong(k, "a string", where, e);
    if (v)
        *out = json_string_value(v);
    return 0;
}

static int get_size(const json_t *o, const char *k, bool req, size_t *out, const char *where, struct err *e)
{
    json_t *v;

    if (find(o, k, req, &v, where, e))
        return -1;
    if (v && (!json_is_integer(v) || json_integer_value(v) < 0))
        return wrong(k, "a whole number of at least 0", where, e);
    if (v)
        *out = (size_t)json_integer_value(v);
    return 0;
}

static int get_f64(const json_t *o, const char *k, bool req, double *out, const char *where, struct err *e)
{
    json_t *v;

    if (find(o, k, req, &v, where, e))
        return -1;
    if (v && !json_is_number(v))
        return wrong(k, "a number", where, e);
    if (v)
        *out = json_number_value(v);
    return 0;
}

static int get_bool(const json_t *o, const char *k, bool req, bool *out, const char *where, struct err *e)
{
    json_t *v;

    if (find(o, k, req, &v, where, e))
        return -1;
    if (v && !json_is_boolean(v))
        return wrong(k, "true or false", where, e);
    if (v)
        *out = json_is_true(v);
    return 0;
}

int json_get_str(const json_t *o, const char *k, const char **out, const char *where, struct err *e)
{
    return get_str(o, k, true, out, where, e);
}

int json_or_str(const json_t *o, const char *k, const char **out, const char *where, struct err *e)
{
    return get_str(o, k, false, out, where, e);
}

int json_get_size(const json_t *o, const char *k, size_t *out, const char *where, struct err *e)
{
    return get_size(o, k, true, out, where, e);
}

int json_or_size(const json_t *o, const char *k, size_t *out, const char *where, struct err *e)
{
    return get_size(o, k, false, out, where, e);
}

int json_get_f64(const json_t *o, const char *k, double *out, const char *where, struct err *e)
{
    return get_f64(o, k, true, out, where, e);
}

int json_or_f64(const json_t *o, const char *k, double *out, const char *where, struct err *e)
{
    return get_f64(o, k, false, out, where, e);
}

int json_get_bool(const json_t *o, const char *k, bool *out, const char *where, struct err *e)
{
    return get_bool(o, k, true, out, where, e);
}

int json_or_bool(const json_t *o, const char *k, bool *out, const char *where, struct err *e)
{
    return get_bool(o, k, false, out, where, e);
}

int json_get_obj(const json_t *o, const char *k, json_t **out, const char *where, struct err *e)
{
    if (find(o, k, true, out, where, e))
        return -1;
    return json_is_object(*out) ? 0 : wrong(k, "an object", where, e);
}

int json_get_arr(const json_t *o, const char *k, json_t **out, const char *where, struct err *e)
{
    if (find(o, k, true, out, where, e))
        return -1;
    return json_is_array(*out) ? 0 : wrong(k, "an array", where, e);
}
