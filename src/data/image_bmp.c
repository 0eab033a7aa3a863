/* SPDX-License-Identifier: MIT
 * BMP and DIB: the headers of OS/2 (12, 16, 64 bytes) and Windows (40 to 124), 1 to 32 bits, palettes, bit masks, RLE4
 * and RLE8, either row order. Levels as Pillow: a field of few bits is value * 255 / maximum, rounded down. Alpha only
 * where a header names its mask. */
#include "data/image.h"
#include <string.h>

#define BAD(...) hpt__fail(HPT_ERR_DATA, "BMP: " __VA_ARGS__)
enum { RAW, RLE8, RLE4, FIELDS, ALPHAFIELDS = 6 };
typedef struct bmp {
    uint64_t w, h;
    int bits, top_down, packing;
    uint32_t mask[4], colours, entry;   /* entry: bytes of a palette colour */
    size_t palette, pixels, row;        /* offsets; bytes of a row */
} bmp;

static uint32_t le16(const uint8_t *p) { return (uint32_t)p[1] << 8 | p[0]; }
static uint32_t le32(const uint8_t *p) { return le16(p + 2) << 16 | le16(p); }

static hpt_status masks(const uint8_t *d, size_t n, size_t base, uint32_t size, bmp *b) {
    /* behind a header of 40 bytes or within a longer one: the same place */
    size_t at = base + 40, count = b->packing == ALPHAFIELDS || size >= 56 ? 4 : 3;
    if (at > n || n - at < 4 * count) return BAD("cut in the bit masks");
    for (size_t i = 0; i < count; i++) b->mask[i] = le32(d + at + 4 * i);
    if (size < 52) b->palette = at + 4 * count;
    for (int i = 0; i < 4; i++) {
        uint32_t m = b->mask[i];
        while (m && !(m & 1)) m >>= 1;
        if (m & (m + 1)) return BAD("a bit mask of 0x%x has gaps", b->mask[i]);
    }
    return HPT_OK;
}
static hpt_status header(const uint8_t *d, size_t n, bmp *b) {
    size_t base = d[0] == 'B' ? 14 : 0;
    *b = (bmp){.entry = 4};
    uint32_t size = n < base + 12 ? 0 : le32(d + base);
    if (size < 12 || size > n - base || (size != 12 && size != 16 && size < 40) || size > 124)
        return BAD("header of %u bytes", size);
    const uint8_t *p = d + base;
    int64_t h = size == 12 ? (int64_t)le16(p + 6) : (int32_t)le32(p + 8);
    b->w = size == 12 ? le16(p + 4) : le32(p + 4);
    b->top_down = h < 0;
    b->h = (uint64_t)(h < 0 ? -h : h);
    b->bits = (int)le16(p + (size == 12 ? 10 : 14));
    if (size == 12) b->entry = 3;
    if (size >= 40) {
        uint32_t packing = le32(p + 16);
        if (size == 64 && packing > RLE4) return BAD("OS/2 compression %u is not supported", packing);
        if (packing > FIELDS && packing != ALPHAFIELDS) return BAD("compression %u is not supported", packing);
        b->packing = (int)packing;
        b->colours = le32(p + 32);
    }
    int bits = b->bits;
    if (bits != 1 && bits != 2 && bits != 4 && bits != 8 && bits != 16 && bits != 24 && bits != 32)
        return BAD("%d bits a pixel", bits);
    if ((b->packing == RLE8 && bits != 8) || (b->packing == RLE4 && bits != 4))
        return BAD("run lengths with %d bits a pixel", bits);
    if ((b->packing == RLE8 || b->packing == RLE4) && b->top_down) return BAD("run lengths from the top");
    b->palette = base + size;
    if (b->packing == FIELDS || b->packing == ALPHAFIELDS) {
        if (bits < 16) return BAD("bit masks with %d bits a pixel", bits);
        HPT_TRY(masks(d, n, base, size, b));
        b->packing = FIELDS;
    }
    if (!b->mask[0] && !b->mask[1] && !b->mask[2]) {
        b->mask[0] = bits == 16 ? 0x7c00 : 0xff0000;
        b->mask[1] = bits == 16 ? 0x3e0 : 0xff00;
        b->mask[2] = bits == 16 ? 0x1f : 0xff;
    }
    if (bits <= 8) {
        if (!b->colours || b->colours > 1u << bits) b->colours = 1u << bits;
    } else b->colours = 0;
    uint64_t offset = base ? le32(d + 10) : b->palette + (uint64_t)b->colours * b->entry;
    if (!offset) offset = b->palette + (uint64_t)b->colours * b->entry;
    if (offset < b->palette || offset > n)
        return BAD("the pixels would begin at byte %llu", (unsigned long long)offset);
    b->pixels = (size_t)offset;
    if ((uint64_t)b->colours * b->entry > offset - b->palette)
        b->colours = (uint32_t)((offset - b->palette) / b->entry); /* fewer are stored */
    return HPT_OK;
}

