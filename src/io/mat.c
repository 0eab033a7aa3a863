/* SPDX-License-Identifier: MIT
 * Little-endian level 5 files: a header of 128 bytes, then elements of type, bytes, data padded to 8; small data (up
 * to 4 bytes) sits in the tag. A matrix element holds flags, dimensions, name and real part. */
#include "io/mat.h"
#include "core/alloc.h"
#include "io/file.h"
#include <string.h>
#include <zlib.h>

enum { INT8 = 1, UINT8, INT16, UINT16, INT32, UINT32, SINGLE, DOUBLE = 9, MATRIX = 14, COMPRESSED = 15,
       MAX_VALUES = 1 << 20, MAX_BYTES = 64 << 20, HEAD = 512 };
typedef struct element { uint32_t type, bytes; const uint8_t *data; } element;

static uint32_t u32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The element at *p; moves *p behind it. 0: it does not fit. */
static int next(const uint8_t **p, const uint8_t *end, element *e) {
    if (end - *p < 8) return 0;
    uint32_t tag = u32(*p);
    if (tag >> 16) {
        *e = (element){tag & 0xffff, tag >> 16, *p + 4};
        *p += 8;
        return e->bytes <= 4;
    }
    *e = (element){tag, u32(*p + 4), *p + 8};
    if (e->bytes > (size_t)(end - *p) - 8) return 0;
    size_t padded = e->type == COMPRESSED ? e->bytes : ((size_t)e->bytes + 7) / 8 * 8, left = (size_t)(end - *p) - 8;
    *p += 8 + (padded < left ? padded : left);
    return 1;
}
static double value(const element *e, uint64_t i) {
    const uint8_t *p = e->data;
    switch (e->type) {
    case INT8: return (int8_t)p[i];
    case UINT8: return p[i];
    case INT16: return (int16_t)(p[2 * i] | p[2 * i + 1] << 8);
    case UINT16: return p[2 * i] | p[2 * i + 1] << 8;
    case INT32: return (int32_t)u32(p + 4 * i);
    case UINT32: return u32(p + 4 * i);
    case SINGLE: { float f; memcpy(&f, p + 4 * i, 4); return (double)f; }
    default: { double d; memcpy(&d, p + 8 * i, 8); return d; }
    }
}
static int size_of(uint32_t type) {
    return type == INT8 || type == UINT8 ? 1 : type == INT16 || type == UINT16 ? 2 : type == INT32 || type == UINT32 ||
        type == SINGLE ? 4 : type == DOUBLE ? 8 : 0;
}

/* A matrix called name: 1 taken, 0 another or unusable one, negative: a failure. */
static int matrix(const element *m, const char *name, double **values, uint64_t *count) {
    const uint8_t *p = m->data, *end = p + m->bytes;
    element flags, dims, title, real;
    if (!next(&p, end, &flags) || !next(&p, end, &dims) || !next(&p, end, &title) || !next(&p, end, &real)) return 0;
    if (title.bytes != strlen(name) || memcmp(title.data, name, title.bytes) || !size_of(real.type)) return 0;
    uint64_t n = real.bytes / (uint32_t)size_of(real.type);
    if (!n || n > MAX_VALUES) return 0;
    if (!(*values = hpt__alloc(sizeof **values * (size_t)n))) return hpt__fail_memory((size_t)n * 8);
    for (uint64_t i = 0; i < n; i++) (*values)[i] = value(&real, i);
    *count = n;
    return 1;
}
/* The first cap bytes of a compressed element. */
static size_t inflate_some(const element *e, uint8_t *out, size_t cap) {
    z_stream z;
    memset(&z, 0, sizeof z);
    z.next_in = (Bytef *)(uintptr_t)e->data;
    z.avail_in = e->bytes;
    z.next_out = out;
    z.avail_out = (uInt)cap;
    if (inflateInit(&z) != Z_OK) return 0;
    inflate(&z, Z_SYNC_FLUSH);
    inflateEnd(&z);
    return z.total_out;
}
/* The name stands in the first bytes of a matrix: no other than the wanted one is inflated as a whole. */
static int named(const uint8_t *p, size_t n, const char *name, size_t *whole) {
    const uint8_t *end = p + n;
    element flags, dims, title;
    if (n < 8 || u32(p) != MATRIX) return 0;
    *whole = 8 + (size_t)u32(p + 4);
    p += 8;
    if (!next(&p, end, &flags) || !next(&p, end, &dims) || !next(&p, end, &title)) return 0;
    return title.bytes == strlen(name) && !memcmp(title.data, name, title.bytes);
}
/* budget: bytes that the elements of a file may inflate to, all together. */
static int inflated(const element *e, const char *name, double **values, uint64_t *count, size_t *budget) {
    uint8_t head[HEAD];
    size_t whole, n = inflate_some(e, head, sizeof head);
    if (!named(head, n, name, &whole) || whole / 1032 > e->bytes || whole > *budget) return 0;
    *budget -= whole;
    uint8_t *out = hpt__alloc(whole);
    if (!out) return hpt__fail_memory(whole);
    const uint8_t *p = out;
    element inner;
    n = inflate_some(e, out, whole);
    int found = next(&p, out + n, &inner) && inner.type == MATRIX ? matrix(&inner, name, values, count) : 0;
    hpt__free(out);
    return found;
}

hpt_status hpt__mat_parse(const uint8_t *data, size_t n, const char *name, double **values, uint64_t *count) {
    element e;
    size_t budget = n < MAX_BYTES / 16 ? 16 * n + 65536 : MAX_BYTES;
    *values = NULL;
    if (n >= 8 && !memcmp(data, "MATLAB 7", 8))
        return hpt__fail(HPT_ERR_FORMAT, "a MATLAB 7.3 file (HDF5); save it with -v7");
    if (n < 136 || data[126] != 'I' || data[127] != 'M')
        return hpt__fail(HPT_ERR_FORMAT, "not a little-endian MATLAB 5 file");
    for (const uint8_t *p = data + 128, *end = data + n; next(&p, end, &e);) {
        int found = e.type == COMPRESSED ? inflated(&e, name, values, count, &budget) : e.type == MATRIX
            ? matrix(&e, name, values, count) : 0;
        if (found) return found < 0 ? (hpt_status)found : HPT_OK;
    }
    return hpt__fail(HPT_ERR_FORMAT, "no numeric array '%.40s' inside", name);
}
hpt_status hpt__mat_read(const char *path, const char *name, double **values, uint64_t *count) {
    hpt__bytes f;
    HPT_TRY(hpt__file_read(path, MAX_BYTES, &f));
    hpt_status st = hpt__mat_parse(f.p, f.n, name, values, count);
    hpt__free(f.p);
    return st ? hpt__fail_context(st, "%.600s", path) : HPT_OK;
}
