/* SPDX-License-Identifier: MIT
 * What every method promises: a step that is not finite changes nothing, a batch that leaves one value to a batch norm
 * is refused, BYOL's ranks agree with one, and its run goes on after kill -9. */
#include "nn/model.h"
#undef CHECK
#include "shell.h"
#include <unistd.h>

#define TINY "arch=resnet10 width=16 stem=small image_size=16 batch_size=6 precision=fp32 steps=4 lr=0.05 "
static const char *const methods[] = {TINY "bn_group=3 moco_dim=16 moco_k=24 ",
    TINY "bn_group=3 method=byol head=byol moco_dim=16 head_hidden=16 byol_hidden=16 ",
    TINY "bn_group=3 method=supervised classes=3 mixup=0.4 "};
enum { METHODS = 3, N = 6, PIXELS = N * 3 * 16 * 16 };

TEST(a_step_that_is_not_finite_changes_nothing_of_any_method) {
    hpt_context *ctx = context("reference", 1);
    const int32_t label[N] = {0, 1, 2, 2, 1, 0};
    float *x[2] = {malloc(PIXELS * 4), malloc(PIXELS * 4)};
    const float *view[2] = {x[0], x[1]};
    for (int k = 0; k < METHODS; k++) {
        hpt_model *m[2];
        hpt_session *s[2];
        hpt_step_info info = {.struct_size = sizeof info};
        hpt_batch b = {.struct_size = sizeof b, .images = N, .views = k == 2 ? 1 : 2, .height = 16, .width = 16,
                       .view = view, .label = k == 2 ? label : NULL};
        for (int i = 0; i < 2; i++) {
            hpt_config *c = config(methods[k]);
            OK(hpt_model_create(ctx, c, &m[i]));
            OK(hpt_session_create(ctx, c, m[i], NULL, &s[i]));
            for (int at = 0; at < 3; at++) {
                for (int v = 0; v < 2; v++) fill_f32(x[v], PIXELS, 50 + (uint64_t)(2 * at + v), 2, 0);
                if (i && at) {      /* the second session meets a bad image before its second and third step */
                    float was = x[at % (int)b.views][700];
                    x[at % (int)b.views][700] = at == 1 ? NAN : INFINITY;
                    FAILS(HPT_ERR_NUMERIC, "not finite", hpt_session_step_batch(s[i], &b, NULL));
                    x[at % (int)b.views][700] = was;
                }
                OK(hpt_session_step_batch(s[i], &b, &info));
                CHECK(info.step == (uint64_t)at + 1);
            }
            OK(hpt_session_sync(s[i]));
        }
        CHECK(!memcmp(m[0]->params, m[1]->params, m[0]->net.n_params * 4));
        CHECK(!memcmp(m[0]->stats, m[1]->stats, m[0]->net.n_stats * 4));
        if (k == 2) CHECK(!memcmp(m[0]->fc.params, m[1]->fc.params, m[0]->fc.net.n_params * 4));
    }
}

/* Maps of the last stage are 1x1 here: a group of one image would be one value. */
TEST(a_batch_that_leaves_one_value_to_a_batch_norm_is_refused) {
    hpt_context *ctx = context("reference", 1);
    for (int k = 0; k < METHODS; k++) {
        hpt_config *c = config(methods[k]);
        hpt_model *m;
        hpt_session *s;
        set(c, "bn_group=1 image_size=8");
        OK(hpt_model_create(ctx, c, &m));
        hpt_status st = hpt_session_create(ctx, c, m, NULL, &s);
        if (st >= 0 || !strstr(hpt_last_error(), "batch norm")) FAIL("%s: %d %s", methods[k], st, hpt_last_error());
    }
}

#define BYOL                                                                                                           \
    HPT_TEST_BIN "/hpt pretrain --data %s --preset byol --arch resnet10 --width 16 --stem small --image_size 16 "      \
                 "--batch_size 8 --bn_group 4 --moco_dim 16 --head_hidden 16 --byol_hidden 16 --precision fp32 "       \
                 "--conv_algo direct --steps 9 --threads 1 --workers 1 --backend reference "
TEST(byol_goes_on_after_kill_9) {
    char *dir = temp_dir(), *set_ = stripes(dir, 12);
    RUN(BYOL "--out %s/one", set_, dir);
    RUN("timeout -s KILL 0.6 " BYOL "--out %s/two --save-every 1 >/dev/null 2>&1; test -e %s/two/args.json", set_, dir,
        dir);
    RUN(HPT_TEST_BIN "/hpt pretrain --resume --out %s/two", dir);
    RUN("cmp %s/one/exported/model.safetensors %s/two/exported/model.safetensors", dir, dir);
}
TEST(byol_ranks_equal_one) {
    if (system("command -v mpirun >/dev/null 2>&1")) SKIP("mpirun is not here");
    if (access(HPT_TEST_MODULES "/libhpt-mpi.so", R_OK)) SKIP("the mpi module was not built");
    char *dir = temp_dir(), *set_ = stripes(dir, 12), path[300];
    hpt_context *ctx = context("reference", 1);
    hpt_model *m[2];
    RUN(BYOL "--out %s/one", set_, dir);
    RUN("mpirun --allow-run-as-root --oversubscribe --bind-to none -n 2 " BYOL "--comm mpi --out %s/two", set_, dir);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s/exported/model.safetensors", dir, i ? "two" : "one");
        OK(hpt_model_load(ctx, config("carry_head=1"), path, &m[i], NULL));
    }
    double worst = 0;
    for (size_t i = 0; i < m[0]->net.n_params; i++) worst = fmax(worst, fabs(m[0]->params[i] - m[1]->params[i]));
    printf("  parameters differ by %.2g\n", worst);
    CHECK(worst <= 2e-5);
}
