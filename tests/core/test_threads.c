/* SPDX-License-Identifier: MIT
 * Threads on one context: calls take turns and give the bits that they give alone; callbacks call the library; a
 * handle that is destroyed under a call; evaluations of a recipe that are stopped and go on. */
#define _GNU_SOURCE
#include "core/turn.h"
#include "support.h"
#include <pthread.h>
#include <unistd.h>

#define SMALL "arch=resnet10 width=16 stem=small image_size=16 batch_size=8 bn_group=4 moco_k=20 moco_dim=16 lr=0.05 " \
    "workers=1 precision=fp32 "
enum { STEPS = 6, IMAGES = 24, WIDTH = 128 };

typedef struct job { hpt_context *ctx; hpt_dataset *ds; int seed; float loss[STEPS], features[IMAGES * WIDTH],
                     weight[16]; } job;
static void *train(void *arg) {
    job *j = arg;
    hpt_model *m;
    hpt_session *s;
    hpt_step_info info = {.struct_size = sizeof info};
    hpt_config *c = config(SMALL "steps=6");
    OK(hpt_config_set_int(c, "seed", j->seed));
    OK(hpt_model_create(j->ctx, c, &m));
    OK(hpt_session_create(j->ctx, c, m, j->ds, &s));
    for (int i = 0; i < STEPS; i++) {
        OK(hpt_session_step(s, &info));
        j->loss[i] = (float)info.loss;
        if (i == 2) OK(hpt_model_features(m, j->ds, c, j->features, IMAGES * WIDTH));
    }
    OK(hpt_session_get_tensor(s, "q.bn1.weight", j->weight, 16));
    hpt_session_destroy(s);
    hpt_model_destroy(m);
    hpt_config_destroy(c);
    return NULL;
}
TEST_LIMIT(one_context_many_threads, 300) {
    static const char *const backends[] = {"reference", "onednn"};
    for (int b = 0; b < 2; b++) {
        hpt_context *ctx = context(backends[b], 2);
        if (!ctx) continue;
        static job alone[3], together[3];
        pthread_t t[3];
        hpt_dataset *ds = toy_set(ctx, "", IMAGES, 18, 3);
        for (int i = 0; i < 3; i++) {
            alone[i] = (job){.ctx = ctx, .ds = ds, .seed = i};
            train(&alone[i]);
            together[i] = (job){.ctx = ctx, .ds = ds, .seed = i};
        }
        for (int i = 0; i < 3; i++) CHECK(!pthread_create(&t[i], NULL, train, &together[i]));
        for (int i = 0; i < 3; i++) {
            pthread_join(t[i], NULL);
            together[i].ds = ds;
            CHECK(!memcmp(&alone[i], &together[i], sizeof alone[i]));
            CHECK(i == 0 || memcmp(alone[0].loss, alone[i].loss, sizeof alone[0].loss));
        }
        hpt_dataset_destroy(ds);
        hpt_context_destroy(ctx);
    }
}

/* Those who wait are served in order, the owner may take it again, and yield lets one go first. */
static hpt__turn turn;
static int order[8], served;
static _Atomic int waiting;
static void *wait_for_it(void *arg) {
    waiting++;
    hpt__turn_take(&turn);
    order[served++] = (int)(intptr_t)arg;
    hpt__turn_take(&turn);
    hpt__turn_give(&turn);
    hpt__turn_give(&turn);
    return NULL;
}
TEST(turns_are_taken_in_order) {
    pthread_t t[4];
    hpt__turn_init(&turn);
    hpt__turn_take(&turn);
    hpt__turn_take(&turn);
    for (int i = 0; i < 4; i++) {
        CHECK(!pthread_create(&t[i], NULL, wait_for_it, (void *)(intptr_t)i));
        while (waiting <= i) usleep(1000);
        for (;;) {      /* until its ticket is drawn */
            pthread_mutex_lock(&turn.lock);
            int drawn = turn.next == (uint64_t)i + 2;
            pthread_mutex_unlock(&turn.lock);
            if (drawn) break;
            usleep(1000);
        }
    }
    CHECK(served == 0);
    hpt__turn_yield(&turn);         /* depth and all */
    CHECK(served == 4 && turn.depth == 2);
    hpt__turn_give(&turn);
    hpt__turn_give(&turn);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < 4; i++) CHECK(order[i] == i);
    hpt__turn_fini(&turn);
}

/* ---- callbacks ---- */

