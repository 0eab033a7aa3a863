/* SPDX-License-Identifier: MIT
 * The hierarchy by calls, the search for a source, and recipes: plan, cache, interruption, report, and what they
 * must refuse. */
#define _GNU_SOURCE
#include "core/alloc.h"
#include "support.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SMALL "arch=resnet10 width=16 stem=small image_size=16 moco_dim=16 batch_size=16 bn_group=8 moco_k=64 " \
    "precision=fp32 eval_crop=full probe_scale=standard probe_lr=0.03,0.3 probe_steps=60 probe_eval_every=20 " \
    "probe_batch=32 "

static int32_t count_steps(void *user, const hpt_step_info *i) {
    (void)i;
    ++*(int *)user;
    return 0;
}
static json_t *json_of(const hpt_result *r) {
    size_t n;
    OK(hpt_result_json(r, NULL, 0, &n));
    char *text = malloc(n);
    OK(hpt_result_json(r, text, n, NULL));
    return json_loads(text, 0, NULL);
}

/* Base, choice of a source among three, target, then every evaluation: function calls alone. */
TEST_LIMIT(base_source_target_by_calls, 180) {
    hpt_context *ctx = fast_context();
    hpt_dataset *base_set = toy_set(ctx, "", 96, 16, 6), *labelled = toy_set(ctx, "", 120, 16, 4), *train, *rest, *val,
        *held, *pretrain;
    hpt_dataset *sources[3] = {toy_set(ctx, "", 64, 16, 2), toy_set(ctx, "", 64, 16, 5), toy_set(ctx, "", 64, 16, 8)};
    const char *names[3] = {"two", "five", "eight"};
    hpt_model *model, *winner, *bn, *tuned;
    hpt_session *s;
    hpt_result *r;
    double v;
    int steps = 0;
    OK(hpt_dataset_per_class(labelled, 10, 1, &train, &rest));
    OK(hpt_dataset_per_class(rest, 8, 2, &val, &held));
    OK(hpt_dataset_disjoint(train, held, NULL));
    hpt_config *c = config(SMALL "seed=3 steps=12 search_rungs=1");
    /* B */
    OK(hpt_model_create(ctx, c, &model));
    OK(hpt_session_create(ctx, c, model, base_set, &s));
    OK(hpt_session_run(s, count_steps, &steps));
    hpt_session_destroy(s);
    /* S: chosen by the target's validation images */
    OK(hpt_source_search(ctx, c, model, sources, names, 3, train, val, count_steps, &steps, &winner, &r));
    CHECK(steps == 48);
    json_t *j = json_of(r), *list = json_object_get(j, "candidates");
    size_t at = (size_t)json_integer_value(json_object_get(j, "winner_index"));
    for (size_t i = 0; i < 3; i++)
        CHECK(json_number_value(json_object_get(json_array_get(list, i), "val_score"))
              <= json_number_value(json_object_get(json_array_get(list, at), "val_score")));
    CHECK(!strcmp(names[at], json_string_value(json_object_get(j, "winner"))) &&
          json_integer_value(json_object_get(json_array_get(list, at), "rank")) == 1);
    CHECK(json_integer_value(json_object_get(j, "cost_steps")) == 36 &&
          json_integer_value(json_object_get(json_object_get(j, "halving"), "cost_steps")) == 30);
    OK(hpt_model_linear(winner, train, val, NULL, c, &r));       /* the model handed over is the one that was scored */
    OK(hpt_result_number(r, "val_score", &v));
    CHECK(v == json_number_value(json_object_get(j, "val_score")));
    /* T: on training and validation images, never on test images; once all weights, once batch norm alone */
    OK(hpt_dataset_disjoint(train, val, NULL));
    uint64_t index[72];
    for (uint64_t i = 0; i < 72; i++) index[i] = i;
    OK(hpt_dataset_subset(labelled, index, 72, &pretrain));
    FAILS(HPT_ERR_ARGUMENT, "share", hpt_dataset_disjoint(pretrain, held, NULL));
    hpt_dataset_destroy(pretrain);
    OK(hpt_model_clone(winner, &bn));
    for (int k = 0; k < 2; k++) {
        if (k) set(c, "train=bn");
        OK(hpt_session_create(ctx, c, k ? bn : winner, train, &s));
        OK(hpt_session_run(s, NULL, NULL));
        hpt_session_destroy(s);
    }
    float a[16 * 27], b[16 * 27];
    OK(hpt_model_get_tensor(winner, "conv1.weight", a, 16 * 27));
    OK(hpt_model_get_tensor(bn, "conv1.weight", b, 16 * 27));
    CHECK(memcmp(a, b, sizeof a));
    OK(hpt_model_linear(winner, train, val, held, c, &r));
    OK(hpt_result_number(r, "test_score", &v));
    printf("  B+S+T: probe %.1f", v);
    CHECK(v > 50);
    OK(hpt_model_knn(winner, train, held, c, &r));
    OK(hpt_result_number(r, "knn_score", &v));
    set(c, "ft_batch=16 ft_micro=16 ft_lr=0.01 ft_length=10 ft_eval_every=5");
    OK(hpt_model_finetune(winner, train, val, held, c, &tuned, &r));
    OK(hpt_result_number(r, "test_score", &v));
    printf(", finetuned %.1f\n", v);
}

