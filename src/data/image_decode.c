/* SPDX-License-Identifier: MIT
 * JPEG by libjpeg-turbo, PNG by libpng, PNM here, BMP (and JPEG and PNG in a build without those two) by stb_image. Library errors arrive by
 * longjmp; the frames that catch them hold only heap and volatile state. */
#include "data/image.h"
#include "core/alloc.h"
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#ifdef HPT_HAVE_JPEG
#include <jpeglib.h>
#endif
#ifdef HPT_HAVE_PNG
#include <png.h>
#endif

void hpt__image_free(hpt__image *im) {
    hpt__free(im->rgb);
    memset(im, 0, sizeof *im);
}

#ifdef HPT_HAVE_JPEG
typedef struct jpeg_state {
    struct jpeg_decompress_struct d;
    struct jpeg_error_mgr err;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    char text[JMSG_LENGTH_MAX];
    uint8_t *row;
} jpeg_state;

static void jpeg_fail(j_common_ptr c) {
    jpeg_state *s = c->client_data;
    c->err->format_message(c, s->text);
    longjmp(s->jump, 1);
}
static void jpeg_silent(j_common_ptr c) { (void)c; }
static void jpeg_count(j_common_ptr c, int level) {
    if (level < 0 && ++c->err->num_warnings > 100) jpeg_fail(c);
}
static void jpeg_progress(j_common_ptr c) {
    jpeg_state *s = c->client_data;
    if (s->d.input_scan_number > 100) jpeg_fail(c);
}

hpt_status hpt__jpeg_decode(const uint8_t *data, size_t n, int w, int h, uint8_t *rgb) {
    jpeg_state *s = hpt__calloc(1, sizeof *s);
    if (!s) return hpt__fail_memory(sizeof *s);
    s->d.err = jpeg_std_error(&s->err);
    s->err.error_exit = jpeg_fail;
    s->err.output_message = jpeg_silent;
    s->err.emit_message = jpeg_count;
    s->d.client_data = s;
    if (setjmp(s->jump)) {
        hpt_status st = hpt__fail(HPT_ERR_DATA, "JPEG: %.200s", s->text);
        jpeg_destroy_decompress(&s->d);
        hpt__free(s->row);
        hpt__free(s);
        return st;
    }
    jpeg_create_decompress(&s->d);
    s->progress.progress_monitor = jpeg_progress;
    s->d.progress = &s->progress;
    s->d.mem->max_memory_to_use = 512L << 20;
    jpeg_mem_src(&s->d, data, (unsigned long)n);
    jpeg_read_header(&s->d, TRUE);
    int cmyk = s->d.num_components == 4, bad = (int)s->d.image_width != w || (int)s->d.image_height != h;
    s->d.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;      /* libjpeg-turbo makes RGB of gray too */
    jpeg_start_decompress(&s->d);
    if (!bad && !cmyk)
        while (s->d.output_scanline < s->d.output_height) {
            JSAMPROW row = rgb + (size_t)s->d.output_scanline * (size_t)w * 3;
            jpeg_read_scanlines(&s->d, &row, 1);
        }
    else if (!bad && (s->row = hpt__alloc((size_t)w * 4))) {
        int inverted = s->d.saw_Adobe_marker;
        while (s->d.output_scanline < s->d.output_height) {
            uint8_t *to = rgb + (size_t)s->d.output_scanline * (size_t)w * 3;
            JSAMPROW row = s->row;
            jpeg_read_scanlines(&s->d, &row, 1);
            for (int x = 0; x < w; x++)
                for (int c = 0; c < 3; c++) {
                    int ink = row[4 * x + c], k = row[4 * x + 3];
                    if (!inverted) ink = 255 - ink, k = 255 - k;
                    to[3 * x + c] = (uint8_t)(ink * k / 255);
                }
        }
    } else bad = 1;
    if (!bad) jpeg_finish_decompress(&s->d);
    jpeg_destroy_decompress(&s->d);
    hpt__free(s->row);
    hpt__free(s);
    return bad ? hpt__fail(HPT_ERR_DATA, "JPEG: size changed between headers, or no memory for a row") : HPT_OK;
}
#endif

#ifdef HPT_HAVE_PNG
typedef struct png_state {
    png_structp png;
    png_infop info;
    const uint8_t *data;
    size_t left;
    png_bytep *rows;
    char text[200];
} png_state;

static void png_fail(png_structp p, png_const_charp msg) {
    png_state *s = png_get_error_ptr(p);
    snprintf(s->text, sizeof s->text, "%s", msg);
    longjmp(png_jmpbuf(p), 1);
}
static void png_quiet(png_structp p, png_const_charp msg) { (void)p; (void)msg; }
static void png_take(png_structp p, png_bytep to, size_t n) {
    png_state *s = png_get_io_ptr(p);
    if (n > s->left) png_error(p, "cut");
    memcpy(to, s->data, n);
    s->data += n;
    s->left -= n;
}

