/* SPDX-License-Identifier: MIT
 * Contract: zip.h. The directory at the end is compared with each local header; sizes beyond 4 GiB come from zip64
 * fields. The writer makes what torch.save makes: stored, aligned, checksummed. */
#include "io/zip.h"
#include "core/alloc.h"
#include "core/progress.h"
#include "core/checksum.h"
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define BAD(...) hpt__fail(HPT_ERR_FORMAT, __VA_ARGS__)
static uint16_t le16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t le32(const uint8_t *p) { return (uint32_t)le16(p) | (uint32_t)le16(p + 2) << 16; }
static uint64_t le64(const uint8_t *p) { return le32(p) | (uint64_t)le32(p + 4) << 32; }

/* The zip64 extra field of a header: fills those of the three values that are 0xffffffff, in order. */
static int zip64(const uint8_t *x, size_t n, uint64_t *size, uint64_t *packed, uint64_t *at) {
    while (n >= 4) {
        size_t len = le16(x + 2);
        if (len > n - 4) return 0;
        if (le16(x) == 1) {
            const uint8_t *p = x + 4;
            uint64_t *v[3] = {size, packed, at};
            for (int i = 0; i < 3; i++)
                if (v[i] && *v[i] == 0xffffffff) {
                    if (len < 8) return 0;
                    *v[i] = le64(p);
                    p += 8;
                    len -= 8;
                }
            return 1;
        }
        x += 4 + len;
        n -= 4 + len;
    }
    return 1;
}

static hpt_status check_local(hpt__zip *z, hpt__zip_entry *e, uint64_t at, int flags) {
    const uint8_t *h = z->p + at;
    if (at > z->n || z->n - at < 30 || le32(h) != 0x04034b50)
        return BAD("zip: no local header for '%.*s'", e->name_len, e->name);
    uint64_t name = le16(h + 26), extra = le16(h + 28), size = le32(h + 22), packed = le32(h + 18);
    if (name + extra > z->n - at - 30)
        return BAD("zip: local header of '%.*s' runs past the end", e->name_len, e->name);
    if ((int)name != e->name_len || memcmp(h + 30, e->name, name) || le16(h + 8) != e->method || le16(h + 6) != flags)
        return BAD("zip: local and central header of '%.*s' differ", e->name_len, e->name);
    if (!zip64(h + 30 + name, extra, &size, &packed, NULL))
        return BAD("zip: extra field of '%.*s'", e->name_len, e->name);
    int described = (flags & 8) && !le32(h + 14) && !size && !packed;       /* sizes follow the data instead */
    if (!described && (size != e->size || packed != e->packed || le32(h + 14) != e->crc))
        return BAD("zip: local and central header of '%.*s' differ", e->name_len, e->name);
    e->data = at + 30 + name + extra;
    if (e->packed > z->n - e->data) return BAD("zip: '%.*s' runs past the end", e->name_len, e->name);
    return HPT_OK;
}

