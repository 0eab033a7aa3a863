/* SPDX-License-Identifier: MIT
 * Recipes as text: long ones, odd ones, hostile ones. All is read or refused at once, with its line, and quickly.
 * What recipes compute: test_recipe.c. */
#define _GNU_SOURCE
#include "recipe/recipe.h"
#undef CHECK     /* of the API files */
#include "support.h"
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char dir[64], ini[128];
static void write_ini(const char *text, size_t n) {
    FILE *f = fopen(ini, "w");
    CHECK(f && fwrite(text, 1, n, f) == n && !fclose(f));
}
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static void begin(void) {
    snprintf(dir, sizeof dir, "%s", temp_dir());
    snprintf(ini, sizeof ini, "%s/more.ini", dir);
    write_ini("[recipe]\nname = x\n", 18);
    snprintf(ini, sizeof ini, "%s/r.ini", dir);
}
static hpt_status open_text(const char *text, hpt_recipe **r) {
    write_ini(text, strlen(text));
    return hpt_recipe_open(NULL, ini, NULL, r);
}

TEST(recipe_text_that_is_refused) {
    static const struct { const char *text, *what; } bad[] = {
        {"[recipe]\n= x\n", "line 2: no key before '='"},
        {"[recipe]\n: x\n", "line 2: no key before ':'"},
        {"[recipe]\n  = x\n", "line 2: no key"},
        {"[recipe]\n\n=\n", "line 3: no key"},
        {"[template t]\n=\n", "line 2: no key"},
        {"[recipe\nname = x\n", "line 1: '[' without ']'"},
        {"[]\na = b\n", "line 1: a section [] is unknown"},
        {"[ ]\na = b\n", "line 1: a section [] is unknown"},
        {"[data]\npath = x\n", "line 1: [data] needs a name"},
        {"[data ]\n", "line 1: [data] needs a name"},
        {"[pretrain a]\n", "line 1: [pretrain a] needs a line 'data = ...'"},
        {"[recipe]\n[pretrain gr\xf6\xdf" "e]\ndata = x\n", "line 2: the section's name is not UTF-8"},
        {"[recipe]\n[knn gr\xc3]\nmodel = random\ntrain = x\n", "line 2: the section's name is not UTF-8"},
        {"[recipe]\nn\xe4me = x\n", "line 2: the key is not UTF-8"},
        {"[knn k]\nmodel = random\ntrain = x\nlabel strategy = x\n", "line 4: "},
        {"[template a]\nlike = b\n[template b]\nlike = a\n[data c]\nlike = a\npath = x\n",
         "'like' goes round in a circle"},
        {"[data a]\npath = x\nlike = a\n", "'like' goes round in a circle"},
        {"[data 0123456789012345678901234567890123456789012345678901234567890123]\npath = x\n",
         "line 1: the name '0123456789012345678901234567890123456789...' is longer than 63"},
    };
    begin();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        hpt_recipe *r;
        hpt_status st = open_text(bad[i].text, &r);
        if (st != HPT_ERR_FORMAT && i != 14) FAIL("case %zu gave %s", i, hpt_status_name(st));
        if (st >= 0 || r || !strstr(hpt_last_error(), bad[i].what))
            FAIL("case %zu: '%s' lacks '%s'", i, hpt_last_error(), bad[i].what);
    }
    hpt_recipe *r;
    write_ini("[recipe]\nname = a\0b\n", 21);
    FAILS(HPT_ERR_FORMAT, "line 2: a zero byte", hpt_recipe_open(NULL, ini, NULL, &r));
    char fifo[100];
    snprintf(fifo, sizeof fifo, "%s/fifo", dir);
    CHECK(!mkfifo(fifo, 0600));
    FAILS(HPT_ERR_IO, "not a regular file", hpt_recipe_open(NULL, fifo, NULL, &r));
    FAILS(HPT_ERR_IO, "not a regular file", hpt_recipe_open(NULL, dir, NULL, &r));
}

