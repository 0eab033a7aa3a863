/* SPDX-License-Identifier: MIT
 * Known data sets from small copies of their downloads' layout: labels, splits, the check, and files that are
 * broken. */
#define _GNU_SOURCE
#include "io/jsonscan.h"
#include "io/mat.h"
#include "shell.h"
#include "ssl/labelled.h"
#include "core/alloc.h"
#include <sys/stat.h>
#include <zlib.h>

static char *root;
static void put(const char *name, const void *data, size_t n) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        mkdir(path, 0777);
        *p = '/';
    }
    FILE *f = fopen(path, "wb");
    CHECK(f && (!n || fwrite(data, 1, n, f) == n) && !fclose(f));
}
static void text(const char *name, const char *s) { put(name, s, strlen(s)); }
static void begin(void) { root = strdup(temp_dir()); }
static void end(void) {
    char command[300];
    snprintf(command, sizeof command, "rm -rf %s", root);
    CHECK(!system(command));
}
static hpt_dataset *named(hpt_context *ctx, const char *name, const char *split, uint64_t count, uint32_t classes,
                          int labelled) {
    hpt_dataset *ds;
    hpt_dataset_info info = {.struct_size = sizeof info};
    OK(hpt_dataset_named(ctx, NULL, name, root, split, &ds));
    OK(hpt_dataset_get_info(ds, &info));
    if (info.count != count || info.classes != classes || info.labelled != labelled)
        FAIL("%s %s: %llu images, %u classes, labelled %d", name, split, (unsigned long long)info.count, info.classes,
             info.labelled);
    return ds;
}

TEST(set_table) {
    hpt_set_info s = {.struct_size = sizeof s};
    int n = 0, several = 0;
    for (uint32_t i = 0; hpt_set_describe(i, &s) == HPT_OK; i++, n++) {
        several += s.several;
        CHECK(s.classes && s.images[0] && s.images[1] && s.images[2] && *s.name && *s.title && *s.split && *s.layout);
        int none = strstr(s.name, "126") != NULL;       /* nothing was published */
        for (int c = 0; c < 3; c++)
            CHECK(none ? s.mean[c] == 0 && s.std[c] == 0
                  : s.mean[c] > 0 && s.mean[c] < 1 && s.std[c] > 0 && s.std[c] < 1);
    }
    CHECK(n == 20 && several == 5);
    hpt_dataset *ds;
    FAILS(HPT_ERR_ARGUMENT, "resisc", hpt_dataset_named(context("reference", 1), NULL, "imagenet", ".", "train", &ds));
    FAILS(HPT_ERR_ARGUMENT, "train+val", hpt_dataset_named(context("reference", 1), NULL, "resisc", ".", "all", &ds));
}

TEST(domainnet_lists_and_check) {
    hpt_context *ctx = context("reference", 1);
    char list[4096] = "", name[80];
    hpt_result *r;
    double problems;
    uint64_t common;
    float mean[3], std[3];
    begin();
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "sketch/c%d/%d.jpg", i % 5, i);
        put(name, "", 0);
        snprintf(list + strlen(list), 100, "%s %d\n", name, i % 5);
    }
    text("sketch_train.txt", list);
    put("sketch/c1/t.jpg", "", 0);
    text("sketch_test.txt", "sketch/c1/t.jpg 1\n");
    hpt_dataset *train = named(ctx, "sketch", "train", 40, 345, 1), *val = named(ctx, "sketch", "val", 10, 345, 1),
        *both = named(ctx, "sketch", "train+val", 50, 345, 1);
    named(ctx, "sketch", "test", 1, 345, 1);
    OK(hpt_dataset_disjoint(train, val, &common));
    FAILS(HPT_ERR_ARGUMENT, "share 10 images", hpt_dataset_disjoint(both, val, &common));
    CHECK(common == 10);
    OK(hpt_dataset_stats(both, mean, std));             /* the published ones; no image is read */
    CHECK(fabsf(mean[0] - 0.8327f) < 1e-6f && fabsf(std[2] - 0.2810f) < 1e-6f);
    FAILS(HPT_ERR_MISMATCH, "40 images, 39292 are expected", hpt_dataset_check(ctx, NULL, "sketch", root, &r));
    OK(hpt_result_number(r, "problem_count", &problems));
    CHECK(problems == 4);                               /* three counts, and classes without an image */
    text("sketch_test.txt", "sketch/c1/t.jpg 1\nsketch/c1/gone.jpg 1\n");
    FAILS(HPT_ERR_IO, "line 2", hpt_dataset_named(ctx, NULL, "sketch", root, "test", &val));
    text("sketch_test.txt", "sketch/c1/t.jpg 345\n");
    FAILS(HPT_ERR_FORMAT, "345 classes", hpt_dataset_named(ctx, NULL, "sketch", root, "test", &val));
    end();
}

