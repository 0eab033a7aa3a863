/* SPDX-License-Identifier: MIT
 * Contract: file.h. Files are read whole or to a limit, opened without waiting on what is no regular file; writers
 * finish by fsync and rename, and a failure at any point leaves the old file. */
#define _GNU_SOURCE
#include "io/file.h"
#include "core/alloc.h"
#include "core/progress.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { AT_ONCE = 1 << 24 };     /* bytes read before asking whether to go on */

static const char *why(void) {
    static _Thread_local char text[128];
    return strerror_r(errno, text, sizeof text);
}

hpt_status hpt__file_open(const char *path, int *fd, uint64_t *size) {
    struct stat s;
    const char *kind = NULL;
    do *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    while (*fd < 0 && errno == EINTR);
    if (*fd < 0 && errno == ENXIO) return hpt__fail(HPT_ERR_IO, "%.800s: a socket or device, not a regular file", path);
    if (*fd < 0) return hpt__fail(HPT_ERR_IO, "%.800s: %s", path, errno == ENOENT ? "no such file" : why());
    hpt_status st = HPT_OK;
    if (fstat(*fd, &s)) st = hpt__fail(HPT_ERR_IO, "%.800s: %s", path, why());
    else if (S_ISDIR(s.st_mode)) kind = "a folder";
    else if (S_ISFIFO(s.st_mode)) kind = "a pipe";
    else if (!S_ISREG(s.st_mode)) kind = "a device";
    if (kind) st = hpt__fail(HPT_ERR_IO, "%.800s: %s, not a regular file", path, kind);
    if (st) {
        close(*fd);
        *fd = -1;
    } else if (size) *size = (uint64_t)s.st_size;
    return st;
}

hpt_status hpt__file_take(int fd, const char *path, void *to, size_t want, size_t *got) {
    *got = 0;
    while (*got < want) {
        size_t some = want - *got < AT_ONCE ? want - *got : AT_ONCE;
        if (*got) HPT_TRY(hpt__span_tick(0));
        ssize_t n = read(fd, (uint8_t *)to + *got, some);
        if (n > 0) *got += (size_t)n;
        else if (n == 0) break;
        else if (errno != EINTR) return hpt__fail(HPT_ERR_IO, "%.800s: %s", path, why());
    }
    return HPT_OK;
}

hpt_status hpt__file_read(const char *path, uint64_t max, hpt__bytes *out) {
    int fd;
    uint64_t size;
    out->p = NULL;
    out->n = 0;
    HPT_TRY(hpt__file_open(path, &fd, &size));
    hpt_status st = HPT_OK;
    if (size > max)
        st = hpt__fail(HPT_ERR_FORMAT, "%.800s: %llu bytes, over the limit of %llu", path, (unsigned long long)size,
                       (unsigned long long)max);
    else if (!(out->p = hpt__alloc((size_t)size + 1))) st = hpt__fail_memory((size_t)size);
    else st = hpt__file_take(fd, path, out->p, (size_t)size, &out->n);
    close(fd);
    if (st) {
        hpt__free(out->p);
        out->p = NULL;
        out->n = 0;
    }
    return st;
}

enum { BUFFER = 1 << 18 };

/* Temporary files of writers that died (kill -9, power) before they could rename or remove them: PATH.tmp<pid>.<n>
 * that nobody holds locked. A convenience, so failures say nothing; a folder of very many files is not searched to
 * its end. */
static void remove_dead(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t n = strlen(name);
    char dir[4096];
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash + 1 - path) : 1, slash ? path : ".");
    DIR *d = opendir(dir);
    struct dirent *e;
    for (int i = 0; d && i < 20000 && (e = readdir(d)); i++) {
        unsigned pid, serial;
        int end = 0;
        if (strncmp(e->d_name, name, n) || sscanf(e->d_name + n, ".tmp%u.%u%n", &pid, &serial, &end) != 2 ||
            e->d_name[n + (size_t)end]) continue;
        int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0) continue;
        if (!flock(fd, LOCK_EX | LOCK_NB)) unlinkat(dirfd(d), e->d_name, 0);
        close(fd);
    }
    if (d) closedir(d);
}

