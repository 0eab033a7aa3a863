/* SPDX-License-Identifier: MIT
 * Sessions: resume bit for bit (also after kill -9), independence of workers, what trains, policies, failures,
 * threads. */
#define _GNU_SOURCE
#include "core/alloc.h"
#include "io/file.h"
#include "support.h"
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SMALL "arch=resnet10 width=16 stem=small image_size=16 batch_size=8 bn_group=4 moco_k=20 moco_dim=16 seed=3 " \
    "lr=0.05 "

static hpt_session *session(hpt_context *ctx, const char *pairs, hpt_dataset *ds, hpt_model **model) {
    char text[800];
    hpt_session *s;
    hpt_model *m;
    snprintf(text, sizeof text, SMALL "%s", pairs);
    hpt_config *c = config(text);
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_session_create(ctx, c, m, ds, &s));
    hpt_config_destroy(c);
    if (model) *model = m;
    else hpt_model_destroy(m);
    return s;
}
static void steps(hpt_session *s, int n) {
    for (int i = 0; i < n; i++) OK(hpt_session_step(s, NULL));
}
static int same_file(const char *a, const char *b) {
    hpt__bytes x, y;
    OK(hpt__file_read(a, 1 << 28, &x));
    OK(hpt__file_read(b, 1 << 28, &y));
    int same = x.n == y.n && !memcmp(x.p, y.p, x.n);
    hpt__free(x.p);
    hpt__free(y.p);
    return same;
}
static char *at(const char *dir, const char *name) {
    char *p;
    CHECK(asprintf(&p, "%s/%s", dir, name) > 0);
    return p;
}

static void resume_case(hpt_context *ctx, const char *options) {
    char *dir = temp_dir();
    hpt_dataset *ds = toy_set(ctx, "", 30, 18, 3);
    hpt_session *a = session(ctx, options, ds, NULL);
    steps(a, 9);
    OK(hpt_session_save(a, at(dir, "nine")));
    hpt_session *b = session(ctx, options, ds, NULL);
    steps(b, 4);
    OK(hpt_session_save(b, at(dir, "four")));
    hpt_session *c = session(ctx, options, ds, NULL);
    OK(hpt_session_resume(c, at(dir, "four")));
    steps(c, 5);
    OK(hpt_session_save(c, at(dir, "resumed")));
    CHECK(same_file(at(dir, "nine"), at(dir, "resumed")));
    FAILS(HPT_ERR_STATE, "fresh", hpt_session_resume(c, at(dir, "four")));
    hpt_step_info i = {.struct_size = sizeof i};
    OK(hpt_session_get_info(c, &i));
    CHECK(i.step == 9 && i.queue_fill == 20);
}
TEST(resume_bit_for_bit_sgd) { resume_case(fast_context(), "steps=20"); }
TEST(resume_bit_for_bit_adamw) { resume_case(fast_context(), "steps=20 optimizer=adamw lr=0.003 workers=3"); }
TEST(resume_bit_for_bit_bn_only) { resume_case(fast_context(), "steps=20 train=bn"); }
TEST(resume_bit_for_bit_reference) { resume_case(context("reference", 1), "steps=20"); }
TEST(resume_refuses_another_run) {
    hpt_context *ctx = fast_context();
    char *dir = temp_dir();
    hpt_dataset *ds = toy_set(ctx, "", 30, 18, 3), *other = toy_set(ctx, "", 31, 18, 3);
    hpt_session *a = session(ctx, "steps=20", ds, NULL);
    steps(a, 1);
    OK(hpt_session_save(a, at(dir, "c")));
    FAILS(HPT_ERR_MISMATCH, "option lr was", hpt_session_resume(session(ctx, "steps=20 lr=0.1", ds, NULL),
                                                                at(dir, "c")));
    FAILS(HPT_ERR_MISMATCH, "option steps", hpt_session_resume(session(ctx, "steps=21", ds, NULL), at(dir, "c")));
    FAILS(HPT_ERR_MISMATCH, "data set", hpt_session_resume(session(ctx, "steps=20", other, NULL), at(dir, "c")));
    FAILS(HPT_ERR_MISMATCH, "queue", hpt_session_resume(session(ctx, "steps=20 moco_k=24", ds, NULL), at(dir, "c")));
    FAILS(HPT_ERR_IO, "no such file", hpt_session_resume(session(ctx, "steps=20", ds, NULL), at(dir, "none")));
    FAILS(HPT_ERR_MISMATCH, "weights alone", hpt_session_resume(session(ctx, "steps=20", ds, NULL),
                                                                "tests/fixtures/files/mixed_zip.pth"));
}

