/* SPDX-License-Identifier: MIT
 * The identity of a set, the images that two sets share (by file, by pixels, by what they show), and whether every
 * class has one. Parts are drawn in dataset_draw.c. */
#define _GNU_SOURCE
#include "data/dataset.h"
#include "core/alloc.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

uint64_t hpt__dataset_fingerprint(const hpt_dataset *ds) {
    uint64_t h = XXH3_64bits(ds->index, sizeof *ds->index * (size_t)ds->count);
    const hpt__source *s = ds->src;
    for (uint64_t i = 0; i < ds->count; i++) {
        uint64_t k = ds->index[i];
        if (s->path) {      /* file names, not folders: a data set may move */
            const char *slash = strrchr(s->path[k], '/'), *name = slash ? slash + 1 : s->path[k];
            h = XXH3_64bits_withSeed(name, strlen(name), h);
        } else {
            size_t bytes = (size_t)s->w * (size_t)s->h * (size_t)s->channels;
            h = XXH3_64bits_withSeed(s->pixels + k * bytes, bytes, h);
        }
    }
    /* options that change pixels; all 0 by default, and then as before there were any */
    const uint64_t how[] = {(uint64_t)s->pad, (uint64_t)s->invert, (uint64_t)s->cache_side, (uint64_t)s->limits.alpha,
                            (uint64_t)s->limits.orient, (uint64_t)s->limits.accept_cut};
    int any = 0;
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) any |= how[i] != 0;
    if (any) h = XXH3_64bits_withSeed(how, sizeof how, h);
    return s->sample[0] ? XXH3_64bits_withSeed(s->sample, sizeof s->sample, h) : h;
}

/* A file that is gone is an error, or with bad_image=skip (*gone) one of the unreadable. */
static hpt_status look(const hpt__source *s, uint64_t k, struct stat *st, int *gone) {
    *gone = stat(s->path[k], st) != 0;
    return *gone && !s->skip_bad ? hpt__fail(HPT_ERR_IO, "%.800s: no such file", s->path[k]) : HPT_OK;
}
hpt_status hpt__dataset_content(const hpt_dataset *ds, uint64_t *hash) {
    const hpt__source *s = ds->src;
    const uint64_t readers[] = {(uint64_t)s->skip_bad, s->limits.max_pixels, s->limits.max_bytes,
                                HPT_VERSION_MAJOR * 1000000 + HPT_VERSION_MINOR * 1000 + HPT_VERSION_PATCH};
    uint64_t h = XXH3_64bits_withSeed(readers, sizeof readers, hpt__dataset_fingerprint(ds));
    struct stat st;
    int gone;
    __attribute__((cleanup(hpt__span_end))) hpt__span span;
    hpt__span_begin(&ds->ctx->watch, &span, HPT_PHASE_STATS, 0, ds->count, "sizes and times of the files");
    for (uint64_t i = 0; s->path && i < ds->count; i++) {
        HPT_TRY(hpt__span_at(&span, i));
        HPT_TRY(look(s, ds->index[i], &st, &gone));
        int64_t about[3] = {-1, 0, 0};
        if (!gone)
            about[0] = (int64_t)st.st_size, about[1] = (int64_t)st.st_mtim.tv_sec,
                about[2] = (int64_t)st.st_mtim.tv_nsec;
        h = XXH3_64bits_withSeed(about, sizeof about, h);
    }
    *hash = h;
    return HPT_OK;
}

hpt_status hpt__dataset_identity(const hpt_dataset *ds, uint64_t *hash) {
    const hpt__source *s = ds->src;
    uint64_t h = hpt__dataset_fingerprint(ds);
    for (uint64_t i = 0; i < ds->count; i++) {
        uint64_t k = ds->index[i];
        if (s->label) h = XXH3_64bits_withSeed(&s->label[k], sizeof *s->label, h);
        if (s->multi) h = XXH3_64bits_withSeed(s->multi + k * s->classes, s->classes, h);
        struct stat st;
        int gone;
        if (!s->path) continue;
        HPT_TRY(hpt__span_tick(0));
        HPT_TRY(look(s, k, &st, &gone));
        int64_t about[2] = {gone ? -1 : (int64_t)st.st_size, gone ? 0 : (int64_t)st.st_mtime};
        h = XXH3_64bits_withSeed(about, sizeof about, h);
    }
    for (uint32_t c = 0; s->class_name && c < s->classes; c++)
        h = XXH3_64bits_withSeed(s->class_name[c], strlen(s->class_name[c]), h);
    *hash = h;
    return HPT_OK;
}

/* ---- overlap: sorted keys of both sets, walked together ---- */

typedef struct content_key { uint64_t a, b, at; } content_key;
static int key_order(const void *x, const void *y) {
    const content_key *p = x, *q = y;
    return p->a != q->a ? (p->a < q->a ? -1 : 1) : p->b != q->b ? (p->b < q->b ? -1 : 1) : p->at < q->at ? -1
        : p->at > q->at;
}
/* A file is its device and number, so that links count (one that is gone, with bad_image=skip: its path); pixels of
 * a file are that file and the record; other pixels are their bytes. */
