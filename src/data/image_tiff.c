/* SPDX-License-Identifier: MIT
 * TIFF and BigTIFF, first image of the file. The directory is read here, once, whatever the compression: it decides
 * layout, colours and limits. Uncompressed strips and tiles are taken straight from the file, deflate is zlib's; for
 * all else libtiff serves as a codec, and as nothing more. Pixels as Pillow: RGB, alpha and CMYK of 16 bits by their
 * high byte, fewer bits scaled, palettes by their high byte, premultiplied colours divided by alpha. Gray of 9 to 16
 * bits is scaled (Pillow clips it at 255, so nearly white). */
#define _GNU_SOURCE
#include "data/image.h"
#include "core/alloc.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>
#ifdef HPT_HAVE_TIFF
#include <tiffio.h>
#endif

#define BAD(...) hpt__fail(HPT_ERR_DATA, "TIFF: " __VA_ARGS__)
enum {
    WIDTH = 256,
    HEIGHT = 257,
    BITS = 258,
    COMPRESSION = 259,
    PHOTOMETRIC = 262,
    FILL_ORDER = 266,
    STRIP_OFFSETS = 273,
    ORIENTATION = 274,
    SAMPLES = 277,
    STRIP_ROWS = 278,
    STRIP_BYTES = 279,
    PLANAR = 284,
    PREDICTOR = 317,
    COLOURS = 320,
    TILE_WIDTH = 322,
    TILE_HEIGHT = 323,
    TILE_OFFSETS = 324,
    TILE_BYTES = 325,
    EXTRA = 338,
    FORMAT = 339
};
enum { WHITE_IS_0, BLACK_IS_0, RGB, PALETTE, CMYK = 5, YCBCR };
enum { LZW = 5, JPEG = 7, DEFLATE = 8, PACKBITS = 32773, OLD_DEFLATE = 32946, LZMA = 34925, ZSTD = 50000 };
enum { MAX_SAMPLES = 8, MAX_ENTRIES = 32, MAX_JPEG_BLOCKS = 16384 };

/* values of a tag: where they lie in the file, bytes of each */
typedef struct array { uint64_t count; size_t at; int size; } array;
typedef struct tiff {
    const uint8_t *d;
    size_t n;
    int big_endian, big;
    uint64_t w, h, bits, compression, photometric, fill, orientation, samples, rows, planar, predictor, tile_w, tile_h,
        extra, format;
    array offsets, bytes, colours, extras;
    int tiled, planes;
    size_t entry, entries[MAX_ENTRIES];             /* bytes of an entry of the directory; where the needed ones lie */
    int n_entries;
    uint64_t bw, bh, across, down;      /* a strip or tile: pixels; how many make a plane */
    uint64_t row, block;                /* bytes of its row, and of one plane of it */
} tiff;

static uint64_t value(const tiff *t, size_t at, int size) {
    uint64_t v = 0;
    for (int i = 0; i < size; i++) v |= (uint64_t)t->d[at + (size_t)i] << 8 * (t->big_endian ? size - 1 - i : i);
    return v;
}
static uint64_t item(const tiff *t, const array *a, uint64_t i) {
    return value(t, a->at + (size_t)i * (size_t)a->size, a->size);
}

static int type_size(uint64_t type) {
    static const uint8_t size[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8};
    return type < sizeof size ? size[type] : 0;
}

/* The tags that decide pixels, ours and those of the codecs: fax options, predictor, JPEG tables, YCbCr. All others are
 * passed over, here and by libtiff, so that none of them costs anything. */
static int needed(uint64_t tag) {
    static const uint16_t tags[MAX_ENTRIES] = {
        WIDTH,       HEIGHT,  BITS,       COMPRESSION, PHOTOMETRIC,  FILL_ORDER, STRIP_OFFSETS,
        ORIENTATION, SAMPLES, STRIP_ROWS, STRIP_BYTES, PLANAR,       292,        293,
        PREDICTOR,   COLOURS, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES, EXTRA,
        FORMAT,      347,     529,        530,         531,          532};
    for (int i = 0; i < MAX_ENTRIES && tags[i]; i++)
        if (tags[i] == tag) return i;
    return -1;
}

/* Calls back for each needed entry of the first directory whose values lie in the file. Together they may not name much
 * more than the file holds. */
