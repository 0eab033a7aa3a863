/* SPDX-License-Identifier: MIT
 * 08: the whole hierarchy by calls: choose a source for your target among candidates, pretrain on it, then on the
 * target, then measure.
 *
 *   08_hierarchy base.pth target/train target/val target/test source1 source2 [...]
 *   (folders of class folders; sources need no labels)
 *
 * Nothing is chosen by test images, and none of them may be among the images that are trained on: that is checked
 * first. */
#include <hpt.h>
#include <stdio.h>

static int failed(const char *what, hpt_status st) {
    fprintf(stderr, "%s: %s (%s)\n", what, hpt_last_error(), hpt_status_name(st));
    return 1;
}

int main(int argc, char **argv) {
    hpt_config *cfg = NULL; hpt_context *ctx = NULL; hpt_dataset *set[3] = {NULL}, *source[32] = {NULL};
    hpt_model *base = NULL, *model = NULL;
    hpt_session *run = NULL; hpt_result *search = NULL, *probe = NULL;
    double index = 0, val = 0, test = 0;
    hpt_status st;
    int n = argc - 5 < 32 ? argc - 5 : 32, i;
    if (n < 1) return fprintf(stderr, "usage: %s BASE.pth TRAIN VAL TEST SOURCE...\n", argv[0]), 2;
    if ((st = hpt_config_create(NULL, &cfg)) || (st = hpt_config_set(cfg, "steps", "5000")) ||
        (st = hpt_context_create(cfg, &ctx)) || (st = hpt_model_load(ctx, cfg, argv[1], &base,
                                                                     NULL))) return failed(argv[1], st);
    for (i = 0; i < 3; i++)
        if ((st = hpt_dataset_open(ctx, cfg, argv[2 + i], &set[i]))) return failed(argv[2 + i], st);
    for (i = 0; i < n; i++)
        if ((st = hpt_dataset_open(ctx, cfg, argv[5 + i], &source[i])) ||
            (st = hpt_dataset_disjoint(source[i], set[2], NULL))) return failed(argv[5 + i], st);

    /* base -> source: 5000 steps on each candidate, ranked by a linear probe on the target's validation images */
    st = hpt_source_search(ctx, cfg, base, source, (const char *const *)(argv + 5), (uint32_t)n, set[0], set[1], NULL,
                           NULL, &model, &search);
    if (st) return failed("search", st);
    hpt_result_number(search, "winner_index", &index);
    printf("source: %s\n", argv[5 + (int)index]);

    /* source -> target: the training images, without their labels */
    if ((st = hpt_session_create(ctx, cfg, model, set[0], &run)) || (st = hpt_session_run(run, NULL, NULL)) ||
        (st = hpt_model_linear(model, set[0], set[1], set[2], cfg, &probe)) ||
        (st = hpt_model_save(model, "adapted.pth", NULL))) return failed("target", st);
    hpt_result_number(probe, "val_score", &val);
    hpt_result_number(probe, "test_score", &test);
    printf("linear probe: %.2f %% on validation, %.2f %% on test; backbone in adapted.pth\n", val, test);

    hpt_session_destroy(run); hpt_result_destroy(probe); hpt_result_destroy(search); hpt_model_destroy(model);
    hpt_model_destroy(base);
    for (i = 0; i < n; i++) hpt_dataset_destroy(source[i]);
    for (i = 0; i < 3; i++) hpt_dataset_destroy(set[i]);
    hpt_context_destroy(ctx); hpt_config_destroy(cfg);
    return 0;
}
