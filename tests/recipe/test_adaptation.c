/* SPDX-License-Identifier: MIT
 * Recipes of domain adaptation: budgets of labels as keys of data, the stage [adapt], what it refuses, and what it says
 * of lists whose protocol tests on unlabelled images that were trained on. */
#define _GNU_SOURCE
#include "shell.h"
#include <sys/stat.h>
#include <unistd.h>

static char work[200];

/* One picture of class k, 16 x 16; its own file with its own pixels. */
static void picture(const char *name, int k, int i, int domain) {
    char path[400];
    uint8_t rgb[16 * 16 * 3];
    snprintf(path, sizeof path, "%s/%s", work, name);
    for (char *p = path + strlen(work) + 1; (p = strchr(p, '/')); *p++ = '/') {
        *p = 0;
        mkdir(path, 0777);
    }
    for (int p = 0; p < 16 * 16 * 3; p++)
        rgb[p] = (uint8_t)((p % 3 == k % 3) * 120 + (p / 3 % 16 * (k + 1) + i * 37) % 90 + 30 * domain);
    FILE *f = fopen(path, "wb");
    CHECK(f);
    fprintf(f, "P6 16 16 255\n");
    CHECK(fwrite(rgb, 1, sizeof rgb, f) == sizeof rgb && !fclose(f));
}
static void write_text(const char *name, const char *text) {
    char path[400];
    snprintf(path, sizeof path, "%s/%s", work, name);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && !fclose(f));
}
/* drawn/cK/I.ppm and photo/cK/I.ppm: three classes, 60 and 30 images; other: with a fourth class. */
static void begin(void) {
    char name[100];
    snprintf(work, sizeof work, "%s", temp_dir());
    CHECK(!chdir(work));
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof name, "drawn/c%d/%d.ppm", i % 3, i);
        picture(name, i % 3, i, 0);
        if (i % 2) continue;
        snprintf(name, sizeof name, "photo/c%d/%d.ppm", i / 2 % 3, i);
        picture(name, i / 2 % 3, i, 1);
        snprintf(name, sizeof name, "other/c%d/%d.ppm", 1 + i / 2 % 3, i);
        picture(name, i / 2 % 3, i, 2);
    }
}

#define HEAD \
    "[recipe]\nbackend = reference\nthreads = 1\n[options]\narch = resnet10\nwidth = 16\nstem = small\nimage_size = " \
    "16\nmoco_dim = 16\nprecision = fp32\neval_crop = full\n[template mme]\nbatch_size = 4\nsteps = 2\nmme_dim = " \
    "8\nmonitor_every = 0\n"
#define DATA \
    "[data drawn]\npath = drawn\n[data photo]\npath = photo\n[data pool]\nfrom = photo\nfraction = 0.6\n" \
    "[data test]\nfrom = photo\nwithout = pool\n"

static hpt_status recipe_of(const char *text, const char *out, hpt_result **res, int run) {
    hpt_recipe *r = NULL;
    *res = NULL;
    write_text("r.ini", text);
    hpt_status st = hpt_recipe_open(NULL, "r.ini", out, &r);
    if (!st) st = hpt_recipe_set_log(r, NULL, NULL);
    if (!st && run) st = hpt_recipe_run(r, NULL, NULL, NULL);
    if (!st) st = run ? hpt_recipe_report(r, res) : hpt_recipe_plan(r, res);
    hpt_recipe_destroy(r);
    return st;
}
static json_t *json_of(hpt_result *res) {
    size_t n;
    OK(hpt_result_json(res, NULL, 0, &n));
    char *text = malloc(n);
    OK(hpt_result_json(res, text, n, NULL));
    return json_loads(text, 0, NULL);
}

