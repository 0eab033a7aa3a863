/* SPDX-License-Identifier: MIT
 * Recipes: everything that they name is checked before anything runs, with file and line; what a plan
 * measures; what a run says at its end. */
#define _GNU_SOURCE
#include "shell.h"
#include <sys/stat.h>
#include <unistd.h>

static char work[200];

/* Pictures of n classes: folder/cK/I.ppm. */
static void write_set(const char *name, int from, int to, int classes) {
    char path[400];
    uint8_t rgb[16 * 16 * 3];
    snprintf(path, sizeof path, "%s/%s", work, name);
    mkdir(path, 0777);
    for (int i = from; i < to; i++) {
        int k = i % classes;
        snprintf(path, sizeof path, "%s/%s/c%d", work, name, k);
        mkdir(path, 0777);
        for (int p = 0; p < 16 * 16 * 3; p++)
            rgb[p] = (uint8_t)((p % 3 == k % 3) * 120 + (p / 3 % 16 * (k + 1) + i * 37) % 90);
        snprintf(path, sizeof path, "%s/%s/c%d/%d.ppm", work, name, k, i);
        FILE *f = fopen(path, "wb");
        CHECK(f);
        fprintf(f, "P6 16 16 255\n");
        CHECK(fwrite(rgb, 1, sizeof rgb, f) == sizeof rgb && !fclose(f));
    }
}
static void begin(void) {
    snprintf(work, sizeof work, "%s", temp_dir());
    write_set("target", 0, 24, 3);
    write_set("held", 24, 48, 3);
    CHECK(!chdir(work));
}
static void write_text(const char *name, const char *text) {
    char path[400];
    snprintf(path, sizeof path, "%s/%s", work, name);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && !fclose(f));
}

#define SMALL                                                                                                          \
    "[options]\narch = resnet10\nwidth = 16\nstem = small\nimage_size = 16\nmoco_dim = 16\nbatch_size = 8\nbn_group "  \
    "= 8\nmoco_k = 16\n"                                                                                               \
    "precision = fp32\neval_crop = full\nprobe_lr = 0.1\nprobe_steps = 4\nprobe_eval_every = 2\nprobe_batch = "        \
    "8\nft_batch = 8\nft_micro = 8\nft_lr = 0.01\nft_length = 2\nft_eval_every = 1\nknn_k = 3\n"
/* Two sweeps, evaluations with and without a test set, a similarity of models and one of predictions. */
#define STAGES                                                                                                         \
    SMALL "[data target]\npath = target\n[data held]\npath = held\n"                                                   \
          "[pretrain hpt]\ndata = target\nsweep.steps = 1, 2\n[pretrain plain]\ndata = target\nsteps = 1\n"            \
          "[linear probe]\nmodel = hpt\ntrain = target\ntest = held\nprobe_keep = 1\n[linear untested]\nmodel = "      \
          "hpt\ntrain = target\n[linear one]\nmodel = plain\ntrain = target\ntest = held\n"                            \
          "[knn near]\nmodel = hpt\ntrain = target\ntest = held\n[similarity conv]\nof = hpt\nmetric = rv2\ndata = "   \
          "target\n"
#define HEAD "[recipe]\nbackend = reference\nthreads = 1\n"

static hpt_status plan_of(const char *text) {
    hpt_recipe *r = NULL;
    hpt_result *res = NULL;
    write_text("r.ini", text);
    hpt_status st = hpt_recipe_open(NULL, "r.ini", "out", &r);
    if (!st) st = hpt_recipe_plan(r, &res);
    hpt_result_destroy(res);
    hpt_recipe_destroy(r);
    return st;
}

