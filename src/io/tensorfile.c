/* SPDX-License-Identifier: MIT
 * Contract: tensorfile.h. Knows the container by its first bytes, collects tensors and plain values as its reader
 * names them, and converts what is read to float32. */
#include "io/tensorfile.h"
#include "core/alloc.h"
#include "core/progress.h"
#include "core/text.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_TENSORS = 100000, MAX_REASONS = 64 };
static const struct { size_t size; const char *name;
} types[HPT__FT_COUNT] = {{4, "F32"}, {8, "F64"}, {2, "F16"},  {2, "BF16"}, {8, "I64"}, {4, "I32"}, {2, "I16"},
                          {1, "I8"},  {1, "U8"},  {1, "BOOL"}, {2, "U16"},  {4, "U32"}, {8, "U64"}, {0, "other"}};
size_t hpt__ftype_size(hpt__ftype t) { return types[t].size; }
const char *hpt__ftype_name(hpt__ftype t) { return types[t].name; }

hpt_status hpt__tensorfile_add(hpt__tensorfile *f, const char *name, size_t len, const hpt__ftensor *t) {
    if (f->n == MAX_TENSORS) return hpt__fail(HPT_ERR_FORMAT, "more than %d tensors", MAX_TENSORS);
    uint64_t most = f->room > len + 32 ? (f->room - len - 32) / sizeof *f->t : 0, cap = f->cap + f->cap / 2 + 64;
    if (f->n == f->cap) {
        if (cap > most) cap = most;
        if (cap <= f->cap)
            return hpt__fail(HPT_ERR_FORMAT, "its tensors would need more memory than a file of this size may ask for");
        hpt__ftensor *more = hpt__realloc(f->t, sizeof *more * cap);
        if (!more) return hpt__fail_memory(sizeof *more * cap);
        f->room -= (cap - f->cap) * sizeof *more;
        f->t = more;
        f->cap = (uint32_t)cap;
    }
    if (f->room < len + 32)
        return hpt__fail(HPT_ERR_FORMAT, "its tensors would need more memory than a file of this size may ask for");
    f->room -= len + 32;
    f->t[f->n] = *t;
    if (!(f->t[f->n].name = hpt__strndup(name, len))) return hpt__fail_memory(len);
    f->n++;
    return HPT_OK;
}

struct hpt__reason { struct hpt__reason *next; char text[]; };
hpt_status hpt__tensorfile_reason(hpt__tensorfile *f, const char *text, const char **kept) {
    int n = 0;
    struct hpt__reason *r;
    for (r = f->reasons; r && strcmp(r->text, text); r = r->next) n++;
    if (!r) {
        if (n == MAX_REASONS) {         /* a hostile file; no other has so many classes */
            *kept = "of a type that is not known";
            return HPT_OK;
        }
        if (!(r = hpt__alloc(sizeof *r + strlen(text) + 1))) return hpt__fail_memory(sizeof *r + strlen(text));
        memcpy(r->text, text, strlen(text) + 1);
        r->next = f->reasons;
        f->reasons = r;
    }
    *kept = r->text;
    return HPT_OK;
}

hpt_status hpt__tensorfile_value(hpt__tensorfile *f, const char *name, json_t *v, size_t bytes) {
    uint64_t cost = 160 + strlen(name) + bytes;
    if (!v) return hpt__fail_memory((size_t)cost);
    if (cost > f->room) {
        f->values_cut = 1;
        json_decref(v);
        return HPT_OK;
    }
    f->room -= cost;
    return json_object_set_new_nocheck(f->meta, name, v) ? hpt__fail_memory((size_t)cost) : HPT_OK;
}

hpt_status hpt__tensorfile_text(hpt__tensorfile *f, const char *name, const hpt__jscan *s, const void *base,
                                uint64_t begin) {
    size_t len = (size_t)(hpt__jscan_at(s) - begin);
    json_error_t err;
    if (6 * (uint64_t)len > f->room) {
        f->values_cut = 1;
        return HPT_OK;
    }
    json_t *v = len < HPT__J_TEXT ? json_string(s->text) : json_loadb((const char *)base + begin, len, JSON_DECODE_ANY,
        &err);
    return hpt__tensorfile_value(f, name, v, len);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }
hpt_status hpt__tensorfile_unique(const hpt__tensorfile *f) {
    char **names = hpt__alloc(sizeof *names * ((size_t)f->n + 1));
    if (!names) return hpt__fail_memory(sizeof *names * f->n);
    for (uint32_t i = 0; i < f->n; i++) names[i] = f->t[i].name;
    qsort(names, f->n, sizeof *names, by_name);
    hpt_status st = HPT_OK;
    for (uint32_t i = 1; i < f->n && !st; i++)
        if (!strcmp(names[i - 1], names[i]))
            st = hpt__fail(HPT_ERR_FORMAT, "tensor '%.200s' occurs twice (a duplicate name)", names[i]);
    hpt__free(names);
    return st;
}