/* A child trains and saves every step; it is killed again and again. What is there always loads, and the end equals
 * an undisturbed run. */
TEST_LIMIT(kill_nine_loses_nothing, 240) {
    char *dir = temp_dir();
    int kills = 0, total = 40;
    for (int round = 0;; round++) {
        fflush(stdout);
        pid_t p = fork();
        if (!p) {
            hpt_context *ctx = context("onednn", 1);
            if (!ctx) _exit(77);
            hpt_session *s = session(ctx, "steps=40", toy_set(ctx, "", 30, 18, 3), NULL);
            if (!access(at(dir, "c"), R_OK)) OK(hpt_session_resume(s, at(dir, "c")));
            hpt_step_info i = {.struct_size = sizeof i};
            OK(hpt_session_get_info(s, &i));
            while ((int)i.step < total) {
                OK(hpt_session_step(s, &i));
                OK(hpt_session_save(s, at(dir, "c")));
            }
            _exit(0);
        }
        int st;
        if (round < 12) {
            struct timespec t = {0, 80000000L + (long)(round * 37 % 11) * 25000000L};
            nanosleep(&t, NULL);
            kill(p, SIGKILL);
        }
        waitpid(p, &st, 0);
        if (WIFEXITED(st) && WEXITSTATUS(st) == 77) SKIP("no onednn module");
        if (WIFSIGNALED(st)) {
            kills++;
            continue;
        }
        CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 0);
        break;
    }
    hpt_context *ctx = context("onednn", 1);
    hpt_session *s = session(ctx, "steps=40", toy_set(ctx, "", 30, 18, 3), NULL);
    steps(s, total);
    OK(hpt_session_save(s, at(dir, "whole")));
    CHECK(same_file(at(dir, "c"), at(dir, "whole")));
    printf("  killed %d times\n", kills);
    CHECK(kills >= 3);
}

static void final_weights(hpt_context *ctx, const char *options, float *out) {
    hpt_dataset *ds = toy_set(ctx, "", 30, 18, 3);
    hpt_session *s = session(ctx, options, ds, NULL);
    steps(s, 5);
    OK(hpt_session_get_tensor(s, "q.layer3.0.conv2.weight", out, 64 * 64 * 9));
    hpt_session_destroy(s);
}
TEST(results_do_not_depend_on_workers_and_repeat) {
    hpt_context *ctx = fast_context();
    float *a = malloc(64 * 64 * 9 * 4), *b = malloc(64 * 64 * 9 * 4);
    final_weights(ctx, "steps=20 workers=1", a);
    final_weights(ctx, "steps=20 workers=4", b);
    CHECK(!memcmp(a, b, 64 * 64 * 9 * 4));
    final_weights(ctx, "steps=20 seed=4", b);
    CHECK(memcmp(a, b, 64 * 64 * 9 * 4));
}

/* Losses of both backends over steps, with batch-norm groups and shuffling. */
TEST(onednn_follows_the_reference_over_steps) {
    hpt_context *fast = fast_context(), *slow = context("reference", 1);
    hpt_session *a = session(fast, "steps=20 lr=0.0003 precision=fp32", toy_set(fast, "", 30, 18, 3), NULL);
    hpt_session *b = session(slow, "steps=20 lr=0.0003 precision=fp32", toy_set(slow, "", 30, 18, 3), NULL);
    hpt_step_info x = {.struct_size = sizeof x}, y = {.struct_size = sizeof y};
    for (int i = 0; i < 12; i++) {
        OK(hpt_session_step(a, &x));
        OK(hpt_session_step(b, &y));
        if (!(fabs(x.loss - y.loss) <= 1e-4 * y.loss))
            FAIL("step %d: loss %.7f on onednn, %.7f on reference", i + 1, x.loss, y.loss);
    }
    CHECK(x.epoch == 3 && x.chance == log(21) && x.wait_ms >= 0 && x.step_ms > 0);
}

