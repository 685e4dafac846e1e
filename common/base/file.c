/* file.c - whole files: read, map, and write so that a result appears under its name whole or not at all */
#include "common/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/mem.h"

static bool is_std(const char *path)
{
    return !path || !strcmp(path, "-");
}

const char *file_label(const char *path)
{
    return is_std(path) ? "standard input" : path;
}

int file_read(const char *path, uint8_t **data, size_t *n, struct err *e)
{
    FILE *f = is_std(path) ? stdin : fopen(path, "rb");
    size_t cap = 1 << 16, got;
    uint8_t *p = NULL, *q;
    int ret = -1;

    *data = NULL;
    *n = 0;
    if (!f)
        return err_sys(e, "cannot open '%s'", path);
    for (;;) {
        q = mem_realloc(p, cap + 1, 1, e);
        if (!q)
            goto out;
        p = q;
        got = fread(p + *n, 1, cap - *n, f);
        *n += got;
        if (*n < cap)
            break;
        cap *= 2;
    }
    if (ferror(f)) {
        err_sys(e, "cannot read '%s'", file_label(path));
        goto out;
    }
    p[*n] = 0;
    *data = p;
    p = NULL;
    ret = 0;
out:
    free(p);
    if (f != stdin)
        fclose(f);
    return ret;
}

int file_map(struct file_map *m, const char *path, struct err *e)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC), ret = -1;
    void *p;

    *m = (struct file_map){0};
    if (fd < 0)
        return err_sys(e, "cannot open '%s'", path);
    if (fstat(fd, &st)) {
        err_sys(e, "cannot stat '%s'", path);
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        err_set(e, RC_DATA, "'%s' is not a regular file", path);
        goto out;
    }
    m->path = mem_strdup(path, e);
    if (!m->path)
        goto out;
    m->bytes = (size_t)st.st_size;
    if (m->bytes) {
        p = mmap(NULL, m->bytes, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) {
            err_sys(e, "cannot map '%s'", path);
            goto out;
        }
        m->data = p;
    }
    ret = 0;
out:
    close(fd);
    if (ret)
        file_unmap(m);
    return ret;
}

void file_unmap(struct file_map *m)
{
    if (m->data)
        munmap((void *)m->data, m->bytes);
    free(m->path);
    *m = (struct file_map){0};
}

int file_replaceable(const char *path, struct err *e)
{
    struct stat st;

    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return err_set(e, RC_USAGE, "'%s' is not a regular file, and only those are replaced: give another name", path);
    return 0;
}

int file_create(struct file_out *o, const char *path, bool force, bool binary, struct err *e)
{
    *o = (struct file_out){0};
    if (is_std(path)) {
        if (binary && isatty(STDOUT_FILENO))
            return err_set(e, RC_USAGE, "binary output is not written to a terminal: use -o FILE or a pipe");
        o->f = stdout;
        return 0;
    }
    if (file_replaceable(path, e))
        return -1;
    if (!force && access(path, F_OK) == 0)
        return err_set(e, RC_USAGE, "'%s' exists: remove it or use -f", path);
    o->path = mem_strdup(path, e);
    o->tmp = mem_printf(e, "%s.tmp.%ld", path, (long)getpid());
    if (o->path && o->tmp) {
        o->f = fopen(o->tmp, "wb");
        if (o->f)
            return 0;
        err_sys(e, "cannot create '%s'", o->tmp);
    }
    file_discard(o);
    return -1;
}

const char *file_out_label(const struct file_out *o)
{
    return o->path ? o->path : "standard output";
}

/* A rename lasts only once its directory is on disk. */
static int sync_dir(const char *path, struct err *e)
{
    char *copy = mem_strdup(path, e);
    int fd, ret = 0;

    if (!copy)
        return -1;
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || (fsync(fd) && errno != EINVAL))
        ret = err_sys(e, "cannot sync the directory of '%s'", path);
    if (fd >= 0)
        close(fd);
    free(copy);
    return ret;
}

int file_rename(const char *from, const char *to, struct err *e)
{
    if (rename(from, to))
        return err_sys(e, "cannot rename '%s' to '%s'", from, to);
    return sync_dir(to, e);
}

int file_commit(struct file_out *o, struct err *e)
{
    int ret = 0;

    if (o->f == stdout) {
        if (fflush(stdout) || ferror(stdout))
            ret = err_sys(e, "cannot write standard output");
        *o = (struct file_out){0};
        return ret;
    }
    errno = 0;
    if (ferror(o->f) || fflush(o->f) || fsync(fileno(o->f)))
        ret = err_sys(e, "cannot write '%s'", o->tmp);
    if (fclose(o->f) && ret == 0)
        ret = err_sys(e, "cannot write '%s'", o->tmp);
    o->f = NULL;
    if (ret == 0 && (ret = file_rename(o->tmp, o->path, e)) == 0) {
        free(o->tmp);
        o->tmp = NULL;
    }
    file_discard(o);
    return ret;
}

void file_discard(struct file_out *o)
{
    if (o->f && o->f != stdout)
        fclose(o->f);
    if (o->tmp)
        unlink(o->tmp);
    free(o->tmp);
    free(o->path);
    *o = (struct file_out){0};
}

int file_copy(const char *src, const char *dst, struct err *e)
{
    struct file_map m = {0};
    struct file_out o = {0};
    int ret = -1;

    if (file_map(&m, src, e) || file_create(&o, dst, false, false, e))
        goto out;
    if (m.bytes && fwrite(m.data, 1, m.bytes, o.f) != m.bytes) {
        err_sys(e, "cannot write '%s'", dst);
        goto out;
    }
    ret = file_commit(&o, e);
out:
    file_discard(&o);
    file_unmap(&m);
    return ret;
}

int file_exists(const char *path, struct err *e)
{
    struct stat st;

    if (stat(path, &st) == 0)
        return 1;
    if (errno == ENOENT || errno == ENOTDIR)
        return 0;
    return err_sys(e, "cannot stat '%s'", path);
}

char *file_join(const char *dir, const char *name, struct err *e)
{
    size_t n = strlen(dir);

    return mem_printf(e, "%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name);
}
