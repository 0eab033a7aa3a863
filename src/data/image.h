/* SPDX-License-Identifier: MIT
 * Decoding of untrusted image bytes. A pre-scan of our own looks at the structure and the limits before any decoder
 * runs. "As Pillow" means Image.open(f).convert('RGB') of Pillow 12.2, bit for bit where the format defines the pixels.
 */
#ifndef HPT__IMAGE_H
#define HPT__IMAGE_H
#include "core/status.h"

/* rgb: (h,w,3), owned. cut: pixels were lost and filled (truncated=accept) */
typedef struct hpt__image { int w, h; uint8_t *rgb; int cut; } hpt__image;

typedef enum hpt__image_kind {
    HPT__IMAGE_OTHER, HPT__IMAGE_JPEG, HPT__IMAGE_PNG, HPT__IMAGE_BMP, HPT__IMAGE_PNM, HPT__IMAGE_TIFF, HPT__IMAGE_WEBP
} hpt__image_kind;
typedef enum hpt__alpha { HPT__ALPHA_DROP, HPT__ALPHA_WHITE, HPT__ALPHA_BLACK } hpt__alpha;
typedef struct hpt__image_limits {
    uint64_t max_pixels, max_bytes;
    hpt__alpha alpha;
    int orient;             /* 1: turned as EXIF says (a TIFF always is) */
    int accept_cut;         /* 1: a file whose tail is lost gives what can be decoded; the rest is filled */
} hpt__image_limits;

/* What the pre-scan found. */
typedef struct hpt__image_info {
    hpt__image_kind kind;
    int w, h;               /* as stored, before turning */
    int orientation;        /* EXIF: 1..8; 1 where the file says nothing */
    int alpha;              /* transparency that option alpha could compose */
    int cut;                /* the file ends before its structure does; the decoder sees whether pixels are missing */
    uint64_t window;        /* TIFF: memory beyond the budget, for the window of LZMA or Zstandard; up to 9 MiB */
    size_t end;             /* JPEG: bytes that are whole segments. PNM: offset of the first pixel */
} hpt__image_info;

/* Structure and size; HPT_ERR_DATA with the reason. Reads nothing outside data. */
hpt_status hpt__image_scan(const uint8_t *data, size_t n, const hpt__image_limits *lim, hpt__image_info *info);
/* Pre-scan and decode. HPT_ERR_DATA (corrupt, over a limit, unknown format) or HPT_ERR_MEMORY; out is empty then. */
hpt_status hpt__image_decode(const uint8_t *data, size_t n, const hpt__image_limits *lim, hpt__image *out);
void hpt__image_free(hpt__image *im);

/* ---- names and first bytes (image_scan.c) ---- */
enum { HPT__IMAGE_HEAD = 32 };                                                  /* bytes that tell the kind */
/* By content: for files whose name has no extension. */
hpt__image_kind hpt__image_kind_of(const uint8_t *head, size_t n);
int hpt__image_name(const char *path);                  /* 1 if the name ends like an image that this build reads */
/* The extension, lower case without the point, of a name that ends like an image which this build does not read (gif,
 * heic, ...); else NULL. */
const char *hpt__image_unread(const char *path);
int hpt__image_no_extension(const char *path); /* 1 if the last part of the path has none: its first bytes decide */

/* ---- shared by the readers ---- */
hpt_status hpt__image_size(uint64_t w, uint64_t h, const hpt__image_limits *lim, hpt__image_info *info);
/* Size of the window of a compressed stream; *window stays where the stream is cut before it says (image_window.c). */
hpt_status hpt__zstd_window(const uint8_t *p, size_t n, uint64_t *window);
hpt_status hpt__xz_window(const uint8_t *p, size_t n, uint64_t *window);
/* Most bytes that working on an image may take: 1 MiB + 4 x file + 16 x pixels. */
uint64_t hpt__image_budget(size_t file, const hpt__image_info *info);
/* One pixel of inks c,m,y and the key as paper left white (255: none): as Pillow, which rounds each product. */
static inline void hpt__cmyk_pixel(int c, int m, int y, int white, uint8_t *rgb) {
    const int ink[3] = {c, m, y};
    for (int i = 0; i < 3; i++) {
        int v = ink[i] * white + 128;
        rgb[i] = (uint8_t)(white - (((v >> 8) + v) >> 8));
    }
}
/* Colour on a ground: white 255 or black 0. */
static inline uint8_t hpt__compose(int v, int a, int ground) {
    return (uint8_t)((v * a + ground * (255 - a) + 127) / 255);
}
/* RGBA to RGB: alpha dropped, as Pillow's convert('RGB') does, or composed on a ground. */
void hpt__image_flatten(const uint8_t *rgba, size_t n, hpt__alpha alpha, uint8_t *rgb);

/* ---- readers: pixels of the size found by the scan into rgb, zeroed before. *cut: pixels are missing (only with
 * lim->accept_cut) ---- */
hpt_status hpt__jpeg_decode(const uint8_t *data, size_t n, const hpt__image_limits *lim, const hpt__image_info *info,
                            uint8_t *rgb, int *cut);
hpt_status hpt__png_decode(const uint8_t *data, size_t n, const hpt__image_limits *lim, const hpt__image_info *info,
                           uint8_t *rgb, int *cut);
hpt_status hpt__stb_decode(const uint8_t *data, size_t n, const hpt__image_limits *lim, const hpt__image_info *info,
                           uint8_t *rgb, int *cut);
hpt_status hpt__pnm_scan(const uint8_t *data, size_t n, const hpt__image_limits *lim, hpt__image_info *info);
hpt_status hpt__pnm_decode(const uint8_t *data, size_t n, const hpt__image_limits *lim, const hpt__image_info *info,
                           uint8_t *rgb, int *cut);
hpt_status hpt__bmp_scan(const uint8_t *data, size_t n, const hpt__image_limits *lim, hpt__image_info *info);
hpt_status hpt__bmp_decode(const uint8_t *data, size_t n, const hpt__image_limits *lim, const hpt__image_info *info,
                           uint8_t *rgb, int *cut);
hpt_status hpt__tiff_scan(const uint8_t *data, size_t n, const hpt__image_limits *lim, hpt__image_info *info);
hpt_status hpt__tiff_decode(const uint8_t *data, size_t n, const hpt__image_limits *lim, const hpt__image_info *info,
                            uint8_t *rgb, int *cut);
hpt_status hpt__webp_scan(const uint8_t *data, size_t n, const hpt__image_limits *lim, hpt__image_info *info);
hpt_status hpt__webp_decode(const uint8_t *data, size_t n, const hpt__image_limits *lim, const hpt__image_info *info,
                            uint8_t *rgb, int *cut);
/* Orientation tag of an EXIF block (a TIFF directory); 1 if there is none or it cannot be read. */
int hpt__exif_orientation(const uint8_t *data, size_t n);
#endif
