/* SPDX-License-Identifier: MIT
 * safetensors: 8-byte header length, JSON header, data. Strict: no duplicate keys, known fields only, offsets without
 * hole or overlap. */
#include "io/safetensors.h"
#include "core/alloc.h"
#include "core/json.h"
#include "io/jsonscan.h"
#include "io/tensorfile.h"
#include <stdlib.h>
#include <string.h>

#define BAD(...) hpt__fail(HPT_ERR_FORMAT, "safetensors: " __VA_ARGS__)
enum { MAX_HEADER = 16 << 20, MAX_NAME = 512 };

/* Where the data of the tensors lie, to prove that there is neither hole nor overlap. */
typedef struct span { uint64_t from, to; } span;
static int span_order(const void *a, const void *b) {
    const span *x = a, *y = b;
    return x->from != y->from ? (x->from < y->from ? -1 : 1) : x->to < y->to ? -1 : x->to > y->to;
}

typedef struct reader {
    hpt__tensorfile *f;
    hpt__jscan s;
    const uint8_t *data;
    uint64_t bytes;
    span *spans;
    uint32_t cap;
} reader;

static hpt_status not_json(const reader *r) {
    return BAD("header: not JSON at byte %llu", (unsigned long long)hpt__jscan_at(&r->s) + 8);
}
/* The number at hand as a whole one from 0 to 2^53. */
static int whole(const hpt__jscan *s, uint64_t *out) {
    *out = 0;
    for (const char *c = s->text; *c; c++) {
        if (*c < '0' || *c > '9') return 0;
        *out = *out * 10 + (uint64_t)(*c - '0');
        if (*out > 1ull << 53) return 0;
    }
    return *s->text != 0;
}
/* An array of whole numbers: how many, of which at most max are kept; -1: it is something else. */
static int64_t numbers(reader *r, uint64_t *out, int64_t max) {
    if (hpt__jscan_next(&r->s) != HPT__J_ARRAY) return -1;
    for (int64_t n = 0;; n++) {
        uint64_t v;
        hpt__jtoken t = hpt__jscan_next(&r->s);
        if (t == HPT__J_END_ARRAY) return n;
        if (t != HPT__J_NUMBER || !whole(&r->s, &v)) return -1;
        if (n < max) out[n] = v;
    }
}

