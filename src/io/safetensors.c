/* SPDX-License-Identifier: MIT
 * safetensors: 8-byte header length, JSON header, data. Strict: no duplicate keys, known fields only, offsets without hole or overlap. */
#include "io/safetensors.h"
#include "core/alloc.h"
#include "io/tensorfile.h"
#include <stdlib.h>
#include <string.h>

#define BAD(...) hpt__fail(HPT_ERR_FORMAT, "safetensors: " __VA_ARGS__)
enum { MAX_HEADER = 16 << 20 };

typedef struct span { uint64_t from, to; } span;
static int span_order(const void *a, const void *b) {
    const span *x = a, *y = b;
    return x->from != y->from ? (x->from < y->from ? -1 : 1) : x->to < y->to ? -1 : x->to > y->to;
}

static hpt_status one(hpt__tensorfile *f, const char *name, json_t *v, const uint8_t *data, uint64_t bytes, span *sp) {
    json_t *dtype = json_object_get(v, "dtype"), *shape = json_object_get(v, "shape"), *off = json_object_get(v, "data_offsets");
    hpt__ftensor t = {.type = HPT__FT_COUNT, .count = 1};
    if (!json_is_object(v) || json_object_size(v) != 3 || !json_is_string(dtype) || !json_is_array(shape) || !json_is_array(off) || json_array_size(off) != 2)
        return BAD("entry '%.200s'", name);
    for (int i = 0; i < HPT__FT_COUNT; i++)
        if (!strcmp(hpt__ftype_name((hpt__ftype)i), json_string_value(dtype))) t.type = (hpt__ftype)i;
    if (t.type == HPT__FT_COUNT) return hpt__fail(HPT_ERR_UNSUPPORTED, "safetensors: '%.200s' has type %.20s", name, json_string_value(dtype));
    if (json_array_size(shape) > 8) return BAD("'%.200s' has %zu dimensions", name, json_array_size(shape));
    t.ndim = (int)json_array_size(shape);
    for (int d = 0; d < t.ndim; d++) {
        json_t *s = json_array_get(shape, (size_t)d);
        if (!json_is_integer(s) || json_integer_value(s) < 0) return BAD("shape of '%.200s'", name);
        t.shape[d] = json_integer_value(s);
        if (__builtin_mul_overflow(t.count, (uint64_t)t.shape[d], &t.count) || t.count > 1ull << 53) return BAD("size of '%.200s' overflows", name);
    }
    int64_t stride = 1;
    for (int d = t.ndim - 1; d >= 0; d--) {
        t.stride[d] = stride;
        stride *= t.shape[d] ? t.shape[d] : 1;
    }
    json_t *a = json_array_get(off, 0), *b = json_array_get(off, 1);
    if (!json_is_integer(a) || !json_is_integer(b) || json_integer_value(a) < 0 || json_integer_value(b) < json_integer_value(a) ||
        (uint64_t)json_integer_value(b) > bytes || (uint64_t)(json_integer_value(b) - json_integer_value(a)) != t.count * hpt__ftype_size(t.type))
        return BAD("offsets of '%.200s'", name);
    *sp = (span){(uint64_t)json_integer_value(a), (uint64_t)json_integer_value(b)};
    t.data = data + sp->from;
    if (strlen(name) > 512) return BAD("a name of %zu bytes", strlen(name));
    return hpt__tensorfile_add(f, name, strlen(name), &t);
}

hpt_status hpt__safetensors_parse(hpt__tensorfile *f) {
    uint64_t header;
    json_error_t err;
    hpt_status st = HPT_OK;
    memcpy(&header, f->file.p, 8);
    if (header < 2 || header > MAX_HEADER || header > f->file.n - 8) return BAD("header of %llu bytes", (unsigned long long)header);
    json_t *root = json_loadb((const char *)f->file.p + 8, (size_t)header, JSON_REJECT_DUPLICATES, &err);
    if (!root) return BAD("header: %.100s at byte %d", err.text, err.position + 8);
    const uint8_t *data = f->file.p + 8 + header;
    uint64_t bytes = f->file.n - 8 - header, end = 0;
    size_t n = json_object_size(root), k = 0;
    span *spans = hpt__calloc(n + 1, sizeof *spans);
    const char *name;
    json_t *v;
    if (!spans) st = hpt__fail_memory(n * sizeof *spans);
    else if (!json_is_object(root)) st = BAD("header is no object");
    else json_object_foreach(root, name, v) {
        if (!strcmp(name, "__metadata__")) {
            const char *key;
            json_t *text;
            json_object_foreach(v, key, text) {
                if (!json_is_string(text)) st = BAD("metadata '%.100s' is no text", key);
                else if (json_object_set(f->meta, key, text)) st = hpt__fail_memory(64);
            }
            if (!json_is_object(v)) st = BAD("metadata is no object");
        } else st = one(f, name, v, data, bytes, &spans[k++]);
        if (st) break;
    }
    if (!st) {
        qsort(spans, k, sizeof *spans, span_order);
        for (size_t i = 0; i < k && !st; i++) {
            if (spans[i].from != end) st = BAD("a hole or overlap at data byte %llu", (unsigned long long)end);
            end = spans[i].to;
        }
        if (!st && end != bytes) st = BAD("%llu bytes belong to no tensor", (unsigned long long)(bytes - end));
    }
    hpt__free(spans);
    json_decref(root);
    return st;
}

hpt_status hpt__safetensors_write(const char *path, const hpt__st_item *items, uint32_t n, json_t *meta) {
    json_t *root = json_object();
    hpt__writer w;
    uint64_t at = 0;
    json_object_set_new(meta, "format", json_string("pt"));
    json_object_set_new(root, "__metadata__", meta);
    for (uint32_t i = 0; i < n; i++) {
        json_t *shape = json_array();
        for (int d = 0; d < items[i].ndim; d++) json_array_append_new(shape, json_integer(items[i].shape[d]));
        json_object_set_new(root, items[i].name, json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape, "data_offsets",
                                                           (json_int_t)at, (json_int_t)(at + items[i].count * 4)));
        at += items[i].count * 4;
    }
    char *text = json_object_size(root) == n + 1 ? json_dumps(root, JSON_COMPACT) : NULL;
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
    free(text);
    return st;
}