typedef hpt_status (*on_tag)(tiff *t, uint64_t tag, const array *a);
static hpt_status directory(tiff *t, on_tag fn) {
    t->big_endian = t->d[0] == 'M';
    t->big = t->d[t->big_endian ? 3 : 2] == 43;
    size_t header = t->big ? 16 : 8, word = t->big ? 8 : 4, head = t->big ? 8 : 2;
    uint64_t total = 0, seen = 0;
    t->entry = t->big ? 20 : 12;
    if (t->n < header + head) return BAD("cut");
    if (t->big && (value(t, 4, 2) != 8 || value(t, 6, 2)))
        return BAD("BigTIFF with offsets of %u bytes", (unsigned)value(t, 4, 2));
    uint64_t at = value(t, t->big ? 8 : 4, (int)word), tags;
    if (at < header || at > t->n - head) return BAD("the directory lies outside the file");
    tags = value(t, (size_t)at, (int)head);
    if (tags > (t->n - at - head) / t->entry) return BAD("the directory lies outside the file");
    for (uint64_t i = 0; i < tags; i++) {
        size_t e = (size_t)at + head + t->entry * (size_t)i;
        uint64_t tag = value(t, e, 2), count = value(t, e + 4, (int)word);
        array a = {count, 0, type_size(value(t, e + 2, 2))};
        int index = needed(tag);
        if (index < 0 || !a.size || !count || count > t->n / (uint64_t)a.size)
            continue; /* values outside of the file: as if it were not there */
        uint64_t bytes = count * (uint64_t)a.size,
                 where = bytes > word ? value(t, e + 4 + word, (int)word) : e + 4 + word;
        if (where > t->n || bytes > t->n - where) continue;
        if (seen >> index & 1) return BAD("tag %llu stands there twice", (unsigned long long)tag);
        total += bytes;
        if (total > 2 * (uint64_t)t->n) return BAD("the tags name more bytes than the file has");
        seen |= 1ull << index;
        t->entries[t->n_entries++] = e;
        a.at = (size_t)where;
        HPT_TRY(fn(t, tag, &a));
    }
    return HPT_OK;
}

static hpt_status image_tag(tiff *t, uint64_t tag, const array *a) {
    uint64_t v = item(t, a, 0);
    switch (tag) {
    case WIDTH: t->w = v; return HPT_OK;
    case HEIGHT: t->h = v; return HPT_OK;
    case COMPRESSION: t->compression = v; return HPT_OK;
    case PHOTOMETRIC: t->photometric = v; return HPT_OK;
    case FILL_ORDER: t->fill = v; return HPT_OK;
    case ORIENTATION: t->orientation = v; return HPT_OK;
    case SAMPLES: t->samples = v; return HPT_OK;
    case STRIP_ROWS: t->rows = v; return HPT_OK;
    case PLANAR: t->planar = v; return HPT_OK;
    case PREDICTOR: t->predictor = v; return HPT_OK;
    case TILE_WIDTH: t->tile_w = v; return HPT_OK;
    case TILE_HEIGHT: t->tile_h = v; return HPT_OK;
    case BITS:
    case FORMAT:
        *(tag == BITS ? &t->bits : &t->format) = v;
        if (a->count > MAX_SAMPLES)
            return BAD("%llu samples a pixel, up to %d are read", (unsigned long long)a->count, MAX_SAMPLES);
        for (uint64_t i = 1; i < a->count; i++)
            if (item(t, a, i) != v) return BAD("samples of different %s", tag == BITS ? "bits" : "formats");
        return HPT_OK;
    case EXTRA:
        t->extra = v;
        t->extras = *a;
        return HPT_OK;
    case COLOURS: t->colours = *a; return HPT_OK;
    case STRIP_OFFSETS:
    case TILE_OFFSETS:
        if (t->offsets.count) return BAD("two lists of offsets");
        t->tiled = tag == TILE_OFFSETS;
        t->offsets = *a;
        return HPT_OK;
    case STRIP_BYTES:
    case TILE_BYTES:
        if (t->bytes.count) return BAD("two lists of byte counts");
        t->bytes = *a;
        return HPT_OK;
    default: return HPT_OK;
    }
}

static void unless(uint64_t *v, uint64_t preset) { if (*v == UINT64_MAX) *v = preset; }