int hpt__utf8_ok(const char *text, size_t n) {
    for (size_t i = 0, k; i < n; i += k) {
        char tail[5] = {0};
        memcpy(tail, text + i, n - i < 4 ? n - i : 4);
        if (!(k = (size_t)hpt__utf8_at(tail))) return 0;
    }
    return 1;
}

hpt_status hpt__tensorfile_parse(hpt__tensorfile *f) {
    const uint8_t *p = f->file.p;
    size_t n = f->file.n;
    if (!(f->meta = json_object())) return hpt__fail_memory(64);
    f->room = 3 * (uint64_t)n + (1u << 20) - (1u << 17);        /* the file itself is the fourth */
    if (n >= 4 && !memcmp(p, "PK\3\4", 4)) return f->container = "torch-zip", hpt__torch_zip_parse(f);
    if (hpt__torch_legacy_magic(p, n)) return f->container = "torch-legacy", hpt__torch_legacy_parse(f);
    if (n >= 9 && p[8] == '{') return f->container = "safetensors", hpt__safetensors_parse(f);
    if (n >= 262 && !memcmp(p + 257, "ustar", 5))
        return hpt__fail(HPT_ERR_UNSUPPORTED,
                         "a tar checkpoint of PyTorch 0.1; load and save it once with a newer PyTorch");
    return hpt__fail(HPT_ERR_FORMAT, n ? "neither a torch file (zip or legacy) nor safetensors" : "the file is empty");
}

hpt_status hpt__tensorfile_open(hpt__tensorfile *f, const char *path) {
    memset(f, 0, sizeof *f);
    f->path = path;
    HPT_TRY(hpt__file_read(path, 64ull << 30, &f->file));
    hpt_status st = hpt__tensorfile_parse(f);
    if (st) {
        st = hpt__fail_context(st, "%.400s", path);
        hpt__tensorfile_close(f);
    }
    return st;
}
void hpt__tensorfile_close(hpt__tensorfile *f) {
    for (uint32_t i = 0; i < f->n; i++) hpt__free(f->t[i].name);
    hpt__free(f->t);
    hpt__free(f->file.p);
    for (struct hpt__reason *r = f->reasons, *next; r; r = next) {
        next = r->next;
        hpt__free(r);
    }
    json_decref(f->meta);
    memset(f, 0, sizeof *f);
}
const hpt__ftensor *hpt__tensorfile_find(const hpt__tensorfile *f, const char *name) {
    for (uint32_t i = 0; i < f->n; i++)
        if (!strcmp(f->t[i].name, name)) return &f->t[i];
    return NULL;
}

static float half(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, man = h & 0x3ff, u;
    float f;
    if (exp == 31) u = sign | 0x7f800000 | man << 13;
    else if (exp) u = sign | (exp + 112) << 23 | man << 13;
    else {
        f = (float)man * 0x1p-24f;
        return sign ? -f : f;
    }
    memcpy(&f, &u, 4);
    return f;
}
float hpt__ftype_value(hpt__ftype type, const uint8_t *p) {
    union { float f; double d; uint16_t h; int64_t q; uint64_t w; int32_t i; int16_t s; uint32_t u; } v = {0};
    memcpy(&v, p, types[type].size);        /* little-endian, like the hosts we build for */
    switch (type) {
    case HPT__FT_F32: return v.f;
    case HPT__FT_F64: return (float)v.d;
    case HPT__FT_F16: return half(v.h);
    case HPT__FT_BF16: v.u = (uint32_t)v.h << 16; return v.f;
    case HPT__FT_I64: return (float)v.q;
    case HPT__FT_I32: return (float)v.i;
    case HPT__FT_I16: return v.s;
    case HPT__FT_I8: return (int8_t)*p;
    case HPT__FT_U16: return v.h;
    case HPT__FT_U32: return (float)v.u;
    case HPT__FT_U64: return (float)v.w;
    default: return *p;
    }
}
hpt_status hpt__ftensor_read(const hpt__ftensor *t, float *out) {
    int64_t at[8] = {0};
    if (t->unreadable)
        return hpt__fail(HPT_ERR_UNSUPPORTED, "tensor '%.200s' cannot be read: %.300s", t->name, t->unreadable);
    HPT_TRY(hpt__span_tick(0));
    if (!t->count) return HPT_OK;
    size_t size = types[t->type].size;
    int dense = t->type == HPT__FT_F32;
    int64_t want = 1;
    for (int d = t->ndim - 1; d >= 0; d--) {
        if (t->shape[d] != 1 && t->stride[d] != want) dense = 0;
        want *= t->shape[d];
    }
    if (dense) {
        memcpy(out, t->data, t->count * 4);
        return HPT_OK;
    }
    for (uint64_t i = 0; i < t->count; i++) {
        int64_t off = 0;
        for (int d = 0; d < t->ndim; d++) off += at[d] * t->stride[d];
        out[i] = hpt__ftype_value(t->type, t->data + (size_t)off * size);
        for (int d = t->ndim - 1; d >= 0; d--) {
            if (++at[d] < t->shape[d]) break;
            at[d] = 0;
        }
    }
    return HPT_OK;
}