typedef struct inside { hpt_session *s, *other; hpt_model *m; hpt_dataset *ds; hpt_config *c; char path[100];
                        int calls, limit; } inside;
static int32_t calls_back(void *user, const hpt_step_info *i) {
    inside *w = user;
    float x[16];
    static float features[IMAGES * WIDTH];
    hpt_step_info now = {.struct_size = sizeof now};
    (void)i;
    FAILS(HPT_ERR_STATE, "under way", hpt_session_step(w->s, NULL));
    FAILS(HPT_ERR_STATE, "under way", hpt_session_step_images(w->s, features, features, NULL));
    FAILS(HPT_ERR_STATE, "under way", hpt_session_run(w->s, NULL, NULL));
    FAILS(HPT_ERR_STATE, "under way", hpt_session_resume(w->s, w->path));
    FAILS(HPT_ERR_STATE, "under way", hpt_session_monitor(w->s, w->ds, w->ds));
    OK(hpt_session_save(w->s, w->path));
    OK(hpt_session_sync(w->s));
    OK(hpt_session_get_info(w->s, &now));
    CHECK(now.step == (uint64_t)++w->calls);
    OK(hpt_session_get_tensor(w->s, "q.bn1.weight", x, 16));
    OK(hpt_session_set_tensor(w->s, "q.bn1.weight", x, 16));
    OK(hpt_session_step(w->other, NULL));       /* another session of the same context */
    OK(hpt_model_features(w->m, w->ds, w->c, features, IMAGES * WIDTH));
    return 0;
}
TEST(callbacks_call_the_library) {
    hpt_context *ctx = context("reference", 1);
    inside w = {.c = config(SMALL "steps=3"), .ds = toy_set(ctx, "", IMAGES, 18, 3)};
    snprintf(w.path, sizeof w.path, "%s/x", temp_dir());
    OK(hpt_model_create(ctx, w.c, &w.m));
    OK(hpt_session_create(ctx, w.c, w.m, w.ds, &w.s));
    OK(hpt_session_create(ctx, w.c, w.m, w.ds, &w.other));
    OK(hpt_session_run(w.s, calls_back, &w));
    CHECK(w.calls == 3);
    CHECK(hpt_session_step(w.s, NULL) == HPT_END);      /* and no run is under way any more */
    hpt_session_destroy(w.s);
    hpt_session_destroy(w.other);
    hpt_model_destroy(w.m);
    hpt_dataset_destroy(w.ds);
    hpt_config_destroy(w.c);
    hpt_context_destroy(ctx);
}

static _Atomic int begun;
static int32_t tells(void *user, const hpt_step_info *i) {
    (void)user; (void)i;
    begun++;
    return 0;
}
static void *runs(void *s) { return (void *)(intptr_t)hpt_session_run(s, tells, NULL); }
TEST(destroyed_while_it_runs) {
    for (int k = 0; k < 2; k++) {
        hpt_context *ctx = context(k ? "onednn" : "reference", 2);
        if (!ctx) continue;
        hpt_config *c = config(SMALL "steps=100000");
        hpt_dataset *ds = toy_set(ctx, "", IMAGES, 18, 3);
        hpt_model *m;
        hpt_session *s;
        pthread_t t;
        void *got;
        OK(hpt_model_create(ctx, c, &m));
        OK(hpt_session_create(ctx, c, m, ds, &s));
        begun = 0;
        CHECK(!pthread_create(&t, NULL, runs, s));
        while (begun < 2) usleep(1000);
        hpt_session_destroy(s);
        hpt_session_destroy(s);
        hpt_dataset_destroy(ds);
        hpt_model_destroy(m);
        hpt_context_destroy(ctx);
        pthread_join(t, &got);
        CHECK((hpt_status)(intptr_t)got == HPT_ERR_CANCELLED);
        FAILS(HPT_ERR_ARGUMENT, "not a live", hpt_session_step(s, NULL));
        hpt_config_destroy(c);
    }
}

/* ---- a recipe's evaluations ---- */

