/* SPDX-License-Identifier: MIT
 * Gathering names and labels, and what is said of files that were left out. It is sorted in the end, so that a set
 * does not depend on the order in which a folder lists its files. */
#include "data/collection.h"
#include "core/alloc.h"
#include "core/progress.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

enum { MAX_IMAGES = 100000000 };

hpt_status hpt__collect(hpt__collection *c, char *path, int32_t label, const uint8_t *multi, uint32_t line) {
    if (!path) return hpt__fail_memory(256);
    hpt_status st = hpt__span_tick(1);
    if (c->n == c->cap) {
        uint64_t cap = c->cap ? c->cap * 2 : 1024;
        hpt__entry *f = cap <= 2ull * MAX_IMAGES ? hpt__realloc(c->f, sizeof *f * (size_t)cap) : NULL;
        if (cap > 2ull * MAX_IMAGES) st = hpt__fail(HPT_ERR_FORMAT, "more than %d images", MAX_IMAGES);
        else if (f) {
            c->f = f;
            c->cap = cap;
        } else st = hpt__fail_memory(sizeof *f * (size_t)cap);
    }
    if (!st && multi && (c->n + 1) * c->classes > c->multi_cap) {
        uint64_t cap = (2 * c->n + 4) * c->classes;
        uint8_t *m = hpt__realloc(c->multi, (size_t)cap);
        if (m) {
            c->multi = m;
            c->multi_cap = cap;
        } else st = hpt__fail_memory((size_t)cap);
    }
    if (st) {
        hpt__free(path);
        return st;
    }
    if (multi) memcpy(c->multi + c->n * c->classes, multi, c->classes);
    c->f[c->n] = (hpt__entry){.path = path, .label = label, .line = line, .row = (uint32_t)c->n};
    c->n++;
    return HPT_OK;
}

hpt_status hpt__collect_class(hpt__collection *c, const char *name) {
    char *copy = hpt__strdup(name);
    if (copy && c->classes == c->cap_cls) {
        uint32_t cap = 2 * c->cap_cls + 64;
        char **more = hpt__realloc(c->cls, sizeof *more * cap);
        if (more) {
            c->cls = more;
            c->cap_cls = cap;
        }
    }
    if (!copy || c->classes == c->cap_cls) {
        hpt__free(copy);
        return hpt__fail_memory(64);
    }
    c->cls[c->classes++] = copy;
    return HPT_OK;
}
void hpt__collection_drop_classes(hpt__collection *c) {
    for (uint32_t i = 0; c->cls && i < c->classes; i++) hpt__free(c->cls[i]);
    hpt__free(c->cls);
    c->cls = NULL;
    c->classes = c->cap_cls = 0;
}

static hpt_status note_text(hpt__note **note, size_t *n, int level, const char *fmt, va_list ap) {
    char text[1000];
    vsnprintf(text, sizeof text, fmt, ap);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 32) *p = ' ';
    hpt__note *more = hpt__realloc(*note, sizeof *more * (*n + 1));
    if (more) *note = more;
    char *copy = more ? hpt__strdup(text) : NULL;
    if (!copy) return hpt__fail_memory(sizeof *more * (*n + 1));
    more[(*n)++] = (hpt__note){level, copy};
    return HPT_OK;
}
hpt_status hpt__note_add(hpt__note **note, size_t *n, int level, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    hpt_status st = note_text(note, n, level, fmt, ap);
    va_end(ap);
    return st;
}
hpt_status hpt__collection_note(hpt__collection *c, int level, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    hpt_status st = note_text(&c->note, &c->notes, level, fmt, ap);
    va_end(ap);
    return st;
}
hpt_status hpt__collection_take_notes(hpt__collection *c, const hpt__collection *from) {
    for (size_t i = 0; i < from->notes; i++)
        HPT_TRY(hpt__note_add(&c->note, &c->notes, from->note[i].level, "%s", from->note[i].text));
    c->skipped += from->skipped;
    return HPT_OK;
}
void hpt__collection_why(hpt__collection *c, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->why, sizeof c->why, fmt, ap);
    va_end(ap);
}

void hpt__collection_fini(hpt__collection *c) {
    for (uint64_t i = 0; i < c->n; i++) {
        hpt__free(c->f[i].path);
        hpt__free(c->f[i].object);
    }
    hpt__collection_drop_classes(c);
    for (size_t i = 0; i < c->notes; i++) hpt__free(c->note[i].text);
    hpt__free(c->note);
    hpt__free(c->f);
    hpt__free(c->multi);
    hpt__free(c->list);
    memset(c, 0, sizeof *c);
}

