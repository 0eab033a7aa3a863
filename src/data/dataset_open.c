/* SPDX-License-Identifier: MIT
 * Opening what a path names: folder, list, IDX, npz, npy, one image. Folders and lists only collect names here;
 * pixels are read when they are needed, those of arrays at once. */
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

/* (N,H,W), (N,H,W,1), (N,H,W,3); channels before height and width are put behind them. */
static hpt_status check_images(const char *path, hpt__array *a, char *note, size_t size) {
    static const int channels_last[4] = {0, 2, 3, 1};
    const uint64_t *s = a->shape;
    *note = 0;
    if (a->ndim == 4 && s[3] != 1 && s[3] != 3 && (s[1] == 1 || s[1] == 3)) {
        HPT_TRY(hpt__array_permute(a, channels_last));
        snprintf(note, size, "stored with channels before height and width");
    }
    uint64_t ch = a->ndim == 4 ? s[3] : 1;
    if (a->ndim == 3 && s[2] >= 1 && s[2] <= 4)
        return hpt__fail(HPT_ERR_FORMAT,
                         "%.600s: shape (%llu,%llu,%llu) looks like one image; several are (N,H,W,channels)", path,
                         (unsigned long long)s[0], (unsigned long long)s[1], (unsigned long long)s[2]);
    if (a->ndim == 2)
        return hpt__fail(HPT_ERR_FORMAT,
                         "%.600s: %llu rows of %llu values; images need their shape, (N,H,W) or (N,H,W,3)", path,
                         (unsigned long long)s[0], (unsigned long long)s[1]);
    if (ch != 1 && ch != 3)
        return hpt__fail(HPT_ERR_FORMAT, "%.600s: %llu channels; gray (1) and RGB (3) are read", path,
                         (unsigned long long)ch);
    if (a->ndim < 3 || !a->count || s[1] > 16384 || s[2] > 16384)
        return hpt__fail(HPT_ERR_FORMAT, "%.600s: need (N,H,W), (N,H,W,1) or (N,H,W,3) images", path);
    return HPT_OK;
}
static int64_t label_at(const hpt__array *a, uint64_t i) {
    int64_t v = a->p[i];
    if (a->type == 'i') memcpy(&v, a->p + 8 * i, 8);
    return v;
}
/* (N) and (N,1): one label an image; (N,C): one 0 or 1 a class. */
static hpt_status take_labels(hpt__source *s, const char *path, const hpt__array *labels) {
    uint64_t columns = labels->ndim == 2 ? labels->shape[1] : 1, one_hot = 0;
    if (labels->ndim < 1 || labels->ndim > 2 || labels->shape[0] != s->n || !columns || columns > 1000000)
        return hpt__fail(HPT_ERR_FORMAT,
                         "%.500s: %llu images, but labels of shape (%llu%s%.0llu%s): need (N), (N,1) or (N,classes)",
                         path, (unsigned long long)s->n, (unsigned long long)labels->shape[0], labels->ndim > 1 ? ","
                         : "", labels->ndim > 1 ? (unsigned long long)labels->shape[1] : 0ull, labels->ndim > 2
                         ? ",..." : "");
    if (columns == 1) {
        if (!(s->label = hpt__alloc(sizeof *s->label * (size_t)s->n))) return hpt__fail_memory((size_t)s->n * 4);
        for (uint64_t i = 0; i < s->n; i++) {
            int64_t v = label_at(labels, i);
            if (v < 0 || v > 1000000)
                return hpt__fail(HPT_ERR_FORMAT, "%.600s: label %lld of image %llu", path, (long long)v,
                                 (unsigned long long)i);
            s->label[i] = (int32_t)v;
            if ((uint32_t)v >= s->classes) s->classes = (uint32_t)v + 1;
        }
        return hpt__note_add(&s->note, &s->notes, 0, "%u class%s, the labels from 0 to %u of %.600s", s->classes,
                             s->classes == 1 ? "" : "es", s->classes - 1, path);
    }
    s->classes = (uint32_t)columns;
    if (!(s->multi = hpt__alloc((size_t)labels->count))) return hpt__fail_memory((size_t)labels->count);
    for (uint64_t i = 0, row = 0; i < labels->count; i++) {
        int64_t v = label_at(labels, i);
        if (v != 0 && v != 1)
            return hpt__fail(HPT_ERR_FORMAT, "%.600s: label value %lld of image %llu is neither 0 nor 1", path,
                             (long long)v, (unsigned long long)(i / columns));
        s->multi[i] = (uint8_t)v;
        row += (uint64_t)v;
        if ((i + 1) % columns) continue;
        one_hot += row == 1;
        row = 0;
    }
    if (one_hot < s->n) return HPT_OK;
    return hpt__note_add(&s->note, &s->notes, 0,
                         "%.600s: every image has exactly one of %u labels; for one label an image save their numbers, "
                         "of shape (N)", path, s->classes);
}
/* Images and labels of arrays become a source, which takes over images->p; labels may be empty: why says the reason. */
static hpt_status from_arrays(const hpt__options *o, const char *path, hpt__array *images, hpt__array *labels,
                              const char *why, hpt__source **out) {
    hpt__source *s;
    char note[64];
    if (*OPT_S(o, group_by))
        return hpt__fail(HPT_ERR_OPTION, "%.600s: images of an array have no names for group_by", path);
    HPT_TRY(check_images(path, images, note, sizeof note));
    HPT_TRY(hpt__source_create(o, images->shape[0], &s));
    s->h = (int)images->shape[1];
    s->w = (int)images->shape[2];
    s->channels = images->ndim == 4 ? (int)images->shape[3] : 1;
    s->title = hpt__strdup(path);
    hpt_status st = s->title ? HPT_OK : hpt__fail_memory(64);
    if (!st && labels->p) st = take_labels(s, path, labels);
    if (!labels->p) snprintf(s->unlabelled_why, sizeof s->unlabelled_why, "%.500s", why);
    if (!st && (*note || *images->note))
        st = hpt__note_add(&s->note, &s->notes, 0, "%.600s: images are %s%s%s", path, images->note, *note &&
                           *images->note ? "; " : "", note);
    if (st) {
        hpt__source_release(s);
        return st;
    }
    s->pixels = images->p;
    images->p = NULL;
    *out = s;
    return HPT_OK;
}