/* tail: sections behind STAGES; its first line is line 1 of "line N" in what. */
TEST_LIMIT(what_recipes_name_exists, 120) {
    static const struct {
        const char *tail;
        int line;
        const char *what;
    } bad[] = {
        {"[finding f]\nclaim = x\nleft = probe\nright = probe-untestedd\n", 4,
         "there is no section called 'probe-untestedd'"},
        {"[finding f]\nclaim = x\nleft = probe\nright = probee\n", 4,
         "there is no section called 'probee'; did you mean 'probe'?"},
        {"[finding f]\nclaim = x\nleft = prob\nright = 0\n", 3, "did you mean 'probe'?"},
        {"[finding f]\nclaim = x\nleft = probe - onee\nright = 0\n", 3, "'onee'; did you mean 'one'?"},
        {"[finding f]\nclaim = x\nleft = probe[stepz=1]\nright = 0\n", 3,
         "[linear probe] has no variable 'stepz'; it has steps"},
        {"[finding f]\nclaim = x\nleft = one[steps=1]\nright = 0\n", 3,
         "[linear one] has no variable 'steps'; it has none"},
        {"[finding f]\nclaim = x\nleft = probe[steps=3]\nright = 0\n", 3,
         "nothing matches 'probe[steps=3]'; 'steps' is 1, 2 there"},
        {"[finding f]\nclaim = x\nleft = probe[steps=1\nright = 0\n", 3, "is not name[key=value, key=value]"},
        {"[finding f]\nclaim = x\nleft = probe[steps=1] x\nright = 0\n", 3, "is not name[key=value, key=value]"},
        {"[finding f]\nclaim = x\nleft = probe[steps]\nright = 0\n", 3, "'steps' in 'probe[steps]' is not key=value"},
        {"[finding f]\nclaim = x\nleft = probe\nright = target\n", 4, "'target' is [data]; 'right' wants a stage"},
        {"[finding f]\nclaim = x\nleft = probe\nright = 0\nexpect = more\n", 5,
         "expect is 'more', which is none of greater not-less equal"},
        {"[finding f]\nclaim = x\nleft = probe\nright = 0\nmargin = 1 point\n", 5, "margin is '1 point', not a number"},
        {"[finding f]\nclaim = x\nleft = probe\nright = 0\nmargin = 1 # point\n", 5, "begins with ';', not '#'"},
        {"[finding f]\nclaim = x\nleft = untested\nright = 0\n", 3,
         "[linear untested] has no 'test' set and gives no 'test_score', which is shown where no 'value' is written"},
        {"[finding f]\nclaim = x\nleft = hpt\nright = 0\nvalue = val_score\n", 5,
         "[pretrain hpt] gives no number 'val_score'"},
        {"[finding f]\nclaim = x\nleft = probe\nright =\n", 4, "is neither a stage"},
        {"[finding f]\nclaim = x\nleft = probe\nright = 0\nexpects = equal\n", 5,
         "[finding] has no key 'expects'; did you mean 'expect'?"},
        {"[table t]\nstages = probe, prob\n", 2, "there is no section called 'prob'; did you mean 'probe'?"},
        {"[table t]\nstages = probe,\n", 2, "an empty name"},
        {"[table t]\nstages = probe, target\n", 2, "'target' is [data]"},
        {"[table t]\nstages = probe\ncolumns = fraction\n", 3,
         "no stage of 'probe' has a variable 'fraction'; they have steps"},
        {"[table t]\nstages = probe\nvalue = accuracy\n", 3,
         "[linear probe] gives no number 'accuracy'; it gives val_score"},
        {"[table t]\nstages = probe, untested\n", 2, "[linear untested] has no 'test' set"},
        {"[table t]\nstages = near\nvalue = val_score\n", 3, "[knn near] has no 'val' set"},
        {"[table t]\nstages = near\nvalue = test_top9\n", 3, "[knn near] gives no number 'test_top9'"},
        {"[table t]\nstages = hpt\nvalue = losss\n", 3, "it gives loss"},
        {"[table t]\nstage = probe\n", 2, "[table] has no key 'stage'; did you mean 'stages'?"},
        {"[plot p]\nkind = pie\nstages = probe\n", 2, "kind is 'pie', which is none of lines bars heat closeness"},
        {"[plot p]\nkind = lines\n", 1, "needs a line 'stages = ...'"},
        {"[plot p]\nkind = bars\nstages = probe\nvalue = accuracy\n", 4, "gives no number 'accuracy'"},
        {"[plot p]\nkind = lines\nstages = probe\nx = step\n", 4,
         "no stage of 'probe' has a variable 'step'; they have steps"},
        {"[plot p]\nkind = bars\nstages = one\n", 3, "no stage of 'one' has a variable 'steps'"},
        {"[plot p]\nkind = lines\nstages = probe\nminus = two\n", 4, "there is no section called 'two'"},
        {"[plot p]\nkind = lines\nstages = probe\nminus = one, one\n", 4,
         "'minus' names 2 stages; one, or one for each of the 1 of 'stages'"},
        {"[plot p]\nkind = lines\nstages = probe\nrelative = 9\n", 4, "relative is '9', but 'steps' is 1, 2"},
        {"[plot p]\nkind = lines\nstages = probe\nlog = yes\n", 4, "log is 'yes', which is none of 0 1"},
        {"[plot p]\nkind = heat\nof = conv\nstages = probe\n", 4, "a figure of kind heat has no 'stages'"},
        {"[plot p]\nkind = heat\n", 1, "needs a line 'of = ...'"},
        {"[plot p]\nkind = heat\nof = probe\n", 3, "'of' wants a [similarity], 'probe' is [linear]"},
        {"[plot p]\nkind = heat\nof = konv\n", 3, "did you mean 'conv'?"},
        {"[plot p]\nkind = closeness\nof = conv\n", 1, "a line 'stages = ...' must say"},
        {"[similarity s]\nof = hpt\nmetric = rv3\ndata = target\n", 3,
         "metric is 'rv3', which is none of rv2 rv2-linear iou"},
        {"[similarity s]\nof = hpt\nmetric = rv2\n", 1, "metric rv2 needs a line 'data = ...'"},
        {"[similarity s]\nof = probe\nmetric = rv2\ndata = target\n", 2, "[linear probe] makes none"},
        {"[similarity s]\nof = hpt\nmetric = iou\n", 2, "'hpt' is [pretrain]"},
        {"[similarity s]\nof = one\nmetric = iou\n", 2, "needs 'probe_keep = 1' in [linear one]"},
        {"[similarity s]\nof = untested\nmetric = rv2-linear\n", 2, "[linear untested] has no 'test'"},
        {"[similarity s]\nof = hpt\nmetric = rv2\ndata = target\ngroup = seed\n", 5,
         "no stage of 'hpt' has a variable 'seed'; they have steps"},
        {"[similarity s]\nof = hpt\nmetric = rv2\ndata = target\nlayer = layer9\n", 5, "layer9"},
        {"[choose c]\nof = probe\nover = step\n", 3, "[linear probe] has no variable 'step'; it has steps"},
        {"[choose c]\nof = probe\nover = steps\nby = score\n", 4, "[linear probe] gives no number 'score'"},
        {"[knn k]\nmodel = hpt[stepps=1]\ntrain = target\ntest = held\n", 2,
         "[pretrain hpt] has no variable 'stepps'; it has steps"},
        {"[knn k]\nmodel = hppt\ntrain = target\ntest = held\n", 2,
         "'hppt' is neither a section nor a file (a file's path holds '.' or '/'); did you mean 'hpt'?"},
        {"[knn k]\nmodel = hpt (both)\ntrain = target\ntest = held\n", 2, "'hpt (both)' is neither"},
        {"[knn k]\nmodel = hpt\ntrain = targett\ntest = held\n", 3, "did you mean 'target'?"},
        {"[knn k]\nmodel = hpt\ntrain = target\ntest = held\nmodl = x\n", 5,
         "[knn] has no key 'modl'; did you mean 'model'?"},
        {"[knn k]\nmodel = hpt\ntrain = target\ntest = held\ncolour = <b>\n", 5,
         "colour is '<b>', neither #rrggbb nor a word"},
        {"[knn k]\nmodel = hpt\ntrain = target\ntest = held\nseeds = 0, 1\n", 5, "more seeds than the recipe's 1"},
        {"[knn k]\nmodel = hpt\ntrain = target\ntest = held\nseeds = 0.5\n", 5, "'0.5' is not a seed"},
        {"[linear l]\nmodel = hpt\ntrain = target\nsave_every = never\n", 4,
         "save_every is 'never', not a whole number"},
        {"[data unused]\nfrom = targets\n", 2, "did you mean 'target'?"},
        {"[data some]\nfrom = target\nper_class = 2.5\n[knn k]\nmodel = hpt\ntrain = some\ntest = held\n", 3,
         "not a whole number"},
        {"[data some]\nfrom = target\nunique = yes\n", 3, "unique is 'yes', which is none of 0 1"},
        {"[data some]\nfrom = target\nper_class = 2\npart = half\n", 4, "part is 'half', which is none of taken rest"},
        {"[data some]\npath = gone/away\n[knn k]\nmodel = hpt\ntrain = some\ntest = held\n", 2,
         "relative to the current folder, "},
        {"[knn k]\nmodel = gone/away.pth\ntrain = target\ntest = held\n", 2, "relative to the current folder, "},
        {"[data some]\npath = target # photos\n[knn k]\nmodel = hpt\ntrain = some\ntest = held\n", 2,
         "begins with ';'"},
    };
    static const struct {
        const char *head, *what;
    } first[] = {
        {"jobs = 2  # two\n", "r.ini, line 4: jobs is '2  # two', not a whole number from 1 to 64 (a comment behind a "
                              "value begins with ';', not '#')"},
        {"jobs = 0\n", "jobs is '0'"},
        {"jobs = 1.5\n", "jobs is '1.5'"},
        {"jobs =\n", "jobs is ''"},
        {"seeds = 0, 1 # two\n", "'1 # two' is not a seed (a comment"},
        {"seeds = 1, 1\n", "seed 1 is there twice"},
        {"seeds = 0.5\n", "'0.5' is not a seed"},
        {"save_every = 0\n", "save_every is '0'"},
        {"threads = 1 # one\n", "(a comment behind a value"},
        {"seedz = 0\n", "[recipe] has no key 'seedz'; did you mean 'seeds'?"},
    };
    char text[8000], where[40];
    int lines = 0;
    begin();
    for (const char *p = HEAD STAGES; *p; p++) lines += *p == '\n';
    OK(plan_of(HEAD STAGES));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, HEAD STAGES "%s", bad[i].tail);
        snprintf(where, sizeof where, "r.ini, line %d: ", lines + bad[i].line);
        if (plan_of(text) >= 0) FAIL("accepted: %s", bad[i].tail);
        const char *said = hpt_last_error();
        if (!strstr(said, where) || !strstr(said, bad[i].what))
            FAIL("%s\n'%s' lacks '%s' or '%s'", bad[i].tail, said, where, bad[i].what);
    }
    for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
        snprintf(text, sizeof text, "[recipe]\nbackend = reference\n%s%s" STAGES,
                 strstr(first[i].head, "threads") ? "" : "threads = 1\n", first[i].head);
        if (plan_of(text) >= 0) FAIL("accepted: %s", first[i].head);
        if (!strstr(hpt_last_error(), first[i].what)) FAIL("'%s' lacks '%s'", hpt_last_error(), first[i].what);
    }
    CHECK(access("out", F_OK)); /* nothing was begun */
}

