/* SPDX-License-Identifier: MIT
 * Budgets of labels: nested, balanced over classes, their series; and objects of several images, which stay whole in
 * every part that is drawn. The rules are computed here a second time, from names and labels. */
#include "eval/linear.h"
#include "files.h"
#include "support.h"
#include <stdlib.h>
#include <string.h>

static uint64_t count_of(const hpt_dataset *ds) {
    hpt_dataset_info info = {.struct_size = sizeof info};
    OK(hpt_dataset_get_info(ds, &info));
    return info.count;
}
static const char *name_of(const hpt_dataset *ds, uint64_t i) {
    static char text[4][600];
    static int at;
    at = (at + 1) % 4;
    OK(hpt_dataset_name(ds, i, text[at], sizeof text[at], NULL));
    return text[at];
}
static int label_of(const hpt_dataset *ds, uint64_t i) {
    int32_t y;
    OK(hpt_dataset_label(ds, i, &y));
    return y;
}
/* n images of one pixel, labels by a rule. */
static hpt_dataset *dots(hpt_context *ctx, uint64_t n, uint32_t classes) {
    uint8_t *px = calloc(n, 3);
    int32_t *y = malloc(sizeof *y * n);
    hpt_dataset *ds;
    for (uint64_t i = 0; i < n; i++) memcpy(px + 3 * i, &i, 3);
    for (uint64_t i = 0; i < n; i++) y[i] = (int32_t)(i < classes ? i : (i * i + i / 7) % classes);
    OK(hpt_dataset_from_memory(ctx, NULL, px, n, 1, 1, 3, y, &ds));
    free(px);
    free(y);
    return ds;
}

TEST(budgets_are_nested_and_balanced) {
    enum { N = 240, C = 7 };
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *all = dots(ctx, N, C), *a, *rest, *full, *none;
    int has[C] = {0};
    for (uint64_t i = 0; i < N; i++) has[label_of(all, i)]++;
    OK(hpt_dataset_budget(all, N, 5, &full, NULL));
    CHECK(count_of(full) == N);
    for (uint64_t n = C; n < N; n += 13) {
        int got[C] = {0}, least = N, most = 0;
        OK(hpt_dataset_budget(all, n, 5, &a, &rest));
        CHECK(count_of(a) == n && count_of(rest) == N - n);
        OK(hpt_dataset_disjoint(a, rest, NULL));
        for (uint64_t i = 0; i < n; i++) {
            CHECK(!strcmp(name_of(a, i), name_of(full, i)));       /* a prefix of every larger one */
            got[label_of(a, i)]++;
            if (i < C) CHECK(got[label_of(a, i)] == 1);             /* one of each class first */
        }
        for (int c = 0; c < C; c++) {       /* round robin: a class that still has some is at most one behind */
            if (got[c] < has[c] && got[c] < least) least = got[c];
            if (got[c] > most) most = got[c];
        }
        CHECK(least == N || most - least <= 1);
        hpt_dataset_destroy(a);
        hpt_dataset_destroy(rest);
    }
    OK(hpt_dataset_budget(all, 20, 6, &a, NULL));
    int other = 0;
    for (uint64_t i = 0; i < 20; i++) other += strcmp(name_of(a, i), name_of(full, i)) != 0;
    CHECK(other > 10);                                              /* another seed, other images */
    FAILS(HPT_ERR_ARGUMENT, "6 labels is below one for each of 7", hpt_dataset_budget(all, 6, 5, &none, NULL));
    FAILS(HPT_ERR_ARGUMENT, "241 labels is larger than the data, 240", hpt_dataset_budget(all, 241, 5, &none, NULL));
    OK(hpt_dataset_subset(all, (uint64_t[]){0, 1, 2, 3, 4, 5}, 6, &a));
    FAILS(HPT_ERR_ARGUMENT, "is larger than the data, 6", hpt_dataset_budget(a, 7, 5, &none, NULL));
    OK(hpt_dataset_subset(all, (uint64_t[]){0, 1, 2, 3, 4, 5, 0, 1}, 8, &a));
    FAILS(HPT_ERR_ARGUMENT, "class 6 has no image", hpt_dataset_budget(a, 7, 5, &none, NULL));
}