/* What the reader of earlier versions understood: comments, indented lines, a mark of order, CRLF, colons. */
TEST(recipe_text_that_is_read) {
    static const struct { const char *text, *key, *value; } good[] = {
        {"[recipe]\nname = a ; rest\n", "name", "a"},
        {"[recipe]\nname = a;b\n", "name", "a;b"},
        {"[recipe]\nname = a # b\n", "name", "a # b"},
        {"\xef\xbb\xbf[recipe]\r\nname = a\r\n", "name", "a"},
        {"# x\n; y\n[recipe]\n# = z\n  # more\nname: a = b\n", "name", "a = b"},
        {"[recipe] ; all\nname = a\n\tb\n  c ; d\n\n   e\nseeds = 1", "name", "a b c e"},
        {"[recipe]\nname =\n", "name", ""},
        {"[recipe]\nname =\n  later", "name", " later"},
        {"[recipe]\nname = [x]\n  [y]\n", "name", "[x] [y]"},
        /* values may be any bytes: paths are */
        {"[recipe]\nabout = \xfc\xf6\xe4\nname = gr\xfc\xdf" "e\n", "name", "gr\xfc\xdf" "e"},
    };
    begin();
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        hpt_recipe *r;
        if (open_text(good[i].text, &r)) FAIL("case %zu: %s", i, hpt_last_error());
        const char *got = hpt__section_value(&r->sections[0], good[i].key, "(none)");
        if (strcmp(got, good[i].value)) FAIL("case %zu: '%s', not '%s'", i, got, good[i].value);
        hpt_recipe_destroy(r);
    }
}

/* Paths of every length that the system takes, as data and behind include; longer ones are refused, never cut. */
TEST(recipe_paths_of_any_length) {
    char *text = malloc(20000), *deep = malloc(8000);
    uint8_t ppm[64] = "P6 2 2 255\n";
    begin();
    size_t at = (size_t)sprintf(deep, "%s", dir);
    CHECK(!chdir(dir));
    while (at < 3900) {     /* below folders of 200 letters */
        char part[202];
        memset(part, 'd', 200);
        part[200] = 0;
        if (!(at / 201 % 2)) memcpy(part, "gr\xf6\xdf", 4);     /* and of any bytes */
        CHECK(!mkdir(part, 0700) && !chdir(part));
        at += (size_t)sprintf(deep + at, "/%s", part);
        static const size_t tried[] = {250, 600, 2100, 3900};
        int now_tried = 0;
        for (size_t k = 0; k < 4; k++) now_tried |= at > tried[k] && at <= tried[k] + 201;
        if (!now_tried) continue;
        for (int c = 0; c < 2; c++) {
            CHECK(!mkdir(c ? "b" : "a", 0700));
            for (int i = 0; i < 2; i++) {
                char name[20];
                snprintf(name, sizeof name, "%c/%d.ppm", "ab"[c], i);
                FILE *f = fopen(name, "w");
                memset(ppm + 11, 40 * c + 9 * i, 12);
                CHECK(f && fwrite(ppm, 1, 23, f) == 23 && !fclose(f));
            }
        }
        FILE *f = fopen("more.ini", "w");
        fprintf(f, "[recipe]\nname = included\n");
        fclose(f);
        sprintf(text,
                "[recipe]\ninclude = %s/more.ini\nout = %s/out\nbackend = reference\nthreads = 1\n[data t]\npath = "
                "%s\n[knn k]\nmodel = random\ntrain = t\ntest = t\noverlap = allow\narch = resnet10\nwidth = 16\n",
                deep, dir, deep);
        hpt_recipe *r;
        hpt_result *res;
        OK(open_text(text, &r));
        OK(hpt_recipe_plan(r, &res));
        hpt_result_destroy(res);
        hpt_recipe_destroy(r);
        CHECK(!system("rm -r a b"));
    }
    hpt_recipe *r;
    memset(deep, 'x', 5000);
    deep[0] = '/';
    deep[5000] = 0;
    sprintf(text, "[data t]\npath = %s\n", deep);
    FAILS(HPT_ERR_FORMAT, "line 2: the value of 'path' is longer than 4095", open_text(text, &r));
    sprintf(text, "[recipe]\ninclude = %s\n", deep);
    FAILS(HPT_ERR_FORMAT, "line 2: the path is longer than 4095", open_text(text, &r));
    sprintf(text, "[pretrain t]\ndata = d\nsweep.init = a.pth, %s\n", deep);
    FAILS(HPT_ERR_FORMAT, "line 3: a value in the list is longer", open_text(text, &r));
    CHECK(!system(strcat(strcpy(text, "rm -rf "), dir)));
}