/* Which kinds of pixels are read. */
static hpt_status pixel_kind(tiff *t) {
    static const char *const formats[] = {"unknown", "unsigned", "signed", "floating-point",
                                          "untyped", "complex",  "complex"};
    unsigned long long p = t->photometric, s = t->samples, b = t->bits;
    if (t->format != 1 && t->format != 4 &&
        !(t->format == 2 && b == 8 && p <= BLACK_IS_0)) /* signed bytes: as Pillow, as if unsigned */
        return BAD("%s samples of %llu bits are not read: convert the images to 8 bits",
                   t->format < 7 ? formats[t->format] : formats[0], b);
    if (!s || s > MAX_SAMPLES) return BAD("%llu samples a pixel, up to %d are read", s, MAX_SAMPLES);
    if (p == RGB ? s < 3 : p == CMYK ? s < 4 : p == YCBCR ? s != 3 && s != 1 : p > PALETTE)
        return BAD("%llu samples of photometric interpretation %llu are not supported", s, p);
    int gray = p <= BLACK_IS_0, small = b == 1 || b == 2 || b == 4 || b == 8;
    if (gray ? !small && b != 12 && b != 16 : p == PALETTE ? !small : p == YCBCR ? b != 8 : b != 8 && b != 16)
        return BAD("%llu bits a sample of photometric interpretation %llu are not supported", b, p);
    if (p == YCBCR && t->planar == 2) return BAD("YCbCr in separate planes is not supported");
    if (p == PALETTE && (t->colours.count < 3u << b || t->colours.size != 2)) return BAD("no palette, or a short one");
    return HPT_OK;
}
static hpt_status layout(tiff *t) {
    if (t->tiled) {
        if (t->tile_w == UINT64_MAX || t->tile_h == UINT64_MAX || !t->tile_w || !t->tile_h || t->tile_w > 65535 ||
            t->tile_h > 65535)
            return BAD("tiles without a size");
        t->bw = t->tile_w;
        t->bh = t->tile_h;
    } else {
        if (!t->rows) return BAD("strips of no rows");
        t->bw = t->w;
        t->bh = t->rows < t->h ? t->rows : t->h;
    }
    t->planes = t->planar == 2 ? (int)t->samples : 1;
    t->across = (t->w + t->bw - 1) / t->bw;
    t->down = (t->h + t->bh - 1) / t->bh;
    t->row = (t->bw * t->bits * (t->samples / (uint64_t)t->planes) + 7) / 8;
    t->block = t->row * t->bh;
    uint64_t blocks = t->across * t->down * (uint64_t)t->planes;
    if (t->offsets.count < blocks)
        return BAD("%llu %s do not make %llux%llu pixels", (unsigned long long)t->offsets.count,
                   t->tiled ? "tiles" : "strips", (unsigned long long)t->w, (unsigned long long)t->h);
    if (t->bytes.count ? t->bytes.count < blocks : t->compression != 1 && blocks > 1)
        return BAD("%llu byte counts for %llu strips or tiles", (unsigned long long)t->bytes.count,
                   (unsigned long long)blocks);
    if (t->compression == JPEG && blocks > MAX_JPEG_BLOCKS)
        return BAD("%llu JPEG strips or tiles", (unsigned long long)blocks);
    return HPT_OK;
}

