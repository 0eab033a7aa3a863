/* SPDX-License-Identifier: MIT
 * Calls that take long tell how far they are and can be stopped: what they then keep goes on to the very result of
 * an undisturbed call. */
#define _GNU_SOURCE
#include "shell.h"
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#define NET "arch=resnet10 width=16 stem=small image_size=16 batch_size=16 bn_group=8 moco_k=32 moco_dim=16 seed=3 "
#define LONG NET "probe_steps=20 probe_eval_every=7 probe_batch=16 probe_augment=1 ft_lr=0.01,0.1 ft_length=6 " \
    "ft_batch=16 ft_micro=8 ft_eval_every=4 steps=8 monitor_every=3 overlap=allow"

/* What the host is told, and when it wants an end: at the stop_at-th time it is asked. */
typedef struct host { int calls, stop_at, bad; int32_t phases; uint64_t last; double begin, worst; } host;
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static int32_t told(void *user, const hpt_progress *p) {
    host *h = user;
    h->calls++;
    if (p->phase >= 1 && p->phase < 31) h->phases |= 1 << p->phase;
    h->bad |= p->struct_size != sizeof *p || !p->name[0] || (p->total && p->done > p->total) || p->seconds_left < 0;
    return h->calls >= h->stop_at && h->stop_at;
}

typedef struct world { hpt_context *ctx; hpt_config *c; hpt_dataset *train, *val; hpt_model *m; char *dir; } world;
static void open_world(world *w, const char *backend, const char *more) {
    w->ctx = context(backend, 1);
    w->dir = temp_dir();
    char text[900];
    snprintf(text, sizeof text, LONG " %s", more);
    w->c = config(text);
    w->train = toy_set(w->ctx, "", 64, 16, 4);
    w->val = toy_set(w->ctx, "", 32, 16, 4);
    OK(hpt_model_create(w->ctx, w->c, &w->m));
}
static void close_world(world *w) {
    hpt_model_destroy(w->m);
    hpt_dataset_destroy(w->train);
    hpt_dataset_destroy(w->val);
    hpt_config_destroy(w->c);
    hpt_context_destroy(w->ctx);
}

/* One long call each; what it found as text. */
enum { FEATURES, PROBE, FINETUNE, KNN, REFRESH, SEARCH, CALLS };
static const char *const names[CALLS] = {"features", "probe", "finetune", "knn", "refresh", "search"};
static char *json_of(hpt_result *r) {
    size_t n = 0;
    OK(hpt_result_json(r, NULL, 0, &n));
    char *text = malloc(n);
    OK(hpt_result_json(r, text, n, NULL));
    hpt_result_destroy(r);
    return text;
}
static hpt_status call(world *w, int which, char **out) {
    hpt_result *r = NULL;
    hpt_model *m = NULL;
    hpt_status st = HPT_OK;
    float *x = calloc(64 * 128, 4);
    if (which == FEATURES) {
        st = hpt_model_features(w->m, w->train, w->c, x, 64 * 128);
        if (!st && asprintf(out, "%.9g %.9g", (double)x[0], (double)x[64 * 128 - 1]) < 0) FAIL("memory");
    } else if (which == PROBE) st = hpt_model_linear(w->m, w->train, w->val, w->val, w->c, &r);
    else if (which == FINETUNE) st = hpt_model_finetune(w->m, w->train, w->val, w->val, w->c, NULL, &r);
    else if (which == KNN) st = hpt_model_knn(w->m, w->train, w->val, w->c, &r);
    else if (which == REFRESH) {
        if (!(st = hpt_model_clone(w->m, &m))) st = hpt_model_refresh_bn(m, w->train, w->c, &r);
        float v = 0, all[16];
        if (!st) st = hpt_model_get_tensor(m, "bn1.running_var", all, 16);
        for (int i = 0; i < 16 && !st; i++) v += all[i] * (float)(i + 1);
        if (!st && asprintf(out, "%.9g", (double)v) < 0) FAIL("memory");
        hpt_result_destroy(r);
        r = NULL;
    } else {
        hpt_dataset *const sources[] = {w->train, w->val};
        const char *const titles[] = {"a", "b"};
        st = hpt_source_search(w->ctx, w->c, w->m, sources, titles, 2, w->train, w->val, NULL, NULL, &m, &r);
    }
    if (!st && r) *out = json_of(r);
    hpt_model_destroy(m);
    free(x);
    return st;
}
/* A search takes different seconds each time, and which part of its work was kept says how many it did. */
static void without_times(char *text) {
    for (char *p = text; (p = strstr(p, "seconds"));) {
        char *end = p;
        while (*end && *end != ',' && *end != '}') end++;
        memmove(p, end, strlen(end) + 1);
    }
}

