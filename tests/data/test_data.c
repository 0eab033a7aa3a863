/* SPDX-License-Identifier: MIT
 * Decoding against Pillow, hostile images, augmentation bit for bit, data sets, loader. Fixtures:
 * fixtures/make_fixtures.py (images.json, augment.json). */
#define _GNU_SOURCE
#include "data/views.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "io/file.h"
#include "support.h"
#include "core/alloc.h"
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static const hpt__image_limits plain = {.max_pixels = 1 << 26, .max_bytes = 1 << 26};
static hpt__bytes slurp(const char *name) {
    char path[300];
    hpt__bytes b;
    snprintf(path, sizeof path, "tests/fixtures/files/%s", name);
    OK(hpt__file_read(path, 1 << 24, &b));
    return b;
}

TEST(images_against_pillow) {
    json_t *f = fixture("images"), *v;
    const char *name;
    json_object_foreach(f, name, v) {
        char file[64];
        snprintf(file, sizeof file, "%.*s", (int)strcspn(name, " "), name);
        hpt__bytes b = slurp(file);
        hpt__image im;
        hpt__image_limits lim = plain;
        if (strstr(name, "white")) lim.alpha = HPT__ALPHA_WHITE;
        OK(hpt__image_decode(b.p, b.n, &lim, &im));
        uint8_t want[24 * 20 * 3];
        CHECK(im.w == 24 && im.h == 20 && hex(json_string_value(v), want) == sizeof want);
        int worst = 0, tolerance = strstr(name, "cmyk") ? 2 : strstr(name, "white") ? 1 : strstr(name, "jpg") ? 1 : 0;
        /* stb_image interpolates chroma in its own way and knows no CMYK */
        if (!hpt_has("jpeg-turbo") && strstr(name, "jpg")) {
            if (strstr(name, "cmyk")) continue;
            tolerance = 3;
        }
        for (size_t i = 0; i < sizeof want; i++)
            worst = abs(im.rgb[i] - want[i]) > worst ? abs(im.rgb[i] - want[i]) : worst;
        if (worst > tolerance) FAIL("%s: differs from Pillow by %d levels", name, worst);
        hpt__image_free(&im);
        hpt__free(b.p);
    }
}

/* Uncompressed TIFF is the PNG of the same image; either byte order; what is not read says why. */
TEST(tiff_images) {
    hpt__image a, b;
    hpt__bytes tif = slurp("rgb.tif"), png = slurp("rgb.png"), gray = slurp("gray.tif"), graypng = slurp("gray.png");
    OK(hpt__image_decode(tif.p, tif.n, &plain, &a));
    OK(hpt__image_decode(png.p, png.n, &plain, &b));
    CHECK(a.w == 24 && a.h == 20 && !memcmp(a.rgb, b.rgb, 24 * 20 * 3));
    hpt__image_free(&a);
    hpt__image_free(&b);
    OK(hpt__image_decode(gray.p, gray.n, &plain, &a));
    OK(hpt__image_decode(graypng.p, graypng.n, &plain, &b));
    CHECK(!memcmp(a.rgb, b.rgb, 24 * 20 * 3));
    hpt__image_free(&a);
    hpt__image_free(&b);
    static const uint8_t compression[] = {3, 1, 3, 0, 1, 0, 0, 0, 1, 0};
    uint8_t *tag = memmem(tif.p, tif.n, compression, sizeof compression);
    CHECK(tag);
    tag[8] = 6;
    if (hpt__image_decode(tif.p, tif.n, &plain, &a) != HPT_ERR_DATA || !strstr(hpt_last_error(), "compression 6"))
        FAIL("%s", hpt_last_error());
    /* big-endian, two strips, white is zero, a byte to pass over in each pixel */
    static const uint8_t big[] = {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 9, 1, 0, 0, 3, 0, 0, 0, 1, 0, 2, 0, 0, 1, 1, 0, 4, 0,
                                  0, 0, 1, 0, 0, 0, 2, 1, 3, 0, 3, 0, 0, 0, 1, 0, 1, 0, 0, 1, 6, 0, 3, 0, 0, 0, 1, 0,
                                  0, 0, 0, 1, 17, 0, 3, 0, 0, 0, 2, 0, 122, 0, 126, 1, 21, 0, 3, 0, 0, 0, 1, 0, 2, 0,
                                  0, 1, 22, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1, 1, 23, 0, 3, 0, 0, 0, 2, 0, 4, 0, 4, 1, 2, 0,
                                  3, 0, 0, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 10, 99, 20, 99, 30, 99, 255, 99};
    OK(hpt__image_decode(big, sizeof big, &plain, &a));
    CHECK(a.w == 2 && a.h == 2 && a.rgb[0] == 245 && a.rgb[3] == 235 && a.rgb[6] == 225 && a.rgb[11] == 0);
    hpt__image_free(&a);
}

