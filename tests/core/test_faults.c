/* SPDX-License-Identifier: MIT
 * Faults from outside: a fork of a busy process, allocations that fail inside jansson, the host's signals and
 * variables. */
#define _GNU_SOURCE
#include "support.h"
#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static _Atomic int done;
static void *make_and_destroy(void *arg) {
    (void)arg;
    while (!done) {
        hpt_config *c[100];
        for (int i = 0; i < 100; i++) OK(hpt_config_create(NULL, &c[i]));
        for (int i = 0; i < 100; i++) hpt_config_destroy(c[i]);
    }
    return NULL;
}
/* The table of handles is whole and free in the child, whatever another thread was doing at the time. */
TEST(fork_of_a_busy_process) {
#ifdef __SANITIZE_ADDRESS__
    SKIP("the sanitizer's own allocator does not survive a fork beside busy threads");
#endif
    pthread_t t[2];
    hpt_context *ctx = context("reference", 1);
    hpt_config *old = config("steps=3");
    for (int i = 0; i < 2; i++) CHECK(!pthread_create(&t[i], NULL, make_and_destroy, NULL));
    fflush(stdout);
    for (int k = 0; k < 200; k++) {
        pid_t p = fork();
        if (!p) {
            hpt_config *c;
            alarm(20);
            int ok = hpt_config_set(old, "steps", "4") == HPT_ERR_FORKED;
            hpt_config_destroy(old);
            hpt_context_destroy(ctx);       /* the parent's threads and device are not the child's to end */
            for (int i = 0; i < 300; i++) {
                ok &= hpt_config_create(NULL, &c) == HPT_OK && hpt_config_set(c, "steps", "4") == HPT_OK;
                hpt_config_destroy(c);
            }
            _exit(ok ? 0 : 1);
        }
        int st;
        CHECK(waitpid(p, &st, 0) == p);
        if (!WIFEXITED(st) || WEXITSTATUS(st)) FAIL("child %d: %s", k, WIFSIGNALED(st) ? "hung" : "wrong status");
    }
    done = 1;
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    OK(hpt_config_set(old, "steps", "4"));
}

/* ---- jansson's allocations ---- */

static _Atomic long countdown, counted;
static void *counting(size_t n) {
    counted++;
    return countdown > 0 && --countdown == 0 ? NULL : malloc(n);
}
static hpt_context *ctx;
static hpt_model *m;
static hpt_dataset *train, *val;
static hpt_config *c;
static hpt_session *session;
static char file[100];
static hpt_status linear(hpt_result **r) { return hpt_model_linear(m, train, val, val, c, r); }
static hpt_status knn(hpt_result **r) { return hpt_model_knn(m, train, val, c, r); }
static hpt_status finetune(hpt_result **r) { return hpt_model_finetune(m, train, val, val, c, NULL, r); }
static hpt_status refresh(hpt_result **r) { return hpt_model_refresh_bn(m, train, c, r); }
static hpt_status report(hpt_result **r) { return hpt_session_result(session, r); }
static hpt_status info(hpt_result **r) { return hpt_file_info(file, r); }