/* Halving drops the worse half at each rung; a search that was interrupted goes on; another configuration starts
 * anew. */
static int32_t stop_at(void *user, const hpt_step_info *i) {
    (void)i;
    return --*(int *)user == 0;
}
TEST_LIMIT(search_halves_and_resumes, 300) {
    hpt_context *ctx = fast_context();
    hpt_dataset *labelled = toy_set(ctx, "", 80, 16, 4), *train, *val, *sources[4];
    const char *names[4] = {"a", "b", "c", "d"};
    hpt_model *base, *w1, *w2;
    hpt_result *r;
    char *dir = temp_dir(), text[200];
    int left = 14, steps = 0;
    float x[16 * 27], y[16 * 27];
    for (int i = 0; i < 4; i++) sources[i] = toy_set(ctx, "", 48 + i, 16, 2 + i);
    OK(hpt_dataset_per_class(labelled, 12, 1, &train, &val));
    hpt_config *c = config(SMALL "seed=1 steps=8 search_rungs=2 search_mode=halving search_save_every=3");
    OK(hpt_model_create(ctx, c, &base));
    OK(hpt_source_search(ctx, c, base, sources, names, 4, train, val, count_steps, &steps, &w1, &r));
    CHECK(steps == 4 * 2 + 2 * 2 + 1 * 4);              /* rungs at 2 and 4 of 8 */
    json_t *j = json_of(r);
    int dropped = 0;
    for (size_t i = 0; i < 4; i++)
        dropped += json_is_true(json_object_get(json_array_get(json_object_get(j, "candidates"), i), "dropped"));
    CHECK(dropped == 3);
    OK(hpt_config_set(c, "search_dir", dir));
    FAILS(HPT_ERR_CANCELLED, "callback", hpt_source_search(ctx, c, base, sources, names, 4, train, val, stop_at, &left,
                                                           &w2, &r));
    steps = 0;
    OK(hpt_source_search(ctx, c, base, sources, names, 4, train, val, count_steps, &steps, &w2, &r));
    CHECK(steps <= 16 - 14 + 3);
    OK(hpt_model_get_tensor(w1, "conv1.weight", x, 16 * 27));
    OK(hpt_model_get_tensor(w2, "conv1.weight", y, 16 * 27));
    CHECK(!memcmp(x, y, sizeof x));
    hpt_model_destroy(w2);
    steps = 0;                                          /* all is there: the winner comes from its checkpoint */
    OK(hpt_source_search(ctx, c, base, sources, names, 4, train, val, count_steps, &steps, &w2, &r));
    OK(hpt_model_get_tensor(w2, "conv1.weight", y, 16 * 27));
    CHECK(steps == 0 && !memcmp(x, y, sizeof x));
    set(c, "search_mode=full search_prerank=1 lr=0.02");
    steps = 0;
    OK(hpt_source_search(ctx, c, base, sources, names, 4, train, val, count_steps, &steps, &w2, &r));
    /* the nearest alone; other options: nothing of the old search counts */
    CHECK(steps == 8);
    j = json_of(r);
    CHECK(!strcmp(json_string_value(json_object_get(j, "winner")), json_string_value(json_object_get(j, "nearest"))));
    snprintf(text, sizeof text, "rm -rf %s", dir);
    if (system(text)) FAIL("rm");
}

/* ---- recipes ---- */

static char *work;      /* a folder with image sets, made once for each test */

static void write_text(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", work, name);
    FILE *f = fopen(path, "w");
    CHECK(f);
    fputs(text, f);
    fclose(f);
}
static void write_set(hpt_context *ctx, const char *name, int n, int classes, int first) {
    char path[300];
    uint8_t rgb[768];
    hpt_dataset *ds = toy_set(ctx, "", n, 16, classes);
    snprintf(path, sizeof path, "%s/%s", work, name);
    mkdir(path, 0777);
    for (int i = first; i < n; i++) {
        int32_t y;
        OK(hpt_dataset_image(ds, NULL, (uint64_t)i, 16, rgb));
        OK(hpt_dataset_label(ds, (uint64_t)i, &y));
        snprintf(path, sizeof path, "%s/%s/c%d", work, name, y);
        mkdir(path, 0777);
        snprintf(path, sizeof path, "%s/%s/c%d/%d.ppm", work, name, y, i);
        FILE *f = fopen(path, "wb");
        CHECK(f);
        fprintf(f, "P6 16 16 255\n");
        fwrite(rgb, 1, 768, f);
        fclose(f);
    }
    hpt_dataset_destroy(ds);
}
static void make_sets(void) {
    hpt_context *ctx = context("reference", 1);
    work = strdup(temp_dir());
    write_set(ctx, "base", 60, 5, 0);
    write_set(ctx, "target", 60, 3, 0);
    write_set(ctx, "other", 40, 4, 0);
    write_set(ctx, "held-out", 90, 3, 60);
}
static void remove_sets(void) {
    char text[300];
    snprintf(text, sizeof text, "rm -rf %s", work);
    if (system(text)) FAIL("rm");
}

