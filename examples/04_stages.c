/* SPDX-License-Identifier: MIT
 * 04: the hierarchy by function calls: base -> source -> target (batch norm only), then a probe, on made-up images,
 * in seconds. Introduces hpt_dataset_from_memory, hpt_session_step, hpt_session_sync, hpt_model_refresh_bn,
 * hpt_model_linear. */
#include <hpt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(call) do { if ((call) < 0) { fprintf(stderr, "%s: %s\n", #call, hpt_last_error()); exit(1); } } while (0)
enum { N = 240, SIDE = 20 };

/* Stripes: class = direction and width; the domain changes the colours. */
static hpt_dataset *stripes(hpt_context *ctx, int domain) {
    uint8_t *px = malloc((size_t)N * SIDE * SIDE * 3);
    int32_t labels[N];
    unsigned noise = (unsigned)domain + 1;
    hpt_dataset *ds;
    if (!px) exit(1);
    for (int i = 0; i < N; i++) {
        labels[i] = i % 4;
        for (int p = 0; p < SIDE * SIDE; p++) {
            int along = labels[i] & 1 ? p % SIDE : p / SIDE, on = (along + i / 4) / (labels[i] & 2 ? 4 : 2) & 1;
            for (int c = 0; c < 3; c++) {
                noise = noise * 1664525u + 1013904223u;
                px[((size_t)i * SIDE * SIDE + (size_t)p) * 3 + (size_t)c] =
                    (uint8_t)(on * (60 + 60 * ((c + domain) % 3)) + 40 + (noise >> 24) / 6);
            }
        }
    }
    OK(hpt_dataset_from_memory(ctx, NULL, px, N, SIDE, SIDE, 3, labels, &ds));
    free(px);
    return ds;
}

static void stage(hpt_context *ctx, hpt_config *cfg, hpt_model *model, hpt_dataset *data, const char *name,
                  const char *train) {
    hpt_session *s;
    hpt_step_info info;
    info.struct_size = sizeof info;
    OK(hpt_config_set(cfg, "train", train));
    OK(hpt_session_create(ctx, cfg, model, data, &s));
    while (hpt_session_step(s, &info) == HPT_OK) {}         /* the host owns the loop */
    OK(hpt_session_sync(s));                                /* the model now holds the trained weights */
    printf("%-22s %llu steps, loss %.3f (chance %.3f)\n", name, (unsigned long long)info.step, info.loss, info.chance);
    hpt_session_destroy(s);
}

int main(void) {
    hpt_config *cfg;
    hpt_context *ctx;
    hpt_model *model;
    hpt_dataset *base, *source, *target, *train, *test;
    hpt_result *result;
    double top1;
    static const char *const set[][2] = {{"arch", "resnet10"}, {"width", "16"}, {"stem", "small"},
                                         {"image_size", "16"}, {"batch_size", "32"}, {"bn_group", "16"},
                                         {"moco_k", "128"}, {"moco_m", "0.99"}, {"steps", "20"},
                                         {"probe_steps", "100"}, {"probe_scale", "standard"}, {"probe_lr", "0.03,0.3"}};
    OK(hpt_config_create(NULL, &cfg));
    for (size_t i = 0; i < sizeof set / sizeof *set; i++) OK(hpt_config_set(cfg, set[i][0], set[i][1]));
    OK(hpt_context_create(cfg, &ctx));
    base = stripes(ctx, 0);
    source = stripes(ctx, 1);
    target = stripes(ctx, 2);
    OK(hpt_model_create(ctx, cfg, &model));
    stage(ctx, cfg, model, base, "base", "all");
    stage(ctx, cfg, model, source, "source", "all");
    stage(ctx, cfg, model, target, "target (HPT-BN)", "bn");
    OK(hpt_model_refresh_bn(model, target, cfg, NULL));
    OK(hpt_dataset_per_class(target, 10, 1, &train, &test));
    OK(hpt_model_linear(model, train, NULL, test, cfg, &result));
    OK(hpt_result_number(result, "test_top1", &top1));
    printf("linear probe with 10 labels per class: %.1f %% (guessing: 25 %%)\n", top1);
    hpt_result_destroy(result);
    hpt_dataset_destroy(base); hpt_dataset_destroy(source); hpt_dataset_destroy(target); hpt_dataset_destroy(train);
    hpt_dataset_destroy(test);
    hpt_model_destroy(model);
    hpt_context_destroy(ctx);
    hpt_config_destroy(cfg);
    return 0;
}
