/* SPDX-License-Identifier: MIT
 * Image files as people have them: formats.json (fixtures/make_formats.py) holds some 230 small files with Pillow's
 * pixels, and files that must be refused with a word. Then lost tails, names, extreme shapes, bombs and failing memory.
 */
#define _GNU_SOURCE
#include "core/alloc.h"
#include "data/views.h"
#include "data/image.h"
#include "support.h"
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <zlib.h>

static uint8_t *unhex(json_t *o, const char *key, size_t *n) {
    const char *text = json_string_value(json_object_get(o, key));
    uint8_t *p = malloc(strlen(text) / 2 + 1);      /* of exactly this size, so that ASan sees a byte read behind it */
    *n = hex(text, p);
    return realloc(p, *n ? *n : 1);
}
static const char *word(json_t *o, const char *key) { return json_string_value(json_object_get(o, key)); }
static int has_all(const char *needs) { return !*needs || hpt_has(needs); }
static hpt__image_limits limits(const char *options) {
    return (hpt__image_limits){.max_pixels = 1 << 26,
                               .max_bytes = 1 << 26,
                               .orient = strstr(options, "orient=apply") != NULL,
                               .accept_cut = strstr(options, "truncated=accept") != NULL,
                               .alpha = strstr(options, "alpha=white")   ? HPT__ALPHA_WHITE
                                        : strstr(options, "alpha=black") ? HPT__ALPHA_BLACK
                                                                         : HPT__ALPHA_DROP};
}

TEST(formats_against_pillow) {
    json_t *c, *all = json_object_get(fixture("formats"), "cases");
    size_t i;
    int wrong = 0, done = 0;
    json_array_foreach(all, i, c) {
        const char *name = word(c, "name"), *options = word(c, "options");
        size_t n, want_n;
        if (!has_all(word(c, "needs"))) continue;
        uint8_t *data = unhex(c, "data", &n), *want = unhex(c, "rgb", &want_n);
        hpt__image_limits lim = limits(options);
        hpt__image im;
        hpt_status st = hpt__image_decode(data, n, &lim, &im);
        int worst = 0;
        if (st) printf("%s: %s\n", name, hpt_last_error());
        else if (im.w != integer(c, "w") || im.h != integer(c, "h"))
            st = HPT_ERR_MISMATCH, printf("%s: %dx%d\n", name, im.w, im.h);
        for (size_t k = 0; !st && k < want_n; k++)
            worst = abs(im.rgb[k] - want[k]) > worst ? abs(im.rgb[k] - want[k]) : worst;
        if (worst > integer(c, "tolerance")) printf("%s: differs from Pillow by %d levels\n", name, worst);
        wrong += st || worst > integer(c, "tolerance");
        done++;
        if (im.rgb) hpt__image_free(&im);
        free(data);
        free(want);
    }
    if (wrong) FAIL("%d of %d files are wrong", wrong, done);
    CHECK(done > 80);
}

TEST(formats_refused) {
    json_t *c, *all = json_object_get(fixture("formats"), "refused");
    size_t i;
    json_array_foreach(all, i, c) {
        size_t n;
        if (!has_all(word(c, "needs"))) continue;
        uint8_t *data = unhex(c, "data", &n);
        hpt__image_limits lim = limits(word(c, "options"));
        hpt__image im;
        hpt_status st = hpt__image_decode(data, n, &lim, &im);
        if (st != HPT_ERR_DATA || !strstr(hpt_last_error(), word(c, "word")) || im.rgb)
            FAIL("%s: %s, text '%s' should say '%s'", word(c, "name"), hpt_status_name(st), hpt_last_error(),
                 word(c, "word"));
        free(data);
    }
}

/* Every file cut at every byte: an error, or (only where nothing but the end of the structure is lost) the same pixels.
 * With truncated=accept the rows that are there are the same. */