#define COMMON "[options]\narch = resnet10\nwidth = 16\nstem = small\nimage_size = 16\nmoco_dim = 16\nbatch_size = " \
    "16\nbn_group = 8\nmoco_k = 64\nprecision = fp32\neval_crop = full\nprobe_scale = standard\nprobe_lr = 0.03, " \
    "0.3\n" \
    "probe_steps = 40\nprobe_eval_every = 20\nprobe_batch = 32\nft_batch = 16\nft_micro = 16\nft_lr = " \
        "0.01\nft_length = 4\nft_eval_every = 2\nknn_k = 5\n"
#define SETS "[data base]\npath = base\n[data target]\npath = target\n[data other]\npath = other\n[data test]\npath " \
    "= held-out\n[data train]\nfrom = target\nper_class = 12\nsplit_seed = run\n" \
    "[data val]\nfrom = target\nper_class = 12\nsplit_seed = run\npart = rest\n"

static hpt_recipe *open_recipe(const char *text) {
    hpt_recipe *r;
    char path[256], out[256];
    static char modules[4096];
    if (!*modules) CHECK(realpath(HPT_TEST_MODULES, modules));      /* before the folder changes */
    hpt_config *c = config("");
    OK(hpt_config_set(c, "module_dir", modules));
    write_text("r.ini", text);
    snprintf(path, sizeof path, "%s/r.ini", work);
    snprintf(out, sizeof out, "%s/out", work);
    if (chdir(work)) FAIL("chdir");
    OK(hpt_recipe_open(c, path, out, &r));
    return r;
}
static const char whole[] = "[recipe]\nname = all kinds\nseeds = 0, 1\njobs = 2\nsave_every = 4\n" COMMON SETS
    "[pretrain b]\nseeds = 0\ndata = base\nsteps = 6\n"
    "[search s]\ninit = b\nsources = base, other\ntrain = train\nval = val\nsteps = 4\nsearch_rungs = 1\n"
    "[pretrain t]\ninit = s\ndata = target\nsweep.steps = 3, 6\nmonitor_train = train\nmonitor_val = "
    "val\nmonitor_every = 3\n[template bn]\ntrain = bn\n"
    "[pretrain tb]\nlike = bn\ninit = s\ndata = target\nsteps = 3\nvariant.all =\nvariant.crop = aug_jitter=0 "
    "aug_gray=0\n[refresh-bn f]\ninit = b\ndata = target\n"
    "[linear p]\nlabel = HPT\nstrategy = hpt\nmodel = t\ntrain = train\nval = val\ntest = test\nprobe_keep = 1\n"
    "[linear pf]\nmodel = f\ntrain = train\nval = val\ntest = test\n"
    "[linear pb]\nmodel = tb[variant=crop]\ntrain = train\nval = val\ntest = test\n"
    "[knn k]\nmodel = t[steps=6]\ntrain = train\nval = val\ntest = test\n"
    "[finetune ft]\nmodel = t[steps=6]\ntrain = train\nval = val\ntest = test\n"
    "[similarity rv]\nof = t\nmetric = rv2\ndata = val0\ngroup = steps\n[data val0]\nfrom = target\nimages = 20\n"
    "[similarity io]\nof = p\nmetric = iou\n[choose q]\nof = p\nover = steps\n"
    "[table one]\ntitle = a <table> & more\nstages = p, pf\ncolumns = steps\n"
    "[plot lines]\nkind = lines\nstages = p, pf\nx = steps\n[plot bars]\nkind = bars\nstages = p\nx = steps\nrelative "
    "= 3\n[plot heat]\nkind = heat\nof = rv\n[plot near]\nkind = closeness\nof = rv\nstages = p\nx = steps\n[finding "
    "always]\nclaim = scores are above zero\nleft = p[steps=6]\nright = 0\nexpect = greater\n[finding never]\nclaim = "
    "a probe is 200 points ahead\nleft = p[steps=6] - pf\nright = 200\n";

static int32_t count_ends(void *user, const hpt_recipe_progress *p) {
    if (p->event == HPT_RECIPE_END) ++*(int *)user;
    CHECK(p->done <= p->stages && p->name[0]);
    return 0;
}

