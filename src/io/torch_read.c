/* SPDX-License-Identifier: MIT
 * The two torch containers: zip (PyTorch 1.6 and later) and the legacy stream before it (the released MoCo files). */
#include "core/alloc.h"
#include "core/json.h"
#include "io/pickle.h"
#include "io/zip.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BAD(...) hpt__fail(HPT_ERR_FORMAT, __VA_ARGS__)
enum { MAX_DEPTH = 32, MAX_VISITS = 4 << 20 };

/* Where a storage's bytes lie. */
typedef hpt_status (*locate_fn)(void *ctx, const hpt__pk_node *storage, const uint8_t **data);
typedef struct walk {
    hpt__tensorfile *f;
    const hpt__pickle *p;
    locate_fn locate;
    void *ctx;
    char path[1024];
    uint32_t visits;
} walk;

static hpt_status put_meta(walk *w, json_t *v) {
    if (!v) return HPT_OK;      /* text that is not UTF-8, a float that is not finite: left out */
    if (json_object_size(w->f->meta) > 20000) {
        json_decref(v);
        return HPT_OK;
    }
    return json_object_set_new_nocheck(w->f->meta, w->path, v) ? hpt__fail_memory(64) : HPT_OK;
}

/* Flattens the tree; recursion is bounded by MAX_DEPTH, shared nodes by MAX_VISITS. */
static hpt_status visit(walk *w, uint32_t at, size_t len, int depth) {
    const hpt__pk_node *x = &w->p->node[at];
    if (depth > MAX_DEPTH) return BAD("values nested deeper than %d", MAX_DEPTH);
    if (++w->visits > MAX_VISITS) return BAD("more than %d values", MAX_VISITS);
    w->path[len] = 0;
    switch (x->kind) {
    case HPT__PK_BOOL: return put_meta(w, json_boolean(x->i));
    case HPT__PK_INT: return put_meta(w, json_integer(x->i));
    case HPT__PK_FLOAT: return put_meta(w, hpt__json_number(x->f));
    case HPT__PK_STR: return put_meta(w, json_stringn(x->s, x->len));
    case HPT__PK_TENSOR: {
        const hpt__pk_node *s = &w->p->node[x->i];
        hpt__ftensor t = {.type = (hpt__ftype)s->i, .ndim = x->ndim, .count = 1};
        const uint8_t *base;
        HPT_TRY(w->locate(w->ctx, s, &base));
        for (int d = 0; d < x->ndim; d++) t.count *= (uint64_t)x->shape[d];
        memcpy(t.shape, x->shape, sizeof t.shape);
        memcpy(t.stride, x->stride, sizeof t.stride);
        t.data = t.count ? base + (size_t)x->offset * hpt__ftype_size(t.type) : base;
        return hpt__tensorfile_add(w->f, w->path, len, &t); }
    case HPT__PK_DICT: case HPT__PK_LIST: case HPT__PK_TUPLE: {
        int dict = x->kind == HPT__PK_DICT;
        for (uint32_t i = 0; i < x->n; i += dict ? 2 : 1) {
            const hpt__pk_node *k = dict ? &w->p->node[x->item[i]] : NULL;
            size_t room = sizeof w->path - len, n = 0;
            const char *slash = len ? "/" : "";
            char number[32];
            snprintf(number, sizeof number, "%lld", (long long)(k ? k->i : (int64_t)i));
            if (k && k->kind == HPT__PK_STR) {
                if (k->len > 512 || k->len + 2 > room || memchr(k->s, 0, k->len)) return BAD("a key of %u bytes", k->len);
                if (len) w->path[len] = '/';
                memcpy(w->path + len + (len ? 1 : 0), k->s, k->len);
                n = k->len + (len ? 1 : 0);
            } else if (!k || k->kind == HPT__PK_INT) {
                n = (size_t)snprintf(w->path + len, room, "%s%s", slash, number);
                if (n >= room) return BAD("names nested too long");
            } else continue;        /* keys of other kinds name nothing we could ask for */
            HPT_TRY(visit(w, x->item[dict ? i + 1 : i], len + n, depth + 1));
        }
        return HPT_OK; }
    default: return HPT_OK;
    }
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }
static hpt_status no_duplicates(hpt__tensorfile *f) {
    char **names = hpt__alloc(sizeof *names * (f->n + 1));
    if (!names) return hpt__fail_memory(sizeof *names * f->n);
    for (uint32_t i = 0; i < f->n; i++) names[i] = f->t[i].name;
    qsort(names, f->n, sizeof *names, by_name);
    hpt_status st = HPT_OK;
    for (uint32_t i = 1; i < f->n && !st; i++)
        if (!strcmp(names[i - 1], names[i])) st = BAD("tensor '%.200s' occurs twice", names[i]);
    hpt__free(names);
    return st;
}

