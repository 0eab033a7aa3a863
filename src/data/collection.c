/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "data/collection.h"
#include "core/alloc.h"
#include "io/file.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_DEPTH = 24, MAX_IMAGES = 100000000, MAX_CLASSES = 1000000 };

hpt_status hpt__collect(hpt__collection *c, char *path, int32_t label, const uint8_t *multi, uint32_t line) {
    if (!path) return hpt__fail_memory(256);
    hpt_status st = HPT_OK;
    if (c->n == c->cap) {
        uint64_t cap = c->cap ? c->cap * 2 : 1024;
        hpt__entry *f = cap <= MAX_IMAGES ? hpt__realloc(c->f, sizeof *f * (size_t)cap) : NULL;
        if (f) {
            c->f = f;
            c->cap = cap;
        } else st = hpt__fail_memory(sizeof *f * (size_t)cap);
    }
    if (!st && multi && (c->n + 1) * c->classes > c->multi_cap) {
        uint64_t cap = 2 * (c->n + 512) * c->classes;
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
    c->f[c->n] = (hpt__entry){path, label, line, (uint32_t)c->n};
    c->n++;
    return HPT_OK;
}

hpt_status hpt__collect_class(hpt__collection *c, const char *name) {
    char **more = c->classes % 64 ? c->cls : hpt__realloc(c->cls, sizeof *more * (c->classes + 64ull)), *copy = hpt__strdup(name);
    if (more) c->cls = more;
    if (!more || !copy) {
        hpt__free(copy);
        return hpt__fail_memory(64);
    }
    c->cls[c->classes++] = copy;
    return HPT_OK;
}

void hpt__collection_fini(hpt__collection *c) {
    for (uint64_t i = 0; i < c->n; i++) hpt__free(c->f[i].path);
    for (uint32_t i = 0; c->cls && i < c->classes; i++) hpt__free(c->cls[i]);
    hpt__free(c->cls);
    hpt__free(c->f);
    hpt__free(c->multi);
    hpt__free(c->list);
    memset(c, 0, sizeof *c);
}

hpt_status hpt__collection_source(const hpt__options *o, hpt__collection *c, hpt__source **out) {
    hpt__source *s;
    *out = NULL;
    if (!c->n) return hpt__fail(HPT_ERR_FORMAT, "%.800s: no image inside", c->list ? c->list : "the set");
    HPT_TRY(hpt__source_create(o, c->n, &s));
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
        if (s->label) s->label[i] = c->f[i].label;
        if (s->multi) memcpy(s->multi + i * c->classes, c->multi + (uint64_t)c->f[i].row * c->classes, c->classes);
        if (s->line) s->line[i] = c->f[i].line;
    }
    c->n = 0;
    s->classes = c->classes;
    s->class_name = c->cls;
    s->list = c->list;
    c->cls = NULL;
    c->list = NULL;
    c->classes = 0;
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
static int order(const void *a, const void *b) { return strcmp(((const hpt__entry *)a)->path, ((const hpt__entry *)b)->path); }
static int word_order(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static hpt_status walk(hpt__collection *c, const char *dir, int32_t label, int depth) {
    hpt_status st = HPT_OK;
    DIR *d = opendir(dir);
    if (!d) return hpt__fail(HPT_ERR_IO, "%.800s: cannot open the folder (%s)", dir, errno == EACCES ? "permission denied" : errno == ENOENT ? "not found" : "unreadable");
    for (struct dirent *e; !st && (e = readdir(d));) {
        struct stat s;
        if (e->d_name[0] == '.') continue;
        char *path = hpt__path_join(dir, e->d_name);
        if (!path) st = hpt__fail_memory(256);
        else if (stat(path, &s)) hpt__free(path);          /* a dangling link */
        else if (S_ISDIR(s.st_mode) && depth < MAX_DEPTH) {
            st = walk(c, path, label, depth + 1);
            hpt__free(path);
        } else if (S_ISREG(s.st_mode) && hpt__image_name(path)) st = hpt__collect(c, path, label, NULL, 0);
        else hpt__free(path);
    }
    closedir(d);
    return st;
}

hpt_status hpt__collect_tree(hpt__collection *c, const char *dir, int32_t label) { return walk(c, dir, label, 0); }
void hpt__collection_sort(hpt__collection *c) { if (c->n) qsort(c->f, (size_t)c->n, sizeof *c->f, order); }

/* Sub-folders that hold images are classes, in name order; images beside them would have none, and are refused. */
hpt_status hpt__collect_folder(hpt__collection *c, const char *path) {
    char **sub = NULL;
    uint32_t n = 0;
    hpt_status st = HPT_OK;
    DIR *d = opendir(path);
    if (!d) return hpt__fail(HPT_ERR_IO, "%.800s: cannot open the folder", path);
    for (struct dirent *e; !st && (e = readdir(d));) {
        struct stat s;
        char *p = e->d_name[0] == '.' ? NULL : hpt__path_join(path, e->d_name);
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
        char *p = st ? NULL : hpt__path_join(path, sub[i]);
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
            char *p = hpt__path_join(path, e->d_name);
            if (p && !stat(p, &s) && S_ISREG(s.st_mode) && hpt__image_name(p)) loose = 1;
            hpt__free(p);
        }
        if (d) closedir(d);
        if (loose) return hpt__fail(HPT_ERR_FORMAT, "%.800s: holds images beside class folders; move them or use a list file", path);
    }
    if (!c->n) return hpt__fail(HPT_ERR_FORMAT, "%.800s: no image inside (JPEG, PNG, BMP, PNM, TIFF by their file names)", path);
    hpt__collection_sort(c);
    return HPT_OK;
}

/* ---- lists ---- */

/* One value of a multi-label list: through option label_map ("1.0=1,-1.0=0,=0": token=value, an empty token too), else 0 or 1. */
static int token_value(const char *map, const char *token, size_t n) {
    while (n && (*token == ' ' || *token == '\t')) token++, n--;
    while (n && (token[n - 1] == ' ' || token[n - 1] == '\t')) n--;
    for (const char *p = map; *p;) {
        size_t len = strcspn(p, ","), eq = strcspn(p, "=");
        if (eq < len && eq == n && !memcmp(p, token, n)) return len == eq + 2 && (p[eq + 1] == '0' || p[eq + 1] == '1') ? p[eq + 1] - '0' : -1;
        p += len + (p[len] == ',');
    }
    if (n && (token[0] == '0' || token[0] == '1') && (n == 1 || (n == 3 && token[1] == '.' && token[2] == '0'))) return token[0] - '0';
    return -1;
}

typedef struct list { hpt__collection *c; const char *path, *map, *root; uint32_t line; uint64_t labelled; int64_t limit; int check; uint8_t *row; } list;

static hpt_status bad_line(const list *l, const char *what, const char *text) {
    return hpt__fail(HPT_ERR_FORMAT, "%.600s, line %u: %s%.60s%s", l->path, l->line, what, text, *text ? "'" : "");
}

/* "0,1,0" -> row; the first line decides how many classes there are. */
static hpt_status multi_label(list *l, const char *label) {
    uint32_t n = 0, want = 1;
    for (const char *p = label; *p; p++) want += *p == ',';
    if (!l->row) {
        if (l->limit && want != l->limit) return hpt__fail(HPT_ERR_FORMAT, "%.600s, line %u: %u values, option classes says %lld", l->path, l->line, want, (long long)l->limit);
        if (want > MAX_CLASSES || !(l->row = hpt__alloc(want))) return hpt__fail_memory(want);
        l->c->classes = want;
    }
    if (want != l->c->classes) return hpt__fail(HPT_ERR_FORMAT, "%.600s, line %u: %u values where the lines before have %u", l->path, l->line, want, l->c->classes);
    for (const char *p = label; n < want; n++) {
        size_t len = strcspn(p, ",");
        int v = token_value(l->map, p, len);
        if (v < 0) {
            char text[48];
            snprintf(text, sizeof text, "%.*s", (int)(len < 40 ? len : 40), p);
            return bad_line(l, "neither 0, 1 nor a token of option label_map: '", text);
        }
        l->row[n] = (uint8_t)v;
        p += len + 1;
    }
    return HPT_OK;
}

static hpt_status one_line(list *l, char *name, char *eol) {
    char *stop, *label = NULL;
    hpt__collection *c = l->c;
    while (*name == ' ' || *name == '\t') name++;
    if (!*name || *name == '#') return HPT_OK;
    if (memchr(name, 0, (size_t)(eol - name))) return bad_line(l, "a zero byte", "");
    if (*name == '"') {
        if (!(stop = strchr(++name, '"'))) return bad_line(l, "no closing quote", "");
        label = stop + 1;
    } else if ((stop = strchr(name, '\t')) || (stop = strchr(name, ' ')) || (stop = strchr(name, ','))) label = stop + 1;
    int64_t value = -1;
    int multi = 0;
    if (label) {
        if (*stop == '"' && *label == ',') label++;     /* "path",label */
        *stop = 0;
        while (*label == ' ' || *label == '\t') label++;
        multi = strchr(label, ',') != NULL;
        if (multi) HPT_TRY(multi_label(l, label));
        else if (*label) {
            char *rest;
            value = strtoll(label, &rest, 10);
            while (*rest == ' ' || *rest == '\t') rest++;
            if (rest == label || *rest || value < 0 || value > MAX_CLASSES) return bad_line(l, "not a label from 0 to 1000000: '", label);
            if (l->limit && value >= l->limit)
                return hpt__fail(HPT_ERR_FORMAT, "%.600s, line %u: label %lld is outside 0..%lld (option classes)", l->path, l->line, (long long)value, (long long)l->limit - 1);
        }
    }
    if (l->row && !multi) return bad_line(l, "one label where the lines before have several", "");
    if (multi && c->n && !c->multi) return bad_line(l, "several labels where the lines before have one or none", "");
    l->labelled += value >= 0;
    char *path = *name == '/' ? hpt__strdup(name) : hpt__path_join(l->root, name);
    struct stat s;
    if (path && l->check && (stat(path, &s) || !S_ISREG(s.st_mode))) {
        hpt_status st = hpt__fail(HPT_ERR_IO, "%.400s, line %u: %.500s: no such file", l->path, l->line, path);
        hpt__free(path);
        return st;
    }
    HPT_TRY(hpt__collect(c, path, (int32_t)value, multi ? l->row : NULL, l->line));
    if (l->labelled && l->labelled != c->n) return bad_line(l, "some lines have a label and some have none", "");
    return HPT_OK;
}

hpt_status hpt__collect_list(hpt__collection *c, const hpt__options *o, const char *path) {
    hpt__bytes f;
    HPT_TRY(hpt__file_read(path, 1u << 30, &f));
    const char *slash = strrchr(path, '/'), *given = OPT_S(o, list_root);
    char *root = *given ? hpt__strdup(given) : slash ? hpt__strndup(path, (size_t)(slash + 1 - path)) : hpt__strdup(".");
    c->list = hpt__strdup(path);
    hpt_status st = root && c->list ? HPT_OK : hpt__fail_memory(64);
    list l = {.c = c, .path = path, .map = OPT_S(o, label_map), .root = root, .limit = OPT_I(o, classes), .check = (int)OPT_I(o, list_check)};
    f.p[f.n] = 0;
    for (char *p = (char *)f.p, *end = p + f.n; p < end && !st;) {
        char *eol = memchr(p, '\n', (size_t)(end - p)), *name = p;
        if (!eol) eol = end;
        p = eol + 1;
        l.line++;
        *eol = 0;
        if (eol > name && eol[-1] == '\r') *--eol = 0;
        st = one_line(&l, name, eol);
    }
    hpt__free(root);
    hpt__free(l.row);
    hpt__free(f.p);
    if (!st && !c->n) st = hpt__fail(HPT_ERR_FORMAT, "%.800s: the list is empty", path);
    for (uint64_t i = 0; i < c->n && !st && !c->multi; i++)
        if (c->f[i].label >= (int32_t)c->classes) c->classes = (uint32_t)c->f[i].label + 1;
    if (!st && l.labelled && l.limit) c->classes = (uint32_t)l.limit;
    return st;
}
