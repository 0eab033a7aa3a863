/* SPDX-License-Identifier: MIT
 * Contract: folder.h. Reads a folder to its end, follows links once, and sorts by name, so that what comes after
 * does not depend on the file system. */
#define _GNU_SOURCE
#include "io/folder.h"
#include "core/alloc.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

enum { PROC_FS = 0x9fa0, SYS_FS = 0x62656572 };        /* statfs(2) */
static _Atomic int64_t countdown, counted;
static _Atomic int failure;

void hpt__folder_test_fail(int64_t nth, int error) {
    countdown = nth;
    failure = error;
    counted = 0;
}
int64_t hpt__folder_test_count(void) { return counted; }
static int refuse(void) {
    counted++;
    if (countdown <= 0 || --countdown) return 0;
    errno = failure;
    return 1;
}

static hpt_status failed(const char *path, const char *name) {
    char text[128];
    int e = errno;
    if (e == ENOMEM) return hpt__fail_memory(0);
    const char *why = e == ENOENT ? "no such file or folder" : e == EACCES ? "permission denied"
        : strerror_r(e, text, sizeof text);
    return hpt__fail(HPT_ERR_IO, "%.800s%s%.200s: %s", path, *name ? "/" : "", name, why);
}

typedef struct names { char *p; size_t used, cap, n, cap_e; hpt__folder_entry *e; } names;
/* Room for one more entry, and its name at the end of the names. */
static hpt_status add(names *l, const char *name, size_t *at) {
    size_t len = strlen(name) + 1;
    if (l->used + len > l->cap) {
        size_t cap = 2 * (l->cap + len) + 256;
        char *p = hpt__realloc(l->p, cap);
        if (!p) return hpt__fail_memory(cap);
        l->p = p;
        l->cap = cap;
    }
    if (l->n == l->cap_e) {
        size_t cap = 2 * l->cap_e + 16;
        hpt__folder_entry *e = hpt__realloc(l->e, sizeof *e * cap);
        if (!e) return hpt__fail_memory(sizeof *e * cap);
        l->e = e;
        l->cap_e = cap;
    }
    memcpy(l->p + l->used, name, len);
    *at = l->used;
    l->used += len;
    return HPT_OK;
}

static hpt__folder_kind kind_of(mode_t mode) {
    return S_ISDIR(mode) ? HPT__FOLDER_FOLDER : S_ISREG(mode) ? HPT__FOLDER_FILE : HPT__FOLDER_OTHER;
}
/* What one name is. Most file systems say so with the name; the others, and links, are asked. */
static hpt_status look(int fd, const char *path, const struct dirent *d, hpt__folder_entry *e) {
    struct stat s;
    e->ino = (uint64_t)d->d_ino;
    e->link = d->d_type == DT_LNK;
    if (d->d_type != DT_UNKNOWN && d->d_type != DT_LNK) {
        e->kind = d->d_type == DT_DIR ? HPT__FOLDER_FOLDER : d->d_type == DT_REG ? HPT__FOLDER_FILE : HPT__FOLDER_OTHER;
        return HPT_OK;
    }
    if (d->d_type == DT_UNKNOWN) {
        if (refuse() || fstatat(fd, d->d_name, &s, AT_SYMLINK_NOFOLLOW)) return failed(path, d->d_name);
        e->link = S_ISLNK(s.st_mode);
        e->kind = kind_of(s.st_mode);
    }
    if (!e->link) return HPT_OK;
    if (refuse() || fstatat(fd, d->d_name, &s, 0)) {
        if (errno != ENOENT && errno != ELOOP && errno != ENOTDIR) return failed(path, d->d_name);
        e->kind = HPT__FOLDER_NOWHERE;
        return HPT_OK;
    }
    e->kind = kind_of(s.st_mode);
    e->dev = (uint64_t)s.st_dev;
    e->ino = (uint64_t)s.st_ino;
    return HPT_OK;
}
static int by_name(const void *a, const void *b) {
    return strcmp(((const hpt__folder_entry *)a)->name, ((const hpt__folder_entry *)b)->name);
}

hpt_status hpt__folder_read(const char *path, hpt__folder *out) {
    struct stat s;
    struct statfs fs;
    names l = {0};
    DIR *d;
    hpt_status st = HPT_OK;
    memset(out, 0, sizeof *out);
    do d = refuse() ? NULL : opendir(path);
    while (!d && errno == EINTR);
    if (!d) return failed(path, "");
    if (refuse() || fstat(dirfd(d), &s) || refuse() || fstatfs(dirfd(d), &fs)) st = failed(path, "");
    while (!st) {
        errno = 0;
        struct dirent *e = refuse() ? NULL : readdir(d);
        size_t at = 0;
        if (!e) {
            if (errno) st = failed(path, "");
            break;
        }
        if (e->d_name[0] == '.') continue;
        st = add(&l, e->d_name, &at);
        if (st) break;
        l.e[l.n] = (hpt__folder_entry){.dev = 0};
        st = look(dirfd(d), path, e, &l.e[l.n]);
        l.e[l.n++].name = (const char *)(uintptr_t)at;      /* an offset until the names stay where they are */
    }
    closedir(d);
    if (st) {
        hpt__free(l.p);
        hpt__free(l.e);
        return st;
    }
    for (size_t i = 0; i < l.n; i++) l.e[i].name = l.p + (uintptr_t)l.e[i].name;
    if (l.n) qsort(l.e, l.n, sizeof *l.e, by_name);
    *out = (hpt__folder){l.e, l.n, (uint64_t)s.st_dev, (uint64_t)s.st_ino, (long)fs.f_type == PROC_FS ||
                         (long)fs.f_type == SYS_FS, l.p};
    return HPT_OK;
}
void hpt__folder_free(hpt__folder *f) {
    hpt__free(f->e);
    hpt__free(f->names);
    memset(f, 0, sizeof *f);
}