static char *text_of(hpt_result *r) {
    static char text[1 << 19];
    OK(hpt_result_json(r, text, sizeof text, NULL));
    hpt_result_destroy(r);
    return text;
}
TEST_LIMIT(results_lose_no_entries, 300) {
    static const struct { const char *name; hpt_status (*call)(hpt_result **r); } calls[] = {{"linear", linear},
        {"knn", knn}, {"finetune", finetune}, {"refresh", refresh}, {"session", report}, {"info", info}};
    ctx = context("reference", 1);
    c = config("arch=resnet10 width=16 stem=small image_size=8 batch_size=4 bn_group=2 moco_k=8 steps=2 overlap=allow "
               "probe_steps=3 probe_eval_every=1 probe_lr=1 ft_lr=0.01 ft_length=2 ft_batch=4 ft_micro=4 "
               "ft_eval_every=1");
    train = toy_set(ctx, "", 8, 10, 2);
    val = toy_set(ctx, "", 6, 12, 2);
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_session_create(ctx, c, m, train, &session));
    snprintf(file, sizeof file, "%s/x.safetensors", temp_dir());
    OK(hpt_model_save(m, file, NULL));
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        hpt_result *r;
        json_set_alloc_funcs(counting, free);
        OK(calls[i].call(&r));      /* the first may leave its mark on the model */
        hpt_result_destroy(r);
        countdown = counted = 0;
        OK(calls[i].call(&r));
        long points = counted, lost = 0;
        char *whole = strdup(text_of(r));
        for (long k = 1; k <= points; k += points / 20 + 1) {
            countdown = k;
            hpt_status st = calls[i].call(&r);
            countdown = 0;
            if (st == HPT_ERR_MEMORY) lost++;
            /* jansson's reader does not say which it was */
            else if (st == HPT_ERR_FORMAT && calls[i].call == info) lost++;
            else if (st != HPT_OK)
                FAIL("%s, point %ld of %ld: %s: %s", calls[i].name, k, points, hpt_status_name(st), hpt_last_error());
            else if (strcmp(text_of(r), whole))
                FAIL("%s, point %ld of %ld: another result and no word", calls[i].name, k, points);
            OK(calls[i].call(&r));      /* and the next call is whole */
            if (strcmp(text_of(r), whole)) FAIL("%s after point %ld: another result", calls[i].name, k);
        }
        CHECK(lost > 0);
        free(whole);
    }
    /* a configuration as JSON */
    static char one[1 << 16], two[1 << 16];
    OK(hpt_config_json(c, NULL, one, sizeof one, NULL));
    for (long k = 1; k < 300; k += 7) {
        countdown = k;
        hpt_status st = hpt_config_json(c, NULL, two, sizeof two, NULL);
        countdown = 0;
        if (st ? st != HPT_ERR_MEMORY : strcmp(one, two)) FAIL("point %ld: %s", k, hpt_status_name(st));
    }
}

/* ---- the host's process ---- */

TEST(the_host_keeps_its_signals_and_signgam) {
    static const char *const backends[] = {"reference", "onednn"};
    for (int b = 0; b < 2; b++) {
        hpt_context *x = context(backends[b], 4);
        if (!x) continue;
        double a[3] = {1, 2, 3.5}, z[3] = {2, 2.5, 7}, t, dof, p;
        float mean[3], std[3];
        static float f[8 * 128];
        signgam = -77;
        OK(hpt_welch(a, 3, z, 3, &t, &dof, &p));
        CHECK(signgam == -77);
        hpt_dataset *ds = toy_set(x, "", 8, 10, 2);
        hpt_config *o = config("arch=resnet10 width=16 stem=small image_size=8 batch_size=4 workers=2");
        hpt_model *net;
        OK(hpt_dataset_stats(ds, mean, std));
        OK(hpt_model_create(x, o, &net));
        OK(hpt_model_features(net, ds, o, f, 8 * 128));
        /* every thread but this one blocks what can be blocked */
        DIR *d = opendir("/proc/self/task");
        int others = 0;
        for (struct dirent *e; d && (e = readdir(d));) {
            char path[300], line[200];
            if (e->d_name[0] == '.' || atoi(e->d_name) == (int)getpid()) continue;
            snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
            FILE *s = fopen(path, "r");
            unsigned long long mask = 0;
            while (s && fgets(line, sizeof line, s))
                if (sscanf(line, "SigBlk: %llx", &mask) == 1) break;
            if (s) fclose(s);
            others++;
            if (s && !(mask & 1ull << (SIGALRM - 1))) FAIL("%s: a thread of the library takes signals", backends[b]);
        }
        if (d) closedir(d);
        CHECK(b == 0 || others >= (sysconf(_SC_NPROCESSORS_ONLN) > 1));    /* never more than processors */
        hpt_context_destroy(x);
    }
}
