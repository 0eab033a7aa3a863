/* SPDX-License-Identifier: MIT
 * Values of a pickle as they are asked for: plain ones are decoded at their opcode, the others are cells; and what
 * tensors and storages are made of, with bounds that are proved before a byte is believed. */
#include "io/pickle_inside.h"
#include "core/number.h"
#include <stdio.h>
#include <stdlib.h>

int hpt__pk_decimal(const uint8_t *s, size_t n, int64_t *out) {
    char text[24];
    char *end;
    if (n == 0 || n > 20) return 0;
    memcpy(text, s, n);
    text[n] = 0;
    for (size_t i = 0; i < n; i++)
        if (!((text[i] >= '0' && text[i] <= '9') || (i == 0 && n > 1 && text[i] == '-'))) return 0;
    unsigned long long v = strtoull(text + (*text == '-'), &end, 10);
    if (v > (uint64_t)INT64_MAX) return 0;
    *out = *text == '-' ? -(int64_t)v : (int64_t)v;
    return 1;
}
/* The plain value at an opcode whose operands lie inside the pickle. */
static hpt__pk_value leaf(const uint8_t *op) {
    hpt__pk_value v = {.kind = HPT__PK_OPAQUE};
    const uint8_t *a = op + 1;
    size_t n;
    switch (*op) {
    case 'N': v.kind = HPT__PK_NONE; break;
    case 0x88: case 0x89:
        v.kind = HPT__PK_BOOL;
        v.i = *op == 0x88;
        break;
    case 'K': case 'M': case 'J':
        v.kind = HPT__PK_INT;
        v.i = *op == 'J' ? (int32_t)le(a, 4) : (int64_t)le(a, *op == 'K' ? 1 : 2);
        break;
    case 0x8a: case 0x8b:
        n = *op == 0x8a ? *a : (size_t)le(a, 4);
        if (n > 8) break;       /* wider numbers mean nothing here */
        a += *op == 0x8a ? 1 : 4;
        v.kind = HPT__PK_INT;
        v.i = (int64_t)(le(a, (int)n) | (n && n < 8 && a[n - 1] & 0x80 ? ~0ull << 8 * n : 0));
        break;
    case 'I': case 'L':
        n = line_length(a);
        if (*op == 'I' && n == 2 && a[0] == '0') {
            v.kind = HPT__PK_BOOL;
            v.i = a[1] == '1';
        } else if (hpt__pk_decimal(a, n && a[n - 1] == 'L' ? n - 1 : n, &v.i)) v.kind = HPT__PK_INT;
        break;
    case 'G': {
        uint64_t bits = 0;
        for (int i = 0; i < 8; i++) bits = bits << 8 | a[i];
        memcpy(&v.f, &bits, 8);
        v.kind = HPT__PK_FLOAT;
        break; }
    case 'F': {
        char text[64];
        n = line_length(a);
        if (n >= sizeof text) break;
        memcpy(text, a, n);
        text[n] = 0;
        if (hpt__number_parse(text, &v.f)) v.kind = HPT__PK_FLOAT;
        break; }
    case 'X': case 'T': case 'U': case 0x8c: case 0x8d: {
        int width = *op == 0x8d ? 8 : *op == 'X' || *op == 'T' ? 4 : 1;
        v.kind = HPT__PK_STR;
        v.s = (const char *)a + width;
        v.len = (size_t)le(a, width);
        break; }
    case 'S': case 'V':
        n = line_length(a);
        if (n == MAX_LINE) break;
        if (*op == 'S' && (n < 2 || (*a != '\'' && *a != '"') || a[n - 1] != *a)) break;
        if (memchr(a, '\\', n)) break;      /* escapes: no name that we look for has one */
        v.kind = HPT__PK_STR;
        v.s = (const char *)a + (*op == 'S');
        v.len = *op == 'S' ? n - 2 : n;
        break;
    default: break;
    }
    return v;
}
hpt__pk_value hpt__pk_get(const hpt__pickle *p, hpt__pk_ref ref) {
    if (ref == NOTHING) return (hpt__pk_value){.kind = HPT__PK_NONE};
    if (!is_object(ref)) return leaf(p->data + ref);
    const uint32_t *c = object(p, ref);
    hpt__pk_value v = {.kind = (hpt__pk_kind)(*c & 0xff)};
    uint64_t bits =
        v.kind == HPT__PK_INT || v.kind == HPT__PK_FLOAT || v.kind == HPT__PK_BOOL ? c[1] | (uint64_t)c[2] << 32 : 0;
    if (v.kind == HPT__PK_FLOAT) memcpy(&v.f, &bits, 8);
    else v.i = (int64_t)bits;
    return v;
}