static hpt_status parse(hpt__zip *z, int deflate) {
    const uint8_t *p = z->p, *end = p + z->n;
    if (z->n < 22 || le32(end - 22) != 0x06054b50)
        return BAD("zip: no directory at the end (cut, or a comment follows)");
    const uint8_t *eocd = end - 22;
    uint64_t count = le16(eocd + 10), size = le32(eocd + 12), at = le32(eocd + 16), limit = (uint64_t)(eocd - p);
    if (le16(eocd + 4) || le16(eocd + 6) || le16(eocd + 8) != le16(eocd + 10) || le16(eocd + 20))
        return BAD("zip: several disks or a comment");
    if (eocd - p >= 20 &&
        le32(eocd - 20) == 0x07064b50) { /* zip64: present in large files and in all that torch writes */
        uint64_t r = le64(eocd - 12);
        if (r > z->n - 42 || z->n - r < 56 + 42 || le32(p + r) != 0x06064b50 ||
            r + 12 + le64(p + r + 4) != (uint64_t)(eocd - 20 - p))
            return BAD("zip: zip64 directory record");
        uint64_t c64 = le64(p + r + 32), s64 = le64(p + r + 40), a64 = le64(p + r + 48);
        if ((count != 0xffff && count != c64) || (size != 0xffffffff && size != s64) || (at != 0xffffffff && at != a64))
            return BAD("zip: two directories differ");
        count = c64;
        size = s64;
        at = a64;
        limit = r;
    }
    if (count > 100000 || at > limit || size != limit - at || count > size / 46)
        return BAD("zip: directory of %llu entries at %llu", (unsigned long long)count, (unsigned long long)at);
    if (!(z->e = hpt__calloc((size_t)count, sizeof *z->e))) return hpt__fail_memory((size_t)count * sizeof *z->e);
    const uint8_t *h = p + at, *dir_end = p + limit;
    uint64_t previous = 0;
    for (uint64_t i = 0; i < count; i++) {
        hpt__zip_entry *e = &z->e[i];
        if (dir_end - h < 46 || le32(h) != 0x02014b50) return BAD("zip: directory entry %llu", (unsigned long long)i);
        uint64_t name = le16(h + 28), extra = le16(h + 30), local = le32(h + 42);
        if (name + extra + le16(h + 32) > (uint64_t)(dir_end - h - 46))
            return BAD("zip: directory entry %llu runs past the end", (unsigned long long)i);
        int flags = le16(h + 8);
        *e = (hpt__zip_entry){.name = (const char *)h + 46,
                              .name_len = (int)name,
                              .method = le16(h + 10),
                              .packed = le32(h + 20),
                              .size = le32(h + 24),
                              .crc = le32(h + 16)};
        if (!zip64(h + 46 + name, extra, &e->size, &e->packed, &local))
            return BAD("zip: extra field of '%.*s'", e->name_len, e->name);
        if (flags & ~0x0808) return BAD("zip: '%.*s' is encrypted or has unknown flags", e->name_len, e->name);
        if (e->method != 0 && !(deflate && e->method == 8))
            return BAD("zip: '%.*s' has compression method %d", e->name_len, e->name, e->method);
        if (e->method == 0 && e->size != e->packed)
            return BAD("zip: '%.*s' is stored with two sizes", e->name_len, e->name);
        if (e->method == 8 && e->size / 1032 > e->packed)
            return BAD("zip: '%.*s' inflates more than deflate can", e->name_len, e->name);
        if (!name || name > 512 || memchr(e->name, 0, name) || e->name[0] == '/') return BAD("zip: bad entry name");
        for (uint64_t k = 0; k + 1 < name; k++)
            if (e->name[k] == '.' && e->name[k + 1] == '.' && (k + 2 == name || e->name[k + 2] == '/') &&
                (k == 0 || e->name[k - 1] == '/'))
                return BAD("zip: entry name with '..'");
        HPT_TRY(check_local(z, e, local, flags));
        if (local < previous || e->data + e->packed > at) return BAD("zip: entries overlap or are out of order");
        previous = e->data + e->packed;
        z->count++;
        h += 46 + name + extra + le16(h + 32);
    }
    return h == dir_end ? HPT_OK : BAD("zip: bytes after the last directory entry");
}

static int by_name(const void *a, const void *b) {
    const hpt__zip_entry *x = a, *y = b;
    int n = x->name_len < y->name_len ? x->name_len : y->name_len, c = memcmp(x->name, y->name, (size_t)n);
    return c ? c : x->name_len - y->name_len;
}