/* Bits of an element of the types that are not read. */
static uint64_t bits_of(const char *type) {
    static const struct { char name[12]; uint8_t bits;
    } others[] = {{"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8},
                  {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"C64", 64}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!strcmp(others[i].name, type)) return others[i].bits;
    return 0;
}
static hpt_status keep_span(reader *r, span s) {
    if (r->f->n == r->cap) {
        uint64_t cap = r->cap + r->cap / 2 + 64, cost = cap * sizeof s;
        if (cost > r->f->room) return BAD("its tensors would need more memory than a file of this size may ask for");
        span *more = hpt__realloc(r->spans, (size_t)cost);
        if (!more) return hpt__fail_memory((size_t)cost);
        r->f->room -= cost - r->cap * sizeof s;
        r->spans = more;
        r->cap = (uint32_t)cap;
    }
    r->spans[r->f->n] = s;
    return HPT_OK;
}

/* "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, after the name. */
static hpt_status one(reader *r, const char *name) {
    hpt__ftensor t = {.type = HPT__FT_OTHER, .count = 1};
    uint64_t shape[32], off[2], bits;
    int64_t dims = 0;
    int seen = 0;
    char type[40] = "";
    hpt__jtoken token = hpt__jscan_next(&r->s);
    if (token != HPT__J_OBJECT) return token == HPT__J_ERROR ? not_json(r) : BAD("entry '%.200s'", name);
    while ((token = hpt__jscan_next(&r->s)) == HPT__J_KEY) {
        int field = !strcmp(r->s.text, "dtype")          ? 1
                    : !strcmp(r->s.text, "shape")        ? 2
                    : !strcmp(r->s.text, "data_offsets") ? 4
                                                         : 0;
        if (!field || seen & field) return BAD("entry '%.200s'", name);
        seen |= field;
        if (field == 1) {
            if (hpt__jscan_next(&r->s) != HPT__J_STRING || strlen(r->s.text) >= sizeof type)
                return BAD("type of '%.200s'", name);
            snprintf(type, sizeof type, "%s", r->s.text);
        } else if (field == 2) {
            if ((dims = numbers(r, shape, 32)) < 0 || dims > 32) return BAD("shape of '%.200s'", name);
        } else if (numbers(r, off, 2) != 2) return BAD("offsets of '%.200s'", name);
    }
    if (token == HPT__J_ERROR) return not_json(r);
    if (seen != 7) return BAD("entry '%.200s'", name);
    for (int i = 0; i < HPT__FT_OTHER; i++)
        if (!strcmp(hpt__ftype_name((hpt__ftype)i), type)) t.type = (hpt__ftype)i;
    bits = t.type == HPT__FT_OTHER ? bits_of(type) : 8 * hpt__ftype_size(t.type);
    if (t.type == HPT__FT_OTHER) HPT_TRY(hpt__tensorfile_reason(r->f, type, &t.unreadable));
    for (int64_t d = 0; d < dims; d++)
        if (__builtin_mul_overflow(t.count, shape[d], &t.count) || t.count > 1ull << 53)
            return BAD("size of '%.200s' overflows", name);
    if (dims > 8) t.unreadable = "more than 8 dimensions";
    else t.ndim = (int)dims;
    int64_t stride = 1;
    for (int d = t.ndim - 1; d >= 0; d--) {
        t.shape[d] = (int64_t)shape[d];
        t.stride[d] = stride;
        if (t.count) stride *= t.shape[d];
    }
    if (off[1] < off[0] || off[1] > r->bytes || (bits && off[1] - off[0] != (t.count * bits + 7) / 8))
        return BAD("offsets of '%.200s'", name);
    if (!t.unreadable) t.data = r->data + off[0];
    HPT_TRY(keep_span(r, (span){off[0], off[1]}));
    return hpt__tensorfile_add(r->f, name, strlen(name), &t);
}

/* "__metadata__": {"name": "text", ...}, after the name. */
static hpt_status metadata(reader *r) {
    char key[HPT__J_TEXT];
    hpt__jtoken token = hpt__jscan_next(&r->s);
    if (token != HPT__J_OBJECT) return token == HPT__J_ERROR ? not_json(r) : BAD("metadata is no object");
    while ((token = hpt__jscan_next(&r->s)) == HPT__J_KEY) {
        if (strlen(r->s.text) > MAX_NAME) return BAD("a name of over %d bytes", MAX_NAME);
        snprintf(key, sizeof key, "%s", r->s.text);
        if (json_object_get(r->f->meta, key)) return BAD("metadata '%.100s' is a duplicate", key);
        uint64_t begin = hpt__jscan_at(&r->s);
        if ((token = hpt__jscan_next(&r->s)) != HPT__J_STRING)
            return token == HPT__J_ERROR ? not_json(r) : BAD("metadata '%.100s' is no text", key);
        HPT_TRY(hpt__tensorfile_text(r->f, key, &r->s, r->f->file.p + 8, begin));
    }
    return token == HPT__J_END_OBJECT ? HPT_OK : not_json(r);
}

static hpt_status entries(reader *r) {
    char name[HPT__J_TEXT];
    int described = 0;
    hpt__jtoken token = hpt__jscan_next(&r->s);
    if (token != HPT__J_OBJECT) return token == HPT__J_ERROR ? not_json(r) : BAD("header is no object");
    while ((token = hpt__jscan_next(&r->s)) == HPT__J_KEY) {
        if (strlen(r->s.text) > MAX_NAME) return BAD("a name of over %d bytes", MAX_NAME);
        snprintf(name, sizeof name, "%s", r->s.text);
        if (!strcmp(name, "__metadata__")) {
            if (described++) return BAD("metadata is a duplicate");
            HPT_TRY(metadata(r));
        } else HPT_TRY(one(r, name));
    }
    return token == HPT__J_END_OBJECT && hpt__jscan_next(&r->s) == HPT__J_END ? HPT_OK : not_json(r);
}

hpt_status hpt__safetensors_parse(hpt__tensorfile *f) {
    uint64_t header, end = 0;
    memcpy(&header, f->file.p, 8);
    if (header < 2 || header > MAX_HEADER || header > f->file.n - 8)
        return BAD("header of %llu bytes", (unsigned long long)header);
    if (!hpt__utf8_ok((const char *)f->file.p + 8, (size_t)header)) return BAD("header: not UTF-8");
    reader r = {.f = f, .data = f->file.p + 8 + header, .bytes = f->file.n - 8 - header};
    hpt__jscan_memory(&r.s, f->file.p + 8, (size_t)header);
    hpt_status st = entries(&r);
    hpt__jscan_close(&r.s);
    if (!st) st = hpt__tensorfile_unique(f);
    if (!st && f->n) qsort(r.spans, f->n, sizeof *r.spans, span_order);
    for (uint32_t i = 0; i < f->n && !st; i++) {
        if (r.spans[i].from != end) st = BAD("a hole or overlap at data byte %llu", (unsigned long long)end);
        end = r.spans[i].to;
    }
    if (!st && end != r.bytes) st = BAD("%llu bytes belong to no tensor", (unsigned long long)(r.bytes - end));
    hpt__free(r.spans);
    return st;
}

hpt_status hpt__safetensors_write(const char *path, const hpt__st_item *items, uint32_t n, json_t *meta) {
    json_t *root = json_object();
    hpt__writer w;
    uint64_t at = 0;
    int lost = 0;           /* an allocation failed: an entry, or a part of one, would be missing */
    lost |= json_object_set_new(meta, "format", json_string("pt"));
    lost |= json_object_set_new(root, "__metadata__", meta);
    for (uint32_t i = 0; i < n; i++) {
        json_t *shape = json_array();
        for (int d = 0; d < items[i].ndim; d++) lost |= json_array_append_new(shape, json_integer(items[i].shape[d]));
        lost |= json_object_set_new(root, items[i].name,
                                    json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape, "data_offsets",
                                              (json_int_t)at, (json_int_t)(at + items[i].count * 4)));
        at += items[i].count * 4;
    }
    char *text = lost ? NULL : hpt__json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (!text) return hpt__fail_memory(at);
    hpt_status st = hpt__writer_open(&w, path);
    if (!st) {
        uint64_t len = strlen(text), padded = (len + 7) / 8 * 8;
        hpt__writer_put(&w, &padded, 8);
        hpt__writer_put(&w, text, len);
        hpt__writer_put(&w, "        ", padded - len);
        for (uint32_t i = 0; i < n; i++) hpt__writer_put(&w, items[i].data, items[i].count * 4);
        st = hpt__writer_commit(&w);
    }
    hpt__free(text);
    return st;
}
