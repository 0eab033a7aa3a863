/* SPDX-License-Identifier: MIT
 * A team of threads whose processors other processes use, too: who does which part of the work is chance, results are not. Nothing is timed. */
#define _GNU_SOURCE
#include "support.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
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

TEST(results_beside_busy_processes_are_those_of_a_quiet_machine) {
    static float alone[FIRST + DEEP + 1], beside[FIRST + DEEP + 1];
    pid_t busy[4];
    train("precision=fp32", alone);
    for (int i = 0; i < 4; i++)
        if ((busy[i] = fork()) == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (volatile unsigned long k = 0;; k++) { }
        }
    for (int round = 0; round < 2; round++) {
        memset(beside, 0, sizeof beside);
        train("precision=fp32", beside);
        if (memcmp(alone, beside, sizeof alone)) FAIL("round %d: other weights", round);
    }
    for (int i = 0; i < 4; i++) {
        kill(busy[i], SIGKILL);
        waitpid(busy[i], NULL, 0);
    }
}
