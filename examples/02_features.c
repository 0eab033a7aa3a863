/* SPDX-License-Identifier: MIT
 * 02: features of images on disk. usage: 02_features IMAGES [MODEL.pth]. Introduces hpt_dataset_open,
 * hpt_model_features. */
#include <hpt.h>
#include <stdio.h>
#include <stdlib.h>

#define OK(call) do { if ((call) < 0) { fprintf(stderr, "%s\n", hpt_last_error()); return 1; } } while (0)

int main(int argc, char **argv) {
    hpt_config *cfg;
    hpt_context *ctx;
    hpt_dataset *data;
    hpt_model *model;
    hpt_dataset_info di = {.struct_size = sizeof di};
    hpt_model_info mi;
    mi.struct_size = sizeof mi;
    if (argc < 2) return fprintf(stderr, "usage: 02_features IMAGES [MODEL.pth]\n"), 2;
    OK(hpt_config_create(NULL, &cfg));
    OK(hpt_config_set(cfg, "image_size", "64"));
    if (argc < 3) OK(hpt_config_set(cfg, "arch", "resnet18"));
    OK(hpt_context_create(cfg, &ctx));
    OK(hpt_dataset_open(ctx, cfg, argv[1], &data));
    if (argc > 2) OK(hpt_model_load(ctx, cfg, argv[2], &model, NULL));
    else OK(hpt_model_create(ctx, cfg, &model));
    OK(hpt_dataset_get_info(data, &di));
    OK(hpt_model_get_info(model, &mi));
    float *x = malloc(sizeof *x * (size_t)di.count * mi.feature_dim);
    if (!x) return 1;
    OK(hpt_model_features(model, data, cfg, x, di.count * mi.feature_dim));
    for (uint64_t i = 0; i < di.count && i < 5; i++) {
        char name[1024];
        OK(hpt_dataset_name(data, i, name, sizeof name, NULL));
        printf("%s: %.4f %.4f %.4f ...\n", name, x[i * mi.feature_dim], x[i * mi.feature_dim + 1],
               x[i * mi.feature_dim + 2]);
    }
    printf("%llu images, %u features each\n", (unsigned long long)di.count, (unsigned)mi.feature_dim);
    free(x);
    hpt_model_destroy(model);
    hpt_dataset_destroy(data);
    hpt_context_destroy(ctx);
    hpt_config_destroy(cfg);
    return 0;
}