static void refuse(const uint8_t *p, size_t n, const char *word, const char *what) {
    hpt__image im;
    hpt_status st = hpt__image_decode(p, n, &plain, &im);
    if (st != HPT_ERR_DATA || !strstr(hpt_last_error(), word))
        FAIL("%s: %s, text '%s' should say '%s'", what, hpt_status_name(st), hpt_last_error(), word);
    CHECK(!im.rgb);
}
static void put32be(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}
TEST(hostile_images) {
    const char *files[] = {"rgb.png", "palette.png", "rgb.jpg", "progressive.jpg", "rgb.bmp", "rgb.ppm", "rgb.tif",
                           "gray.tif"};
    for (int k = 0; k < 8; k++) {
        hpt__bytes b = slurp(files[k]);
        hpt__image im, full;
        OK(hpt__image_decode(b.p, b.n, &plain, &full));
        /* cut anywhere: an error or, past the last pixel, the same pixels; in memory of exactly that size */
        for (size_t n = 0; n < b.n; n++) {
            uint8_t *cut = malloc(n ? n : 1);
            memcpy(cut, b.p, n);
            hpt_status st = hpt__image_decode(cut, n, &plain, &im);
            if (st == HPT_OK && (n + 24 < b.n || memcmp(im.rgb, full.rgb, (size_t)full.w * (size_t)full.h * 3)))
                FAIL("%s cut to %zu of %zu bytes was accepted", files[k], n, b.n);
            if (st == HPT_OK) hpt__image_free(&im);
            free(cut);
        }
        hpt__image_free(&full);
        for (size_t i = 0; i < b.n; i++) {      /* any one byte changed: an error or an image, never a crash */
            b.p[i] ^= 0x55;
            if (hpt__image_decode(b.p, b.n, &plain, &im) == HPT_OK) hpt__image_free(&im);
            else if (k < 2 && im.rgb) FAIL("memory kept");
            b.p[i] ^= 0x55;
        }
        hpt__free(b.p);
    }
    hpt__bytes b = slurp("rgb.png");
    uint8_t *big = malloc(b.n + 8);
    memcpy(big, b.p, b.n);
    put32be(big + 16, 60000);       /* IHDR width, checksum made right */
    put32be(big + 20, 60000);
    put32be(big + 29, (uint32_t)crc32(0, big + 12, 17));
    refuse(big, b.n, "max_pixels", "3.6 gigapixels");
    memcpy(big, b.p, b.n);
    put32be(big + 33, 0x40000000);
    refuse(big, b.n, "past the end", "IDAT of 1 GiB");
    memcpy(big, b.p, b.n);
    big[b.n - 30] ^= 1;
    refuse(big, b.n, "checksum", "wrong CRC");
    refuse((const uint8_t *)"", 0, "empty", "empty file");
    refuse((const uint8_t *)"GIF89a", 6, "not a JPEG", "unknown format");
    /* thousands of scans */
    hpt__bytes j = slurp("progressive.jpg");
    size_t sos = 0;
    for (size_t i = 0; i + 1 < j.n; i++)
        if (j.p[i] == 0xff && j.p[i + 1] == 0xda) {
            sos = i;
            break;
        }
    size_t seg = 2 + ((size_t)j.p[sos + 2] << 8 | j.p[sos + 3]);
    uint8_t *many = malloc(sos + 5000 * seg + 2);
    memcpy(many, j.p, sos);
    for (size_t i = 0; i < 5000; i++) memcpy(many + sos + i * seg, j.p + sos, seg);
    many[sos + 5000 * seg] = 0xff;
    many[sos + 5000 * seg + 1] = 0xd9;
    refuse(many, sos + 5000 * seg + 2, "too many scans", "5000 scans");
}

