/* SPDX-License-Identifier: MIT
 * Folders as people have them: any tree, links, hidden and unread files, and what fails while they are read:
 * nothing is lost without a word. */
#define _GNU_SOURCE
#include "io/folder.h"
#include "files.h"
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

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
