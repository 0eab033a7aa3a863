/* SPDX-License-Identifier: MIT
 * bench/step CONFIG PRECISION ALGO ROUNDS - times whole MoCo-v2 steps on views in memory (no image loading), after
 * one warm-up step. Prints one line of JSON: the step times in ms, the peak resident memory in MiB. CONFIG: rn18-32
 * rn18-64 rn18-224 rn50-32 rn50-64 rn50-224 enb2-224. */
#define _GNU_SOURCE
#include "common.h"
#include <string.h>
#include <sys/resource.h>

static const struct { const char *name, *arch, *stem; int size, batch, k; } configs[] = {
    {"rn18-32", "resnet18", "small", 32, 128, 4096},   {"rn18-64", "resnet18", "imagenet", 64, 64, 4096},
    {"rn18-224", "resnet18", "imagenet", 224, 16, 65536}, {"rn50-32", "resnet50", "small", 32, 128, 4096},
    {"rn50-64", "resnet50", "imagenet", 64, 64, 4096}, {"rn50-224", "resnet50", "imagenet", 224, 8, 65536},
    {"enb2-224", "efficientnet_b2", "imagenet", 224, 8, 65536}};

int main(int argc, char **argv) {
    double start = now_ms(CLOCK_MONOTONIC);
    if (argc != 5) return fprintf(stderr, "usage: step CONFIG fp32|bf16 auto|direct ROUNDS\n"), 2;
    size_t c = 0, n = sizeof configs / sizeof *configs;
    while (c < n && strcmp(configs[c].name, argv[1])) c++;
    if (c == n) return fprintf(stderr, "no configuration %s\n", argv[1]), 2;
    hpt_config *cfg;
    hpt_context *ctx;
    hpt_model *m;
    hpt_session *s;
    ok(hpt_config_create(NULL, &cfg));
    ok(hpt_config_set(cfg, "arch", configs[c].arch));
    ok(hpt_config_set(cfg, "stem", configs[c].stem));
    ok(hpt_config_set(cfg, "precision", argv[2]));
    ok(hpt_config_set(cfg, "conv_algo", argv[3]));
    ok(hpt_config_set_int(cfg, "image_size", configs[c].size));
    ok(hpt_config_set_int(cfg, "batch_size", configs[c].batch));
    ok(hpt_config_set_int(cfg, "moco_k", configs[c].k));
    ok(hpt_config_set_int(cfg, "bn_group", 0));
    ok(hpt_config_set_int(cfg, "steps", 1000));
    ok(hpt_context_create(cfg, &ctx));
    ok(hpt_model_create(ctx, cfg, &m));
    ok(hpt_session_create(ctx, cfg, m, NULL, &s));
    size_t count = (size_t)configs[c].batch * 3 * (size_t)configs[c].size * (size_t)configs[c].size;
    float *x = malloc(count * 4), *y = malloc(count * 4);
    unsigned seed = 1;
    for (size_t i = 0; i < count; i++) {
        x[i] = (float)(seed = seed * 1664525u + 1013904223u) / 2147483648.0f - 1;
        y[i] = (float)(seed = seed * 1664525u + 1013904223u) / 2147483648.0f - 1;
    }
    hpt_step_info info = {.struct_size = sizeof info};
    ok(hpt_session_step_images(s, x, y, &info));
    double first = now_ms(CLOCK_MONOTONIC) - start;
    printf("{\"config\": \"%s\", \"precision\": \"%s\", \"algo\": \"%s\", \"first_ms\": %.1f, \"ms\": [", argv[1],
           argv[2], argv[3], first);
    for (int i = 0; i < atoi(argv[4]); i++) {
        ok(hpt_session_step_images(s, x, y, &info));
        printf("%s%.1f", i ? ", " : "", info.step_ms);
    }
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    printf("], \"loss\": %.5f, \"peak_mib\": %ld}\n", info.loss, r.ru_maxrss / 1024);
    hpt_session_destroy(s);
    hpt_model_destroy(m);
    hpt_context_destroy(ctx);
    hpt_config_destroy(cfg);
    free(x);
    free(y);
    return 0;
}