TEST(augmentation_against_pillow) {
    json_t *f = fixture("augment"), *c;
    size_t i;
    int w = integer(f, "w"), h = integer(f, "h"), sw = integer(f, "sw"), sh = integer(f, "sh");
    uint8_t *im = malloc((size_t)(w * h * 3)), *small = malloc((size_t)(sw * sh * 3)), out[64 * 64 * 3],
        want[64 * 64 * 3];
    hpt__work wk = {0};
    hex(json_string_value(json_object_get(f, "image")), im);
    hex(json_string_value(json_object_get(f, "small")), small);
    json_array_foreach(json_object_get(f, "cases"), i, c) {
        const char *kind = json_string_value(json_object_get(c, "kind"));
        json_t *a = json_object_get(c, "args");
        double v = json_number_value(json_array_get(a, 0));
        int ow = integer(c, "w"), oh = integer(c, "h"), tolerance = 0;
        size_t n = hex(json_string_value(json_object_get(c, "rgb")), want), px = (size_t)(sw * sh);
        if (strcmp(kind, "resize")) memcpy(out, small, px * 3);
        if (!strcmp(kind, "resize")) {
            int b[4];
            for (size_t k = 0; k < 4; k++) b[k] = (int)json_number_value(json_array_get(a, k));
            OK(hpt__resize(&wk, im, w, h, b[0], b[1], b[2], b[3], HPT__BILINEAR, out, ow, oh));
        } else if (!strcmp(kind, "brightness")) hpt__brightness(out, px, (float)v);
        else if (!strcmp(kind, "contrast")) hpt__contrast(out, px, (float)v);
        else if (!strcmp(kind, "saturation")) hpt__saturation(out, px, (float)v);
        else if (!strcmp(kind, "hue")) hpt__hue(out, px, v);
        else if (!strcmp(kind, "gray")) hpt__grayscale(out, px);
        else if (!strcmp(kind, "flip")) hpt__flip(out, sw, sh);
        else if (!strcmp(kind, "blur")) {
            OK(hpt__gaussian_blur(&wk, out, sw, sh, (float)v));
            tolerance = 1;
        } else FAIL("unknown case %s", kind);
        for (size_t k = 0; k < n; k++)
            if (abs(out[k] - want[k]) > tolerance)
                FAIL("%s(%g) case %zu: byte %zu is %d, Pillow has %d", kind, v, i, k, out[k], want[k]);
    }
    for (int p = 0; p < 64 * 64; p++) {     /* meshgrid of 16 levels, as the script makes it */
        int a = p / 256, b = p / 16 % 16, d = p % 16;
        out[3 * p] = (uint8_t)(b * 17);
        out[3 * p + 1] = (uint8_t)(a * 17);
        out[3 * p + 2] = (uint8_t)(d * 17);
    }
    for (int p = 0; p < 64 * 64; p++) {     /* numpy's default indexing puts the second axis first */
        int y = p / 256, x = p / 16 % 16, z = p % 16;
        out[3 * p] = (uint8_t)(x * 17);
        out[3 * p + 1] = (uint8_t)(y * 17);
        out[3 * p + 2] = (uint8_t)(z * 17);
    }
    size_t n = hex(json_string_value(json_object_get(f, "cube")), want);
    hpt__hue(out, 64 * 64, 0.23);
    for (size_t k = 0; k < n; k++)
        if (out[k] != want[k]) FAIL("hue cube: byte %zu is %d, Pillow has %d", k, out[k], want[k]);
    hpt__image whole = {.w = w, .h = h, .rgb = im};
    OK(hpt__plain_apply(&wk, &whole, 27, 0, 24, out));
    n = hex(json_string_value(json_object_get(f, "plain")), want);
    CHECK(!memcmp(out, want, n));
}

TEST(augmentation_statistics) {
    hpt__augment a;
    hpt__augment_from_options(NULL, 0, &a);
    int jitter = 0, gray = 0, blur = 0, flip = 0, first[4] = {0};
    double area = 0, sigma = 0;
    for (int i = 0; i < 20000; i++) {
        hpt__rng r;
        hpt__draws d;
        hpt__rng_init(&r, 1, HPT__RNG_AUGMENT, 0, (uint32_t)i);
        hpt__augment_draw(&r, &a, 100, 80, &d);
        CHECK(d.x >= 0 && d.y >= 0 && d.x + d.w <= 100 && d.y + d.h <= 80 && d.w > 0 && d.h > 0);
        CHECK(d.hue >= -0.4 && d.hue < 0.4 && d.brightness >= 0.6 && d.brightness < 1.4);
        jitter += d.jitter;
        gray += d.gray;
        blur += d.blur;
        flip += d.flip;
        first[d.order[0]]++;
        area += d.w * d.h / 8000.0;
        sigma += d.sigma;
    }
    CHECK(abs(jitter - 16000) < 400 && abs(gray - 4000) < 300 && abs(blur - 10000) < 400 && abs(flip - 10000) < 400);
    for (int i = 0; i < 4; i++) CHECK(abs(first[i] - 5000) < 350);
    CHECK(area / 20000 > 0.5 && area / 20000 < 0.62 && fabs(sigma / 20000 - 1.05) < 0.02);
}

