/* SPDX-License-Identifier: MIT
 * Numbers in files, JSON and messages: with a point in a host program whose locale has a comma, null where there is
 * none, and under the name of their metric. */
#define _GNU_SOURCE
#include "core/json.h"
#include "core/number.h"
#include "shell.h"
#include <locale.h>
#include <sys/stat.h>
#include <unistd.h>

#define TINY "arch=resnet10 width=16 stem=small image_size=16 moco_dim=8 batch_size=8 bn_group=0 moco_k=16 " \
    "precision=fp32 eval_crop=full " \
    "probe_lr=0.03,0.3 probe_steps=6 probe_eval_every=3 probe_batch=16 ft_lr=0.015 ft_length=4 ft_batch=8 ft_micro=8 " \
        "ft_eval_every=2 knn_k=5 overlap=allow "

/* A locale with a decimal comma, compiled where the system has none. */
static void comma(void) {
    char command[400], *dir = temp_dir();
    if (!setlocale(LC_ALL, "de_DE.UTF-8") && !setlocale(LC_ALL, "de_DE.utf8")) {
        snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1", dir);
        if (system(command) || setenv("LOCPATH", dir, 1) || !setlocale(LC_ALL, "de_DE.UTF-8"))
            SKIP("no locale with a decimal comma, and localedef cannot make one");
    }
    snprintf(command, sizeof command, "%.1f", 0.5);
    CHECK(!strcmp(command, "0,5"));
}
static json_t *json_of(const hpt_result *r) {
    size_t n;
    OK(hpt_result_json(r, NULL, 0, &n));
    char *text = malloc(n);
    OK(hpt_result_json(r, text, n, NULL));
    json_t *j = json_loads(text, 0, NULL);
    CHECK(j);
    free(text);
    return j;
}
static char *file(const char *dir, const char *name) {
    char path[300], *text = calloc(1, 1 << 20);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    if (!f || !fread(text, 1, (1 << 20) - 1, f)) FAIL("%s", path);
    fclose(f);
    return text;
}

TEST(numbers_without_the_hosts_locale) {
    char text[80], *old;
    double v;
    float list[3] = {0.1f, 1e-20f, 123456.0f};
    comma();
    old = strdup(setlocale(LC_ALL, NULL));
    hpt__format(text, sizeof text, "%.2f %g %d", 1.5, 1e-3, 7);
    CHECK(!strcmp(text, "1.50 0.001 7"));
    hpt__number_print(0.125, text, sizeof text);
    CHECK(!strcmp(text, "0.125"));
    CHECK(hpt__number_parse("0.125", &v) && v == 0.125 && !hpt__number_parse("0,125", &v));
    hpt__number_list_print(list, 3, text, sizeof text);
    double back[3];
    CHECK(hpt__number_list(text, back, 3) == 3);
    for (int i = 0; i < 3; i++) CHECK((float)back[i] == list[i]);
    hpt_config *c = config("");
    OK(hpt_config_set_float(c, "lr", 0.25));
    OK(hpt_config_get(c, "lr", text, sizeof text, NULL));
    CHECK(!strcmp(text, "0.25"));
    FAILS(HPT_ERR_OPTION, "0..0.99999", hpt_config_set(c, "momentum", "1.5"));
    size_t n;
    OK(hpt_config_json(c, NULL, NULL, 0, &n));
    char *json = malloc(n);
    OK(hpt_config_json(c, NULL, json, n, NULL));
    json_t *j = json_loads(json, 0, NULL);
    CHECK(j && strstr(json, "\"lr\": 0.25"));
    CHECK(!strcmp(setlocale(LC_ALL, NULL), old));
    snprintf(text, sizeof text, "%.1f", 0.5);
    CHECK(!strcmp(text, "0,5"));                        /* the host's own printing is as it was */
}

TEST(json_of_what_json_lacks) {
    CHECK(json_is_null(hpt__json_number(NAN)) && json_is_null(hpt__json_number(INFINITY)) &&
          json_is_null(hpt__json_number(-INFINITY)));
    CHECK(json_number_value(hpt__json_number(0.25)) == 0.25 && isnan(hpt__json_real(NULL)) &&
          isnan(hpt__json_real(json_null())) && hpt__json_real(json_integer(3)) == 3);
    CHECK(!strcmp(json_string_value(hpt__json_text("a\xe4 b\xc3\xa4 \xed\xa0\x80.")),
                  "a\xef\xbf\xbd b\xc3\xa4 \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd."));
    CHECK(!strcmp(json_string_value(hpt__json_text("\xf0\x9f\x98\x80")), "\xf0\x9f\x98\x80") &&
          json_is_null(hpt__json_text(NULL)));
    const float mean[3] = {0.485f, 1.0f / 3, 0};
    json_t *j = hpt__json_floats(mean, 3);
    CHECK(json_number_value(json_array_get(j, 0)) == 0.485);
    for (size_t i = 0; i < 3; i++) CHECK((float)json_number_value(json_array_get(j, i)) == mean[i]);
}