/* MME, ENT and S+T at two budgets, from random weights and after pretraining on both domains. */
TEST_LIMIT(an_adaptation_recipe_runs, 120) {
    hpt_result *res;
    begin();
    OK(recipe_of(HEAD DATA
                 "[data taught]\nfrom = pool\nsweep.budget = 3, 9\nsplit_seed = run\n"
                 "[data free]\nfrom = pool\nwithout = taught\n"
                 "[data both]\nfrom = drawn\nwith = pool\n"
                 "[pretrain hpt]\ndata = both\nsteps = 2\nbatch_size = 8\nbn_group = 8\nmoco_k = 16\n"
                 "[adapt a]\nlike = mme\nsource = drawn\nlabelled = taught\nunlabelled = free\ntest = test\n"
                 "sweep.init = random, hpt\nvariant.S+T = mme_entropy=off\nvariant.ENT = mme_entropy=minimise\n"
                 "variant.MME = mme_entropy=minimax\n"
                 "[table t]\nstages = a\ncolumns = budget\n"
                 "[finding f]\nclaim = x\nleft = a[variant=MME,init=hpt,budget=9]\nright = a[variant=MME,init=random,"
                 "budget=9]\n", "out", &res, 1));
    json_t *j = json_of(res), *stages = json_object_get(j, "stages"), *s;
    size_t i;
    int adapted = 0;
    json_array_foreach(stages, i, s) {
        if (strcmp(json_string_value(json_object_get(s, "kind")), "adapt")) continue;
        const char *vars = json_dumps(json_object_get(s, "vars"), 0);
        int nine = strstr(vars, "\"9\"") != NULL, none = strstr(vars, "S+T") != NULL;
        double score = json_number_value(json_object_get(s, "test_score"));
        adapted++;
        CHECK(score >= 0 && score <= 100 && json_integer_value(json_object_get(s, "test_images")) == 12);
        CHECK(json_integer_value(json_object_get(s, "labelled_images")) == (nine ? 9 : 3));
        CHECK(json_integer_value(json_object_get(s, "unlabelled_images")) == (none ? 0 : nine ? 9 : 15));
        CHECK(!!json_is_number(json_object_get(s, "entropy_loss")) == !none);
    }
    CHECK(adapted == 12);
    CHECK(json_number_value(json_object_get(json_array_get(json_object_get(j, "findings"), 0), "seeds")) == 1);
}

TEST_LIMIT(budgets_of_recipes, 60) {
    static const struct { const char *tail, *what; } bad[] = {
        {"budget = 2\n", "a budget of 2 labels is below one for each of 3 classes"},
        {"budget = 19\n", "a budget of 19 labels is larger than the data, 18 images"},
        {"budget = 1/3\n", "18 images of 3 classes are too few for a series"},
        {"budget = 3/2\n", "K/B"}, {"budget = 1/x\n", "K/B"}, {"budget = many\n", "neither a whole number"},
        {"budgets = 1\n", "not a whole number from 2"}, {"budgets = 2\nbudget = 4\n", "only one of budget"},
        {"budget = 4\nfew = 4\n", "only one of per_class"}};
    char text[2000];
    hpt_result *res;
    begin();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text,
                 HEAD DATA "[data taught]\nfrom = pool\n%s[linear p]\nmodel = random\ntrain = taught\ntest = test\n",
                 bad[i].tail);
        hpt_status st = recipe_of(text, "out", &res, 0);
        if (!st || !strstr(hpt_last_error(), bad[i].what) || !strstr(hpt_last_error(), "r.ini, line "))
            FAIL("%s: %s", bad[i].tail, st ? hpt_last_error() : "accepted");
    }
    /* the series: one a class, eleven a class */
    OK(recipe_of(HEAD "[data drawn]\npath = drawn\n[data taught]\nfrom = drawn\nbudgets = 2\n[data test]\npath = "
                 "photo\n[linear p]\nmodel = random\ntrain = taught\ntest = test\n", "out", &res, 0));
    json_t *j = json_of(res), *stages = json_object_get(j, "stages");
    CHECK(json_array_size(stages) == 2 &&
          strstr(json_string_value(json_object_get(json_array_get(stages, 1), "name")), "taught.budget=2/2"));
}

