/* SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "core/alloc.h"
#include "data/collection.h"
#include "io/file.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_CLASSES = 1000000 };

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