/* The 345 classes of one list and the 126 of another are the same by their folders, never by their numbers. */
TEST(domainnet_lists_for_adaptation) {
    static const char *const class_of[3] = {"airplane", "alarm_clock", "bee"};
    hpt_context *ctx = context("reference", 1);
    char path[120], line[160];
    for (int theirs = 0; theirs < 2; theirs++) {        /* lists beside the images, or as the original code has them */
        char lists[4][2000] = {"", "", "", ""}, big[2000] = "";
        const char *images = theirs ? "multi/" : "", *list = theirs ? "txt/multi/" : "";
        begin();
        for (int i = 0; i < 30; i++) {
            snprintf(path, sizeof path, "%sclipart/%s/clipart_%03d.png", images, class_of[i % 3], i);
            put(path, "", 0);
            snprintf(line, sizeof line, "clipart/%s/clipart_%03d.png %d\n", class_of[i % 3], i, i % 3);
            int at = i < 3 ? 0 : i < 6 ? 1 : 2;         /* labelled; validation, which is also unlabelled */
            strcat(lists[at], line);
            if (at == 1) strcat(lists[2], line);
            strcat(lists[3], line);
        }
        for (int i = 0; i < 6; i++) {                   /* another domain with DomainNet's own numbers */
            snprintf(path, sizeof path, "%sreal/%s/real_%03d.png", images, class_of[i % 3], i);
            put(path, "", 0);
            snprintf(line, sizeof line, "real/%s/real_%03d.png %d\n", class_of[i % 3], i, (i % 3) * 17 + 1);
            strcat(big, line);
        }
        static const char *const names[4] = {"labeled_target_images_clipart_3", "validation_target_images_clipart_3",
                                             "unlabeled_target_images_clipart_3", "labeled_source_images_clipart"};
        for (int i = 0; i < 4; i++) {
            snprintf(path, sizeof path, "%s%s.txt", list, names[i]);
            text(path, lists[i]);
        }
        hpt_dataset *labelled = named(ctx, "clipart126", "labelled-3", 3, 126, 1), *val = named(ctx, "clipart126",
            "val", 3, 126, 1), *rest = named(ctx, "clipart126", "unlabelled-3", 27, 126, 1), *all = named(ctx,
                "clipart126", "test", 27, 126, 1), *ds;
        named(ctx, "clipart126", "test-3", 27, 126, 1);
        named(ctx, "clipart126", "train", 30, 126, 1);
        OK(hpt_dataset_disjoint(labelled, rest, NULL));
        FAILS(HPT_ERR_ARGUMENT, "share 3 images", hpt_dataset_disjoint(val, all, NULL));
        char name[64];
        int32_t y;
        OK(hpt_dataset_class_name(val, 2, name, sizeof name, NULL));
        OK(hpt_dataset_label(val, 2, &y));
        CHECK(!strcmp(name, "bee") && y == 2);
        FAILS(HPT_ERR_ARGUMENT, "labelled-3", hpt_dataset_named(ctx, NULL, "clipart126", root, "train+val", &ds));
        FAILS(HPT_ERR_IO, "labeled_target_images_clipart_1.txt",
              hpt_dataset_named(ctx, NULL, "clipart126", root, "labelled-1", &ds));
        if (!theirs) {
            text("real_train.txt", big);
            text("real_test.txt", big);
            hpt_dataset *real = named(ctx, "real", "test", 6, 345, 1);
            int32_t *to;
            hpt__class_rule rule;
            OK(hpt__labels_match(real, val, "val", &rule, &to));
            CHECK(rule == HPT__CLASS_NAME && to[0] == 1 && to[1] == 18 && to[2] == 35);
            hpt__free(to);
        }
        /* a number with two folders, a folder with two numbers */
        snprintf(path, sizeof path, "%slabeled_target_images_clipart_3.txt", list);
        text(path, "clipart/bee/clipart_002.png 2\nclipart/airplane/clipart_000.png 2\n");
        FAILS(HPT_ERR_FORMAT, "line 2: label 2 is the folder 'airplane' here, and 'bee'",
              hpt_dataset_named(ctx, NULL, "clipart126", root, "labelled-3", &ds));
        text(path, "clipart/bee/clipart_002.png 2\nclipart/bee/clipart_005.png 3\n");
        FAILS(HPT_ERR_FORMAT, "both the folder 'bee'",
              hpt_dataset_named(ctx, NULL, "clipart126", root, "labelled-3", &ds));
        end();
    }
}

