/* SPDX-License-Identifier: MIT
 * What every method promises, whether an update is of one batch or of several: a step that is not finite changes
 * nothing, a batch that leaves one value to a batch norm is refused, ranks agree with one, and a run goes on after
 * kill -9. */
#include "nn/model.h"
#include "shell.h"
#include <unistd.h>

#define TINY "arch=resnet10 width=16 stem=small image_size=16 batch_size=6 precision=fp32 steps=4 lr=0.05 "
static const char *const methods[] = {TINY "bn_group=3 moco_dim=16 moco_k=24 ",
    TINY "bn_group=3 method=byol head=byol moco_dim=16 head_hidden=16 byol_hidden=16 ",
    TINY "bn_group=3 method=supervised classes=3 mixup=0.4 ",
    TINY "batch_size=3 accumulate=2 bn_group=3 method=byol head=byol moco_dim=16 head_hidden=16 byol_hidden=16 ",
    TINY "batch_size=2 accumulate=3 bn_group=2 method=supervised classes=3 mixup=0.4 "};
enum { METHODS = sizeof methods / sizeof *methods, N = 6, PIXELS = N * 3 * 16 * 16 };

TEST(a_step_that_is_not_finite_changes_nothing_of_any_method) {
    hpt_context *ctx = context("reference", 1);
    const int32_t label[N] = {0, 1, 2, 2, 1, 0};
    float *x[2] = {malloc(PIXELS * 4), malloc(PIXELS * 4)};
    const float *view[2] = {x[0], x[1]};
    char *dir = temp_dir(), path[2][300];
    for (int k = 0; k < METHODS; k++) {
        const int labels = strstr(methods[k], "supervised") != NULL;
        hpt_model *m[2];
        hpt_session *s[2];
        hpt_step_info info = {.struct_size = sizeof info};
        hpt_batch b = {.struct_size = sizeof b, .images = N, .views = labels ? 1 : 2, .height = 16, .width = 16,
                       .view = view, .label = labels ? label : NULL};
        for (int i = 0; i < 2; i++) {
            hpt_config *c = config(methods[k]);
            OK(hpt_model_create(ctx, c, &m[i]));
            OK(hpt_session_create(ctx, c, m[i], NULL, &s[i]));
            for (int at = 0; at < 3; at++) {
                for (int v = 0; v < 2; v++) fill_f32(x[v], PIXELS, 50 + (uint64_t)(2 * at + v), 2, 0);
                if (i && at) {      /* the second session meets bad images before its second and third step */
                    size_t where = at == 1 ? 700 : PIXELS - 700;
                    float was = x[at % (int)b.views][where];
                    x[at % (int)b.views][where] = at == 1 ? NAN : INFINITY;
                    FAILS(HPT_ERR_NUMERIC, "not finite", hpt_session_step_batch(s[i], &b, NULL));
                    x[at % (int)b.views][where] = was;
                }
                OK(hpt_session_step_batch(s[i], &b, &info));
                CHECK(info.step == (uint64_t)at + 1);
            }
            snprintf(path[i], sizeof path[i], "%s/%d-%d", dir, k, i);
            OK(hpt_session_save(s[i], path[i]));
        }
        CHECK(!memcmp(m[0]->params, m[1]->params, m[0]->net.n_params * 4));
        CHECK(!memcmp(m[0]->stats, m[1]->stats, m[0]->net.n_stats * 4));
        if (labels) CHECK(!memcmp(m[0]->fc.params, m[1]->fc.params, m[0]->fc.net.n_params * 4));
        RUN("cmp %s %s", path[0], path[1]);     /* whoever follows, momentum and queue too */
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

/* A command and where its run lies: an update of one batch, and of two. */
#define TINY_RUN " --arch resnet10 --width 16 --stem small --image_size 16 --bn_group 4 --precision fp32 "           \
                 "--conv_algo direct --threads 1 --workers 1 --backend reference "
#define BYOL                                                                                                           \
    "pretrain --preset byol --moco_dim 16 --head_hidden 16 --byol_hidden 16" TINY_RUN
static const char *const runs[] = {BYOL "--batch_size 8", BYOL "--batch_size 4 --accumulate 2",
                                   "train" TINY_RUN "--batch_size 4 --accumulate 3 --lr 0.02 --mixup 0.3"};
enum { RUNS = sizeof runs / sizeof *runs };

TEST_LIMIT(methods_go_on_after_kill_9, 120) {
    char *dir = temp_dir(), *set_ = stripes(dir, 12), word[16];
    for (int k = 0; k < RUNS; k++) {
        sscanf(runs[k], "%15s", word);
        RUN(HPT_TEST_BIN "/hpt %s --steps 9 --data %s --out %s/one%d", runs[k], set_, dir, k);
        RUN("timeout -s KILL 0.6 " HPT_TEST_BIN "/hpt %s --steps 9 --data %s --out %s/two%d --save-every 1 >/dev/null "
            "2>&1; test -e %s/two%d/args.json", runs[k], set_, dir, k, dir, k);
        RUN(HPT_TEST_BIN "/hpt %s --resume --out %s/two%d", word, dir, k);
        RUN("cmp %s/one%d/exported/model.safetensors %s/two%d/exported/model.safetensors", dir, k, dir, k);
        RUN("for r in one two; do sed 's/\"time_ms\".*//' %s/$r%d/metrics.jsonl >%s/$r.lines; done; cmp %s/one.lines "
            "%s/two.lines", dir, k, dir, dir, dir);
    }
}
TEST_LIMIT(ranks_of_any_method_equal_one, 120) {
    if (system("command -v mpirun >/dev/null 2>&1")) SKIP("mpirun is not here");
    if (access(HPT_TEST_MODULES "/libhpt-mpi.so", R_OK)) SKIP("the mpi module was not built");
    char *dir = temp_dir(), *set_ = stripes(dir, 12), path[300];
    hpt_context *ctx = context("reference", 1);
    for (int k = 0; k < RUNS; k++) {
        hpt_model *m[2];
        /* batch norm over 4: with parts of 4 its groups span the two ranks */
        RUN(HPT_TEST_BIN "/hpt %s --steps 4 --data %s --out %s/one%d", runs[k], set_, dir, k);
        RUN("mpirun --allow-run-as-root --oversubscribe --bind-to none -n 2 " HPT_TEST_BIN "/hpt %s --steps 4 "
            "--data %s --comm mpi --out %s/two%d", runs[k], set_, dir, k);
        for (int i = 0; i < 2; i++) {
            snprintf(path, sizeof path, "%s/%s%d/exported/model.safetensors", dir, i ? "two" : "one", k);
            OK(hpt_model_load(ctx, config("carry_head=1"), path, &m[i], NULL));
        }
        double worst = 0;
        for (size_t i = 0; i < m[0]->net.n_params; i++) worst = fmax(worst, fabs(m[0]->params[i] - m[1]->params[i]));
        for (size_t i = 0; i < m[0]->net.n_stats; i++) worst = fmax(worst, fabs(m[0]->stats[i] - m[1]->stats[i]));
        printf("  %.20s: weights and statistics differ by %.2g\n", runs[k], worst);
        CHECK(worst <= 2e-5);
    }
}