/* What is right stays right: blanks in names, comments behind ';', figures without a variable, numbers as they are
 * written. */
TEST_LIMIT(what_recipes_may_say, 120) {
    static const char *const good[] = {
        "[knn k]\nmodel = hpt\ntrain = target\n[table t]\nstages = k\nvalue = val_score\n",
        "[finding f]\nclaim = x\nleft = probe[steps=1] - one\nright = -0.5\nexpect = equal\nmargin = 2 ; points\n",
        "[finding f]\nclaim = x\nleft = hpt[steps=2.0]\nright = plain\nvalue = loss\n",
        "[table t]\nstages = probe, one\ncolumns = steps\n[table u]\nstages = hpt, plain\nvalue = seconds\n[table "
        "v]\nstages = untested\nvalue = val_top1\n",
        "[plot p]\nkind = lines\nstages = probe, one\nlog = 0\nminus = one\n[plot q]\nkind = lines\nstages = one\n",
        "[plot p]\nkind = bars\nstages = probe, near\nx = hpt.steps\nrelative = 2\n[plot q]\nkind = closeness\nof = "
        "conv\nstages = probe\nx = steps\n",
        "[similarity s]\nof = probe[steps=1], probe[steps = 2]\nmetric = iou\n[plot h]\nkind = heat\nof = s\n[plot "
        "c]\nkind = closeness\nof = s\n",
        "[linear my probe]\nmodel = hpt [steps=1]\ntrain = target\ntest = held\ncolour = #abc\n[table t]\nstages = my "
        "probe\n",
        "[choose c]\nof = probe\nover = steps\nby = test_score\n[table t]\nstages = c\nvalue = val_score\n",
    };
    char text[8000];
    begin();
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(text, sizeof text, HEAD "jobs = 2 ; two\n" STAGES "%s", good[i]);
        if (plan_of(text)) FAIL("%s\n%s", good[i], hpt_last_error());
    }
}

