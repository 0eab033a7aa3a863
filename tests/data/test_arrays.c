/* SPDX-License-Identifier: MIT
 * Images and labels in arrays: npy, npz and IDX of every order and type, what is refused with which
 * words, and what bombs cost. */
#define _GNU_SOURCE
#include "core/alloc.h"
#include "data/dataset.h"
#include "io/file.h"
#include "files.h"
#include <time.h>
#include <unistd.h>
#include <zlib.h>

/* An npy array: descr "'|u1'", order "False", shape "(2, 3)". */
static bytes npy_of(int version, const char *descr, const char *order, const char *shape, const void *data, size_t n) {
    bytes b = {0};
    char head[300];
    int len = snprintf(head, sizeof head, "{'descr': %s, 'fortran_order': %s, 'shape': %s, }\n", descr, order, shape);
    more(&b, "\x93NUMPY", 6);
    le(&b, (uint64_t)version, 1);
    le(&b, 0, 1);
    le(&b, (uint64_t)len, version > 1 ? 4 : 2);
    more(&b, head, (size_t)len);
    more(&b, data, n);
    return b;
}
/* A zip of arrays, deflated or stored. */
static void npz_put(const char *file, int deflate_them, int n, const char *const *names, const bytes *arrays) {
    bytes z = {0}, dir = {0};
    for (int i = 0; i < n; i++) {
        char name[100];
        size_t len = (size_t)snprintf(name, sizeof name, "%s.npy", names[i]), at = z.n, packed = arrays[i].n;
        uint8_t *out = arrays[i].p;
        uint32_t crc = (uint32_t)crc32(0, arrays[i].p, (uInt)arrays[i].n);
        if (deflate_them) {
            z_stream s;
            memset(&s, 0, sizeof s);
            CHECK(deflateInit2(&s, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY) == Z_OK);
            size_t cap = deflateBound(&s, arrays[i].n);
            out = malloc(cap);
            s.next_in = arrays[i].p;
            s.avail_in = (uInt)arrays[i].n;
            s.next_out = out;
            s.avail_out = (uInt)cap;
            CHECK(deflate(&s, Z_FINISH) == Z_STREAM_END);
            packed = s.total_out;
            deflateEnd(&s);
        }
        for (int central = 0; central < 2; central++) {
            bytes *b = central ? &dir : &z;
            le(b, central ? 0x02014b50 : 0x04034b50, 4);
            le(b, 20, central ? 4 : 2);
            le(b, 0, 2);
            le(b, deflate_them ? 8 : 0, 2);
            le(b, 33u << 16, 4);
            le(b, crc, 4);
            le(b, packed, 4);
            le(b, arrays[i].n, 4);
            le(b, len, 2);
            le(b, 0, 2);
            if (central) le(b, 0, 8), le(b, 0, 2), le(b, at, 4);
            more(b, name, len);
        }
        more(&z, out, packed);
        if (deflate_them) free(out);
    }
    size_t at = z.n;
    more(&z, dir.p, dir.n);
    le(&z, 0x06054b50, 4);
    le(&z, 0, 4);
    le(&z, (uint64_t)n, 2);
    le(&z, (uint64_t)n, 2);
    le(&z, dir.n, 4);
    le(&z, at, 4);
    le(&z, 0, 2);
    put(file, z.p, z.n);
    free(z.p);
    free(dir.p);
}
/* Images and labels of one npz, deflated and stored. */
static void pair_put(const char *file, int deflate_them, bytes images, bytes labels) {
    static const char *const names[] = {"images", "labels"};
    npz_put(file, deflate_them, labels.p ? 2 : 1, names, (bytes[]){images, labels});
}

