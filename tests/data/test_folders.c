/* SPDX-License-Identifier: MIT
 * Folders, lists, arrays and annotation files as people have them: what each kind gives, what is left out and said,
 * and what is refused. */
#define _GNU_SOURCE
#include "core/alloc.h"
#include "data/dataset.h"
#include "io/file.h"
#include "io/folder.h"
#include "io/jsonscan.h"
#include "io/mat.h"
#include "io/statefile.h"
#include "shell.h"
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
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

/* ---- folders ---- */

static char said[8192];         /* what the log said, a line each, with its level */
static void hear(void *user, int32_t level, const char *line) {
    (void)user;
    if (of_machine(line)) return;
    size_t n = strlen(said);
    snprintf(said + n, sizeof said - n, "%d %s\n", level, line);
}
static hpt_context *listening(void) {
    hpt_context *ctx = context("reference", 1);
    OK(hpt_context_set_log(ctx, hear, NULL));
    return ctx;
}
/* What opens as path: "a/1.png=a b/2.png=b" with names of classes, or numbers, or nothing behind =. */
static const char *opens(hpt_context *ctx, const char *options, const char *path) {
    static char all[4096];
    char name[600], label[64];
    hpt_config *c = config(options);
    hpt_dataset *ds;
    hpt_dataset_info info = {.struct_size = sizeof info};
    *said = *all = 0;
    hpt_status st = hpt_dataset_open(ctx, c, at(path), &ds);
    hpt_config_destroy(c);
    if (st) FAIL("%s: %s", path, hpt_last_error());
    OK(hpt_dataset_get_info(ds, &info));
    for (uint64_t i = 0; i < info.count; i++) {
        int32_t y;
        size_t n = strlen(all);
        *label = 0;
        OK(hpt_dataset_name(ds, i, name, sizeof name, NULL));
        OK(hpt_dataset_label(ds, i, &y));
        if (info.labelled == 1) OK(hpt_dataset_class_name(ds, (uint32_t)y, label, sizeof label, NULL));
        if (info.labelled == 2) {
            uint8_t t[32];
            OK(hpt_dataset_targets(ds, i, t, info.classes));
            for (uint32_t k = 0; k < info.classes; k++) label[k] = (char)('0' + t[k]), label[k + 1] = 0;
        }
        const char *tail = !strncmp(name, root, strlen(root)) ? name + strlen(root) + 1 : name;
        snprintf(all + n, sizeof all - n, "%s%s=%s", n ? " " : "", tail, label);
    }
    hpt_dataset_destroy(ds);
    return all;
}
#define OPENS(options, path, want) do { const char *got_ = opens(ctx, options, path); \
    if (strcmp(got_, want)) FAIL("%s gave %s, not %s", path, got_, want); } while (0)
#define SAID(word) do { if (!strstr(said, word)) FAIL("the log lacks '%s': %s", word, said); } while (0)
static void link_to(const char *target, const char *name) { CHECK(!symlink(target, at(name))); }

TEST(any_tree_without_labels) {
    hpt_context *ctx = listening();
    hpt_dataset *ds;
    hpt_model *m;
    hpt_result *r;
    begin();
    hpt_config *c = config("arch=resnet10 width=16 stem=small image_size=32 overlap=allow");
    text("t/a/1.png", "");
    text("t/b/deep/er/2.jpg", "");
    OPENS("", "t", "t/a/1.png=a t/b/deep/er/2.jpg=b");
    SAID("0 2 classes, the folders of ");
    SAID("/t: a, b\n");
    text("t/loose.bmp", "");
    OPENS("", "t", "t/a/1.png= t/b/deep/er/2.jpg= t/loose.bmp=");
    SAID("1 no labels: ");
    OK(hpt_dataset_open(ctx, NULL, at("t"), &ds));
    OK(hpt_model_create(ctx, c, &m));
    FAILS(HPT_ERR_ARGUMENT, "loose.bmp); move them into a class folder or use a list", hpt_model_knn(m, ds, ds, c, &r));
    hpt_dataset_destroy(ds);
    hpt_model_destroy(m);
    /* deeper than any limit on depth that a recursion would have */
    char deep[600] = "d";
    for (int i = 0; i < 60; i++) strcat(deep, "/x");
    strcat(deep, "/1.png");
    text(deep, "");
    CHECK(strstr(opens(ctx, "", "d"), "/x/1.png=x"));
    /* one class only; classes that are called like parts; a folder around the class folders */
    text("one/a/1.png", "");
    OPENS("", "one", "one/a/1.png=a");
    text("parts/train/a/1.png", "");
    text("parts/Val/a/2.png", "");
    OPENS("", "parts", "parts/Val/a/2.png=Val parts/train/a/1.png=train");
    SAID("1 ");
    SAID("called like parts of a data set");
    text("around/data/a/1.png", "");
    text("around/data/b/2.png", "");
    OPENS("", "around", "around/data/a/1.png=data around/data/b/2.png=data");
    SAID("is the only class");
    hpt_config_destroy(c);
    end();
}