hpt_status hpt__writer_open(hpt__writer *w, const char *path) {
    static _Atomic unsigned serial;
    memset(w, 0, sizeof *w);
    w->fd = -1;
    if (strlen(path) >= sizeof w->path || !*path) return hpt__fail(HPT_ERR_IO, "path is empty or too long");
    snprintf(w->path, sizeof w->path, "%s", path);
    struct stat s;
    if (!stat(path, &s) && !S_ISREG(s.st_mode)) {      /* a device such as /dev/full, or a folder, is never replaced */
        return hpt__fail(HPT_ERR_IO, "%.800s: exists and is not a regular file", path);
    }
    if (!(w->buf = hpt__alloc(BUFFER))) return hpt__fail_memory(BUFFER);
    remove_dead(path);
    for (int tries = 0; tries < 100 && w->fd < 0; tries++) {
        snprintf(w->temp, sizeof w->temp, "%s.tmp%d.%u", path, (int)getpid(), serial++);
        w->fd = open(w->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (w->fd < 0 && errno != EEXIST && errno != EINTR) break;
        /* the lock tells remove_dead() of other writers that this one lives; one of them may have come before it,
         * and holds it for a moment */
        while (w->fd >= 0 && flock(w->fd, LOCK_EX) && errno == EINTR) {}
        if (w->fd >= 0 && (fstat(w->fd, &s) || !s.st_nlink)) {
            close(w->fd);
            w->fd = -1;
            errno = EEXIST;
        }
    }
    if (w->fd < 0) {
        hpt_status st = hpt__fail(HPT_ERR_IO, "%.800s: %s", w->path, why());
        hpt__free(w->buf);
        w->buf = NULL;
        return st;
    }
    return HPT_OK;
}

static void drain(hpt__writer *w, const uint8_t *p, size_t n) {
    while (n && !w->failed) {
        ssize_t k = write(w->fd, p, n);
        if (k > 0) {
            p += k;
            n -= (size_t)k;
        } else if (k < 0 && errno == EINTR) continue;
        else w->failed = k < 0 ? errno : EIO;
    }
}
void hpt__writer_put(hpt__writer *w, const void *data, size_t n) {
    w->at += n;
    if (w->used + n > BUFFER) {
        drain(w, w->buf, w->used);
        w->used = 0;
        if (n > BUFFER) {
            drain(w, data, n);
            return;
        }
    }
    if (n) memcpy(w->buf + w->used, data, n);
    w->used += n;
}
void hpt__writer_abort(hpt__writer *w) {
    if (w->fd >= 0) {
        close(w->fd);
        unlink(w->temp);
    }
    hpt__free(w->buf);
    w->buf = NULL;
    w->fd = -1;
}
hpt_status hpt__writer_commit(hpt__writer *w) {
    drain(w, w->buf, w->used);
    w->used = 0;
    if (!w->failed && fsync(w->fd)) w->failed = errno;
    if (!w->failed && rename(w->temp, w->path)) w->failed = errno;
    close(w->fd);               /* last: with it the lock goes, and what another writer takes for left behind */
    w->fd = -1;
    if (w->failed) {
        unlink(w->temp);
        errno = w->failed;
        hpt__free(w->buf);
        w->buf = NULL;
        return hpt__fail(HPT_ERR_IO, "%.800s: %s; the file that was there is unchanged", w->path, why());
    }
    char *slash = strrchr(w->path, '/');
    char saved = 0;
    if (slash) {
        saved = slash[1];
        slash[1] = 0;
    }
    int dir = open(slash ? w->path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (slash) slash[1] = saved;
    if (dir >= 0) {
        (void)fsync(dir);       /* some file systems refuse; the rename has happened */
        close(dir);
    }
    hpt__free(w->buf);
    w->buf = NULL;
    return HPT_OK;
}