/* A megabyte of each kind of excess: answered within a second or two, and without much memory. */
TEST(recipe_text_without_end) {
    static const struct { const char *head, *line, *what; } all[] = {
        {"", "[data a%d]\npath=x\n", "the recipe is too large"},
        {"", "[data a%d]\n", "the recipe is too large"},
        {"[template t]\n", "k%d=1\n", "more than 1000 lines in a section"},
        {"[recipe]\nabout = x\n", " x%.0d\n", "longer than 16384"},
        {"[recipe]\n", "include = more.ini\n#%d\n", "files are included"},
        {"[template t]\na=1\nb=1\nc=1\nd=1\ne=1\nf=1\ng=1\nh=1\ni=1\nj=1\nk=1\nl=1\n", "[template a%d]\nlike=t\n",
         "the recipe is too large"},
        {"[template t]\na=1\nb=1\nc=1\nd=1\ne=1\nf=1\ng=1\nh=1\ni=1\nj=1\nk=1\nl=1\n", "[data a%d]\nlike=t\n",
         "the recipe is too large"},
        {"[pretrain x]\ndata=d\nsweep.steps = ", "%d, ", "longer than 16384"},
        {"", "%d\n", "line 1: neither"},
    };
    char *text = malloc(1 << 20);
    begin();
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        size_t at = (size_t)sprintf(text, "%s", all[i].head);
        for (int k = 1; at < (1 << 20) - 100; k++) at += (size_t)sprintf(text + at, all[i].line, k);
        hpt_recipe *r;
        double t0 = now();
        hpt_status st = open_text(text, &r);
        double took = now() - t0;
        if (st >= 0 || !strstr(hpt_last_error(), all[i].what))
            FAIL("case %zu: %s, '%s'", i, hpt_status_name(st), hpt_last_error());
        if (took > (getenv("HPT_TEST_SLOW") ? 20 : 2)) FAIL("case %zu took %.1f s", i, took);
        hpt_recipe_destroy(r);
    }
    size_t at = 0;      /* a row of stages, each of the one before */
    for (int k = 0; k < 1500; k++)
        at += (size_t)sprintf(text + at, k ? "[pretrain p%d]\ndata=d\ninit=p%d\n"
                              : "[data d]\npath=/\n[pretrain p0]\ndata=d\n", 1500 - k, 1499 - k);
    hpt_recipe *r;
    hpt_result *res;
    hpt_status st = open_text(text, &r);
    if (!st) st = hpt_recipe_plan(r, &res);
    if (st != HPT_ERR_FORMAT || !strstr(hpt_last_error(), "in a row")) FAIL("%s", hpt_last_error());
    hpt_recipe_destroy(r);
}

TEST(recipe_lists_with_brackets) {
    char item[64];
    static const char list[] = "a[x=1,y=2], b , c[z=3],d[open";
    static const char *const want[] = {"a[x=1,y=2]", "b", "c[z=3]", "d[open"};
    for (int i = 0; i < 4; i++) CHECK(hpt__list_item(list, i, ',', item, sizeof item) && !strcmp(item, want[i]));
    CHECK(!hpt__list_item(list, 4, ',', item, sizeof item));
    CHECK(hpt__list_item("", 0, ',', item, sizeof item) && !*item && !hpt__list_item("", 1, ',', item, sizeof item));
    CHECK(hpt__word_in(" a b ", "a") && !hpt__word_in(" a b ", "") && !hpt__word_in(" a b ", "a b") &&
          !hpt__word_in(" ab ", "a"));
}