/* ---- a report, byte for byte the same in both locales ---- */

static void write_images(hpt_context *ctx, const char *dir, const char *name, int n, int classes) {
    char path[300];
    uint8_t rgb[768];
    hpt_dataset *ds = toy_set(ctx, "", n, 16, classes);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    mkdir(path, 0777);
    for (int i = 0; i < n; i++) {
        OK(hpt_dataset_image(ds, NULL, (uint64_t)i, 16, rgb));
        snprintf(path, sizeof path, "%s/%s/c%d", dir, name, i % classes);
        mkdir(path, 0777);
        snprintf(path, sizeof path, "%s/%s/c%d/%d.ppm", dir, name, i % classes, i);
        FILE *f = fopen(path, "wb");
        CHECK(f);
        fprintf(f, "P6 16 16 255\n");
        fwrite(rgb, 1, 768, f);
        fclose(f);
    }
    hpt_dataset_destroy(ds);
}
static const char recipe[] = "[recipe]\nname = numbers\nseeds = 0, 1\n[options]\narch = resnet10\nwidth = 16\nstem = "
    "small\nimage_size = 16\nmoco_dim = 8\nbatch_size = 8\nbn_group = 0\nmoco_k = 16\neval_crop = full\nprobe_lr = "
    "0.03, 0.3\nprobe_steps = 6\nprobe_eval_every = 3\nprobe_batch = 16\n[data one]\npath = one\n[data two]\npath = "
    "two\n[data train]\nfrom = one\nper_class = 6\nsplit_seed = run\n[data val]\nfrom = one\nper_class = 6\nsplit_seed "
    "= run\npart = rest\n[pretrain a]\ndata = one\nsweep.lr = 0.03, 0.015\nsteps = 3\n[search s]\ninit = "
    "a[lr=0.03]\nsources = one, two\ntrain = train\nval = val\nsteps = 2\nsearch_rungs = 1\n[linear p]\nmodel = "
    "a\ntrain = train\nval = val\ntest = two\nprobe_keep = 1\n[similarity rv]\nof = a\nmetric = rv2\ndata = two\ngroup "
    "= lr\n[choose q]\nof = p\nover = lr\n[table one-table]\nstages = p\ncolumns = lr\n[plot l]\nkind = lines\nstages "
    "= p\nx = lr\n[plot b]\nkind = bars\nstages = p\nx = lr\n[plot h]\nkind = heat\nof = rv\n[plot n]\nkind = "
    "closeness\nof = rv\nstages = p\nx = lr\n[finding f]\nclaim = above nothing\nleft = p\nright = 0.5\nmargin = "
    "0.25\n[finding g]\nclaim = not there\nleft = p\nright = p\nvalue = val_auroc\n";

