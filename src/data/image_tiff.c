/* SPDX-License-Identifier: MIT
 * Baseline TIFF as the UC Merced set is made of: 8 bits, gray or RGB (further samples are passed over), uncompressed, chunky, in strips, either
 * byte order, first image of the file. Everything else is refused with its reason. */
#include "data/image.h"
#include "core/alloc.h"
#include <string.h>

#define BAD(...) hpt__fail(HPT_ERR_DATA, "TIFF: " __VA_ARGS__)
enum { WIDTH = 256, HEIGHT = 257, BITS = 258, COMPRESSION = 259, PHOTOMETRIC = 262, STRIP_OFFSETS = 273, SAMPLES = 277, STRIP_ROWS = 278, STRIP_BYTES = 279, PLANAR = 284, PREDICTOR = 317, TILES = 322 };

typedef struct tiff {
    const uint8_t *d;
    size_t n;
    int big;
    uint32_t width, height, compression, photometric, samples, rows, planar, strips;
    size_t offsets, bytes;              /* where the arrays of the strips lie */
    int offset_type, bytes_type;
} tiff;

static uint32_t u16(const tiff *t, size_t at) { return t->big ? (uint32_t)t->d[at] << 8 | t->d[at + 1] : (uint32_t)t->d[at + 1] << 8 | t->d[at]; }
static uint32_t u32(const tiff *t, size_t at) { return t->big ? u16(t, at) << 16 | u16(t, at + 2) : u16(t, at + 2) << 16 | u16(t, at); }
static uint32_t item(const tiff *t, size_t at, int type, uint32_t i) { return type == 3 ? u16(t, at + 2 * (size_t)i) : u32(t, at + 4 * (size_t)i); }

static hpt_status parse(const uint8_t *d, size_t n, tiff *t) {
    memset(t, 0, sizeof *t);
    t->d = d;
    t->n = n;
    t->big = n > 0 && d[0] == 'M';
    t->compression = t->samples = t->planar = 1;
    t->photometric = 9;
    t->rows = UINT32_MAX;
    if (n < 16) return BAD("cut");
    size_t at = u32(t, 4);
    if (at > n - 2 || u16(t, at) > (n - at - 2) / 12) return BAD("the directory lies outside the file");
    uint32_t tags = u16(t, at), counts = 0;
    for (uint32_t i = 0; i < tags; i++) {
        size_t e = at + 2 + 12 * (size_t)i;
        uint32_t tag = u16(t, e), type = u16(t, e + 2), count = u32(t, e + 4);
        if (type != 3 && type != 4) {       /* neither SHORT nor LONG: nothing that we need */
            if (tag == STRIP_OFFSETS || tag == STRIP_BYTES || tag == WIDTH || tag == HEIGHT) return BAD("a tag of an unexpected type");
            continue;
        }
        size_t size = type == 3 ? 2 : 4, where = count > 4 / size ? u32(t, e + 8) : e + 8;
        if (!count) return BAD("a tag without a value");
        if (where > n || count > (n - where) / size) return BAD("a tag points outside the file");
        uint32_t v = item(t, where, (int)type, 0);
        switch (tag) {
        case WIDTH: t->width = v; break;
        case HEIGHT: t->height = v; break;
        case BITS:
            for (uint32_t k = 0; k < count; k++)
                if (item(t, where, (int)type, k) != 8) return BAD("%u bits a sample, only 8 are read", item(t, where, (int)type, k));
            break;
        case COMPRESSION: t->compression = v; break;
        case PHOTOMETRIC: t->photometric = v; break;
        case SAMPLES: t->samples = v; break;
        case STRIP_ROWS: t->rows = v; break;
        case PLANAR: t->planar = v; break;
        case PREDICTOR: if (v != 1) return BAD("predictor %u is not supported", v); break;
        case TILES: return BAD("tiles are not supported");
        case STRIP_OFFSETS: t->offsets = where; t->offset_type = (int)type; t->strips = count; break;
        case STRIP_BYTES: t->bytes = where; t->bytes_type = (int)type; counts = count; break;
        default: break;
        }
    }
    if (t->compression != 1) return BAD("compression %u is not supported (convert the images to PNG)", t->compression);
    if (t->photometric > 2 || (t->photometric == 2 ? t->samples < 3 : t->samples < 1) || t->samples > 16) return BAD("%u samples of photometric %u are not supported", t->samples, t->photometric);
    if (t->planar != 1 && t->samples > 1) return BAD("separate planes are not supported");
    if (!t->width || !t->height || t->width > 65535 || t->height > 65535) return BAD("size %ux%u", t->width, t->height);
    if (!t->rows) return BAD("strips of no rows");
    if (t->rows > t->height) t->rows = t->height;
    if (!t->strips || counts != t->strips || t->strips != (t->height + t->rows - 1) / t->rows) return BAD("%u strips do not make %u rows", t->strips, t->height);
    uint64_t row = (uint64_t)t->width * t->samples;
    for (uint32_t s = 0; s < t->strips; s++) {
        uint32_t first = s * t->rows, rows = t->height - first < t->rows ? t->height - first : t->rows;
        uint64_t offset = item(t, t->offsets, t->offset_type, s), bytes = item(t, t->bytes, t->bytes_type, s);
        if (bytes < rows * row || offset > n || rows * row > n - offset) return BAD("cut, pixels of strip %u are missing", s);
    }
    return HPT_OK;
}

hpt_status hpt__tiff_size(const uint8_t *d, size_t n, uint64_t *w, uint64_t *h) {
    tiff t;
    HPT_TRY(parse(d, n, &t));
    *w = t.width;
    *h = t.height;
    return HPT_OK;
}
hpt_status hpt__tiff_decode(const uint8_t *d, size_t n, int w, int h, uint8_t *rgb) {
    tiff t;
    HPT_TRY(parse(d, n, &t));
    if ((int)t.width != w || (int)t.height != h) return BAD("size changed");
    uint8_t flip = t.photometric == 0 ? 255 : 0;        /* white is zero */
    for (int y = 0; y < h; y++) {
        uint32_t strip = (uint32_t)y / t.rows;
        const uint8_t *row = d + item(&t, t.offsets, t.offset_type, strip) + ((size_t)((uint32_t)y % t.rows) * (size_t)w) * t.samples;
        for (int x = 0; x < w; x++)
            for (int c = 0; c < 3; c++) rgb[((size_t)y * (size_t)w + (size_t)x) * 3 + (size_t)c] = row[(size_t)x * t.samples + (size_t)(t.photometric == 2 ? c : 0)] ^ flip;
    }
    return HPT_OK;
}