TEST(folders_in_three_parts) {
    hpt_context *ctx = context("reference", 1);
    char name[64];
    begin();
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "NWPU-RESISC45/class%02d/%03d.jpg", i % 4, i);
        put(name, "", 0);
    }
    hpt_dataset *a = named(ctx, "resisc", "train", 60, 4, 1), *b = named(ctx, "resisc", "val", 20, 4, 1),
        *c = named(ctx, "resisc", "test", 20, 4, 1);
    OK(hpt_dataset_disjoint(a, b, NULL));
    OK(hpt_dataset_disjoint(b, c, NULL));
    OK(hpt_dataset_disjoint(a, c, NULL));
    /* the paper's lists go before the seeded split */
    text("meta/train.txt", "NWPU-RESISC45/class00/000.jpg 0\n");
    text("meta/val.txt", "NWPU-RESISC45/class01/001.jpg 1\nNWPU-RESISC45/class02/002.jpg 2\n");
    named(ctx, "resisc", "train", 1, 45, 1);
    named(ctx, "resisc", "val", 2, 45, 1);
    end();
}

TEST(coco_annotations) {
    hpt_context *ctx = context("reference", 1);
    static const char train[] =
        "{\"info\": {\"x\": [1, {\"y\": null}]}, \"annotations\": [{\"image_id\": 9, \"category_id\": 90, "
        "\"segmentation\": [[1.5, 2e3]], \"bbox\": [0,0,1,1]}, {\"category_id\": 3, \"image_id\": 9},{\"image_id\": 5, "
        "\"category_id\": 3}], \"categories\": [{\"id\": 90, \"name\": \"toothbrush\"}, {\"supercategory\": "
        "\"vehicle\", \"id\": 3, \"name\": \"caf\\u00e9 \\\"car\\\"\"}],\"images\": [{\"id\": 9, \"file_name\": "
        "\"b.jpg\"}, {\"file_name\": \"a.jpg\", \"id\": 5}, {\"id\": 7, \"file_name\": \"c.jpg\"}]}";
    uint8_t t[2];
    char name[200], val[2000] = "{\"images\": [", path[300];
    hpt_dataset *ds;
    begin();
    text("annotations/instances_train2014.json", train);
    put("train2014/a.jpg", "", 0);
    put("train2014/b.jpg", "", 0);
    FAILS(HPT_ERR_IO, "c.jpg", hpt_dataset_named(ctx, NULL, "coco_2014", root, "train", &ds));
    put("train2014/c.jpg", "", 0);
    /* by image number: 5 7 9; classes by category number: 3, 90 */
    ds = named(ctx, "coco_2014", "train", 3, 2, 2);
    OK(hpt_dataset_targets(ds, 0, t, 2));
    CHECK(t[0] == 1 && t[1] == 0);
    OK(hpt_dataset_targets(ds, 1, t, 2));
    CHECK(t[0] == 0 && t[1] == 0);
    OK(hpt_dataset_targets(ds, 2, t, 2));
    CHECK(t[0] == 1 && t[1] == 1);
    OK(hpt_dataset_class_name(ds, 0, name, sizeof name, NULL));
    CHECK(!strcmp(name, "caf\xc3\xa9 \"car\""));
    for (int i = 0; i < 7; i++) {
        snprintf(name, sizeof name, "val2014/%d.jpg", i);
        put(name, "", 0);
        snprintf(val + strlen(val), 100, "%s{\"id\": %d, \"file_name\": \"%d.jpg\"}", i ? "," : "", i, i);
    }
    strcat(val, "], \"categories\": [{\"id\": 3, \"name\": \"car\"}], \"annotations\": []}");
    text("annotations/instances_val2014.json", val);
    hpt_dataset *a = named(ctx, "coco_2014", "val", 4, 1, 2), *b = named(ctx, "coco_2014", "test", 3, 1, 2);
    OK(hpt_dataset_disjoint(a, b, NULL));
    static const char *const bad[] = {"{\"images\": 3}", "[]", "{\"images\": [{\"id\": 1}]}",
                                      "{\"images\": [{\"id\": 1, \"file_name\": \"../x\"}]}",
                                      "{\"annotations\": [{\"image_id\": 1, \"category_id\": 1}]}",
                                      "{\"images\": [{\"id\": 1, \"file_name\": \"a.jpg\"}",
                                      "{\"images\": [{\"id\": true, \"file_name\": \"a.jpg\"}]}", ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        text("annotations/instances_train2014.json", bad[i]);
        FAILS(HPT_ERR_FORMAT, "instances_train2014.json", hpt_dataset_named(ctx, NULL, "coco_2014", root, "train",
            &ds));
    }
    snprintf(path, sizeof path, "%s/annotations/none.json", root);
    hpt__jscan s;
    FAILS(HPT_ERR_IO, "no such file", hpt__jscan_open(&s, path));
    end();
}

