/* SPDX-License-Identifier: MIT
 * From bytes to pixels: the reader for each kind; JPEG by libjpeg-turbo and PNG by libpng (in a build without them by
 * stb_image, image_stb.c). Library errors arrive by longjmp; the frames that catch them hold only heap and volatile
 * state. */
#include "data/image.h"
#include "core/alloc.h"
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#ifdef HPT_HAVE_JPEG
#include <jpeglib.h>
#include <jerror.h>
#endif
#ifdef HPT_HAVE_PNG
#include <png.h>
#endif

void hpt__image_free(hpt__image *im) {
    hpt__free(im->rgb);
    memset(im, 0, sizeof *im);
}

void hpt__image_flatten(const uint8_t *rgba, size_t n, hpt__alpha alpha, uint8_t *rgb) {
    int ground = alpha == HPT__ALPHA_WHITE ? 255 : 0;
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < 3; c++)
            rgb[3 * i + (size_t)c] = alpha == HPT__ALPHA_DROP
                                         ? rgba[4 * i + (size_t)c]
                                         : hpt__compose(rgba[4 * i + (size_t)c], rgba[4 * i + 3], ground);
}

#ifdef HPT_HAVE_JPEG
typedef struct jpeg_state {
    struct jpeg_decompress_struct d;
    struct jpeg_error_mgr err;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    char text[JMSG_LENGTH_MAX];
    uint8_t *row;
    int past_end, missing;      /* libjpeg wanted bytes after the last; and had to make up pixels for it */
} jpeg_state;

static void jpeg_fail(j_common_ptr c) {
    jpeg_state *s = c->client_data;
    c->err->format_message(c, s->text);
    longjmp(s->jump, 1);
}
static void jpeg_silent(j_common_ptr c) { (void)c; }
static void jpeg_count(j_common_ptr c, int level) {
    jpeg_state *s = c->client_data;
    if (level >= 0) return;
    if (c->err->msg_code == JWRN_JPEG_EOF) s->past_end = 1;
    if (c->err->msg_code == JWRN_HIT_MARKER && s->past_end) s->missing = 1;
    if (++c->err->num_warnings > 100) jpeg_fail(c);
}
static void jpeg_progress(j_common_ptr c) {
    jpeg_state *s = c->client_data;
    if (s->d.input_scan_number > 100) jpeg_fail(c);
}
/* The file ended without an end-of-image marker, yet no block lacked its bits: are there scans that never came? */
static int jpeg_lacks_scans(const jpeg_state *s) {
    for (int c = 0; c < s->d.num_components; c++) {
        if (!s->d.comp_info[c].quant_table) return 1;
        for (int k = 0; s->d.progressive_mode && s->d.coef_bits && k < DCTSIZE2; k++)
            if (s->d.coef_bits[c][k]) return 1;
    }
    return 0;
}

