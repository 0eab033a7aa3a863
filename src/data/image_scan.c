/* SPDX-License-Identifier: MIT
 * What an image is, by its first bytes or its name, and the walk over PNG chunks and JPEG markers. Everything a decoder
 * could be tricked with by structure alone ends here: lengths past the end, missing parts, absurd sizes, thousands of
 * scans. */
#include "data/image.h"
#include "core/checksum.h"
#include <string.h>
#include <strings.h>

#define BAD(...) hpt__fail(HPT_ERR_DATA, __VA_ARGS__)
static uint32_t be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static uint32_t le32(const uint8_t *p) {
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

hpt_status hpt__image_size(uint64_t w, uint64_t h, const hpt__image_limits *lim, hpt__image_info *info) {
    if (!w || !h || w > 65535 || h > 65535)
        return BAD("image size %llux%llu", (unsigned long long)w, (unsigned long long)h);
    if (w * h > lim->max_pixels)
        return BAD("image of %llux%llu pixels, over max_pixels=%llu", (unsigned long long)w, (unsigned long long)h,
                   (unsigned long long)lim->max_pixels);
    info->w = (int)w;
    info->h = (int)h;
    return HPT_OK;
}
uint64_t hpt__image_budget(size_t file, const hpt__image_info *info) {
    return (1u << 20) + 4 * (uint64_t)file + 16 * (uint64_t)info->w * (uint64_t)info->h;
}

static hpt_status png_header(const uint8_t *p, uint32_t len, const hpt__image_limits *lim, hpt__image_info *info) {
    if (len != 13) return BAD("PNG: IHDR of %u bytes", len);
    HPT_TRY(hpt__image_size(be32(p), be32(p + 4), lim, info));
    int depth = p[8], colour = p[9];
    int ok = (colour == 0 && (depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16)) ||
             (colour == 3 && (depth == 1 || depth == 2 || depth == 4 || depth == 8)) ||
             ((colour == 2 || colour == 4 || colour == 6) && (depth == 8 || depth == 16));
    if (!ok || p[10] || p[11] || p[12] > 1) return BAD("PNG: IHDR has depth %d, colour type %d", depth, colour);
    info->alpha = (colour & 4) != 0;
    return HPT_OK;
}

/* A lost tail (cut within or after the image data) is left to the decoder, which knows whether pixels are missing. */
static hpt_status scan_png(const uint8_t *d, size_t n, const hpt__image_limits *lim, hpt__image_info *info) {
    size_t at = 8;
    uint64_t idat = 0;
    int first = 1, colour = 0, palette = 0;
    for (;;) {
        uint32_t len = n - at < 8 ? 0 : be32(d + at);
        const uint8_t *type = d + at + 4;
        if (n - at < 12 || len > n - at - 12) {
            if (n - at > 8 && !memcmp(type, "IDAT", 4)) idat += n - at - 8;
            if (n - at < 12 && !idat) return BAD("PNG: cut at byte %zu", at);
            if (!idat || len > 16 * ((uint64_t)info->w + 1) * (uint64_t)info->h + 65536)
                return BAD("PNG: chunk at byte %zu runs past the end", at);
            info->cut = 1;
            break;
        }
        int data = !memcmp(type, "IDAT", 4);
        if (!(type[0] & 32) && !hpt__crc_is(type, len + 4ull, be32(d + at + 8 + len))) {
            if (!data || !lim->accept_cut) return BAD("PNG: wrong checksum of the chunk at byte %zu", at);
            info->cut = 1;
        }
        if (first != !memcmp(type, "IHDR", 4)) return BAD("PNG: IHDR is not the first chunk");
        if (first) {
            HPT_TRY(png_header(d + at + 8, len, lim, info));
            colour = d[at + 17];
            first = 0;
        } else if (!memcmp(type, "PLTE", 4)) {
            if (!len || len % 3 || len > 768) return BAD("PNG: palette of %u bytes", len);
            palette = 1;
        } else if (!memcmp(type, "tRNS", 4)) {
            info->alpha = 1;
        } else if (!memcmp(type, "eXIf", 4)) {
            info->orientation = hpt__exif_orientation(d + at + 8, len);
        } else if (data) {
            idat += len;
        } else if (!memcmp(type, "IEND", 4)) {
            break;
        }
        at += (size_t)len + 12;
    }
    if (!idat) return BAD("PNG: no image data");
    if (colour == 3 && !palette) return BAD("PNG: no palette");
    return HPT_OK;
}

typedef struct jpeg_walk { int frame, components, progressive, arithmetic, scans; } jpeg_walk;

static hpt_status jpeg_frame(int marker, const uint8_t *p, size_t len, const hpt__image_limits *lim,
                             hpt__image_info *info, jpeg_walk *s) {
    int process = marker - 0xc0;
    if (s->frame++) return BAD("JPEG: two frame headers");
    if (process == 3) return BAD("JPEG: the lossless process (SOF3) is not supported");
    if (process != 0 && process != 1 && process != 2 && process != 9 && process != 10)
        return BAD("JPEG: coding process SOF%d is not supported", process);
    if (len < 8) return BAD("JPEG: frame header of %zu bytes", len);
    if (p[0] != 8) return BAD("JPEG: precision of %d bits, only 8 are read", p[0]);
    HPT_TRY(hpt__image_size((uint64_t)p[3] << 8 | p[4], (uint64_t)p[1] << 8 | p[2], lim, info));
    int comps = p[5];
    if ((comps != 1 && comps != 3 && comps != 4) || len != 8 + 3 * (size_t)comps)
        return BAD("JPEG: %d components are not supported", comps);
    for (int i = 0; i < comps; i++) {
        int hs = p[7 + 3 * i] >> 4, vs = p[7 + 3 * i] & 15;
        if (hs < 1 || hs > 4 || vs < 1 || vs > 4) return BAD("JPEG: sampling factor %dx%d", hs, vs);
    }
    s->components = comps;
    s->progressive = process == 2 || process == 10;
    s->arithmetic = process > 2;
    return HPT_OK;
}
/* Each scan costs a pass over all coefficients. A sequential image has one for each component at most; a progressive
 * one of 1 Gpx in all, or 20. */
static int jpeg_many_scans(const hpt__image_info *info, const jpeg_walk *s) {
    uint64_t pixels = (uint64_t)info->w * (uint64_t)info->h, most = 1000000000u / pixels;
    if (!s->progressive) most = (uint64_t)s->components;
    else if (s->arithmetic || most < 20) most = 20;
    else if (most > 100) most = 100;
    return (uint64_t)s->scans > most;
}

static hpt_status scan_jpeg(const uint8_t *d, size_t n, const hpt__image_limits *lim, hpt__image_info *info) {
    size_t at = 2, start;
    jpeg_walk s = {0};
    int exif = 0;
    info->end = n;
    for (;;) {
        while (at < n && d[at] != 0xff) at++;          /* libjpeg skips garbage before a marker as well */
        start = at;
        while (at < n && d[at] == 0xff) at++;
        if (at >= n) {
            if (!s.scans) return BAD("JPEG: cut, no end-of-image marker");
            info->cut = 1;
            return HPT_OK;
        }
        int m = d[at++];
        if (m == 0xd9) {
            if (!s.scans) return BAD("JPEG: ends before any image data");
            info->end = at;
            return HPT_OK;
        }
        if (m == 0 || m == 1 || (m >= 0xd0 && m <= 0xd8)) continue;
        size_t len = n - at < 2 ? 0 : (size_t)d[at] << 8 | d[at + 1];
        if (n - at >= 2 && len < 2) return BAD("JPEG: segment at byte %zu has no length", at);
        if (n - at < 2 || len > n - at) {
            if (!s.scans) return BAD("JPEG: segment at byte %zu runs past the end", at);
            info->end = start;          /* half a header between scans: libjpeg sees whole segments only */
            info->cut = 1;
            return HPT_OK;
        }
        const uint8_t *p = d + at + 2;
        if (m >= 0xc0 && m <= 0xcf && m != 0xc4 && m != 0xc8 && m != 0xcc)
            HPT_TRY(jpeg_frame(m, p, len, lim, info, &s));
        else if (m == 0xe1 && !exif && len >= 8 && !memcmp(p, "Exif\0", 6)) {
            exif = 1;
            info->orientation = hpt__exif_orientation(p + 6, len - 8);
        } else if (m == 0xda) {
            if (!s.frame) return BAD("JPEG: scan before the frame header");
            s.scans++;
            if (jpeg_many_scans(info, &s)) return BAD("JPEG: too many scans");
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

/* A Windows bitmap's own header: its size, one plane, bits a pixel. Some .dib files begin with it. */
static int header_size(const uint8_t *p) {
    uint32_t size = le32(p);
    return size == 12 || size == 16 || (size >= 40 && size <= 124);
}
static int bitmap_header(const uint8_t *p, size_t n) {
    if (n < 16 || !header_size(p)) return 0;
    uint32_t size = le32(p);
    int core = size == 12, planes = core ? p[8] | p[9] << 8 : p[12] | p[13] << 8,
        bits = core ? p[10] | p[11] << 8 : p[14] | p[15] << 8;
    return planes == 1 && bits && bits <= 32;
}

hpt__image_kind hpt__image_kind_of(const uint8_t *d, size_t n) {
    static const uint8_t png[8] = {0x89, 'P', 'N', 'G', 13, 10, 26, 10};
    if (n >= 8 && !memcmp(d, png, 8)) return HPT__IMAGE_PNG;
    if (n >= 4 && d[0] == 0xff && d[1] == 0xd8 && d[2] == 0xff) return HPT__IMAGE_JPEG;
    if (n >= 4 &&
        (!memcmp(d, "II*\0", 4) || !memcmp(d, "MM\0*", 4) || !memcmp(d, "II+\0", 4) || !memcmp(d, "MM\0+", 4)))
        return HPT__IMAGE_TIFF;
    if (n >= 12 && !memcmp(d, "RIFF", 4) && !memcmp(d + 8, "WEBP", 4)) return HPT__IMAGE_WEBP;
    if (n >= 3 && d[0] == 'P' && d[1] >= '1' && d[1] <= '7' &&
        (d[2] == '#' || d[2] == ' ' || (d[2] >= 9 && d[2] <= 13)))
        return HPT__IMAGE_PNM;
    if (n >= 18 && d[0] == 'B' && d[1] == 'M' && header_size(d + 14)) return HPT__IMAGE_BMP;
    if (bitmap_header(d, n)) return HPT__IMAGE_BMP;
    return HPT__IMAGE_OTHER;
}

hpt_status hpt__image_scan(const uint8_t *d, size_t n, const hpt__image_limits *lim, hpt__image_info *info) {
    *info = (hpt__image_info){.orientation = 1};
    if (n > lim->max_bytes || n > 0x7fffffff) return BAD("image file of %zu bytes, over max_file_mb", n);
    if (!n) return BAD("the image file is empty");
    info->kind = hpt__image_kind_of(d, n);
    switch (info->kind) {
    case HPT__IMAGE_PNG: return scan_png(d, n, lim, info);
    case HPT__IMAGE_JPEG: return scan_jpeg(d, n, lim, info);
    case HPT__IMAGE_BMP: return hpt__bmp_scan(d, n, lim, info);
    case HPT__IMAGE_PNM: return hpt__pnm_scan(d, n, lim, info);
    case HPT__IMAGE_TIFF: return hpt__tiff_scan(d, n, lim, info);
    case HPT__IMAGE_WEBP: return hpt__webp_scan(d, n, lim, info);
    default: break;
    }
    if (n >= 6 && !memcmp(d, "GIF8", 4)) return BAD("GIF is not read: not a JPEG, PNG, BMP, PNM, TIFF or WebP image");
    if (n >= 3 && d[0] == 'P' && (d[1] == 'F' || d[1] == 'f'))
        return BAD("PFM (floating point) is not read: there is no rule for its levels");
    if (n >= 12 && !memcmp(d + 4, "ftyp", 4))
        return BAD("HEIF or AVIF is not read: not a JPEG, PNG, BMP, PNM, TIFF or WebP image");
    return BAD("not a JPEG, PNG, BMP, PNM, TIFF or WebP image");
}

/* ---- names ---- */

static const char *extension(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    return dot && dot > name && dot[1] ? dot + 1 : NULL;
}
static const char *among(const char *path, const char *const *ends) {
    const char *e = extension(path);
    for (; e && *ends; ends++)
        if (!strcasecmp(e, *ends)) return *ends;
    return NULL;
}
int hpt__image_name(const char *path) {
    static const char *const ends[] = {"jpg",  "jpeg", "jpe", "jfif", "jif", "jfi", "png", "apng", "bmp",
                                       "dib",  "pbm",  "pgm", "ppm",  "pnm", "pam", "tif", "tiff",
#ifdef HPT_HAVE_WEBP
                                       "webp",
#endif
                                       NULL};
    return among(path, ends) != NULL;
}
const char *hpt__image_unread(const char *path) {
    static const char *const ends[] = {
#ifndef HPT_HAVE_WEBP
        "webp",
#endif
        "gif",  "heic", "heif", "hif", "avif", "avifs", "jp2", "j2k", "j2c",  "jpx", "jpf",   "jpm", "jxl",  "jxr",
        "wdp",  "hdp",  "jls",  "psd", "psb",  "tga",   "dds", "exr", "hdr",  "pfm", "dng",   "cr2", "cr3",  "crw",
        "nef",  "nrw",  "arw",  "sr2", "srf",  "orf",   "rw2", "raf", "pef",  "srw", "raw",   "svg", "svgz", "ico",
        "cur",  "icns", "pcx",  "xcf", "kra",  "eps",   "wmf", "emf", "fits", "dcm", "dicom", "svs", "ndpi", "ecw",
        "sid",  "qoi",  "flif", "bpg", "ras",  "sgi",   "xbm", "xpm", "mng",  "jng", "iff",   "lbm", NULL};
    return among(path, ends);
}
int hpt__image_no_extension(const char *path) { return !extension(path); }