TEST(formats_cut_anywhere) {
    json_t *c, *all = json_object_get(fixture("formats"), "cases");
    size_t i;
    json_array_foreach(all, i, c) {
        const char *name = word(c, "name");
        hpt__image_limits lim = limits(word(c, "options")), lenient = lim;
        hpt__image full, im;
        size_t n;
        uint8_t *data = unhex(c, "data", &n);
        lenient.accept_cut = 1;
        int digits = n > 2 && data[0] == 'P' && (data[1] == '2' || data[1] == '3'); /* 255 cut to 25 is a number too */
        if (digits || lim.accept_cut || hpt__image_decode(data, n, &lim, &full)) {
            free(data);
            continue;
        }
        for (size_t k = 0; k < n; k += n > 400 ? 7 : 1) {
            uint8_t *cut = malloc(k ? k : 1);
            memcpy(cut, data, k);
            if (!hpt__image_decode(cut, k, &lim, &im)) {
                if (im.cut || im.w != full.w || im.h != full.h ||
                    memcmp(im.rgb, full.rgb, (size_t)im.w * (size_t)im.h * 3))
                    FAIL("%s cut to %zu of %zu bytes: other pixels without an error", name, k, n);
                hpt__image_free(&im);
            } else if (im.rgb) FAIL("%s: memory kept", name);
            if (!hpt__image_decode(cut, k, &lenient, &im)) {
                if (!im.cut && memcmp(im.rgb, full.rgb, (size_t)im.w * (size_t)im.h * 3))
                    FAIL("%s cut to %zu of %zu bytes: pixels are lost without a word", name, k, n);
                hpt__image_free(&im);
            }
            free(cut);
        }
        hpt__image_free(&full);
        free(data);
    }
}

static size_t held(const hpt__work *w) {
    size_t n = 0;
    for (int i = 0; i < 8; i++) n += w->cap[i];
    return n;
}
/* A part of a resized image is the same bits as that part of the whole, and costs memory by the part: 1 x 20000 pixels
 * with the short edge at 256 would be 5 million rows. */
TEST(extreme_shapes) {
    static const int shape[][3] = {{50, 300, 40}, {300, 50, 64},   {100, 80, 32}, {20, 400, 64}, {32, 40, 32},
                                   {40, 32, 32},  {500, 375, 256}, {32, 32, 32},  {7, 900, 16}};
    for (size_t k = 0; k < sizeof shape / sizeof *shape; k++) {
        int w = shape[k][0], h = shape[k][1], edge = shape[k][2], size = edge * 7 / 8;
        int rw = w <= h ? edge : edge * w / h, rh = w <= h ? edge * h / w : edge;
        uint8_t *px = malloc((size_t)(w * h * 3)), *whole = malloc((size_t)(rw * rh * 3)),
                *part = malloc((size_t)(size * size * 3));
        for (int i = 0; i < w * h * 3; i++) px[i] = (uint8_t)((unsigned)i * 2654435761u >> 13);
        hpt__work a = {0}, b = {0};
        hpt__image im = {.w = w, .h = h, .rgb = px};
        OK(hpt__resize(&a, px, w, h, 0, 0, w, h, HPT__BILINEAR, whole, rw, rh));
        OK(hpt__plain_apply(&b, &im, edge, 0, size, part));
        int x = (int)lrint((rw - size) / 2.0), y = (int)lrint((rh - size) / 2.0);
        for (int r = 0; r < size; r++)
            if (memcmp(part + r * size * 3, whole + ((y + r) * rw + x) * 3, (size_t)size * 3))
                FAIL("%dx%d to %d: row %d differs", w, h, edge, r);
        hpt__work_fini(&a);
        hpt__work_fini(&b);
        free(px);
        free(whole);
        free(part);
    }
    static const int thin[][2] = {{1, 20000}, {20000, 1}, {1, 65535}, {65535, 1}, {3, 65535}, {1, 1}, {2, 3000}};
    for (size_t k = 0; k < sizeof thin / sizeof *thin; k++) {
        int w = thin[k][0], h = thin[k][1];
        uint8_t *px = malloc((size_t)w * (size_t)h * 3), *out = malloc(224 * 224 * 3);
        for (size_t i = 0; i < (size_t)w * (size_t)h; i++) px[3 * i] = 10, px[3 * i + 1] = 200, px[3 * i + 2] = 77;
        hpt__work wk = {0};
        hpt__image im = {.w = w, .h = h, .rgb = px};
        OK(hpt__plain_apply(&wk, &im, 256, 0, 224, out));
        for (int i = 0; i < 224 * 224; i++) CHECK(out[3 * i] == 10 && out[3 * i + 1] == 200 && out[3 * i + 2] == 77);
        hpt__augment a;
        hpt__augment_probe(224, &a);
        for (uint32_t v = 0; v < 20; v++) {
            hpt__rng r;
            hpt__draws d;
            hpt__rng_init(&r, 3, HPT__RNG_AUGMENT, 0, v);
            hpt__augment_draw(&r, &a, w, h, &d);
            OK(hpt__augment_apply(&wk, &im, &a, &d, out));
        }
        if (held(&wk) > 8u << 20) FAIL("%dx%d: %zu bytes of scratch", w, h, held(&wk));
        hpt__work_fini(&wk);
        free(px);
        free(out);
    }
}