enum { AN = 3, AH = 5, AW = 6 };
/* The value of pixel (i, y, x, c), the same whatever way it is stored. */
static int pixel(int i, int y, int x, int c) { return 60 * (i + 1) + 7 * y + x + 20 * c; }
static void images_are(hpt_context *ctx, const char *options, const char *path, int channels, const char *labels) {
    hpt_config *c = config(options);
    hpt_dataset *ds;
    hpt_dataset_info info = {.struct_size = sizeof info};
    char got[64] = "";
    *said = 0;
    hpt_status st = hpt_dataset_open(ctx, c, at(path), &ds);
    if (st) FAIL("%s: %s", path, hpt_last_error());
    OK(hpt_dataset_get_info(ds, &info));
    CHECK(info.count == AN && ds->src->h == AH && ds->src->w == AW && ds->src->channels == channels);
    for (int i = 0; i < AN; i++) {
        for (int y = 0; y < AH; y++)
            for (int x = 0; x < AW; x++)
                for (int k = 0; k < channels; k++) {
                    int v = ds->src->pixels[((i * AH + y) * AW + x) * channels + k];
                    if (v != pixel(i, y, x, k))
                        FAIL("%s: pixel %d,%d,%d,%d is %d, not %d", path, i, y, x, k, v, pixel(i, y, x, k));
                }
        int32_t y;
        OK(hpt_dataset_label(ds, (uint64_t)i, &y));
        snprintf(got + strlen(got), sizeof got - strlen(got), "%d ", y);
        uint8_t t[2];
        if (info.labelled == 2) OK(hpt_dataset_targets(ds, (uint64_t)i, t, 2));
        if (info.labelled == 2) snprintf(got + strlen(got), sizeof got - strlen(got), "%d%d ", t[0], t[1]);
    }
    if (strcmp(got, labels)) FAIL("%s: labels are %s, not %s", path, got, labels);
    hpt_dataset_destroy(ds);
    hpt_config_destroy(c);
}
/* Pixels as elements of a type, in C order, Fortran order, or with channels first. */
static bytes stored(const char *type, const char *order, int channels, double scale) {
    bytes b = {0};
    int first = !strcmp(order, "first"), fortran = !strcmp(order, "True");
    const int n[4] = {AN, AH, AW, channels}, walk[3][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {0, 3, 1, 2}};
    const int *axes = walk[first ? 2 : fortran];
    int at[4];
    for (at[axes[0]] = 0; at[axes[0]] < n[axes[0]]; at[axes[0]]++)
        for (at[axes[1]] = 0; at[axes[1]] < n[axes[1]]; at[axes[1]]++)
            for (at[axes[2]] = 0; at[axes[2]] < n[axes[2]]; at[axes[2]]++)
                for (at[axes[3]] = 0; at[axes[3]] < n[axes[3]]; at[axes[3]]++) {
                    double v = pixel(at[0], at[1], at[2], at[3]) * scale;
                    int size = type[2] - '0';
                    uint8_t raw[8] = {0};
                    float f = (float)v;
                    uint64_t u = (uint64_t)(int64_t)v;
                    if (type[1] == 'f' && size == 4) memcpy(raw, &f, 4);
                    else if (type[1] == 'f' && size == 8) memcpy(raw, &v, 8);
                    else memcpy(raw, &u, 8);
                    for (int k = 0; k < size; k++) more(&b, &raw[type[0] == '>' ? size - 1 - k : k], 1);
                }
    char descr[8], shape[40];
    snprintf(descr, sizeof descr, "'%s'", type);
    if (channels == 1) snprintf(shape, sizeof shape, first ? "(%d, 1, %d, %d)" : "(%d, %d, %d)", AN, AH, AW);
    else if (first) snprintf(shape, sizeof shape, "(%d, %d, %d, %d)", AN, channels, AH, AW);
    else snprintf(shape, sizeof shape, "(%d, %d, %d, %d)", AN, AH, AW, channels);
    return npy_of(1, descr, fortran ? "True" : "False", shape, b.p, b.n);
}
static bytes labels_of(const char *descr, const char *shape, const void *p, size_t n) {
    return npy_of(1, descr, "False", shape, p, n);
}