/* Each call is stopped at every instant at which the host is asked, and called again until it is done. */
static void stop_and_go(const char *backend) {
    for (int which = 0; which < CALLS; which++) {
        world w;
        char more[400] = "", *want = NULL, *got = NULL;
        open_world(&w, backend, "");
        OK(call(&w, which, &want));
        without_times(want);
        if (which == PROBE || which == FINETUNE) snprintf(more, sizeof more, "%s/work", w.dir);
        if (*more) OK(hpt_config_set(w.c, "work_file", more));
        if (which == SEARCH) OK(hpt_config_set(w.c, "search_dir", w.dir));
        int stops = 0;
        hpt_status st = HPT_ERR_CANCELLED;
        for (int round = 0; st == HPT_ERR_CANCELLED; round++) {
            /* asked at least each tenth of a second: how often depends on the machine, so the call is cancelled from
             * outside as well */
            host h = {.stop_at = round < 8 && round % 2 ? 1 + round / 2 : 0};
            OK(hpt_context_set_progress(w.ctx, told, &h));
            /* the next call: at its first question */
            if (round < 12 && round % 2 == 0) OK(hpt_context_cancel(w.ctx));
            st = call(&w, which, &got);
            if (st && st != HPT_ERR_CANCELLED) FAIL("%s: %s", names[which], hpt_last_error());
            if (st && !strstr(hpt_last_error(), "cancel")) FAIL("%s: '%s'", names[which], hpt_last_error());
            stops += st == HPT_ERR_CANCELLED;
            CHECK(!h.bad);
        }
        without_times(got);
        if (strcmp(want, got)) FAIL("%s after %d stops:\n%s\n%s", names[which], stops, want, got);
        printf("%s: %d stops\n", names[which], stops);
        CHECK(stops >= 6);
        close_world(&w);
    }
}
TEST_LIMIT(stopped_calls_go_on_reference, 240) { stop_and_go("reference"); }

/* A step that is given up between two operations changes nothing, and the run ends in the same bits. The host stops
 * it at random times. */
static void run_to_end(world *w, hpt_session *s, unsigned *seed, int *stops) {
    for (hpt_status st = HPT_ERR_CANCELLED; st == HPT_ERR_CANCELLED;) {
        host h = {.stop_at = seed ? 1 : 0};
        if (seed) {
            *seed = *seed * 1103515245u + 12345u;
            if (*stops < 15 && *seed >> 20 & 1) OK(hpt_context_cancel(w->ctx));
            if (*stops >= 15) h.stop_at = 0;
        }
        OK(hpt_context_set_progress(w->ctx, told, &h));
        st = hpt_session_run(s, NULL, NULL);
        if (st && st != HPT_ERR_CANCELLED) FAIL("%s", hpt_last_error());
        *stops += st == HPT_ERR_CANCELLED;
    }
    OK(hpt_context_set_progress(w->ctx, NULL, NULL));       /* h is gone */
}
static void same_file(const char *dir, const char *a, const char *b) { RUN("cmp %s/%s %s/%s", dir, a, dir, b); }
TEST_LIMIT(an_abandoned_step_changes_nothing, 240) {
    world w;
    open_world(&w, "reference", "image_size=32 batch_size=32");
    hpt_session *s;
    hpt_model *m;
    char path[300];
    int stops = 0;
    unsigned seed = 7;
    for (int cut = 0; cut < 2; cut++) {
        OK(hpt_model_clone(w.m, &m));
        OK(hpt_session_create(w.ctx, w.c, m, w.train, &s));
        OK(hpt_session_monitor(s, w.train, w.val));
        run_to_end(&w, s, cut ? &seed : NULL, &stops);
        snprintf(path, sizeof path, "%s/%s", w.dir, cut ? "cut" : "whole");
        OK(hpt_session_save(s, path));
        hpt_session_destroy(s);
        hpt_model_destroy(m);
    }
    printf("%d stops\n", stops);
    CHECK(stops >= 5);
    same_file(w.dir, "whole", "cut");
    close_world(&w);
}