TEST(image_names) {
    static const char *const read[] = {"a.jpg", "b.JPEG", "x/c.jpe", "d.jfif", "e.png", "f.bmp",  "g.dib",
                                       "h.pbm", "i.pgm",  "j.ppm",   "k.pnm",  "l.tif", "m.TIFF", "n.pam"};
    static const char *const not_read[] = {"a.gif", "b.HEIC", "c.avif", "d.jp2", "e.psd", "f.tga",    "g.exr",
                                           "h.dng", "i.CR2",  "j.svg",  "k.ico", "l.jxl", "x.y/m.nef"};
    static const char *const neither[] = {"a.txt", "b", "x.png/c", ".jpg", "d.", "Thumbs.db", "e.json"};
    for (size_t i = 0; i < sizeof read / sizeof *read; i++)
        if (!hpt__image_name(read[i]) || hpt__image_unread(read[i])) FAIL("%s", read[i]);
    for (size_t i = 0; i < sizeof not_read / sizeof *not_read; i++)
        if (hpt__image_name(not_read[i]) || !hpt__image_unread(not_read[i])) FAIL("%s", not_read[i]);
    for (size_t i = 0; i < sizeof neither / sizeof *neither; i++)
        if (hpt__image_name(neither[i]) || hpt__image_unread(neither[i])) FAIL("%s", neither[i]);
    CHECK(!strcmp(hpt__image_unread("x/HOLIDAY.HEIC"), "heic"));
    CHECK(hpt__image_name("a.webp") == hpt_has("libwebp") &&
          (hpt__image_unread("a.webp") != NULL) == !hpt_has("libwebp"));
    CHECK(hpt__image_no_extension("x.y/ILSVRC2012_val_00000001") && hpt__image_no_extension(".hidden") &&
          !hpt__image_no_extension("a.b"));
    json_t *c, *all = json_object_get(fixture("formats"), "cases");
    size_t i;
    json_array_foreach(all, i, c) {             /* content tells, whatever the name */
        static const struct { const char *start; hpt__image_kind kind;
        } kinds[] = {{"png", HPT__IMAGE_PNG},   {"apng", HPT__IMAGE_PNG},  {"jpeg", HPT__IMAGE_JPEG},
                     {"webp", HPT__IMAGE_WEBP}, {"tiff", HPT__IMAGE_TIFF}, {"bmp", HPT__IMAGE_BMP},
                     {"p", HPT__IMAGE_PNM}};
        size_t n, k = 0;
        uint8_t *data = unhex(c, "data", &n);
        while (strncmp(word(c, "name"), kinds[k].start, strlen(kinds[k].start))) k++;
        if (hpt__image_kind_of(data, n < HPT__IMAGE_HEAD ? n : HPT__IMAGE_HEAD) != kinds[k].kind)
            FAIL("%s", word(c, "name"));
        free(data);
    }
    CHECK(hpt__image_kind_of((const uint8_t *)"BM is not a picture, it is text..", 32) == HPT__IMAGE_OTHER &&
          !hpt__image_kind_of((const uint8_t *)"text", 4));
}

/* The options reach the decoder through a data set of files. */
TEST(image_options) {
    json_t *c, *all = json_object_get(fixture("formats"), "cases");
    hpt_context *ctx = context("reference", 1);
    size_t i;
    char *dir = temp_dir();
    int seen = 0;
    json_array_foreach(all, i, c) {
        const char *name = word(c, "name"), *options = word(c, "options");
        size_t n, want_n;
        char path[600];
        if (!has_all(word(c, "needs")) ||
            (strcmp(name, "jpeg-exif6") && strcmp(name, "png-rgb-cut") && strcmp(name, "webp-lossless-alpha-white") &&
             strcmp(name, "png-exif3-ignored")))
            continue;
        uint8_t *data = unhex(c, "data", &n), *want = unhex(c, "rgb", &want_n), out[11 * 11 * 3];
        snprintf(path, sizeof path, "%s/%s%s", dir, name,
                 seen ? "" : ".gif"); /* none, or one that lies: the content decides */
        FILE *f = fopen(path, "wb");
        CHECK(f && fwrite(data, 1, n, f) == n && !fclose(f));
        hpt_config *cfg = config("eval_crop=full");
        if (*options) set(cfg, options);
        hpt_dataset *ds;
        OK(hpt_dataset_open(ctx, cfg, path, &ds));
        OK(hpt_dataset_image(ds, cfg, 0, 11, out));
        int w = integer(c, "w"), h = integer(c, "h"), x = (int)lrint((w - 11) / 2.0), y = (int)lrint((h - 11) / 2.0);
        for (int r = 0; r < 11; r++)
            for (int k = 0; k < 33; k++) CHECK(abs(out[r * 33 + k] - want[((y + r) * w + x) * 3 + k]) <= 1);
        hpt_dataset_info info = {.struct_size = sizeof info};
        int32_t readable;
        OK(hpt_dataset_get_info(ds, &info));
        OK(hpt_dataset_readable(ds, 0, &readable));
        CHECK(info.truncated_images == (strstr(name, "cut") != NULL) && readable == 1 && !info.bad_images);
        hpt_dataset_destroy(ds);
        hpt_config_destroy(cfg);
        seen++;
        free(data);
        free(want);
    }
    char path[600];
    hpt_dataset *ds;
    snprintf(path, sizeof path, "%s/cat.heic", dir);
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite("\0\0\0\x18" "ftypheic", 1, 12, f) == 12 && !fclose(f));
    FAILS(HPT_ERR_FORMAT, ".heic are not read", hpt_dataset_open(ctx, NULL, path, &ds));
    hpt_context_destroy(ctx);
    CHECK(seen || !hpt_has("libpng"));
}

