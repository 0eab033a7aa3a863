/* SPDX-License-Identifier: MIT
 * Opening what a path names: folder, list, IDX, npz, one image. Folders and lists only collect names here. */
#define _GNU_SOURCE
#include "core/alloc.h"
#include "data/collection.h"
#include "io/arrays.h"
#include "io/file.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
    int multi = labels->p && labels->ndim == 2 && labels->shape[1] > 0 && labels->shape[1] <= 1000000;
    if (labels->p && ((labels->ndim != 1 && !multi) || labels->shape[0] != images->shape[0]))
        return hpt__fail(HPT_ERR_FORMAT, "%.600s: %llu images but %llu labels", path, (unsigned long long)images->shape[0], (unsigned long long)labels->shape[0]);
    HPT_TRY(hpt__source_create(o, images->shape[0], &s));
    s->h = (int)images->shape[1];
    s->w = (int)images->shape[2];
    s->channels = (int)ch;
    s->title = hpt__strdup(path);
    if (multi) {
        s->classes = (uint32_t)labels->shape[1];
        s->multi = hpt__alloc((size_t)labels->count);
        for (uint64_t i = 0; s->multi && i < labels->count; i++) {
            int64_t v = labels->p[i];
            if (labels->type == 'i') memcpy(&v, labels->p + 8 * i, 8);
            if (v != 0 && v != 1) {
                hpt__source_release(s);
                return hpt__fail(HPT_ERR_FORMAT, "%.600s: label value %lld of image %llu is neither 0 nor 1", path, (long long)v, (unsigned long long)(i / labels->shape[1]));
            }
            s->multi[i] = (uint8_t)v;
        }
        if (!s->multi) {
            hpt__source_release(s);
            return hpt__fail_memory((size_t)labels->count);
        }
    } else
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

/* A file that its name does not tell: an image by its first bytes? */
static hpt_status open_by_content(const char *path, hpt__collection *c) {
    uint8_t head[HPT__IMAGE_HEAD];
    size_t got = 0;
    int fd;
    const char *unread = hpt__image_unread(path);
    HPT_TRY(hpt__file_open(path, &fd, NULL));
    hpt_status st = hpt__file_take(fd, path, head, sizeof head, &got);
    close(fd);
    if (st) return st;
    if (hpt__image_kind_of(head, got) != HPT__IMAGE_OTHER) return hpt__collect(c, hpt__strdup(path), -1, NULL, 0);
    if (unread) return hpt__fail(HPT_ERR_FORMAT, "%.700s: images of kind .%s are not read", path, unread);
    return hpt__fail(HPT_ERR_FORMAT, "%.700s: not a folder, list (.txt .tsv .csv .lst), IDX, npz or image", path);
}

hpt_status hpt__source_open(const hpt__options *o, const char *path, hpt__source **out) {
    struct stat s;
    hpt__collection c = {0};
    hpt_status st;
    *out = NULL;
    if (stat(path, &s)) return hpt__fail(HPT_ERR_IO, "%.800s: %s", path, errno == ENOENT ? "no such file or folder" : "cannot be read");
    if (S_ISDIR(s.st_mode)) st = hpt__collect_folder(&c, path);
    else if (ends(path, "-ubyte") || ends(path, "-ubyte.gz") || ends(path, ".idx") || ends(path, ".idx.gz")) return open_idx(o, path, out);
    else if (ends(path, ".npz")) return open_npz(o, path, out);
    else if (hpt__image_name(path)) st = hpt__collect(&c, hpt__strdup(path), -1, NULL, 0);
    else if (ends(path, ".txt") || ends(path, ".tsv") || ends(path, ".csv") || ends(path, ".lst")) st = hpt__collect_list(&c, o, path);
    else st = open_by_content(path, &c);
    if (!st) st = hpt__collection_source(o, &c, out);
    hpt__collection_fini(&c);
    return st;
}