TEST_LIMIT(what_an_adaptation_refuses, 60) {
    static const struct { const char *tail, *what; } bad[] = {
        {"labelled = other\nunlabelled = free\ntest = test\n", "class 'c3'"},
        {"labelled = taught\nunlabelled = photo\ntest = test\n", "'photo' is also in the test set 'test' of [a]"},
        {"labelled = taught\nunlabelled = free\ntest = test\nval = test\n", "'test' is also in the test set"},
        {"labelled = taught\nunlabelled = free\nval = taught\n", "labelled: the sets share 6 images"},
        {"labelled = taught\ntest = test\n", "needs a line 'unlabelled = ...'"},
        {"labelled = taught\nunlabelled = free\ntest = other\n", "class 'c3'"},
        {"labelled = taught\nunlabelled = free\ninit = hpt\ntest = test\n", "'photo' is also in the test set 'test'"},
        {"labelled = taught\nunlabelled = free\ntest = test\nmethod = moco\n", "method=moco is one of [pretrain NAME]"},
        {"unlabelled = free\n", "needs a line 'labelled = ...'"}};
    char text[2600];
    hpt_result *res;
    begin();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, HEAD DATA "[data other]\npath = other\n[data taught]\nfrom = pool\nbudget = 6\n"
                 "[data free]\nfrom = pool\nwithout = taught\n"
                 "[pretrain hpt]\ndata = photo\nsteps = 1\nbatch_size = 8\nbn_group = 8\nmoco_k = 16\n"
                 "[adapt a]\n%s%s%ssource = drawn\n", "like = mme\n", bad[i].tail, "");
        hpt_status st = recipe_of(text, "out", &res, 0);
        if (!st || !strstr(hpt_last_error(), bad[i].what) || !strstr(hpt_last_error(), "r.ini, line "))
            FAIL("%s: %s", bad[i].tail, st ? hpt_last_error() : "accepted");
    }
    FAILS(HPT_ERR_OPTION, "method=mme is one of [adapt NAME]",
          recipe_of(HEAD DATA "[pretrain p]\ndata = drawn\nmethod = mme\n", "out", &res, 0));
}

/* Lists of three labels a class whose unlabelled images are the test images: taken, and said. */
TEST_LIMIT(the_protocol_of_adaptation_lists_is_said, 60) {
    char lists[4][4000] = {"", "", "", ""}, name[100], line[140];
    hpt_result *res;
    begin();
    for (int i = 0; i < 40; i++) {
        int k = i % 3, at = i < 9 ? 0 : i < 18 ? 1 : 2;
        snprintf(name, sizeof name, "clipart/c%d/%d.ppm", k, i);
        picture(name, k, i, 0);
        snprintf(line, sizeof line, "%s %d\n", name, k);
        strcat(lists[at], line);
        if (at == 1) strcat(lists[2], line);
        snprintf(name, sizeof name, "real/c%d/%d.ppm", k, i);
        picture(name, k, i, 1);
        snprintf(line, sizeof line, "%s %d\n", name, k);
        strcat(lists[3], line);
    }
    write_text("labeled_target_images_clipart_3.txt", lists[0]);
    write_text("validation_target_images_clipart_3.txt", lists[1]);
    write_text("unlabeled_target_images_clipart_3.txt", lists[2]);
    write_text("labeled_source_images_real.txt", lists[3]);
#define SSDA \
    HEAD "[template c]\nset = clipart126\nroot = .\n[data real]\nset = real126\nroot = .\nsplit = train\n" \
    "[data taught]\nlike = c\nsplit = labelled-3\n[data free]\nlike = c\nsplit = unlabelled-3\n" \
    "[data val]\nlike = c\nsplit = val\n[data test]\nlike = c\nsplit = test\n" \
    "[adapt a]\nempty_classes = allow\nbatch_size = 4\nsteps = 2\nmme_dim = 8\nmonitor_every = 1\nsource = real\n"
    OK(recipe_of(SSDA "labelled = taught\nunlabelled = free\nval = val\ntest = test\n", "out", &res, 1));
    json_t *j = json_of(res), *s = json_array_get(json_object_get(j, "stages"), 0);
    const char *said = json_string_value(json_object_get(s, "protocol"));
    CHECK(said && strstr(said, "clipart126") &&
          strstr(said, "of 31 test images 31 are trained on without their labels and 9 are validation"));
    CHECK(json_is_number(json_object_get(s, "val_score")) && json_is_number(json_object_get(s, "best_step")));
    static char page[1 << 18];
    FILE *f = fopen("out/report.html", "r");
    CHECK(f && fread(page, 1, sizeof page - 1, f) > 0 && !fclose(f));
    CHECK(strstr(page, "of 31 test images 31 are trained on"));
    /* labels of the test images are another thing */
    FAILS(HPT_ERR_ARGUMENT, "'free' is also in the test set",
          recipe_of(SSDA "labelled = free\nmme_entropy = off\ntest = test\n", "out", &res, 0));
}