/* Memory that runs out is never taken for a bad file: with bad_image=skip the image would stay marked. */
TEST(formats_without_memory) {
    json_t *c, *all = json_object_get(fixture("formats"), "cases");
    size_t i;
    json_array_foreach(all, i, c) {
        size_t n;
        if (!has_all(word(c, "needs"))) continue;
        uint8_t *data = unhex(c, "data", &n);
        hpt__image_limits lim = limits(word(c, "options"));
        hpt__image full, im;
        OK(hpt__image_decode(data, n, &lim, &full));
        for (int k = 1, more = 1; more; k++) {
            hpt__alloc_test_fail(k, k & 1);
            hpt_status st = hpt__image_decode(data, n, &lim, &im);
            more = hpt__alloc_test_count() >= k;
            hpt__alloc_test_fail(0, 0);
            if (st ? st != HPT_ERR_MEMORY || im.rgb
                   : memcmp(im.rgb, full.rgb, (size_t)full.w * (size_t)full.h * 3) != 0)
                FAIL("%s, allocation %d fails: %s (%s)", word(c, "name"), k, hpt_status_name(st), hpt_last_error());
            if (!st) hpt__image_free(&im);
        }
        hpt__image_free(&full);
        free(data);
    }
}

/* ---- bombs: one megabyte costs less than a second and little memory ---- */

typedef struct bytes { uint8_t *p; size_t n, cap; } bytes;
static void put(bytes *b, const void *p, size_t n) {
    if (b->n + n > b->cap) b->p = realloc(b->p, b->cap = 2 * (b->n + n));
    memcpy(b->p + b->n, p, n);
    b->n += n;
}
static void put_be(bytes *b, uint32_t v) {
    put(b, (const uint8_t[]){(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v}, 4);
}
static void put_le(bytes *b, uint64_t v, int size) {
    for (int i = 0; i < size; i++) put(b, (const uint8_t[]){(uint8_t)(v >> 8 * i)}, 1);
}
static void chunk(bytes *b, const char *type, const void *p, size_t n) {
    put_be(b, (uint32_t)n);
    put(b, type, 4);
    put(b, p, n);
    put_be(b, (uint32_t)crc32(0, b->p + b->n - n - 4, (unsigned)(n + 4)));
}
static bytes png_start(uint32_t w, uint32_t h, int depth, int colour, int interlace) {
    bytes b = {0}, header = {0};
    put(&b, "\x89PNG\r\n\x1a\n", 8);
    put_be(&header, w);
    put_be(&header, h);
    put(&header, (const uint8_t[]){(uint8_t)depth, (uint8_t)colour, 0, 0, (uint8_t)interlace}, 5);
    chunk(&b, "IHDR", header.p, header.n);
    free(header.p);
    return b;
}
static bytes zeros(size_t n) {          /* so many zeros, compressed */
    bytes b = {0};
    uint8_t *plain = calloc(n, 1);
    uLongf size = compressBound(n);
    b.p = malloc(size);
    compress2(b.p, &size, plain, n, 9);
    b.n = size;
    free(plain);
    return b;
}
/* Peak of the process is what getrusage knows, so the bombs run from small to large. */
static void costs(bytes *b, hpt_status want, const char *say, const char *what) {
    static const hpt__image_limits lim = {.max_pixels = 1 << 26, .max_bytes = 1 << 26};
    hpt__image im;
    struct rusage before, after;
    struct timespec t0, t1;
    getrusage(RUSAGE_SELF, &before);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t0);
    hpt_status st = hpt__image_decode(b->p, b->n, &lim, &im);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t1);
    getrusage(RUSAGE_SELF, &after);
    double seconds = (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) * 1e-9;
    size_t most = 4 * b->n + (1 << 20) + (im.rgb ? 16 * (size_t)im.w * (size_t)im.h : 0),
           grown = (size_t)(after.ru_maxrss - before.ru_maxrss) << 10;
    if (st != want || (st && !strstr(hpt_last_error(), say)))
        FAIL("%s: %s (%s)", what, hpt_status_name(st), hpt_last_error());
    if (seconds > 1) FAIL("%s: %.2f s", what, seconds);