TEST(hidden_and_system_files_are_ignored) {
    hpt_context *ctx = listening();
    begin();
    text("t/a/1.png", "");
    text("t/b/2.png", "");
    text("t/._holiday.jpg", "\0\5\26\7Mac OS X");
    text("t/.DS_Store", "");
    text("t/a/._1.png", "");
    text("t/.git/x.png", "");
    text("t/a/.thumbs/x.png", "");
    text("t/__MACOSX/a/._1.png", "");
    text("t/__MACOSX/a/1.png", "");
    text("t/a/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "");
    text("t/Thumbs.db", "");
    text("t/b/desktop.ini", "");
    link_to("nowhere", "t/b/.#2.png");
    OPENS("", "t", "t/a/1.png=a t/b/2.png=b");
    CHECK(!strstr(said, "1 ") || !strstr(said, "left out"));
    /* the folder that is given may be hidden itself */
    text(".cache/a/1.png", "");
    OPENS("", ".cache", ".cache/a/1.png=a");
    end();
}

TEST_LIMIT(links_are_followed_once, 20) {
    hpt_context *ctx = listening();
    hpt_dataset *ds;
    begin();
    text("t/a/1.png", "");
    text("t/b/2.png", "");
    link_to("..", "t/a/up");
    OPENS("", "t", "t/a/1.png=a t/b/2.png=b");
    SAID("1 link leads up to a folder that it is in and is not followed, first ");
    SAID("/t/a/up\n");
    link_to("../../..", "t/b/further");
    link_to(".", "t/self");
    link_to("/", "t/b/top");
    OPENS("", "t", "t/a/1.png=a t/b/2.png=b");
    SAID("4 links lead up");
    /* two links to itself: 2^n ways through it */
    text("loop/a/1.png", "");
    link_to(".", "loop/a/x");
    link_to(".", "loop/a/y");
    OPENS("", "loop", "loop/a/1.png=a");
    link_to("..", "flat-up");
    text("two/a/p/1.png", "");              /* mutual links below a class */
    text("two/a/q/2.png", "");
    link_to("../q", "two/a/p/to-q");
    link_to("../p", "two/a/q/to-p");
    OPENS("", "two", "two/a/p/1.png=a two/a/q/2.png=a");
    SAID("2 links lead to folders that are read already");
    /* links to elsewhere are followed; the real name goes before the link, whatever the order of reading */
    text("store/1.png", "");
    text("store/2.png", "");
    text("far/a/3.png", "");
    link_to("../../store", "far/a/all");
    link_to("../../store/1.png", "far/a/0.png");
    link_to("3.png", "far/a/2.png");
    CHECK(!link(at("far/a/3.png"), at("far/a/4.png")));
    OPENS("", "far", "far/a/3.png=a far/a/all/1.png=a far/a/all/2.png=a");
    SAID("0 ");
    SAID("3 names are others of files of their class");
    /* the same file in two classes stays in both, and is said; without labels it is there once */
    text("both/a/1.png", "");
    text("both/b/2.png", "");
    CHECK(!link(at("both/a/1.png"), at("both/b/3.png")));
    OPENS("", "both", "both/a/1.png=a both/b/2.png=b both/b/3.png=b");
    SAID("1 file is in two classes");
    text("both/loose.png", "");
    OPENS("", "both", "both/a/1.png= both/b/2.png= both/loose.png=");
    /* links that lead nowhere, and in a circle, are counted */
    text("lost/a/1.png", "");
    link_to("gone.png", "lost/a/2.png");
    link_to("round.png", "lost/a/round.png");
    link_to("1.png/x", "lost/a/through");
    OPENS("", "lost", "lost/a/1.png=a");
    SAID("3 links lead nowhere and are left out");
    link_to("t", "t-link");
    OPENS("", "t-link", "t-link/a/1.png=a t-link/b/2.png=b");
    FAILS(HPT_ERR_IO, "no such file", hpt_dataset_open(ctx, NULL, at("gone"), &ds));
    /* the kernel's folders are not walked */
    link_to("/proc", "lost/a/proc");
    link_to("/sys", "lost/a/sys");
    OPENS("", "lost", "lost/a/1.png=a");
    end();
}

/* Files that look like images and are not read are counted by extension; a class of nothing else is refused by name
 * where labels count. */
TEST(unread_images_are_counted) {
    hpt_context *ctx = listening();
    hpt_dataset_info info = {.struct_size = sizeof info};
    hpt_dataset *ds;
    hpt_config *c = config("arch=resnet10 width=16 stem=small image_size=32 overlap=allow");
    hpt_model *m;
    hpt_result *r;
    static const uint8_t png[] = {0x89, 'P', 'N', 'G', 13, 10, 26, 10, 0},
        jpg[] = {0xff, 0xd8, 0xff, 0xe0, 0, 16, 'J', 'F', 'I', 'F', 0};
    begin();
    text("t/a/1.png", "");
    text("t/b/2.png", "");
    text("t/a/1.gif", "");
    text("t/a/2.GIF", "");
    text("t/b/1.heic", "");
    text("t/b/notes.txt", "");
    text("t/b/README", "no image");
    mkfifo(at("t/b/pipe.png"), 0666);
    mkdir(at("t/empty"), 0777);
    OPENS("", "t", "t/a/1.png=a t/b/2.png=b");
    SAID("1 ");
    SAID("4 files of a kind that is not read: .gif 2, .heic 1, (no file) 1; first ");
    SAID("1 folder without an image is no class: empty");
    OK(hpt_dataset_open(ctx, NULL, at("t"), &ds));
    OK(hpt_dataset_get_info(ds, &info));
    CHECK(info.skipped_files == 4);
    hpt_dataset_destroy(ds);
    text("t/d/1.gif", "");
    OPENS("", "t", "t/a/1.png= t/b/2.png=");
    OK(hpt_dataset_open(ctx, NULL, at("t"), &ds));
    OK(hpt_model_create(ctx, c, &m));
    FAILS(HPT_ERR_ARGUMENT, "the class folder d holds only images of a kind that is not read",
          hpt_model_knn(m, ds, ds, c, &r));
    hpt_dataset_destroy(ds);
    text("gifs/1.gif", "");
    FAILS(HPT_ERR_FORMAT, "there are .gif 1", hpt_dataset_open(ctx, NULL, at("gifs"), &ds));
    /* names without an extension: by content */
    put("bare/a/IMG_0001", png, sizeof png);
    put("bare/b/IMG_0002", jpg, sizeof jpg);
    text("bare/b/LICENSE", "text");
    text("bare/b/empty", "");
    OPENS("", "bare", "bare/a/IMG_0001=a bare/b/IMG_0002=b");
    hpt_model_destroy(m);
    hpt_config_destroy(c);
    end();
}

/* ---- failures ---- */

static const char *open_all(hpt_context *ctx, const char *path, hpt_status *st) {
    hpt_dataset *ds;
    static char names[4096];
    *names = 0;
    *st = hpt_dataset_open(ctx, NULL, at(path), &ds);
    if (*st) return names;
    hpt_dataset_info info = {.struct_size = sizeof info};
    OK(hpt_dataset_get_info(ds, &info));
    for (uint64_t i = 0; i < info.count; i++) {
        size_t n = strlen(names);
        int32_t y;
        OK(hpt_dataset_name(ds, i, names + n, 200, NULL));
        OK(hpt_dataset_label(ds, i, &y));
        n = strlen(names);
        snprintf(names + n, sizeof names - n, "=%d ", y);
    }
    hpt_dataset_destroy(ds);
    return names;
}

/* A call that fails while folders are read is an error; images and classes are never lost in silence. */
TEST(nothing_is_lost_when_a_folder_cannot_be_read) {
    hpt_context *ctx = context("reference", 1);
    hpt_status st;
    begin();
    for (int i = 0; i < 12; i++) {
        char name[64];
        snprintf(name, sizeof name, "t/%c/%c/%d.png", "abc"[i % 3], "xy"[i % 2], i);
        text(name, "");
    }
    text("store/100.png", "");
    link_to("../../store", "t/a/more");
    link_to("nowhere.png", "t/a/nowhere.png");
    char *whole = strdup(open_all(ctx, "t", &st));
    OK(st);
    static const int errors[] = {EIO, EACCES, ENOMEM, ESTALE, EMFILE};
    for (size_t e = 0; e < sizeof errors / sizeof *errors; e++) {
        hpt__folder_test_fail(0, 0);
        OK((open_all(ctx, "t", &st), st));
        int64_t calls = hpt__folder_test_count();
        CHECK(calls > 40);
        for (int64_t n = 1; n <= calls; n++) {
            hpt__folder_test_fail(n, errors[e]);
            open_all(ctx, "t", &st);
            hpt__folder_test_fail(0, 0);
            if (st != (errors[e] == ENOMEM ? HPT_ERR_MEMORY : HPT_ERR_IO))
                FAIL("call %lld of %lld failed with %d: %s (%s)", (long long)n, (long long)calls, errors[e],
                     hpt_status_name(st), hpt_last_error());
        }
    }
    /* an interrupted call is made again */
    hpt__folder_test_fail(1, EINTR);
    CHECK(!strcmp(open_all(ctx, "t", &st), whole) && !st);
    hpt__folder_test_fail(0, 0);
    free(whole);
    end();
}
static void memory_runs_out(hpt_context *ctx, const char *path) {
    hpt_status st;
    char *whole = strdup(open_all(ctx, path, &st));
    OK(st);
    for (int forever = 0; forever < 2; forever++)
        for (int64_t n = 1;; n++) {
            hpt__alloc_test_fail(n, forever);
            const char *names = open_all(ctx, path, &st);
            int64_t used = hpt__alloc_test_count();
            hpt__alloc_test_fail(0, 0);
            if (st && st != HPT_ERR_MEMORY)
                FAIL("%s, allocation %lld: %s (%s)", path, (long long)n, hpt_status_name(st), hpt_last_error());
            if (!st && strcmp(names, whole))
                FAIL("%s, allocation %lld: %s instead of %s", path, (long long)n, names, whole);
            if (!st && used < n) break;
        }
    free(whole);
}
TEST(memory_that_runs_out_loses_nothing) {
    hpt_context *ctx = context("reference", 1);
    begin();
    text("t/a/1.png", "");
    text("t/a/deep/2.png", "");
    text("t/b/3.png", "");
    text("t/b/4.gif", "");
    mkdir(at("t/none"), 0777);
    link_to("../../store", "t/b/more");
    link_to("..", "t/b/up");
    text("store/5.png", "");
    CHECK(!link(at("t/b/3.png"), at("t/b/6.png")));
    memory_runs_out(ctx, "t");
    text("u/a/1.png", "");
    text("u/2.png", "");
    memory_runs_out(ctx, "u");
    end();
}

/* ---- lists ---- */

static void list_is(hpt_context *ctx, const char *options, const char *name, const char *content, const char *want) {
    text(name, content);
    const char *got = opens(ctx, options, name);
    if (strcmp(got, want)) FAIL("%s '%s' gave %s, not %s", name, content, got, want);
}
static void list_fails(hpt_context *ctx, const char *options, const char *content, hpt_status status,
                       const char *word) {
    hpt_dataset *ds;
    hpt_config *c = config(options);
    text("bad.txt", content);
    hpt_status st = hpt_dataset_open(ctx, c, at("bad.txt"), &ds);
    if (st != status || !strstr(hpt_last_error(), word))
        FAIL("'%s' gave %s (%s), not %s with '%s'", content, hpt_status_name(st), hpt_last_error(),
             hpt_status_name(status), word);
    hpt_config_destroy(c);
}

TEST(lists_as_people_write_them) {
    hpt_context *ctx = listening();
    char content[400], want[300];
    begin();
    text("a.png", "");
    text("b.png", "");
    text("my photo.png", "");
    text("img/c.png", "");
    text("img/x,y.png", "");
    text("img/say \"hi\".png", "");
    text("#1.png", "");
    text("img/n#2.png", "");
    text("dir/bare", "");
    text("dir/bare two", "");
    /* byte order mark, ends of lines, comments, blanks at the ends, no newline at the end */
    list_is(ctx, "", "l.txt", "\xef\xbb\xbf" "a.png 0\nb.png 1\n", "a.png=0 b.png=1");
    list_is(ctx, "", "l.txt", "\xef\xbb\xbf# mine\r\n\r\n  a.png 0  \r\n\t\r\nb.png\t1 ", "a.png=0 b.png=1");
    list_is(ctx, "", "l.txt", "a.png 0\rb.png 1\r", "a.png=0 b.png=1");
    list_is(ctx, "", "l.txt", "a.png\nb.png", "a.png= b.png=");
    /* blanks, commas and signs in paths */
    list_is(ctx, "", "l.txt", "my photo.png 0\na.png 1\n", "my photo.png=0 a.png=1");
    list_is(ctx, "", "l.csv", "my photo.png,0\na.png,1\n", "my photo.png=0 a.png=1");
    list_is(ctx, "", "l.csv", "my photo.png;0\na.png ; 1\n", "my photo.png=0 a.png=1");
    list_is(ctx, "", "l.txt", "my photo.png\na.png\n", "my photo.png= a.png=");
    list_is(ctx, "", "l.txt", "\"my photo.png\" 0\n\"a.png\",1\n", "my photo.png=0 a.png=1");
    list_is(ctx, "", "l.txt", "img/x,y.png 3\nimg/say \"hi\".png 2\n", "img/x,y.png=3 img/say \"hi\".png=2");
    list_is(ctx, "", "l.csv", "\"img/x,y.png\",3\n\"img/say \"\"hi\"\".png\",2\n",
            "img/x,y.png=3 img/say \"hi\".png=2");
    list_is(ctx, "", "l.txt", "img/n#2.png 1\n\"#1.png\" 0\n", "img/n#2.png=1 #1.png=0");
    list_is(ctx, "", "l.txt", "dir/bare 1\ndir/bare two 0\n", "dir/bare=1 dir/bare two=0");
    list_is(ctx, "", "l.txt", "dir/bare two\ndir/bare\n", "dir/bare two= dir/bare=");
    list_is(ctx, "list_check=0", "l.txt", "no such photo.jpeg 4\n", "no such photo.jpeg=4");
    list_is(ctx, "", "l.txt", "img\\c.png 1\n", "img/c.png=1");
    SAID("backslashes");
    snprintf(content, sizeof content, "%s 0\nimg/c.png 1\n", at("a.png"));
    list_is(ctx, "", "l.txt", content, "a.png=0 img/c.png=1");
    snprintf(want, sizeof want, "list_root=%s", root);
    list_is(ctx, want, "img/l.txt", "a.png 0\n", "a.png=0");
    /* words, numbers as tables write them, several labels */
    list_is(ctx, "", "l.txt", "a.png zebra\nb.png altai\n", "a.png=zebra b.png=altai");
    SAID("2 classes, the words of ");
    SAID(": altai, zebra\n");
    list_is(ctx, "", "l.txt", "a.png partly cloudy\nb.png clear\n", "a.png=partly cloudy b.png=clear");
    list_is(ctx, "", "l.csv", "a.png,\"Smith, John\"\nb.png,x\n", "a.png=Smith, John b.png=x");
    list_is(ctx, "", "l.csv", "a.png,10-20\nb.png,2.0a\n", "a.png=10-20 b.png=2.0a");
    list_is(ctx, "", "l.csv", "a.png,3.0\nb.png,0\n", "a.png=3 b.png=0");
    list_is(ctx, "", "l.csv", "a.png,3,\nb.png,0,\n", "a.png=3 b.png=0");
    list_is(ctx, "", "l.txt", "a.png 0,1,0\nb.png 1, 1, 0\n", "a.png=010 b.png=110");
    list_is(ctx, "", "l.txt", "a.png 0 1 0\nb.png 1  1 0\n", "a.png=010 b.png=110");
    list_is(ctx, "", "l.csv", "a.png,0,1,0\nmy photo.png,1,1,0\n", "a.png=010 my photo.png=110");
    list_is(ctx, "", "l.csv", "a.png;0;1.0\nb.png;1;0\n", "a.png=01 b.png=10");
    list_is(ctx, "", "l.tsv", "a.png\t0\t1\nmy photo.png\t1\t0\n", "a.png=01 my photo.png=10");
    /* headings */
    list_is(ctx, "", "l.csv", "path,label\na.png,zebra\nb.png,altai\n", "a.png=zebra b.png=altai");
    SAID("line 1: a heading; images are column path, labels are column label");
    list_is(ctx, "", "l.csv", "sep=;\nfilename;class\nmy photo.png;1\nb.png;0\n", "my photo.png=1 b.png=0");
    list_is(ctx, "", "l.txt", "path label\nmy photo.png 1\nb.png 0\n", "my photo.png=1 b.png=0");
    list_is(ctx, "", "l.tsv", "\tImage Path\tsplit\tLabel\n0\ta.png\ttrain\t2\n1\tmy photo.png\tval\t0\n",
            "a.png=2 my photo.png=0");
    list_is(ctx, "", "l.csv", ",image,width,class\n0,a.png,3,\"Smith, John\"\n1,\"img/x,y.png\",4,x\n",
            "a.png=Smith, John img/x,y.png=x");
    list_is(ctx, "", "l.csv", "species,file\nzebra,a.png\naltai,b.png\n", "a.png=zebra b.png=altai");
    list_is(ctx, "", "l.csv", "filename\na.png\nb.png\n", "a.png= b.png=");
    list_is(ctx, "", "l.csv", "path,sea,\"sky, blue\"\na.png,0,1\nb.png,1,1\n", "a.png=01 b.png=11");
    hpt_dataset *ds;
    OK(hpt_dataset_open(ctx, NULL, at("l.csv"), &ds));
    OK(hpt_dataset_class_name(ds, 1, want, sizeof want, NULL));
    CHECK(!strcmp(want, "sky, blue"));
    hpt_dataset_destroy(ds);
    end();
}

/* Option label_column, and the same in a descriptor file. */
TEST(lists_whose_column_of_labels_is_named) {
    static const char table[] = "path,label,Species name,3,split\na.png,0,zebra,7,x\nb.png,1,altai,8,y\n";
    hpt_context *ctx = listening();
    hpt_dataset *ds;
    char name[20];
    begin();
    text("a.png", "");
    text("b.png", "");
    list_is(ctx, "", "l.csv", table, "a.png=0 b.png=1");
    static const char *const asked[][2] = {{"Species name", "a.png=zebra b.png=altai"},
                                           {"species_name", "a.png=zebra b.png=altai"},
                                           {"3", "a.png=7 b.png=8"}, {"5", "a.png=x b.png=y"},
                                           {"2", "a.png=0 b.png=1"}, {"split", "a.png=x b.png=y"}};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        hpt_config *c = config("list_check=1");
        OK(hpt_config_set(c, "label_column", asked[i][0]));
        text("l.csv", table);
        OK(hpt_dataset_open(ctx, c, at("l.csv"), &ds));
        OK(hpt_dataset_class_name(ds, (uint32_t)hpt__dataset_label(ds, 0), name, sizeof name, NULL));
        if (strncmp(asked[i][1] + 6, name, strlen(name))) FAIL("%s: %s", asked[i][0], name);
        hpt_dataset_destroy(ds);
        hpt_config_destroy(c);
    }
    /* else three labels */
    list_is(ctx, "label_column=b", "l.csv", "file,a,b,c\na.png,0,1,0\nb.png,1,1,0\n", "a.png=1 b.png=1");
    /* the other one holds the paths */
    list_is(ctx, "label_column=kind", "l.csv", "which,kind\na.png,x\nb.png,y\n", "a.png=x b.png=y");
    list_is(ctx, "label_column=kind", "l.tsv", "kind\tid\tpath\nx\t1\ta.png\ny\t2\tb.png\n", "a.png=x b.png=y");
    text("l.csv", table);
    FAILS(HPT_ERR_OPTION, "has no such column: path,label", hpt_dataset_open(ctx, config("label_column=zebra"),
        at("l.csv"), &ds));
    FAILS(HPT_ERR_OPTION, "has no such column", hpt_dataset_open(ctx, config("label_column=6"), at("l.csv"), &ds));
    FAILS(HPT_ERR_OPTION, "has the images there", hpt_dataset_open(ctx, config("label_column=path"), at("l.csv"), &ds));
    FAILS(HPT_ERR_OPTION, "has the images there", hpt_dataset_open(ctx, config("label_column=1"), at("l.csv"), &ds));
    text("l.csv", "a.png,0,zebra\nb.png,1,altai\n");
    FAILS(HPT_ERR_OPTION, "is no heading with a column of paths", hpt_dataset_open(ctx, config("label_column=3"),
        at("l.csv"), &ds));
    text("l.csv", table);
    text("d.ini", "[dataset]\nname = d\ntrain = l.csv\nlabel_column = Species name\n");
    OK(hpt_dataset_named(ctx, NULL, at("d.ini"), NULL, "train+val", &ds));
    OK(hpt_dataset_class_name(ds, 0, name, sizeof name, NULL));
    CHECK(!strcmp(name, "altai") || !strcmp(name, "zebra"));
    hpt_dataset_destroy(ds);
    end();
}
/* A field in quotes may hold line breaks; errors name the line of the file. */
TEST(fields_with_line_breaks) {
    static char far[3 << 20];
    hpt_context *ctx = listening();
    hpt_dataset *ds;
    begin();
    text("a.png", "");
    text("b.png", "");
    text("new\nline.png", "");
    list_is(ctx, "", "l.csv", "path,note,label\na.png,\"two\nlines, \"\"said\"\" he\",x\nb.png,\"\",y\n",
            "a.png=x b.png=y");
    list_is(ctx, "", "l.csv", "path,note,label\r\na.png,\"two\r\n\r\nlines\",x\r\nb.png,one,y\r\n", "a.png=x b.png=y");
    list_is(ctx, "", "l.csv", "path;\"a\nnote\";label\na.png; \"x\ny\" ;1\nb.png;\"5\"\" \";0\n", "a.png=1 b.png=0");
    list_is(ctx, "", "l.tsv", "path\tnote\tlabel\na.png\t\"x\ny\"\t1\nb.png\tz\t0\n", "a.png=1 b.png=0");
    list_is(ctx, "", "l.csv", "path,label,note\na.png,\"x\ny\",\nb.png,y,\"\n\n\"\n", "a.png=x\ny b.png=y");
    list_is(ctx, "", "l.csv", "\"new\nline.png\",1\na.png,0\n", "new\nline.png=1 a.png=0");
    list_is(ctx, "", "l.csv", "a.png,\"x\ny\"\nb.png,y\n", "a.png=x\ny b.png=y");
    list_is(ctx, "", "l.txt", "# it's \"open\na.png 0\n# \"\nb.png 1\n", "a.png=0 b.png=1"); /* no field */
    list_is(ctx, "", "l.txt", "a.png 5\" pipe\nb.png 7\" pipe\n", "a.png=5\" pipe b.png=7\" pipe");
    list_is(ctx, "", "l.csv", "path,note,label\na.png,5\" pipe,0\nb.png,7\" pipe,1\n", "a.png=0 b.png=1");
    text("l.csv", "path,note,label\na.png,\"two\nlines\",x\nb.png,\"a\nb\nc\",y\nc.png,z,y\n");
    FAILS(HPT_ERR_IO, "l.csv, line 7: ", hpt_dataset_open(ctx, NULL, at("l.csv"), &ds));
    text("l.csv", "path,note,label\na.png,\"never closed,x\nb.png,z,y\n");
    FAILS(HPT_ERR_FORMAT, "l.csv, line 2: a quote that is not closed", hpt_dataset_open(ctx, NULL, at("l.csv"), &ds));
    memset(far, 'x', sizeof far - 1);
    far[100] = '\n';
    memcpy(far, "path,note,label\na.png,\"", 23);
    memcpy(far + sizeof far - 10, "\",x\n", 5);
    text("l.csv", far);
    FAILS(HPT_ERR_FORMAT, "line 2: a quote that is not closed", hpt_dataset_open(ctx, NULL, at("l.csv"), &ds));
    end();
}

