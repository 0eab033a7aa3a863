/* SPDX-License-Identifier: MIT
 * Contract: arrays.h. IDX, npy and npz under limits; what clearly stands for bytes becomes bytes, labels become
 * int64, and the note says what was done. */
#include "io/arrays.h"
#include "core/alloc.h"
#include "io/zip.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#define BAD(...) hpt__fail(HPT_ERR_FORMAT, __VA_ARGS__)
enum { MAX_FILE = 0x7fffffff };
static const uint64_t max_array = 1ull << 33;
/* More than this and 128 times its packed size is no set of images but a bomb, or blank. */
static int inflates_too_much(uint64_t bytes, uint64_t packed) { return bytes > 64u << 20 && bytes / 128 > packed; }

void hpt__array_free(hpt__array *a) {
    hpt__free(a->p);
    memset(a, 0, sizeof *a);
}

/* One gzip member that fills the file; its own last four bytes say how long it inflates, and that is checked against
 * the dimensions before memory for it is taken. */
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
    if (got >= 4 && !head[0] && !head[1] && head[2] >= 9 && head[2] <= 14)
        return BAD("IDX: elements of type 0x%02x; only unsigned bytes (0x08) are read", head[2]);
    if (got < 8 || head[0] || head[1] || head[2] != 8 || head[3] < 1 || head[3] > 4 || got < 4 + 4 * (size_t)head[3])
        return BAD("IDX: not an IDX file of unsigned bytes");
    out->ndim = head[3];
    out->type = 'u';
    out->count = 1;
    for (int d = 0; d < out->ndim; d++) {
        out->shape[d] = (uint64_t)head[4 + 4 * d] << 24 | (uint64_t)head[5 + 4 * d] << 16 | (uint64_t)head[6 + 4 * d]
            << 8 | head[7 + 4 * d];
        if (__builtin_mul_overflow(out->count, out->shape[d], &out->count) || out->count > 1u << 30)
            return BAD("IDX: more than 1 GiB");
    }
    size_t header = 4 + 4 * (size_t)out->ndim, total = header + (size_t)out->count;
    if (gz) {
        uint32_t isize = (uint32_t)p[n - 4] | (uint32_t)p[n - 3] << 8 | (uint32_t)p[n - 2] << 16 | (uint32_t)p[n - 1]
            << 24;
        if (isize != total || total / 1032 > n) return BAD("IDX: the dimensions do not match the size");
        if (inflates_too_much(total, n)) return BAD("IDX: inflates to more than 128 times its size; unpack it");
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

/* ---- bytes of an entry, one after another, inflated on the way ---- */

typedef struct stream { const uint8_t *in; uint64_t left, room; int method, open, end; uint32_t crc; z_stream z;
} stream;

static hpt_status stream_begin(stream *s, const uint8_t *in, uint64_t packed, uint64_t size, int method) {
    memset(s, 0, sizeof *s);
    s->in = in;
    s->left = packed;
    s->room = size;
    s->method = method;
    if (method && inflateInit2(&s->z, -15) != Z_OK) return hpt__fail_memory(65536);
    s->open = method != 0;
    return HPT_OK;
}
static hpt_status stream_take(stream *s, void *to, uint64_t n) {
    uint8_t *out = to;
    if (n > s->room) return BAD("cut");
    s->room -= n;
    if (!s->method) {
        if (n > s->left) return BAD("cut");
        memcpy(to, s->in, (size_t)n);
        s->in += n;
        s->left -= n;
    }
    for (uint64_t todo = s->method ? n : 0; todo && !s->end;) {
        uInt in0 = s->left > 1u << 30 ? 1u << 30 : (uInt)s->left, out0 = todo > 1u << 30 ? 1u << 30 : (uInt)todo;
        s->z.next_in = (Bytef *)(uintptr_t)s->in;
        s->z.avail_in = in0;
        s->z.next_out = out;
        s->z.avail_out = out0;
        int r = inflate(&s->z, Z_NO_FLUSH);
        s->in += in0 - s->z.avail_in;
        s->left -= in0 - s->z.avail_in;
        out += out0 - s->z.avail_out;
        todo -= out0 - s->z.avail_out;
        s->end = r == Z_STREAM_END;
        if ((r != Z_OK && r != Z_STREAM_END) || (r == Z_OK && in0 == s->z.avail_in && out0 == s->z.avail_out) ||
            (s->end && todo)) return BAD("does not inflate to its size");
    }
    for (uint64_t at = 0; at < n; at += 1u << 30)
        s->crc = (uint32_t)crc32(s->crc, (uint8_t *)to + at, n - at > 1u << 30 ? 1u << 30 : (uInt)(n - at));
    return HPT_OK;
}
/* All was taken, and nothing is left behind it. */
static hpt_status stream_finish(stream *s) {
    uint8_t more;
    if (s->room) return BAD("bytes behind the array");
    if (s->method && !s->end) {
        s->z.next_in = (Bytef *)(uintptr_t)s->in;
        s->z.avail_in = s->left > 1u << 30 ? 1u << 30 : (uInt)s->left;
        s->z.next_out = &more;
        s->z.avail_out = 1;
        uInt in0 = s->z.avail_in;
        s->end = inflate(&s->z, Z_NO_FLUSH) == Z_STREAM_END && s->z.avail_out == 1;
        s->left -= in0 - s->z.avail_in;
    }
    return (s->method && !s->end) || s->left ? BAD("does not inflate to its size") : HPT_OK;
}
static void stream_close(stream *s) {
    if (s->open) inflateEnd(&s->z);
    s->open = 0;
}

/* ---- npy ---- */

/* bytes: of the header with all before it */
typedef struct npy_head { char kind; int size, big, fortran; uint64_t bytes; } npy_head;

/* The header is a Python literal {'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }: this reads just that. */
static int skip(const char **p, const char *word) {
    while (**p == ' ') (*p)++;
    size_t n = strlen(word);
    if (strncmp(*p, word, n)) return 0;
    *p += n;
    return 1;
}
static hpt_status header(const char *p, char descr[16], npy_head *h, hpt__array *a) {
    static const char *const plain = "npy: header is not a plain array's";
    int seen = 0;
    if (!skip(&p, "{")) return BAD("%s", plain);
    while (!skip(&p, "}")) {
        if (skip(&p, "'descr'")) {
            if (!skip(&p, ":")) return BAD("%s", plain);
            if (skip(&p, "["))
                return BAD("npy: an array of records; save one plain array of the images and one of the labels");
            if (!skip(&p, "'")) return BAD("%s", plain);
            size_t n = strcspn(p, "'");
            if (n > 15) return BAD("npy: element type '%.30s'", p);
            memcpy(descr, p, n);
            descr[n] = 0;
            p += n + (p[n] == '\'');
            seen |= 1;
        } else if (skip(&p, "'fortran_order'")) {
            if (!skip(&p, ":") || (!(h->fortran = skip(&p, "True")) && !skip(&p, "False"))) return BAD("%s", plain);
            seen |= 2;
        } else if (skip(&p, "'shape'")) {
            if (!skip(&p, ":") || !skip(&p, "(")) return BAD("%s", plain);
            a->ndim = 0;
            a->count = 1;
            while (!skip(&p, ")")) {
                uint64_t v = 0;
                while (*p == ' ') p++;
                if (*p < '0' || *p > '9') return BAD("%s", plain);
                if (a->ndim == 4) return BAD("npy: more than 4 dimensions");
                for (int digits = 0; *p >= '0' && *p <= '9'; p++)
                    if (++digits > 12) return BAD("npy: a dimension of more than 12 digits");
                    else v = v * 10 + (uint64_t)(*p - '0');
                p += *p == 'L';             /* Python 2 */
                a->shape[a->ndim++] = v;
                if (__builtin_mul_overflow(a->count, v, &a->count)) return BAD("npy: too many elements");
                skip(&p, ",");
            }
            seen |= 4;
        } else return BAD("%s", plain);
        skip(&p, ",");
    }
    return seen == 7 ? HPT_OK : BAD("%s", plain);
}
static hpt_status read_header(stream *s, int ints, npy_head *h, hpt__array *out) {
    uint8_t first[12];
    char text[1 << 14], descr[16] = "";
    memset(h, 0, sizeof *h);
    if (s->room < 12) return BAD("npy: not an npy array");
    HPT_TRY(stream_take(s, first, 10));
    if (memcmp(first, "\x93NUMPY", 6) || first[6] < 1 || first[6] > 3) return BAD("npy: not an npy array");
    uint64_t len = first[8] | (uint64_t)first[9] << 8;
    if (first[6] > 1) {
        HPT_TRY(stream_take(s, first + 10, 2));
        len |= (uint64_t)first[10] << 16 | (uint64_t)first[11] << 24;
    }
    h->bytes = (first[6] > 1 ? 12 : 10) + len;
    if (len >= sizeof text || len > s->room) return BAD("npy: header of %llu bytes", (unsigned long long)len);
    HPT_TRY(stream_take(s, text, len));
    text[len] = 0;
    HPT_TRY(header(text, descr, h, out));
    h->kind = descr[1];
    h->big = descr[0] == '>';
    h->size = descr[0] && descr[1] && descr[2] >= '1' && descr[2] <= '8' && !descr[3] ? descr[2] - '0' : 0;
    if (strchr(descr, 'O')) return BAD("npy: Python objects; save a plain array of numbers");
    if (h->kind == 'U' || h->kind == 'S')
        return BAD("npy: an array of words; %s", ints ? "labels of arrays are numbers (words can be in a list)"
                   : "images are numbers");
    int known = h->kind == 'f' ? h->size == 2 || h->size == 4 || h->size == 8 : h->kind == 'b' ? h->size == 1
        : (h->kind == 'u' || h->kind == 'i') && h->size && !(h->size & (h->size - 1));
    if (!known || !strchr("|<>=", descr[0]))
        return BAD("npy: element type '%s'; bytes, integers and floats are read", descr);
    if (out->count > max_array || out->count * (uint64_t)h->size != s->room)
        return BAD("npy: shape and number of bytes differ");
    return HPT_OK;
}

static double half(uint16_t v) {
    int e = v >> 10 & 31, m = v & 1023;
    double x = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return v >> 15 ? -x : x;
}
/* Element i of a block: its bits, little end first, and its value. */
static uint64_t bits_of(const npy_head *h, const uint8_t *p) {
    uint64_t v = 0;
    for (int b = 0; b < h->size; b++) v |= (uint64_t)p[h->big ? h->size - 1 - b : b] << 8 * b;
    if (h->kind == 'i' && h->size < 8 && v >> (8 * h->size - 1) & 1) v |= ~0ull << 8 * h->size;
    return v;
}
static double value_of(const npy_head *h, uint64_t v) {
    uint32_t w = (uint32_t)v;
    float f;
    double d;
    if (h->kind != 'f') return h->kind == 'i' ? (double)(int64_t)v : (double)v;
    if (h->size == 2) return half((uint16_t)v);
    memcpy(&f, &w, 4);
    memcpy(&d, &v, 8);
    return h->size == 4 ? (double)f : d;
}

typedef struct range { double low, high; int whole; } range;
enum { BLOCK = 1 << 13 };       /* elements at a time */
/* One pass over all elements. to NULL: only the range, for images. scale: times this, rounded. Labels: int64. */
static hpt_status pass(stream *s, const npy_head *h, int ints, uint64_t count, uint8_t *to, double scale, range *r) {
    uint8_t block[BLOCK * 8];
    *r = (range){INFINITY, -INFINITY, 1};
    for (uint64_t at = 0; at < count;) {
        uint64_t n = count - at < BLOCK ? count - at : BLOCK;
        HPT_TRY(stream_take(s, block, n * (uint64_t)h->size));
        for (uint64_t i = 0; i < n; i++) {
            uint64_t bits = bits_of(h, block + i * (uint64_t)h->size);
            double v = value_of(h, bits);
            if (ints) {
                int64_t whole = h->kind == 'f' ? 0 : (int64_t)bits;
                if (!(fabs(v) < 9e15) || (h->kind == 'f' && v != floor(v)))
                    return BAD("npy: label %g of image %llu is no whole number", v, (unsigned long long)(at + i));
                if (h->kind == 'f') whole = (int64_t)v;
                memcpy(to + 8 * (at + i), &whole, 8);
            } else if (to) to[at + i] = (uint8_t)(v * scale + 0.5);
            else {
                if (isnan(v)) return BAD("npy: element %llu is not a number", (unsigned long long)(at + i));
                if (v < r->low) r->low = v;
                if (v > r->high) r->high = v;
                r->whole &= v == floor(v);
            }
        }
        at += n;
    }
    return HPT_OK;
}

hpt_status hpt__array_permute(hpt__array *a, const int axes[4]) {
    uint64_t shape[4] = {1, 1, 1, 1}, stride[4] = {0}, size = a->type == 'i' ? 8 : 1, step = size;
    uint8_t *to = hpt__alloc((size_t)(a->count * size)), *out = to;
    if (!to) return hpt__fail_memory((size_t)(a->count * size));
    for (int d = a->ndim - 1; d >= 0; step *= a->shape[d--])
        for (int k = 0; k < a->ndim; k++)
            if (axes[k] == d) shape[4 - a->ndim + k] = a->shape[d], stride[4 - a->ndim + k] = step;
    for (uint64_t i = 0; i < shape[0]; i++)
        for (uint64_t j = 0; j < shape[1]; j++)
            for (uint64_t k = 0; k < shape[2]; k++) {
                const uint8_t *p = a->p + i * stride[0] + j * stride[1] + k * stride[2];
                for (uint64_t l = 0; l < shape[3]; l++, p += stride[3], out += size)
                    if (size == 1) *out = *p;
                    else memcpy(out, p, 8);
            }
    for (int d = 0; d < a->ndim; d++) a->shape[d] = shape[4 - a->ndim + d];
    hpt__free(a->p);
    a->p = to;
    return HPT_OK;
}

/* The elements of an entry, in the order of the file. */
static hpt_status elements(stream *s, const npy_head *h, int ints, hpt__array *out, const uint8_t *in, uint64_t packed,
                           uint64_t size, int method) {
    range r;
    out->type = ints ? 'i' : 'u';
    uint64_t bytes = out->count * (ints ? 8 : 1);
    if (inflates_too_much(out->count * (uint64_t)h->size, packed))
        return BAD("npy: inflates to more than 128 times its size; save it without compression");
    double scale = h->kind == 'b' ? 255 : 1;
    /* what its numbers mean is known when all are seen */
    if (!ints && h->kind != 'b' && !(h->kind == 'u' && h->size == 1)) {
        HPT_TRY(pass(s, h, 0, out->count, NULL, 0, &r));
        int unit = h->kind == 'f' && r.low >= 0 && r.high <= 1, byte = r.low >= 0 && r.high <= 255 &&
            (r.high > 2 || (h->kind != 'f' && r.high > 1));
        if (out->count && !unit && !byte)
            return BAD("npy: values from %g to %g, neither 0 to 255 nor floats 0 to 1; save the images as unsigned "
                       "bytes", r.low, r.high);
        scale = unit ? 255 : 1;
        if (unit) snprintf(out->note, sizeof out->note, "floats from %g to %g, times 255", r.low, r.high);
        else if (!r.whole)
            snprintf(out->note, sizeof out->note, "floats from %g to %g, rounded to bytes", r.low, r.high);
        HPT_TRY(stream_finish(s));
        stream_close(s);
        HPT_TRY(stream_begin(s, in, packed, size, method));
        uint8_t again[1 << 14];
        for (uint64_t left = h->bytes; left;) {
            uint64_t n = left < sizeof again ? left : sizeof again;
            HPT_TRY(stream_take(s, again, n));
            left -= n;
        }
    }
    if (!(out->p = hpt__alloc((size_t)bytes))) return hpt__fail_memory((size_t)bytes);
    if (!ints && h->kind == 'u' && h->size == 1) return stream_take(s, out->p, out->count);
    return pass(s, h, ints, out->count, out->p, scale, &r);
}
/* An array that fills an entry; crc: checked if there is one. */
static hpt_status npy(const uint8_t *in, uint64_t packed, uint64_t size, int method, const uint32_t *crc, int ints,
                      hpt__array *out) {
    static const int reversed[5][4] = {{0}, {0}, {1, 0}, {2, 1, 0}, {3, 2, 1, 0}};
    stream s;
    npy_head h;
    HPT_TRY(stream_begin(&s, in, packed, size, method));
    hpt_status st = read_header(&s, ints, &h, out);
    if (!st) st = elements(&s, &h, ints, out, in, packed, size, method);
    if (!st) st = stream_finish(&s);
    if (!st && crc && s.crc != *crc) st = BAD("wrong checksum");
    stream_close(&s);
    if (!st && h.fortran && out->ndim > 1) {
        for (int i = 0, j = out->ndim - 1; i < j; i++, j--) {
            uint64_t t = out->shape[i];
            out->shape[i] = out->shape[j];
            out->shape[j] = t;
        }
        st = hpt__array_permute(out, reversed[out->ndim]);
    }
    if (st) hpt__array_free(out);
    return st;
}
hpt_status hpt__npy_parse(const uint8_t *p, size_t n, int ints, hpt__array *out) {
    memset(out, 0, sizeof *out);
    return npy(p, n, n, 0, NULL, ints, out);
}

/* ---- npz ---- */

int hpt__array_partner(const char *images, char *labels, size_t size) {
    static const char *const pairs[][2] = {{"images", "labels"}, {"image", "label"}, {"imgs", "labels"},
                                           {"img", "label"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const char *at = strstr(images, pairs[i][0]);
        if (at)
            return snprintf(labels, size, "%.*s%s%s", (int)(at - images), images, pairs[i][1],
                            at + strlen(pairs[i][0])) < (int)size;
    }
    if ((*images == 'x' || *images == 'X') && (!images[1] || images[1] == '_'))
        return snprintf(labels, size, "y%s", images + 1) < (int)size;
    return 0;
}
static const hpt__zip_entry *array_called(const hpt__zip *z, const char *name) {
    char entry[256];
    snprintf(entry, sizeof entry, "%.200s.npy", name);
    return hpt__zip_find(z, entry);
}
/* Which arrays there are, and a pair that belongs together. */
static void arrays_text(const hpt__zip *z, char *text, size_t size, int propose) {
    char name[201], labels[220], pair[300] = "";
    size_t n = 0;
    *text = 0;
    for (uint32_t i = 0; i < z->count; i++) {
        const hpt__zip_entry *e = &z->e[i];
        if (e->name_len < 5 || e->name_len > 204 || memcmp(e->name + e->name_len - 4, ".npy", 4)) continue;
        snprintf(name, sizeof name, "%.*s", e->name_len - 4, e->name);
        if (n + 50 < size / 2) n += (size_t)snprintf(text + n, size - n, "%s%.40s", n ? ", " : "", name);
        if (hpt__array_partner(name, labels, sizeof labels) && array_called(z, labels) &&
            (!*pair || strstr(name, "train")))
            snprintf(pair, sizeof pair, " (options npz_images=%.60s npz_labels=%.60s)", name, labels);
    }
    if (propose && n + strlen(pair) < size) snprintf(text + n, size - n, "%s", pair);
    if (!*text) snprintf(text, size, "none");
}
hpt_status hpt__npz_parse(const uint8_t *p, size_t n, const char *name, int ints, hpt__array *out, int *found) {
    hpt__zip z;
    char text[300];
    memset(out, 0, sizeof *out);
    if (found) *found = 0;
    HPT_TRY(hpt__zip_open(&z, p, n, 1));
    const hpt__zip_entry *e = array_called(&z, name);
    hpt_status st = HPT_OK;
    if (!e) {
        arrays_text(&z, text, sizeof text, !found);
        if (!found) st = BAD("npz: no array '%.100s'; there are %s", name, text);
        else snprintf(out->note, sizeof out->note, "%s", text);
    } else if (e->size > max_array) st = BAD("npz: '%.100s' over 8 GiB", name);
    else {
        st = npy(p + e->data, e->packed, e->size, e->method, &e->crc, ints, out);
        if (st == HPT_ERR_FORMAT) st = hpt__fail_context(st, "npz: '%.100s'", name);
        if (found) *found = !st;
    }
    hpt__zip_close(&z);
    return st;
}
static hpt_status from_file(const char *path, const char *name, int ints, hpt__array *out, int *found) {
    hpt__bytes f;
    memset(out, 0, sizeof *out);
    HPT_TRY(hpt__file_read(path, max_array, &f));
    hpt_status st = name ? hpt__npz_parse(f.p, f.n, name, ints, out, found) : hpt__npy_parse(f.p, f.n, ints, out);
    hpt__free(f.p);
    return st ? hpt__fail_context(st, "%.400s", path) : HPT_OK;
}
hpt_status hpt__npz_read(const char *path, const char *name, int ints, hpt__array *out, int *found) {
    return from_file(path, name, ints, out, found);
}
hpt_status hpt__npy_read(const char *path, int ints, hpt__array *out) { return from_file(path, NULL, ints, out, NULL); }