/* What is made of a part drawn anew for each seed goes with that seed's: held and rest would share images otherwise. */
TEST(parts_of_parts_go_with_their_seed) {
    hpt_recipe *r;
    hpt_result *plan;
    make_sets();
    r = open_recipe("[recipe]\nseeds = 0, 1, 2\n" COMMON
                    "[data target]\npath = target\n[data held]\nfrom = target\nper_class = 6\nsplit_seed = run\n"
                    "[data rest]\nfrom = target\nper_class = 6\nsplit_seed = run\npart = rest\n"
                    "[data few]\nfrom = held\nper_class = 5\nsplit_seed = 4\n[data others]\nfrom = target\nwithout = "
                    "held\n[linear p]\nmodel = random.pth\ntrain = rest\ntest = few\n"
                    "[linear q]\nmodel = random.pth\ntrain = others\ntest = held\n");
    hpt_config *c = config("backend=reference arch=resnet10 width=16 stem=small");
    hpt_context *ctx = context("reference", 1);
    hpt_model *m;
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_model_save(m, "random.pth", NULL));
    OK(hpt_recipe_plan(r, &plan));
    double to_do;
    OK(hpt_result_number(plan, "to_do", &to_do));
    CHECK(to_do == 6);
    hpt_result_destroy(plan);
    hpt_model_destroy(m);
    hpt_context_destroy(ctx);
    hpt_config_destroy(c);
    hpt_recipe_destroy(r);
    remove_sets();
}
TEST_LIMIT(recipe_runs_every_kind_once, 300) {
    hpt_result *res, *plan;
    int ends = 0;
    double v;
    char path[256];
    make_sets();
    hpt_recipe *r = open_recipe(whole);
    OK(hpt_recipe_plan(r, &plan));
    OK(hpt_result_number(plan, "to_do", &v));
    CHECK(v == 1 + 2 + 4 + 4 + 2 + 4 + 2 + 2 + 2 + 2 + 1 + 1 + 2);
    OK(hpt_result_number(plan, "steps_left", &v));
    CHECK(v == 6 + 2 * 2 * 4 + 2 * (3 + 6) + 2 * 2 * 3 + 2 * 4);
    OK(hpt_result_number(plan, "seconds_left", &v));
    CHECK(v > 0);
    OK(hpt_recipe_run(r, count_ends, &ends, &res));
    CHECK(ends == 29);
    json_t *j = json_of(res), *s;
    size_t i;
    int kinds = 0;
    json_array_foreach(json_object_get(j, "stages"), i, s) {
        const char *kind = json_string_value(json_object_get(s, "kind"));
        if (!strcmp(kind, "linear") || !strcmp(kind, "finetune") || !strcmp(kind, "knn")) {
            CHECK(json_number_value(json_object_get(s, "test_score")) > 20 && json_object_get(s, "val_score"));
            kinds++;
        }
        if (!strcmp(kind, "similarity")) {
            json_t *m = json_object_get(s, "matrix");
            CHECK(json_array_size(m) == 4);
            for (size_t a = 0; a < 4; a++) CHECK(json_number_value(json_array_get(json_array_get(m, a), a)) == 1);
            CHECK(json_number_value(json_array_get(json_array_get(m, 0), 1))
                  == json_number_value(json_array_get(json_array_get(m, 1), 0)));
        }
        if (!strcmp(kind, "choose")) {       /* the best by validation, and its model */
            json_t *list = json_object_get(s, "candidates");
            double top = json_number_value(json_object_get(s, "val_score"));
            CHECK(json_array_size(list) == 2);
            for (size_t a = 0; a < 2; a++)
                CHECK(json_number_value(json_object_get(json_array_get(list, a), "val_score")) <= top);
            char command[400];
            snprintf(command, sizeof command,
                     "for f in %s/out/stages/t_*/model.safetensors; do cmp -s $f "
                     "%s/out/stages/q_seed_%d*/model.safetensors && exit 0; done; exit 1", work, work,
                     integer(s, "seed"));
            CHECK(!system(command));
        }
        if (!strcmp(json_string_value(json_object_get(s, "stage")), "rv"))
            CHECK(json_object_get(json_object_get(s, "welch"), "p"));
    }
    CHECK(kinds == 12);
    s = json_array_get(json_object_get(j, "findings"), 0);
    CHECK(json_integer_value(json_object_get(s, "seeds")) == 2);
    CHECK(strstr(json_string_value(json_object_get(json_array_get(json_object_get(j, "findings"), 1), "verdict")),
                 "does not appear"));
    hpt_recipe_destroy(r);
    /* all is there: nothing runs, and the report says the same */
    ends = 0;
    r = open_recipe(whole);
    OK(hpt_recipe_run(r, count_ends, &ends, &res));
    CHECK(ends == 0);
    json_t *again = json_of(res);
    CHECK(json_equal(json_object_get(j, "stages"), json_object_get(again, "stages")));
    hpt_recipe_destroy(r);
    /* another value: that stage and what depends on it, nothing else */
    r = open_recipe(whole);
    OK(hpt_recipe_set(r, "ft.ft_lr", "0.02"));
    OK(hpt_recipe_run(r, count_ends, &ends, NULL));
    CHECK(ends == 2);
    hpt_recipe_destroy(r);
    ends = 0;
    r = open_recipe(whole);
    OK(hpt_recipe_set(r, "t.sweep.steps", "3, 7"));
    FAILS(HPT_ERR_FORMAT, "nothing matches 't[steps=6]'; 'steps' is 3, 7 there", hpt_recipe_plan(r, &plan));
    hpt_recipe_destroy(r);
    /* an image that changed: its set, and what comes from it */
    snprintf(path, sizeof path, "%s/other/c0/0.ppm", work);
    struct timespec times[2] = {{1000000000, 0}, {1000000000, 0}};
    CHECK(!utimensat(AT_FDCWD, path, times, 0));
    r = open_recipe(whole);
    OK(hpt_recipe_plan(r, &plan));
    OK(hpt_result_number(plan, "to_do", &v));
    CHECK(v == 29 - 1 - 2 - 2);         /* base, refresh and its probes stay */
    hpt_recipe_destroy(r);
    snprintf(path, sizeof path, "%s/out/report.html", work);
    FILE *f = fopen(path, "r");
    char *html = calloc(1, 1 << 20);
    CHECK(f && fread(html, 1, (1 << 20) - 1, f) > 1000);
    CHECK(strstr(html, "a &lt;table&gt; &amp; more") && strstr(html, "<svg") && strstr(html, "appears") &&
          !strstr(html, "nan") && !strstr(html, "http://cdn"));
    fclose(f);
    remove_sets();
}