static void write_file(const char *dir, const char *name, const void *data, size_t n) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(data, 1, n, f) == n && !fclose(f));
}
static void copy_image(const char *dir, const char *name, const char *from) {
    hpt__bytes b = slurp(from);
    write_file(dir, name, b.p, b.n);
    hpt__free(b.p);
}
static char *sub(const char *dir, const char *name) {
    char *p;
    CHECK(asprintf(&p, "%s/%s", dir, name) > 0);
    return p;
}

TEST(folders_lists_and_labels) {
    hpt_context *ctx = context("reference", 2);
    char *dir = temp_dir(), text[600];
    hpt_dataset *ds;
    hpt_dataset_info info = {.struct_size = sizeof info};
    int32_t label;
    FAILS(HPT_ERR_IO, "no such", hpt_dataset_open(ctx, NULL, "/no/such/place", &ds));
    FAILS(HPT_ERR_FORMAT, "no image", hpt_dataset_open(ctx, NULL, dir, &ds));
    mkdir(sub(dir, "flat"), 0777);
    copy_image(sub(dir, "flat"), "b.png", "rgb.png");
    copy_image(sub(dir, "flat"), "a.jpg", "rgb.jpg");
    OK(hpt_dataset_open(ctx, NULL, sub(dir, "flat"), &ds));
    OK(hpt_dataset_get_info(ds, &info));
    CHECK(info.count == 2 && !info.labelled);
    OK(hpt_dataset_name(ds, 0, text, sizeof text, NULL));
    CHECK(strstr(text, "a.jpg"));
    hpt_dataset_destroy(ds);
    mkdir(sub(dir, "cls"), 0777);
    mkdir(sub(dir, "cls/zebra"), 0777);
    mkdir(sub(dir, "cls/apple"), 0777);
    mkdir(sub(dir, "cls/apple/deep"), 0777);
    mkdir(sub(dir, "cls/empty"), 0777);
    copy_image(sub(dir, "cls/zebra"), "1.png", "rgb.png");
    copy_image(sub(dir, "cls/apple/deep"), "2 x.bmp", "rgb.bmp");
    copy_image(sub(dir, "cls/apple"), "3.ppm", "rgb.ppm");
    write_file(sub(dir, "cls/apple"), "notes.txt", "x", 1);
    OK(hpt_dataset_open(ctx, NULL, sub(dir, "cls"), &ds));
    OK(hpt_dataset_get_info(ds, &info));
    CHECK(info.count == 3 && info.labelled && info.classes == 2);
    OK(hpt_dataset_class_name(ds, 1, text, sizeof text, NULL));
    CHECK(!strcmp(text, "zebra"));
    OK(hpt_dataset_label(ds, 2, &label));
    CHECK(label == 1);
    hpt_dataset *a, *rest;
    OK(hpt_dataset_per_class(ds, 1, 7, &a, &rest));
    FAILS(HPT_ERR_ARGUMENT, "zebra", hpt_dataset_per_class(ds, 2, 7, &a, NULL));
    hpt_dataset_destroy(ds);
    copy_image(sub(dir, "cls"), "loose.png", "rgb.png");
    /* images beside class folders: all of them, without labels */
    OK(hpt_dataset_open(ctx, NULL, sub(dir, "cls"), &ds));
    OK(hpt_dataset_get_info(ds, &info));
    CHECK(info.count == 4 && !info.labelled && !info.classes);
    hpt_dataset_destroy(ds);
    const char list[] = "# comment\ncls/zebra/1.png 4\n\"cls/apple/deep/2 x.bmp\" 0\r\ncls/apple/deep/2 x.bmp\t1\n\n";
    write_file(dir, "l.txt", list, sizeof list - 1);
    OK(hpt_dataset_open(ctx, NULL, sub(dir, "l.txt"), &ds));
    OK(hpt_dataset_get_info(ds, &info));
    CHECK(info.count == 3 && info.classes == 5);
    uint8_t rgb[16 * 16 * 3];
    for (uint64_t i = 0; i < 3; i++) OK(hpt_dataset_image(ds, NULL, i, 16, rgb));
    hpt_dataset_destroy(ds);
    hpt_config *unchecked = config("list_check=0");
    write_file(dir, "gone.txt", "cls/zebra/1.png 4\ncls/zebra/gone.png 4\n", 39);
    FAILS(HPT_ERR_IO, "line 2", hpt_dataset_open(ctx, NULL, sub(dir, "gone.txt"), &ds));
    write_file(dir, "bad.txt", "a.png 1\nb.png x\n", 16);
    FAILS(HPT_ERR_FORMAT, "line 2", hpt_dataset_open(ctx, unchecked, sub(dir, "bad.txt"), &ds));
    write_file(dir, "mix.txt", "a.png 1\nb.png\n", 14);
    FAILS(HPT_ERR_FORMAT, "some lines have a label", hpt_dataset_open(ctx, unchecked, sub(dir, "mix.txt"), &ds));
    OK(hpt_dataset_open(ctx, NULL, "tests/fixtures/files/small.npz", &ds));
    OK(hpt_dataset_get_info(ds, &info));
    CHECK(info.count == 2 && info.classes == 2);
    OK(hpt_dataset_label(ds, 0, &label));
    CHECK(label == 1);
    hpt_config *c = config("eval_crop=full");
    OK(hpt_dataset_image(ds, c, 1, 4, rgb));
    CHECK(rgb[0] == 48 && rgb[47] == 95);
}

