/* SPDX-License-Identifier: MIT
 * Folders, lists, arrays and annotation files as people have them: what each kind gives, what is left out and said, and what is refused. */
#define _GNU_SOURCE
#include "core/alloc.h"
#include "data/dataset.h"
#include "io/file.h"
#include "io/jsonscan.h"
#include "support.h"
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zlib.h>

static char root[80];
static void begin(void) { snprintf(root, sizeof root, "%s", temp_dir()); }
static void end(void) {
    char command[200];
    snprintf(command, sizeof command, "chmod -R u+rwx %s; rm -rf %s", root, root);
    CHECK(!system(command));
}
static const char *at(const char *name) {       /* of the folder of this test; eight names at a time */
    static char text[8][600];
    static int k;
    char *p = text[k = (k + 1) % 8];
    snprintf(p, sizeof text[0], "%s%s%s", root, *name ? "/" : "", name);
    return p;
}
static void put(const char *name, const void *data, size_t n) {
    char path[600];
    snprintf(path, sizeof path, "%s", at(name));
    for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        mkdir(path, 0777);
        *p = '/';
    }
    FILE *f = fopen(path, "wb");
    CHECK(f && (!n || fwrite(data, 1, n, f) == n) && !fclose(f));
}
static void text(const char *name, const char *s) { put(name, s, strlen(s)); }

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
            else if (i == 4) FAILS(HPT_ERR_IO, "not a regular file", hpt_dataset_named(ctx, NULL, at(name), NULL, "train", &ds));
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
        n += (size_t)sprintf(all + n, "%s{\"k%*s\\u00e9\\ud83d\\ude00\": [%d.25e1, true,%*s null, \"\\n%*s\"]}", i ? "," : "", pad, "x", i, pad % 31, "", pad, "\\\\");
    }
    all[n++] = ']';
    begin();
    put("a.json", all, n);
    OK(hpt__jscan_open(&a, at("a.json")));
    hpt__jscan_memory(&b, all, n);
    for (uint64_t count = 0;; count++) {
        hpt__jtoken x = hpt__jscan_next(&a), y = hpt__jscan_next(&b);
        if (x != y || hpt__jscan_at(&a) != hpt__jscan_at(&b)) FAIL("token %llu: %d at %llu, in memory %d at %llu", (unsigned long long)count, x, (unsigned long long)hpt__jscan_at(&a), y, (unsigned long long)hpt__jscan_at(&b));
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
    snprintf(deep, sizeof deep, "%s", "long-name-of-a-folder-that-goes-on-and-on/long-name-of-a-folder-that-goes-on-and-on/long-name-of-a-folder-that-goes-on-and-on/"
                                      "long-name-of-a-folder-that-goes-on-and-on/long-name-of-a-folder-that-goes-on-and-on/long-name-of-a-folder-that-goes-on-and-on");
    for (int i = 0; i < 4; i++) {
        char name[800];
        snprintf(name, sizeof name, "%s/%c/%d.png", deep, "ab"[i % 2], i);
        text(name, "");
    }
    snprintf(ini, sizeof ini, "\xef\xbb\xbf; mine\r\n[dataset]\r\n  name = mine   ; a comment\r\ntrain: %s\r\ntest = %s", deep, deep);
    text("mine.ini", ini);
    OK(hpt_dataset_named(ctx, NULL, at("mine.ini"), NULL, "test", &ds));
    static const struct { const char *text, *word; } bad[] = {
        {"[dataset]\nname = x\ntrain\n", "line 3: neither"}, {"name = x\n", "line 1: 'name = x' stands before"}, {"[dataset]\n\n= x\n", "line 3: no key before"}, {"[data\n", "line 1: '[' without"},
        {"[dataset]\n[other]\n", "line 2: a section [other]"}, {"[dataset]\nname = 123456789012345678901234567890123\n", "line 2: '123456789012345678901234567890123...' is longer"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        text("bad.ini", bad[i].text);
        FAILS(HPT_ERR_FORMAT, bad[i].word, hpt_dataset_named(ctx, NULL, at("bad.ini"), NULL, "train", &ds));
    }
    put("zero.ini", "[dataset]\nname = a\0b\n", 21);
    FAILS(HPT_ERR_FORMAT, "line 2: a zero byte", hpt_dataset_named(ctx, NULL, at("zero.ini"), NULL, "train", &ds));
    end();
}