int hpt__pk_is_int(const hpt__pickle *p, hpt__pk_ref ref, int64_t *out) {
    hpt__pk_value v = hpt__pk_get(p, ref);
    *out = v.i;
    return v.kind == HPT__PK_INT;
}
int hpt__pk_is_text(const hpt__pk_value *v, const char *text) {
    return v->kind == HPT__PK_STR && v->len == strlen(text) && !memcmp(v->s, text, v->len);
}

uint32_t hpt__pk_count(const hpt__pickle *p, hpt__pk_ref ref) {
    hpt__pk_kind kind = kind_of(p, ref);
    return kind == HPT__PK_TUPLE || kind == HPT__PK_LIST || kind == HPT__PK_DICT ? object(p, ref)[1] : 0;
}
hpt__pk_ref hpt__pk_item(const hpt__pickle *p, hpt__pk_ref tuple, uint32_t i) {
    return kind_of(p, tuple) == HPT__PK_TUPLE && i < object(p, tuple)[1] ? object(p, tuple)[2 + i] : NOTHING;
}
hpt__pk_iter hpt__pk_items(const hpt__pickle *p, hpt__pk_ref ref) {
    hpt__pk_iter it = {p, 0, 0, NOTHING};
    hpt__pk_kind kind = kind_of(p, ref);
    const uint32_t *c = is_object(ref) ? object(p, ref) : NULL;
    if (kind == HPT__PK_TUPLE) {
        it.at = (ref & ~OBJECT_BIT) + 2;
        it.left = c[1];
    } else if (kind == HPT__PK_LIST || kind == HPT__PK_DICT) it.next = c[2];
    return it;
}
int hpt__pk_next(hpt__pk_iter *it, hpt__pk_ref *ref) {
    while (!it->left) {
        if (it->next == NOTHING) return 0;
        const uint32_t *chunk = it->p->cell + it->next;
        it->at = it->next + 2;
        it->left = chunk[1];
        it->next = chunk[0];
    }
    it->left--;
    *ref = it->p->cell[it->at++];
    return 1;
}
hpt__pk_ref hpt__pk_lookup(const hpt__pickle *p, hpt__pk_ref dict, const char *key) {
    hpt__pk_ref k, v, found = NOTHING;
    for (hpt__pk_iter it = hpt__pk_items(p, dict); hpt__pk_next(&it, &k) && hpt__pk_next(&it, &v);) {
        hpt__pk_value name = hpt__pk_get(p, k);
        if (hpt__pk_is_text(&name, key)) found = v;
    }
    return found;
}
hpt__pk_ref hpt__pk_state(const hpt__pickle *p, hpt__pk_ref o) {
    return kind_of(p, o) == HPT__PK_OBJECT ? object(p, o)[3] : NOTHING;
}
hpt__pk_ref hpt__pk_object_items(const hpt__pickle *p, hpt__pk_ref o) {
    return kind_of(p, o) == HPT__PK_OBJECT ? object(p, o)[4] : NOTHING;
}
void hpt__pk_class_name(const hpt__pickle *p, hpt__pk_ref ref, char *buf, size_t size) {
    for (int i = 0; i < 8 && kind_of(p, ref) == HPT__PK_OBJECT; i++) ref = object(p, ref)[1];
    snprintf(buf, size, "unknown");
    if (kind_of(p, ref) != HPT__PK_GLOBAL) return;
    const uint32_t *c = object(p, ref);
    if (c[2] == NOTHING) {
        const uint8_t *module = p->data + c[1] + 1;
        size_t m = line_length(module);
        if (m < MAX_LINE)
            snprintf(buf, size, "%.*s.%.*s", (int)m, (const char *)module, (int)line_length(module + m + 1),
                     (const char *)module + m + 1);
    } else {
        hpt__pk_value m = hpt__pk_get(p, c[1]), n = hpt__pk_get(p, c[2]);
        snprintf(buf, size, "%.*s.%.*s", m.len < MAX_LINE ? (int)m.len : MAX_LINE, m.s,
                 n.len < MAX_LINE ? (int)n.len : MAX_LINE, n.s);
    }
}