#ifdef HPT_HAVE_TIFF
/* Codecs that libtiff may have and whose work and memory the size of the pixels bounds. */
static const char *codec(uint64_t compression) {
    static const struct { int number; const char *name; } names[] =
        {{2, "CCITT RLE"},     {3, "CCITT G3"},        {4, "CCITT G4"}, {LZW, "LZW"},        {JPEG, "JPEG"},
                 {32771, "CCITT RLE"}, {PACKBITS, "PackBits"}, {LZMA, "LZMA"},  {ZSTD, "Zstandard"}, {50001, "WebP"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if ((uint64_t)names[i].number == compression) return names[i].name;
    return NULL;
}
#endif

/* Bytes that the file has of block i (of which it may say nothing if there is one), and whether that is all of them. */
static const uint8_t *stored(const tiff *t, uint64_t i, uint64_t preset, uint64_t *bytes, int *whole) {
    uint64_t at = item(t, &t->offsets, i), left = at < t->n ? t->n - at : 0, named = preset < left ? preset : left;
    if (t->bytes.count) named = item(t, &t->bytes, i);
    *bytes = named < left ? named : left;
    *whole = named <= left;
    return t->d + (left ? at : 0);
}
#ifdef HPT_HAVE_TIFF
static hpt_status windows(const tiff *t, hpt__image_info *info) {
    info->window = 0;
    for (uint64_t i = 0; i < t->across * t->down * (uint64_t)t->planes; i++) {
        uint64_t bytes, window = 0;
        int whole;
        const uint8_t *p = stored(t, i, UINT64_MAX, &bytes, &whole);
        HPT_TRY(t->compression == LZMA ? hpt__xz_window(p, (size_t)bytes, &window)
                                       : hpt__zstd_window(p, (size_t)bytes, &window));
        if (window > info->window) info->window = window;
    }
    if (info->window > 8u << 20)
        return BAD("compressed with a window of %llu MiB, up to 8 are read", (unsigned long long)info->window >> 20);
    if (info->window) info->window += 1 << 20;              /* and the decoder itself */
    return HPT_OK;
}
#endif

static hpt_status parse(const uint8_t *d, size_t n, const hpt__image_limits *lim, hpt__image_info *info, tiff *t) {
    const uint64_t no = UINT64_MAX;
    *t = (tiff){.d = d,
                .n = n,
                .w = no,
                .h = no,
                .bits = no,
                .compression = no,
                .photometric = no,
                .fill = no,
                .orientation = no,
                .samples = no,
                .rows = no,
                .planar = no,
                .predictor = no,
                .tile_w = no,
                .tile_h = no,
                .extra = no,
                .format = no};
    HPT_TRY(directory(t, image_tag));
    unless(&t->bits, 1);
    unless(&t->compression, 1);
    unless(&t->fill, 1);
    unless(&t->orientation, 1);
    unless(&t->samples, 1);
    unless(&t->planar, 1);
    unless(&t->predictor, 1);
    unless(&t->extra, 0);
    unless(&t->format, 1);
    unless(&t->photometric, t->samples >= 3 ? RGB : WHITE_IS_0);
    if (t->w == no || t->h == no) return BAD("no size");
    HPT_TRY(hpt__image_size(t->w, t->h, lim, info));
    int own = t->compression == 1 || t->compression == DEFLATE || t->compression == OLD_DEFLATE;
#ifdef HPT_HAVE_TIFF
    if (!own && !codec(t->compression))
        return BAD("compression %llu is not supported (convert the images to PNG)", (unsigned long long)t->compression);
    if (!own && !TIFFIsCODECConfigured((uint16_t)t->compression))
        return BAD("%s compression is not in this libtiff", codec(t->compression));
#else
    if (!own)
        return BAD("compression %llu is not supported in a build without libtiff (convert the images to PNG)",
                   (unsigned long long)t->compression);
    if (t->photometric == YCBCR && t->samples == 3) return BAD("YCbCr is not supported in a build without libtiff");
#endif
    if (!t->offsets.count) return BAD("no image data");
    if (t->compression != 1 && own && t->predictor != 1 && (t->predictor != 2 || (t->bits != 8 && t->bits != 16)))
        return BAD("predictor %llu for %llu bits is not supported", (unsigned long long)t->predictor,
                   (unsigned long long)t->bits);
    HPT_TRY(pixel_kind(t));
    HPT_TRY(layout(t));
    /* beside the pixels: one block of all planes, once from the file and once unpacked */
    if (t->block * (uint64_t)t->planes > hpt__image_budget(n, info) - 2 * n - 3 * t->w * t->h)
        return BAD("strips or tiles of %llux%llu are far larger than the image", (unsigned long long)t->bw,
                   (unsigned long long)t->bh);
#ifdef HPT_HAVE_TIFF
    if (t->compression == LZMA || t->compression == ZSTD) HPT_TRY(windows(t, info));
#endif
    info->orientation = t->orientation >= 1 && t->orientation <= 8 ? (int)t->orientation : 1;
    return HPT_OK;
}

/* 1 associated, 2 plain alpha, 0 none; in *at its sample. */
static int alpha_sample(const tiff *t, uint64_t *at) {
    *at = t->photometric == RGB ? 3 : 1;
    if ((t->photometric != RGB && t->photometric > BLACK_IS_0) || t->samples <= *at) return 0;
    if (!t->extras.count)
        return t->photometric == RGB && t->samples == 4 ? 2 : 0; /* a file that does not say: as Pillow */
    return t->extra == 1 ? 1 : t->extra == 2 || t->extra == 999 ? 2 : 0;                /* 999: Corel Draw */
}

hpt_status hpt__tiff_scan(const uint8_t *d, size_t n, const hpt__image_limits *lim, hpt__image_info *info) {
    tiff t;
    uint64_t at;
    HPT_TRY(parse(d, n, lim, info, &t));
    info->alpha = alpha_sample(&t, &at) != 0;
    return HPT_OK;
}

static hpt_status orientation_tag(tiff *t, uint64_t tag, const array *a) {
    if (tag == ORIENTATION) t->orientation = item(t, a, 0);
    return HPT_OK;
}
int hpt__exif_orientation(const uint8_t *d, size_t n) {
    tiff t = {.d = d, .n = n, .orientation = 1};
    if (n < 8 || (memcmp(d, "II*\0", 4) && memcmp(d, "MM\0*", 4)) || directory(&t, orientation_tag)) return 1;
    return t.orientation >= 1 && t.orientation <= 8 ? (int)t.orientation : 1;
}

/* ---- blocks: a strip or a tile of one plane as the codec leaves it ---- */

typedef struct source {
    const tiff *t;
    int swapped;            /* 16-bit samples are big-endian */
    int no_memory;
#ifdef HPT_HAVE_TIFF
    TIFF *tif;
    uint64_t pos;
    uint8_t header[16], directory[8 + 20 * MAX_ENTRIES + 8];    /* what libtiff sees instead of the file's */
    size_t header_n, directory_n;
    char text[200];
#endif
} source;

static void reverse_bits(uint8_t *p, uint64_t n) {
    for (uint64_t k = 0; k < n; k++) {
        uint8_t v = p[k];
        v = (uint8_t)((v & 0xf0) >> 4 | (v & 0x0f) << 4);
        v = (uint8_t)((v & 0xcc) >> 2 | (v & 0x33) << 2);
        p[k] = (uint8_t)((v & 0xaa) >> 1 | (v & 0x55) << 1);
    }
}
/* Each returns 1: whole, 0: pixels are missing; *to was zeroed. */
static int plain_block(const tiff *t, uint64_t i, uint8_t *to, uint64_t want) {
    uint64_t bytes;
    int whole;
    const uint8_t *from = stored(t, i, want, &bytes, &whole);
    if (bytes > want) bytes = want;
    memcpy(to, from, (size_t)bytes);
    if (t->fill == 2) reverse_bits(to, bytes);
    return bytes == want;
}

static void *zget(void *s, unsigned n, unsigned size) {
    void *p = hpt__calloc(n, size);
    if (!p) ((source *)s)->no_memory = 1;
    return p;
}
static void zput(void *s, void *p) {
    (void)s;
    hpt__free(p);
}
/* zlib, and differences of neighbours summed up. libtiff is not asked because, with libdeflate, it does not notice a
 * stream that ends early. */
static int inflated_block(source *s, uint64_t i, uint8_t *to, uint64_t want) {
    const tiff *t = s->t;
    z_stream z = {.zalloc = zget, .zfree = zput, .opaque = s};
    uint64_t bytes, step = t->samples / (uint64_t)t->planes;
    int whole;
    const uint8_t *from = stored(t, i, UINT64_MAX, &bytes, &whole);
    if (inflateInit(&z) != Z_OK) return 0;
    z.next_in = (z_const Bytef *)from;
    z.avail_in = (uInt)bytes;
    z.next_out = to;
    z.avail_out = (uInt)want;
    int code = inflate(&z, Z_FINISH);
    uint64_t done = want - z.avail_out, rows = done / t->row;
    inflateEnd(&z);
    for (uint64_t y = 0; y < rows && t->predictor == 2; y++) {
        uint8_t *p = to + y * t->row;
        if (t->bits == 8)
            for (uint64_t k = step; k < t->row; k++) p[k] = (uint8_t)(p[k] + p[k - step]);
        else
            for (uint64_t k = step; k < t->row / 2; k++) {
                unsigned lo = t->big_endian ? 1 : 0, v = p[2 * k + lo] + 256u * p[2 * k + 1 - lo] +
                                                         p[2 * (k - step) + lo] + 256u * p[2 * (k - step) + 1 - lo];
                p[2 * k + lo] = (uint8_t)v;
                p[2 * k + 1 - lo] = (uint8_t)(v >> 8);
            }
    }
    if (t->predictor == 2) memset(to + rows * t->row, 0, (size_t)(want - rows * t->row));
    return done == want && (code == Z_STREAM_END || code == Z_BUF_ERROR);
}

#ifdef HPT_HAVE_TIFF
/* libtiff's file: ours, with a header that leads to a directory of the needed entries alone, which lies behind the last
 * byte. */
static void make_directory(source *s) {
    const tiff *t = s->t;
    size_t header = t->big ? 16 : 8, word = t->big ? 8 : 4, head = t->big ? 8 : 2;
    memcpy(s->header, t->d, header);
    for (size_t i = 0; i < word; i++)
        s->header[header - word + i] = (uint8_t)(t->n >> 8 * (t->big_endian ? word - 1 - i : i));
    s->directory[t->big_endian ? head - 1 : 0] = (uint8_t)t->n_entries;
    for (int i = 0; i < t->n_entries; i++)
        memcpy(s->directory + head + t->entry * (size_t)i, t->d + t->entries[i], t->entry);
    s->header_n = header;
    s->directory_n = head + t->entry * (size_t)t->n_entries + word;
}
static tmsize_t take(thandle_t h, void *to, tmsize_t bytes) {
    source *s = h;
    tmsize_t done = 0;
    while (done < bytes && s->pos < s->t->n + s->directory_n) {
        uint64_t n = s->t->n, at = s->pos, end = n + s->directory_n;
        const uint8_t *from = s->directory + (at < n ? 0 : at - n);
        if (at < n) from = s->t->d + at, end = n;
        if (at < s->header_n) from = s->header + at, end = s->header_n;
        uint64_t k = end - at < (uint64_t)(bytes - done) ? end - at : (uint64_t)(bytes - done);
        memcpy((uint8_t *)to + done, from, (size_t)k);
        s->pos += k;
        done += (tmsize_t)k;
    }
    return done;
}
static tmsize_t no_write(thandle_t h, void *from, tmsize_t bytes) { (void)h; (void)from; (void)bytes; return 0; }
static toff_t seek(thandle_t h, toff_t to, int whence) {
    source *s = h;
    s->pos = whence == SEEK_CUR ? s->pos + to : whence == SEEK_END ? s->t->n + s->directory_n + to : to;
    return s->pos;
}
static int shut(thandle_t h) { (void)h; return 0; }
static toff_t length(thandle_t h) { return ((source *)h)->t->n + ((source *)h)->directory_n; }
static int say(TIFF *tif, void *user, const char *module, const char *fmt, va_list ap) {
    source *s = user;
    (void)tif;
    (void)module;
    if (!s->text[0]) vsnprintf(s->text, sizeof s->text, fmt, ap);
    return 1;
}
static int hush(TIFF *tif, void *user, const char *module, const char *fmt, va_list ap) {
    (void)tif;
    (void)user;
    (void)module;
    (void)fmt;
    (void)ap;
    return 1;
}

/* libtiff's view of the file must be ours. */
static int same_view(source *s) {
    const tiff *t = s->t;
    uint32_t w = 0, h = 0, tw = 0, th = 0;
    uint16_t bits = 1, samples = 1, planar = 1, compression = 1, photometric = 0;
    TIFFGetField(s->tif, TIFFTAG_IMAGEWIDTH, &w);
    TIFFGetField(s->tif, TIFFTAG_IMAGELENGTH, &h);
    TIFFGetField(s->tif, TIFFTAG_TILEWIDTH, &tw);
    TIFFGetField(s->tif, TIFFTAG_TILELENGTH, &th);
    TIFFGetFieldDefaulted(s->tif, TIFFTAG_BITSPERSAMPLE, &bits);
    TIFFGetFieldDefaulted(s->tif, TIFFTAG_SAMPLESPERPIXEL, &samples);
    TIFFGetFieldDefaulted(s->tif, TIFFTAG_PLANARCONFIG, &planar);
    TIFFGetFieldDefaulted(s->tif, TIFFTAG_COMPRESSION, &compression);
    int has = TIFFGetField(s->tif, TIFFTAG_PHOTOMETRIC, &photometric);
    return w == t->w && h == t->h && bits == t->bits && samples == t->samples && planar == t->planar &&
           compression == t->compression && (!has || photometric == t->photometric) &&
           !TIFFIsTiled(s->tif) == !t->tiled && (!t->tiled || (tw == t->tile_w && th == t->tile_h));
}
static hpt_status open_codec(source *s, uint64_t budget) {
    TIFFOpenOptions *o = TIFFOpenOptionsAlloc();
    if (!o) return hpt__fail_memory(0);
    make_directory(s);
    TIFFOpenOptionsSetMaxSingleMemAlloc(o, (tmsize_t)(budget < INT64_MAX ? budget : INT64_MAX));
    TIFFOpenOptionsSetErrorHandlerExtR(o, say, s);
    TIFFOpenOptionsSetWarningHandlerExtR(o, hush, s);
    s->tif = TIFFClientOpenExt("", "rm", s, take, no_write, seek, shut, length, NULL, NULL, o);
    TIFFOpenOptionsFree(o);
    if (!s->tif && strcasestr(s->text, "out of memory")) return hpt__fail_memory(0);
    if (!s->tif) return BAD("%s", s->text[0] ? s->text : "the directory is damaged");
    if (!same_view(s)) return BAD("two readings of the directory differ");
    if (s->t->compression == JPEG && s->t->photometric == YCBCR && s->t->planar == 1)
        TIFFSetField(s->tif, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    return HPT_OK;
}

/* The codec gets the bytes of the block that the file has, and nothing is copied (but where it would reverse bits in
 * place). */
static int packed_block(source *s, uint64_t i, uint8_t *to, uint64_t want) {
    const tiff *t = s->t;
    uint64_t bytes;
    int whole;
    const uint8_t *at = stored(t, i, UINT64_MAX, &bytes, &whole);
    if (!bytes) return 0;
    uint8_t *copy = t->fill == 2 ? hpt__alloc((size_t)bytes) : NULL;
    if (t->fill == 2 && !copy) {
        s->no_memory = 1;
        return 0;
    }
    if (copy) memcpy(copy, at, (size_t)bytes);
    const void *from = copy ? copy : at;
    void *in;                           /* libtiff takes it without const, yet only reads */
    memcpy(&in, &from, sizeof in);
    int done = TIFFReadFromUserBuffer(s->tif, (uint32_t)i, in, (tmsize_t)bytes, to, (tmsize_t)want);
    hpt__free(copy);
    int strict =
        t->compression == LZW || t->compression == PACKBITS || t->compression == LZMA || t->compression == ZSTD;
    return done && (whole || strict);           /* the others make up what a stream that ends early lacks */
}

/* YCbCr that the JPEG codec does not turn into RGB: libtiff does, a strip or tile at once, last row first. */
static int ycbcr_block(source *s, uint64_t i, uint64_t rows, uint32_t *abgr, uint8_t *to) {
    const tiff *t = s->t;
    uint64_t x = i % t->across * t->bw, y = i / t->across * t->bh, h = t->tiled ? t->bh : rows;
    int ok = t->tiled ? TIFFReadRGBATileExt(s->tif, (uint32_t)x, (uint32_t)y, abgr, 1)
                      : TIFFReadRGBAStripExt(s->tif, (uint32_t)y, abgr, 1);
    for (uint64_t r = 0; ok && r < h; r++)
        for (uint64_t c = 0; c < t->bw; c++) {
            uint32_t v = abgr[(h - 1 - r) * t->bw + c];
            uint8_t *p = to + (r * t->bw + c) * 3;
            p[0] = (uint8_t)TIFFGetR(v);
            p[1] = (uint8_t)TIFFGetG(v);
            p[2] = (uint8_t)TIFFGetB(v);
        }
    return ok;
}
#endif

/* A row of one plane of a block as samples of 8 bits, `step` apart. */
static void unpack(const tiff *t, const uint8_t *p, int swapped, uint64_t count, uint8_t *to, uint64_t step) {
    unsigned bits = (unsigned)t->bits, most = (1u << bits) - 1;
    int gray = t->photometric <= BLACK_IS_0 && t->samples == 1;
    for (uint64_t i = 0; i < count; i++, to += step) {
        if (bits == 8) *to = p[i];
        else if (bits == 16) {
            unsigned v = swapped ? (unsigned)p[2 * i] << 8 | p[2 * i + 1] : (unsigned)p[2 * i + 1] << 8 | p[2 * i];
            *to = (uint8_t)(gray ? (v * 255 + 32767) / 65535 : v >> 8);
        } else if (bits == 12) {
            const uint8_t *q = p + i / 2 * 3;
            unsigned v = i & 1 ? (q[1] & 15u) << 8 | q[2] : (unsigned)q[0] << 4 | q[1] >> 4;
            *to = (uint8_t)((v * 255 + 2047) / 4095);
        } else {
            unsigned v = p[i * bits / 8] >> (8 - bits - i * bits % 8) & most;
            *to = (uint8_t)(t->photometric == PALETTE ? v : v * 255 / most);
        }
    }
}

/* A colour that was multiplied by its alpha. */
static uint8_t divided(int v, int a) {
    if (!a) return 0;
    return (uint8_t)(v * 255 / a > 255 ? 255 : v * 255 / a);
}

/* A row of samples to RGB. */
static void convert(const tiff *t, const uint8_t *line, uint64_t count, hpt__alpha ground, const uint8_t *palette,
                    uint8_t *rgb) {
    uint64_t at, n = t->samples;
    int alpha = alpha_sample(t, &at);
    for (uint64_t x = 0; x < count; x++, line += n, rgb += 3) {
        uint8_t px[4] = {line[0], line[0], line[0], alpha ? line[at] : 255};
        if (t->photometric == CMYK) {
            hpt__cmyk_pixel(line[0], line[1], line[2], 255 - line[3], rgb);
            continue;
        }
        if (t->photometric == PALETTE) memcpy(px, palette + 3 * line[0], 3);
        else if (n >= 3 && t->photometric > BLACK_IS_0) memcpy(px, line, 3);
        else if (t->photometric == WHITE_IS_0) px[0] = px[1] = px[2] = 255 - line[0];
        if (alpha == 1)
            for (int c = 0; c < 3; c++) px[c] = divided(px[c], px[3]);
        hpt__image_flatten(px, 1, ground, rgb);
    }
}

static void read_palette(const tiff *t, uint8_t *rgb) {
    uint64_t n = 1u << t->bits;
    int shift = 0;
    for (uint64_t i = 0; i < 3 * n; i++)
        if (item(t, &t->colours, i) > 255) shift = 8;          /* else a writer that stored 8-bit levels */
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t c = 0; c < 3; c++) rgb[3 * i + c] = (uint8_t)(item(t, &t->colours, c * n + i) >> shift);
}

static hpt_status read_blocks(source *s, const hpt__image_limits *lim, uint8_t *buf, uint8_t *line, uint32_t *abgr,
                              uint8_t *rgb, int *cut) {
    const tiff *t = s->t;
    uint8_t palette[768];
    uint64_t per_plane = t->across * t->down, samples = t->samples / (uint64_t)t->planes;
    if (t->photometric == PALETTE) read_palette(t, palette);
    for (uint64_t i = 0; i < per_plane; i++) {
        uint64_t x0 = i % t->across * t->bw, y0 = i / t->across * t->bh, w = t->w - x0 < t->bw ? t->w - x0 : t->bw,
                 h = t->h - y0 < t->bh ? t->h - y0 : t->bh;
        memset(buf, 0, (size_t)t->block * (size_t)t->planes);
        for (int p = 0; p < t->planes; p++) {
            uint64_t block = i + (uint64_t)p * per_plane, want = t->tiled ? t->block : t->row * h;
            uint8_t *to = buf + (size_t)p * (size_t)t->block;
            int whole;
#ifdef HPT_HAVE_TIFF
            if (abgr) whole = ycbcr_block(s, i, h, abgr, to);
            else if (s->tif) whole = packed_block(s, block, to, want);
            else
#endif
                whole = t->compression == 1 ? plain_block(t, block, to, want) : inflated_block(s, block, to, want);
            if (whole) continue;
            *cut = 1;
            if (s->no_memory) return hpt__fail_memory(0);
#ifdef HPT_HAVE_TIFF
            if (strcasestr(s->text, "out of memory") || strcasestr(s->text, "no space for")) return hpt__fail_memory(0);
            if (s->text[0] && !lim->accept_cut) return BAD("%s", s->text);
#endif
            if (lim->accept_cut) continue;
            return BAD("damaged or cut, pixels of %s %llu are missing", t->tiled ? "tile" : "strip",
                       (unsigned long long)i);
        }
        for (uint64_t y = 0; y < h; y++) {
            uint8_t *out = rgb + ((y0 + y) * t->w + x0) * 3;
            if (abgr) {
                memcpy(out, buf + y * t->bw * 3, (size_t)w * 3);
                continue;
            }
            for (int p = 0; p < t->planes; p++)
                unpack(t, buf + (uint64_t)p * t->block + y * t->row, s->swapped, w * samples, line + p,
                       (uint64_t)t->planes);
            convert(t, line, w, lim->alpha, palette, out);
        }
    }
    return HPT_OK;
}

hpt_status hpt__tiff_decode(const uint8_t *d, size_t n, const hpt__image_limits *lim, const hpt__image_info *info,
                            uint8_t *rgb, int *cut) {
    tiff t;
    hpt__image_info again = *info;
    HPT_TRY(parse(d, n, lim, &again, &t));
    source s = {.t = &t, .swapped = t.big_endian};
    hpt_status st = HPT_OK;
    uint32_t *abgr = NULL;
    size_t bytes = (size_t)t.block * (size_t)t.planes;
#ifdef HPT_HAVE_TIFF
    if (t.photometric == YCBCR && t.samples == 3 && t.compression != JPEG) {
        for (uint64_t i = 0; i < t.across * t.down; i++)        /* libtiff reads these itself */
            if (!t.bytes.count || item(&t, &t.offsets, i) > n || item(&t, &t.bytes, i) > n - item(&t, &t.offsets, i))
                return BAD("cut, pixels of block %llu are missing", (unsigned long long)i);
        if (!(abgr = hpt__alloc((size_t)(t.bw * t.bh) * 4))) return hpt__fail_memory((size_t)(t.bw * t.bh) * 4);
    }
    if (codec(t.compression) || abgr) {
        const uint16_t probe = 1;
        s.swapped = *(const uint8_t *)&probe == 0;              /* libtiff gives the machine's order */
        st = open_codec(&s, hpt__image_budget(n, info));
    }
#endif
    uint8_t *buf = hpt__alloc(bytes), *line = hpt__alloc((size_t)(t.bw * t.samples));
    if (!st && (!buf || !line)) st = hpt__fail_memory(bytes);
    if (!st) st = read_blocks(&s, lim, buf, line, abgr, rgb, cut);
#ifdef HPT_HAVE_TIFF
    if (s.tif) TIFFClose(s.tif);
#endif
    hpt__free(abgr);
    hpt__free(buf);
    hpt__free(line);
    return st;
}