hpt_status hpt__zip_open(hpt__zip *z, const uint8_t *p, size_t n, int deflate) {
    memset(z, 0, sizeof *z);
    z->p = p;
    z->n = n;
    hpt_status st = parse(z, deflate);
    if (!st) {
        qsort(z->e, z->count, sizeof *z->e, by_name);
        for (uint32_t i = 1; i < z->count && !st; i++)
            if (!by_name(&z->e[i - 1], &z->e[i])) st = BAD("zip: '%.*s' occurs twice", z->e[i].name_len, z->e[i].name);
    }
    if (st) hpt__zip_close(z);
    return st;
}
void hpt__zip_close(hpt__zip *z) {
    hpt__free(z->e);
    memset(z, 0, sizeof *z);
}
hpt__zip_entry *hpt__zip_find(const hpt__zip *z, const char *name) {
    hpt__zip_entry key = {.name = name, .name_len = (int)strlen(name)};
    return z->count ? bsearch(&key, z->e, z->count, sizeof *z->e, by_name) : NULL;
}

hpt_status hpt__zip_stored(const hpt__zip *z, hpt__zip_entry *e, const uint8_t **data) {
    *data = z->p + e->data;
    if (e->method) return BAD("zip: '%.*s' is compressed; torch.load and torch.save it once", e->name_len, e->name);
    HPT_TRY(hpt__span_tick(0));
    if (!e->checked && !hpt__crc_is(*data, e->size, e->crc))
        return BAD("zip: wrong checksum of '%.*s'", e->name_len, e->name);
    e->checked = 1;
    return HPT_OK;
}
hpt_status hpt__zip_read(const hpt__zip *z, const hpt__zip_entry *e, uint8_t *out, uint64_t size) {
    if (size != e->size) return BAD("zip: size of '%.*s'", e->name_len, e->name);
    if (e->method == 0) memcpy(out, z->p + e->data, size);
    else {
        z_stream s;
        memset(&s, 0, sizeof s);
        if (inflateInit2(&s, -15) != Z_OK) return hpt__fail_memory(65536);
        uint64_t in = 0, done = 0;
        int r = Z_OK;
        while (r == Z_OK) {
            uint64_t left = e->packed - in, room = size - done;
            s.next_in = (Bytef *)(uintptr_t)(z->p + e->data + in);
            s.avail_in = left > 1u << 30 ? 1u << 30 : (uInt)left;
            s.next_out = out + done;
            s.avail_out = room > 1u << 30 ? 1u << 30 : (uInt)room;
            uInt in0 = s.avail_in, out0 = s.avail_out;
            r = inflate(&s, Z_NO_FLUSH);
            in += in0 - s.avail_in;
            done += out0 - s.avail_out;
            if (r == Z_OK && in0 == s.avail_in && out0 == s.avail_out) r = Z_BUF_ERROR;
        }
        inflateEnd(&s);
        if (r != Z_STREAM_END || done != size || in != e->packed)
            return BAD("zip: '%.*s' does not inflate to its size", e->name_len, e->name);
    }
    return hpt__crc_is(out, size, e->crc) ? HPT_OK : BAD("zip: wrong checksum of '%.*s'", e->name_len, e->name);
}

/* ---- writer ---- */

static void put16(uint8_t *p, uint32_t v) { p[0] = (uint8_t)v; p[1] = (uint8_t)(v >> 8); }
static void put32(uint8_t *p, uint32_t v) { put16(p, v); put16(p + 2, v >> 16); }
static void put64(uint8_t *p, uint64_t v) { put32(p, (uint32_t)v); put32(p + 4, (uint32_t)(v >> 32)); }

/* Sizes and offsets from here on are written in 64 bits; a test may lower it. */
enum { FULL16 = 0xffff };
static const uint32_t FULL32 = 0xffffffff;
static _Atomic uint64_t limit32 = 0xffffffff;
void hpt__zip_test_limit(uint64_t bytes) { limit32 = bytes ? bytes : FULL32; }

/* A value of 32 bits in a header; one that does not fit goes to the zip64 extra field at x, whose length is returned.
 */
static size_t put_size(uint8_t *header, uint8_t *x, size_t used, uint64_t v) {
    if (v < limit32) {
        put32(header, (uint32_t)v);
        return used;
    }
    put32(header, FULL32);
    put16(x, 1);
    if (!used) used = 4;
    put64(x + used, v);
    put16(x + 2, (uint32_t)(used + 8 - 4));
    return used + 8;
}

