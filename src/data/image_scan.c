/* SPDX-License-Identifier: MIT
 * Walks PNG chunks, JPEG markers, BMP and PNM headers. Everything a decoder could be tricked with by structure alone ends here: lengths
 * past the end, missing parts, absurd sizes, thousands of scans. */
#include "data/image.h"
#include "core/checksum.h"
#include <string.h>
#include <strings.h>

#define BAD(...) hpt__fail(HPT_ERR_DATA, __VA_ARGS__)
static uint32_t be32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }
static uint32_t le32(const uint8_t *p) { return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0]; }

static hpt_status check_size(uint64_t w, uint64_t h, const hpt__image_limits *lim, int *ow, int *oh) {
    if (!w || !h || w > 65535 || h > 65535) return BAD("image size %llux%llu", (unsigned long long)w, (unsigned long long)h);
    if (w * h > lim->max_pixels)
        return BAD("image of %llux%llu pixels, over max_pixels=%llu", (unsigned long long)w, (unsigned long long)h,
                   (unsigned long long)lim->max_pixels);
    *ow = (int)w;
    *oh = (int)h;
    return HPT_OK;
}

static hpt_status scan_png(const uint8_t *d, size_t n, const hpt__image_limits *lim, int *w, int *h) {
    size_t at = 8;
    uint64_t idat = 0;
    int first = 1, colour = 0, palette = 0;
    for (;;) {
        if (n - at < 12) return BAD("PNG: cut at byte %zu", at);
        uint32_t len = be32(d + at);
        const uint8_t *type = d + at + 4;
        if (len > n - at - 12) return BAD("PNG: chunk at byte %zu runs past the end", at);
        if (!(type[0] & 32) && !hpt__crc_is(type, len + 4ull, be32(d + at + 8 + len))) return BAD("PNG: wrong checksum of the chunk at byte %zu", at);
        if (first != !memcmp(type, "IHDR", 4)) return BAD("PNG: IHDR is not the first chunk");
        if (first) {
            const uint8_t *p = d + at + 8;
            if (len != 13) return BAD("PNG: IHDR of %u bytes", len);
            HPT_TRY(check_size(be32(p), be32(p + 4), lim, w, h));
            int depth = p[8];
            colour = p[9];
            int ok = (colour == 0 && (depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16)) ||
                     (colour == 3 && (depth == 1 || depth == 2 || depth == 4 || depth == 8)) ||
                     ((colour == 2 || colour == 4 || colour == 6) && (depth == 8 || depth == 16));
            if (!ok || p[10] || p[11] || p[12] > 1) return BAD("PNG: IHDR has depth %d, colour type %d", depth, colour);
            first = 0;
        } else if (!memcmp(type, "PLTE", 4)) {
            if (!len || len % 3 || len > 768) return BAD("PNG: palette of %u bytes", len);
            palette = 1;
        } else if (!memcmp(type, "IDAT", 4)) {
            idat += len;
        } else if (!memcmp(type, "IEND", 4)) {
            if (!idat) return BAD("PNG: no image data");
            if (colour == 3 && !palette) return BAD("PNG: no palette");
            return HPT_OK;
        }
        at += (size_t)len + 12;
    }
}

static hpt_status scan_jpeg(const uint8_t *d, size_t n, const hpt__image_limits *lim, int *w, int *h) {
    size_t at = 2;
    int frame = 0, scans = 0;
    uint64_t work = 0;
    for (;;) {
        while (at < n && d[at] != 0xff) at++;          /* libjpeg skips garbage before a marker as well */
        while (at < n && d[at] == 0xff) at++;
        if (at >= n) return BAD("JPEG: cut, no end-of-image marker");
        int m = d[at++];
        if (m == 0xd9) {
            if (!frame || !scans) return BAD("JPEG: ends before any image data");
            return HPT_OK;
        }
        if (m == 0 || m == 1 || (m >= 0xd0 && m <= 0xd8)) continue;
        if (n - at < 2) return BAD("JPEG: cut at byte %zu", at);
        size_t len = (size_t)d[at] << 8 | d[at + 1];
        if (len < 2 || len > n - at) return BAD("JPEG: segment at byte %zu runs past the end", at);
        const uint8_t *p = d + at + 2;
        if (m >= 0xc0 && m <= 0xcf && m != 0xc4 && m != 0xc8 && m != 0xcc) {
            if (frame++) return BAD("JPEG: two frame headers");
            if (m > 0xc2) return BAD("JPEG: coding process SOF%d is not supported", m - 0xc0);
            if (len < 8 || p[0] != 8) return BAD("JPEG: precision other than 8 bits");
            HPT_TRY(check_size((uint64_t)p[3] << 8 | p[4], (uint64_t)p[1] << 8 | p[2], lim, w, h));
            int comps = p[5];
            if ((comps != 1 && comps != 3 && comps != 4) || len != 8 + 3 * (size_t)comps) return BAD("JPEG: %d components", comps);
            for (int i = 0; i < comps; i++) {
                int hs = p[7 + 3 * i] >> 4, vs = p[7 + 3 * i] & 15;
                if (hs < 1 || hs > 4 || vs < 1 || vs > 4) return BAD("JPEG: sampling factor %dx%d", hs, vs);
            }
        } else if (m == 0xda) {
            if (!frame) return BAD("JPEG: scan before the frame header");
            work += (uint64_t)*w * (uint64_t)*h;
            if (++scans > 100 || work > 4000000000u) return BAD("JPEG: too many scans");
            at += len;
            while (at + 1 < n && !(d[at] == 0xff && d[at + 1] != 0 && !(d[at + 1] >= 0xd0 && d[at + 1] <= 0xd7))) {
                const uint8_t *next = memchr(d + at + 1, 0xff, n - at - 1);
                at = next ? (size_t)(next - d) : n;
            }
            continue;
        }
        at += len;
    }
}