/* ---- zip ---- */

typedef struct zip_ctx { hpt__zip z; char prefix[513]; } zip_ctx;

static hpt_status locate_zip(void *ctx, const hpt__pk_node *s, const uint8_t **data) {
    zip_ctx *c = ctx;
    char name[600];
    snprintf(name, sizeof name, "%s/data/%.*s", c->prefix, (int)s->len, s->s);
    const hpt__zip_entry *e = hpt__zip_find(&c->z, name);
    if (!e) return BAD("storage '%s' is missing", name);
    if ((uint64_t)s->numel > UINT64_MAX / 8 || e->size != (uint64_t)s->numel * hpt__ftype_size((hpt__ftype)s->i))
        return BAD("storage '%s' has %llu bytes, not %lld elements", name, (unsigned long long)e->size, (long long)s->numel);
    return hpt__zip_stored(&c->z, e, data);
}

hpt_status hpt__torch_zip_parse(hpt__tensorfile *f) {
    zip_ctx c;
    hpt__pickle p = {0};
    hpt_status st;
    memset(&c, 0, sizeof c);
    HPT_TRY(hpt__zip_open(&c.z, f->file.p, f->file.n, 0));
    const hpt__zip_entry *pkl = NULL;
    st = HPT_OK;
    for (uint32_t i = 0; i < c.z.count && !st; i++) {
        const hpt__zip_entry *e = &c.z.e[i];
        const char *slash = memchr(e->name, '/', (size_t)e->name_len);
        size_t top = slash ? (size_t)(slash - e->name) : 0;
        if (!slash) st = BAD("zip: '%.*s' lies outside the top folder", e->name_len, e->name);
        else if (!i) snprintf(c.prefix, sizeof c.prefix, "%.*s", (int)top, e->name);
        else if (strlen(c.prefix) != top || memcmp(c.prefix, e->name, top)) st = BAD("zip: more than one top folder");
        if (st) break;
        const char *rest = slash + 1;
        size_t n = (size_t)e->name_len - top - 1;
        if (n == 8 && !memcmp(rest, "data.pkl", 8)) pkl = e;
        if ((n == 13 && !memcmp(rest, "constants.pkl", 13)) || (n > 5 && !memcmp(rest, "code/", 5)))
            st = hpt__fail(HPT_ERR_UNSUPPORTED, "a TorchScript program, not a checkpoint; save its state_dict() instead");
        if (n == 9 && !memcmp(rest, "byteorder", 9) && (e->size != 6 || memcmp(f->file.p + e->data, "little", 6)))
            st = hpt__fail(HPT_ERR_UNSUPPORTED, "a checkpoint with big-endian numbers");
    }
    if (!st && !pkl) st = BAD("zip: no data.pkl inside");
    const uint8_t *data;
    if (!st) st = hpt__zip_stored(&c.z, pkl, &data);
    if (!st) st = hpt__pickle_parse(&p, data, (size_t)pkl->size);
    if (!st) {
        walk w = {.f = f, .p = &p, .locate = locate_zip, .ctx = &c};
        if (p.end != pkl->size) st = BAD("pickle: bytes after its end");
        else st = visit(&w, p.root, 0, 0);
    }
    if (!st) st = no_duplicates(f);
    hpt__pickle_free(&p);
    hpt__zip_close(&c.z);
    return st;
}

/* ---- legacy stream: magic, protocol 1001, system info, object, storage keys, then the storages to the exact end ---- */

typedef struct stored { const char *key; uint32_t len; const uint8_t *data; int64_t numel; int type; } stored;
typedef struct legacy_ctx { stored *s; uint32_t n; } legacy_ctx;

static int stored_order(const void *a, const void *b) {
    const stored *x = a, *y = b;
    return x->len != y->len ? (x->len < y->len ? -1 : 1) : memcmp(x->key, y->key, x->len);
}
static hpt_status locate_legacy(void *ctx, const hpt__pk_node *s, const uint8_t **data) {
    legacy_ctx *c = ctx;
    stored key = {s->s, s->len, NULL, 0, 0}, *e = c->n ? bsearch(&key, c->s, c->n, sizeof *c->s, stored_order) : NULL;
    if (!e || e->numel != s->numel || e->type != (int)s->i) return BAD("storage '%.*s' is missing or of another size", (int)s->len, s->s);
    *data = e->data;
    return HPT_OK;
}