hpt_status hpt__jpeg_decode(const uint8_t *data, size_t n, const hpt__image_limits *lim, const hpt__image_info *info,
                            uint8_t *rgb, int *cut) {
    jpeg_state *s = hpt__calloc(1, sizeof *s);
    hpt_status st = HPT_OK;
    if (!s) return hpt__fail_memory(sizeof *s);
    s->d.err = jpeg_std_error(&s->err);
    s->err.error_exit = jpeg_fail;
    s->err.output_message = jpeg_silent;
    s->err.emit_message = jpeg_count;
    s->d.client_data = s;
    if (setjmp(s->jump)) {
        if (s->err.msg_code == JERR_OUT_OF_MEMORY) st = hpt__fail_memory(0);
        else if (info->cut && lim->accept_cut && s->d.output_scanline > 0) *cut = 1;
        else if (s->err.msg_code == JERR_NO_BACKING_STORE)
            st = hpt__fail(HPT_ERR_DATA, "JPEG: would need far more memory than its pixels");
        else st = hpt__fail(HPT_ERR_DATA, "JPEG: %.200s", s->text);
        goto done;
    }
    jpeg_create_decompress(&s->d);
    s->progress.progress_monitor = jpeg_progress;
    s->d.progress = &s->progress;
    s->d.mem->max_memory_to_use = (long)(hpt__image_budget(n, info) - 3 * (uint64_t)info->w * (uint64_t)info->h - n);
    jpeg_mem_src(&s->d, data, (unsigned long)info->end);
    jpeg_read_header(&s->d, TRUE);
    int cmyk = s->d.num_components == 4, w = info->w;
    if ((int)s->d.image_width != w || (int)s->d.image_height != info->h) {
        st = hpt__fail(HPT_ERR_DATA, "JPEG: size changed between headers");
        goto done;
    }
    s->d.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;      /* libjpeg-turbo makes RGB of gray too */
    if (cmyk && !(s->row = hpt__alloc((size_t)w * 4))) {
        st = hpt__fail_memory((size_t)w * 4);
        goto done;
    }
    jpeg_start_decompress(&s->d);
    while (s->d.output_scanline < s->d.output_height) {
        uint8_t *to = rgb + (size_t)s->d.output_scanline * (size_t)w * 3;
        JSAMPROW row = cmyk ? s->row : to;
        jpeg_read_scanlines(&s->d, &row, 1);
        /* inks stored inverted, whether an Adobe marker says so or not: as Pillow */
        for (int x = 0; cmyk && x < w; x++) {
            const uint8_t *p = s->row + 4 * x;
            hpt__cmyk_pixel(255 - p[0], 255 - p[1], 255 - p[2], p[3], to + 3 * x);
        }
    }
    /* an arithmetic decoder does not say what it made up */
    if (info->cut && (s->missing || s->d.arith_code || jpeg_lacks_scans(s))) {
        *cut = 1;
        if (!lim->accept_cut)
            st = hpt__fail(HPT_ERR_DATA, "JPEG: cut, pixels are missing (truncated=accept takes what is there)");
    } else jpeg_finish_decompress(&s->d);
done:
    jpeg_destroy_decompress(&s->d);
    hpt__free(s->row);
    hpt__free(s);
    return st;
}
#else
hpt_status hpt__jpeg_decode(const uint8_t *data, size_t n, const hpt__image_limits *lim, const hpt__image_info *info,
                            uint8_t *rgb, int *cut) {
    return hpt__stb_decode(data, n, lim, info, rgb, cut);
}
#endif

#ifdef HPT_HAVE_PNG
/* libpng reads a stream made from the file: IHDR, PLTE, tRNS (if alpha is wanted), IDAT and IEND only, so that no text
 * or profile costs anything; and where the tail is lost, an IDAT chunk cut to what is there and an IEND. Checksums were
 * verified by the scan. */
typedef struct png_state {
    png_structp png;
    png_infop info;
    const uint8_t *data;
    size_t n, at;               /* file; its next chunk */
    struct { const uint8_t *p; size_t n; } piece[3];            /* to give next */
    uint8_t head[8], tail[16];
    int with_alpha, ended, no_memory, last_row, complete;       /* last_row: it is due; complete: it was decoded */
    size_t surplus;             /* bytes that may still be taken then */
    uint8_t *rgba;
    char text[200];
} png_state;

static void png_fail(png_structp p, png_const_charp msg) {
    png_state *s = png_get_error_ptr(p);
    snprintf(s->text, sizeof s->text, "%s", msg);
    longjmp(png_jmpbuf(p), 1);
}
static void png_quiet(png_structp p, png_const_charp msg) { (void)p; (void)msg; }
static png_voidp png_get(png_structp p, png_alloc_size_t n) {
    png_state *s = png_get_mem_ptr(p);
    void *m = hpt__alloc(n);
    if (!m) s->no_memory = 1;
    return m;
}
static void png_put(png_structp p, png_voidp m) {
    (void)p;
    hpt__free(m);
}