/* Every prefix of a text is either wrong or ends the scan; nothing is read behind it (the sanitizers look). */
TEST(json_scanner_on_broken_text) {
    static const char whole[] =
        "{\"a\": [1, -2.5e+3, true, null, \"x\\u0041\\ud83d\\ude00\\n\"], \"b\": {}, \"c\": []}";
    hpt__jscan s;
    hpt__jtoken t;
    for (size_t n = 0; n <= sizeof whole - 1; n++) {
        char *copy = malloc(n ? n : 1);
        memcpy(copy, whole, n);
        hpt__jscan_memory(&s, copy, n);
        int tokens = 0;
        while ((t = hpt__jscan_next(&s)) != HPT__J_ERROR && t != HPT__J_END) tokens++;
        CHECK((t == HPT__J_END) == (n == sizeof whole - 1));
        if (t == HPT__J_END) CHECK(tokens == 16);
        CHECK(hpt__jscan_next(&s) == t);
        free(copy);
    }
    static const char *const bad[] = {"{,}", "[1,]", "{\"a\" 1}", "[1 2]", "[01x]", "\"\\x\"", "\"\\ud800\"",
                                      "\"\\u0000\"", "nul", "[}", "{\"a\":1,}", "1 1", "\"\t\"", "-", "--1", "[1]]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        hpt__jscan_memory(&s, bad[i], strlen(bad[i]));
        while ((t = hpt__jscan_next(&s)) != HPT__J_ERROR) if (t == HPT__J_END) FAIL("%s was accepted", bad[i]);
    }
    char deep[200];
    memset(deep, '[', sizeof deep);
    hpt__jscan_memory(&s, deep, sizeof deep);
    int depth = 0;
    while (hpt__jscan_next(&s) == HPT__J_ARRAY) depth++;
    CHECK(depth == 64);
    hpt__jscan_memory(&s, whole, sizeof whole - 1);
    CHECK(hpt__jscan_skip(&s) && hpt__jscan_next(&s) == HPT__J_END);
}