TEST(hpt_bn_trains_batch_norm_and_head_only) {
    hpt_context *ctx = fast_context();
    hpt_model *m;
    hpt_session *s = session(ctx, "steps=4 train=bn", toy_set(ctx, "", 30, 18, 3), &m);
    hpt_tensor_info t = {.struct_size = sizeof t};
    float *before = malloc(1 << 20), *after = malloc(1 << 20);
    steps(s, 3);        /* the model still holds the start */
    for (uint32_t i = 0; hpt_model_tensor_info(m, i, &t) == HPT_OK; i++) {
        uint64_t n = 1;
        char name[120];
        for (int d = 0; d < t.ndim; d++) n *= (uint64_t)t.shape[d];
        OK(hpt_model_get_tensor(m, t.name, before, n));
        snprintf(name, sizeof name, "q.%s", t.name);
        OK(hpt_session_get_tensor(s, name, after, n));
        int same = !memcmp(before, after, n * 4), conv = t.ndim == 4;
        if (same != conv) FAIL("%s %s", t.name, same ? "did not change" : "changed");
    }
}

TEST(a_step_allocates_nothing) {
    hpt_context *ctx = fast_context();
    hpt_session *s = session(ctx, "steps=9", NULL, NULL);
    float *x = malloc(8 * 3 * 16 * 16 * 4);
    fill_f32(x, 8 * 3 * 16 * 16, 1, 1, 0);
    OK(hpt_session_step_images(s, x, x, NULL));
    hpt__alloc_test_fail(0, 0);
    for (int i = 0; i < 3; i++) OK(hpt_session_step_images(s, x, x, NULL));
    CHECK(hpt__alloc_test_count() == 0);
}

TEST(queue_wraps_and_metrics) {
    hpt_context *ctx = fast_context();
    hpt_session *s = session(ctx, "steps=20", toy_set(ctx, "", 30, 18, 3), NULL);    /* K 20 is no multiple of 8 */
    hpt_step_info i = {.struct_size = sizeof i};
    float *q0 = malloc(16 * 20 * 4), *q1 = malloc(16 * 20 * 4);
    OK(hpt_session_get_tensor(s, "queue", q0, 16 * 20));
    for (int c = 0; c < 20; c++) {
        double n = 0;
        for (int d = 0; d < 16; d++) n += q0[d * 20 + c] * q0[d * 20 + c];
        CHECK(fabs(n - 1) < 1e-5);
    }
    const int fill[] = {8, 16, 20, 20};
    for (int k = 0; k < 4; k++) {
        OK(hpt_session_step(s, &i));
        CHECK(i.queue_fill == (uint32_t)fill[k] && i.step == (uint64_t)k + 1);
        CHECK(i.loss > 0 && i.acc1 >= 0 && i.acc1 <= i.acc5 && i.acc5 <= 100 && i.z_std > 0);
        OK(hpt_session_get_tensor(s, "queue", q1, 16 * 20));
        for (int c = 0; c < 20; c++) {      /* exactly the columns ptr .. ptr+7 mod 20 are new */
            int changed = 0, expected = (c - k * 8 % 20 + 20) % 20 < 8;
            for (int d = 0; d < 16; d++) changed |= q0[d * 20 + c] != q1[d * 20 + c];
            CHECK(changed == expected);
        }
        memcpy(q0, q1, 16 * 20 * 4);
    }
}