/* The last lines of hpt run: what came out, and where the report is. */
TEST_LIMIT(run_ends_with_its_numbers, 120) {
    static const char text[] = "[recipe]\nbackend = reference\nthreads = 1\nseeds = 0, 1\n" SMALL
                               "[data target]\npath = target\n[data held]\npath = held\n"
                               "[knn near]\nlabel = nearest\nmodel = random\ntrain = target\ntest = held\n";
    char hpt[4096], command[9000];
    CHECK(realpath(HPT_TEST_BIN "/hpt", hpt));
    begin();
    write_text("r.ini", text);
    snprintf(command, sizeof command, "%s run r.ini --out out 2>err", hpt);
    RUN("%s", command);
    if (!strstr(output, "nearest: top-1 ") || !strstr(output, " over 2 seeds on test\n") ||
        !strstr(output, "report: out/report.html\n"))
        FAIL("%s", output);
    write_text("r.ini", "[recipe]\ninclude = s.ini\n[finding f]\nclaim = it sees\nleft = near\nright = 200\n");
    write_text("s.ini", text);
    RUN("%s", command);
    if (!strstr(output, "it sees: does not appear") || !strstr(output, "\nreport: out/report.html\n"))
        FAIL("%s", output);
    RUN("%s run r.ini --out out --json 2>err", hpt);
    json_t *j = json_loads(output, 0, NULL);
    CHECK(j && json_array_size(json_object_get(j, "scores")) == 1 &&
          json_array_size(json_object_get(j, "findings")) == 1);
    CHECK(!strcmp(json_string_value(json_object_get(j, "report")), "out/report.html"));
}