/* Puts the next pieces of the stream into s->piece: a chunk of the file, or what stands for a lost tail. */
static void png_next(png_state *s) {
    static const uint8_t tail[16] = {0,   0,   0,   0,   0,    0,    0,    0,
                                     'I', 'E', 'N', 'D', 0xae, 0x42, 0x60, 0x82}; /* an unread checksum, IEND */
    while (!s->ended && s->at < s->n && s->n - s->at > 8) {
        const uint8_t *p = s->data + s->at;
        size_t len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3], have = s->n - s->at - 8;
        int idat = !memcmp(p + 4, "IDAT", 4), end = !memcmp(p + 4, "IEND", 4);
        if (have < 4 || len > have - 4) {
            if (!idat) break;
            if (len > have) len = have;
            for (int i = 0; i < 4; i++) s->head[i] = (uint8_t)(len >> (24 - 8 * i));
            memcpy(s->head + 4, "IDAT", 4);
            s->piece[0].p = s->head;
            s->piece[0].n = 8;
            s->piece[1].p = p + 8;
            s->piece[1].n = len;
            s->piece[2].p = tail;
            s->piece[2].n = 16;
            s->ended = 1;
            return;
        }
        s->at += len + 12;
        if (!idat && !end && memcmp(p + 4, "IHDR", 4) && memcmp(p + 4, "PLTE", 4) &&
            (!s->with_alpha || memcmp(p + 4, "tRNS", 4)))
            continue;
        s->piece[0].p = p;
        s->piece[0].n = len + 12;
        s->ended = end;
        return;
    }
    if (s->ended) return;
    s->ended = 1;
    s->piece[0].p = tail + 4;
    s->piece[0].n = 12;
}
static void png_take(png_structp png, png_bytep to, size_t n) {
    png_state *s = png_get_io_ptr(png);
    if (s->last_row) {
        if (n > s->surplus) png_error(png, "more image data than pixels");
        s->surplus -= n;
    }
    for (int i = 0; n;) {
        if (!s->piece[0].n && !s->piece[1].n && !s->piece[2].n) {
            png_next(s);
            if (!s->piece[0].n) png_error(png, "cut");
            i = 0;
        }
        while (!s->piece[i].n) i++;
        size_t k = n < s->piece[i].n ? n : s->piece[i].n;
        memcpy(to, s->piece[i].p, k);
        s->piece[i].p += k;
        s->piece[i].n -= k;
        to += k;
        n -= k;
    }
}
/* libpng calls this when a row is decoded, before it goes on to the end of the data. */
static void png_decoded(png_structp png, png_row_infop row, png_bytep data) {
    png_state *s = png_get_user_transform_ptr(png);
    (void)row;
    (void)data;
    if (s->last_row) s->complete = 1;
}

/* A PNG whose last rows are lost: they stay black, or of the palette's first colour, as Pillow leaves them. */
static void png_ground(png_state *s, size_t pixels, int channels, uint8_t *to) {
    png_colorp palette;
    int n = 0;
    if (png_get_color_type(s->png, s->info) != PNG_COLOR_TYPE_PALETTE || !png_get_PLTE(s->png, s->info, &palette, &n) ||
        n < 1)
        return;
    for (size_t i = 0; i < pixels; i++, to += channels)
        to[0] = palette[0].red, to[1] = palette[0].green, to[2] = palette[0].blue;
}
static void png_transforms(png_state *s) {
    png_set_expand(s->png);
    if (png_get_color_type(s->png, s->info) == PNG_COLOR_TYPE_GRAY) png_set_scale_16(s->png);
    else png_set_strip_16(s->png);              /* the high byte, as Pillow */
    png_set_gray_to_rgb(s->png);
    if (s->with_alpha) png_set_add_alpha(s->png, 255, PNG_FILLER_AFTER);
    else png_set_strip_alpha(s->png);
    png_set_user_transform_info(s->png, s, 0, 0);
    png_set_read_user_transform_fn(s->png, png_decoded);
}