typedef struct seen { int calls, stop_at, nans; } seen;
static int32_t watch(void *user, const hpt_step_info *i) {
    seen *s = user;
    s->nans += isnan(i->loss);
    return ++s->calls == s->stop_at;
}
static void poison(hpt_session *s, const char *name, size_t n) {
    float *x = malloc(n * 4);
    OK(hpt_session_get_tensor(s, name, x, n));
    x[n / 2] = NAN;
    OK(hpt_session_set_tensor(s, name, x, n));
    free(x);
}
TEST_LIMIT(non_finite_steps, 120) {
    hpt_context *ctx = fast_context();
    hpt_dataset *ds = toy_set(ctx, "", 30, 18, 3);
    float *before = malloc(1 << 16), *after = malloc(1 << 16), *queue0 = malloc(1 << 16), *queue1 = malloc(1 << 16),
        stat0[64], stat1[64];
    hpt_session *s = session(ctx, "steps=20", ds, NULL);
    steps(s, 2);
    poison(s, "q.layer2.0.conv1.weight", 32 * 16 * 9);
    OK(hpt_session_get_tensor(s, "k.layer1.0.conv1.weight", before, 16 * 16 * 9));
    OK(hpt_session_get_tensor(s, "q.bn1.running_mean", stat0, 16));
    OK(hpt_session_get_tensor(s, "queue", queue0, 320));
    FAILS(HPT_ERR_NUMERIC, "step 3", hpt_session_step(s, NULL));
    OK(hpt_session_get_tensor(s, "k.layer1.0.conv1.weight", after, 16 * 16 * 9));
    OK(hpt_session_get_tensor(s, "q.bn1.running_mean", stat1, 16));
    OK(hpt_session_get_tensor(s, "queue", queue1, 320));
    CHECK(!memcmp(before, after, 16 * 16 * 9 * 4) && !memcmp(stat0, stat1, 64) && !memcmp(queue0, queue1, 320 * 4));
    hpt_step_info i = {.struct_size = sizeof i};
    OK(hpt_session_get_info(s, &i));
    CHECK(i.step == 2);
    s = session(ctx, "steps=6 on_nonfinite=skip", ds, NULL);
    steps(s, 1);
    float *good = malloc(1 << 16);
    OK(hpt_session_get_tensor(s, "q.fc.2.weight", good, 16 * 128));
    poison(s, "q.fc.2.weight", 16 * 128);
    OK(hpt_session_step(s, &i));
    CHECK(i.skipped == 1 && i.step == 2 && isnan(i.loss));
    OK(hpt_session_set_tensor(s, "q.fc.2.weight", good, 16 * 128));
    OK(hpt_session_step(s, &i));
    CHECK(i.skipped == 1 && isfinite(i.loss));
    s = session(ctx, "steps=6 on_nonfinite=callback", ds, NULL);
    poison(s, "q.fc.2.weight", 16 * 128);
    seen w = {0, 2, 0};
    FAILS(HPT_ERR_CANCELLED, "callback", hpt_session_run(s, watch, &w));
    CHECK(w.calls == 2 && w.nans == 2);
}

static void note(void *user, int32_t level, const char *text) {
    (void)level;
    if (of_machine(text)) return;
    strncat(user, text, 900);
    strcat(user, "\n");
}
TEST_LIMIT(warnings, 120) {
    hpt_context *ctx = fast_context();
    char text[4000] = "";
    OK(hpt_context_set_log(ctx, note, text));
    hpt_session *s = session(ctx, "steps=60 moco_k=40 lr=0 weight_decay=0", toy_set(ctx, "", 30, 18, 3), NULL);
    CHECK(strstr(text, "moco_k=40 is more than the 30 images"));
    float *w = calloc(16 * 128, 4), b[16];
    for (int i = 0; i < 16; i++) b[i] = 1;
    OK(hpt_session_set_tensor(s, "q.fc.2.weight", w, 16 * 128));     /* every embedding is the same */
    OK(hpt_session_set_tensor(s, "q.fc.2.bias", b, 16));
    steps(s, 52);
    CHECK(strstr(text, "collapsing"));
}