TEST(voc_annotations) {
    hpt_context *ctx = context("reference", 1);
    uint8_t t[20];
    hpt_dataset *ds;
    begin();
    static const char xml[] =
        "<?xml version=\"1.0\"?><!-- <object> "
        "--><annotation><folder>x</folder><size><width>3</width></size><object><name>\n person "
        "</name><difficult>0</difficult><part><name>head</name><bndbox/></part>"
                              "</object><object><difficult>1</difficult><name>dog</name></object><object><name>cat</na"
                              "me></object></annotation>\n";
    for (int year = 2007; year <= 2012; year += 5) {
        char name[100];
        for (int i = 0; i < 5; i++) {
            snprintf(name, sizeof name, "VOCdevkit/VOC%d/Annotations/%d_%d.xml", year, year, i);
            text(name, xml);
            snprintf(name, sizeof name, "VOCdevkit/VOC%d/JPEGImages/%d_%d.jpg", year, year, i);
            put(name, "", 0);
        }
    }
    text("VOCdevkit/VOC2007/ImageSets/Main/trainval.txt", "2007_0\n2007_1\n2007_2\n");
    text("VOCdevkit/VOC2012/ImageSets/Main/trainval.txt", "2012_0\r\n2012_1\r\n");
    text("VOCdevkit/VOC2007/ImageSets/Main/test.txt", "2007_3\n2007_4");
    named(ctx, "pascal", "train", 4, 20, 2);
    named(ctx, "pascal", "val", 1, 20, 2);
    ds = named(ctx, "pascal", "test", 2, 20, 2);
    OK(hpt_dataset_targets(ds, 1, t, 20));
    int sum = 0;
    for (int k = 0; k < 20; k++) sum += t[k];
    /* person, cat; the dog is difficult, the head a part */
    CHECK(sum == 2 && t[14] == 1 && t[7] == 1 && t[11] == 0);
    static const char *const bad[] = {"<annotation><object><name>person</object></annotation>",
                                      "<annotation><object><name>unicorn</name></object></annotation>",
                                      "<annotation><object><name>cat</name>", "<annotation", "</a>",
                                      "<annotation><object><bndbox></bndbox></object></annotation>"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        text("VOCdevkit/VOC2007/Annotations/2007_3.xml", bad[i]);
        FAILS(HPT_ERR_FORMAT, "2007_3.xml", hpt_dataset_named(ctx, NULL, "pascal", root, "test", &ds));
    }
    for (size_t n = 0; n < sizeof xml; n++) {
        char cut[sizeof xml];
        snprintf(cut, sizeof cut, "%.*s", (int)n, xml);
        text("VOCdevkit/VOC2007/Annotations/2007_3.xml", cut);
        hpt_status st = hpt_dataset_named(ctx, NULL, "pascal", root, "test", &ds);
        CHECK(st == HPT_OK || st == HPT_ERR_FORMAT);
        if (!st) hpt_dataset_destroy(ds);
    }
    end();
}