uint64_t hpt__collection_base(const char *path) {
    struct stat s;
    return stat(path, &s) ? 0 : XXH3_64bits_withSeed(&s.st_ino, sizeof s.st_ino, (uint64_t)s.st_dev);
}
hpt_status hpt__collection_objects(const hpt__options *o, const hpt__collection *c, uint64_t **out) {
    static const char column[] = "column:";
    const char *rule = OPT_S(o, group_by);
    size_t n = (size_t)c->n;
    *out = NULL;
    if (!*rule || !n) return HPT_OK;
    if (!strncmp(rule, column, sizeof column - 1)) {
        if (!c->f[0].object)
            return hpt__fail(HPT_ERR_OPTION, "group_by %.200s: %.600s is no list with such a heading", rule,
                             c->list ? c->list : "the set");
        if (!(*out = hpt__alloc(sizeof **out * n))) return hpt__fail_memory(n * 8);
        for (size_t i = 0; i < n; i++)
            (*out)[i] = XXH3_64bits_withSeed(c->f[i].object, strlen(c->f[i].object), c->place);
        return HPT_OK;
    }
    char **path = hpt__alloc(sizeof *path * n);
    if (!path) return hpt__fail_memory(sizeof *path * n);
    for (size_t i = 0; i < n; i++) path[i] = c->f[i].path;
    hpt_status st = hpt__objects_by_name(rule, path, n, strcmp(rule, "folder") ? c->base : 0, out);
    hpt__free(path);
    return st;
}

hpt_status hpt__collection_source(const hpt__options *o, hpt__collection *c, hpt__source **out) {
    hpt__source *s;
    *out = NULL;
    if (!c->n) return hpt__fail(HPT_ERR_FORMAT, "%.800s: no image inside", c->list ? c->list : "the set");
    uint64_t *object;
    HPT_TRY(hpt__collection_objects(o, c, &object));
    hpt_status st = hpt__source_create(o, c->n, &s);
    if (st) {
        hpt__free(object);
        return st;
    }
    s->object = object;
    s->path = hpt__calloc((size_t)c->n + 1, sizeof *s->path);
    if (c->multi) s->multi = hpt__alloc((size_t)(c->n * c->classes) + 1);
    else if (c->classes) s->label = hpt__alloc(sizeof *s->label * (size_t)c->n);
    if (c->list) s->line = hpt__alloc(sizeof *s->line * (size_t)c->n);
    if (!s->path || (c->multi ? !s->multi : c->classes && !s->label) || (c->list && !s->line)) {
        hpt__source_release(s);
        return hpt__fail_memory((size_t)c->n * 8);
    }
    for (uint64_t i = 0; i < c->n; i++) {
        s->path[i] = c->f[i].path;
        hpt__free(c->f[i].object);
        if (s->label) s->label[i] = c->f[i].label;
        if (s->multi) memcpy(s->multi + i * c->classes, c->multi + (uint64_t)c->f[i].row * c->classes, c->classes);
        if (s->line) s->line[i] = c->f[i].line;
    }
    c->n = 0;
    s->classes = c->classes;
    s->class_name = c->cls;
    s->list = c->list;
    s->note = c->note;
    s->notes = c->notes;
    s->skipped = c->skipped;
    memcpy(s->unlabelled_why, c->why, sizeof c->why);
    c->cls = NULL;
    c->list = NULL;
    c->note = NULL;
    c->classes = 0;
    c->notes = 0;
    *out = s;
    return HPT_OK;
}

char *hpt__path_join(const char *a, const char *b) {
    size_t n = strlen(a), slash = n && a[n - 1] != '/';
    char *s = hpt__alloc(n + strlen(b) + 2);
    if (s) {
        memcpy(s, a, n);
        if (slash) s[n] = '/';
        memcpy(s + n + slash, b, strlen(b) + 1);
    }
    return s;
}
static int order(const void *a, const void *b) {
    return strcmp(((const hpt__entry *)a)->path, ((const hpt__entry *)b)->path);
}
void hpt__collection_sort(hpt__collection *c) {
    if (c->n) qsort(c->f, (size_t)c->n, sizeof *c->f, order);
}
void hpt__append_name(char *text, size_t size, uint64_t already, const char *name) {
    size_t n = strlen(text);
    if (n + 60 < size) snprintf(text + n, size - n, "%s%.40s", already ? ", " : "", name);
    else if (strcmp(text + n - 3, "...")) snprintf(text + n, size - n, ", ...");
}