TEST_LIMIT(report_without_the_hosts_locale, 240) {
    static const char *const names[] = {"report.html", "results.csv", "results.json"};
    char path[300], *dir = strdup(temp_dir()), *plain[3], command[300];
    hpt_recipe *r;
    hpt_context *ctx = context("reference", 1);
    snprintf(path, sizeof path, "%s/r.ini", dir);
    FILE *f = fopen(path, "w");
    CHECK(f);
    fputs(recipe, f);
    fclose(f);
    write_images(ctx, dir, "one", 36, 3);
    write_images(ctx, dir, "two", 30, 3);
    hpt_config *c = config("backend=reference threads=1");
    if (chdir(dir)) FAIL("chdir");
    OK(hpt_recipe_open(c, "r.ini", "out", &r));
    OK(hpt_recipe_run(r, NULL, NULL, NULL));
    hpt_recipe_destroy(r);
    for (int i = 0; i < 3; i++) plain[i] = file("out", names[i]);
    comma();
    OK(hpt_recipe_open(c, "r.ini", "out", &r));
    hpt_result *res;
    OK(hpt_recipe_report(r, &res));
    for (int i = 0; i < 3; i++)
        if (strcmp(plain[i], file("out", names[i]))) FAIL("%s differs under a locale with a comma", names[i]);
    hpt_recipe_destroy(r);
    CHECK(strstr(plain[0], "<polyline") && strstr(plain[0], "&plusmn;") && !strstr(plain[0], "nan") &&
          !strstr(plain[2], "nan"));
    CHECK(strstr(plain[1], ",metric,precision\n") && strstr(plain[1], ",top1,"));
    /* every stage says what it rests on; the finding without numbers has none */
    json_t *j = json_of(res), *s;
    size_t i;
    json_array_foreach(json_object_get(j, "stages"), i, s) {
        const char *kind = json_string_value(json_object_get(s, "kind"));
        if (!strcmp(kind, "choose")) continue;
        CHECK(!strcmp(json_string_value(json_object_get(s, "backend")), "reference") &&
              json_integer_value(json_object_get(s, "threads")) == 1);
        CHECK(!strcmp(json_string_value(json_object_get(s, "precision")), "fp32"));
        if (strcmp(kind, "similarity"))
            CHECK(json_array_size(json_object_get(s, "pixel_mean")) == 3 &&
                  json_array_size(json_object_get(s, "pixel_std")) == 3 &&
                  json_is_string(json_object_get(s, "pixels_from")));
    }
    s = json_array_get(json_object_get(j, "findings"), 1);
    CHECK(json_integer_value(json_object_get(s, "seeds")) == 0 && json_is_null(json_object_get(s, "left_mean")) &&
          json_is_null(json_object_get(s, "difference")) && json_is_null(json_object_get(s, "sd")));
    /* and a whole run in that locale gives the same scores */
    OK(hpt_recipe_open(c, "r.ini", "comma", &r));
    OK(hpt_recipe_run(r, NULL, NULL, NULL));
    json_t *again = json_loads(file("comma", "results.json"), 0, NULL);
    CHECK(again && json_equal(json_object_get(j, "findings"), json_object_get(again, "findings")));
    setlocale(LC_ALL, "C");
    snprintf(command, sizeof command, "rm -rf %s", dir);
    CHECK(!system(command));
}

/* ---- the commands name what they print ---- */

#define SMALL_RUN "--arch resnet10 --width 16 --stem small --image_size 16 --precision fp32 --backend reference " \
    "--threads 1 --overlap allow --init random"
#define PROBE_RUN "--probe_steps 6 --probe_eval_every 3 " SMALL_RUN
#define TUNE_RUN "--ft_length 2 --ft_micro 8 --ft_batch 8 --ft_lr 0.01 --ft_eval_every 1 " SMALL_RUN
static int wrong(const char *has, const char *lacks) {
    return !strstr(output, has) || (lacks && strstr(output, lacks)) || strstr(output, "nan") ||
        strstr(output, " 0.00 %");
}