/* A stage that begins with a file is timed with the file's network: resnet50 of width 64 would take hundreds of times
 * as long. */
TEST_LIMIT(plan_times_the_network_of_the_file, 120) {
    double seconds[2];
    hpt_context *ctx = context("reference", 1);
    hpt_config *c = config("arch=resnet10 width=16 stem=small moco_dim=16");
    hpt_model *m;
    begin();
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_model_save(m, "base.safetensors", NULL));
    for (int i = 0; i < 2; i++) {
        char text[1200];
        hpt_recipe *r;
        hpt_result *res;
        snprintf(text, sizeof text,
                 "[recipe]\nbackend = reference\nthreads = 1\n[options]\nimage_size = 16\nbatch_size = 8\nbn_group = "
                 "8\nmoco_k = 16\nmoco_dim = 16\nprecision = fp32\n%s"
                 "[data target]\npath = target\n[refresh-bn f]\ninit = base.safetensors\ndata = target\n[pretrain "
                 "a]\ninit = %s\ndata = target\nsteps = 100\n",
                 i ? "" : "arch = resnet10\nwidth = 16\nstem = small\n", i ? "f" : "base.safetensors");
        write_text("r.ini", text);
        OK(hpt_recipe_open(NULL, "r.ini", "out", &r));
        OK(hpt_recipe_plan(r, &res));
        OK(hpt_result_number(res, "seconds_left", &seconds[i]));
        hpt_result_destroy(res);
        hpt_recipe_destroy(r);
    }
    printf("  %.2f s with the network written, %.2f s from the file alone\n", seconds[0], seconds[1]);
    CHECK(seconds[1] < 20 * seconds[0] + 1);
}

/* Stopped at many instants - between steps, after the last one, in evaluations and comparisons - a recipe ends in the
 * same results. */
typedef struct host {
    hpt_recipe *r;
    int calls, stop_at;
} host;
static int32_t told(void *user, const hpt_recipe_progress *p) {
    host *h = user;
    (void)p;
    return ++h->calls == h->stop_at;
}
TEST_LIMIT(stopped_recipes_go_on, 240) {
    char *want = NULL;
    int stops = 0;
    begin();
    write_text("r.ini", HEAD STAGES);
    for (int stop_at = 0; stop_at < 100000;) {
        hpt_recipe *r;
        hpt_result *res = NULL;
        host h = {.stop_at = stop_at};
        OK(hpt_recipe_open(NULL, "r.ini", "out", &r));
        hpt_status st = hpt_recipe_run(r, told, &h, &res);
        hpt_recipe_destroy(r);
        if (st && st != HPT_ERR_CANCELLED) FAIL("%s", hpt_last_error());
        if (st) {
            stops++;
            stop_at += 1 + stop_at / 2;
            continue;
        }
        hpt_result_destroy(res);
        RUN("sed -E 's/\"seconds\": [^,]*/\"seconds\": 0/' out/results.json > %s && rm -r out",
            want ? "again" : "whole");
        if (want) break;
        want = "whole";
        stop_at = 2;
    }
    printf("  %d stops\n", stops);
    CHECK(stops >= 3);
    RUN("cmp whole again");
}