hpt_status hpt__png_decode(const uint8_t *data, size_t n, int w, int h, uint8_t *rgba) {
    png_state *s = hpt__calloc(1, sizeof *s);
    if (!s) return hpt__fail_memory(sizeof *s);
    hpt_status st = HPT_OK;
    s->data = data;
    s->left = n;
    s->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, s, png_fail, png_quiet);
    if (s->png) s->info = png_create_info_struct(s->png);
    if (!s->info || !(s->rows = hpt__alloc(sizeof *s->rows * (size_t)h))) {
        st = hpt__fail_memory(0);
        goto done;
    }
    if (setjmp(png_jmpbuf(s->png))) {
        st = hpt__fail(HPT_ERR_DATA, "PNG: %s", s->text);
        goto done;
    }
    png_set_read_fn(s->png, s, png_take);
    png_set_user_limits(s->png, 65535, 65535);
    png_set_chunk_malloc_max(s->png, 8 << 20);
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    png_set_crc_action(s->png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
#else
    png_set_crc_action(s->png, PNG_CRC_ERROR_QUIT, PNG_CRC_QUIET_USE);
#endif
    png_read_info(s->png, s->info);
    if ((int)png_get_image_width(s->png, s->info) != w || (int)png_get_image_height(s->png, s->info) != h) png_error(s->png, "size changed");
    png_set_expand(s->png);
    png_set_scale_16(s->png);
    png_set_gray_to_rgb(s->png);
    png_set_add_alpha(s->png, 255, PNG_FILLER_AFTER);
    png_set_interlace_handling(s->png);
    png_read_update_info(s->png, s->info);
    if (png_get_rowbytes(s->png, s->info) != (size_t)w * 4) png_error(s->png, "unexpected pixel format");
    for (int y = 0; y < h; y++) s->rows[y] = rgba + (size_t)y * (size_t)w * 4;
    png_read_image(s->png, s->rows);
done:
    png_destroy_read_struct(s->png ? &s->png : NULL, s->info ? &s->info : NULL, NULL);
    hpt__free(s->rows);
    hpt__free(s);
    return st;
}
#endif

/* Alpha as Pillow's convert('RGB') drops it, or composed on a ground. */
static void flatten(const uint8_t *rgba, size_t n, hpt__alpha alpha, uint8_t *rgb) {
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < 3; c++) {
            int v = rgba[4 * i + c], a = rgba[4 * i + 3], ground = alpha == HPT__ALPHA_WHITE ? 255 : 0;
            if (alpha != HPT__ALPHA_DROP) v = (v * a + ground * (255 - a) + 127) / 255;
            rgb[3 * i + c] = (uint8_t)v;
        }
}

hpt_status hpt__image_decode(const uint8_t *data, size_t n, const hpt__image_limits *lim, hpt__image *out) {
    hpt__image_kind kind;
    hpt_status st;
    memset(out, 0, sizeof *out);
    HPT_TRY(hpt__image_scan(data, n, lim, &kind, &out->w, &out->h));
    size_t pixels = (size_t)out->w * (size_t)out->h, at = 0;
    out->rgb = hpt__calloc(pixels, 3);
    if (!out->rgb) return hpt__fail_memory(pixels * 3);
    if (kind == HPT__IMAGE_PNM) {
        st = hpt__pnm_parse(data, n, lim, &out->w, &out->h, &at);
        for (size_t i = 0; !st && i < pixels * 3; i++) out->rgb[i] = data[at + (data[1] == '6' ? i : i / 3)];
        return st;
    }
    if (kind == HPT__IMAGE_TIFF) {
        st = hpt__tiff_decode(data, n, out->w, out->h, out->rgb);
        if (st) hpt__image_free(out);
        return st;
    }
#ifdef HPT_HAVE_JPEG
    if (kind == HPT__IMAGE_JPEG) {
        st = hpt__jpeg_decode(data, n, out->w, out->h, out->rgb);
        if (st) hpt__image_free(out);
        return st;
    }
#endif
    uint8_t *rgba = hpt__calloc(pixels, 4);
    if (!rgba) st = hpt__fail_memory(pixels * 4);
#ifdef HPT_HAVE_PNG
    else if (kind == HPT__IMAGE_PNG) st = hpt__png_decode(data, n, out->w, out->h, rgba);
#endif
    else st = hpt__stb_decode(data, n, out->w, out->h, rgba);
    if (!st) flatten(rgba, pixels, kind == HPT__IMAGE_BMP ? HPT__ALPHA_DROP : lim->alpha, out->rgb);
    hpt__free(rgba);
    if (st) hpt__image_free(out);
    return st;
}
