/* SPDX-License-Identifier: MIT
 * A team of threads whose processors other processes use, too: who does which part of the work is chance, results
 * are not; and the log says so. */
#define _GNU_SOURCE
#include "support.h"
#include "core/busy.h"
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Five steps on two threads; the weights of the first convolution and of a deep one, and the loss. */
enum { FIRST = 16 * 3 * 9, DEEP = 128 * 128 * 9 };
static void train(const char *precision, float out[FIRST + DEEP + 1]) {
    enum { N = 8, SIZE = 16 };
    static float x[N * 3 * SIZE * SIZE], y[N * 3 * SIZE * SIZE];
    hpt_context *ctx = context("onednn", 2);
    if (!ctx) SKIP("no oneDNN");
    hpt_config *c = config("arch=resnet10 width=16 stem=small image_size=16 batch_size=8 moco_k=64 steps=5 seed=3");
    hpt_model *m;
    hpt_session *s;
    hpt_step_info info = {.struct_size = sizeof info};
    set(c, precision);
    unsigned seed = 5;
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
        x[i] = (float)(seed = seed * 1664525u + 1013904223u) / 2147483648.0f - 1;
        y[i] = (float)(seed = seed * 1664525u + 1013904223u) / 2147483648.0f - 1;
    }
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_session_create(ctx, c, m, NULL, &s));
    for (int i = 0; i < 5; i++) OK(hpt_session_step_images(s, x, y, &info));
    OK(hpt_session_sync(s));
    OK(hpt_model_get_tensor(m, "conv1.weight", out, FIRST));
    OK(hpt_model_get_tensor(m, "layer4.0.conv2.weight", out + FIRST, DEEP));
    out[FIRST + DEEP] = (float)info.loss;
    hpt_session_destroy(s);
    hpt_model_destroy(m);
    hpt_config_destroy(c);
    hpt_context_destroy(ctx);
}

static void begin_busy(pid_t *busy, int n) {
    for (int i = 0; i < n; i++)
        if ((busy[i] = fork()) == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (volatile unsigned long k = 0;; k++) { }
        }
}
static void end_busy(const pid_t *busy, int n) {
    for (int i = 0; i < n; i++) {
        kill(busy[i], SIGKILL);
        waitpid(busy[i], NULL, 0);
    }
}

TEST(results_beside_busy_processes_are_those_of_a_quiet_machine) {
    static float alone[FIRST + DEEP + 1], beside[FIRST + DEEP + 1];
    pid_t busy[4];
    train("precision=fp32", alone);
    begin_busy(busy, 4);
    for (int round = 0; round < 2; round++) {
        memset(beside, 0, sizeof beside);
        train("precision=fp32", beside);
        if (memcmp(alone, beside, sizeof alone)) FAIL("round %d: other weights", round);
    }
    end_busy(busy, 4);
}

TEST(busy_is_waiting_and_not_working) {
    static const struct { double wall, waited, cpu; int threads, busy; } all[] = {
        {1000, 0, 2000, 2, 0},      /* quiet */
        {1000, 30, 900, 2, 0},      /* quiet, half of the time on one thread: reading, waiting for images */
        {1000, 980, 1990, 2, 0},    /* two image threads beside two compute threads, on processors of our own */
        {1000, 500, 1000, 2, 0},    /* on the border, which does not count */
        {1000, 800, 1500, 2, 0},
        {1000, 900, 1100, 2, 1},    /* one busy process beside two threads */
        {1000, 700, 300, 1, 1},
        {4000, 1900, 3000, 2, 0},   /* a long window is judged like a short one */
        {4000, 2100, 3000, 2, 1},
        {0, 1, 0, 2, 0}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (hpt__busy_rule(all[i].wall, all[i].waited, all[i].cpu, all[i].threads) != all[i].busy) FAIL("row %zu", i);
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
/* The note comes once a context, in a run and in an evaluation, with the advice only where every processor has a
 * thread. */
typedef struct heard { int notes, level; char text[300]; } heard;
static void hear(void *user, int32_t level, const char *text) {
    heard *h = user;
    if (!strstr(text, "the machine is busy: ")) return;
    h->notes++;
    h->level = level;
    snprintf(h->text, sizeof h->text, "%s", text);
}
static int32_t soon(void *user, const hpt_step_info *i) {
    (void)i;
    return ((heard *)user)->notes > 0;
}
static int32_t told(void *user, const hpt_progress *p) {
    (void)p;
    return ((heard *)user)->notes > 0;
}
static void beside_busy(int processors, int threads, int evaluation) {
    cpu_set_t all, some;
    pid_t busy[8];
    CHECK(!sched_getaffinity(0, sizeof all, &all));
    CPU_ZERO(&some);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&some) < processors; i++)
        if (CPU_ISSET(i, &all)) CPU_SET(i, &some);
    if (CPU_COUNT(&some) < processors || sched_setaffinity(0, sizeof some, &some))
        SKIP("fewer than two processors may be used here");
    hpt_context *ctx = context("reference", threads);
    hpt_config *c =
        config("arch=resnet10 width=16 stem=small image_size=16 batch_size=8 moco_k=64 bn_group=4 steps=1000000 "
               "probe_steps=1000000 "
                           "probe_augment=1 probe_batch=8 overlap=allow workers=1");
    hpt_dataset *ds = toy_set(ctx, "", 64, 16, 4);
    hpt_model *m;
    heard h = {0};
    OK(hpt_context_set_log(ctx, hear, &h));
    OK(hpt_model_create(ctx, c, &m));
    begin_busy(busy, 4 * processors);
    if (evaluation) {
        hpt_result *r = NULL;
        OK(hpt_context_set_progress(ctx, told, &h));
        CHECK(hpt_model_linear(m, ds, ds, NULL, c, &r) == HPT_ERR_CANCELLED);
    } else {
        hpt_session *s;
        OK(hpt_session_create(ctx, c, m, ds, &s));
        CHECK(hpt_session_run(s, soon, &h) == HPT_ERR_CANCELLED);
        double begin = seconds();
        while (seconds() < begin + 2.5) {       /* longer than two looks */
            CHECK(hpt_session_run(s, soon, &h) == HPT_ERR_CANCELLED);
        }
        hpt_session_destroy(s);
    }
    end_busy(busy, 4 * processors);
    printf("%s\n", h.text);
    CHECK(h.notes == 1 && h.level == 1);
    CHECK(!strstr(h.text, "threads=1 would be faster") == (threads == 1));
    hpt_model_destroy(m);
    hpt_dataset_destroy(ds);
    hpt_config_destroy(c);
    hpt_context_destroy(ctx);
    CHECK(!sched_setaffinity(0, sizeof all, &all));
}
static void can_be_read(void) {
    FILE *f = fopen("/proc/thread-self/schedstat", "r");
    if (!f) SKIP("this kernel does not say how long threads waited (no schedstat)");
    fclose(f);
}
TEST_LIMIT(a_busy_machine_is_named_in_a_run, 120) {
    can_be_read();
    beside_busy(1, 1, 0);
}
TEST_LIMIT(a_busy_machine_is_named_in_an_evaluation, 120) {
    can_be_read();
    beside_busy(2, 2, 1);
}
