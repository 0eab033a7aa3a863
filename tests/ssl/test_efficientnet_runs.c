/* SPDX-License-Identifier: MIT
 * Every method with an EfficientNet and drop path, whose draws are keyed by seed and step; a network without layers
 * that drop is refused. */
#include "support.h"

enum { N = 8, SIZE = 32, PIXELS = N * 3 * SIZE * SIZE };
#define SMALL "arch=efficientnet_b0 image_size=32 batch_size=8 precision=fp32 steps=6 lr=0.02 drop_path=0.6 "
static const char *const methods[] = {SMALL "moco_dim=16 moco_k=64 bn_group=4 ",
    SMALL "method=byol head=byol moco_dim=16 head_hidden=16 byol_hidden=16 ",
    SMALL "method=supervised classes=3 ", SMALL "moco_dim=16 moco_k=64 train=bn "};
enum { METHODS = sizeof methods / sizeof *methods };

static hpt_session *open_session(hpt_context *ctx, const char *options, hpt_model **m) {
    hpt_config *c = config(options);
    hpt_session *s;
    OK(hpt_model_create(ctx, c, m));
    OK(hpt_session_create(ctx, c, *m, NULL, &s));
    hpt_config_destroy(c);
    return s;
}
static double step(hpt_session *s, int labels, int at) {
    static float x[2][PIXELS];
    static const int32_t label[N] = {0, 1, 2, 2, 1, 0, 1, 2};
    const float *view[2] = {x[0], x[1]};
    hpt_step_info info = {.struct_size = sizeof info};
    hpt_batch b = {.struct_size = sizeof b, .images = N, .views = labels ? 1 : 2, .height = SIZE, .width = SIZE,
                   .view = view, .label = labels ? label : NULL};
    for (int v = 0; v < 2; v++) fill_f32(x[v], PIXELS, 50 + (uint64_t)(2 * at + v), 2, 0);
    OK(hpt_session_step_batch(s, &b, &info));
    return info.loss;
}

/* Losses with other draws, without draws, and where nothing can be dropped. */
TEST(drop_path_is_drawn_by_seed_and_step) {
    hpt_context *ctx = context("reference", 1);
    static const char *const other[] = {"drop_path=0.6 ", "drop_path=0 ", "drop_path=0.3 "};
    double loss[3][2];
    for (int k = 0; k < 3; k++) {
        hpt_model *m;
        char options[400];
        snprintf(options, sizeof options, "%s lr=0 %s", methods[2], other[k]);
        hpt_session *s = open_session(ctx, options, &m);
        for (int i = 0; i < 2; i++) loss[k][i] = step(s, 1, 0);
        hpt_session_destroy(s);
    }
    CHECK(loss[1][0] == loss[1][1]);            /* nothing is drawn, nothing learnt */
    CHECK(loss[0][0] != loss[0][1] && loss[0][0] != loss[1][0] && loss[2][0] != loss[0][0]);
    hpt_config *c = config("arch=resnet10 width=16 stem=small image_size=16 batch_size=4 moco_k=16 drop_path=0.1");
    hpt_model *m;
    hpt_session *s;
    OK(hpt_model_create(ctx, c, &m));
    FAILS(HPT_ERR_OPTION, "no layer of resnet10 drops", hpt_session_create(ctx, c, m, NULL, &s));
}