static hpt_status keys_of(const hpt_dataset *ds, content_key **out) {
    const hpt__source *s = ds->src;
    struct stat st;
    uint64_t title = 0;
    content_key *k = *out = hpt__alloc(sizeof *k * (size_t)(ds->count + 1));
    if (!k) return hpt__fail_memory(sizeof *k * (size_t)ds->count);
    if (s->title && !stat(s->title, &st))
        title = XXH3_64bits_withSeed(&st.st_ino, sizeof st.st_ino, (uint64_t)st.st_dev) | 1;
    for (uint64_t i = 0; i < ds->count; i++) {
        uint64_t at = ds->index[i];
        HPT_TRY(hpt__span_tick(0));
        k[i].at = i;
        if (s->path) {
            int gone;
            HPT_TRY(look(s, at, &st, &gone));
            k[i].a = gone ? XXH3_64bits(s->path[at], strlen(s->path[at])) : (uint64_t)st.st_ino;
            k[i].b = gone ? UINT64_MAX : (uint64_t)st.st_dev;
        } else if (title) {
            k[i].a = title;
            k[i].b = at;
        } else {
            size_t bytes = (size_t)s->w * (size_t)s->h * (size_t)s->channels;
            k[i].a = XXH3_64bits(s->pixels + at * bytes, bytes);
            k[i].b = XXH3_64bits_withSeed(s->pixels + at * bytes, bytes, 1);
        }
    }
    qsort(k, (size_t)ds->count, sizeof *k, key_order);
    return HPT_OK;
}

static int number_order(const void *x, const void *y) {
    uint64_t p = *(const uint64_t *)x, q = *(const uint64_t *)y;
    return p < q ? -1 : p > q;
}
/* Flags images of a whose object b shows too; first: one of them, and the image of b. Returns how many. */
static hpt_status objects_overlap(const hpt_dataset *a, const hpt_dataset *b, uint8_t *in_b, uint64_t first[2]) {
    const uint64_t *of_a = a->src->object, *of_b = b->src->object;
    uint64_t none = 1;
    if (!of_a || !of_b) return HPT_OK;
    uint64_t *sorted = hpt__alloc(sizeof *sorted * (size_t)(b->count + 1));
    if (!sorted) return hpt__fail_memory(sizeof *sorted * (size_t)b->count);
    for (uint64_t i = 0; i < b->count; i++) sorted[i] = of_b[b->index[i]];
    qsort(sorted, (size_t)b->count, sizeof *sorted, number_order);
    for (uint64_t i = 0; i < a->count; i++) none &= !in_b[i];
    for (uint64_t i = 0; i < a->count; i++) {
        const uint64_t *key = &of_a[a->index[i]];
        if (in_b[i] || !bsearch(key, sorted, (size_t)b->count, sizeof *sorted, number_order)) continue;
        in_b[i] = 1;
        for (uint64_t k = 0; none && k < b->count; k++)
            if (of_b[b->index[k]] == *key) first[0] = i, first[1] = k, none = 0;
    }
    hpt__free(sorted);
    return HPT_OK;
}
hpt_status hpt__dataset_overlap(const hpt_dataset *a, const hpt_dataset *b, uint64_t *common, uint64_t first[2],
                                uint8_t *in_b) {
    content_key *x = NULL, *y = NULL;
    uint8_t *flag = in_b ? in_b : hpt__alloc((size_t)a->count + 1);
    *common = 0;
    if (!flag) return hpt__fail_memory((size_t)a->count);
    memset(flag, 0, (size_t)a->count);
    hpt_status st = keys_of(a, &x);
    if (!st) st = keys_of(b, &y);
    for (uint64_t i = 0, j = 0; !st && i < a->count && j < b->count;) {
        int less = x[i].a != y[j].a ? (x[i].a < y[j].a ? -1 : 1) : x[i].b != y[j].b ? (x[i].b < y[j].b ? -1 : 1) : 0;
        if (!less && !(*common)++) {
            first[0] = x[i].at;
            first[1] = y[j].at;
        }
        if (!less) flag[x[i].at] = 1;
        i += less <= 0;
        j += less > 0;
    }
    if (!st) st = objects_overlap(a, b, flag, first);
    if (a->src->object && b->src->object)
        for (uint64_t i = *common = 0; i < a->count && !st; i++) *common += flag[i];
    if (!in_b) hpt__free(flag);
    hpt__free(x);
    hpt__free(y);
    return st;
}

/* ---- classes ---- */

hpt_status hpt__dataset_no_labels(const hpt_dataset *ds, const char *what) {
    const char *why = ds->src->unlabelled_why;
    return hpt__fail(HPT_ERR_ARGUMENT, "%s%sthe data set has no labels%s%s", what, *what ? ": " : "", *why ? ": " : "",
                     why);
}
static const char *class_name(const hpt__source *s, uint32_t c, char text[16]) {
    snprintf(text, 16, "%u", c);
    return s->class_name ? s->class_name[c] : text;
}
hpt_status hpt__dataset_all_classes(const hpt_dataset *ds, const char *what) {
    const hpt__source *s = ds->src;
    uint8_t *seen = hpt__calloc(s->classes + 1ull, 1);
    char text[16];
    hpt_status st = seen ? HPT_OK : hpt__fail_memory(s->classes);
    for (uint64_t i = 0; i < ds->count && !st; i++) {
        if (s->label) seen[s->label[ds->index[i]]] = 1;
        for (uint32_t c = 0; s->multi && c < s->classes; c++) seen[c] |= hpt__dataset_targets(ds, i)[c];
    }
    for (uint32_t c = 0; c < s->classes && !st; c++)
        if (!seen[c])
            st = hpt__fail(HPT_ERR_ARGUMENT,
                           "%s%s%.300s: class %s has no image to train on (option empty_classes=allow lets that pass)",
                           what, s->list ? ": " : "", s->list ? s->list : "", class_name(s, c, text));
    hpt__free(seen);
    return st;
}
