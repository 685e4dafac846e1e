/* outdir.c - a directory in the making: it appears under its name whole or not at all */
#include "common/io/outdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/mem.h"

/* The directory that holds path, to be freed. */
static char *parent_of(const char *path, struct err *e)
{
    char *copy = mem_strdup(path, e), *dir = copy ? mem_strdup(dirname(copy), e) : NULL;

    free(copy);
    return dir;
}

static bool is_dot(const char *name)
{
    return !strcmp(name, ".") || !strcmp(name, "..");
}

/* Remove a flat directory.  One that holds a directory stays: rmdir() refuses. */
static int remove_flat(const char *path)
{
    DIR *d = opendir(path);
    const struct dirent *f;

    if (!d)
        return -1;
    while ((f = readdir(d)))
        if (!is_dot(f->d_name))
            unlinkat(dirfd(d), f->d_name, 0);
    closedir(d);
    return rmdir(path);
}

/* Remove PATH.tmp.PID of processes that are gone, and of this one: its number was theirs before. */
static int sweep(const char *path, struct err *e)
{
    char *parent = parent_of(path, e),
         *prefix = mem_printf(e, "%s.tmp.", strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
    DIR *d = parent && prefix ? opendir(parent) : NULL;
    const struct dirent *f;
    int ret = parent && prefix ? 0 : -1;

    if (ret == 0 && !d)
        ret = err_sys(e, "cannot open the directory '%s'", parent);
    while (d && ret == 0 && (f = readdir(d))) {
        char *end, *left;
        long pid;

        if (strncmp(f->d_name, prefix, strlen(prefix)))
            continue;
        pid = strtol(f->d_name + strlen(prefix), &end, 10);
        if (*end || end == f->d_name + strlen(prefix) || pid <= 0)
            continue;
        if (pid != getpid() && (kill((pid_t)pid, 0) == 0 || errno != ESRCH))
            continue;
        left = file_join(parent, f->d_name, e);
        if (!left)
            ret = -1;
        else if (remove_flat(left) && errno != ENOENT && errno != ENOTDIR)
            ret = err_sys(e, "cannot remove '%s', left over from a run that was killed", left);
        free(left);
    }
    if (d)
        closedir(d);
    free(prefix);
    free(parent);
    return ret;
}

/* 0 when an existing path may be replaced. */
static int check_replaceable(const char *path, const char *marker, struct err *e)
{
    DIR *d = opendir(path);
    const struct dirent *f;
    size_t files = 0;
    bool marked = false, flat = true;
    struct stat st;

    if (!d)
        return err_sys(e, "cannot open the directory '%s'", path);
    while ((f = readdir(d))) {
        if (is_dot(f->d_name))
            continue;
        files++;
        marked |= !strcmp(f->d_name, marker);
        flat &= fstatat(dirfd(d), f->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
    }
    closedir(d);
    if (files && !(marked && flat))
        return err_set(e, RC_USAGE,
                       "'%s' does not look like an earlier result (%s): remove it yourself or choose "
                       "another name",
                       path, flat ? "a file that each has is missing" : "it holds more than files");
    return 0;
}

static int check_place(const char *path, bool force, const char *marker, struct err *e)
{
    struct stat st;

    if (lstat(path, &st))
        return errno == ENOENT ? 0 : err_sys(e, "cannot stat '%s'", path);
    if (!S_ISDIR(st.st_mode))
        return err_set(e, RC_USAGE, "'%s' exists and is not a directory: choose another name", path);
    if (!force)
        return err_set(e, RC_USAGE, "'%s' exists: remove it or use -f", path);
    return check_replaceable(path, marker, e);
}

int outdir_create(struct outdir *o, const char *path, bool force, const char *marker, struct err *e)
{
    size_t n = strlen(path);

    *o = (struct outdir){0};
    while (n > 1 && path[n - 1] == '/')
        n--;
    o->path = mem_printf(e, "%.*s", (int)n, path);
    if (!o->path)
        return -1;
    if (!n || !strcmp(o->path, "/") || is_dot(o->path)) {
        err_set(e, RC_USAGE, "'%s' cannot be made: name a new directory", path);
        goto fail;
    }
    if (check_place(o->path, force, marker, e) || sweep(o->path, e))
        goto fail;
    o->tmp = mem_printf(e, "%s.tmp.%ld", o->path, (long)getpid());
    if (!o->tmp)
        goto fail;
    if (mkdir(o->tmp, 0777) == 0)
        return 0;
    err_sys(e, "cannot create '%s'", o->tmp);
    free(o->tmp);
    o->tmp = NULL;
fail:
    outdir_discard(o);
    return -1;
}

int outdir_room(const struct outdir *o, uint64_t bytes, struct err *e)
{
    return outdir_room_at(o->tmp, o->path, bytes, e);
}

int outdir_room_at(const char *dir, const char *what, uint64_t bytes, struct err *e)
{
    struct statvfs fs;
    uint64_t left;

    if (statvfs(dir, &fs))
        return err_sys(e, "cannot ask for the free space at '%s'", what);
    left = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (left < bytes)
        return err_set(e, RC_SYS,
                       "'%s' needs %" PRIu64 " bytes, the file system has %" PRIu64 " free: make room for "
                       "%" PRIu64 " more or use another one",
                       what, bytes, left, bytes - left);
    return 0;
}

static int sync_dir(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret = 0;

    if (fd < 0 || (fsync(fd) && errno != EINVAL))
        ret = err_sys(e, "cannot sync the directory '%s'", path);
    if (fd >= 0)
        close(fd);
    return ret;
}

/* Put the new directory in the place of the old one, which is then under the temporary name. */
static int exchange(struct outdir *o, struct err *e)
{
    if (renameat2(AT_FDCWD, o->tmp, AT_FDCWD, o->path, RENAME_EXCHANGE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return err_sys(e, "cannot exchange '%s' and '%s'", o->tmp, o->path);
    /* A file system that cannot exchange: the old one goes first. */
    if (remove_flat(o->path) || rename(o->tmp, o->path))
        return err_sys(e, "cannot replace '%s' by '%s'", o->path, o->tmp);
    free(o->tmp);
    o->tmp = NULL;
    return 0;
}

int outdir_commit(struct outdir *o, struct err *e)
{
    char *parent = parent_of(o->path, e);
    int ret = parent ? sync_dir(o->tmp, e) : -1;
    struct stat st;

    if (ret)
        goto out;
    if (lstat(o->path, &st) == 0 && S_ISDIR(st.st_mode)) {
        ret = exchange(o, e);
    } else if (rename(o->tmp, o->path)) {
        ret = err_sys(e, "cannot rename '%s' to '%s'", o->tmp, o->path);
    } else {
        free(o->tmp);
        o->tmp = NULL;
    }
    if (ret == 0)
        ret = sync_dir(parent, e);
out:
    free(parent);
    outdir_discard(o);
    return ret;
}

void outdir_discard(struct outdir *o)
{
    if (o->tmp)
        remove_flat(o->tmp);
    free(o->tmp);
    free(o->path);
    *o = (struct outdir){0};
}