void hpt__zip_begin(hpt__zip_writer *z, hpt__writer *w) {
    memset(z, 0, sizeof *z);
    z->w = w;
}
void hpt__zip_add(hpt__zip_writer *z, const char *name, const void *data, uint64_t n) {
    size_t len = strlen(name);
    uint64_t at = z->w->at;
    if (z->failed) return;
    if (z->used + 46 + len + 28 > z->cap) {
        size_t cap = (z->cap + 46 + len + 28) * 2;
        uint8_t *d = hpt__realloc(z->dir, cap);
        if (!d) {
            z->failed = HPT_ERR_MEMORY;
            return;
        }
        z->dir = d;
        z->cap = cap;
    }
    uint8_t h[30] = {0}, wide[28] = {0}, pad[4 + 64] = {0};
    put32(h, 0x04034b50);
    put16(h + 6, 0x0800);
    put16(h + 12, 33);                                      /* 1980-01-01 */
    put32(h + 14, hpt__crc32(data, n));
    size_t extra = put_size(h + 22, wide, 0, n);
    extra = put_size(h + 18, wide, extra, n);
    size_t fill = (64 - (at + 30 + len + extra + 4) % 64) % 64;      /* padding field "FB", as PyTorch */
    put16(h + 4, extra ? 45 : 20);                          /* the version that can read it */
    put16(h + 26, (uint32_t)len);
    put16(h + 28, (uint32_t)(extra + 4 + fill));
    pad[0] = 'F';
    pad[1] = 'B';
    put16(pad + 2, (uint32_t)fill);
    memset(pad + 4, 'Z', fill);
    hpt__writer_put(z->w, h, 30);
    hpt__writer_put(z->w, name, len);
    hpt__writer_put(z->w, wide, extra);
    hpt__writer_put(z->w, pad, 4 + fill);
    hpt__writer_put(z->w, data, n);
    uint8_t *c = z->dir + z->used;
    memset(c, 0, 46);
    put32(c, 0x02014b50);
    put16(c + 4, 45);
    memcpy(c + 6, h + 4, 24);
    extra = put_size(c + 42, wide, extra, at);              /* behind the sizes, which are the same as there */
    put16(c + 6, extra ? 45 : 20);
    put16(c + 28, (uint32_t)len);
    put16(c + 30, (uint32_t)extra);
    memcpy(c + 46, name, len);
    memcpy(c + 46 + len, wide, extra);
    z->used += 46 + len + extra;
    z->count++;
}
hpt_status hpt__zip_end(hpt__zip_writer *z) {
    hpt_status st = z->failed ? hpt__fail_memory(z->cap * 2) : HPT_OK;
    uint8_t e[22] = {0}, wide[76] = {0};
    uint64_t at = z->w->at;
    int large = z->count >= FULL16 || z->used >= limit32 || at >= limit32;
    put32(wide, 0x06064b50);            /* the directory's record in 64 bits, and where it lies */
    put64(wide + 4, 44);
    put16(wide + 12, 45);
    put16(wide + 14, 45);
    put64(wide + 24, z->count);
    put64(wide + 32, z->count);
    put64(wide + 40, z->used);
    put64(wide + 48, at);
    put32(wide + 56, 0x07064b50);
    put64(wide + 64, at + z->used);
    put32(wide + 72, 1);
    put32(e, 0x06054b50);
    put16(e + 8, large ? FULL16 : z->count);
    put16(e + 10, large ? FULL16 : z->count);
    put32(e + 12, large ? FULL32 : (uint32_t)z->used);
    put32(e + 16, large ? FULL32 : (uint32_t)at);
    if (!st) {
        hpt__writer_put(z->w, z->dir, z->used);
        if (large) hpt__writer_put(z->w, wide, sizeof wide);
        hpt__writer_put(z->w, e, 22);
    }
    hpt__free(z->dir);
    z->dir = NULL;
    return st;
}