static hpt_status scan_bmp(const uint8_t *d, size_t n, const hpt__image_limits *lim, int *w, int *h) {
    if (n < 54 || le32(d + 14) < 40 || le32(d + 14) > 124) return BAD("BMP: header");
    int32_t hh = (int32_t)le32(d + 22);
    int bits = d[28] | d[29] << 8;
    HPT_TRY(check_size(le32(d + 18), hh < 0 ? (uint64_t)-(int64_t)hh : (uint64_t)hh, lim, w, h));
    uint32_t packing = le32(d + 30);
    if (packing != 0 && packing != 3) return BAD("BMP: compression %u is not supported", packing);
    if (bits != 1 && bits != 4 && bits != 8 && bits != 16 && bits != 24 && bits != 32) return BAD("BMP: %d bits a pixel", bits);
    uint64_t row = ((uint64_t)*w * (uint64_t)bits + 31) / 32 * 4;
    if (le32(d + 10) > n || row * (uint64_t)*h > n - le32(d + 10)) return BAD("BMP: cut, pixels are missing");
    return HPT_OK;
}

hpt_status hpt__pnm_parse(const uint8_t *d, size_t n, const hpt__image_limits *lim, int *w, int *h, size_t *pixels) {
    size_t at = 2;
    uint64_t v[3];
    for (int i = 0; i < 3; i++) {
        for (;;) {
            if (at >= n) return BAD("PNM: cut in the header");
            if (d[at] == '#') while (at < n && d[at] != '\n') at++;
            else if (d[at] == ' ' || (d[at] >= 9 && d[at] <= 13)) at++;
            else break;
        }
        v[i] = 0;
        size_t start = at;
        while (at < n && d[at] >= '0' && d[at] <= '9' && at - start < 6) v[i] = v[i] * 10 + (uint64_t)(d[at++] - '0');
        if (at == start || (at < n && d[at] >= '0' && d[at] <= '9')) return BAD("PNM: a number is missing or too long in the header");
    }
    HPT_TRY(check_size(v[0], v[1], lim, w, h));
    if (v[2] != 255) return BAD("PNM: maximum %llu is not supported", (unsigned long long)v[2]);
    if (v[0] * v[1] * (d[1] == '6' ? 3 : 1) + 1 > n - at) return BAD("PNM: cut, pixels are missing");
    *pixels = at + 1;           /* one white-space byte after the maximum */
    return HPT_OK;
}

hpt_status hpt__image_scan(const uint8_t *d, size_t n, const hpt__image_limits *lim, hpt__image_kind *kind, int *w, int *h) {
    size_t pixels;
    static const uint8_t png[8] = {0x89, 'P', 'N', 'G', 13, 10, 26, 10};
    if (n > lim->max_bytes || n > 0x7fffffff) return BAD("image file of %zu bytes, over max_file_mb", n);
    if (n >= 8 && !memcmp(d, png, 8)) {
        *kind = HPT__IMAGE_PNG;
        return scan_png(d, n, lim, w, h);
    }
    if (n >= 4 && d[0] == 0xff && d[1] == 0xd8) {
        *kind = HPT__IMAGE_JPEG;
        return scan_jpeg(d, n, lim, w, h);
    }
    if (n >= 2 && d[0] == 'B' && d[1] == 'M') {
        *kind = HPT__IMAGE_BMP;
        return scan_bmp(d, n, lim, w, h);
    }
    if (n >= 3 && d[0] == 'P' && (d[1] == '5' || d[1] == '6')) {
        *kind = HPT__IMAGE_PNM;
        return hpt__pnm_parse(d, n, lim, w, h, &pixels);
    }
    if (n >= 4 && (!memcmp(d, "II*\0", 4) || !memcmp(d, "MM\0*", 4))) {
        uint64_t ww, hh;
        *kind = HPT__IMAGE_TIFF;
        HPT_TRY(hpt__tiff_size(d, n, &ww, &hh));
        return check_size(ww, hh, lim, w, h);
    }
    return BAD(n ? "not a JPEG, PNG, BMP, PNM or TIFF image" : "the image file is empty");
}

int hpt__image_name(const char *path) {
    static const char *const ends[] = {".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".pnm", ".tif", ".tiff"};
    const char *dot = strrchr(path, '.');
    if (dot)
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
            if (!strcasecmp(dot, ends[i])) return 1;
    return 0;
}