TEST(budget_series_is_the_papers) {
    static const uint64_t paper[7] = {345, 3795, 5470, 7883, 11362, 16376, 23603};
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *clipart = dots(ctx, 34019, 345), *small = dots(ctx, 66, 6), *blank;
    uint64_t out[7];
    OK(hpt_dataset_budgets(clipart, 7, out));
    for (int i = 0; i < 7; i++) CHECK(out[i] == paper[i]);
    OK(hpt_dataset_budgets(clipart, 2, out));
    CHECK(out[0] == 345 && out[1] == 3795);
    FAILS(HPT_ERR_ARGUMENT, "66 images of 6 classes", hpt_dataset_budgets(small, 3, out));
    FAILS(HPT_ERR_ARGUMENT, "1 budgets", hpt_dataset_budgets(clipart, 1, out));
    uint8_t px[3] = {0};
    OK(hpt_dataset_from_memory(ctx, NULL, px, 1, 1, 1, 3, NULL, &blank));
    FAILS(HPT_ERR_ARGUMENT, "no labels", hpt_dataset_budgets(blank, 3, out));
    FAILS(HPT_ERR_ARGUMENT, "no labels", hpt_dataset_budget(blank, 1, 0, &small, NULL));
}

/* ---- objects ---- */

/* CLASS/SIZE/NAME.png: icons of three classes at one to four sizes, in a folder of the test. */
static void icons(void) {
    char name[80];
    begin();
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 12 + 3 * c; i++)
            for (int size = 0; size < 1 + (i + c) % 4; size++) {
                snprintf(name, sizeof name, "icons/class%d/%d/icon%d-%02d.png", c, 16 << size, c, i);
                put(name, "", 0);
            }
}
static const char *object_of(const char *path) { return strrchr(path, '/') + 1; }
/* No object stands in both; how many the first has. */
static uint64_t whole(const hpt_dataset *a, const hpt_dataset *b) {
    uint64_t n;
    for (uint64_t i = 0; i < count_of(a); i++)
        for (uint64_t k = 0; b && k < count_of(b); k++)
            CHECK(strcmp(object_of(name_of(a, i)), object_of(name_of(b, k))));
    OK(hpt_dataset_objects(a, &n));
    return n;
}

TEST(objects_stay_whole_in_every_part) {
    static const char *const rules[] = {"group_by=name", "group_by=/([^/]*)[.]png$"};
    hpt_context *ctx = context("reference", 1);
    for (int k = 0; k < 2; k++) {
        icons();
        hpt_config *c = config(rules[k]);
        hpt_dataset *all, *a, *rest, *b, *more;
        OK(hpt_dataset_open(ctx, c, at("icons"), &all));
        uint64_t images = count_of(all), objects = whole(all, NULL);
        CHECK(objects == 12 + 15 + 18 && images > 2 * objects);
        OK(hpt_dataset_split(all, 0.2, 3, &a, &rest));
        CHECK(whole(a, rest) == 9 && whole(rest, a) == 36 && count_of(a) + count_of(rest) == images);
        OK(hpt_dataset_disjoint(a, rest, NULL));
        OK(hpt_dataset_per_class(all, 4, 3, &a, &rest));
        CHECK(whole(a, rest) == 12 && count_of(a) + count_of(rest) == images);
        OK(hpt_dataset_few(all, 10, 3, &a, &rest));
        CHECK(whole(a, rest) == 10 && count_of(a) + count_of(rest) == images);
        OK(hpt_dataset_budget(all, 9, 3, &a, &rest));
        OK(hpt_dataset_budget(all, 30, 3, &more, NULL));
        CHECK(whole(a, rest) == 9 && whole(more, NULL) == 30);
        for (uint64_t i = 0; i < count_of(a); i++) CHECK(!strcmp(name_of(a, i), name_of(more, i)));
        FAILS(HPT_ERR_ARGUMENT, "46 labels is larger than the data, 45 objects",
              hpt_dataset_budget(all, 46, 3, &b, NULL));
        FAILS(HPT_ERR_ARGUMENT, "has only 12 objects", hpt_dataset_per_class(all, 13, 3, &b, NULL));
        /* one size of an icon here, another there: not apart */
        uint64_t shared, one = 0, two;
        while (!strstr(name_of(all, one), "/128/")) one++;
        two = one + 1;
        while (strcmp(object_of(name_of(all, two)), object_of(name_of(all, one)))) two++;
        OK(hpt_dataset_subset(all, &one, 1, &a));
        OK(hpt_dataset_subset(all, &two, 1, &b));
        CHECK(one != two);
        FAILS(HPT_ERR_ARGUMENT, "share 1 image", hpt_dataset_disjoint(a, b, &shared));
        CHECK(shared == 1);
        /* also where the folder was opened twice */
        OK(hpt_dataset_open(ctx, c, at("icons"), &more));
        OK(hpt_dataset_subset(more, &two, 1, &b));
        FAILS(HPT_ERR_ARGUMENT, "share 1 image", hpt_dataset_disjoint(a, b, &shared));
        end();
    }
}