TEST(arrays_of_every_order_and_type) {
    hpt_context *ctx = listening();
    static const uint8_t u1[] = {2, 0, 1};
    static const uint8_t big[] = {0, 2, 0, 0, 0, 1}, bits[] = {1, 0, 1}, rows[] = {1, 0, 1, 1, 0, 1},
        fortran[] = {1, 1, 0, 0, 1, 1}, hot[] = {1, 0, 0, 1, 1, 0};
    static const double f8[] = {2, 0, 1};
    static const float f4[] = {2, 0, 1};
    static const uint16_t f2[] = {0x4000, 0, 0x3c00};
    static const int64_t i8[] = {2, 0, 1};
    bytes images = stored("|u1", "False", 3, 1), none = {0};
    begin();
    static const char *const orders[] = {"False", "True", "first"};
    static const char *const types[] = {"|u1", "<i2", ">u2", ">i4", "<u8", "<f4", ">f4", ">f8", "<i8"};
    for (int deflated = 0; deflated < 2; deflated++)
        for (size_t o = 0; o < 3; o++)
            for (int channels = 1; channels <= 3; channels += 2)
                for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
                    bytes b = stored(types[t], orders[o], channels, 1);
                    pair_put("a.npz", deflated, b, labels_of("'|u1'", "(3,)", u1, 3));
                    images_are(ctx, "", "a.npz", channels, "2 0 1 ");
                    if (o == 2) SAID("channels before height and width");
                    put("a.npy", b.p, b.n);
                    images_are(ctx, "", "a.npy", channels, "-1 -1 -1 ");
                    free(b.p);
                }
    bytes unit = stored("<f8", "False", 3, 1 / 255.0);
    pair_put("unit.npz", 1, unit, none);
    images_are(ctx, "", "unit.npz", 3, "-1 -1 -1 ");
    SAID("times 255");
    /* labels: a column, any type that holds whole numbers, one 0 or 1 a class */
    const struct { bytes b; const char *want; } labels[] = {
        {labels_of("'|u1'", "(3, 1)", u1, 3), "2 0 1 "}, {labels_of("'>i2'", "(3,)", big, 6), "2 0 1 "},
            {labels_of("'<f8'", "(3, 1)", f8, 24), "2 0 1 "}, {labels_of("'<f4'", "(3,)", f4, 12), "2 0 1 "},
        {labels_of("'<f2'", "(3L, 1L)", f2, 6), "2 0 1 "}, {labels_of("'<i8'", "(3, 1)", i8, 24), "2 0 1 "},
        {labels_of("'|b1'", "(3,)", bits, 3), "1 0 1 "}, {labels_of("'|u1'", "(3, 1)", bits, 3), "1 0 1 "},
        {labels_of("'|u1'", "(3, 2)", rows, 6), "-1 10 -1 11 -1 01 "},
        {npy_of(1, "'|u1'", "True", "(3, 2)", fortran, 6), "-1 10 -1 11 -1 01 "},
        {npy_of(2, "'|u1'", "False", "(3,)", u1, 3), "2 0 1 "},
        {npy_of(3, "'|u1'", "True", "(3,)", u1, 3), "2 0 1 "}};
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        pair_put("l.npz", (int)i & 1, images, labels[i].b);
        images_are(ctx, "", "l.npz", 3, labels[i].want);
    }
    pair_put("hot.npz", 0, images, labels_of("'|u1'", "(3, 2)", hot, 6));
    images_are(ctx, "", "hot.npz", 3, "-1 10 -1 01 -1 10 ");
    SAID("every image has exactly one of 2 labels");
    /* names of arrays as others give them */
    bytes l = labels_of("'|u1'", "(3, 1)", u1, 3);
    static const char *const med[] = {"train_images", "train_labels", "val_images", "val_labels"},
        *const keras[] = {"x_train", "y_train"};
    npz_put("med.npz", 1, 4, med, (bytes[]){images, l, images, l});
    images_are(ctx, "npz_images=val_images npz_labels=val_labels", "med.npz", 3, "2 0 1 ");
    images_are(ctx, "npz_images=val_images", "med.npz", 3, "2 0 1 ");
    npz_put("keras.npz", 1, 2, keras, (bytes[]){images, l});
    images_are(ctx, "npz_images=x_train", "keras.npz", 3, "2 0 1 ");
    put("labels.npy", l.p, l.n);
    put("images.npy", images.p, images.n);
    char option[200];
    snprintf(option, sizeof option, "labels_file=%s", at("labels.npy"));
    images_are(ctx, option, "images.npy", 3, "2 0 1 ");
    memory_runs_out(ctx, "l.npz");
    memory_runs_out(ctx, "images.npy");
    end();
}