/* kill -9 in the middle: what was saved counts, and the end is the same bit for bit. */
static int32_t at_once(void *user, const hpt_recipe_progress *p) {
    (void)user;
    return p->event == HPT_RECIPE_STEP;
}
TEST_LIMIT(recipe_survives_kill, 400) {
    static const char text[] = "[recipe]\nsave_every = 20\n" COMMON SETS "[pretrain b]\ndata = base\nsteps = "
        "120\n[linear p]\nmodel = b\ntrain = train\nval = val\ntest = test\n";
    hpt_result *res;
    char command[600], hpt[4096];
    int st;
    fast_context();
    CHECK(realpath(HPT_TEST_BIN "/hpt", hpt));
    make_sets();
    hpt_recipe *r = open_recipe(text);
    OK(hpt_recipe_run(r, NULL, NULL, NULL));
    hpt_recipe_destroy(r);
    snprintf(command, sizeof command, "cd %s && cp out/stages/b*/model.safetensors whole && rm -rf out", work);
    CHECK(!system(command));
    pid_t child = fork();
    if (!child) {
        execl(hpt, "hpt", "run", "r.ini", "--out", "out", "--quiet", (char *)NULL);
        _exit(9);
    }
    snprintf(command, sizeof command, "ls %s/out/stages/b*/checkpoint.pth.tar >/dev/null 2>&1", work);
    for (int i = 0; i < 1500 && system(command); i++) {
        struct timespec t = {0, 10000000};
        nanosleep(&t, NULL);
    }
    kill(child, SIGKILL);
    waitpid(child, &st, 0);
    CHECK(WIFSIGNALED(st) && !system(command));
    /* stopped by the host after its first step: that step is saved */
    r = open_recipe(text);
    FAILS(HPT_ERR_CANCELLED, "stopped", hpt_recipe_run(r, at_once, NULL, NULL));
    hpt_recipe_destroy(r);
    r = open_recipe(text);
    OK(hpt_recipe_run(r, NULL, NULL, &res));
    hpt_recipe_destroy(r);
    snprintf(command, sizeof command,
             "cmp %s/whole %s/out/stages/b*/model.safetensors && ! ls %s/out/stages/b*/checkpoint.pth.tar 2>/dev/null",
             work, work, work);
    CHECK(!system(command));
    remove_sets();
}

