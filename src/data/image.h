/* SPDX-License-Identifier: MIT
 * Decoding of untrusted image bytes. A pre-scan of our own looks at the structure and the limits before any decoder runs. */
#ifndef HPT__IMAGE_H
#define HPT__IMAGE_H
#include "core/status.h"

typedef struct hpt__image { int w, h; uint8_t *rgb; } hpt__image;      /* (h,w,3), owned */

typedef enum hpt__image_kind { HPT__IMAGE_JPEG, HPT__IMAGE_PNG, HPT__IMAGE_BMP, HPT__IMAGE_PNM, HPT__IMAGE_TIFF } hpt__image_kind;
typedef enum hpt__alpha { HPT__ALPHA_DROP, HPT__ALPHA_WHITE, HPT__ALPHA_BLACK } hpt__alpha;
typedef struct hpt__image_limits { uint64_t max_pixels, max_bytes; hpt__alpha alpha; } hpt__image_limits;

/* Structure and size; HPT_ERR_DATA with the reason. Reads nothing outside data. */
hpt_status hpt__image_scan(const uint8_t *data, size_t n, const hpt__image_limits *lim, hpt__image_kind *kind, int *w, int *h);
/* Pre-scan and decode. HPT_ERR_DATA (corrupt, over a limit, unknown format) or HPT_ERR_MEMORY; out is empty then. */
hpt_status hpt__image_decode(const uint8_t *data, size_t n, const hpt__image_limits *lim, hpt__image *out);
void hpt__image_free(hpt__image *im);
int hpt__image_name(const char *path);      /* 1 if the name ends like an image that we read */

/* Header of a binary PGM or PPM with 8 bits; pixels: offset of the first. The same parse serves scan and decoding. */
hpt_status hpt__pnm_parse(const uint8_t *data, size_t n, const hpt__image_limits *lim, int *w, int *h, size_t *pixels);

/* Baseline TIFF: uncompressed 8-bit strips, gray or RGB (image_tiff.c). */
hpt_status hpt__tiff_size(const uint8_t *data, size_t n, uint64_t *w, uint64_t *h);
hpt_status hpt__tiff_decode(const uint8_t *data, size_t n, int w, int h, uint8_t *rgb);

/* the decoders behind it: pixels of the size found by the scan */
hpt_status hpt__jpeg_decode(const uint8_t *data, size_t n, int w, int h, uint8_t *rgb);
hpt_status hpt__png_decode(const uint8_t *data, size_t n, int w, int h, uint8_t *rgba);
hpt_status hpt__stb_decode(const uint8_t *data, size_t n, int w, int h, uint8_t *rgba);
#endif
