/* SPDX-License-Identifier: MIT
 * What lies beside images: only regular files are opened whatever reads them; JSON, descriptors, annotations, MATLAB
 * files and kept state, right and wrong. */
#define _GNU_SOURCE
#include "core/alloc.h"
#include "io/file.h"
#include "io/jsonscan.h"
#include "io/mat.h"
#include "io/statefile.h"
#include "files.h"
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zlib.h>

/* A pipe, socket, device or folder with the name of a file is refused at once, whatever reads it. */
TEST_LIMIT(only_regular_files_are_opened, 20) {
    static const char *const ends[] = {"x.png", "x.txt", "x.npz", "x-idx3-ubyte", "x.ini", "x.pth", "x.safetensors"};
    hpt_context *ctx = context("reference", 1);
    hpt_config *c = config("arch=resnet10 width=16 stem=small");
    hpt_dataset *ds;
    hpt_model *m;
    uint8_t rgb[8 * 8 * 3];
    begin();
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        for (int kind = 0; kind < 4; kind++) {
            struct sockaddr_un a = {.sun_family = AF_UNIX};
            char name[64];
            static const char *const words[] = {"a pipe", "a socket", "a folder", "a device"};
            snprintf(name, sizeof name, "%d/%s", kind, ends[i]);
            text(name, "");
            CHECK(!unlink(at(name)));
            if (kind == 0) CHECK(!mkfifo(at(name), 0666));
            if (kind == 1) {
                int s = socket(AF_UNIX, SOCK_STREAM, 0);
                snprintf(a.sun_path, sizeof a.sun_path, "%s", at(name));
                CHECK(!bind(s, (struct sockaddr *)&a, sizeof a));
            }
            if (kind == 2) CHECK(!mkdir(at(name), 0777));
            if (kind == 3) CHECK(!symlink("/dev/zero", at(name)));
            hpt__bytes f;
            FAILS(HPT_ERR_IO, words[kind], hpt__file_read(at(name), 1 << 20, &f));
            hpt__jscan s;
            FAILS(HPT_ERR_IO, "not a regular file", hpt__jscan_open(&s, at(name)));
            if (i >= 5) FAILS(HPT_ERR_IO, "not a regular file", hpt_model_load(ctx, c, at(name), &m, NULL));
            else if (i == 4)
                FAILS(HPT_ERR_IO, "not a regular file", hpt_dataset_named(ctx, NULL, at(name), NULL, "train", &ds));
            else if (kind != 2) {
                hpt_status st = hpt_dataset_open(ctx, NULL, at(name), &ds);
                if (!st) st = hpt_dataset_image(ds, NULL, 0, 8, rgb);
                FAILS(st, "not a regular file", st);
            }
        }
    end();
}

/* A file is scanned in blocks; what crosses their borders reads as it does from memory. */
TEST(json_in_blocks) {
    size_t n = 0, cap = 1 << 20;
    char *all = malloc(cap);
    hpt__jscan a, b;
    all[n++] = '[';
    for (int i = 0; n < cap - 3000; i++) {
        int pad = (int)(hash_at((uint64_t)i, 5) % 700);
        n += (size_t)sprintf(all + n, "%s{\"k%*s\\u00e9\\ud83d\\ude00\": [%d.25e1, true,%*s null, \"\\n%*s\"]}",
                             i ? "," : "", pad, "x", i, pad % 31, "", pad, "\\\\");
    }
    all[n++] = ']';
    begin();
    put("a.json", all, n);
    OK(hpt__jscan_open(&a, at("a.json")));
    hpt__jscan_memory(&b, all, n);
    for (uint64_t count = 0;; count++) {
        hpt__jtoken x = hpt__jscan_next(&a), y = hpt__jscan_next(&b);
        if (x != y || hpt__jscan_at(&a) != hpt__jscan_at(&b))
            FAIL("token %llu: %d at %llu, in memory %d at %llu", (unsigned long long)count, x,
                 (unsigned long long)hpt__jscan_at(&a), y, (unsigned long long)hpt__jscan_at(&b));
        if (x == HPT__J_KEY || x == HPT__J_STRING) CHECK(!strcmp(a.text, b.text));
        if (x == HPT__J_NUMBER) CHECK(a.number == b.number);
        CHECK(x != HPT__J_ERROR);
        if (x == HPT__J_END) {
            CHECK(count > 3000);
            break;
        }
    }
    hpt__jscan_close(&a);
    /* cut by somebody else while it is read: an end too early, no signal */
    OK(hpt__jscan_open(&a, at("a.json")));
    CHECK(hpt__jscan_next(&a) == HPT__J_ARRAY && !truncate(at("a.json"), 1 << 17));
    hpt__jtoken t;
    while ((t = hpt__jscan_next(&a)) != HPT__J_ERROR) CHECK(t != HPT__J_END);
    CHECK(hpt__jscan_at(&a) <= 1 << 17);
    hpt__jscan_close(&a);
    free(all);
    end();
}