TEST(run_cancel_and_end) {
    hpt_context *ctx = fast_context();
    hpt_model *m;
    hpt_session *s = session(ctx, "steps=6", toy_set(ctx, "", 30, 18, 3), &m);
    seen w = {0, 2, 0};
    FAILS(HPT_ERR_CANCELLED, "after step 2", hpt_session_run(s, watch, &w));
    OK(hpt_session_cancel(s));
    FAILS(HPT_ERR_CANCELLED, "cancelled", hpt_session_run(s, NULL, NULL));
    OK(hpt_session_run(s, NULL, NULL));
    CHECK(hpt_session_step(s, NULL) == HPT_END);
    OK(hpt_session_run(s, NULL, NULL));
    float a[432], b[432];       /* the model has received the weights */
    OK(hpt_model_get_tensor(m, "conv1.weight", a, 432));
    OK(hpt_session_get_tensor(s, "q.conv1.weight", b, 432));
    CHECK(!memcmp(a, b, sizeof a));
}

/* The n-th allocation of create - step - save - destroy fails, for every n: a status, and everything can be
 * destroyed. */
TEST_LIMIT(every_allocation_may_fail, 400) {
    hpt_context *ctx = context("reference", 1);
    char *dir = temp_dir(), *path = at(dir, "c");
    /* one: a batch made ahead may fail unseen */
    hpt_config *c = config(SMALL "steps=1 batch_size=2 bn_group=0 moco_dim=4 workers=1 arch=resnet10");
    uint8_t px[6 * 18 * 18 * 3];
    for (size_t i = 0; i < sizeof px; i++) px[i] = (uint8_t)hash_at(i, 1);
    int64_t n = 1, total = 0;
    for (;; n += n < 60 ? 1 : 7) {
        hpt_dataset *ds = NULL;
        hpt_model *m = NULL;
        hpt_session *s = NULL;
        hpt_result *r = NULL;
        hpt__alloc_test_fail(n, n % 2 == 0);
        hpt_status st = hpt_dataset_from_memory(ctx, c, px, 6, 18, 18, 3, NULL, &ds);
        if (!st) st = hpt_model_create(ctx, c, &m);
        if (!st) st = hpt_session_create(ctx, c, m, ds, &s);
        if (!st) st = hpt_session_step(s, NULL);
        if (!st) st = hpt_session_save(s, path);
        if (!st) st = hpt_file_info(path, &r);
        total = hpt__alloc_test_count();
        hpt__alloc_test_fail(0, 0);
        hpt_result_destroy(r);
        hpt_session_destroy(s);
        hpt_model_destroy(m);
        hpt_dataset_destroy(ds);
        if (!st) break;
        if (st != HPT_ERR_MEMORY) FAIL("allocation %lld: %s (%s)", (long long)n, hpt_status_name(st), hpt_last_error());
    }
    printf("  %lld allocations in all\n", (long long)total);
    CHECK(n >= total);
}

static void *train_thread(void *arg) {
    final_weights(context("onednn", 1), "steps=20", arg);
    return NULL;
}
TEST(two_sessions_in_two_threads) {
    hpt_context *probe = fast_context();
    hpt_context_destroy(probe);
    pthread_t t[2];
    size_t n = 64 * 64 * 9 * 4;
    float *alone = malloc(n), *both[2] = {malloc(n), malloc(n)};
    final_weights(context("onednn", 1), "steps=20", alone);
    for (int i = 0; i < 2; i++) CHECK(!pthread_create(&t[i], NULL, train_thread, both[i]));
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    CHECK(!memcmp(alone, both[0], n) && !memcmp(alone, both[1], n));
}