TEST(rules_for_objects_and_their_refusals) {
    hpt_context *ctx = context("reference", 1);
    icons();
    hpt_dataset *ds, *part, *rest;
    uint64_t n;
    OK(hpt_dataset_open(ctx, config("group_by=folder"), at("icons"), &ds));
    OK(hpt_dataset_objects(ds, &n));
    CHECK(n == 12);                                 /* three classes, four sizes */
    FAILS(HPT_ERR_OPTION, "finds no object in", hpt_dataset_open(ctx, config("group_by=(icon9-)"), at("icons"), &ds));
    FAILS(HPT_ERR_OPTION, "lacks parentheses", hpt_dataset_open(ctx, config("group_by=icon"), at("icons"), &ds));
    FAILS(HPT_ERR_OPTION, "regular expression", hpt_dataset_open(ctx, config("group_by=(icon"), at("icons"), &ds));
    FAILS(HPT_ERR_OPTION, "no list", hpt_dataset_open(ctx, config("group_by=column:patient"), at("icons"), &ds));
    uint8_t px[3] = {0};
    FAILS(HPT_ERR_OPTION, "group_by", hpt_dataset_from_memory(ctx, config("group_by=name"), px, 1, 1, 1, 3, NULL, &ds));
    FAILS(HPT_ERR_OPTION, "group_by", hpt_dataset_open(ctx, config("group_by=name"), "tests/fixtures/files/small.npz",
                                                       &ds));
    /* one name in two classes */
    put("icons/class2/16/icon0-00.png", "", 0);
    OK(hpt_dataset_open(ctx, config("group_by=name"), at("icons"), &ds));
    FAILS(HPT_ERR_ARGUMENT, "of classes class0 and class2", hpt_dataset_budget(ds, 5, 0, &part, NULL));
    FAILS(HPT_ERR_ARGUMENT, "are one object", hpt_dataset_per_class(ds, 2, 0, &part, NULL));
    OK(hpt_dataset_split(ds, 0.5, 0, &part, &rest));
    /* a column of a list */
    char list[600] = "path,patient,label\n";
    for (int i = 0; i < 8; i++) {
        char name[40];
        snprintf(name, sizeof name, "scan%d.png", i);
        put(name, "", 0);
        snprintf(list + strlen(list), 60, "%s,%d,%d\n", name, 100 + i / 2, i / 4);
    }
    text("scans.csv", list);
    OK(hpt_dataset_open(ctx, config("group_by=column:patient"), at("scans.csv"), &ds));
    OK(hpt_dataset_objects(ds, &n));
    OK(hpt_dataset_budget(ds, 2, 1, &part, NULL));
    CHECK(n == 4 && count_of(part) == 4 && label_of(part, 0) == label_of(part, 1) &&
          label_of(part, 2) == !label_of(part, 0));
    /* a patient in two lists of one folder is one, a name in two lists is not */
    text("more.csv", "path,patient\nscan6.png,100\n");
    text("other.txt", "icons/class0/32/icon0-01.png\nicons/class1/32/icon1-00.png\n");
    text("names.txt", "icons/class0/16/icon0-00.png\nicons/class1/16/icon1-00.png\n");
    OK(hpt_dataset_subset(ds, (uint64_t[]){0}, 1, &part));
    OK(hpt_dataset_open(ctx, config("group_by=column:patient"), at("more.csv"), &rest));
    FAILS(HPT_ERR_ARGUMENT, "share 1 image", hpt_dataset_disjoint(part, rest, NULL));
    OK(hpt_dataset_open(ctx, config("group_by=name"), at("names.txt"), &part));
    OK(hpt_dataset_open(ctx, config("group_by=name"), at("other.txt"), &rest));
    OK(hpt_dataset_disjoint(part, rest, NULL));
    FAILS(HPT_ERR_OPTION, "no such column",
          hpt_dataset_open(ctx, config("group_by=column:doctor"), at("scans.csv"), &ds));
    FAILS(HPT_ERR_OPTION, "images or the labels",
          hpt_dataset_open(ctx, config("group_by=column:path"), at("scans.csv"), &ds));
    end();
}