/* The same for evaluations: killed while their state is on disk, they end with the same bits. */
TEST_LIMIT(evaluations_survive_kill, 400) {
    static const char text[] = "[recipe]\nsave_every = 5\n" COMMON SETS "[finetune f]\nmodel = random\ntrain = "
        "train\nval = val\ntest = test\nft_length = 40\nft_lr = 0.01, 0.02\nft_eval_every = 5\nft_weight_decay = "
        "0.01\n[linear l]\nmodel = f\ntrain = train\nval = val\ntest = test\nprobe_augment = 1\nprobe_steps = "
        "400\nprobe_eval_every = 5\nprobe_batch = 16\n";
    static const char *const numbers[] = {"val_score", "test_score", "best_lr", "best_step"};
    char command[600], hpt[4096];
    double first[2][4];
    int kills = 0;
    fast_context();
    CHECK(realpath(HPT_TEST_BIN "/hpt", hpt));
    make_sets();
    for (int pass = 0; pass < 2; pass++) {
        for (int round = 0; pass && round < 2; round++) {       /* once in each stage */
            snprintf(command, sizeof command, "ls %s/out/stages/%s*/work.state >/dev/null 2>&1", work, round ? "l"
                     : "f");
            pid_t child = fork();
            if (!child) {
                execl(hpt, "hpt", "run", "r.ini", "--out", "out", "--quiet", (char *)NULL);
                _exit(9);
            }
            for (int i = 0; i < 2000 && system(command) && waitpid(child, NULL, WNOHANG) == 0; i++) {
                struct timespec t = {0, 5000000};
                nanosleep(&t, NULL);
            }
            kills += !system(command);
            kill(child, SIGKILL);
            waitpid(child, NULL, 0);
        }
        hpt_result *res;
        hpt_recipe *r = open_recipe(text);
        OK(hpt_recipe_run(r, NULL, NULL, &res));
        json_t *stages = json_object_get(json_of(res), "stages");
        for (size_t s = 0; s < 2; s++)
            for (int k = 0; k < 4; k++) {
                double v = json_number_value(json_object_get(json_array_get(stages, s), numbers[k]));
                if (!pass) first[s][k] = v;
                else if (v != first[s][k]) FAIL("stage %zu, %s: %g, uninterrupted %g", s, numbers[k], v, first[s][k]);
            }
        hpt_recipe_destroy(r);
        snprintf(command, sizeof command,
                 pass ? "cmp %s/whole %s/out/stages/f*/model.safetensors && ! ls %s/out/stages/*/work.state "
                 "2>/dev/null" : "cd %s && cp out/stages/f*/model.safetensors whole && rm -rf out", work, work, work);
        CHECK(!system(command));
    }
    printf("  killed with a state on disk: %d of 2\n", kills);
    CHECK(kills);
    remove_sets();
}

/* Head, key encoder and queue of the stage before, through its checkpoint. */
TEST_LIMIT(recipe_carries_over, 120) {
    static const char text[] = "[recipe]\nbackend = reference\n" COMMON SETS "[pretrain a]\ndata = base\nsteps = "
        "5\n[pretrain b]\ninit = a\ndata = target\nsteps = 3\n[pretrain c]\ninit = a\ndata = target\nsteps = "
        "3\ncarry_head = 1\ncarry_key = 1\ncarry_queue = 1\n";
    char command[400];
    hpt_result *res;
    make_sets();
    hpt_recipe *r = open_recipe(text);
    OK(hpt_recipe_run(r, NULL, NULL, &res));
    json_t *stages = json_object_get(json_of(res), "stages");
    double fresh = json_number_value(json_object_get(json_array_get(stages, 1), "loss")),
        carried = json_number_value(json_object_get(json_array_get(stages, 2), "loss"));
    printf("  loss after 3 steps: fresh %.4f, carried over %.4f\n", fresh, carried);
    CHECK(fresh != carried);
    snprintf(command, sizeof command,
             "ls %s/out/stages/a*/checkpoint.pth.tar && ! ls %s/out/stages/b*/checkpoint.pth.tar 2>/dev/null", work,
             work);
    CHECK(!system(command));            /* kept where it is needed, and only there */
    hpt_recipe_destroy(r);
    remove_sets();
}

/* A supervised base, then MoCo on it: options of one method in [options] are for the stages of that method. */
TEST(recipe_of_several_methods) {
    static const char text[] = "[recipe]\nbackend = reference\n" COMMON SETS "[pretrain sup]\nmethod = "
        "supervised\ndata = base\nsteps = 4\nlabel_smoothing = 0.1\n[pretrain hpt]\ninit = sup\ndata = target\nsteps = "
        "3\n";
    char command[400];
    hpt_result *res;
    make_sets();
    hpt_recipe *r = open_recipe(text);
    OK(hpt_recipe_run(r, NULL, NULL, &res));
    json_t *stages = json_object_get(json_of(res), "stages");
    CHECK(json_is_number(json_object_get(json_array_get(stages, 0), "train_top1")) &&
          json_is_number(json_object_get(json_array_get(stages, 1), "contrast_acc1")));
    snprintf(command, sizeof command,
             "grep -q fc.weight %s/out/stages/sup*/model.safetensors && ! grep -q '\"labels\"' "
             "%s/out/stages/hpt*/model.safetensors", work, work);
    CHECK(!system(command));            /* the classifier stays with its features */
    hpt_recipe_destroy(r);
    remove_sets();
}