/* From another thread, at any time: the call comes back soon. */
typedef struct other { world *w; useconds_t after; clockid_t work; _Atomic double at, work_at; } other;
static double seconds_of(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static void *canceller(void *arg) {
    other *o = arg;
    usleep(o->after);
    o->at = now();
    o->work_at = seconds_of(o->work);
    hpt_context_cancel(o->w->ctx);
    return NULL;
}
static pthread_t cancel_after(other *o, world *w, useconds_t after) {
    pthread_t t;
    *o = (other){.w = w, .after = after};
    CHECK(!pthread_getcpuclockid(pthread_self(), &o->work));
    CHECK(!pthread_create(&t, NULL, canceller, o));
    return t;
}
/* How long a stopped call went on: by the clock (the machine may be busy with other things), and in time that its
 * thread had a processor, which is what is promised. */
typedef struct delay { double clock, work; } delay;
static void back(delay *worst, other *o, pthread_t canceller, hpt_status st) {
    delay end = {now(), seconds_of(o->work)};
    pthread_join(canceller, NULL);
    if (st && st != HPT_ERR_CANCELLED) FAIL("%s", hpt_last_error());
    if (!st || end.clock < o->at) return;       /* done before, or stopped by a request that had come too late */
    if (end.clock - o->at > worst->clock) worst->clock = end.clock - o->at;
    if (end.work - o->work_at > worst->work) worst->work = end.work - o->work_at;
}
enum { SOON = 5 };
#ifdef __SANITIZE_ADDRESS__
static const double soon_of_work = 2;       /* its checks and UBSan's make plain loops several times slower */
#else
static const double soon_of_work = 0.2;
#endif
static void came_back_soon(int stopped, const delay *worst) {
    printf("%d stopped, the slowest after %.0f ms, %.0f ms of work\n", stopped, 1000 * worst->clock,
           1000 * worst->work);
    CHECK(worst->work < soon_of_work && worst->clock < SOON);
}
TEST_LIMIT(cancel_from_another_thread, 240) {
    static const char *const big = "image_size=64 batch_size=32 bn_group=32 steps=40 ft_length=30 probe_steps=60";
    delay worst = {0, 0};
    int stopped = 0;
    for (int which = 0; which < CALLS; which++)
        for (useconds_t after = 20000; after < 200000; after = after * 3) {
            world w;
            char *got = NULL;
            open_world(&w, "reference", big);
            other o;
            pthread_t t = cancel_after(&o, &w, after);
            hpt_status st = call(&w, which, &got);
            back(&worst, &o, t, st);
            stopped += st == HPT_ERR_CANCELLED;
            close_world(&w);
        }
    came_back_soon(stopped, &worst);
    CHECK(stopped >= CALLS);
}
/* A network is made, read, readied for training and a checkpoint read: asked at its first question each comes back, and
 * called again it does what it would have done. */
TEST(preparing_stops_and_goes) {
    world w;
    char path[2][300];
    float want[16], got[16];
    open_world(&w, "reference", "");
    snprintf(path[0], 300, "%s/model.safetensors", w.dir);
    snprintf(path[1], 300, "%s/run.pth", w.dir);
    OK(hpt_model_save(w.m, path[0], NULL));
    hpt_session *s = NULL, *t = NULL;
    OK(hpt_session_create(w.ctx, w.c, w.m, w.train, &s));
    OK(hpt_session_step(s, NULL));
    OK(hpt_session_save(s, path[1]));
    OK(hpt_session_get_tensor(s, "q.layer1.0.bn1.bias", want, 16));
    hpt_session_destroy(s);
    s = NULL;
    for (int again = 0; again < 2; again++) {
        hpt_model *made = NULL, *read = NULL;
        hpt_status st[4];
        for (int i = 0; i < 3; i++) {
            if (!again) OK(hpt_context_cancel(w.ctx));
            st[i] = i == 0 ? hpt_model_create(w.ctx, w.c, &made) : i == 1
                ? hpt_model_load(w.ctx, w.c, path[0], &read, NULL) : hpt_session_create(w.ctx, w.c, w.m, w.train, &s);
        }
        if (!again) OK(hpt_session_create(w.ctx, w.c, w.m, w.train, &t));
        if (!again) OK(hpt_context_cancel(w.ctx));
        st[3] = hpt_session_resume(t, path[1]);
        for (int i = 0; i < 4; i++)
            if (st[i] != (again ? HPT_OK : HPT_ERR_CANCELLED)) FAIL("call %d: %s", i, hpt_status_name(st[i]));
        CHECK(again == (made != NULL) && again == (read != NULL) && again == (s != NULL));
        hpt_model_destroy(made);
        hpt_model_destroy(read);
    }
    hpt_step_info info = {.struct_size = sizeof info};
    OK(hpt_session_get_info(t, &info));
    CHECK(info.step == 1);
    OK(hpt_session_get_tensor(t, "q.layer1.0.bn1.bias", got, 16));
    CHECK(!memcmp(want, got, sizeof want));
    hpt_session_destroy(s);
    hpt_session_destroy(t);
    close_world(&w);
}
/* The same from another thread at any instant, with networks that take a while. */
TEST_LIMIT(preparing_is_cancelled_from_another_thread, 240) {
    delay worst = {0, 0};
    int stopped = 0;
    world w;
    open_world(&w, "reference", "");
    OK(hpt_config_set(w.c, "arch", "resnet50"));
    OK(hpt_config_set(w.c, "width", "64"));
    for (int round = 0; round < 12; round++) {
        hpt_model *m = NULL;
        hpt_session *s = NULL;
        other o;
        if (round % 2)
            while (hpt_model_create(w.ctx, w.c, &m)) CHECK(!m);     /* a request that came too late may stop this one */
        pthread_t t = cancel_after(&o, &w, (useconds_t)(1000 + 60000 * (round / 2)));
        hpt_status st = round % 2 ? hpt_session_create(w.ctx, w.c, m, w.train, &s) : hpt_model_create(w.ctx, w.c, &m);
        back(&worst, &o, t, st);
        stopped += st == HPT_ERR_CANCELLED;
        hpt_session_destroy(s);
        hpt_model_destroy(m);
    }
    came_back_soon(stopped, &worst);
    CHECK(stopped >= 4);
    close_world(&w);
}
TEST_LIMIT(progress_is_told, 120) {
    world w;
    char *got = NULL;
    host h = {0};
    open_world(&w, "reference", "image_size=48 probe_augment=0");
    OK(hpt_context_set_progress(w.ctx, told, &h));
    OK(call(&w, PROBE, &got));
    CHECK(h.calls > 2 && !h.bad);
    CHECK(h.phases & 1 << HPT_PHASE_FEATURES);
    OK(hpt_context_set_progress(w.ctx, NULL, NULL));
    FAILS(HPT_ERR_ARGUMENT, "ctx", hpt_context_set_progress(NULL, told, &h));
    FAILS(HPT_ERR_ARGUMENT, "ctx", hpt_context_cancel(NULL));
    close_world(&w);
}