TEST(bad_images_policies) {
    hpt_context *ctx = context("reference", 2);
    char *dir = temp_dir(), text[600];
    hpt_dataset *ds;
    hpt_dataset_info info = {.struct_size = sizeof info};
    uint8_t rgb[8 * 8 * 3];
    copy_image(dir, "a.png", "rgb.png");
    write_file(dir, "b.png", "broken", 6);
    copy_image(dir, "c.bmp", "rgb.bmp");
    OK(hpt_dataset_open(ctx, NULL, dir, &ds));
    FAILS(HPT_ERR_DATA, "b.png", hpt_dataset_image(ds, NULL, 1, 8, rgb));
    hpt_dataset_destroy(ds);
    hpt_config *c = config("bad_image=skip");
    OK(hpt_dataset_open(ctx, c, dir, &ds));
    int32_t readable;
    OK(hpt_dataset_readable(ds, 1, &readable));
    CHECK(readable == -1);
    FAILS(HPT_ERR_DATA, "b.png", hpt_dataset_image(ds, c, 1, 8, rgb));     /* never another image's pixels */
    FAILS(HPT_ERR_DATA, "b.png", hpt_dataset_view(ds, c, 1, 0, 0, 8, rgb));
    OK(hpt_dataset_image(ds, c, 2, 8, rgb));
    for (uint64_t i = 0; i < 3; i++) {
        OK(hpt_dataset_readable(ds, i, &readable));
        CHECK(readable == (i == 0 ? -1 : i == 2));
    }
    OK(hpt_dataset_get_info(ds, &info));
    CHECK(info.bad_images == 1);
    OK(hpt_dataset_bad_image(ds, 0, text, sizeof text, NULL));
    CHECK(strstr(text, "b.png") && hpt_dataset_bad_image(ds, 1, text, sizeof text, NULL) == HPT_END);
}

TEST(memory_sets_pad_invert_stats) {
    hpt_context *ctx = context("reference", 2);
    uint8_t px[2 * 2 * 2] = {0, 255, 255, 0, 10, 20, 30, 40}, rgb[16 * 3];
    hpt_dataset *ds;
    hpt_config *c = config("pad=1 invert=1 eval_crop=full");
    OK(hpt_dataset_from_memory(ctx, c, px, 2, 2, 2, 1, NULL, &ds));
    OK(hpt_dataset_image(ds, c, 0, 4, rgb));
    CHECK(rgb[0] == 255 && rgb[5 * 3] == 255 && rgb[6 * 3] == 0 && rgb[6 * 3 + 2] == 0 && rgb[15 * 3] == 255);
    hpt_dataset_destroy(ds);
    OK(hpt_dataset_from_memory(ctx, NULL, px, 2, 2, 2, 1, NULL, &ds));
    float mean[3], std[3];
    OK(hpt_dataset_stats(ds, mean, std));
    double m = (127.5 + 25) / 2 / 255, ms = (255.0 * 255 / 2 + (100 + 400 + 900 + 1600) / 4.0) / 2 / (255.0 * 255);
    CHECK(fabs(mean[0] - m) < 1e-6 && fabs(std[2] - sqrt(ms - m * m)) < 1e-6);
    FAILS(HPT_ERR_ARGUMENT, "channels", hpt_dataset_from_memory(ctx, NULL, px, 2, 2, 2, 4, NULL, &ds));
}