/* Each broken recipe is refused before anything is trained, with the line. */
TEST(recipes_that_are_refused) {
    static const struct { const char *text, *what; int run; } bad[] = {
        {"[pretrain a]\ndata = base\nmoco_kk = 3\n", "line 3: unknown option 'moco_kk', did you mean 'moco_k'?", 0},
        {"[pretrain a]\ndata = base\nprobe_lr = 3\n", "line 3: option 'probe_lr' does not belong", 0},
        {"[pretrain a]\ndata = base\nsteps = many\n", "line 3: option 'steps'", 0},
        {"[pretrain a]\nsweep.steps = 5, x\ndata = base\n", "line 2: option 'steps'", 0},
        {"[pretrain a]\nsteps = 5\n", "line 1: [pretrain a] needs a line 'data = ...'", 0},
        {"[pretrian a]\nsteps = 5\n", "line 1: a section [pretrian a] is unknown", 0},
        {"[pretrain a]\ndata = base\n[pretrain a]\nsteps = 3\n", "line 3: [pretrain a] is there already, in line 1", 0},
        {"[pretrain a]\ndata = base\nsteps = 3\nsteps = 4\n", "line 4: 'steps' is there already, in line 3", 0},
        {"steps = 5\n", "line 1: 'steps' stands before the first section", 0},
        {"[pretrain a]\nwhat is this\n", "line 2: neither", 0},
        {"[recipe]\nseeds = 0\n", "there is no stage", 1},
        {"[pretrain a]\ndata = nosuch\n", "line 2: there is no section called 'nosuch'", 1},
        {"[data base]\npath = base\n[pretrain a]\ndata = base\ninit = c\n[pretrain b]\ndata = base\ninit = "
         "a\n[pretrain c]\ndata = base\ninit = b\n", "line 8: the stages go round in a circle", 1},
        {"[data base]\npath = base\n[pretrain a]\ndata = base\ninit = gone.pth\nsteps = 2\n",
         "line 5: gone.pth: no such file", 1},
        {"[data base]\npath = nowhere\n[pretrain a]\ndata = base\n", "line 2: [data base]: nowhere: no such file", 1},
        {"[data base]\npath = base\n[data t]\npath = target\n[linear a]\nmodel = base\ntrain = t\n",
         "line 6: 'model' wants a stage with a model", 1},
        {"[data t]\npath = target\n[linear a]\nmodel = random\ntrain = t\ntest = t\n",
         "line 5: [linear a]: train and test share 60 images", 1},
        {"[data s]\npath = held-out\n[data t]\npath = target\n[data h]\npath = held-out\n[pretrain a]\ndata = "
         "s\n[linear l]\nmodel = a\ntrain = t\ntest = h\n",
         "line 8: [pretrain a]: 's' is also in the test set 'h' of [l]: the sets share 30", 1},
        {"[data t]\npath = lists.txt\n[linear a]\nmodel = random\ntrain = t\n", "lists.txt, line 2", 1},
        {"[data t]\npath = hole.txt\n[linear a]\nmodel = random\ntrain = t\n", "class 1 has no image", 1},
        {"[data t]\npath = target\nfew = 2\n[linear a]\nmodel = random\ntrain = t\n",
         "line 3: [data t]: 2 images: at least one of each", 1},
        {"[options]\nnosuch = 1\n[pretrain a]\ndata = base\n", "line 2: unknown option 'nosuch'", 0},
        {"[finding f]\nclaim = x\nleft = a\n", "needs a line 'right = ...'", 0},
        {"[recipe]\ninclude = r.ini\n", "include each other", 0},
    };
    make_sets();
    write_text("lists.txt", "target/c0/0.ppm 0\ntarget/c0/gone.ppm 1\n");
    write_text("hole.txt", "target/c0/0.ppm 0\ntarget/c2/2.ppm 2\n");
    if (chdir(work)) FAIL("chdir");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        hpt_recipe *r = NULL;
        hpt_result *res = NULL;
        char path[256], out[256];
        hpt_config *c = config("backend=reference threads=1");
        write_text("r.ini", bad[i].text);
        snprintf(path, sizeof path, "%s/r.ini", work);
        snprintf(out, sizeof out, "%s/out", work);
        hpt_status st = hpt_recipe_open(c, path, out, &r);
        if (!st && bad[i].run) st = hpt_recipe_plan(r, &res);
        if (st >= 0) FAIL("case %zu was accepted: %s", i, bad[i].text);
        if (!strstr(hpt_last_error(), bad[i].what)) FAIL("case %zu: '%s' lacks '%s'", i, hpt_last_error(), bad[i].what);
        CHECK((r == NULL) == !bad[i].run);
        hpt_recipe_destroy(r);
        CHECK(access(out, F_OK));        /* nothing was trained */
    }
    remove_sets();
}

