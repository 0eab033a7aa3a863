/* SPDX-License-Identifier: MIT
 * bench/busy NETWORK THREADS SECONDS BUSY - steps of a whole MoCo-v2 step per second beside BUSY other processes
 * that do nothing but compute, each at the same priority, in a session of its own. NETWORK: tiny (ResNet-18 of width
 * 16, 32 px, batch 32), rn18-64 (ResNet-18, 64 px, batch 32). Prints one line of JSON: median and shortest step in
 * ms, steps a second, processor time over wall time. Views are in memory; the reference is the same line with BUSY
 * 0. */
#define _GNU_SOURCE
#include "common.h"
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static const struct { const char *name, *stem; int width, size, batch; } networks[] = {
    {"tiny", "small", 16, 32, 32}, {"rn18-64", "imagenet", 64, 64, 32}};

/* A process that computes and nothing else, in a session of its own as another user's would be (schedulers that
 * group by session then share the processors between the two groups), with this session's weight. */
static void compute_beside(void) {
    int nice = 0;
    FILE *f = fopen("/proc/self/autogroup", "r");
    if (f && fscanf(f, "/autogroup-%*d nice %d", &nice) != 1) nice = 0;
    if (f) fclose(f);
    if (fork()) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setsid();
    if (nice && (f = fopen("/proc/self/autogroup", "w"))) {
        fprintf(f, "%d", nice);
        fclose(f);
    }
    for (volatile unsigned long k = 0;; k++) { }
}
static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc != 5) return fprintf(stderr, "usage: busy tiny|rn18-64 THREADS SECONDS BUSY\n"), 2;
    size_t c = 0, n = sizeof networks / sizeof *networks;
    while (c < n && strcmp(networks[c].name, argv[1])) c++;
    if (c == n) return fprintf(stderr, "no network %s\n", argv[1]), 2;
    int busy = atoi(argv[4]);
    double seconds = atof(argv[3]);
    hpt_config *cfg;
    hpt_context *ctx;
    hpt_model *m;
    hpt_session *s;
    ok(hpt_config_create(NULL, &cfg));
    ok(hpt_config_set(cfg, "arch", "resnet18"));
    ok(hpt_config_set(cfg, "stem", networks[c].stem));
    ok(hpt_config_set(cfg, "precision", "fp32"));
    ok(hpt_config_set(cfg, "threads", argv[2]));
    ok(hpt_config_set_int(cfg, "width", networks[c].width));
    ok(hpt_config_set_int(cfg, "image_size", networks[c].size));
    ok(hpt_config_set_int(cfg, "batch_size", networks[c].batch));
    ok(hpt_config_set_int(cfg, "moco_k", 1024));
    ok(hpt_config_set_int(cfg, "steps", 1000000));
    ok(hpt_context_create(cfg, &ctx));
    ok(hpt_model_create(ctx, cfg, &m));
    ok(hpt_session_create(ctx, cfg, m, NULL, &s));
    size_t count = (size_t)networks[c].batch * 3 * (size_t)networks[c].size * (size_t)networks[c].size;
    float *x = malloc(count * 4), *y = malloc(count * 4);
    unsigned seed = 1;
    for (size_t i = 0; i < count; i++) {
        x[i] = (float)(seed = seed * 1664525u + 1013904223u) / 2147483648.0f - 1;
        y[i] = (float)(seed = seed * 1664525u + 1013904223u) / 2147483648.0f - 1;
    }
    hpt_step_info info = {.struct_size = sizeof info};
    for (int i = 0; i < 2; i++) ok(hpt_session_step_images(s, x, y, &info));
    for (int i = 0; i < busy; i++) compute_beside();
    enum { MOST = 100000 };
    static double ms[MOST];
    int steps = 0;
    double t0 = now_ms(CLOCK_MONOTONIC), cpu0 = now_ms(CLOCK_PROCESS_CPUTIME_ID), t1 = t0;
    while (steps < MOST && (t1 - t0 < seconds * 1e3 || steps < 3)) {
        ok(hpt_session_step_images(s, x, y, &info));
        double now = now_ms(CLOCK_MONOTONIC);
        ms[steps++] = now - t1;
        t1 = now;
    }
    double cpu = now_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu0;
    qsort(ms, (size_t)steps, sizeof *ms, by_value);
    printf("{\"network\": \"%s\", \"threads\": %s, \"busy\": %d, \"steps\": %d, \"steps_per_s\": %.2f, \"median_ms\": "
           "%.2f, \"min_ms\": %.2f, \"cpu_over_wall\": %.2f, \"loss\": %.6f}\n", argv[1], argv[2], busy, steps,
           steps * 1e3 / (t1 - t0), ms[steps / 2], ms[0], cpu / (t1 - t0), info.loss);
    hpt_session_destroy(s);
    hpt_model_destroy(m);
    hpt_context_destroy(ctx);
    hpt_config_destroy(cfg);
    free(x);
    free(y);
    return 0;
}
