/* doc.c - the head of every JSON document of the suite */
#include "common/io/doc.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/cli.h"

/*
 * The command line without what names this machine or this run: directories of absolute paths, and the output
 * file.
 */
static int put_argv(json_t *doc, struct err *e)
{
    char *const *word = cli_argv();
    json_t *argv = json_array(), *v;

    for (size_t i = 1; word && word[i]; i++) {
        const char *w = word[i], *slash = strrchr(w, '/');

        if (!strcmp(w, "-o") || !strcmp(w, "--output")) {
            i += word[i + 1] != NULL;
            continue;
        }
        if (!strncmp(w, "--output=", 9) || (w[0] == '-' && w[1] == 'o'))
            continue;
        v = json_string(w[0] == '/' && slash[1] ? slash + 1 : w);
        if (!v)
            err_set(e, RC_DATA, "'%s' is not valid UTF-8, and a document keeps its command line: rename the file", w);
        if (json_push(argv, v, e)) {
            json_decref(argv);
            return -1;
        }
    }
    return json_put(doc, "argv", argv, e);
}

json_t *doc_new(const char *schema, struct err *e)
{
    json_t *doc = json_object();

    if (json_put(doc, "schema", json_string(schema), e) ||
        json_put(doc, "tool", json_string(cli_name()), e) ||
        json_put(doc, "version", json_string(cli_version()), e) || put_argv(doc, e) ||
        json_put(doc, "from", json_object(), e)) {
        json_decref(doc);
        return NULL;
    }
    return doc;
}

int doc_from(json_t *doc, const char *role, const char *hex, struct err *e)
{
    return json_put(json_object_get(doc, "from"), role, json_string(hex), e);
}

int doc_check(const json_t *doc, const char *family, int major, bool foreign_ok, const char *name,
              struct err *e)
{
    const char *schema = json_string_value(json_object_get(doc, "schema"));
    size_t n = strlen(family);
    char *end;
    long v;

    if (!json_is_object(doc))
        return err_set(e, RC_DATA, "'%s' is not a JSON object", name);
    if (!schema && foreign_ok)
        return 0;
    if (!schema || strncmp(schema, family, n) || schema[n] != '/')
        return err_set(e, RC_DATA, "'%s' is not an %s document: its schema is %s%s%s", name, family,
                       schema ? "'" : "", schema ? schema : "missing", schema ? "'" : "");
    v = strtol(schema + n + 1, &end, 10);
    if (*end || v < 1 || v > major)
        return err_set(e, RC_DATA, "'%s' has schema '%s'; this version reads up to %s/%d", name, schema,
                       family, major);
    return 0;
}