TEST(lists_that_are_not_understood_say_how) {
    hpt_context *ctx = listening();
    hpt_dataset *ds;
    begin();
    text("a.png", "");
    text("b.png", "");
    mkdir(at("d.png"), 0777);
    put("u16.txt", "\xff\xfe" "a\0.\0p\0n\0g\0", 12);
    FAILS(HPT_ERR_FORMAT, "UTF-16 text; save the list as UTF-8", hpt_dataset_open(ctx, NULL, at("u16.txt"), &ds));
    put("zero.txt", "a.png 0\nb\0.png 1\n", 17);
    FAILS(HPT_ERR_FORMAT, "line 2: a zero byte", hpt_dataset_open(ctx, NULL, at("zero.txt"), &ds));
    list_fails(ctx, "", "a.png 0\nb.png -1\n", HPT_ERR_FORMAT, "line 2: a negative label");
    list_fails(ctx, "", "a.png 0\nb.png x\n", HPT_ERR_FORMAT,
               "line 2: a word where the lines before have numbers: 'x'; a line is: path, a tab, then");
    list_fails(ctx, "", "a.png x\nb.png 0\n", HPT_ERR_FORMAT,
               "line 2: a number where the lines before have words: '0'");
    list_fails(ctx, "", "a.png 0\nb.png\n", HPT_ERR_FORMAT, "line 2: some lines have a label and some have none");
    list_fails(ctx, "", "a.png\nb.png 0\n", HPT_ERR_FORMAT, "line 2: some lines have a label and some have none");
    list_fails(ctx, "", "a.png 1.5\n", HPT_ERR_FORMAT, "not a label from 0");
    list_fails(ctx, "", "a.png 0\n~/b.png 1\n", HPT_ERR_IO, "write the folder out");
    list_fails(ctx, "", "a.png 3 7\n", HPT_ERR_FORMAT, "several numbers: '3 7'");
    list_fails(ctx, "", "a.png,2,train\n", HPT_ERR_FORMAT,
               "neither 0, 1 nor a token of option label_map: '2'; a line is");
    list_fails(ctx, "", "a.png cat|dog\n", HPT_ERR_FORMAT, "several words in one label");
    list_fails(ctx, "", "a.png 0,1\nb.png 1\n", HPT_ERR_FORMAT,
               "line 2: one label where the lines before have several");
    list_fails(ctx, "", "a.png 1\nb.png 0,1\n", HPT_ERR_FORMAT,
               "line 2: several labels where the lines before have one");
    list_fails(ctx, "", "a.png 0,1\nb.png 1,0,1\n", HPT_ERR_FORMAT, "line 2: 3 values where the lines before have 2");
    list_fails(ctx, "", "\"a.png 0\n", HPT_ERR_FORMAT, "no closing quote");
    list_fails(ctx, "", "\"a.png\"x 0\n", HPT_ERR_FORMAT, "something follows the closing quote");
    list_fails(ctx, "", "a.png 0\ngone.png 0\n", HPT_ERR_IO, "line 2: ");
    list_fails(ctx, "", "d.png 0\n", HPT_ERR_IO, "not a regular file");
    list_fails(ctx, "", "bild,art\na.png,0\n", HPT_ERR_IO, "if this is a heading, call its columns path and label");
    list_fails(ctx, "", "path,label,split\na.png,0\n", HPT_ERR_FORMAT,
               "line 2: fewer columns than the 3 of the heading");
    list_fails(ctx, "", "path,label\na.png,0,1\n", HPT_ERR_FORMAT, "line 2: more columns than the 2 of the heading");
    list_fails(ctx, "", "path,split,fold\na.png,train,0\n", HPT_ERR_FORMAT,
               "one column is called label, or all but the path hold 0 and 1");
    list_fails(ctx, "", "path,label\n,0\n", HPT_ERR_FORMAT, "line 2: no path");
    list_fails(ctx, "", "path,label\n", HPT_ERR_FORMAT, "the list is empty");
    list_fails(ctx, "", "\n# nothing\n", HPT_ERR_FORMAT, "the list is empty");
    list_fails(ctx, "classes=1", "a.png x\nb.png y\n", HPT_ERR_FORMAT,
               "2 different words as labels, option classes says 1");
    list_fails(ctx, "classes=2", "a.png 0,1,1\n", HPT_ERR_FORMAT, "3 values, option classes says 2");
    hpt_config *c = config("arch=resnet10 width=16 stem=small");
    hpt_model *m;
    hpt_result *r;
    text("plain.txt", "a.png\nb.png\n");
    OK(hpt_dataset_open(ctx, NULL, at("plain.txt"), &ds));
    OK(hpt_model_create(ctx, c, &m));
    FAILS(HPT_ERR_ARGUMENT, "plain.txt names images without labels", hpt_model_knn(m, ds, ds, c, &r));
    hpt_dataset_destroy(ds);
    hpt_model_destroy(m);
    hpt_config_destroy(c);
    text("l.csv", "path,label\na.png,zebra\n\"b.png\",altai\n");
    memory_runs_out(ctx, "l.csv");
    text("m.csv", "path,sea,sky\na.png,0,1\nb.png,1,1\n");
    memory_runs_out(ctx, "m.csv");
    end();
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
/* A quarter of a megabyte of anything is read or refused within a fraction of a second: nothing is quadratic. */
TEST(lists_and_tables_cost_their_size) {
    hpt_context *ctx = listening();
    enum { N = 1 << 18 };
    char *p = malloc(N + 1);
    begin();
    text("a.png", "");
    static const char *const parts[] = {"0,", "0 ", "a.", "a.png ", "\"", "\"\",", "a.png,", "\t", ";", ".png,0 ",
                                        "a b ", "a.png x\n", "a.png 0\n", "a.png 0,1\n", "path,", ",", "\\", "a.png\n"};
    for (size_t k = 0; k < 3 * sizeof parts / sizeof *parts; k++) {
        const char *part = parts[k / 3], *head = k % 3 == 0 ? "" : k % 3 == 1 ? "a.png " : "path,label\n";
        size_t n = strlen(head);
        memcpy(p, head, n);
        while (n + strlen(part) <= N) {
            memcpy(p + n, part, strlen(part));
            n += strlen(part);
        }
        put("big.csv", p, n);
        hpt_dataset *ds;
        hpt_config *c = config("list_check=0");
        double begin_s = seconds();
        hpt_status st = hpt_dataset_open(ctx, c, at("big.csv"), &ds);
        double s = seconds() - begin_s;
        if (st == HPT_OK) hpt_dataset_destroy(ds);
        else if (st != HPT_ERR_FORMAT && st != HPT_ERR_IO)
            FAIL("'%s': %s (%s)", part, hpt_status_name(st), hpt_last_error());
        hpt_config_destroy(c);
        if (s > 0.5) FAIL("a quarter of a megabyte of '%s' behind '%s' took %.1f s", part, head, s);
    }
    free(p);
    end();
}

/* ---- arrays ---- */

typedef struct bytes { uint8_t *p; size_t n; } bytes;
static void more(bytes *b, const void *p, size_t n) {
    size_t cap = 64, want = 64;
    while (cap < b->n) cap *= 2;
    while (want < b->n + n) want *= 2;
    if (!b->p || want > cap) b->p = realloc(b->p, want);
    CHECK(b->p);
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
}
static void le(bytes *b, uint64_t v, int n) {
    for (int i = 0; i < n; i++) more(b, (uint8_t[]){(uint8_t)(v >> 8 * i)}, 1);
}
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