TEST(splits_are_nested_and_disjoint) {
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *all = toy_set(ctx, "", 50, 8, 5), *a, *b, *c, *d;
    hpt_dataset_info ia = {.struct_size = sizeof ia};
    char x[64], y[64];
    OK(hpt_dataset_split(all, 0.1, 3, &a, &b));
    OK(hpt_dataset_split(all, 0.5, 3, &c, &d));
    OK(hpt_dataset_get_info(a, &ia));
    CHECK(ia.count == 5);
    for (uint64_t i = 0; i < 5; i++) {      /* 10 % inside 50 %, outside the rest */
        int inside = 0;
        OK(hpt_dataset_name(a, i, x, sizeof x, NULL));
        for (uint64_t k = 0; k < 25; k++) {
            OK(hpt_dataset_name(c, k, y, sizeof y, NULL));
            inside |= !strcmp(x, y);
            OK(hpt_dataset_name(d, k, y, sizeof y, NULL));
            CHECK(strcmp(x, y));
        }
        CHECK(inside);
    }
}

static float *batches(hpt_dataset *ds, int workers, uint64_t first, uint64_t steps, int batch) {
    hpt__loader_spec s = {.ds = ds, .batch = batch, .size = 16, .workers = workers, .views = 2, .seed = 9,
                          .first_step = first, .steps = steps, .std = {1, 1, 1}};
    for (int v = 0; v < 2; v++) {
        hpt__augment_from_options(NULL, v, &s.augment[v]);
        s.augment[v].size = 16;
    }
    size_t n = (size_t)batch * 3 * 16 * 16;
    float *all = malloc((size_t)steps * 2 * n * 4);
    hpt__loader *l;
    hpt__batch b;
    OK(hpt__loader_create(&s, &l));
    for (uint64_t i = first; i < steps; i++) {
        OK(hpt__loader_next(l, &b, NULL));
        memcpy(all + i * 2 * n, b.view[0], n * 4);
        memcpy(all + (i * 2 + 1) * n, b.view[1], n * 4);
    }
    CHECK(hpt__loader_next(l, &b, NULL) == HPT_END);
    hpt__loader_destroy(l);
    return all;
}
TEST(loader_does_not_depend_on_workers_or_start) {
    hpt_context *ctx = context("reference", 2);
    /* the second is larger than the set: epochs follow inside a batch */
    for (int batch = 4; batch <= 50; batch += 46) {
        hpt_dataset *ds = toy_set(ctx, "", 22, 20, 2);
        size_t n = (size_t)batch * 3 * 16 * 16;
        float *one = batches(ds, 1, 0, 12, batch), *four = batches(ds, 4, 0, 12, batch),
            *late = batches(ds, 3, 7, 12, batch);
        CHECK(!memcmp(one, four, 12 * 2 * n * 4));
        CHECK(!memcmp(one + 7 * 2 * n, late + 7 * 2 * n, 5 * 2 * n * 4));
        CHECK(memcmp(one, one + n, n * 4));     /* the two views differ */
        hpt_dataset_destroy(ds);
    }
}
TEST(loader_reports_a_bad_image) {
    hpt_context *ctx = context("reference", 2);
    char *dir = temp_dir();
    for (int i = 0; i < 6; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d.png", i);
        if (i == 3) write_file(dir, name, "oops", 4);
        else copy_image(dir, name, "rgb.png");
    }
    hpt_dataset *ds;
    OK(hpt_dataset_open(ctx, NULL, dir, &ds));
    hpt_config *c =
        config("batch_size=6 image_size=16 moco_k=12 steps=2 arch=resnet10 width=16 stem=small bn_group=0 "
               "pixel_mean=0,0,0 pixel_std=1,1,1");
    hpt_model *m;
    hpt_session *s;
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_session_create(ctx, c, m, ds, &s));
    FAILS(HPT_ERR_DATA, "3.png", hpt_session_step(s, NULL));
    copy_image(dir, "3.png", "rgb.png");        /* mended: the same step can be tried again */
    OK(hpt_session_step(s, NULL));
}
