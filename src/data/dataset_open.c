/* SPDX-License-Identifier: MIT
 * Opening what a path names: folder, list, IDX, npz, one image. Folders and lists only collect names here. */
#define _GNU_SOURCE
#include "core/alloc.h"
#include "data/dataset.h"
#include "io/arrays.h"
#include "io/file.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_DEPTH = 24, MAX_IMAGES = 100000000 };

typedef struct entry { char *path; int32_t label; } entry;
typedef struct collection { entry *f; uint64_t n, cap; char **cls; uint32_t classes; } collection;

static hpt_status collect(collection *c, char *path, int32_t label) {
    if (!path) return hpt__fail_memory(256);
    if (c->n == c->cap) {
        uint64_t cap = c->cap ? c->cap * 2 : 1024;
        entry *f = cap <= MAX_IMAGES ? hpt__realloc(c->f, sizeof *f * (size_t)cap) : NULL;
        if (!f) {
            hpt__free(path);
            return hpt__fail_memory(sizeof *f * (size_t)cap);
        }
        c->f = f;
        c->cap = cap;
    }
    c->f[c->n++] = (entry){path, label};
    return HPT_OK;
}
static void collection_fini(collection *c) {
    for (uint64_t i = 0; i < c->n; i++) hpt__free(c->f[i].path);
    for (uint32_t i = 0; i < c->classes; i++) hpt__free(c->cls[i]);
    hpt__free(c->cls);
    hpt__free(c->f);
}
static char *join(const char *a, const char *b) {
    size_t n = strlen(a), slash = n && a[n - 1] != '/';
    char *s = hpt__alloc(n + strlen(b) + 2);
    if (s) {
        memcpy(s, a, n);
        if (slash) s[n] = '/';
        memcpy(s + n + slash, b, strlen(b) + 1);
    }
    return s;
}
static int order(const void *a, const void *b) { return strcmp(((const entry *)a)->path, ((const entry *)b)->path); }
static int word_order(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static hpt_status walk(collection *c, const char *dir, int32_t label, int depth) {
    hpt_status st = HPT_OK;
    DIR *d = opendir(dir);
    if (!d) return hpt__fail(HPT_ERR_IO, "%.800s: cannot open the folder (%s)", dir, errno == EACCES ? "permission denied" : errno == ENOENT ? "not found" : "unreadable");
    for (struct dirent *e; !st && (e = readdir(d));) {
        struct stat s;
        if (e->d_name[0] == '.') continue;
        char *path = join(dir, e->d_name);
        if (!path) st = hpt__fail_memory(256);
        else if (stat(path, &s)) hpt__free(path);          /* a dangling link */
        else if (S_ISDIR(s.st_mode) && depth < MAX_DEPTH) {
            st = walk(c, path, label, depth + 1);
            hpt__free(path);
        } else if (S_ISREG(s.st_mode) && hpt__image_name(path)) st = collect(c, path, label);
        else hpt__free(path);
    }
    closedir(d);
    return st;
}

/* Sub-folders that hold images are classes, in name order; images beside them would have none, and are refused. */
static hpt_status open_folder(collection *c, const char *path) {
    char **sub = NULL;
    uint32_t n = 0;
    hpt_status st = HPT_OK;
    DIR *d = opendir(path);
    if (!d) return hpt__fail(HPT_ERR_IO, "%.800s: cannot open the folder", path);
    for (struct dirent *e; !st && (e = readdir(d));) {
        struct stat s;
        char *p = e->d_name[0] == '.' ? NULL : join(path, e->d_name);
        if (p && !stat(p, &s) && S_ISDIR(s.st_mode)) {
            char **more = n % 64 ? sub : hpt__realloc(sub, sizeof *sub * (n + 64ull));
            char *name = hpt__strdup(e->d_name);
            if (more) sub = more;
            if (!more || !name) {
                hpt__free(name);
                st = hpt__fail_memory(64);
            } else sub[n++] = name;
        }
        hpt__free(p);
    }
    closedir(d);
    if (n) qsort(sub, n, sizeof *sub, word_order);
    c->cls = sub;
    c->classes = 0;
    for (uint32_t i = 0; i < n; i++) {
        char *p = st ? NULL : join(path, sub[i]);
        uint64_t before = c->n;
        if (!st) st = p ? walk(c, p, (int32_t)c->classes, 0) : hpt__fail_memory(64);
        hpt__free(p);
        char *name = sub[i];
        sub[i] = NULL;
        if (c->n > before) sub[c->classes++] = name;
        else hpt__free(name);
    }
    if (st) return st;
    if (!c->classes) HPT_TRY(walk(c, path, -1, 0));
    else {
        d = opendir(path);
        int loose = 0;
        for (struct dirent *e; d && (e = readdir(d));) {
            struct stat s;
            char *p = join(path, e->d_name);
            if (p && !stat(p, &s) && S_ISREG(s.st_mode) && hpt__image_name(p)) loose = 1;
            hpt__free(p);
        }
        if (d) closedir(d);
        if (loose) return hpt__fail(HPT_ERR_FORMAT, "%.800s: holds images beside class folders; move them or use a list file", path);
    }
    if (!c->n) return hpt__fail(HPT_ERR_FORMAT, "%.800s: no image inside (JPEG, PNG, BMP, PNM by their file names)", path);
    qsort(c->f, (size_t)c->n, sizeof *c->f, order);
    return HPT_OK;
}

/* "path [label]" a line; a path with blanks is quoted or followed by a tab. All lines have a label or none has. */
static hpt_status open_list(collection *c, const char *path, const char *root_option) {
    hpt__bytes f;
    HPT_TRY(hpt__file_read(path, 1u << 30, &f));
    const char *slash = strrchr(path, '/');
    char *root = *root_option ? hpt__strdup(root_option) : slash ? hpt__strndup(path, (size_t)(slash + 1 - path)) : hpt__strdup(".");
    hpt_status st = root ? HPT_OK : hpt__fail_memory(64);
    uint64_t line = 0, labelled = 0;
    f.p[f.n] = 0;
    for (char *p = (char *)f.p, *end = p + f.n; p < end && !st;) {
        char *eol = memchr(p, '\n', (size_t)(end - p)), *name = p, *stop, *label = NULL;
        if (!eol) eol = end;
        p = eol + 1;
        line++;
        *eol = 0;
        if (eol > name && eol[-1] == '\r') *--eol = 0;
        while (*name == ' ' || *name == '\t') name++;
        if (!*name || *name == '#') continue;
        if (memchr(name, 0, (size_t)(eol - name))) st = hpt__fail(HPT_ERR_FORMAT, "%.600s, line %llu: a zero byte", path, (unsigned long long)line);
        if (*name == '"') {
            stop = strchr(++name, '"');
            if (!stop) {
                st = hpt__fail(HPT_ERR_FORMAT, "%.600s, line %llu: no closing quote", path, (unsigned long long)line);
                break;
            }
            label = stop + 1;
        } else if ((stop = strchr(name, '\t')) || (stop = strchr(name, ' ')) || (stop = strchr(name, ','))) label = stop + 1;
        int64_t value = -1;
        if (label) {
            *stop = 0;
            while (*label == ' ' || *label == '\t' || *label == ',') label++;
            if (*label) {
                char *rest;
                value = strtoll(label, &rest, 10);
                while (*rest == ' ' || *rest == '\t') rest++;
                if (rest == label || *rest || value < 0 || value > 1000000)
                    st = hpt__fail(HPT_ERR_FORMAT, "%.600s, line %llu: label '%.40s' is not a number from 0 to 1000000", path, (unsigned long long)line, label);
            }
        }
        labelled += value >= 0;
        if (!st) st = collect(c, *name == '/' ? hpt__strdup(name) : join(root, name), (int32_t)value);
        if (!st && labelled && labelled != c->n) st = hpt__fail(HPT_ERR_FORMAT, "%.600s, line %llu: some lines have a label and some have none", path, (unsigned long long)line);
    }
    hpt__free(root);
    hpt__free(f.p);
    if (!st && !c->n) st = hpt__fail(HPT_ERR_FORMAT, "%.800s: the list is empty", path);
    for (uint64_t i = 0; i < c->n && !st; i++)
        if (c->f[i].label >= (int32_t)c->classes) c->classes = (uint32_t)c->f[i].label + 1;
    return st;
}

static hpt_status from_collection(const hpt__options *o, collection *c, hpt__source **out) {
    hpt__source *s;
    HPT_TRY(hpt__source_create(o, c->n, &s));
    s->path = hpt__calloc((size_t)c->n + 1, sizeof *s->path);
    s->label = c->classes ? hpt__alloc(sizeof *s->label * (size_t)c->n) : NULL;
    if (!s->path || (c->classes && !s->label)) {
        hpt__source_release(s);
        return hpt__fail_memory((size_t)c->n * 8);
    }
    for (uint64_t i = 0; i < c->n; i++) {
        s->path[i] = c->f[i].path;
        if (s->label) s->label[i] = c->f[i].label;
    }
    c->n = 0;
    s->classes = c->classes;
    s->class_name = c->cls;
    c->cls = NULL;
    c->classes = 0;
    *out = s;
    return HPT_OK;
}

static int ends(const char *s, const char *tail) {
    size_t a = strlen(s), b = strlen(tail);
    return a >= b && !strcasecmp(s + a - b, tail);
}

/* images of any IDX/npz array (N,H,W), (N,H,W,1), (N,H,W,3); takes over images->p; labels may be empty */
static hpt_status from_arrays(const hpt__options *o, const char *path, hpt__array *images, hpt__array *labels, hpt__source **out) {
    hpt__source *s;
    uint64_t ch = images->ndim == 4 ? images->shape[3] : 1;
    if (images->ndim < 3 || images->ndim > 4 || !images->count || (ch != 1 && ch != 3) || images->shape[1] > 16384 || images->shape[2] > 16384)
        return hpt__fail(HPT_ERR_FORMAT, "%.600s: need (N,H,W), (N,H,W,1) or (N,H,W,3) images", path);
    if (labels->p && (labels->ndim != 1 || labels->shape[0] != images->shape[0]))
        return hpt__fail(HPT_ERR_FORMAT, "%.600s: %llu images but %llu labels", path, (unsigned long long)images->shape[0], (unsigned long long)labels->shape[0]);
    HPT_TRY(hpt__source_create(o, images->shape[0], &s));
    s->h = (int)images->shape[1];
    s->w = (int)images->shape[2];
    s->channels = (int)ch;
    s->title = hpt__strdup(path);
    if (labels->p && !(s->label = hpt__alloc(sizeof *s->label * (size_t)s->n))) {
        hpt__source_release(s);
        return hpt__fail_memory((size_t)s->n * 4);
    }
    for (uint64_t i = 0; s->label && i < s->n; i++) {
        int64_t v = labels->p[i];
        if (labels->type == 'i') memcpy(&v, labels->p + 8 * i, 8);
        if (v < 0 || v > 1000000) {
            hpt__source_release(s);
            return hpt__fail(HPT_ERR_FORMAT, "%.600s: label %lld of image %llu", path, (long long)v, (unsigned long long)i);
        }
        s->label[i] = (int32_t)v;
        if ((uint32_t)v >= s->classes) s->classes = (uint32_t)v + 1;
    }
    s->pixels = images->p;
    images->p = NULL;
    *out = s;
    return HPT_OK;
}

static hpt_status open_idx(const hpt__options *o, const char *path, hpt__source **out) {
    hpt__array images, labels = {0};
    HPT_TRY(hpt__idx_read(path, &images));
    hpt_status st = HPT_OK;
    char *sibling = NULL;
    const char *file = OPT_S(o, labels_file);
    if (!*file) {                   /* ...-images-idx3-ubyte[.gz] -> ...-labels-idx1-ubyte[.gz] */
        const char *at = strstr(path, "-images-idx3-");
        struct stat s;
        if (at && (sibling = hpt__alloc(strlen(path) + 1))) {
            snprintf(sibling, strlen(path) + 1, "%.*s-labels-idx1-%s", (int)(at - path), path, at + 13);
            if (!stat(sibling, &s)) file = sibling;
        }
    }
    if (*file) st = hpt__idx_read(file, &labels);
    if (!st) st = from_arrays(o, path, &images, &labels, out);
    hpt__free(sibling);
    hpt__array_free(&images);
    hpt__array_free(&labels);
    return st;
}
static hpt_status open_npz(const hpt__options *o, const char *path, hpt__source **out) {
    hpt__array images, labels = {0};
    int found;
    HPT_TRY(hpt__npz_read(path, OPT_S(o, npz_images), 0, &images, NULL));
    hpt_status st = hpt__npz_read(path, OPT_S(o, npz_labels), 1, &labels, &found);
    if (!st) st = from_arrays(o, path, &images, &labels, out);
    hpt__array_free(&images);
    hpt__array_free(&labels);
    return st;
}

hpt_status hpt__source_open(const hpt__options *o, const char *path, hpt__source **out) {
    struct stat s;
    collection c = {0};
    hpt_status st;
    *out = NULL;
    if (stat(path, &s)) return hpt__fail(HPT_ERR_IO, "%.800s: %s", path, errno == ENOENT ? "no such file or folder" : "cannot be read");
    if (S_ISDIR(s.st_mode)) st = open_folder(&c, path);
    else if (ends(path, "-ubyte") || ends(path, "-ubyte.gz") || ends(path, ".idx") || ends(path, ".idx.gz")) return open_idx(o, path, out);
    else if (ends(path, ".npz")) return open_npz(o, path, out);
    else if (hpt__image_name(path)) st = collect(&c, hpt__strdup(path), -1);
    else if (ends(path, ".txt") || ends(path, ".tsv") || ends(path, ".csv") || ends(path, ".lst")) st = open_list(&c, path, OPT_S(o, list_root));
    else return hpt__fail(HPT_ERR_FORMAT, "%.700s: not a folder, list (.txt .tsv .csv .lst), IDX, npz or image by its name", path);
    if (!st) st = from_collection(o, &c, out);
    collection_fini(&c);
    return st;
}
