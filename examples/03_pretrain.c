#include <hpt.h>
#include <stdio.h>

int main(void) {
    hpt_config *cfg; hpt_context *ctx; hpt_dataset *data; hpt_model *model; hpt_session *run; hpt_status st;
    if ((st = hpt_config_create(NULL, &cfg)) || (st = hpt_config_set(cfg, "arch", "resnet50")) ||
        (st = hpt_config_set_int(cfg, "steps", 1000)) ||
        (st = hpt_context_create(cfg, &ctx)) ||
        (st = hpt_dataset_open(ctx, cfg, "my-images", &data)) ||
        (st = hpt_model_load(ctx, cfg, "base.pth", &model, NULL)) ||
        (st = hpt_session_create(ctx, cfg, model, data, &run)) ||
        (st = hpt_session_run(run, NULL, NULL)) ||
        (st = hpt_model_save(model, "adapted.pth", NULL))) {
        fprintf(stderr, "%s: %s\n", hpt_status_name(st), hpt_last_error());
        return 1;
    }
    hpt_session_destroy(run); hpt_model_destroy(model); hpt_dataset_destroy(data);
    hpt_context_destroy(ctx); hpt_config_destroy(cfg);
    return 0;
}