hpt_status hpt__png_decode(const uint8_t *data, size_t n, const hpt__image_limits *lim, const hpt__image_info *info,
                           uint8_t *rgb, int *cut) {
    png_state *s = hpt__calloc(1, sizeof *s);
    if (!s) return hpt__fail_memory(sizeof *s);
    hpt_status st = HPT_OK;
    size_t w = (size_t)info->w, h = (size_t)info->h;
    s->data = data;
    s->n = n;
    s->at = 8;
    s->piece[0].p = data;       /* the signature */
    s->piece[0].n = 8;
    s->with_alpha = info->alpha && lim->alpha != HPT__ALPHA_DROP;
    s->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, s, png_fail, png_quiet, s, png_get, png_put);
    if (s->png) s->info = png_create_info_struct(s->png);
    if (s->with_alpha) s->rgba = hpt__calloc(w * h, 4);
    if (!s->info || (s->with_alpha && !s->rgba)) {
        st = hpt__fail_memory(w * h * 4);
        goto done;
    }
    if (setjmp(png_jmpbuf(s->png))) {
        if (s->no_memory) st = hpt__fail_memory(0);
        else if (!info->cut) st = hpt__fail(HPT_ERR_DATA, "PNG: %s", s->text);
        else if (!s->complete) {
            *cut = 1;
            if (!lim->accept_cut)
                st = hpt__fail(HPT_ERR_DATA, "PNG: cut, pixels are missing (truncated=accept takes what is there)");
        }
        goto done;
    }
    png_set_read_fn(s->png, s, png_take);
    png_set_user_limits(s->png, 65535, 65535);
    png_set_chunk_malloc_max(s->png, 8 << 20);
    png_set_crc_action(s->png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
    png_read_info(s->png, s->info);
    if (png_get_image_width(s->png, s->info) != w || png_get_image_height(s->png, s->info) != h)
        png_error(s->png, "size changed");
    png_transforms(s);
    int passes = png_set_interlace_handling(s->png), channels = s->with_alpha ? 4 : 3, last = 0;
    uint8_t *to = s->with_alpha ? s->rgba : rgb;
    size_t last_y = h - 1;
    for (int p = 1; p < 7 && passes == 7; p++)  /* the last pass that has pixels in an image as small as this */
        if (PNG_PASS_ROWS((png_uint_32)h, p) && PNG_PASS_COLS((png_uint_32)w, p)) last = p;
    if (passes == 7) last_y = PNG_ROW_FROM_PASS_ROW(PNG_PASS_ROWS((png_uint_32)h, last) - 1, last);
    s->surplus = 4 * png_get_rowbytes(s->png, s->info) + 65536;
    if (info->cut) png_ground(s, w * h, channels, to);
    png_read_update_info(s->png, s->info);
    if (png_get_rowbytes(s->png, s->info) != w * (size_t)channels) png_error(s->png, "unexpected pixel format");
    for (int p = 0; p <= last; p++)
        for (size_t y = 0; y < h && (p < last || y <= last_y); y++) {
            s->last_row = p == last && y == last_y;
            png_read_row(s->png, to + y * w * (size_t)channels, NULL);
        }
done:
    if (!st && s->rgba) hpt__image_flatten(s->rgba, w * h, lim->alpha, rgb);
    png_destroy_read_struct(s->png ? &s->png : NULL, s->info ? &s->info : NULL, NULL);
    hpt__free(s->rgba);
    hpt__free(s);
    return st;
}
#else
hpt_status hpt__png_decode(const uint8_t *data, size_t n, const hpt__image_limits *lim, const hpt__image_info *info,
                           uint8_t *rgb, int *cut) {
    return hpt__stb_decode(data, n, lim, info, rgb, cut);
}
#endif

/* The image as EXIF orientation o says: 2 mirrored, 3 half a turn, 4 upside down, 5 transposed, 6 and 8 quarter turns,
 * 7 transversed. */
static hpt_status turn(hpt__image *im, int o) {
    size_t w = (size_t)im->w, h = (size_t)im->h, ow = o >= 5 ? h : w;
    if (o < 2) return HPT_OK;
    uint8_t *to = hpt__alloc(w * h * 3);
    if (!to) return hpt__fail_memory(w * h * 3);
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++) {
            size_t rx = w - 1 - x, ry = h - 1 - y;
            const size_t ox[9] = {0, x, rx, rx, x, y, ry, ry, y}, oy[9] = {0, y, y, ry, ry, x, x, rx, rx};
            memcpy(to + (oy[o] * ow + ox[o]) * 3, im->rgb + (y * w + x) * 3, 3);
        }
    hpt__free(im->rgb);
    *im = (hpt__image){o >= 5 ? im->h : im->w, o >= 5 ? im->w : im->h, to, im->cut};
    return HPT_OK;
}

hpt_status hpt__image_decode(const uint8_t *data, size_t n, const hpt__image_limits *lim, hpt__image *out) {
    typedef hpt_status (*reader)(const uint8_t *, size_t, const hpt__image_limits *, const hpt__image_info *, uint8_t *,
                                 int *);
    static const reader readers[] = {[HPT__IMAGE_JPEG] = hpt__jpeg_decode, [HPT__IMAGE_PNG] = hpt__png_decode,
                                     [HPT__IMAGE_BMP] = hpt__bmp_decode,   [HPT__IMAGE_PNM] = hpt__pnm_decode,
                                     [HPT__IMAGE_TIFF] = hpt__tiff_decode, [HPT__IMAGE_WEBP] = hpt__webp_decode};
    hpt__image_info info;
    memset(out, 0, sizeof *out);
    HPT_TRY(hpt__image_scan(data, n, lim, &info));
    size_t pixels = (size_t)info.w * (size_t)info.h;
    *out = (hpt__image){info.w, info.h, hpt__calloc(pixels, 3), 0};
    if (!out->rgb) return hpt__fail_memory(pixels * 3);
    hpt_status st = readers[info.kind](data, n, lim, &info, out->rgb, &out->cut);
    if (!st && (lim->orient || info.kind == HPT__IMAGE_TIFF)) st = turn(out, info.orientation);
    if (st) hpt__image_free(out);
    return st;
}