/* What lies in examples/recipes is read, and every section and key is known. */
TEST(ready_recipes_are_sound) {
    FILE *list = popen("ls examples/recipes/*.ini", "r");
    char line[300];
    int n = 0;
    while (fgets(line, sizeof line, list)) {
        hpt_recipe *r;
        line[strcspn(line, "\n")] = 0;
        OK(hpt_recipe_open(NULL, line, NULL, &r));
        OK(hpt_recipe_set(r, "recipe.seeds", "0"));
        FAILS(HPT_ERR_ARGUMENT, "section.key", hpt_recipe_set(r, "nosuch.seeds", "0"));
        hpt_recipe_destroy(r);
        n++;
    }
    pclose(list);
    CHECK(n > 25);
}

/* ---- memory runs out: at each allocation in turn, in every call of this file's subject ---- */

static int evaluations(hpt_context *ctx, hpt_config *c, hpt_model *m, hpt_dataset *a, hpt_dataset *b, int which,
                       const char *recipe) {
    hpt_result *r = NULL;
    hpt_model *w = NULL;
    hpt_recipe *rec = NULL;
    hpt_dataset *few = NULL;
    hpt_session *s = NULL;
    const char *names[2] = {"a", "b"};
    hpt_dataset *sources[2] = {a, b};
    hpt_status st = HPT_OK;
    if (which == 0) st = hpt_model_linear(m, a, NULL, b, c, &r);
    else if (which == 1) st = hpt_model_knn(m, a, b, c, &r);
    else if (which == 2) st = hpt_model_finetune(m, a, NULL, b, c, &w, &r);
    else if (which == 3) st = hpt_source_search(ctx, c, m, sources, names, 2, a, b, NULL, NULL, &w, &r);
    else if (which == 4) st = hpt_dataset_few(a, 9, 1, &few, NULL);
    else if (which == 5) {
        st = hpt_session_create(ctx, c, m, a, &s);
        if (!st) st = hpt_session_monitor(s, a, b);
        if (!st) st = hpt_session_run(s, NULL, NULL);
    } else {
        st = hpt_recipe_open(NULL, recipe, "none", &rec);
        if (!st) st = hpt_recipe_plan(rec, &r);
    }
    CHECK(st >= 0 || (!r && !w));
    hpt_recipe_destroy(rec);
    hpt_session_destroy(s);
    hpt_dataset_destroy(few);
    hpt_model_destroy(w);
    hpt_result_destroy(r);
    return st;
}
TEST_LIMIT(memory_runs_out_in_evaluations, 600) {
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *all = toy_set(ctx, "", 24, 8, 3), *a, *b;
    hpt_model *m;
    char path[300];
    OK(hpt_dataset_per_class(all, 4, 1, &a, &b));
    hpt_config *c =
        config("arch=resnet10 width=16 stem=small image_size=8 moco_dim=16 batch_size=4 bn_group=4 moco_k=8 "
               "precision=fp32 eval_crop=full probe_lr=0.1 probe_steps=2 probe_eval_every=1 probe_batch=4 steps=2 "
               "search_rungs=1 "
                           "ft_batch=4 ft_micro=2 ft_lr=0.01 ft_length=1 monitor_every=1 knn_k=3 threads=1 workers=1");
    OK(hpt_model_create(ctx, c, &m));
    make_sets();
    if (chdir(work)) FAIL("chdir");
    write_text("r.ini",
               "[recipe]\nbackend = reference\nthreads = 1\n" COMMON "[data t]\npath = target\n[data x]\nfrom = "
               "t\nper_class = 5\n[data y]\nfrom = t\nper_class = 5\npart = rest\n[pretrain b]\ndata = t\nsweep.steps "
               "= 1, 2\nbatch_size = 2\nbn_group = 2\n"
                        "[linear p]\nmodel = b\ntrain = x\nval = y\n[choose q]\nof = p\nover = steps\n[plot z]\nkind = "
                        "lines\nstages = p\nvalue = val_score\n[table y]\nstages = p\ncolumns = steps\nvalue = "
                        "val_score\n[finding w]\nclaim = x\nleft = p[steps=1]\nright = p\nvalue = val_score\n");
    snprintf(path, sizeof path, "%s/r.ini", work);
    for (int which = 0; which < 7; which++) {
        int64_t before = hpt__alloc_test_count();
        CHECK(evaluations(ctx, c, m, a, b, which, path) >= 0);
        int64_t n = hpt__alloc_test_count() - before, failed = 0, stride = n > 40 ? n / 40 : 1;
        for (int64_t k = 1; k <= n; k += stride) {
            hpt__alloc_test_fail(k, 0);
            int st = evaluations(ctx, c, m, a, b, which, path);
            hpt__alloc_test_fail(0, 0);
            failed += st < 0;
        }
        printf("  call %d: %lld allocations, %lld failures reported\n", which, (long long)n, (long long)failed);
        CHECK(failed > 0);
        CHECK(evaluations(ctx, c, m, a, b, which, path) >= 0);       /* and all still works */
    }
    remove_sets();
}