TEST(refresh_bn_is_the_exact_average) {
    hpt_context *ctx = fast_context(), *slow = context("reference", 1);
    float a[16], b[16], v[16], before[432], after[432];
    hpt_config *c = config(SMALL "refresh_mode=cumulative bn_group=0 batch_size=10 precision=fp32");
    hpt_model *m, *r;
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_model_create(slow, c, &r));
    OK(hpt_model_get_tensor(m, "conv1.weight", before, 432));
    OK(hpt_model_refresh_bn(m, toy_set(ctx, "", 30, 18, 3), c, NULL));
    OK(hpt_model_refresh_bn(r, toy_set(slow, "", 30, 18, 3), c, NULL));
    OK(hpt_model_get_tensor(m, "bn1.running_mean", a, 16));
    OK(hpt_model_get_tensor(r, "bn1.running_mean", b, 16));
    OK(hpt_model_get_tensor(m, "bn1.running_var", v, 16));
    for (int i = 0; i < 16; i++) CHECK(fabsf(a[i] - b[i]) <= 1e-5f * (1 + fabsf(b[i])) && v[i] > 0 && v[i] != 1);
    OK(hpt_model_get_tensor(m, "conv1.weight", after, 432));
    CHECK(!memcmp(before, after, sizeof before));
}

