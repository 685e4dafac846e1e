/* export_places.c - where a checkpoint and its pool may be written, and what may be replaced */
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/io/json.h"
#include "common/quant/export_plan.h"

/* The path that a name will have, whether it is there or only its parent. */
static int resolve(const char *path, char out[PATH_MAX], struct err *e)
{
    char *copy, *last;
    size_t n;
    int ret = -1;

    if (realpath(path, out))
        return 0;
    copy = mem_strdup(path, e);
    if (!copy)
        return -1;
    for (n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
        copy[n - 1] = '\0';
    last = strrchr(path, '/') && n ? strrchr(copy, '/') : NULL;
    last = mem_strdup(last ? last + 1 : copy, e);
    if (!last)
        goto out;
    if (!realpath(dirname(copy), out)) {
        err_sys(e, "cannot create '%s'", path);
        goto out;
    }
    n = strlen(out);
    if ((size_t)snprintf(out + n, PATH_MAX - n, "/%s", last) >= PATH_MAX - n) {
        err_set(e, RC_USAGE, "'%s' is too long a path", path);
        goto out;
    }
    ret = 0;
out:
    free(last);
    free(copy);
    return ret;
}

/* -1 when dir is `of` or in it. */
static int check_apart(const char *dir, const char *of, const char *what, struct err *e)
{
    char in[PATH_MAX], out[PATH_MAX];
    size_t n;

    if (resolve(of, out, e) || resolve(dir, in, e))
        return -1;
    n = strlen(out);
    if (!strncmp(in, out, n) && (in[n] == '/' || !in[n]))
        return err_set(e, RC_USAGE, "'%s' is the %s own directory or in it: choose a place outside '%s'", dir,
                       what, of);
    return 0;
}

/* What -f replaces is a quantized checkpoint, not the model that one was made from. */
static int check_replaced(const char *dir, struct err *e)
{
    char *path = file_join(dir, "config.json", e);
    struct err unreadable = {0};
    json_t *config;
    int ret = path ? file_exists(path, e) : -1;

    if (ret > 0) {
        config = json_read(path, NULL, &unreadable);
        ret = json_is_object(json_object_get(config, "quantization_config"))
                  ? 0
                  : err_set(e, RC_USAGE,
                            "'%s' does not look like an earlier result (its config.json has no "
                            "quantization_config): remove it yourself or choose another name",
                            dir);
        json_decref(config);
    }
    free(path);
    return ret;
}

int export_check_places(const struct export_plan *p, const struct export_target *to, struct err *e)
{
    if (check_apart(to->dir, p->model->dir, "model's", e))
        return -1;
    if (to->pool && (check_apart(to->pool, p->model->dir, "model's", e) ||
                     check_apart(to->pool, to->dir, "checkpoint's", e)))
        return -1;
    return to->force ? check_replaced(to->dir, e) : 0;
}