TEST(chexpert_bdd_and_kids) {
    hpt_context *ctx = context("reference", 1);
    uint8_t t[5];
    int32_t y;
    hpt_dataset *ds;
    begin();
    put("valid/p1/a.jpg", "", 0);
    put("valid/p1/b.jpg", "", 0);
    text("valid.csv",
         "Path,Sex,\"No, Finding\",Cardiomegaly,Edema,Consolidation,Atelectasis,Pleural "
         "Effusion\nCheXpert-v1.0-small/valid/p1/a.jpg,F,\"x, "
         "\"\"y\"\"\",1.0,-1.0,,0.0,1.0\r\nCheXpert-v1.0-small/valid/p1/b.jpg,M,0.0,,,,,\n");
    ds = named(ctx, "chexpert", "test", 2, 5, 2);
    OK(hpt_dataset_targets(ds, 0, t, 5));
    CHECK(t[0] == 0 && t[1] == 1 && t[2] == 0 && t[3] == 0 && t[4] == 1);
    text("valid.csv", "Path,Cardiomegaly,Edema,Consolidation,Atelectasis\n");
    FAILS(HPT_ERR_FORMAT, "line 1: a column is missing", hpt_dataset_named(ctx, NULL, "chexpert", root, "test", &ds));
    text("valid.csv",
         "Path,Cardiomegaly,Edema,Consolidation,Atelectasis,Pleural Effusion\nvalid/p1/a.jpg,1.0,2.0,,,\n");
    FAILS(HPT_ERR_FORMAT, "line 2: '2.0'", hpt_dataset_named(ctx, NULL, "chexpert", root, "test", &ds));
    text("valid.csv", "Path,Cardiomegaly,Edema,Consolidation,Atelectasis,Pleural Effusion\nvalid/p1/a.jpg,1.0\n");
    FAILS(HPT_ERR_FORMAT, "line 2: fewer columns", hpt_dataset_named(ctx, NULL, "chexpert", root, "test", &ds));

    text("labels/bdd100k_labels_images_val.json",
         "[{\"name\": \"a.jpg\", \"attributes\": {\"scene\": \"city\", \"weather\": \"rainy\"}, \"labels\": "
         "[{\"box2d\": {\"x1\": 1.5}}]},{\"attributes\": {\"weather\": \"undefined\"}, \"name\": \"u.jpg\"}, "
         "{\"name\": \"b.jpg\", \"attributes\": {\"weather\": \"clear\"}}]");
    put("images/100k/val/a.jpg", "", 0);
    put("images/100k/val/b.jpg", "", 0);
    ds = named(ctx, "bdd", "test", 2, 6, 1);
    OK(hpt_dataset_label(ds, 0, &y));
    CHECK(y == 4);
    text("labels/bdd100k_labels_images_val.json", "[{\"name\": \"a.jpg\", \"attributes\": {\"weather\": 3}}]");
    FAILS(HPT_ERR_FORMAT, "at byte", hpt_dataset_named(ctx, NULL, "bdd", root, "test", &ds));

    put("test/NORMAL/NORMAL-1-1.jpeg", "", 0);
    put("test/PNEUMONIA/BACTERIA-1-1.jpeg", "", 0);
    put("test/PNEUMONIA/VIRUS-7-1.jpeg", "", 0);
    ds = named(ctx, "chest_xray_kids", "test", 3, 3, 1);
    put("test/PNEUMONIA/what.jpeg", "", 0);
    FAILS(HPT_ERR_FORMAT, "what.jpeg", hpt_dataset_named(ctx, NULL, "chest_xray_kids", root, "test", &ds));
    end();
}

/* A level 5 file with one uint8 and one double matrix, the second compressed. */
static size_t matrix(uint8_t *to, const char *name, int type, const void *data, uint32_t bytes) {
    uint32_t n = (uint32_t)strlen(name), at = 8;
    const uint32_t head[] = {6, 8, 6, 0, 5, 8, 1, bytes / (type == 9 ? 8 : 1)};
    memcpy(to + at, head, sizeof head);
    at += sizeof head;
    memcpy(to + at, (const uint32_t[]){1, n}, 8);
    memcpy(to + at + 8, name, n);
    at += 8 + (n + 7) / 8 * 8;
    memcpy(to + at, (const uint32_t[]){(uint32_t)type, bytes}, 8);
    memcpy(to + at + 8, data, bytes);
    at += 8 + (bytes + 7) / 8 * 8;
    memcpy(to, (const uint32_t[]){14, at - 8}, 8);
    return at;
}
static size_t mat_file(uint8_t *f, const char *a, const uint8_t *x, uint32_t nx, const char *b, const double *y,
                       uint32_t ny) {
    uint8_t plain[4096] = {0};
    memset(f, 0, 4096);
    memcpy(f + 124, "\0\1IM", 4);
    size_t at = 128 + matrix(f + 128, a, 2, x, nx), n = matrix(plain, b, 9, y, ny * 8);
    uLongf packed = 2048;
    CHECK(compress(f + at + 8, &packed, plain, n) == Z_OK);
    memcpy(f + at, (const uint32_t[]){15, (uint32_t)packed}, 8);
    return at + 8 + packed;
}
TEST(flowers_from_matlab_files) {
    hpt_context *ctx = context("reference", 1);
    uint8_t f[4096], labels[6] = {77, 1, 102, 5, 5, 6};
    double ids[2] = {3, 1}, *v;
    uint64_t n;
    int32_t y;
    char name[64];
    hpt_dataset *ds;
    begin();
    size_t bytes = mat_file(f, "labels", labels, 6, "other", ids, 2);
    put("imagelabels.mat", f, bytes);
    for (size_t k = 0; k < bytes; k++) {            /* cut anywhere: an error or another array, never a crash */
        uint8_t *copy = malloc(k ? k : 1);
        memcpy(copy, f, k);
        if (!hpt__mat_parse(copy, k, "other", &v, &n)) FAIL("a file cut at %zu was accepted", k);
        if (!hpt__mat_parse(copy, k, "labels", &v, &n)) hpt__free(v);
        free(copy);
    }
    bytes = mat_file(f, "x", labels, 3, "tstid", ids, 2);
    put("setid.mat", f, bytes);
    FAILS(HPT_ERR_IO, "image_00003.jpg", hpt_dataset_named(ctx, NULL, "flowers", root, "test", &ds));
    for (int i = 1; i < 7; i++) {
        snprintf(name, sizeof name, "jpg/image_%05d.jpg", i);
        put(name, "", 0);
    }
    ds = named(ctx, "flowers", "test", 2, 102, 1);
    OK(hpt_dataset_label(ds, 0, &y));
    CHECK(y == 101);
    OK(hpt_dataset_label(ds, 1, &y));
    CHECK(y == 76);
    FAILS(HPT_ERR_FORMAT, "no numeric array 'trnid'", hpt_dataset_named(ctx, NULL, "flowers", root, "train", &ds));
    ids[0] = 9;
    bytes = mat_file(f, "x", labels, 3, "tstid", ids, 2);
    put("setid.mat", f, bytes);
    FAILS(HPT_ERR_FORMAT, "out of range", hpt_dataset_named(ctx, NULL, "flowers", root, "test", &ds));
    end();
}

