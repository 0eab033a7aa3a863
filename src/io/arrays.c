/* SPDX-License-Identifier: MIT */
#include "io/arrays.h"
#include "core/alloc.h"
#include "io/zip.h"
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#define BAD(...) hpt__fail(HPT_ERR_FORMAT, __VA_ARGS__)
enum { MAX_FILE = 0x7fffffff };
static const uint64_t max_array = 1ull << 33;

void hpt__array_free(hpt__array *a) {
    hpt__free(a->p);
    memset(a, 0, sizeof *a);
}

/* One gzip member that fills the file; its own last four bytes say how long it inflates, and that is checked against the dimensions
 * before memory for it is taken. */
static hpt_status gunzip(const uint8_t *p, size_t n, uint8_t *out, size_t size, size_t *done, int whole) {
    z_stream s;
    memset(&s, 0, sizeof s);
    if (inflateInit2(&s, 15 + 16) != Z_OK) return hpt__fail_memory(65536);
    s.next_in = (Bytef *)(uintptr_t)p;
    s.avail_in = (uInt)n;
    s.next_out = out;
    s.avail_out = (uInt)size;
    int r = inflate(&s, whole ? Z_FINISH : Z_SYNC_FLUSH);
    *done = size - s.avail_out;
    size_t left = s.avail_in;
    inflateEnd(&s);
    if (whole && (r != Z_STREAM_END || left)) return BAD("gzip: corrupt, or bytes after its end");
    return whole || *done == size || r == Z_STREAM_END || r == Z_OK ? HPT_OK : BAD("gzip: corrupt");
}

hpt_status hpt__idx_parse(const uint8_t *p, size_t n, hpt__array *out) {
    uint8_t head[20];
    size_t got = 0;
    int gz = n >= 18 && p[0] == 0x1f && p[1] == 0x8b;
    memset(out, 0, sizeof *out);
    memset(head, 0, sizeof head);
    if (n > MAX_FILE) return BAD("IDX: file over 2 GiB");
    if (gz) HPT_TRY(gunzip(p, n, head, sizeof head, &got, 0));
    else memcpy(head, p, got = n < sizeof head ? n : sizeof head);
    if (got < 8 || head[0] || head[1] || head[2] != 8 || head[3] < 1 || head[3] > 4 || got < 4 + 4 * (size_t)head[3])
        return BAD("IDX: not an IDX file of unsigned bytes");
    out->ndim = head[3];
    out->type = 'u';
    out->count = 1;
    for (int d = 0; d < out->ndim; d++) {
        out->shape[d] = (uint64_t)head[4 + 4 * d] << 24 | (uint64_t)head[5 + 4 * d] << 16 | (uint64_t)head[6 + 4 * d] << 8 | head[7 + 4 * d];
        if (__builtin_mul_overflow(out->count, out->shape[d], &out->count) || out->count > 1u << 30) return BAD("IDX: more than 1 GiB");
    }
    size_t header = 4 + 4 * (size_t)out->ndim, total = header + (size_t)out->count;
    if (gz) {
        uint32_t isize = (uint32_t)p[n - 4] | (uint32_t)p[n - 3] << 8 | (uint32_t)p[n - 2] << 16 | (uint32_t)p[n - 1] << 24;
        if (isize != total || total / 1032 > n) return BAD("IDX: the dimensions do not match the size");
    } else if (n != total) return BAD("IDX: %zu bytes instead of %zu", n, total);
    uint8_t *all = hpt__alloc(total);
    if (!all) return hpt__fail_memory(total);
    hpt_status st = HPT_OK;
    if (gz) {
        st = gunzip(p, n, all, total, &got, 1);
        if (!st && got != total) st = BAD("IDX: %zu bytes instead of %zu", got, total);
    } else memcpy(all, p, total);
    if (st) {
        hpt__free(all);
        return st;
    }
    memmove(all, all + header, (size_t)out->count);
    out->p = all;
    return HPT_OK;
}

hpt_status hpt__idx_read(const char *path, hpt__array *out) {
    hpt__bytes f;
    memset(out, 0, sizeof *out);
    HPT_TRY(hpt__file_read(path, MAX_FILE, &f));
    hpt_status st = hpt__idx_parse(f.p, f.n, out);
    hpt__free(f.p);
    return st ? hpt__fail_context(st, "%.400s", path) : HPT_OK;
}

/* ---- npy ---- */