TEST(arrays_that_are_refused_say_why) {
    hpt_context *ctx = listening();
    hpt_dataset *ds;
    uint8_t zero[600] = {0};
    double half[6] = {0.5, -1, 3, NAN, 1e300, 2};
    bytes images = npy_of(1, "'|u1'", "False", "(2, 6, 6)", zero, 72), ok = npy_of(1, "'|u1'", "False", "(2,)", zero,
        2);
    begin();
    const struct { bytes images, labels; const char *word; } bad[] = {
        {npy_of(1, "'|u1'", "False", "(20, 30)", zero, 600), ok, "20 rows of 30 values"},
        {npy_of(1, "'|u1'", "False", "(6, 6, 3)", zero, 108), ok, "looks like one image"},
        {npy_of(1, "'|u1'", "False", "(2, 6, 6, 4)", zero, 288), ok, "4 channels"},
        {npy_of(1, "'|u1'", "False", "(1, 2, 6, 6, 1)", zero, 72), ok, "more than 4 dimensions"},
        {npy_of(1, "'<f8'", "False", "(1, 1, 6)", half, 48), ok, "is not a number"},
        {npy_of(1, "'<f8'", "False", "(1, 1, 3)", half, 24), ok, "values from -1 to 3, neither"},
        {npy_of(1, "'<i2'", "False", "(2, 6, 6)", zero, 144), ok, "values from 0 to 0"},
        {npy_of(1, "'|O'", "False", "(2, 6, 6)", zero, 72), ok, "Python objects"},
        {npy_of(1, "'<c8'", "False", "(2, 6, 6)", zero, 576), ok, "element type '<c8'"},
        {npy_of(1, "[('a', '|u1')]", "False", "(2, 6, 6)", zero, 72), ok, "array of records"},
        {npy_of(1, "'|u1'", "False", "(2, 6, 7)", zero, 72), ok, "shape and number of bytes differ"},
        {npy_of(4, "'|u1'", "False", "(2, 6, 6)", zero, 72), ok, "not an npy array"},
        {npy_of(1, "'|u1'", "Maybe", "(2, 6, 6)", zero, 72), ok, "not a plain array"},
        {images, npy_of(1, "'<f8'", "False", "(2,)", half, 16), "label 0.5 of image 0 is no whole number"},
        {images, npy_of(1, "'<f8'", "False", "(2,)", half + 3, 16), "is no whole number"},
        {images, npy_of(1, "'|i1'", "False", "(2,)", "\377\0", 2), "label -1 of image 0"},
        {images, npy_of(1, "'|u1'", "False", "(2, 3)", "\0\1\0\0\2\0", 6),
         "label value 2 of image 1 is neither 0 nor 1"},
        {images, npy_of(1, "'<U3'", "False", "(2,)", zero, 24), "labels of arrays are numbers"},
        {images, npy_of(1, "'|u1'", "False", "(3,)", zero, 3), "2 images, but labels of shape (3)"},
        {images, npy_of(1, "'|u1'", "False", "(1, 2)", zero, 2), "2 images, but labels of shape (1,2)"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pair_put("bad.npz", (int)i & 1, bad[i].images, bad[i].labels);
        FAILS(HPT_ERR_FORMAT, bad[i].word, hpt_dataset_open(ctx, NULL, at("bad.npz"), &ds));
    }
    static const char *const med[] = {"train_images", "train_labels"};
    npz_put("med.npz", 0, 2, med, (bytes[]){images, ok});
    FAILS(HPT_ERR_FORMAT,
          "no array 'images'; there are train_images, train_labels (options npz_images=train_images "
          "npz_labels=train_labels)", hpt_dataset_open(ctx, NULL, at("med.npz"), &ds));
    hpt_config *c = config("npz_images=train_images npz_labels=gone");
    FAILS(HPT_ERR_FORMAT, "no array 'gone'", hpt_dataset_open(ctx, c, at("med.npz"), &ds));
    static const char *const other[] = {"images", "ys"};
    npz_put("other.npz", 0, 2, other, (bytes[]){images, ok});
    OK(hpt_dataset_open(ctx, NULL, at("other.npz"), &ds));
    CHECK(strstr(ds->src->unlabelled_why, "has no array 'labels'; there are images, ys; option npz_labels names one"));
    /* checksums of both ways */
    for (int deflated = 0; deflated < 2; deflated++) {
        pair_put("sum.npz", deflated, images, ok);
        hpt__bytes f;
        OK(hpt__file_read(at("sum.npz"), 1 << 20, &f));
        f.p[deflated ? 60 : 150] ^= 1;
        put("sum.npz", f.p, f.n);
        hpt_status st = hpt_dataset_open(ctx, NULL, at("sum.npz"), &ds);
        CHECK(st == HPT_ERR_FORMAT);
        hpt__free(f.p);
    }
    end();
}

/* An eighth of a megabyte that inflates to 128 is refused in time, and before memory for it is taken. */
TEST(arrays_that_are_bombs) {
    hpt_context *ctx = listening();
    hpt_dataset *ds;
    const size_t n = 1ull << 27;
    bytes lie = npy_of(1, "'|u1'", "False", "(1, 4, 4)", NULL, 0),
        honest = npy_of(1, "'|u1'", "False", "(128, 1024, 1024)", NULL, 0);
    begin();
    lie.p = realloc(lie.p, lie.n + n);
    memset(lie.p + lie.n, 0, n);
    lie.n += n;
    honest.p = realloc(honest.p, honest.n + n);
    memset(honest.p + honest.n, 0, n);
    honest.n += n;
    for (int k = 0; k < 2; k++) {
        pair_put("bomb.npz", 1, k ? honest : lie, (bytes){0});
        double begin_s = seconds();
        FAILS(HPT_ERR_FORMAT, k ? "inflates to more than 128 times" : "shape and number of bytes differ",
              hpt_dataset_open(ctx, NULL, at("bomb.npz"), &ds));
        CHECK(seconds() - begin_s < 0.5);
    }
    /* IDX, honest in its own way */
    uint8_t head[16] = {0, 0, 8, 3, 0, 0, 0, 128, 0, 0, 4, 0, 0, 0, 4, 0};
    gzFile g = gzopen(at("z-images-idx3-ubyte.gz"), "wb9");
    CHECK(g && gzwrite(g, head, sizeof head) == sizeof head);
    CHECK(gzwrite(g, honest.p + honest.n - n, (unsigned)n) == (int)n);
    CHECK(gzclose(g) == Z_OK);
    FAILS(HPT_ERR_FORMAT, "inflates to more than 128 times", hpt_dataset_open(ctx, NULL, at("z-images-idx3-ubyte.gz"),
        &ds));
    free(lie.p);
    free(honest.p);
    end();
}
TEST(idx_files_by_path) {
    hpt_context *ctx = listening();
    uint8_t images[16 + AN * AH * AW] = {0, 0, 8, 3, 0, 0, 0, AN, 0, 0, 0, AH, 0, 0, 0, AW};
    static const uint8_t labels[8 + AN] = {0, 0, 8, 1, 0, 0, 0, AN, 2, 0, 1};
    hpt_dataset *ds;
    begin();
    for (int i = 0; i < AN * AH * AW; i++) images[16 + i] = (uint8_t)pixel(i / (AH * AW), i / AW % AH, i % AW, 0);
    put("t-images-idx3-ubyte", images, sizeof images);
    images_are(ctx, "", "t-images-idx3-ubyte", 1, "-1 -1 -1 ");
    put("t-labels-idx1-ubyte", labels, sizeof labels);
    images_are(ctx, "", "t-images-idx3-ubyte", 1, "2 0 1 ");
    for (int k = 0; k < 2; k++) {
        gzFile g = gzopen(at(k ? "z-labels-idx1-ubyte.gz" : "z-images-idx3-ubyte.gz"), "wb");
        CHECK(g && gzwrite(g, k ? labels : images, k ? sizeof labels : sizeof images) > 0 && gzclose(g) == Z_OK);
    }
    images_are(ctx, "", "z-images-idx3-ubyte.gz", 1, "2 0 1 ");
    memory_runs_out(ctx, "z-images-idx3-ubyte.gz");
    images[2] = 0x0d;
    put("t-images-idx3-ubyte", images, sizeof images);
    FAILS(HPT_ERR_FORMAT, "elements of type 0x0d", hpt_dataset_open(ctx, NULL, at("t-images-idx3-ubyte"), &ds));
    end();
}
