/* SPDX-License-Identifier: MIT
 * 11: a classifier for photographs that must also work on drawings, of which few have labels: labelled images of one
 * domain, a handful of labelled and many unlabelled ones of the other (minimax entropy, Saito et al. 2019).
 *
 *   11_mme photographs few-drawings drawings test-drawings [base.pth]
 *   (folders of class folders, the same classes; labels of the third are not looked at) */
#include <hpt.h>
#include <stdio.h>

#define ROLES 4
static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, hpt_last_error());
    return 1;
}

int main(int argc, char **argv) {
    static const char *const role[ROLES] = {"source", "labelled", "unlabelled", "test"};
    hpt_config *cfg = NULL;
    hpt_context *ctx = NULL;
    hpt_model *model = NULL;
    hpt_dataset *set[ROLES] = {NULL};
    hpt_session *run = NULL;
    hpt_step_info info = {.struct_size = sizeof info};
    hpt_result *result = NULL;
    hpt_status st;
    double top1, mean;
    if (argc < 5) return fprintf(stderr, "usage: %s SOURCE LABELLED UNLABELLED TEST [BASE.pth]\n", argv[0]), 2;
    /* all the numbers of the published method; what is set here goes before them */
    if (hpt_config_create(NULL, &cfg) || hpt_config_set(cfg, "preset", "mme") ||
        hpt_config_set(cfg, "method", "mme") || hpt_config_set(cfg, "steps", "2000"))
        return failed("options");
    if (hpt_context_create(cfg, &ctx)) return failed("context");
    for (int i = 0; i < ROLES; i++)
        if (hpt_dataset_open(ctx, cfg, argv[1 + i], &set[i])) return failed(role[i]);
    st = argc > 5 ? hpt_model_load(ctx, cfg, argv[5], &model, NULL) : hpt_model_create(ctx, cfg, &model);
    if (st) return failed("model");
    if (hpt_session_create(ctx, cfg, model, set[0], &run)) return failed("session");
    /* classes must be the source's; a test image among those that are trained on is refused */
    for (int i = 1; i < ROLES; i++)
        if (hpt_session_data(run, role[i], set[i])) return failed(role[i]);
    while ((st = hpt_session_step(run, &info)) == HPT_OK)
        if (info.step % 100 == 0)
            printf("step %llu: loss %.3f (guessing: %.2f), entropy of the unlabelled %.3f\n",
                   (unsigned long long)info.step, info.loss, info.chance, info.entropy);
    if (st != HPT_END) return failed("step");
    if (hpt_model_score(model, set[3], cfg, &result) || hpt_result_number(result, "test_top1", &top1) ||
        hpt_result_number(result, "test_class_mean", &mean))
        return failed("test");
    printf("%.1f %% of the test images are right, %.1f %% in the mean of the classes\n", top1, mean);
    if (hpt_model_save(model, "adapted.pth", NULL)) return failed("adapted.pth");
    hpt_result_destroy(result);
    hpt_session_destroy(run);
    hpt_model_destroy(model);
    for (int i = 0; i < ROLES; i++) hpt_dataset_destroy(set[i]);
    hpt_context_destroy(ctx);
    hpt_config_destroy(cfg);
    return 0;
}