/* DomainNet's lists of a domain: 345 classes, so many images of each to train on and one to test on. */
static void write_domain(const char *domain, int seed, int each) {
    enum { CLASSES = 345 };
    char name[100], path[160], *list[2] = {calloc(1, 200000), calloc(1, 200000)};
    CHECK(list[0] && list[1]);
    for (int k = 0; k < CLASSES; k++)
        for (int i = 0; i <= each; i++) {
            snprintf(name, sizeof name, "%s/class%03d/%d.ppm", domain, k, i);
            snprintf(path, sizeof path, "data/%s/%s", domain, name);
            picture(path, k, k * 7 + i, seed);
            sprintf(list[i == each] + strlen(list[i == each]), "%s %d\n", name, k);
        }
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "data/%s/%s_%s.txt", domain, domain, i ? "test" : "train");
        write_text(path, list[i]);
        free(list[i]);
    }
}
/* The paper's recipe on a DomainNet of few tiny images: real to clipart and sketch, two of the budgets. */
TEST_LIMIT(the_papers_table_3_can_be_planned, 120) {
    static const char *const with[] = {"labels.sweep.budget=1380", "hpt.init=random", "mme.init=random",
                                       "mme-first.init=random", "hpt.batch_size=4", "hpt.bn_group=0",
                                       "hpt.image_size=32", "clipart-gap.right=0", "sketch-gap.right=0"};
    hpt_recipe *r;
    hpt_result *res;
    char recipe[400], here[200];
    CHECK(getcwd(here, sizeof here) != NULL);
    snprintf(recipe, sizeof recipe, "%s/examples/recipes/paper-table3.ini", here);
    begin();
    write_domain("real", 0, 1);
    write_domain("clipart", 1, 5);
    write_domain("sketch", 2, 5);
    OK(hpt_recipe_open(NULL, recipe, "out", &r));
    OK(hpt_recipe_set_log(r, NULL, NULL));
    for (size_t i = 0; i < sizeof with / sizeof *with; i++) {
        char key[64], *value;
        snprintf(key, sizeof key, "%s", with[i]);
        value = strchr(key, '=');
        *value++ = 0;
        OK(hpt_recipe_set(r, key, value));
    }
    OK(hpt_recipe_plan(r, &res));
    json_t *j = json_of(res);
    CHECK(json_array_size(json_object_get(j, "stages")) == 10);     /* two targets: HPT; MME, MME+HPT at two budgets */
    /* a budget beyond the data */
    OK(hpt_recipe_open(NULL, recipe, "out2", &r));
    OK(hpt_recipe_set(r, "hpt.init", "random"));
    FAILS(HPT_ERR_ARGUMENT, "a budget of 3795 labels is larger than the data, 1725 images", hpt_recipe_plan(r, &res));
}

/* The lists of the small table 3: sizes from 32 on, no links, no name that stands in two classes. */
TEST(icon_lists_of_the_small_table_3) {
    char here[200];
    CHECK(getcwd(here, sizeof here) != NULL);
    begin();
    static const char *const files[] = {
        "icons/oxygen/base/32x32/actions/go.png", "icons/oxygen/base/16x16/actions/go.png",
        "icons/oxygen/base/64x64/actions/go.png", "icons/oxygen/base/48x48/apps/both.png",
        "icons/oxygen/base/32x32/places/both.png", "icons/oxygen/base/32x32/emblems/star.png",
        "icons/Faenza/devices/96/disk.png", "icons/Faenza/devices/22/disk.png", "icons/Faenza/status/48/ok.png"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) picture(files[i], 0, (int)i, 0);
    CHECK(!symlink("ok.png", "icons/Faenza/status/48/fine.png"));
    RUN("cd %s && ICONS=icons sh %s/examples/demo/icon-lists.sh lists", work, here);
    char *oxygen = read_text("lists/oxygen.txt"), *faenza = read_text("lists/faenza.txt");
    CHECK(!strcmp(oxygen, "icons/oxygen/base/32x32/actions/go.png\tactions\n"
                          "icons/oxygen/base/64x64/actions/go.png\tactions\n"));
    CHECK(!strcmp(faenza, "icons/Faenza/devices/96/disk.png\tdevices\nicons/Faenza/status/48/ok.png\tstatus\n"));
}