TEST(a_fifth_for_validation_keeps_objects_whole) {
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *train, *val;
    icons();
    text("icons.ini", "[dataset]\nname = icons\ntrain = icons\n");
    OK(hpt_dataset_named(ctx, config("group_by=name"), at("icons.ini"), NULL, "train", &train));
    OK(hpt_dataset_named(ctx, config("group_by=name"), at("icons.ini"), NULL, "val", &val));
    CHECK(whole(val, train) == 9 && whole(train, val) == 36);
    end();
}

TEST(two_sets_as_one) {
    hpt_context *ctx = context("reference", 1);
    hpt_config *c = config("group_by=name");
    hpt_dataset *all, *a, *rest, *b, *both, *dot = dots(ctx, 5, 2);
    hpt_dataset_info info = {.struct_size = sizeof info};
    uint64_t n, shared;
    icons();
    OK(hpt_dataset_open(ctx, c, at("icons"), &all));
    OK(hpt_dataset_split(all, 0.5, 1, &a, &rest));
    OK(hpt_dataset_split(all, 0.7, 2, &b, &rest));
    OK(hpt_dataset_join(a, b, &both));
    OK(hpt_dataset_get_info(both, &info));
    OK(hpt_dataset_objects(both, &n));
    CHECK(!info.labelled && !info.classes && hpt_dataset_disjoint(a, b, &shared) == HPT_ERR_ARGUMENT);
    CHECK(info.count == count_of(a) + count_of(b) - shared && n == whole(both, NULL));
    for (uint64_t i = 0; i < count_of(a); i++) CHECK(!strcmp(name_of(both, i), name_of(a, i)));
    for (uint64_t i = 0; i < info.count; i++)
        for (uint64_t k = 0; k < i; k++) CHECK(strcmp(name_of(both, i), name_of(both, k)));
    FAILS(HPT_ERR_UNSUPPORTED, "arrays cannot", hpt_dataset_join(a, dot, &both));
    OK(hpt_dataset_open(ctx, config("alpha=white"), at("icons"), &rest));
    FAILS(HPT_ERR_ARGUMENT, "alpha", hpt_dataset_join(a, rest, &both));
    end();
}

TEST(what_a_probe_holds_out_are_whole_objects) {
    enum { N = 60 };
    int32_t y[N];
    uint64_t object[N];
    uint8_t val[N], plain[N];
    int held[2] = {0, 0};
    /* 30 objects, two images each */
    for (int i = 0; i < N; i++) y[i] = i % 30 / 15, object[i] = (uint64_t)(i % 30) * 77;
    OK(hpt__probe_holdout(y, object, N, 2, 4, val));
    OK(hpt__probe_holdout(y, NULL, N, 2, 4, plain));
    int broken = 0;
    for (int i = 0; i < 30; i++) {
        CHECK(val[i] == val[i + 30]);
        broken += plain[i] != plain[i + 30];
        held[y[i]] += val[i];
    }
    CHECK(held[0] == 3 && held[1] == 3 && broken > 0);
}