#ifndef __SANITIZE_ADDRESS__
    if (grown > most + (4 << 20)) FAIL("%s: %zu bytes of memory, %zu are allowed", what, grown, most);
#else
    (void)grown, (void)most;
#endif
    if (im.rgb) hpt__image_free(&im);
    free(b->p);
    *b = (bytes){0};
}

TEST(image_bombs) {
    if (!hpt_has("libpng") || !hpt_has("jpeg-turbo")) SKIP("needs libpng and libjpeg");
    bytes z8 = zeros(8u << 20), row = zeros(10 * 31), b, text = {0};
    put(&text, "k\0\0", 3);
    put(&text, z8.p, z8.n);
    b = png_start(10, 10, 8, 2, 0);
    for (int i = 0; i < 128; i++) chunk(&b, i & 1 ? "zTXt" : "iCCP", text.p, text.n);
    chunk(&b, "IDAT", row.p, row.n);
    chunk(&b, "IEND", "", 0);
    costs(&b, HPT_OK, "", "PNG with 1 GB of text");
    bytes much = zeros(400u << 20);
    for (int interlace = 0; interlace < 2; interlace++) {
        b = png_start(10, 10, 8, 2, interlace);
        chunk(&b, "IDAT", much.p, much.n);
        chunk(&b, "IEND", "", 0);
        costs(&b, HPT_ERR_DATA, "more image data than pixels", "PNG that inflates to 400 MB");
    }
    free(much.p);
    /* 59 empty scans of 67 megapixels */
    static const uint8_t start[] = {0xff, 0xd8, 0xff, 0xdb, 0, 67, 0},
                         frame[] = {0xff, 0xc2, 0, 11, 8, 0x1f, 0xff, 0x1f, 0xff, 1, 1, 0x11, 0},
                         scan[] = {0xff, 0xda, 0, 8, 1, 1, 0, 0, 0, 0, 0};
    put(&b, start, sizeof start);
    for (int i = 0; i < 64; i++) put(&b, "\1", 1);
    put(&b, frame, sizeof frame);
    for (int i = 0; i < 59; i++) put(&b, scan, sizeof scan);
    put(&b, "\xff\xd9", 2);
    costs(&b, HPT_ERR_DATA, "too many scans", "JPEG of 59 scans");
    /* 30000 tags that name the same 300 KB; private ones are passed over */
    for (int kind = 0; kind < 2; kind++) {
        put(&b, "II*\0", 4);
        put_le(&b, 8, 4);
        put_le(&b, 30000 + 9, 2);
        static const uint32_t tags[][3] = {{256, 4, 1}, {257, 4, 1}, {259, 3, 1}, {262, 3, 1}, {273, 4, 8},
                                           {277, 3, 1}, {278, 4, 1}, {279, 4, 1}, {284, 3, 1}};
        for (int i = 0; i < 9; i++)
            put_le(&b, tags[i][0], 2), put_le(&b, tags[i][1], 2), put_le(&b, 1, 4), put_le(&b, tags[i][2], 4);
        for (int i = 0; i < 30000; i++)
            put_le(&b, kind ? 258 : 60000u, 2), put_le(&b, 3, 2), put_le(&b, kind ? 8 : 340000, 4),
                put_le(&b, 400000, 4);
        put_le(&b, 0, 4);
        uint8_t *eight = malloc(700000);
        for (int i = 0; i < 350000; i++) eight[2 * i] = 8, eight[2 * i + 1] = 0;
        put(&b, eight, 700000);
        free(eight);
        if (!kind) b.p[8 + 2 + 2 * 12 + 8] = 1;
        costs(&b, kind ? HPT_ERR_DATA : HPT_OK, kind ? "twice" : "",
              kind ? "TIFF of 30000 equal tags" : "TIFF of 30000 private tags");
    }
    free(z8.p);
    free(row.p);
    free(text.p);
}