TEST_LIMIT(commands_name_their_metric, 240) {
    char *dir = temp_dir(), path[300], hpt[64] = HPT_TEST_BIN "/hpt";
    hpt_context *ctx = context("reference", 1);
    write_images(ctx, dir, "one", 24, 3);
    static const char *const names[] = {"multi.txt", "same.txt", "part.txt"};
    for (int k = 0; k < 3; k++) {       /* multi: three classes; same: no class has both kinds; part: one class has */
        snprintf(path, sizeof path, "%s/%s", dir, names[k]);
        FILE *f = fopen(path, "w");
        CHECK(f);
        for (int i = 0; i < 24; i++)
            fprintf(f, "one/c%d/%d.ppm %d,%d,%d\n", i % 3, i, k == 1 ? 1 : i % 2, k ? 1 : i % 3 == 0,
                    k ? 1 : i % 4 == 1);
        fclose(f);
    }
    const char *m = "multi.txt";
    /* one label */
    CHECK(!sh("%s linear --train %s/one --test %s/one " PROBE_RUN " 2>&1", hpt, dir, dir));
    if (wrong("linear probe: top-1 ", "AUROC") || !strstr(output, " % on test, top-1 ")) FAIL("%s", output);
    CHECK(!sh("%s linear --train %s/one " PROBE_RUN " 2>&1", hpt, dir));
    if (wrong(" % on validation (lr ", "AUROC") || !strstr(output, "test: not scored")) FAIL("%s", output);
    CHECK(!sh("%s knn --train %s/one --test %s/one " SMALL_RUN " 2>&1", hpt, dir, dir));
    if (wrong("nearest neighbours: top-1 ", "AUROC")) FAIL("%s", output);
    /* several */
    CHECK(!sh("%s linear --train %s/%s --test %s/%s " PROBE_RUN " 2>&1", hpt, dir, m, dir, m));
    if (wrong("linear probe: AUROC ", "top-1") || !strstr(output, " % on test, AUROC ")) FAIL("%s", output);
    CHECK(!sh("%s linear --train %s/%s " PROBE_RUN " 2>&1", hpt, dir, m));
    if (wrong("linear probe: AUROC ", "top-1") || !strstr(output, "test: not scored")) FAIL("%s", output);
    CHECK(!sh("%s knn --train %s/%s --test %s/%s " SMALL_RUN " 2>&1", hpt, dir, m, dir, m));
    if (wrong("nearest neighbours: AUROC ", "top-1")) FAIL("%s", output);
    CHECK(!sh("%s finetune --train %s/%s --val %s/%s --test %s/%s " TUNE_RUN " 2>&1", hpt, dir, m, dir, m, dir, m));
    if (wrong("finetuned: AUROC ", "top-1")) FAIL("%s", output);
    CHECK(!sh("%s search --sources %s/one,%s/multi.txt --train %s/%s --val %s/%s --steps 1 --batch_size 8 --bn_group 0 "
              "--moco_k 8 --moco_dim 8 " PROBE_RUN " 2>/dev/null", hpt, dir, dir, dir, m, dir, m));
    if (wrong("AUROC ", "top-1") || !strstr(output, "/one: ") || !strstr(output, "/multi.txt: ")) FAIL("%s", output);
    /* a test set without any AUROC has no score; a validation set without one gives no choice */
    CHECK(!sh("%s knn --train %s/%s --test %s/same.txt --empty_classes allow " SMALL_RUN " 2>&1", hpt, dir, m, dir));
    if (wrong("nearest neighbours: no AUROC on test", " %")) FAIL("%s", output);
    CHECK(!sh("%s knn --train %s/%s --test %s/same.txt --json --empty_classes allow " SMALL_RUN " 2>/dev/null", hpt,
              dir, m, dir));
    json_t *j = json_loads(output, 0, NULL);
    CHECK(j && json_is_null(json_object_get(j, "knn_score")) && !json_object_get(j, "knn_top1") &&
          !strcmp(json_string_value(json_object_get(j, "metric")), "auroc"));
    CHECK(!sh("%s knn --train %s/%s --test %s/part.txt " SMALL_RUN " 2>&1", hpt, dir, m, dir));
    if (wrong("without 2 classes", NULL)) FAIL("%s", output);
    CHECK(sh("%s linear --train %s/%s --val %s/same.txt " PROBE_RUN " 2>&1", hpt, dir, m, dir));
    if (!strstr(output, "no AUROC to choose by")) FAIL("%s", output);
    CHECK(sh("%s finetune --train %s/%s --val %s/same.txt " TUNE_RUN " 2>&1", hpt, dir, m, dir));
    if (!strstr(output, "no AUROC to choose by")) FAIL("%s", output);
    snprintf(path, sizeof path, "rm -rf %s", dir);
    CHECK(!system(path));
}

/* What a run rests on is in its folder and in its JSON; a path that JSON has no text for does not break it. */
TEST_LIMIT(pretraining_says_what_it_rests_on, 120) {
    char *dir = temp_dir(), path[300], hpt[64] = HPT_TEST_BIN "/hpt";
    hpt_context *ctx = context("reference", 1);
    write_images(ctx, dir, "one", 16, 2);
    CHECK(!sh("%s pretrain --data %s/one --out '%s/a \"quoted\" back\\slash \344' --json --steps 1 --batch_size 8 "
              "--bn_group 0 --moco_k 8 --arch resnet10 --width 16 --stem small --image_size 16 --backend reference "
              "--threads 1 2>/dev/null", hpt, dir, dir));
    json_t *j = json_loads(output, 0, NULL);
    CHECK(j && json_number_value(json_object_get(j, "loss")) > 0 &&
          strstr(json_string_value(json_object_get(j, "backbone")), "a \"quoted\" back\\slash ?/exported"));
    CHECK(!strcmp(json_string_value(json_object_get(j, "precision")), "fp32") &&
          !strcmp(json_string_value(json_object_get(j, "backend")), "reference"));
    CHECK(json_array_size(json_object_get(j, "pixel_mean")) == 3 &&
          !strcmp(json_string_value(json_object_get(j, "pixels_from")), "data"));
    CHECK(!sh("cat %s/a*/args.json", dir));
    j = json_object_get(json_loads(output, 0, NULL), "run");
    CHECK(j && !strcmp(json_string_value(json_object_get(j, "precision")), "fp32") &&
          json_integer_value(json_object_get(j, "threads")) == 1 &&
          json_array_size(json_object_get(j, "pixel_std")) == 3);
    CHECK(!sh("cat %s/a*/train.log", dir) && strstr(output, ", fp32"));
    snprintf(path, sizeof path, "rm -rf %s", dir);
    CHECK(!system(path));
}