typedef struct stopper { const char *stage; uint64_t at; int steps; } stopper;
static int32_t stops(void *user, const hpt_recipe_progress *p) {
    stopper *w = user;
    if (strncmp(p->name, w->stage, strlen(w->stage)) || p->event != HPT_RECIPE_STEP) return 0;
    w->steps++;
    return p->step >= w->at;
}
static char *run_recipe(const char *ini, const char *out, stopper *w, hpt_status want) {
    hpt_recipe *r;
    hpt_result *res = NULL;
    char path[300];
    OK(hpt_recipe_open(NULL, ini, out, &r));
    hpt_status st = hpt_recipe_run(r, w ? stops : NULL, w, &res);
    if (st != want) FAIL("%s: %s", hpt_status_name(st), hpt_last_error());
    hpt_result_destroy(res);
    hpt_recipe_destroy(r);
    snprintf(path, sizeof path, "cut -d, -f1-9 %s/results.csv 2>/dev/null", out);
    FILE *p = popen(path, "r");
    char *text = calloc(1, 1 << 16);
    size_t n = fread(text, 1, (1 << 16) - 1, p);
    (void)n;
    pclose(p);
    return text;
}
TEST_LIMIT(evaluations_of_a_recipe_stop_and_go_on, 300) {
    char dir[64], ini[100], a[100], b[100], path[300];
    snprintf(dir, sizeof dir, "%s", temp_dir());
    snprintf(ini, sizeof ini, "%s/r.ini", dir);
    snprintf(a, sizeof a, "%s/a", dir);
    snprintf(b, sizeof b, "%s/b", dir);
    for (int set = 0; set < 2; set++)
        for (int c = 0; c < 2; c++) {
            snprintf(path, sizeof path, "mkdir -p %s/%s/%c", dir, set ? "test" : "train", "xy"[c]);
            CHECK(!system(path));
            for (int i = 0; i < 8; i++) {
                uint8_t px[12 * 12 * 3];
                for (size_t k = 0; k < sizeof px; k++)
                    px[k] = (uint8_t)(hash_at(k, (uint64_t)(set * 100 + c * 10 + i)) >> 8 & (c ? 255 : 120));
                snprintf(path, sizeof path, "%s/%s/%c/%d.ppm", dir, set ? "test" : "train", "xy"[c], i);
                FILE *f = fopen(path, "w");
                fprintf(f, "P6 12 12 255\n");
                CHECK(fwrite(px, 1, sizeof px, f) == sizeof px && !fclose(f));
            }
        }
    FILE *f = fopen(ini, "w");
    fprintf(f,
            "[recipe]\nbackend = reference\nthreads = 1\nsave_every = 100000\n[options]\narch = resnet10\nwidth = "
            "16\nstem = small\nimage_size = 8\nbatch_size = 4\n"
               "[data t]\npath = %s/train\n[data u]\npath = %s/test\n"
               "[linear lin]\nmodel = random\ntrain = t\nval = u\nprobe_steps = 300\nprobe_eval_every = 50\nprobe_lr = "
               "1\n[finetune tune]\nmodel = random\ntrain = t\nval = u\nft_lr = 0.01,0.003\nft_length = 6,2e\nft_batch "
               "= 8\nft_micro = 8\nft_eval_every = 2\n[knn near]\nmodel = random\ntrain = t\nval = u\n[table "
               "x]\nstages = lin, tune, near\nvalue = val_score\n", dir, dir);
    fclose(f);
    char *whole = run_recipe(ini, a, NULL, HPT_OK);
    stopper w = {"lin", 123, 0};
    run_recipe(ini, b, &w, HPT_ERR_CANCELLED);
    CHECK(w.steps > 100);
    snprintf(path, sizeof path, "test -s %s/stages/lin*/work.state", b);
    CHECK(!system(path));           /* saved at the step where it stopped, not at save_every */
    w = (stopper){"lin", 1000, 0};
    stopper tune = {"tune", 8, 0};
    run_recipe(ini, b, &tune, HPT_ERR_CANCELLED);       /* lin goes on to its end, tune stops in its second point */
    CHECK(tune.steps >= 8);
    snprintf(path, sizeof path, "test -s %s/stages/tune*/work.state && test -e %s/stages/lin*/result.json", b, b);
    CHECK(!system(path));
    stopper near = {"near", 0, 0};
    run_recipe(ini, b, &near, HPT_ERR_CANCELLED);
    CHECK(near.steps >= 1);
    char *parts = run_recipe(ini, b, NULL, HPT_OK);
    if (!strstr(whole, "tune") || strcmp(whole, parts)) FAIL("stopped and gone on:\n%s\nin one:\n%s", parts, whole);
    snprintf(path, sizeof path, "rm -r %s", dir);
    CHECK(!system(path));
}