/* Descriptor files: byte order mark, CRLF, comments, long lines; errors name the line. */
TEST(descriptor_lines) {
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds;
    char deep[300], ini[800];
    begin();
    snprintf(deep, sizeof deep, "%s",
             "long-name-of-a-folder-that-goes-on-and-on/long-name-of-a-folder-that-goes-on-and-on/long-name-of-a-"
             "folder-that-goes-on-and-on/"
                                      "long-name-of-a-folder-that-goes-on-and-on/long-name-of-a-folder-that-goes-on-an"
                                      "d-on/long-name-of-a-folder-that-goes-on-and-on");
    for (int i = 0; i < 4; i++) {
        char name[800];
        snprintf(name, sizeof name, "%s/%c/%d.png", deep, "ab"[i % 2], i);
        text(name, "");
    }
    snprintf(ini, sizeof ini,
             "\xef\xbb\xbf; mine\r\n[dataset]\r\n  name = mine   ; a comment\r\ntrain: %s\r\ntest = %s", deep, deep);
    text("mine.ini", ini);
    OK(hpt_dataset_named(ctx, NULL, at("mine.ini"), NULL, "test", &ds));
    static const struct { const char *text, *word; } bad[] = {
        {"[dataset]\nname = x\ntrain\n", "line 3: neither"}, {"name = x\n", "line 1: 'name = x' stands before"},
            {"[dataset]\n\n= x\n", "line 3: no key before"}, {"[data\n", "line 1: '[' without"},
        {"[dataset]\n[other]\n", "line 2: a section [other]"},
        {"[dataset]\nname = 123456789012345678901234567890123\n",
         "line 2: '123456789012345678901234567890123...' is longer"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        text("bad.ini", bad[i].text);
        FAILS(HPT_ERR_FORMAT, bad[i].word, hpt_dataset_named(ctx, NULL, at("bad.ini"), NULL, "train", &ds));
    }
    put("zero.ini", "[dataset]\nname = a\0b\n", 21);
    FAILS(HPT_ERR_FORMAT, "line 2: a zero byte", hpt_dataset_named(ctx, NULL, at("zero.ini"), NULL, "train", &ds));
    end();
}

/* ---- known sets ---- */

#ifndef HPT_TEST_BIN
#define HPT_TEST_BIN "bin"
#endif
TEST(checks_of_a_set_are_json_or_text) {
    hpt_context *ctx = context("reference", 1);
    hpt_result *r;
    hpt_dataset *ds;
    double problems;
    begin();
    FAILS(HPT_ERR_ARGUMENT, "(root) is needed", hpt_dataset_named(ctx, NULL, "resisc", NULL, "train", &ds));
    FAILS(HPT_ERR_ARGUMENT, "(root) is needed", hpt_dataset_check(ctx, NULL, "resisc", "", &r));
    for (int i = 0; i < 10; i++) {
        char name[40];
        snprintf(name, sizeof name, "all/%c/%d.png", "ab"[i % 2], i);
        text(name, "");
    }
    text("mine.ini", "[dataset]\nname = mine\ntrain = all\nimages = 8,2,0\n");
    CHECK(sh("%s/hpt dataset check %s --backend reference --json 2>/dev/null", HPT_TEST_BIN, at("mine.ini")) == 0);
    json_t *j = json_loads(output, 0, NULL);
    CHECK(j && json_integer_value(json_object_get(j, "problem_count")) == 0 &&
          json_array_size(json_object_get(j, "splits")) == 2);
    json_decref(j);
    CHECK(sh("%s/hpt dataset check %s --backend reference 2>/dev/null", HPT_TEST_BIN, at("mine.ini")) == 0);
    CHECK(strstr(output, "train  8 images (8 expected), 2 classes\n") && strstr(output, "complete\n") &&
          !strchr(output, '{'));
    CHECK(sh("cd %s && %s/bin/hpt dataset check resisc --backend reference 2>&1", root, getenv("PWD")) == 1 &&
          strstr(output, "(root) is needed"));
    CHECK(sh("%s/hpt dataset --help", HPT_TEST_BIN) == 0 && strstr(output, "check NAME-OR-FILE.ini"));
    /* a problem whose text is no UTF-8 is a problem */
    text("b\xe9.ini", "[dataset]\nname = mine\ntrain = b\xe9\n");
    FAILS(HPT_ERR_MISMATCH, "problem", hpt_dataset_check(ctx, NULL, at("b\xe9.ini"), NULL, &r));
    OK(hpt_result_number(r, "problem_count", &problems));
    CHECK(problems == 2);
    hpt_result_destroy(r);
    /* memory that runs out is no finding, and none is lost for it */
    for (int64_t n = 1;; n++) {
        hpt__alloc_test_fail(n, 1);
        hpt_status st = hpt_dataset_check(ctx, NULL, at("mine.ini"), NULL, &r);
        hpt__alloc_test_fail(0, 0);
        if (st != HPT_OK && st != HPT_ERR_MEMORY)
            FAIL("allocation %lld: %s (%s)", (long long)n, hpt_status_name(st), hpt_last_error());
        hpt_result_destroy(r);
        if (!st) break;
    }
    end();
}

TEST(annotations_say_what_is_wrong) {
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds;
    begin();
    text("train2014/a.jpg", "");
    static const struct { const char *json, *word; } coco[] = {
        {"{\"images\": [{\"id\": 1, \"file_name\": \"a.jpg\"}, {\"id\": 1, \"file_name\": \"a.jpg\"}], \"categories\": "
         "[{\"id\": 3, \"name\": \"car\"}]}", "two images have id 1"},
        {"{\"images\": [{\"id\": 1, \"file_name\": \"a.jpg\"}], \"categories\": [{\"id\": 3, \"name\": \"car\"}, "
         "{\"id\": 3, \"name\": \"bus\"}]}", "two categories have id 3"},
        {"{\"images\": [{\"id\": 5, \"file_name\": \"a.jpg\"}], \"categories\": [{\"id\": 3, \"name\": \"car\"}], "
         "\"annotations\": [{\"image_id\": 4, \"category_id\": 3}]}", "image 4, which is not there"},
        {"{\"images\": [{\"id\": 5, \"file_name\": \"a.jpg\"}], \"categories\": [{\"id\": 3, \"name\": \"car\"}], "
         "\"annotations\": [{\"image_id\": 6, \"category_id\": 3}]}", "image 6, which is not there"},
        {"{\"images\": [{\"id\": 5, \"file_name\": \"a.jpg\"}], \"categories\": [{\"id\": 3, \"name\": \"car\"}], "
         "\"annotations\": [{\"image_id\": 5, \"category_id\": 2}]}", "category 2, which is not there"}};
    for (size_t i = 0; i < sizeof coco / sizeof *coco; i++) {
        text("annotations/instances_train2014.json", coco[i].json);
        FAILS(HPT_ERR_FORMAT, coco[i].word, hpt_dataset_named(ctx, NULL, "coco_2014", root, "train", &ds));
    }
    static const char chexpert[] = "\xef\xbb\xbfPath,Sex,Atelectasis,Cardiomegaly,Consolidation,Edema,Pleural "
        "Effusion\r\n\"valid/a, b.jpg\",\"x \"\"y\"\"\",1.0,0.0,,-1.0,1.0\r\nvalid/c.jpg,x,0,1,0,0,0\r\n";
    text("valid/a, b.jpg", "");
    text("valid/c.jpg", "");
    text("valid.csv", chexpert);
    OK(hpt_dataset_named(ctx, NULL, "chexpert", root, "test", &ds));
    uint8_t t[5];
    OK(hpt_dataset_targets(ds, 0, t, 5));
    CHECK(t[0] && !t[1] && !t[2] && !t[3] && t[4]);
    static const char zero[] =
        "Path,Sex,Atelectasis,Cardiomegaly,Consolidation,Edema,Pleural "
        "Effusion\nvalid/c.jpg,x,0,1,0,0,0\n\0valid/c.jpg,x,0,1,0,0,0\n";
    put("valid.csv", zero, sizeof zero - 1);
    FAILS(HPT_ERR_FORMAT, "line 3: a zero byte", hpt_dataset_named(ctx, NULL, "chexpert", root, "test", &ds));
    text("VOC2007/JPEGImages/1.jpg", "");
    text("VOC2007/Annotations/1.xml", "<annotation><object><name>cat</name></object></annotation>");
    put("VOC2007/ImageSets/Main/test.txt", "1\n\0" "2\n", 5);
    FAILS(HPT_ERR_FORMAT, "a zero byte", hpt_dataset_named(ctx, NULL, "pascal", root, "test", &ds));
    end();
}

/* Compressed elements by the thousand: only the one that is asked for is inflated as a whole. */
TEST(matlab_files_cost_their_size) {
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds;
    double *v;
    uint64_t count;
    bytes f = {0}, m = {0}, wanted = {0};
    static const uint8_t labels[2] = {7, 9};
    for (int k = 0; k < 2; k++) {           /* 1 x 65536 doubles called other, 1 x 2 bytes called labels */
        bytes *b = k ? &wanted : &m;
        const char *name = k ? "labels" : "other\0";
        size_t data = k ? 8 : 8 + 65536 * 8;
        le(b, 14, 4);
        le(b, 16 + 16 + 16 + data, 4);
        le(b, 6, 4), le(b, 8, 4), le(b, 6, 8);
        le(b, 5, 4), le(b, 8, 4), le(b, 1, 4), le(b, k ? 2 : 65536, 4);
        le(b, 1, 4), le(b, k ? 6 : 5, 4), more(b, name, 6), le(b, 0, 2);
        if (k) le(b, 2 << 16 | 2, 4), more(b, labels, 2), le(b, 0, 2);
        else le(b, 9, 4), le(b, 65536 * 8, 4), more(b, calloc(65536, 8), 65536 * 8);
    }
    uint8_t *out = malloc(compressBound(m.n));
    uLongf packed = compressBound(m.n);
    CHECK(compress2(out, &packed, m.p, m.n, 9) == Z_OK);
    more(&f, calloc(1, 126), 126);
    more(&f, "IM", 2);
    while (f.n < 1 << 20) le(&f, 15, 4), le(&f, packed, 4), more(&f, out, packed);
    packed = compressBound(m.n);
    CHECK(compress2(out, &packed, wanted.p, wanted.n, 9) == Z_OK);
    le(&f, 15, 4), le(&f, packed, 4), more(&f, out, packed);
    double begin_s = seconds();
    OK(hpt__mat_parse(f.p, f.n, "labels", &v, &count));
    CHECK(seconds() - begin_s < 0.7 && count == 2 && v[0] == 7 && v[1] == 9);
    hpt__free(v);
    begin();
    put("imagelabels.mat", "MATLAB 7.3 MAT-file", 19);
    FAILS(HPT_ERR_FORMAT, "MATLAB 7.3 file (HDF5); save it with -v7", hpt_dataset_named(ctx, NULL, "flowers", root,
        "train", &ds));
    end();
}

/* Work that is kept and cannot be read is not begun again in silence. */
TEST(state_that_cannot_be_read) {
    char *line;
    double x = 3;
    hpt__state_part part = {&x, sizeof x};
    begin();
    CHECK(hpt__state_load(at("gone"), 1, &line, &part, 1) == HPT_END);
    mkdir(at("dir"), 0777);
    FAILS(HPT_ERR_IO, "a folder", hpt__state_load(at("dir"), 1, &line, &part, 1));
    text("other", "something else");
    CHECK(hpt__state_load(at("other"), 1, &line, &part, 1) == HPT_END);
    OK(hpt__state_save(at("kept"), 1, "here", &part, 1));
    x = 4;
    OK(hpt__state_load(at("kept"), 1, &line, &part, 1));
    CHECK(x == 3 && !strcmp(line, "here"));
    hpt__free(line);
    CHECK(hpt__state_load(at("kept"), 2, &line, &part, 1) == HPT_END);
    end();
}