/* Labels of option labels_file: IDX or npy. */
static hpt_status labels_of_file(const char *file, hpt__array *labels) {
    return ends(file, ".npy") ? hpt__npy_read(file, 1, labels) : hpt__idx_read(file, labels);
}

static hpt_status open_idx(const hpt__options *o, const char *path, hpt__source **out) {
    hpt__array images, labels = {0};
    const char *file = OPT_S(o, labels_file), *at = *file ? NULL : strstr(path, "-images-idx3-");
    char *sibling = NULL, why[512];
    HPT_TRY(hpt__idx_read(path, &images));
    hpt_status st = HPT_OK;
    if (at) {                       /* ...-images-idx3-ubyte[.gz] -> ...-labels-idx1-ubyte[.gz] */
        struct stat s;
        if (!(sibling = hpt__alloc(strlen(path) + 1))) st = hpt__fail_memory(strlen(path));
        else {
            snprintf(sibling, strlen(path) + 1, "%.*s-labels-idx1-%s", (int)(at - path), path, at + 13);
            if (!stat(sibling, &s)) file = sibling;
        }
    }
    snprintf(why, sizeof why, "%.300s has no file of labels beside it; option labels_file names one", path);
    if (!st && *file) st = labels_of_file(file, &labels);
    if (!st) st = from_arrays(o, path, &images, &labels, why, out);
    hpt__free(sibling);
    hpt__array_free(&images);
    hpt__array_free(&labels);
    return st;
}
static hpt_status open_npy(const hpt__options *o, const char *path, hpt__source **out) {
    hpt__array images, labels = {0};
    HPT_TRY(hpt__npy_read(path, 0, &images));
    hpt_status st = *OPT_S(o, labels_file) ? labels_of_file(OPT_S(o, labels_file), &labels) : HPT_OK;
    if (!st)
        st = from_arrays(o, path, &images, &labels,
                         "an npy file holds images alone; option labels_file names their labels", out);
    hpt__array_free(&images);
    hpt__array_free(&labels);
    return st;
}
/* Without an array of option npz_labels, the one whose name goes with that of the images (val_images: val_labels). */
static hpt_status open_npz(const hpt__options *o, const char *path, hpt__source **out) {
    hpt__array images, labels = {0};
    const char *name = OPT_S(o, npz_labels);
    char partner[256], why[512];
    int found, usual = !strcmp(name, "labels");
    HPT_TRY(hpt__npz_read(path, OPT_S(o, npz_images), 0, &images, NULL));
    hpt_status st = hpt__npz_read(path, name, 1, &labels, usual ? &found : NULL);
    if (!st && usual && !found) {
        snprintf(why, sizeof why, "%.180s has no array 'labels'; there are %.240s; option npz_labels names one", path,
                 labels.note);
        if (hpt__array_partner(OPT_S(o, npz_images), partner, sizeof partner) && strcmp(partner, name))
            st = hpt__npz_read(path, partner, 1, &labels, &found);
    }
    if (!st) st = from_arrays(o, path, &images, &labels, why, out);
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
    return hpt__fail(HPT_ERR_FORMAT, "%.700s: not a folder, list (.txt .tsv .csv .lst .list), IDX, npz, npy or image",
                     path);
}

hpt_status hpt__source_open(const hpt__options *o, const char *path, hpt__source **out) {
    struct stat s;
    hpt__collection c = {0};
    hpt_status st;
    *out = NULL;
    if (stat(path, &s))
        return hpt__fail(HPT_ERR_IO, "%.800s: %s", path, errno == ENOENT ? "no such file or folder" : "cannot be read");
    if (S_ISDIR(s.st_mode)) st = hpt__collect_folder(&c, path);
    else if (ends(path, "-ubyte") || ends(path, "-ubyte.gz") || ends(path, ".idx") || ends(path, ".idx.gz"))
        return open_idx(o, path, out);
    else if (ends(path, ".npz")) return open_npz(o, path, out);
    else if (ends(path, ".npy")) return open_npy(o, path, out);
    else if (hpt__image_name(path)) st = hpt__collect(&c, hpt__strdup(path), -1, NULL, 0);
    else if (ends(path, ".txt") || ends(path, ".tsv") || ends(path, ".csv") || ends(path, ".lst") ||
             ends(path, ".list")) st = hpt__collect_list(&c, o, path);
    else st = open_by_content(path, &c);
    if (!st) st = hpt__collection_source(o, &c, out);
    hpt__collection_fini(&c);
    return st;
}
