/* pool.c - a directory of files that several checkpoints share, each once, under the SHA-256 of its bytes */
#include "common/io/pool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/mem.h"

#define NEW ".new-"

static char *path_of(const struct pool *p, const char *hex, struct err *e)
{
    return mem_printf(e, "%s/%s.safetensors", p->dir, hex);
}

/*
 * Remove unfinished files whose writers are gone.  A writer holds a lock as long as it lives, wherever it
 * runs; one that loses its file between creating and locking it begins again.
 */
static int sweep(const struct pool *p, struct err *e)
{
    DIR *d = opendir(p->dir);
    const struct dirent *f;

    if (!d)
        return err_sys(e, "cannot open the directory '%s'", p->dir);
    while ((f = readdir(d))) {
        int fd;

        if (strncmp(f->d_name, NEW, strlen(NEW)))
            continue;
        fd = openat(dirfd(d), f->d_name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            continue; /* finished meanwhile, or somebody else's */
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            unlinkat(dirfd(d), f->d_name, 0);
        close(fd);
    }
    closedir(d);
    return 0;
}

int pool_open(struct pool *p, const char *dir, struct err *e)
{
    struct stat st;

    *p = (struct pool){.dir = mem_strdup(dir, e)};
    if (!p->dir)
        return -1;
    if (mkdir(dir, 0777) && errno != EEXIST)
        err_sys(e, "cannot create '%s'", dir);
    else if (stat(dir, &st))
        err_sys(e, "cannot stat '%s'", dir);
    else if (!S_ISDIR(st.st_mode))
        err_set(e, RC_USAGE, "'%s' exists and is not a directory: choose another name for the pool", dir);
    else if (sweep(p, e) == 0)
        return 0;
    pool_close(p);
    return -1;
}

void pool_close(struct pool *p)
{
    free(p->dir);
    *p = (struct pool){0};
}

int pool_has(const struct pool *p, const char hex[SHA256_HEX], struct err *e)
{
    char *path = path_of(p, hex, e), is[SHA256_HEX];
    struct file_map m = {0};
    struct sha256 sha;
    int ret = path ? file_exists(path, e) : -1;

    if (ret == 1 && file_map(&m, path, e))
        ret = -1;
    if (ret == 1) {
        sha256_init(&sha);
        sha256_add(&sha, m.data, m.bytes);
        sha256_hex(&sha, is);
        if (strcmp(is, hex))
            ret = err_set(
                e, RC_DATA,
                "'%s' was changed: its SHA-256 is %s; remove it, and export the checkpoints that share it "
                "again",
                path, is);
    }
    file_unmap(&m);
    free(path);
    return ret;
}

int pool_create(const struct pool *p, struct pool_file *f, struct err *e)
{
    int fd;

    *f = (struct pool_file){.path = mem_printf(e, "%s/" NEW "XXXXXX", p->dir)};
    if (!f->path)
        return -1;
    fd = mkostemp(f->path, O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX) == 0)
        f->f = fdopen(fd, "wb");
    if (f->f)
        return 0;
    err_sys(e, "cannot create '%s'", f->path);
    if (fd >= 0) {
        close(fd);
        unlink(f->path);
    }
    free(f->path);
    *f = (struct pool_file){0};
    return -1;
}

/* Read-only, but for whom the umask excludes: what is written through one checkpoint would change them all.
 */
static mode_t shared_mode(void)
{
    const mode_t mask = umask(0);

    umask(mask);
    return 0444 & ~mask;
}

int pool_publish(struct pool *p, struct pool_file *f, const char hex[SHA256_HEX], struct err *e)
{
    char *path = path_of(p, hex, e);
    int ret = path ? 0 : -1;

    errno = 0;
    if (ret == 0 &&
        (ferror(f->f) || fflush(f->f) || fchmod(fileno(f->f), shared_mode()) || fsync(fileno(f->f))))
        ret = err_sys(e, "cannot write '%s'", f->path);
    /* Unlike rename(), link() leaves the file of another process alone, to which checkpoints have links
     * already. */
    if (ret == 0 && link(f->path, path) == 0)
        p->use.stored++;
    else if (ret == 0 && errno == EEXIST)
        p->use.found++;
    else if (ret == 0 && errno != ENOENT && rename(f->path, path) == 0) /* a file system without links */
        p->use.stored++;
    else if (ret == 0 &&
             errno != ENOENT) /* ENOENT: swept before it was locked; the caller finds it missing */
        ret = err_sys(e, "cannot name '%s' '%s'", f->path, path);
    pool_discard(f);
    free(path);
    return ret;
}

void pool_discard(struct pool_file *f)
{
    if (f->path)
        unlink(f->path);
    if (f->f)
        fclose(f->f);
    free(f->path);
    *f = (struct pool_file){0};
}

/* 1 done, 0 the file system cannot. */
static int clone_file(const char *src, const char *dst)
{
    int from = open(src, O_RDONLY | O_CLOEXEC), to = -1, done = 0;

    if (from >= 0)
        to = open(dst, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (to >= 0) {
        done = ioctl(to, FICLONE, from) == 0 && fsync(to) == 0;
        close(to);
        if (!done)
            unlink(dst);
    }
    if (from >= 0)
        close(from);
    return done;
}

int pool_take(struct pool *p, const char hex[SHA256_HEX], const char *dst, struct err *e)
{
    char *path = path_of(p, hex, e);
    int ret = path ? 1 : -1;

    if (ret == -1)
        return -1;
    if (link(path, dst) == 0)
        p->use.linked++;
    else if (errno == ENOENT)
        ret = 0;
    else if (errno == EEXIST)
        ret = err_sys(e, "cannot link '%s' to '%s'", dst, path);
    else if (clone_file(path, dst))
        p->use.cloned++;
    else if (file_copy(path, dst, e) == 0)
        p->use.copied++;
    else
        ret = -1;
    free(path);
    return ret;
}

int pool_sync(const struct pool *p, struct err *e)
{
    int fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret = 0;

    if (fd < 0 || (fsync(fd) && errno != EINVAL))
        ret = err_sys(e, "cannot sync the directory '%s'", p->dir);
    if (fd >= 0)
        close(fd);
    return ret;
}