/* ---- tensors ---- */

hpt__pk_storage hpt__pk_storage_of(const hpt__pickle *p, hpt__pk_ref ref) {
    const uint32_t *c = object(p, ref);
    hpt__pk_ref id = c[1], cls = hpt__pk_item(p, id, 1), view = hpt__pk_item(p, id, 5);
    hpt__pk_value key = hpt__pk_get(p, hpt__pk_item(p, id, 2));
    hpt__pk_storage s = {
        .type = HPT__FT_OTHER, .unknown = NOTHING, .next = c[2], .key = key.s, .key_len = (uint32_t)key.len};
    if (what_of(p, cls) == G_STORAGE) {
        uint32_t e = *object(p, cls) >> 16;
        s.type = hpt__pk_elements[e].type;
        s.bytes = hpt__pk_elements[e].bytes;
        s.unreadable = hpt__pk_elements[e].unreadable;
    } else s.unknown = cls;
    hpt__pk_is_int(p, hpt__pk_item(p, id, 4), &s.numel);
    if (kind_of(p, view) == HPT__PK_TUPLE) hpt__pk_is_int(p, hpt__pk_item(p, view, 1), &s.view);
    return s;
}

/* The sizes in a tuple (or torch.Size); 0: these are none. */
static int sizes(const hpt__pickle *p, hpt__pk_ref ref, int64_t *out, int *n) {
    uint32_t count = hpt__pk_count(p, ref);
    if (kind_of(p, ref) != HPT__PK_TUPLE || count > 8) return 0;
    for (uint32_t d = 0; d < count; d++)
        if (!hpt__pk_is_int(p, hpt__pk_item(p, ref, d), &out[d])) return 0;
    *n = (int)count;
    return 1;
}
/* count of a shape; HPT_ERR_FORMAT for one that no tensor has. */
static hpt_status count_of(const hpt__pickle *p, hpt__pk_tensor *t) {
    t->count = 1;
    for (int d = 0; d < t->ndim; d++) {
        if (t->shape[d] < 0) return BAD("tensor shape at byte %zu", p->end);
        if (__builtin_mul_overflow(t->count, (uint64_t)t->shape[d], &t->count))
            return BAD("tensor size overflows at byte %zu", p->end);
    }
    return HPT_OK;
}
/* (storage, offset, size, stride, requires_grad, hooks [, dtype] [, metadata]) */
static hpt_status plain_tensor(const hpt__pickle *p, hpt__pk_ref args, uint32_t what, hpt__pk_tensor *t) {
    hpt__pk_ref storage = hpt__pk_item(p, args, 0), size = hpt__pk_item(p, args, 2), stride = hpt__pk_item(p, args, 3);
    hpt__pk_ref meta = hpt__pk_item(p, args, what == G_REBUILD3 ? 7 : 6), dtype = hpt__pk_item(p, args, 6);
    int64_t start, last = 0, numel;
    int steps;
    if (hpt__pk_count(p, args) < 4) return BAD("tensor with %u arguments at byte %zu", hpt__pk_count(p, args), p->end);
    if (hpt__pk_count(p, size) > 8) {
        t->unreadable = "more than 8 dimensions";
        return HPT_OK;
    }
    if (kind_of(p, storage) != HPT__PK_STORAGE) {
        t->unreadable = "without a storage";
        if (!sizes(p, size, t->shape, &t->ndim)) t->ndim = 0;
        return count_of(p, t);
    }
    if (!hpt__pk_is_int(p, hpt__pk_item(p, args, 1), &start) || !sizes(p, size, t->shape, &t->ndim) ||
        !sizes(p, stride, t->stride, &steps) || steps != t->ndim)
        return BAD("tensor arguments at byte %zu", p->end);
    hpt__pk_storage s = hpt__pk_storage_of(p, storage);
    uint32_t bytes = s.bytes;
    t->type = s.type;
    t->unreadable = s.unreadable;
    t->unknown = s.unknown;
    numel = s.numel;
    if (what == G_REBUILD3) {       /* the storage counts bytes; the type stands beside it */
        uint32_t e = what_of(p, dtype) == G_DTYPE ? *object(p, dtype) >> 16 : 0;
        if (what_of(p, dtype) == G_DTYPE) {
            t->type = hpt__pk_elements[e].type;
            t->unreadable = hpt__pk_elements[e].unreadable;
            if (bytes) numel = numel * bytes / hpt__pk_elements[e].bytes;
            bytes = hpt__pk_elements[e].bytes;
        } else {
            t->type = HPT__FT_OTHER;
            t->unknown = dtype;
            if (dtype == NOTHING) t->unreadable = "without a type";
            bytes = 0;
        }
    }
    HPT_TRY(count_of(p, t));
    if (start < 0 || __builtin_add_overflow(start, s.view, &start)) return BAD("tensor offset at byte %zu", p->end);
    for (int d = 0; d < t->ndim; d++) {
        int64_t reach;
        if (t->stride[d] < 0) t->unreadable = "negative strides";
        else if (t->shape[d] > 1 && (__builtin_mul_overflow(t->shape[d] - 1, t->stride[d], &reach) ||
                                     __builtin_add_overflow(last, reach, &last)))
            return BAD("tensor stride overflows at byte %zu", p->end);
    }
    if (t->count && bytes && (__builtin_add_overflow(last, start, &last) || last >= numel))
        return BAD("tensor reaches outside its storage at byte %zu", p->end);
    if (kind_of(p, meta) == HPT__PK_DICT && hpt__pk_count(p, meta) && !t->unreadable)
        t->unreadable = "a negated or conjugated view";
    t->storage = storage;
    t->offset = start;
    return HPT_OK;
}
hpt_status hpt__pk_tensor_of(const hpt__pickle *p, hpt__pk_ref ref, hpt__pk_tensor *t) {
    const uint32_t *c = object(p, ref);
    uint32_t what = *c >> 8 & 0xff;
    hpt__pk_ref args = c[1], state = c[2], size = NOTHING;
    *t = (hpt__pk_tensor){.storage = NOTHING, .unknown = NOTHING, .type = HPT__FT_OTHER};
    switch (what) {
    case G_REBUILD: case G_REBUILD3:
        HPT_TRY(plain_tensor(p, args, what, t));
        if (state != NOTHING) t->unreadable = "changed by a state of its own";
        return HPT_OK;
    case G_QUANTIZED: t->unreadable = "quantized"; size = hpt__pk_item(p, args, 2); break;
    case G_SPARSE:          /* (layout, (indices, values, size ...)); compressed rows have two arrays of indices */
        t->unreadable = "sparse";
        args = hpt__pk_item(p, args, 1);
        size = hpt__pk_item(p, args, kind_of(p, hpt__pk_item(p, args, 2)) == HPT__PK_TUPLE ? 2 : 3);
        break;
    case G_META: t->unreadable = "on the meta device, without data"; size = hpt__pk_item(p, args, 1); break;
    case G_WRAPPER: t->unreadable = "a wrapper of other tensors"; size = hpt__pk_item(p, args, 2); break;
    case G_NESTED: t->unreadable = "nested"; break;
    case G_DEVICE: t->unreadable = "stored as a NumPy array"; break;
    case G_FROMBUFFER: t->unreadable = "a NumPy array"; size = hpt__pk_item(p, args, 2); break;
    default: t->unreadable = "a NumPy array"; size = hpt__pk_item(p, state, 1); break;
    }
    if (!sizes(p, size, t->shape, &t->ndim)) t->ndim = 0;
    return count_of(p, t);
}