hpt_status hpt__torch_legacy_parse(hpt__tensorfile *f) {
    static const uint8_t protocol[6] = {0x80, 2, 0x4d, 0xe9, 3, 0x2e};
    const uint8_t *p = f->file.p, *end = p + f->file.n;
    hpt__pickle info = {0}, obj = {0}, keys = {0};
    legacy_ctx c = {0};
    hpt_status st = HPT_OK;
    p += 15;
    if (end - p < 6 || memcmp(p, protocol, 6)) return BAD("legacy file: protocol is not 1001");
    p += 6;
    if ((st = hpt__pickle_parse(&info, p, (size_t)(end - p)))) goto done;
    p += info.end;
    const hpt__pk_node *root = &info.node[info.root];
    for (uint32_t i = 0; root->kind == HPT__PK_DICT && i + 1 < root->n; i += 2) {
        const hpt__pk_node *k = &info.node[root->item[i]], *v = &info.node[root->item[i + 1]];
        if (k->kind == HPT__PK_STR && k->len == 13 && !memcmp(k->s, "little_endian", 13) && !v->i) {
            st = hpt__fail(HPT_ERR_UNSUPPORTED, "a checkpoint with big-endian numbers");
            goto done;
        }
    }
    if ((st = hpt__pickle_parse(&obj, p, (size_t)(end - p)))) goto done;
    p += obj.end;
    if ((st = hpt__pickle_parse(&keys, p, (size_t)(end - p)))) goto done;
    p += keys.end;
    const hpt__pk_node *list = &keys.node[keys.root];
    if (list->kind != HPT__PK_LIST || list->n > 100000) {
        st = BAD("legacy file: list of storages");
        goto done;
    }
    if (!(c.s = hpt__calloc((size_t)list->n + 1, sizeof *c.s))) {
        st = hpt__fail_memory(sizeof *c.s * list->n);
        goto done;
    }
    for (uint32_t i = 0; i < list->n; i++) {
        const hpt__pk_node *k = &keys.node[list->item[i]];
        if (k->kind != HPT__PK_STR) {
            st = BAD("legacy file: storage key %u", i);
            goto done;
        }
        c.s[i] = (stored){k->s, k->len, NULL, -1, -1};
    }
    /* the list gives the order of the data; the types and sizes are those of the object's references */
    stored *sorted = hpt__alloc(sizeof *sorted * ((size_t)list->n + 1));
    if (!sorted) {
        st = hpt__fail_memory(sizeof *sorted * list->n);
        goto done;
    }
    c.n = list->n;
    memcpy(sorted, c.s, sizeof *sorted * c.n);
    qsort(sorted, c.n, sizeof *sorted, stored_order);
    for (uint32_t i = 1; i < c.n && !st; i++)
        if (!stored_order(&sorted[i - 1], &sorted[i])) st = BAD("legacy file: a storage is listed twice");
    for (uint32_t i = 0; i < obj.n && !st; i++) {
        const hpt__pk_node *s = &obj.node[i];
        if (s->kind != HPT__PK_STORAGE) continue;
        stored key = {s->s, s->len, NULL, 0, 0}, *e = c.n ? bsearch(&key, sorted, c.n, sizeof *sorted, stored_order) : NULL;
        if (!e || (e->type >= 0 && (e->type != (int)s->i || e->numel != s->numel))) st = BAD("legacy file: storage '%.*s'", (int)s->len, s->s);
        else e->type = (int)s->i, e->numel = s->numel;
    }
    for (uint32_t i = 0; i < c.n && !st; i++) {
        stored *e = bsearch(&c.s[i], sorted, c.n, sizeof *sorted, stored_order);
        int64_t count;
        if (end - p < 8 || e->type < 0) {
            st = BAD("legacy file: cut, or a storage that nothing uses");
            break;
        }
        memcpy(&count, p, 8);
        p += 8;
        size_t size = hpt__ftype_size((hpt__ftype)e->type);
        if (count != e->numel || (uint64_t)count > (uint64_t)(end - p) / size) {
            st = BAD("legacy file: storage '%.*s' of %lld elements", (int)e->len, e->key, (long long)count);
            break;
        }
        e->data = p;
        p += (size_t)count * size;
    }
    hpt__free(c.s);
    c.s = sorted;
    if (!st && p != end) st = BAD("legacy file: bytes after the last storage");
    if (!st) {
        walk w = {.f = f, .p = &obj, .locate = locate_legacy, .ctx = &c};
        st = visit(&w, obj.root, 0, 0);
    }
    if (!st) st = no_duplicates(f);
done:
    hpt__free(c.s);
    hpt__pickle_free(&info);
    hpt__pickle_free(&obj);
    hpt__pickle_free(&keys);
    return st;
}