TEST(a_descriptor_of_ones_own) {
    hpt_context *ctx = context("reference", 1);
    char path[300], name[64];
    hpt_dataset *ds;
    hpt_result *r;
    begin();
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "all/%s/%d.png", i % 2 ? "odd" : "even", i);
        put(name, "", 0);
    }
    text("t.txt", "all/odd/1.png 1\n");
    text("mine.ini",
         "[dataset]\nname = mine\nclasses = 2\nlabels = one\ntrain = all\nimages = 16,4,0\nmean = 0.5,0.5,0.5\nstd = "
         "0.2,0.2,0.2\n");
    snprintf(path, sizeof path, "%s/mine.ini", root);
    OK(hpt_dataset_named(ctx, NULL, path, NULL, "train+val", &ds));
    OK(hpt_dataset_check(ctx, NULL, path, NULL, &r));
    text("mine.ini", "[dataset]\nname = mine\nclasses = 3\ntrain = all\ntest = t.txt\nimages = 16,4,1\n");
    FAILS(HPT_ERR_MISMATCH, "2 classes, 3 are expected", hpt_dataset_check(ctx, NULL, path, NULL, &r));
    text("mine.ini", "[dataset]\nname = mine\ntrain = all\ntest = t.txt\nimages = 16,4,1\n");
    /* whichever part of the seeded split it is in */
    FAILS(HPT_ERR_MISMATCH, "share 1 images", hpt_dataset_check(ctx, NULL, path, NULL, &r));
    text("mine.ini", "[dataset]\nnmae = x\n");
    FAILS(HPT_ERR_FORMAT, "'nmae = x'", hpt_dataset_named(ctx, NULL, path, NULL, "train", &ds));
    text("mine.ini", "[dataset]\nname = x\n");
    FAILS(HPT_ERR_FORMAT, "'train = ...' is missing", hpt_dataset_named(ctx, NULL, path, NULL, "train", &ds));
    end();
}

/* A check that is stopped is no check: what was not looked at is not a problem of the set. */
TEST(a_stopped_check_finds_nothing) {
    char *dir = temp_dir(), path[300];
    hpt_context *ctx = context("reference", 1);
    hpt_result *r = NULL;
    stripes(dir, 3);
    snprintf(path, sizeof path, "%s/s.ini", dir);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs("[dataset]\nname = s\ntrain = set\ntest = set\n", f) >= 0 && !fclose(f));
    OK(hpt_context_cancel(ctx));
    FAILS(HPT_ERR_CANCELLED, "cancelled", hpt_dataset_check(ctx, NULL, path, NULL, &r));
    CHECK(!r);
    FAILS(HPT_ERR_MISMATCH, "problem", hpt_dataset_check(ctx, NULL, path, NULL, &r));      /* train is test */
    hpt_result_destroy(r);
    hpt_context_destroy(ctx);
}