TEST(linear_probe_against_pytorch) {
    json_t *f = fixture("probe");
    const char *names[2] = {"reference", "onednn"};
    for (int k = 0; k < 2; k++) {
        hpt_context *ctx = context(names[k], 2);
        if (!ctx) continue;
        float x[40 * 12];
        int32_t y[40];
        double acc;
        hpt_result *r;
        fill_f32(x, 480, 61, 1, 0);
        for (uint64_t i = 0; i < 40; i++) y[i] = (int32_t)(hash_at(i, 62) % 3);
        /* full batch, one rate; drops at 1/3 and 2/3 lie behind step 30 of 90; the first evaluation is at step 30 */
        hpt_config *c = config("probe_lr=0.3 probe_batch=40 probe_steps=90 probe_eval_every=30");
        OK(hpt_linear_features(ctx, c, 12, 3, x, y, 40, x, y, 40, NULL, NULL, 0, &r));
        size_t n;
        OK(hpt_result_json(r, NULL, 0, &n));
        char *text = malloc(n);
        OK(hpt_result_json(r, text, n, NULL));
        json_t *j = json_loads(text, 0, NULL), *first = json_array_get(json_object_get(j, "curve"), 0);
        acc = json_number_value(json_array_get(json_object_get(first, "val_top1"), 0));
        /* init differs by N(0, 0.01): one image at most */
        CHECK(integer(first, "step") == 30 && fabs(acc - 100.0 * integer(f, "right") / 40) <= 2.6);
    }
}
/* Wrong test labels change no choice: they are not looked at before it is made. */
TEST(probe_never_looks_at_test_labels) {
    hpt_context *ctx = context("reference", 1);
    float x[60 * 8];
    int32_t y[60], wrong[60];
    double a[4], b[4];
    const char *keys[4] = {"val_top1", "best_lr", "best_step", "test_top1"};
    for (int i = 0; i < 60; i++) {
        y[i] = i % 3;
        wrong[i] = 2 - i % 3;
        for (int d = 0; d < 8; d++) x[i * 8 + d] = (d == y[i] ? 1.0f : 0) + 0.8f * value_at((uint64_t)(i * 8 + d), 5);
    }
    hpt_config *c = config("probe_steps=60 probe_eval_every=10");
    hpt_result *r, *s;
    OK(hpt_linear_features(ctx, c, 8, 3, x, y, 30, x + 240, y + 30, 15, x + 360, y + 45, 15, &r));
    OK(hpt_linear_features(ctx, c, 8, 3, x, y, 30, x + 240, y + 30, 15, x + 360, wrong + 45, 15, &s));
    for (int i = 0; i < 4; i++) {
        OK(hpt_result_number(r, keys[i], &a[i]));
        OK(hpt_result_number(s, keys[i], &b[i]));
    }
    CHECK(a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] != b[3]);
    CHECK(a[3] > 60);
    FAILS(HPT_ERR_ARGUMENT, "outside", hpt_linear_features(ctx, c, 8, 2, x, y, 30, NULL, NULL, 0, NULL, NULL, 0, &r));
    hpt_config *bad = config("probe_lr=1,x");
    FAILS(HPT_ERR_OPTION, "probe_lr", hpt_linear_features(ctx, bad, 8, 3, x, y, 30, NULL, NULL, 0, NULL, NULL, 0, &r));
}
TEST(probe_on_images_with_and_without_augmentation) {
    hpt_context *ctx = fast_context();
    hpt_model *m;
    hpt_dataset *ds = toy_set(ctx, "", 90, 18, 3), *a, *b;
    hpt_result *r;
    double acc;
    OK(hpt_dataset_per_class(ds, 20, 1, &a, &b));
    hpt_config *c =
        config(SMALL "probe_steps=60 probe_eval_every=20 probe_batch=32 probe_scale=standard probe_lr=0.03,0.3");
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_model_linear(m, a, NULL, b, c, &r));
    OK(hpt_result_number(r, "test_top1", &acc));
    CHECK(acc > 80);        /* the patterns differ plainly; random features tell them apart */
    OK(hpt_config_set(c, "probe_augment", "1"));
    FAILS(HPT_ERR_ARGUMENT, "validation set", hpt_model_linear(m, a, NULL, b, c, &r));
    FAILS(HPT_ERR_ARGUMENT, "share 30 images", hpt_model_linear(m, a, b, b, c, &r));
    OK(hpt_config_set(c, "overlap", "allow"));
    OK(hpt_model_linear(m, a, b, b, c, &r));
    OK(hpt_result_number(r, "test_top1", &acc));
    CHECK(acc > 60);
}
TEST(stages_hand_the_backbone_on) {
    hpt_context *ctx = fast_context();
    char *dir = temp_dir();
    hpt_model *m, *next;
    hpt_session *s = session(ctx, "steps=3", toy_set(ctx, "", 30, 18, 3), &m);
    OK(hpt_session_run(s, NULL, NULL));
    OK(hpt_session_save(s, at(dir, "stage1")));
    hpt_config *c = config("seed=77 moco_dim=16"), *carry = config("seed=77 carry_head=1 moco_dim=16");
    float a[16 * 128], b[16 * 128], h[16 * 128];
    OK(hpt_model_get_tensor(m, "fc.2.weight", a, 16 * 128));
    OK(hpt_model_load(ctx, c, at(dir, "stage1"), &next, NULL));         /* a session's checkpoint starts a new stage */
    OK(hpt_model_get_tensor(next, "fc.2.weight", b, 16 * 128));
    CHECK(memcmp(a, b, sizeof a));                                      /* the head starts fresh */
    OK(hpt_model_load(ctx, carry, at(dir, "stage1"), &next, NULL));
    OK(hpt_model_get_tensor(next, "fc.2.weight", h, 16 * 128));
    CHECK(!memcmp(a, h, sizeof a));
    float x[432], y[432], queue[320], fresh[320];
    OK(hpt_model_get_tensor(m, "conv1.weight", x, 432));
    OK(hpt_model_get_tensor(next, "conv1.weight", y, 432));
    CHECK(!memcmp(x, y, sizeof x));
    /* key encoder and queue may come along too */
    hpt_config *more = config(SMALL "steps=3 carry_key=1 carry_queue=1");
    hpt_session *t;
    FAILS(HPT_ERR_OPTION, "carry_from", hpt_session_create(ctx, more, next, NULL, &t));
    OK(hpt_config_set(more, "carry_from", at(dir, "stage1")));
    OK(hpt_session_create(ctx, more, next, NULL, &t));
    hpt_step_info i = {.struct_size = sizeof i};
    OK(hpt_session_get_info(t, &i));
    CHECK(i.queue_fill == 20 && i.step == 0);
    OK(hpt_session_get_tensor(s, "queue", queue, 320));
    OK(hpt_session_get_tensor(t, "queue", fresh, 320));
    CHECK(!memcmp(queue, fresh, sizeof queue));
    OK(hpt_session_get_tensor(s, "k.conv1.weight", x, 432));
    OK(hpt_session_get_tensor(t, "k.conv1.weight", y, 432));
    CHECK(!memcmp(x, y, sizeof x));
    OK(hpt_config_set(more, "carry_from", "tests/fixtures/files/mixed_zip.pth"));
    FAILS(HPT_ERR_MISMATCH, "no queue", hpt_session_create(ctx, more, next, NULL, &t));
}