hpt_status hpt__bmp_scan(const uint8_t *d, size_t n, const hpt__image_limits *lim, hpt__image_info *info) {
    bmp b;
    HPT_TRY(header(d, n, &b));
    HPT_TRY(hpt__image_size(b.w, b.h, lim, info));
    uint64_t bits = b.w * (uint64_t)b.bits,
             need = (bits + 31) / 32 * 4 * (b.h - 1) + (bits + 7) / 8; /* the last row may lack its padding */
    info->cut = (b.packing == RAW || b.packing == FIELDS) && need > n - b.pixels;
    if (info->cut && (!lim->accept_cut || b.pixels == n)) return BAD("cut, pixels are missing");
    info->alpha = b.mask[3] != 0;
    return HPT_OK;
}

/* Index i of the palette; what lies beyond it is black. */
static void colour(const uint8_t *d, const bmp *b, uint32_t i, uint8_t *rgb) {
    if (i >= b->colours) return;
    const uint8_t *p = d + b->palette + (size_t)i * b->entry;
    rgb[0] = p[2];
    rgb[1] = p[1];
    rgb[2] = p[0];
}

/* Run lengths into palette indexes. 0 where the file ends before the end of the bitmap is said or reached. */
static int run_lengths(const uint8_t *d, size_t n, const bmp *b, uint8_t *rgb) {
    size_t at = b->pixels;
    uint64_t x = 0, y = 0;
    int half = b->packing == RLE4;
    while (y < b->h) {
        if (n - at < 2) return 0;
        uint32_t count = d[at], v = d[at + 1];
        const uint8_t *from = NULL;
        at += 2;
        if (!count && v == 0) x = 0, y++;
        else if (!count && v == 1) return 1;
        else if (!count && v == 2) {
            if (n - at < 2) return 0;
            x += d[at];
            y += d[at + 1];
            at += 2;
        } else {
            if (!count) {
                size_t bytes = half ? (v + 1) / 2 : v;
                if (bytes > n - at) return 0;
                from = d + at;
                count = v;
                at += bytes;
                if (bytes & 1 && at < n) at++;
            }
            for (uint32_t i = 0; i < count && x < b->w; i++, x++) {
                uint32_t byte = from ? from[half ? i / 2 : i] : v;
                colour(d, b, half ? i & 1 ? byte & 15 : byte >> 4 : byte, rgb + ((b->h - 1 - y) * b->w + x) * 3);
            }
        }
    }
    return 1;
}

static uint8_t field(uint32_t v, uint32_t mask) {
    if (!mask) return 0;
    while (!(mask & 1)) mask >>= 1, v >>= 1;
    return (uint8_t)((uint64_t)(v & mask) * 255 / mask);
}

hpt_status hpt__bmp_decode(const uint8_t *d, size_t n, const hpt__image_limits *lim, const hpt__image_info *info,
                           uint8_t *rgb, int *cut) {
    bmp b;
    HPT_TRY(header(d, n, &b));
    size_t w = (size_t)info->w, h = (size_t)info->h, row = (w * (size_t)b.bits + 31) / 32 * 4,
           used = (w * (size_t)b.bits + 7) / 8;
    if (b.packing == RLE8 || b.packing == RLE4) {
        for (size_t i = 0; i < w * h; i++) colour(d, &b, 0, rgb + 3 * i);
        *cut = !run_lengths(d, n, &b, rgb);
        return *cut && !lim->accept_cut ? BAD("cut, pixels are missing") : HPT_OK;
    }
    *cut = info->cut;
    for (size_t y = 0; y < h; y++) {
        const uint8_t *p = d + b.pixels + y * row;
        uint8_t *to = rgb + (b.top_down ? y : h - 1 - y) * w * 3;
        if (y * row + used > n - b.pixels) break;
        if (b.bits == 24 && b.packing == RAW) {
            for (size_t x = 0; x < w; x++)
                for (size_t c = 0; c < 3; c++) to[3 * x + c] = p[3 * x + 2 - c];
            continue;
        }
        for (size_t x = 0; x < w; x++) {
            if (b.bits <= 8) {
                size_t bit = x * (size_t)b.bits;
                colour(d, &b, (uint32_t)p[bit / 8] >> (8 - (size_t)b.bits - bit % 8) & ((1u << b.bits) - 1),
                       to + 3 * x);
                continue;
            }
            uint32_t v = 0;
            for (int i = b.bits / 8; i--;) v = v << 8 | p[x * (size_t)b.bits / 8 + (size_t)i];
            uint8_t px[4] = {field(v, b.mask[0]), field(v, b.mask[1]), field(v, b.mask[2]),
                             b.mask[3] ? field(v, b.mask[3]) : 255};
            hpt__image_flatten(px, 1, lim->alpha, to + 3 * x);
        }
    }
    return HPT_OK;
}