/* The header is a Python literal {'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }: this reads just that. */
static int skip(const char **p, const char *word) {
    while (**p == ' ') (*p)++;
    size_t n = strlen(word);
    if (strncmp(*p, word, n)) return 0;
    *p += n;
    return 1;
}
static int header(const char *p, char descr[8], hpt__array *a) {
    int seen = 0;
    if (!skip(&p, "{")) return 0;
    while (!skip(&p, "}")) {
        if (skip(&p, "'descr'")) {
            if (!skip(&p, ":") || !skip(&p, "'")) return 0;
            size_t n = strcspn(p, "'");
            if (n > 7) return 0;
            memcpy(descr, p, n);
            descr[n] = 0;
            p += n + (p[n] == '\'');
            seen |= 1;
        } else if (skip(&p, "'fortran_order'")) {
            if (!skip(&p, ":") || !skip(&p, "False")) return 0;
            seen |= 2;
        } else if (skip(&p, "'shape'")) {
            if (!skip(&p, ":") || !skip(&p, "(")) return 0;
            a->ndim = 0;
            a->count = 1;
            while (!skip(&p, ")")) {
                uint64_t v = 0;
                while (*p == ' ') p++;
                if (*p < '0' || *p > '9' || a->ndim == 4) return 0;
                for (int digits = 0; *p >= '0' && *p <= '9'; p++)
                    if (++digits > 12) return 0;
                    else v = v * 10 + (uint64_t)(*p - '0');
                a->shape[a->ndim++] = v;
                if (__builtin_mul_overflow(a->count, v, &a->count)) return 0;
                skip(&p, ",");
            }
            seen |= 4;
        } else return 0;
        skip(&p, ",");
    }
    return seen == 7;
}

static hpt_status npy(const uint8_t *p, uint64_t n, int ints, hpt__array *out) {
    char text[1 << 12], descr[8] = "";
    if (n < 12 || memcmp(p, "\x93NUMPY", 6) || (p[6] != 1 && p[6] != 2)) return BAD("npy: not an npy array");
    uint64_t len = p[8] | (uint64_t)p[9] << 8, at = 10;
    if (p[6] == 2) len |= (uint64_t)p[10] << 16 | (uint64_t)p[11] << 24, at = 12;
    if (len >= sizeof text || len > n - at) return BAD("npy: header of %llu bytes", (unsigned long long)len);
    memcpy(text, p + at, len);
    text[len] = 0;
    p += at + len;
    n -= at + len;
    if (!header(text, descr, out)) return BAD("npy: header is not a plain array's");
    int size = descr[0] && descr[1] && descr[2] >= '1' && descr[2] <= '8' && !descr[3] ? descr[2] - '0' : 0;
    int ok = size && (descr[0] == '|' || descr[0] == '<') && (ints ? descr[1] == 'u' || descr[1] == 'i' : descr[1] == 'u' && size == 1);
    if (!ok || (size & (size - 1))) return BAD("npy: element type '%s', need %s", descr, ints ? "little-endian integers" : "uint8");
    if (out->count > max_array || out->count * (uint64_t)size != n) return BAD("npy: shape and number of bytes differ");
    out->type = ints ? 'i' : 'u';
    if (!(out->p = hpt__alloc((size_t)out->count * (ints ? 8 : 1)))) return hpt__fail_memory((size_t)out->count);
    if (!ints) memcpy(out->p, p, (size_t)n);
    else
        for (uint64_t i = 0; i < out->count; i++) {
            uint64_t v = 0;
            for (int b = 0; b < size; b++) v |= (uint64_t)p[i * (uint64_t)size + (uint64_t)b] << 8 * b;
            if (descr[1] == 'i' && size < 8 && v >> (8 * size - 1) & 1) v |= ~0ull << 8 * size;
            memcpy(out->p + 8 * i, &v, 8);
        }
    return HPT_OK;
}

hpt_status hpt__npz_parse(const uint8_t *p, size_t n, const char *name, int ints, hpt__array *out, int *found) {
    hpt__zip z;
    char entry[256];
    memset(out, 0, sizeof *out);
    if (found) *found = 0;
    HPT_TRY(hpt__zip_open(&z, p, n, 1));
    snprintf(entry, sizeof entry, "%.200s.npy", name);
    const hpt__zip_entry *e = hpt__zip_find(&z, entry);
    hpt_status st = HPT_OK;
    if (!e) {
        if (!found) st = BAD("npz: no array '%.100s'", name);
    } else if (e->size > max_array) st = BAD("npz: '%.100s' over 8 GiB", name);
    else {
        uint8_t *bytes = hpt__alloc((size_t)e->size);
        if (!bytes) st = hpt__fail_memory((size_t)e->size);
        if (!st) st = hpt__zip_read(&z, e, bytes, e->size);
        if (!st) st = npy(bytes, e->size, ints, out);
        hpt__free(bytes);
        if (found) *found = !st;
    }
    hpt__zip_close(&z);
    if (st) hpt__array_free(out);
    return st;
}
hpt_status hpt__npz_read(const char *path, const char *name, int ints, hpt__array *out, int *found) {
    hpt__bytes f;
    memset(out, 0, sizeof *out);
    HPT_TRY(hpt__file_read(path, max_array, &f));
    hpt_status st = hpt__npz_parse(f.p, f.n, name, ints, out, found);
    hpt__free(f.p);
    return st ? hpt__fail_context(st, "%.400s", path) : HPT_OK;
}
